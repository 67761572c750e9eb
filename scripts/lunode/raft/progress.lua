-- What a leader knows of one other server: how far its log agrees, and how much may be on the way to it. Sends nothing.
--
-- probe      how far the logs agree is not known: one message at a time
-- replicate  they agree up to `match`: entries are sent ahead of the answers (pipelining, 10.2.1), within limits
-- snapshot   it needs entries that were cut off: nothing is sent until it has a snapshot

local M = {}

---@class lunode.raft.progress
---@field id string
---@field voter boolean
---@field state "probe"|"replicate"|"snapshot"
---@field session integer  of the connection and of this very progress: answers with another one are dropped
---@field match integer  the last index known to be persisted there
---@field next integer  the first to send
---@field paused boolean  probing, and an answer is awaited
---@field heard number  when something last came from it
---@field lease_from number  when the latest heartbeat that it answered was sent
---@field round integer  the latest round of heartbeats that it answered
---@field commit_sent integer  the commit index it was told last
---@field snapshot_index integer  of the snapshot under way; 0: none
---@field private inflight integer[]  the last index of each message on the way, a queue
---@field private inflight_sizes integer[]  their bytes
---@field private inflight_first integer
---@field private inflight_last integer
---@field private inflight_bytes integer
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.progress" }

---@param id string
---@param voter boolean
---@param session integer
---@param next_index integer
---@param now number
---@return lunode.raft.progress
function M.new(id, voter, session, next_index, now)
  return setmetatable({
    id = id,
    voter = voter,
    state = "probe",
    session = session,
    match = 0,
    next = next_index,
    paused = false,
    heard = now,
    lease_from = -math.huge,
    round = 0,
    commit_sent = 0,
    snapshot_index = 0,
    inflight = {},
    inflight_sizes = {},
    inflight_first = 1,
    inflight_last = 0,
    inflight_bytes = 0,
  }, metatable)
end

local function clear(self)
  self.inflight, self.inflight_sizes = {}, {}
  self.inflight_first, self.inflight_last, self.inflight_bytes = 1, 0, 0
  self.paused, self.snapshot_index = false, 0
end

---@param next_index? integer  (default: behind what is known to agree)
function methods:become_probe(next_index)
  clear(self)
  self.state = "probe"
  self.next = math.max(self.match + 1, next_index or 0)
end

function methods:become_replicate()
  clear(self)
  self.state = "replicate"
  self.next = self.match + 1
end

---@param index integer
function methods:become_snapshot(index)
  clear(self)
  self.state = "snapshot"
  self.snapshot_index = index
end

---@param max_messages integer
---@param max_bytes integer
---@return boolean  whether entries may be sent
function methods:may_send(max_messages, max_bytes)
  if self.state == "replicate" then
    return self.inflight_last - self.inflight_first + 1 < max_messages and self.inflight_bytes < max_bytes
  end
  return self.state == "probe" and not self.paused
end

---@param last integer  the last index sent
---@param bytes integer
function methods:sent(last, bytes)
  if self.state == "replicate" then
    self.next = last + 1
    self.inflight_last = self.inflight_last + 1
    self.inflight[self.inflight_last], self.inflight_sizes[self.inflight_last] = last, bytes
    self.inflight_bytes = self.inflight_bytes + bytes
  else
    self.paused = true
  end
end

---It has persisted entries that agree up to `index`.
---@param index integer
---@return boolean advanced
function methods:acknowledged(index)
  local advanced = index > self.match
  self.match = math.max(self.match, index)
  self.next = math.max(self.next, index + 1)
  while self.inflight_first <= self.inflight_last and self.inflight[self.inflight_first] <= index do
    local first = self.inflight_first
    self.inflight_bytes = self.inflight_bytes - self.inflight_sizes[first]
    self.inflight[first], self.inflight_sizes[first] = nil, nil
    self.inflight_first = first + 1
  end
  return advanced
end

---Whether the refusal of an append behind `prev_index` answers what is being tried now. Messages may be reordered, and
---an older answer must not take `next` back.
---@param prev_index integer
---@return boolean
function methods:is_current_refusal(prev_index)
  if self.state == "replicate" then
    return prev_index > self.match
  end
  return self.state == "probe" and prev_index == self.next - 1
end

return M
