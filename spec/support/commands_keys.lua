-- COPY, SORT, OBJECT, RESTORE and their kin for spec.support.commands: each entry {weight, fn(g) → command}.

local DATABASES = { "0", "0", "1", "-1", "x", "99999999999", "" }

-- Patterns under which keys of the pool are found for elements such as "1" and "a".
local PATTERNS = {
  "*", "key:*", "{t}*", "key:*->a", "*->f", "*->", "->a", "#", "nosort", "", "x*y*", "h*->1", "*->b->c", "k\0*",
}

-- What is stored is sorted with ALPHA and without BY, as else Redis may refuse it (see compare.lua), or what is equal
-- has any order.
local function sort(g, command)
  local chance = g.chance
  for _ = 1, chance:int(0, 4) do
    local option = chance:pick { "BY", "GET", "GET", "LIMIT", "ASC", "DESC", "ALPHA", "ALPHA", "FOO" }
    if option ~= "FOO" or chance:odds(0.2) then
      command[#command + 1] = g:word(option)
      if option == "LIMIT" then
        command[#command + 1] = chance:odds(0.9) and tostring(chance:int(-2, 5)) or g:integer()
        command[#command + 1] = chance:odds(0.9) and tostring(chance:int(-2, 5)) or g:integer()
      elseif option == "BY" or option == "GET" then
        command[#command + 1] = chance:pick(PATTERNS)
      end
    end
  end
  return command
end

local function sort_and_store(g, name)
  local command = { name, g:key(), g:word "STORE", g:key(), g:word "ALPHA" }
  for _ = 1, g.chance:int(0, 3) do
    for _, word in ipairs(g.chance:pick { { "GET", g.chance:pick(PATTERNS) }, { "DESC" }, { "LIMIT", "1", "2" } }) do
      command[#command + 1] = word
    end
  end
  return command
end

-- None that is out of range: once Redis has met one of these, it may take any other number for one.
local NUMBERS = {
  "1", "22", "-3", "1.5", "1e3", " 7", "", "inf", "-inf", "0x10", "nan", "x", "1 ", "10", "5", "2", "-0", "0", "1e300",
}

return {
  { 6, function(g)
    local command = { "COPY", g:key(), g:key() }
    for _ = 1, g.chance:pick { 0, 0, 1, 1, 2 } do
      local option = g.chance:pick { "REPLACE", "REPLACE", "REPLACE", "DB", "FOO" }
      command[#command + 1] = g:word(option)
      if option == "DB" and g.chance:odds(0.9) then
        command[#command + 1] = g.chance:pick(DATABASES)
      end
    end
    return command
  end },
  { 8, function(g)
    return sort(g, { "SORT", g:key() })
  end },
  { 4, function(g)
    local key, list = g:key(), {}
    for i = 1, g.chance:int(1, 6) do
      list[i] = g.chance:pick(NUMBERS)
    end
    return {
      { "DEL", key },
      { g.chance:pick { "RPUSH", "SADD" }, key, table.unpack(list) },
      sort(g, { g.chance:pick { "SORT", "SORT_RO" }, key }),
    }
  end },
  { 4, function(g)
    local key = g:key()
    return {
      { "DEL", key },
      { "RPUSH", key, "1", "22", "a", "b", "1" },
      { "MSET", "key:1", g.chance:pick(NUMBERS), "key:22", g.chance:pick(NUMBERS), "a", g:integer(), "b", "7" },
      sort(g, { "SORT", key, "BY", g.chance:pick { "key:*", "*", "{t}*", "key:*->f" } }),
    }
  end },
  { 3, function(g)
    local name = g.chance:pick { "SORT", "SORT", "sort", "SORT_RO" }
    return { sort_and_store(g, name), exact = true } -- not without its ALPHA
  end },
  { 3, function(g)
    return { "OBJECT", g:word(g.chance:pick { "ENCODING", "REFCOUNT", "IDLETIME", "FREQ", "FOO" }), g:key() }
  end },
  { 2, function(g)
    return { "DUMP", g:key() }
  end },
  { 3, function(g)
    local command = { "RESTORE", g:key(), g.chance:pick { "0", "-1", "x", "100" }, g.chance:pick { "", "foo", "\0" } }
    for _ = 1, g.chance:int(0, 2) do
      for _, word in ipairs(g.chance:pick {
        { "REPLACE" }, { "replace" }, { "ABSTTL" }, { "IDLETIME", "1" }, { "IDLETIME", "-1" }, { "FREQ", "256" },
        { "FREQ", "1" }, { "FREQ" }, { "FOO" }, { "IDLETIME", "x" },
      }) do
        command[#command + 1] = word
      end
    end
    return command
  end },
  { 1, function(g)
    return { "MOVE", g:key(), g.chance:pick(DATABASES) }
  end },
  { 1, function(g)
    if g.chance:odds(0.5) then
      return { "SWAPDB", "0", "0" }
    end
    return { "SWAPDB", g.chance:pick(DATABASES), g.chance:pick(DATABASES) }
  end },
}
