-- Runs a function as a task, and turns the loop until it has ended: `it` bodies are no tasks. Raises what it raises.
--
--   local in_task = require "spec.support.in_task"
--   it("sleeps", function()
--     in_task(function() task.sleep(0.01) end)      -- within 20 seconds; in_task(fn, 5): within 5
--   end)
--   in_task.it("sleeps", function() task.sleep(0.01) end)   -- the same
--
-- A function that has not ended in time is cancelled; the error says where it waits.

local busted = require "busted"
local task = require "lunode.task"
local wait = require "spec.support.wait"

local M = {}

-- Assertions of luassert's are tables, and busted wants them as they are.
local function keep(err)
  return type(err) == "string" and debug.traceback(err, 2) or err
end

local function run(_, fn, seconds)
  local results
  local handle = task.spawn(function()
    results = table.pack(xpcall(fn, keep))
  end)
  local in_time = pcall(wait.till, function()
    return results
  end, seconds or 20)
  if not in_time then
    local where = handle:traceback()
    handle:cancel()
    wait.turns(5)
    error("the task has not ended in time; it waits here:\n" .. tostring(where), 2)
  end
  if not results[1] then
    error(results[2], 0)
  end
  return table.unpack(results, 2, results.n)
end

---@param name string
---@param fn fun()
---@param seconds? number
function M.it(name, fn, seconds)
  busted.it(name, function()
    run(M, fn, seconds)
  end)
end

return setmetatable(M, { __call = run })
