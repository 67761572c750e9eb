-- Runs a function in a callback of the loop's, which is no task, as the body of a test is. Raises what it raises.
--
--   in_callback(function() misuse("outside of a task", function() task.sleep(1) end) end)

local loop = require "lunode.loop"
local wait = require "lunode.test.wait"

---@param fn fun()
return function(fn)
  local results
  loop.defer(function()
    results = table.pack(pcall(fn))
  end)
  wait.till(function()
    return results
  end)
  if not results[1] then
    error(results[2], 0)
  end
end
