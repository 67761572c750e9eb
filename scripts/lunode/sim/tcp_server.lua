-- lunode.tcp_server in the simulated world: core/tcp_server and its binding. What connections do is not its affair.

local address = require "lunode.sim.net.address"
local conns = require "lunode.sim.conn"
local gates = require "lunode.sim.gate"
local options_of = require "lunode.sim.options"
local poll = require "lunode.sim.net.poll"
local status = require "lunode.sim.net.status"

local M = {}

local ACCEPTS_PER_TURN, ACCEPT_PAUSE = 128, 0.1

local INSIDE = {} -- the key
local methods = {}
local metatable = { __index = methods, __name = "lunode.server" }

local function has_room(self)
  local max = self.options.max_connections
  return not max or self.count < max
end

-- Listens again unless there is a reason not to.
local function take_up(self)
  if not self.closed and has_room(self) and not self.pause then
    poll.want(self.listener, true, false)
  end
end

-- While descriptors are short.
local function pause_accepting(self)
  poll.want(self.listener, false, false)
  self.pause = self.process.timer(ACCEPT_PAUSE, function()
    self.pause = false
    take_up(self)
  end)
end

local function welcome(self, socket)
  local process, world = self.process, self.process.loop.world
  local conn, stream = conns.new(process, self.options)
  stream.gate = self.gate
  stream:adopt(socket)
  stream.announced = true
  self.count = self.count + 1
  function stream.released()
    self.count = self.count - 1
    take_up(self)
  end
  world:record {
    t = world.now,
    kind = "accept",
    node = process.node.name,
    conn = socket.id,
    text = socket.peer.host.name,
  }
  local on_connect = self.options.callbacks.on_connect
  if on_connect and not process.loop:call(on_connect, conn) then
    stream:abort "ECALLBACK"
  end
end

local function on_io(self)
  for _ = 1, ACCEPTS_PER_TURN do
    if self.closed then
      return
    elseif not has_room(self) then
      poll.want(self.listener, false, false)
      return
    end
    local socket, code = self.listener:accept()
    if code == "EMFILE" then
      pause_accepting(self)
      return
    elseif not socket then
      return
    end
    welcome(self, socket)
  end
end

local function listen(process, host, port, options)
  host, port = options_of.check_arguments("listen", host, port, options, 3)
  local o, err = options_of.read(options, "server")
  if not o then
    error(err, 3)
  end
  local addresses, why = address.parse(host)
  if addresses and #addresses == 0 then
    addresses, why = nil, "NO_LOOKUP"
  end
  local listener
  if addresses then
    listener, why = process.host:listen(addresses[1], port, o)
  end
  if not listener then
    local where = address.is_unix(host) and host or ("%s port %d"):format(host, port)
    return nil, ("cannot listen on %s: %s"):format(where, status.text(why)), status.code(why)
  end
  local self = {
    process = process,
    options = o,
    listener = listener,
    gate = gates.new(),
    count = 0, -- connections
    pause = false, -- a timer
    closed = false,
    server = false,
    handle = false,
  }
  local server = setmetatable({ [INSIDE] = self }, metatable)
  self.server, self.handle = server, server -- which the kernel's side keeps alive while it is open
  process:number(server)
  process.loop:hold(self)
  poll.watch(listener, process.loop, self, on_io, true, false)
  return server
end

-- ---------------------------------------------------------------- methods

local function let_go(stream)
  stream:let_go()
end

local function check(server, name)
  local self = type(server) == "table" and server[INSIDE]
  if not self then
    options_of.misuse(1, name, "lunode.server expected, got " .. (server == nil and "no value" or type(server)), 3)
  end
  return self
end

function methods.close(server)
  local self = check(server, "close")
  if not self.closed then
    self.closed = true
    if self.pause then
      self.pause:close()
    end
    self.listener:close()
    self.process.loop:release(self)
  end
end
metatable.__close = methods.close

function methods.sock(server)
  local self = check(server, "sock")
  local listener = self.listener
  if self.closed then
    return status.failure "ENOTCONN"
  elseif listener.family == "unix" then
    return "unix:" .. listener.local_host, 0
  end
  return listener.local_host, listener.local_port
end

function methods.connections(server)
  return check(server, "connections").count
end

function methods.hold(server, mark)
  local self = check(server, "hold")
  self.gate:hold(options_of.check_mark("hold", mark, 2))
end

function methods.release(server, mark)
  local self = check(server, "release")
  self.gate:release(options_of.check_mark("release", mark, 2), let_go)
end

function metatable.__newindex()
  error("attempt to index a lunode.server value", 2)
end

---The module, for one life of a node.
---@param process lunode.sim.process
function M.new(process)
  return {
    listen = function(host, port, options)
      local server, err, code = listen(process, host, port, options) -- no tail call: errors are the caller's
      if not server then
        return nil, err, code
      end
      return server
    end,
  }
end

return M
