-- CONFIG GET and CONFIG SET over the few parameters that this node has, under Redis's names.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local glob = require "lunode.kv.glob"
local help = require "lunode.kv.help"
local notify = require "lunode.kv.notify"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local SYNC = { always = true, everysec = true, no = true }

-- A parameter: get(node) → its text; check(text) → what is wrong with a new one, or nil; set(node, text).
-- Without set it is fixed at the start.
local function fixed(get)
  return { get = type(get) == "function" and get or function()
    return get
  end }
end

local parameters = {
  appendfsync = {
    get = function(node)
      return node.replica.sync
    end,
    check = function(text)
      return not SYNC[text:lower()] and "argument(s) must be one of the following: everysec, always, no" or nil
    end,
    set = function(node, text)
      node.writes:set_sync(text:lower())
    end,
  },
  maxclients = {
    get = function(node)
      return tostring(node.maxclients)
    end,
    check = function(text)
      local n = numbers.parse(text)
      if not n then
        return "argument couldn't be parsed into an integer"
      elseif n < 1 or n > 4294967295 then
        return "argument must be between 1 and 4294967295 inclusive"
      end
    end,
    set = function(node, text)
      node.maxclients = numbers.parse(text)
    end,
  },
  ["notify-keyspace-events"] = {
    get = function(node)
      return notify.text(node.notify_classes)
    end,
    check = function(text)
      return not notify.parse(text) and "Invalid event class character. Use 'Ag$lshzxeKEtmdn'." or nil
    end,
    set = function(node, text)
      notify.set(node, notify.parse(text))
    end,
  },
  requirepass = {
    get = function(node)
      return node.requirepass or ""
    end,
    check = function() end,
    set = function(node, text)
      node:set_password(text)
    end,
  },
  appendonly = fixed "yes", -- what is acknowledged is written
  bind = fixed(function(node)
    return node.host
  end),
  databases = fixed "1",
  dir = fixed(function(node)
    return node.dir
  end),
  maxmemory = fixed "0",
  ["maxmemory-policy"] = fixed "noeviction",
  port = fixed(function(node)
    return tostring(node.port)
  end),
  ["proto-max-bulk-len"] = fixed "536870912",
  save = fixed "",
  timeout = fixed "0",
}

local names = {}
for name in pairs(parameters) do
  names[#names + 1] = name
end
table.sort(names)

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
      if parameter and not seen[name] then
        seen[name] = true
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
    local why = parameters[args[i]:lower()].check(args[i + 1])
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

help.command("CONFIG", { group = "server", since = "5.0.0" })
