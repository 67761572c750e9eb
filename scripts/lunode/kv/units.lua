-- The units of a member on their way into the cluster's log: proposed here where it leads, else told to the leader; in
-- order, each applied once or given up. What that rests on is told in replicated.lua. Knows no commands.
local errors = require "lunode.kv.errors"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

local M = {}

-- In front of the batch: origin, number and term.
M.TAG = ">I8I8I8"
M.TAG_BYTES = 24
local TAG, TAG_BYTES = M.TAG, M.TAG_BYTES

local IN_FLIGHT = 8 << 20 -- bytes
local UNITS_IN_FLIGHT = 64
local MARK_AGAIN = 0.5 -- seconds

local UNKNOWN = resp.error("UNKNOWN the leadership was lost: the command may or may not have been executed")
M.DOWN = resp.error("CLUSTERDOWN The cluster is down: there is no leader now, and the command was not executed")

---@class lunode.kv.unit
---@field waiters lunode.kv.waiter[]  of its commands, and of those that read between them; in order
---@field payload string  the batch
---@field arrived integer  the last read that came before it was closed
---@field deadline number
---@field number integer?  under which it was sent last
---@field term integer?  and in which term
---@field behind lunode.kv.waiter[]?  reads that may run, but not before it is done
---@field done boolean

---@class lunode.kv.units
---@field first integer  units first to sent are in flight, those up to last wait for that
---@field sent integer
---@field last integer
---@field bytes integer  of all of them
local methods = {}
local metatable = { __name = "lunode.kv.units", __index = methods }

---@param driver lunode.raft.driver
---@param origin integer  drawn at the member's start
---@param on_given_up fun(unit: lunode.kv.unit, reply: any)  the first one will not be applied, or nobody knows; what
---  becomes of those behind it comes later
---@return lunode.kv.units
function M.new(driver, origin, on_given_up)
  return setmetatable({
    driver = driver,
    origin = origin,
    on_given_up = on_given_up,
    number = 0, -- the last one given
    list = {},
    first = 1,
    sent = 0,
    last = 0,
    bytes = 0,
    in_flight = 0, -- bytes
    settling = false,
    marked = nil, -- { number, at }: the marker that was sent last
    flows = true, -- what is there to be sent is sent, or will be as soon as there is room
    pausing = false, -- the leader has refused something: until the next tick, or there is another one
    refusal = nil, -- what the next unit is answered with, if it cannot be sent in time; DOWN where that is nil
    taken = {}, -- member → number of the last unit that it has sent here, and that was proposed
  }, metatable)
end

---@param unit lunode.kv.unit
function methods:add(unit)
  self.last = self.last + 1
  self.list[self.last] = unit
  self.bytes = self.bytes + #unit.payload
end

---@return integer
function methods:count()
  return self.last - self.first + 1
end

---How many commands are in them.
---@return integer
function methods:commands()
  local count = 0
  for i = self.first, self.last do
    count = count + #self.list[i].waiters
  end
  return count
end

-- ---------------------------------------------------------------- leaving

local function in_flight(self)
  return self.sent - self.first + 1
end

-- Takes the first unit out of the queue.
local function take_first(self)
  local unit = self.list[self.first]
  self.list[self.first] = nil
  self.bytes = self.bytes - #unit.payload
  if self.sent >= self.first then
    self.in_flight = self.in_flight - #unit.payload
  else
    self.sent = self.first
  end
  self.first = self.first + 1
  return unit
end

local function give_up(self, reply)
  self.on_given_up(take_first(self), reply)
end

-- What is in flight has not been and will not be applied: it is to be sent again.
local function take_back(self, from)
  for i = from, self.sent do
    self.in_flight = self.in_flight - #self.list[i].payload
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
  local unit = self.list[self.sent + 1]
  local last = in_flight(self) > 0 and self.list[self.sent].number or 0
  local left, err, code = propose(self, unit.payload, last)
  if left then
    unit.number, unit.term = self.number, self.driver.core.term
    self.sent = self.sent + 1
    self.in_flight = self.in_flight + #unit.payload
    self.refusal = nil
    return true
  end
  self.flows = code == "EAGAIN" -- then there will be room
  self.refusal = err and errors.misconf(err)
  return false
end

-- An empty unit behind those in flight, in the term that they were sent in: when it is applied, they are, or are lost.
local function send_marker(self)
  local core, now = self.driver.core, loop.now()
  local again = not self.marked or now - self.marked.at >= MARK_AGAIN
  if again and core and core.term == self.list[self.sent].term and propose(self, "", 0) then
    self.marked = { number = self.number, at = now }
  end
end

local function try_to_settle(self)
  if in_flight(self) == 0 then
    settled(self)
  elseif self.driver.applied_term > self.list[self.sent].term then
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
    if self.list[i].number == number then
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
---@param knows fun(payload: string, position: integer): boolean?, string?  whether this node can run a batch: what none
---  can run would end them all
function methods:take_forwarded(from, what, answer, knows)
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
  if not driver.core or driver.core.role ~= "leader" or driver.core.term ~= term then
    return refuse("not the leader of that term", "ENOTLEADER")
  elseif previous ~= 0 and self.taken[from] ~= previous then
    return refuse("the one before it is missing", "EAGAIN")
  end
  local known, fault = knows(payload, TAG_BYTES + 1)
  if not known then
    logger.warn("kv: refused what %s forwards: %s", from, fault)
    return refuse(fault, "EVERSION")
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

-- ---------------------------------------------------------------- ends

---The unit that an entry of this member's is, taken out of the queue; nil where it was answered with UNKNOWN, or is a
---marker.
---@param number integer
---@return lunode.kv.unit?
function methods:take(number)
  if self.marked and self.marked.number == number then
    take_back(self, self.first)
    settled(self)
  end
  for i = self.first, self.sent do
    if self.list[i].number == number then
      while self.first < i do -- never sent so that this can be
        give_up(self, M.DOWN)
      end
      return take_first(self)
    end
  end
  return nil
end

---Gives up what has waited for too long while nothing goes on.
---@param now number
function methods:expire(now)
  while self.settling and in_flight(self) > 0 and self.list[self.first].deadline <= now do
    give_up(self, UNKNOWN)
  end
  while not self.flows and in_flight(self) == 0 and self.first <= self.last
    and self.list[self.first].deadline <= now do
    give_up(self, self.refusal or M.DOWN)
  end
end

-- ---------------------------------------------------------------- what the driver tells

---A snapshot took the place of the state. What is in flight may be in it.
function methods:was_replaced()
  while in_flight(self) > 0 do
    give_up(self, UNKNOWN)
  end
  settled(self)
end

---The role, the term or the leader has changed.
function methods:role_changed()
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
    local code, text = what[3], tostring(what[4])
    local refusal = (code == "ENOSPC" or code == "EDQUOT") and errors.misconf(text)
      or code == "EVERSION" and resp.error("ERR the leader cannot run this: " .. text) or nil
    self:was_refused(what[2], refusal)
  end
end

return M
