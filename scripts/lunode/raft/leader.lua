-- What a leader does: replicate its log, commit, keep in touch with a quorum, hand over. Part of core.lua: methods of
-- a raft.

local log = require "lunode.raft.log"
local progress = require "lunode.raft.progress"

local M = {}

local COMMAND = 1
local NONE = {} -- no entries; never changed

-- ---------------------------------------------------------------- peers and quorums

local function new_progress(self, id, voter)
  self.session = self.session + 1
  return progress.new(id, voter, self.session, self.log.last, self.now)
end

---Makes a progress for each peer that the configuration has; what is known of those that stay is kept.
function M:update_peers()
  local peers, list = {}, {}
  for _, id in ipairs(self.config.ids) do
    if id ~= self.id then
      local p = self.peers[id] or new_progress(self, id, false)
      p.voter = self.config.members[id].voter
      peers[id] = p
      list[#list + 1] = p
    end
  end
  self.peers, self.peer_list = peers, list
end

---The highest value that a majority of the voters has reached. A leader that is no voter (any more) does not count
---(4.2.2).
---@param field string  of a progress
---@param own number  this server's
---@return number
function M:quorum_value(field, own)
  local values, n = self.matches, 0
  for i = 1, #self.peer_list do
    local p = self.peer_list[i]
    if p.voter then
      n = n + 1
      values[n] = p[field]
    end
  end
  if self.config:is_voter(self.id) then
    n = n + 1
    values[n] = own
  end
  for i = n + 1, #values do
    values[i] = nil
  end
  table.sort(values)
  return values[n - self.config.quorum + 1]
end

-- ---------------------------------------------------------------- sending

local function send_snapshot(self, p)
  if self.now - p.heard >= self.options.election_timeout then
    p:become_probe(p.next)
    p.paused = true -- to one that is not there it would be lost; when it answers a heartbeat, this is tried again
    return
  end
  p:become_snapshot(self.applied)
  self:send("snapshot", p.id, {
    session = p.session, index = self.applied, log_term = self.log:term(self.applied),
    config = self:applied_config():encode(),
  })
end

local function send_append(self, p, without_entries)
  local prev_index = p.next - 1
  local prev_term = self.log:term(prev_index)
  local entries = NONE
  if prev_term and prev_index < self.log.last and not without_entries then
    entries = self.log:entries(p.next, self.options.max_message_bytes)
  end
  if not (prev_term and entries) then
    return send_snapshot(self, p) -- chapter 5: what it lacks was cut off here
  end
  local bytes, count = 0, #entries
  for i = 1, count do
    bytes = bytes + log.size(entries[i])
  end
  p.commit_sent = self.commit
  self:send("append", p.id, {
    session = p.session, prev_index = prev_index, prev_term = prev_term, entries = entries, commit = self.commit,
  })
  if count > 0 or p.state == "probe" then
    p:sent(prev_index + count, bytes)
  end
end

---Sends a peer what it has not been sent, as far as the limits allow.
---@param p lunode.raft.progress
function M:replicate(p)
  while p.next <= self.log.last and p:may_send(self.options.max_inflight, self.options.max_inflight_bytes) do
    send_append(self, p)
  end
end

function M:broadcast_append()
  for i = 1, #self.peer_list do
    self:replicate(self.peer_list[i])
  end
end

-- Never more than is known to agree: the follower takes it without looking at its log.
local function send_heartbeat(self, p)
  p.commit_sent = math.min(p.match, self.commit)
  self:send("heartbeat", p.id, { session = p.session, commit = p.commit_sent, round = self.round, sent = self.now })
end

function M:broadcast_heartbeat()
  for i = 1, #self.peer_list do
    send_heartbeat(self, self.peer_list[i])
  end
  self.heartbeat_due = self.now + self.options.heartbeat
end

-- Who has all entries is told at once that they are committed; who has not gets it with the next ones.
local function tell_commit(self, p)
  if p.match == self.log.last and p.commit_sent < self.commit then
    send_heartbeat(self, p)
  end
end

-- ---------------------------------------------------------------- appending and committing

---@param type integer
---@param payload string
---@return lunode.raft.entry
function M:append_entry(type, payload)
  local entry = { index = self.log.last + 1, term = self.term, type = type, payload = payload }
  self.log:append(entry)
  self.uncommitted_bytes = self.uncommitted_bytes + log.size(entry)
  return entry
end

---@param event { entries: string[], id: any }
function M:propose(event)
  local entries = event.entries
  local count = type(entries) == "table" and #entries or 0
  for i = 1, math.max(count, 1) do
    if count == 0 or type(entries[i]) ~= "string" then
      error("raft: propose wants entries, a list of strings", 3)
    end
  end
  if self.role ~= "leader" then
    return self:refuse("propose", event.id, "not the leader")
  elseif self.transferee then
    return self:refuse("propose", event.id, "the leadership is being transferred")
  elseif self.uncommitted_bytes >= self.options.max_uncommitted_bytes then
    return self:refuse("propose", event.id, "too much is waiting to be committed")
  end
  local first = self.log.last + 1
  for i = 1, count do
    self:append_entry(COMMAND, entries[i])
  end
  self.update.proposed = { first = first, last = self.log.last, term = self.term, id = event.id }
  self:broadcast_append()
end

---3.6.2: only an entry of its own term is committed by counting; all before it are committed with it. The leader is one
---of those counted, for what it has persisted itself (10.2.1).
function M:maybe_commit()
  local index = self:quorum_value("match", self.log.persisted)
  if index > self.commit and self.log:term(index) == self.term then
    self.commit = index
    for i = 1, #self.peer_list do
      tell_commit(self, self.peer_list[i])
    end
    self:start_round()
  end
  -- 4.2.2: it leads until its removal is committed; and durable here, too, so that it can tell who asked for it.
  if not self.config:is_voter(self.id) and self.config_index <= math.min(self.commit, self.log.persisted) then
    self:become_follower(self.term, nil)
  end
end

-- ---------------------------------------------------------------- time

---6.2: a leader that no quorum answers steps down, so that its clients look for another.
function M:tick_leader()
  if self:quorum_value("heard", self.now) <= self.now - self.options.election_timeout then
    return self:become_follower(self.term, nil)
  end
  if self.transferee and self.now >= self.transfer_deadline then
    self.transferee = nil -- 3.10: it goes on as leader
  end
  if self.now >= self.heartbeat_due then
    self:broadcast_heartbeat()
  end
end

-- ---------------------------------------------------------------- handing over

-- Only a server that has the whole log can win.
local function transfer_if_ready(self, p)
  if self.transferee == p.id and not self.transferee_told and p.match == self.log.last then
    -- Its election asks nobody to wait for this leader's silence, and this message may arrive late: the lease is over
    -- for the rest of the term.
    self.lease_void, self.transferee_told = true, true
    self:send("timeout_now", p.id, {})
  end
end

---@param event { to: string, id: any }
function M:transfer(event)
  local to = event.to
  if self.role ~= "leader" then
    return self:refuse("transfer", event.id, "not the leader")
  elseif to == self.id then
    return self:refuse("transfer", event.id, "it is the leader already")
  elseif not self.config:is_voter(to) then
    return self:refuse("transfer", event.id, ("%s is not a voter"):format(tostring(to)))
  elseif self.transferee then
    return self:refuse("transfer", event.id, ("a transfer to %s is under way"):format(self.transferee))
  end
  self.transferee, self.transferee_told = to, false
  self.transfer_deadline = self.now + self.options.election_timeout
  local p = self.peers[to]
  transfer_if_ready(self, p)
  self:replicate(p)
end

-- ---------------------------------------------------------------- messages

local on = {}

function on:append_response(m, p)
  if m.reject then
    if not (m.hint_index and m.hint_term and m.index > p.match and p:is_current_refusal(m.index)) then
      return self:drop(m, "it refuses something older than what it has taken")
    end
    local index = self.log:last_at_most(math.min(m.hint_index, m.index - 1), m.hint_term)
    p:become_probe(index + 1)
    return self:replicate(p)
  elseif m.index > self.log.last then
    return self:drop(m, "it acknowledges entries that there are not")
  end
  local advanced = p:acknowledged(m.index)
  if p.state == "probe" or p.state == "snapshot" and p.match + 1 >= self.log.first then
    p:become_replicate()
  end
  if advanced then
    self:maybe_commit()
  end
  if self.role == "leader" then
    self:replicate(p)
    tell_commit(self, p)
    transfer_if_ready(self, p)
  end
end

function on:heartbeat_response(m, p)
  if m.sent > self.now or m.round > self.round then
    return self:drop(m, "it answers a heartbeat that was never sent")
  end
  p.lease_from = math.max(p.lease_from, m.sent)
  p.round = math.max(p.round, m.round)
  self:confirm_round()
  p.paused = false
  if p.match < self.log.last and p.state ~= "snapshot" then
    local next_index = p.next
    self:replicate(p)
    if p.state == "replicate" and p.next == next_index or p.next > self.log.last then
      send_append(self, p, true) -- the answer shows whether what was sent has arrived
    end
  end
end

-- One that was not needed any more.
function on:vote_response() end
on.pre_vote_response = on.vote_response

function on:read_request(m)
  self:take_read { from = m.from, context = m.context }
end

---@param m table
---@return boolean taken
function M:step_leader(m)
  local handler, p = on[m.type], self.peers[m.from]
  if not handler then
    return false
  elseif not p then
    self:drop(m, "its sender is not a member")
    return true
  end
  if m.session then
    if m.session ~= p.session then
      self:drop(m, "it comes from an earlier connection")
      return true
    end
    p.heard = self.now
  end
  handler(self, m, p)
  return true
end

---What was on the way to a peer may be lost, and answers that are on the way back do not count any more.
---@param id string
function M:probe_anew(id)
  local p = self.role == "leader" and self.peers[id]
  if p then
    self.session = self.session + 1
    p.session = self.session
    p:become_probe(math.max(p.snapshot_index + 1, self.log.first))
    self:replicate(p)
  end
end

---The driver has sent a snapshot, or has failed to. Whether it was installed, the peer's answers will tell.
---@param event { peer: string, session: integer, ok: boolean }
function M:snapshot_sent(event)
  local p = self.role == "leader" and self.peers[event.peer]
  if not (p and p.state == "snapshot" and p.session == event.session) then
    return self:drop(event, "that transfer does not matter any more")
  end
  p:become_probe(event.ok and p.snapshot_index + 1 or self.log.first)
  p.paused = true -- until it answers a heartbeat
end

return M
