-- What surrounds every spec: cleanup, and faults that would pass unseen. Loaded by spec/run.lua as busted's helper.
--
-- * What a test opened is undone when it ends (spec.support.cleanup).
-- * An error that a callback raised fails the test, unless the test took `loop.on_error` for itself.
-- * A file must leave the loop idle: a connection, timer or server that nobody closed fails it.

local busted = require "busted"
local loop = require "lunode.loop"
local cleanup = require "spec.support.cleanup"

local errors = {}

local function collect(traceback)
  errors[#errors + 1] = traceback
end

local function check_errors()
  local text = table.concat(errors, "\n")
  errors = {}
  if text ~= "" then
    error("an error in a callback:\n" .. text, 0)
  end
end

busted.before_each(function()
  loop.on_error(collect)
  cleanup.begin_test()
end)

busted.after_each(function()
  local ok, err = pcall(cleanup.end_test)
  loop.on_error(collect)
  if not ok then
    errors[#errors + 1] = err
  end
  check_errors()
end)

-- The loop needs some turns to finish what was closed.
local function idle()
  local deadline = loop.time() + 2
  while loop.step(0.01) do
    if loop.time() > deadline then
      return false
    end
  end
  return true
end

busted.subscribe({ "file", "end" }, function(file)
  local ok, err = pcall(cleanup.end_file)
  if ok and not idle() then
    ok, err = false, "the file leaves a connection, timer or server open"
  end
  if not ok then
    busted.publish({ "error", "file" }, file, nil, err, { short_src = file.name, currentline = 0 })
  end
  return nil, true
end, { priority = 1 }) -- before the report's: a fault found here belongs to the file's line
