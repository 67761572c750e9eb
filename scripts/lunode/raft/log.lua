-- The log as core sees it: what the driver has stored, and before that the entries handed out to be persisted. Keeps
-- account of what is persisted. Stores nothing itself: entries to write leave through core's updates.
--
-- Entries stay in memory until they are persisted and handed out to be applied, so the steady state reads no storage.

local M = {}

---@class lunode.raft.entry
---@field index integer
---@field term integer
---@field type integer  one of raft.COMMAND, raft.NOOP, raft.CONFIG
---@field payload string

---@class lunode.raft.log
---@field storage lunode.raft.log_access
---@field first integer  index of the first entry that can be read
---@field last integer
---@field last_term integer
---@field persisted integer  every entry up to here is durable on this server
---@field private tail table<integer, lunode.raft.entry>  by index, from `tail_first` to `last`
---@field private tail_first integer
---@field private tail_bytes integer
---@field private cache_bytes integer  past this, persisted entries leave the tail before they are applied
---@field private writes { sequence: integer, index: integer }[]  handed out, not durable yet: first to last
---@field private writes_first integer
---@field private writes_last integer
---@field appended lunode.raft.entry[]?  in this step
---@field truncated_from integer?  in this step
---@field private slice lunode.raft.entry[]?  what `entries` gave last: peers that keep up are sent the same list
---@field private slice_from integer
---@field private slice_last integer
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.log" }

-- What an entry costs beside its payload, about.
local OVERHEAD = 64

---@param entry lunode.raft.entry
---@return integer
function M.size(entry)
  return #entry.payload + OVERHEAD
end

local size = M.size

---@param storage lunode.raft.log_access
---@param cache_bytes integer
---@return lunode.raft.log
function M.new(storage, cache_bytes)
  local last = storage:last_index()
  return setmetatable({
    storage = storage,
    first = storage:first_index(),
    last = last,
    last_term = storage:term(last),
    persisted = last,
    tail = {},
    tail_first = last + 1,
    tail_bytes = 0,
    cache_bytes = cache_bytes,
    writes = {},
    writes_first = 1,
    writes_last = 0,
    appended = nil,
    truncated_from = nil,
    slice = nil,
    slice_from = 0,
    slice_last = 0,
  }, metatable)
end

---@param index integer
---@return integer? term  from first - 1 to last
function methods:term(index)
  if index == self.last then
    return self.last_term
  end
  local entry = self.tail[index]
  if entry then
    return entry.term
  elseif index >= self.first - 1 and index < self.tail_first then
    return self.storage:term(index)
  end
end

---Entries from `from` on that fit into max_bytes, at least one. The list may be shared: do not change it.
---@param from integer
---@param max_bytes integer
---@param to? integer  (default: the last one)
---@return lunode.raft.entry[]?  nil where the log does not reach back to `from` any more
function methods:entries(from, max_bytes, to)
  to = to or self.last
  if from < self.first then
    return nil
  elseif self.slice and self.slice_from == from and self.slice_last == to then
    return self.slice
  end
  local list
  if from < self.tail_first then
    list = self.storage:entries(from, math.min(to, self.tail_first - 1), max_bytes)
    if not list or not list[1] or list[1].index ~= from then
      return nil
    end
  else
    list = {}
  end
  local bytes = 0
  for i = 1, #list do
    bytes = bytes + size(list[i])
  end
  local n = #list
  for index = math.max(from + n, self.tail_first), from + n >= self.tail_first and to or 0 do
    local entry = self.tail[index]
    bytes = bytes + size(entry)
    if bytes > max_bytes and n > 0 then
      break
    end
    n = n + 1
    list[n] = entry
  end
  self.slice, self.slice_from, self.slice_last = list, from, to
  return list
end

---@param entry lunode.raft.entry  index last + 1
function methods:append(entry)
  local index = entry.index
  self.tail[index] = entry
  self.tail_bytes = self.tail_bytes + size(entry)
  self.last, self.last_term = index, entry.term
  local appended = self.appended
  if appended then
    appended[#appended + 1] = entry
  else
    self.appended = { entry }
  end
end

---Drops the entries from `from` on. What was on its way to the disk and is dropped does not count as persisted when it
---gets there: something else will be at its place.
---@param from integer  at least first
function methods:truncate(from)
  self.last_term = assert(self:term(from - 1))
  for index = math.max(from, self.tail_first), self.last do
    self.tail_bytes = self.tail_bytes - size(self.tail[index])
    self.tail[index] = nil
  end
  self.last = from - 1
  self.tail_first = math.min(self.tail_first, from)
  self.persisted = math.min(self.persisted, from - 1)
  for i = self.writes_first, self.writes_last do
    self.writes[i].index = math.min(self.writes[i].index, from - 1)
  end
  self.truncated_from, self.slice = from, nil
end

---The entries of this step, and all before, leave to be persisted.
---@param write { sequence: integer, index: integer }  index: the last one
function methods:handed_out(write)
  self.writes_last = self.writes_last + 1
  self.writes[self.writes_last] = write
  self.appended, self.truncated_from = nil, nil
end

---All that was handed out up to this sequence is durable.
---@param sequence integer
function methods:became_durable(sequence)
  while self.writes_first <= self.writes_last and self.writes[self.writes_first].sequence <= sequence do
    self.persisted = math.max(self.persisted, self.writes[self.writes_first].index)
    self.writes[self.writes_first] = nil
    self.writes_first = self.writes_first + 1
  end
end

---Lets go of what is persisted and handed out to be applied.
---@param applying integer
function methods:release(applying)
  local tail, index = self.tail, self.tail_first
  while index <= self.persisted and (index <= applying or self.tail_bytes > self.cache_bytes) do
    self.tail_bytes = self.tail_bytes - size(tail[index])
    tail[index] = nil
    index = index + 1
  end
  self.tail_first = index
end

---The log was cut: entries up to `index` are gone.
---@param index integer
function methods:cut(index)
  self.first = math.max(self.first, index + 1)
  self.slice = nil
end

---Begins anew behind an installed snapshot.
---@param index integer
---@param term integer
function methods:reset(index, term)
  self.first, self.last, self.last_term, self.persisted = index + 1, index, term, index
  self.tail, self.tail_first, self.tail_bytes, self.slice = {}, index + 1, 0, nil
  for i = self.writes_first, self.writes_last do
    self.writes[i].index = index
  end
end

---Whether a log that ends so is at least as up to date as this one (3.6.1): the later last term wins, then the length.
---@param index integer
---@param term integer
---@return boolean
function methods:is_up_to_date(index, term)
  return term > self.last_term or term == self.last_term and index >= self.last
end

---The last index up to `index` whose term is at most `term`: where the logs of two servers may agree at best, so one
---exchange skips all conflicting entries of a term (5.3 of the Raft paper, from both sides).
---@param index integer
---@param term integer
---@return integer index, integer term  term 0 where the log does not reach back so far
function methods:last_at_most(index, term)
  local low, high = self.first - 1, math.min(index, self.last)
  if high < low then
    return high, 0
  end
  while low < high do -- terms never go down, so this is a binary search
    local middle = (low + high + 1) // 2
    if self:term(middle) <= term then
      low = middle
    else
      high = middle - 1
    end
  end
  return low, self:term(low)
end

return M
