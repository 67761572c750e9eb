-- What a key's value holds, whatever its type, as one list of strings; and a value made from such a list. For commands
-- that take values as wholes: SORT, DUMP, RESTORE.
local keys = require "lunode.kv.keys"
local list = require "lunode.kv.list"
local members = require "lunode.kv.members"
local score = require "lunode.score"
local zset = require "lunode.kv.zset"

local M = {}

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

---Everything: elements; members; fields and values; members and encoded scores.
---@param db lunode.kv.db
---@param key string
---@param type integer
---@return string[]
function M.all(db, key, type)
  if type == keys.HASH then
    return members.all(db, db.collections:read(key, type).prefix, "both")
  elseif type ~= keys.ZSET then
    return M.plain(db, key, type)
  end
  local c = db.collections:read(key, type)
  local all = zset.by_rank(db, c, 0, c.count - 1, false, true)
  for i = 2, #all, 2 do
    all[i] = score.encode(all[i])
  end
  return all
end

local add = {}

add[keys.LIST] = function(db, c, element)
  list.push_right(db, c, element)
  return true
end

add[keys.SET] = function(db, c, member)
  local added = db.members:add(c.prefix, member, "")
  c.count = added and c.count + 1 or c.count
  return added
end

add[keys.HASH] = function(db, c, field, value)
  local added = db.members:add(c.prefix, field, value)
  c.count = added and c.count + 1 or c.count
  return added
end

add[keys.ZSET] = function(db, c, member, bytes)
  local number = #bytes == 8 and score.decode(bytes)
  if not number or number ~= number then -- the second one is NaN
    return false
  end
  return (zset.put(db, c, member, score.encode(number)))
end

---Puts a value into a key, in place of what it holds. REQUIRES: there is one element at least.
---@param db lunode.kv.db
---@param key string
---@param type integer
---@param all string[]  as `all` gives it
---@return boolean ok  false: that is no such value, as a member is there twice, or a score is none; what was written is
---  to be undone
function M.replace(db, key, type, all)
  local c = type == keys.LIST and list.replace(db, key) or db.collections:replace(key, type)
  local width = (type == keys.HASH or type == keys.ZSET) and 2 or 1
  for i = 1, #all, width do
    if not add[type](db, c, all[i], all[i + width - 1]) then
      return false
    end
  end
  db.collections:changed(c)
  return true
end

return M
