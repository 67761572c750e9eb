-- What SCAN, HSCAN, SSCAN and ZSCAN are given: a cursor and options, as Redis reads them.
local errors = require "lunode.kv.errors"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local M = {}

local BAD_CURSOR = resp.error("ERR invalid cursor")

---As strtoul reads it, the whole text: "" is 0, "-1" is the highest. A number past 64 bits is no cursor, and raises.
---@param text string
---@return integer
function M.parse(text)
  text = text:match("^[^\0]*") -- as strtoul sees it
  local sign, digits = text:match("^([+-]?)0*(%d*)$")
  if not sign or #text > 0 and not text:find("%d") then
    error(BAD_CURSOR, 0)
  elseif #digits > 20 or #digits == 20 and digits > "18446744073709551615" then
    error(BAD_CURSOR, 0)
  end
  local n = math.tointeger(tonumber(digits == "" and "0" or digits)) or math.maxinteger
  return sign == "-" and n ~= 0 and math.maxinteger or n
end

---What follows the cursor.
---@param args string[]
---@param first integer      where in args
---@param types? boolean     TYPE is one of the options
---@return integer count
---@return string? pattern   nil: any
---@return string? type_name
function M.options(args, first, types)
  local count, pattern, type_name = 10, nil, nil
  for i = first, #args, 2 do
    local option, value = args[i]:upper(), args[i + 1]
    if value == nil then
      error(errors.SYNTAX, 0)
    elseif option == "COUNT" then
      count = numbers.integer(value)
      if count < 1 then
        error(errors.SYNTAX, 0)
      end
    elseif option == "MATCH" then
      pattern = value ~= "*" and value or nil
    elseif option == "TYPE" and types then
      type_name = value:lower()
    else
      error(errors.SYNTAX, 0)
    end
  end
  return count, pattern, type_name
end

return M
