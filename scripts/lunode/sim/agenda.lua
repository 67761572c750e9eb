-- What is to happen in a world, by virtual time and, at equal times, in the order of adding. Made for speed: a binary
-- heap of times beside their entries, and a plain list for what is to happen at once, which is most of it.
--
-- An entry is a table with fn, a, b and `cancelled`; `order` and `at` are ours. Cancelled ones are taken out all the
-- same, for the caller to pass over.

local M = {}

local COMPACT = 1000 -- entries that were cancelled, and are more than half of all, before they are left out

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
    dead = 0, -- cancelled entries, at most so many
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

-- Leaves out what was cancelled: a sorted heap is one, too.
local function compact(self)
  local times, entries = self.times, self.entries
  local alive = {}
  for i = 1, self.count do
    local entry = entries[i]
    if not entry.cancelled then
      entry.at = times[i]
      alive[#alive + 1] = entry
    end
  end
  table.sort(alive, function(a, b)
    return a.at < b.at or a.at == b.at and a.order < b.order
  end)
  self.times, self.entries, self.count, self.dead = {}, alive, #alive, 0
  for i, entry in ipairs(alive) do
    self.times[i] = entry.at
  end
end

---Takes an entry back that has not been taken. What it holds is free for the collector.
---@param entry table
function methods:cancel(entry)
  if not entry.cancelled then
    entry.cancelled, entry.fn, entry.a, entry.b = true, false, false, false
    self.dead = self.dead + 1
    if self.dead > COMPACT and self.dead > self.count // 2 then
      compact(self)
    end
  end
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
