-- One connection that speaks MessagePack-RPC, from either side: requests, responses and notifications both ways.
-- Neither connects nor listens. The wire, with what lunode peers add to the specification: docs/rpc-wire.md.
--
--   [0, msgid, method, params]   [1, msgid, error, result]   [2, method, params]
--
-- * A call is sent once, and completes once. A response that nobody waits for (any more) is counted and dropped.
-- * The side that accepted the connection stops reading while its queue is full or too many requests wait; unless it
--   waits for something on that connection itself: then it refuses instead. The side that connected always reads. So
--   two full queues never wait for each other.

local calls = require "lunode.rpc.calls"
local deadlines = require "lunode.rpc.deadlines"
local errors = require "lunode.rpc.errors"
local handlers = require "lunode.rpc.handlers"
local heartbeat = require "lunode.rpc.heartbeat"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local options = require "lunode.rpc.options"
local streams = require "lunode.rpc.streams"
local sync = require "lunode.task.sync"

local encode, write, null = msgpack.encode, msgpack.write, msgpack.null

local M = {}

-- The open ones, by their lunode.conn: quicker than its `data`.
---@type table<lunode.conn, lunode.rpc.connection>
M.by_conn = {}

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
  if result == nil then
    result = null
  end
  response[4] = result
  local room, err, code = write(self.conn, response)
  if not room then
    return written(self, room, err, code)
  end
  return true
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
    heartbeat.watch(self)
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

-- ---------------------------------------------------------------- reading or not

---Reads, or does not: see the head of this file.
function methods:apply_pause()
  local wanted = (self.full or self.crowded) and self.accepted and self.in_flight == 0 and next(self.incoming) == nil
  if wanted ~= self.paused and not self.closed then
    self.paused = wanted
    if wanted then
      self.conn:pause()
    else
      self.conn:resume()
    end
  end
end

-- ---------------------------------------------------------------- life and end

---Asks whether the other side is one of ours. Any answer will do.
function methods:hello()
  if self.options.plain then
    self.lunode = false
    return self.greeted:resolve()
  end
  local timeout = self.options.timeout
  local call = calls.new("$/hello", { { lunode = 1, timeout = timeout } }, loop.now() + timeout)
  call.callback = function(result)
    self.lunode = type(result) == "table" and result.lunode ~= nil
    self.greeted:resolve()
  end
  call.id = M.next_id(self.ids, self.calls.entries)
  self:send_call(call)
end

---Asks for a sign of life.
function methods:send_ping()
  local ping, entries = self.ping, self.calls.entries
  if entries[ping.id] == ping then
    entries[ping.id] = nil -- an earlier one that nobody answered
  end
  ping.id = M.next_id(self.ids, entries)
  entries[ping.id] = ping
  request[2], request[3], request[4] = ping.id, ping.name, NO_ARGS
  send(self, request)
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
  if self.closed then
    return
  end
  self.closed = true
  M.by_conn[self.conn] = nil
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
    handler_time = settings.options.handler_timeout, -- or the other side's timeout, if that is less
    told_id = false, -- of the request that follows, with its deadline
    told_at = 0,
    calls = false,
    in_flight = 0,
    running = false,
    notices = 0, -- notifications handled so far: their keys in `running`
    active = 0, -- handlers
    concurrency = settings.options.concurrency,
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
  M.by_conn[conn] = self
  return self
end

return M
