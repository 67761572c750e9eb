-- Shows results to people: a line a file, failures in full as they happen, on a terminal one line of progress beneath.
--
-- A test that is `pending` is told, and counts neither as passed nor as failed.

local loop = require "lunode.loop"
local terminal = require "lunode.test.terminal"

local M = {}

local REDRAW = 0.1 -- seconds between two lines of progress
local SLOWEST = 5
local SLOW = 1 -- seconds

---@class lunode.test.report
local methods = {}
local metatable = { __index = methods }

---@return lunode.test.report
function M.new()
  return setmetatable({
    screen = terminal.new(io.stdout),
    runner = nil,
    total = { passed = 0, failed = 0, skipped = 0 },
    ended = {}, -- results by file, until they are shown
    next = 1, -- the file whose line is shown next: the lines keep the files' order
    drawn = 0, -- when progress was
  }, metatable)
end

function methods:begin(runner)
  self.runner = runner
  if runner.options.shuffle then
    self.screen:print(("shuffled; --shuffle=%d repeats this order"):format(runner.options.shuffle))
  end
end

-- ---------------------------------------------------------------- failures

local function indented(text)
  return (terminal.printable(text):gsub("\n", "\n    "))
end

---@param file string
---@param result lunode.test.result
function methods:failure(file, result)
  local name = result.name == file and file or ("%s: %s"):format(file, result.name)
  self.screen:print(self.screen:red "FAILED " .. terminal.printable(name))
  self.screen:print("    " .. indented(result.message or "?"))
end

function methods:skipped(file, result)
  local why = result.message and ": " .. result.message or ""
  self.screen:print(("skipped %s: %s%s"):format(file, terminal.printable(result.name), indented(why)))
end

---What the specs themselves wrote.
function methods:output(_, text)
  self.screen:print((text:gsub("\n$", "")))
end

-- ---------------------------------------------------------------- files

function methods:show_file(result)
  local verdict = result.failed == 0 and "ok" or self.screen:red(("FAILED %d"):format(result.failed))
  self.screen:print(("%-52s %4d passed  %6.1f s  %s"):format(result.file, result.passed, result.seconds, verdict))
end

function methods:file_ended(result)
  for field in pairs(self.total) do
    self.total[field] = self.total[field] + result[field]
  end
  self.ended[result.file] = result
  local files = self.runner.files
  while self.next <= #files and self.ended[files[self.next]] do
    self:show_file(self.ended[files[self.next]])
    self.next = self.next + 1
  end
end

-- ---------------------------------------------------------------- progress

-- What the files that are left will take, as long as they did the last time, on a machine as fast as it is today.
local function seconds_left(runner)
  local expected, took, left, longest = 0, 0, 0, 0
  local under_way = {}
  for _, run in ipairs(runner.running) do
    under_way[run.file] = loop.now() - run.begun
  end
  for _, file in ipairs(runner.files) do
    local result = runner.results[file]
    if result then
      expected, took = expected + runner.expected[file], took + result.seconds
    else
      local rest = math.max(0.1, runner.expected[file] - (under_way[file] or 0))
      left, longest = left + rest, math.max(longest, rest)
    end
  end
  local speed = expected > 1 and took / expected or 1
  return math.max(left / runner.options.jobs, longest) * speed
end

local function clock(seconds)
  return ("%d:%02d"):format(seconds // 60, math.floor(seconds % 60))
end

function methods:progress(runner)
  if not self.screen.is_terminal or loop.now() < self.drawn + REDRAW then
    return
  end
  self.drawn = loop.now()
  local done = 0
  for _ in pairs(runner.results) do
    done = done + 1
  end
  local passed, failed = self.total.passed, self.total.failed
  local doing = {}
  for i, run in ipairs(runner.running) do
    passed, failed = passed + run.result.passed, failed + run.result.failed
    doing[i] = run.file .. (run.note and " (" .. run.note .. ")" or "")
  end
  self.screen:status(("[%d/%d files] %d passed, %d failed, %s left · %s"):format(
    done,
    #runner.files,
    passed,
    failed,
    clock(seconds_left(runner)),
    table.concat(doing, " · ")
  ))
end

-- ---------------------------------------------------------------- the end

local function slowest(total)
  local tests = {}
  for _, result in ipairs(total.files) do
    for _, test in ipairs(result.tests) do
      if test.seconds >= SLOW then
        tests[#tests + 1] = { seconds = test.seconds, name = ("%s: %s"):format(result.file, test.name) }
      end
    end
  end
  table.sort(tests, function(a, b)
    if a.seconds ~= b.seconds then
      return a.seconds > b.seconds
    end
    return a.name < b.name
  end)
  return tests
end

function methods:finish(total)
  for i = self.next, #self.runner.files do -- those after one that was not run to its end
    local result = self.ended[self.runner.files[i]]
    if result then
      self:show_file(result)
    end
  end
  local tests = slowest(total)
  if #tests > 0 then
    self.screen:print "slowest:"
  end
  for i = 1, math.min(SLOWEST, #tests) do
    self.screen:print(("  %6.1f s  %s"):format(tests[i].seconds, terminal.printable(tests[i].name)))
  end
  local skipped = total.skipped > 0 and (", %d skipped"):format(total.skipped) or ""
  self.screen:print(("%d passed, %d failed%s"):format(total.passed, total.failed, skipped))
  self.screen:close()
end

return M
