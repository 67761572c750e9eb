-- A console: a prompt inside of this process for who may open its Unix socket, which is its user alone. Listens with
-- next to nothing loaded; what it takes to answer comes with the first client. The other end is lunode.repl.remote; on
-- the wire: docs/console.md.
--
-- Each client has globals of its own over those of the process. Each evaluation is logged: who, what, how long, how it
-- ended. One that takes too long is ended: what waits by its deadline, what does not wait after a second of one turn.

local logger = require "lunode.logger"
local tcp_server = require "lunode.tcp_server"

local M = {}

M.VERSION = 1

local MAX_CONNECTIONS = 16
local MAX_MESSAGE = 2 << 20 -- bytes
local MAX_QUEUED = 1 << 20
local MAX_LOGGED = 500 -- bytes of code in the log
local PIECE = 64 * 1024 -- bytes of output in one notification

---@class lunode.repl.console_options
---@field seconds? number   that an evaluation may take, unless its client wants another time (default 30)
---@field turn? number      seconds that it may hold up the loop (default 1)
---@field prepare? fun()    is called before each evaluation
---@field name? string      of the node, for the client's prompt (default "node")

---@class lunode.repl.console
---@field path string
---@field private listener lunode.server
---@field private objects table
---@field private options lunode.repl.console_options
---@field private clients table<lunode.rpc.connection, table>
---@field private server lunode.rpc.server?  from the first client on
---@field private callbacks lunode.server_options?
local methods = {}
local metatable = { __index = methods, __name = "lunode.repl.console" }

-- ---------------------------------------------------------------- clients

local function who(connection)
  local pid, uid = connection.conn:credentials()
  return pid and ("pid %d uid %d"):format(pid, uid) or "somebody"
end

local function new_client(self, connection)
  local client = { who = who(connection), session = nil, peers = nil, dropped = 0 }
  -- Output that the client does not take in time is dropped, and counted: it may not fill our memory.
  local function print_text(text)
    for start = 1, #text, PIECE do
      local piece = text:sub(start, start + PIECE - 1)
      if not connection:notify("print", { piece }) then
        client.dropped = client.dropped + #piece
      end
    end
  end
  local peers = require("lunode.repl.peers").new(print_text)
  local all = peers:objects()
  for name, value in pairs(self.objects) do
    all[name] = value
  end
  client.session, client.peers = require("lunode.repl.session").new(all, { print = print_text }), peers
  peers.env = client.session.env
  return client
end

-- As much of the code as the log should have.
local function for_log(code)
  if require("lunode.repl.secrets").is_likely(code) then
    return "(not shown: there may be a password in it)"
  end
  return #code > MAX_LOGGED and code:sub(1, MAX_LOGGED) .. (" … (%d bytes)"):format(#code) or code
end

-- ---------------------------------------------------------------- what clients call

local function client_of(self, ctx)
  return self.clients[ctx.conn] or error { code = "EPROTO", message = "console.hello comes first" }
end

local function check_format(format)
  format = type(format) == "table" and format or {}
  local width, seconds = math.tointeger(format.width), format.timeout
  return {
    json = format.json == true,
    color = format.color == true,
    width = width and width >= 20 and width <= 1000 and width or nil,
  }, type(seconds) == "number" and seconds > 0 and seconds <= 3600 and seconds or nil
end

local function eval(self, ctx, code, wanted)
  local client = client_of(self, ctx)
  if type(code) ~= "string" then
    error { code = "EINVAL", message = "eval: code is a string" }
  end
  local loop = require "lunode.loop"
  local format, seconds = check_format(wanted)
  client.session.seconds = seconds or self.options.seconds or 30
  logger.info("console: %s evaluates: %s", client.who, for_log(code))
  if self.options.prepare then
    self.options.prepare()
  end
  local started = loop.time()
  local outcome = client.session:eval(code, format)
  logger.info("console: %s: %s after %.1f ms", client.who, outcome.status, (loop.time() - started) * 1000)
  local dropped = client.dropped
  client.dropped = 0
  return { status = outcome.status, text = outcome.text, dropped = dropped > 0 and dropped or nil }
end

local function methods_of(self)
  return {
    ["console.hello"] = function(ctx)
      if not self.clients[ctx.conn] then
        self.clients[ctx.conn] = new_client(self, ctx.conn)
        logger.info("console: %s has come", self.clients[ctx.conn].who)
      end
      return {
        version = M.VERSION, lunode = require "lunode.version", name = self.options.name or "node",
      }
    end,
    eval = function(ctx, code, format)
      return eval(self, ctx, code, format)
    end,
    complete = function(ctx, before)
      local client = client_of(self, ctx)
      local found = client.session:complete(type(before) == "string" and before:sub(-4096) or "")
      return { insert = found.insert, names = require("lunode.msgpack").array(found.names) }
    end,
  }
end

-- ---------------------------------------------------------------- listening

local function load_rest(self)
  require("lunode.budget").set(self.options.turn or 1)
  self.server, self.callbacks = require("lunode.rpc.server").adopt(self.listener, methods_of(self), {
    concurrency = 4,
    total_concurrency = 32,
    queue = 16,
    queue_bytes = MAX_MESSAGE,
    handler_timeout = 4000, -- evaluations end before, by their own time
    max_message = MAX_MESSAGE,
    max_queued = MAX_QUEUED,
    on_close = function(connection)
      local client = self.clients[connection]
      if client then
        self.clients[connection] = nil
        client.peers:close()
        logger.info("console: %s has left", client.who)
      end
    end,
  })
end

---Opens the console.
---@param path string
---@param objects? table  what is at hand there beside the globals: name → value
---@param options? lunode.repl.console_options
---@return lunode.repl.console? console
---@return string? err, lunode.code? code
function M.listen(path, objects, options)
  if type(path) ~= "string" or path == "" then
    error(("console.listen: the path of a socket is needed, got %s"):format(tostring(path)), 2)
  end
  path = path:gsub("^unix:", "")
  local self = setmetatable({
    path = path, listener = nil, objects = objects or {}, options = options or {}, clients = {}, server = nil,
    callbacks = nil,
  }, metatable)
  local all = {
    decoder = "msgpack", mode = "0600", max_connections = MAX_CONNECTIONS, max_message = MAX_MESSAGE,
    high = MAX_QUEUED, low = MAX_QUEUED // 4, idle_timeout = false,
  }
  for _, name in ipairs { "on_message", "on_bad_message", "on_writable", "on_connect", "on_close" } do
    all[name] = function(...)
      if not self.server then
        load_rest(self)
      end
      return self.callbacks[name](...)
    end
  end
  local err, code
  self.listener, err, code = tcp_server.listen("unix:" .. path, nil, all)
  if not self.listener then
    return nil, err, code
  end
  return self
end

---Closes it, with its clients' connections.
function methods:close()
  if self.server then
    self.server:close()
  else
    self.listener:close()
  end
end

return M
