-- What a node counts for INFO, and what it looks at once a second: how many commands come, whether the disk is full.
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local memory = require "lunode.kv.memory"

local M = {}

local LOOK_INTERVAL = 1 -- seconds

---@class lunode.kv.stats
---@field clients integer  connected now
---@field received integer  bytes, of connections that have ended
---@field sent integer
---@field rate integer  commands a second, as found at `rate_at`, from `rate_from` commands on

---@return lunode.kv.stats
function M.new()
  return {
    connections = 0, rejected = 0, commands = 0, errors = 0, clients = 0, received = 0, sent = 0,
    rate = 0, rate_at = 0, rate_from = 0, disk_full = false,
  }
end

---Counts from zero: CONFIG RESETSTAT.
---@param node lunode.kv.node
function M.reset(node)
  local stats, _, received, sent = node.stats, memory.parts(node)
  for _, name in ipairs { "connections", "rejected", "commands", "errors", "rate", "rate_from" } do
    stats[name] = 0
  end
  stats.received, stats.sent = -received, -sent -- what connections that are open have had is out of it
end

-- Who operates the node hears of a full disk, too.
local function look_at_disk(node)
  local stats = node.stats
  local full = node.replica.log:stats().full or node.replica.store:stats().full
  if full and not stats.disk_full then
    logger.warn("the disk is full: writes are refused until there is space again in %s", node.dir)
  elseif stats.disk_full and not full then
    logger.info("there is space on the disk again: writes are taken")
  end
  stats.disk_full = full
end

---To be called several times a second.
---@param node lunode.kv.node
function M.tick(node)
  local stats, now = node.stats, loop.now()
  local elapsed = now - stats.rate_at
  if elapsed >= LOOK_INTERVAL then
    stats.rate = math.floor((stats.commands - stats.rate_from) / elapsed)
    stats.rate_at, stats.rate_from = now, stats.commands
    look_at_disk(node)
  end
end

return M
