-- Commands about the node as a whole: TIME DBSIZE FLUSHDB FLUSHALL SHUTDOWN INFO. CONFIG has its own file.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local info = require "lunode.kv.info"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

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
