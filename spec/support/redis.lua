-- A Redis client that looks blocking, and the real redis-server to compare with. Not a client for production.
--
--   local redis = require "spec.support.redis"
--   local client = redis.connect("127.0.0.1", port)
--   client:call("SET", "a", 1)                          --> {ok = "OK"}    (as resp.decode gives replies)
--   client:pipeline { { "INCR", "a" }, { "GET", "a" } }  --> { 2, "2" }
--   client:send("PING\r\n"); client:reply()              --> {ok = "PONG"}
--   client:raw { "GET", "a" }                            --> "$1\r\n2\r\n"  the reply's own bytes
--   client:reply_bytes()     -- the same, of a command sent before
--   client:receive(1000)     -- so many bytes, not decoded
--   client:bytes()           -- everything received and not yet decoded
--   client:wait_closed()     -- the peer has closed; client.close_code says how
--   client:close()
--
--   local server = redis.server { "--appendonly", "yes" }   -- a redis-server of its own, memory only by default
--   server.host, server.port, server.process; server:client()

local loop = require "lunode.loop"
local resp = require "lunode.resp"
local tcp_client = require "lunode.tcp_client"
local cleanup = require "lunode.test.cleanup"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

---@class spec.redis.client
---@field conn lunode.conn
---@field closed boolean
---@field close_code string?  why, when it is closed and not in good order
---@field seconds number      how long each call may take
---@field private received string[]  pieces not yet joined
---@field private rest string        joined, not yet decoded
---@field private position integer   where in `rest` the next reply starts
local methods = {}
local metatable = { __index = methods, __name = "spec.redis.client" }

-- Returns a connected client, or nil, message, code.
local function try_connect(host, port, seconds)
  local self = setmetatable({
    conn = nil,
    closed = false,
    close_code = nil,
    seconds = seconds or 20,
    received = {},
    rest = "",
    position = 1,
  }, metatable)
  local done, failure, failure_code
  self.conn = tcp_client.connect(host, port, {
    connect_timeout = self.seconds,
    cap = 1024 * 1024 * 1024, -- specs send more than a node would queue
    on_connect = function(_, err, code)
      done, failure, failure_code = true, err, code
    end,
    on_read = function(_, data)
      self.received[#self.received + 1] = data
    end,
    on_close = function(_, _, code)
      self.closed, self.close_code = true, code
    end,
  })
  wait.till(function()
    return done
  end, self.seconds + 5, ("a connection to %s:%d"):format(host, port))
  if failure then
    return nil, failure, failure_code
  end
  cleanup.add(function()
    self:close()
  end)
  return self
end

---Connects, or raises.
---@param host string
---@param port integer
---@param seconds? number  how long each call may take (default 20)
---@return spec.redis.client
function M.connect(host, port, seconds)
  local client, err = try_connect(host, port, seconds)
  return client or error(("%s:%d: %s"):format(host, port, err), 2)
end

---Waits until the server at the address answers PING; raises when its process ends before.
---@param host string
---@param port integer
---@param server? spec.process
---@param password? string
function M.wait_ready(host, port, server, password)
  local deadline = loop.time() + 30
  while true do
    if server and not server:is_alive() then
      error("the server ended: " .. server:stderr() .. server:stdout(), 2)
    end
    local client, err = try_connect(host, port, 5)
    if client then
      if password then
        client:call("AUTH", password)
      end
      local reply = client:call("PING")
      client:close()
      if reply.ok == "PONG" then
        return
      end
      err = reply.err
    end
    if loop.time() > deadline then
      error(("%s:%d does not answer: %s"):format(host, port, err), 2)
    end
    -- Refused: look again in a moment, and let the loop turn meanwhile.
    local due = loop.time() + 0.01
    wait.till(function()
      return loop.time() >= due
    end)
  end
end

-- Joins what came to what is not yet decoded.
local function gather(self)
  if #self.received > 0 then
    self.rest = self.rest:sub(self.position) .. table.concat(self.received)
    self.received, self.position = {}, 1
  end
end

---Everything received and not yet decoded.
---@return string
function methods:bytes()
  gather(self)
  return self.rest:sub(self.position)
end

---Waits until so many bytes have come that are not yet decoded, or the connection has closed: all that have.
---@param size integer
---@return string
function methods:receive(size)
  wait.till(function()
    local have = #self.rest - self.position + 1
    for _, piece in ipairs(self.received) do
      have = have + #piece
    end
    return have >= size or self.closed
  end, self.seconds, size .. " bytes")
  local bytes = self:bytes()
  self.rest, self.position = "", 1
  return bytes
end

---Sends bytes as they are.
---@param bytes string
function methods:send(bytes)
  assert(self.conn:write(bytes) ~= nil, "the connection is closed")
end

-- Decodes the next reply: value, its bytes. Raises at the deadline, at the end of the connection, and on bad bytes.
local function next_reply(self)
  gather(self)
  local value, after, code = resp.decode(self.rest, self.position)
  wait.till(function()
    if #self.received > 0 then
      gather(self)
      value, after, code = resp.decode(self.rest, self.position)
    end
    return value ~= nil or code or self.closed
  end, self.seconds, "a reply")
  if value == nil then
    local why = code and after or "connection closed without a reply, code " .. tostring(self.close_code)
    error(why .. ("; undecoded: %q"):format(self:bytes():sub(1, 200)), 0)
  end
  local bytes = self.rest:sub(self.position, after - 1)
  self.position = after
  return value, bytes
end

---The next reply.
---@return any
function methods:reply()
  return (next_reply(self))
end

---The bytes of the next reply.
---@return string
function methods:reply_bytes()
  local _, bytes = next_reply(self)
  return bytes
end

---Sends one command and returns its reply.
---@param ... string|number
---@return any
function methods:call(...)
  self:send(resp.command(...))
  return self:reply()
end

---Sends one command and returns the bytes of its reply.
---@param command (string|number)[]
---@return string
function methods:raw(command)
  self:send(resp.command(table.unpack(command)))
  return self:reply_bytes()
end

---Sends commands in one piece and returns their replies, in order.
---@param commands (string|number)[][]
---@return any[]
function methods:pipeline(commands)
  local pieces, replies = {}, {}
  for i, command in ipairs(commands) do
    pieces[i] = resp.command(table.unpack(command))
  end
  self:send(table.concat(pieces))
  for i = 1, #commands do
    replies[i] = self:reply()
  end
  return replies
end

---Waits until the peer has closed the connection.
function methods:wait_closed()
  wait.till(function()
    return self.closed
  end, self.seconds, "the server to close the connection")
end

---Closes at once, and waits until that has happened.
function methods:close()
  if not self.closed then
    self.conn:abort()
    self:wait_closed()
  end
end

---Starts a redis-server: memory only, on a free port; further options as on its command line.
---@param options? string[]
---@return { host: string, port: integer, process: spec.process, client: fun(self): spec.redis.client }
function M.server(options)
  local dir, port = tmp.dir(), ports.free()
  local words = { "redis-server", "--port", tostring(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "" }
  for _, word in ipairs(options or {}) do
    words[#words + 1] = word
  end
  local server = { host = "127.0.0.1", port = port, process = process.start(words) }
  M.wait_ready(server.host, port, server.process)
  function server.client()
    return M.connect(server.host, port)
  end
  return server
end

return M
