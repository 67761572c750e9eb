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

local select, type, xpcall, getmetatable = select, type, xpcall, getmetatable
local reply = resp.reply

local M = {}

-- What the decoder is told: before a client has authenticated it takes 10 arguments of 16384 bytes at most.
local STRANGER = { authenticated = false }
local TRUSTED = { authenticated = true }

-- What a client that has not authenticated reaches without asking `resolve`.
local NONE = {}

---@class lunode.kv.session
---@field node lunode.kv.node
---@field conn lunode.conn
---@field id integer
---@field protocol 2|3
---@field name string        "" where it has none
---@field authenticated boolean
---@field commands table<string, table>  entries by name, those that it may run as they are
---@field created integer    milliseconds since the epoch
---@field last integer       when its last command came
---@field command table?     its last command
---@field quitting boolean   it closes once its replies are sent
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
    commands = command.direct,
    created = now,
    last = now,
    command = nil,
    quitting = false,
  }, session_mt)
  if node.requirepass then
    self:set_authenticated(false)
  end
  return self
end

---@param authenticated boolean
function methods:set_authenticated(authenticated)
  self.authenticated = authenticated
  self.commands = authenticated and command.direct or NONE
  self.conn:set(authenticated and TRUSTED or STRANGER)
end

---Back to how a new connection is: RESET.
function methods:reset()
  self.protocol = 2
  self.name = ""
  if self.node.requirepass then
    self:set_authenticated(false)
  end
end

---Takes no further commands, and closes once the reply of this one is sent.
function methods:quit()
  self.quitting = true
  self.conn:pause()
  loop.defer(function()
    self.conn:close()
  end)
end

-- ---- dispatch

local RAW = getmetatable(resp.OK)
local INTERNAL_ERROR = resp.error("ERR internal error; the log has its traceback")

local function with_traceback(err)
  if getmetatable(err) == RAW then
    return err
  end
  return debug.traceback(tostring(err), 2)
end

-- As Redis words it: the arguments until there are 128 bytes of them. They come as a list or one by one.
local function unknown_command(name, arguments, ...)
  local list, size = {}, 0
  for i, arg in ipairs(arguments or { ... }) do
    if size >= 128 then
      break
    end
    list[i] = ("'%s' "):format(arg:sub(1, 128 - size):match("^[^\0]*"))
    size = size + #list[i]
  end
  return errors.quoting("ERR unknown command '%s', with args beginning with: %s", name:sub(1, 128), table.concat(list))
end

-- The long way to an entry: names in mixed case, subcommands, clients that have not authenticated. (entry), or
-- (nil, the refusal). The arguments come as a list or one by one.
local function resolve(session, name, count, list, ...)
  local entry = command.find(name)
  if entry == nil then
    return nil, unknown_command(name, list, ...)
  elseif entry.has_subcommands and count > 0 then
    local own = list and list[1] or (...)
    local container = entry
    entry = command.subcommand(container, own)
    if entry == nil then
      return nil, errors.quoting("ERR unknown subcommand '%s'. Try %s HELP.", own:sub(1, 128), container.name:upper())
    end
  end
  if count < entry.min or count > entry.max then
    return nil, entry.wrong_arity
  elseif not session.authenticated and not entry.no_auth then
    return nil, errors.NOAUTH
  end
  return entry
end

local function refuse(session, refusal)
  session.node.stats.errors = session.node.stats.errors + 1
  if reply(session.conn, refusal, session.protocol) == false then
    session.conn:pause()
  end
end

-- The handler raised `err`, and what it wrote is undone.
local function fail(session, err)
  if type(err) ~= "string" then
    return refuse(session, err)
  end
  logger.traceback(("command %s: %s"):format(session.command.name, err))
  refuse(session, INTERNAL_ERROR)
  session.conn:close()
end

local function perform(session, run, ctx, ...)
  return reply(session.conn, (run(ctx, ...)), session.protocol)
end

-- A command that writes. Its reply is encoded before its writes count: a value that is none undoes them too.
local function execute_write(session, run, ctx, ...)
  local db = ctx.db
  db:begin()
  local ok, room = xpcall(perform, with_traceback, session, run, ctx, ...)
  if not ok then
    db:rollback()
    return fail(session, room)
  end
  db:finish()
  if room == false then
    session.conn:pause()
  end
end

local function execute_read(session, run, ctx, ...)
  local ok, value = xpcall(run, with_traceback, ctx, ...)
  if not ok then
    return fail(session, value)
  elseif reply(session.conn, value, session.protocol) == false then
    session.conn:pause() -- a client that does not read gets no more done; on_writable resumes
  end
end

-- A command of so many arguments that they come as a list.
local function execute_list(session, ctx, name, list)
  local entry, refusal = resolve(session, name, #list, list)
  if refusal then
    return refuse(session, refusal)
  end
  ctx.session, session.command = session, entry
  local execute = entry.write and execute_write or execute_read
  return execute(session, entry.run_list, ctx, list)
end

---Makes the on_message of a node's connections.
---@param node lunode.kv.node
---@return fun(conn: lunode.conn, name: string, ...)
function M.dispatcher(node)
  local sessions, ctx, stats = node.sessions, node.ctx, node.stats

  return function(conn, name, first, ...)
    local session = sessions[conn]
    session.last = ctx.now or node:read_clock()
    stats.commands = stats.commands + 1
    local count = 0
    if first ~= nil then
      count = 1 + select("#", ...)
      if count == 1 and type(first) == "table" then
        return execute_list(session, ctx, name, first)
      end
    end
    local entry, refusal = session.commands[name], nil
    if entry == nil then
      entry, refusal = resolve(session, name, count, nil, first, ...)
    elseif count < entry.min or count > entry.max then
      refusal = entry.wrong_arity
    end
    if refusal then
      return refuse(session, refusal)
    end
    ctx.session = session
    session.command = entry
    -- as execute_read does; to call it would cost a tenth of a PING
    local ok, value
    if count == 0 then
      if entry.write then
        return execute_write(session, entry.run, ctx)
      end
      ok, value = xpcall(entry.run, with_traceback, ctx)
    elseif entry.write then
      return execute_write(session, entry.run, ctx, first, ...)
    else
      ok, value = xpcall(entry.run, with_traceback, ctx, first, ...)
    end
    if not ok then
      return fail(session, value)
    elseif reply(conn, value, session.protocol) == false then
      conn:pause()
    end
  end
end

---The queue of replies is short again.
---@param session lunode.kv.session
function M.on_writable(session)
  if not session.quitting then
    session.conn:resume()
  end
end

return M
