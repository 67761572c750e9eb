-- When a key is to expire, from what a command says: relative or absolute, seconds or milliseconds.
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local M = {}

---@type table<string, {scale: integer, relative: boolean}>
M.UNITS = {
  EX = { scale = 1000, relative = true },
  PX = { scale = 1, relative = true },
  EXAT = { scale = 1000, relative = false },
  PXAT = { scale = 1, relative = false },
}

local invalid = {} -- command name → its error
for _, name in ipairs { "set", "setex", "psetex", "getex", "expire", "pexpire", "expireat", "pexpireat" } do
  invalid[name] = resp.error(("ERR invalid expire time in '%s' command"):format(name))
end

---Milliseconds since the epoch, possibly in the past. Raises where it does not fit into 64 bits.
---@param command string  for the error's text
---@param unit "EX"|"PX"|"EXAT"|"PXAT"
---@param n integer
---@param now integer
---@return integer
function M.at(command, unit, n, now)
  local scale, relative = M.UNITS[unit].scale, M.UNITS[unit].relative
  if n > math.maxinteger // scale or n < -(math.maxinteger // scale) - (scale == 1 and 1 or 0) then
    error(invalid[command], 0)
  end
  local at = numbers.add(n * scale, relative and now or 0)
  return at or error(invalid[command], 0)
end

---As `at`, from an argument that must be above zero: SET and its kin.
---@param command string
---@param unit "EX"|"PX"|"EXAT"|"PXAT"
---@param text string
---@param now integer
---@return integer
function M.parse(command, unit, text, now)
  local n = numbers.integer(text)
  if n <= 0 then
    error(invalid[command], 0)
  end
  return M.at(command, unit, n, now)
end

return M
