-- Listens, and serves each connection. What a connection does is in lunode.rpc.wire, what handlers may in
-- lunode.rpc.handlers.

local dispatch = require "lunode.rpc.dispatch"
local handlers = require "lunode.rpc.handlers"
local options = require "lunode.rpc.options"
local tcp_server = require "lunode.tcp_server"
local wire = require "lunode.rpc.wire"

local M = {}

local OPTIONS = {
  concurrency = { "count", 64 },
  total_concurrency = { "count", 1024 },
  queue = { "count", 1024 },
  queue_bytes = { "count", 8 << 20 },
  handler_timeout = { "seconds", 60 },
  timeout = { "seconds", 5 },
  max_in_flight = { "count", 1024 },
  max_queued = { "count", 1 << 20 },
  max_message = { "count", 16 << 20 },
  max_connections = { "count", nil },
  window = { "count", 256 << 10 },
  heartbeat = { "seconds", 2 },
  heartbeat_timeout = { "seconds", 3 },
  keepalive = { "count", 60 },
  plain = { "boolean", false },
  mode = { "text", nil },
  on_connect = { "callback", nil },
  on_close = { "callback", nil },
}

---@class lunode.rpc.server
---@field private listener lunode.server
---@field private settings table
---@field private connections table<lunode.rpc.connection, boolean>
local methods = {}
local metatable = { __index = methods, __name = "lunode.rpc.server" }

local function callbacks_of(self)
  local given, connections = self.settings.options, self.connections
  return {
    decoder = "msgpack",
    max_message = given.max_message,
    max_connections = given.max_connections,
    mode = given.mode,
    high = given.max_queued,
    low = math.max(given.max_queued // 4, 1),
    keepalive = given.keepalive,
    on_message = dispatch.on_message,
    on_bad_message = dispatch.on_bad_message,
    on_writable = dispatch.on_writable,
    on_connect = function(conn)
      local connection = wire.new(conn, self.settings)
      connections[connection] = true
      if given.on_connect then
        given.on_connect(connection)
      end
    end,
    on_close = function(conn, err, code)
      local connection = wire.by_conn[conn]
      connections[connection] = nil
      connection:lost(err, code)
      if given.on_close then
        given.on_close(connection, connection.why or err)
      end
    end,
  }
end

local function new(table_of_methods, given)
  return setmetatable({
    listener = false,
    settings = {
      options = given,
      gate = handlers.new_gate(given.total_concurrency),
      accepted = true,
      methods = table_of_methods,
    },
    connections = {},
  }, metatable)
end

---A server for somebody else's listener, which has to have these callbacks.
---@param listener lunode.server
---@param table_of_methods table<string, fun(ctx: lunode.rpc.context, ...): ...>
---@param opts table?
---@return lunode.rpc.server server
---@return lunode.server_options callbacks
function M.adopt(listener, table_of_methods, opts)
  local self = new(table_of_methods, options.check(opts, OPTIONS, "rpc server.adopt"))
  self.listener = listener
  return self, callbacks_of(self)
end

---@param address string
---@param table_of_methods table<string, fun(ctx: lunode.rpc.context, ...): ...>
---@param opts table?
---@return lunode.rpc.server? server
---@return string? err, lunode.code? code
function M.new(address, table_of_methods, opts)
  local host, port = options.address(address, "rpc.serve")
  if type(table_of_methods) ~= "table" then
    error(("rpc.serve: a table of methods is needed, got a %s"):format(type(table_of_methods)), 2)
  end
  local self = new(table_of_methods, options.check(opts, OPTIONS, "rpc.serve"))
  local listener, err, code = tcp_server.listen(host, port, callbacks_of(self))
  if not listener then
    return nil, err, code
  end
  self.listener = listener
  return self
end

---Where it listens: with port 0, the one that the kernel chose.
---@return string address
function methods:address()
  return options.join(self.listener:sock())
end

---What it has counted: `calls` handlers started, `failed` of them answered with an error, `refused` requests, `dropped`
---responses and notifications that nobody waits for, `bad` connections closed as they broke the protocol; and what
---there is now: `connections`, `active` handlers.
---@return table<string, integer>
function methods:stats()
  local gate = self.settings.gate
  local copy = { active = gate.active, connections = self.listener:connections() }
  for name, value in pairs(gate.stats) do
    copy[name] = value
  end
  return copy
end

---Stops listening, and closes the connections once their queues are sent. Handlers are cancelled.
function methods:close()
  self.listener:close()
  for connection in pairs(self.connections) do -- each closes in a later turn, in the order of the loop's
    connection:close()
  end
end

metatable.__close = methods.close

return M
