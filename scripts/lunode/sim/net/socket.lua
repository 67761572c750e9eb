-- One end of a connection, as a kernel has it: what has arrived and nobody has read, what is sent and not
-- acknowledged, the end of either side, resets. It outlives the process that opened it as far as a real one does.
-- Knows no callbacks of scripts; what a process makes of it is lunode.sim.stream's.
--
-- A segment that is lost is sent again after a while, and all behind it wait: so bytes stay in order, and none is
-- lost but with the connection. Errors and their order are Linux's.

local buffers = require "lunode.task.buffer"
local keepalive = require "lunode.sim.net.keepalive"
local poll = require "lunode.sim.net.poll"
local transport = require "lunode.sim.net.transport"

local M = {}

local SEND_BUFFER = 256 * 1024
local SEGMENT = 64 * 1024

local FIN, RST, RECEIVE_BUFFER = transport.FIN, transport.RST, transport.RECEIVE_BUFFER

---@class lunode.sim.socket
---@field id integer                of the connection: both ends have the same
---@field order integer             among the sockets of its host
---@field net lunode.sim.net
---@field world lunode.sim.world
---@field host lunode.sim.host
---@field peer lunode.sim.socket|false  the other end; false until the peer's host knows of it
---@field link lunode.sim.link|false    to the peer's host
---@field family "tcp"|"unix"
---@field local_host string
---@field local_port integer
---@field remote_host string
---@field remote_port integer
---@field connected boolean
---@field dead boolean     the kernel knows the connection no more: what comes for it is answered with a reset
---@field orphan boolean   no process has it any more
---@field error string|false  what the next call is told
---@field ended boolean    the peer's FIN has arrived
---@field fin false|"queued"|"sent"  ours
---@field black boolean    a fault swallows all its segments
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.socket" }

---@return lunode.sim.socket
function M.new(host, id, family)
  local self = {
    id = id,
    order = 0,
    net = host.net,
    world = host.net.world,
    host = host,
    peer = false,
    link = false,
    family = family,
    local_host = "",
    local_port = 0,
    remote_host = "",
    remote_port = 0,
    connected = false,
    calm = false, -- connected, and neither end has gone or ended: what nearly all events find
    dead = false,
    orphan = false,
    error = false,
    received = buffers.new(),
    ended = false,
    syn_timer = false, -- while it is connecting
    listener = false, -- whose handshake it is still in
    heard = 0, -- when the peer last gave a sign of life
    unsent = buffers.new(), -- the peer's window is full
    outstanding = 0, -- bytes taken from the process and not acknowledged
    fin = false,
    in_flight = 0,
    segments = {},
    times = {},
    ids = {},
    first = 1,
    last = 0,
    last_arrival = 0,
    lost = {}, -- segments, to be sent again
    lost_ids = {},
    stalled = false, -- some are lost
    unacknowledged = 0, -- bytes that have arrived, without an answer that did
    waiting_since = false,
    rto = 0,
    rto_running = false,
    ack_running = false,
    black = false,
    user_timeout = false,
    keepalive = false,
    probing = false,
    probes = 0,
  }
  poll.init(self)
  setmetatable(self, metatable)
  host:add_socket(self)
  return self
end

-- ---------------------------------------------------------------- what arrives

-- The connection is no more, and whoever has the socket is told why.
function methods:fail(code)
  self.error = code
  self:bury()
  poll.notify(self)
end

local function stop_syn(self)
  if self.syn_timer then
    self.world:cancel(self.syn_timer)
    self.syn_timer = false
  end
end

---The handshake has ended well.
function methods:establish()
  self.connected, self.calm = true, true
  stop_syn(self)
  poll.notify(self)
end

---The kernel forgets the connection; what has arrived can still be read.
function methods:bury()
  self.dead, self.calm = true, false
  stop_syn(self)
  self.lost, self.lost_ids, self.stalled = {}, {}, false
  self.unsent = buffers.new()
  self.outstanding = 0
  self.host.sockets[self] = nil
end

function methods:reset_by_peer()
  if not self.dead then
    self:fail(self.ended and not self.fin and "EPIPE" or "ECONNRESET")
  end
end

function methods:receive(segment)
  self.heard = self.world.now
  if segment == RST then
    self:reset_by_peer()
  elseif self.dead then
    transport.transmit(self, RST)
  elseif segment == FIN then
    self.ended, self.calm = true, false
    transport.settle_orphan(self)
    poll.notify(self)
  elseif self.orphan then -- nobody will ever read it
    self:bury()
    transport.transmit(self, RST)
  else
    self.received:append(segment)
    poll.notify(self)
  end
end

---A fault on the way resets both ends.
function methods:sever()
  self:reset_by_peer()
  if self.peer then
    self.peer:reset_by_peer()
  end
end

-- ---------------------------------------------------------------- system calls

-- Whether the process gets to read what has arrived: not too fast, where a fault slows it down.
local function may_read(self)
  return self.received.size > 0 and (not self.host.read_rate or self.host:may_read())
end

---@return boolean readable, boolean writable, boolean trouble
function methods:events()
  if self.calm then
    return may_read(self), self.outstanding * 3 <= SEND_BUFFER * 2, false
  elseif not self.connected then
    local over = self.error ~= false
    return over, over, over
  end
  local dead, ended, fin = self.dead, self.ended, self.fin
  return ended or dead or may_read(self),
    dead or fin ~= false or self.outstanding * 3 <= SEND_BUFFER * 2,
    dead or (ended and (fin == "sent" or (self.family == "unix" and self.peer.orphan))) or self.error ~= false
end

local function take_error(self)
  local code = self.error
  self.error = false
  return code
end

---SO_ERROR.
---@return string|false code
function methods:get_error()
  return take_error(self)
end

---@param max integer
---@return string? data   "" at the end
---@return string? code
function methods:recv(max)
  local received = self.received
  local size = received.size
  if size > 0 then
    local wanted = size < max and size or max
    if self.host.read_rate then
      wanted = self.host:limit_read(wanted)
      if wanted == 0 then
        return nil, "EAGAIN"
      end
    end
    local data = received:take(wanted)
    local sender = self.peer
    if sender and sender.unsent.size > 0 and received.size * 2 <= RECEIVE_BUFFER then
      transport.acknowledge_later(sender)
    end
    return data
  elseif self.ended then
    return ""
  elseif self.error then
    return nil, take_error(self)
  elseif self.dead then
    return ""
  end
  return nil, "EAGAIN"
end

---How many bytes `send` takes now; or nil and why none will be taken any more.
---@return integer? room
---@return string? code
function methods:room()
  if self.error then
    return nil, take_error(self)
  elseif self.dead or self.fin or (self.family == "unix" and self.peer.orphan) then
    return nil, "EPIPE"
  end
  local room = SEND_BUFFER - self.outstanding
  return room > 0 and room or 0
end

---Takes bytes, no more than there is room for.
---@param data string
function methods:send(data)
  local size = #data
  self.outstanding = self.outstanding + size
  local used = self.in_flight + self.peer.received.size
  if self.unsent.size == 0 and size <= SEGMENT and used + size <= RECEIVE_BUFFER then
    transport.transmit(self, data)
  else
    self.unsent:append(data)
    transport.pump(self)
  end
end

---Our end, behind what has been sent.
---@return string? code
function methods:shutdown()
  if self.dead then
    return "ENOTCONN"
  elseif not self.fin then
    self.fin, self.calm = "queued", false
    transport.pump(self)
  end
end

---SIOCOUTQ: bytes not acknowledged, an end counts as one.
function methods:out_queue()
  return self.outstanding + (self.fin == "queued" and 1 or 0)
end

---The descriptor is closed, by the process or at its death.
function methods:close()
  poll.unwatch(self)
  self.orphan = true
  if self.dead then
    return
  elseif not self.connected then
    self:bury()
  elseif self.received.size > 0 then -- Linux: unread bytes turn the end into a reset
    self:bury()
    transport.transmit(self, RST)
  else
    self:shutdown()
    transport.settle_orphan(self)
  end
end

---The host has lost its power: nothing is sent.
function methods:crash()
  poll.unwatch(self)
  self:bury()
  self.orphan = true
end

---A reset to the peer, of a connection that nobody has accepted.
function methods:refuse()
  if not self.dead then
    self:bury()
    transport.transmit(self, RST)
  end
end

---A handshake that leads to nothing.
function methods:forget()
  if self.listener then
    self.listener:settle(self)
  end
  self:bury()
end

---@param options {idle: integer, interval: integer, count: integer}  see lunode.sim.net.keepalive
---@param user_timeout number  seconds that sent bytes may stay unacknowledged; 0: what the system does
function methods:set_keepalive(options, user_timeout)
  self.user_timeout = user_timeout > 0 and user_timeout
  keepalive.set(self, options)
end

return M
