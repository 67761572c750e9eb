-- A member of a Raft cluster: carries out what core.lua decides, over loop, log, store and connections, and applies
-- what is committed to a state machine. Decides nothing about consensus, and knows nothing of what the entries mean.
--
--   local node = assert(driver.open {
--     id = "n1", cluster = "counters", dir = "data/n1", listen = "127.0.0.1:7001",
--     members = { n1 = "127.0.0.1:7001", n2 = "127.0.0.1:7002", n3 = "127.0.0.1:7003" },
--     machine = {
--       apply = function(entry) … return result end, -- in log order; entry.time, entry.seed: its only clock and chance
--       snapshot = function() … end,    -- the state as it is now: a string, or a function that gives its pieces
--       restore = function(pieces) … end, -- puts the state that the pieces are of in the place of the one there is
--     },
--   })
--
-- Or the state is an ordered store, which the member keeps, syncs and hands to others that lag behind:
--
--     machine = {
--       attach = function(store) … end, -- the store that holds the state: at the start, and after a snapshot came
--       apply = function(entry) … store:put(…) … return result end,
--     },
--
--   node:propose(payload, function(result, err) … end)  -- err.definite: it did not happen; else perhaps it did
--   node:read(function(ok, err) … end)                  -- once ok, the state machine holds all that was acknowledged
--
-- Without a function, propose and read wait, in a task, and return the same.
-- A turn of the loop is one batch of proposals, one round for reads, one write and one sync of the log.

local auth = require "lunode.raft.auth"
local carry = require "lunode.raft.carry"
local configs = require "lunode.raft.config"
local core = require "lunode.raft.core"
local data = require "lunode.raft.data"
local founding = require "lunode.raft.founding"
local join = require "lunode.raft.join"
local loop = require "lunode.loop"
local peers = require "lunode.raft.peers"
local pieces = require "lunode.raft.pieces"
local requests = require "lunode.raft.requests"
local snapshots = require "lunode.raft.snapshots"
local storage = require "lunode.raft.storage"
local task = require "lunode.task"

local M = {}

local LEAST_PATIENCE = 2.0 -- seconds of silence after which a connection counts as lost

---@class lunode.raft.machine
---@field apply fun(entry: lunode.raft.applied_entry): any  the result goes to the proposer; must not raise
---@field snapshot? fun(): string|fun(): string?  of the state as it is at this moment, whatever is applied later
---@field restore? fun(pieces: fun(): string?)
---@field attach? fun(store: lunode.store_handle): true?, string?, string?  in place of these two: all state is in the
---  store, which holds what was applied and nothing more; the driver calls `advance` and `close`, and nobody else does

---@class lunode.raft.applied_entry
---@field index integer
---@field term integer
---@field time integer  milliseconds since the epoch, as its proposer's clock had it; never less than an earlier entry's
---@field seed integer
---@field payload string
---@field format integer  in which the payload is, and is to be taken: the newest that all members knew
---@field context any  what this member has proposed it with, while the proposal is under way; else nil

---@class lunode.raft.driver_options
---@field id string
---@field cluster string  the cluster's name: members of different ones refuse each other
---@field secret? string  of at least 16 bytes that all members share: who does not know it is refused
---@field dir string
---@field listen string  "HOST:PORT", for the other members
---@field address? string  where they reach it (default: as `members` has it, or `listen`)
---@field members? table<string, string>  id → address of those who found the cluster, the same for each of them; nil:
---  this one waits to be added
---@field join? string  "HOST:PORT" of a member that this one asks to be added, without `members`
---@field machine lunode.raft.machine
---@field on_role? fun(role: string, term: integer, leader: string?)  (default: a line in the log)
---@field on_failure? fun(err: string)  fail-stop: nothing can be written or applied any more; the node is closed
---  (default: loop.report)
---@field on_room? fun()  there may be room again, after `room` has said EAGAIN
---@field on_told? fun(from: string, what: any, answer: fun(what: any))  another member has said so with `tell`; the
---  answer may come later
---@field on_answer? fun(from: string, what: any)  to what was told there
---@field on_link? fun(id: string, up: boolean)  this member's connection to another one: what was told there and not
---  answered before it was lost may have arrived, and what comes later comes behind that
---@field snapshot_bytes? integer  of entries applied since the last snapshot, at which one is made (default 64 MiB)
---@field log_keep? integer  bytes of the log kept behind what the store has on disk, for who lags (default 64 MiB)
---@field store? { cache: integer?, engine: string?, overlay: integer?, limit: integer? }  see lunode.store.open
---@field election_timeout? number  seconds (default 1)
---@field heartbeat? number  seconds (default a tenth of it)
---@field format? integer  1 … 255: the newest format of payloads that `apply` knows, beside all before it (default 1)
---@field protocol? integer  newest version of the members' protocol to speak (default the newest there is)
---@field segment_size? integer  of the log

---@class lunode.raft.driver
---@field id string
---@field store lunode.store_handle?  the one that holds the state; another one after a snapshot came
---@field core lunode.raft?  nil before the log is synced at the start, and before the cluster is founded
---@field applied integer
---@field time integer  of the last entry applied
---@field closed boolean
---@field failed string?
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.driver" }

for _, part in ipairs { carry, peers } do
  for name, method in pairs(part) do
    if type(method) == "function" then
      methods[name] = method
    end
  end
end

-- ---------------------------------------------------------------- time

local function arm(self)
  local wait = self.core:deadline() - loop.now()
  self.timer:again(math.max(0.001, math.min(wait, self.options.heartbeat)))
end

local function tick(self)
  self.snapshots:tick(self.patience)
  self.state:tick()
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
    self:begin_sync()
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
  elseif type(machine) ~= "table" or not (machine.apply and (machine.attach or machine.snapshot and machine.restore))
  then
    error("raft: machine must have apply, and either attach or snapshot and restore", 3)
  elseif options.secret ~= nil and (type(options.secret) ~= "string" or #options.secret < auth.MIN_SECRET) then
    error(("raft: secret must have at least %d bytes"):format(auth.MIN_SECRET), 3)
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
  self.joiner = join.start(self, self.options.join)
  arm(self)
end

-- The state machine as it was left.
local function open_state(self)
  local kind = self.machine.attach and data or pieces
  local err, code
  self.state, err, code = kind.open(self)
  if not self.state then
    return nil, err, code
  end
  return not self.machine.attach or self.state:attach()
end

-- The log is on the disk: now it may be heard of what it holds.
local function start(self)
  if not self.storage:is_founding() then
    return make_core(self)
  end
  self.founding = founding.start(self)
  self:meet_members()
  self.founding:conclude() -- there may be nobody to wait for
end

---The founders know each other.
function methods:begin()
  self.applied_config = self.storage.snapshot.config
  make_core(self)
end

---Opens a member: restores the state machine, and takes part in its cluster from then on.
---@param options lunode.raft.driver_options
---@return lunode.raft.driver?
---@return string? err, lunode.code? code  "EFOREIGN": the directory is another member's; "EADDRINUSE", "ELOCKED", …
function M.open(options)
  local founders = check(options)
  local o = setmetatable({}, { __index = options })
  o.election_timeout = options.election_timeout or 1.0
  o.heartbeat = options.heartbeat or o.election_timeout / 10
  o.snapshot_bytes = options.snapshot_bytes or 64 << 20
  o.log_keep = options.log_keep or 64 << 20
  o.format = options.format or 1
  local disk, err, code = storage.open {
    dir = options.dir, cluster = options.cluster, id = options.id, founders = founders,
    segment_size = options.segment_size,
  }
  if not disk then
    return nil, err, code
  end
  local self = setmetatable({
    id = options.id, options = o, machine = options.machine, storage = disk,
    patience = math.max(LEAST_PATIENCE, 3 * o.election_timeout),
    core = nil, transport = nil, requests = nil, snapshots = nil, hook = nil, timer = nil, joiner = nil,
    founding = nil, -- until the founders know each other
    state = nil, -- data or pieces
    store = nil, -- where the state is an ordered store
    to_apply = {}, -- committed entries, which wait for room in the store
    applied = 0, applied_term = 0, applied_config = "", time = 0,
    told_applied = 0, -- to core
    queue = {}, stepping = false,
    told_fault = nil, -- what was told last of what cannot be understood
    backlog = {}, -- what the disk had no room for: { update, after }, first to last
    writing = nil, -- { persisted, after } of this turn
    syncing = {}, -- those under way, first to last
    hard_state = nil, closed = false, failed = nil,
  }, metatable)
  local ok
  ok, err, code = open_state(self)
  if not ok then
    self:close()
    return nil, err, code
  end
  self.requests, self.snapshots = requests.new(self, peers.MAX_PAYLOAD, carry.HEAD), snapshots.new(self)
  self.transport, err, code = self:open_transport()
  if not self.transport then
    self:close()
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
      start(self)
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
  for _, name in ipairs { "timer", "hook", "joiner", "founding", "transport", "snapshots" } do
    if self[name] then
      self[name]:close()
    end
  end
  if self.state then
    self.state:close()
  end
  self.storage:close()
  if self.requests then
    self.requests:close(self.failed)
  end
end

-- ---------------------------------------------------------------- what it is asked

-- With a function, asks; without one, waits in a task for what it would be called with.
local function ask(fn, method, requests_of, what, context)
  if fn then
    return method(requests_of, what, fn, context)
  end
  local event = task.event()
  method(requests_of, what, function(result, err)
    event:resolve(result, err)
  end, context)
  local result, err = event:wait()
  if err then
    return nil, err
  end
  return result
end

---Proposes an entry.
---@param payload string  at most 16 MiB
---@param fn? fun(result: any, err: lunode.rpc.error?)  once: with what `apply` returned; or err, whose `leader` is the
---  id of the member to ask. err.definite is false where the entry may have been, or may still be, applied
---@param context? any  this member's `apply` finds it in the entry, unless `fn` was called before
---@return any result, lunode.rpc.error? err  without `fn`
function methods:propose(payload, fn, context)
  return ask(fn, self.requests.propose, self.requests, payload, context)
end

---Whether so many bytes can be proposed now.
---@param bytes integer
---@return true? room
---@return string? err, lunode.code? code  "EAGAIN": on_room tells when; "ENOSPC": when the disk has room again; …
function methods:room(bytes)
  if self.closed then
    return nil, self.failed or "this member is closed", "ECANCELED"
  end
  return self.requests:room(bytes)
end

---Asks for a moment at which the state machine holds all that was acknowledged, by any member, before this call.
---@param fn? fun(ok: true?, err: lunode.rpc.error?)
---@return true? ok, lunode.rpc.error? err  without `fn`
function methods:read(fn)
  return ask(fn, self.requests.read, self.requests)
end

---Changes the membership, one server at a time; a server joins as a learner, and is promoted when it has caught up.
---@param change { kind: "add"|"promote"|"demote"|"remove", id: string, address?: string }
---@param fn? fun(ok: true?, err: lunode.rpc.error?)
---@return true? ok, lunode.rpc.error? err  without `fn`
function methods:change(change, fn)
  if change.kind == "promote" and not change.disk then -- from now on all know it by the disk that this one knows
    change = { kind = "promote", id = change.id, disk = configs.is_id(change.id) and self.storage:disk_of(change.id) }
  end
  return ask(fn, self.requests.other, self.requests, { type = "change", change = change })
end

---Hands the leadership to another voter.
---@param to string
---@param fn? fun(ok: true?, err: lunode.rpc.error?)
---@return true? ok, lunode.rpc.error? err  without `fn`
function methods:transfer(to, fn)
  return ask(fn, self.requests.other, self.requests, { type = "transfer", to = to })
end

---Makes a snapshot now, where the machine gives snapshots.
---@return boolean begun
function methods:make_snapshot()
  return not self.closed and self.state.make ~= nil and self.state:make()
end

---The newest format of payloads that all members know, as far as they have been met: that of what is proposed now.
---@return integer
function methods:format()
  local format = self.options.format
  for _, id in ipairs(self.core and self.core.config.ids or {}) do
    format = id == self.id and format or math.min(format, self.transport:format_of(id))
  end
  return format
end

---What it knows of the cluster and of itself; see core's `status`.
---@return table
function methods:status()
  local status = self.core and self.core:status() or { id = self.id, role = self.founding and "founding" or "starting" }
  status.snapshot = self.storage.snapshot.index
  status.applied = self.applied
  status.waiting_for = self.founding and self.founding:missing() or nil
  return status
end

return M
