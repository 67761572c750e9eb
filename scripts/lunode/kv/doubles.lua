-- Doubles as Redis reads and writes them: scores, weights, timeouts, the ends of ranges. The long doubles of
-- INCRBYFLOAT are in longdouble.lua.
local errors = require "lunode.kv.errors"

local M = {}

local WORDS = { inf = math.huge, infinity = math.huge }

-- What strtod reads from a text without a sign: nil where that is not all of it, and where it is no number. Lua's own
-- tonumber reads decimal and hexadecimal floats by strtod; but hexadecimal integers wrap, and get an exponent here.
local function unsigned(text)
  local lower = text:lower()
  if WORDS[lower] then
    return WORDS[lower]
  elseif lower:find("^0x%x*%.?%x*$") then
    return tonumber(lower .. "p0")
  elseif lower:find("^0x") then
    return lower:find("^0x%x*%.?%x*p[+-]?%d+$") and tonumber(lower)
  elseif lower:find("^%d*%.?%d*$") or lower:find("^%d*%.?%d*e[+-]?%d+$") then
    return tonumber(lower)
  end
  return nil
end

local function read(text)
  local sign, rest = text:match("^([+-]?)(.*)$")
  local value = rest and unsigned(rest)
  if not value then
    return nil
  end
  value = value + 0.0
  return sign == "-" and -value or value, rest
end

-- A number other than 0 that is too small for a double.
local function underflows(value, text)
  local mantissa = text:lower():gsub("^0x", ""):match(text:lower():find("^0x") and "^[^p]*" or "^[^e]*")
  return value == 0 and mantissa:find("[1-9a-f]") ~= nil
end

---The double that `text` spells, all of it; nil also where it is past a double's range, either way, or not a number.
---@param text string
---@return number?
function M.parse(text)
  if math.type(tonumber(text)) == "integer" and text:find("^-?[1-9]%d*$") then
    return tonumber(text) + 0.0
  end
  local value, rest = read(text)
  if not value then
    return nil
  elseif math.abs(value) == math.huge and not WORDS[rest:lower()] or underflows(value, rest) then
    return nil
  end
  return value
end

---As `parse`, but raises "ERR value is not a valid float", or what is given.
---@param text string
---@param refusal? any
---@return number
function M.double(text, refusal)
  return M.parse(text) or error(refusal or errors.NOT_FLOAT, 0)
end

---As C's strtod, which knows no length and no range: spaces may precede, a NUL ends it, nothing is 0.
---@param text string
---@return number?
function M.lenient(text)
  text = text:match("^%s*([^\0]*)")
  if text == "" then
    return 0.0
  end
  return (read(text))
end

---As ZSCAN writes a score: an integer as such, up to a half of the 64-bit range.
---@param value number
---@return string
function M.format(value)
  local n = math.tointeger(value)
  if n and math.abs(n) <= math.maxinteger // 2 then
    return ("%d"):format(n)
  end
  return ("%.17g"):format(value)
end

return M
