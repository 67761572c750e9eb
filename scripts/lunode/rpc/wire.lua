-- One connection that speaks MessagePack-RPC, from either side: requests, responses and notifications both ways. Neither
-- connects nor listens. The wire, with what lunode peers add to the specification: docs/rpc-wire.md.
--
--   [0, msgid, method, params]   [1, msgid, error, result]   [2, method, params]
--
-- * A call is sent once, and completes once. A response that nobody waits for (any more) is counted and dropped.
-- * The side that accepted the connection stops reading while its queue is full or too many requests wait; unless it waits for
--   something on that connection itself: then it refuses instead. The side that connected always reads. So two full
--   queues never wait for each other.

local calls = require "lunode.rpc.calls"
local deadlines = require "lunode.rpc.deadlines"
local errors = require "lunode.rpc.errors"
local handlers = require "lunode.rpc.handlers"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local options = require "lunode.rpc.options"
local streams = require "lunode.rpc.streams"
local sync = require "lunode.task.sync"

local encode, write, null = msgpack.encode, msgpack.write, msgpack.null
local math_type, type = math.type, type

local M = {}

local MAX_ID = 0xffffffff

-- What is written is put together in these: no table a message.
local request = msgpack.array { 0, 0, "", null, n = 4 }
local response = msgpack.array { 1, 0, null, null, n = 4 }
local notification = msgpack.array { 2, "", null, n = 3 }
local NO_ARGS = msgpack.array {}

---@class lunode.rpc.connection
---@field address string        of the other side
---@field conn lunode.conn
---@field lunode boolean?       whether the other side is one of ours; nil: not known yet
---@field greeted lunode.task.event  that is known, or the connection is gone
---@field closed boolean
---@field options table         the server's or peer's
---@field gate table            counts of the server or peer: see lunode.rpc.handlers
---@field accepted boolean      which side we are
---@field ids {next: integer}   shared by the connections of a peer, so that each response has one request
---@field calls lunode.rpc.deadlines    ours, by msgid
---@field in_flight integer     so many
---@field running lunode.rpc.deadlines  handlers that wait, by msgid; those of notifications by negative numbers
---@field outgoing table<integer, lunode.rpc.stream>  of our calls
---@field incoming table<integer, lunode.rpc.stream>  of our handlers
---@field full boolean          the queue is above its high watermark
local methods = {}
local metatable = { __index = methods, __name = "lunode.rpc.connection" }
M.methods = methods

-- What may stand for "nothing": our own nil has no place in an array.
local function to_lua(value)
  if value == null then
    return nil
  end
  return value
end

-- ---------------------------------------------------------------- sending

-- What a write has returned: true, or nil, message, code.
local function written(self, room, err, code)
  if not room then
    if room == nil then
      return nil, err, code
    end
    self.full = true
    self:apply_pause()
  end
  return true
end

-- Raises what cannot be encoded, and then nothing is sent; so do those that call it.
local function send(self, message)
  return written(self, write(self.conn, message))
end

---@param id integer
---@param result any
function methods:respond(id, result)
  response[2], response[3] = id, null
  response[4] = result == nil and null or result
  return send(self, response)
end

---@param id integer
---@param err any
function methods:respond_error(id, err)
  response[2], response[3], response[4] = id, err, null
  return send(self, response)
end

function methods:refuse(id, code, message)
  self.gate.stats.refused = self.gate.stats.refused + 1
  return self:respond_error(id, errors.to_wire(message, self.lunode, code))
end

---@param name string
---@param params table
function methods:send_notification(name, params)
  notification[2], notification[3] = name, params
  return send(self, notification)
end

---The bytes of a request, for later. Raises what cannot be encoded.
function M.encode_request(id, name, params)
  request[2], request[3], request[4] = id, name, params
  return encode(request)
end

function M.encode_notification(name, params)
  notification[2], notification[3] = name, params
  return encode(notification)
end

---@param ids {next: integer}
---@param taken table  those in flight
---@return integer
function M.next_id(ids, taken)
  local id = ids.next
  while taken[id] do
    id = id < MAX_ID and id + 1 or 0
  end
  ids.next = id < MAX_ID and id + 1 or 0
  return id
end

-- Tells how long the handler has, unless that is what `$/hello` told.
local function tell_deadline(self, call)
  local left = call.until_ - loop.now()
  if self.lunode ~= false and not self.options.plain and left < math.huge
    and math.abs(left - self.options.timeout) > 0.001 then
    self:send_notification("$/deadline", { call.id, math.max(left, 0) })
  end
end

---Sends a call, and then waits for its response. Raises what cannot be encoded, and then nothing is sent.
---@param call lunode.rpc.call
---@param bytes? string  the request, where it is encoded already
---@return lunode.rpc.error? err  it was not sent
function methods:send_call(call, bytes)
  if self.closed then
    return errors.definite("ENOTCONN", "the connection is closed")
  end
  if call.tells then
    bytes = bytes or M.encode_request(call.id, call.name, call.params) -- raises before anything is sent
    tell_deadline(self, call)
  end
  local ok, err, code
  if bytes then
    ok, err, code = written(self, self.conn:write(bytes))
  else
    request[2], request[3], request[4] = call.id, call.name, call.params
    ok, err, code = written(self, write(self.conn, request))
  end
  call.params = false
  if not ok then
    return errors.definite(code, err)
  end
  call.connection = self
  self.calls:add(call.id, call)
  self.in_flight = self.in_flight + 1
  if not self.watching then
    self:watch()
  end
  if self.paused then
    self:apply_pause() -- whose response has to be read
  end
end

---For `lunode.rpc.calls`: the call is ours to send.
---@return lunode.rpc.error?
function methods:submit(call)
  if self.closed then
    return errors.definite("ENOTCONN", "the connection is closed")
  elseif self.full or self.in_flight >= self.options.max_in_flight then
    return errors.definite("EBUSY", self.full and "too many bytes wait to be sent" or "too many calls are in flight")
  end
  call.id = M.next_id(self.ids, self.calls.entries)
  return self:send_call(call)
end

---Nobody waits for the call any more: its response will be dropped.
function methods:abandon(call)
  if self.calls.entries[call.id] ~= call then
    return
  end
  self.calls.entries[call.id] = nil
  self.in_flight = self.in_flight - 1
  self.outgoing[call.id] = nil
  if self.lunode and not self.closed then
    self:send_notification("$/cancel", { call.id })
  end
end

-- ---------------------------------------------------------------- what arrives

local function bad(self, what)
  self.gate.stats.bad = self.gate.stats.bad + 1
  self.why = "the peer broke the protocol: " .. what
  self.conn:abort()
end

local function is_params(params)
  return type(params) == "table" and getmetatable(params) == nil and (params[1] ~= nil or next(params) == nil)
end

local function on_response(self, id, err, result)
  local call = self.calls.entries[id]
  if not call then
    if math_type(id) ~= "integer" then
      return bad(self, "a response without a msgid")
    end
    self.gate.stats.dropped = self.gate.stats.dropped + 1
    return
  end
  self.calls.entries[id] = nil
  if call == self.ping then
    return
  end
  self.in_flight = self.in_flight - 1
  if call.stream then
    self.outgoing[id] = nil
  end
  if err == null then
    return calls.complete(call, to_lua(result), nil, true)
  end
  calls.complete(call, nil, errors.from_wire(err), true)
end

-- ---- requests of our own, to keep a connection

local requests = {}

requests["$/hello"] = function(self, id, params)
  local theirs = params[1]
  self.lunode = type(theirs) == "table" and theirs.lunode ~= nil
  if self.lunode and type(theirs.timeout) == "number" and theirs.timeout > 0 then
    self.call_timeout = theirs.timeout
  end
  self:respond(id, { lunode = 1, timeout = self.options.timeout })
  self.greeted:resolve()
end

requests["$/ping"] = function(self, id)
  self:respond(id, true)
end

requests["$/open"] = function(self, id, params)
  local name, window, args = params[1], params[2], params[3]
  if type(name) ~= "string" or math_type(window) ~= "integer" or window < 0 or not is_params(args) then
    return bad(self, "a stream opened wrongly")
  elseif self.incoming[id] then
    return self:refuse(id, "EINVAL", "the msgid is in use")
  end
  local stream = streams.new(self, id, false, self.options.window, self.options.handler_timeout)
  stream:on_credit(window)
  handlers.admit(self, id, name, args, stream)
end

local function on_request(self, id, name, params)
  if math_type(id) ~= "integer" or id < 0 or id > MAX_ID or type(name) ~= "string" then
    return bad(self, "a request without a msgid or a method")
  elseif not is_params(params) then
    return self:refuse(id, "EINVAL", "params must be an array")
  end
  local own = requests[name]
  if own then
    return own(self, id, params)
  end
  handlers.admit(self, id, name, params, false)
end

-- ---- notifications of our own

local notifications = {}

notifications["$/cancel"] = function(self, id)
  handlers.cancel(self, id)
end

notifications["$/deadline"] = function(self, id, seconds)
  if type(seconds) == "number" and seconds >= 0 then
    self.told_id, self.told_at = id, loop.now() + seconds
  end
end

-- "up" goes from the caller to the handler, "down" comes back.
for name, map in pairs { up = "incoming", down = "outgoing" } do
  notifications["$/" .. name] = function(self, id, chunk)
    local stream = self[map][id]
    if stream and not stream:on_chunk(chunk) then
      bad(self, "more was sent through a stream than was permitted")
    end
  end
  notifications["$/" .. name .. "_end"] = function(self, id)
    local stream = self[map][id]
    if stream then
      stream:on_end()
    end
  end
end
for name, map in pairs { up_credit = "outgoing", down_credit = "incoming" } do
  notifications["$/" .. name] = function(self, id, bytes)
    local stream = self[map][id]
    if stream and math_type(bytes) == "integer" and bytes > 0 then
      stream:on_credit(bytes)
    end
  end
end

local function on_notification(self, name, params)
  if type(name) ~= "string" or not is_params(params) then
    return bad(self, "a notification without a method, or whose params are no array")
  end
  local own = notifications[name]
  if own then
    if params[1] ~= nil then
      own(self, params[1], params[2])
    end
    return
  end
  handlers.admit(self, nil, name, params, false)
end

---The callback of connections whose `data` is one of these.
function M.on_message(conn, message)
  local self = conn.data
  local kind = type(message) == "table" and message[1]
  if kind == 1 then
    return on_response(self, message[2], message[3], message[4])
  elseif kind == 0 then
    return on_request(self, message[2], message[3], message[4])
  elseif kind == 2 then
    return on_notification(self, message[2], message[3])
  end
  bad(self, "neither a request, nor a response, nor a notification")
end

function M.on_bad_message(conn, err)
  local self = conn.data
  self.gate.stats.bad = self.gate.stats.bad + 1
  self.why = "the peer broke the protocol: " .. err
end

function M.on_writable(conn)
  local self = conn.data
  self.full = false
  self:apply_pause()
  streams.on_writable(self)
end

-- ---------------------------------------------------------------- reading or not

---Reads, or does not: see the head of this file.
function methods:apply_pause()
  local wanted = self.accepted and self.in_flight == 0 and (self.full or self.crowded)
    and next(self.incoming) == nil
  if wanted ~= self.paused and not self.closed then
    self.paused = wanted
    if wanted then
      self.conn:pause()
    else
      self.conn:resume()
    end
  end
end

-- ---------------------------------------------------------------- half-open connections

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
    self.calls.entries[self.ping.id] = nil -- an earlier one that nobody answered
    self.ping.id = M.next_id(self.ids, self.calls.entries)
    self.pinged = now
    request[2], request[3], request[4] = self.ping.id, "$/ping", NO_ARGS
    self.calls.entries[self.ping.id] = self.ping
    send(self, request)
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
function methods:watch()
  self.watching = true
  self.heard, self.pinged = loop.now(), false
  local stats = self.conn:stats()
  self.bytes_read, self.bytes_written = stats.bytes_read, stats.bytes_written
  local every = math.min(self.options.heartbeat, self.options.heartbeat_timeout) / 4
  self.timer = loop.timer(every, function()
    on_tick(self)
  end, every)
end

-- ---------------------------------------------------------------- life and end

---Asks whether the other side is one of ours. Any answer will do.
function methods:hello()
  if self.options.plain then
    self.lunode = false
    return self.greeted:resolve()
  end
  local call = calls.new("$/hello", { { lunode = 1, timeout = self.options.timeout } }, loop.now() + self.options.timeout)
  call.callback = function(result)
    self.lunode = type(result) == "table" and result.lunode ~= nil
    self.greeted:resolve()
  end
  call.id = M.next_id(self.ids, self.calls.entries)
  self:send_call(call)
end

---Calls a method of the other side. In a task it waits; with a callback it does not, anywhere.
---@param name string
---@param args? any[]
---@param opts? {timeout: number?, callback: fun(result: any, err: lunode.rpc.error?)?}
---@return any result, lunode.rpc.error? err
function methods:call(name, args, opts)
  return calls.perform(self, name, args, opts, "connection:call")
end

---Sends a notification: nobody answers.
---@return boolean? sent, lunode.rpc.error? err
function methods:notify(name, args)
  calls.check_method(name, args, "connection:notify")
  return self:submit_notification(name, calls.params(args))
end

function methods:submit_notification(name, params)
  if self.closed then
    return nil, errors.definite("ENOTCONN", "the connection is closed")
  elseif self.full then
    return nil, errors.definite("EBUSY", "too many bytes wait to be sent")
  end
  local ok, err, code = self:send_notification(name, params)
  if not ok then
    return nil, errors.definite(code, err)
  end
  return true
end

---Opens a stream: see lunode.rpc.streams.
function methods:open(name, args, opts)
  return streams.open(self, name, args, opts, "connection:open")
end

function methods:close()
  self.conn:close()
end

---The connection has closed: all that was under way ends.
---@param err string?
---@param code string?
function methods:lost(err, code)
  self.closed = true
  code = self.code or code or "ECONNRESET"
  err = ("the connection to %s was lost: %s"):format(self.address, self.why or err or "it was closed")
  if self.watching then
    self.timer:close()
    self.watching = false
  end
  self.lunode = self.lunode or false
  self.greeted:resolve()
  local failure = errors.indefinite(code, err)
  for _, call in ipairs(self.calls:clear()) do
    if call ~= self.ping then
      calls.complete(call, nil, failure)
    end
  end
  self.in_flight = 0
  handlers.abandon_all(self, err)
  streams.lose(self, failure)
end

---@param conn lunode.conn
---@param settings table  options, gate, accepted, ids, methods
---@return lunode.rpc.connection
function M.new(conn, settings)
  local self = setmetatable({
    conn = conn,
    address = "?",
    options = settings.options,
    gate = settings.gate,
    accepted = settings.accepted,
    methods = settings.methods,
    ids = settings.ids or { next = 0 },
    lunode = nil,
    greeted = sync.event(),
    call_timeout = false, -- the other side's default
    told_id = false, -- of the request that follows, with its deadline
    told_at = 0,
    calls = false,
    in_flight = 0,
    running = false,
    notices = 0, -- notifications handled so far: their keys in `running`
    active = 0, -- handlers
    queue = { first = false, last = false, count = 0, start = 0 }, -- requests that wait for one to end
    crowded = false, -- the queue is too long
    paused = false,
    full = false,
    outgoing = {},
    incoming = {},
    writers = { first = false, last = false }, -- tasks that wait for the queue to drain
    timer = false, -- looks for signs of life
    watching = false,
    heard = 0,
    pinged = false, -- when
    ping = calls.new("$/ping", NO_ARGS, math.huge),
    bytes_read = 0,
    bytes_written = 0,
    closed = false,
    why = false, -- we closed it
    code = false,
    list = false, -- of connections that have requests in their queue
    next = false,
    prev = false,
    data = nil, -- for the script's own use
  }, metatable)
  self.calls = deadlines.new(function(_, call)
    calls.expire(self, call)
  end)
  self.running = deadlines.new(function(_, ctx)
    handlers.expire(ctx)
  end)
  local host, port = conn:peer()
  self.address = host and options.join(host, port) or "?"
  conn.data = self
  return self
end

return M
