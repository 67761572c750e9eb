-- Listening sockets as a kernel has them: which addresses and ports they have, and the backlog of connections that
-- nobody has accepted yet. How those come about is lunode.sim.net.handshake's.

local address = require "lunode.sim.net.address"
local poll = require "lunode.sim.net.poll"

local M = {}

-- Linux's: as long an answer to a SYN is sent again and again (tcp_synack_retries = 5); then it is forgotten.
local HANDSHAKE = 63

---@class lunode.sim.listener
---@field host lunode.sim.host
---@field family "tcp"|"unix"
---@field local_host string
---@field local_port integer
---@field queue lunode.sim.socket[]  connected, and not accepted
---@field pending integer            handshakes that will end in the queue
---@field private handshakes table<lunode.sim.socket, number>  since when
---@field closed boolean
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.listener" }

---@param host lunode.sim.host
---@param where lunode.sim.address
---@param port integer
---@param options {backlog: integer, reuseport: boolean, ipv6_only: boolean}
---@return lunode.sim.listener  of which the host does not know yet
function M.new(host, where, port, options)
  local self = setmetatable({
    host = host,
    family = where.family,
    local_host = where.host,
    local_port = port,
    backlog = options.backlog,
    reuseport = options.reuseport,
    ipv6_only = options.ipv6_only,
    queue = {},
    pending = 0,
    handshakes = {},
    closed = false,
  }, metatable)
  poll.init(self)
  return self
end

---Whether it takes connections to the address.
---@param host string
function methods:takes(host)
  local own, six = self.local_host, address.is_ipv6(host)
  return own == host or (own == "::" and (six or not self.ipv6_only)) or (own == "0.0.0.0" and not six)
end

---Whether both cannot have one port.
---@param other lunode.sim.listener
function methods:excludes(other)
  return (self:takes(other.local_host) or other:takes(self.local_host)) and not (self.reuseport and other.reuseport)
end

function methods:events()
  return #self.queue > 0, false, false
end

---@return lunode.sim.socket? socket
---@return string? code  "EAGAIN", "EMFILE"
function methods:accept()
  if #self.queue == 0 then
    return nil, "EAGAIN"
  elseif self.host.accept_failures > 0 then
    return nil, "EMFILE"
  end
  return table.remove(self.queue, 1)
end

-- Those whose clients have vanished meanwhile.
local function forget_old(self)
  local now = self.host.net.world.now
  for socket, since in pairs(self.handshakes) do -- nothing that can be observed: in any order
    if now - since >= HANDSHAKE then
      self:settle(socket)
      socket:bury()
    end
  end
end

---Whether further connections are ignored: with one more than the backlog, as Linux counts.
function methods:is_full()
  if #self.queue + self.pending > self.backlog then
    forget_old(self)
    return #self.queue + self.pending > self.backlog
  end
  return false
end

---A handshake has begun whose connection will be `socket`.
---@param socket lunode.sim.socket
function methods:expect(socket)
  socket.listener = self
  self.handshakes[socket] = self.host.net.world.now
  self.pending = self.pending + 1
end

---It has ended, well or not.
---@param socket lunode.sim.socket
function methods:settle(socket)
  if socket.listener then
    socket.listener = false
    self.handshakes[socket] = nil
    self.pending = self.pending - 1
  end
end

---A connection is complete.
---@param socket lunode.sim.socket
function methods:add(socket)
  self:settle(socket)
  if self.closed then
    socket:refuse()
  elseif not socket.dead then
    self.queue[#self.queue + 1] = socket
    poll.notify(self)
  end
end

---Those that nobody has accepted are reset. Where the process was killed, a path stays behind, as its file does.
---@param killed? boolean
function methods:close(killed)
  if not self.closed then
    self.closed = true
    poll.unwatch(self)
    self.host:forget(self, killed)
    for _, socket in ipairs(self.queue) do
      socket:refuse()
    end
    self.queue = {}
  end
end

---No power: nobody is told.
function methods:crash()
  for _, socket in ipairs(self.queue) do
    socket:crash()
  end
  self.queue = {}
  self:close(true)
end

return M
