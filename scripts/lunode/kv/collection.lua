-- What hashes, sets, sorted sets and lists share: the meta row of a key's collection, opened and kept. Elements are the
-- types' own; how they lie in the store, keys.lua says.
--
--   local c = db.collections:read(key, keys.HASH)      -- nil: there is none. Raises WRONGTYPE
--
-- in a command that only reads. In one that writes:
--
--   local c = db.collections:open(key, keys.HASH)      -- or `create`, which makes one where there is none
--   … db.store:put(c.prefix .. …)  c.count = c.count + 1 …
--   db.collections:changed(c)                          -- once, last: an empty collection goes, with its key
--
-- A collection is opened once and then kept: commands come to the same few again and again. Its meta row is written at
-- the end of the log's entry, as the counts of the node are, not with each element; until then the store has the
-- collection with an older count. So nobody reads the row of a collection but by `db:find`.
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local zset_ranks = require "lunode.kv.zset_ranks"

local M = {}

local STRING = keys.STRING

-- So many collections are new, and as many are older: those that are not opened again meanwhile are dropped.
local GENERATION = 1000

-- So many rows are deleted one by one; what is larger, with one mark for the range.
local FEW_ROWS = 256

-- Of one key; its fields are the types' to read, and `count` and `more` to change.
---@class lunode.kv.collection
---@field key string
---@field type integer
---@field expiry integer?
---@field home integer      a slot
---@field version integer
---@field prefix string     what the rows of its elements begin with
---@field count integer     its elements
---@field more integer      what the type keeps besides: see keys.lua
---@field index table?      what the type remembers while it is kept; nothing after a rollback
---@field ranks table?      of a large sorted set (zset_ranks): has rows to write at the end of the log's entry
---@field row string?       of its meta; made when it is needed
---@field stored boolean    private, as all that follows: its meta row is in the store
---@field stored_count integer  … with this count
---@field stored_more integer
---@field dirty boolean     they are to be written
---@field command integer   the last command that opened it for writing, and what it was before:
---@field was_count integer
---@field was_more integer
---@field born integer      the command that made it, or loaded it and may have made it: a rollback drops it
local function new(born, stored, key, type, expiry, home, version, count, more)
  return {
    key = key, type = type, expiry = expiry, home = home, version = version, count = count, more = more,
    prefix = keys.element_prefix(home, version), index = nil, ranks = nil,
    row = nil,
    stored = stored, stored_count = count, stored_more = more, dirty = false,
    command = -1, was_count = 0, was_more = 0, born = born,
  }
end

---@class lunode.kv.collections
---@field db lunode.kv.db
local methods = {}
local metatable = { __name = "lunode.kv.collections", __index = methods }

---@param db lunode.kv.db
---@return lunode.kv.collections
function M.new(db)
  return setmetatable({
    db = db,
    kept = {}, -- by key
    kept_count = 0, -- about: those that are gone count, too
    older = {}, -- as kept; none of them is dirty, nor opened by the command that writes and runs
    dirty = {}, -- those whose meta row is to be written
    dirty_count = 0,
    opened = {}, -- by the command that writes and runs, for writing
    opened_count = 0,
    remembered = {}, -- sets some of whose members are: see remembered.lua
    remembered_bytes = 0, -- what they take, about
    command = 0, -- its number; db.begin counts it
    -- what most commands call lies in the object itself, so that no metatable is asked each time
    read = methods.read, create = methods.create, open = methods.open, changed = methods.changed,
  }, metatable)
end

local function meta_value(c)
  return keys.collection_value(c.type, c.expiry, c.home, c.version, c.count, c.more)
end

local function meta_row(c)
  local row = c.row
  if not row then
    row = keys.row(c.key)
    c.row = row
  end
  return row
end

-- ---- opening

-- What a rollback returns to.
local function remember(self, c)
  c.command, c.was_count, c.was_more = self.command, c.count, c.more
  local n = self.opened_count + 1
  self.opened[n], self.opened_count = c, n
end

-- nil where there is none. A key of no collection raises, unless its time has come.
local function load(self, key)
  local db = self.db
  local text, value = db.get_row(db.rows, key, STRING)
  if text then
    error(errors.WRONGTYPE, 0)
  elseif value == nil then
    return nil
  end
  local expiry = keys.expiry(value)
  if not keys.is_collection(value) then
    if expiry and expiry < db.now then
      db:meet_expired(keys.row(key), value)
      return nil
    end
    error(errors.WRONGTYPE, 0)
  end
  local c = new(db.writing and self.command or -1, true, key, keys.type(value), expiry, keys.collection(value))
  if db.writing then
    remember(self, c)
  elseif self.kept_count >= GENERATION and self.dirty_count == 0 then
    self:grow_old()
  end
  self.kept[key] = c
  self.kept_count = self.kept_count + 1
  return c
end

-- An empty one, under a version that no rows have.
local function make(self, key, type, more)
  local db = self.db
  local c = new(self.command, false, key, type, nil, keys.slot(key), db:next_version(), 0, more or 0)
  db.store:fresh(c.prefix)
  return c
end

-- One that was not opened for a while is new again.
local function promote(self, key)
  local c = self.older[key]
  self.older[key] = nil
  self.kept[key] = c
  self.kept_count = self.kept_count + 1
  return c
end

local function find(self, key, type)
  local c = self.kept[key] or self.older[key] and promote(self, key) or load(self, key)
  if c == nil then
    return nil
  elseif c.expiry and c.expiry < self.db.now then
    self.db:meet_expired(meta_row(c), meta_value(c))
    return nil
  elseif c.type ~= type then
    error(errors.WRONGTYPE, 0)
  end
  return c
end

---The collection at `key`, for a command that reads. Raises WRONGTYPE.
---@param key string
---@param type integer  of keys.lua
---@return lunode.kv.collection?
function methods:read(key, type)
  local c, db = self.kept[key], self.db
  if not c or c.type ~= type or c.expiry then -- most are kept, and do not expire
    c = find(self, key, type)
  end
  if c then
    db.hits = db.hits + 1
  else
    db:miss(key)
  end
  return c
end

---How many elements the collection at `key` has; 0 where there is none. Raises WRONGTYPE.
---@param key string
---@param type integer
---@return integer
function methods:count(key, type)
  local c = self:read(key, type)
  return c and c.count or 0
end

---The collection at `key`, for a command that writes. Raises WRONGTYPE.
---@param key string
---@param type integer
---@return lunode.kv.collection?
function methods:open(key, type)
  local c = self.kept[key]
  if not c or c.type ~= type or c.expiry then
    c = find(self, key, type)
  end
  if c and c.command ~= self.command then
    remember(self, c)
  end
  return c
end

---As `open`; where there is none, an empty one, which comes to be once it is `changed`.
---@param key string
---@param type integer
---@param more? integer  of one that is new (default 0)
---@return lunode.kv.collection
function methods:create(key, type, more)
  local c = self.kept[key]
  if not c or c.type ~= type or c.expiry then
    c = find(self, key, type) or make(self, key, type, more)
  end
  if c.command ~= self.command then
    remember(self, c)
  end
  return c
end

---Creates a collection in place of whatever the key holds; which is gone even if nothing is put into the new one.
---@param key string
---@param type integer
---@param more? integer
---@return lunode.kv.collection
function methods:replace(key, type, more)
  self.db:delete(key)
  return self:create(key, type, more)
end

---A collection that is none yet, whatever the key holds: for what is made of collections of which that may be one. Once
---its elements are there, the key is deleted, and this one `changed`.
---@param key string
---@param type integer
---@param more? integer
---@return lunode.kv.collection
function methods:make(key, type, more)
  local c = make(self, key, type, more)
  remember(self, c)
  return c
end

-- ---- writing

---Its meta row is to be written at the end of the log's entry, and its ranks. REQUIRES: it is stored.
---@param c lunode.kv.collection
function methods:make_dirty(c)
  c.dirty = true
  local n = self.dirty_count + 1
  self.dirty[n], self.dirty_count = c, n
end

-- Its last element has gone, or its first one has come.
local function come_or_go(self, c)
  local db = self.db
  if c.count == 0 then
    if c.stored then
      db:write_row(meta_row(c), meta_value(c), nil)
      c.stored, c.dirty = false, false
    end
    self.kept[c.key] = nil
    return
  end
  db:write_row(meta_row(c), nil, meta_value(c))
  c.stored, c.stored_count, c.stored_more = true, c.count, c.more
  self.kept[c.key] = c
  self.kept_count = self.kept_count + 1
  if c.ranks then
    self:make_dirty(c)
  end
end

---At the end of a command that has changed elements: the meta row follows.
---@param c lunode.kv.collection
function methods:changed(c)
  local db = self.db
  if not db.writing then
    db:count_change() -- which raises
  end
  db.changed, db.changes = true, db.changes + 1
  if c.dirty and c.count > 0 then
    return -- its meta row is to be written anyway
  elseif c.count == 0 or not c.stored then
    come_or_go(self, c)
  elseif c.count ~= c.stored_count or c.more ~= c.stored_more then
    self:make_dirty(c)
  end
end

-- Deletes the elements of a collection.
local function purge(self, home, version)
  local store, prefix = self.db.store, keys.element_prefix(home, version)
  local past = keys.past(prefix)
  local rows = store:collect(prefix, past, "keys", FEW_ROWS)
  if #rows == FEW_ROWS then
    store:delete_range(prefix, past)
    return
  end
  for i = 1, #rows do
    store:delete(rows[i])
  end
end

---The meta row of a key is about to become `value` (nil: it goes): drops what is kept, and the elements that nothing
---refers to any more.
---@param row string
---@param old string
---@param value string?
function methods:overwrite(row, old, value)
  self:forget(row)
  local home, version = keys.collection(old)
  if value and keys.is_collection(value) then
    local _, next_version = keys.collection(value)
    if next_version == version then
      return
    end
  end
  purge(self, home, version)
end

---Drops what is kept of a key, whose meta row somebody is about to write.
---@param row string
function methods:forget(row)
  local key = keys.key(row)
  local c = self.kept[key] or self.older[key] and promote(self, key)
  if c then
    if c.command ~= self.command then
      remember(self, c)
    end
    self:write_out(c)
    c.dirty = false
    self.kept[key] = nil
  end
end

---Writes those rows of a collection's elements that would be written at the end of the entry, for who reads them all.
---@param c lunode.kv.collection
function methods:write_out(c)
  if c.dirty and c.ranks then
    zset_ranks.write(self.db.store, c)
  end
end

---The meta row's value of a collection, as it will be written.
---@param key string
---@param value string  as the store has it
---@return string
function methods:current(key, value)
  local c = self.dirty_count > 0 and self.kept[key]
  return c and c.dirty and meta_value(c) or value
end

-- ---- with the database

---It failed: what it wrote is undone.
function methods:rollback()
  for i = 1, self.opened_count do
    local c = self.opened[i]
    c.count, c.more, c.index = c.was_count, c.was_more, nil
    if c.ranks then
      c.ranks:rollback(self.command)
    end
    if c.born < self.command then
      c.stored = true
      self.kept[c.key] = c
      self:make_dirty(c) -- it may have been
    else
      c.dirty = false
      self.kept[c.key] = self.kept[c.key] ~= c and self.kept[c.key] or nil
    end
  end
  self.opened_count = 0
end

---At the end of each entry of the log: the meta rows into the store.
function methods:save()
  local store, dirty = self.db.store, self.dirty
  for i = 1, self.dirty_count do
    local c = dirty[i]
    if c.dirty then
      store:put(meta_row(c), meta_value(c))
      if c.ranks then
        zset_ranks.save(store, c)
      end
      c.dirty, c.stored_count, c.stored_more = false, c.count, c.more
    end
    dirty[i] = nil
  end
  self.dirty_count = 0
  if self.kept_count > GENERATION then
    self:grow_old()
  end
end

function methods:grow_old()
  self.older, self.kept, self.kept_count = self.kept, {}, 0
end

---All keys are gone.
function methods:drop()
  for _, c in next, self.kept do -- in any order
    if c.command ~= self.command then
      remember(self, c)
    end
    c.dirty = false
  end
  self.kept, self.kept_count, self.older, self.remembered, self.remembered_bytes = {}, 0, {}, {}, 0
end

return M
