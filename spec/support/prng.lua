-- Seeded chance for specs: the same seed gives the same choices on every machine and Lua. Not for secrets.
--
--   local prng = require "spec.support.prng"
--   local chance = prng.new(7)
--   chance:int(1, 6); chance:pick { "a", "b" }; chance:odds(0.1); chance:weighted { { 3, "often" }, { 1, "seldom" } }

local M = {}

---@class spec.prng
---@field private state integer
local methods = {}
local metatable = { __index = methods, __name = "spec.prng" }

---@param seed integer
---@return spec.prng
function M.new(seed)
  return setmetatable({ state = seed }, metatable)
end

-- SplitMix64 (Steele, Lea, Flood 2014): every seed is good, 0 included.
local function next_bits(self)
  self.state = self.state + 0x9E3779B97F4A7C15
  local z = self.state
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

---@param low integer
---@param high integer
---@return integer  in [low, high]
function methods:int(low, high)
  return low + (next_bits(self) >> 1) % (high - low + 1)
end

---@param probability number
---@return boolean
function methods:odds(probability)
  return (next_bits(self) >> 11) < probability * 2.0 ^ 53
end

---@generic T
---@param list T[]
---@return T
function methods:pick(list)
  return list[self:int(1, #list)]
end

---@param list {[1]: integer, [2]: any}[]  weight, value
---@return any
function methods:weighted(list)
  local total = 0
  for _, entry in ipairs(list) do
    total = total + entry[1]
  end
  local at = self:int(1, total)
  for _, entry in ipairs(list) do
    at = at - entry[1]
    if at <= 0 then
      return entry[2]
    end
  end
end

return M
