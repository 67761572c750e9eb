-- The client libraries that people have, and their programs in spec/support/clients; ./dev test installs them.
--
--   local libraries = require "spec.support.libraries"
--   local program, why = libraries.program "ioredis.js"      -- nil where the library is not here
--   program:start(host, port)
--   program:finish(function() node:kill9() node:start() end) -- that is for when it asks so; it must end well
--
-- A program is given HOST PORT, says "kill the server" when it wants that, and "ok" at its end.

local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

local FOLDER = "spec/support/clients/"
local REQUEST = "kill the server\n"

local kinds = {
  py = function(path)
    local code = process.run { "/usr/bin/python3", "-c", "import redis.cluster" }
    if code ~= 0 then
      return nil, "python3-redis is not installed"
    end
    return { "/usr/bin/python3", path }
  end,

  js = function(path)
    local env = { NODE_PATH = "build/clients/node_modules" }
    local code, _, err = process.run { "node", "-e", "require('ioredis'); require('redis')", env = env }
    if code ~= 0 then
      return nil, "npm's ioredis and redis are not there: " .. (err:match "[%w_]*Error: [^\n]*" or err)
    end
    return { "node", path, env = env }
  end,

  c = function(path)
    local program = tmp.dir() .. "/client"
    local code, _, err = process.run { "cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", program, path,
      "-lhiredis" }
    if code ~= 0 and err:find("hiredis/hiredis.h: No such file", 1, true) then
      return nil, "libhiredis-dev is not installed"
    end
    assert(code == 0, err)
    return { program }
  end,
}

---@class spec.program
---@field requests integer  how often it asked for the server to be killed
---@field private words table
---@field private process lunode.test.process?
local methods = {}
local metatable = { __index = methods, __name = "spec.program" }

---@param name string  of a file in spec/support/clients
---@return spec.program? program, string? why  not
function M.program(name)
  local words, why = kinds[name:match "%.(%a+)$"](FOLDER .. name)
  if not words then
    return nil, why .. " (./dev test installs it)"
  end
  return setmetatable({ requests = 0, words = words, process = nil }, metatable)
end

---@param host string
---@param port integer
function methods:start(host, port)
  local words = self.words
  words[#words + 1], words[#words + 2] = host, tostring(port)
  self.process = process.start(words)
end

-- Waits until it asks for the server to be killed (true), or has ended.
local function asks(self)
  return wait.till(function()
    local _, requests = self.process:stdout():gsub(REQUEST, "")
    if requests > self.requests then
      self.requests = self.requests + 1
      return "asks"
    end
    return not self.process:is_alive() and "ended"
  end, 100, "the client's program to end") == "asks"
end

local function check_end(self)
  local code, out = self.process:wait(), self.process:stdout():gsub(REQUEST, "")
  assert(code == 0 and out == "ok\n", ("exit code %d\n%s%s"):format(code, out, self.process:stderr():sub(-2000)))
end

---Waits until it asks for the server to be killed.
function methods:wait_request()
  if not asks(self) then
    check_end(self)
    error("it ended, and never asked")
  end
end

---Waits for its end, which must be a good one.
---@param kill? fun()  kills the server, and starts it again
function methods:finish(kill)
  while asks(self) do
    assert(kill, "it asks for more")()
  end
  check_end(self)
end

return M
