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
local commands, find, subcommand = command.by_name, command.find, command.subcommand

local M = {}

-- What a client may send before it has authenticated, and after.
local STRANGER = { max_args = 10, max_bulk = 16384 }
local TRUSTED = { max_args = 1048576, max_bulk = 512 * 1024 * 1024 }

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

local function perform(conn, session, run, ctx, ...)
  return reply(conn, (run(ctx, ...)), session.protocol)
end

-- As Redis words it: the arguments until there are 128 bytes of them.
local function unknown_command(name, ...)
  local list, size = {}, 0
  for i = 1, select("#", ...) do
    if size >= 128 then
      break
    end
    local arg = select(i, ...)
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

local function fail(session, db, entry, err)
  if entry.write then
    db:rollback()
  end
  if type(err) ~= "string" then
    return reply(session.conn, err, session.protocol)
  end
  logger.traceback(("command %s: %s"):format(entry.name, err))
  reply(session.conn, INTERNAL_ERROR, session.protocol)
  session.conn:close()
  return true
end

local function refuse(session, stats, refusal)
  stats.errors = stats.errors + 1
  if reply(session.conn, refusal, session.protocol) == false then
    session.conn:pause()
  end
end

---Makes the on_message of a node's connections.
---@param node lunode.kv.node
---@return fun(conn: lunode.conn, name: string, ...)
function M.dispatcher(node)
  local sessions, ctx, db, stats = node.sessions, node.ctx, node.db, node.stats

  return function(conn, name, ...)
    local session = sessions[conn]
    local count = select("#", ...)
    local list -- the arguments, where they come as one list
    if count == 1 then
      list = ...
      if type(list) == "table" then
        count = #list
      else
        list = nil
      end
    end
    session.last = ctx.now or node:read_clock()
    stats.commands = stats.commands + 1

    local entry, refusal = commands[name] or find(name), nil
    if entry and entry.has_subcommands and count > 0 then
      entry, refusal = find_subcommand(entry, list and list[1] or (...))
    end
    if entry == nil then
      refusal = refusal or list and unknown_command(name, table.unpack(list, 1, 100)) or unknown_command(name, ...)
    elseif count < entry.min or count > entry.max then
      refusal = entry.wrong_arity
    elseif not session.authenticated and not entry.no_auth then
      refusal = errors.NOAUTH
    end
    if refusal then
      return refuse(session, stats, refusal)
    end

    ctx.session = session
    session.command = entry
    local write = entry.write
    if write then
      db:begin()
    end
    local ok, room
    if entry.variadic then
      ok, room = xpcall(perform, with_traceback, conn, session, entry.run, ctx, list or { ... })
    elseif list then
      ok, room = xpcall(perform, with_traceback, conn, session, entry.run, ctx,
        table.unpack(list, 1, math.min(count, MOST_PARAMETERS)))
    else
      ok, room = xpcall(perform, with_traceback, conn, session, entry.run, ctx, ...)
    end
    if not ok then
      stats.errors = stats.errors + 1
      room = fail(session, db, entry, room)
    elseif write then
      db:finish()
    end
    if room == false then
      conn:pause() -- a client that does not read gets no more done; on_writable resumes
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
