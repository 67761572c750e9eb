-- Watches the system calls of a node with strace, for specs about what reaches the disk before what.
--
--   local strace = require "spec.support.strace"
--   local trace = strace.attach(node)     -- or nil, why: where this system does not let processes be traced
--   … trace:calls()  --> { { name = "write", file = "/…/000005.log", text = 'write(7</…/000005.log>, "…', }, … }
--
-- Traced are write, fdatasync, fsync and sendto, of all threads, in the order in which they ended.

local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

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
  local words = { "strace", "-f", "-y", "-s", "64", "-e", "trace=write,fdatasync,fsync,sendto", "-o", file }
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

---The calls so far. Those of other threads that one line begins and another one ends are taken at their end.
---@return { name: string, file: string, text: string }[]
function methods:calls()
  local calls, begun = {}, {}
  for line in (tmp.read(self.file) or ""):gmatch("([^\n]*)\n") do
    local thread, text = line:match("^(%d+) +(.*)$")
    local resumed = text and text:match("^<%.%.%. [%w_]+ resumed>(.*)$")
    if resumed then
      text = (begun[thread] or "") .. resumed
    end
    if text and text:find(" <unfinished ...>", 1, true) then
      begun[thread] = text:gsub(" <unfinished %.%.%.>", "")
    elseif text then
      local name, path = text:match("^([%w_]+)%(%d+<([^>]*)>")
      if name then
        calls[#calls + 1] = { name = name, file = path, text = text }
      end
    end
  end
  return calls
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
