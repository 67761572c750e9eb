-- Integers as Redis reads them from strings (string2ll): stricter than tonumber. Floats are in longdouble.lua.
local errors = require "lunode.kv.errors"

local find, tonumber, math_type = string.find, tonumber, math.type

local M = {}

---The integer that `text` spells: no sign but "-", no spaces, no leading zeros, within 64 bits.
---@param text string
---@return integer? n  nil where it is anything else
function M.parse(text)
  if #text <= 20 and (find(text, "^-?[1-9]%d*$") or text == "0") then
    local n = tonumber(text) -- past 64 bits this is a float
    if math_type(n) == "integer" then
      return n
    end
  end
  return nil
end

---As `parse`, but raises "ERR value is not an integer or out of range".
---@param text string
---@return integer
function M.integer(text)
  return M.parse(text) or error(errors.NOT_INTEGER, 0)
end

---a + b, or nil where it does not fit into 64 bits.
---@param a integer
---@param b integer
---@return integer?
function M.add(a, b)
  local sum = a + b
  if (a ~ sum) & (b ~ sum) < 0 then -- both have the sign that the sum has not
    return nil
  end
  return sum
end

return M
