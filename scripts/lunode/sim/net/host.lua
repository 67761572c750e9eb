-- A machine of the simulated network: its addresses, ports, listeners and sockets. It belongs to a node and outlives
-- the node's processes; what they leave it closes or resets, as a kernel does. Knows no callbacks of scripts.

local address = require "lunode.sim.net.address"
local poll = require "lunode.sim.net.poll"
local sockets = require "lunode.sim.net.socket"

local M = {}

local FIRST_EPHEMERAL, LAST_EPHEMERAL = 32768, 60999
-- Linux's: a SYN without an answer is sent again after 1, 2, 4, … seconds, six times (tcp_syn_retries).
local FIRST_SYN_RETRY, SYN_RETRIES = 1, 6

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

-- ---------------------------------------------------------------- listeners

---@class lunode.sim.listener
local listener_methods = {}
local listener_metatable = { __index = listener_methods, __name = "lunode.sim.listener" }

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

-- Whether a listener takes connections to the address.
local function takes(listener, host)
  local own = listener.local_host
  return own == host or (own == "::" and not (listener.ipv6_only and not address.is_ipv6(host)))
    or (own == "0.0.0.0" and not address.is_ipv6(host))
end

local function overlap(a, b)
  return takes(a, b.local_host) or takes(b, a.local_host)
end

local function is_free(self, port, wanted)
  for _, other in ipairs(self.listeners[port] or {}) do
    if overlap(other, wanted) and not (other.reuseport and wanted.reuseport) then
      return false
    end
  end
  return true
end

-- The next port that nobody has, for a socket that asked for none.
local function ephemeral_port(self, wanted)
  for _ = FIRST_EPHEMERAL, LAST_EPHEMERAL do
    local port = self.next_port
    self.next_port = port < LAST_EPHEMERAL and port + 1 or FIRST_EPHEMERAL
    if not self.listeners[port] or (wanted and is_free(self, port, wanted)) then
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
  if not self:owns(listener.local_host) then
    return "EADDRNOTAVAIL"
  elseif listener.local_port == 0 then
    local port = ephemeral_port(self, listener)
    if not port then
      return "EADDRINUSE"
    end
    listener.local_port = port
  elseif not is_free(self, listener.local_port, listener) then
    return "EADDRINUSE"
  end
  local list = self.listeners[listener.local_port] or {}
  self.listeners[listener.local_port] = list
  list[#list + 1] = listener
end

---@param where lunode.sim.address
---@param port integer
---@param options {backlog: integer, reuseport: boolean, ipv6_only: boolean}
---@return lunode.sim.listener? listener
---@return string? status
function methods:listen(where, port, options)
  local listener = setmetatable({
    host = self,
    family = where.family,
    local_host = where.host,
    local_port = port,
    backlog = options.backlog,
    reuseport = options.reuseport,
    ipv6_only = options.ipv6_only,
    queue = {},
    pending = 0, -- handshakes that will end in the queue
    closed = false,
  }, listener_metatable)
  poll.init(listener)
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

function listener_methods:events()
  return #self.queue > 0, false, false
end

---@return lunode.sim.socket? socket
---@return string? code  "EAGAIN", "EMFILE"
function listener_methods:accept()
  if #self.queue == 0 then
    return nil, "EAGAIN"
  elseif self.host.accept_failures > 0 then
    return nil, "EMFILE"
  end
  return table.remove(self.queue, 1)
end

-- One more than the backlog, as Linux counts.
function listener_methods:is_full()
  return #self.queue + self.pending > self.backlog
end

---Those that nobody has accepted are reset. A path stays behind, as a file does, where the process was killed.
---@param killed? boolean
function listener_methods:close(killed)
  if self.closed then
    return
  end
  local host = self.host
  self.closed = true
  poll.unwatch(self)
  if self.family == "unix" then
    host.paths[self.local_host] = killed and self.local_host:sub(1, 1) ~= "@" and false or nil
  else
    local list = host.listeners[self.local_port]
    for i, other in ipairs(list) do
      if other == self then
        table.remove(list, i)
        break
      end
    end
    if #list == 0 then
      host.listeners[self.local_port] = nil
    end
  end
  for _, socket in ipairs(self.queue) do
    socket:refuse()
  end
  self.queue = {}
end

-- Several share a port with reuseport: one of them is drawn, as the kernel's hash does.
local function find_listener(self, socket)
  if socket.family == "unix" then
    return self.paths[socket.remote_host]
  end
  local found = {}
  for _, listener in ipairs(self.listeners[socket.remote_port] or {}) do
    if takes(listener, socket.remote_host) then
      found[#found + 1] = listener
    end
  end
  return #found > 1 and self.net.choice:pick(found) or found[1]
end

-- ---------------------------------------------------------------- connecting

-- What is said about a connection between two hosts.
local function tell(self, kind, socket, text)
  local world = self.net.world
  world:record {
    t = world.now,
    kind = kind,
    node = self.name,
    conn = socket.id,
    text = text,
  }
end

local function after_link(link, fn)
  local world = link.from.net.world
  world:at(world.now + link:delay(), fn)
end

-- The handshake's last segment: the server's side is ready to be accepted.
local function complete(server_side, listener, retry)
  local link = server_side.peer.link
  after_link(link, function()
    if server_side.dead then
      listener.pending = listener.pending - 1
    elseif not link:carries() then -- the SYN-ACK is sent again, and answered
      if retry > 60 then
        listener.pending = listener.pending - 1
        server_side:bury()
      else
        link.from.net.world:at(link.from.net.world.now + retry, function()
          complete(server_side, listener, retry * 2)
        end)
      end
    else
      listener.pending = listener.pending - 1
      if listener.closed then
        server_side:refuse()
      else
        listener.queue[#listener.queue + 1] = server_side
        poll.notify(listener)
      end
    end
  end)
end

local function established(client_side, server_side, listener)
  if client_side.dead then -- it has given up meanwhile
    listener.pending = listener.pending - 1
    server_side:bury()
    return
  elseif not client_side.connected then
    client_side:establish()
    tell(client_side.host, "connect", client_side, server_side.host.name)
    poll.notify(client_side)
    complete(server_side, listener, FIRST_SYN_RETRY)
  end
end

-- The server's end of a connection whose SYN has come.
local function new_server_side(self, client_side)
  local socket = sockets.new(self, client_side.id, client_side.family)
  socket.local_host, socket.local_port = client_side.remote_host, client_side.remote_port
  socket.remote_host, socket.remote_port = client_side.local_host, client_side.local_port
  socket.peer, client_side.peer = client_side, socket
  socket.link = self.net:link(self, client_side.host)
  socket.connected = true
  socket.heard, client_side.heard = self.net.world.now, self.net.world.now
  return socket
end

-- An answer to a SYN: after the way back, if that carries.
local function answer(link, fn)
  after_link(link, function()
    if link:carries() then
      fn()
    end
  end)
end

local function on_syn(self, client_side)
  local back = self.net:link(self, client_side.host)
  if client_side.peer then -- our answer was lost
    local server_side = client_side.peer
    answer(back, function()
      established(client_side, server_side, client_side.listener)
    end)
    return
  end
  local listener = find_listener(self, client_side)
  if not listener then
    answer(back, function()
      if not client_side.dead then
        tell(client_side.host, "refused", client_side, self.name)
        client_side:fail "ECONNREFUSED"
      end
    end)
  elseif not listener:is_full() then -- else it is dropped
    listener.pending = listener.pending + 1
    client_side.listener = listener
    local server_side = new_server_side(self, client_side)
    answer(back, function()
      established(client_side, server_side, listener)
    end)
  end
end

local function syn_arrives(socket)
  local link = socket.link
  if not socket.dead and not socket.connected and link:carries() then
    on_syn(link.to, socket)
  end
end

local function send_syn(socket, retry)
  local world, link = socket.world, socket.link
  if retry > SYN_RETRIES then
    socket:fail "ETIMEDOUT"
    return
  elseif link.cuts == 0 then
    world:at(world.now + link:delay(), syn_arrives, socket)
  end
  socket.syn_timer = world:at(world.now + FIRST_SYN_RETRY * 2 ^ retry, send_syn, socket, retry + 1)
end

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

-- From which of its addresses a host speaks to another.
local function source(self, target, host)
  if target ~= self or host == self.address then
    return self.address
  end
  return is_wildcard(host) and "127.0.0.1" or host
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
  send_syn(socket, 0)
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

---Whether its processes get to read now.
function methods:may_read()
  if not self.read_rate then
    return true
  end
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

---How many of `size` bytes a read takes.
function methods:limit_read(size)
  if not self.read_rate then
    return size
  end
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
    for _, socket in ipairs(listener.queue) do
      socket:crash()
    end
    listener.queue = {}
    listener:close(true)
  end
  for _, socket in ipairs(self:list_sockets()) do
    socket:crash()
  end
end

function methods:power_on()
  self.down = false
end

return M
