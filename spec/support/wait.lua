-- Waits for a condition by turning the loop, with a deadline; never sleeps blindly.
--
--   local wait = require "spec.support.wait"
--   wait.till(function() return #seen == 3 end, 5, "three messages")   -- (`until` is a word of Lua's own)
--   local reply = wait.till(function() return replies[1] end)          -- what the predicate gave
--   wait.turns(3)                                                       -- let the loop turn three times
--
-- The error of a wait that fails names what was awaited.

local loop = require "lunode.loop"

local M = {}

-- Conditions outside of the loop (a process, a file) are looked at this often.
local TICK = 0.005

---Turns the loop until `predicate()` is truthy, and returns what it gave.
---@param predicate fun(): any
---@param seconds? number deadline (default 10: generous, as a busy machine under ASan is slow)
---@param what? string  what is awaited, for the error
---@return any
function M.till(predicate, seconds, what)
  local value = predicate()
  if value then
    return value
  end
  seconds = seconds or 10
  local deadline = loop.time() + seconds
  local tick <close> = loop.timer(TICK, function() end, TICK)
  repeat
    loop.step(TICK)
    value = predicate()
    if value then
      return value
    end
  until loop.time() > deadline
  error(("waited %g s in vain for %s"):format(seconds, what or "the condition"), 2)
end

---Turns the loop `n` times without sleeping (default 1).
---@param n? integer
function M.turns(n)
  for _ = 1, n or 1 do
    loop.step(0)
  end
end

return M
