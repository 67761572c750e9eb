-- Rows in the order of their keys, in memory: what a simulated store looks into. Knows nothing of disks.

local M = {}

---@class lunode.sim.rows
---@field values table<string, string>
---@field private keys string[]   sorted, with keys that have no value any more
---@field private fresh string[]  new keys, not yet in `keys`
---@field private known table<string, boolean>  those in keys or fresh
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.rows" }

---@return lunode.sim.rows
function M.new()
  return setmetatable({ values = {}, keys = {}, fresh = {}, known = {} }, metatable)
end

---@param key string
---@param value string?  nil: there is no such row any more
function methods:set(key, value)
  self.values[key] = value
  if value and not self.known[key] then
    self.known[key] = true
    self.fresh[#self.fresh + 1] = key
  end
end

---A flat list: key, value or false, …
---@param batch (string|false)[]
function methods:apply(batch)
  for i = 1, #batch, 2 do
    self:set(batch[i], batch[i + 1] or nil)
  end
end

---@return lunode.sim.rows
function methods:copy()
  local new = M.new()
  for key, value in next, self.values do -- in any order: they are sorted later
    new:set(key, value)
  end
  return new
end

-- The position of the first key that is not less.
local function seek(keys, key)
  local low, high = 1, #keys + 1
  while low < high do
    local middle = (low + high) // 2
    if keys[middle] < key then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local FEW = 16 -- new keys that are put in their places one by one

local function sort(self)
  local keys, fresh = self.keys, self.fresh
  if #fresh <= FEW then
    for _, key in ipairs(fresh) do
      table.insert(keys, seek(keys, key), key)
    end
  else
    table.move(fresh, 1, #fresh, #keys + 1, keys)
    table.sort(keys)
  end
  self.fresh = {}
end

---The first row from a key on.
---@param from string
---@param to? string  end, exclusive
---@return string? key, string? value
function methods:first(from, to)
  if #self.fresh > 0 then
    sort(self)
  end
  local keys, values = self.keys, self.values
  local i = seek(keys, from)
  while keys[i] and not values[keys[i]] do
    i = i + 1
  end
  local key = keys[i]
  if key and not (to and key >= to) then
    return key, values[key]
  end
end

---The last row before a key.
---@param from string
---@param to? string  end, exclusive (default: none)
---@return string? key, string? value
function methods:last(from, to)
  if #self.fresh > 0 then
    sort(self)
  end
  local keys, values = self.keys, self.values
  local i = (to and seek(keys, to) or #keys + 1) - 1
  while i > 0 and not values[keys[i]] do
    i = i - 1
  end
  local key = keys[i]
  if key and key >= from then
    return key, values[key]
  end
end

return M
