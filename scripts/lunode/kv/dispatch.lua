-- The dispatch of clients' commands: find, check, run, reply. It knows no single command; what becomes of those that
-- write is in kv.writes, and of those whose session is in a special state in kv.divert.
--
-- A handler returns its reply value. It may raise a resp.error: that is the reply, and what it wrote is undone.
-- Any other error is a bug: its traceback is logged, its writes are undone, and the connection gets
-- "-ERR internal error" and closes; the node lives.
--
-- This is the hot path: per command no table, no closure and no string is made here.
local command = require "lunode.kv.command"
local diverted = require "lunode.kv.divert"
local errors = require "lunode.kv.errors"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

local clock, select, words = loop.time, select, resp.words
local find, subcommand = command.find, command.subcommand
local hush, is_paused, take = diverted.hush, diverted.is_paused, diverted.take
local answer_for, refusing = errors.answer_for, errors.refusing

local M = {}

local NOTHING = resp.raw ""

-- Arguments that a handler without `variadic` can be given: Lua's stack ends at a million.
local MOST_PARAMETERS = 100000

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

-- What `admit` returns for a command that there is, but not so.
local function refuse(entry, refusal)
  if entry.refused then
    return entry.refused(refusal)
  end
  return nil, refusal
end

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
    return refuse(entry, entry.wrong_arity)
  elseif not session.authenticated and not entry.no_auth then
    return refuse(entry, errors.NOAUTH)
  end
  return entry
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

  -- A short message that needs more than the short way.
  local function take_the_long_way(conn, entry, a, b, c)
    if c then
      return on_message(conn, entry.called, words(a, b, c))
    elseif b then
      return on_message(conn, entry.called, words(a, b))
    elseif a then
      return on_message(conn, entry.called, words(a))
    end
    return on_message(conn, entry.called)
  end

  -- One whose time is looked at.
  local function run_short_timed(entry, a, b, c)
    local started, timing = clock(), node.timing
    local reply = entry.short(ctx, a, b, c)
    local microseconds = timing:took(entry, started)
    if microseconds then
      timing:slow(session, entry.called, { words(table.unpack { a, b, c }) }, microseconds)
    end
    return reply
  end

  -- What most messages are: a command of three arguments at most, its entry found already.
  local function on_short_message(conn, entry, a, b, c)
    if conn ~= current then
      switch_to(conn)
    end
    local write = entry.write
    if session.diverted or write and not (writes.open or writes:ready() and writes.open) then
      return take_the_long_way(conn, entry, a, b, c)
    end
    stats.commands = stats.commands + 1
    session.command = entry
    if write then
      return (writes.run_short(entry, a, b, c))
    elseif entry.timed then
      return run_short_timed(entry, a, b, c)
    end
    return (entry.short(ctx, a, b, c))
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
    local results = table.pack(xpcall(on_long_message, errors.with_traceback, conn, name, args))
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
