-- One end of a connection, as a kernel has it: what has arrived and nobody has read, what is sent and not
-- acknowledged, the end of either side, resets. It outlives the process that opened it as far as a real one does.
-- Knows no callbacks of scripts; what a process makes of it is lunode.sim.stream's.
--
-- A segment that is lost is sent again after a while, and all behind it wait: so bytes stay in order, and none is
-- lost but with the connection. Errors and their order are Linux's.

local buffers = require "lunode.task.buffer"
local poll = require "lunode.sim.net.poll"

local M = {}

local RECEIVE_BUFFER, SEND_BUFFER = 256 * 1024, 256 * 1024
local SEGMENT = 64 * 1024
-- Linux's: the first and the longest wait for an acknowledgement, and how long it tries in all (tcp_retries2 = 15).
local FIRST_RTO, LAST_RTO, GIVE_UP = 0.2, 120, 924.6
-- How often a peer without room is asked whether it has some.
local WINDOW_PROBE = 0.5
local KEEPALIVE = { idle = 7200, interval = 75, count = 9 }

-- Segments are strings, or one of these.
local FIN, RST = { text = "end" }, { text = "reset" }

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
    dead = false,
    orphan = false,
    error = false,
    received = buffers.new(),
    ended = false,
    syn_timer = false, -- while it is connecting
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
    on_probe = false,
    on_arrival = false,
    on_ack = false,
    on_rto = false,
  }
  poll.init(self)
  setmetatable(self, metatable)
  host:add_socket(self)
  return self
end

-- ---------------------------------------------------------------- the way to the peer

local function record(self, kind, segment, id)
  local size = segment == FIN and 0 or segment == RST and 0 or #segment
  self.world:record {
    t = self.world.now,
    kind = kind,
    node = kind == "deliver" and self.link.to.name or self.host.name,
    id = id,
    conn = self.id,
    from = self.host.name,
    to = self.link.to.name,
    bytes = size,
    data = type(segment) == "string" and segment or nil,
    text = type(segment) == "table" and segment.text or nil,
  }
end

local function reaches_peer(self)
  return not self.black and self.link:carries()
end

local function is_answered(self)
  return self.peer and not self.black and self.peer.link:carries()
end

local function size_of(segment)
  return segment == FIN and 1 or segment == RST and 0 or #segment
end

local run_rto

local function start_rto(self)
  if not self.rto_running then
    self.rto_running = true
    self.rto = FIRST_RTO
    self.waiting_since = self.waiting_since or self.world.now
    self.on_rto = self.on_rto or function()
      run_rto(self)
    end
    self.world:at(self.world.now + FIRST_RTO, self.on_rto)
  end
end

local function lose(self, segment, id)
  record(self, "lost", segment, id)
  if segment ~= RST and not self.dead then -- nobody sends a reset again
    local n = #self.lost + 1
    self.lost[n], self.lost_ids[n] = segment, id
    self.stalled = true
    start_rto(self)
  end
end

local arrive

local function launch(self, segment, id, now)
  local arrival = self.link:arrival(now, size_of(segment) + 40)
  if arrival < self.last_arrival then
    arrival = self.last_arrival
  end
  self.last_arrival = arrival
  local last = self.last + 1
  self.segments[last], self.times[last], self.ids[last] = segment, arrival, id
  self.last = last
  if last == self.first then
    self.on_arrival = self.on_arrival or function()
      arrive(self)
    end
    self.world:at(arrival, self.on_arrival)
  end
end

local function transmit(self, segment)
  local net, link = self.net, self.link
  local id = net.messages + 1
  net.messages = id
  record(self, "send", segment, id)
  self.in_flight = self.in_flight + size_of(segment)
  if self.stalled and segment ~= RST then
    local n = #self.lost + 1
    self.lost[n], self.lost_ids[n] = segment, id
  elseif self.black or link.cuts > 0 then
    lose(self, segment, id)
  else
    launch(self, segment, id, self.world.now)
  end
end

-- ---------------------------------------------------------------- acknowledgements

-- Sends what the peer has room for.
local function pump(self)
  local unsent, peer = self.unsent, self.peer
  while unsent.size > 0 do
    local room = RECEIVE_BUFFER - self.in_flight - peer.received.size
    local size = unsent.size < SEGMENT and unsent.size or SEGMENT
    if room < size then
      return
    end
    transmit(self, unsent:take(size))
  end
  if self.fin == "queued" then
    self.fin = "sent"
    self.outstanding = self.outstanding + 1
    transmit(self, FIN)
  end
end

-- An orphan whose end has been taken, and that has the peer's, is no more.
local function settle_orphan(self)
  if self.orphan and self.ended and self.fin == "sent" and self.outstanding == 0 then
    self:bury()
  end
end

-- The news that the peer has taken something is under way.
local function acknowledge_later(self)
  if not self.ack_running then
    self.ack_running = true
    self.on_ack = self.on_ack
      or function()
        self.ack_running = false
        if self.dead then
          return
        elseif not is_answered(self) then
          self.ack_running = true
          self.world:at(self.world.now + WINDOW_PROBE, self.on_ack)
          return
        end
        pump(self)
        settle_orphan(self)
        poll.notify(self)
      end
    self.world:at(self.world.now + self.peer.link:delay(), self.on_ack)
  end
end

local function acknowledged(self, size)
  self.outstanding = self.outstanding - size
  self.heard = self.world.now
  if not self.stalled and self.unacknowledged == 0 then
    self.waiting_since = false
  end
  if self.want_out or self.unsent.size > 0 or self.fin == "queued" then
    acknowledge_later(self)
  elseif self.orphan then
    settle_orphan(self)
  end
end

local function deliver(self, segment, id)
  if segment ~= RST and self.stalled then
    local n = #self.lost + 1
    self.lost[n], self.lost_ids[n] = segment, id
    return
  elseif not reaches_peer(self) then
    lose(self, segment, id)
    return
  end
  local size = size_of(segment)
  self.in_flight = self.in_flight - size
  record(self, "deliver", segment, id)
  self.peer:receive(segment)
  if not self.dead and size > 0 then
    if is_answered(self) then
      acknowledged(self, size)
    else
      self.unacknowledged = self.unacknowledged + size
      start_rto(self)
    end
  end
end

function arrive(self)
  local now, times = self.world.now, self.times
  local first = self.first
  while first <= self.last and times[first] <= now do
    local segment, id = self.segments[first], self.ids[first]
    self.segments[first], times[first], self.ids[first] = nil, nil, nil
    self.first = first + 1
    deliver(self, segment, id)
    first = self.first
  end
  if first <= self.last then
    self.world:at(times[first], self.on_arrival)
  else
    self.first, self.last = 1, 0
  end
end

-- ---------------------------------------------------------------- what is lost is sent again

local function send_again(self)
  local lost, ids = self.lost, self.lost_ids
  self.lost, self.lost_ids, self.stalled = {}, {}, false
  for i, segment in ipairs(lost) do
    launch(self, segment, ids[i], self.world.now)
  end
  if self.unacknowledged > 0 and is_answered(self) then
    local size = self.unacknowledged
    self.unacknowledged = 0
    acknowledged(self, size)
  end
end

function run_rto(self)
  local now = self.world.now
  local limit = self.user_timeout or GIVE_UP
  self.rto_running = false
  if self.dead or (not self.stalled and self.unacknowledged == 0) then
    return
  elseif self.waiting_since and now - self.waiting_since >= limit - 1e-9 then
    self:fail "ETIMEDOUT"
    return
  end
  if reaches_peer(self) then
    send_again(self)
  end
  if self.stalled or self.unacknowledged > 0 then
    self.rto_running = true
    self.rto = math.min(self.rto * 2, LAST_RTO)
    self.world:at(math.min(now + self.rto, (self.waiting_since or now) + limit), self.on_rto)
  end
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
    self.world.events:remove(self.syn_timer)
    self.syn_timer = false
  end
end

---The handshake has ended well.
function methods:establish()
  self.connected = true
  stop_syn(self)
end

---The kernel forgets the connection; what has arrived can still be read.
function methods:bury()
  self.dead = true
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
    transmit(self, RST)
  elseif segment == FIN then
    self.ended = true
    settle_orphan(self)
    poll.notify(self)
  elseif self.orphan then -- nobody will ever read it
    self:bury()
    transmit(self, RST)
  else
    self.received:append(segment)
    if self.on_ready then
      poll.notify(self)
    end
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

---@return boolean readable, boolean writable, boolean trouble
function methods:events()
  if not self.connected then
    local over = self.error ~= false
    return over, over, over
  end
  local dead, ended, fin = self.dead, self.ended, self.fin
  return ended or dead or (self.received.size > 0 and self.host:may_read()),
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
    local wanted = self.host:limit_read(size < max and size or max)
    if wanted == 0 then
      return nil, "EAGAIN"
    end
    local data = received:take(wanted)
    local sender = self.peer
    if sender and sender.unsent.size > 0 and received.size * 2 <= RECEIVE_BUFFER then
      acknowledge_later(sender)
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
    transmit(self, data)
  else
    self.unsent:append(data)
    pump(self)
  end
end

---Our end, behind what has been sent.
---@return string? code
function methods:shutdown()
  if self.dead then
    return "ENOTCONN"
  elseif not self.fin then
    self.fin = "queued"
    pump(self)
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
    transmit(self, RST)
  else
    self:shutdown()
    settle_orphan(self)
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
    transmit(self, RST)
  end
end

-- ---------------------------------------------------------------- keepalive

local function probe(self)
  local settings, now = self.keepalive, self.world.now
  if not settings or self.dead or self.orphan then
    self.probing = false
    return
  end
  local silent = now - self.heard
  local wait = settings.interval
  if self.outstanding > 0 then -- retransmission looks after it
    wait = settings.idle
  elseif silent < settings.idle - 1e-9 and self.probes == 0 then
    wait = settings.idle - silent
  elseif reaches_peer(self) and is_answered(self) then
    if self.peer.dead then
      self:reset_by_peer()
      return
    end
    self.heard, self.probes, wait = now, 0, settings.idle
  elseif self.probes >= settings.count or (self.user_timeout and self.probes > 0 and silent >= self.user_timeout) then
    self:fail "ETIMEDOUT"
    return
  else
    self.probes = self.probes + 1
  end
  self.world:at(now + wait, self.on_probe)
end

---@param options {idle: integer, interval: integer, count: integer}  idle = 0: off; else 0 is what the system does
---@param user_timeout number  seconds; 0: what the system does
function methods:set_keepalive(options, user_timeout)
  self.user_timeout = user_timeout > 0 and user_timeout
  if options.idle == 0 then
    self.keepalive = false
    return
  end
  self.keepalive = {
    idle = options.idle,
    interval = options.interval > 0 and options.interval or KEEPALIVE.interval,
    count = options.count > 0 and options.count or KEEPALIVE.count,
  }
  self.probes = 0
  self.on_probe = self.on_probe or function()
    probe(self)
  end
  if self.connected and not self.probing then
    self.probing = true
    self.world:at(self.world.now + options.idle, self.on_probe)
  end
end

return M
