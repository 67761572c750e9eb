-- A client's connection, and the dispatch of its commands: find, check, run, reply. It knows no single command.
--
-- A handler returns its reply value. It may raise a resp.error: that is the reply, and what it wrote is undone.
-- Any other error is a bug: its traceback is logged, its writes are undone, and the connection gets
-- "-ERR internal error" and closes; the node lives.
--
-- This is the hot path: per command no table, no closure and no string is made here.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

local select, getmetatable = select, getmetatable
local find, subcommand = command.find, command.subcommand
local without_arguments, with_one = command.without_arguments, command.with_one

local M = {}

-- Arguments that a handler without `variadic` can be given: Lua's stack ends at a million.
local MOST_PARAMETERS = 100000

---@class lunode.kv.session
---@field node lunode.kv.node
---@field conn lunode.conn
---@field id integer
---@field protocol 2|3
---@field name string        "" where it has none
---@field authenticated boolean
---@field created integer    milliseconds since the epoch
---@field last integer       when its last command came
---@field command table?     its last command
local methods = {}
local session_mt = { __name = "lunode.kv.session", __index = methods }

---@param node lunode.kv.node
---@param conn lunode.conn
---@param id integer
---@param now integer
---@return lunode.kv.session
function M.new(node, conn, id, now)
  local self = setmetatable({
    node = node,
    conn = conn,
    id = id,
    protocol = 2,
    name = "",
    authenticated = true,
    created = now,
    last = now,
    command = nil,
  }, session_mt)
  if node.requirepass then
    self:set_authenticated(false)
  end
  return self
end

---@param authenticated boolean
function methods:set_authenticated(authenticated)
  self.authenticated = authenticated
  self.conn:set { authenticated = authenticated } -- until then, commands are bounded tightly
end

---@param protocol 2|3  of its replies, from the one under way on
function methods:set_protocol(protocol)
  self.protocol = protocol
  self.conn:set { protocol = protocol }
end

---Back to how a new connection is: RESET.
function methods:reset()
  self:set_protocol(2)
  self.name = ""
  if self.node.requirepass then
    self:set_authenticated(false)
  end
end

---Takes no further commands, and closes once the reply of this one is sent.
function methods:quit()
  self.conn:pause()
  loop.defer(function()
    self.conn:close()
  end)
end

-- ---- dispatch

local RAW = getmetatable(resp.OK)
local INTERNAL_ERROR = resp.error("ERR internal error; the log has its traceback")

-- As Redis words it: the arguments until there are 128 bytes of them.
local function unknown_command(name, ...)
  local list, size = {}, 0
  for i = 1, select("#", ...) do
    local arg = select(i, ...)
    if arg == nil or size >= 128 then -- nil: a parameter that no argument filled
      break
    end
    list[i] = ("'%s' "):format(arg:sub(1, 128 - size):match("^[^\0]*"))
    size = size + #list[i]
  end
  return errors.quoting("ERR unknown command '%s', with args beginning with: %s", name:sub(1, 128), table.concat(list))
end

-- (entry), or (nil, the refusal).
local function find_subcommand(container, name)
  local entry = subcommand(container, name)
  if entry then
    return entry
  end
  return nil, errors.quoting("ERR unknown subcommand '%s'. Try %s HELP.", name:sub(1, 128), container.name:upper())
end

-- How an HTTP request begins, and its second line. A browser can be made to send one here, with commands in its body.
local HTTP = { ["post"] = true, ["host:"] = true }

-- The entry to run, or (nil, the refusal).
local function admit(session, entry, name, count, first, ...)
  if entry and not entry.direct and count > 0 then
    local refusal
    entry, refusal = find_subcommand(entry, first)
    if refusal then
      return nil, refusal
    end
  end
  if entry == nil then
    if HTTP[name:lower()] then
      logger.warn("closed a connection that sends HTTP: somebody may try to have commands run through a browser")
      session.conn:abort() -- what follows is not looked at
    end
    return nil, unknown_command(name, first, ...)
  elseif count < entry.min or count > entry.max then
    return nil, entry.wrong_arity
  elseif not session.authenticated and not entry.no_auth then
    return nil, errors.NOAUTH
  end
  return entry
end

local function perform_write(db, run, ctx, ...)
  db:begin()
  local value = run(ctx, ...)
  db:finish()
  return value
end

---Makes the on_message and the on_long_message of a node's connections: what they return is the reply.
---@param node lunode.kv.node
---@return fun(conn: lunode.conn, name: string, ...): any
---@return fun(conn: lunode.conn, name: string, args: string[]): any
---@return fun() end_turn  to be called at the end of each turn of the loop
function M.dispatchers(node)
  local sessions, ctx, db, stats = node.sessions, node.ctx, node.db, node.stats
  local current, session -- the connection whose commands are running, and its session

  -- Commands come in batches: what is the same for a batch is looked up once.
  local function switch_to(conn)
    current, session = conn, sessions[conn]
    ctx.session = session
    session.last = ctx.now or node:read_clock()
  end

  -- The long way: names in mixed case, subcommands, commands that write or take a list, many arguments, refusals.
  local function perform(name, count, a, b, c, ...)
    local entry, refusal = admit(session, find(name), name, count, a, b, c, ...)
    session.command = entry
    if refusal then
      stats.errors = stats.errors + 1
      return refusal
    end
    local run = entry.run
    if entry.variadic then
      if entry.write then
        return perform_write(db, run, ctx, { a, b, c, ... })
      end
      return (run(ctx, { a, b, c, ... }))
    elseif entry.write then
      if count == 1 then
        return perform_write(db, run, ctx, a)
      elseif count == 2 then
        return perform_write(db, run, ctx, a, b)
      end
      return perform_write(db, run, ctx, a, b, c, ...)
    elseif count == 0 then
      return (run(ctx))
    elseif count == 1 then
      return (run(ctx, a))
    elseif count == 2 then
      return (run(ctx, a, b))
    end
    return (run(ctx, a, b, c, ...))
  end

  local function on_message(conn, name, a, b, c, ...)
    if conn ~= current then
      switch_to(conn)
    end
    stats.commands = stats.commands + 1
    if a == nil then
      local entry = without_arguments[name]
      if entry and session.authenticated then
        session.command = entry
        return (entry.run(ctx))
      end
    elseif b == nil then
      local entry = with_one[name]
      if entry and session.authenticated then
        session.command = entry
        return (entry.run(ctx, a))
      end
    end
    local count = a == nil and 0 or b == nil and 1 or c == nil and 2 or 3 + select("#", ...)
    return perform(name, count, a, b, c, ...)
  end

  local function on_long_message(conn, name, args)
    if conn ~= current then
      switch_to(conn)
    end
    stats.commands = stats.commands + 1
    local entry, refusal = admit(session, find(name), name, #args, table.unpack(args, 1, 100))
    session.command = entry
    if refusal then
      stats.errors = stats.errors + 1
      return refusal
    end
    local run = entry.run
    if entry.variadic and entry.write then
      return perform_write(db, run, ctx, args)
    elseif entry.variadic then
      return (run(ctx, args))
    elseif entry.write then
      return perform_write(db, run, ctx, table.unpack(args, 1, math.min(#args, MOST_PARAMETERS)))
    end
    return (run(ctx, table.unpack(args, 1, math.min(#args, MOST_PARAMETERS))))
  end

  -- The next command looks at the clock again.
  local function end_turn()
    current, ctx.now = nil, nil
  end

  return on_message, on_long_message, end_turn
end

---Makes the on_error of a node's connections: answers for a command that raised.
---@param node lunode.kv.node
---@return fun(conn: lunode.conn, err: any): any
function M.error_handler(node)
  return function(conn, err)
    local session = node.sessions[conn]
    local entry = session.command
    node.stats.errors = node.stats.errors + 1
    if entry and entry.write then
      node.db:rollback()
    end
    if getmetatable(err) == RAW then
      return err
    elseif node.db.broken then
      return -- the node stops at the end of this turn, and says why
    end
    logger.traceback(("command %s: %s"):format(entry and entry.name or "?", tostring(err)))
    session:quit()
    return INTERNAL_ERROR
  end
end

return M
