-- A queue of what is to happen, by time and, at equal times, by order of adding: an indexed binary heap, so that an
-- entry can also be taken out. Does not run anything.
--
-- An entry is the caller's table. Its fields `at` (the time), `order` and `index` (0: not in the queue) are ours.

local M = {}

---@class lunode.sim.events
---@field count integer
---@field orders integer  entries added so far
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.events" }

---@return lunode.sim.events
function M.new()
  return setmetatable({ count = 0, orders = 0 }, metatable) -- the entries are in the array part
end

local function up(heap, index, entry)
  local at, order = entry.at, entry.order
  while index > 1 do
    local parent = heap[index // 2]
    local parent_at = parent.at
    if parent_at < at or parent_at == at and parent.order < order then
      break
    end
    heap[index], parent.index = parent, index
    index = index // 2
  end
  heap[index], entry.index = entry, index
end

local function down(heap, index, entry)
  local at, order, count = entry.at, entry.order, heap.count
  while true do
    local next_index = 2 * index
    if next_index > count then
      break
    end
    local child = heap[next_index]
    if next_index < count then
      local other = heap[next_index + 1]
      if other.at < child.at or other.at == child.at and other.order < child.order then
        child, next_index = other, next_index + 1
      end
    end
    local child_at = child.at
    if at < child_at or at == child_at and order < child.order then
      break
    end
    heap[index], child.index = child, index
    index = next_index
  end
  heap[index], entry.index = entry, index
end

---Adds an entry that is in no queue.
---@param entry table
---@param at number
function methods:add(entry, at)
  local order = self.orders + 1
  local count = self.count + 1
  self.orders, self.count = order, count
  entry.at, entry.order = at, order
  up(self, count, entry)
end

---Takes an entry out, if it is in.
---@param entry table
function methods:remove(entry)
  local index, count = entry.index, self.count
  if index == 0 then
    return
  end
  local last = self[count]
  self[count], self.count, entry.index = nil, count - 1, 0
  if last ~= entry then
    local parent = index > 1 and self[index // 2]
    if parent and (last.at < parent.at or last.at == parent.at and last.order < parent.order) then
      up(self, index, last)
    else
      down(self, index, last)
    end
  end
end

---Takes the first entry out.
---@return table entry  there has to be one
function methods:pop()
  local first, count = self[1], self.count
  local last = self[count]
  self[count], self.count, first.index = nil, count - 1, 0
  if last ~= first then
    down(self, 1, last)
  end
  return first
end

return M
