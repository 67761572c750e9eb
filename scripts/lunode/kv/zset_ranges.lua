-- Commands on ranges of sorted sets, by rank, by score or by member: ZRANGE and its older kin, ZCOUNT, ZREMRANGEBY….
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"
local score = require "lunode.score"
local zset = require "lunode.kv.zset"
local zsets = require "lunode.kv.zsets"

local ZSET = keys.ZSET
local KEY = { 1, 1, 1 }

local NOT_FLOAT = resp.error("ERR min or max is not a float")
local NOT_LEX = resp.error("ERR min or max not valid string range item")
local LIMIT_BY_RANK = resp.error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or "
  .. "BYLEX")
local SCORES_BY_LEX = resp.error("ERR syntax error, WITHSCORES not supported in combination with BYLEX")

-- ---- the ends of a range

-- The first key in a range that begins, or the first past one that ends, with this score.
local function score_end(text, is_max)
  local exclusive = text:find("^%(") ~= nil
  local number = score.bound(exclusive and text:sub(2) or text)
  if not number then
    error(NOT_FLOAT, 0)
  end
  local bytes = score.encode(number)
  return exclusive ~= is_max and zset.past_score(bytes) or bytes
end

local function score_range(min, max)
  local from, to = score_end(min, false), score_end(max, true)
  return function()
    return from, to
  end
end

local LEAST, MOST = 1, 2 -- before all members, past all members

-- LEAST or MOST, or a text to be put behind a score.
local function lex_end(text, is_max)
  local sign = text:sub(1, 1)
  if text == "-" or text == "+" then
    return text == "-" and LEAST or MOST
  elseif sign ~= "(" and sign ~= "[" then
    error(NOT_LEX, 0)
  end
  local member = text:sub(2)
  return (sign == "(") ~= is_max and member .. "\0" or member
end

local function lex_key(bytes, bound)
  if bound == LEAST then
    return bytes
  elseif bound == MOST then
    return zset.past_score(bytes)
  end
  return bytes .. bound
end

-- By member is meant for sets whose scores are all the same; of others, those with the lowest score are looked at.
local function lex_range(min, max)
  local from, to = lex_end(min, false), lex_end(max, true)
  return function(db, c)
    local bytes = zset.common_score(db, c)
    return lex_key(bytes, from), lex_key(bytes, to)
  end
end

-- Indices as Redis has them, from the end where they are negative; nothing where the range is empty.
local function clamp(first, last, count)
  first = math.max(first < 0 and first + count or first, 0)
  last = math.min(last < 0 and last + count or last, count - 1)
  if first <= last then
    return first, last
  end
end

local bounds = { SCORE = score_range, LEX = lex_range }

-- ---- ZRANGE

-- What is wanted, as a function of a set: its members, or members and scores; with a protocol, perhaps as a reply; or
-- put into `scored`.
local function selection(by, min, max, reverse, offset, limit, scores, protocol, scored)
  if by == "RANK" then
    local first, last = numbers.integer(min), numbers.integer(max)
    return function(db, c)
      local low, high = clamp(first, last, c.count)
      return low and zset.by_rank(db, c, low, high, reverse, scores, protocol, scored) or {}
    end
  elseif reverse then
    min, max = max, min
  end
  local range = bounds[by](min, max)
  return function(db, c)
    if offset < 0 then
      return {}
    end
    local from, to = range(db, c)
    return zset.range(db, c, from, to, {
      reverse = reverse, offset = offset, limit = limit >= 0 and limit or nil, scores = scores,
      protocol = protocol, scored = scored,
    })
  end
end

-- The options from args[first] on. What an older command is by itself can be no option of it, and none comes twice.
local function parse_options(args, first, by, reverse, storing)
  local options = { by = by, reverse = reverse, offset = 0, limit = -1, scores = false }
  local i = first
  while i <= #args do
    local option = args[i]:upper()
    if option == "WITHSCORES" and not storing then
      options.scores = true
    elseif option == "LIMIT" and args[i + 2] then
      options.offset, options.limit = numbers.integer(args[i + 1]), numbers.integer(args[i + 2])
      i = i + 2
    elseif option == "REV" and options.reverse == nil then
      options.reverse = true
    elseif (option == "BYSCORE" or option == "BYLEX") and options.by == nil then
      options.by = option:sub(3)
    else
      error(errors.SYNTAX, 0)
    end
    i = i + 1
  end
  options.by = options.by or "RANK"
  if options.limit ~= -1 and options.by == "RANK" then
    error(LIMIT_BY_RANK, 0)
  elseif options.scores and options.by == "LEX" then
    error(SCORES_BY_LEX, 0)
  end
  return options
end

-- args: the key, the ends, options.
local function zrange(ctx, args, by, reverse)
  local options = parse_options(args, 4, by, reverse, false)
  local db, scores, session = ctx.db, options.scores, ctx.session
  local protocol = session and session.protocol
  local select = selection(options.by, args[2], args[3], options.reverse, options.offset, options.limit, scores,
    protocol)
  local c = db.collections:read(args[1], ZSET)
  local reply = c and select(db, c) or {}
  return scores and type(reply) == "table" and zsets.reply(ctx, reply) or reply
end

-- Members by rank: ZRANGE as it is asked for most.
local function zrange_plain(ctx, key, first, last)
  local low, high, db = numbers.integer(first), numbers.integer(last), ctx.db
  local c = db.collections:read(key, ZSET)
  if c == nil then
    return {}
  end
  low, high = clamp(low, high, c.count)
  return low and zset.by_rank(db, c, low, high, false, false, 2) or {}
end

local MANY = "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements "
local RETURNED = MANY .. "returned."
local LIMITED = MANY .. "being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), "
  .. "you can consider it O(log(N))."

command.command("ZRANGE", {
  arity = -4, variadic = true, flags = { "readonly" }, keys = KEY, access = "RO access", group = "sorted-set",
  since = "1.2.0", complexity = RETURNED, summary = "Return a range of members in a sorted set",
  run = function(ctx, args)
    return zrange(ctx, args)
  end,
  short = zrange_plain,
})

for name, entry in pairs {
  ZREVRANGE = { "1.2.0", RETURNED, "RANK", true, "REV` argument",
    "Return a range of members in a sorted set, by index, with scores ordered from high to low" },
  ZRANGEBYSCORE = { "1.0.5", LIMITED, "SCORE", false, "BYSCORE` argument",
    "Return a range of members in a sorted set, by score" },
  ZREVRANGEBYSCORE = { "2.2.0", LIMITED, "SCORE", true, "REV` and `BYSCORE` arguments",
    "Return a range of members in a sorted set, by score, with scores ordered from high to low" },
  ZRANGEBYLEX = { "2.8.9", LIMITED, "LEX", false, "BYLEX` argument",
    "Return a range of members in a sorted set, by lexicographical range" },
  ZREVRANGEBYLEX = { "2.8.9", LIMITED, "LEX", true, "REV` and `BYLEX` arguments",
    "Return a range of members in a sorted set, by lexicographical range, ordered from higher to lower strings." },
} do
  local since, complexity, by, reverse, replacement, summary = table.unpack(entry)
  command.command(name, {
    arity = -4, variadic = true, flags = { "readonly" }, keys = KEY, access = "RO access", group = "sorted-set",
    since = since, complexity = complexity, summary = summary,
    deprecated = { since = "6.2.0", replaced_by = "`ZRANGE` with the `" .. replacement },
    run = function(ctx, args)
      return zrange(ctx, args, by, reverse)
    end,
  })
end

command.command("ZRANGESTORE", {
  arity = -5, variadic = true, flags = { "write", "denyoom" }, keys = { 1, 2, 1 },
  access = { "OW update", "RO access" }, group = "sorted-set", since = "6.2.0",
  complexity = MANY .. "stored into the destination key.",
  summary = "Store a range of members from sorted set into another key",
  run = function(ctx, args)
    local o, db = parse_options(args, 5, nil, nil, true), ctx.db
    local scored <close> = db.store:scored()
    local select = selection(o.by, args[3], args[4], o.reverse, o.offset, o.limit, true, nil, scored)
    local c = db.collections:read(args[2], ZSET)
    if c then
      select(db, c)
    end
    return zsets.store(ctx, args[1], scored, "zrangestore")
  end,
})

-- ---- counting and removing

for name, entry in pairs {
  ZCOUNT = { "2.0.0", score_range, "Count the members in a sorted set with scores within the given values" },
  ZLEXCOUNT = { "2.8.9", lex_range,
    "Count the number of members in a sorted set between a given lexicographical range" },
} do
  local since, parse, summary = table.unpack(entry)
  command.command(name, {
    arity = 4, flags = { "readonly", "fast" }, keys = KEY, access = "RO access", group = "sorted-set", since = since,
    complexity = "O(log(N)) with N being the number of elements in the sorted set.", summary = summary,
    run = function(ctx, key, min, max)
      local range, db = parse(min, max), ctx.db
      local c = db.collections:read(key, ZSET)
      return c and zset.count_range(db, c, range(db, c)) or 0
    end,
  })
end

for name, entry in pairs {
  ZREMRANGEBYRANK = { "2.0.0", "RANK", "Remove all members in a sorted set within the given indexes" },
  ZREMRANGEBYSCORE = { "1.2.0", "SCORE", "Remove all members in a sorted set within the given scores" },
  ZREMRANGEBYLEX = { "2.8.9", "LEX", "Remove all members in a sorted set between the given lexicographical range" },
} do
  local since, by, summary = table.unpack(entry)
  local event = name:lower()
  command.command(name, {
    arity = 4, flags = { "write" }, keys = KEY, access = "RW delete", group = "sorted-set", since = since,
    complexity = MANY .. "removed by the operation.", summary = summary,
    run = function(ctx, key, min, max)
      local db = ctx.db
      local cutter = { count = 0 }
      local select = selection(by, min, max, false, 0, -1, false, nil, cutter)
      local c = db.collections:open(key, ZSET)
      if c then
        cutter.collect = zset.cutter(db, c)
        select(db, c)
      end
      if cutter.count > 0 then
        zsets.removed(ctx, c, event)
      end
      return cutter.count
    end,
  })
end
