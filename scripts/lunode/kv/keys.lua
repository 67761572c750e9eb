-- How keys lie in the store: the grammar of its rows, written and read. No access to the store itself.
--
-- A user's keys. Slots are below 16384, so these rows come first in the store, below 0x40:
--
--   row    = slot:u16be kind:u8 hash:u32be key     made by slot.row; hash = XXH32(key, 0)
--   kind   = 'm'                                   the key's meta row; a string lies in it as a whole
--   value  = head [expiry] payload                 of a meta row
--   head   = u8                                    low 4 bits: type (0 string, 1 list, 2 set, 3 zset, 4 hash, 5 stream)
--                                                  0x10: expiry present; 0x20: a collection, and so its payload is:
--   expiry = u64be                                 milliseconds since the Unix epoch
--   payload = home:u16be version:u64be count:u64be more:u64be
--
-- The elements of a collection, in their slot:
--
--   element = home:u16be 'e' version:u64be …       prefix below; no key in it, as versions are unique in a node:
--                                                  a deleted collection's elements are never met again
--     hash  : prefix hash:u32be field → value      hash = XXH32(field, 0), so that HSCAN's cursor is a number, too
--     set   : prefix hash:u32be member → ""
--     list  : prefix index:u64be → value           more = the first one's index; a new list begins at 2^62
--     zset  : prefix 'm' hash:u32be member → score more = how many rows 'n' there are
--             prefix 's' score member → ""         in their order
--             prefix 'n' score member → span:u32be some members: how many there are from this one to the next row 'n'
--   score  = u64be                                 the double's bits, changed so that they are ordered as the numbers;
--                                                  no -0
--
-- A collection's home is the slot of the key that it was made under. RENAME to a key of another slot leaves the
-- elements where they are, so that it takes no time; in a cluster of slots such a RENAME is refused anyway.
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
--   0xFF "version"  → version:u64be                the last one that a collection was given; survives FLUSHALL
--   0xFF "once…", "watch/…", "member/…"            see kv.once, kv.replicated_watches, kv.cluster_members
--
-- While a copy is being made (kv.backup), its format is "unfinished".
local slot = require "lunode.slot"

local byte, char, sub, pack, unpack = string.byte, string.char, string.sub, string.pack, string.unpack
local slot_row = slot.row

local M = {}

M.FORMAT = "1"
M.FORMAT_ROW = "\xFFformat"
M.UNFINISHED = "unfinished"
M.COUNT_ROW = "\xFFcount"
M.SAVED_ROW = "\xFFsaved"
M.VERSION_ROW = "\xFFversion"

M.SLOTS = 16384
M.SLOTS_END = "\x40" -- just past the rows of the slots
M.EXPIRY_START = "\xF0"
M.SYSTEM_START = "\xFF"

M.META_KIND = "m"
M.META = byte(M.META_KIND)
M.ELEMENT = byte("e")
M.ELEMENT_PREFIX_BYTES = 11
M.STRING, M.LIST, M.SET, M.ZSET, M.HASH = 0, 1, 2, 3, 4
M.TYPE_NAMES = { [0] = "string", "list", "set", "zset", "hash", "stream" }

local TYPE, HAS_EXPIRY, IS_COLLECTION = 0x0F, 0x10, 0x20
M.HAS_EXPIRY, M.IS_COLLECTION = HAS_EXPIRY, IS_COLLECTION

M.slot = slot.of

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
  return byte(value) & HAS_EXPIRY ~= 0 and 10 or 2
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
  return char(head & ~HAS_EXPIRY) .. rest
end

-- ---- collections

---Whether a meta row is that of a collection.
---@param value string
---@return boolean
function M.is_collection(value)
  return byte(value) & IS_COLLECTION ~= 0
end

---@param type integer
---@param expiry integer?
---@param home integer     a slot
---@param version integer
---@param count integer    its elements
---@param more integer     what its type keeps besides
---@return string value
function M.collection_value(type, expiry, home, version, count, more)
  if expiry then
    return pack(">Bi8I2i8i8i8", type | IS_COLLECTION | HAS_EXPIRY, expiry, home, version, count, more)
  end
  return pack(">BI2i8i8i8", type | IS_COLLECTION, home, version, count, more)
end

---@param value string
---@return integer home, integer version, integer count, integer more
function M.collection(value)
  return unpack(">I2i8i8i8", value, byte(value) & HAS_EXPIRY ~= 0 and 10 or 2)
end

---What the rows of a collection's elements begin with.
---@param home integer
---@param version integer
---@return string
function M.element_prefix(home, version)
  return pack(">I2Bi8", home, M.ELEMENT, version)
end

---Just past the rows that begin with `prefix`, which holds a byte other than 0xFF.
---@param prefix string
---@return string
function M.past(prefix)
  local n = #prefix
  while byte(prefix, n) == 0xFF do
    n = n - 1
  end
  return sub(prefix, 1, n - 1) .. char(byte(prefix, n) + 1)
end

---The row of a hash's field or of a set's member.
---@param prefix string
---@param name string
---@return string
function M.member_row(prefix, name)
  return prefix .. sub(slot_row(M.META_KIND, name), 4)
end

---The first row that a member with this hash can have.
---@param prefix string
---@param hash integer
---@return string
function M.member_seek(prefix, hash)
  return prefix .. pack(">I4", hash)
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

---@param version integer
---@return string value
function M.version_value(version)
  return pack(">i8", version)
end

---@param value string
---@return integer version
function M.version(value)
  return (unpack(">i8", value))
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
