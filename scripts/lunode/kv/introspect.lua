-- COMMAND and its subcommands: what the registry knows, in Redis's shapes. COMMAND DOCS has no "history": entries do
-- not record it.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local getkeys = require "lunode.kv.getkeys"
local glob = require "lunode.kv.glob"
local help = require "lunode.kv.help"
local resp = require "lunode.resp"
local syntax = require "lunode.kv.syntax"
local usage = require "lunode.kv.usage"

local null = resp.null

local NO_KEYS = resp.error("ERR The command has no key arguments")
local NO_COMMAND = resp.error("ERR Invalid command specified")
local BAD_ARGUMENTS = resp.error("ERR Invalid arguments specified for command")
local BAD_COUNT = resp.error("ERR Invalid number of arguments specified for command")

local FLAGS = { "loading", "stale" }

-- ---- COMMAND INFO

-- The order in which Redis lists flags and categories.
local FLAG_ORDER = {
  "write", "readonly", "denyoom", "admin", "pubsub", "noscript", "blocking", "loading", "stale", "fast", "no_auth",
  "no_async_loading", "skip_slowlog", "no_multi", "allow_busy", "movablekeys",
}
local CATEGORY_ORDER = {
  "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "pubsub", "admin", "fast",
  "slow", "blocking", "dangerous", "connection", "transaction",
}
-- Groups that are a category, under that category's name.
local GROUP_CATEGORY = {
  string = "string", generic = "keyspace", connection = "connection", bitmap = "bitmap", list = "list", hash = "hash",
  set = "set", ["sorted-set"] = "sortedset",
}

-- They are in the categories of what they sort; and one is about a connection.
local OF_OTHER_CATEGORIES = { sort = true, sort_ro = true, wait = true }

local function statuses(set, order, prefix)
  local list = {}
  for _, name in ipairs(order) do
    if set[name] then
      list[#list + 1] = resp.status(prefix .. name)
    end
  end
  return resp.set(list)
end

local function to_set(list)
  local set = {}
  for _, name in ipairs(list or {}) do
    set[name] = true
  end
  return set
end

-- Redis derives categories from flags in the same way. Containers belong to none but @slow.
local function categories(entry)
  local options = entry.options
  local flags, set = to_set(options.flags), to_set(options.acl)
  set.write, set.read = flags.write, flags.readonly
  set.admin, set.pubsub, set.blocking = flags.admin or set.admin, flags.pubsub, flags.blocking
  set.dangerous = set.dangerous or flags.admin
  set.fast, set.slow = flags.fast, not flags.fast
  local group = options.run and not OF_OTHER_CATEGORIES[entry.name] and GROUP_CATEGORY[options.group]
  if group then
    set[group] = true
  end
  return set
end

local function key_spec(access, notes, begin_search, find_keys)
  local flags = {}
  for word in access:gmatch("%S+") do
    flags[#flags + 1] = resp.status(word)
  end
  local spec = { "flags", resp.set(flags), "begin_search", resp.map(begin_search), "find_keys", resp.map(find_keys) }
  if notes then
    table.move(spec, 1, #spec, 3)
    spec[1], spec[2] = "notes", notes
  end
  return resp.map(spec)
end

local function at_index(index)
  return { "type", "index", "spec", resp.map { "index", index } }
end

local function range_spec(access, notes, first, last, step)
  return key_spec(access, notes, at_index(first), {
    "type", "range",
    "spec", resp.map { "lastkey", last < 0 and last or last - first, "keystep", step, "limit", 0 },
  })
end

local function add_range_specs(list, options)
  local keys, access = options.keys, options.access or "RW"
  if type(access) == "string" then
    list[1] = range_spec(access, options.notes, keys[1], keys[2], keys[3])
    return
  end
  for i, words in ipairs(access) do -- a spec for each key; the last one is for all others, where there may be more
    local at = keys[1] + i - 1
    list[i] = range_spec(words, nil, at, i == #access and keys[2] < 0 and keys[2] or at, 1)
  end
end

local function key_specs(options)
  local list = {}
  if options.keys then
    add_range_specs(list, options)
  end
  if options.numkeys then
    list[#list + 1] = key_spec(options.numkeys[2], nil, at_index(options.numkeys[1]), {
      "type", "keynum", "spec", resp.map { "keynumidx", 0, "firstkey", 1, "keystep", 1 },
    })
  end
  for _, spec in ipairs(options.more_keys or {}) do
    local unknown = { "type", "unknown", "spec", resp.map {} }
    list[#list + 1] = key_spec(spec[1], spec[2], unknown, unknown)
  end
  return resp.set(list)
end

local function describe(entry)
  local options = entry.options
  local keys = options.keys or { 0, 0, 0 }
  local subcommands = {}
  for i, subcommand in ipairs(command.list(entry.subcommands)) do
    subcommands[i] = describe(subcommand)
  end
  local flags = to_set(options.flags)
  flags.movablekeys = options.numkeys or options.more_keys
  return {
    entry.name,
    options.arity,
    statuses(flags, FLAG_ORDER, ""),
    keys[1], keys[2], keys[3],
    statuses(categories(entry), CATEGORY_ORDER, "@"),
    resp.set(options.tips or {}),
    key_specs(options),
    resp.set(subcommands),
  }
end

local function describe_all()
  local list = {}
  for i, entry in ipairs(command.list()) do
    list[i] = describe(entry)
  end
  return list
end

command.command("COMMAND", {
  arity = -1, flags = FLAGS, group = "server", acl = { "connection" }, since = "2.8.13",
  complexity = "O(N) where N is the total number of Redis commands", tips = { "nondeterministic_output_order" },
  summary = "Get array of Redis command details",
  run = describe_all,
})

command.command("COMMAND|INFO", {
  arity = -2, variadic = true, flags = FLAGS, group = "server", acl = { "connection" }, since = "2.8.13",
  complexity = "O(N) where N is the number of commands to look up", tips = { "nondeterministic_output_order" },
  summary = "Get array of specific Redis command details, or all when no argument is given.",
  run = function(_, names)
    if #names == 0 then
      return describe_all()
    end
    local list = {}
    for i, name in ipairs(names) do
      local entry = command.resolve(name)
      list[i] = entry and describe(entry) or null
    end
    return list
  end,
})

command.command("COMMAND|COUNT", {
  arity = 2, flags = FLAGS, group = "server", acl = { "connection" }, since = "2.8.13", complexity = "O(1)",
  summary = "Get total number of Redis commands",
  run = function()
    return #command.list()
  end,
})

-- ---- COMMAND DOCS

local function document(entry)
  local options = entry.options
  local list = {}
  local function add(name, value)
    if value ~= nil then
      list[#list + 1] = name
      list[#list + 1] = value
    end
  end
  add("summary", options.summary)
  add("since", options.since)
  add("group", options.group or "generic")
  add("complexity", options.complexity)
  if options.deprecated then
    add("doc_flags", resp.set { resp.status("deprecated") })
    add("deprecated_since", options.deprecated.since)
    add("replaced_by", options.deprecated.replaced_by)
  end
  local text = options.syntax or usage[entry.name]
  add("arguments", text and text ~= "" and syntax.arguments(text) or nil)
  local subcommands = {}
  for _, subcommand in ipairs(command.list(entry.subcommands)) do
    subcommands[#subcommands + 1] = subcommand.name
    subcommands[#subcommands + 1] = document(subcommand)
  end
  add("subcommands", #subcommands > 0 and resp.map(subcommands) or nil)
  return resp.map(list)
end

command.command("COMMAND|DOCS", {
  arity = -2, variadic = true, flags = FLAGS, group = "server", acl = { "connection" }, since = "7.0.0",
  complexity = "O(N) where N is the number of commands to look up", tips = { "nondeterministic_output_order" },
  summary = "Get array of specific Redis command documentation",
  run = function(_, names)
    local entries = {}
    for _, name in ipairs(names) do
      entries[#entries + 1] = command.resolve(name)
    end
    local list = {}
    for _, entry in ipairs(#names > 0 and entries or command.list()) do
      list[#list + 1] = entry.name
      list[#list + 1] = document(entry)
    end
    return resp.map(list)
  end,
})

-- ---- COMMAND LIST, COMMAND GETKEYS

local filters = {
  PATTERN = function(entry, pattern)
    return pattern == "*" or glob.match(pattern, entry.name, true)
  end,
  ACLCAT = function(entry, category)
    return categories(entry)[category:lower()] or false
  end,
  MODULE = function() -- there are no modules
    return false
  end,
}

-- All commands, and the subcommands after their containers.
local function everything()
  local list = {}
  for _, entry in ipairs(command.list()) do
    list[#list + 1] = entry
    for _, subcommand in ipairs(command.list(entry.subcommands)) do
      list[#list + 1] = subcommand
    end
  end
  return list
end

command.command("COMMAND|LIST", {
  arity = -2, flags = FLAGS, group = "server", acl = { "connection" }, since = "7.0.0",
  complexity = "O(N) where N is the total number of Redis commands", tips = { "nondeterministic_output_order" },
  summary = "Get an array of Redis command names",
  run = function(_, filterby, kind, argument, ...)
    local filter = filters[kind and kind:upper()]
    if filterby and (filterby:upper() ~= "FILTERBY" or not filter or not argument or ...) then
      return errors.SYNTAX
    end
    local list = {}
    for _, entry in ipairs(filterby and everything() or command.list()) do
      if not filterby or filter(entry, argument) then
        list[#list + 1] = entry.name
      end
    end
    return list
  end,
})

-- (the words of a whole command) → where its keys are, its arguments; raises Redis's errors.
local function find_keys(words)
  local entry, args = command.find(words[1]), table.move(words, 2, #words, 1, {})
  if entry and not entry.direct then
    entry = command.subcommand(entry, args[1])
  end
  if not entry then
    error(NO_COMMAND, 0)
  elseif not getkeys.has_keys(entry) then
    error(NO_KEYS, 0)
  elseif #args < entry.min or #args > entry.max then
    error(BAD_COUNT, 0)
  end
  local found = getkeys.find(entry, args)
  return found and #found > 0 and found or error(BAD_ARGUMENTS, 0), args
end

command.command("COMMAND|GETKEYS", {
  arity = -4, variadic = true, flags = FLAGS, group = "server", acl = { "connection" }, since = "2.8.13",
  complexity = "O(N) where N is the number of arguments to the command",
  summary = "Extract keys given a full Redis command",
  run = function(_, words)
    local found, args = find_keys(words)
    local list = {}
    for i, key in ipairs(found) do
      list[i] = args[key.at]
    end
    return list
  end,
})

command.command("COMMAND|GETKEYSANDFLAGS", {
  arity = -4, variadic = true, flags = FLAGS, group = "server", acl = { "connection" }, since = "7.0.0",
  complexity = "O(N) where N is the number of arguments to the command",
  summary = "Extract keys and access flags given a full Redis command",
  run = function(_, words)
    local found, args = find_keys(words)
    local list = {}
    for i, key in ipairs(found) do
      local flags = {}
      for word in key.access:gmatch("%S+") do
        flags[#flags + 1] = resp.status(word)
      end
      list[i] = { args[key.at], resp.set(flags) }
    end
    return list
  end,
})

help.command("COMMAND", { group = "server", acl = { "connection" }, since = "5.0.0" })
