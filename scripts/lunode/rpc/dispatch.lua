-- What arrives on a connection: requests, responses and notifications, and those that lunode peers tell each other.
-- Trusts none of it: what breaks the protocol closes the connection.

local calls = require "lunode.rpc.calls"
local errors = require "lunode.rpc.errors"
local handlers = require "lunode.rpc.handlers"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local streams = require "lunode.rpc.streams"
local wire = require "lunode.rpc.wire"

local null = msgpack.null
local math_type, type = math.type, type

local M = {}

local by_conn = wire.by_conn

local MAX_ID = 0xffffffff

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
    if result == null then
      result = nil -- there is no such value among ours
    end
    return calls.complete(call, result, nil, true)
  end
  calls.complete(call, nil, errors.from_wire(err), true)
end

-- ---- requests of our own, to keep a connection

local requests = {}

requests["$/hello"] = function(self, id, params)
  local theirs = params[1]
  self.lunode = type(theirs) == "table" and theirs.lunode ~= nil
  if self.lunode and type(theirs.timeout) == "number" and theirs.timeout > 0 then
    self.handler_time = math.min(theirs.timeout, self.options.handler_timeout)
  end
  self:respond(id, { lunode = 1, timeout = self.options.timeout })
  self.greeted:resolve()
end

requests["$/ping"] = function(self, id)
  self:respond(id, true)
end

-- For prompts, which complete them.
requests["$/methods"] = function(self, id)
  local names = {}
  for name in next, self.methods do -- sorted: the order does not show
    names[#names + 1] = type(name) == "string" and name or nil
  end
  table.sort(names)
  self:respond(id, msgpack.array(names))
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

---The callback of connections in `wire.by_conn`. Returns nothing: that would be sent as a reply.
---@param conn lunode.conn
---@param message any
function M.on_message(conn, message)
  local self = by_conn[conn]
  local kind = type(message) == "table" and message[1]
  if kind == 1 then
    on_response(self, message[2], message[3], message[4])
  elseif kind == 0 then
    on_request(self, message[2], message[3], message[4])
  elseif kind == 2 then
    on_notification(self, message[2], message[3])
  else
    bad(self, "neither a request, nor a response, nor a notification")
  end
end

function M.on_bad_message(conn, err)
  local self = by_conn[conn]
  self.gate.stats.bad = self.gate.stats.bad + 1
  self.why = "the peer broke the protocol: " .. err
end

function M.on_writable(conn)
  local self = by_conn[conn]
  self.full = false
  self:apply_pause()
  streams.on_writable(self)
  handlers.on_writable(self)
end

return M
