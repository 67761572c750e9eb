-- The keys of one node over the ordered store: lookups that honour expiry, writes that keep the expiry index and the
-- key count right, expiry in the background, flush. It knows no commands, no connections and no log.
--
-- Only commands that write change anything, as only they are in the log. What has expired is not there for a command
-- that reads; it tells `on_expired`, which may have it deleted by one that writes.
--
-- Two levels. By key, for most commands: get, set, delete, exists. By row, for those that look and then write:
-- `find` gives a key's row and its present value, `put` and `remove` take them back; so nothing is looked up twice.
local collection = require "lunode.kv.collection"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local resp = require "lunode.resp"

local byte, sub = string.byte, string.sub
local words = resp.words
local make_row, string_value, expiry_of = keys.row, keys.string_value, keys.expiry
local expiry_row = keys.expiry_row
local IS_COLLECTION = keys.IS_COLLECTION
local NOT_PLAIN = keys.HAS_EXPIRY | IS_COLLECTION
local PLAIN = keys.STRING -- a string without expiry has nothing but its type in its head

local M = {}

---@class lunode.kv.db
---@field store lunode.store_handle
---@field now integer      milliseconds since the epoch, set by the node once per iteration
---@field keys integer     how many there are, expired ones that nobody met yet included
---@field expires integer  how many of them have an expiry
---@field hits integer     lookups of reading commands that found a key
---@field misses integer
---@field expired integer  keys deleted because their time had come
---@field changes integer  writes since the start
---@field collections lunode.kv.collections  the keys that are not strings
---@field members lunode.members  their elements by name
---@field elements lunode.elements  … and by number
---@field writing boolean  a command that writes is running
---@field on_expired fun(row: string)  a command that reads has met a key whose time has come
---@field on_deleted fun(row: string)  a key was deleted because its time had come
---@field on_new fun(key: string)?     a key was created
---@field on_miss fun(key: string)?    a command that reads has not found a key
local methods = {}
local db_mt = { __name = "lunode.kv.db", __index = methods }

local function check(err)
  if err then
    error("the store failed: " .. err, 0)
  end
end

-- Whether the keys of a store are of this grammar. A store that holds none gets its mark; `commit`: at once, on disk.
local function check_format(store, commit)
  local format, err, code = store:get(keys.FORMAT_ROW)
  if err then
    return nil, err, code
  elseif format == nil then
    store:put(keys.FORMAT_ROW, keys.FORMAT)
    return not commit or store:commit(true)
  elseif format == keys.UNFINISHED then
    return nil, "it is a copy that was never finished; make it again, or give another --data", "ECORRUPT"
  elseif format ~= keys.FORMAT then
    return nil, ("its keys have format %s, this lunode reads format %s"):format(format, keys.FORMAT), "EVERSION"
  end
  return true
end

-- All that belongs to a store. What most commands call lies in the object itself, so that no metatable is asked each
-- time: db.add_element(db.elements, …) is db.elements:add(…).
local function bind(self, store)
  self.store = store
  self.rows = store:rows(keys.META_KIND) -- the same by key, for values that are strings without expiry
  self.members = store:members()
  self.elements = store:elements()
  for _, name in ipairs { "get", "set", "add", "begin", "finish" } do
    self[name] = methods[name]
  end
  self.begin_rows, self.get_row, self.put_row, self.add_row = store.begin, self.rows.get, self.rows.put, self.rows.add
  self.get_member, self.put_member, self.add_member = self.members.get, self.members.put, self.members.add
  self.add_element, self.take_element = self.elements.add, self.elements.take
end

---@param store lunode.store_handle
---@param replicated? boolean  somebody else says when what is written reaches the disk
---@return lunode.kv.db? db
---@return string? err, lunode.code? code
function M.open(store, replicated)
  local ok, err, code = check_format(store, not replicated)
  if not ok then
    return nil, err, code
  end
  local self = setmetatable({
    store = nil,
    rows = nil,
    members = nil,
    elements = nil,
    collections = nil,
    now = 0,
    keys = 0,
    expires = 0,
    hits = 0,
    misses = 0,
    expired = 0,
    changes = 0,
    writing = false,
    on_expired = function() end,
    on_deleted = function() end,
    on_new = nil,
    replaced = nil, -- a key that is not new when it is stored next
    on_miss = nil,
    changed = false, -- it has changed something
    saved = false, -- the counts are not those of `begin` any more; these are, for `rollback`:
    saved_keys = 0,
    saved_expires = 0,
    saved_version = 0,
    version = 0, -- the last one that a collection was given
    stored_version = 0,
    stored_keys = -1, -- the counts as the store has them
    stored_expires = -1,
    expiry_cursor = keys.EXPIRY_START, -- no row of the expiry index lies before it: spares walking over tombstones
  }, db_mt)
  bind(self, store)
  ok, err, code = self:read_counts()
  if not ok then
    return nil, err, code
  end
  return self
end

---@private
---@return boolean? ok
---@return string? err, lunode.code? code
function methods:read_counts()
  local counts, err, code = self.store:get(keys.COUNT_ROW)
  if err then
    return nil, err, code
  elseif counts then
    self.keys, self.expires = keys.counts(counts)
    self.stored_keys, self.stored_expires = self.keys, self.expires
  end
  local version
  version, err, code = self.store:get(keys.VERSION_ROW)
  if err then
    return nil, err, code
  elseif version then
    self.version = keys.version(version)
    self.stored_version = self.version
  end
  self.collections = collection.new(self)
  return true
end

---The keys are in another store from now on: a snapshot took the place of the state.
---@param store lunode.store_handle
---@return boolean? ok
---@return string? err, lunode.code? code
function methods:attach(store)
  local ok, err, code = check_format(store, false)
  if not ok then
    return nil, err, code
  end
  bind(self, store)
  self.keys, self.expires, self.stored_keys, self.stored_expires = 0, 0, -1, -1
  self.version, self.stored_version = 0, 0
  self.expiry_cursor = keys.EXPIRY_START
  return self:read_counts()
end

-- ---- by row

-- Before a command changes one of the counts.
local function keep_counts(self)
  if not self.saved then
    self.saved = true
    self.saved_keys, self.saved_expires, self.saved_version = self.keys, self.expires, self.version
  end
end

-- There is one key more.
local function count_key(self, key)
  keep_counts(self)
  self.keys = self.keys + 1
  if self.on_new then
    key = words(key)
    if key ~= self.replaced then
      self.on_new(key)
    end
    self.replaced = nil
  end
end

-- The key's row, and its value unless it is missing or expired.
---@param key string
---@return string row, string? value
function methods:find(key)
  local row = make_row(key)
  local value, err = self.store:get(row)
  if value == nil then
    check(err)
  elseif byte(value) >= 0x10 then
    local expiry = expiry_of(value)
    if expiry and expiry < self.now then
      self:meet_expired(row, value)
      return row, nil
    elseif byte(value) & IS_COLLECTION ~= 0 then
      value = self.collections:current(key, value)
    end
  end
  return row, value
end

---Writes a key's row, or deletes it, with what is derived from it; of a collection the meta row alone.
---@param row string
---@param old string?
---@param value string?
function methods:write_row(row, old, value)
  local store = self.store
  self.changed = true
  local before, after = old and expiry_of(old), value and expiry_of(value)
  if before ~= after then
    keep_counts(self)
    if before then
      store:delete(expiry_row(before, row))
      self.expires = self.expires - 1
    end
    if after then
      local index = expiry_row(after, row)
      store:put(index, "")
      self.expires = self.expires + 1
      if index < self.expiry_cursor then
        self.expiry_cursor = index
      end
    end
  end
  if value then
    store:put(row, value)
    if not old then
      count_key(self, keys.key(row))
    end
  elseif old then
    store:delete(row)
    keep_counts(self)
    self.keys = self.keys - 1
  end
end

local function write(self, row, old, value)
  if old and byte(old) & IS_COLLECTION ~= 0 then
    self.collections:overwrite(row, old, value)
  end
  self:write_row(row, old, value)
end

local function require_writing(self)
  if not self.writing then
    error('a command that writes needs the flag "write"', 3)
  end
  self.changes = self.changes + 1
end

---A command has changed a collection's elements.
function methods:count_change()
  require_writing(self)
  self.changed = true
end

---A number that no other collection of this node has had.
---@return integer
function methods:next_version()
  require_writing(self)
  keep_counts(self)
  self.version = self.version + 1
  return self.version
end

---Writes a key's row. `old` is the value that `find` gave.
---@param row string
---@param old string?
---@param value string
function methods:put(row, old, value)
  require_writing(self)
  write(self, row, old, value)
end

---Deletes a key's row.
---@param row string
---@param old string
function methods:remove(row, old)
  require_writing(self)
  write(self, row, old, nil)
end

---Gives a value another key: its elements stay where they are. The other key is at `target`, which holds `old`.
---@param row string
---@param value string
---@param target string
---@param old string?
function methods:move(row, value, target, old)
  require_writing(self)
  self.collections:forget(row)
  self:write_row(row, value, nil)
  write(self, target, old, value)
end

-- Deletes a key whose time has come.
local function expire(self, row, old)
  write(self, row, old, nil)
  self.expired = self.expired + 1
  self.on_deleted(row)
end

---Whether a key is there only because nobody has deleted it yet.
---@param key string
---@return boolean
function methods:has_expired(key)
  local value, err = self.store:get(make_row(key))
  check(err)
  local expiry = value and expiry_of(value)
  return expiry ~= nil and expiry < self.now
end

function methods:meet_expired(row, value)
  if self.writing then
    expire(self, row, value)
  else
    self.on_expired(row)
  end
end

---Deletes a key, if its time has come.
---@param row string
function methods:expire_row(row)
  require_writing(self)
  local value, err = self.store:get(row)
  check(err)
  local expiry = value and expiry_of(value)
  if expiry and expiry < self.now then
    expire(self, row, value)
  end
end

---The payload of a string's row value; "" where there is none. Raises WRONGTYPE.
---@param value string?
---@return string
function methods:text(value)
  if value == nil then
    return ""
  end
  local head = byte(value)
  if head == keys.STRING then
    return sub(value, 2)
  elseif head & 0x0F ~= keys.STRING then
    error(errors.WRONGTYPE, 0)
  end
  return sub(value, keys.payload_start(value))
end

-- ---- by key

-- Whether a key's time has come.
local function is_gone(self, key, value)
  local expiry = expiry_of(value)
  if expiry and expiry < self.now then
    self:meet_expired(make_row(words(key)), value)
    return true
  end
  return false
end

---The string at `key`; nil where there is none. Raises WRONGTYPE. Of a view, perhaps a view.
---@param key any  a string or a view
---@return string?
function methods:get(key)
  local text, value = self.get_row(self.rows, key, PLAIN)
  if text then
    self.hits = self.hits + 1
    return text
  elseif value and not is_gone(self, key, value) then
    self.hits = self.hits + 1
    return self:text(value)
  end
  self:miss(key)
  return nil
end

---Counts a lookup that found nothing.
---@param key string
function methods:miss(key)
  self.misses = self.misses + 1
  if self.on_miss and not self.writing then
    self.on_miss((words(key)))
  end
end

---Sets a string, whatever the key held before, and its expiry (none: it stays for good).
---@param key any   a string or a view
---@param text any  a string or a view
---@param expiry? integer  milliseconds since the epoch
function methods:set(key, text, expiry)
  if not expiry and self.writing then -- over nothing, or over a string without expiry: one call does it
    local head = self.put_row(self.rows, key, PLAIN, text, NOT_PLAIN)
    if head == nil then
      count_key(self, key)
      head = 0
    end
    if head & NOT_PLAIN == 0 then
      self.changed, self.changes = true, self.changes + 1
      return
    end
  end
  key, text = words(key, text)
  local row, old = self:find(key)
  self:put(row, old, string_value(text, expiry))
end

---As `set` without expiry for each pair of a list, {key, text, key, text, …}, or of a view of one.
---@param list any
function methods:set_list(list)
  local at, count = 1, resp.count(list)
  while at < count do
    if self.writing and not self.on_new then -- up to a key that is more than a plain string
      local next_at, created = self.rows:put_list(list, at, PLAIN, NOT_PLAIN)
      if next_at > at then
        keep_counts(self)
        self.keys, self.changes = self.keys + created, self.changes + (next_at - at) // 2
        self.changed = true
      end
      at = next_at
    end
    if at < count then
      list = type(list) == "table" and list or { words(list) }
      self:set(list[at], list[at + 1])
      at = at + 2
    end
  end
end

---Adds to the integer that the string at `key` spells, where it has no expiry, or there is none.
---@param key any  a string or a view
---@param by integer
---@return integer? sum  nil where it is anything else, or past 64 bits: nothing has changed
function methods:add(key, by)
  if not self.writing then
    return nil
  end
  local sum, created = self.add_row(self.rows, key, PLAIN, by)
  if sum then
    self.changed, self.changes = true, self.changes + 1
    if created then
      count_key(self, key)
    end
  end
  return sum
end

---Writes a row of the node's own, beside the keys; nil deletes it.
---@param row string  from 0xFF on
---@param value string?
function methods:put_own(row, value)
  require_writing(self)
  self.changed = true
  if value then
    self.store:put(row, value)
  else
    self.store:delete(row)
  end
end

---Deletes a key, whatever it holds.
---@param key string
---@return boolean existed
function methods:delete(key)
  local row, old = self:find(key)
  if old == nil then
    return false
  end
  self:remove(row, old)
  return true
end

---Deletes a key in whose place a value is stored at once: that is told as no new key. REQUIRES: it is.
---@param key string
---@return boolean existed
function methods:make_way(key)
  local existed = self:delete(key)
  self.replaced = existed and key or nil
  return existed
end

---Whether there is such a key, whatever it holds.
---@param key string
---@return boolean
function methods:exists(key)
  local _, value = self:find(key)
  if value == nil then
    self:miss(key)
    return false
  end
  self.hits = self.hits + 1
  return true
end

-- ---- walking

---Visits the keys from (slot, hash) on, in order, until `visit(row, value)` returns true.
---@param slot integer
---@param hash integer
---@param visit fun(row: string, value: string): boolean?
function methods:walk(slot, hash, visit)
  local from = keys.seek(slot, hash)
  while from do
    local jump
    for row, value in self.store:scan(from, keys.SLOTS_END) do
      local kind = byte(row, 3)
      if kind ~= keys.META then -- over the elements, to the next meta rows
        local at = keys.position(row)
        jump = keys.seek(kind < keys.META and at or at + 1, 0)
        break
      end
      local expiry = expiry_of(value)
      if expiry and expiry < self.now then
        self:meet_expired(row, value)
      elseif visit(row, value) then
        return
      end
    end
    from = jump
  end
end

-- ---- expiry in the background

---Whether there are keys whose time has come.
---@param now integer  milliseconds since the epoch
---@return boolean
function methods:is_due(now)
  if self.expires == 0 then
    return false
  end
  return self.store:scan(self.expiry_cursor, expiry_row(now, ""))() ~= nil
end

---Deletes keys whose time has come, at most `limit`, so that a million of them never stall the loop.
---@param limit integer
function methods:expire_due(limit)
  require_writing(self)
  local store, count = self.store, 0
  for index in store:scan(self.expiry_cursor, expiry_row(self.now, "")) do
    if count == limit then
      self.expiry_cursor = index
      return
    end
    count = count + 1
    local expiry, row = keys.expiry_target(index)
    local value, err = store:get(row)
    check(err)
    if value and expiry_of(value) == expiry then
      expire(self, row, value)
    else
      store:delete(index)
      self.changed = true
    end
  end
  self.expiry_cursor = expiry_row(self.now, "")
end

-- ---- flush

---Deletes all keys, at once: the store keeps one mark for all their rows.
function methods:flush()
  require_writing(self)
  self.changed = true
  self.store:delete_range("", keys.SYSTEM_START)
  self.collections:drop()
  keep_counts(self)
  self.keys, self.expires = 0, 0
  self.expiry_cursor = keys.EXPIRY_START
end

-- ---- what a command does, as a whole

---A command with the flag "write" begins.
function methods:begin()
  self.begin_rows(self.store)
  local collections = self.collections
  collections.command, collections.opened_count = collections.command + 1, 0
  self.writing, self.changed, self.saved = true, false, false
end

---It is done.
---@return boolean changed  it has changed something
function methods:finish()
  self.writing = false
  if self.changed then
    return true
  elseif self.saved then
    self.version = self.saved_version -- this command is in no log
  end
  return false
end

---It failed: undoes what it wrote.
function methods:rollback()
  self.store:rollback()
  if self.saved then
    self.keys, self.expires, self.version = self.saved_keys, self.saved_expires, self.saved_version
    self.saved = false
  end
  self.collections:rollback()
  self.expiry_cursor = keys.EXPIRY_START -- rows that have been deleted are there again
  self.writing = false
end

---The counts into the store: at the end of each entry of the log.
function methods:save_counts()
  self.collections:save()
  if self.version ~= self.stored_version then
    self.store:put(keys.VERSION_ROW, keys.version_value(self.version))
    self.stored_version = self.version
  end
  if self.keys ~= self.stored_keys or self.expires ~= self.stored_expires then
    self.store:put(keys.COUNT_ROW, keys.count_value(self.keys, self.expires))
    self.stored_keys, self.stored_expires = self.keys, self.expires
  end
end

return M
