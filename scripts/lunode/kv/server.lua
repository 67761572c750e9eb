-- Commands about the node as a whole: TIME DBSIZE FLUSHDB FLUSHALL SHUTDOWN INFO ROLE WAIT LOLWUT. CONFIG, CLIENT,
-- SLOWLOG, LATENCY and MEMORY have files of their own.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local info = require "lunode.kv.info"
local loop = require "lunode.loop"
local numbers = require "lunode.kv.numbers"
local replication = require "lunode.kv.replication_info"
local resp = require "lunode.resp"
local version = require "lunode.version"

local NO_SHUTDOWN = resp.error("ERR No shutdown in progress.")

command.command("TIME", {
  arity = 1, flags = { "loading", "stale", "fast" }, group = "server", since = "2.6.0", complexity = "O(1)",
  tips = { "nondeterministic_output" },
  summary = "Return the current server time",
  run = function()
    local microseconds = math.floor(loop.time() * 1000000)
    return { tostring(microseconds // 1000000), tostring(microseconds % 1000000) }
  end,
})

command.command("DBSIZE", {
  arity = 1, flags = { "readonly", "fast" }, group = "server", acl = { "keyspace" }, since = "1.0.0",
  complexity = "O(1)", tips = { "request_policy:all_shards", "response_policy:agg_sum" },
  summary = "Return the number of keys in the selected database",
  run = function(ctx)
    return ctx.db.keys
  end,
})

-- There is one database, and to delete in the background would only delay what the disk has to do.
local function flush(ctx, option, ...)
  local word = option and option:upper()
  if ... or word and word ~= "ASYNC" and word ~= "SYNC" then
    return errors.SYNTAX
  end
  ctx.db:flush()
  return resp.OK
end

command.command("FLUSHDB", {
  arity = -1, flags = { "write" }, group = "server", acl = { "keyspace", "dangerous" }, since = "1.0.0",
  complexity = "O(N) where N is the number of keys in the selected database",
  tips = { "request_policy:all_shards", "response_policy:all_succeeded" },
  summary = "Remove all keys from the current database",
  run = flush,
})

command.command("FLUSHALL", {
  arity = -1, flags = { "write" }, group = "server", acl = { "keyspace", "dangerous" }, since = "1.0.0",
  complexity = "O(N) where N is the total number of keys in all databases",
  tips = { "request_policy:all_shards", "response_policy:all_succeeded" },
  summary = "Remove all keys from all databases",
  run = flush,
})

local SHUTDOWN_OPTIONS = { NOSAVE = true, SAVE = true, NOW = true, FORCE = true, ABORT = true }

command.command("SHUTDOWN", {
  arity = -1, flags = { "admin", "noscript", "loading", "stale", "no_multi", "allow_busy" }, group = "server",
  since = "1.0.0",
  complexity = "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise "
    .. "O(1)",
  summary = "Synchronously save the dataset to disk and then shut down the server",
  run = function(ctx, ...)
    local given, count = {}, 0
    for _, option in ipairs { ... } do
      local word = option:upper()
      if not SHUTDOWN_OPTIONS[word] then
        return errors.SYNTAX
      end
      given[word], count = true, count + 1
    end
    if given.SAVE and given.NOSAVE or given.ABORT and count > 1 then
      return errors.SYNTAX
    elseif given.ABORT then
      return NO_SHUTDOWN
    end
    ctx.node:close()
    ctx.session.conn:close() -- so that no reply leaves: as in Redis
    return nil
  end,
})

command.command("INFO", {
  arity = -1, flags = { "loading", "stale" }, group = "server", acl = { "dangerous" }, since = "1.0.0",
  complexity = "O(1)",
  tips = { "nondeterministic_output", "request_policy:all_shards", "response_policy:special" },
  summary = "Get information and statistics about the server",
  run = function(ctx, ...)
    return resp.verbatim(info.text(ctx, ...))
  end,
})

-- ---- replication, as clients ask for it

local NO_TIME = resp.error("ERR timeout is not an integer or out of range")
local NEGATIVE_TIME = resp.error("ERR timeout is negative")

command.command("ROLE", {
  arity = 1, flags = { "noscript", "loading", "stale", "fast" }, group = "server", acl = { "admin", "dangerous" },
  since = "2.8.12", complexity = "O(1)",
  summary = "Return the role of the instance in the context of replication",
  run = function(ctx)
    return replication.role(ctx.node)
  end,
})

-- A write that is acknowledged is on a quorum of a cluster, so there is nothing to wait for; and where there is nobody
-- else, nothing to come.
command.command("WAIT", {
  arity = 3, flags = { "noscript" }, group = "generic", acl = { "connection" }, since = "3.0.0", complexity = "O(1)",
  tips = { "request_policy:all_shards", "response_policy:agg_min" },
  summary = "Wait for the synchronous replication of all the write commands sent in the context of the current "
    .. "connection",
  run = function(ctx, replicas, text)
    numbers.integer(replicas)
    local milliseconds = numbers.parse(text)
    if not milliseconds then
      return NO_TIME
    elseif milliseconds < 0 then
      return NEGATIVE_TIME
    end
    local core = ctx.node.cluster and ctx.node.cluster.core
    return core and #core.config.voters // 2 or 0
  end,
})

command.command("LOLWUT", {
  arity = -1, variadic = true, flags = { "readonly", "fast" }, group = "server", since = "5.0.0",
  summary = "Display some computer art and the Redis version",
  run = function(ctx, args)
    if #args >= 2 and args[1]:upper() == "VERSION" then
      numbers.integer(args[2]) -- of whichever version: there is one picture
    end
    local lines = {}
    for row = 1, 8 do -- a moon, some stars
      local cells = {}
      for column = 1, 40 do
        local x, y = (column - 12) / 2, row - 4.5
        local lit = x * x + y * y < 14 and (x - 2) ^ 2 + (y + 0.6) ^ 2 >= 11
        cells[column] = lit and "#" or ctx:random(1, 40) == 1 and "." or " "
      end
      lines[row] = (table.concat(cells):gsub(" +$", ""))
    end
    return resp.verbatim(("%s\nRedis ver. 7.0.15, as lunode %s has it\n"):format(table.concat(lines, "\n"), version))
  end,
})
