-- Commands on hashes: HSET and its kin.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local longdouble = require "lunode.kv.longdouble"
local members = require "lunode.kv.members"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local null = resp.null
local HASH = keys.HASH

local NOT_INTEGER = resp.error("ERR hash value is not an integer")
local NOT_FLOAT = resp.error("ERR hash value is not a float")
local OVERFLOW = resp.error("ERR increment or decrement would overflow")
local INFINITE = resp.error("ERR value is NaN or Infinity")
local NAN = resp.error("ERR increment would produce NaN or Infinity")

local FAST_READ = { "readonly", "fast" }
local FAST_WRITE = { "write", "denyoom", "fast" }
local KEY = { 1, 1, 1 }
local UNORDERED = { "nondeterministic_output_order" }
local RANDOM = { "nondeterministic_output" }

-- ---- fields

-- args: the key, then fields and values. How many fields are new.
local function set_fields(ctx, args)
  local db = ctx.db
  local c = db.collections:create(args[1], HASH)
  local fields, prefix, added = db.members, c.prefix, 0
  for i = 2, #args, 2 do
    if not fields:put(prefix, args[i], args[i + 1]) then
      added = added + 1
    end
  end
  c.count = c.count + added
  db.collections:changed(c)
  ctx:notify("h", "hset", args[1])
  return added
end

local function check_pairs(name, args)
  if #args % 2 == 0 then
    error(resp.error(("ERR wrong number of arguments for '%s' command"):format(name)), 0)
  end
end

command.command("HSET", {
  arity = -4, variadic = true, flags = FAST_WRITE, keys = KEY, access = "RW update", group = "hash", since = "2.0.0",
  complexity = "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called "
    .. "with multiple field/value pairs.",
  summary = "Set the string value of a hash field",
  run = function(ctx, args)
    check_pairs("hset", args)
    return set_fields(ctx, args)
  end,
  member = 2,
  short = function(ctx, key, field, value)
    local db = ctx.db
    local collections = db.collections
    local c = collections:create(key, HASH)
    local existed = db.put_member(db.members, c.prefix, field, value)
    if not existed then
      c.count = c.count + 1
    end
    collections:changed(c)
    return existed and 0 or 1
  end,
})

command.command("HMSET", {
  arity = -4, variadic = true, flags = FAST_WRITE, keys = KEY, access = "RW update", group = "hash", since = "2.0.0",
  complexity = "O(N) where N is the number of fields being set.",
  summary = "Set multiple hash fields to multiple values",
  deprecated = { since = "4.0.0", replaced_by = "`HSET` with multiple field-value pairs" },
  run = function(ctx, args)
    check_pairs("hmset", args)
    set_fields(ctx, args)
    return resp.OK
  end,
})

command.command("HSETNX", {
  arity = 4, flags = FAST_WRITE, keys = KEY, access = "RW insert", group = "hash", since = "2.0.0",
  complexity = "O(1)", summary = "Set the value of a hash field, only if the field does not exist",
  run = function(ctx, key, field, value)
    local db = ctx.db
    local c = db.collections:create(key, HASH)
    if not db.members:add(c.prefix, field, value) then
      return 0
    end
    c.count = c.count + 1
    db.collections:changed(c)
    ctx:notify("h", "hset", key)
    return 1
  end,
})

local function get(ctx, key, field)
  local db = ctx.db
  local c = db.collections:read(key, HASH)
  return c and db.get_member(db.members, c.prefix, field)
end

command.command("HGET", {
  arity = 3, flags = FAST_READ, keys = KEY, access = "RO access", group = "hash", since = "2.0.0",
  complexity = "O(1)", summary = "Get the value of a hash field",
  run = get,
  member = 2,
  short = get,
})

command.command("HMGET", {
  arity = -3, variadic = true, flags = FAST_READ, keys = KEY, access = "RO access", group = "hash", since = "2.0.0",
  complexity = "O(N) where N is the number of fields being requested.",
  summary = "Get the values of all the given hash fields",
  run = function(ctx, args)
    local db, list = ctx.db, {}
    local c = db.collections:read(args[1], HASH)
    for i = 2, #args do
      list[i - 1] = c and db.members:get(c.prefix, args[i]) or null
    end
    return list
  end,
})

command.command("HEXISTS", {
  arity = 3, flags = FAST_READ, keys = KEY, access = "RO", group = "hash", since = "2.0.0", complexity = "O(1)",
  summary = "Determine if a hash field exists",
  run = function(ctx, key, field)
    local db = ctx.db
    local c = db.collections:read(key, HASH)
    return c and db.members:has(c.prefix, field) and 1 or 0
  end,
})

command.command("HSTRLEN", {
  arity = 3, flags = FAST_READ, keys = KEY, access = "RO", group = "hash", since = "3.2.0", complexity = "O(1)",
  summary = "Get the length of the value of a hash field",
  run = function(ctx, key, field)
    local db = ctx.db
    local c = db.collections:read(key, HASH)
    return #(c and db.members:get(c.prefix, field) or "")
  end,
})

command.command("HLEN", {
  arity = 2, flags = FAST_READ, keys = KEY, access = "RO", group = "hash", since = "2.0.0", complexity = "O(1)",
  summary = "Get the number of fields in a hash",
  run = function(ctx, key)
    return ctx.db.collections:count(key, HASH)
  end,
})

command.command("HDEL", {
  arity = -3, variadic = true, flags = { "write", "fast" }, keys = KEY, access = "RW delete", group = "hash",
  since = "2.0.0", complexity = "O(N) where N is the number of fields to be removed.",
  summary = "Delete one or more hash fields",
  run = function(ctx, args)
    local db, key = ctx.db, args[1]
    local c, deleted = db.collections:open(key, HASH), 0
    for i = 2, c and #args or 0 do
      if db.members:delete(c.prefix, args[i]) then
        deleted = deleted + 1
      end
    end
    if deleted > 0 then
      c.count = c.count - deleted
      db.collections:changed(c)
      ctx:notify("h", "hdel", key)
      if c.count == 0 then
        ctx:notify("g", "del", key)
      end
    end
    return deleted
  end,
})

-- ---- all of them

local function all(what)
  return function(ctx, key)
    local db = ctx.db
    local c = db.collections:read(key, HASH)
    return c and members.reply(db, c, what, "array") or {}
  end
end

local keys_of, values_of = all("keys"), all("values")

local function hgetall(ctx, key)
  local db = ctx.db
  local c = db.collections:read(key, HASH)
  return c and members.reply(db, c, "both", "map") or resp.map {}
end

command.command("HGETALL", {
  arity = 2, flags = { "readonly" }, keys = KEY, access = "RO access", group = "hash", since = "2.0.0",
  complexity = "O(N) where N is the size of the hash.", summary = "Get all the fields and values in a hash",
  tips = UNORDERED,
  run = hgetall,
  short = hgetall,
})

command.command("HKEYS", {
  arity = 2, flags = { "readonly" }, keys = KEY, access = "RO access", group = "hash", since = "2.0.0",
  complexity = "O(N) where N is the size of the hash.", summary = "Get all the fields in a hash", tips = UNORDERED,
  run = keys_of,
  short = keys_of,
})

command.command("HVALS", {
  arity = 2, flags = { "readonly" }, keys = KEY, access = "RO access", group = "hash", since = "2.0.0",
  complexity = "O(N) where N is the size of the hash.", summary = "Get all the values in a hash", tips = UNORDERED,
  run = values_of,
  short = values_of,
})

command.command("HSCAN", {
  arity = -3, variadic = true, flags = { "readonly" }, keys = KEY, access = "RO access", group = "hash",
  since = "2.8.0", tips = RANDOM,
  complexity = "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to "
    .. "return back to 0. N is the number of elements inside the collection..",
  summary = "Incrementally iterate hash fields and associated values",
  run = function(ctx, args)
    return members.scan(ctx, args, HASH, "", function(value)
      return value
    end)
  end,
})

-- ---- chance

-- With a count and WITHVALUES, clients of RESP3 get pairs.
local function pairs_of(list)
  local grouped = {}
  for i = 1, #list, 2 do
    grouped[#grouped + 1] = { list[i], list[i + 1] }
  end
  return grouped
end

command.command("HRANDFIELD", {
  arity = -2, flags = { "readonly" }, keys = KEY, access = "RO access", group = "hash", since = "6.2.0",
  tips = RANDOM, complexity = "O(N) where N is the number of fields returned",
  summary = "Get one or multiple random fields from a hash",
  run = function(ctx, key, count, option, excess)
    local wanted = count and members.random_count(count)
    if excess or option and option:lower() ~= "withvalues" then
      return errors.SYNTAX
    elseif option then
      members.check_doubled(wanted)
    end
    local c = ctx.db.collections:read(key, HASH)
    if not count then
      return c and (members.pick(ctx, c.prefix, c.count, "keys"))
    elseif not c then
      return {}
    end
    local list = members.random(ctx, c.prefix, c.count, wanted, option and "both" or "keys")
    return option and ctx:protocol() == 3 and pairs_of(list) or list
  end,
})

-- ---- counters

command.command("HINCRBY", {
  arity = 4, flags = FAST_WRITE, keys = KEY, access = "RW access update", group = "hash", since = "2.0.0",
  complexity = "O(1)", summary = "Increment the integer value of a hash field by the given number",
  run = function(ctx, key, field, by)
    local n, db = numbers.integer(by), ctx.db
    local c = db.collections:create(key, HASH)
    local old = db.members:get(c.prefix, field)
    local number = old and numbers.parse(old) or not old and 0
    if not number then
      return NOT_INTEGER
    end
    local sum = numbers.add(number, n)
    if not sum then
      return OVERFLOW
    end
    db.members:put(c.prefix, field, tostring(sum))
    c.count = old and c.count or c.count + 1
    db.collections:changed(c)
    ctx:notify("h", "hincrby", key)
    return sum
  end,
})

command.command("HINCRBYFLOAT", {
  arity = 4, flags = FAST_WRITE, keys = KEY, access = "RW access update", group = "hash", since = "2.6.0",
  complexity = "O(1)", summary = "Increment the float value of a hash field by the given amount",
  run = function(ctx, key, field, by)
    local addend, db = longdouble.parse(by), ctx.db
    if not addend then
      return errors.NOT_FLOAT
    elseif addend.infinite then
      return INFINITE
    end
    local c = db.collections:create(key, HASH)
    local old = db.members:get(c.prefix, field)
    local number = longdouble.parse(old or "0")
    if not number then
      return NOT_FLOAT
    end
    local sum = longdouble.add(number, addend)
    if not sum then
      return NAN
    end
    local text = longdouble.format(sum)
    db.members:put(c.prefix, field, text)
    c.count = old and c.count or c.count + 1
    db.collections:changed(c)
    ctx:notify("h", "hincrbyfloat", key)
    return text
  end,
})
