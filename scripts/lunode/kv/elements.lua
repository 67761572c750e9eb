-- What a key's value holds, whatever its type, as a list of strings, or as one string; and values made from these. For
-- commands that take values as wholes: SORT, DUMP, RESTORE.
local keys = require "lunode.kv.keys"
local list = require "lunode.kv.list"
local members = require "lunode.kv.members"
local zset = require "lunode.kv.zset"

local M = {}

local HASH_BYTES = 4

---The elements of a list, the members of a set, or those of a sorted set in its order.
---@param db lunode.kv.db
---@param key string
---@param type integer
---@return string[]
function M.plain(db, key, type)
  local c = db.collections:read(key, type)
  if type == keys.LIST then
    return list.range(db, c, 0, c.count - 1)
  elseif type == keys.SET then
    return members.all(db, c.prefix, "keys")
  end
  return zset.by_rank(db, c, 0, c.count - 1)
end

-- What lies in front of the rows that say all of a value, and which parts of these do.
local function rows_of(c)
  if c.type == keys.LIST then
    return c.prefix, "values", 0
  elseif c.type == keys.ZSET then
    return zset.members(c), "both", HASH_BYTES
  end
  return c.prefix, c.type == keys.SET and "keys" or "both", HASH_BYTES
end

---Everything as one string: elements; members; fields and values; members and encoded scores; each with its length in
---front, u32be.
---@param db lunode.kv.db
---@param key string
---@param type integer
---@param head string   what it begins with
---@param most integer  bytes of the rest
---@return string?  nil: they would be more
function M.pack(db, key, type, head, most)
  local prefix, what, skip = rows_of(db.collections:read(key, type))
  return db.store:pack(prefix, keys.past(prefix), what, #prefix + skip, most, head)
end

-- How many there are in a new collection; nil: that is no such value.
local function unpack_into(db, c, content, first)
  if c.type == keys.LIST then
    return db.elements:unpack(c.prefix, c.more, content, first)
  elseif c.type ~= keys.ZSET then
    return db.members:unpack(c.prefix, content, first, c.type == keys.HASH)
  end
  local scored <close> = db.store:scored()
  if not scored:unpack(content, first) then
    return nil
  end
  zset.fill(c, scored)
  return c.count
end

---Puts a value into a key, in place of what it holds.
---@param db lunode.kv.db
---@param key string
---@param type integer
---@param content string  what `pack` has made
---@param first integer   of its bytes: behind the head
---@return boolean ok  false: that is no such value: damaged, empty, with a member that is there twice, or with a score
---  that is none; what was written is to be undone
function M.unpack(db, key, type, content, first)
  local c = type == keys.LIST and list.replace(db, key) or db.collections:replace(key, type)
  local count = unpack_into(db, c, content, first)
  if count then
    c.count = count
    db.collections:changed(c)
  end
  return count ~= nil
end

---Puts a list into a key, in place of what it holds.
---@param db lunode.kv.db
---@param key string
---@param all string[]  one at least
function M.put_list(db, key, all)
  local c = list.replace(db, key)
  db.elements:add_list(c.prefix, c.more, all)
  c.count = #all
  db.collections:changed(c)
end

return M
