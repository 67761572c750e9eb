-- Commands on sets: SADD and its kin, and what is made of several sets.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local members = require "lunode.kv.members"
local numbers = require "lunode.kv.numbers"
local remembered = require "lunode.kv.remembered"
local resp = require "lunode.resp"

local SET = keys.SET

local NOT_POSITIVE = resp.error("ERR value is out of range, must be positive")
local BAD_NUMKEYS = resp.error("ERR numkeys should be greater than 0")
local TOO_MANY_KEYS = resp.error("ERR Number of keys can't be greater than number of args")
local NEGATIVE_LIMIT = resp.error("ERR LIMIT can't be negative")

local FAST_READ = { "readonly", "fast" }
local KEY = { 1, 1, 1 }
local ALL = { 1, -1, 1 }
local UNORDERED = { "nondeterministic_output_order" }
local RANDOM = { "nondeterministic_output" }

-- ---- members

command.command("SADD", {
  arity = -3, variadic = true, flags = { "write", "denyoom", "fast" }, keys = KEY, access = "RW insert",
  group = "set", since = "1.0.0",
  complexity = "O(1) for each element added, so O(N) to add N elements when the command is called with multiple "
    .. "arguments.",
  summary = "Add one or more members to a set",
  run = function(ctx, args)
    local db, key, added = ctx.db, args[1], 0
    local c = db.collections:create(key, SET)
    local set, prefix = db.members, c.prefix
    for i = 2, #args do
      local new, hash = set:add(prefix, args[i], "")
      if new then
        added = added + 1
        remembered.added(db, c, args[i], hash)
      end
    end
    if added > 0 then
      c.count = c.count + added
      db.collections:changed(c)
      ctx:notify("s", "sadd", key)
    end
    return added
  end,
  member = 2,
  short = function(ctx, key, member)
    local db = ctx.db
    local collections = db.collections
    local c = collections:create(key, SET)
    local new, hash = db.add_member(db.members, c.prefix, member, "")
    if not new then
      return 0
    end
    c.count = c.count + 1
    if c.index then
      remembered.added(db, c, member, hash)
    end
    collections:changed(c)
    return 1
  end,
})

-- `deleted` members are gone, by a command that Redis calls `event`.
local function shrink(ctx, c, deleted, event)
  c.count = c.count - deleted
  ctx.db.collections:changed(c)
  if ctx.notifies then
    ctx:notify("s", event, c.key)
    if c.count == 0 then
      ctx:notify("g", "del", c.key)
    end
  end
end

command.command("SREM", {
  arity = -3, variadic = true, flags = { "write", "fast" }, keys = KEY, access = "RW delete", group = "set",
  since = "1.0.0", complexity = "O(N) where N is the number of members to be removed.",
  summary = "Remove one or more members from a set",
  run = function(ctx, args)
    local db, deleted = ctx.db, 0
    local c = db.collections:open(args[1], SET)
    for i = 2, c and #args or 0 do
      local existed, hash = db.members:delete(c.prefix, args[i])
      if existed then
        deleted = deleted + 1
        remembered.removed(c, args[i], hash)
      end
    end
    if deleted > 0 then
      shrink(ctx, c, deleted, "srem")
    end
    return deleted
  end,
})

command.command("SMOVE", {
  arity = 4, flags = { "write", "fast" }, keys = { 1, 2, 1 }, access = { "RW access delete", "RW insert" },
  group = "set", since = "1.0.0", complexity = "O(1)", summary = "Move a member from one set to another",
  run = function(ctx, from, to, member)
    local db = ctx.db
    local source = db.collections:open(from, SET)
    if not source then
      return 0
    end
    local target = db.collections:create(to, SET)
    if not db.members:has(source.prefix, member) then
      return 0
    elseif source == target then
      return 1
    end
    local _, hash = db.members:delete(source.prefix, member)
    remembered.removed(source, member, hash)
    shrink(ctx, source, 1, "srem")
    if db.members:add(target.prefix, member, "") then
      target.count = target.count + 1
      remembered.added(db, target, member, hash)
      db.collections:changed(target)
      ctx:notify("s", "sadd", to)
    end
    return 1
  end,
})

local function is_member(ctx, key, member)
  local db = ctx.db
  local c = db.collections:read(key, SET)
  return c and db.members:has(c.prefix, member) and 1 or 0
end

command.command("SISMEMBER", {
  arity = 3, flags = FAST_READ, keys = KEY, access = "RO", group = "set", since = "1.0.0", complexity = "O(1)",
  summary = "Determine if a given value is a member of a set",
  run = is_member,
  member = 2,
  short = is_member,
})

command.command("SMISMEMBER", {
  arity = -3, variadic = true, flags = FAST_READ, keys = KEY, access = "RO access", group = "set", since = "6.2.0",
  complexity = "O(N) where N is the number of elements being checked for membership",
  summary = "Returns the membership associated with the given elements for a set",
  run = function(ctx, args)
    local db, list = ctx.db, {}
    local c = db.collections:read(args[1], SET)
    for i = 2, #args do
      list[i - 1] = c and db.members:has(c.prefix, args[i]) and 1 or 0
    end
    return list
  end,
})

command.command("SCARD", {
  arity = 2, flags = FAST_READ, keys = KEY, access = "RO", group = "set", since = "1.0.0", complexity = "O(1)",
  summary = "Get the number of members in a set",
  run = function(ctx, key)
    return ctx.db.collections:count(key, SET)
  end,
})

local function smembers(ctx, key)
  local db = ctx.db
  local c = db.collections:read(key, SET)
  return c and members.reply(db, c, "keys", "set") or resp.set {}
end

command.command("SMEMBERS", {
  arity = 2, flags = { "readonly" }, keys = KEY, access = "RO access", group = "set", since = "1.0.0",
  complexity = "O(N) where N is the set cardinality.", summary = "Get all the members in a set", tips = UNORDERED,
  run = smembers,
  short = smembers,
})

command.command("SSCAN", {
  arity = -3, variadic = true, flags = { "readonly" }, keys = KEY, access = "RO access", group = "set",
  since = "2.8.0", tips = RANDOM,
  complexity = "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to "
    .. "return back to 0. N is the number of elements inside the collection..",
  summary = "Incrementally iterate Set elements",
  run = function(ctx, args)
    return members.scan(ctx, args, SET, "")
  end,
})

-- ---- chance

command.command("SRANDMEMBER", {
  arity = -2, flags = { "readonly" }, keys = KEY, access = "RO access", group = "set", since = "1.0.0", tips = RANDOM,
  complexity = "Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.",
  summary = "Get one or multiple random members from a set",
  run = function(ctx, key, count, excess)
    if excess then
      return errors.SYNTAX
    end
    local wanted = count and members.random_count(count)
    local c = ctx.db.collections:read(key, SET)
    if not count then
      return c and (members.pick(ctx, c.prefix, c.count, "keys", c))
    end
    return c and members.random(ctx, c.prefix, c.count, wanted, "keys", c) or {}
  end,
})

local function pop_several(ctx, key, count)
  local wanted, db = numbers.parse(count), ctx.db
  if not wanted or wanted < 0 then
    return NOT_POSITIVE
  end
  local c = db.collections:open(key, SET)
  if not c or wanted == 0 then
    return resp.set {}
  elseif wanted >= c.count then
    local reply = ctx.keeps and resp.set(members.all(db, c.prefix, "keys")) or members.reply(db, c, "keys", "set")
    ctx:notify("s", "spop", key)
    db:delete(key)
    ctx:notify("g", "del", key)
    return reply
  end
  local list = members.sample(ctx, c.prefix, c.count, wanted, "keys", c)
  for i = 1, #list do
    local _, hash = db.members:delete(c.prefix, list[i], true)
    remembered.removed(c, list[i], hash)
  end
  shrink(ctx, c, #list, "spop")
  return resp.set(list)
end

local function pop(ctx, key, view)
  local c = ctx.db.collections:open(key, SET)
  if not c then
    return nil
  end
  local member = members.take(ctx, c, view)
  shrink(ctx, c, 1, "spop")
  return member
end

command.command("SPOP", {
  arity = -2, flags = { "write", "fast" }, keys = KEY, access = "RW access delete", group = "set", since = "1.0.0",
  tips = RANDOM,
  complexity = "Without the count argument O(1), otherwise O(N) where N is the value of the passed count.",
  summary = "Remove and return one or multiple random members from a set",
  run = function(ctx, key, count, excess)
    if excess then
      return errors.SYNTAX
    elseif count then
      return pop_several(ctx, key, count)
    end
    return pop(ctx, key)
  end,
  short = function(ctx, key)
    return pop(ctx, key, true)
  end,
})

-- ---- several sets

-- Those at args[first … last] as the store walks over them: {prefix, count, …}; nil: the result is empty. Raises
-- WRONGTYPE.
local function open_all(db, how, args, first, last)
  local sets, all = {}, true
  for i = first, last do
    local set = db.collections:read(args[i], SET)
    sets[#sets + 1] = set
    if i == first and how == "difference" then
      all = set ~= nil
    elseif how == "intersection" then
      all = all and set ~= nil
    end
  end
  if how == "intersection" then -- the smallest set is walked over, and the others are asked
    table.sort(sets, function(a, b)
      return a.count < b.count
    end)
  end
  local list = {}
  for i, set in ipairs(sets) do
    list[2 * i - 1], list[2 * i] = set.prefix, set.count
  end
  return all and list or nil
end

-- In place of what `key` held, which may be one of the sets.
local function store(ctx, key, how, sets, event)
  local db = ctx.db
  local c = sets and db.collections:make(key, SET)
  local count = c and db.store:combine(how, sets, c.prefix) or 0
  if count > 0 then
    db:make_way(key)
    c.count = count
    db.collections:changed(c)
    ctx:notify("s", event, key)
  elseif db:delete(key) then
    ctx:notify("g", "del", key)
  end
  return count
end

local WORST = "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets."
local TOTAL = "O(N) where N is the total number of elements in all given sets."

for name, entry in pairs {
  INTER = { "intersection", WORST, "Intersect multiple sets", "RW update" },
  UNION = { "union", TOTAL, "Add multiple sets", "OW update" },
  DIFF = { "difference", TOTAL, "Subtract multiple sets", "OW update" },
} do
  local how, complexity, summary, access = table.unpack(entry)
  local event = "s" .. name:lower() .. "store"
  command.command("S" .. name, {
    arity = -2, variadic = true, flags = { "readonly" }, keys = ALL, access = "RO access", group = "set",
    since = "1.0.0", complexity = complexity, summary = summary, tips = UNORDERED,
    run = function(ctx, args)
      local db = ctx.db
      local sets = open_all(db, how, args, 1, #args)
      return sets and db.store:combine(how, sets) or resp.set {}
    end,
  })
  command.command("S" .. name .. "STORE", {
    arity = -3, variadic = true, flags = { "write", "denyoom" }, keys = ALL, access = { access, "RO access" },
    group = "set", since = "1.0.0", complexity = complexity,
    summary = summary .. " and store the resulting set in a key",
    run = function(ctx, args)
      return store(ctx, args[1], how, open_all(ctx.db, how, args, 2, #args), event)
    end,
  })
end

command.command("SINTERCARD", {
  arity = -3, variadic = true, flags = { "readonly" }, numkeys = { 1, "RO access" }, group = "set", since = "7.0.0",
  complexity = WORST, summary = "Intersect multiple sets and return the cardinality of the result",
  run = function(ctx, args)
    local count, limit = numbers.parse(args[1]), 0
    if not count or count < 1 then
      return BAD_NUMKEYS
    elseif count > #args - 1 then
      return TOO_MANY_KEYS
    end
    for i = count + 2, #args, 2 do
      if args[i]:upper() ~= "LIMIT" or not args[i + 1] then
        return errors.SYNTAX
      end
      limit = numbers.parse(args[i + 1])
      if not limit or limit < 0 then
        return NEGATIVE_LIMIT
      end
    end
    local db = ctx.db
    local sets = open_all(db, "intersection", args, 2, count + 1)
    return sets and db.store:combine("intersection", sets, false, limit > 0 and limit or nil) or 0
  end,
})
