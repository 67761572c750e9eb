-- What surrounds every test: cleanup, and faults that would pass unseen. The harness calls it; specs do not.
--
-- * What a test opened is undone when it ends (lunode.test.cleanup).
-- * An error that a callback raised fails the test, unless the test took `loop.on_error` for itself.
-- * A test must leave nothing active that it made: no timer, connection, server, hook or signal; a file nothing at all.

local cleanup = require "lunode.test.cleanup"
local handles = require "lunode.test.handles"
local loop = require "lunode.loop"

local M = {}

local errors = {}

local function collect(traceback)
  errors[#errors + 1] = "an error in a callback:\n" .. traceback
end

local function add(ok, err)
  if not ok then
    errors[#errors + 1] = tostring(err)
  end
end

local function add_left(who)
  local left = handles.left()
  if left then
    local remedy = "close it, or give lunode.test.cleanup.add a function that does"
    errors[#errors + 1] = ("%s left this active (%s):\n%s"):format(who, remedy, left)
  end
end

local function raise()
  if #errors > 0 then
    local text = table.concat(errors, "\n")
    errors = {}
    error(text, 0)
  end
end

function M.begin_file()
  loop.on_error(collect)
end

function M.begin_test()
  loop.on_error(collect)
  handles.remember()
  cleanup.begin_test()
end

---Raises what was found.
function M.end_test()
  add(pcall(cleanup.end_test))
  add_left "the test"
  loop.on_error(collect)
  raise()
end

---Raises what was found.
---@param kept userdata[]  handles that are the runner's own
function M.end_file(kept)
  add(pcall(cleanup.end_file))
  handles.forget_all_but(kept)
  add_left "the file"
  raise()
end

return M
