-- TCP keepalive: asks a peer that is silent for a sign of life, and gives it up where none comes. For
-- lunode.sim.net.socket, whose fields these are.

local transport = require "lunode.sim.net.transport"

local M = {}

local INTERVAL, COUNT = 75, 9 -- Linux's

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
  elseif transport.reaches_peer(self) and transport.is_answered(self) then
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
  self.world:at(now + wait, probe, self)
end

---@param self lunode.sim.socket
---@param options {idle: integer, interval: integer, count: integer}  idle = 0: off; else 0 is what the system does
function M.set(self, options)
  if options.idle == 0 then
    self.keepalive = false
    return
  end
  self.keepalive = {
    idle = options.idle,
    interval = options.interval > 0 and options.interval or INTERVAL,
    count = options.count > 0 and options.count or COUNT,
  }
  self.probes = 0
  if self.connected and not self.probing then
    self.probing = true
    self.world:at(self.world.now + options.idle, probe, self)
  end
end

return M
