-- Shows results in the Test Anything Protocol, version 13, for other programs: a line a test, in the files' order.
-- What the specs themselves wrote goes to the standard error.

local terminal = require "lunode.test.terminal"

local M = {}

---@class lunode.test.tap
local methods = {}
local metatable = { __index = methods }

---@return lunode.test.tap
function M.new()
  return setmetatable({ runner = nil, ended = {}, next = 1, count = 0 }, metatable)
end

function methods:begin(runner)
  self.runner = runner
  io.write "TAP version 13\n"
  if runner.options.shuffle then
    io.write(("# shuffled; --shuffle=%d repeats this order\n"):format(runner.options.shuffle))
  end
end

-- A `#` would begin a directive.
local function description(file, name)
  local text = name == file and file or file .. ": " .. name
  return (terminal.printable(text):gsub("[\n\t]", " "):gsub("#", "\\#"))
end

function methods:line(file, test)
  self.count = self.count + 1
  local name = description(file, test.name)
  if test.status == "skipped" then
    local why = terminal.printable(test.message or ""):gsub("\n", " ")
    io.write(("ok %d - %s # SKIP %s\n"):format(self.count, name, why))
  elseif test.status == "passed" then
    io.write(("ok %d - %s\n"):format(self.count, name))
  else
    io.write(("not ok %d - %s\n"):format(self.count, name))
    for line in (terminal.printable(test.message or "?") .. "\n"):gmatch "(.-)\n" do
      io.write("# ", line, "\n")
    end
  end
end

function methods:show_file(result)
  for _, test in ipairs(result.tests) do
    self:line(result.file, test)
  end
  for _, trouble in ipairs(result.troubles) do
    self:line(result.file, trouble)
  end
  io.stdout:flush()
end

function methods:file_ended(result)
  self.ended[result.file] = result
  local files = self.runner.files
  while self.next <= #files and self.ended[files[self.next]] do
    self:show_file(self.ended[files[self.next]])
    self.next = self.next + 1
  end
end

function methods:failure() end

function methods:skipped() end

function methods:progress() end

function methods:output(_, text)
  io.stderr:write(text)
end

function methods:finish(total)
  for i = self.next, #self.runner.files do
    local result = self.ended[self.runner.files[i]]
    if result then
      self:show_file(result)
    end
  end
  io.write(("1..%d\n"):format(self.count))
  io.write(("# %d passed, %d failed, %d skipped\n"):format(total.passed, total.failed, total.skipped))
  io.stdout:flush()
end

return M
