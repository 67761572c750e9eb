-- One direction between two hosts: how long a segment is under way, and whether it arrives. Knows neither connections
-- nor what the bytes mean.
--
-- A latency is seconds, or a distribution: {min, max} uniform, {min, mean} exponential above the minimum (what networks
-- look like, with a tail), or a function of a generator.

local M = {}

---@alias lunode.sim.latency number|{min: number, max: number?, mean: number?}|fun(rng: lunode.sim.random): number

---@class lunode.sim.link
---@field from lunode.sim.host
---@field to lunode.sim.host
---@field latency lunode.sim.latency
---@field bandwidth number|false   bytes a second
---@field cuts integer             how many faults cut it; 0: it carries
---@field free_at number           when what was sent before has left, under a bandwidth
---@field private rng lunode.sim.random
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.link" }

---@param latency any
---@param what string  who asks, for the message
---@param level integer
function M.check_latency(latency, what, level)
  local kind = type(latency)
  local good = kind == "function" or (kind == "number" and latency >= 0 and latency < math.huge)
  if kind == "table" then
    local low, high = latency.min or 0, latency.max or latency.mean
    good = type(low) == "number" and type(high) == "number" and low >= 0 and high >= low and high < math.huge
      and (latency.max == nil) ~= (latency.mean == nil)
  end
  if not good then
    local forms = "seconds, {min = …, max = …}, {min = …, mean = …} or a function of a generator"
    error(("%s: latency must be %s"):format(what, forms), level + 1)
  end
end

---@param bandwidth any
---@param what string
---@param level integer
function M.check_bandwidth(bandwidth, what, level)
  if bandwidth and not (type(bandwidth) == "number" and bandwidth > 0) then
    error(what .. ": bandwidth must be a positive number of bytes a second, or false", level + 1)
  end
end

---@param from lunode.sim.host
---@param to lunode.sim.host
---@param latency lunode.sim.latency
---@param bandwidth number|false
---@param rng lunode.sim.random
---@return lunode.sim.link
function M.new(from, to, latency, bandwidth, rng)
  return setmetatable({
    from = from,
    to = to,
    latency = latency,
    bandwidth = bandwidth,
    cuts = 0,
    free_at = 0,
    rng = rng,
    base = { latency = latency, bandwidth = bandwidth },
    overrides = { latency = {}, bandwidth = {} }, -- by faults, the last one counts: { owner, value }
  }, metatable)
end

local function apply(self, field)
  local list = self.overrides[field]
  local last = list[#list]
  if last then
    self[field] = last.value
  else
    self[field] = self.base[field]
  end
end

---How it is where no fault says otherwise.
---@param field "latency"|"bandwidth"
---@param value any  nil: as it was
function methods:set(field, value)
  if value ~= nil then
    self.base[field] = value
    apply(self, field)
  end
end

---A fault says how it is, until it says nil.
---@param field "latency"|"bandwidth"
---@param owner table
---@param value any
function methods:override(field, owner, value)
  local list = self.overrides[field]
  if value ~= nil then
    list[#list + 1] = { owner = owner, value = value }
  else
    for i, entry in ipairs(list) do
      if entry.owner == owner then
        table.remove(list, i)
        break
      end
    end
  end
  apply(self, field)
end

local function draw(latency, rng)
  local kind = type(latency)
  if kind == "number" then
    return latency
  elseif kind == "function" then
    local seconds = latency(rng)
    M.check_latency(type(seconds) == "number" and seconds or nil, "a latency function returned", 0)
    return seconds
  end
  local low = latency.min or 0
  if latency.max then
    return low + (latency.max - low) * rng:float()
  end
  return low - (latency.mean - low) * math.log(1 - rng:float())
end

---When a segment arrives that is sent now.
---@param now number
---@param bytes integer
---@return number
function methods:arrival(now, bytes)
  local left = now
  local bandwidth = self.bandwidth
  if bandwidth then
    local free_at = self.free_at
    left = (free_at > now and free_at or now) + bytes / bandwidth
    self.free_at = left
  end
  return left + draw(self.latency, self.rng)
end

---How long a segment without payload is under way.
---@return number seconds
function methods:delay()
  return draw(self.latency, self.rng)
end

---Whether segments pass: no fault cuts it, and there is somebody to take them.
function methods:carries()
  return self.cuts == 0 and not self.to.down
end

return M
