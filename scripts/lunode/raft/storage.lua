-- What a member of a cluster keeps in its directory: the log with the hard state, the latest snapshot of the state
-- machine, and who it is. Decides nothing: driver.lua does.
--
--   DIR/log    lunode.log: entries (their types are core's), term and vote
--   DIR        lunode.store, with these rows:
--
--   "identity"                    {version, cluster, group, id, disk, founders}: written when the directory is made,
--                                 and once more when a server that waits to be added learns of which group it is
--   "snapshot"                    the snapshot in force: {name, index, term, config, time, chunks}
--   "receiving"                   the same, of the one that a leader is sending
--   "founded"                     the founders' disks, by id, when all know of all: see founding.lua
--   "joined"                      that it has become a voter after it had asked for that
--   "disk/" id                    the peer's disk, as it was met first
--   "chunk/" name "/" n:u32be     the pieces of snapshots, n from 1 on
--
-- A disk has a number drawn at its making: so a server that comes back without its data is told from the one it was.

local config = require "lunode.raft.config"
local hash = require "lunode.hash"
local log = require "lunode.log"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local store = require "lunode.store"

local M = {}

local VERSION = 1
local FULL = { ENOSPC = true, EDQUOT = true }
local CACHE = 4 << 20 -- bytes: chunks are read once, in order

---@class lunode.raft.snapshot_meta
---@field name string     unique: pieces of one are never mixed with those of another
---@field index integer   the last entry in it
---@field term integer    of that entry
---@field config string   as of that entry
---@field time integer    of that entry, see driver.lua
---@field chunks integer
---@field data string?    the directory of the state, where that is an ordered store: see data.lua

---@class lunode.raft.storage
---@field log lunode.log_handle
---@field store lunode.store_handle
---@field disk string
---@field group string  the cluster's number; "" while this server waits to be added
---@field founded table<string, string>?  the founders' disks; nil: the cluster is not founded yet, or was before this
---  server was added
---@field snapshot lunode.raft.snapshot_meta
---@field receiving lunode.raft.snapshot_meta?
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.storage" }

-- ---------------------------------------------------------------- rows

local function chunk_key(name, n)
  return "chunk/" .. name .. "/" .. (">I4"):pack(n)
end

-- All writes so far are one atomic step of the store.
local function seal(self)
  return self.store:advance(self.store:applied() + 1)
end

-- Writes rows as one atomic step. A store whose flush has failed raises.
---@return boolean? ok
---@return string? err
local function write(self, fn)
  local ok, err = pcall(fn)
  if not ok then
    return nil, tostring(err)
  end
  return seal(self)
end

-- Writes rows; `fn(err)` is called when they, and all before, are durable.
local function write_and_sync(self, change, fn)
  local ok, err = write(self, change)
  if ok then
    ok, err = self.store:flush(fn)
  end
  if not ok then
    loop.defer(function()
      fn(err)
    end)
  end
end

---A full disk is no failure: there is room again, some time.
---@param code string?
---@return boolean
function M.is_full(code)
  return FULL[code] == true
end

---A name for what a driver's machine has come to.
---@param driver lunode.raft.driver
---@return string
function M.new_name(driver)
  return ("%d-%s-%x"):format(driver.applied, driver.id, loop.random(0, math.maxinteger))
end

---@param meta any  as a peer sent it, or as it was stored
---@return boolean
function M.is_meta(meta)
  local function whole(value)
    return math.type(value) == "integer" and value >= 0 and value < 1 << 53
  end
  return type(meta) == "table" and type(meta.name) == "string" and #meta.name <= 200 and not meta.name:find "/"
    and whole(meta.index) and whole(meta.term) and math.type(meta.time) == "integer" and whole(meta.chunks)
    and meta.chunks < 1 << 32 and config.decode(meta.config) ~= nil
    and (meta.data == nil or meta.data == "data-0" or meta.data == "data-1")
end

local function read_meta(self, row)
  local bytes, err = self.store:get(row)
  if err then
    return nil, err
  elseif not bytes then
    return nil
  end
  local meta = msgpack.decode(bytes)
  if not M.is_meta(meta) then
    return nil, ("the row %q cannot be read"):format(row)
  end
  return meta
end

-- ---------------------------------------------------------------- opening

local function put_identity(self)
  self.store:put("identity", msgpack.encode(self.identity))
end

-- Founders need not speak with each other to agree about the number: it follows from who and where they are. So two
-- clusters of one name are told apart.
local function found(self, options)
  self.disk = ("%016x"):format(loop.random(math.mininteger, math.maxinteger))
  local text = options.founders:encode()
  self.group = text ~= "" and ("%016x"):format(hash.of(0, options.cluster, text)) or ""
  self.identity = {
    version = VERSION, cluster = options.cluster, group = self.group, id = options.id, disk = self.disk,
    founders = text,
  }
  put_identity(self)
  self.store:put("snapshot", msgpack.encode {
    name = "", index = 0, term = 0, config = text, time = 0, chunks = 0,
  })
  seal(self)
  return self.store:commit(true)
end

-- As people give them.
local function names_of(founders)
  local list = {}
  for i, id in ipairs(founders and founders.ids or {}) do
    list[i] = ("%s=%s"):format(id, founders.members[id].address or "-")
  end
  return table.concat(list, ",")
end

-- What the directory knows and what it is opened as must be the same.
local function recognize(self, options, bytes)
  local known = msgpack.decode(bytes)
  if type(known) ~= "table" or type(known.disk) ~= "string" or type(known.group) ~= "string" then
    return nil, ("the identity in %s cannot be read"):format(options.dir), "ECORRUPT"
  elseif known.version ~= VERSION then
    return nil, ("%s is of version %s, and this lunode knows %d"):format(options.dir, known.version, VERSION),
      "EVERSION"
  elseif known.cluster ~= options.cluster or known.id ~= options.id then
    return nil, ("%s belongs to %s of the cluster %s, not to %s of %s"):format(options.dir, known.id, known.cluster,
      options.id, options.cluster), "EFOREIGN"
  elseif #options.founders.ids > 0 and known.founders ~= options.founders:encode() then
    return nil, ("%s was %s, and not by %s; leave the founders out, give the same ones, or "
      .. "empty it if it holds nothing yet"):format(options.dir,
      known.founders == "" and "made to join a cluster" or "founded by " .. names_of(config.decode(known.founders)),
      names_of(options.founders)), "EFOREIGN"
  end
  self.identity, self.disk, self.group = known, known.disk, known.group
  return true
end

-- The log begins behind what the snapshot holds, at the latest. It is reset where a snapshot was installed, and the
-- crash came before the log had followed.
local function align(self, dir)
  local snapshot, handle = self.snapshot, self.log
  if handle:first() > snapshot.index + 1 then
    return nil, ("the log in %s begins with entry %d, and the snapshot ends with %d: one of them is lost"):format(dir,
      handle:first(), snapshot.index), "ECORRUPT"
  elseif handle:term(snapshot.index) ~= snapshot.term then
    return handle:truncate_prefix(snapshot.index, snapshot.term)
  end
  return true
end

-- Pieces of a snapshot that was never finished.
local function drop_orphans(self)
  local names, from = { self.snapshot.name, self.receiving and self.receiving.name }, "chunk/"
  table.sort(names)
  for _, name in ipairs(names) do
    self.store:delete_range(from, "chunk/" .. name .. "/")
    from = "chunk/" .. name .. "0"
  end
  self.store:delete_range(from, "chunk0")
  seal(self)
end

local function open_rows(self, options)
  local bytes, err, code = self.store:get "identity"
  local ok
  if err then
    return nil, err, code
  elseif bytes then
    ok, err, code = recognize(self, options, bytes)
  elseif self.store:applied() > 0 or self.store:scan("", ("\xff"):rep(16))() then
    return nil, ("%s holds data that are not a cluster's; give a member an empty directory"):format(options.dir),
      "EFOREIGN"
  else
    ok, err, code = found(self, options)
  end
  if not ok then
    return nil, err, code
  end
  self.snapshot, err = read_meta(self, "snapshot")
  if not self.snapshot then
    return nil, err or ("the snapshot in %s is missing"):format(options.dir), "ECORRUPT"
  end
  self.founded, err = self.store:get "founded"
  self.founded = self.founded and msgpack.decode(self.founded)
  if err then
    return nil, err, "ECORRUPT"
  end
  self.receiving, err = read_meta(self, "receiving")
  if err then
    return nil, err, "ECORRUPT"
  end
  drop_orphans(self)
  return true
end

---@param options { dir: string, cluster: string, id: string, founders: lunode.raft.config }  founders: without members
---  for a server that waits to be added
---@return lunode.raft.storage?
---@return string? err, lunode.code? code  "EFOREIGN": the directory is another's; else as log.open and store.open
function M.open(options)
  local self = setmetatable({
    log = nil, store = nil, identity = nil, disk = nil, group = nil, founded = nil, snapshot = nil,
    receiving = nil,
  }, metatable)
  local err, code, ok
  self.store, err, code = store.open(options.dir, { cache = CACHE })
  if not self.store then
    return nil, err, code
  end
  ok, err, code = open_rows(self, options)
  if ok then
    self.log, err, code = log.open(options.dir .. "/log", { segment_size = options.segment_size })
  end
  if self.log then
    ok, err, code = align(self, options.dir)
  end
  if not (ok and self.log) then
    self:close()
    return nil, err, code
  end
  return self
end

function methods:close()
  if self.log then
    self.log:close()
  end
  self.store:close()
end

-- ---------------------------------------------------------------- the log

-- What core asks of a log. What cannot be read is nothing that was cut off: it raises.
local access_methods = {}
local access_metatable = { __index = access_methods, __name = "lunode.raft.storage.log_access" }

function access_methods:first_index()
  return self.log:first()
end

function access_methods:last_index()
  return self.log:last()
end

function access_methods:term(index)
  return (self.log:term(index))
end

function access_methods:entries(from, to, max_bytes)
  local entries, err, code = self.log:read(from, to, max_bytes)
  if not entries and code ~= "ERANGE" then
    error(err, 0)
  end
  return entries
end

---@return lunode.raft.log_access
function methods:log_access()
  return setmetatable({ log = self.log }, access_metatable)
end

---Takes what an update asks to persist; the log's `sync` makes it durable. What could not be taken can be tried again:
---it goes on where it was.
---@param update table
---@return boolean? ok
---@return string? err, lunode.code? code
function methods:persist(update)
  local handle, state = self.log, update.hard_state
  local ok, err, code = true, nil, nil
  if state then
    ok, err, code = handle:set_state(state.term, state.vote)
    update.hard_state = not ok and state or nil
  end
  if ok and update.truncate_from then
    ok, err, code = handle:truncate_suffix(update.truncate_from)
    update.truncate_from = not ok and update.truncate_from or nil
  end
  local entries = update.entries or {}
  for i = (update.written or 0) + 1, ok and #entries or 0 do
    local entry = entries[i]
    ok, err, code = handle:append(entry.type, entry.payload, entry.term)
    if not ok then
      break
    elseif ok ~= entry.index then
      return nil, ("entry %d went to the log's place %d"):format(entry.index, ok)
    end
    update.written = i
  end
  return ok and true, err, code
end

-- ---------------------------------------------------------------- the group

---Keeps of which group this server is, which has waited to be added to one; `fn(err)` is called when that is durable.
---@param group string
---@param fn fun(err: string?)
function methods:adopt(group, fn)
  self.group, self.identity.group = group, group
  write_and_sync(self, function()
    put_identity(self)
  end, fn)
end

---Whether this server is one of those who found the cluster, and they do not all know of each other yet.
---@return boolean
function methods:is_founding()
  return self.identity.founders ~= "" and not self.founded
end

---Keeps the founders' disks, and that all know of all; `fn(err)` is called when that is durable.
---@param disks table<string, string>
---@param text string  the configuration with them
---@param fn fun(err: string?)
function methods:keep_founding(disks, text, fn)
  self.founded, self.snapshot.config = disks, text
  write_and_sync(self, function()
    self.store:put("founded", msgpack.encode(msgpack.map(disks)))
    self.store:put("snapshot", msgpack.encode(self.snapshot))
  end, fn)
end

---Whether this server need not ask to be added: it has founded its cluster, or was made a voter when it asked.
---@return boolean
function methods:has_joined()
  return self.identity.founders ~= "" or self.store:get "joined" ~= nil
end

---Keeps that it need not ask again; `fn(err)` is called when that is durable.
---@param fn fun(err: string?)
function methods:keep_joined(fn)
  write_and_sync(self, function()
    self.store:put("joined", "")
  end, fn)
end

-- ---------------------------------------------------------------- peers' disks

---What is known of a peer's disk.
---@param id string
---@return string?
function methods:disk_of(id)
  return (self.store:get("disk/" .. id))
end

---Keeps it; `fn(err)` is called when that is durable.
---@param id string
---@param disk string
---@param fn fun(err: string?)
function methods:keep_disk(id, disk, fn)
  write_and_sync(self, function()
    self.store:put("disk/" .. id, disk)
  end, fn)
end

-- ---------------------------------------------------------------- snapshots

---Keeps a piece, in order.
---@param name string
---@param n integer
---@param bytes string
---@return boolean? ok
---@return string? err
function methods:put_chunk(name, n, bytes)
  return write(self, function()
    self.store:put(chunk_key(name, n), bytes)
  end)
end

---The pieces of a snapshot, for the state machine; raises where one is missing.
---@param meta lunode.raft.snapshot_meta
---@return fun(): string?
function methods:chunks(meta)
  local n = 0
  return function()
    if n < meta.chunks then
      n = n + 1
      return assert(self.store:get(chunk_key(meta.name, n)), "a piece of the snapshot is missing")
    end
  end
end

---A piece, as of a view of the store.
---@param view lunode.snapshot
---@param meta lunode.raft.snapshot_meta
---@param n integer
---@return string?
---@return string? err
function methods:chunk_of(view, meta, n)
  return view:get(chunk_key(meta.name, n))
end

local function drop_chunks(self, name)
  self.store:delete_range("chunk/" .. name .. "/", "chunk/" .. name .. "0")
end

---Begins to receive a snapshot, or goes on where it was left.
---@param meta lunode.raft.snapshot_meta
---@return integer? have  pieces that are here
---@return string? err
function methods:begin_receiving(meta)
  local old = self.receiving
  if old and old.name == meta.name and old.chunks == meta.chunks then
    local last = self.store:scan(chunk_key(meta.name, 0), chunk_key(meta.name, 0xffffffff), { reverse = true })()
    return last and (">I4"):unpack(last, #last - 3) or 0 -- they are written in order
  end
  local ok, err = write(self, function()
    if old then
      drop_chunks(self, old.name)
    end
    self.store:put("receiving", msgpack.encode(meta))
  end)
  if not ok then
    return nil, err
  end
  self.receiving = meta
  return 0
end

---Drops the pieces of a snapshot that is not to be.
---@param name string
---@return boolean? ok
---@return string? err
function methods:drop(name)
  return write(self, function()
    drop_chunks(self, name)
  end)
end

---The pieces of `meta` are there: it takes the place of the snapshot before. `fn(err)` is called when that is durable.
---@param meta lunode.raft.snapshot_meta
---@param fn fun(err: string?)
function methods:put_snapshot(meta, fn)
  local old, other = self.snapshot, self.receiving
  local done = other and other.index <= meta.index
  self.snapshot, self.receiving = meta, not done and other or nil
  write_and_sync(self, function()
    self.store:put("snapshot", msgpack.encode(meta))
    if old.name ~= "" and old.name ~= meta.name then
      drop_chunks(self, old.name)
    end
    if done then
      self.store:delete "receiving"
      if other.name ~= meta.name then
        drop_chunks(self, other.name)
      end
    end
  end, fn)
end

return M
