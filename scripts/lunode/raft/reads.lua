-- Linearizable reads without log entries (6.4): the leader gives the commit index once a quorum has confirmed, by
-- answering a heartbeat sent after the question, that it still led. Part of core.lua: methods of a raft.
--
-- Reads that come while a round of heartbeats is under way wait for the next one: an answer to a heartbeat says nothing
-- of what was asked after it was sent.

local M = {}

local function answer(self, read, index)
  if read.from then
    self:send("read_response", read.from, { context = read.context, index = index })
  else
    self:confirm_read(read.id, index)
  end
end

local function refuse(self, read, reason)
  if not read.from then -- a peer learns it from the term, or from the silence
    self:refuse("read", read.id, reason)
  end
end

-- 6.4.1: a quorum has promised, when it answered a heartbeat sent at `from`, to let nobody else lead for an election
-- timeout. Its clocks may run faster than this one, by the factor `clock_drift` at most.
local function has_lease(self)
  if not self.options.lease_reads or self.lease_void then
    return false
  end
  local from = self:quorum_value("lease_from", self.now)
  return self.now < from + self.options.election_timeout / self.options.clock_drift
end

---Whether an entry of its term is committed. Before, a leader does not know what is (6.4, step 1).
local function knows_commit(self)
  return self.commit >= self.noop_index
end

---Begins a round for all reads that wait, unless one is under way.
function M:start_round()
  if self.round_reads or #self.waiting_reads == 0 or not knows_commit(self) then
    return
  end
  self.round = self.round + 1
  self.round_reads, self.waiting_reads = self.waiting_reads, {}
  self.round_index = self.commit
  self:broadcast_heartbeat()
  self:confirm_round()
end

---Answers the reads of the round when a quorum has answered it.
function M:confirm_round()
  local reads = self.round_reads
  if not reads or self:quorum_value("round", self.round) < self.round then
    return
  end
  self.round_reads = nil
  self.reads_count = self.reads_count - #reads
  for _, read in ipairs(reads) do
    answer(self, read, self.round_index)
  end
  self:start_round()
end

---@param read { id: any }|{ from: string, context: integer }
function M:take_read(read)
  if knows_commit(self) and has_lease(self) then
    return answer(self, read, self.commit)
  elseif self.reads_count >= self.options.max_reads then
    if read.from then
      return self:send("read_response", read.from, { context = read.context, reject = true })
    end
    return refuse(self, read, "too many reads are waiting")
  end
  self.reads_count = self.reads_count + 1
  self.waiting_reads[#self.waiting_reads + 1] = read
  self:start_round()
end

---@param event { id: any }
function M:read(event)
  if self.role == "leader" then
    return self:take_read { id = event.id }
  elseif not self.leader then
    return self:refuse("read", event.id, "there is no leader")
  elseif #self.forwarded >= self.options.max_reads then
    return self:refuse("read", event.id, "too many reads are waiting")
  end
  -- A context is never used twice: an answer that was late for one read must not serve another.
  self.context = self.context + 1
  self.forwarded[#self.forwarded + 1] = {
    context = self.context, id = event.id, deadline = self.now + self.options.election_timeout,
  }
  self:send("read_request", self.leader, { context = self.context })
end

---@param m table  a read_response
function M:forwarded_answer(m)
  for i, read in ipairs(self.forwarded) do
    if read.context == m.context then
      table.remove(self.forwarded, i)
      if m.reject or not m.index then
        return self:refuse("read", read.id, "the leader has refused it")
      end
      return self:confirm_read(read.id, m.index)
    end
  end
  self:drop(m, "nobody waits for it")
end

---Reads that the leader has not answered within an election timeout: the question or the answer is lost.
function M:expire_forwarded()
  while self.forwarded[1] and self.now >= self.forwarded[1].deadline do
    self:refuse("read", table.remove(self.forwarded, 1).id, "the leader does not answer")
  end
end

---Whatever waits for a leader that is none any more.
---@param reason string
function M:fail_reads(reason)
  for _, reads in ipairs { self.round_reads or {}, self.waiting_reads, self.forwarded } do
    for _, read in ipairs(reads) do
      refuse(self, read, reason)
    end
  end
  self.round_reads, self.waiting_reads, self.forwarded, self.reads_count = nil, {}, {}, 0
end

return M
