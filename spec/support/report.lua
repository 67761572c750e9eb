-- busted's output for us: one line a file, each failure in full as it happens. Counts, for `./dev test`.
-- A test that is `pending` is told, and counts neither as passed nor as failed.

local busted = require "busted"

local COUNT_FILE = os.getenv("LUNODE_SPEC_COUNT_FILE")

return function(options)
  local handler = require "busted.outputHandlers.base"()
  local passed, failed, pending = 0, 0, 0
  local file = { passed = 0, failed = 0 }
  local test = { name = "", status = nil } -- the last one

  local function add_failure()
    failed, file.failed = failed + 1, file.failed + 1
  end

  -- A fault found after a test has ended is that test's.
  local function fail_afterwards()
    if test.status == "success" then
      passed, file.passed = passed - 1, file.passed - 1
      add_failure()
    end
    test.status = "failure"
  end

  local function show(kind, element, message, trace)
    local after = element.descriptor == "after_each"
    local name = after and test.name .. " (after_each)" or handler.getFullName(element)
    local lines = { kind .. ": " .. name, tostring(message) }
    if trace and trace.traceback and (kind == "ERROR" and not after or options.verbose) then
      lines[#lines + 1] = (trace.traceback:gsub("^\n", ""))
    end
    io.write((table.concat(lines, "\n"):gsub("\n", "\n    ")), "\n")
    io.flush()
  end

  local function on_trouble(kind)
    return function(element, _, message, trace)
      show(kind, element, message, trace)
      if element.descriptor == "after_each" then
        fail_afterwards()
      elseif element.descriptor ~= "it" then
        add_failure() -- a test's own are counted at its end, once
      end
      return nil, true
    end
  end

  local function on_test_end(element, _, status)
    test.name, test.status = handler.getFullName(element), status
    if status == "success" then
      passed, file.passed = passed + 1, file.passed + 1
    elseif status == "pending" then
      pending = pending + 1
      io.write("pending: ", handler.getFullName(element), "\n")
    else
      add_failure()
    end
    return nil, true
  end

  local function on_file_start()
    file.passed, file.failed = 0, 0
    return nil, true
  end

  local function on_file_end(element)
    local verdict = file.failed == 0 and "ok" or ("FAILED %d"):format(file.failed)
    io.write(("%-52s %4d passed  %6.1f s  %s\n"):format(element.name, file.passed, element.duration or 0, verdict))
    io.flush()
    return nil, true
  end

  local function on_suite_end()
    io.write(("specs: %d passed, %d failed%s\n"):format(
      passed,
      failed,
      pending > 0 and (", %d pending"):format(pending) or ""
    ))
    io.flush()
    if COUNT_FILE then
      local out <close> = assert(io.open(COUNT_FILE, "w"))
      assert(out:write(passed, " ", failed, "\n"))
    end
    return nil, true
  end

  busted.subscribe({ "failure" }, on_trouble("FAILURE"))
  busted.subscribe({ "error" }, on_trouble("ERROR"))
  busted.subscribe({ "test", "end" }, on_test_end)
  busted.subscribe({ "file", "start" }, on_file_start)
  busted.subscribe({ "file", "end" }, on_file_end)
  busted.subscribe({ "suite", "end" }, on_suite_end)

  return handler
end
