-- Tells whether two servers' replies to one command agree. Byte by byte, but for the replies listed here, each with
-- its reason; and an error, or a reply of another kind, is never excused.
--
--   local compare = require "spec.support.compare"
--   compare.agree({ "TTL", "a" }, ":100\r\n", ":99\r\n")    --> true
--   compare.agree({ "RANDOMKEY" }, a, b, { a_before, b_before })   -- the replies to the command before it

local commands = require "spec.support.commands"
local resp = require "lunode.resp"

local M = {}

-- How far the clocks of two servers may be apart when they come to the same command. The times that are generated
-- lie 100 s from each other.
local TOLERANCE = 5

local function near(tolerance)
  return function(a, b)
    local x, y = resp.decode(a), resp.decode(b)
    return x >= 0 and y >= 0 and math.abs(x - y) <= tolerance
  end
end

-- A time that was given as an absolute one must agree to the last digit.
local function near_unless_absolute(unit)
  local tolerated = near(TOLERANCE * unit)
  return function(a, b)
    local x = resp.decode(a)
    return not (x >= commands.ABSOLUTE_FROM * unit and x <= commands.ABSOLUTE_TO * unit) and tolerated(a, b)
  end
end

local function sorted(list)
  local copy = table.move(list, 1, #list, 1, {})
  table.sort(copy)
  return copy
end

local function same_list(x, y)
  if #x ~= #y then
    return false
  end
  for i = 1, #x do
    if x[i] ~= y[i] then
      return false
    end
  end
  return true
end

---Whether two lists of strings hold the same, in whichever order.
---@param x string[]
---@param y string[]
---@return boolean
function M.same_set(x, y)
  return same_list(sorted(x), sorted(y))
end

local function contains(list, value)
  for _, element in ipairs(list) do
    if element == value then
      return true
    end
  end
  return false
end

-- A flat list's groups of so many elements, each encoded.
local function groups(flat, width)
  local list = {}
  for i = 1, #flat, width do
    list[#list + 1] = resp.encode { table.unpack(flat, i, i + width - 1) }
  end
  return list
end

-- "id=3 addr=… …\n": the names of the fields of each line.
local function field_names(text)
  local names = {}
  for name in text:gmatch("([%w-]+)=%S*") do
    names[name] = true
  end
  return names
end

local function any() -- of the same kind, which is checked before
  return true
end

-- A line for each client; ours lacks no field that Redis has, and has none of its own.
local function client_lines(a, b)
  local x, y = field_names(resp.decode(a)), field_names(resp.decode(b))
  for name in pairs(x) do
    if not y[name] then
      return false
    end
  end
  for name in pairs(y) do
    if not x[name] then
      return false
    end
  end
  return true
end

local function info_sections(text)
  local list = {}
  for title in text:gmatch("# (%w+)\r\n") do
    list[#list + 1] = title
  end
  return list
end

-- Lists of members, or of members with what belongs to each, in whichever order.
local function same_groups(width)
  return function(a, b)
    local x, y = resp.decode(a), resp.decode(b)
    return x.kind == y.kind and M.same_set(groups(x, width), groups(y, width))
  end
end

-- Where Redis keeps a collection in one piece, it gives it in one reply, as we do if it is small; else where a page
-- ends is its own affair.
local function same_page(width)
  return function(a, b)
    local x, y = resp.decode(a), resp.decode(b)
    return #x == 2 and #y == 2 and type(y[1]) == "string"
      and (x[1] ~= "0" or y[1] ~= "0" or M.same_set(groups(x[2], width), groups(y[2], width)))
  end
end

-- A page of members and scores. How Redis writes a large integer here depends on how it keeps the set: 1e+18, or with
-- all its digits.
local function same_scores(a, b)
  local x, y = resp.decode(a), resp.decode(b)
  for _, reply in ipairs { x, y } do
    for i = 2, #(reply[2] or ""), 2 do
      reply[2][i] = tonumber(reply[2][i]) and ("%.17g"):format(tonumber(reply[2][i])) or reply[2][i]
    end
  end
  return same_page(2)(resp.encode(x), resp.encode(y))
end

local function flatten(value, list)
  if type(value) ~= "table" then
    list[#list + 1] = resp.encode(value)
    return list
  end
  for _, element in ipairs(value) do
    flatten(element, list)
  end
  return list
end

-- Of members chosen at random only the shape and the number, unless all are wanted.
local function chosen(a, b, _, command)
  local x, y = resp.decode(a), resp.decode(b)
  if type(x) ~= "table" or type(y) ~= "table" then
    return true
  end
  local all = (tonumber(command[3]) or 0) >= 1000
  return x.kind == y.kind and #x == #y and type(x[1]) == type(y[1])
    and (not all or M.same_set(flatten(x, {}), flatten(y, {})))
end

local SIMILAR = {
  int = "string", embstr = "string", raw = "string", intset = "set", hashtable = "table", listpack = "table",
  skiplist = "table",
}

local function sorting(a, b, _, command)
  local words = table.concat(command, " "):upper()
  local open = words:find("ALPHA.* BY ") or words:find("BY .*ALPHA") or a:find("\0") or words:find("BY [^*]*$")
    or words:find("BY [^* ]* ") or words:find("BY [^ ]*\0") or words:find("GET ") and words:find("ALPHA")
  local x, y = resp.decode(a), resp.decode(b)
  return open ~= nil and #x == #y and (words:find("LIMIT") ~= nil or M.same_set(flatten(x, {}), flatten(y, {})))
end

-- Entries of the slow log: all but the number (fast ones count in Redis), when it was, how long it took, and the
-- client's port. We show the names of short commands in lower case.
local function slow_commands(a, b)
  local function plain(bytes)
    local list = resp.decode(bytes)
    for _, one in ipairs(list) do
      one[1], one[2], one[3], one[4][1], one[5] = 0, 0, 0, one[4][1]:upper(), one[5]:gsub(":%d+$", "")
    end
    return resp.encode(list)
  end
  return plain(a) == plain(b)
end

-- How often each command was called, and that there is a histogram.
local function calls(a, b)
  local function plain(bytes)
    local list = resp.decode(bytes)
    for i = 2, #list, 2 do
      list[i] = { list[i][1], list[i][2], list[i][3], #list[i][4] > 0 and "some" or "none" }
    end
    return resp.encode(list)
  end
  return plain(a) == plain(b)
end

local rules = {
  -- They run with the clock.
  TTL = near(TOLERANCE),
  PTTL = near(TOLERANCE * 1000),
  EXPIRETIME = near_unless_absolute(1),
  LASTSAVE = near(TOLERANCE),
  PEXPIRETIME = near_unless_absolute(1000),
  TIME = function(a, b)
    local x, y = resp.decode(a), resp.decode(b)
    return #x == 2 and #y == 2 and math.abs(x[1] - y[1]) <= TOLERANCE and tonumber(y[2]) < 1000000
  end,

  -- Redis answers in the order of its hash table.
  KEYS = function(a, b)
    return M.same_set(resp.decode(a), resp.decode(b))
  end,
  SCAN = function(a, b)
    local x, y = resp.decode(a), resp.decode(b)
    return x[1] == y[1] and #x == 2 and #y == 2 and M.same_set(x[2], y[2])
  end,
  HSCAN = same_page(2),
  SSCAN = same_page(1),
  ZSCAN = same_scores,
  HGETALL = same_groups(2),
  HKEYS = same_groups(1),
  HVALS = same_groups(1),
  SMEMBERS = same_groups(1),
  HRANDFIELD = chosen,
  SRANDMEMBER = chosen,
  ZRANDMEMBER = chosen,
  SPOP = chosen,
  SINTER = same_groups(1),
  SUNION = same_groups(1),
  SDIFF = same_groups(1),
  -- The order of what is equal is open: with ALPHA and BY, and of what strcoll holds for equal, as it ends at a NUL,
  -- which GET may hide; and so is that of a set that is not sorted.
  SORT = sorting,
  SORT_RO = sorting,

  -- What encodings were in the past shows in Redis; the other two are of its memory.
  ["OBJECT ENCODING"] = function(a, b)
    local x, y = resp.decode(a), resp.decode(b)
    return SIMILAR[x] ~= nil and SIMILAR[x] == SIMILAR[y]
  end,
  ["OBJECT REFCOUNT"] = any,
  ["OBJECT IDLETIME"] = any,
  DUMP = any,

  ["CONFIG GET"] = function(a, b)
    local x, y = resp.decode(a), resp.decode(b)
    return x.kind == y.kind and M.same_set(groups(x, 2), groups(y, 2))
  end,

  -- Redis answers in the order of its hash table here, too.
  ["COMMAND LIST"] = same_groups(1),

  -- A line of MONITOR: it tells the time and the client, and we show the names of short commands in lower case.
  ["(MESSAGE)"] = function(a, b)
    local x, y = resp.decode(a).ok, resp.decode(b).ok
    local form = "^%d+%.%d%d%d%d%d%d (%[0 127%.0%.0%.1):%d+%] (\"[^\"]*\")(.*)$"
    local from, name, rest = x:match(form)
    local from2, name2, rest2 = y:match(form)
    return from ~= nil and from == from2 and name:upper() == name2:upper() and rest == rest2
  end,

  ["SLOWLOG GET"] = slow_commands,
  ["LATENCY HISTOGRAM"] = calls,

  -- Any key will do, as long as there is one: the command before it was KEYS *.
  RANDOMKEY = function(a, b, before)
    local x, y = resp.decode(a), resp.decode(b)
    return before ~= nil and contains(resp.decode(before[1]), x) and contains(resp.decode(before[2]), y)
  end,

  -- The connection's number is the server's own.
  HELLO = function(a, b)
    local x, y = resp.decode(a), resp.decode(b)
    for _, map in ipairs { x, y } do
      for i = 1, #map, 2 do
        if map[i] == "id" then
          map[i + 1] = math.type(map[i + 1])
        end
      end
    end
    return resp.encode(x) == resp.encode(y)
  end,
  ["CLIENT ID"] = any,

  -- What they tell is the server's own; other specs look at it.
  ["CLIENT INFO"] = client_lines,
  ["CLIENT LIST"] = client_lines,
  INFO = function(a, b, _, command)
    return #command == 1 or same_list(info_sections(resp.decode(a)), info_sections(resp.decode(b)))
  end,
}

local function rule_for(command)
  local name = command[1]:upper()
  return rules[name] or command[2] and rules[name .. " " .. command[2]:upper()]
end

-- A stored score of -0 is 0 for us. For Redis that depends on how it keeps the set.
local function one_zero(bytes)
  return (bytes:gsub("%$2\r\n%-0\r\n", "$1\r\n0\r\n"):gsub(",%-0\r\n", ",0\r\n"))
end

-- Redis's SORT takes an `errno` that an earlier number has left, one out of range, for its own.
local function is_stale_error(command, a)
  return command[1]:upper():find("^SORT") and a:find("^%-ERR One or more scores can't be converted")
end

---@param command string[]
---@param a string    one server's reply
---@param b string    the other's
---@param before? { [1]: string, [2]: string }  the replies to the command before
---@return boolean
function M.agree(command, a, b, before)
  if command[1]:find("^[Bb]?[Zz]") or command[1]:upper() == "EXEC" then
    a, b = one_zero(a), one_zero(b)
  end
  if a == b or is_stale_error(command, a) then
    return true
  end
  -- Of a bulk, string or array only the kind must agree here, of null everything.
  if a:sub(1, 1) ~= b:sub(1, 1) or a:sub(1, 1) == "-" or a:find("^[$*]%-1") or b:find("^[$*]%-1") then
    return false
  end
  local rule = rule_for(command)
  return rule ~= nil and rule(a, b, before, command)
end

return M
