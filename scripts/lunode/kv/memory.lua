-- MEMORY: what a key takes, and what the node does, as far as it can be told: values lie in the store, on disk and in
-- its caches, so a key's figure is the size of its rows.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local help = require "lunode.kv.help"
local keys = require "lunode.kv.keys"
local loop = require "lunode.loop"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local M = {}

local SAMPLES = 5 -- elements looked at, as in Redis; 0: all

local TIPS = { "nondeterministic_output", "request_policy:all_shards", "response_policy:special" }

command.command("MEMORY", {
  arity = -2, group = "server", since = "4.0.0", complexity = "Depends on subcommand.",
  summary = "A container for memory diagnostics commands",
})

-- The rows of a collection's elements: from the first few, what all of them take.
local function elements(db, value, samples)
  local home, version, count = keys.collection(value)
  local prefix = keys.element_prefix(home, version)
  local bytes, seen = 0, 0
  for row, element in db.store:scan(prefix, keys.past(prefix)) do
    bytes, seen = bytes + #row + #element, seen + 1
    if seen == samples then
      break
    end
  end
  return seen > 0 and bytes * math.max(count, seen) // seen or 0
end

command.command("MEMORY|USAGE", {
  arity = -3, flags = { "readonly" }, keys = { 2, 2, 1 }, access = "RO", group = "server", since = "4.0.0",
  complexity = "O(N) where N is the number of samples.", summary = "Estimate the memory usage of a key",
  run = function(ctx, key, ...)
    local options, samples = { ... }, SAMPLES
    for i = 1, #options, 2 do -- the last one counts
      if options[i]:upper() ~= "SAMPLES" or not options[i + 1] then
        return errors.SYNTAX
      end
      samples = numbers.integer(options[i + 1])
      if samples < 0 then
        return errors.SYNTAX
      end
    end
    local row, value = ctx.db:find(key)
    if not value then
      return nil
    end
    return #row + #value + (keys.is_collection(value) and elements(ctx.db, value, samples) or 0)
  end,
})

---What is held in memory, in bytes; and beside it what connections that are open have received and sent.
---@param node lunode.kv.node
---@return {lua: integer, cache: integer, overlay: integer, queued: integer, log: integer, total: integer}
---@return integer received, integer sent
function M.parts(node)
  local store, log = node.db.store:stats(), node.replica.log:stats()
  local lua, queued, received, sent = math.floor(collectgarbage("count") * 1024), 0, 0, 0
  for conn in pairs(node.sessions) do -- sums: in any order
    local stats = conn:stats()
    queued, received, sent = queued + stats.queued, received + stats.bytes_read, sent + stats.bytes_written
  end
  return {
    lua = lua, cache = store.cache_bytes, overlay = store.overlay_bytes, queued = queued,
    log = log.unsynced_bytes, total = lua + store.cache_bytes + store.overlay_bytes + queued,
  }, received, sent
end

command.command("MEMORY|STATS", {
  arity = 2, group = "server", since = "4.0.0", complexity = "O(1)", tips = TIPS,
  summary = "Show memory usage details",
  run = function(ctx)
    local of, count = M.parts(ctx.node), ctx.db.keys
    return resp.map {
      "total.allocated", of.total, "clients.normal", of.queued, "aof.buffer", of.log, "lua.caches", of.lua,
      "store.cache", of.cache, "store.overlay", of.overlay, "keys.count", count,
    }
  end,
})

command.command("MEMORY|DOCTOR", {
  arity = 2, group = "server", since = "4.0.0", complexity = "O(1)", tips = TIPS,
  summary = "Outputs memory problems report",
  run = function(ctx)
    local of, store = M.parts(ctx.node), ctx.db.store:stats()
    local lines = {}
    if of.queued > of.total // 2 and of.queued > 64 << 20 then
      lines[#lines + 1] = ("Clients have left %d bytes unread: CLIENT LIST shows them, omem=."):format(of.queued)
    end
    if store.full then
      lines[#lines + 1] = "The disk is full: writes wait in memory."
    end
    if of.overlay > 64 << 20 then
      lines[#lines + 1] = ("%d bytes of writes wait to be flushed: the disk is behind."):format(of.overlay)
    end
    lines[#lines + 1] = #lines == 0 and "Nothing is out of the ordinary." or nil
    return resp.verbatim(table.concat(lines, "\n") .. "\n")
  end,
})

command.command("MEMORY|MALLOC-STATS", {
  arity = 2, group = "server", since = "4.0.0", tips = TIPS,
  complexity = "Depends on how much memory is allocated, could be slow", summary = "Show allocator internal stats",
  run = function()
    return resp.verbatim "Stats not supported for the current allocator"
  end,
})

command.command("MEMORY|PURGE", {
  arity = 2, group = "server", since = "4.0.0", tips = { "request_policy:all_shards", "response_policy:all_succeeded" },
  complexity = "Depends on how much memory is allocated, could be slow",
  summary = "Ask the allocator to release memory",
  run = function()
    collectgarbage()
    loop.trim()
    return resp.OK
  end,
})

help.command("MEMORY", { group = "server", since = "4.0.0" })

return M
