-- Runs a program on a real terminal, tmux's: keys are sent to it, and its screen is read. Never waits blindly.
--
--   local terminal = require "spec.support.terminal"
--   local t = terminal.start { lunode.bin, "repl", env = { NO_COLOR = "1" }, columns = 80, rows = 24 }
--   t:type "1 + 1"; t:key "Enter"        -- keys as tmux names them: "C-c", "Tab", "Up", "Enter", …
--   t:wait "\n2\n"                        -- until the screen has this text; raises with the screen
--   t:wait(function(screen) return … end)
--   t:run "1 + 1"                         -- types, and presses Enter
--   t:resize(40, 10); t.pid
--   local code = t:ended()                -- waits for the end; raises when the terminal is not as it was before
--
-- The screen is its lines without trailing spaces, each ended by "\n", what has been scrolled away included.

local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

---@class spec.terminal
---@field pid integer      of the program
---@field private dir string
---@field private socket string
local methods = {}
local metatable = { __index = methods, __name = "spec.terminal" }

-- Notes how the terminal was before and after, and how the program ended. The inner shell becomes the program.
local WRAPPER = [[
trap : INT QUIT TSTP
stty -g >before
sh -c 'echo $$ >pid; exec "$@"' sh "$@"
code=$?
stty -g >after
echo $code >code
echo "(ended)"
exec sleep 600
]]

local function tmux(self, ...)
  local words = { "tmux", "-u", "-S", self.socket }
  for _, word in ipairs { ... } do
    words[#words + 1] = tmp.quote(word)
  end
  local pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1", "r"))
  local text = pipe:read "a"
  local ok = pipe:close()
  return ok and text or nil, text
end

local function environment(options, dir)
  local env = {
    TERM = "screen-256color", LC_ALL = "C.UTF-8", HOME = dir, XDG_STATE_HOME = false, LUNODE_HISTORY = false,
    NO_COLOR = "1", TMUX = false, EDITRC = false,
  }
  for name, value in pairs(options.env or {}) do
    env[name] = value
  end
  local words = { "env" }
  for name, value in pairs(env) do
    table.insert(words, value and #words + 1 or 2, value and tmp.quote(name .. "=" .. value) or "-u " .. name)
  end
  return words
end

---@param options table  words; env, columns, rows; cwd: its own directory, which is also its HOME, unless one is given
---@return spec.terminal
function M.start(options)
  local dir = tmp.dir()
  local self = setmetatable({ dir = options.cwd or dir, socket = dir .. "/tmux", pid = 0 }, metatable)
  local server = process.start { "tmux", "-D", "-u", "-S", self.socket, "-f", "/dev/null" }
  wait.till(function()
    assert(server:is_alive(), server:stderr())
    return tmux(self, "show-options", "-g", "history-limit")
  end, 10, "tmux to start")
  local words = environment(options, self.dir)
  words[#words + 1] = "sh -c " .. tmp.quote(WRAPPER) .. " sh"
  for _, word in ipairs(options) do
    words[#words + 1] = tmp.quote(word)
  end
  local columns, rows = tostring(options.columns or 80), tostring(options.rows or 24)
  assert(tmux(self, "new-session", "-d", "-s", "main", "-x", columns, "-y", rows, "-c", self.dir,
    table.concat(words, " ")))
  self.pid = wait.till(function()
    return tonumber(tmp.read(self.dir .. "/pid") or "")
  end, 10, "the program to start")
  return self
end

---@return string
function methods:screen()
  local text = assert(tmux(self, "capture-pane", "-t", "main", "-p", "-S", "-500"))
  return (text:gsub(" +\n", "\n"):gsub("\n+$", "\n"))
end

---Sends text as it is. Keys that are signals make the terminal drop what has not been read: wait for it first.
---@param text string
function methods:type(text)
  assert(tmux(self, "send-keys", "-t", "main", "-l", "--", text))
end

---@param ... string  names of keys
function methods:key(...)
  assert(tmux(self, "send-keys", "-t", "main", ...))
end

---@param text string
function methods:run(text)
  self:type(text)
  self:key "Enter"
end

function methods:resize(columns, rows)
  assert(tmux(self, "resize-window", "-t", "main", "-x", tostring(columns), "-y", tostring(rows)))
end

---@param what string|fun(screen: string): any  a text, as it is, or a condition
---@param seconds? number  (default 20)
---@return any
function methods:wait(what, seconds)
  local screen
  local ok, result = pcall(wait.till, function()
    screen = self:screen()
    if type(what) == "string" then
      return screen:find(what, 1, true)
    end
    return what(screen)
  end, seconds or 20)
  if not ok then
    error(("%s: %s\nthe screen:\n%s"):format(result, type(what) == "string" and what or "a condition", screen), 2)
  end
  return result
end

---@return integer code
function methods:ended()
  self:wait "(ended)"
  local before, after = tmp.read(self.dir .. "/before"), tmp.read(self.dir .. "/after")
  if before == "" or before ~= after then
    error(("the terminal was left other than it was: %s → %s"):format(before, after), 2)
  end
  return tonumber(tmp.read(self.dir .. "/code"))
end

return M
