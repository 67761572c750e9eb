-- Chance from a seed: streams that do not influence each other, one a purpose. Not for secrets.
--
--   local rng = random.new(seed, "network")
--   rng:float(); rng:integer(1, 6); rng:chance(0.1); rng:pick { "a", "b" }; rng:shuffle(list)

local hash = require "lunode.hash"

local M = {}

---@class lunode.sim.random
---@field private state integer
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.random" }

---@param seed integer
---@param name string  of the stream
---@return lunode.sim.random
function M.new(seed, name)
  return setmetatable({ state = hash.of(seed, name) }, metatable)
end

-- SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
local function bits(self)
  local state = self.state + 0x9E3779B97F4A7C15
  self.state = state
  local z = (state ~ (state >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

---@return number  in [0, 1)
function methods:float()
  return (bits(self) >> 11) * 2.0 ^ -53
end

---A uniformly distributed integer: any two bounds will do, also all of the integers.
---@param low integer
---@param high integer
---@return integer  in [low, high]
function methods:integer(low, high)
  local range = high - low -- as an unsigned number
  local mask = range | range >> 1
  mask = mask | mask >> 2
  mask = mask | mask >> 4
  mask = mask | mask >> 8
  mask = mask | mask >> 16
  mask = mask | mask >> 32
  local draw = bits(self) & mask
  while math.ult(range, draw) do -- rejection keeps it uniform
    draw = bits(self) & mask
  end
  return low + draw
end

---@param probability number
---@return boolean
function methods:chance(probability)
  return self:float() < probability
end

---A number between two others; closer to `low` where `skew` is above 1.
---@param low number
---@param high number
---@param skew? number  (default 1: uniform)
---@return number
function methods:between(low, high, skew)
  return low + (high - low) * self:float() ^ (skew or 1)
end

---@generic T
---@param list T[]  not empty
---@return T
function methods:pick(list)
  return list[self:integer(1, #list)]
end

---Puts a list in an order of chance.
---@generic T
---@param list T[]
---@return T[] list  the same
function methods:shuffle(list)
  for i = #list, 2, -1 do
    local j = self:integer(1, i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

return M
