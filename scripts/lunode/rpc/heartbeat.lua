-- Finds connections whose other side is gone without a word: while calls are in flight and nothing has come for
-- `heartbeat` seconds, asks for a sign of life with a request, `$/ping`. Any bytes are one, an error response too: so
-- it works with peers that are not ours. Costs nothing while nothing is in flight, and nothing for each call.

local loop = require "lunode.loop"

local M = {}

local function check_life(self)
  local now, stats, set = loop.now(), self.conn:stats(), self.options
  local alive = stats.bytes_read ~= self.bytes_read or stats.queued > 0 and stats.bytes_written ~= self.bytes_written
  self.bytes_read, self.bytes_written = stats.bytes_read, stats.bytes_written
  if alive then
    self.heard, self.pinged = now, false
  elseif self.pinged and now - self.pinged >= set.heartbeat_timeout then
    self.why = ("no sign of life from %s for %.3g s"):format(self.address, now - self.heard)
    self.code = "ETIMEDOUT"
    self.conn:abort()
  elseif not self.pinged and now - self.heard >= set.heartbeat then
    self.pinged = now
    self:send_ping()
  end
end

local function on_tick(self)
  if self.closed or self.in_flight == 0 and not self.pinged then
    self.watching = false
    return self.timer:close()
  end
  check_life(self)
end

---Looks for signs of life from now on, while calls are in flight.
---@param self lunode.rpc.connection
function M.watch(self)
  self.watching = true
  self.heard, self.pinged = loop.now(), false
  local stats = self.conn:stats()
  self.bytes_read, self.bytes_written = stats.bytes_read, stats.bytes_written
  local every = math.min(self.options.heartbeat, self.options.heartbeat_timeout) / 4
  self.timer = loop.timer(every, function()
    on_tick(self)
  end, every)
end

return M
