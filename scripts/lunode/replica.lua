-- A state machine behind a durable log: what is proposed is appended, and once it is committed, applied; a restart
-- replays what the store does not hold yet. Today one member: an entry is committed at once, or when it is on disk. It
-- knows no commands.
--
--   local r = assert(replica.open {
--     dir = "data", sync = "always",
--     apply = function(entry) … end,        -- in log order; entry.time and entry.seed are its only clock and chance
--     on_failure = function(err) … end,     -- fail-stop: the log or the store cannot be written any more
--   })
--   r:propose(payload)
--
-- A turn of the loop is one entry at most where the caller gathers what it proposes, and one write and one sync in any
-- case.
local log = require "lunode.log"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local store = require "lunode.store"

local pack, unpack = string.pack, string.unpack

local M = {}

-- payload of a log entry = time:i64be seed:i64be, then what was proposed
local HEAD = ">i8i8"
local HEAD_BYTES = 16

local DATA = 1 -- the type of our entries
local TERM = 0 -- of all entries, while there is one member

-- A full disk is no failure: there is room again, some time.
local FULL = { ENOSPC = true, EDQUOT = true }

-- Seconds that a sync may take with "everysec" before writes wait for it: what is lost in a power cut stays bounded.
local SLOW_SYNC = 2

local RETRY = 0.002 -- seconds

local IN_FLIGHT = 64 << 20 -- bytes proposed and not yet committed: past that, `room` says EAGAIN

---@class lunode.entry
---@field index integer
---@field time integer     milliseconds since the epoch, as the proposer's clock had it; never goes back
---@field seed integer
---@field payload string
---@field context any     what the proposer gave beside it; nil in a replay

---@class lunode.replica_options
---@field dir string
---@field sync "always"|"everysec"|"no"
---@field apply fun(entry: lunode.entry)
---@field on_room? fun()     there may be room again, after `room` had said EAGAIN
---@field hold? fun(index: integer)     "always": what follows from the entries up to this one must not be told yet
---@field release? fun(index: integer)  they are on disk: now it may
---@field on_failure fun(err: string)
---@field cache? integer   bytes of the store's caches
---@field engine? string   "leveldb", "rocksdb", "memory"
---@field overlay? integer  bytes of writes in memory at which the store flushes them
---@field limit? integer    bytes of them past which writes wait
---@field segment? integer  bytes of a segment of the log

---@class lunode.replica
---@field store lunode.store_handle
---@field log lunode.log_handle
---@field dir string
---@field sync "always"|"everysec"|"no"
---@field failed string?     why nothing can be written any more
---@field applied integer    index of the last entry applied
---@field waiting integer    entries proposed and not yet applied
local methods = {}
local replica_mt = { __name = "lunode.replica", __index = methods }

-- ---- opening

-- The store may hold more than the log does: its flush was synced, the log's tail was not. Then the log goes on behind
-- it.
local function align(self)
  local handle, applied = self.log, self.applied
  if handle:last() < applied then
    return handle:truncate_prefix(applied, TERM)
  elseif handle:first() > applied + 1 then
    return nil, ("the log in %s begins with entry %d, but the store holds entries up to %d only: the files are not of "
      .. "one node; restore a backup, or ask `lunode check %s`"):format(self.dir, handle:first(), applied, self.dir),
      "ECORRUPT"
  end
  return true
end

-- A member's directory looks alike (raft/storage.lua), and its log is of entries that mean something else.
local function is_members(rows)
  local bytes = rows:get "identity"
  local ok, identity = pcall(msgpack.decode, bytes or "")
  return ok and type(identity) == "table" and identity.disk ~= nil and identity.cluster ~= nil
end

---Opens the store and the log of a directory. `recover` comes next.
---@param options lunode.replica_options
---@return lunode.replica? replica
---@return string? err, lunode.code? code
function M.open(options)
  local self = setmetatable({
    dir = options.dir,
    sync = options.sync,
    apply = options.apply,
    on_room = options.on_room or function() end,
    hold = options.hold or function() end,
    release = options.release or function() end,
    on_failure = options.on_failure,
    store = nil,
    log = nil,
    applied = 0,
    time = 0, -- of the last entry
    seed = loop.random(math.mininteger, math.maxinteger), -- of the next one, derived from the one before
    in_flight = {}, -- index → entry, proposed and not yet applied
    in_flight_bytes = 0,
    waiting = 0, -- entries in flight
    unsynced = false, -- something was appended since the last sync began
    syncing = 0, -- syncs under way
    sync_due = math.huge, -- when the first of them takes too long
    too_slow = false, -- so `room` has said EAGAIN
    making_room = false, -- the store flushes, so that the log can let go of entries
    failed = nil,
    closed = false,
    timer = nil,
    retry = nil, -- a timer
  }, replica_mt)
  local err, code
  self.store, err, code = store.open(options.dir, {
    cache = options.cache,
    engine = options.engine,
    overlay = options.overlay,
    limit = options.limit,
    on_flushed = function(flush_err, _, index)
      self:flushed(flush_err, index)
    end,
    on_room = self.on_room,
  })
  if not self.store then
    return nil, err, code
  elseif is_members(self.store) then
    self.store:close()
    return nil, ("%s belongs to a member of a cluster"):format(options.dir), "EFOREIGN"
  end
  self.log, err, code = log.open(options.dir .. "/log", { segment_size = options.segment })
  if not self.log then
    self.store:close()
    return nil, err, code
  end
  self.applied = self.store:applied()
  local ok
  ok, err, code = align(self)
  if not ok then
    self.log:close()
    self.store:close()
    return nil, err, code
  end
  return self
end

---Applies what the log holds and the store does not, and begins to take proposals. Raises where an entry cannot be
---read, or what `apply` raises.
---@return integer entries  how many
function methods:recover()
  local count = 0
  if self.applied >= self.log:first() and self.applied <= self.log:last() then
    local _, payload = self.log:entries(self.applied)()
    self.time = unpack(HEAD, payload)
  end
  for index, payload in self.log:entries(self.applied + 1) do
    self:apply_entry(index, payload, nil)
    count = count + 1
  end
  self.timer = loop.timer(1, function()
    if self.sync ~= "no" then -- "always": what was appended before that was set
      self:sync_log()
    end
  end, 1)
  return count
end

-- ---- entries

function methods:apply_entry(index, payload, context)
  local time, seed = unpack(HEAD, payload)
  self.time = math.max(self.time, time)
  self.apply { index = index, time = time, seed = seed, payload = payload:sub(HEAD_BYTES + 1), context = context }
  self.applied = index
  self.store:advance(index)
end

---The time and the seed of the next entry: for what has to run before it is proposed (see `record`).
---@param time integer  milliseconds since the epoch
---@return integer time, integer seed
function methods:next_entry(time)
  self.time = math.max(self.time, time) -- the clock may be set back, an entry's time may not
  self.seed = self.seed * 0x5851F42D4C957F2D + 0x14057B7EF767814F -- any sequence without short cycles
  return self.time, self.seed
end

---Whether what an entry holds may be done before it is appended: it is `record`ed then. With "always" nobody may be
---told of it, nor what others have read of it, until it is on disk: between `hold` and `release`.
---@return boolean
function methods:commits_at_once()
  return self.waiting == 0
end

---Whether so many bytes can be proposed now.
---@param bytes integer
---@return boolean? room
---@return string? err, lunode.code? code  "EAGAIN": on_room tells when; "ENOSPC", …: when the disk has room again
function methods:room(bytes)
  if self.in_flight_bytes > IN_FLIGHT then
    return nil, "too much waits for the disk", "EAGAIN"
  elseif loop.now() > self.sync_due and self.sync == "everysec" then
    self.too_slow = true
    return nil, "the disk has been syncing for seconds", "EAGAIN"
  end
  local ok, err, code = self.store:room()
  if not ok then
    return nil, err, code
  end
  ok, err, code = self:reserve(bytes, false)
  if code == "EAGAIN" then -- the next segment is being made, perhaps behind a sync
    self:try_again()
  end
  return ok, err, code
end

-- Whoever was told EAGAIN by the log asks again in a moment.
function methods:try_again()
  self.retry = self.retry or loop.timer(RETRY, function(timer)
    timer:close()
    self.retry = nil
    self.on_room()
  end)
end

---Makes sure of so many bytes of the log.
---@param bytes integer
---@param wait? boolean  for a segment of the log that is being made (default true); else "EAGAIN"
---@return boolean? ok
---@return string? err, lunode.code? code
function methods:reserve(bytes, wait)
  local ok, err, code = self.log:room(bytes + HEAD_BYTES, wait)
  if FULL[code] then
    self:make_room()
  elseif code == "EIO" then -- no reply may say that it is the disk's fault and the node goes on: it cannot
    self:fail(err)
  end
  return ok, err, code
end

-- Written when it returns: what follows from the entry, a reply, leaves later. With "always" it leaves behind the sync,
-- and the log writes when it is going to sync.
local function append(self, payload)
  local index, err = self.log:append(DATA, payload, TERM)
  local ok = index ~= nil
  if ok and self.sync ~= "always" then
    ok, err = self.log:flush()
  end
  if not ok then
    self:fail(err)
    return nil
  end
  self.unsynced = true
  return index
end

---Appends an entry whose effects the store holds already. REQUIRES: commits_at_once(), and its time and seed are
---next_entry's.
---@param batch lunode.batch  its commands: they are taken out
---@param time integer
---@param seed integer
---@return integer? index  nil: on_failure was told
function methods:record(batch, time, seed)
  local index = append(self, batch:take(pack(HEAD, time, seed)))
  if index then
    self.applied = index
    self.store:advance(index)
    if self.sync == "always" then
      self.hold(index)
      self:sync_log()
    end
  end
  return index
end

---Appends an entry; `apply` is called with it once it is committed: within this call, or once it is on disk ("always").
---@param payload string
---@param time integer  milliseconds since the epoch
---@param context any   comes back as entry.context
---@return integer? index  nil: on_failure was told
function methods:propose(payload, time, context)
  local at_once = self.sync ~= "always" and self.waiting == 0
  payload = pack(HEAD, self:next_entry(time)) .. payload
  local index = append(self, payload)
  if index and at_once then
    self:apply_entry(index, payload, context)
  elseif index then
    self.in_flight[index] = { payload = payload, context = context }
    self.waiting = self.waiting + 1
    self.in_flight_bytes = self.in_flight_bytes + #payload
    self:sync_log()
  end
  return index
end

-- Everything up to index is on disk, so it is committed.
function methods:commit(index)
  local was_full = self.in_flight_bytes > IN_FLIGHT
  while self.applied < index and self.in_flight[self.applied + 1] do
    local at = self.applied + 1
    local entry = self.in_flight[at]
    self.in_flight[at] = nil
    self.waiting = self.waiting - 1
    self.in_flight_bytes = self.in_flight_bytes - #entry.payload
    self:apply_entry(at, entry.payload, entry.context)
  end
  if was_full and self.in_flight_bytes <= IN_FLIGHT then
    self.on_room()
  end
end

-- ---- disk

-- Everything up to index is on disk.
local function synced(self, index)
  self.syncing = self.syncing - 1
  self.sync_due = self.syncing > 0 and loop.now() + SLOW_SYNC or math.huge
  self.release(index)
  self:commit(index)
  if self.too_slow then
    self.too_slow = false
    self.on_room()
  end
end

---Begins to sync what was appended, if anything was since the last time. Proposals are committed when that is done.
function methods:sync_log()
  if not self.unsynced or self.failed then
    return
  end
  self.unsynced = false
  self.syncing = self.syncing + 1
  self.sync_due = math.min(self.sync_due, loop.now() + SLOW_SYNC)
  local ok, failure = self.log:sync(function(err, _, index)
    if self.closed then
      return
    elseif err then
      self:fail(err)
    else
      synced(self, index)
    end
  end)
  if not ok then
    self:fail(failure)
  end
end

---@param sync "always"|"everysec"|"no"
function methods:set_sync(sync)
  self.sync = sync
  if sync ~= "no" then
    self:sync_log() -- nothing else would, of what was written before
  end
  if sync == "always" and self.log:synced() < self.log:last() then
    self.hold(self.log:last()) -- reads see it
  end
end

-- What the log lacks room for may be given back: entries that the store has are no longer needed.
function methods:make_room()
  if not self.making_room and self.log:stats().segments > 1 then
    self.making_room = self.store:flush(function()
      self.making_room = false
    end) ~= nil
  end
end

-- The store has made entries durable: the log need keep but the last of them, which tells its time to the next start.
function methods:flushed(err, index)
  if self.closed then
    return
  elseif err then
    self:fail(err)
  elseif index > self.log:first() then
    local ok, failure, code = self.log:truncate_prefix(index - 1)
    if not ok and not FULL[code] then
      self:fail(failure)
    end
  end
end

-- A failed write or sync is never tried again: what is on disk is unknown then.
function methods:fail(err)
  if not self.failed then
    self.failed = err
    self.on_failure(err)
  end
end

---Writes everything to disk and closes log and store; blocks until that is done. Idempotent.
---@return boolean? ok
---@return string? err, lunode.code? code
function methods:close()
  if self.closed then
    return true
  end
  local ok, err, code = self.store:commit(true)
  self:abandon()
  return ok, err, code
end

---Closes log and store as they are. Idempotent.
function methods:abandon()
  if self.closed then
    return
  end
  self.closed = true
  if self.timer then
    self.timer:close()
  end
  if self.retry then
    self.retry:close()
  end
  self.log:close()
  self.store:close()
end

return M
