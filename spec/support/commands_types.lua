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
      { "SPOP", key, count(g) },
      { "SPOP", key, "1", "x" },
      { { "DEL", key }, { "SADD", key, one }, { "SRANDMEMBER", key }, { "SRANDMEMBER", key, "-3" }, { "SPOP", key } },
      { { "DEL", key }, { "SADD", key, one }, { "SRANDMEMBER", key, "2" }, { "SPOP", key, "2" } },
      { { "DEL", key }, { "SADD", key, "1", "2", "3" }, { "SPOP", key, "2" }, { "SCARD", key }, { "SPOP", key, "1" },
        { "EXISTS", key } },
    }
  end },
}

return families
