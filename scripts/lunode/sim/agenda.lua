-- What is to happen in a world, by virtual time and, at equal times, in the order of adding. Made for speed: a binary
-- heap of times beside their entries, and a plain list for what is to happen at once, which is most of it. Entries
-- are not taken out: those with `cancelled` set are passed over.
--
-- An entry is a table with fn, a and b; `order` is ours.

local M = {}

---@class lunode.sim.agenda
---@field count integer  entries in the heap
---@field now number     the time of the entry that was taken last
---@field private order integer
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.agenda" }

---@return lunode.sim.agenda
function M.new()
  return setmetatable({
    now = 0.0,
    count = 0,
    order = 0,
    times = {},
    entries = {},
    ready = {}, -- what is to happen now, after all of the heap that is due: all of that was added before
    first = 1, -- of ready
    last = 0,
  }, metatable)
end

---@param entry table
---@param at number  not before now
function methods:add(entry, at)
  if at <= self.now then
    local last = self.last + 1
    self.ready[last], self.last = entry, last
    return
  end
  local order, times, entries = self.order + 1, self.times, self.entries
  local index = self.count + 1
  self.order, self.count, entry.order = order, index, order
  while index > 1 do
    local parent = index // 2
    local parent_at = times[parent]
    if parent_at <= at then -- of equal times the older one stays in front
      break
    end
    times[index], entries[index] = parent_at, entries[parent]
    index = parent
  end
  times[index], entries[index] = at, entry
end

-- Takes the first entry of the heap out.
local function pop(self)
  local times, entries, count = self.times, self.entries, self.count
  local first, at, entry = entries[1], times[count], entries[count]
  times[count], entries[count] = nil, nil
  count = count - 1
  self.count = count
  if count == 0 then
    return first
  end
  local order, index, child = entry.order, 1, 2
  while child <= count do
    local child_at = times[child]
    if child < count then
      local other_at = times[child + 1]
      if other_at < child_at or other_at == child_at and entries[child + 1].order < entries[child].order then
        child, child_at = child + 1, other_at
      end
    end
    if at < child_at or at == child_at and order < entries[child].order then
      break
    end
    times[index], entries[index] = child_at, entries[child]
    index, child = child, 2 * child
  end
  times[index], entries[index] = at, entry
  return first
end

---Takes the next entry out, and sets `now` to its time.
---@param limit number
---@return table? entry  nil: nothing up to the limit
function methods:take(limit)
  local now = self.now
  if self.count > 0 and self.times[1] <= now then
    return pop(self)
  end
  local first = self.first
  if first <= self.last then
    local ready = self.ready
    local entry = ready[first]
    ready[first] = nil
    if first == self.last then
      self.first, self.last = 1, 0
    else
      self.first = first + 1
    end
    return entry
  end
  local at = self.times[1]
  if not at or at > limit then
    return nil
  end
  self.now = at
  return pop(self)
end

---Lets time pass up to a limit, before which nothing is to happen.
---@param limit number
function methods:advance(limit)
  self.now = limit
end

---@return boolean
function methods:is_empty()
  return self.count == 0 and self.first > self.last
end

return M
