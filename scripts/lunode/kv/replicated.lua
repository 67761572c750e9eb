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
local getkeys = require "lunode.kv.getkeys"
local keys = require "lunode.kv.keys"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local members = require "lunode.kv.cluster_members"
local replicated_watches = require "lunode.kv.replicated_watches"
local resp = require "lunode.resp"
local slot = require "lunode.slot"
local writes = require "lunode.kv.writes"

local refusing = writes.refusing

local M = {}

local TAG = ">I8I8I8"
local TAG_BYTES = 24

local UNIT = 256 << 10 -- bytes of a unit, at which another one begins
local LARGEST = (16 << 20) - 1024 -- bytes of a unit that is a single command
local IN_FLIGHT = 8 << 20 -- bytes of units in flight
local UNITS_IN_FLIGHT = 64
local MARK_AGAIN = 0.5 -- seconds

local UNKNOWN = resp.error("UNKNOWN the leadership was lost: the command may or may not have been executed")
local DOWN = resp.error("CLUSTERDOWN The cluster is down: there is no leader now, and the command was not executed")
local TOO_LARGE = resp.error("ERR the command is too large for an entry of the cluster's log, of 16 MiB")

---@class lunode.kv.unit
---@field waiters lunode.kv.waiter[]  of its commands, and of those that read between them; in order
---@field payload string  the batch
---@field arrived integer  the last read that came before it was closed
---@field deadline number
---@field number integer?  under which it was sent last
---@field term integer?  and in which term
---@field behind lunode.kv.waiter[]?  reads that may run, but not before it is done
---@field done boolean

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
  self.number = 0 -- the last one given
  self.filling = nil -- the unit of this turn
  self.units = {} -- those that are closed: first to sent are in flight, those up to last wait for that
  self.first, self.sent, self.last = 1, 0, 0
  self.in_flight = 0 -- bytes
  self.settling = false
  self.marked = nil -- { number, at }: the marker that was sent last
  self.flows = true -- what is there to be sent is sent, or will be as soon as there is room
  self.pausing = false -- the leader has refused something: until the next tick, or there is another one
  self.refusal = nil -- what the next unit is answered with, if it cannot be sent in time; DOWN where that is nil
  self.full = nil -- false, or what commands that write get in this turn, as the disk takes no more
  self.reads = {} -- number → waiter
  self.next_read, self.arrived, self.asked = 1, 0, 0
  self.reads_fail = false
  self.own = {} -- the node's own commands under way, as keys
  self.taken = {} -- member → number of the last unit that it has sent here, and that was proposed
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
    self.last = self.last + 1
    self.units[self.last] = unit
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

local function misconf(err)
  return resp.error("MISCONF Errors writing to the log: " .. err)
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
  if waiter.session then
    waiter.session.unit = unit
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
    take_write(self, { session = nil, entry = writes.find_internal(name), name = name, args = { ... }, key = key })
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
  return self.last - self.first + 1 + self.arrived - self.next_read + 1 + (self.filling and 1 or 0)
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

-- ---------------------------------------------------------------- units leave

local function in_flight(self)
  return self.sent - self.first + 1
end

-- Takes the first unit out of the queue.
local function take_first(self)
  local unit = self.units[self.first]
  self.units[self.first] = nil
  if self.sent >= self.first then
    self.in_flight = self.in_flight - #unit.payload
  else
    self.sent = self.first
  end
  self.first = self.first + 1
  return unit
end

local function run_behind(self, unit)
  for _, waiter in ipairs(unit.behind or {}) do
    self:read(waiter)
  end
  unit.behind = nil
end

-- Answers all commands of the first unit, and the reads that came before it, without running them.
local function give_up(self, reply)
  local unit = take_first(self)
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

-- What is in flight has not been and will not be applied: it is to be sent again.
local function take_back(self, from)
  for i = from, self.sent do
    self.in_flight = self.in_flight - #self.units[i].payload
  end
  self.sent = from - 1
end

local function settled(self)
  self.settling, self.marked = false, nil
end

-- Something came between: what is in flight is to be settled before anything else is sent.
local function unsettle(self)
  if in_flight(self) > 0 then
    self.settling = true
  end
  self.marked = nil
end

local function tag(self, term, payload)
  self.number = self.number + 1
  return TAG:pack(self.origin, self.number, term) .. payload
end

-- Proposes to whoever leads. Returns whether it has left; (false, err, code) where there is no room for it here.
local function propose(self, payload, previous)
  local driver, core = self.driver, self.driver.core
  if not core or not core.leader then
    return false
  elseif core.role ~= "leader" then
    return driver:tell(core.leader, { "forward", core.term, previous, tag(self, core.term, payload) })
  end
  local ok, err, code = driver:room(#payload + TAG_BYTES)
  if not ok then
    return false, err, code
  end
  local bytes = tag(self, core.term, payload)
  local number = self.number
  driver:propose(bytes, function(_, failure)
    if failure and failure.definite then
      self:was_refused(number)
    end
  end)
  return true
end

-- Sends the next unit. False: not now.
local function send_next(self)
  local unit = self.units[self.sent + 1]
  local last = in_flight(self) > 0 and self.units[self.sent].number or 0
  local left, err, code = propose(self, unit.payload, last)
  if left then
    unit.number, unit.term = self.number, self.driver.core.term
    self.sent = self.sent + 1
    self.in_flight = self.in_flight + #unit.payload
    self.refusal = nil
    return true
  end
  self.flows = code == "EAGAIN" -- then there will be room
  self.refusal = err and misconf(err)
  return false
end

-- An empty unit behind those in flight, in the term that they were sent in: when it is applied, they are, or are lost.
local function send_marker(self)
  local core, now = self.driver.core, loop.now()
  local again = not self.marked or now - self.marked.at >= MARK_AGAIN
  if again and core and core.term == self.units[self.sent].term and propose(self, "", 0) then
    self.marked = { number = self.number, at = now }
  end
end

local function try_to_settle(self)
  if in_flight(self) == 0 then
    settled(self)
  elseif self.driver.applied_term > self.units[self.sent].term then
    take_back(self, self.first)
    settled(self)
  else
    send_marker(self)
  end
end

---Sends what can be sent.
function methods:pump()
  if self.settling then
    try_to_settle(self)
  end
  self.flows = not (self.settling or self.pausing)
  while self.flows and self.sent < self.last and self.in_flight < IN_FLIGHT and in_flight(self) < UNITS_IN_FLIGHT do
    if not send_next(self) then
      return
    end
  end
end

---The leader has refused a unit, and so those behind it.
---@param number integer
---@param refusal? any  what to answer, should it never be taken
function methods:was_refused(number, refusal)
  for i = self.first, self.sent do
    if self.units[i].number == number then
      take_back(self, i)
      self.pausing, self.flows, self.refusal = true, false, refusal
      return
    end
  end
end

-- ---------------------------------------------------------------- others' units

---Another member tells its leader a unit.
---@param from string
---@param what any
---@param answer fun(what: any)
function methods:take_forwarded(from, what, answer)
  local term, previous, payload = what[2], what[3], what[4]
  if math.type(term) ~= "integer" or math.type(previous) ~= "integer" or type(payload) ~= "string"
    or #payload < TAG_BYTES then
    logger.warn("kv: %s forwards what cannot be read", from)
    return
  end
  local _, number = TAG:unpack(payload)
  local driver = self.driver
  local function refuse(err, code)
    self.taken[from] = nil
    answer { "refused", number, code, err }
  end
  if not self:leads() or driver.core.term ~= term then
    return refuse("not the leader of that term", "ENOTLEADER")
  elseif previous ~= 0 and self.taken[from] ~= previous then
    return refuse("the one before it is missing", "EAGAIN")
  end
  local ok, err, code = driver:room(#payload)
  if not ok then
    return refuse(err, code)
  end
  self.taken[from] = number
  driver:propose(payload, function(_, failure)
    if failure and failure.definite then
      refuse(failure.message, failure.code)
    end
  end)
end

-- ---------------------------------------------------------------- entries are applied

-- The unit that an entry of this member's is, taken out of the queue.
local function take_sent(self, number)
  if self.marked and self.marked.number == number then
    take_back(self, self.first)
    settled(self)
  end
  for i = self.first, self.sent do
    if self.units[i].number == number then
      while self.first < i do -- never sent so that this can be
        give_up(self, DOWN)
      end
      return take_first(self)
    end
  end
  return nil -- it was answered with UNKNOWN; or it is a marker
end

---Applies a committed entry, on every member.
---@param entry lunode.entry  with its `term`
function methods:apply(entry)
  local origin, number, term = TAG:unpack(entry.payload)
  if term ~= entry.term then
    return -- it was appended too late; where it comes from, it counts as lost
  end
  local unit = origin == self.origin and take_sent(self, number)
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

-- What has waited for too long while nothing goes on.
local function expire(self, now)
  while self.settling and in_flight(self) > 0 and self.units[self.first].deadline <= now do
    give_up(self, UNKNOWN)
  end
  while not self.flows and in_flight(self) == 0 and self.first <= self.last
    and self.units[self.first].deadline <= now do
    give_up(self, self.refusal or DOWN)
  end
  while self.reads_fail and self.next_read <= self.arrived and self.reads[self.next_read].deadline <= now do
    fail_read(self)
  end
end

---Several times in an election timeout.
function methods:tick()
  local core = self.driver.core
  self.met = self.met or core ~= nil and core.leader ~= nil
  if self:count_waiting() > 0 then
    self.pausing = false
    self:pump()
    ask(self, true)
    expire(self, loop.now())
    self.node.end_turn()
  end
end

-- A unit costs each member the same, however many commands it has. So few wait behind many that are on their way, until
-- those are done or there are half as many; with few clients none ever waits.
local function is_worth_sending(self)
  local count = 0
  for i = self.first, self.last do
    count = count + #self.units[i].waiters
  end
  return #self.filling.waiters * 2 >= count
end

---At the end of each turn of the loop.
function methods:end_turn()
  if self.filling and is_worth_sending(self) then
    close_unit(self)
  end
  self.full = nil
  if self.first <= self.last then
    self:pump()
  end
  ask(self)
end

---There is room again, perhaps.
function methods:resume()
  self:pump()
end

-- ---------------------------------------------------------------- what the driver tells

---A snapshot took the place of the state. What is in flight may be in it.
function methods:was_replaced()
  self.watching:read()
  while in_flight(self) > 0 do
    give_up(self, UNKNOWN)
  end
  settled(self)
  self.node.end_turn()
end

---The role, the term or the leader has changed.
function methods:role_changed()
  local core = self.driver.core
  self.met = self.met or core ~= nil and core.leader ~= nil
  self.taken, self.pausing = {}, false
  unsettle(self)
end

---The connection to a member stands, or is lost.
---@param id string
---@param up boolean
function methods:link_changed(id, up)
  local core = self.driver.core
  if core and core.leader == id then
    unsettle(self)
    if up then
      self:pump()
    end
  end
end

---The leader has answered something that was forwarded to it.
---@param what any
function methods:was_answered(what)
  if type(what) == "table" and what[1] == "refused" then
    local no_room = what[3] == "ENOSPC" or what[3] == "EDQUOT"
    self:was_refused(what[2], no_room and misconf(tostring(what[4])) or nil)
  end
end

return M
