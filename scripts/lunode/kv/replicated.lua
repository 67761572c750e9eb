-- The way of commands through a cluster's log, in the place of kv.writes' own way through one member's. Knows neither
-- commands nor consensus.
--
-- The commands of a turn that write are a unit: one entry. It is proposed here where this member leads, else it is told
-- to the leader, who proposes it. Each member runs the entry when it is committed, and the one whose clients' it is
-- answers them: so a client may talk with any member, and nothing about it has to be known elsewhere.
--
--   payload of an entry = origin:u64 number:u64 term:u64, then a batch
--
-- origin: drawn by a member at its start; number: 1, 2, … of that; term: in which it may be appended. In any other it
-- does nothing, on all members. What leaves this member stays in order: units are in flight one behind the other, and
-- if anything comes between (another leader, a lost connection), the next one waits until it is known what became of
-- those before: `settling`. A unit is lost for certain once
--
--   - an entry of a later term is applied: nothing of its own term can be committed behind that; or
--   - a later unit of this member's is applied. An empty one, a marker, is sent to find that out; or
--   - the leader has refused it.
--
-- Then it is sent again. Only what is not known in time, `patience`, is answered with UNKNOWN; what was never sent, or
-- is lost for certain, with CLUSTERDOWN.
--
-- Commands that read wait for a read index (Ongaro's dissertation, 6.4), all of a turn for one; and run here. Where a
-- unit that was closed after they came is applied sooner, they run just before it: that is late enough, too. Those of a
-- connection that has a unit on its way run behind that, so that replies keep the order of the commands.
local errors = require "lunode.kv.errors"
local getkeys = require "lunode.kv.getkeys"
local keys = require "lunode.kv.keys"
local logged = require "lunode.kv.logged"
local loop = require "lunode.loop"
local members = require "lunode.kv.cluster_members"
local replicated_watches = require "lunode.kv.replicated_watches"
local resp = require "lunode.resp"
local slot = require "lunode.slot"
local units = require "lunode.kv.units"
local writes = require "lunode.kv.writes"

local DOWN = units.DOWN
local misconf, refusing = errors.misconf, errors.refusing
local TAG, TAG_BYTES = units.TAG, units.TAG_BYTES

local M = {}

local UNIT = 256 << 10 -- bytes of a unit, at which another one begins
local LARGEST = (16 << 20) - 1024 -- bytes of a unit that is a single command
local MOST_BYTES = 64 << 20 -- of units that are not done: past it, clients send no more before they have replies

local TOO_LARGE = resp.error("ERR the command is too large for an entry of the cluster's log, of 16 MiB")

---@class lunode.kv.replicated : lunode.kv.writes
local methods = setmetatable({}, { __index = writes.methods })
local metatable = { __name = "lunode.kv.replicated", __index = methods }

---@param node lunode.kv.node
---@param replica table  what stands for the replica; see kv.cluster
---@param driver lunode.raft.driver
---@param patience number  seconds
---@return lunode.kv.replicated
function M.new(node, replica, driver, patience)
  local self = setmetatable(writes.new(node, replica), metatable)
  self.waits = true
  self.driver = driver
  self.patience = patience
  self.origin = loop.random(math.mininteger, math.maxinteger)
  self.units = units.new(driver, self.origin, function(unit, reply)
    self:give_up(unit, reply)
  end)
  self.filling = nil -- the unit of this turn
  self.full = nil -- false, or what commands that write get in this turn, as the disk takes no more
  self.reads = {} -- number → waiter
  self.next_read, self.arrived, self.asked = 1, 0, 0
  self.reads_fail = false
  self.own = {} -- the node's own commands under way, as keys
  self.met = false -- a leader has been heard since the start
  self.watching = replicated_watches.new(node, self.origin)
  local on_deleted, rollback = self.db.on_deleted, self.db.rollback
  self.db.rollback = function(db)
    rollback(db)
    self.watching:rolled_back()
  end
  self.db.on_deleted = function(row)
    self.watching:touch(keys.key(row))
    on_deleted(row)
  end
  return self
end

-- ---------------------------------------------------------------- commands come

---@return false  none runs at once
function methods:ready()
  return false
end

local function new_unit(self)
  return {
    waiters = {}, payload = nil, arrived = 0, deadline = loop.now() + self.patience, number = nil, term = nil,
    behind = nil, done = false,
  }
end

local function close_unit(self)
  local unit = self.filling
  if unit then
    self.filling = nil
    unit.payload, unit.arrived = self.batch:take(), self.arrived
    self.units:add(unit)
  end
end

-- The unit behind which a session's next command has to run, if any.
local function unit_of(session)
  local unit = session and session.unit
  return unit and not unit.done and unit or nil
end

local function read_later(self, waiter)
  self.arrived = self.arrived + 1
  self.reads[self.arrived] = waiter
  waiter.bound, waiter.deadline = unit_of(waiter.session), waiter.deadline or loop.now() + self.patience
end

-- Nobody else knows sooner that the disk is full. The others learn it from the leader's refusals.
local function is_full(self)
  if self.full == nil then
    local ok, err, code = true, nil, nil
    if self:leads() then
      ok, err, code = self.driver:room(UNIT)
    end
    self.full = not ok and code ~= "EAGAIN" and misconf(err) or false
  end
  return self.full
end

-- Its reply comes behind those that its session waits for, and before those to come.
local function refuse_later(self, waiter, reply)
  waiter.entry = refusing(reply)
  if waiter.session and waiter.session.unit == self.filling then
    close_unit(self)
  end
  read_later(self, waiter)
end

-- Some member could not run it. What is the node's own is dropped, and comes again.
local function refuse_unknown(self, waiter, refusal)
  if waiter.key then
    self.own[waiter.key] = nil
  else
    refuse_later(self, waiter, refusal)
  end
end

local function take_write(self, waiter)
  local refusal = self.node.vocabulary:refusal(waiter.entry)
  if refusal then
    return refuse_unknown(self, waiter, refusal)
  elseif is_full(self) then
    return refuse_later(self, waiter, self.full)
  end
  local bytes = self.batch:add_list(waiter.name, waiter.args)
  if bytes > UNIT and self.filling then -- it is one too many
    self.batch:undo()
    close_unit(self)
    bytes = self.batch:add_list(waiter.name, waiter.args)
  end
  if bytes > LARGEST then
    self.batch:undo()
    return refuse_later(self, waiter, TOO_LARGE)
  end
  local unit = self.filling or new_unit(self)
  self.filling = unit
  unit.waiters[#unit.waiters + 1] = waiter
  local session = waiter.session
  if session then
    session.unit = unit
    if self.units.bytes + bytes > MOST_BYTES and session.conn then
      session:crowd()
    end
  end
end

-- Whether a command may read what is here, without asking anybody.
local function may_read_here(self, session, entry)
  if not entry.reads then
    return true
  end
  return session and session.read_mode and self:is_fresh(session) or false
end

local function moved(self, entry, args)
  local leader = self.driver.core and self.driver.core.leader
  local host, port = nil, nil
  if leader then
    host, port = members.client_address(self.node, leader)
  end
  if not host then
    return DOWN
  end
  local found = getkeys.has_keys(entry) and getkeys.find(entry, args)
  local at = found and found[1] and slot.of(args[found[1].at]) or 0
  return resp.error(("MOVED %d %s:%d"):format(at, host, port))
end

-- Whether a client is told to ask the leader. Clients of Redis Cluster's that may read old state have said so.
local function is_sent_away(self, session, entry)
  if not (entry.write or entry.reads) or session == nil or self:leads() then
    return false
  end
  local redirects = session.redirects
  if redirects == nil then
    redirects = self.node.redirects
  end
  return redirects and (entry.write or session.read_mode ~= "stale")
end

---Takes a command; its reply comes later.
---@param session lunode.kv.session?
---@param entry table
---@param name string
---@param args string[]
function methods:submit(session, entry, name, args)
  if entry.name == "watch" or entry.guard and session.watch_id then
    entry, name, args = self.watching:replace(session, entry, args)
  end
  local waiter = { session = session, entry = entry, name = name, args = args, bound = nil, deadline = nil, key = nil }
  local idle = session == nil or session.waiting <= 1
  if session then
    session:wait()
  end
  if is_sent_away(self, session, entry) then
    entry = refusing(moved(self, entry, args))
    waiter.entry = entry
  end
  if entry.write then
    take_write(self, waiter)
  elseif self.filling and session and session.unit == self.filling then
    local list = self.filling.waiters
    list[#list + 1] = waiter
  elseif idle and may_read_here(self, session, entry) then
    self:read(waiter)
  else
    read_later(self, waiter)
  end
end

---Runs a command of the node's own through the log: on the leader alone, and each once at a time.
---@param name string
---@param ... string
---@return boolean done  false: it waits
function methods:internal(name, ...)
  if self:leads() then
    self:submit_own(name, ...)
  end
  return false
end

---As `internal`, on any member.
---@param name string
---@param ... string
function methods:submit_own(name, ...)
  local key = table.concat({ name, ... }, "\0")
  if not self.own[key] then
    self.own[key] = true
    name = "\0" .. name
    take_write(self, { session = nil, entry = logged.find_own(name), name = name, args = { ... }, key = key })
  end
end

---Tells those who watch keys what a command has changed.
---@param entry table
---@param args string[]
function methods:touch(entry, args)
  writes.methods.touch(self, entry, args)
  if self.watching.count > 0 then
    self.watching:touch_keys(entry, args)
  end
end

function methods:reply(waiter, bytes, faulty)
  if waiter.key then
    self.own[waiter.key] = nil
  end
  writes.methods.reply(self, waiter, bytes, faulty)
end

---A cluster's log is always synced.
function methods.set_sync()
  error(resp.error("ERR CONFIG SET failed - a cluster's log is always synced before a write is acknowledged"), 0)
end

-- ---------------------------------------------------------------- what is known of the cluster

---@return boolean
function methods:leads()
  local core = self.driver.core
  return core ~= nil and core.role == "leader"
end

---Seconds since this member has heard from a leader; 0 where it leads.
---@return number
function methods:silence()
  local core = self.driver.core
  if not core or not self.met then
    return math.huge
  end
  return core.role == "leader" and 0 or loop.now() - core.heard
end

---Whether what is here is good enough for a session's read mode.
---@param session lunode.kv.session
---@return boolean
function methods:is_fresh(session)
  if session.read_mode == "leader" then
    local core = self.driver.core
    return self:leads() and core.applied >= core.noop_index
  end
  return self:silence() <= session.max_age
end

---How many commands and units wait.
---@return integer
function methods:count_waiting()
  return self.units:count() + self.arrived - self.next_read + 1 + (self.filling and 1 or 0)
end

-- ---------------------------------------------------------------- reads

-- Those up to a number may run; behind what their connections wait for.
local function run_reads(self, upto)
  while self.next_read <= upto do
    local waiter = self.reads[self.next_read]
    self.reads[self.next_read] = nil
    self.next_read = self.next_read + 1
    local bound = waiter.bound
    if bound and not bound.done then
      bound.behind = bound.behind or {}
      bound.behind[#bound.behind + 1] = waiter
    else
      self:read(waiter)
    end
  end
end

-- The one that has come first is not to be had.
local function fail_read(self)
  local waiter = self.reads[self.next_read]
  if waiter.entry.reads then
    waiter.entry = refusing(DOWN)
  end
  run_reads(self, self.next_read)
end

-- ---------------------------------------------------------------- units end

local function run_behind(self, unit)
  for _, waiter in ipairs(unit.behind or {}) do
    self:read(waiter)
  end
  unit.behind = nil
end

---Answers all commands of a unit, and the reads that came before it, without running them.
---@param unit lunode.kv.unit
---@param reply any
function methods:give_up(unit, reply)
  while self.next_read <= unit.arrived do
    fail_read(self)
  end
  for _, waiter in ipairs(unit.waiters) do
    local entry = waiter.entry
    waiter.entry = entry.write and refusing(reply) or entry.reads and refusing(DOWN) or entry
    self:read(waiter)
  end
  unit.done = true
  run_behind(self, unit)
end

---Applies a committed entry, on every member.
---@param entry lunode.entry  with its `term`
function methods:apply(entry)
  local origin, number, term = TAG:unpack(entry.payload)
  if term ~= entry.term then
    return -- it was appended too late; where it comes from, it counts as lost
  end
  local unit = origin == self.origin and self.units:take(number)
  entry.payload = entry.payload:sub(TAG_BYTES + 1)
  entry.context = unit and unit.waiters or nil
  if unit then
    run_reads(self, unit.arrived)
  end
  writes.methods.apply(self, entry)
  if unit then
    unit.done = true
    run_behind(self, unit)
  end
  self.node.end_turn() -- the clock was the entry's, and the session, too
end

-- Asks for a read index, for all that have come. Where the last one could not be had, only `again`: now and then.
local function ask(self, again)
  if self.asked >= self.arrived or self.next_read > self.arrived or self.reads_fail and not again then
    return
  end
  local upto = self.arrived
  self.asked = upto
  self.driver:read(function(ok)
    self.reads_fail = not ok
    if ok then
      run_reads(self, upto)
      self.node.end_turn()
    else
      self.asked = math.min(self.asked, self.next_read - 1)
    end
  end)
end

-- ---------------------------------------------------------------- time

local function expire_reads(self, now)
  while self.reads_fail and self.next_read <= self.arrived and self.reads[self.next_read].deadline <= now do
    fail_read(self)
  end
end

---Several times in an election timeout.
function methods:tick()
  local core = self.driver.core
  self.met = self.met or core ~= nil and core.leader ~= nil
  if self:count_waiting() > 0 then
    self.units.pausing = false
    self.units:pump()
    ask(self, true)
    self.units:expire(loop.now())
    expire_reads(self, loop.now())
    self.node.end_turn()
  end
end

-- A unit costs each member the same, however many commands it has. So few wait behind many that are on their way, until
-- those are done or there are half as many; with few clients none ever waits.
local function is_worth_sending(self)
  return #self.filling.waiters * 2 >= self.units:commands()
end

---At the end of each turn of the loop.
function methods:end_turn()
  if self.filling and is_worth_sending(self) then
    close_unit(self)
  end
  self.full = nil
  if self.units:count() > 0 then
    self.units:pump()
  end
  ask(self)
end

---There is room again, perhaps.
function methods:resume()
  self.units:pump()
end

-- ---------------------------------------------------------------- what the driver tells

---A snapshot took the place of the state.
function methods:was_replaced()
  self.watching:read()
  self.units:was_replaced()
  self.node.end_turn()
end

---The role, the term or the leader has changed.
function methods:role_changed()
  local core = self.driver.core
  self.met = self.met or core ~= nil and core.leader ~= nil
  self.units:role_changed()
end

return M
