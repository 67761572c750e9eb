-- SLOWLOG: the commands that have taken long. What is in it, kv.timing decides.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local help = require "lunode.kv.help"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local BAD_COUNT = resp.error("ERR count should be greater than or equal to -1")
local DEFAULT_COUNT = 10

local FLAGS = { "admin", "loading", "stale" }

command.command("SLOWLOG", {
  arity = -2, group = "server", since = "2.2.12", complexity = "Depends on subcommand.",
  summary = "A container for slow log commands",
})

command.command("SLOWLOG|GET", {
  arity = -2, flags = FLAGS, group = "server", since = "2.2.12",
  complexity = "O(N) where N is the number of entries returned",
  tips = { "request_policy:all_nodes", "nondeterministic_output" }, summary = "Get the slow log's entries",
  run = function(ctx, text, ...)
    if ... then
      return errors.subcommand_syntax(ctx, "SLOWLOG")
    end
    local log, list = ctx.node.timing.log, {}
    local count = not text and DEFAULT_COUNT or numbers.parse(text)
    if not count or count < -1 then
      return BAD_COUNT
    end
    for i = 1, count == -1 and #log or math.min(count, #log) do
      local one = log[i]
      list[i] = { one.id, one.time, one.microseconds, one.words, one.address, one.name }
    end
    return list
  end,
})

command.command("SLOWLOG|LEN", {
  arity = 2, flags = FLAGS, group = "server", since = "2.2.12", complexity = "O(1)",
  tips = { "request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output" },
  summary = "Get the slow log's length",
  run = function(ctx)
    return #ctx.node.timing.log
  end,
})

command.command("SLOWLOG|RESET", {
  arity = 2, flags = FLAGS, group = "server", since = "2.2.12",
  complexity = "O(N) where N is the number of entries in the slowlog",
  tips = { "request_policy:all_nodes", "response_policy:all_succeeded" },
  summary = "Clear all entries from the slow log",
  run = function(ctx)
    ctx.node.timing.log = {}
    return resp.OK
  end,
})

help.command("SLOWLOG", { group = "server", since = "6.2.0" })
