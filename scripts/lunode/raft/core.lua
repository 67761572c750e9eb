-- The consensus algorithm Raft as a pure state machine: an event goes in, an update comes out that says what to do.
-- Does no I/O, knows no clock and no chance but what events and `random` bring; raft/driver.lua carries updates out.
--
-- After Diego Ongaro's dissertation "Consensus: Bridging Theory and Practice" (2014); numbers in comments are its
-- sections. State changes only in the become_… functions. Messages are described in message.lua.
--
-- EVENTS  { type =, now = seconds on a monotonic clock (optional but for ticks), … }
--
-- tick                {now}                  at `deadline()`, or more often
-- message             {message}              from a peer, as it came
-- propose             {entries, id?}         entries: a list of payloads (strings)
-- persisted           what update.persisted holds: all of that update, and of those before, is durable
-- applied             {index}                the state machine has applied all up to here
-- read                {id}                   asks for a read index (6.4)
-- change              {change, id?}          change: {kind = "add"|"promote"|"demote"|"remove", id, address?}
-- transfer            {to, id?}              hand the leadership over (3.10)
-- campaign            {}                     start an election without waiting for a timeout, if there is no leader
-- snapshot_saved      {index}                the state up to here is durable, and the log was cut there
-- snapshot_sent       {peer, session, ok}    the transfer that a `snapshot` message began has ended
-- snapshot_installed  {index, log_term, ok}  what update.install asked for is done, or has failed
-- connected           {peer}                 a new connection to a peer: nothing that was under way will arrive
-- unreachable         {peer}                 something sent to a peer was lost
--
-- UPDATE  carry it out in this order; a field that is nil asks for nothing.
--
-- role            {role, term, leader}: the role, the term or the leader has changed
-- hard_state      {term, vote}: to persist
-- truncate_from   drop the log's entries from this index on
-- entries         to append to the log, and to persist
-- persisted       the event to step once all of the above, and all of earlier updates, is durable
-- messages        to send at once. A `snapshot` message asks the driver to send the state machine's state as of its
--                 index, which is the last one the driver has said to be applied; so before it applies more. The
--                 peer's driver steps the message when it has received all of it
-- messages_after  to send when all that was handed out to persist before them, and with them, is durable (at once, if
--                 it is already), in order
-- install         {index, log_term, config}: put the snapshot that has been received in the place of the state machine
--                 and of the log, atomically
-- committed       entries to apply, in order; then step `applied`
-- proposed        {first, last, term, id}: the proposal's entries; lost if another term's is committed at their place
-- reads           list of {id, index}: may be answered once all up to index is applied
-- refused         list of {event, id, reason, leader}: a proposal, change, transfer or read that will not be done
-- dropped         list of {reason, message}: messages that were not believed, for the log
--
-- The log that is read must hold at least what was reported to be persisted; see memory_log.lua.

local config = require "lunode.raft.config"
local log = require "lunode.raft.log"
local message = require "lunode.raft.message"

local M = {}

-- Types of entries, as they lie in the log.
M.COMMAND, M.NOOP, M.CONFIG = 1, 2, 3

---@class lunode.raft
---@field id string
---@field term integer
---@field vote string?
---@field role "follower"|"pre_candidate"|"candidate"|"leader"
---@field leader string?
---@field log lunode.raft.log
---@field commit integer  highest index known to be committed
---@field handed integer  highest index handed out to be applied
---@field applied integer
---@field config lunode.raft.config  the latest in the log, committed or not (4.1)
---@field config_index integer
---@field update table  the one that is being made
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft" }

for _, name in ipairs { "election", "leader", "follower", "reads", "membership" } do
  for key, method in pairs(require("lunode.raft." .. name)) do
    methods[key] = method
  end
end

-- ---------------------------------------------------------------- making one

local defaults = {
  election_timeout = 1.0,
  heartbeat = 0.1,
  max_message_bytes = 256 << 10,
  max_inflight = 64,
  max_inflight_bytes = 4 << 20,
  max_uncommitted_bytes = 32 << 20,
  max_reads = 10000,
  max_promote_lag = 1000,
  cache_bytes = 32 << 20,
  lease_reads = false,
  clock_drift = 1.1,
}

local function check(condition, text, ...)
  if not condition then
    error("raft.new: " .. text:format(...), 3)
  end
end

---@class lunode.raft.options
---@field id string
---@field config lunode.raft.config  as of `applied`; one without members for a server that waits to be added
---@field log lunode.raft.log_access  all of it durable: after the crash of a process, sync what it had only written
---@field random fun(): number  in [0, 1)
---@field now number  seconds
---@field hard_state? { term: integer, vote: string? }  as it was persisted last (default: never)
---@field applied? integer  what the state machine holds (default 0)
---@field election_timeout? number  seconds; the time without a leader is one to two of these (default 1)
---@field heartbeat? number  seconds (default 0.1)
---@field max_message_bytes? integer  of entries in a message, and in one update's `committed` (default 256 KiB)
---@field max_inflight? integer  messages with entries that a peer has not answered (default 64)
---@field max_inflight_bytes? integer  (default 4 MiB)
---@field max_uncommitted_bytes? integer  past it, a leader refuses proposals (default 32 MiB)
---@field max_reads? integer  that wait for their index (default 10,000)
---@field max_promote_lag? integer  a learner this many entries behind cannot be promoted (default 1,000)
---@field cache_bytes? integer  of entries kept in memory until they are applied (default 32 MiB)
---@field lease_reads? boolean  answer reads without asking a quorum while the lease holds (6.4.1; default false). Only
---  safe where no server's clock runs faster than another's by more than the factor `clock_drift`
---@field clock_drift? number  (default 1.1)

---@param options lunode.raft.options
---@return lunode.raft
function M.new(options)
  local o = {
    id = options.id, config = options.config, log = options.log, random = options.random, now = options.now,
  }
  for key, default in pairs(defaults) do
    o[key] = default
    if options[key] ~= nil then
      o[key] = options[key]
    end
  end
  local state = options.hard_state or { term = 0 }
  local applied = options.applied or 0
  check(config.is_id(o.id), "id must be letters, digits, _ . and -, at most 64 of them")
  check(type(o.config) == "table" and o.config.members, "config is missing; make one with lunode.raft.config")
  check(type(o.random) == "function", "random is missing")
  check(type(o.now) == "number", "now is missing")
  check(o.election_timeout > o.heartbeat and o.heartbeat > 0, "election_timeout must exceed heartbeat, both positive")
  check(o.clock_drift >= 1, "clock_drift is a factor of at least 1")
  local view = log.new(o.log, o.cache_bytes)
  check(applied >= view.first - 1 and applied <= view.last,
    "the log holds %d to %d, and the state machine has applied %d: reset the log behind it", view.first, view.last,
    applied)
  check(state.term >= view.last_term,
    "the log has entries of term %d, and the hard state is of term %d: it is lost or old", view.last_term, state.term)

  local self = setmetatable({
    id = o.id,
    options = o,
    random = o.random,
    now = o.now,
    term = state.term,
    vote = state.vote,
    role = "follower",
    leader = nil,
    log = view,
    commit = applied, -- 3.8: only what was applied is known to be committed
    handed = applied,
    applied = applied,
    applying_bytes = 0,
    -- Membership: the latest configuration, and those from `applied` on, to go back to when an entry is dropped.
    config = o.config,
    config_index = applied,
    configs = { { index = applied, config = o.config } },
    -- Elections.
    heard = o.now, -- from a leader. As if there had been one: a lease given before a restart is kept (6.4.1)
    quiet = o.lease_reads and state.term > 0, -- votes for nobody until an election timeout after `heard`
    election_deadline = 0.0,
    votes = {}, -- id → granted
    transfer_campaign = false, -- this election was asked for by the leader
    -- Leadership.
    peers = {}, -- progress by id
    peer_list = {}, -- the same, sorted by id
    matches = {}, -- scratch, for quorums
    session = 0, -- the last number given
    noop_index = 0, -- of the entry that began the term
    heartbeat_due = 0.0,
    uncommitted_bytes = 0,
    transferee = nil,
    transferee_told = false,
    transfer_deadline = 0.0,
    lease_void = false, -- a transfer of this term may still elect somebody who asks no lease
    -- Reads.
    round = 0, -- of heartbeats, for reads; the last one begun
    round_reads = nil, -- those that the round will confirm
    round_index = 0,
    waiting_reads = {}, -- for the next round
    reads_count = 0,
    forwarded = {}, -- follower: asked of the leader, { context, id, deadline }
    context = 0,
    -- Snapshot that is being installed: { index, log_term, config, term, from, session }.
    installing = nil,
    -- What was handed out.
    sequence = 0,
    durable_sequence = 0,
    state_sequence = 0, -- with this one the hard state left
    handed_term = state.term,
    handed_vote = state.vote,
    told_role = "follower",
    told_term = state.term,
    told_leader = nil,
    update = nil,
  }, metatable)
  -- A restarted server's contexts must not be those that answers to it may still be under way for.
  self.context = (o.random() * (1 << 40)) // 1 | 0
  self:load_configs(applied + 1)
  self:reset_election_timer()
  return self
end

-- ---------------------------------------------------------------- roles

---Figure 3.1: all ways back to following go through here. The vote is of a term: it is forgotten with it, and only
---then.
function methods:become_follower(term, leader)
  if term > self.term then
    self.term, self.vote = term, nil
  end
  self:fail_reads("the leader has changed")
  self.role, self.leader = "follower", leader
  self.votes, self.transfer_campaign = {}, false
  self.peers, self.peer_list = {}, {}
  self.transferee, self.lease_void, self.uncommitted_bytes = nil, false, 0
  self:reset_election_timer()
end

---9.6: asks whether an election could be won before it disturbs anybody: neither term nor vote change.
function methods:become_pre_candidate()
  self:fail_reads("there is no leader")
  self.role, self.leader = "pre_candidate", nil
  self.votes = { [self.id] = true }
  self:reset_election_timer()
end

function methods:become_candidate()
  self:fail_reads("there is no leader")
  self.role, self.leader = "candidate", nil
  self.term, self.vote = self.term + 1, self.id
  self.votes = {} -- its own counts once it is durable
  self:reset_election_timer()
end

function methods:become_leader()
  self.role, self.leader = "leader", self.id
  self.votes = {}
  self.transferee, self.lease_void, self.uncommitted_bytes = nil, false, 0
  self.round, self.round_reads, self.waiting_reads = 0, nil, {}
  -- 6.4: what was committed in earlier terms is known only when an entry of this one is.
  self.noop_index = self:append_entry(M.NOOP, "").index
  self.peers, self.peer_list = {}, {}
  self:update_peers()
  self.heartbeat_due = self.now + self.options.heartbeat
  self:broadcast_append()
end

-- ---------------------------------------------------------------- the update

function methods:send(type, to, fields)
  fields.type, fields.from, fields.to, fields.term = type, self.id, to, fields.term or self.term
  local messages = self.update.messages
  if messages then
    messages[#messages + 1] = fields
  else
    self.update.messages = { fields }
  end
end

function methods:send_after(type, to, fields)
  fields.type, fields.from, fields.to, fields.term = type, self.id, to, fields.term or self.term
  local messages = self.update.messages_after
  if messages then
    messages[#messages + 1] = fields
  else
    self.update.messages_after = { fields }
  end
end

local function add(update, name, item)
  local list = update[name] or {}
  list[#list + 1] = item
  update[name] = list
end

function methods:refuse(event, id, reason)
  add(self.update, "refused", { event = event, id = id, reason = reason, leader = self.leader })
end

function methods:drop(item, reason)
  add(self.update, "dropped", { reason = reason, message = item })
end

function methods:confirm_read(id, index)
  add(self.update, "reads", { id = id, index = index })
end

-- What there is to persist leaves under the next sequence number.
local function hand_out_writes(self, update)
  local view = self.log
  local state = self.term ~= self.handed_term or self.vote ~= self.handed_vote
  if not (state or view.appended or view.truncated_from) then
    return
  end
  self.sequence = self.sequence + 1
  if state then
    update.hard_state = { term = self.term, vote = self.vote }
    self.handed_term, self.handed_vote, self.state_sequence = self.term, self.vote, self.sequence
  end
  update.entries, update.truncate_from = view.appended, view.truncated_from
  update.persisted = { type = "persisted", sequence = self.sequence, index = view.last, term = self.term }
  view:handed_out(update.persisted)
end

-- Committed entries are applied only when they are durable here, too: else, after a crash, the state machine could be
-- ahead of the log. No more is handed out than fits a message, and what is being applied already.
local function hand_out_committed(self, update)
  local to = math.min(self.commit, self.log.persisted)
  if to <= self.handed or self.applying_bytes >= self.options.max_message_bytes or self.installing then
    return
  end
  local entries = self.log:entries(self.handed + 1, self.options.max_message_bytes, to)
  if not entries then
    error(("raft: the log lost the committed entry %d before it was applied"):format(self.handed + 1))
  end
  local bytes = 0
  for i = 1, #entries do
    bytes = bytes + log.size(entries[i])
  end
  self.applying_bytes = self.applying_bytes + bytes
  self.uncommitted_bytes = math.max(0, self.uncommitted_bytes - bytes)
  self.handed = entries[#entries].index
  update.committed = entries
end

local function finish(self, update)
  hand_out_writes(self, update)
  hand_out_committed(self, update)
  self.log:release(self.handed)
  if self.role ~= self.told_role or self.term ~= self.told_term or self.leader ~= self.told_leader then
    self.told_role, self.told_term, self.told_leader = self.role, self.term, self.leader
    update.role = { role = self.role, term = self.term, leader = self.leader }
  end
end

-- ---------------------------------------------------------------- events

local events = {}

function events:tick()
  self:expire_forwarded()
  if self.role == "leader" then
    self:tick_leader()
  elseif self.now >= self.election_deadline then
    if self:is_promotable() then
      self:campaign()
    else
      self.leader = nil -- whoever it was has been silent for long
      self:reset_election_timer()
    end
  end
end

local stale = {}

-- 5.1 of the Raft paper: a request of an older term is refused, so that its sender learns of the newer one.
function stale:append(m)
  self:send("append_response", m.from, { session = m.session, index = m.prev_index, reject = true })
end

function stale:heartbeat(m)
  self:send("append_response", m.from, { session = m.session, index = 0, reject = true })
end

function stale:vote_request(m)
  self:send_after("vote_response", m.from, { granted = false })
end

function stale:pre_vote_request(m)
  self:send("pre_vote_response", m.from, { granted = false })
end

-- What a message's term means before its content does (3.3). Returns true where the message needs no more.
local function settle_term(self, m)
  if m.term < self.term then
    if stale[m.type] then
      stale[m.type](self, m)
    end
    self:drop(m, ("it is of term %d, and this is %d"):format(m.term, self.term))
    return true
  elseif (m.type == "vote_request" or m.type == "pre_vote_request") and not m.transfer and self:has_leader() then
    -- 4.2.3: whoever hears from a leader lets nobody disturb it, and does not take the new term either.
    self:drop(m, "there is a leader")
    return true
  elseif m.term == self.term or m.type == "pre_vote_request" or m.type == "pre_vote_response" and m.granted then
    return false -- a pre-vote's term is one that nobody has yet
  end
  local from_leader = m.type == "append" or m.type == "heartbeat" or m.type == "snapshot"
  self:become_follower(m.term, from_leader and m.from or nil)
  return false
end

local steps = {
  follower = methods.step_follower, pre_candidate = methods.step_candidate, candidate = methods.step_candidate,
  leader = methods.step_leader,
}

function events:message(event)
  local m = event.message
  local fault = message.fault(m, self.id)
  if fault then
    self:drop(m, fault)
  elseif not settle_term(self, m) then
    if m.type == "vote_request" or m.type == "pre_vote_request" then
      self:answer_candidate(m)
    elseif not steps[self.role](self, m) then
      self:drop(m, "it is nothing that a " .. self.role .. " takes")
    end
  end
end

function events:persisted(event)
  if math.type(event.sequence) ~= "integer" or event.sequence > self.sequence then
    return self:drop(event, "nothing with that number was handed out")
  end
  self.durable_sequence = math.max(self.durable_sequence, event.sequence)
  self.log:became_durable(event.sequence)
  if self.role == "leader" then
    self:maybe_commit()
  elseif self.role == "candidate" then
    self:count_own_vote()
  end
end

function events:applied(event)
  local index = event.index
  if math.type(index) ~= "integer" or index > self.handed then
    return self:drop(event, "these entries were not handed out")
  elseif index > self.applied then
    self.applied = index
    if index == self.handed then
      self.applying_bytes = 0
    end
    self:forget_configs(index)
  end
end

function events:campaign()
  if self:has_leader() then -- to which it may have promised a lease
    self:refuse("campaign", nil, "there is a leader")
  elseif not self:is_promotable() then
    self:refuse("campaign", nil, "it cannot be leader now")
  else
    self:campaign()
  end
end

function events:snapshot_saved(event)
  if math.type(event.index) ~= "integer" or event.index > self.applied then
    return self:drop(event, "a snapshot cannot hold more than what was applied")
  end
  self.log:cut(event.index)
end

function events:connected(event)
  self:probe_anew(event.peer)
end

events.unreachable = events.connected
for _, name in ipairs { "propose", "read", "change", "transfer", "snapshot_sent", "snapshot_installed" } do
  events[name] = methods[name]
end

---Takes an event, changes the state, and says what is to be done.
---@param event table
---@return table update
function methods:step(event)
  local handler = events[event.type]
  if not handler then
    error(("raft: there is no event %s"):format(tostring(event.type)), 2)
  end
  local update = {}
  self.update = update
  if event.now and event.now > self.now then -- a clock that goes back stands still
    self.now = event.now
  end
  handler(self, event)
  finish(self, update)
  return update
end

---When the next tick does something, if no event comes before.
---@return number seconds  on the clock that `now` is of
function methods:deadline()
  local at = self.role == "leader" and self.heartbeat_due or self.election_deadline
  if self.forwarded[1] then
    at = math.min(at, self.forwarded[1].deadline)
  end
  return at
end

---What this server knows, for operators and specs.
---@return table
function methods:status()
  local peers = {}
  for i, p in ipairs(self.peer_list) do
    peers[i] = {
      id = p.id, voter = p.voter, state = p.state, match = p.match, next = p.next, silent_for = self.now - p.heard,
    }
  end
  return {
    id = self.id, role = self.role, term = self.term, vote = self.vote, leader = self.leader, commit = self.commit,
    applied = self.applied, first = self.log.first, last = self.log.last, persisted = self.log.persisted,
    config = self.config, config_index = self.config_index, transferee = self.transferee, peers = peers,
  }
end

M.methods = methods

return M
