-- A server for specs of raft: core over a disk that can lag and crash, a state machine, and the driver between them.
-- Has no network and no clock: what is sent lies in `outbox`, and its owner says when a write reaches the disk.
--
--   local node = require "spec.raft.node"
--   local n = node.new { id = "n1", config = config, random = fn, now = 0 }
--   n:step { type = "campaign" }     carries the update out; then n.outbox holds messages
--   n:sync()                         the first write under way becomes durable; true if there was one
--   n:apply()                        applies what is committed
--   n:crash(kept); n:boot(now)       kept: how many pieces of the writes under way survive
--
-- The state machine is a digest of what was applied, so that copies of it cost nothing: { applied, term, config,
-- digest }.

local core = require "lunode.raft.core"
local config = require "lunode.raft.config"
local memory_log = require "lunode.raft.memory_log"

local M = {}

---@class spec.raft.node
---@field core lunode.raft?  nil while it is down
---@field disk { state: table, log: lunode.raft.memory_log, store: table }  what survives a crash
---@field written lunode.raft.memory_log  with what is on its way to the disk: what reads see
---@field store table  the state machine
---@field pending table[]  writes under way, first to last
---@field outbox table[]
---@field to_apply table[]  committed entries, first to last
---@field watch table  functions called as things happen: update, persisted, applied, installed, fault
local methods = {}
local metatable = { __index = methods, __name = "spec.raft.node" }

-- 4.1's text of a cluster of voters, for `options.config`.
---@param ids string[]
---@return lunode.raft.config
function M.voters(ids)
  local list = {}
  for i, id in ipairs(ids) do
    list[i] = { id = id, voter = true }
  end
  return assert(config.new(list))
end

local function copy_store(store)
  return { applied = store.applied, term = store.term, config = store.config, digest = store.digest }
end

---@param options table  as raft.new's, without log, hard_state and applied; and `watch`
---@return spec.raft.node
function M.new(options)
  local self = setmetatable({
    id = options.id,
    options = options,
    watch = options.watch or {},
    core = nil,
    disk = {
      state = { term = 0, vote = nil },
      log = memory_log.new(),
      store = { applied = 0, term = 0, config = options.config:encode(), digest = 0 },
    },
    written = nil,
    store = nil,
    pending = nil,
    failing = false, -- the disk gives errors
    outbox = {},
    to_apply = nil,
  }, metatable)
  self:boot(options.now)
  return self
end

local function tell(self, name, ...)
  if self.watch[name] then
    return self.watch[name](self, ...)
  end
end

local function copy_log(log)
  local copy = memory_log.new(log.base, log.base_term)
  table.move(log.list, 1, #log.list, 1, copy.list)
  return copy
end

---Starts it from its disk.
---@param now number
function methods:boot(now)
  local disk = self.disk
  self.failing = false
  -- A snapshot was put in the place of the state machine, and the crash came before the log was reset behind it.
  if disk.log:term(disk.store.applied) ~= disk.store.term then
    disk.log:reset(disk.store.applied, disk.store.term)
  end
  self.written, self.store = copy_log(disk.log), copy_store(disk.store)
  self.pending, self.outbox, self.to_apply = {}, {}, {}
  local options = setmetatable({
    config = assert(config.decode(disk.store.config)), log = self.written, now = now,
    hard_state = { term = disk.state.term, vote = disk.state.vote }, applied = disk.store.applied,
  }, { __index = self.options })
  self.core = core.new(options)
end

-- ---------------------------------------------------------------- the disk

-- A write in pieces: after a crash, the first few of them are there. Each is done at once or not at all.
local function pieces_of(write)
  local pieces = {}
  local function add(piece)
    pieces[#pieces + 1] = piece
  end
  if write.hard_state then
    add(function(disk)
      disk.state = write.hard_state
    end)
  end
  if write.truncate_from then
    add(function(disk)
      disk.log:truncate_suffix(write.truncate_from)
    end)
  end
  for _, entry in ipairs(write.entries or {}) do
    add(function(disk)
      disk.log:append { entry }
    end)
  end
  if write.store then
    add(function(disk)
      disk.store = copy_store(write.store)
    end)
    add(function(disk)
      disk.log:reset(write.store.applied, write.store.term)
    end)
  end
  return pieces
end

local function post(self, messages)
  for _, m in ipairs(messages or {}) do
    if m.type == "snapshot" then
      m.data = copy_store(self.store)
    end
    self.outbox[#self.outbox + 1] = m
  end
end

---The first write under way becomes durable.
---@return boolean
function methods:sync()
  local write = table.remove(self.pending, 1)
  if not write then
    return false
  elseif self.failing then -- nothing is told of what may be on the disk or not: it ends
    self:crash(0)
    return false
  end
  for _, piece in ipairs(pieces_of(write)) do
    piece(self.disk)
  end
  tell(self, "persisted", write)
  if write.persisted then
    self:step(write.persisted)
  end
  if write.store then
    self.written:reset(write.store.applied, write.store.term)
    self.store, self.to_apply = copy_store(write.store), {}
    tell(self, "installed", self.store)
    self:step { type = "snapshot_installed", index = write.store.applied, log_term = write.store.term, ok = true }
  end
  post(self, write.after)
  return true
end

---What the state machine holds becomes durable.
function methods:flush()
  self.disk.store = copy_store(self.store)
end

---Cuts the log behind what the state machine has made durable.
function methods:compact()
  self:flush()
  self.disk.log:truncate_prefix(self.store.applied)
  self.written:truncate_prefix(self.store.applied)
  self:step { type = "snapshot_saved", index = self.store.applied }
end

---@param kept integer  pieces of the writes under way that reached the disk
function methods:crash(kept)
  for _, write in ipairs(self.pending) do
    for _, piece in ipairs(pieces_of(write)) do
      if kept > 0 then
        kept = kept - 1
        piece(self.disk)
      end
    end
  end
  self.core, self.pending, self.outbox, self.to_apply = nil, {}, {}, {}
end

-- ---------------------------------------------------------------- the driver

local function digest_of(digest, entry)
  local h = digest ~ (entry.index * 0x9E3779B97F4A7C15) ~ (entry.term << 48) ~ entry.type
  for i = 1, #entry.payload do
    h = (h ~ entry.payload:byte(i)) * 0x100000001B3
  end
  return h
end

---Applies what is committed.
---@return boolean  whether there was anything
function methods:apply()
  local entry = table.remove(self.to_apply, 1)
  if not entry then
    return false
  end
  repeat
    local store = self.store
    if entry.index ~= store.applied + 1 then
      tell(self, "fault", ("applies %d behind %d"):format(entry.index, store.applied))
    end
    store.digest = digest_of(store.digest, entry)
    store.applied, store.term = entry.index, entry.term
    if entry.type == core.CONFIG then
      store.config = entry.payload
    end
    tell(self, "applied", entry)
    entry = table.remove(self.to_apply, 1)
  until not entry
  self:step { type = "applied", index = self.store.applied }
  return true
end

local function carry_out(self, update)
  if update.persisted then
    if update.truncate_from then
      self.written:truncate_suffix(update.truncate_from)
    end
    if update.entries then
      self.written:append(update.entries)
    end
    self.pending[#self.pending + 1] = {
      hard_state = update.hard_state, truncate_from = update.truncate_from, entries = update.entries,
      persisted = update.persisted,
    }
  end
  post(self, update.messages)
  if update.messages_after then
    local last = self.pending[#self.pending]
    if last then
      last.after = last.after or {}
      table.move(update.messages_after, 1, #update.messages_after, #last.after + 1, last.after)
    else
      post(self, update.messages_after)
    end
  end
  if update.install then
    self.pending[#self.pending + 1] = { store = self.received }
  end
  table.move(update.committed or {}, 1, #(update.committed or {}), #self.to_apply + 1, self.to_apply)
end

---Steps the core, and carries out what it says: but for writes, which `sync` makes durable, and `apply`.
---@param event table
---@return table? update  nil while it is down
function methods:step(event)
  if not self.core then
    return nil
  end
  local m = event.message
  if m and m.type == "snapshot" and not self.core.installing then
    self.received = m.data
  end
  local update = self.core:step(event)
  carry_out(self, update)
  tell(self, "update", update, event)
  return update
end

return M
