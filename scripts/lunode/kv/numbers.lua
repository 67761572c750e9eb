-- Integers as Redis reads them from strings (string2ll): stricter than tonumber. Floats are in longdouble.lua.
local errors = require "lunode.kv.errors"
local resp = require "lunode.resp"

local parse = resp.integer

local M = {}

---The integer that `text` spells: no sign but "-", no spaces, no leading zeros, within 64 bits.
---@param text any  a string or a view
---@return integer? n  nil where it is anything else
M.parse = resp.integer

---As `parse`, but raises "ERR value is not an integer or out of range".
---@param text any  a string or a view
---@return integer
function M.integer(text)
  return parse(text) or error(errors.NOT_INTEGER, 0)
end

---As `integer`, of 32 bits.
---@param text any  a string or a view
---@return integer
function M.int32(text)
  local n = M.integer(text)
  return n >= -0x80000000 and n <= 0x7FFFFFFF and n or error(errors.NOT_INT32, 0)
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
