-- lunode.tcp_client in the simulated world: core/tcp_client and its binding. Each outcome of a connect is told once,
-- never within the call; the addresses of a name race (RFC 8305). What happens then is lunode.sim.stream's.

local address = require "lunode.sim.net.address"
local conns = require "lunode.sim.conn"
local options_of = require "lunode.sim.options"
local poll = require "lunode.sim.net.poll"

local M = {}

local CONNECT_DELAY = 0.25 -- the head start of an address
local FIRST_RETRY, LAST_RETRY = 0.001, 0.05 -- of a Unix socket whose backlog is full

---@class lunode.sim.client  lives until its stream is connected, or gone
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.client" }

local function is_connecting(self)
  return self.stream.state == "connecting"
end

-- Nothing of it happens any more.
local function finish(self)
  self.over = true
  if self.delay then
    self.delay:close()
  end
  if self.lookup then
    self.process.loop.world:cancel(self.lookup)
  end
  for _, socket in ipairs(self.running) do
    socket:close()
  end
  self.running = {}
end

local function won(self, socket)
  local stream = self.stream
  for i, other in ipairs(self.running) do
    if other == socket then
      table.remove(self.running, i)
      break
    end
  end
  stream.released = false
  finish(self)
  stream:adopt(socket)
  stream.announced = true
  stream.owner:connected(false)
end

-- That there is no way to an address from here.
local function says_little(status)
  return status == "ENETUNREACH" or status == "EADDRNOTAVAIL"
end

local function note_failure(self, status)
  if not self.status or says_little(self.status) or not says_little(status) then
    self.status = status
  end
end

local try_next

local function on_io(socket)
  local self = socket.client
  local code = socket:get_error()
  poll.unwatch(socket)
  if not code then
    won(self, socket)
    return
  end
  for i, other in ipairs(self.running) do
    if other == socket then
      table.remove(self.running, i)
      break
    end
  end
  socket:close()
  if is_connecting(self) then
    note_failure(self, code)
    try_next(self)
  end
end

local function later(self, seconds)
  if self.delay then
    self.delay:close()
  end
  self.delay = self.process.timer(seconds, function()
    if is_connecting(self) then
      try_next(self)
    end
  end)
end

-- Goes on to the next address whose attempt does not fail at once.
function try_next(self)
  if self.delay then
    self.delay:close()
    self.delay = false
  end
  local process = self.process
  while self.next <= #self.addresses do
    local where = self.addresses[self.next]
    local socket, status = process.host:connect(where, self.port)
    if status == "EAGAIN" and where.family == "unix" then
      self.retry = self.retry == 0 and FIRST_RETRY or math.min(self.retry * 2, LAST_RETRY)
      later(self, self.retry)
      return
    end
    self.next = self.next + 1
    if socket then
      socket.client = self
      self.running[#self.running + 1] = socket
      poll.watch(socket, process.loop, socket, on_io, false, true)
      if self.next <= #self.addresses then
        later(self, CONNECT_DELAY)
      end
      return
    end
    note_failure(self, status)
  end
  if #self.running == 0 then
    self.stream:abort(self.status)
  end
end

local function begin(self, addresses, status)
  self.addresses = addresses or {}
  self.status = status or false
  if is_connecting(self) then
    try_next(self)
  end
end

-- A name: its addresses, or why there are none, come after a while.
local function look_up(self, name)
  local process = self.process
  local net, world = process.net, process.loop.world
  self.lookup = world:at(world.now + net.lookup_time, function()
    process.loop:socket(function()
      self.lookup = false
      if not self.over then
        begin(self, net:resolve(name))
      end
    end)
  end)
end

local function connect(process, host, port, options)
  host, port = options_of.check_arguments("connect", host, port, options, 3)
  local o, err = options_of.read(options, "client")
  if not o then
    error(err, 3)
  end
  local conn, stream = conns.new(process, o)
  local self = setmetatable({
    process = process,
    stream = stream,
    port = port,
    addresses = {},
    next = 1,
    running = {}, -- sockets that are connecting
    status = false, -- what is told if all fail
    retry = 0,
    delay = false,
    lookup = false,
    over = false,
  }, metatable)
  function stream.released()
    finish(self)
  end
  stream:connect_within(o.connect_timeout, function()
    stream:abort(self.lookup and "LOOKUP_TIMEOUT" or "CONNECT_TIMEOUT")
  end)
  local addresses, status = address.parse(host)
  if addresses and #addresses == 0 then
    look_up(self, host)
  else
    process.defer(function()
      begin(self, addresses, status)
    end)
  end
  return conn
end

---The module, for one life of a node.
---@param process lunode.sim.process
function M.new(process)
  return {
    connect = function(host, port, options)
      local conn = connect(process, host, port, options) -- no tail call: errors are the caller's
      return conn
    end,
  }
end

return M
