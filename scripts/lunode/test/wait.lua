-- Waits for a condition, with a deadline; never sleeps blindly.
--
--   local wait = require "lunode.test.wait"
--   wait.till(function() return #seen == 3 end, 5, "three messages")   -- (`until` is a word of Lua's own)
--   local reply = wait.till(function() return replies[1] end)          -- what the predicate gave
--   wait.turns(3)                                                       -- let the loop turn three times
--   wait.settled(function() return sent end)                            -- what should not happen had its chance
--
-- The error of a wait that fails names what was awaited. They turn the loop, but in a task wait as tasks do: it cannot.

local loop = require "lunode.loop"
local task = require "lunode.task"

local M = {}

-- Conditions outside of the loop (a process, a file) are looked at this often.
local TICK = 0.005

-- The body of a test is a task that can.
local function in_task()
  local current = task.current()
  return current and not current.hosted
end

local function turn_in_task()
  task.sleep(TICK)
end

local function turn()
  loop.step(TICK)
end

---Waits until `predicate()` is truthy, and returns what it gave.
---@param predicate fun(): any
---@param seconds? number deadline (default 20: generous, as a busy machine under ASan is slow)
---@param what? string  what is awaited, for the error
---@return any
function M.till(predicate, seconds, what)
  local value = predicate()
  if value then
    return value
  end
  seconds = seconds or 20
  local deadline = loop.time() + seconds
  local tick <close> = loop.timer(TICK, function() end, TICK)
  local turn_once = in_task() and turn_in_task or turn
  repeat
    turn_once()
    value = predicate()
    if value then
      return value
    end
  until loop.time() > deadline
  error(("waited %g s in vain for %s"):format(seconds, what or "the condition"), 2)
end

---Lets the loop turn `n` times, without sleeping (default 1).
---@param n? integer
function M.turns(n)
  for _ = 1, n or 1 do
    if in_task() then
      task.yield()
    else
      loop.step(0)
    end
  end
end

---Lets the loop turn until a value has stayed the same for some turns: for what should stop, or not happen.
---@param value fun(): any
---@param turns? integer  (default 50)
---@param seconds? number  deadline (default 20)
---@return any  the value
function M.settled(value, turns, seconds)
  local deadline = loop.time() + (seconds or 20)
  local last, same = value(), 0
  while same < (turns or 50) do
    M.turns(1)
    local now = value()
    same = rawequal(now, last) and same + 1 or 0
    last = now
    if loop.time() > deadline then
      error(("the value has not settled within %g s; it is %s"):format(seconds or 20, tostring(now)), 2)
    end
  end
  return last
end

return M
