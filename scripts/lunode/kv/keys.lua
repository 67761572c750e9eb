-- How keys lie in the store: the grammar of its rows, written and read. No access to the store itself.
--
-- A user's keys. Slots are below 16384, so these rows come first in the store, below 0x40:
--
--   row    = slot:u16be kind:u8 hash:u32be key     made by slot.row; hash = XXH32(key, 0)
--   kind   = 'm'                                   the key's meta row; a string lies in it as a whole
--          | 'e'                                   elements of a collection (reserved): row version:u64be member
--   value  = head [expiry] [version] payload       of a meta row
--   head   = u8                                    low 4 bits: type (0 string, 1 list, 2 set, 3 zset, 4 hash, 5 stream)
--                                                  0x10: expiry present; 0x20: version present
--   expiry = u64be                                 milliseconds since the Unix epoch
--   version = u64be                                the generation of a collection's elements (reserved)
--
-- Rows of a slot are neighbours, so a slot moves with one range scan. Within a slot and a kind they are ordered by
-- (hash, key): SCAN's cursor is the (slot, hash) to go on from, and needs no memory.
--
-- The node's own rows:
--
--   0xF0 expiry row → ""                           when to delete `row` (derived from the meta rows)
--   0xFF "format"   → "1"                          the version of this grammar
--   0xFF "count"    → keys:u64be expires:u64be     for DBSIZE and INFO
--   0xFF "saved"    → milliseconds:u64be           of a copy, and what was restored from one: when it was made
--
-- While a copy is being made (kv.backup), its format is "unfinished".
local slot = require "lunode.slot"

local byte, sub, pack, unpack = string.byte, string.sub, string.pack, string.unpack
local slot_row = slot.row

local M = {}

M.FORMAT = "1"
M.FORMAT_ROW = "\xFFformat"
M.UNFINISHED = "unfinished"
M.COUNT_ROW = "\xFFcount"
M.SAVED_ROW = "\xFFsaved"

M.SLOTS = 16384
M.SLOTS_END = "\x40" -- just past the rows of the slots
M.EXPIRY_START = "\xF0"
M.SYSTEM_START = "\xFF"

M.META_KIND = "m"
M.META = byte(M.META_KIND)
M.STRING = 0
M.TYPE_NAMES = { [0] = "string", "list", "set", "zset", "hash", "stream" }

local TYPE, HAS_EXPIRY, HAS_VERSION = 0x0F, 0x10, 0x20
M.HAS_EXPIRY = HAS_EXPIRY

M.HAS_EXPIRY = HAS_EXPIRY

---@param key string
---@return string row  of the key's meta row
function M.row(key)
  return slot_row(M.META_KIND, key)
end

---@param row string
---@return string
function M.key(row)
  return sub(row, 8)
end

---Where a meta row is: two keys with the same (slot, hash) are neighbours.
---@param row string
---@return integer slot, integer hash
function M.position(row)
  local at, _, hash = unpack(">I2BI4", row)
  return at, hash
end

---The first row that a meta row at (slot, hash) can have.
---@param at integer
---@param hash integer
---@return string
function M.seek(at, hash)
  return pack(">I2BI4", at, M.META, hash)
end

---@param payload string
---@param expiry? integer  milliseconds since the epoch
---@return string value
function M.string_value(payload, expiry)
  if expiry then
    return pack(">Bi8", HAS_EXPIRY, expiry) .. payload
  end
  return "\0" .. payload
end

---@param value string
---@return integer? milliseconds  since the epoch
function M.expiry(value)
  if byte(value) & HAS_EXPIRY ~= 0 then
    return (unpack(">i8", value, 2))
  end
  return nil
end

---@param value string
---@return integer
function M.type(value)
  return byte(value) & TYPE
end

---@param value string
---@return integer position  where the payload starts
function M.payload_start(value)
  local head, position = byte(value), 2
  if head & HAS_EXPIRY ~= 0 then
    position = position + 8
  end
  if head & HAS_VERSION ~= 0 then
    position = position + 8
  end
  return position
end

---The same value with another expiry, or with none.
---@param value string
---@param expiry? integer
---@return string
function M.with_expiry(value, expiry)
  local head = byte(value)
  local rest = sub(value, head & HAS_EXPIRY ~= 0 and 10 or 2)
  if expiry then
    return pack(">Bi8", head | HAS_EXPIRY, expiry) .. rest
  end
  return string.char(head & ~HAS_EXPIRY) .. rest
end

---The row of the expiry index that says when `row` is to be deleted.
---@param expiry integer
---@param row string
---@return string
function M.expiry_row(expiry, row)
  return pack(">Bi8", 0xF0, expiry) .. row
end

---@param expiry_row string
---@return integer expiry, string row
function M.expiry_target(expiry_row)
  return (unpack(">i8", expiry_row, 2)), sub(expiry_row, 10)
end

---@param keys integer
---@param expires integer
---@return string
function M.count_value(keys, expires)
  return pack(">I8I8", keys, expires)
end

---@param value string
---@return integer keys, integer expires
function M.counts(value)
  local keys, expires = unpack(">I8I8", value)
  return keys, expires
end

---@param milliseconds integer  since the epoch
---@return string value
function M.saved_value(milliseconds)
  return pack(">i8", milliseconds)
end

---@param value string
---@return integer milliseconds  since the epoch
function M.saved(value)
  return (unpack(">i8", value))
end

return M
