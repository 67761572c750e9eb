-- A member of a Raft cluster: carries out what core.lua decides, over loop, log, store and connections, and applies
-- what is committed to a state machine. Decides nothing about consensus, and knows nothing of what the entries mean.
--
--   local node = assert(driver.open {
--     id = "n1", cluster = "counters", dir = "data/n1", listen = "127.0.0.1:7001",
--     members = { n1 = "127.0.0.1:7001", n2 = "127.0.0.1:7002", n3 = "127.0.0.1:7003" },
--     machine = {
--       apply = function(entry) … return result end,  -- in log order; entry.time, entry.seed: its only clock and chance
--       snapshot = function() … end,    -- the state as it is now: a string, or a function that gives its pieces
--       restore = function(pieces) … end, -- puts the state that the pieces are of in the place of the one there is
--     },
--   })
--   node:propose(payload, function(result, err) … end)  -- err.definite: it did not happen; else perhaps it did
--   node:read(function(ok, err) … end)                  -- once ok, the state machine holds all that was acknowledged
--
-- A turn of the loop is one batch of proposals, one round for reads, one write and one sync of the log.

local configs = require "lunode.raft.config"
local core = require "lunode.raft.core"
local errors = require "lunode.rpc.errors"
local events = require "lunode.raft.events"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local requests = require "lunode.raft.requests"
local snapshots = require "lunode.raft.snapshots"
local storage = require "lunode.raft.storage"
local transport = require "lunode.raft.transport"

local M = {}

-- payload of a command = time:i64be seed:i64be, then what was proposed
local HEAD = ">i8i8"
local HEAD_BYTES = 16

local MAX_PAYLOAD = 16 << 20
local MAX_MESSAGE = MAX_PAYLOAD + (4 << 20)

---@class lunode.raft.machine
---@field apply fun(entry: lunode.raft.applied_entry): any  the result goes to the proposer; must not raise
---@field snapshot fun(): string|fun(): string?  of the state as it is at this moment, whatever is applied later
---@field restore fun(pieces: fun(): string?)

---@class lunode.raft.applied_entry
---@field index integer
---@field term integer
---@field time integer  milliseconds since the epoch, as its proposer's clock had it; never less than that of an earlier entry
---@field seed integer
---@field payload string

---@class lunode.raft.driver_options
---@field id string
---@field cluster string  the cluster's name: members of different ones refuse each other
---@field dir string
---@field listen string  "HOST:PORT", for the other members
---@field address? string  where they reach it (default: as `members` has it, or `listen`)
---@field members? table<string, string>  id → address of those who found the cluster, the same for each of them; nil:
---  this one waits to be added
---@field machine lunode.raft.machine
---@field on_role? fun(role: string, term: integer, leader: string?)
---@field on_failure? fun(err: string)  fail-stop: nothing can be written or applied any more; the node is closed
---  (default: loop.report)
---@field snapshot_bytes? integer  of entries applied since the last snapshot, at which one is made (default 64 MiB)
---@field election_timeout? number  seconds (default 1)
---@field heartbeat? number  seconds (default a tenth of it)
---@field segment_size? integer  of the log

---@class lunode.raft.driver
---@field id string
---@field core lunode.raft?  nil before the log is synced at the start
---@field applied integer
---@field time integer  of the last entry applied
---@field closed boolean
---@field failed string?
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.driver" }

-- ---------------------------------------------------------------- the state machine

---Calls the state machine. What it raises is the end: nobody knows what state it is in.
---@param fn function
---@param ... any
---@return any
function methods:ask_machine(fn, ...)
  local ok, result = xpcall(fn, debug.traceback, ...)
  if ok then
    return result
  end
  self:fail(result)
end

local function apply(self, entry)
  local result
  if entry.type == core.COMMAND then
    local time, seed = HEAD:unpack(entry.payload)
    self.time = math.max(self.time, time)
    result = self:ask_machine(self.machine.apply, {
      index = entry.index, term = entry.term, time = self.time, seed = seed, payload = entry.payload:sub(HEAD_BYTES + 1),
    })
  elseif entry.type == core.CONFIG then
    self.applied_config = entry.payload
    self:meet_members()
  end
  self.applied, self.applied_term = entry.index, entry.term
  self.grown = self.grown + #entry.payload + HEAD_BYTES
  return result
end

local function apply_all(self, entries)
  for i = 1, #entries do
    local entry = entries[i]
    if entry.index ~= self.applied + 1 then
      return self:fail(("entry %d was to be applied behind %d"):format(entry.index, self.applied))
    end
    local result = apply(self, entry)
    if self.closed then
      return
    end
    self.requests:was_applied(entry, result)
    if self.closed then -- by a callback
      return
    end
  end
  self.requests:answer_reads(self.applied)
  if not self.closed and self.grown >= self.options.snapshot_bytes and self.snapshots:make() then
    self.grown = 0
  end
end

-- ---------------------------------------------------------------- an update, carried out

-- What comes after writes waits for the sync that covers them: one a turn, at its end.
local function post_after(self, update)
  local after = update.messages_after
  if update.persisted then
    self.writing = self.writing or { persisted = nil, after = {} }
    self.writing.persisted = update.persisted
  end
  if after then
    local last = self.writing or self.syncing[#self.syncing]
    if last then
      table.move(after, 1, #after, #last.after + 1, last.after)
    else
      self:send_all(after)
    end
  end
end

local function begin_sync(self)
  local batch = self.writing
  if not batch then
    return
  end
  self.writing = nil
  self.syncing[#self.syncing + 1] = batch
  local ok, err = self.storage.log:sync(function(err)
    if self.closed then
      return
    elseif err then
      return self:fail(err)
    end
    table.remove(self.syncing, 1)
    self:send_all(batch.after)
    self:step(batch.persisted)
  end)
  if not ok then
    self:fail(err)
  end
end

-- A snapshot that was received takes the place of the log and of the state machine.
local function install(self, asked)
  local disk = self.storage
  local meta = disk.receiving
  disk:put_snapshot(meta, function(err)
    if self.closed then
      return
    elseif err then
      return self:fail(err)
    end
    local ok, failure = disk.log:truncate_prefix(asked.index, asked.log_term)
    if ok then
      ok, failure = disk.log:sync(function(sync_err)
        if self.closed then
          return
        elseif sync_err then
          return self:fail(sync_err)
        end
        self:restore(meta)
        self:step { type = "snapshot_installed", index = asked.index, log_term = asked.log_term, ok = true }
      end)
    end
    if not ok then
      self:fail(failure)
    end
  end)
end

---Puts a stored snapshot in the place of the state machine's state.
---@param meta lunode.raft.snapshot_meta
function methods:restore(meta)
  if meta.index > 0 then
    self:ask_machine(self.machine.restore, self.storage:chunks(meta))
  end
  self.applied, self.applied_term, self.applied_config = meta.index, meta.term, meta.config
  self.time, self.told_applied, self.grown = meta.time, meta.index, 0
  if self.requests and not self.closed then
    self.requests:were_skipped(meta.index)
    self:meet_members()
  end
end

local function tell_role(self, role)
  logger.info("raft: %s is %s in term %d%s", self.id, role.role:gsub("_", " "), role.term,
    role.leader and role.leader ~= self.id and (", and %s leads"):format(role.leader) or "")
  self.requests:role_changed(role)
  if self.options.on_role and not self.closed then
    self.options.on_role(role.role, role.term, role.leader)
  end
end

local function carry_out(self, update)
  if update.persisted then
    local ok, err = self.storage:persist(update)
    if not ok then
      return self:fail(err)
    end
  end
  if update.messages then
    self:send_all(update.messages)
  end
  post_after(self, update)
  if update.install then
    install(self, update.install)
  end
  if update.proposed then
    self.requests:were_proposed(update.proposed)
  end
  if update.reads then
    self.requests:may_read(update.reads, self.applied)
  end
  if update.refused then
    self.requests:were_refused(update.refused)
  end
  for _, dropped in ipairs(update.dropped or {}) do
    logger.debug("raft: dropped: %s", dropped.reason)
  end
  if update.committed and not self.closed then
    apply_all(self, update.committed)
  end
  if update.role and not self.closed then -- last: what was committed may end the requests of a leader that steps down
    tell_role(self, update.role)
  end
end

---Steps core, and carries out what it says. Events that come up meanwhile wait until that is done.
---@param event table
function methods:step(event)
  local queue = self.queue
  queue[#queue + 1] = event
  if self.stepping or not self.core then
    return
  end
  self.stepping = true
  local at = 1
  while queue[at] and not self.closed do
    queue[at].now = loop.now()
    local ok, update = xpcall(self.core.step, debug.traceback, self.core, queue[at])
    if ok then
      ok, update = xpcall(carry_out, debug.traceback, self, update)
    end
    if not ok then
      self:fail(update)
    end
    at = at + 1
  end
  self.queue, self.stepping = {}, false
end

-- ---------------------------------------------------------------- messages

---@param message table
---@param name? string  of the snapshot that was sent before it
function methods:send_message(message, name)
  self.transport:send(message.to, events.encode(message, name))
end

---@param messages table[]
function methods:send_all(messages)
  for i = 1, #messages do
    local message = messages[i]
    if message.type == "snapshot" then
      self.snapshots:send(message)
    else
      self:send_message(message)
    end
  end
end

-- What a full disk cannot take counts as lost on the way: its sender tries again.
local function has_room(self, message)
  local entries = message.type == "append" and message.entries
  if type(entries) ~= "table" or #entries == 0 then
    return true
  end
  local bytes = 0
  for i = 1, #entries do
    local payload = entries[i].payload
    bytes = bytes + (type(payload) == "string" and #payload or 0) + 64
  end
  return self.storage.log:room(bytes)
end

local function on_frame(self, from, frame, reply)
  local kind = frame[1]
  if self.closed or not self.core then
    return
  elseif kind == "snapshot" then
    return self.snapshots:on_offer(frame, reply)
  elseif kind == "chunk" then
    return self.snapshots:on_chunk(frame, reply)
  end
  local message = kind == "message" and events.decode(frame, from, self.id)
  if not message or message.type == "snapshot" and not self.snapshots:is_complete(message, frame[4]) then
    return
  elseif has_room(self, message) then
    self:step { type = "message", message = message }
  else
    logger.debug("raft: no room on the disk for what %s sends", from)
  end
end

---Has connections to the members there are.
function methods:meet_members()
  local ids = self.core and self.core.config.ids or {}
  for _, id in ipairs(ids) do
    self.transport:open(id)
  end
  local applied = configs.decode(self.applied_config)
  for id in pairs(applied.removed) do -- nobody sees in which order
    self.transport:drop(id)
  end
end

local function address_of(self, id)
  local member = self.core and self.core.config.members[id]
  return member and member.address or self.transport:hint(id)
end

-- Whoever has once been met with a disk must come with that one: without it, it has forgotten what it has promised.
local function accept(self, id, disk, fn)
  if not configs.is_id(id) then
    return fn "that is no id"
  end
  local known, err = self.storage:disk_of(id)
  if configs.decode(self.applied_config).removed[id] then
    fn(("%s was removed from the cluster"):format(id))
  elseif err then
    fn(err)
  elseif known and known ~= disk then
    fn(("%s comes with another disk than before: it has lost its data; remove it, and add it under another id"):format(id))
  elseif known then
    fn(nil)
  else
    self.storage:keep_disk(id, disk, fn)
  end
end

-- ---------------------------------------------------------------- time

local function arm(self)
  local wait = self.core:deadline() - loop.now()
  self.timer:again(math.max(0.001, math.min(wait, self.options.heartbeat)))
end

local function tick(self)
  self.snapshots:tick(self.patience)
  self:step { type = "tick" }
  if not self.closed then
    arm(self)
  end
end

-- The end of a turn: all that has gathered goes out as one.
local function end_turn(self)
  if self.closed or not self.core then
    return
  end
  if self.told_applied < self.applied then
    self.told_applied = self.applied
    self:step { type = "applied", index = self.applied }
  end
  if not self.closed then
    self.requests:submit()
  end
  if not self.closed then
    begin_sync(self)
  end
  if not self.closed and (self.told_applied < self.applied or self.requests:is_waiting()) then
    loop.defer(function() end) -- there is more to do before the loop may sleep
  end
end

-- ---------------------------------------------------------------- opening and closing

local function founders_of(options)
  local list = {}
  for id, address in pairs(options.members or {}) do -- a configuration is sorted
    list[#list + 1] = { id = id, address = address, voter = true }
  end
  return configs.new(list)
end

local function check(options)
  local machine = options.machine
  local founders, err = founders_of(options)
  if not configs.is_id(options.id) then
    error("raft: id must be letters, digits, _ . and -, at most 64 of them", 3)
  elseif type(options.cluster) ~= "string" or #options.cluster > 255 or options.cluster == "" then
    error("raft: cluster must be a name of at most 255 bytes", 3)
  elseif type(options.dir) ~= "string" or type(options.listen) ~= "string" then
    error("raft: dir and listen are needed", 3)
  elseif type(machine) ~= "table" or not (machine.apply and machine.snapshot and machine.restore) then
    error("raft: machine must have apply, snapshot and restore", 3)
  elseif not founders then
    error("raft: members: " .. err, 3)
  elseif #founders.ids > 0 and not founders.members[options.id] then
    error(("raft: %s is not among its members"):format(options.id), 3)
  end
  return founders
end

local function make_core(self)
  local ok, made = pcall(core.new, {
    id = self.id, config = configs.decode(self.applied_config), log = self.storage:log_access(), now = loop.now(),
    hard_state = self.hard_state, applied = self.applied, election_timeout = self.options.election_timeout,
    heartbeat = self.options.heartbeat,
    random = function()
      return loop.random(0, (1 << 53) - 1) / (1 << 53)
    end,
  })
  if not ok then
    return self:fail(made)
  end
  self.core = made
  self.timer = loop.timer(self.options.heartbeat, function()
    tick(self)
  end)
  self:meet_members()
  arm(self)
end

local function open_transport(self)
  local o = self.options
  return transport.open {
    id = self.id, cluster = o.cluster, disk = self.storage.disk, listen = o.listen,
    address = o.address or o.members and o.members[self.id] or o.listen,
    patience = self.patience, max_message = MAX_MESSAGE,
    address_of = function(id)
      return address_of(self, id)
    end,
    accept = function(id, disk, fn)
      accept(self, id, disk, fn)
    end,
    on_connected = function(id)
      self:step { type = "connected", peer = id }
    end,
    on_lost = function(id)
      self.snapshots:abort(id)
    end,
    on_frame = function(id, frame, reply)
      on_frame(self, id, frame, reply)
    end,
    on_reply = function(id, frame)
      if type(frame) == "table" and frame[1] == "have" then
        self.snapshots:on_have(id, frame[2], frame[3])
      end
    end,
  }
end

---Opens a member: restores the state machine, and takes part in its cluster from then on.
---@param options lunode.raft.driver_options
---@return lunode.raft.driver?
---@return string? err, lunode.code? code  "EFOREIGN": the directory belongs to another member; "EADDRINUSE", "ELOCKED", …
function M.open(options)
  local founders = check(options)
  local o = setmetatable({}, { __index = options })
  o.election_timeout = options.election_timeout or 1.0
  o.heartbeat = options.heartbeat or o.election_timeout / 10
  o.snapshot_bytes = options.snapshot_bytes or 64 << 20
  local disk, err, code = storage.open {
    dir = options.dir, cluster = options.cluster, id = options.id, founders = founders,
    segment_size = options.segment_size,
  }
  if not disk then
    return nil, err, code
  end
  local self = setmetatable({
    id = options.id, options = o, machine = options.machine, storage = disk, patience = 3 * o.election_timeout,
    core = nil, transport = nil, requests = nil, snapshots = nil, hook = nil, timer = nil,
    applied = 0, applied_term = 0, applied_config = "", time = 0,
    told_applied = 0, -- to core
    grown = 0, -- bytes applied since the last snapshot
    queue = {}, stepping = false,
    writing = nil, -- { persisted, after } of this turn
    syncing = {}, -- those under way, first to last
    hard_state = nil, closed = false, failed = nil,
  }, metatable)
  self:restore(disk.snapshot)
  if self.closed then
    return nil, self.failed, "ECALLBACK"
  end
  self.requests, self.snapshots = requests.new(self, MAX_PAYLOAD, HEAD), snapshots.new(self)
  self.transport, err, code = open_transport(self)
  if not self.transport then
    disk:close()
    return nil, err, code
  end
  local term, vote = disk.log:state()
  self.hard_state = { term = term, vote = vote }
  self.hook = loop.before_sleep(function()
    end_turn(self)
  end)
  disk.log:sync(function(sync_err) -- what a killed process had only written counts from now on
    if sync_err and not self.closed then
      self:fail(sync_err)
    elseif not self.closed then
      make_core(self)
    end
  end)
  return self
end

---The end, as nobody knows what is on the disk or in the state machine.
---@param err string
function methods:fail(err)
  if self.failed or self.closed then
    return
  end
  self.failed = tostring(err)
  self:close()
  local on_failure = self.options.on_failure or loop.report
  on_failure(self.failed)
end

---Takes part no more. What was proposed ends as perhaps done. Idempotent.
function methods:close()
  if self.closed then
    return
  end
  self.closed = true
  for _, part in ipairs { self.timer or false, self.hook or false, self.transport or false, self.snapshots or false } do
    if part then
      part:close()
    end
  end
  self.storage:close()
  if self.requests then
    self.requests:close(self.failed)
  end
end

-- ---------------------------------------------------------------- what it is asked

---Proposes an entry.
---@param payload string  at most 16 MiB
---@param fn fun(result: any, err: lunode.rpc.error?)  once: with what `apply` returned; or err, whose `leader` is the id of
---  the member to ask. err.definite is false where the entry may have been, or may still be, applied
function methods:propose(payload, fn)
  self.requests:propose(payload, fn)
end

---Asks for a moment at which the state machine holds all that was acknowledged, by any member, before this call.
---@param fn fun(ok: true?, err: lunode.rpc.error?)
function methods:read(fn)
  self.requests:read(fn)
end

---Changes the membership, one server at a time; a server joins as a learner, and is promoted when it has caught up.
---@param change { kind: "add"|"promote"|"demote"|"remove", id: string, address?: string }
---@param fn fun(ok: true?, err: lunode.rpc.error?)
function methods:change(change, fn)
  self.requests:other({ type = "change", change = change }, fn)
end

---Hands the leadership to another voter.
---@param to string
---@param fn fun(ok: true?, err: lunode.rpc.error?)
function methods:transfer(to, fn)
  self.requests:other({ type = "transfer", to = to }, fn)
end

---Makes a snapshot now.
---@return boolean begun
function methods:make_snapshot()
  return not self.closed and self.snapshots:make()
end

---What it knows of the cluster and of itself; see core's `status`.
---@return table
function methods:status()
  local status = self.core and self.core:status() or { id = self.id, role = "starting" }
  status.snapshot = self.storage.snapshot.index
  status.applied = self.applied
  return status
end

M.errors = errors

return M
