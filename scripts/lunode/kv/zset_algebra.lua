-- Commands that make a sorted set of several: ZUNION ZINTER ZDIFF, their STORE forms, ZINTERCARD. A set that is not
-- sorted takes part, too: its members have the score 1.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local members = require "lunode.kv.members"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"
local score_of = require("lunode.score").parse
local zset = require "lunode.kv.zset"
local zsets = require "lunode.kv.zsets"

local NOT_WEIGHT = resp.error("ERR weight value is not a float")
local NEGATIVE_LIMIT = resp.error("ERR LIMIT can't be negative")

-- ---- the sets

---@class lunode.kv.zset_input
---@field c lunode.kv.collection?  nil: there is no such key
---@field count integer
---@field weight number
---@field place integer             among the inputs

local function open(db, key, place)
  local _, value = db:find(key)
  local type = value and keys.type(value)
  if type ~= nil and type ~= keys.SET and type ~= keys.ZSET then
    error(errors.WRONGTYPE, 0)
  end
  local c = type and db.collections:read(key, type)
  return { c = c, count = c and c.count or 0, weight = 1.0, place = place }
end

-- Calls fn(member, score) for all of them.
local function each(db, input, fn)
  local c = input.c
  if not c then
    return
  elseif c.type == keys.SET then
    for _, member in ipairs(members.all(db, c.prefix, "keys")) do
      fn(member, 1.0)
    end
    return
  end
  local list = zset.range(db, c, nil, nil, { scores = true })
  for i = 1, #list, 2 do
    fn(list[i], list[i + 1])
  end
end

local function score_in(db, input, member)
  local c = input.c
  if not c then
    return nil
  elseif c.type == keys.SET then
    return db.members:has(c.prefix, member) and 1.0 or nil
  end
  return zset.score(db, c, member)
end

-- ---- scores

local function weighted(input, score)
  return input.weight * score
end

local function no_nan(score)
  return score ~= score and 0.0 or score
end

-- As Redis computes them: inf - inf is 0.
local aggregates = {
  SUM = function(a, b)
    return no_nan(a + b)
  end,
  MIN = function(a, b)
    return b < a and b or a
  end,
  MAX = function(a, b)
    return b > a and b or a
  end,
}

-- ---- operations: the result as a map from member to score, and the members in any, but always the same order

-- The smallest first, as sums of doubles depend on their order.
local function by_size(inputs)
  table.sort(inputs, function(a, b)
    return a.count < b.count or a.count == b.count and a.place < b.place
  end)
end

local function union(db, inputs, aggregate)
  local scores, names = {}, {}
  by_size(inputs)
  for _, input in ipairs(inputs) do
    each(db, input, function(member, score)
      score = no_nan(weighted(input, score))
      local old = scores[member]
      if old == nil then
        names[#names + 1] = member
      end
      scores[member] = old and aggregate(old, score) or score
    end)
  end
  return scores, names
end

local function intersection(db, inputs, aggregate, limit)
  local scores, names = {}, {}
  by_size(inputs)
  each(db, inputs[1], function(member, score)
    if limit and #names >= limit then
      return
    end
    local sum = no_nan(weighted(inputs[1], score))
    for i = 2, #inputs do
      local other = inputs[i].c == inputs[1].c and score or score_in(db, inputs[i], member)
      if not other then
        return
      end
      sum = aggregate(sum, weighted(inputs[i], other))
    end
    names[#names + 1], scores[member] = member, sum
  end)
  return scores, names
end

local function difference(db, inputs)
  local scores, names = {}, {}
  each(db, inputs[1], function(member, score)
    for i = 2, #inputs do
      if inputs[i].c == inputs[1].c or score_in(db, inputs[i], member) then
        return
      end
    end
    names[#names + 1], scores[member] = member, score
  end)
  return scores, names
end

-- ---- arguments

local function too_few(name)
  return resp.error(("ERR at least 1 input key is needed for '%s' command"):format(name))
end

-- The inputs whose number args[first] tells; and where the options begin.
local function parse_inputs(db, name, args, first)
  local count = numbers.integer(args[first])
  if count < 1 then
    error(too_few(name), 0)
  elseif count > #args - first then
    error(errors.SYNTAX, 0)
  end
  local inputs = {}
  for i = 1, count do
    inputs[i] = open(db, args[first + i], i)
  end
  return inputs, first + count + 1
end

-- WEIGHTS, AGGREGATE, WITHSCORES and LIMIT, where they are `allowed`: (aggregate, with scores, limit).
local function parse_options(inputs, args, first, allowed)
  local aggregate, scores, limit, i = aggregates.SUM, false, 0, first
  while i <= #args do
    local option = args[i]:upper()
    if not allowed[option] then
      error(errors.SYNTAX, 0)
    elseif option == "WEIGHTS" and #args - i >= #inputs then
      for n, input in ipairs(inputs) do
        input.weight = score_of(args[i + n]) or error(NOT_WEIGHT, 0)
      end
      i = i + #inputs
    elseif option == "AGGREGATE" and args[i + 1] then
      aggregate = aggregates[args[i + 1]:upper()] or error(errors.SYNTAX, 0)
      i = i + 1
    elseif option == "WITHSCORES" then
      scores = true
    elseif option == "LIMIT" and args[i + 1] then
      limit = numbers.parse(args[i + 1])
      if not limit or limit < 0 then
        error(NEGATIVE_LIMIT, 0)
      end
      i = i + 1
    else
      error(errors.SYNTAX, 0)
    end
    i = i + 1
  end
  return aggregate, scores, limit
end

-- member, score … in the order of a sorted set.
local function ordered(scores, names)
  table.sort(names, function(a, b)
    local x, y = scores[a], scores[b]
    return x < y or x == y and a < b
  end)
  local list = {}
  for i, member in ipairs(names) do
    list[2 * i - 1], list[2 * i] = member, scores[member]
  end
  return list
end

-- ---- commands

local READ = "RO access"
local UNION = "O(N)+O(M%s) with N being the sum of the sizes of the input sorted sets, and M being the number of "
  .. "elements in the resulting sorted set."
local INTER = "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input "
  .. "sorted sets and M being the number of elements in the resulting sorted set."
local DIFF = "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of "
  .. "the first set, and K is the size of the result set."

for name, entry in pairs {
  ZUNION = { union, "2.0.0", UNION:format("*log(M)"), UNION:format(" log(M)"), "Add", "WEIGHTS", "AGGREGATE" },
  ZINTER = { intersection, "2.0.0", INTER, INTER, "Intersect", "WEIGHTS", "AGGREGATE" },
  ZDIFF = { difference, "6.2.0", DIFF, DIFF, "Subtract" },
} do
  local operation, since, complexity, store_complexity, verb = table.unpack(entry)
  local allowed, allowed_read = {}, { WITHSCORES = true }
  for i = 6, #entry do
    allowed[entry[i]], allowed_read[entry[i]] = true, true
  end
  local lower = name:lower()
  command.command(name, {
    arity = -3, variadic = true, flags = { "readonly" }, numkeys = { 1, READ }, group = "sorted-set",
    since = "6.2.0", complexity = complexity, summary = verb .. " multiple sorted sets",
    run = function(ctx, args)
      local inputs, first = parse_inputs(ctx.db, lower, args, 1)
      local aggregate, with_scores = parse_options(inputs, args, first, allowed_read)
      local scores, names = operation(ctx.db, inputs, aggregate)
      local list = ordered(scores, names)
      return with_scores and zsets.reply(ctx, list) or names
    end,
  })
  command.command(name .. "STORE", {
    arity = -4, variadic = true, flags = { "write", "denyoom" }, keys = { 1, 1, 1 }, numkeys = { 2, READ },
    access = "OW update", group = "sorted-set", since = since, complexity = store_complexity,
    summary = verb .. " multiple sorted sets and store the resulting sorted set in a new key",
    run = function(ctx, args)
      local inputs, first = parse_inputs(ctx.db, lower .. "store", args, 2)
      local scores, names = operation(ctx.db, inputs, (parse_options(inputs, args, first, allowed)))
      return zsets.store(ctx, args[1], ordered(scores, names), lower .. "store")
    end,
  })
end

command.command("ZINTERCARD", {
  arity = -3, variadic = true, flags = { "readonly" }, numkeys = { 1, READ }, group = "sorted-set", since = "7.0.0",
  complexity = "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.",
  summary = "Intersect multiple sorted sets and return the cardinality of the result",
  run = function(ctx, args)
    local inputs, first = parse_inputs(ctx.db, "zintercard", args, 1)
    local _, _, limit = parse_options(inputs, args, first, { LIMIT = true })
    local _, names = intersection(ctx.db, inputs, aggregates.SUM, limit > 0 and limit or nil)
    return #names
  end,
})
