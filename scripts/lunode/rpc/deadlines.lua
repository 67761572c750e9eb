-- Entries with a deadline each, and one timer for them all. Does not know what they are.
--
-- A timer of its own for each call would cost more than the call. As most entries are gone long before they are due,
-- the timer is set only where an entry is due before all others so far; it stays when that one goes, and looks anew
-- when it fires. With a few distinct timeouts, that is once in a timeout.

local loop = require "lunode.loop"

local M = {}

-- Those due so soon after are taken along, in seconds.
local SLACK = 0.001

---@class lunode.rpc.deadlines
---@field entries table<integer, {deadline: number}>  to remove one, set its place to nil
---@field private earliest number  when the timer fires
---@field private timer lunode.timer|false
---@field private on_due fun(key: integer, entry: table)
local methods = {}
local metatable = { __index = methods, __name = "lunode.rpc.deadlines" }

---@param on_due fun(key: integer, entry: table)  the entry has been removed
---@return lunode.rpc.deadlines
function M.new(on_due)
  return setmetatable({ entries = {}, earliest = math.huge, timer = false, on_due = on_due }, metatable)
end

local function arm(self, deadline)
  self.earliest = deadline
  local delay = math.max(deadline - loop.now(), 0)
  if self.timer then
    self.timer:again(delay)
  else
    self.timer = loop.timer(delay, function()
      self:look()
    end)
  end
end

---@param key integer
---@param entry {deadline: number}
function methods:add(key, entry)
  self.entries[key] = entry
  if entry.deadline < self.earliest then
    arm(self, entry.deadline)
  end
end

---@private
function methods:look()
  local horizon, earliest, due = loop.now() + SLACK, math.huge, {}
  for key, entry in pairs(self.entries) do
    if entry.deadline <= horizon then
      due[#due + 1] = key
    elseif entry.deadline < earliest then
      earliest = entry.deadline
    end
  end
  self.earliest = math.huge
  if earliest < math.huge then
    arm(self, earliest)
  end
  table.sort(due)
  for _, key in ipairs(due) do
    local entry = self.entries[key]
    if entry then -- else one before it has ended it
      self.entries[key] = nil
      self.on_due(key, entry)
    end
  end
end

---Forgets all entries, and returns them in the order of their keys.
---@return table[]
function methods:clear()
  local keys, entries = {}, {}
  for key in pairs(self.entries) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    entries[i] = self.entries[key]
  end
  self.entries, self.earliest = {}, math.huge
  if self.timer then
    self.timer:close()
  end
  return entries
end

return M
