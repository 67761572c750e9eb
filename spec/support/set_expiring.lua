-- Sets many keys that expire at one moment: soon after all are there, however slow the machine is.
--
--   set_expiring(client, 20000)     -- key:1, key:2, …

local loop = require "lunode.loop"

local BATCH = 1000

local function set(client, from, to, due)
  local commands = {}
  for i = from, to do
    commands[#commands + 1] = { "SET", "key:" .. i, "value", "PXAT", due }
  end
  client:pipeline(commands)
end

local function milliseconds(seconds)
  return math.floor(seconds * 1000)
end

---@param client spec.redis.client
---@param count integer
return function(client, count)
  local begun = loop.time()
  set(client, 1, BATCH, milliseconds(begun + 1000))
  local batch_takes = loop.time() - begun
  local due = milliseconds(loop.time() + 2 + 2 * batch_takes * count / BATCH)
  for from = 1, count, BATCH do
    set(client, from, math.min(from + BATCH - 1, count), due)
  end
end
