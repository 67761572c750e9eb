-- The registry of commands: one table entry a command, ours and the user's alike. It runs nothing; session.lua does.
--
--   kv.command("HITS", {
--     arity = 2,                  -- as Redis counts: the name included; negative: at least
--     flags = { "write", "fast" },
--     keys = { 1, 1, 1 },         -- first key, last key (negative: from the end), step
--     summary = "Counts a visit",
--     run = function(ctx, key)    -- the arguments after the name; what it returns is the reply
--       local hits = (tonumber(ctx.db:get(key)) or 0) + 1
--       ctx.db:set(key, tostring(hits))
--       return hits
--     end,
--   })
--
-- A name such as "CLIENT|ID" adds a subcommand to CLIENT. With `variadic = true`, run gets one list: run(ctx, args).
local errors = require "lunode.kv.errors"
local resp = require "lunode.resp"
local syntax = require "lunode.kv.syntax"

local M = {}

---@class lunode.kv.command_options
---@field arity integer
---@field run? fun(ctx: lunode.kv.ctx, ...): any  may raise a resp.error as its reply; nothing is written then
---@field variadic? boolean       run(ctx, args): for commands without a bound on their arguments
---@field views? fun(ctx: lunode.kv.ctx, ...): any  runs instead for as few arguments as it has parameters, three at
---   most, while nobody asks for keyspace events: they are views, see resp.names
---@field short? fun(ctx: lunode.kv.ctx, key: string, ...): any  as views, but the first argument is a string
---@field member? integer  with `short`: the argument that names a member, whose row is fetched ahead
---@field list? fun(ctx: lunode.kv.ctx, args: any): any  as views, of 63 arguments at most: all are one view of a list
---@field flags? string[]         Redis's: "write", "readonly", "fast", "admin", "no_auth", …
---@field keys? integer[]         {first, last, step}
---@field access? string|string[] how keys are used, as Redis's key specs say: "RO access"; a list: one for each key
---@field notes? string           about the key specs
---@field group? string           "string", "generic", "connection", "server"
---@field acl? string[]           categories beyond those that follow from the flags and the group
---@field tips? string[]
---@field summary? string
---@field syntax? string          how it is used, for COMMAND DOCS and redis-cli's hints: see kv.syntax
---@field since? string
---@field complexity? string
---@field deprecated? {since: string, replaced_by: string}
---@field replace? boolean        an entry of this name may exist
---@field numkeys? table          {at, access}: the argument `at` tells how many keys follow it
---@field more_keys? string[][]   keys that only its other arguments tell of: {access, notes} each
---@field getkeys? fun(args: string[]): table?  where its keys are, in place of all this (kv.getkeys)
---@field arrive? fun(session: lunode.kv.session, args: string[]): any, table?, string[]?  as it arrives, whatever its
---   session still waits for: the reply; or nil, and `run` follows, or that of another entry with other arguments
---@field immediate? boolean      not queued by MULTI
---@field refused? fun(refusal: any): table  the entry that runs instead where a call cannot be
---@field may_replicate? boolean  a pause of writes holds it back

local FIELDS = {
  arity = "number", run = "function", variadic = "boolean", flags = "table", keys = "table", access = "any",
  notes = "string", group = "string", acl = "table", tips = "table", summary = "string", syntax = "string",
  since = "string", complexity = "string", deprecated = "table", replace = "boolean", numkeys = "table",
  more_keys = "table", getkeys = "function", arrive = "function", immediate = "boolean", may_replicate = "boolean",
  views = "function", short = "function", list = "function", member = "number", refused = "function",
}

local FLAGS = {
  write = true, readonly = true, denyoom = true, admin = true, pubsub = true, noscript = true, blocking = true,
  loading = true, stale = true, fast = true, no_auth = true, allow_busy = true, no_multi = true,
  no_async_loading = true, skip_slowlog = true,
}

local LONGEST_NAME = 64

-- By their names in upper and in lower case; other spellings are folded when they come, and not remembered:
-- a client could send any number of them.
local by_name = {}
M.by_name = by_name

-- The commands that may be given three arguments at most, for those that come so: connections look them up in the bytes
-- that arrive, and nothing more is asked about them.
M.names = resp.names()
local SHORT = 3
local LISTED = 63 -- arguments that come as one view; how long commands with more than that take is looked at

---How often a command was added: whoever looks can tell that there are more.
M.registered = 0

local function fail(name, format, ...)
  error(("command %s: "):format(tostring(name)) .. format:format(...), 4)
end

local function check(name, options)
  if type(name) ~= "string" or not name:find("^[%w_.-]+|?[%w_.-]*$") or #name > LONGEST_NAME then
    fail(name, "a name is letters, digits, '_', '-' and '.', at most %d", LONGEST_NAME)
  elseif type(options) ~= "table" then
    fail(name, "needs a table of options")
  end
  for field, value in pairs(options) do
    local expected = FIELDS[field]
    if not expected then
      fail(name, "unknown option %s", tostring(field))
    elseif expected ~= "any" and type(value) ~= expected then
      fail(name, "%s must be a %s, not a %s", field, expected, type(value))
    end
  end
  if math.type(options.arity) ~= "integer" or options.arity == 0 then
    fail(name, "arity must be an integer other than 0: its arguments and its name, negative for 'at least'")
  end
  local understood, fault = pcall(syntax.arguments, options.syntax or "")
  if not understood then
    fail(name, "%s", fault)
  end
end

local function flag_set(name, flags)
  local set = {}
  for _, flag in ipairs(flags) do
    if not FLAGS[flag] then
      fail(name, "unknown flag %s", tostring(flag))
    end
    set[flag] = true
  end
  if set.write and set.readonly then
    fail(name, 'flags "write" and "readonly" exclude each other')
  end
  return set
end

local function check_keys(name, keys)
  if keys == nil then
    return
  elseif #keys ~= 3 then
    fail(name, "keys must be {first, last, step}")
  end
  for _, n in ipairs(keys) do
    if math.type(n) ~= "integer" then
      fail(name, "keys must be three integers")
    end
  end
end

-- A subcommand's handler is called with the arguments after its own name.
local function skip_name(options)
  local run = options.run
  if options.variadic then
    return function(ctx, args)
      ctx.word = args[1]
      return run(ctx, table.move(args, 2, #args + 1, 1))
    end
  end
  return function(ctx, word, ...)
    ctx.word = word
    return run(ctx, ...)
  end
end

-- The table that the command goes into, its container if it is a subcommand, and its name there.
local function home_of(name, options)
  local container_name, own_name = name:match("^(.-)|(.+)$")
  local container = container_name and M.find(container_name)
  if container_name and not container then
    fail(name, "there is no command %s to add it to", container_name)
  elseif not options.run and (container_name or options.arity > -2) then
    fail(name, "needs a function run") -- only a mere container of subcommands has none
  end
  local home = container and container.subcommands or by_name
  own_name = own_name or name
  if home[own_name:upper()] and not options.replace then
    fail(name, "exists already; say replace = true to replace it")
  end
  return home, container, own_name
end

-- On the short way a handler is called with three arguments, nil where there are fewer; one that counts its own does
-- not get these.
local function for_three(run)
  if not run or not debug.getinfo(run, "u").isvararg then
    return run
  end
  return function(ctx, a, b, c)
    if c then
      return run(ctx, a, b, c)
    elseif b then
      return run(ctx, a, b)
    elseif a then
      return run(ctx, a)
    end
    return run(ctx)
  end
end

-- Those with few arguments come by a short way, and some have a function of their own for it.
local function bind(name, entry, options)
  if options.list then
    return M.names:bind(name, entry, entry.min, math.min(entry.max, LISTED), "list")
  end
  local few, most = options.views or options.short, SHORT
  if few then
    most = math.min(debug.getinfo(few, "u").nparams - 1, SHORT)
  end
  local looked_at = entry.timed and not entry.write and not few -- how long it takes: not on the short way
  if entry.run and (few or not entry.variadic) and entry.min <= most and not looked_at then
    local views = options.views and 1 or options.short and 2
    M.names:bind(name, entry, entry.min, math.min(entry.max, most), views or false, options.member)
  else
    M.names:unbind(name)
  end
end

---Adds a command. Misuse raises.
---@param name string  in any case; "CONTAINER|NAME" for a subcommand
---@param options lunode.kv.command_options
function M.command(name, options)
  check(name, options)
  local home, container, own_name = home_of(name, options)
  local flags = flag_set(name, options.flags or {})
  check_keys(name, options.keys)
  local arity = options.arity
  local entry = {
    name = name:lower(),
    called = name:lower(), -- the name under which clients find it now
    min = math.abs(arity) - 1, -- arguments after the name
    max = arity > 0 and arity - 1 or math.huge,
    run = container and skip_name(options) or options.run,
    short = for_three(options.views or options.short or options.list or options.run), -- for few arguments
    variadic = options.variadic or false,
    write = flags.write or false,
    reads = flags.readonly or false,
    no_auth = flags.no_auth or false,
    blocks = flags.blocking or false,
    no_multi = flags.no_multi or false,
    admin = flags.admin or false,
    skip_slowlog = flags.skip_slowlog or false,
    may_replicate = options.may_replicate or false,
    timed = not flags.fast, -- how long it takes is looked at: what Redis calls fast cannot take long
    arrive = options.arrive,
    immediate = options.immediate or false,
    refused = options.refused,
    subcommands = {}, -- by name, as by_name
    direct = true, -- it has no subcommands to look for
    wrong_arity = resp.error(("ERR wrong number of arguments for '%s' command"):format(name:lower())),
    options = options,
  }
  if container then
    container.direct = false
    M.names:unbind(container.name)
  end
  for _, spelling in ipairs { own_name:upper(), own_name:lower() } do
    home[spelling] = entry
  end
  M.registered = M.registered + 1
  if home ~= by_name then
    return
  end
  bind(own_name, entry, options)
end

-- Those that have another name now, or none, by the names that they had: the log goes on to call them so.
local renamed = {}

-- Gives a command another name, or none: "". Returns what is wrong with that.
local function rename(name, new)
  local entry = by_name[name:upper()]
  if not entry then
    return "there is no command " .. name
  elseif new ~= "" and (not new:find("^[%w_.-]+$") or #new > LONGEST_NAME) then
    return ("%q cannot be a command's name"):format(new)
  elseif by_name[new:upper()] then
    return "there is a command " .. new .. " already"
  end
  by_name[name:upper()], by_name[name:lower()] = nil, nil
  M.names:unbind(name)
  renamed[name:upper()] = entry
  entry.log_name, entry.called = entry.name, new:lower()
  for _, sub in pairs(entry.subcommands) do
    sub.log_name = entry.name
  end
  if new ~= "" then
    by_name[new:upper()], by_name[new:lower()] = entry, entry
    bind(new, entry, entry.options)
  end
end

---Gives commands other names in this process, or none: "".
---@param names table<string, string>
---@return boolean? done
---@return string? fault  about the first, by its name, that cannot be; those before it have their new names
function M.rename_all(names)
  local order = {}
  for name in pairs(names) do
    order[#order + 1] = name
  end
  table.sort(order)
  for _, name in ipairs(order) do
    local fault = rename(name, names[name])
    if fault then
      return nil, fault
    end
  end
  return true
end

---The entry of a command as the log calls it: by its own name, whatever it is called now.
---@param name string
---@return table? entry
function M.find_logged(name)
  return renamed[name:upper()] or M.find(name)
end

---The names of all that the log may have, subcommands and those that no client can find any more among them; sorted.
---@return string[]
function M.logged_names()
  local set, list = {}, {}
  for _, home in ipairs { by_name, renamed } do
    for _, entry in pairs(home) do
      set[entry.name] = true
      for _, sub in pairs(entry.subcommands) do
        set[sub.name] = true
      end
    end
  end
  for name in pairs(set) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

---The entry of a command, its name in any case.
---@param name string
---@return table? entry
function M.find(name)
  return by_name[name] or #name <= LONGEST_NAME and by_name[name:upper()] or nil
end

---@param container table
---@param name string
---@return table? entry
function M.subcommand(container, name)
  local entries = container.subcommands
  return entries[name] or #name <= LONGEST_NAME and entries[name:upper()] or nil
end

---A command as code gives it: its name, and its arguments as text. Misuse raises at the caller's caller.
---@param ... string|number
---@return string name
---@return string[] args
function M.words(...)
  local words = table.pack(...)
  for i = 1, math.max(words.n, 1) do
    local word = words[i]
    if type(word) ~= "string" and type(word) ~= "number" then
      error(("call: word %d of the command is a %s; give strings and numbers"):format(i, type(word)), 3)
    end
    words[i] = type(word) == "string" and word or tostring(math.tointeger(word) or word)
  end
  return words[1], table.move(words, 2, words.n, 1, {})
end

---The entry that runs a command, a subcommand's where it has one; or why there is none.
---@param name string
---@param args string[]
---@param find fun(name: string): table?  `find`, or `find_logged`
---@return table? entry
---@return lunode.resp.raw? refusal
function M.entry_for(name, args, find)
  local entry = find(name)
  if entry and not entry.direct and args[1] then
    entry = M.subcommand(entry, args[1])
  end
  if not entry then
    return nil, errors.quoting("ERR unknown command '%s'", name)
  elseif #args < entry.min or #args > entry.max then
    return nil, entry.wrong_arity
  end
  return entry
end

---As `find`, and "client|id" finds the subcommand.
---@param name string
---@return table? entry
function M.resolve(name)
  local container, own = name:match("^(.-)|(.+)$")
  if container == nil then
    return M.find(name)
  end
  container = M.find(container)
  return container and M.subcommand(container, own)
end

---The entries in `home` (default: all commands), ordered by name.
---@param home? table
---@return table[]
function M.list(home)
  local list = {}
  for name, entry in pairs(home or by_name) do
    if name == name:lower() then
      list[#list + 1] = entry
    end
  end
  table.sort(list, function(a, b)
    return a.name < b.name
  end)
  return list
end

return M
