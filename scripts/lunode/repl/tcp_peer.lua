-- A raw connection to poke: bytes out, bytes in. Does not connect again by itself, as what was said so far would be
-- missing.

local inspect = require "lunode.repl.inspect"
local loop = require "lunode.loop"
local task = require "lunode.task"

local M = {}

local TIMEOUT = 5
local READ_LIMIT = 1 << 20

local methods = {}

local function within(link, seconds, fn, ...)
  if seconds ~= nil and (type(seconds) ~= "number" or seconds ~= seconds or seconds < 0) then
    error("seconds must be a number and not negative", 0)
  end
  return task.with_timeout(seconds or link.timeout, fn, link.stream, ...)
end

local links = setmetatable({}, { __mode = "k" }) -- object → link

local function link_of(object, name)
  return links[object] or error(("call it as a method: t:%s(…)"):format(name), 0)
end

---Sends bytes.
function methods:send(data)
  local link = link_of(self, "send")
  if type(data) ~= "string" then
    error(("send: a string is needed, got a %s"):format(type(data)), 0)
  end
  return within(link, nil, link.stream.write, data)
end

---What has arrived, or arrives within the seconds; `bytes`: exactly so many.
---@param bytes? integer
---@param seconds? number
function methods:read(bytes, seconds)
  local link = link_of(self, "read")
  if bytes then
    return within(link, seconds, link.stream.read_exactly, bytes)
  end
  return within(link, seconds, link.stream.read)
end

---The next line, without its end.
---@param seconds? number
function methods:line(seconds)
  local link = link_of(self, "line")
  return within(link, seconds, link.stream.read_line)
end

---Sends no more: the other side sees the end.
function methods:shutdown()
  link_of(self, "shutdown").stream:shutdown()
end

function methods:close()
  link_of(self, "close").close()
end

local function open(link)
  local started = loop.time()
  local stream, err = task.connect(link.host, link.port, { connect_timeout = link.timeout, read_limit = READ_LIMIT })
  if not stream then
    error(("cannot connect to %s: %s"):format(link.address, err), 0)
  end
  link.latency = loop.time() - started
  link.stream = stream
end

---Connects anew.
function methods:connect()
  local link = link_of(self, "connect")
  if link.closed then
    error("connect: it is closed; make another one", 0)
  end
  link.stream:abort()
  open(link)
  link.tell "connected again"
end

local metatable = {
  __name = "tcp",
  __index = methods,
  __tostring = function(self)
    local link = links[self]
    return ("tcp %s (%s)"):format(inspect.escape(link.address), link.state())
  end,
}

---@param where { address: string, host: string, port: integer? }
---@param options { timeout: number? }
---@param tell fun(format: string, ...: any)
function M.new(where, options, tell)
  local link = {
    kind = "tcp", address = where.address, host = where.host, port = where.port, tell = tell,
    timeout = options.timeout or TIMEOUT, stream = nil, latency = nil, closed = false,
  }
  function link.state()
    if link.closed then
      return "closed"
    end
    local stream = link.stream
    return stream.ended and "ended by the other side" or stream:is_open() and "connected" or "lost"
  end
  function link.ping()
    return link.latency -- nothing can be asked: it is what connecting took
  end
  function link.close()
    link.closed = true
    link.stream:close()
  end
  open(link)
  local object = setmetatable({}, metatable)
  links[object] = link
  return object, link
end

return M
