-- The invariants of Raft (Ongaro, figure 3.2) and what a driver relies on, checked as things happen in spec.raft.model.
-- Knows all servers from the inside; changes nothing.
--
-- Each check compares what a server has just done with a record of what all have done so far, so a step costs little:
-- Log Matching, for instance, holds by induction if any two entries of one index and term have the same payload and the
-- same term before them.

local M = {}

local methods = {}
local metatable = { __index = methods }

local function violated(text, ...)
  error({ violation = text:format(...) }, 0)
end

---@param condition any
---@param text string
function methods:demand(condition, text, ...)
  if not condition then
    violated(text, ...)
  end
end

---@param world table  spec.raft.model's
function M.new(world)
  local self = setmetatable({
    world = world,
    leaders = {}, -- by term
    seen = {}, -- index → term → { payload, prev_term, type }
    committed = {}, -- index → term
    last_committed = 0,
    commit_term = 0, -- of the leader that committed it
    digests = {}, -- index → digest
    acknowledged = 0, -- the highest index whose proposal was answered
    proposed = {}, -- index → term, of proposals that somebody waits for
    promises = {}, -- by server: what it has told others that it holds
    commits = {}, -- by server, since its boot
    terms = {}, -- by server
    reads = {}, -- id → what was acknowledged when it began
    open_reads = 0,
    last_read = 0,
    config_at = 0, -- the latest committed configuration
  }, metatable)
  self.watch = {
    update = function(n, update, event)
      self:stepped(n, update, event)
    end,
    applied = function(n, entry)
      self:applied(n, entry)
    end,
    installed = function(n)
      self:installed(n)
    end,
    fault = function(n, text)
      violated("%s %s", n.id, text)
    end,
  }
  return self
end

-- ---------------------------------------------------------------- a step

local function note_role(self, n, role)
  if role.role ~= "leader" then
    return
  end
  local other = self.leaders[role.term]
  if other == n.id then
    return
  end
  self:demand(not other, "election safety: %s and %s lead term %d", n.id, other, role.term)
  self.leaders[role.term] = n.id
  self.world:count "elections"
  self.world:elected(n)
  local log, last = n.core.log, self.last_committed
  -- Of terms later than that in which the entry was committed: votes may be so late that a newer leader has committed.
  local complete = last <= log.last and (last < log.first - 1 or last == 0 or log:term(last) == self.committed[last])
  self:demand(complete or role.term < self.commit_term,
    "leader completeness: %s leads term %d without the committed entry %d/%d", n.id, role.term, last,
    self.committed[last] or 0)
end

local function note_entries(self, n, entries)
  local prev_term = n.core.log:term(entries[1].index - 1)
  for _, entry in ipairs(entries) do
    local terms = self.seen[entry.index] or {}
    self.seen[entry.index] = terms
    local known = terms[entry.term]
    if not known then
      terms[entry.term] = { payload = entry.payload, prev_term = prev_term, type = entry.type }
    elseif known.payload ~= entry.payload or known.prev_term ~= prev_term or known.type ~= entry.type then
      violated("log matching: %s has another entry at %d/%d", n.id, entry.index, entry.term)
    end
    prev_term = entry.term
  end
end

-- Whether the server would still hold the entry after a crash.
local function holds(n, index, term)
  return n.disk.store.applied >= index or n.disk.log:term(index) == term
end

-- The first that knows an entry to be committed is the leader that has counted; a majority must hold it by then.
local function note_commit(self, n)
  local log, commit = n.core.log, n.core.commit
  for index = math.max(self.last_committed + 1, log.first), commit do
    self.committed[index] = log:term(index)
  end
  if commit > self.last_committed then
    self.last_committed, self.commit_term = commit, n.core.term
    self.world:count "commits"
    local count, members = 0, n.core.config
    for _, id in ipairs(members.voters) do
      count = count + (holds(self.world.nodes[id], commit, log:term(commit)) and 1 or 0)
    end
    self:demand(count >= members.quorum, "%s commits %d, which %d of %d voters hold durably", n.id, commit, count,
      #members.voters)
  elseif commit >= log.first then
    self:demand(log:term(commit) == self.committed[commit],
      "state machine safety: %s commits %d/%d, and elsewhere it is of term %d", n.id, commit, log:term(commit) or 0,
      self.committed[commit])
  end
end

local function note_progress(self, n)
  for _, p in ipairs(n.core.peer_list) do
    self:demand(p.match >= (p.checked_match or 0), "the match of %s at %s goes back", p.id, n.id)
    if p.match ~= p.checked_match then
      p.checked_match = p.match
      local peer, term = self.world.nodes[p.id], n.core.log:term(p.match)
      -- While the leader leads, nobody may drop what was acknowledged to it.
      self:demand(peer.disk.state.term ~= n.core.term or not term or holds(peer, p.match, term),
        "%s counts on %s for entries up to %d, which it does not hold", n.id, p.id, p.match)
    end
  end
end

function methods:stepped(n, update, event)
  local c = n.core
  if self.world.lines then
    self:tell(n, update, event)
  end
  self:demand(c.term >= (self.terms[n.id] or 0), "the term of %s goes back to %d", n.id, c.term)
  self.terms[n.id] = c.term
  if update.entries then
    note_entries(self, n, update.entries)
  end
  if update.role then
    note_role(self, n, update.role)
  end
  if c.commit ~= self.commits[n.id] then
    self:demand(c.commit > (self.commits[n.id] or 0), "the commit index of %s goes back to %d", n.id, c.commit)
    self.commits[n.id] = c.commit
    note_commit(self, n)
  end
  if c.role == "leader" then
    note_progress(self, n)
  end
  if update.proposed then
    for index = update.proposed.first, update.proposed.last do
      self.proposed[index] = { term = update.proposed.term, at = n.id, boot = n.boots }
    end
    if event.type == "change" then
      self.world:count "changes"
    end
  end
  for _, read in ipairs(update.reads or {}) do
    local wanted = self.reads[read.id]
    self:demand(wanted, "%s answers read %s, which nobody waits for", n.id, read.id)
    self:demand(read.index >= wanted.acknowledged,
      "linearizability: read %s at %s may miss entry %d, which was acknowledged before it began: index %d", read.id,
      n.id, wanted.acknowledged, read.index)
    self:close_read(read.id)
    self.world:count "reads"
  end
  for _, refusal in ipairs(update.refused or {}) do
    if refusal.event == "read" then
      self:close_read(refusal.id)
    end
  end
end

-- ---------------------------------------------------------------- applying

function methods:applied(n, entry)
  local index = entry.index
  self:demand(self.committed[index] == entry.term, "state machine safety: %s applies %d/%d, and committed is term %s",
    n.id, index, entry.term, tostring(self.committed[index]))
  self:demand(self.digests[index] == nil or self.digests[index] == n.store.digest,
    "the state machine of %s differs at %d", n.id, index)
  self.digests[index] = n.store.digest
  local waits = self.proposed[index]
  if waits and waits.term == entry.term and waits.at == n.id and waits.boot == n.boots then
    self.acknowledged = math.max(self.acknowledged, index)
    self.world:count "acknowledged"
  end
  if entry.type == 3 and index > self.config_at then
    self.config_at = index
    self.world:count "changes committed"
  end
end

function methods:installed(n)
  self.world:count "snapshots"
  local index = n.store.applied
  self:demand(index >= (self.commits[n.id] or 0), "a snapshot takes %s back to %d", n.id, index)
  self:demand(self.digests[index] == n.store.digest, "the snapshot of %s differs at %d", n.id, index)
  self.commits[n.id] = index
end

-- ---------------------------------------------------------------- what is promised

---A message leaves: what it promises must hold over crashes.
function methods:leaving(n, m)
  local promise = self.promises[n.id] or { vote_term = 0, ack_term = 0, ack_index = 0 }
  self.promises[n.id] = promise
  if m.type == "vote_response" and m.granted then
    self:demand(m.term > promise.vote_term or m.term == promise.vote_term and m.to == promise.vote,
      "%s votes for %s in term %d, after %s", n.id, m.to, m.term, tostring(promise.vote))
    promise.vote_term, promise.vote = m.term, m.to
    self:demand(n.disk.state.term > m.term or n.disk.state.term == m.term and n.disk.state.vote == m.to,
      "%s gives a vote in term %d that is not durable", n.id, m.term)
  elseif m.type == "vote_request" then
    self:demand(m.term > promise.vote_term or m.term == promise.vote_term and promise.vote == n.id,
      "%s votes for itself in term %d, after %s", n.id, m.term, tostring(promise.vote))
    promise.vote_term, promise.vote = m.term, n.id
    self:demand(n.disk.state.term >= m.term, "%s stands for term %d, which is not durable", n.id, m.term)
  elseif m.type == "append_response" and not m.reject then
    if m.term > promise.ack_term then
      promise.ack_term, promise.ack_index = m.term, 0
    end
    if m.term == promise.ack_term then
      promise.ack_index = math.max(promise.ack_index, m.index)
    end
    self:kept(n, promise, "acknowledges")
  end
end

-- An acknowledgement holds for its term: a later leader may replace what is not committed.
function methods:kept(n, promise, verb)
  local disk = n.disk
  if disk.state.term == promise.ack_term then
    local last = math.max(disk.log:last_index(), disk.store.applied)
    self:demand(last >= promise.ack_index, "%s %s %d in term %d, and holds %d", n.id, verb, promise.ack_index,
      promise.ack_term, last)
  end
end

---Before a restart: what the disk holds.
function methods:booting(n)
  local promise = self.promises[n.id]
  if promise then
    local state = n.disk.state
    self:demand(state.term >= promise.vote_term and state.term >= promise.ack_term,
      "%s restarts in term %d, and has answered in %d", n.id, state.term, math.max(promise.vote_term, promise.ack_term))
    self:demand(state.term > promise.vote_term or state.vote == promise.vote, "%s restarts without its vote", n.id)
    self:kept(n, promise, "restarts after it acknowledged")
  end
  self.terms[n.id] = n.disk.state.term
end

function methods:booted(n)
  self.commits[n.id] = n.core.commit
  for id, read in pairs(self.reads) do -- in any order: nothing is said
    if read.at == n.id then
      self:close_read(id)
    end
  end
end

-- ---------------------------------------------------------------- reads

function methods:read_begins(n)
  self.last_read = self.last_read + 1
  self.reads[self.last_read] = { acknowledged = self.acknowledged, at = n.id }
  self.open_reads = self.open_reads + 1
  return self.last_read
end

function methods:close_read(id)
  if self.reads[id] then
    self.reads[id] = nil
    self.open_reads = self.open_reads - 1
  end
end

-- ---------------------------------------------------------------- the end

---@return spec.raft.node?  the one that leads the latest term
function methods:leader()
  local found
  for _, id in ipairs(self.world.ids) do
    local c = self.world.nodes[id].core
    if c and c.role == "leader" and (not found or c.term > found.core.term) then
      found = self.world.nodes[id]
    end
  end
  return found
end

---@param index integer
---@return boolean  whether every member has applied this, and no read waits
function methods:has_converged(index)
  local leader = self:leader()
  for _, id in ipairs(leader and leader.core.config.ids or {}) do
    if self.world.nodes[id].store.applied < index then
      return false
    end
  end
  return leader ~= nil and self.open_reads == 0
end

---@param index integer  every member must have applied this
function methods:converged(index)
  local leader = self:leader()
  self:demand(leader, "the leader was lost in a calm network")
  for _, id in ipairs(leader.core.config.ids) do
    local n = self.world.nodes[id]
    self:demand(n.store.applied >= index, "%s has applied %d, and not %d, long after the faults ended", id,
      n.store.applied, index)
  end
  for id, read in pairs(self.reads) do -- in any order: any of them will do
    violated("read %d at %s was never answered", id, read.at)
  end
end

-- ---------------------------------------------------------------- words

function methods:tell(n, update, event)
  local m = event.message
  local words = { n.id, event.type }
  if m then
    words[#words + 1] = ("%s from %s term %s"):format(m.type, tostring(m.from), tostring(m.term))
    for _, name in ipairs {
      "granted", "session", "prev_index", "prev_term", "commit", "index", "reject", "round", "log_term", "last_index",
      "last_term",
    } do
      if m[name] ~= nil then
        words[#words + 1] = ("%s=%s"):format(name, tostring(m[name]))
      end
    end
    for _, entry in ipairs(m.entries or {}) do
      words[#words + 1] = ("%d/%d:%s"):format(entry.index, entry.term, entry.payload)
    end
  end
  if update.role then
    words[#words + 1] = ("-> %s of %d"):format(update.role.role, update.role.term)
  end
  for _, dropped in ipairs(update.dropped or {}) do
    words[#words + 1] = "(" .. dropped.reason .. ")"
  end
  words[#words + 1] = ("[term %d last %d commit %d persisted %d]"):format(n.core.term, n.core.log.last, n.core.commit,
    n.core.log.persisted)
  self.world:say("%s", (table.concat(words, " "):gsub("\n", ";")))
end

return M
