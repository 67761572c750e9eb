-- A client's connection, and the dispatch of its commands: find, check, run, reply. It knows no single command; what
-- becomes of those that write is in kv.writes.
--
-- A handler returns its reply value. It may raise a resp.error: that is the reply, and what it wrote is undone.
-- Any other error is a bug: its traceback is logged, its writes are undone, and the connection gets
-- "-ERR internal error" and closes; the node lives.
--
-- This is the hot path: per command no table, no closure and no string is made here.
local channels = require "lunode.kv.channels"
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

local clock, select = loop.time, select
local divert_module = require "lunode.kv.divert"
local hush, is_paused, take = divert_module.hush, divert_module.is_paused, divert_module.take
local writes_module = require "lunode.kv.writes"
local answer_for, refusing = writes_module.answer_for, writes_module.refusing
local find, subcommand = command.find, command.subcommand
local words = resp.words

local M = {}

local NOTHING = resp.raw ""

-- Arguments that a handler without `variadic` can be given: Lua's stack ends at a million.
local MOST_PARAMETERS = 100000

-- Commands of one connection that wait: then it sends no more, until half of them have their replies.
local MOST_WAITING = 1024

-- What it has sent behind a command that blocks: past that, it is closed.
local MOST_HELD_BYTES = 64 << 20
local HELD_BYTES = 256 -- of a command, beside its words

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
---@field waiting integer    commands whose replies are still to come
---@field diverted boolean   what it sends takes the long way (kv.divert): it waits, or is in a transaction, or …
---@field multi table?       what it has queued since MULTI
---@field subscriptions table?  the names and the counts of its subscriptions (kv.channels)
---@field watching table<string, table>?  the keys that it watches
---@field blocked lunode.kv.blocking_waiter?  it waits for an element
---@field held table?        what it has sent behind a command that may block
---@field closed boolean
---@field unit lunode.kv.unit?  in a cluster: with the last command of it that writes
---@field watch_id string?  in a cluster: of what it watches (kv.replicated_watches)
---@field read_mode "leader"|"stale"|nil  in a cluster: which state is good enough for it (nil: linearizable)
---@field max_age number  seconds: how old, for "stale"
---@field redirects boolean?  in a cluster: whether it is told who leads; nil: as the node is set
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
    waiting = node.cluster and 1 or 0, -- in a cluster all commands take the way of those that wait
    diverted = node.cluster ~= nil,
    multi = nil,
    subscriptions = nil,
    watching = nil,
    blocked = nil,
    held = nil,
    held_bytes = 0,
    silence = nil, -- "off": it wants no replies; "skip": not the next one
    quiet = false, -- the command under way gets none
    asked = 0, -- of the commands that have ever waited: how many there were,
    answered = 0, -- how many have been answered,
    muted = nil, -- and the numbers of those that get no reply
    monitors = false, -- it sees what the others send
    no_evict = nil,
    tracking = nil,
    watched = false, -- it has sent WATCH since the last EXEC or DISCARD: so `watching` may still be filled
    crowded = false, -- too many wait
    full = false, -- it does not take its replies
    leaving = false,
    closed = false,
    unit = nil,
    watch_id = nil,
    read_mode = nil,
    max_age = 0,
    redirects = nil,
  }, session_mt)
  if node.requirepass then
    self:set_authenticated(false)
  end
  self:update()
  return self
end

---To be called when one of the states has changed that `divert` looks at.
function methods:update()
  local node = self.node
  self.diverted = self.waiting > 0 or self.multi ~= nil or self.held ~= nil or self:is_listener()
    or self.silence ~= nil or node.paused ~= nil or node.monitors.count > 0 or self.tracking ~= nil
end

---Whether it has subscriptions, and a protocol in which messages look like replies.
---@return boolean
function methods:is_listener()
  return self.subscriptions ~= nil and self.protocol == 2 and channels.class(self) == "pubsub"
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
  self:update()
end

---Back to how a new connection is: RESET.
function methods:reset()
  self.name, self.read_mode, self.redirects = "", nil, nil
  self.multi, self.watched, self.silence, self.no_evict = nil, false, nil, nil
  self:unwatch()
  self.node.monitors:remove(self)
  self.node.tracking:stop(self)
  self.node.channels:forget(self)
  self.node.channels:set_limit(self)
  self:set_protocol(2)
  if self.node.requirepass then
    self:set_authenticated(false)
  end
end

---Takes no further commands.
function methods:leave()
  self.leaving = true
  self.conn:pause()
end

---Takes no further commands, and closes once the reply of this one is sent.
function methods:quit()
  self:leave()
  loop.defer(function()
    self.conn:close()
  end)
end

---Its connection has closed.
function methods:end_()
  self.closed = true
  self:unwatch()
  self.node.monitors:remove(self)
  self.node.tracking:stop(self)
  self.node.blocking:forget(self)
  self.node.channels:forget(self)
end

---Whether it may be closed because it has sent nothing for long: `timeout`.
---@return boolean
function methods:may_time_out()
  return not (self.blocked or self.monitors) and channels.class(self) == "normal"
end

-- ---- keys that it watches

---@param key string
---@param db lunode.kv.db
function methods:watch(key, db)
  local watching = self.watching or {}
  self.watching = watching
  if not watching[key] then
    local _, value = db:find(key)
    watching[key] = { token = self.node.watches:add(key), existed = value ~= nil }
    self.node.writes:update()
  end
end

---Whether a key that it watches has changed.
---@return boolean
function methods:has_dirty_keys()
  for key, was in pairs(self.watching or {}) do
    if not self.node.watches:is_same(key, was.token, was.existed) then
      return true
    end
  end
  return false
end

---Watches no key any more.
---@return boolean same  none of them had changed
function methods:unwatch()
  local watching, node, same = self.watching, self.node, true
  self.watching = nil
  for key, was in pairs(watching or {}) do
    same = same and node.watches:is_same(key, was.token, was.existed)
      and not (was.existed and node.db:has_expired(key))
    node.watches:remove(key)
  end
  if watching then
    node.writes:update()
  elseif self.watch_id then
    node.writes.watching:leave(self)
  end
  return same
end

-- ---- commands that wait

---One more command waits.
function methods:wait()
  self.waiting, self.asked = self.waiting + 1, self.asked + 1
  self.diverted = true
  if self.quiet then
    self.muted = self.muted or {}
    self.muted[self.asked] = true
  end
  if self.waiting >= MOST_WAITING then
    self:crowd()
  end
end

---It sends no more before it has replies.
function methods:crowd()
  self.crowded = true
  self.conn:pause()
end

local function go_on(self)
  if not (self.crowded or self.full or self.leaving or self.closed) then
    self.conn:resume()
  end
end

---Replies to the command that has waited longest.
---@param bytes string
function methods:answer(bytes)
  self.waiting, self.answered = self.waiting - 1, self.answered + 1
  if self.waiting == 0 then
    self:update()
  end
  local muted = self.muted
  if muted and muted[self.answered] then
    muted[self.answered] = nil
  else
    self:write(bytes)
  end
  if self.crowded and self.waiting <= MOST_WAITING // 2 then
    self.crowded = false
    go_on(self)
  end
end

---Sends bytes that are replies.
---@param bytes string
function methods:write(bytes)
  if not self.closed and self.conn:write(bytes) == false then
    self.full = true
    self.conn:pause()
  end
end

---Its replies have left.
function methods:drained()
  if self.full then
    self.full = false
    go_on(self)
  end
end

-- ---- commands behind one that may block

---What comes from now on waits until `release`. Connections are read on, as else nobody would see them close.
function methods:hold()
  self.held = self.held or {}
  self.diverted = true
end

---Whether the command that they wait for has its reply: it was the last one to be sent.
---@return boolean
function methods:is_answered()
  return not self.blocked and self.waiting <= (self.node.cluster and 1 or 0)
end

---A command to be held.
---@param name string
---@param args string[]
function methods:keep(name, args)
  local held = self.held
  held[#held + 1] = { name = name, args = args }
  self.held_bytes = self.held_bytes + HELD_BYTES + #name
  for i = 1, #args do
    self.held_bytes = self.held_bytes + #args[i]
  end
  if self.held_bytes > MOST_HELD_BYTES then
    logger.warn("closed a connection that has sent %d commands behind one that blocks", #held)
    self.conn:abort()
  end
end

---Runs what was held, up to the next command that blocks.
function methods:release()
  local held = self.held or {}
  self.held, self.held_bytes = nil, 0
  self:update()
  for i, one in ipairs(held) do
    if self.closed then
      return
    elseif self.held then
      self:keep(one.name, one.args)
    else
      self.node.perform(self, one.name, one.args)
    end
    held[i] = false
  end
end

-- ---- dispatch

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

local function with_traceback(err)
  return type(err) == "string" and debug.traceback(err, 2) or err
end

---Makes the on_message and the on_long_message of a node's connections: what they return is the reply.
---@param node lunode.kv.node
---@return fun(conn: lunode.conn, name: string, ...): any
---@return fun(conn: lunode.conn, name: string, args: string[]): any
---@return fun() end_turn  to be called at the end of each turn of the loop
---@return fun(conn: lunode.conn, entry: table, a: any, b: any, c: any): any  on_short_message
function M.dispatchers(node)
  local sessions, ctx, stats, writes = node.sessions, node.ctx, node.stats, node.writes
  local current, session -- the connection whose commands are running, and its session

  -- Commands come in batches: what is the same for a batch is looked up once.
  local function switch_to(conn)
    if node.blocking.ready then
      node.blocking:serve()
    end
    current, session = conn, sessions[conn]
    ctx.session = session
    session.last = ctx.now or node:read_clock()
  end

  -- Lets a command wait, and what its session sends after it, if it may block.
  local function submit(entry, name, args)
    if entry.blocks then
      session:hold()
    end
    writes:submit(session, entry, name, args)
  end

  -- Runs a command with its arguments as a list.
  local function run_list(entry, name, args)
    local run = entry.run
    session.command, name = entry, entry.log_name or name
    if entry.write and not writes:ready() then
      return submit(entry, name, args)
    elseif entry.write then
      local refusal = entry.bytes and writes:refusal_of(entry, session)
      return refusal or (writes:run(entry, name, args))
    end
    if session.tracking then
      node.tracking:saw(session, entry, args)
    end
    if entry.variadic then
      return (run(ctx, args))
    end
    return (run(ctx, table.unpack(args, 1, math.min(#args, MOST_PARAMETERS))))
  end

  local function finish(entry, name, args, started, ...)
    if entry.timed then
      node.timing:done(session, entry, name, args, started)
    end
    return ...
  end

  -- The same, and how long it takes is looked at.
  local function run_timed(entry, name, args)
    return finish(entry, name, args, clock(), run_list(entry, name, args))
  end

  -- For a session in one of its special states.
  local function divert(name, args)
    if session.held then
      stats.commands = stats.commands - 1 -- it is counted when it runs
      return session:keep(name, args)
    end
    local entry, refusal = admit(session, find(name), name, #args, table.unpack(args, 1, 100))
    if entry and node.paused and is_paused(session, entry) then
      session:hold()
      stats.commands = stats.commands - 1
      return session:keep(name, args)
    end
    local quiet = hush(session, entry)
    local reply
    entry, reply, name, args = take(session, entry, refusal, name, args)
    if session.waiting > 0 then
      return submit(entry or refusing(reply), entry and entry.log_name or name, args)
    elseif quiet then
      return NOTHING, entry and run_timed(entry, name, args)
    elseif entry then
      return run_timed(entry, name, args)
    end
    return reply
  end

  local function perform_write(entry, name, count, a, b, c, ...)
    if not writes:ready() then
      return submit(entry, name, { a, b, c, ... })
    elseif entry.variadic then
      return (writes:run(entry, name, { a, b, c, ... }))
    elseif count == 1 then
      return (writes:run(entry, name, nil, a))
    elseif count == 2 then
      return (writes:run(entry, name, nil, a, b))
    elseif count == 0 then
      return (writes:run(entry, name, nil))
    end
    return (writes:run(entry, name, nil, a, b, c, ...))
  end

  -- The long way: subcommands, commands that take a list, many arguments, refusals.
  local function perform(name, count, a, b, c, ...)
    local entry, refusal = admit(session, find(name), name, count, a, b, c, ...)
    session.command = entry
    if refusal then
      stats.errors = stats.errors + 1
      return refusal
    end
    local run = entry.run
    if entry.timed then
      return run_timed(entry, name, { a, b, c, ... })
    elseif entry.write then
      return perform_write(entry, entry.log_name or name, count, a, b, c, ...)
    elseif entry.variadic then
      return (run(ctx, { a, b, c, ... }))
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
    if session.diverted then
      return divert(name, { a, b, c, ... })
    end
    local count = a == nil and 0 or b == nil and 1 or c == nil and 2 or 3 + select("#", ...)
    return perform(name, count, a, b, c, ...)
  end

  -- What most messages are: a command of three arguments at most, its entry found already.
  local function on_short_message(conn, entry, a, b, c)
    if conn ~= current then
      switch_to(conn)
    end
    local write = entry.write
    if session.diverted or not session.authenticated
      or write and (ctx.notifies or (writes.waits or not writes.begun) and not writes:ready()) then
      if a == nil then
        return on_message(conn, entry.called)
      elseif b == nil then
        return on_message(conn, entry.called, words(a))
      elseif c == nil then
        return on_message(conn, entry.called, words(a, b))
      end
      return on_message(conn, entry.called, words(a, b, c))
    end
    stats.commands = stats.commands + 1
    session.command = entry
    if write then
      return (writes:run_short(entry, a, b, c))
    elseif c ~= nil then
      return (entry.short(ctx, a, b, c))
    elseif b ~= nil then
      return (entry.short(ctx, a, b))
    elseif a ~= nil then
      return (entry.short(ctx, a))
    end
    return (entry.short(ctx))
  end

  local function on_long_message(conn, name, args)
    if conn ~= current then
      switch_to(conn)
    end
    stats.commands = stats.commands + 1
    if session.diverted then
      return divert(name, args)
    end
    local entry, refusal = admit(session, find(name), name, #args, table.unpack(args, 1, 100))
    if refusal then
      stats.errors = stats.errors + 1
      return refusal
    end
    return run_timed(entry, name, args)
  end

  -- The next command begins as a batch does.
  function node.interrupt()
    current = nil
  end

  -- A command that was held.
  function node.perform(held_by, name, args)
    local conn = held_by.conn
    local results = table.pack(xpcall(on_long_message, with_traceback, conn, name, args))
    local value = results[2]
    if not results[1] then
      value = M.error_handler(node)(conn, value)
    end
    if results.n > 1 then
      held_by:write(resp.encode(value, held_by.protocol))
    end
  end

  -- The next command looks at the clock again.
  local function end_turn()
    current, ctx.now = nil, nil
  end

  return on_message, on_long_message, end_turn, on_short_message
end

---Makes the on_error of a node's connections: answers for a command that raised.
---@param node lunode.kv.node
---@return fun(conn: lunode.conn, err: any): any
function M.error_handler(node)
  return function(conn, err)
    local session = node.sessions[conn]
    node.stats.errors = node.stats.errors + 1
    local entry = session.command
    if entry and entry.write then
      node.writes:undo()
    end
    local value, faulty = answer_for(entry, err)
    if faulty then
      session:quit()
    end
    return session.quiet and NOTHING or value
  end
end

return M
