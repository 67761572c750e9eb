-- One other node, by its address: connects when there is something to send, connects again when the connection is
-- lost, and holds what is to be sent while there is none. What a connection does is in lunode.rpc.wire.
--
--   idle → connecting → connected → waiting → connecting → …    closed: at any time, for good
--
-- A call that waits for a connection fails, for certain, with the attempt that fails: it does not wait for another one.
-- The delay between attempts doubles, up to a limit, and is a random part of that ("full jitter", as in Brooker:
-- Exponential Backoff And Jitter), so that the peers of a node that restarts do not all come at once.

local calls = require "lunode.rpc.calls"
local deadlines = require "lunode.rpc.deadlines"
local dispatch = require "lunode.rpc.dispatch"
local errors = require "lunode.rpc.errors"
local handlers = require "lunode.rpc.handlers"
local list = require "lunode.task.list"
local loop = require "lunode.loop"
local options = require "lunode.rpc.options"
local scheduler = require "lunode.task.scheduler"
local streams = require "lunode.rpc.streams"
local sync = require "lunode.task.sync"
local tcp_client = require "lunode.tcp_client"
local wire = require "lunode.rpc.wire"

local M = {}

local OPTIONS = {
  timeout = { "seconds", 5 },
  connect_timeout = { "seconds", 5 },
  max_in_flight = { "count", 1024 },
  max_queued = { "count", 1 << 20 },
  max_message = { "count", 64 << 20 },
  window = { "count", 256 << 10 },
  heartbeat = { "seconds", 2 },
  heartbeat_timeout = { "seconds", 3 },
  backoff = { "seconds", 0.05 },
  max_backoff = { "seconds", 5 },
  keepalive = { "count", 60 },
  plain = { "boolean", false },
  methods = { "table", nil },
  concurrency = { "count", 64 },
  queue = { "count", 1024 },
  queue_bytes = { "count", 8 << 20 },
  handler_timeout = { "seconds", 60 },
  on_state = { "callback", nil },
}

---@alias lunode.rpc.state "idle"|"connecting"|"connected"|"waiting"|"closed"

---@class lunode.rpc.peer
---@field address string
---@field options table
---@field private current lunode.rpc.state
---@field private host string
---@field private port integer?
---@field private settings table      for its connections
---@field private connection lunode.rpc.connection|false
---@field private conn lunode.conn|false  also while connecting
---@field private held table          calls that wait for a connection: a list, and `count`, `bytes`
---@field private calls lunode.rpc.deadlines  the same, by msgid
---@field private attempts integer    since a connection was last of use
---@field private timer lunode.timer|false  until the next attempt
---@field private trouble string?     why there is no connection
---@field private settled lunode.task.event  of the attempt under way
local methods = {}
local metatable = { __index = methods, __name = "lunode.rpc.peer" }

local function set_state(self, state, err)
  self.current = state
  local on_state = self.options.on_state
  if on_state then
    local ok, traceback = xpcall(on_state, debug.traceback, self, state, err)
    if not ok then
      loop.report(tostring(traceback))
    end
  end
end

-- ---------------------------------------------------------------- what waits for a connection

local function hold(self, call, bytes)
  call.bytes = bytes
  local held = self.held
  list.append(held, call)
  held.count, held.bytes = held.count + 1, held.bytes + #bytes
  self.calls:add(call.id, call)
end

local function release(self, call)
  local held = self.held
  list.remove(call)
  held.count, held.bytes = held.count - 1, held.bytes - #call.bytes
  self.calls.entries[call.id] = nil
end

local function fail_held(self, failure)
  local call = self.held.first
  while call do
    release(self, call)
    calls.complete(call, nil, failure)
    call = self.held.first
  end
end

local function send_held(self)
  local connection = self.connection
  local call = self.held.first
  while call do
    local bytes = call.bytes
    release(self, call)
    if call.is_notification then
      connection.conn:write(bytes)
    else
      local refused = connection:send_call(call, bytes)
      if refused then
        calls.complete(call, nil, refused)
      end
    end
    call = self.held.first
  end
end

-- ---------------------------------------------------------------- connecting

local connect

local function wait_for_next(self)
  local set = self.options
  local limit = math.min(set.max_backoff, set.backoff * 2.0 ^ math.min(self.attempts, 40))
  self.attempts = self.attempts + 1
  local delay = loop.random(0, math.ceil(limit * 1e6)) / 1e6
  self.timer = loop.timer(delay, function()
    self.timer = false
    connect(self)
  end)
end

local function on_connect(self, conn, err, code)
  if self.current ~= "connecting" then
    return -- it was closed meanwhile
  end
  if err then
    self.conn, self.trouble = false, err
    fail_held(self, errors.definite(code, ("cannot connect to %s: %s"):format(self.address, err)))
    set_state(self, "waiting", err)
    if self.current == "waiting" then -- on_state may have closed it
      wait_for_next(self)
    end
  else
    self.connection = wire.new(conn, self.settings)
    self.connection:hello()
    send_held(self)
    set_state(self, "connected")
  end
  local settled = self.settled
  self.settled = sync.event()
  settled:resolve()
end

local function on_close(self, conn, err, code)
  local connection = wire.by_conn[conn]
  if not connection then
    return -- it never was connected, or has been closed here
  end
  self.connection, self.conn = false, false
  self.trouble = connection.why or err or "it was closed"
  set_state(self, "waiting", self.trouble)
  if self.current == "waiting" then -- on_state may have closed it
    wait_for_next(self)
  end
  connection:lost(err, code)
end

function connect(self)
  local set = self.options
  set_state(self, "connecting")
  if self.current ~= "connecting" then
    return
  end
  self.conn = tcp_client.connect(self.host, self.port, {
    connect_timeout = set.connect_timeout,
    decoder = "msgpack",
    max_message = set.max_message,
    high = set.max_queued,
    low = math.max(set.max_queued // 4, 1),
    keepalive = set.keepalive,
    on_connect = function(conn, err, code)
      on_connect(self, conn, err, code)
    end,
    on_message = function(conn, message)
      if self.attempts > 0 then
        self.attempts = 0 -- of use
      end
      dispatch.on_message(conn, message)
    end,
    on_bad_message = dispatch.on_bad_message,
    on_writable = dispatch.on_writable,
    on_close = function(conn, err, code)
      on_close(self, conn, err, code)
    end,
  })
end

-- ---------------------------------------------------------------- for lunode.rpc.calls

local function refusal(self)
  if self.current == "closed" then
    return errors.definite("ENOTCONN", "the peer is closed")
  elseif self.held.bytes >= self.options.max_queued then
    return errors.definite("EBUSY", "too many bytes wait to be sent")
  elseif self.held.count >= self.options.max_in_flight then
    return errors.definite("EBUSY", "too many calls are in flight")
  end
end

---@private
function methods:submit(call)
  if self.connection then
    return self.connection:submit(call)
  end
  local refused = refusal(self)
  if refused then
    return refused
  end
  call.id = wire.next_id(self.settings.ids, self.calls.entries)
  hold(self, call, wire.encode_request(call.id, call.name, call.params))
  if self.current == "idle" then
    connect(self)
  end
end

---@private
function methods:abandon(call)
  if call.connection then
    call.connection:abandon(call)
  elseif self.calls.entries[call.id] == call then
    release(self, call)
  end
end

local function expire_held(self, call)
  self.calls.entries[call.id] = call
  release(self, call)
  calls.expire(self, call)
end

-- ---------------------------------------------------------------- for scripts

---@class lunode.rpc.call_options
---@field timeout? number  seconds (default: the peer's, 5). The deadline of the task counts, too
---@field callback? fun(result: any, err: lunode.rpc.error?)  is called, once, never within `call`; in place of waiting

---Calls a method. In a task it waits for the result; with a callback it does not, and works anywhere.
---@param name string
---@param args? any[]  with holes: as table.pack makes it
---@param opts? lunode.rpc.call_options
---@return any result  nil on errors; with a callback: the call, which has `cancel`
---@return lunode.rpc.error? err
function methods:call(name, args, opts)
  return calls.perform(self, name, args, opts, "peer:call")
end

---Sends a notification: nobody answers, and whether it arrives is not known. Without a connection it waits for one,
---as calls do.
---@param name string
---@param args? any[]
---@return boolean? ok
---@return lunode.rpc.error? err
function methods:notify(name, args)
  calls.check_method(name, args, "peer:notify")
  local params = calls.params(args)
  if self.connection then
    return self.connection:submit_notification(name, params)
  end
  local refused = refusal(self)
  if refused then
    return nil, refused
  end
  local call = calls.new(name, false, loop.now() + self.options.timeout)
  call.id, call.is_notification = wire.next_id(self.settings.ids, self.calls.entries), true
  hold(self, call, wire.encode_notification(name, params))
  if self.current == "idle" then
    connect(self)
  end
  return true
end

---Calls a method with a stream of chunks in both directions, in a task.
---@param name string
---@param args? any[]
---@param opts? {timeout: number?, window: integer?}  seconds that the other side may do nothing, bytes that it may send
---ahead (defaults: the peer's)
---@return lunode.rpc.stream? stream
---@return lunode.rpc.error? err
function methods:open(name, args, opts)
  scheduler.waiter "peer:open"
  if not self.connection and self.current ~= "closed" then
    if self.current == "idle" then
      connect(self)
    end
    self.settled:wait(self.options.timeout)
  end
  if not self.connection then
    local code = self.current == "closed" and "ENOTCONN" or "EHOSTDOWN"
    return nil, errors.definite(code, self.current == "closed" and "the peer is closed"
      or ("no connection to %s: %s"):format(self.address, self.trouble or "it takes too long"))
  end
  return streams.open(self.connection, name, args, opts, "peer:open")
end

---@return lunode.rpc.state
function methods:state()
  return self.current
end

---What it has counted: `dropped` responses and notifications that nobody waited for, `bad` connections whose other
---side broke the protocol, and for its own methods as a server's: `calls`, `failed`, `refused`; and what there is
---now: `in_flight`, `held`.
---@return table<string, integer>
function methods:stats()
  local copy = { in_flight = self.connection and self.connection.in_flight or 0, held = self.held.count }
  for name, value in pairs(self.settings.gate.stats) do
    copy[name] = value
  end
  return copy
end

---Closes the connection, for good. What is under way fails: not sent, or its outcome unknown.
function methods:close()
  if self.current == "closed" then
    return
  end
  set_state(self, "closed")
  if self.timer then
    self.timer:close()
    self.timer = false
  end
  fail_held(self, errors.definite("ECANCELED", "the peer was closed"))
  self.calls:clear()
  local connection = self.connection
  if connection then
    self.connection = false
    connection.why = "it was closed here"
    connection:lost(nil, "ECANCELED")
    connection:close()
  elseif self.conn then
    self.conn:abort()
  end
  self.settled:resolve()
end

metatable.__close = methods.close

function metatable:__tostring()
  return ("lunode.rpc.peer %s (%s)"):format(self.address, self.current)
end

---@param address string
---@param opts table?
---@return lunode.rpc.peer
function M.new(address, opts)
  local host, port = options.address(address, "rpc.peer")
  local given = options.check(opts, OPTIONS, "rpc.peer")
  local self = setmetatable({
    address = address,
    options = given,
    current = "idle",
    host = host,
    port = port,
    settings = {
      options = given,
      gate = handlers.new_gate(math.maxinteger),
      accepted = false,
      methods = given.methods or {},
      ids = { next = 0 },
    },
    connection = false,
    conn = false,
    held = { first = false, last = false, count = 0, bytes = 0 },
    calls = false,
    attempts = 0,
    timer = false,
    trouble = nil,
    settled = sync.event(),
    data = nil, -- for the script's own use
  }, metatable)
  self.calls = deadlines.new(function(_, call)
    expire_held(self, call)
  end)
  return self
end

return M
