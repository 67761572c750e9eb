-- The commands on bits for spec.support.commands: each entry {weight, fn(g) → command}. Offsets cluster around the ends
-- of short strings; only few lie far out, as a string of megabytes makes everything after it slow.

-- Not one that is valid and makes a string of hundreds of megabytes.
local function any_integer(g, width)
  local text = g:integer()
  local n = math.tointeger(tonumber(text))
  return n and n * width > 300000 and n * width < 1 << 32 and "4294967296" or text
end

local function offset(g)
  local chance = g.chance
  return chance:weighted {
    { 12, tostring(chance:int(0, 100)) }, { 2, tostring(chance:int(0, 300000)) }, { 1, "4294967296" },
    { 1, "-1" }, { 3, any_integer(g, 1) },
  }
end

local function bit(g)
  return g.chance:weighted { { 10, g.chance:pick { "0", "1" } }, { 1, g:integer() }, { 1, "2" } }
end

-- Options of BITCOUNT and BITPOS.
local function add_range(g, command, most)
  local chance = g.chance
  for i = 1, chance:weighted { { 2, 0 }, { 2, most >= 1 and 1 or 0 }, { 4, 2 }, { 4, 3 }, { 1, 4 } } do
    if i <= 2 then
      command[#command + 1] = chance:odds(0.8) and tostring(chance:int(-30, 30)) or g:integer()
    else
      command[#command + 1] = g:word(chance:pick { "BIT", "BYTE", "BIT", "BYTE", "FOO" })
    end
  end
  return command
end

local TYPES = {
  "u1", "u2", "u4", "u5", "u7", "u8", "u9", "u16", "u31", "u32", "u33", "u62", "u63", "i1", "i2", "i3", "i8", "i15",
  "i16", "i32", "i33", "i63", "i64",
}
local BAD_TYPES = { "u64", "i65", "u0", "i0", "u", "i", "8", "", "U8", "I8", "u08", "u-1", "f32", "u8 ", "u1.5" }

local function field_type(g)
  return g.chance:odds(0.95) and g.chance:pick(TYPES) or g.chance:pick(BAD_TYPES)
end

local function field_offset(g, width)
  local chance = g.chance
  return chance:weighted {
    { 10, tostring(chance:int(0, 80)) }, { 6, "#" .. chance:int(0, 20) }, { 1, offset(g) },
    { 1, "#" .. any_integer(g, width) },
    { 1, "##1" },
  }
end

local function operations(g, command, names)
  local chance = g.chance
  for _ = 1, chance:int(0, 5) do
    local name = chance:pick(names)
    command[#command + 1] = g:word(name)
    if name == "OVERFLOW" then
      command[#command + 1] = g:word(chance:pick { "WRAP", "SAT", "FAIL", "WRAP", "SAT", "FAIL", "FOO" })
    elseif name ~= "FOO" then
      local kind = field_type(g)
      command[#command + 1] = kind
      command[#command + 1] = field_offset(g, tonumber(kind:match "^[iu](%d+)$") or 1)
      if name ~= "GET" then
        command[#command + 1] = chance:odds(0.5) and tostring(chance:int(-300, 300)) or g:integer()
      end
    end
  end
  return command
end

local SHORT = { "", "x", "foo", "hello world", "0123456789", ("0110"):rep(20), "\xff\0\r\n", "vvv" }

return {
  { 6, function(g)
    return { "SETBIT", g:key(), offset(g), bit(g) }
  end },
  { 3, function(g)
    return { "GETBIT", g:key(), offset(g) }
  end },
  { 5, function(g)
    return add_range(g, { "BITCOUNT", g:key() }, 0)
  end },
  { 6, function(g)
    return add_range(g, { "BITPOS", g:key(), bit(g) }, 1)
  end },
  { 6, function(g)
    local name = g.chance:pick { "AND", "OR", "XOR", "NOT", "FOO" }
    return { "BITOP", g:word(name), g:key(), table.unpack(g:keys_of(name == "NOT" and 1 or 4)) }
  end },
  { 8, function(g)
    return operations(g, { "BITFIELD", g:key() }, { "GET", "SET", "SET", "INCRBY", "INCRBY", "OVERFLOW" })
  end },
  { 1, function(g)
    return operations(g, { "BITFIELD", g:key() }, { "GET", "SET", "INCRBY", "OVERFLOW", "FOO" })
  end },
  { 3, function(g)
    return operations(g, { "BITFIELD_RO", g:key() }, g.chance:pick { { "GET" }, { "GET", "SET", "OVERFLOW" } })
  end },
  { 2, function(g)
    return { "SUBSTR", g:key(), tostring(g.chance:int(-12, 12)), tostring(g.chance:int(-12, 12)) }
  end },
  { 4, function(g)
    local short, other = g:key(), g:key()
    local command = { "LCS", short, other }
    for _ = 1, g.chance:int(0, 3) do
      local option = g.chance:pick { "LEN", "IDX", "IDX", "IDX", "MINMATCHLEN", "WITHMATCHLEN", "FOO" }
      command[#command + 1] = g:word(option)
      if option == "MINMATCHLEN" and g.chance:odds(0.95) then
        command[#command + 1] = g.chance:odds(0.8) and tostring(g.chance:int(-1, 5)) or g:integer()
      end
    end
    return { { "SET", short, g.chance:pick(SHORT) }, command } -- two long ones take it seconds, on both servers
  end },
}
