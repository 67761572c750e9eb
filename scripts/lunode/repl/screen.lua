-- The terminal, shared: a line that is being edited, and what is printed meanwhile, which goes above it. Does not
-- know what the lines mean.
--
-- While it is open, what scripts write to the standard output and error comes through here.

local edit = require "lunode.edit"
local loop = require "lunode.loop"

local M = {}

---@class lunode.repl.screen
---@field editor lunode.editor
---@field private editing boolean  a line is on the screen, or hidden
---@field private hidden boolean
---@field private at_start boolean  of a line: nothing is left standing before the prompt
local methods = {}
local metatable = { __index = methods, __name = "lunode.repl.screen" }

local come_back

-- Before something is written: the line makes room. It comes back when what runs now has ended.
local function make_room(self)
  if self.editing and not self.hidden then
    self.hidden = true
    self.editor:hide()
    loop.defer(function()
      come_back(self)
    end)
  end
end

local function noted(self, ...)
  for i = select("#", ...), 1, -1 do
    local text = tostring((select(i, ...)))
    if text ~= "" then
      self.at_start = text:sub(-1) == "\n"
      return
    end
  end
end

---@param text string
function methods:write(text)
  make_room(self)
  self.raw_write(io.stdout, text)
  noted(self, text)
end

function come_back(self)
  if self.hidden then
    if not self.at_start then
      self.raw_write(io.stdout, "\n")
      self.at_start = true
    end
    io.stdout:flush()
    self.hidden = false
    self.editor:show()
  end
end

---A line begins, or has ended.
---@param editing boolean
function methods:set_editing(editing)
  if editing and not self.at_start then
    self.raw_write(io.stdout, "\n")
  end
  io.stdout:flush()
  self.editing, self.hidden, self.at_start = editing, false, true
end

---What a key does to a line needs it on the screen.
function methods:show()
  come_back(self)
end

-- The methods of all files are in one table: there `write` looks for whom it writes.
local function install(self)
  local files = getmetatable(io.stdout).__index
  local write, io_write, plain_print = files.write, io.write, print
  self.raw_write = write
  function files.write(file, ...)
    if file == io.stdout or file == io.stderr then
      make_room(self)
      noted(self, ...)
    end
    return write(file, ...)
  end
  function io.write(...)
    return io.output():write(...)
  end
  function print(...)
    local words = table.pack(...)
    for i = 1, words.n do
      words[i] = tostring(words[i])
    end
    io.stdout:write(table.concat(words, "\t", 1, words.n), "\n")
  end
  self.uninstall = function()
    files.write, io.write, print = write, io_write, plain_print
  end
end

---@return lunode.repl.screen? screen
---@return string? err, lunode.code? code
function M.open()
  local editor, err, code = edit.open()
  if not editor then
    return nil, err, code
  end
  local self = setmetatable({
    editor = editor,
    editing = false,
    hidden = false,
    at_start = true,
    raw_write = nil,
    uninstall = nil,
    signals = nil,
  }, metatable)
  install(self)
  self.signals = {
    loop.signal("WINCH", function()
      editor:resize()
    end),
    loop.signal("TSTP", function()
      editor:suspend()
    end),
  }
  return self
end

function methods:close()
  come_back(self)
  for _, signal in ipairs(self.signals) do
    signal:close()
  end
  self.uninstall()
  self.editor:close()
  io.stdout:flush()
end

return M
