-- Commands on strings: GET SET and their kin, counters, ranges.
local command = require "lunode.kv.command"
local deadline = require "lunode.kv.deadline"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local longdouble = require "lunode.kv.longdouble"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local OK, null = resp.OK, resp.null
local string_value, expiry_of = keys.string_value, keys.expiry
local integer, words = numbers.integer, resp.words

local LONGEST = 512 * 1024 * 1024 -- proto-max-bulk-len

local OVERFLOW = resp.error("ERR increment or decrement would overflow")
local DECREMENT_OVERFLOW = resp.error("ERR decrement would overflow")
local NAN = resp.error("ERR increment would produce NaN or Infinity")
local BAD_OFFSET = resp.error("ERR offset is out of range")

local FAST_READ = { "readonly", "fast" }
local FAST_WRITE = { "write", "denyoom", "fast" }
local WRITE = { "write", "denyoom" }

local KEY = { 1, 1, 1 }

-- ---- whole values

command.command("GET", {
  arity = 2, flags = FAST_READ, keys = KEY, access = "RO access", group = "string", since = "1.0.0",
  complexity = "O(1)", summary = "Get the value of a key",
  run = function(ctx, key)
    return ctx.db:get(key)
  end,
  views = function(ctx, key)
    return ctx.db:get(key)
  end,
})

-- What follows SET's value. Options may repeat; the last time given counts.
local function set_options(args)
  local options, i = {}, 1
  while i <= #args do
    local option = args[i]:upper()
    if option == "NX" and not options.xx then
      options.nx = true
    elseif option == "XX" and not options.nx then
      options.xx = true
    elseif option == "GET" then
      options.get = true
    elseif option == "KEEPTTL" and not options.unit then
      options.keepttl = true
    elseif deadline.UNITS[option] and not options.keepttl and (options.unit or option) == option and args[i + 1] then
      options.unit, options.time = option, args[i + 1]
      i = i + 1
    else
      error(errors.SYNTAX, 0)
    end
    i = i + 1
  end
  return options
end

local function set_with_options(ctx, key, text, options)
  local db, expiry = ctx.db, nil
  if options.unit then
    expiry = deadline.parse("set", options.unit, options.time, ctx.now)
  end
  local row, old = db:find(key)
  local previous
  if options.get then
    previous = old and db:text(old) or null
  end
  if options.nx and old or options.xx and not old then
    return previous -- nil, the null, without GET
  end
  if options.keepttl and old then
    expiry = expiry_of(old)
  end
  db:put(row, old, string_value(text, expiry))
  ctx:notify("$", "set", key)
  if options.unit then
    ctx:notify("g", "expire", key)
  end
  return previous or OK
end

-- How a call of SET uses its key.
local function keys_of_set(args)
  local access = "OW update"
  for i = 3, #args do
    access = args[i]:upper() == "GET" and "RW access update" or access
  end
  return { { at = 1, access = access } }
end

command.command("SET", {
  arity = -3, flags = WRITE, keys = KEY, access = "RW access update variable_flags", group = "string",
  getkeys = keys_of_set,
  notes = "RW and ACCESS due to the optional `GET` argument",
  since = "1.0.0", complexity = "O(1)", summary = "Set the string value of a key",
  run = function(ctx, key, text, option, ...)
    if option then
      return set_with_options(ctx, key, text, set_options { option, ... })
    end
    ctx.db:set(key, text)
    if ctx.notifies then
      ctx:notify("$", "set", key)
    end
    return OK
  end,
  views = function(ctx, key, text)
    ctx.db:set(key, text)
    return OK
  end,
})

command.command("SETNX", {
  arity = 3, flags = FAST_WRITE, keys = KEY, access = "OW insert", group = "string", since = "1.0.0",
  complexity = "O(1)", summary = "Set the value of a key, only if the key does not exist",
  run = function(ctx, key, text)
    local row, old = ctx.db:find(key)
    if old then
      return 0
    end
    ctx.db:put(row, nil, string_value(text))
    ctx:notify("$", "set", key)
    return 1
  end,
})

command.command("SETEX", {
  arity = 4, flags = WRITE, keys = KEY, access = "OW update", group = "string", since = "2.0.0",
  complexity = "O(1)", summary = "Set the value and expiration of a key",
  run = function(ctx, key, seconds, text)
    ctx.db:set(key, text, deadline.parse("setex", "EX", seconds, ctx.now))
    ctx:notify("$", "set", key)
    ctx:notify("g", "expire", key)
    return OK
  end,
})

command.command("PSETEX", {
  arity = 4, flags = WRITE, keys = KEY, access = "OW update", group = "string", since = "2.6.0",
  complexity = "O(1)", summary = "Set the value and expiration in milliseconds of a key",
  run = function(ctx, key, milliseconds, text)
    ctx.db:set(key, text, deadline.parse("psetex", "PX", milliseconds, ctx.now))
    ctx:notify("$", "set", key)
    ctx:notify("g", "expire", key)
    return OK
  end,
})

command.command("GETSET", {
  arity = 3, flags = FAST_WRITE, keys = KEY, access = "RW access update", group = "string", since = "1.0.0",
  complexity = "O(1)", summary = "Set the string value of a key and return its old value",
  deprecated = { since = "6.2.0", replaced_by = "`SET` with the `!GET` argument" },
  run = function(ctx, key, text)
    local db = ctx.db
    local row, old = db:find(key)
    local previous = old and db:text(old)
    db:put(row, old, string_value(text))
    ctx:notify("$", "set", key)
    return previous
  end,
})

command.command("GETDEL", {
  arity = 2, flags = { "write", "fast" }, keys = KEY, access = "RW access delete", group = "string", since = "6.2.0",
  complexity = "O(1)", summary = "Get the value of a key and delete the key",
  run = function(ctx, key)
    local db = ctx.db
    local row, old = db:find(key)
    if old == nil then
      return nil
    end
    local text = db:text(old)
    db:remove(row, old)
    ctx:notify("g", "del", key)
    return text
  end,
})

-- What follows GETEX's key: (unit, time), or "PERSIST", or nothing.
local function getex_options(args)
  local unit, time
  local i = 1
  while i <= #args do
    local option = args[i]:upper()
    if (unit or option) ~= option then
      error(errors.SYNTAX, 0)
    elseif option == "PERSIST" then
      unit = option
    elseif deadline.UNITS[option] and args[i + 1] then
      unit, time = option, args[i + 1]
      i = i + 1
    else
      error(errors.SYNTAX, 0)
    end
    i = i + 1
  end
  return unit, time
end

command.command("GETEX", {
  arity = -2, flags = { "write", "fast" }, keys = KEY, access = "RW access update", group = "string",
  notes = "RW and UPDATE because it changes the TTL",
  since = "6.2.0", complexity = "O(1)", summary = "Get the value of a key and optionally set its expiration",
  run = function(ctx, key, ...)
    local db = ctx.db
    local unit, time = getex_options { ... }
    local row, old = db:find(key)
    if old == nil then
      return nil
    end
    local text = db:text(old)
    if unit == "PERSIST" then
      if expiry_of(old) then
        db:put(row, old, keys.with_expiry(old, nil))
        ctx:notify("g", "persist", key)
      end
    elseif unit then
      local expiry = deadline.parse("getex", unit, time, ctx.now)
      if expiry <= ctx.now then
        db:remove(row, old)
        ctx:notify("g", "del", key)
      else
        db:put(row, old, keys.with_expiry(old, expiry))
        ctx:notify("g", "expire", key)
      end
    end
    return text
  end,
})

-- ---- several keys

local function get_all(ctx, args)
  local db = ctx.db
  local reply = db.rows:reply(args, keys.STRING, ctx:protocol())
  if reply then
    return reply
  end
  local values = {}
  for i, key in ipairs(type(args) == "table" and args or { words(args) }) do
    local _, value = db:find(key)
    values[i] = value and keys.type(value) == keys.STRING and db:text(value) or null
  end
  return values
end

command.command("MGET", {
  arity = -2, variadic = true, flags = FAST_READ, keys = { 1, -1, 1 }, access = "RO access", group = "string",
  tips = { "request_policy:multi_shard" }, since = "1.0.0",
  complexity = "O(N) where N is the number of keys to retrieve.", summary = "Get the values of all the given keys",
  run = get_all,
  list = get_all,
})

-- Of a list, or of a view of one.
local function check_pairs(name, args)
  if resp.count(args) % 2 ~= 0 then
    error(resp.error(("ERR wrong number of arguments for '%s' command"):format(name)), 0)
  end
end

local function set_pairs(ctx, args)
  local db = ctx.db
  if not ctx.notifies then
    return db:set_list(args)
  end
  for i = 1, #args, 2 do
    db:set(args[i], args[i + 1])
    ctx:notify("$", "set", args[i])
  end
end

local function set_all(ctx, args)
  check_pairs("mset", args)
  set_pairs(ctx, args)
  return OK
end

command.command("MSET", {
  arity = -3, variadic = true, flags = WRITE, keys = { 1, -1, 2 }, access = "OW update", group = "string",
  tips = { "request_policy:multi_shard", "response_policy:all_succeeded" }, since = "1.0.1",
  complexity = "O(N) where N is the number of keys to set.", summary = "Set multiple keys to multiple values",
  run = set_all,
  list = set_all,
})

command.command("MSETNX", {
  arity = -3, variadic = true, flags = WRITE, keys = { 1, -1, 2 }, access = "OW insert", group = "string",
  tips = { "request_policy:multi_shard", "response_policy:agg_min" }, since = "1.0.1",
  complexity = "O(N) where N is the number of keys to set.",
  summary = "Set multiple keys to multiple values, only if none of the keys exist",
  run = function(ctx, args)
    check_pairs("msetnx", args)
    for i = 1, #args, 2 do
      local _, value = ctx.db:find(args[i])
      if value then
        return 0
      end
    end
    set_pairs(ctx, args)
    return 1
  end,
})

-- ---- parts of values

local function length(db, value)
  if value == nil then
    return 0
  elseif keys.type(value) ~= keys.STRING then
    return #db:text(value) -- raises WRONGTYPE
  end
  return #value - keys.payload_start(value) + 1
end

command.command("STRLEN", {
  arity = 2, flags = FAST_READ, keys = KEY, access = "RO", group = "string", since = "2.2.0",
  complexity = "O(1)", summary = "Get the length of the value stored in a key",
  run = function(ctx, key)
    local _, value = ctx.db:find(key)
    return length(ctx.db, value)
  end,
})

command.command("APPEND", {
  arity = 3, flags = FAST_WRITE, keys = KEY, access = "RW insert", group = "string", since = "2.0.0",
  complexity = "O(1). The amortized time complexity is O(1) assuming the appended value is small and the already "
    .. "present value is of any size, since the dynamic string library used by Redis will double the free space "
    .. "available on every reallocation.",
  summary = "Append a value to a key",
  run = function(ctx, key, text)
    local db = ctx.db
    local row, old = db:find(key)
    local size = length(db, old) + #text
    if old and size > LONGEST then
      return errors.TOO_LONG
    end
    db:put(row, old, old and old .. text or string_value(text))
    ctx:notify("$", "append", key)
    return size
  end,
})

local function get_range(ctx, key, from, to)
  local first, last = integer(from), integer(to)
  local _, value = ctx.db:find(key)
  local text = ctx.db:text(value)
  if first < 0 and last < 0 and first > last then
    return ""
  end
  -- both ends are clamped to the string's start, so (-100, -50) is its first byte: as Redis does
  first = math.max(first < 0 and #text + first or first, 0)
  last = math.max(last < 0 and #text + last or last, 0)
  if first >= #text then
    return ""
  end
  return text:sub(first + 1, math.min(last, #text - 1) + 1)
end

for name, about in pairs {
  GETRANGE = { since = "2.4.0" },
  SUBSTR = { since = "1.0.0", deprecated = { since = "2.0.0", replaced_by = "`GETRANGE`" } },
} do
  command.command(name, {
    arity = 4, flags = { "readonly" }, keys = KEY, access = "RO access", group = "string", since = about.since,
    deprecated = about.deprecated,
    complexity = "O(N) where N is the length of the returned string. The complexity is ultimately determined by the "
      .. "returned length, but because creating a substring from an existing string is very cheap, it can be "
      .. "considered O(1) for small strings.",
    summary = "Get a substring of the string stored at a key",
    run = get_range,
  })
end

command.command("SETRANGE", {
  arity = 4, flags = WRITE, keys = KEY, access = "RW update", group = "string", since = "2.2.0",
  complexity = "O(1), not counting the time taken to copy the new string in place. Usually, this string is very small "
    .. "so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of the value "
    .. "argument.",
  summary = "Overwrite part of a string at key starting at the specified offset",
  run = function(ctx, key, at, text)
    local db, offset = ctx.db, integer(at)
    if offset < 0 then
      return BAD_OFFSET
    end
    local row, old = db:find(key)
    local size = length(db, old)
    if #text == 0 then
      return size
    elseif offset > LONGEST - #text then
      return errors.TOO_LONG
    end
    local before = db:text(old)
    local padding = ("\0"):rep(offset - size)
    local changed = before:sub(1, offset) .. padding .. text .. before:sub(offset + #text + 1)
    db:put(row, old, string_value(changed, old and expiry_of(old)))
    ctx:notify("$", "setrange", key)
    return #changed
  end,
})

-- ---- counters

-- Of strings and of views.
local function increment(ctx, key, by)
  local db = ctx.db
  local sum = db:add(key, by)
  if sum == nil then -- it has an expiry, or there is something wrong with it
    key = words(key)
    local row, old = db:find(key)
    sum = numbers.add(old and integer(db:text(old)) or 0, by)
    if sum == nil then
      return OVERFLOW
    end
    db:put(row, old, string_value(tostring(sum), old and expiry_of(old)))
  end
  if ctx.notifies then
    ctx:notify("$", "incrby", key)
  end
  return sum
end

local function incr(ctx, key)
  return increment(ctx, key, 1)
end

local function decr(ctx, key)
  return increment(ctx, key, -1)
end

local function incrby(ctx, key, by)
  return increment(ctx, key, integer((words(by))))
end

command.command("INCR", {
  arity = 2, flags = FAST_WRITE, keys = KEY, access = "RW access update", group = "string", since = "1.0.0",
  complexity = "O(1)", summary = "Increment the integer value of a key by one",
  run = incr,
  views = incr,
})

command.command("DECR", {
  arity = 2, flags = FAST_WRITE, keys = KEY, access = "RW access update", group = "string", since = "1.0.0",
  complexity = "O(1)", summary = "Decrement the integer value of a key by one",
  run = decr,
  views = decr,
})

command.command("INCRBY", {
  arity = 3, flags = FAST_WRITE, keys = KEY, access = "RW access update", group = "string", since = "1.0.0",
  complexity = "O(1)", summary = "Increment the integer value of a key by the given amount",
  run = incrby,
  views = incrby,
})

command.command("DECRBY", {
  arity = 3, flags = FAST_WRITE, keys = KEY, access = "RW access update", group = "string", since = "1.0.0",
  complexity = "O(1)", summary = "Decrement the integer value of a key by the given number",
  run = function(ctx, key, by)
    local n = integer(by)
    if n == math.mininteger then -- it has no negative
      return DECREMENT_OVERFLOW
    end
    return increment(ctx, key, -n)
  end,
})

command.command("INCRBYFLOAT", {
  arity = 3, flags = FAST_WRITE, keys = KEY, access = "RW access update", group = "string", since = "2.6.0",
  complexity = "O(1)", summary = "Increment the float value of a key by the given amount",
  run = function(ctx, key, by)
    local db = ctx.db
    local row, old = db:find(key)
    local value = longdouble.parse(old and db:text(old) or "0")
    local addend = value and longdouble.parse(by)
    if not addend then
      return errors.NOT_FLOAT
    end
    local sum = longdouble.add(value, addend)
    if not sum then
      return NAN
    end
    local text = longdouble.format(sum)
    db:put(row, old, string_value(text, old and expiry_of(old)))
    ctx:notify("$", "incrbyfloat", key)
    return text
  end,
})
