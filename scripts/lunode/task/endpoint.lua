-- How streams come about: task.connect and task.listen, over lunode.tcp_client and lunode.tcp_server.

local scheduler = require "lunode.task.scheduler"
local streams = require "lunode.task.stream"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"

local M = {}

-- The options for the connection, and the limit that is ours.
local function connection_options(given, what)
  if given ~= nil and type(given) ~= "table" then
    error(("%s: options must be a table, got a %s"):format(what, type(given)), 3)
  end
  local options, read_limit = {}, nil
  for name, callback in pairs(streams.callbacks) do
    options[name] = callback
  end
  for key, value in pairs(given or {}) do -- into another table: the order does not show
    if key == "decoder" or type(key) == "string" and key:find "^on_" then
      error(("%s: option '%s' is for callbacks; a stream is read by its task"):format(what, key), 3)
    elseif key == "read_limit" then
      read_limit = value
    else
      options[key] = value
    end
  end
  streams.check_read_limit(read_limit, 3)
  return options, read_limit
end

local function on_connected(conn, err, code)
  local stream = conn.data
  local task = stream.connector
  stream.err, stream.code = err or false, code or false
  if task then
    stream.connector = false
    scheduler.wake(task, true)
  end
end

local function leave_connect(task)
  local stream = task.object
  stream.connector, stream.shut = false, true
  stream.conn:abort()
end

---Connects, and waits for the outcome.
---@param host string
---@param port integer
---@param options? table  as lunode.tcp_client's, without callbacks and decoder; read_limit: bytes (default 64 KiB)
---@return lunode.task.stream? stream
---@return string? err, lunode.code? code
function M.connect(host, port, options)
  local task = scheduler.waiter "task.connect"
  local all, read_limit = connection_options(options, "task.connect")
  all.on_connect = on_connected
  local stream = streams.new(read_limit)
  stream.conn = streams.call(tcp_client.connect, host, port, all)
  stream.conn.data = stream
  stream.connector = task
  task.object = stream
  scheduler.park(task, leave_connect)
  task.object = false
  if stream.err then
    return nil, stream.err, stream.code
  end
  return stream
end

local function serve(handler, stream)
  local open <close> = stream -- luacheck: ignore 211
  handler(stream)
end

---Listens. `handler(stream)` runs as a task for each connection; at its end the stream closes, and where it raised, at
---once. Its error goes to loop.on_error.
---@param host string
---@param port integer  0 lets the kernel choose
---@param options table?  as lunode.tcp_server's, without callbacks and decoder; read_limit: bytes (default 64 KiB)
---@param handler fun(stream: lunode.task.stream)
---@return lunode.server? server
---@return string? err, lunode.code? code
function M.listen(host, port, options, handler)
  local all, read_limit = connection_options(options, "task.listen")
  scheduler.check_function(handler, "task.listen")
  function all.on_connect(conn)
    local stream = streams.new(read_limit)
    stream.conn = conn
    conn.data = stream
    scheduler.spawn(serve, handler, stream)
  end
  local server, err, code = streams.call(tcp_server.listen, host, port, all)
  if not server then
    return nil, err, code
  end
  return server
end

return M
