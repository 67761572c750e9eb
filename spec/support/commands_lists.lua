-- The commands on lists for spec.support.commands: each entry {weight, fn(g) → command}. Few elements, so that they
-- are there more than once.

local ELEMENTS = { "a", "b", "c", "", "x", "1", "\0\r\n", "hello world", "a", "b" }

local function element(g)
  return g.chance:odds(0.9) and g.chance:pick(ELEMENTS) or g:value()
end

local function elements(g, most)
  local list = {}
  for i = 1, g.chance:int(1, most) do
    list[i] = element(g)
  end
  return table.unpack(list)
end

local function index(g)
  return g.chance:weighted {
    { 6, tostring(g.chance:int(-3, 3)) }, { 3, tostring(g.chance:int(-12, 12)) }, { 2, g:integer() },
  }
end

local function side(g)
  return g:word(g.chance:pick { "LEFT", "RIGHT", "LEFT", "RIGHT", "LEFT", "RIGHT", "LEFT", "RIGHT", "UP" })
end

local function count(g)
  return g.chance:weighted { { 6, tostring(g.chance:int(0, 5)) }, { 1, "-1" }, { 1, g:integer() } }
end

-- numkeys, keys, and sometimes not as many.
local function counted_keys(g, command)
  local names = g:keys_of(4)
  command[#command + 1] = g.chance:odds(0.9) and tostring(#names) or g.chance:pick { "0", "-1", "x", "1", "9", "" }
  for _, key in ipairs(names) do
    command[#command + 1] = key
  end
  return command
end

local function multiple_pop(g, command)
  counted_keys(g, command)
  command[#command + 1] = side(g)
  for _ = 1, g.chance:pick { 0, 0, 1, 1, 1, 2 } do
    command[#command + 1] = g:word(g.chance:pick { "COUNT", "COUNT", "COUNT", "FOO" })
    command[#command + 1] = g.chance:odds(0.95) and count(g) or nil
  end
  return command
end

-- Where nothing is there to be popped, it takes this long to say so.
local function timeout(g)
  return g.chance:weighted {
    { 12, "0.001" }, { 1, g.chance:pick { "-1", "x", "", "1e30", "inf", "-inf", "-0.1", "nan", "9223372036854776" } },
  }
end

return {
  { 5, function(g)
    local name = g.chance:pick { "BLPOP", "BRPOP", "BZPOPMIN", "BZPOPMAX" }
    g.home = name:find("^BZ") and "zset" or "list"
    local command = { name, table.unpack(g:keys_of(3)) }
    command[#command + 1] = timeout(g)
    return command
  end },
  { 1, function(g)
    return { "BLMOVE", g:key(), g:key(), side(g), side(g), timeout(g) }
  end },
  { 1, function(g)
    return { "BRPOPLPUSH", g:key(), g:key(), timeout(g) }
  end },
  { 2, function(g)
    local name = g.chance:pick { "BLMPOP", "BZMPOP" }
    g.home = name == "BZMPOP" and "zset" or "list"
    local command = multiple_pop(g, { name, timeout(g) })
    for i, word in ipairs(command) do
      local upper = command[1] == "BZMPOP" and i > 2 and word:upper()
      command[i] = upper == "LEFT" and "MIN" or upper == "RIGHT" and "max" or word
    end
    return command
  end },
  { 10, function(g)
    return { g.chance:pick { "LPUSH", "RPUSH" }, g:key(), elements(g, 6) }
  end },
  { 2, function(g)
    return { g.chance:pick { "LPUSHX", "RPUSHX" }, g:key(), elements(g, 3) }
  end },
  { 4, function(g)
    local command = { g.chance:pick { "LPOP", "RPOP" }, g:key() }
    if g.chance:odds(0.5) then
      command[3] = count(g)
    end
    return command
  end },
  { 2, function(g)
    return { "LLEN", g:key() }
  end },
  { 3, function(g)
    return { "LINDEX", g:key(), index(g) }
  end },
  { 3, function(g)
    return { "LSET", g:key(), index(g), element(g) }
  end },
  { 5, function(g)
    return { "LRANGE", g:key(), index(g), index(g) }
  end },
  { 2, function(g)
    return { "LTRIM", g:key(), index(g), index(g) }
  end },
  { 5, function(g)
    return { "LREM", g:key(), g.chance:odds(0.8) and tostring(g.chance:int(-3, 3)) or g:integer(), element(g) }
  end },
  { 5, function(g)
    local where = g.chance:pick { "BEFORE", "AFTER", "BEFORE", "AFTER", "BEFORE", "AFTER", "FOO" }
    return { "LINSERT", g:key(), g:word(where), element(g), element(g) }
  end },
  { 5, function(g)
    local command = { "LPOS", g:key(), element(g) }
    for _ = 1, g.chance:int(0, 3) do
      local option = g.chance:pick { "RANK", "RANK", "COUNT", "COUNT", "MAXLEN", "FOO" }
      command[#command + 1] = g:word(option)
      if g.chance:odds(0.97) then
        command[#command + 1] = g.chance:odds(0.8) and tostring(g.chance:int(-3, 4)) or g:integer()
      end
    end
    return command
  end },
  { 5, function(g)
    return { "LMOVE", g:key(), g:key(), side(g), side(g) }
  end },
  { 2, function(g)
    return { "RPOPLPUSH", g:key(), g:key() }
  end },
  { 3, function(g)
    return multiple_pop(g, { "LMPOP" })
  end },
}
