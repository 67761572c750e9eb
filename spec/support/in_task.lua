-- Runs a function as a task like any other, and turns the loop until it has ended. Raises what it raises. For specs
-- about tasks: the body of a test is one that runs between turns of the loop only, so turns seem longer to it.
--
--   local in_task = require "spec.support.in_task"
--   in_task(function() task.sleep(0.01) end)      -- within 20 seconds; in_task(fn, 5): within 5
--
-- A function that has not ended in time is cancelled; the error says where it waits.

local task = require "lunode.task"
local wait = require "lunode.test.wait"

-- Assertions of luassert's are tables, and busted wants them as they are.
local function keep(err)
  return type(err) == "string" and debug.traceback(err, 2) or err
end

---@param fn fun(): ...
---@param seconds? number
---@return any ...
return function(fn, seconds)
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
