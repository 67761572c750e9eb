-- The one way of a write: from the command, through an entry of the log, to its effect on the keys and its reply.
--
-- The commands of one turn of the loop are one entry. Where one node decides, a command runs as it comes, and its reply
-- leaves behind the entry's write, or, with sync "always", behind its sync: `run`. Where a quorum decides, and while
-- the disk is too far behind, commands wait: `submit`. They run when their entry is committed. What a client sends
-- behind a command that waits, waits with it, so that replies keep the order of the commands, those that only read
-- included.
--
-- A command that a replay or another node runs has no session: it must not depend on who sent it, nor on clock or
-- chance but ctx.now and ctx:random.
local batch = require "lunode.batch"
local errors = require "lunode.kv.errors"
local getkeys = require "lunode.kv.getkeys"
local keys = require "lunode.kv.keys"
local logged = require "lunode.kv.logged"
local resp = require "lunode.resp"

local xpcall = xpcall
local words = resp.words
local answer_for, misconf, refusing, with_traceback =
  errors.answer_for, errors.misconf, errors.refusing, errors.with_traceback

local M = {}

local RESERVE = 1 << 20 -- bytes of the log, made sure of before the first write of a turn

-- A command that waits.
---@class lunode.kv.waiter
---@field session lunode.kv.session?
---@field entry table
---@field name string
---@field args string[]

---@class lunode.kv.writes
---@field waits boolean  commands that write have to wait: `submit` them, do not `run` them
---@field open boolean  the short way is: there is an entry for the commands of this turn, they need not wait, and
---   nobody wants to be told of events
---@field run_short fun(entry: table, a: any, b: any, c: any): any  see short_way
local methods = {}
local writes_mt = { __name = "lunode.kv.writes", __index = methods }

M.methods = methods

-- Takes a command that has run into this turn's entry.
local function keep(self, value, bytes)
  if bytes > self.reserved then
    local ok, err = self.replica:reserve(bytes + RESERVE)
    if not ok then
      self.batch:undo()
      self.db:rollback()
      self.ctx.events = nil
      return misconf(err)
    end
    self.reserved = bytes + RESERVE
  end
  self.kept = true
  if self.ctx.events then
    self.ctx:tell_events()
  end
  return value
end

-- The short way of a command with three arguments at most, as most are: (to run it, to run it and tell those who watch
-- its keys). As `run`, but in one function, with what db:begin and db:finish do: a call costs as much as what a command
-- does itself. REQUIRES: `open`. What it is given is a string, or a view where the entry takes them; nil: there are no
-- more.
local function short_ways(self)
  local ctx, db, commands = self.ctx, self.db, self.batch
  local add, begin_rows = commands.add, db.begin_rows

  local function short(entry, a, b, c)
    local collections = db.collections
    begin_rows(db.store)
    collections.command, collections.opened_count = collections.command + 1, 0
    db.writing, db.changed, db.saved = true, false, false
    local value = entry.short(ctx, a, b, c)
    if not db.changed then
      db:finish()
      ctx.seed, self.kept = nil, false
      return value
    end
    local bytes = add(commands, entry.name, a, b, c)
    db.writing, ctx.seed = false, nil -- not before: what raises up to here is undone
    if bytes > self.reserved then
      return keep(self, value, bytes)
    end
    self.kept = true
    return value
  end

  return short, function(entry, a, b, c)
    local value = short(entry, a, b, c)
    if self.kept then
      local args = { a, b, c }
      self:touch(entry, { words(table.unpack(args)) })
    end
    return value
  end
end

---@param node lunode.kv.node
---@param replica lunode.replica
---@return lunode.kv.writes
function M.new(node, replica)
  local self = setmetatable({
    node = node,
    ctx = node.ctx,
    db = node.db,
    replica = replica,
    waits = not replica:commits_at_once(),
    batch = batch.new(), -- the commands of this turn
    begun = false, -- there is an entry for the commands of this turn, or a refusal
    open = false,
    reserved = 0, -- bytes of it that the log has room for
    refusal = nil, -- what commands that write get in this turn, as the disk takes no more
    time = 0, -- of the entry whose commands run
    seed = 0, -- of it
    waiters = nil, -- of this turn's entry, in the order of the commands
    newest = nil, -- the waiters of the newest entry that is not yet applied
    stalled = nil, -- commands that are not even proposed, as there is no room; in order
    draining = false, -- the first of them waits for nothing but what is under way
    kept = false, -- the command that ran last is in the batch
  }, writes_mt)
  self.ready = methods.ready
  self.short, self.short_and_touch = short_ways(self)
  self.run_short = self.short
  self.db.on_expired = function(row)
    if self:ready() then -- else the background deletes it
      self:internal("expire_row", row)
    end
  end
  self.db.on_deleted = function(row)
    local key = keys.key(row)
    node.watches:touch(key)
    node.tracking:touch(key, nil)
    node.ctx:notify("x", "expired", key)
  end
  return self
end

-- ---- at once

-- Before the first write of a turn. False: there is no room, now.
local function begin_entry(self)
  local ok, err, code = self.replica:room(RESERVE)
  if ok then
    self.reserved = RESERVE
    self.time, self.seed = self.replica:next_entry(self.ctx.now)
    self.open = not self.ctx.notifies
    self.ctx.now, self.db.now = self.time, self.time
  elseif code == "EAGAIN" then
    self.waits, self.stalled = true, {}
    return false
  else
    self.refusal = misconf(err)
  end
  self.begun = true
  return true
end

---Runs a command that writes, at once. Raises what it raises; then the caller calls `undo`. REQUIRES: `ready`.
---@param entry table     the command's
---@param name string     as it was sent
---@param args string[]?  its arguments, where they come as a list
---@param ... string      else these
---@return any reply
function methods:run(entry, name, args, ...)
  if self.refusal then
    return self.refusal
  end
  local ctx, db = self.ctx, self.db
  self.kept = false
  db:begin()
  ctx.seed = self:next_seed()
  local value
  if not args then
    value = entry.run(ctx, ...)
  elseif entry.variadic then
    value = entry.run(ctx, args)
  else
    value = entry.run(ctx, table.unpack(args))
  end
  local bytes = db.changed and (args and self.batch:add_list(name, args) or self.batch:add(name, ...))
  db:finish() -- not before: what raises up to here is undone
  ctx.seed = nil
  if bytes then
    return keep(self, value, bytes)
  end
  return value -- it has changed nothing: there is nothing to keep
end

-- ---- who has to know what changes

---Tells those who watch keys, or wait for elements, what a command has changed.
---@param entry table
---@param args string[]
function methods:touch(entry, args)
  local watches, blocking, tracking = self.node.watches, self.node.blocking, self.node.tracking
  if watches.count == 0 and blocking.count == 0 and tracking.count == 0 or entry.options.touches == false then
    return
  end
  local found = getkeys.has_keys(entry) and getkeys.find(entry, args)
  if not found then
    blocking:touch_all()
    tracking:touch_all()
    return watches:touch_all(entry.name == "flushall" or entry.name == "flushdb")
  end
  for _, key in ipairs(found) do
    if getkeys.is_written(key.access) then
      watches:touch(args[key.at])
      blocking:touch(args[key.at])
      tracking:touch(args[key.at], self.ctx.session)
    end
  end
end

local function run_and_touch(self, entry, name, args, ...)
  local value = methods.run(self, entry, name, args, ...)
  if self.kept then
    self:touch(entry, args or { ... })
  end
  return value
end

---To be called when the first key is watched or waited for, or somebody wants to be told of events, and when the last
---one no longer does: until then, nobody pays for it.
function methods:update()
  local node = self.node
  self.open = self.begun and not (self.waits or self.refusal or self.ctx.notifies)
  local watched = node.watches.count > 0 or node.blocking.count > 0 or node.tracking.count > 0
  self.run = watched and run_and_touch or nil
  self.run_short = watched and self.short_and_touch or self.short
end

---The command that runs has failed, or the reply of the one that has just run cannot be encoded: as if it had never
---been.
function methods:undo()
  if self.db.writing then
    self.db:rollback()
  elseif self.kept then
    self.batch:undo()
    self.db:rollback()
  end
  self.kept = false
  self.ctx.seed, self.ctx.events = nil, nil
end

---Of the command that runs, or is the next one to run, at once: what its chance follows from. Each that changes
---something has one more than the one before.
---@return integer
function methods:next_seed()
  return self.seed + self.batch:commands()
end

---Before a command of many writes: what it is refused with, if not all of it can be.
---@param entry table  `bytes` of the log it needs; `guard` may refuse it
---@param session lunode.kv.session
---@return any refusal
function methods:refusal_of(entry, session)
  local refusal = entry.guard and entry.guard(session)
  local bytes = self.batch:bytes() + entry.bytes
  if not refusal and bytes > self.reserved then
    local ok, err = self.replica:reserve(bytes + RESERVE)
    if not ok then
      return misconf(err)
    end
    self.reserved = bytes + RESERVE
  end
  return refusal
end

---Whether commands can `run` in this turn.
---@return boolean
function methods:ready()
  return not self.waits and (self.begun or begin_entry(self))
end

-- ---- later

---Lets a command wait: one that writes for its entry, one that only reads for whatever its session waits for already.
---@param session lunode.kv.session?
---@param entry table
---@param name string
---@param args string[]
function methods:submit(session, entry, name, args)
  local waiter = { session = session, entry = entry, name = name, args = args }
  if session then
    session:wait()
  end
  if self.stalled then
    self.stalled[#self.stalled + 1] = waiter
  else
    self:propose(waiter)
  end
end

-- Into this turn's batch. Without room: (nil, err, code).
local function take_in(self, waiter)
  local bytes = self.batch:add_list(waiter.name, waiter.args)
  if bytes <= self.reserved then
    return true
  end
  local ok, err, code = self.replica:room(bytes + RESERVE)
  self.reserved = ok and bytes + RESERVE or 0
  if not ok then
    self.batch:undo()
  end
  return ok, err, code
end

-- A command whose guard looks at the keys as they are when it runs: nothing that could change them may be under way,
-- and everything else waits behind it until then. False: it is among the stalled.
local function pass_guard(self, waiter)
  if self.newest then
    self.stalled, self.draining = { waiter }, true
    return false
  end
  local refusal = waiter.entry.guard(waiter.session)
  if refusal then
    waiter.entry = refusing(refusal)
  end
  return true
end

-- Into this turn's entry; or among the stalled, where there is no room.
function methods:propose(waiter)
  if waiter.entry.guard and not pass_guard(self, waiter) then
    return
  end
  if waiter.entry.write then
    local ok, err, code = take_in(self, waiter)
    if ok then
      self.waiters = self.waiters or {}
      self.newest = self.waiters
    elseif code == "EAGAIN" then
      self.stalled = { waiter }
      return
    else
      waiter.entry = refusing(misconf(err)) -- not before the replies that its session waits for
    end
  end
  if self.newest then
    self.newest[#self.newest + 1] = waiter
  else -- what it waited for has ended
    self:read(waiter)
  end
end

---Runs a command of the node's own through the log.
---@param name string
---@param ... string
---@return boolean done  false: it waits, or the disk is full, or it failed
function methods:internal(name, ...)
  name = "\0" .. name
  local entry = logged.find_own(name)
  if not self:ready() then
    self:submit(nil, entry, name, { ... })
    return false
  elseif self.refusal then
    return false
  end
  local ok, err = xpcall(self.run, with_traceback, self, entry, name, nil, ...)
  if not ok then
    self:undo()
    answer_for(entry, err)
  end
  return ok
end

-- ---- running what has waited

function methods:reply(waiter, bytes, faulty)
  local session = waiter.session
  if session then
    session:answer(bytes)
    if session.held and session:is_answered() then
      self.node.blocking:release(session)
    end
    if faulty then
      session:quit()
    end
  end
end

local function run_and_encode(entry, ctx, args, ...)
  local session, value = ctx.session
  if entry.variadic then
    value = entry.run(ctx, args or { ... })
  elseif args then
    value = entry.run(ctx, table.unpack(args))
  else
    value = entry.run(ctx, ...)
  end
  return resp.encode(value, session and session.protocol)
end

-- (the reply's bytes, whether it failed by its own fault). A command that writes does all of it, or nothing; a reply
-- that cannot be encoded counts as a failure on every replica, also where nobody waits for it.
local function call(self, entry, args, ...)
  local db = self.db
  if entry.write then
    db:begin()
  end
  local ok, result = xpcall(run_and_encode, with_traceback, entry, self.ctx, args, ...)
  if ok then
    if entry.write and db:finish() then
      self:touch(entry, args or { ... })
    end
    if self.ctx.events then
      self.ctx:tell_events()
    end
    return result, false
  elseif entry.write then
    db:rollback()
    self.ctx.events = nil
  end
  local value, faulty = answer_for(entry, result)
  return resp.encode(value), faulty
end

local function set_session(self, waiter)
  local session = waiter and waiter.session
  self.ctx.session = session
  if session then
    session.command = waiter.entry
  end
end

function methods:read(waiter)
  set_session(self, waiter)
  if not self.ctx.now then
    self.node:read_clock()
  end
  if waiter.session and waiter.session.tracking then
    self.node.tracking:saw(waiter.session, waiter.entry, waiter.args)
  end
  self:reply(waiter, call(self, waiter.entry, waiter.args))
end

-- The commands that only read and wait in front of the next one that writes.
local function read_waiting(self, waiters, at)
  local waiter = waiters[at]
  while waiter and not waiter.entry.write do
    self:read(waiter)
    at = at + 1
    waiter = waiters[at]
  end
  return at
end

-- Where each command of an entry stands: how many came before it.
local function apply_command(self, waiters, at, ordinal, name, first, ...)
  at = read_waiting(self, waiters, at)
  local is_list = type(first) == "table"
  local entry = logged.find(name, is_list and first[1] or first)
  if entry.options.verify then
    logged.verify(entry, is_list and first or { first, ... })
  end
  local waiter = waiters[at]
  set_session(self, waiter)
  self.ctx.seed = self.seed + ordinal
  local bytes, faulty
  if is_list then
    bytes, faulty = call(self, entry, first)
  elseif first == nil then
    bytes, faulty = call(self, entry)
  else
    bytes, faulty = call(self, entry, nil, first, ...)
  end
  self.ctx.seed = nil
  if waiter then
    self:reply(waiter, bytes, faulty)
  end
  return at + 1
end

local NOBODY = {}

-- Applies the command that batch.next has read, and returns where the next one begins.
local function step(self, waiters, at, ordinal, position, name, ...)
  if position then
    return position, apply_command(self, waiters, at, ordinal, name, ...)
  elseif name then
    error("an entry of the log holds no commands: " .. name, 0)
  end
  return nil, at
end

---Applies a committed entry: its commands in order, and those that have waited between and behind them.
---@param entry lunode.entry
function methods:apply(entry)
  local ctx, db = self.ctx, self.db
  local waiters = entry.context or NOBODY -- NOBODY: it comes from a replay
  ctx.now, db.now, self.seed = entry.time, entry.time, entry.seed
  local position, at, ordinal = 1, 1, 0
  repeat
    position, at = step(self, waiters, at, ordinal, batch.next(entry.payload, position))
    ordinal = ordinal + 1
  until not position
  db:save_counts()
  if waiters == self.newest then
    self.newest = nil
  end
  read_waiting(self, waiters, at)
  ctx.now, ctx.session = nil, nil
  if self.draining and not self.newest then
    self.draining = false
    self:resume()
  end
end

---There is room again, perhaps: what has stalled goes on, in its order.
function methods:resume()
  local stalled = self.stalled
  self.stalled = nil
  for _, waiter in ipairs(stalled or NOBODY) do
    if self.stalled then
      self.stalled[#self.stalled + 1] = waiter
    else
      self:propose(waiter)
    end
  end
end

-- What has run in this turn becomes an entry.
local function record(self)
  self.db:save_counts()
  self.replica:record(self.batch, self.time, self.seed)
  self.reserved, self.begun, self.open = 0, false, false -- what follows is another one, with a time and seed of its own
end

---Changes when an entry counts as committed. What has run by now has its entry by the rule before; the next command has
---to wait already, if the new one says so.
---@param sync "always"|"everysec"|"no"
function methods:set_sync(sync)
  if not self.waits and self.batch:commands() > 0 then
    record(self)
  end
  self.replica:set_sync(sync)
  self.waits = self.waits or not self.replica:commits_at_once()
  self:update()
end

---At the end of each turn of the loop: its commands become an entry.
---@param now integer  milliseconds since the epoch
function methods:end_turn(now)
  if self.waiters then
    local waiters = self.waiters
    self.waiters = nil
    self.replica:propose(self.batch:take(), now, waiters)
  elseif self.batch:commands() > 0 then
    record(self)
  end
  self.reserved, self.refusal, self.begun, self.open = 0, nil, false, false
  self.waits = self.stalled ~= nil or not self.replica:commits_at_once()
end

return M
