-- Commands about the connection itself: PING ECHO HELLO AUTH QUIT RESET SELECT. CLIENT has its own file.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local numbers = require "lunode.kv.numbers"
local replication = require "lunode.kv.replication_info"
local resp = require "lunode.resp"

local PONG = resp.status("PONG")
local RESET = resp.status("RESET")
local NOPROTO = resp.error("NOPROTO unsupported protocol version")
local BAD_PROTOCOL = resp.error("ERR Protocol version is not an integer or out of range")
local BAD_NAME = resp.error("ERR Client names cannot contain spaces, newlines or special characters.")
local NO_PASSWORD = resp.error("ERR AUTH <password> called without any password configured for the default user. "
  .. "Are you sure your configuration is correct?")
local HELLO_NOAUTH = resp.error("NOAUTH HELLO must be called with the client already authenticated, otherwise the "
  .. "HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version "
  .. "at the same time")
local DB_RANGE = resp.error("ERR DB index is out of range")

local HANDSHAKE = { "noscript", "loading", "stale", "fast", "no_auth", "allow_busy" }

local M = {}

-- Takes as long for a wrong first byte as for a wrong last one.
local function same(given, password)
  local difference = #given ~ #password
  for i = 1, #given do
    difference = difference | (given:byte(i) ~ (password:byte((i - 1) % #password + 1)))
  end
  return difference == 0
end

-- There is one user, "default".
local function authenticate(session, user, password)
  local required = session.node.requirepass
  if user ~= "default" or required and not same(password, required) then
    error(errors.WRONGPASS, 0)
  end
  if not session.authenticated then
    session:set_authenticated(true)
  end
end

---@param name string  Raises Redis's error where it has other bytes than "!" to "~"
function M.check_name(name)
  if name:find("[^!-~]") then
    error(BAD_NAME, 0)
  end
end

command.command("PING", {
  arity = -1, flags = { "fast" }, group = "connection", since = "1.0.0", complexity = "O(1)",
  tips = { "request_policy:all_shards", "response_policy:all_succeeded" },
  summary = "Ping the server",
  run = function(ctx, message, ...)
    if message == nil then
      return PONG
    elseif ... then
      return ctx.session.command.wrong_arity
    end
    return message
  end,
})

command.command("ECHO", {
  arity = 2, flags = { "loading", "stale", "fast" }, group = "connection", since = "1.0.0", complexity = "O(1)",
  summary = "Echo the given string",
  run = function(_, message)
    return message
  end,
})

-- What follows HELLO's version takes effect one by one, as Redis does it.
local function take_hello_options(session, ...)
  local args, i = { ... }, 1
  while i <= #args do
    local option = args[i]:upper()
    if option == "AUTH" and i + 2 <= #args then
      authenticate(session, args[i + 1], args[i + 2])
      i = i + 3
    elseif option == "SETNAME" and i + 1 <= #args then
      M.check_name(args[i + 1])
      session.name = args[i + 1]
      i = i + 2
    else
      error(errors.quoting("ERR Syntax error in HELLO option '%s'", args[i]), 0)
    end
  end
end

command.command("HELLO", {
  arity = -1, flags = HANDSHAKE, group = "connection", since = "6.0.0", complexity = "O(1)",
  summary = "Handshake with Redis",
  run = function(ctx, version, ...)
    local session, protocol = ctx.session, nil
    if version then
      protocol = numbers.parse(version) or error(BAD_PROTOCOL, 0)
      if protocol ~= 2 and protocol ~= 3 then
        return NOPROTO
      end
      take_hello_options(session, ...)
    end
    if not session.authenticated then
      return HELLO_NOAUTH
    end
    if protocol then
      session:set_protocol(protocol)
    end
    return resp.map {
      "server", "redis", "version", "7.0.15", "proto", session.protocol, "id", session.id,
      "mode", replication.mode(ctx.node), "role", replication.is_master(ctx.node) and "master" or "replica",
      "modules", {},
    }
  end,
})

command.command("AUTH", {
  arity = -2, flags = HANDSHAKE, group = "connection", since = "1.0.0",
  complexity = "O(N) where N is the number of passwords defined for the user",
  summary = "Authenticate to the server",
  run = function(ctx, user, password, ...)
    if ... then
      return errors.SYNTAX
    elseif password == nil then
      if not ctx.node.requirepass then
        return NO_PASSWORD
      end
      user, password = "default", user
    end
    authenticate(ctx.session, user, password)
    return resp.OK
  end,
})

command.command("QUIT", {
  arity = -1, flags = HANDSHAKE, group = "connection", since = "1.0.0", complexity = "O(1)",
  summary = "Close the connection", immediate = true,
  run = function(ctx)
    ctx.session:quit()
    return resp.OK
  end,
})

command.command("RESET", {
  arity = 1, flags = HANDSHAKE, group = "connection", since = "6.2.0", complexity = "O(1)",
  summary = "Reset the connection", immediate = true,
  arrive = function(session) -- what follows is in no transaction
    session.multi, session.watched = nil, false
    session:update()
  end,
  run = function(ctx)
    ctx.session:reset()
    return RESET
  end,
})

command.command("SELECT", {
  arity = 2, flags = { "loading", "stale", "fast" }, group = "connection", since = "1.0.0", complexity = "O(1)",
  summary = "Change the selected database for the current connection",
  run = function(_, index) -- there is one database
    return numbers.int32(index) == 0 and resp.OK or DB_RANGE
  end,
})

return M
