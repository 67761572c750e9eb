-- One connection as a process has it: core/tcp_stream in Lua, over a simulated kernel's socket. Queues, watermarks,
-- half-close, timeouts, linger. Its states, order of events and errors are that module's, function by function, so what
-- is explained there is not explained here. Knows neither options nor callbacks of scripts: its owner does.
--
-- The owner has methods: read(data) → bytes that it keeps, where no data means to look at these again;
-- connected(status), writable(), ended(), closed(status). A status is false for success, else a name of
-- lunode.sim.net.status.

local buffers = require "lunode.task.buffer"
local poll = require "lunode.sim.net.poll"

local M = {}

local READ = 64 * 1024
local LINGER, DRAIN_QUIET = 10, 0.1
local MAX_KEPT = 1 << 30

---@class lunode.sim.stream
---@field state "connecting"|"open"|"closing"
---@field socket lunode.sim.socket|false
---@field owner any
---@field limits {low: integer, high: integer, cap: integer}
---@field timeouts {idle: number, read: number, write: number}  seconds; 0: none
---@field keepalive {idle: integer, interval: integer, count: integer, user_timeout: number}
---@field released fun()|false  whoever made it is told when it is gone
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.stream" }

---A stream without a socket.
---@param process lunode.sim.process
---@param owner any
---@return lunode.sim.stream
function M.new(process, owner)
  local self = setmetatable({
    process = process,
    loop = process.loop,
    world = process.loop.world,
    owner = owner,
    state = "connecting",
    socket = false,
    out = buffers.new(),
    kept = 0, -- bytes that the owner has been offered and has not consumed
    limits = false,
    timeouts = false,
    keepalive = false,
    bytes_read = 0,
    bytes_written = 0,
    last_read = 0,
    last_write = 0,
    timer = false,
    status = false,
    announced = false,
    paused = false,
    has_ended = false,
    shut = false,
    fin_sent = false,
    draining = false,
    unacknowledged = 0,
    aborted = false,
    full = false,
    want_write = false,
    flush_queued = false,
    resume_queued = false,
    fd = -1,
    released = false,
    gate = false, -- the server's
    held = {}, -- output that it holds back: {from, mark}, two at most
    known = 0, -- bytes up to here have been looked at
    in_gate = false, -- it is in the gate's list
    handle = false, -- what the script knows
  }, metatable)
  process.loop:hold(self)
  return self
end

local flush_later, on_hangup, on_io

-- ---------------------------------------------------------------- its timer

local function start_timer(self, seconds, fn)
  if self.timer then
    self.timer:close()
  end
  self.timer = self.process.timer(seconds, fn)
end

local function stop_timer(self)
  if self.timer then
    self.timer:close()
    self.timer = false
  end
end

-- ---------------------------------------------------------------- the end

local function on_closing(self)
  local owner = self.owner
  if owner and not self.announced then
    self.announced = true
    owner:connected(self.status or "ECANCELED")
  end
  if owner then
    owner:closed(self.status)
  end
  if self.socket then
    self.socket:close()
    self.process:release_fd(self.fd)
  end
  self.fd = -1
  if self.gate then
    self.gate:leave(self)
  end
  if self.released then
    self.released()
  end
  self.loop:release(self)
end

---Closes at once; what is queued is dropped.
---@param status string|false
function methods:abort(status)
  if self.aborted then
    return
  end
  self.aborted = true
  if self.state ~= "closing" or status then
    self.status = status
  end
  self.state = "closing"
  if self.socket then
    poll.unwatch(self.socket)
  end
  stop_timer(self)
  self.loop:closing(on_closing, self)
end

local function drain(self)
  local socket, now = self.socket, self.world.now
  local data, code = socket:recv(READ)
  if data == "" or (not data and code ~= "EAGAIN") then
    self:abort(self.status)
    return
  elseif data then
    self.last_read = now
  end
  local left = socket:out_queue()
  if left < self.unacknowledged then
    self.unacknowledged = left
    self.last_write = now
  end
  if left == 0 and now - self.last_read >= DRAIN_QUIET - 1e-9 then
    self:abort(self.status)
  elseif now - self.last_write >= LINGER then
    self:abort(left > 0 and "WRITE_TIMEOUT" or self.status)
  end
end

local function finish_close(self)
  local socket = self.socket
  if self.has_ended or not socket.on_ready or socket:shutdown() then
    self:abort(self.status)
    return
  end
  self.draining = true
  self.unacknowledged = math.maxinteger
  self.last_read, self.last_write = self.world.now, self.world.now
  poll.want(socket, true, false)
  stop_timer(self)
  self.timer = self.process.timer(DRAIN_QUIET, function()
    drain(self)
  end, DRAIN_QUIET)
end

local linger
function linger(self)
  start_timer(self, LINGER, function()
    if self.held[1] and not self.want_write then
      linger(self)
    else
      self:abort "WRITE_TIMEOUT"
    end
  end)
end

---Sends what is queued, then closes.
---@param status string|false
function methods:close(status)
  if self.state == "closing" then
    return
  elseif self.state == "connecting" then
    self:abort(status)
    return
  end
  self.state = "closing"
  self.status = status
  linger(self)
  flush_later(self)
end

-- ---------------------------------------------------------------- interest in events

local function is_reading(self)
  return not self.paused and not self.has_ended and self.state == "open"
end

local function set_events(self)
  local socket, reading, writing = self.socket, is_reading(self), self.want_write
  if socket.on_ready and (socket.want_in ~= reading or socket.want_out ~= writing) then
    poll.want(socket, reading, writing)
  end
end

-- ---------------------------------------------------------------- timeouts

-- When the next would be due, and its status.
local function next_timeout(self)
  local timeouts = self.timeouts
  local due, status = math.huge, false
  if timeouts.idle > 0 then
    due, status = math.max(self.last_read, self.last_write) + timeouts.idle, "IDLE_TIMEOUT"
  end
  if timeouts.read > 0 and not self.paused and not self.has_ended and self.last_read + timeouts.read < due then
    due, status = self.last_read + timeouts.read, "READ_TIMEOUT"
  end
  if timeouts.write > 0 and self.want_write and self.last_write + timeouts.write < due then
    due, status = self.last_write + timeouts.write, "WRITE_TIMEOUT"
  end
  return due, status
end

local arm_timeout

local function on_timeout(self)
  local due, status = next_timeout(self)
  if due <= self.world.now + 1e-9 then
    self:abort(status)
  else
    arm_timeout(self)
  end
end

function arm_timeout(self)
  local due = next_timeout(self)
  if due == math.huge then
    stop_timer(self)
  else
    start_timer(self, math.max(0, due - self.world.now), function()
      on_timeout(self)
    end)
  end
end

-- A timeout that had nothing to wait for begins to run.
local function timeout_begins(self)
  if (self.timeouts.read > 0 or self.timeouts.write > 0) and self.state == "open" then
    arm_timeout(self)
  end
end

---Each counts from now, or from when the stream opens.
function methods:set_timeouts(timeouts)
  self.timeouts = timeouts
  if self.state == "open" then
    self.last_read, self.last_write = self.world.now, self.world.now
    arm_timeout(self)
  end
end

function methods:set_keepalive(keepalive)
  self.keepalive = keepalive
  if self.socket then
    self.socket:set_keepalive(keepalive, keepalive.user_timeout)
  end
end

-- ---------------------------------------------------------------- output

-- How many of the bytes queued may leave.
local function sendable(self)
  local size = self.out.size
  if not self.gate then
    return size
  end
  return self.gate:pass(self, self.bytes_written + size) - self.bytes_written
end

-- False when the stream was aborted.
local function send_queue(self)
  local out, socket = self.out, self.socket
  local left, would_block = sendable(self), false
  while left > 0 and not would_block do
    local room, code = socket:room()
    if not room then
      self:abort(code)
      return false
    end
    if room > 0 then
      local size = left < room and left or room
      size = size < READ and size or READ
      socket:send(out:take(size))
      self.last_write = self.world.now
      self.bytes_written = self.bytes_written + size
      left = left - size
    end
    would_block = left > 0 and room <= READ
  end
  if would_block and not self.want_write then
    self.last_write = self.world.now
    self.want_write = true
    timeout_begins(self)
  end
  self.want_write = would_block
  return true
end

local function on_flush(self)
  self.flush_queued = false
  if self.aborted or self.draining or self.state == "connecting" then
    return
  end
  local before = self.bytes_written
  if not send_queue(self) then
    return
  end
  local left = self.out.size
  if self.state == "closing" then
    if left == 0 then
      finish_close(self)
      return
    elseif self.bytes_written > before then
      linger(self)
    end
  elseif left == 0 and self.shut and not self.fin_sent then
    self.fin_sent = true
    if self.socket:shutdown() then
      on_hangup(self)
      return
    elseif self.has_ended then
      self:abort(false)
      return
    end
  end
  set_events(self)
  if self.full and left < self.limits.low and self.state == "open" then
    self.full = false
    self.owner:writable()
  end
end

function flush_later(self)
  if not self.flush_queued then
    self.flush_queued = true
    self.loop:flush(on_flush, self)
  end
end

---The gate has let some of the output go.
function methods:let_go()
  if not self.want_write then
    flush_later(self)
  end
end

---Why a write would be refused, or false.
---@return string|false status
function methods:refusal()
  if self.state == "closing" then
    return "ENOTCONN"
  end
  return self.shut and "EPIPE"
end

---Queues bytes, of which `refusal` has said that they are welcome.
---@param data string
---@return boolean|string room  false above the high watermark; or "ENOBUFS": nothing was queued, and the stream closes
function methods:write(data)
  local out, limits = self.out, self.limits
  local size = out.size + #data
  if size > limits.cap then
    self:abort "ENOBUFS"
    return "ENOBUFS"
  end
  if #data > 0 then
    out:append(data)
  end
  if not self.want_write and not self.flush_queued and self.state == "open" then
    flush_later(self)
  end
  if size > limits.high then
    self.full = true
    return false
  end
  return true
end

function methods:shutdown()
  if self.state ~= "closing" then
    self.shut = true
    if self.state == "open" then
      flush_later(self)
    end
  end
end

-- ---------------------------------------------------------------- input

local function on_ended(self)
  self.has_ended = true
  if self.fin_sent and self.out.size == 0 then
    self.owner:ended()
    self:abort(false)
    return
  end
  set_events(self)
  self.owner:ended()
end

-- Offers what has come, with what is kept. Once the stream closes, nobody counts any more what was consumed of it.
local function offer(self, data)
  local before = self.kept
  local kept = self.owner:read(data)
  if self.state == "open" then
    self.kept = kept
  elseif before > 0 then
    self.kept = before + #data
  end
end

local function on_readable(self)
  if self.kept > MAX_KEPT then
    self:abort "ENOBUFS"
    return
  end
  local data, code = self.socket:recv(READ)
  if data == "" then
    on_ended(self)
  elseif data then
    self.last_read = self.world.now
    self.bytes_read = self.bytes_read + #data
    offer(self, data)
  elseif code ~= "EAGAIN" then
    self:abort(code)
  end
end

local function on_resume(self)
  self.resume_queued = false
  if self.state == "open" and not self.paused and self.kept > 0 then
    offer(self, "")
  end
end

function methods:pause()
  self.paused = true
  if self.state == "open" then
    set_events(self)
  end
end

function methods:resume()
  if not self.paused then
    return
  end
  self.paused = false
  if self.state ~= "open" then
    return
  elseif not self.socket.on_ready then
    poll.watch(self.socket, self.loop, self, on_io, false, false)
  end
  self.last_read = self.world.now
  timeout_begins(self)
  if not self.resume_queued then
    self.resume_queued = true
    self.process.defer(function()
      on_resume(self)
    end)
  end
  set_events(self)
end

-- ---------------------------------------------------------------- events of the socket

function on_hangup(self)
  local code = self.socket:get_error()
  if code then
    self:abort(code)
  elseif self.paused and self.state == "open" then
    poll.unwatch(self.socket) -- it would be told again and again: resume looks at it
  else
    self:abort(not self.has_ended and "ECONNRESET")
  end
end

function on_io(self, readable, writable, trouble)
  if self.draining then
    drain(self)
    return
  elseif self.resume_queued then -- what was kept goes first
    return
  end
  if writable and self.want_write then
    flush_later(self)
  end
  if is_reading(self) and (readable or trouble) then
    on_readable(self)
  elseif trouble then
    on_hangup(self)
  end
end

---The stream takes a connected socket over, and is open.
---@param socket lunode.sim.socket
function methods:adopt(socket)
  local keepalive = self.keepalive
  self.socket = socket
  self.state = "open"
  self.fd = self.process:take_fd()
  poll.watch(socket, self.loop, self, on_io, not self.paused, false)
  if keepalive and (keepalive.idle > 0 or keepalive.user_timeout > 0) then
    self:set_keepalive(keepalive)
  end
  stop_timer(self)
  self.last_read, self.last_write = self.world.now, self.world.now
  if self.timeouts then
    arm_timeout(self)
  end
  if self.out.size > 0 or self.shut then
    flush_later(self)
  end
end

---The time within which it has to be connected.
function methods:connect_within(seconds, fn)
  start_timer(self, seconds, fn)
end

return M
