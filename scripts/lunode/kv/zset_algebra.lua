-- Commands that make a sorted set of several: ZUNION ZINTER ZDIFF, their STORE forms, ZINTERCARD. A set that is not
-- sorted takes part, too: its members have the score 1.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"
local score_of = require("lunode.score").parse
local zset = require "lunode.kv.zset"
local zsets = require "lunode.kv.zsets"

local NOT_WEIGHT = resp.error("ERR weight value is not a float")
local NEGATIVE_LIMIT = resp.error("ERR LIMIT can't be negative")

local AGGREGATES = { SUM = "sum", MIN = "min", MAX = "max" }

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

-- ---- operations

-- What comes of them, in memory; the caller closes it.
local function combine(db, how, inputs, aggregate)
  local result = db.store:scored()
  if how ~= "difference" then -- the smallest first, as sums of doubles depend on their order
    table.sort(inputs, function(a, b)
      return a.count < b.count or a.count == b.count and a.place < b.place
    end)
  end
  local sets = {}
  for i, input in ipairs(inputs) do
    local c = input.c
    if c then
      table.move({ c.type == keys.SET and c.prefix or zset.members(c), c.count, input.weight }, 1, 3, #sets + 1, sets)
    elseif how == "intersection" or how == "difference" and i == 1 then
      return result
    end
  end
  result:combine(how, sets, aggregate)
  return result
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
  local aggregate, scores, limit, i = "sum", false, 0, first
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
      aggregate = AGGREGATES[args[i + 1]:upper()] or error(errors.SYNTAX, 0)
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

-- ---- commands

local READ = "RO access"
local UNION = "O(N)+O(M%s) with N being the sum of the sizes of the input sorted sets, and M being the number of "
  .. "elements in the resulting sorted set."
local INTER = "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input "
  .. "sorted sets and M being the number of elements in the resulting sorted set."
local DIFF = "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of "
  .. "the first set, and K is the size of the result set."

for name, entry in pairs {
  ZUNION = { "union", "2.0.0", UNION:format("*log(M)"), UNION:format(" log(M)"), "Add", "WEIGHTS", "AGGREGATE" },
  ZINTER = { "intersection", "2.0.0", INTER, INTER, "Intersect", "WEIGHTS", "AGGREGATE" },
  ZDIFF = { "difference", "6.2.0", DIFF, DIFF, "Subtract" },
} do
  local how, since, complexity, store_complexity, verb = table.unpack(entry)
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
      local result <close> = combine(ctx.db, how, inputs, aggregate)
      return result:reply(with_scores, ctx:protocol())
    end,
  })
  command.command(name .. "STORE", {
    arity = -4, variadic = true, flags = { "write", "denyoom" }, keys = { 1, 1, 1 }, numkeys = { 2, READ },
    access = "OW update", group = "sorted-set", since = since, complexity = store_complexity,
    summary = verb .. " multiple sorted sets and store the resulting sorted set in a new key",
    run = function(ctx, args)
      local inputs, first = parse_inputs(ctx.db, lower .. "store", args, 2)
      local result <close> = combine(ctx.db, how, inputs, (parse_options(inputs, args, first, allowed)))
      return zsets.store(ctx, args[1], result, lower .. "store")
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
    local sets = {}
    table.sort(inputs, function(a, b)
      return a.count < b.count
    end)
    for _, input in ipairs(inputs) do
      local c = input.c
      if not c then
        return 0
      end
      table.move({ c.type == keys.SET and c.prefix or zset.members(c), c.count }, 1, 2, #sets + 1, sets)
    end
    return ctx.db.store:combine("intersection", sets, false, limit > 0 and limit or nil)
  end,
})
