-- What a follower does: take entries, commits and snapshots from the leader. Part of core.lua: methods of a raft.

local config = require "lunode.raft.config"

local M = {}

-- The leader vouches for this index: it agrees with its log up to there.
local function commit_to(self, index)
  if index > self.commit then
    self.commit = index
  end
end

-- Takes those entries that are not here, and drops what stands in their way. An entry that is here is left alone,
-- with all that follows it: messages may be older than the log (5.3 of the Raft paper: only a conflict truncates).
local function take_entries(self, entries, from)
  for i = from, #entries do
    local entry = entries[i]
    local term = self.log:term(entry.index)
    if term ~= entry.term then
      if term then
        self.log:truncate(entry.index)
        self:roll_back_configs(entry.index)
      end
      for j = i, #entries do
        self.log:append(entries[j])
        self:note_entry(entries[j])
      end
      return
    end
  end
end

local function refuse(self, m)
  local index, term = self.log:last_at_most(m.prev_index - 1, m.prev_term)
  self:send_after("append_response", m.from, {
    session = m.session, index = m.prev_index, reject = true, hint_index = index, hint_term = term,
  })
end

local on = {}

-- 3.5 with what of the message is committed here left out: that agrees with every later leader's log (3.6.3), and may
-- have been cut off.
function on:append(m)
  if self.installing then
    return self:drop(m, "a snapshot is being installed") -- what was taken now would go with the old log
  end
  local last = m.prev_index + #m.entries
  local skip = math.max(0, self.commit - m.prev_index)
  if skip == 0 and self.log:term(m.prev_index) ~= m.prev_term then
    return refuse(self, m)
  end
  take_entries(self, m.entries, skip + 1)
  commit_to(self, math.min(m.commit, last)) -- behind `last` are entries that nobody has compared
  self:send_after("append_response", m.from, { session = m.session, index = math.max(last, self.commit) })
end

function on:heartbeat(m)
  if m.commit > self.log.last then
    return self:drop(m, "the leader believes that entries are here which are not: this server has lost its log")
  end
  if not self.installing then -- what is committed meanwhile comes with the new log
    commit_to(self, m.commit)
  end
  self:send("heartbeat_response", m.from, { session = m.session, round = m.round, sent = m.sent })
end

-- Chapter 5. The driver has received all of it. A snapshot that only holds what is here already is answered at once.
function on:snapshot(m)
  if self.installing then
    return self:drop(m, "a snapshot is being installed")
  elseif m.index <= self.commit or self.log:term(m.index) == m.log_term then
    commit_to(self, m.index)
    self:drop(m, "all that it holds is here")
    self:send_after("append_response", m.from, { session = m.session, index = m.index })
    return
  end
  self.installing = {
    index = m.index, log_term = m.log_term, config = m.config, term = m.term, from = m.from, session = m.session,
  }
  self.update.install = { index = m.index, log_term = m.log_term, config = m.config }
end

function on:timeout_now(m)
  if not self:is_promotable() then
    return self:drop(m, "this server cannot be leader now")
  end
  self:start_election(true)
end

function on:read_response(m)
  self:forwarded_answer(m)
end

local from_leader = { append = true, heartbeat = true, snapshot = true, timeout_now = true }

---@param m table
---@return boolean taken
function M:step_follower(m)
  local handler = on[m.type]
  if not handler then
    return false
  end
  if from_leader[m.type] then
    if self.leader and self.leader ~= m.from then
      self:drop(m, ("%s leads this term"):format(self.leader))
      return true
    end
    self.leader, self.heard = m.from, self.now
    self:reset_election_timer()
  end
  handler(self, m)
  return true
end

---The snapshot has taken the place of log and state machine, or could not. Terms and leaders may have changed
---meanwhile: what it holds is committed all the same.
---@param event { index: integer, log_term: integer, ok: boolean }
function M:snapshot_installed(event)
  local installing = self.installing
  if not installing or event.index ~= installing.index or event.log_term ~= installing.log_term then
    return self:drop(event, "no such snapshot is being installed")
  end
  self.installing = nil
  if not event.ok then
    return
  end
  self.log:reset(installing.index, installing.log_term)
  self.commit, self.handed, self.applied, self.applying_bytes = installing.index, installing.index, installing.index, 0
  self:reset_configs(installing.index, assert(config.decode(installing.config)))
  if self.term == installing.term and self.leader == installing.from then
    self:send("append_response", installing.from, { session = installing.session, index = installing.index })
  end
end

return M
