-- CONFIG GET SET RESETSTAT REWRITE, over kv.parameters.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local glob = require "lunode.kv.glob"
local help = require "lunode.kv.help"
local parameters_module = require "lunode.kv.parameters"
local resp = require "lunode.resp"

local parameters, names = parameters_module.parameters, parameters_module.names

local NO_FILE = resp.error("ERR The server is running without a config file")

command.command("CONFIG", {
  arity = -2, group = "server", since = "2.0.0", complexity = "Depends on subcommand.",
  summary = "A container for server configuration commands",
})

command.command("CONFIG|GET", {
  arity = -3, variadic = true, flags = { "admin", "noscript", "loading", "stale" }, group = "server", since = "2.0.0",
  complexity = "O(N) when N is the number of configuration parameters provided",
  summary = "Get the values of configuration parameters",
  run = function(ctx, patterns)
    local list, seen = {}, {}
    local function add(name, parameter)
      if parameter and not seen[name:lower()] then
        seen[name:lower()] = true
        list[#list + 1] = name
        list[#list + 1] = parameter.get(ctx.node)
      end
    end
    for _, pattern in ipairs(patterns) do
      if not pattern:find("[%[*?]") then
        add(pattern, parameters[pattern:lower()]) -- under the name as it was asked for
      else
        for _, name in ipairs(names) do
          if glob.match(pattern, name, true) then
            add(name, parameters[name])
          end
        end
      end
    end
    return resp.map(list)
  end,
})

local function refuse(name, why)
  error(errors.quoting("ERR CONFIG SET failed (possibly related to argument '%s') - %s", name, why), 0)
end

-- All are checked before the first is set.
local function check_all(args)
  if #args % 2 ~= 0 then
    error(errors.SYNTAX, 0)
  end
  local seen = {}
  for i = 1, #args, 2 do
    local name = args[i]
    local parameter = parameters[name:lower()]
    if not parameter then
      error(errors.quoting("ERR Unknown option or number of arguments for CONFIG SET - '%s'", name), 0)
    elseif not parameter.set then
      refuse(name, "can't set immutable config")
    elseif seen[parameter] then
      refuse(name, "duplicate parameter")
    end
    seen[parameter] = true
  end
  for i = 1, #args, 2 do
    local why = parameters[args[i]:lower()].fault(args[i + 1])
    if why then
      refuse(args[i], why)
    end
  end
end

command.command("CONFIG|SET", {
  arity = -4, variadic = true, flags = { "admin", "noscript", "loading", "stale" }, group = "server", since = "2.0.0",
  complexity = "O(N) when N is the number of configuration parameters provided",
  tips = { "request_policy:all_nodes", "response_policy:all_succeeded" },
  summary = "Set configuration parameters to the given values",
  run = function(ctx, args)
    check_all(args)
    for i = 1, #args, 2 do
      parameters[args[i]:lower()].set(ctx.node, args[i + 1])
    end
    return resp.OK
  end,
})

command.command("CONFIG|RESETSTAT", {
  arity = 2, flags = { "admin", "noscript", "loading", "stale" }, group = "server", since = "2.0.0",
  complexity = "O(1)", summary = "Reset the stats returned by INFO",
  run = function(ctx)
    ctx.node:reset_stats()
    return resp.OK
  end,
})

-- What `lunode kv --config` reads is a script: it may compute its values, and so is not rewritten.
command.command("CONFIG|REWRITE", {
  arity = 2, flags = { "admin", "noscript", "loading", "stale" }, group = "server", since = "2.8.0",
  complexity = "O(1)", summary = "Rewrite the configuration file with the in memory configuration",
  run = function()
    return NO_FILE
  end,
})

help.command("CONFIG", { group = "server", since = "5.0.0" })
