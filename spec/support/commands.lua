-- Generates sequences of key-value commands from a seed, leaning towards the edges: few keys, so that they collide,
-- options that clash, numbers at the end of their range. Does not know what the right replies are.
--
--   local commands = require "spec.support.commands"
--   local steps = commands.sequence(seed)    -- a step: { { "SET", "a", "1" }, …, pause = true? }
--
-- A step is one command, or few that belong together. After a step with `pause`, the replies are awaited before more
-- is sent; `pause_after`: already after so many of its commands. What is `alone` is in no transaction.
--
-- Nothing here depends on when it runs: relative times are at least 100 s from each other and from the absolute ones,
-- and absolute ones are long past or past the year 2100; or a key has expired before anybody looks at it. So two
-- servers that run a sequence some milliseconds apart must agree.

local prng = require "spec.support.prng"
local server = require "spec.support.commands_server"
local types = require "spec.support.commands_types"

local M = {}

---Absolute times in this range were given as such, so all of EXPIRETIME's replies in it must agree to the last digit.
M.ABSOLUTE_FROM, M.ABSOLUTE_TO = 4102444800, 99999999999

M.KEYS = {
  "a", "b", "c", "{t}1", "{t}2", "x{t}y", "{}", "", "\0\r\n\xff", ("long"):rep(80), "key:1", "key:22", "*", "[x]",
  "h\\llo", "10", "\xc3\xa4",
}

local INTEGERS = {
  "0", "1", "-1", "2", "10", "100", "7", "-0", "00", "01", "+1", " 1", "1 ", "1\n", "", "-", "1e3", "1.0", "0x10",
  "nan", "inf", "-inf", "foo", "9223372036854775807", "9223372036854775806", "-9223372036854775808",
  "-9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551615",
  "100000000000000000000", "4294967296", "2147483647", "-2147483648", "1\0", "１",
}

local FLOATS = {
  "0", "-0", "0.1", "-0.1", "1.5", "3.0e3", "1e-5", "1e17", "1e18", "123456789.123456789", "0.00000000000000001",
  "1e-17", "1e-18", "1e308", "-1e308", "1e4000", "1e4932", "1e4933", "-1e5000", "1e-4950", "1e-5000", "inf", "-inf",
  "+inf", "infinity", "nan", "-nan", "nan(1)", "0x10", "0x1p-3", "0x.8", "1.", ".5", ".", "+1.5", " 1", "1 ", "1e",
  "1e+2", "", "foo", "1,5", "9223372036854775807", "-9223372036854775808", "18446744073709551616",
  "5.0000000000000000000000001", "0.30000000000000000001", ("9"):rep(40), "0." .. ("3"):rep(60), ("1"):rep(300),
  "1.0\0",
}

local VALUES = {
  "", "x", "foo", "hello world", "\0", "\xff\0\r\n", "10", "-5", "3.25", "9223372036854775807", "-9223372036854775808",
  ("0123456789"):rep(20), ("v"):rep(10000), "*3\r\n$3\r\nSET\r\n", "ä",
}

local PATTERNS = {
  "*", "?", "a", "[a-c]", "[^a]", "[c-a]", "key:*", "key:?", "k*1", "*t*", "{t}?", "\\*", "\\[x\\]", "[", "[]", "[a",
  "[^", "\\", "a\\", "[\\]]", "**", "*?*", "", "h[\\\\]llo", "h\\\\llo", "*\xff", "\0*", "[\0]*", "long*long", "[x-]",
  "?????", "[[]x]", "*a*b*", "*****************************************************************b", "ä", "??",
}

local WORDS = {
  "NX", "XX", "GET", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST", "GT", "LT", "MATCH", "COUNT", "TYPE", "foo", "",
}

-- ---------------------------------------------------------------- arguments

---@class spec.generator
---@field chance spec.prng
---@field deck integer  where the relative times of this sequence go on
---@field keys string[]
---@field homes table<string, string[]>  a type → the keys that mostly hold such a value
---@field home string?  the type that the command under way is about
local methods = {}
local metatable = { __index = methods, __name = "spec.generator" }

function methods:key()
  local own = self.homes[self.home]
  return self.chance:pick(own and self.chance:odds(0.6) and own or self.keys)
end

function methods:keys_of(most)
  local list = {}
  for i = 1, self.chance:int(1, most) do
    list[i] = self:key()
  end
  return list
end

function methods:integer()
  local chance = self.chance
  if chance:odds(0.3) then
    return tostring(chance:int(-1000, 1000))
  elseif chance:odds(0.1) then
    return tostring(chance:int(1 << 62, math.maxinteger) * chance:pick { 1, -1 })
  end
  return chance:pick(INTEGERS)
end

local function digits(chance, most)
  local list = {}
  for i = 1, chance:int(1, most) do
    list[i] = chance:int(0, 9)
  end
  return table.concat(list)
end

function methods:float()
  local chance = self.chance
  if chance:odds(0.4) then
    return chance:pick(FLOATS)
  end
  local text = chance:pick { "", "-" } .. digits(chance, chance:pick { 1, 3, 20 })
  if chance:odds(0.7) then
    text = text .. "." .. digits(chance, chance:pick { 1, 4, 17, 25 })
  end
  if chance:odds(0.2) then
    text = text .. chance:pick { "e", "E" } .. chance:int(-25, 25)
  end
  return text
end

function methods:value()
  local which = self.chance:int(1, 10)
  if which <= 4 then
    return self.chance:pick(VALUES)
  elseif which <= 7 then
    return self:integer()
  elseif which == 8 then
    return self:float()
  end
  return digits(self.chance, 12)
end

-- A word of a command, in whichever case.
function methods:word(text)
  local which = self.chance:int(1, 6)
  if which == 1 then
    return text:lower()
  elseif which == 2 then
    return (text:gsub(".", function(letter)
      return self.chance:odds(0.5) and letter:lower() or nil
    end))
  end
  return text
end

-- Seconds from now that no other relative time of this sequence comes near to: 5003 is a prime.
function methods:seconds()
  self.deck = (self.deck + 1237) % 5003
  return 1000 + 100 * self.deck
end

local BAD_TIMES = {
  "0", "-1", "-9223372036854775808", "9223372036854775807", "9223372036854775808", "9223372036854776",
  "-9223372036854776", "-9223372036854775", "", "foo", "1.5", " 10", "+10", "010",
}
local LONG_PAST = { "1", "1000", "1000000000" }

-- A time for EX, PX, EXAT or PXAT. The second result tells that it may lie in the past.
function methods:time(unit)
  local chance = self.chance
  if chance:odds(0.15) then
    return chance:pick(BAD_TIMES), true
  elseif unit == "EX" then
    return chance:odds(0.05) and "9223370000000000" or tostring(self:seconds())
  elseif unit == "PX" then
    return chance:odds(0.05) and "9223370000000000000" or tostring(self:seconds() * 1000 + chance:int(0, 999))
  elseif chance:odds(0.25) then
    return chance:pick(LONG_PAST), true
  end
  local at = M.ABSOLUTE_FROM + chance:int(0, 9)
  if unit == "EXAT" then
    return tostring(at)
  end
  return at .. chance:pick { "000", "001", "499", "500", "501", "999" }
end

-- ---------------------------------------------------------------- commands

-- Redis counts a key whose time has come until somebody meets it, and so do we: meet it at once.
local function meet(command, past)
  if past then
    return { command, { "EXISTS", command[2] }, alone = true } -- in a transaction it is met, but not deleted
  end
  return { command }
end

local families = {} -- name → { weight, fn(g) → step or command, … }; named so that failures can be told apart

for name, family in pairs(types) do
  families[name] = family
end

families.string_set = {
  { 6, function(g)
    return { "SET", g:key(), g:value() }
  end },
  { 8, function(g)
    local command, past = { "SET", g:key(), g:value() }, false
    for _ = 1, g.chance:int(1, 3) do
      local option = g.chance:pick { "NX", "XX", "GET", "KEEPTTL", "EX", "PX", "EXAT", "PXAT", "NX", "XX", "GET" }
      command[#command + 1] = g:word(option)
      if option:find("^[EP]X") and g.chance:odds(0.95) then
        local time, is_past = g:time(option)
        command[#command + 1], past = time, past or is_past
      end
    end
    return meet(command, past)
  end },
  { 2, function(g)
    return { "SETNX", g:key(), g:value() }
  end },
  { 2, function(g)
    return { "SETEX", g:key(), g:time "EX", g:value() }
  end },
  { 2, function(g)
    local time = g:time "PX"
    return { "PSETEX", g:key(), time, g:value() }
  end },
  { 2, function(g)
    return { "MSETNX", g:key(), g:value(), g:key(), g:value() }
  end },
  { 3, function(g)
    local command = { "MSET" }
    for _, key in ipairs(g:keys_of(6)) do
      command[#command + 1] = key
      command[#command + 1] = g:value()
    end
    return command
  end },
}

families.get = {
  { 6, function(g)
    return { "GET", g:key() }
  end },
  { 2, function(g)
    return { "GETSET", g:key(), g:value() }
  end },
  { 1, function(g)
    return { "GETDEL", g:key() }
  end },
  { 2, function(g)
    return { "GETEX", g:key() }
  end },
  { 3, function(g)
    local command, past = { "GETEX", g:key() }, false
    for _ = 1, g.chance:pick { 1, 1, 1, 2 } do
      local option = g.chance:pick { "PERSIST", "EX", "PX", "EXAT", "PXAT" }
      command[#command + 1] = g:word(option)
      if option ~= "PERSIST" and g.chance:odds(0.95) then
        local time, is_past = g:time(option)
        command[#command + 1], past = time, past or is_past
      end
    end
    return meet(command, past)
  end },
  { 3, function(g)
    return { "MGET", table.unpack(g:keys_of(8)) }
  end },
  { 3, function(g)
    return { "STRLEN", g:key() }
  end },
  { 4, function(g)
    return { "GETRANGE", g:key(), g:integer(), g:integer() }
  end },
  { 1, function(g)
    return { "GETRANGE", g:key(), tostring(g.chance:int(-12, 12)), tostring(g.chance:int(-12, 12)) }
  end },
}

families.change = {
  { 4, function(g)
    return { "APPEND", g:key(), g:value() }
  end },
  { 4, function(g)
    local offset = g.chance:weighted {
      { 6, tostring(g.chance:int(0, 20)) }, { 1, "50000" }, { 1, "536870912" }, { 1, "536870911999" },
      { 3, g.chance:pick(INTEGERS) },
    }
    return { "SETRANGE", g:key(), offset, g.chance:pick { "", "x", "hello", "\0\xff" } }
  end },
  { 3, function(g)
    return { "INCR", g:key() }
  end },
  { 3, function(g)
    return { "DECR", g:key() }
  end },
  { 5, function(g)
    return { "INCRBY", g:key(), g:integer() }
  end },
  { 5, function(g)
    return { "DECRBY", g:key(), g:integer() }
  end },
  { 8, function(g)
    return { "INCRBYFLOAT", g:key(), g:float() }
  end },
}

families.generic = {
  { 3, function(g)
    return { g.chance:pick { "DEL", "UNLINK" }, table.unpack(g:keys_of(4)) }
  end },
  { 3, function(g)
    return { "EXISTS", table.unpack(g:keys_of(5)) }
  end },
  { 1, function(g)
    return { "TOUCH", table.unpack(g:keys_of(5)) }
  end },
  { 2, function(g)
    return { "TYPE", g:key() }
  end },
  { 4, function(g)
    return { g.chance:pick { "RENAME", "RENAMENX" }, g:key(), g:key() }
  end },
  { 1, function()
    return { { "KEYS", "*" }, { "RANDOMKEY" } } -- the second must be one of the first
  end },
  { 3, function(g)
    return { "KEYS", g.chance:pick(PATTERNS) }
  end },
  { 2, function()
    return { "DBSIZE" }
  end },
  { 4, function(g)
    local command = { "SCAN", "0", g:word "COUNT", "100000" } -- all of them in one go
    if g.chance:odds(0.6) then
      command[#command + 1] = g:word "MATCH"
      command[#command + 1] = g.chance:pick(PATTERNS)
    end
    if g.chance:odds(0.3) then
      command[#command + 1] = g:word "TYPE"
      command[#command + 1] = g:word(g.chance:pick { "STRING", "STRING", "LIST", "FOO", "" })
    end
    return command
  end },
  { 1, function(g)
    local cursor = g.chance:pick { "foo", "", "-", "1x", " 1", "99999999999999999999", "1.5", "\0" }
    return { "SCAN", cursor, g:word "COUNT", "100000" }
  end },
  { 1, function(g)
    local count = g.chance:pick { "0", "-1", "foo", "1.5", "9223372036854775808", "" }
    return { "SCAN", "0", g:word "COUNT", count }
  end },
}

families.expiry = {
  { 8, function(g)
    local name, unit = table.unpack(g.chance:pick {
      { "EXPIRE", "EX" }, { "PEXPIRE", "PX" }, { "EXPIREAT", "EXAT" }, { "PEXPIREAT", "PXAT" },
    })
    local time = g:time(unit)
    local command = { name, g:key(), time }
    -- The same long time from now, given twice, is greater or not, as the clock has it: no GT then.
    local repeats = #time > 12 and (unit == "EX" or unit == "PX")
    for _ = 1, repeats and 0 or g.chance:pick { 0, 0, 1, 1, 1, 2, 3 } do
      command[#command + 1] = g:word(g.chance:pick { "NX", "XX", "GT", "LT", "NX", "XX", "GT", "LT", "FOO" })
    end
    return command
  end },
  { 6, function(g)
    return { g.chance:pick { "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME" }, g:key() }
  end },
  { 2, function(g)
    return { "PERSIST", g:key() }
  end },
  { 1, function(g)
    local key = g:key()
    local made = {
      g.chance:pick {
        { "PEXPIRE", key, "1" }, { "SET", key, "x", "PX", "1" }, { "PSETEX", key, "1", "x" },
        { "GETEX", key, "PX", "1" },
      },
      { "BLPOP", "\0nobody's", "0.003" }, -- until it has expired
      alone = true, pause_after = 1, -- it waits from when it has the time of the first one behind it
    }
    g:add_about(key, made)
    made[#made + 1] = { "EXISTS", key }
    return made
  end },
}

for name, family in pairs(server.families) do
  families[name] = family
end
families.bits = require "spec.support.commands_bits"
families.lists = require "spec.support.commands_lists"
families.keys = require "spec.support.commands_keys"

families.unknown = {
  { 2, function(g)
    local command = { g.chance:pick(server.UNKNOWN) }
    for _ = 1, g.chance:pick { 0, 1, 2, 5, 40 } do
      command[#command + 1] = g:value()
    end
    return command
  end },
}

local WEIGHTS = {
  { 12, "string_set" }, { 10, "get" }, { 10, "change" }, { 6, "bits" }, { 8, "lists" }, { 8, "generic" }, { 6, "keys" },
  { 8, "expiry" }, { 3, "connection" }, { 1, "client" }, { 1, "server" }, { 1, "unknown" }, { 8, "hash" },
  { 8, "set" }, { 14, "zset" },
}

-- What each family is about: of several keys all should often be of its type, or there are but errors.
local TYPES = { "string", "list", "hash", "set", "zset" }
local HOMES = {
  string_set = "string", get = "string", change = "string", bits = "string", lists = "list", hash = "hash", set = "set",
  zset = "zset",
}

-- ---------------------------------------------------------------- sequences

-- Commands whose last argument is a timeout: another word in its place could make them wait for minutes.
local WAIT_LAST = { BLPOP = true, BRPOP = true, BZPOPMIN = true, BZPOPMAX = true, BLMOVE = true, BRPOPLPUSH = true }

-- An argument too many or too few.
local function spoil(g, command)
  local at = WAIT_LAST[command[1]] and 2 or nil
  if g.chance:odds(0.5) then
    table.insert(command, at or #command + 1, g.chance:odds(0.5) and g.chance:pick(WORDS) or g:value())
  elseif #command > 1 then
    table.remove(command, at)
  end
end

local function step(g, weights)
  local family = g.chance:weighted(weights)
  g.home = HOMES[family]
  local made = g.chance:weighted(families[family])(g)
  if type(made[1]) ~= "table" then
    made = { made }
  end
  if not made.exact then
    if #made == 1 and g.chance:odds(0.04) then
      spoil(g, made[1])
    end
    made[1][1] = g:word(made[1][1])
  end
  made.pause = made.pause or g.chance:odds(0.15)
  return made
end

-- Adds a command of whichever family in which that is the only key.
function methods:add_about(key, list)
  local keys, homes = self.keys, self.homes
  self.keys, self.homes = { key }, {}
  local family = families[self.chance:pick { "string_set", "get", "change", "bits", "lists", "hash", "set", "zset" }]
  local made = self.chance:weighted(family)(self)
  for _, command in ipairs(type(made[1]) == "table" and made or { made }) do
    list[#list + 1] = command
  end
  self.keys, self.homes = keys, homes
end

-- Replies that compare.lua excuses stay outside of transactions, and so does what ends a connection.
local OUTSIDE = {
  TTL = true, PTTL = true, EXPIRETIME = true, PEXPIRETIME = true, TIME = true, KEYS = true, SCAN = true, HSCAN = true,
  SSCAN = true, ZSCAN = true, HGETALL = true, HKEYS = true, HVALS = true, SMEMBERS = true, HRANDFIELD = true,
  SRANDMEMBER = true, ZRANDMEMBER = true, SPOP = true, SINTER = true, SUNION = true, SDIFF = true, SORT = true,
  SORT_RO = true, OBJECT = true, DUMP = true, RANDOMKEY = true, HELLO = true, CLIENT = true, CONFIG = true, INFO = true,
  COMMAND = true, QUIT = true, SHUTDOWN = true,
}

local function add_transaction(g, weights, steps)
  steps[#steps + 1] = { { g:word "MULTI" } }
  for _ = 1, g.chance:int(0, 6) do
    local made = step(g, weights)
    local fits = not made.alone
    for _, command in ipairs(made) do
      fits = fits and not OUTSIDE[command[1]:upper()]
    end
    steps[#steps + 1] = fits and made or nil
  end
  steps[#steps + 1] = { { g:word(g.chance:pick { "EXEC", "EXEC", "EXEC", "EXEC", "DISCARD" }) } }
end

---@param seed integer
---@return string[][][] steps
function M.sequence(seed)
  local chance = prng.new(seed)
  local g = setmetatable({ chance = chance, deck = chance:int(0, 5002), keys = {}, homes = {}, home = nil }, metatable)
  for i = 1, chance:int(2, 9) do
    local type = chance:pick(TYPES)
    g.keys[i] = chance:pick(M.KEYS)
    g.homes[type] = g.homes[type] or {}
    table.insert(g.homes[type], g.keys[i])
  end
  -- Most sequences dwell on few things, so that these meet in ways that an even mixture would seldom make.
  local weights = {}
  for i, entry in ipairs(WEIGHTS) do
    weights[i] = { entry[1] * chance:pick { 1, 1, 1, 20 }, entry[2] }
  end
  local steps = { chance:odds(0.5) and { { "HELLO", "3" } } or nil }
  for _ = 1, chance:int(40, 120) do
    if chance:odds(0.03) then
      add_transaction(g, weights, steps)
    end
    steps[#steps + 1] = step(g, weights)
  end
  return steps
end

return M
