-- Watches the system calls of a node with strace, for specs about what reaches the disk before what.
--
--   local strace = require "spec.support.strace"
--   local trace = strace.attach(node)     -- or nil, why: where this system does not let processes be traced
--   … trace:calls()  --> { { name = "write", file = "/…/000005.log", text = 'write(7</…/000005.log>, "…', … }, … }
--
-- Traced are write, pwrite64, fdatasync, fsync and sendto, of all threads, in the order in which they ended. `begun`
-- and `ended` are lines of the trace: a call that ended before another one began is before it. `time` is when it began,
-- in seconds.

local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

-- LeakSanitizer traces the process at its end, which cannot be while strace does.
M.ENV = { ASAN_OPTIONS = "detect_leaks=0" }

---Words that run a program under strace, which is to meddle with its calls.
---@param file string       for the trace
---@param calls string      the calls to trace, as in "write,fsync"
---@param injection? string  as in "fsync:error=EIO:when=3"; counted for each thread and each call by itself
---@return string[] wrapper  for spec.support.lunode, beside env = strace.ENV
function M.wrapper(file, calls, injection)
  local words = { "strace", "-f", "-y", "-ttt", "-s", "0", "-o", file, "-e", "trace=" .. calls }
  if injection then
    words[#words + 1], words[#words + 2] = "-e", "inject=" .. injection
  end
  return words
end

local usable

---@return boolean usable  whether this system lets processes be traced
function M.usable()
  if usable == nil then
    local words = M.wrapper("/dev/null", "write")
    words[#words + 1] = "true"
    usable = process.run(words) == 0
  end
  return usable
end

---@class spec.trace
---@field private tracer spec.process
---@field private file string
local methods = {}
local metatable = { __index = methods, __name = "spec.trace" }

---@param node spec.node  a sanitized one must not look for leaks: that is tracing as well
---@return spec.trace? trace
---@return string? err
function M.attach(node)
  local file = tmp.dir() .. "/trace"
  local words = { "strace", "-f", "-y", "-ttt", "-s", "64", "-o", file }
  words[#words + 1], words[#words + 2] = "-e", "trace=write,pwrite64,fdatasync,fsync,sendto"
  words[#words + 1], words[#words + 2] = "-p", tostring(node.process.pid)
  local tracer = process.start(words)
  wait.till(function()
    return tracer:stderr():find("attached", 1, true) or not tracer:is_alive()
  end, 20, "strace to attach")
  if not tracer:is_alive() then
    return nil, "cannot trace: " .. tracer:stderr()
  end
  return setmetatable({ tracer = tracer, file = file }, metatable)
end

---The calls in a trace. Those of other threads that one line begins and another one ends are taken at their end.
---@param file string
---@return { name: string, file: string?, text: string, thread: string, begun: integer, ended: integer, time: number }[]
function M.calls(file)
  local calls, begun, number = {}, {}, 0
  for line in (tmp.read(file) or ""):gmatch("([^\n]*)\n") do
    number = number + 1
    local thread, time, text = line:match("^(%d+) +([%d.]+) (.*)$")
    local call = { begun = number, time = tonumber(time) }
    local resumed = text and text:match("^<%.%.%. [%w_]+ resumed>(.*)$")
    if resumed then
      call = begun[thread] or call
      text = (call.text or "") .. resumed
    end
    if text and text:find(" <unfinished ...>", 1, true) then
      call.text = text:gsub(" <unfinished %.%.%.>", "")
      begun[thread] = call
    elseif text then
      call.name, call.file = text:match("^([%w_]+)%(%d*<?([^>]*)")
      call.thread, call.text, call.ended = thread, text, number
      if call.name then
        calls[#calls + 1] = call
      end
    end
  end
  return calls
end

---The calls so far.
function methods:calls()
  return M.calls(self.file)
end

---Waits until there are calls for which `predicate(calls)` is truthy, and returns them.
---@param predicate fun(calls: table[]): any
---@param what string
---@return table[] calls
function methods:wait_for(predicate, what)
  local calls
  wait.till(function()
    calls = self:calls()
    return predicate(calls)
  end, 20, what)
  return calls
end

return M
