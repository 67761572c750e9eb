-- Commands on single members of sorted sets: ZADD and its kin, scores, ranks, what is popped or chosen at random. What
-- is about ranges is in zset_ranges.lua, what is made of several sets in zset_algebra.lua.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local members = require "lunode.kv.members"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"
local score = require "lunode.score"
local zset = require "lunode.kv.zset"

local null, words, read_score = resp.null, resp.words, score.read
local ZSET = keys.ZSET

local M = {}

local XX_NX = resp.error("ERR XX and NX options at the same time are not compatible")
local GT_LT_NX = resp.error("ERR GT, LT, and/or NX options at the same time are not compatible")
local ONE_PAIR = resp.error("ERR INCR option supports a single increment-element pair")
local NAN = resp.error("ERR resulting score is not a number (NaN)")
local NOT_POSITIVE = resp.error("ERR value is out of range, must be positive")
local BAD_NUMKEYS = resp.error("ERR numkeys should be greater than 0")
local BAD_COUNT = resp.error("ERR count should be greater than 0")

local EMPTY = resp.raw "*0\r\n"

local FAST_READ = { "readonly", "fast" }
local FAST_WRITE = { "write", "denyoom", "fast" }
local KEY = { 1, 1, 1 }

-- ---- scores given

local ZADD_OPTIONS = { NX = "nx", XX = "xx", GT = "gt", LT = "lt", CH = "ch", INCR = "incr" }

-- What stands between the key and the first score: (options, where that is).
local function zadd_options(args)
  local options, first = {}, 2
  local name = ZADD_OPTIONS[args[first]:upper()]
  while name do
    options[name] = true
    first = first + 1
    name = args[first] and ZADD_OPTIONS[args[first]:upper()]
  end
  local count = #args - first + 1
  if count == 0 or count % 2 ~= 0 then
    error(errors.SYNTAX, 0)
  elseif options.nx and options.xx then
    error(XX_NX, 0)
  elseif (options.gt or options.lt) and options.nx or options.gt and options.lt then
    error(GT_LT_NX, 0)
  elseif options.incr and count > 2 then
    error(ONE_PAIR, 0)
  end
  return options, first
end

-- A member under the options' conditions: (added, updated, its score; nil: nothing was done).
local function put_if(db, c, member, number, options)
  local old = zset.score(db, c, member)
  if not old then
    if options.xx then
      return 0, 0
    end
    zset.put(db, c, member, score.encode(number))
    return 1, 0, number
  elseif options.nx then
    return 0, 0
  elseif options.incr then
    number = old + number
    if number ~= number then
      error(NAN, 0)
    end
  end
  if options.lt and number >= old or options.gt and number <= old then
    return 0, 0
  elseif number == old then
    return 0, 0, old
  end
  zset.put(db, c, member, score.encode(number))
  return 0, 1, number
end

-- All of them before anything is written; `read` gives numbers, or bytes.
local function parse_scores(args, first, read)
  local scores = {}
  for i = first, #args, 2 do
    scores[i] = read(args[i]) or error(errors.NOT_FLOAT, 0)
  end
  return scores
end

local function zadd(ctx, args, options, first)
  local db, key = ctx.db, args[1]
  local scores = parse_scores(args, first, score.parse)
  local c
  if options.xx then
    c = db.collections:open(key, ZSET)
  else
    c = db.collections:create(key, ZSET)
  end
  local added, updated, result = 0, 0, nil
  for i = first, c and #args or 0, 2 do
    local a, u
    a, u, result = put_if(db, c, args[i + 1], scores[i], options)
    added, updated = added + a, updated + u
  end
  if added + updated > 0 then
    db.collections:changed(c)
    ctx:notify("z", options.incr and "zincr" or "zadd", key)
  end
  if options.incr then
    return result
  end
  return options.ch and added + updated or added
end

-- Without options, the usual way.
local function zadd_plain(ctx, args)
  local db, key = ctx.db, args[1]
  if #args % 2 == 0 then
    error(errors.SYNTAX, 0)
  end
  local scores = parse_scores(args, 2, read_score)
  local c = db.collections:create(key, ZSET)
  local added, any = 0, false
  for i = 2, #args, 2 do
    local is_new, updated = zset.put(db, c, args[i + 1], scores[i])
    if is_new then
      added = added + 1
    end
    any = any or is_new or updated
  end
  if any then
    db.collections:changed(c)
    ctx:notify("z", "zadd", key)
  end
  return added
end

command.command("ZADD", {
  arity = -4, variadic = true, flags = FAST_WRITE, keys = KEY, access = "RW update", group = "sorted-set",
  since = "1.2.0", complexity = "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
  summary = "Add one or more members to a sorted set, or update its score if it already exists",
  run = function(ctx, args)
    if not ZADD_OPTIONS[args[2]:upper()] then
      return zadd_plain(ctx, args)
    end
    return zadd(ctx, args, zadd_options(args))
  end,
  member = 3,
  short = function(ctx, key, text, member)
    local bytes, db = read_score(text), ctx.db
    if not bytes then
      error(ZADD_OPTIONS[words(text):upper()] and errors.SYNTAX or errors.NOT_FLOAT, 0)
    end
    local collections = db.collections
    local c = collections:create(key, ZSET)
    local added, moved = zset.put(db, c, member, bytes)
    if added or moved then
      collections:changed(c)
    end
    return added and 1 or 0
  end,
})

command.command("ZINCRBY", {
  arity = 4, flags = FAST_WRITE, keys = KEY, access = "RW access update", group = "sorted-set", since = "1.2.0",
  complexity = "O(log(N)) where N is the number of elements in the sorted set.",
  summary = "Increment the score of a member in a sorted set",
  run = function(ctx, key, by, member)
    return zadd(ctx, { key, by, member }, { incr = true }, 2)
  end,
})

command.command("ZREM", {
  arity = -3, variadic = true, flags = { "write", "fast" }, keys = KEY, access = "RW delete", group = "sorted-set",
  since = "1.2.0",
  complexity = "O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be "
    .. "removed.",
  summary = "Remove one or more members from a sorted set",
  run = function(ctx, args)
    local db, key, removed = ctx.db, args[1], 0
    local c = db.collections:open(key, ZSET)
    for i = 2, c and #args or 0 do
      if zset.remove(db, c, args[i]) then
        removed = removed + 1
      end
    end
    if removed > 0 then
      M.removed(ctx, c, "zrem")
    end
    return removed
  end,
})

---Members of a sorted set are gone, by a command that Redis calls `event`.
---@param ctx lunode.kv.ctx
---@param c lunode.kv.collection
---@param event string
function M.removed(ctx, c, event)
  ctx.db.collections:changed(c)
  if ctx.notifies then
    ctx:notify("z", event, c.key)
    if c.count == 0 then
      ctx:notify("g", "del", c.key)
    end
  end
end

-- ---- scores and ranks asked for

command.command("ZSCORE", {
  arity = 3, flags = FAST_READ, keys = KEY, access = "RO access", group = "sorted-set", since = "1.2.0",
  complexity = "O(1)", summary = "Get the score associated with the given member in a sorted set",
  run = function(ctx, key, member)
    local c = ctx.db.collections:read(key, ZSET)
    return c and zset.score(ctx.db, c, member)
  end,
})

command.command("ZMSCORE", {
  arity = -3, variadic = true, flags = FAST_READ, keys = KEY, access = "RO access", group = "sorted-set",
  since = "6.2.0", complexity = "O(N) where N is the number of members being requested.",
  summary = "Get the score associated with the given members in a sorted set",
  run = function(ctx, args)
    local c, list = ctx.db.collections:read(args[1], ZSET), {}
    for i = 2, #args do
      list[i - 1] = c and zset.score(ctx.db, c, args[i]) or null
    end
    return list
  end,
})

command.command("ZCARD", {
  arity = 2, flags = FAST_READ, keys = KEY, access = "RO", group = "sorted-set", since = "1.2.0", complexity = "O(1)",
  summary = "Get the number of members in a sorted set",
  run = function(ctx, key)
    return ctx.db.collections:count(key, ZSET)
  end,
})

command.command("ZRANK", {
  arity = 3, flags = FAST_READ, keys = KEY, access = "RO access", group = "sorted-set", since = "2.0.0",
  complexity = "O(log(N))", summary = "Determine the index of a member in a sorted set",
  run = function(ctx, key, member)
    local c = ctx.db.collections:read(key, ZSET)
    return c and zset.rank(ctx.db, c, member)
  end,
})

command.command("ZREVRANK", {
  arity = 3, flags = FAST_READ, keys = KEY, access = "RO access", group = "sorted-set", since = "2.0.0",
  complexity = "O(log(N))",
  summary = "Determine the index of a member in a sorted set, with scores ordered from high to low",
  run = function(ctx, key, member)
    local c = ctx.db.collections:read(key, ZSET)
    local rank = c and zset.rank(ctx.db, c, member)
    return rank and c.count - 1 - rank
  end,
})

-- As ZSCAN writes it: an integer as such, up to a half of the 64-bit range.
local function score_text(number)
  local n = math.tointeger(number)
  if n and n >= -(math.maxinteger // 2) and n <= math.maxinteger // 2 then
    return ("%d"):format(n)
  end
  return ("%.17g"):format(number)
end

command.command("ZSCAN", {
  arity = -3, variadic = true, flags = { "readonly" }, keys = KEY, access = "RO access", group = "sorted-set",
  since = "2.8.0", tips = { "nondeterministic_output" },
  complexity = "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to "
    .. "return back to 0. N is the number of elements inside the collection..",
  summary = "Incrementally iterate sorted sets elements and associated scores",
  run = function(ctx, args)
    return members.scan(ctx, args, ZSET, "m", function(bytes)
      return score_text(score.decode(bytes))
    end)
  end,
})

---Puts members and scores in place of what `key` held; of none, nothing is made.
---@param ctx lunode.kv.ctx
---@param key string
---@param scored lunode.scored
---@param event string
---@return integer count
function M.store(ctx, key, scored, event)
  local db, count = ctx.db, scored:count()
  if count > 0 then
    db:make_way(key)
    local c = db.collections:create(key, ZSET)
    zset.fill(c, scored)
    db.collections:changed(c)
    ctx:notify("z", event, key)
  elseif db:delete(key) then
    ctx:notify("g", "del", key)
  end
  return count
end

-- ---- pairs in replies

---A reply of members and scores: one list, or pairs for clients of RESP3.
---@param ctx lunode.kv.ctx
---@param list table  member, score …; or pairs already
---@return table
function M.reply(ctx, list)
  return ctx:protocol() == 3 and type(list[1]) ~= "table" and M.pairs(list) or list
end

---@param list table  member, score …
---@return table  { { member, score }, … }
function M.pairs(list)
  local result = {}
  for i = 1, #list, 2 do
    result[#result + 1] = { list[i], list[i + 1] }
  end
  return result
end

command.command("ZRANDMEMBER", {
  arity = -2, flags = { "readonly" }, keys = KEY, access = "RO access", group = "sorted-set", since = "6.2.0",
  tips = { "nondeterministic_output" }, complexity = "O(N) where N is the number of elements returned",
  summary = "Get one or multiple random elements from a sorted set",
  run = function(ctx, key, count, option, excess)
    local wanted = count and members.random_count(count)
    if excess or option and option:lower() ~= "withscores" then
      return errors.SYNTAX
    elseif option then
      members.check_doubled(wanted)
    end
    local c = ctx.db.collections:read(key, ZSET)
    if not count then
      return c and (members.pick(ctx, zset.members(c), c.count, "keys"))
    elseif not c then
      return {}
    end
    local list = members.random(ctx, zset.members(c), c.count, wanted, option and "both" or "keys")
    if not option then
      return list
    end
    for i = 2, #list, 2 do
      list[i] = score.decode(list[i])
    end
    return M.reply(ctx, list)
  end,
})

-- ---- pops

---Takes members from an end of the sorted set at `key`. Raises WRONGTYPE.
---@param ctx lunode.kv.ctx
---@param key string
---@param highest boolean  from the end, else from the beginning
---@param limit integer
---@param protocol? integer  it is for a reply alone
---@return any list  member, score …; nil where there is no such set; with a protocol, perhaps the reply
function M.pop(ctx, key, highest, limit, protocol)
  local db = ctx.db
  local c = db.collections:open(key, ZSET)
  if not c or limit == 0 then
    return c and {}
  end
  local list = zset.pop(db, c, highest, limit, protocol)
  M.removed(ctx, c, highest and "zpopmax" or "zpopmin")
  return list
end

for name, entry in pairs {
  ZPOPMIN = { false, "Remove and return members with the lowest scores in a sorted set" },
  ZPOPMAX = { true, "Remove and return members with the highest scores in a sorted set" },
} do
  local highest, summary = table.unpack(entry)
  command.command(name, {
    arity = -2, flags = { "write", "fast" }, keys = KEY, access = "RW access delete", group = "sorted-set",
    since = "5.0.0", summary = summary,
    complexity = "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of "
      .. "elements popped.",
    run = function(ctx, key, count, excess)
      if excess then
        return errors.SYNTAX
      elseif not count then
        return M.pop(ctx, key, highest, 1) or EMPTY
      end
      local limit = numbers.parse(count)
      if not limit or limit < 0 then
        return NOT_POSITIVE
      end
      local list = M.pop(ctx, key, highest, limit, not ctx.keeps and ctx:protocol() or nil) or {}
      return type(list) == "table" and M.reply(ctx, list) or list
    end,
  })
end

local ENDS = { MIN = false, MAX = true }

---What ZMPOP and BZMPOP are given from their number of keys on.
---@param args string[]
---@param first integer  where that number is
---@return integer count    of keys, which follow it
---@return boolean highest  from the end
---@return integer limit
function M.zmpop_options(args, first)
  local count = numbers.parse(args[first])
  if not count or count < 1 then
    error(BAD_NUMKEYS, 0)
  end
  local at = count < #args and first + count + 1 or #args + 1
  local highest = ENDS[(args[at] or ""):upper()]
  if highest == nil then
    error(errors.SYNTAX, 0)
  end
  local limit
  for i = at + 1, #args, 2 do
    if args[i]:upper() ~= "COUNT" or limit or not args[i + 1] then
      error(errors.SYNTAX, 0)
    end
    limit = numbers.parse(args[i + 1])
    if not limit or limit < 1 then
      error(BAD_COUNT, 0)
    end
  end
  return count, highest, limit or 1
end

command.command("ZMPOP", {
  arity = -4, variadic = true, flags = { "write" }, numkeys = { 1, "RW access delete" }, group = "sorted-set",
  since = "7.0.0",
  complexity = "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the "
    .. "sorted set, and M being the number of elements popped.",
  summary = "Remove and return members with scores in a sorted set",
  run = function(ctx, args)
    local count, highest, limit = M.zmpop_options(args, 1)
    for i = 2, count + 1 do
      local list = M.pop(ctx, args[i], highest, limit)
      if list then
        return { args[i], M.pairs(list) }
      end
    end
    return resp.null_array
  end,
})

return M
