-- A Redis server to poke: an object whose methods are its commands. Speaks RESP3 where the server does. Connects again
-- by itself, and says so; what was under way then has failed, its outcome unknown.

local inspect = require "lunode.repl.inspect"
local loop = require "lunode.loop"
local resp = require "lunode.resp"
local task = require "lunode.task"
local tcp_client = require "lunode.tcp_client"

local M = {}

local TIMEOUT = 5
local MAX_REPLY = 16 << 20 -- bytes
local FIRST_DELAY, LONGEST_DELAY = 0.1, 5

local links = setmetatable({}, { __mode = "k" }) -- object → link

-- ---------------------------------------------------------------- replies

-- What Lua has for it: nil, texts, tables; an error within a list stays { err = … }.
local function to_lua(reply)
  if type(reply) ~= "table" then
    return reply
  elseif reply.ok then
    return reply.ok
  elseif reply.err then
    return reply
  end
  local result = {}
  if reply.kind == "map" then
    for i = 1, #reply, 2 do
      local key = to_lua(reply[i])
      result[key == nil and "null" or key == key and key or "nan"] = to_lua(reply[i + 1])
    end
  else
    for i = 1, #reply do
      result[i] = to_lua(reply[i])
    end
  end
  return result
end

local function take_reply(bytes, position)
  local value, next_position = resp.decode(bytes, position)
  if value == nil then
    return nil, type(next_position) == "string" and next_position or nil
  end
  return { value }, next_position -- in a table: null and false are replies, too
end

-- ---------------------------------------------------------------- the connection

local connect

local function fail_pending(link, why)
  local pending = link.pending
  link.pending = { first = 1, last = 0 }
  for i = pending.first, pending.last do
    pending[i].on_reply({ err = why })
  end
end

-- What nobody waits for: what comes unasked, and pushes, but for those that are the reply of SUBSCRIBE and its kin.
local function is_unasked(value, waiting)
  local is_push = type(value) == "table" and value.kind == "push"
  return not waiting or is_push and value[1] ~= waiting.name
end

local function on_message(link, message)
  local value, pending = message[1], link.pending
  local waiting = pending[pending.first]
  if is_unasked(value, waiting) then
    return link.tell("%s", inspect.inspect(to_lua(value), { size = 2000, width = math.huge }))
  end
  pending[pending.first] = nil
  pending.first = pending.first + 1
  waiting.on_reply(value)
end

local function send(link, on_reply, name, ...)
  local pending = link.pending
  pending.last = pending.last + 1
  pending[pending.last] = { name = name:lower(), on_reply = on_reply }
  link.conn:write(resp.command(name, ...))
end

local function is_error(value)
  return type(value) == "table" and value.err
end

local function ready(link)
  if link.status ~= "connecting" then
    return -- the connection was lost meanwhile, and with it the reply
  end
  link.status, link.attempts = "connected", 0
  if link.lost then
    link.lost = false
    link.tell "connected again"
  end
  local settled = link.settled
  link.settled = task.event()
  settled:resolve(true)
end

-- Asks for RESP3. A server that does not know it, or wants a password before, goes on with RESP2.
local function greet(link)
  local words = { "HELLO", "3" }
  if link.password then
    words[3], words[4], words[5] = "AUTH", link.user or "default", link.password
  end
  send(link, function(value)
    if is_error(value) and link.password and not value.err:find "^NOAUTH" and not value.err:find "^WRONGPASS" then
      local auth = link.user and { "AUTH", link.user, link.password } or { "AUTH", link.password }
      return send(link, function(answer)
        link.refused = is_error(answer)
        ready(link)
      end, table.unpack(auth))
    end
    link.refused = link.password and is_error(value) or nil
    ready(link)
  end, table.unpack(words))
end

local function lose(link, why)
  if link.status == "closed" then
    return
  end
  if link.status == "connected" then
    link.lost = true
    link.tell("the connection was lost: %s; connecting again", why)
  end
  link.status, link.trouble = "waiting", why
  fail_pending(link, ("the connection to %s was lost: %s; whether it was carried out is not known"):format(
    link.address, why))
  local settled = link.settled
  link.settled = task.event()
  settled:resolve(false)
  if link.was_connected then
    local delay = math.min(LONGEST_DELAY, FIRST_DELAY * 2.0 ^ math.min(link.attempts, 20))
    link.attempts = link.attempts + 1
    link.timer = loop.timer(delay, function()
      connect(link)
    end)
  end
end

function connect(link)
  link.status = "connecting"
  link.conn = tcp_client.connect(link.host, link.port, {
    connect_timeout = link.timeout,
    decoder = take_reply,
    max_message = MAX_REPLY,
    keepalive = 60,
    on_connect = function(_, err)
      if not err and link.status == "connecting" then
        link.was_connected = true
        greet(link)
      end
    end,
    on_message = function(_, message)
      on_message(link, message)
    end,
    on_close = function(_, err)
      lose(link, err or "it closed")
    end,
  })
end

-- ---------------------------------------------------------------- commands

local function check_arguments(name, ...)
  local words = table.pack(...)
  for i = 1, words.n do
    local value = words[i]
    if math.type(value) == "integer" then
      words[i] = ("%d"):format(value)
    elseif type(value) == "number" then
      words[i] = ("%.17g"):format(value)
    elseif type(value) ~= "string" then
      error(("%s: argument %d is a %s; commands take strings and numbers"):format(name, i, type(value)), 0)
    end
  end
  return words
end

-- Sends a command and waits for its reply.
local function call(link, name, ...)
  local words = check_arguments(name, ...)
  local give_up = loop.now() + link.timeout
  while link.status ~= "connected" do
    if link.status == "closed" then
      error(("%s: it is closed"):format(link.address), 0)
    end
    if link.settled:wait(math.max(0, give_up - loop.now())) == nil then
      error(("%s: no connection: %s"):format(link.address, link.trouble or "it takes too long"), 0)
    end
  end
  local answered, started = task.event(), loop.time()
  send(link, function(value)
    answered:resolve({ value })
  end, name, table.unpack(words, 1, words.n))
  local reply = answered:wait(link.timeout)
  if not reply then
    error(("%s: no reply within %g s; it may still be carried out"):format(link.address, link.timeout), 0)
  end
  link.latency = loop.time() - started
  local value = reply[1]
  if is_error(value) then
    error(value.err, 0)
  elseif value == resp.null then
    return nil
  end
  return to_lua(value)
end

-- A password that was right is given again when the connection is.
local function note_password(link, ...)
  local count = select("#", ...)
  link.password = select(count, ...)
  link.user = count == 2 and (...) or nil
end

local own = {}

---@param name string
function own.call(link, name, ...)
  if type(name) ~= "string" or name == "" then
    error("call: the name of a command is needed, as in r:call(\"GET\", \"key\")", 0)
  end
  local result = call(link, name, ...)
  if name:lower() == "auth" then
    note_password(link, ...)
  end
  return result
end

function own.close(link)
  link.close()
end

local function commands(link)
  if not link.names then
    local names = {}
    for _, entry in ipairs(call(link, "COMMAND")) do
      local name = type(entry) == "table" and entry[1]
      if type(name) == "string" and name:find "^[%a_][%w_]*$" then
        names[#names + 1] = name:lower()
      end
    end
    link.names = names
  end
  return link.names
end

local metatable = {
  __name = "redis",
  __index = function(_, name)
    return function(self, ...)
      local link = links[self] or error(("call it as a method: r:%s(…)"):format(tostring(name)), 0)
      local fn = own[name]
      if fn then
        return fn(link, ...)
      end
      return own.call(link, tostring(name), ...)
    end
  end,
  __complete = function(self, prefix)
    local names = table.move(commands(links[self]), 1, #commands(links[self]), 1, { "call", "close" })
    return prefix and names
  end,
  __tostring = function(self)
    return ("redis %s (%s)"):format(links[self].address, links[self].status)
  end,
}

---@param where { address: string, host: string, port: integer? }
---@param options { timeout: number?, user: string?, password: string? }
---@param tell fun(format: string, ...: any)
function M.new(where, options, tell)
  local link = {
    kind = "redis", address = where.address, host = where.host, port = where.port,
    timeout = options.timeout or TIMEOUT, user = options.user, password = options.password,
    tell = tell, status = "connecting", settled = task.event(), pending = { first = 1, last = 0 },
    attempts = 0, was_connected = false, lost = false, trouble = nil, timer = nil, conn = nil, closed = false,
    refused = nil, names = nil, latency = nil,
  }
  function link.state()
    return link.status
  end
  function link.ping()
    pcall(call, link, "PING") -- an error, of one who wants a password, is an answer, too
    return link.status == "connected" and link.latency or error("not connected", 0)
  end
  function link.close()
    link.status, link.closed = "closed", true
    if link.timer then
      link.timer:close()
    end
    link.conn:close()
    fail_pending(link, "it was closed")
    link.settled:resolve(false)
  end
  connect(link)
  local connected = link.settled:wait(link.timeout)
  if not connected or link.refused then
    local why = link.refused or ("cannot connect to %s: %s"):format(where.address, link.trouble or "it takes too long")
    link.close()
    error(why, 0)
  end
  local object = setmetatable({}, metatable)
  links[object] = link
  return object, link
end

return M
