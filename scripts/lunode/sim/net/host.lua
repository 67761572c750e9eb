-- A machine of the simulated network: its addresses, ports, listeners and sockets. It belongs to a node and outlives
-- the node's processes; what they leave it closes or resets, as a kernel does. Knows no callbacks of scripts.

local handshake = require "lunode.sim.net.handshake"
local listeners = require "lunode.sim.net.listener"
local poll = require "lunode.sim.net.poll"
local sockets = require "lunode.sim.net.socket"

local M = {}

local FIRST_EPHEMERAL, LAST_EPHEMERAL = 32768, 60999

---@class lunode.sim.host
---@field net lunode.sim.net
---@field name string
---@field address string
---@field down boolean   without power: nothing is answered
---@field accept_failures integer  how many faults keep its processes from accepting
---@field private listeners table<integer, lunode.sim.listener[]>  by port
---@field private paths table<string, lunode.sim.listener|false>  Unix sockets; false: a file that nobody listens on
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.host" }

---@param net lunode.sim.net
---@param name string
---@param own_address string
---@return lunode.sim.host
function M.new(net, name, own_address)
  return setmetatable({
    net = net,
    name = name,
    address = own_address,
    down = false,
    accept_failures = 0,
    sockets = {},
    socket_count = 0,
    listeners = {},
    paths = {},
    next_port = FIRST_EPHEMERAL,
    read_rate = false, -- a fault: bytes a second
    read_tokens = 0,
    read_since = 0,
    read_waits = false,
  }, metatable)
end

function methods:add_socket(socket)
  self.socket_count = self.socket_count + 1
  socket.order = self.socket_count
  self.sockets[socket] = true
end

---Its sockets, in the order in which they were made.
---@return lunode.sim.socket[]
function methods:list_sockets()
  local list = {}
  for socket in pairs(self.sockets) do
    list[#list + 1] = socket
  end
  table.sort(list, function(a, b)
    return a.order < b.order
  end)
  return list
end

-- ---------------------------------------------------------------- addresses

local function is_wildcard(host)
  return host == "0.0.0.0" or host == "::"
end

---Whether an address is one of this machine's.
function methods:owns(host)
  return host == self.address
    or host == "::1"
    or is_wildcard(host)
    or (host:sub(1, 4) == "127." and not self.net:host_at(host))
end

-- From which of its addresses a host speaks to another.
local function source(self, target, host)
  if target ~= self or host == self.address then
    return self.address
  end
  return is_wildcard(host) and "127.0.0.1" or host
end

-- ---------------------------------------------------------------- listeners

local function is_free(self, port, wanted)
  for _, other in ipairs(self.listeners[port] or {}) do
    if other:excludes(wanted) then
      return false
    end
  end
  return true
end

-- The next port on which nobody listens.
local function ephemeral_port(self)
  for _ = FIRST_EPHEMERAL, LAST_EPHEMERAL do
    local port = self.next_port
    self.next_port = port < LAST_EPHEMERAL and port + 1 or FIRST_EPHEMERAL
    if not self.listeners[port] then
      return port
    end
  end
  return nil
end

local function listen_on_path(self, listener)
  local path = listener.local_host
  if self.paths[path] then
    return path:sub(1, 1) == "@" and "EADDRINUSE" or "UNIX_LIVE"
  end
  self.paths[path] = listener
end

local function listen_on_port(self, listener)
  local port = listener.local_port
  if not self:owns(listener.local_host) then
    return "EADDRNOTAVAIL"
  elseif port == 0 then
    port = ephemeral_port(self)
  end
  if not port or not is_free(self, port, listener) then
    return "EADDRINUSE"
  end
  listener.local_port = port
  local list = self.listeners[port] or {}
  self.listeners[port] = list
  list[#list + 1] = listener
end

---@param where lunode.sim.address
---@param port integer  0: one that is free
---@param options {backlog: integer, reuseport: boolean, ipv6_only: boolean}
---@return lunode.sim.listener? listener
---@return string? status
function methods:listen(where, port, options)
  local listener = listeners.new(self, where, port, options)
  local status
  if where.family == "unix" then
    status = listen_on_path(self, listener)
  else
    status = listen_on_port(self, listener)
  end
  if status then
    return nil, status
  end
  return listener
end

---A listener is closed.
---@param listener lunode.sim.listener
---@param killed? boolean  its process did not do that, and leaves its file behind
function methods:forget(listener, killed)
  local path, port = listener.local_host, listener.local_port
  if listener.family == "unix" then
    self.paths[path] = killed and path:sub(1, 1) ~= "@" and false or nil
    return
  end
  local list = self.listeners[port]
  for i, other in ipairs(list) do
    if other == listener then
      table.remove(list, i)
      break
    end
  end
  if #list == 0 then
    self.listeners[port] = nil
  end
end

---Who takes a connection. Several share a port with reuseport: one of them is drawn, as the kernel's hash does.
---@param socket lunode.sim.socket  the client's side
---@return lunode.sim.listener?
function methods:find_listener(socket)
  if socket.family == "unix" then
    return self.paths[socket.remote_host] or nil
  end
  local found = {}
  for _, listener in ipairs(self.listeners[socket.remote_port] or {}) do
    if listener:takes(socket.remote_host) then
      found[#found + 1] = listener
    end
  end
  return #found > 1 and self.net.choice:pick(found) or found[1]
end

-- ---------------------------------------------------------------- connecting

local function connect_path(self, path)
  local listener = self.paths[path]
  if listener == nil then
    return path:sub(1, 1) == "@" and "ECONNREFUSED" or "ENOENT"
  elseif not listener then
    return "ECONNREFUSED"
  elseif listener:is_full() then
    return "EAGAIN"
  end
end

---Begins to connect. The socket becomes writable, or has an error.
---@param where lunode.sim.address
---@param port integer
---@return lunode.sim.socket? socket
---@return string? status  why that failed at once
function methods:connect(where, port)
  local net = self.net
  local target, status
  if where.family == "unix" then
    target, status = self, connect_path(self, where.host)
  else
    target, status = net:route(self, where.host)
  end
  if status then
    return nil, status
  end
  net.connections = net.connections + 1
  local socket = sockets.new(self, net.connections, where.family)
  socket.link = net:link(self, target)
  socket.remote_host, socket.remote_port = where.host, port
  if where.family == "tcp" then
    socket.remote_host = is_wildcard(where.host) and "127.0.0.1" or where.host
    socket.local_host = source(self, target, where.host)
    socket.local_port = ephemeral_port(self) or 0
  end
  handshake.begin(socket)
  return socket
end

-- ---------------------------------------------------------------- slow readers

function methods:set_read_rate(rate)
  self.read_rate = rate
  self.read_tokens, self.read_since = 0, self.net.world.now
  if not rate then
    for _, socket in ipairs(self:list_sockets()) do
      poll.notify(socket)
    end
  end
end

local function refill(self)
  local now = self.net.world.now
  local tokens = self.read_tokens + (now - self.read_since) * self.read_rate
  self.read_tokens = math.min(tokens, math.max(1, self.read_rate))
  self.read_since = now
end

---Whether its processes get to read now. REQUIRES: a read rate.
function methods:may_read()
  refill(self)
  if self.read_tokens >= 1 then
    return true
  elseif not self.read_waits then
    self.read_waits = true
    local world = self.net.world
    world:at(world.now + math.max(0.01, 1 / self.read_rate), function()
      self.read_waits = false
      for _, socket in ipairs(self:list_sockets()) do
        poll.notify(socket)
      end
    end)
  end
  return false
end

---How many of `size` bytes a read takes. REQUIRES: a read rate.
function methods:limit_read(size)
  refill(self)
  local allowed = math.min(size, math.floor(self.read_tokens))
  self.read_tokens = self.read_tokens - allowed
  return allowed
end

-- ---------------------------------------------------------------- ends

local function list_listeners(self)
  local list = {}
  for _, of_port in pairs(self.listeners) do
    table.move(of_port, 1, #of_port, #list + 1, list)
  end
  table.sort(list, function(a, b)
    return a.local_port < b.local_port
  end)
  local paths = {}
  for path, listener in pairs(self.paths) do
    paths[#paths + 1] = listener and path or nil
  end
  table.sort(paths)
  for _, path in ipairs(paths) do
    list[#list + 1] = self.paths[path]
  end
  return list
end

---Its process is no more: every descriptor is closed.
function methods:process_died()
  for _, listener in ipairs(list_listeners(self)) do
    listener:close(true)
  end
  for _, socket in ipairs(self:list_sockets()) do
    if not socket.orphan then
      socket:close()
    end
  end
end

---No power: all is forgotten, and nobody is told.
function methods:crash()
  self.down = true
  for _, listener in ipairs(list_listeners(self)) do
    listener:crash()
  end
  for _, socket in ipairs(self:list_sockets()) do
    socket:crash()
  end
end

function methods:power_on()
  self.down = false
end

return M
