-- Tells what looks as if it had a password in it: for what is kept of it, in files and logs. A guess, on the safe side.

local M = {}

local PATTERNS = { "%f[%w_]auth%f[^%w_]", "requirepass", "masterauth", "passw", "passphrase", "secret", "token" }

---@param text string
---@return boolean
function M.is_likely(text)
  text = text:lower()
  for _, pattern in ipairs(PATTERNS) do
    if text:find(pattern) then
      return true
    end
  end
  return false
end

return M
