-- Starts external programs for specs, and makes sure that none outlives them. Not a shell: a program and its words.
--
--   local process = require "lunode.test.process"
--   local p = process.start { "redis-server", "--port", "7001", env = { LANG = "C" }, cwd = dir, stdin = "text" }
--   p.pid; p:is_alive(); p:kill("TERM")
--   local code = p:wait(5)              -- exit code, 128 + n after a signal; raises when it is still running
--   p:stdout(); p:stderr()              -- what it has written so far
--   p:close()                           -- at the end of the spec, or before: kills it and all that it has started
--   local code, out, err = process.run { "lunode", "version" }     -- start and wait (`seconds`, default 60)
--
-- `env` adds to the environment; a value of `false` takes the variable away. Processes are killed with
-- their whole session when the spec ends, and by the kernel should the spec runner itself die.

local cleanup = require "lunode.test.cleanup"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

---@class lunode.test.process
---@field pid integer
---@field dir string     its standard output and error are the files `out` and `err` here
---@field private pipe file*?  from popen; nil once the exit code is known
---@field code integer?  the exit code, once it is known
---@field private closed boolean
local methods = {}
local metatable = { __index = methods, __name = "lunode.test.process" }

local function command(options, dir)
  local words = { "env", "--default-signal" }
  local names = {}
  for name in pairs(options.env or {}) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    if options.env[name] == false then
      words[#words + 1] = "-u " .. tmp.quote(name)
    end
  end
  for _, name in ipairs(names) do
    if options.env[name] ~= false then
      words[#words + 1] = tmp.quote(name .. "=" .. options.env[name])
    end
  end
  for _, word in ipairs(options) do
    words[#words + 1] = tmp.quote(word)
  end
  local stdin = "/dev/null"
  if options.stdin then
    stdin = tmp.write(dir .. "/in", options.stdin)
  end
  -- The session comes first, so that whoever knows the pid can kill all of it.
  local launch = [[exec setsid setpriv --pdeathsig KILL sh -c 'echo $$ >"$1" && shift && exec "$@"' sh]]
  return ("cd %s && %s %s %s <%s >%s 2>%s"):format(
    tmp.quote(options.cwd or "."),
    launch,
    tmp.quote(dir .. "/pid"),
    table.concat(words, " "),
    tmp.quote(stdin),
    tmp.quote(dir .. "/out"),
    tmp.quote(dir .. "/err")
  )
end

---@param options table  words; env, cwd, stdin as above
---@return lunode.test.process
function M.start(options)
  assert(options[1], "process.start: no program given")
  local dir = tmp.dir()
  local pipe = assert(io.popen(command(options, dir), "w"))
  local self = setmetatable({ pid = 0, dir = dir, pipe = pipe, code = nil, closed = false }, metatable)
  cleanup.add(function()
    self:close()
  end)
  self.pid = wait.till(function()
    return tonumber((tmp.read(dir .. "/pid") or ""):match("^(%d+)\n"))
  end, 10, options[1] .. " to start (is there room for files in " .. dir .. "?)")
  return self
end

---Runs to the end.
---@param options table  words; env, cwd, stdin, seconds as in lunode.test.process
---@return integer code, string stdout, string stderr
function M.run(options)
  local self = M.start(options)
  local code = self:wait(options.seconds or 60)
  return code, self:stdout(), self:stderr()
end

---@return boolean
function methods:is_alive()
  if not self.pipe then
    return false
  end
  -- The program name stands in parentheses and may hold anything; the state is the word after the last one.
  local state = (tmp.read("/proc/" .. self.pid .. "/stat") or ""):match("^.*%) (%a)")
  return state ~= nil and state ~= "Z" and state ~= "X"
end

---Sends a signal to the process; "KILL" goes to all that it has started, too.
---@param name string  "TERM", "INT", "KILL", "STOP", …
function methods:kill(name)
  if self.pid == 0 then
    return
  end
  if name == "KILL" then
    os.execute(("kill -s KILL -- -%d 2>/dev/null"):format(self.pid))
  end
  if self.pipe then
    os.execute(("kill -s %s %d 2>/dev/null"):format(name, self.pid))
  end
end

---Waits for its end.
---@param seconds? number  deadline (default 20)
---@return integer code  128 + n when signal n ended it
function methods:wait(seconds)
  if self.pipe then
    wait.till(function()
      return not self:is_alive()
    end, seconds, ("the end of process %d; its stderr: %s"):format(self.pid, self:stderr()))
    local _, how, code = self.pipe:close()
    self.pipe = nil
    self.code = how == "signal" and 128 + code or code
  end
  return self.code
end

---Kills it, and all that it has started and left running.
function methods:close()
  if self.closed then
    return
  end
  self.closed = true
  self:kill("KILL")
  if self.pipe then
    self:wait(10)
  end
end

---@return string
function methods:stdout()
  return tmp.read(self.dir .. "/out") or ""
end

---@return string
function methods:stderr()
  return tmp.read(self.dir .. "/err") or ""
end

return M
