-- Elections: pre-votes, votes, and the election that a leader asks for. Part of core.lua: methods of a raft.

local M = {}

-- A majority cannot be had from fewer than these answers.
local function tally(self)
  local granted, refused = 0, 0
  for _, id in ipairs(self.config.voters) do -- not learners (4.2.1), nor itself where it was removed (4.2.2)
    if self.votes[id] then
      granted = granted + 1
    elseif self.votes[id] == false then
      refused = refused + 1
    end
  end
  if granted >= self.config.quorum then
    return "won"
  elseif #self.config.voters - refused < self.config.quorum then
    return "lost"
  end
end

-- Who won the pre-vote runs; who won the election leads.
local function conclude(self)
  local outcome = tally(self)
  if outcome == "lost" then
    self:become_follower(self.term, nil)
  elseif outcome == "won" and self.role == "pre_candidate" then
    self:start_election(false)
  elseif outcome == "won" then
    self:become_leader()
  end
end

---One to two election timeouts from now, so that servers seldom run at the same time (3.4).
function M:reset_election_timer()
  self.election_deadline = self.now + self.options.election_timeout * (1 + self.random())
end

---Whether it may stand for election: a voter whose state machine is not being replaced. One that is no voter any more
---stands until that is committed: nobody else may have the entry that lets others go on without it (4.2.2).
---@return boolean
function M:is_promotable()
  if self.installing then
    return false
  end
  local before = self.config_index > self.commit and self.configs[#self.configs - 1]
  return self.config:is_voter(self.id) or before and before.config:is_voter(self.id) or false
end

---4.2.3: whether a leader was heard within the least election timeout. Then nobody else gets a vote, on which leases
---rest (6.4.1). A leader believes in itself until it misses its quorum.
---@return boolean
function M:has_leader()
  return self.role == "leader"
    or (self.leader ~= nil or self.quiet) and self.now < self.heard + self.options.election_timeout
end

---Asks whether an election could be won (9.6).
function M:campaign()
  self:become_pre_candidate()
  for _, id in ipairs(self.config.voters) do
    if id ~= self.id then
      self:send("pre_vote_request", id, {
        term = self.term + 1, last_index = self.log.last, last_term = self.log.last_term,
      })
    end
  end
  conclude(self)
end

---The requests leave when the log's end and the vote for itself are durable: it stands for what it would still hold
---after a crash (3.8).
---@param transfer boolean  the leader asked for it, so votes need not wait for its silence (4.2.3)
function M:start_election(transfer)
  self:become_candidate()
  self.transfer_campaign = transfer
  for _, id in ipairs(self.config.voters) do
    if id ~= self.id then
      self:send_after("vote_request", id, {
        last_index = self.log.last, last_term = self.log.last_term, transfer = transfer or nil,
      })
    end
  end
end

---Its own vote is one as any other: it counts when a crash cannot take it back.
function M:count_own_vote()
  if self.durable_sequence >= self.state_sequence then
    self.votes[self.id] = true
    conclude(self)
  end
end

---A vote goes, once in a term, to a candidate that has every entry this server has (3.6.1), those on their way to the
---disk included: their acknowledgements may be on their way, too. The answer leaves when the vote and all that it was
---weighed against are durable.
---@param m table
function M:answer_candidate(m)
  if #self.config.ids == 0 then
    -- It may be one that lost its disk, and has voted and acknowledged before. Nobody counts on it: who is promoted has
    -- the configuration in its log.
    return self:drop(m, "this server has not joined a cluster yet")
  end
  local up_to_date = self.log:is_up_to_date(m.last_index, m.last_term)
  if m.type == "pre_vote_request" then
    local granted = up_to_date and m.term > self.term
    -- Refused with its own term, so that a candidate that fell behind learns it.
    self:send("pre_vote_response", m.from, { term = granted and m.term or self.term, granted = granted })
    return
  end
  local granted = up_to_date and (self.vote == m.from or self.vote == nil and self.leader == nil)
  if granted then
    self.vote = m.from
    self:reset_election_timer()
  end
  self:send_after("vote_response", m.from, { granted = granted })
end

local on = {}

function on:pre_vote_response(m)
  if self.role == "pre_candidate" and (m.term == self.term + 1 or not m.granted) then
    self.votes[m.from] = m.granted
    conclude(self)
  end
end

function on:vote_response(m)
  if self.role == "candidate" then
    self.votes[m.from] = m.granted
    conclude(self)
  end
end

-- 3.4: somebody else has won this term, or leads it still.
local function follow(self, m)
  self:become_follower(m.term, m.from)
  return self:step_follower(m)
end

on.append, on.heartbeat, on.snapshot = follow, follow, follow

---@param m table
---@return boolean taken
function M:step_candidate(m)
  local handler = on[m.type]
  if not handler then
    return false
  elseif (m.type == "vote_response" or m.type == "pre_vote_response") and not self.config.members[m.from] then
    self:drop(m, "its sender is not a member")
    return true
  end
  handler(self, m)
  return true
end

return M
