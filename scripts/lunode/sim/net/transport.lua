-- How the segments of one end get to the other: under way for a while, lost where a link is cut, sent again until they
-- are acknowledged, held back while the peer has no room. For lunode.sim.net.socket, whose fields these are; what a
-- segment does when it arrives is that module's.

local poll = require "lunode.sim.net.poll"

local M = {}

local SEGMENT = 64 * 1024
-- Linux's: the first and the longest wait for an acknowledgement, and how long it tries in all (tcp_retries2 = 15).
local FIRST_RTO, LAST_RTO, GIVE_UP = 0.2, 120, 924.6
-- How often a peer without room is asked whether it has some.
local WINDOW_PROBE = 0.5
local HEADER = 40 -- bytes on the wire beside the payload

local RECEIVE_BUFFER = 256 * 1024
M.RECEIVE_BUFFER = RECEIVE_BUFFER

-- Segments are strings, or one of these.
local FIN, RST = { text = "end" }, { text = "reset" }
M.FIN, M.RST = FIN, RST

-- ---------------------------------------------------------------- on the way

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

---Whether segments get to the peer now.
---@param self lunode.sim.socket
local function reaches_peer(self)
  local link = self.link
  return link.cuts == 0 and not link.to.down and not self.black
end

---Whether the peer's get here.
---@param self lunode.sim.socket
local function is_answered(self)
  local peer = self.peer
  local link = peer and peer.link
  return link and link.cuts == 0 and not link.to.down and not self.black
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
    self.world:at(self.world.now + FIRST_RTO, run_rto, self)
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
  local arrival = self.link:arrival(now, size_of(segment) + HEADER)
  if arrival < self.last_arrival then
    arrival = self.last_arrival
  end
  self.last_arrival = arrival
  local last = self.last + 1
  self.segments[last], self.times[last], self.ids[last] = segment, arrival, id
  self.last = last
  if last == self.first then
    self.world:at(arrival, arrive, self)
  end
end

---@param self lunode.sim.socket
---@param segment string|table
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

---Sends what the peer has room for.
---@param self lunode.sim.socket
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

---An orphan whose end has been taken, and that has the peer's, is no more.
---@param self lunode.sim.socket
local function settle_orphan(self)
  if self.orphan and self.ended and self.fin == "sent" and self.outstanding == 0 then
    self:bury()
  end
end

local function on_acknowledgement(self)
  if self.dead then
    self.ack_running = false
  elseif not is_answered(self) then
    self.world:at(self.world.now + WINDOW_PROBE, on_acknowledgement, self)
  else
    self.ack_running = false
    pump(self)
    settle_orphan(self)
    poll.notify(self)
  end
end

---The news that the peer has taken something is under way.
---@param self lunode.sim.socket  the one who waits for it
local function acknowledge_later(self)
  if not self.ack_running then
    self.ack_running = true
    self.world:at(self.world.now + self.peer.link:delay(), on_acknowledgement, self)
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
    if is_answered(self) then -- which acknowledges all that has arrived
      size, self.unacknowledged = size + self.unacknowledged, 0
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
    self.world:at(times[first], arrive, self)
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
    self.world:at(math.min(now + self.rto, (self.waiting_since or now) + limit), run_rto, self)
  end
end

M.reaches_peer = reaches_peer
M.is_answered = is_answered
M.transmit = transmit
M.pump = pump
M.settle_orphan = settle_orphan
M.acknowledge_later = acknowledge_later

return M
