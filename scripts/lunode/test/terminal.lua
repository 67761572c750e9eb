-- Lines of text for a file or a terminal, where one more line, the status, stays beneath them. Draws nothing else.

local loop = require "lunode.loop"

local M = {}

---@class lunode.test.screen
---@field is_terminal boolean
local methods = {}
local metatable = { __index = methods }

local function escape(bytes)
  return (bytes:gsub(".", function(char)
    return ("\\x%02x"):format(char:byte())
  end))
end

---Nothing that a spec is named or says may drive the terminal.
---@param text string
---@return string  control characters but tab and newline as escapes; no bytes that are not UTF-8
function M.printable(text)
  text = text:gsub("[\0-\8\11-\31\127]", escape):gsub("\xC2[\x80-\x9F]", escape)
  return utf8.len(text) and text or (text:gsub("[\x80-\xFF]", escape))
end

-- `term` is one of busted's own dependencies.
local function is_terminal(file)
  local found, term = pcall(require, "term")
  return found and term.isatty(file) and os.getenv "TERM" ~= "dumb"
end

local function read_width()
  local pipe = io.popen("stty size 2>/dev/null </dev/tty", "r")
  local width = pipe and tonumber((pipe:read "a"):match "^%d+ (%d+)")
  if pipe then
    pipe:close()
  end
  return width and width > 0 and width or 80
end

---@param file file*
---@return lunode.test.screen
function M.new(file)
  local self = setmetatable({
    file = file,
    is_terminal = is_terminal(file),
    coloured = (os.getenv "NO_COLOR" or "") == "",
    width = 80,
    shown = nil, -- the status
    resized = nil, -- a signal
  }, metatable)
  if self.is_terminal then
    self.width = read_width()
    self.resized = loop.signal("WINCH", function()
      self.width = read_width()
    end)
  end
  return self
end

---@param text string
---@return string
function methods:red(text)
  return self.is_terminal and self.coloured and ("\27[31m%s\27[0m"):format(text) or text
end

function methods:clear()
  if self.shown then
    self.file:write "\r\27[K"
    self.shown = nil
  end
end

---@param text string  one or more lines
function methods:print(text)
  self:clear()
  self.file:write(text, "\n")
  self.file:flush()
end

-- The first columns of a text; a character that is wide where it is shown may take more.
local function cut(text, columns)
  local stop = utf8.len(text) and utf8.offset(text, columns + 1) or columns + 1
  return stop and text:sub(1, stop - 1) or text
end

---Replaces the line beneath. Does nothing where there is no terminal.
---@param text string
function methods:status(text)
  if not self.is_terminal then
    return
  end
  local line = cut((M.printable(text):gsub("[\n\t]", " ")), self.width - 1)
  if line == self.shown then
    return
  end
  self.file:write("\r", line, "\27[K")
  self.file:flush()
  self.shown = line
end

function methods:close()
  self:clear()
  if self.resized then
    self.resized:close()
  end
  self.file:flush()
end

return M
