-- Checks that misuse raises where it was made: at the caller's line, in words that help.
--
--   local misuse = require "spec.support.misuse"
--   misuse("seconds must not be negative", function() loop.timer(-1, print) end)   -- the call on the function's line
--
-- The call must not be a tail call (`return f()`): Lua forgets who made that.

---@param words string  what the message must contain
---@param fn fun()  on one line
return function(words, fn)
  local ok, message = pcall(fn)
  if ok then
    error("no error was raised; expected one that says: " .. words, 2)
  end
  local where = debug.getinfo(fn, "S")
  local position = ("%s:%d: "):format(where.short_src, where.linedefined)
  if tostring(message):sub(1, #position) ~= position then
    error(("the error is not at the caller's line, %s but: %s"):format(position, message), 2)
  end
  if not message:find(words, 1, true) then
    error(("the error does not say %q, but: %s"):format(words, message), 2)
  end
end
