-- Connections of the simulated world as scripts see them: bindings/conn.c in Lua. `conn` is what scripts hold; `c`,
-- behind a key that only this file has, is its inside, and the owner of a lunode.sim.stream. Decodes nothing itself.

local decoder = require "lunode.decoder"
local messages = require "lunode.sim.messages"
local options = require "lunode.sim.options"
local status = require "lunode.sim.net.status"
local streams = require "lunode.sim.stream"

local M = {}

local INSIDE = {} -- the key
local methods = {}
local metatable = { __index = methods, __name = "lunode.conn" }

-- ---------------------------------------------------------------- from the stream to scripts

local inside = {}
local inside_metatable = { __index = inside, __name = "lunode.sim.conn" }

-- A callback that raised closes its connection, and nothing else.
local function call(c, callback, ...)
  if not c.loop:call(callback, c.conn, ...) then
    c.stream:abort "ECALLBACK"
  end
end

function inside:connected(why)
  local on_connect = self.callbacks.on_connect
  if on_connect and why then
    call(self, on_connect, status.text(why), status.code(why))
  elseif on_connect then
    call(self, on_connect)
  end
end

function inside:read(data)
  if self.decoder then
    return messages.read(self, data)
  end
  local on_read = self.callbacks.on_read
  if on_read and data ~= "" then
    call(self, on_read, data)
  end
  return 0
end

---It reads unless the script has paused it or a reply has filled its queue.
function inside:apply_pause()
  if self.paused or self.held then
    self.stream:pause()
  else
    self.stream:resume()
  end
end

function inside:writable()
  self.held = false
  self:apply_pause()
  local on_writable = self.callbacks.on_writable
  if on_writable then
    call(self, on_writable)
  end
end

function inside:ended()
  local on_end = self.callbacks.on_end
  if on_end then
    call(self, on_end)
  else
    self.stream:close(false)
  end
end

function inside:closed(why)
  local on_close = self.callbacks.on_close
  if on_close and why then
    self.loop:call(on_close, self.conn, status.text(why), status.code(why))
  elseif on_close then
    self.loop:call(on_close, self.conn)
  end
  self:tell_close(why)
  self.stream = false
  if self.decoder then
    self.decoder:close()
    self.decoder = false
  end
end

-- For the trace.
function inside:tell_close(why)
  local socket, world = self.stream.socket, self.loop.world
  world:record {
    t = world.now,
    kind = "close",
    node = self.loop.node.name,
    conn = socket and socket.id or nil,
    text = why and status.code(why) or nil,
  }
end

local function apply(stream, o)
  stream.limits = o.limits
  stream:set_timeouts(o.timeouts)
  if o.sets_keepalive then
    stream:set_keepalive(o.keepalive)
  elseif not stream.keepalive then
    stream.keepalive = o.keepalive
  end
end

---A connection without a socket.
---@param process lunode.sim.process
---@param o lunode.sim.conn_options
---@return table conn
---@return lunode.sim.stream stream
function M.new(process, o)
  local c = setmetatable({
    loop = process.loop,
    number = 0, -- in place of an address
    conn = false,
    stream = false,
    callbacks = o.callbacks,
    names = o.names,
    decoder = o.decoder.decoder ~= nil and decoder.new(o.decoder),
    protocol = o.decoder.protocol or 2,
    paused = false,
    held = false, -- by a reply that filled the queue
    advanced = false, -- the messages of a batch: some were taken
    decoding = false, -- the decoder runs
    refusal = nil,
  }, inside_metatable)
  local conn = setmetatable({ [INSIDE] = c }, metatable)
  c.number = process:number(conn)
  local stream = streams.new(process, c)
  c.conn, c.stream, stream.handle = conn, stream, conn
  apply(stream, o)
  return conn, stream
end

-- ---------------------------------------------------------------- methods

local function check(conn, name)
  local c = type(conn) == "table" and conn[INSIDE]
  if not c then
    options.misuse(1, name, "lunode.conn expected, got " .. (conn == nil and "no value" or type(conn)), 3)
  end
  return c
end

local function write(c, data)
  local stream = c.stream
  local why = not stream and "ENOTCONN" or stream:refusal()
  if why then
    return status.failure(why)
  end
  local room = stream:write(data)
  if room == "ENOBUFS" then
    return status.failure(room)
  end
  return room
end

-- All strings, or the caller has made a mistake.
local function check_list(list)
  for i = 1, rawlen(list) do
    local piece = rawget(list, i)
    if type(piece) ~= "string" then
      options.misuse(1, "write", ("element %d is a %s, not a string"):format(i, type(piece)), 3)
    end
  end
end

local function concat(list)
  if getmetatable(list) ~= nil then -- which is not asked
    local plain = {}
    for i = 1, rawlen(list) do
      plain[i] = rawget(list, i)
    end
    list = plain
  end
  return table.concat(list)
end

function methods.write(conn, ...)
  local c, data = check(conn, "write"), ...
  local kind = type(data)
  if kind == "string" then
    return write(c, data)
  elseif kind == "number" then
    return write(c, tostring(data))
  elseif kind == "table" then
    if not c.stream then
      return status.failure "ENOTCONN"
    end
    check_list(data)
    return write(c, concat(data))
  end
  options.misuse(1, "write", "string expected, got " .. (select("#", ...) == 0 and "no value" or kind), 2)
end

function methods.close(conn)
  local c = check(conn, "close")
  if c.stream then
    c.stream:close(false)
  end
end
metatable.__close = methods.close

function methods.abort(conn)
  local c = check(conn, "abort")
  if c.stream then
    c.stream:abort(false)
  end
end

function methods.shutdown(conn)
  local c = check(conn, "shutdown")
  if c.stream then
    c.stream:shutdown()
  end
end

function methods.pause(conn)
  local c = check(conn, "pause")
  c.paused = true
  if c.stream then
    c:apply_pause()
  end
end

function methods.resume(conn)
  local c = check(conn, "resume")
  c.paused = false
  if c.stream then
    c:apply_pause()
  end
end

function methods.set(conn, ...)
  local c, given = check(conn, "set"), ...
  local stream = c.stream
  if type(given) ~= "table" then
    local got = select("#", ...) == 0 and "no value" or type(given)
    options.misuse(1, "set", "table expected, got " .. got, 2)
  elseif not stream then
    return
  end
  local o, err = options.change(given, stream.limits, stream.timeouts, stream.keepalive)
  if not o then
    error(err, 2)
  end
  apply(stream, o)
  c.protocol = o.decoder.protocol or c.protocol
  if c.decoder and next(o.decoder) ~= nil then
    c.decoder:set(o.decoder)
  end
end

local function address(family, host, port)
  if family == "unix" then
    return "unix:" .. host, 0
  end
  return host, port
end

function methods.peer(conn)
  local c = check(conn, "peer")
  local socket = c.stream and c.stream.socket
  if not socket or socket.dead then
    return status.failure "ENOTCONN"
  end
  return address(socket.family, socket.remote_host, socket.remote_port)
end

function methods.sock(conn)
  local c = check(conn, "sock")
  local socket = c.stream and c.stream.socket
  if not socket then
    return status.failure "ENOTCONN"
  end
  return address(socket.family, socket.local_host, socket.local_port)
end

function methods.stats(conn)
  local stream = check(conn, "stats").stream
  if not stream then
    return { bytes_read = 0, bytes_written = 0, queued = 0, kept = 0, fd = -1, state = "closed" }
  end
  return {
    bytes_read = stream.bytes_read,
    bytes_written = stream.bytes_written,
    queued = stream.out.size,
    kept = stream.kept,
    fd = stream.fd,
    state = stream.state,
  }
end

function methods.is_open(conn)
  local stream = check(conn, "is_open").stream
  return stream and stream.state == "open"
end

function metatable.__newindex(conn, key, value)
  check(conn, "__newindex")
  if key ~= "data" then
    error(("a connection has no field '%s' to set; use conn.data"):format(tostring(key)), 2)
  end
  rawset(conn, key, value)
end

function metatable.__tostring(conn)
  local c = check(conn, "__tostring")
  return ("lunode.conn (%s): 0x%08x"):format(c.stream and c.stream.state or "closed", c.number)
end

---What resp.reply asks connections that are none of C's.
function metatable.__protocol(conn)
  return check(conn, "__protocol").protocol
end

return M
