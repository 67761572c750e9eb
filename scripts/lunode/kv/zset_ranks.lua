-- Where in a large sorted set a member stands, without walking over all that precede it.
--
-- One member in 256, chosen by its hash and so the same on every replica, is a node: its row tells its span, the number
-- of members from it up to the next node. Sets without such members, which are the small ones, pay nothing. The nodes
-- of a set are kept in memory (lunode.ranks) while its collection is. So a rank is found from their sums, and a walk
-- over less than a span, of 256 members on the average.
--
-- The rows of nodes that have come, or whose spans have changed, are written at the end of the log's entry: many
-- members come and go between two nodes. A node that goes takes its row with it at once.
--
-- A key here is what follows the prefix of a row: score and member.
local nodes = require "lunode.ranks"
local resp = require "lunode.resp"

local words = resp.words

local M = {}

local NODE_MASK = 0xFF

-- What follows a collection's prefix in the rows of nodes, and in the first one past them.
local NODE, NODES_END = "n", "o"
M.NODE = NODE

---Whether a member with this hash is a node.
---@param hash integer
---@return boolean
function M.is_node(hash)
  return hash & NODE_MASK == 0
end

local function load(db, c)
  local from = c.prefix .. NODE
  local ranks = nodes.new()
  ranks:load(db.store:collect(from, c.prefix .. NODES_END, "both", nil, #from))
  c.ranks = ranks
  return ranks
end

-- ---- changes

-- Its row, and all others of the change, are in the store, and it is counted.
local function insert_node(db, c, z, ranks, key)
  local command = db.collections.command
  local previous, _, span = ranks:at(key)
  local before = db.store:count(z.scores .. (previous or z.first or ""), z.scores .. key)
  if previous then
    ranks:add(command, previous, before - span)
    ranks:insert(command, key, span + 1 - before)
  else
    ranks:insert(command, key, c.count - ranks:sum() - before)
  end
  c.more = c.more + 1
end

local function remove_node(db, c, ranks, key)
  local command = db.collections.command
  local span = ranks:remove(command, key)
  db.store:delete(c.prefix .. NODE .. key)
  ranks:add(command, key, span - 1)
  c.more = c.more - 1
end

---A member has come, gone or moved: its rows are as they are to be, and it is counted.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param z lunode.kv.zset
---@param member any    a string or a view
---@param hash integer  of the member
---@param old string?   its score's bytes
---@param new string?
function M.change(db, c, z, member, hash, old, new)
  if c.more == 0 and hash & NODE_MASK ~= 0 then
    return
  end
  local ranks, collections = c.ranks or load(db, c), db.collections
  if not c.dirty and c.stored then
    collections:make_dirty(c)
  end
  if hash & NODE_MASK ~= 0 then
    ranks:move(collections.command, member, old, new)
    return
  end
  member = words(member)
  if old then
    remove_node(db, c, ranks, old .. member)
  end
  if new then
    insert_node(db, c, z, ranks, new .. member)
  end
end

---A member was popped: as `change`, with its key.
---@param db lunode.kv.db
---@param c lunode.kv.collection  with nodes
---@param key string
---@param hash integer
function M.pop(db, c, key, hash)
  local ranks, collections = c.ranks or load(db, c), db.collections
  if not c.dirty then
    collections:make_dirty(c)
  end
  if hash & NODE_MASK ~= 0 then
    ranks:add(collections.command, key, -1)
  else
    remove_node(db, c, ranks, key)
  end
end

---Members from the key `low` to the key `high` have gone, all that there were: `count` of them, which are not counted
---any more.
---@param db lunode.kv.db
---@param c lunode.kv.collection  with nodes
---@param low string
---@param high string
---@param count integer
function M.cut(db, c, low, high, count)
  local ranks, collections = c.ranks or load(db, c), db.collections
  if not c.dirty then
    collections:make_dirty(c)
  end
  M.write(db.store, c)
  local prefix = c.prefix .. NODE
  local gone = db.store:collect(prefix .. low, prefix .. high .. "\0", "keys", nil, #prefix)
  for i = 1, #gone do
    remove_node(db, c, ranks, gone[i])
  end
  ranks:add(collections.command, low, #gone - count)
end

-- ---- for the collection

---Writes the rows of the nodes that have changed, at the end of the log's entry.
---@param store lunode.store_handle
---@param c lunode.kv.collection
function M.save(store, c)
  M.write(store, c)
  c.ranks:saved()
end

---The same for who reads the rows before: they count as not written yet, as a rollback would take them back.
---@param store lunode.store_handle
---@param c lunode.kv.collection
function M.write(store, c)
  local rows = c.ranks:unsaved(c.prefix .. NODE)
  for i = 1, #rows, 2 do
    store:put(rows[i], rows[i + 1])
  end
end

-- ---- questions

---How many members come before `key`.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param z lunode.kv.zset
---@param key string
---@return integer
function M.rank(db, c, z, key)
  local ranks = c.more > 0 and (c.ranks or load(db, c))
  local node, before
  if ranks then
    node, before = ranks:at(key)
  end
  if not node then
    return db.store:count(z.scores .. (z.first or ""), z.scores .. key)
  end
  return c.count - ranks:sum() + before + db.store:count(z.scores .. node, z.scores .. key)
end

---A node from which the member with this rank is not far.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param z lunode.kv.zset
---@param rank integer
---@return string key, integer offset  the member is so many members behind the first one at or behind `key`
function M.seek(db, c, z, rank)
  local ranks = c.more > 0 and (c.ranks or load(db, c))
  local rest = ranks and rank - (c.count - ranks:sum()) or -1
  if rest < 0 then
    return z.first or "", rank
  end
  local node, before = ranks:with(rest)
  if not node then
    error("the ranks of a sorted set do not add up")
  end
  return node, rest - before
end

return M
