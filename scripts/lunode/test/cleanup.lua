-- Undoes at the end of a spec what it opened: processes, directories, connections. Does not know what they are.
--
--   local cleanup = require "lunode.test.cleanup"
--   cleanup.add(function() conn:abort() end)
--
-- What is added inside of `it` or `before_each` runs when that test ends; what is added in `setup`, or while
-- the file loads, when the file ends. Last added, first undone. An error in one does not keep the others from
-- running, and fails the spec. The runner calls `begin_test`, `end_test` and `end_file`.

local M = {}

local file_jobs, test_jobs = {}, {}
local in_test = false

---Calls `fn()` when the test ends; what is added in `setup`, or while the file loads, when the file ends. Last added,
---first called.
---@param fn fun()
function M.add(fn)
  local jobs = in_test and test_jobs or file_jobs
  jobs[#jobs + 1] = fn
end

-- A job may add others: they run, too.
local function run(jobs)
  local errors = {}
  while #jobs > 0 do
    local ok, err = pcall(table.remove(jobs))
    if not ok then
      errors[#errors + 1] = tostring(err)
    end
  end
  if #errors > 0 then
    error(table.concat(errors, "\n"), 0)
  end
end

function M.begin_test()
  in_test = true
end

---Raises what the jobs raised, all of it.
function M.end_test()
  in_test = false
  run(test_jobs)
end

---Raises what the jobs raised, all of it.
function M.end_file()
  in_test = false
  run(file_jobs)
end

return M
