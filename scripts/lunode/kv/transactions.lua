-- MULTI EXEC DISCARD WATCH UNWATCH. A transaction is one command in the log, so it is never torn: neither by a crash
-- nor by a change of leadership.
--
-- What a session sends after MULTI is gathered in session.multi as it arrives (kv.divert); EXEC makes one command of
-- it, "\0exec" if any of it writes. Errors of single commands undo these alone. Whether a key that is watched has
-- changed is asked of this node's memory (kv.watches) right before the transaction runs or is proposed, when nothing is
-- under way that could still change it: its entry then lies directly behind all that was looked at, or is not committed
-- at all. So nobody else has to check it again.
--
--   args of exec = (count name argument…)…      count: of the words that follow
local SUBSCRIBERS_PING = require("lunode.kv.divert").SUBSCRIBERS_PING
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local logged = require "lunode.kv.logged"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

local answer_for, with_traceback = errors.answer_for, errors.with_traceback

local NESTED = resp.error("ERR MULTI calls can not be nested")
local WATCH_INSIDE = resp.error("ERR WATCH inside MULTI is not allowed")
local EXEC_WITHOUT = resp.error("ERR EXEC without MULTI")
local DISCARD_WITHOUT = resp.error("ERR DISCARD without MULTI")
local EXECABORT = resp.error("EXECABORT Transaction discarded because of previous errors.")
local QUEUED = resp.status("QUEUED")

local MOST_BYTES = 512 << 20 -- that one transaction may gather: half of what an entry of the log may have
local WORD_BYTES = 16 -- beside a word's own, in the log

local M = {}

-- ---- running

local function run_and_encode(entry, ctx, args)
  local session = ctx.session
  local value
  if entry.variadic then
    value = entry.run(ctx, args)
  else
    value = entry.run(ctx, table.unpack(args))
  end
  return resp.encode(value, session and session.protocol)
end

-- One command of a transaction: (its reply's bytes, whether it has changed something, whether it failed by a fault).
local function run_one(ctx, entry, args)
  local db = ctx.db
  if entry.write then
    db:begin()
  end
  local ok, result = xpcall(run_and_encode, with_traceback, entry, ctx, args)
  if ok then
    local changed = entry.write and db:finish()
    if changed then
      ctx.node.writes:touch(entry, args)
    end
    if ctx.events then -- before what is published behind it
      ctx:tell_events()
    end
    return result, changed, false
  end
  if entry.write then
    db:rollback()
  end
  ctx.events = nil
  local value, faulty = answer_for(entry, result)
  ctx.node.stats.errors = ctx.node.stats.errors + 1
  return resp.encode(value), false, faulty
end

-- The entry of a command that was queued.
local function entry_of(name, args)
  local entry = command.find_logged(name)
  if entry and not entry.direct and args[1] then
    entry = command.subcommand(entry, args[1]) or entry
  end
  return entry or error(("a transaction holds the command %q, which this node does not know; start it with the "
    .. "scripts that add it"):format(name), 0)
end

local function ignore() end

-- The commands one after the other: (the replies, whether any has changed something, whether one failed by a fault).
local function run_each(ctx, args)
  local session, seed = ctx.session, ctx.seed
  local replies, at, changed, faulty = {}, 1, false, false
  while at <= #args do
    local count, name = math.tointeger(args[at]), args[at + 1]
    local own = table.move(args, at + 2, at + count, 1, {})
    local entry = entry_of(name, own)
    if session then
      session.command = entry
      entry = entry.name == "ping" and session:is_listener() and SUBSCRIBERS_PING or entry
    end
    if session or entry.write or entry.options.may_replicate then -- to whom would the others reply?
      ctx.seed = seed and seed + at
      local started = entry.timed and loop.time()
      if session and session.tracking then
        ctx.node.tracking:saw(session, entry, own)
      end
      if session and ctx.node.monitors.count > 0 then
        ctx.node.monitors:show(session, entry, name, own)
      end
      local bytes, has_changed, at_fault = run_one(ctx, entry, own)
      if started then
        ctx.node.timing:done(session, entry, name, own, started)
      end
      replies[#replies + 1] = bytes
      changed, faulty = changed or has_changed, faulty or at_fault
    end
    at = at + count + 1
  end
  return replies, changed, faulty
end

local function run(ctx, args)
  local db, session, outer = ctx.db, ctx.session, ctx.session and ctx.session.command
  local on_expired = db.on_expired
  local writing = db.writing
  db.on_expired = ignore -- a deletion would be a command of its own in the middle of this one
  ctx.in_transaction = true
  local replies, changed, faulty = run_each(ctx, args)
  ctx.in_transaction = false
  db.on_expired = on_expired
  db.writing, db.changed = writing, changed
  if session then
    session.command = outer
    if faulty then
      session:quit()
    end
  end
  return resp.raw(("*%d\r\n"):format(#replies) .. table.concat(replies))
end

-- Raises where the log holds a transaction with a command that this node does not know.
local function verify(args)
  local at = 1
  while at <= #args do
    local count = math.tointeger(args[at])
    entry_of(args[at + 1], { args[at + 2] })
    at = at + count + 1
  end
end

logged.add("exec", run, { variadic = true, touches = false, verify = verify })

-- A transaction that writes: `bytes` of the log, made sure of before its first command runs, as what fails later would
-- undo but the last one.
local function exec_write(multi, guard)
  return {
    name = "exec", log_name = "\0exec", run = run, write = true, variadic = true, direct = true,
    options = { touches = false }, -- its commands tell of what they change
    bytes = multi.bytes, guard = guard,
  }
end

-- One that only reads is in no log.
local function exec_read(multi, guard)
  return {
    name = "exec", write = false, reads = multi.reads, variadic = true, direct = true, options = {},
    run = function(ctx, args)
      return guard and guard(ctx.session) or run(ctx, args)
    end,
  }
end

-- ---- gathering

local function bytes_of(args)
  local bytes = #args * WORD_BYTES
  for _, word in ipairs(args) do
    bytes = bytes + #word
  end
  return bytes
end

---Takes a command into a session's transaction.
---@param session lunode.kv.session
---@param entry table
---@param name string
---@param args string[]
---@return any reply
function M.gather(session, entry, name, args)
  local multi = session.multi
  local words = multi.words
  local refusal = entry.write and session.node.vocabulary and session.node.vocabulary:refusal(entry)
  if refusal then
    multi.broken = true
    return refusal
  end
  words[#words + 1] = tostring(#args + 1)
  words[#words + 1] = entry.log_name or name
  table.move(args, 1, #args, #words + 1, words)
  multi.count = multi.count + 1
  multi.writes = multi.writes or entry.write or session.node.cluster and entry.options.may_replicate or false
  multi.reads = multi.reads or entry.reads
  multi.replicates = multi.replicates or entry.write or entry.options.may_replicate
  multi.bytes = multi.bytes + bytes_of(args) + #name + 2 * WORD_BYTES
  if multi.bytes > MOST_BYTES then
    logger.warn("closed a connection whose transaction had grown to %d bytes", multi.bytes)
    session.conn:abort()
  end
  return QUEUED
end

-- What EXEC gets where a key that was watched has changed.
local function guard(session)
  return not session:unwatch() and resp.null_array or nil
end

local EXEC_BROKEN = {
  name = "exec", write = false, variadic = true, direct = true, options = {},
  run = function(ctx)
    ctx.session:unwatch()
    return EXECABORT
  end,
}

-- What it has gathered is done with.
local function ends(session)
  session.multi, session.watched = nil, false
  session:update()
end

-- EXEC as it arrives: (its reply), or (nil, the entry to run, its arguments).
local function exec(session)
  local multi, watched = session.multi, session.watched
  if not multi then
    return EXEC_WITHOUT
  end
  ends(session)
  if multi.broken then
    return nil, EXEC_BROKEN, {}
  end
  local check = watched and guard or nil
  -- In a cluster it is where the entry is applied that keys are known to have changed.
  local in_log = multi.writes or check and session.node.cluster
  return nil, in_log and exec_write(multi, check) or exec_read(multi, check), multi.words
end

-- EXEC where it cannot be: what was gathered is discarded all the same.
local function refused(refusal)
  local why = resp.encode(refusal):match("^%-(.-)\r\n$"):gsub("^ERR ", "")
  return {
    name = "exec", write = false, variadic = true, direct = true, immediate = true, refuses = true, options = {},
    arrive = ends,
    run = function(ctx)
      ctx.session:unwatch()
      ctx.node.stats.errors = ctx.node.stats.errors + 1
      return resp.error("EXECABORT Transaction discarded because of: " .. why)
    end,
  }
end

local DISCARDED = {
  name = "discard", write = false, variadic = true, direct = true, options = {},
  run = function(ctx)
    ctx.session:unwatch()
    return resp.OK
  end,
}

local function discard(session)
  if not session.multi then
    return DISCARD_WITHOUT
  end
  ends(session)
  return nil, DISCARDED, {}
end

local function multi(session)
  if session.multi then
    return NESTED
  end
  session.multi = {
    words = {}, count = 0, bytes = 0, writes = false, reads = false, replicates = false, broken = false,
  }
  session:update()
  return resp.OK
end

local function watch(session)
  if session.multi then
    return WATCH_INSIDE
  end
  session.watched = true
  return nil
end

-- ---- the commands

-- A command whose session is in no special state is run without further ado; so these are the handlers, too.
local function at_once(arrive)
  return function(ctx)
    return (arrive(ctx.session))
  end
end

local FLAGS = { "noscript", "loading", "stale", "fast", "allow_busy" }

command.command("MULTI", {
  arity = 1, flags = FLAGS, group = "transactions", acl = { "transaction" }, since = "1.2.0", complexity = "O(1)",
  summary = "Mark the start of a transaction block",
  immediate = true, arrive = multi, run = at_once(multi),
})

command.command("EXEC", {
  arity = 1, flags = { "noscript", "loading", "stale", "skip_slowlog" }, group = "transactions",
  acl = { "transaction" }, since = "1.2.0", complexity = "Depends on commands in the transaction",
  summary = "Execute all commands issued after MULTI",
  immediate = true, arrive = exec, run = at_once(exec), refused = refused,
})

command.command("DISCARD", {
  arity = 1, flags = FLAGS, group = "transactions", acl = { "transaction" }, since = "2.0.0",
  complexity = "O(N), when N is the number of queued commands",
  summary = "Discard all commands issued after MULTI",
  immediate = true, arrive = discard, run = at_once(discard),
})

command.command("WATCH", {
  arity = -2, variadic = true, flags = FLAGS, keys = { 1, -1, 1 }, access = "RO", group = "transactions",
  acl = { "transaction" }, since = "2.2.0", complexity = "O(1) for every key.",
  summary = "Watch the given keys to determine execution of the MULTI/EXEC block",
  immediate = true, arrive = watch,
  run = function(ctx, keys)
    local session = ctx.session
    session.watched = true
    for _, key in ipairs(keys) do
      session:watch(key, ctx.db)
    end
    return resp.OK
  end,
})

command.command("UNWATCH", {
  arity = 1, flags = FLAGS, group = "transactions", acl = { "transaction" }, since = "2.2.0", complexity = "O(1)",
  summary = "Forget about all watched keys",
  run = function(ctx)
    ctx.session:unwatch()
    return resp.OK
  end,
})

return M
