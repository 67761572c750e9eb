-- The prompt: reads code, has it evaluated, and shows what comes of it, while the loop goes on. Where the code is
-- evaluated is the backend's: here (lunode.repl.session), or in another process (lunode.repl.remote).
--
-- On a terminal lines are edited; otherwise they are read as they come, and nothing but results is printed.

local edit = require "lunode.edit"
local histories = require "lunode.repl.history"
local inspect = require "lunode.repl.inspect"
local loop = require "lunode.loop"
local session = require "lunode.repl.session"
local task = require "lunode.task"

local M = {}

---@class lunode.repl.backend
---@field eval fun(self, code: string, format: lunode.repl.format): lunode.repl.outcome  in a task
---@field complete fun(self, before: string): lunode.repl.completion  in a task

---@class lunode.repl.prompt
---@field private backend lunode.repl.backend
---@field private screen lunode.repl.screen?   nil: no terminal
---@field private watcher lunode.watcher
---@field private settled lunode.task.event?   of the line that is being read
---@field private kept string                  without a terminal: input that is not a line yet
---@field private is_long boolean              and that is the rest of one which is too long
---@field private evaluation lunode.task?      that Ctrl-C interrupts
---@field failed boolean                       the last evaluation without a terminal failed
local methods = {}
local metatable = { __index = methods, __name = "lunode.repl.prompt" }

local MAX_LINE = 1 << 20 -- bytes, without a terminal

-- Of one piece of code: it is looked at anew with each line.
local MAX_LINES, MAX_UNFINISHED = 1000, 64 * 1024
local TOO_MUCH = ("no end after %d lines, or %d bytes; put longer code into a file, for dofile or -f"):format(
  MAX_LINES, MAX_UNFINISHED)

local COMPLETION_SECONDS = 2

-- ---------------------------------------------------------------- reading lines

local function settle(self, kind, text)
  local settled = self.settled
  if settled then
    self.settled = nil
    self.watcher:pause()
    settled:resolve(kind, text)
  end
end

local function columns_of(names)
  local width, columns = 0, edit.size()
  for i, name in ipairs(names) do
    names[i] = inspect.escape(name)
    width = math.max(width, #names[i] + 2)
  end
  local per_row = math.max(1, columns // width)
  local rows = (#names + per_row - 1) // per_row
  local lines = {}
  for row = 1, rows do
    local words = {}
    for i = row, #names, rows do
      words[#words + 1] = names[i] .. (" "):rep(width - #names[i])
    end
    lines[row] = table.concat(words):gsub("%s+$", "") .. "\n"
  end
  return table.concat(lines)
end

local on_event

local function complete(self, text, cursor)
  local before = text:sub(1, cursor)
  if not before:find "%S" then
    return on_event(self, self.screen.editor:answer "  ") -- indentation, of what is pasted
  end
  local whole = self.unfinished == "" and before or self.unfinished .. "\n" .. before
  task.spawn(function()
    local ok, found = pcall(task.with_timeout, COMPLETION_SECONDS, self.backend.complete, self.backend, whole)
    if not self.settled then
      return -- the line is gone meanwhile
    end
    found = ok and found or { insert = "", names = {} }
    if found.insert == "" and #found.names > 1 then
      self.screen:write(columns_of(found.names))
      self.screen:show()
    end
    local none = found.insert == "" and #found.names == 0
    on_event(self, self.screen.editor:answer(not none and inspect.escape(found.insert) or nil))
  end)
end

function on_event(self, event, text, cursor)
  if event == "complete" then
    complete(self, text, cursor)
  elseif event ~= "waits" then
    self.screen:set_editing(false)
    settle(self, event, text)
  end
end

local function take_line(self)
  local stop = self.kept:find("\n", 1, true)
  if stop then
    local line = self.kept:sub(1, stop - 1)
    self.kept = self.kept:sub(stop + 1)
    local is_long = self.is_long
    self.is_long = false
    settle(self, is_long and "long" or "line", line)
  elseif #self.kept > MAX_LINE then
    self.kept, self.is_long = "", true -- it goes as it comes, up to its end
  end
end

local function on_input(self, bytes)
  if self.screen then
    if not bytes then
      self.screen:set_editing(false)
      return settle(self, "end")
    end
    self.screen:show()
    on_event(self, self.screen.editor:feed(bytes))
  elseif bytes then
    self.kept = self.kept .. bytes
    take_line(self)
  else
    self.ended = true
    local last = self.kept
    self.kept = ""
    settle(self, last ~= "" and "line" or "end", last)
  end
end

-- "line", text; "end"; "cancelled"; "long": a line that nobody can have meant.
local function read_line(self, prompt)
  local settled = task.event()
  self.settled = settled
  if self.screen then
    self.screen:set_editing(true)
    on_event(self, self.screen.editor:begin(prompt))
  elseif self.ended then
    settle(self, "end")
  else
    take_line(self)
  end
  if self.settled then
    self.watcher:resume() -- now: what was typed ahead became readable with the terminal's mode, and nothing tells so
  end
  return settled:wait()
end

-- ---------------------------------------------------------------- evaluating

local function paint(self, color, text)
  return self.color and ("\27[%sm%s\27[0m"):format(color, text) or text
end

local function show(self, outcome)
  local text = outcome.text
  if outcome.status ~= "ok" and self.json then
    local json = require "lunode.repl.json"
    io.stderr:write(json.encode { status = outcome.status, error = text }, "\n")
  elseif outcome.status ~= "ok" then
    local first, rest = text:match "^([^\n]*)(.*)$"
    io.stderr:write(paint(self, "31", first), rest, "\n")
  elseif text ~= "" then
    print(text)
  end
end

---Evaluates, and shows the outcome.
---@param code string
---@return lunode.repl.outcome
function methods:eval(code)
  local format = { json = self.json, color = self.color, width = (edit.size()) }
  local worker = task.spawn(self.backend.eval, self.backend, code, format)
  self.evaluation = worker
  local outcome, err = worker:join()
  self.evaluation = nil
  outcome = outcome or { status = "interrupted", text = err and "interrupted" or "" }
  show(self, outcome)
  return outcome
end

-- Reads lines until they are a whole, or are given up. nil: the end.
local function read_code(self)
  local lines = 0
  self.unfinished = ""
  while true do
    local prompt = self.unfinished == "" and self.name .. "> " or (" "):rep(utf8.len(self.name) or 0) .. ">> "
    local kind, line = read_line(self, self.color and ("\1\27[1m\1%s\1\27[0m\1"):format(prompt) or prompt)
    if kind == "end" then
      return self.unfinished ~= "" and not self.screen and self.unfinished or nil
    elseif kind == "long" then
      show(self, { status = "error", text = ("a line is longer than %d bytes; it is left out"):format(MAX_LINE) })
      self.failed = true
    elseif kind == "cancelled" then
      self.unfinished = ""
    elseif kind == "line" then
      local code = self.unfinished == "" and line or self.unfinished .. "\n" .. line
      lines = self.unfinished == "" and 1 or lines + 1
      if not session.is_incomplete(code) then
        return code
      end
      self.unfinished = code
      if lines > MAX_LINES or #code > MAX_UNFINISHED then
        show(self, { status = "error", text = TOO_MUCH })
        self.unfinished, self.failed = "", true
      end
    end
  end
end

local function remember(self, code)
  if histories.is_kept(code) and self.screen then
    self.screen.editor:remember(code)
  end
  self.history:add(code)
end

---Reads and evaluates until the end of the input. In a task.
function methods:run()
  while true do
    local code = read_code(self)
    if not code then
      return
    end
    if self.screen then
      remember(self, code)
    end
    if code:find "%S" then
      local outcome = self:eval(code)
      self.failed = self.failed or outcome.status ~= "ok"
    end
    if self.left then
      return
    end
  end
end

---Ends the prompt, as the end of its input does.
function methods:leave()
  self.left = true
  if self.settled then
    if self.screen then
      self.screen:show()
      self.screen.editor:cancel()
      self.screen:set_editing(false)
    end
    settle(self, "end")
  end
end

---Ends what is under way: Ctrl-C.
function methods:interrupt()
  if self.evaluation then
    self.evaluation:cancel "interrupted"
  elseif self.settled and self.screen then
    self.screen:show()
    on_event(self, self.screen.editor:cancel())
  end
end

-- ---------------------------------------------------------------- opening

local function open_screen(self, getenv)
  local screen = require("lunode.repl.screen").open()
  if not screen then
    return
  end
  self.screen = screen
  local path, instead = histories.path(getenv)
  local entries
  self.history, entries = histories.open(path, function(text)
    io.stderr:write("lunode: ", inspect.escape(text), "\n")
  end, instead)
  for _, entry in ipairs(entries) do
    if not entry:find "%z" then
      screen.editor:remember(entry)
    end
  end
end

---@param backend lunode.repl.backend
---@param options { name: string, json: boolean?, interactive: boolean? }
---@return lunode.repl.prompt
function M.open(backend, options)
  local getenv = os.getenv
  local self = setmetatable({
    backend = backend,
    name = options.name,
    json = options.json or false,
    color = false,
    screen = nil,
    history = histories.open(nil, print),
    watcher = nil,
    settled = nil,
    evaluation = nil,
    unfinished = "",
    kept = "",
    is_long = false,
    ended = false,
    failed = false,
    left = false,
    signal = nil,
  }, metatable)
  if options.interactive ~= false then
    if edit.is_terminal(0) and edit.is_terminal(1) then
      open_screen(self, getenv)
    end
    self.watcher = assert(edit.watch(function(bytes)
      on_input(self, bytes)
    end))
    self.watcher:pause()
  end
  local plain = getenv "NO_COLOR" or ""
  self.color = self.screen ~= nil and plain == "" and getenv "TERM" ~= "dumb" and not self.json
  self.signal = loop.signal("INT", function()
    self:interrupt()
  end)
  return self
end

function methods:close()
  if self.watcher then
    self.watcher:close()
  end
  if self.screen then
    self.screen:close()
  end
  self.signal:close()
  self.history:close()
end

return M
