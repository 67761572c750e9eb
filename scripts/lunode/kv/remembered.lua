-- The members of sets as picks have met them, in memory (lunode.nearby): a pick at random would open a scan each time,
-- and where many members were taken, walk over their deleted rows. Chooses nothing: what is found here is what the
-- store has. All sets together remember a bounded number of bytes, about: past that, all is forgotten.
local keys = require "lunode.kv.keys"
local nearby = require "lunode.nearby"

local insert = table.insert

local M = {}

local MOST = 16 << 20 -- bytes, of all sets
local SET_BYTES = 1024 -- what a set costs beside its members, about
local LARGE = 1 << 17 -- a set of more members is not remembered

local function count_bytes(collections, count)
  collections.remembered_bytes = collections.remembered_bytes + count
  if collections.remembered_bytes > MOST then
    for _, c in ipairs(collections.remembered) do
      c.index = nil
    end
    collections.remembered, collections.remembered_bytes = {}, 0
  end
end

---What is remembered of a set; nil: it is too large for that.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@return lunode.nearby_members?
function M.of(db, c)
  local rest = c.index
  if rest and rest:fit(c.count) then
    return rest
  elseif c.count > LARGE then
    c.index = nil
    return nil
  end
  rest = nearby.new(c.count)
  count_bytes(db.collections, rest:bytes() + SET_BYTES)
  if not c.index then
    insert(db.collections.remembered, c)
  end
  c.index = rest
  return rest
end

---What is remembered of a set, if only until the command that asks is done.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@return lunode.nearby_members
function M.briefly(db, c)
  return M.of(db, c) or nearby.new(c.count)
end

local function read(db, c, rest, segment)
  local prefix, bytes = c.prefix, rest:bytes()
  local from, past = rest:range(segment)
  past = past and keys.member_seek(prefix, past) or keys.past(prefix)
  rest:read(segment, db.store:collect(keys.member_seek(prefix, from), past, "keys", nil, #prefix))
  if rest == c.index then
    count_bytes(db.collections, rest:bytes() - bytes)
  end
end

---The member that is so many behind the first one from `hash` on.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param rest lunode.nearby_members
---@param hash integer
---@param offset integer
---@param view? boolean  perhaps a view
---@return any member  nil: there are not so many
function M.find(db, c, rest, hash, offset, view)
  local member, segment = rest:find(hash, offset, view)
  while segment do
    read(db, c, rest, segment)
    member, segment = rest:find(hash, offset, view)
  end
  return member
end

---All of a set, in the order of the hashes.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param rest lunode.nearby_members
---@return string[] members
function M.all(db, c, rest)
  local members, segment = rest:all()
  while segment do
    read(db, c, rest, segment)
    members, segment = rest:all()
  end
  return members
end

---A member has come to a set; its row is in the store.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param member any    a string or a view
---@param hash integer
function M.added(db, c, member, hash)
  local rest = c.index
  if rest then
    local bytes = rest:bytes()
    rest:add(hash, member)
    count_bytes(db.collections, rest:bytes() - bytes)
  end
end

---A member of a set has gone.
---@param c lunode.kv.collection
---@param member any    a string or a view
---@param hash integer
function M.removed(c, member, hash)
  local rest = c.index
  if rest then
    rest:remove(hash, member)
  end
end

return M
