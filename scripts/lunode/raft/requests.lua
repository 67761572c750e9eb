-- What a member is asked: proposals, reads, changes, transfers. Each ends exactly once, and an error says whether it is
-- definite. Steps core with them once a turn; does not apply anything.

local errors = require "lunode.rpc.errors"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local storage = require "lunode.raft.storage"

local M = {}

local CHANGE_HANDS = 2 -- election timeouts in which a transfer must come to an end
local BACK = 1000 -- milliseconds that a clock may be set back without a word
local HAND_OVER = 10 -- election timeouts between two attempts of a leader with a full disk to let another one lead
local ENTRY = 64 -- bytes that an entry takes in the log beside what is proposed, at most
local IN_FLIGHT = 16 << 20 -- bytes of proposals under way, past which there is no room for more

---@class lunode.raft.requests
---@field driver lunode.raft.driver
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.requests" }

---@param driver lunode.raft.driver
---@param max_payload integer
---@param head string  format of time, seed and the payload's own format, in front of a payload
---@return lunode.raft.requests
function M.new(driver, max_payload, head)
  return setmetatable({
    driver = driver,
    max_payload = max_payload,
    head = head,
    payloads = {}, -- of this turn's proposals
    callbacks = {}, -- theirs
    contexts = {}, -- theirs, by number
    in_flight = 0, -- bytes proposed, of which it is not told yet what became of them
    said_no = false, -- `room` did
    handed_over = -math.huge, -- when it was tried last
    clock_told = false, -- that the clock was set back
    readers = {}, -- this turn's
    batches = {}, -- id → { callbacks }: what core has been asked and has not answered yet
    last_id = 0,
    placed = {}, -- index → { term, fn, change, context }: in the log, and not applied yet
    readable = {}, -- list of { index, callbacks }: the state machine has to get there first
    transfer = nil, -- { to, fn, timer }
    time = 0,
  }, metatable)
end

-- ---------------------------------------------------------------- callbacks

-- One that raises harms no other.
local function call(fn, ...)
  local ok, err = xpcall(fn, debug.traceback, ...)
  if not ok then
    loop.report(err)
  end
end

local function call_all(list, ...)
  for i = 1, #list do
    call(list[i], ...)
  end
end

local function no_leader(code, reason, leader)
  local err = errors.definite(code, leader and ("%s; %s leads"):format(reason, leader) or reason)
  err.leader = leader
  return err
end

local function unknown(reason)
  return errors.indefinite("EUNKNOWN", reason .. ": it may have been done, or may still be")
end

local function starting()
  return no_leader("ENOTLEADER", "this member is starting")
end

local function closed(self)
  return errors.definite("ECANCELED", self.driver.failed or "this member is closed")
end

-- ---------------------------------------------------------------- asked

local function later(fn, err)
  loop.defer(function()
    fn(nil, err)
  end)
end

-- A proposal under way is one the less.
local function landed(self, bytes)
  self.in_flight = self.in_flight - bytes
  if self.said_no and self.in_flight <= IN_FLIGHT then
    self:has_room()
  end
end

---@param payload string
---@param fn fun(result: any, err: lunode.rpc.error?)
---@param context any
function methods:propose(payload, fn, context)
  if type(payload) ~= "string" or type(fn) ~= "function" then
    error("propose needs a string and a function", 3)
  end
  local driver = self.driver
  if driver.closed then
    return later(fn, closed(self))
  elseif not driver.core then
    return later(fn, starting())
  elseif #payload > self.max_payload then
    return later(fn, errors.definite("EMSGSIZE", ("a payload has at most %d bytes"):format(self.max_payload)))
  end
  local at, bytes = #self.payloads + 1, #payload
  self.in_flight = self.in_flight + bytes
  self.payloads[at], self.contexts[at] = payload, context
  self.callbacks[at] = function(result, err)
    landed(self, bytes)
    fn(result, err)
  end
  self:wake()
end

-- Whether the disk takes so many bytes.
local function disk_room(self, bytes)
  local driver = self.driver
  if driver.backlog[1] then
    return nil, "the disk is full", "ENOSPC"
  end
  local ok, err, code = driver.storage.log:room(bytes)
  if storage.is_full(code) then
    driver.state:make_room()
  end
  return ok, err, code
end

---Whether so many bytes can be proposed now.
---@param bytes integer
---@return true? room
---@return string? err, lunode.code? code
function methods:room(bytes)
  local driver = self.driver
  local ok, err, code = true, nil, nil
  if self.in_flight > IN_FLIGHT then
    ok, err, code = nil, "too much waits to be committed", "EAGAIN"
  elseif driver.store then
    ok, err, code = driver.state:room()
  end
  if ok then
    ok, err, code = disk_room(self, bytes + ENTRY)
  end
  self.said_no = self.said_no or code == "EAGAIN"
  if storage.is_full(code) then
    self:hand_over()
  end
  return ok and true or nil, err, code
end

---A leader that has no room on its disk lets another one lead, if there is one that has all that it has itself.
function methods:hand_over()
  local driver, best = self.driver, nil
  if loop.now() < self.handed_over + HAND_OVER * driver.options.election_timeout then
    return
  end
  self.handed_over = loop.now()
  loop.defer(function()
    for _, peer in ipairs(driver.core and not driver.closed and driver.core.role == "leader" and driver.core.peer_list
      or {}) do
      if peer.voter and peer.state == "replicate" and (not best or peer.match > best.match) then
        best = peer
      end
    end
    if best then
      logger.warn("raft: there is no room on the disk: %s is asked to lead", best.id)
      driver:step { type = "transfer", to = best.id }
    end
  end)
end

---There may be room again: who was told that there is none hears of it.
function methods:has_room()
  if self.said_no then
    self.said_no = false
    if self.driver.options.on_room then
      call(self.driver.options.on_room)
    end
  end
end

---@param _ nil
---@param fn fun(ok: true?, err: lunode.rpc.error?)
function methods:read(_, fn)
  if type(fn) ~= "function" then
    error("read needs a function", 3)
  elseif self.driver.closed then
    return later(fn, closed(self))
  elseif not self.driver.core then
    return later(fn, starting())
  end
  self.readers[#self.readers + 1] = fn
  self:wake()
end

-- The hook runs at the end of this turn; there has to be one.
function methods:wake()
  if not self.woken then
    self.woken = true
    loop.defer(function()
      self.woken = false
    end)
  end
end

local function new_batch(self, kind, callbacks, contexts)
  self.last_id = self.last_id + 1
  self.batches[self.last_id] = { kind = kind, callbacks = callbacks, contexts = contexts or {} }
  return self.last_id
end

---A change of membership, or a transfer.
---@param event table
---@param fn fun(ok: true?, err: lunode.rpc.error?)
function methods:other(event, fn)
  if type(fn) ~= "function" then
    error(event.type .. " needs a function", 3)
  elseif self.driver.closed or not self.driver.core then
    return later(fn, self.driver.closed and closed(self) or starting())
  end
  loop.defer(function()
    if self.driver.closed then
      return fn(nil, closed(self))
    end
    event.id = new_batch(self, event.type, { fn })
    self.driver:step(event)
    if event.type == "transfer" and self.batches[event.id] and not self.driver.closed then
      self:await_transfer(event, fn)
    end
  end)
end

-- ---------------------------------------------------------------- submitted, once a turn

-- Time and seed of an entry, the only clock and chance that applying it has; and which format it is of.
local function stamp(self, payload)
  local now = math.floor(loop.time() * 1000)
  self.time = math.max(self.time, self.driver.time, now)
  if self.time - now > BACK ~= self.clock_told then
    self.clock_told = not self.clock_told
    if self.clock_told then
      logger.warn("raft: the clock is %d s behind the last entry's: time stands still in entries until it is there",
        (self.time - now) // 1000)
    end
  end
  return self.head:pack(self.time, loop.random(math.mininteger, math.maxinteger), self.driver:format()) .. payload
end

local function submit_proposals(self)
  local payloads, callbacks, contexts, driver = self.payloads, self.callbacks, self.contexts, self.driver
  self.payloads, self.callbacks, self.contexts = {}, {}, {}
  if driver.core.role ~= "leader" then
    return call_all(callbacks, nil, no_leader("ENOTLEADER", "not the leader", driver.core.leader))
  end
  local bytes = 0
  for i = 1, #payloads do
    payloads[i] = stamp(self, payloads[i])
    bytes = bytes + #payloads[i] + ENTRY
  end
  local ok, err, code = disk_room(self, bytes)
  if not ok then
    self:hand_over()
    return call_all(callbacks, nil, errors.definite(code or "ENOSPC", err or "no room on the disk"))
  end
  driver:step { type = "propose", entries = payloads, id = new_batch(self, "propose", callbacks, contexts) }
end

---Steps core with what was asked in this turn.
function methods:submit()
  if #self.payloads > 0 then
    submit_proposals(self)
  end
  if #self.readers > 0 and not self.driver.closed then
    local readers = self.readers
    self.readers = {}
    self.driver:step { type = "read", id = new_batch(self, "read", readers) }
  end
end

---@return boolean
function methods:is_waiting()
  return #self.payloads > 0 or #self.readers > 0
end

-- ---------------------------------------------------------------- answered

---@param proposed { first: integer, last: integer, term: integer, id: any }
function methods:were_proposed(proposed)
  local batch = self.batches[proposed.id]
  if batch then
    self.batches[proposed.id] = nil
    for i, fn in ipairs(batch.callbacks) do
      self.placed[proposed.first + i - 1] = {
        term = proposed.term, fn = fn, change = batch.kind == "change", context = batch.contexts[i],
      }
    end
  end
end

---@param list { event: string, id: any, reason: string, leader: string? }[]
function methods:were_refused(list)
  for _, refusal in ipairs(list) do
    local batch = self.batches[refusal.id]
    if batch then
      self.batches[refusal.id] = nil
      local code = refusal.reason == "not the leader" and "ENOTLEADER" or "EREFUSED"
      call_all(batch.callbacks, nil, no_leader(code, refusal.reason, refusal.leader))
    end
  end
end

---What this very entry was proposed with here.
---@param entry lunode.raft.entry
---@return any
function methods:context_of(entry)
  local placed = self.placed[entry.index]
  return placed and placed.term == entry.term and placed.context or nil
end

---@param entry lunode.raft.entry
---@param result any
function methods:was_applied(entry, result)
  local placed = self.placed[entry.index]
  if not placed then
    return
  end
  self.placed[entry.index] = nil
  if placed.term ~= entry.term then
    call(placed.fn, nil, no_leader("ELOST", "another leader's entry took its place"))
  elseif placed.change then
    call(placed.fn, true)
  else
    call(placed.fn, result)
  end
end

-- In the order in which they were proposed.
local function end_placed(self, last, err)
  local indexes = {}
  for index in pairs(self.placed) do
    if index <= last then
      indexes[#indexes + 1] = index
    end
  end
  table.sort(indexes)
  for _, index in ipairs(indexes) do
    local placed = self.placed[index]
    self.placed[index] = nil
    call(placed.fn, nil, err)
  end
end

---A snapshot took the place of entries up to an index: what became of them is in it, and nobody can tell.
---@param index integer
function methods:were_skipped(index)
  end_placed(self, index, unknown "a snapshot took its place")
  self:answer_reads(index)
end

---@param reads { id: any, index: integer }[]
---@param applied integer
function methods:may_read(reads, applied)
  for _, read in ipairs(reads) do
    local batch = self.batches[read.id]
    if batch then
      self.batches[read.id] = nil
      self.readable[#self.readable + 1] = { index = read.index, callbacks = batch.callbacks }
    end
  end
  self:answer_reads(applied)
end

---@param applied integer
function methods:answer_reads(applied)
  local waiting = self.readable
  if #waiting == 0 then
    return
  end
  self.readable = {}
  for _, read in ipairs(waiting) do
    if read.index <= applied then
      call_all(read.callbacks, true)
    else
      self.readable[#self.readable + 1] = read
    end
  end
end

-- ---------------------------------------------------------------- leadership

local function end_transfer(self, ...)
  local transfer = self.transfer
  self.transfer = nil
  self.batches[transfer.id] = nil
  transfer.timer:close()
  call(transfer.fn, ...)
end

function methods:await_transfer(event, fn)
  self.transfer = {
    to = event.to, id = event.id, fn = fn,
    timer = loop.timer(CHANGE_HANDS * self.driver.options.election_timeout, function()
      end_transfer(self, nil, errors.indefinite("ETIMEDOUT", ("%s has not become leader yet"):format(event.to)))
    end),
  }
end

---A leader that leads no more does not learn what becomes of its entries.
---@param role { role: string, term: integer, leader: string? }
function methods:role_changed(role)
  local transfer = self.transfer
  if transfer and role.leader == transfer.to then
    end_transfer(self, true)
  elseif transfer and role.leader and role.leader ~= self.driver.id then
    end_transfer(self, nil, no_leader("EREFUSED", "another one was elected", role.leader))
  end
  if role.role ~= "leader" then
    end_placed(self, math.maxinteger, unknown "the leadership was lost")
  end
end

---@param failure string?
function methods:close(failure)
  local reason = failure or "this member was closed"
  if self.transfer then
    end_transfer(self, nil, unknown(reason))
  end
  end_placed(self, math.maxinteger, unknown(reason))
  local err = errors.definite("ECANCELED", reason)
  call_all(self.callbacks, nil, err)
  call_all(self.readers, nil, err)
  self.payloads, self.callbacks, self.contexts, self.readers = {}, {}, {}, {}
  local ids = {}
  for id in pairs(self.batches) do
    ids[#ids + 1] = id
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    local batch = self.batches[id]
    self.batches[id] = nil
    call_all(batch.callbacks, nil, batch.kind == "read" and err or unknown(reason))
  end
  for _, read in ipairs(self.readable) do
    call_all(read.callbacks, nil, err)
  end
  self.readable = {}
end

return M
