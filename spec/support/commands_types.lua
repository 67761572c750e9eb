-- The families of spec.support.commands that are about hashes, sets and sorted sets. Few members, so that they collide.
-- Commands that choose at random come where the choice can be compared: of one, of all, or as a number.

local families = {}

local MEMBERS = {
  "a", "b", "c", "d", "e", "f", "1", "2", "3", "-5", "0", "10", "007", "", "\0", "\xff\0\r\n", "ä", ("m"):rep(70),
  ("long"):rep(200), "9223372036854775807", "-9223372036854775808", "1.5", "A", "aa", "ab", "b\0",
}

local PATTERNS = { "*", "a*", "?", "[a-c]", "\\*", "", "*\xff*", "1*" }

local function member(g)
  local chance = g.chance
  if chance:odds(0.7) then
    return chance:pick(MEMBERS)
  end
  return chance:pick { "m", "", "x" } .. chance:int(0, 40)
end

local function members(g, most)
  local list = {}
  for i = 1, g.chance:int(1, most) do
    list[i] = member(g)
  end
  return table.unpack(list)
end

-- A count for those that take one, with options: mostly one whose answer does not depend on chance.
local function count(g)
  return g.chance:pick {
    "0", "1000", "1000", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "x", "", "1.5", "-0",
    "4611686018427387904",
  }
end

local function scan(g, name)
  local command, chance = { name, g:key(), "0" }, g.chance
  if chance:odds(0.15) then
    command[3] = chance:pick { "", "x", "1 ", "18446744073709551616", "+0" }
  end
  if chance:odds(0.5) then
    command[#command + 1], command[#command + 2] = g:word "COUNT", chance:pick { "1", "100", "1000", "0", "-1", "x" }
  end
  if chance:odds(0.5) then
    command[#command + 1], command[#command + 2] = g:word "MATCH", chance:pick(PATTERNS)
  end
  if chance:odds(0.05) then
    command[#command + 1] = chance:pick { "TYPE", "COUNT", "NOVALUES" }
  end
  return command
end

local function pairs_of(g, most)
  local list = {}
  for _ = 1, g.chance:int(1, most) do
    list[#list + 1] = member(g)
    list[#list + 1] = g:value()
  end
  if g.chance:odds(0.04) then
    list[#list] = nil
  end
  return table.unpack(list)
end

families.hash = {
  { 8, function(g)
    return { g.chance:pick { "HSET", "HSET", "HMSET" }, g:key(), pairs_of(g, 6) }
  end },
  { 2, function(g)
    return { "HSETNX", g:key(), member(g), g:value() }
  end },
  { 4, function(g)
    return { g.chance:pick { "HGET", "HEXISTS", "HSTRLEN" }, g:key(), member(g) }
  end },
  { 2, function(g)
    return { "HMGET", g:key(), members(g, 5) }
  end },
  { 3, function(g)
    return { g.chance:pick { "HGETALL", "HKEYS", "HVALS", "HLEN" }, g:key() }
  end },
  { 4, function(g)
    return { "HDEL", g:key(), members(g, 12) }
  end },
  { 2, function(g)
    return scan(g, "HSCAN")
  end },
  { 3, function(g)
    return { "HINCRBY", g:key(), member(g), g:integer() }
  end },
  { 3, function(g)
    return { "HINCRBYFLOAT", g:key(), member(g), g:float() }
  end },
  { 2, function(g)
    local key, one = g:key(), member(g)
    return g.chance:pick {
      { "HRANDFIELD", key, count(g), g:word "WITHVALUES" },
      { "HRANDFIELD", key, count(g) },
      { "HRANDFIELD", key, "0", g:word "FOO" },
      { "HRANDFIELD", key, "1", g:word "WITHVALUES", "x" },
      { { "DEL", key }, { "HSET", key, one, "v" }, { "HRANDFIELD", key }, { "HRANDFIELD", key, "-3", "withvalues" } },
      { { "DEL", key }, { "HSET", key, one, "v" }, { "HRANDFIELD", key, "-2" }, { "HRANDFIELD", key, "2" } },
    }
  end },
}

families.set = {
  { 8, function(g)
    return { "SADD", g:key(), members(g, 8) }
  end },
  { 4, function(g)
    return { "SREM", g:key(), members(g, 10) }
  end },
  { 2, function(g)
    return { "SMOVE", g:key(), g:key(), member(g) }
  end },
  { 3, function(g)
    return g.chance:pick { { "SISMEMBER", g:key(), member(g) }, { "SMISMEMBER", g:key(), members(g, 5) } }
  end },
  { 3, function(g)
    return { g.chance:pick { "SCARD", "SMEMBERS" }, g:key() }
  end },
  { 2, function(g)
    return scan(g, "SSCAN")
  end },
  { 4, function(g)
    return { g.chance:pick { "SINTER", "SUNION", "SDIFF" }, table.unpack(g:keys_of(4)) }
  end },
  { 4, function(g)
    return { g.chance:pick { "SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE" }, g:key(), table.unpack(g:keys_of(4)) }
  end },
  { 2, function(g)
    local keys, chance = g:keys_of(3), g.chance
    local command = { "SINTERCARD", tostring(chance:odds(0.8) and #keys or chance:int(-1, 5)), table.unpack(keys) }
    if chance:odds(0.5) then
      command[#command + 1] = g:word "LIMIT"
      command[#command + 1] = chance:pick { "0", "1", "2", "100", "-1", "x", "9223372036854775807" }
    end
    return command
  end },
  { 3, function(g)
    local key, one = g:key(), member(g)
    return g.chance:pick {
      { "SRANDMEMBER", key, count(g) },
      { "SRANDMEMBER", key, "1", "x" },
      { { "SPOP", key, count(g) }, exact = true }, -- with an argument less it would be left to chance
      { { "SPOP", key, "1", "x" }, exact = true },
      { { "DEL", key }, { "SADD", key, one }, { "SRANDMEMBER", key }, { "SRANDMEMBER", key, "-3" }, { "SPOP", key } },
      { { "DEL", key }, { "SADD", key, one }, { "SRANDMEMBER", key, "2" }, { "SPOP", key, "2" } },
      { { "DEL", key }, { "SADD", key, "1", "2", "3" }, { "SPOP", key, "2" }, { "SCARD", key }, { "SPOP", key, "1" },
        { "EXISTS", key } },
    }
  end },
}

-- ---- sorted sets

local SCORES = {
  "0", "-0", "1", "1", "2", "2", "3", "-1", "1.5", "0.1", "inf", "-inf", "+inf", "1e300", "-1e300", "1e-320", "3.0e0",
  "0x10", "123456789012345678", "4503599627370497", "9007199254740993",
}
local BAD_SCORES = { "nan", "", "x", " 1", "1 ", "1e400", "-1e400", "1e-400", "0x", "1,5", "--1", "(1", "infx", "1\0" }

local function score(g)
  local chance = g.chance
  if chance:odds(0.03) then
    return chance:pick(BAD_SCORES)
  elseif chance:odds(0.15) then
    return g:float()
  end
  return chance:odds(0.5) and chance:pick(SCORES) or tostring(chance:int(-5, 5))
end

local function score_pairs(g, most)
  local list = {}
  for _ = 1, g.chance:int(1, most) do
    list[#list + 1] = score(g)
    list[#list + 1] = member(g)
  end
  if g.chance:odds(0.03) then
    list[#list] = nil
  end
  return table.unpack(list)
end

local function index(g)
  local chance = g.chance
  return chance:odds(0.9) and tostring(chance:int(-8, 12)) or g:integer()
end

local function bound(g)
  local chance = g.chance
  if chance:odds(0.3) then
    return chance:pick { "-inf", "+inf", "inf" }
  end
  return (chance:odds(0.3) and "(" or "") .. (chance:odds(0.05) and chance:pick { "", " 1", "x", "((1" } or score(g))
end

local function lex(g)
  local chance = g.chance
  if chance:odds(0.4) then
    return chance:pick { "-", "+", "-", "+", "", "a", "(", "[", "--", "inf" }
  end
  return chance:pick { "(", "[" } .. member(g)
end

local function random_options(g, command, options)
  for _ = 1, 3 do
    if g.chance:odds(0.35) then
      for _, word in ipairs(g.chance:pick(options)) do
        command[#command + 1] = word:find("^%u") and g:word(word) or word
      end
    end
  end
  return command
end

local LIMITS = { { "LIMIT", "0", "1" }, { "LIMIT", "1", "-1" }, { "LIMIT", "2", "3" }, { "LIMIT", "-1", "2" },
  { "LIMIT", "0", "0" }, { "LIMIT", "x", "1" }, { "LIMIT", "1" } }

-- Sets whose scores are all the same: what is asked by member of others is left open.
local function lex_set(g, key)
  local command = { "ZADD", key }
  local same = g.chance:pick { "0", "1", "-0", "-inf" }
  for _ = 1, g.chance:int(1, 8) do
    command[#command + 1], command[#command + 2] = same, member(g)
  end
  return command
end

local function range_by(g, key, by)
  local a, b = index(g), index(g)
  if by == "BYSCORE" then
    a, b = bound(g), bound(g)
  elseif by == "BYLEX" then
    a, b = lex(g), lex(g)
  end
  local command = { key, a, b }
  if by ~= "" then
    command[4] = g:word(by)
  end
  return random_options(g, command, { { "REV" }, { "WITHSCORES" }, g.chance:pick(LIMITS), { "REV" } })
end

local function old_range(g, name, a, b)
  return random_options(g, { name, g:key(), a, b }, { { "WITHSCORES" }, g.chance:pick(LIMITS) })
end

local function algebra(g, name, options)
  local chance, keys = g.chance, g:keys_of(4)
  local command = { name }
  if name:find("STORE") then
    command[2] = g:key()
  end
  command[#command + 1] = tostring(chance:odds(0.95) and #keys or chance:int(-1, 5))
  table.move(keys, 1, #keys, #command + 1, command)
  if options == "some" then
    local weights, scores = { "WEIGHTS" }, { "WITHSCORES" }
    for _ = 1, chance:odds(0.95) and #keys or #keys - 1 do
      weights[#weights + 1] = chance:odds(0.8) and chance:pick { "1", "2", "-1", "0", "0.5", "inf" } or score(g)
    end
    if name:find("STORE") and chance:odds(0.9) then
      scores = weights -- it would be an error
    end
    return random_options(g, command, {
      weights, { "AGGREGATE", chance:pick { "SUM", "MIN", "MAX", "SUM", "MIN", "MAX", "SUM", "MIN", "MAX", "FOO" } },
      { "AGGREGATE", chance:pick { "SUM", "MIN", "MAX" } }, weights, scores,
    })
  end
  return random_options(g, command, options)
end

families.zset = {
  { 9, function(g)
    return { "ZADD", g:key(), score_pairs(g, 8) }
  end },
  { 5, function(g)
    local command = { "ZADD", g:key() }
    random_options(g, command, { { "NX" }, { "XX" }, { "GT" }, { "LT" }, { "CH" }, { "INCR" }, { "CH" }, { "NX" } })
    for _, word in ipairs { score_pairs(g, g.chance:pick { 1, 1, 4 }) } do
      command[#command + 1] = word
    end
    return command
  end },
  { 3, function(g)
    return { "ZINCRBY", g:key(), score(g), member(g) }
  end },
  { 4, function(g)
    return { "ZREM", g:key(), members(g, 8) }
  end },
  { 4, function(g)
    return { g.chance:pick { "ZSCORE", "ZRANK", "ZREVRANK" }, g:key(), member(g) }
  end },
  { 2, function(g)
    return { "ZMSCORE", g:key(), members(g, 5) }
  end },
  { 2, function(g)
    return { "ZCARD", g:key() }
  end },
  { 8, function(g)
    local by = g.chance:pick { "", "", "BYSCORE", "BYSCORE" }
    return { "ZRANGE", table.unpack(range_by(g, g:key(), by)) }
  end },
  { 3, function(g)
    local name = g.chance:pick { "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE" }
    if name == "ZREVRANGE" then
      return old_range(g, name, index(g), index(g))
    end
    return old_range(g, name, bound(g), bound(g))
  end },
  { 4, function(g)
    local key = g:key()
    local made = g.chance:pick {
      { "ZRANGE", table.unpack(range_by(g, key, "BYLEX")) },
      { g.chance:pick { "ZRANGEBYLEX", "ZREVRANGEBYLEX" }, key, lex(g), lex(g), table.unpack(g.chance:pick(LIMITS)) },
      { g.chance:pick { "ZLEXCOUNT", "ZREMRANGEBYLEX" }, key, lex(g), lex(g) },
      { "ZRANGESTORE", g:key(), table.unpack(range_by(g, key, "BYLEX")) },
    }
    return { { "DEL", key }, lex_set(g, key), made }
  end },
  { 3, function(g)
    return { "ZRANGESTORE", g:key(), table.unpack(range_by(g, g:key(), g.chance:pick { "", "BYSCORE" })) }
  end },
  { 2, function(g)
    return { "ZCOUNT", g:key(), bound(g), bound(g) }
  end },
  { 2, function(g)
    return g.chance:pick {
      { "ZREMRANGEBYRANK", g:key(), index(g), index(g) },
      { "ZREMRANGEBYSCORE", g:key(), bound(g), bound(g) },
    }
  end },
  { 3, function(g)
    local command = { g.chance:pick { "ZPOPMIN", "ZPOPMAX" }, g:key() }
    if g.chance:odds(0.6) then
      command[3] = g.chance:odds(0.6) and tostring(g.chance:int(0, 4)) or count(g)
    end
    return command
  end },
  { 3, function(g)
    local keys, chance = g:keys_of(3), g.chance
    local command = { "ZMPOP", tostring(chance:odds(0.9) and #keys or chance:int(-1, 5)), table.unpack(keys) }
    command[#command + 1] = g:word(chance:pick { "MIN", "MAX", "MIN", "MAX", "FOO" })
    if chance:odds(0.5) then
      command[#command + 1], command[#command + 2] = g:word "COUNT", chance:pick { "1", "2", "100", "0", "-1", "x" }
    end
    return command
  end },
  { 2, function(g)
    return scan(g, "ZSCAN")
  end },
  { 8, function(g)
    return algebra(g, g.chance:pick { "ZUNION", "ZINTER", "ZUNIONSTORE", "ZINTERSTORE" }, "some")
  end },
  { 2, function(g)
    return algebra(g, g.chance:pick { "ZDIFF", "ZDIFFSTORE" }, { { "WITHSCORES" }, { "WEIGHTS", "1" } })
  end },
  { 2, function(g)
    return algebra(g, "ZINTERCARD", { { "LIMIT", "1" }, { "LIMIT", "0" }, { "LIMIT", "-1" }, { "LIMIT" } })
  end },
  { 2, function(g)
    local key, one = g:key(), member(g)
    return g.chance:pick {
      { "ZRANDMEMBER", key, count(g), g:word "WITHSCORES" },
      { "ZRANDMEMBER", key, count(g) },
      { "ZRANDMEMBER", key, "0", g:word "FOO" },
      { { "DEL", key }, { "ZADD", key, "1.5", one }, { "ZRANDMEMBER", key },
        { "ZRANDMEMBER", key, "-3", "withscores" } },
      { { "DEL", key }, { "ZADD", key, "1.5", one }, { "ZRANDMEMBER", key, "-2" }, { "ZRANDMEMBER", key, "2" } },
    }
  end },
}

return families
