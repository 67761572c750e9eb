-- Where in a large sorted set a member stands, without walking over all that precede it.
--
-- One member in 256, chosen by its hash and so the same on every replica, is a node: its row tells its span, the number
-- of members from it up to the next node. Sets without such members, which are the small ones, pay nothing. The nodes
-- of a set are kept in memory while its collection is: a list of chunks, each with the sum of its spans. So a rank is
-- found from a few sums, and a walk over less than a span, of 256 members on the average.
--
-- A key here is what follows the prefix of a row: score and member.
local M = {}

local NODE_MASK = 0xFF
local CHUNK = 256 -- nodes; a fuller chunk is halved

local pack, unpack = string.pack, string.unpack

---Whether a member with this hash is a node.
---@param hash integer
---@return boolean
function M.is_node(hash)
  return hash & NODE_MASK == 0
end

-- ---- the nodes in memory

-- {keys, spans, sum}: nodes in order.
local function new_chunk()
  return { keys = {}, spans = {}, sum = 0 }
end

local function load(db, z)
  local rows = db.store:collect(z.nodes, z.nodes_past, "both", nil, #z.nodes)
  local ranks, chunk = { chunks = {}, sum = 0 }, nil
  for i = 1, #rows, 2 do
    if not chunk or #chunk.keys == CHUNK // 2 then
      chunk = new_chunk()
      ranks.chunks[#ranks.chunks + 1] = chunk
    end
    local n, span = #chunk.keys + 1, unpack(">I4", rows[i + 1])
    chunk.keys[n], chunk.spans[n] = rows[i], span
    chunk.sum = chunk.sum + span
    ranks.sum = ranks.sum + span
  end
  z.ranks = ranks
  return ranks
end

local function ranks_of(db, z)
  return z.ranks or load(db, z)
end

-- How many of a list's keys, which are in order, are at or before `key`.
local function count_before(list, key, of)
  local low, high = 0, #list
  while low < high do
    local middle = (low + high + 1) // 2
    if (of and list[middle].keys[1] or list[middle]) <= key then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

-- The last node at or before `key`: (its chunk's number, its place there), or nothing.
local function find(ranks, key)
  local at = count_before(ranks.chunks, key, true)
  if at > 0 then
    return at, count_before(ranks.chunks[at].keys, key)
  end
end

local function add_to_span(db, z, ranks, at, place, by)
  local chunk = ranks.chunks[at]
  local span = chunk.spans[place] + by
  chunk.spans[place], chunk.sum, ranks.sum = span, chunk.sum + by, ranks.sum + by
  db.store:put(z.nodes .. chunk.keys[place], pack(">I4", span))
end

local function split(chunks, at)
  local chunk, half = chunks[at], new_chunk()
  local first, last = CHUNK // 2 + 1, #chunk.keys
  for i = first, last do
    half.keys[i - first + 1], half.spans[i - first + 1] = chunk.keys[i], chunk.spans[i]
    half.sum = half.sum + chunk.spans[i]
    chunk.keys[i], chunk.spans[i] = nil, nil
  end
  chunk.sum = chunk.sum - half.sum
  table.insert(chunks, at + 1, half)
end

-- A node behind `place` of chunk `at`; (1, 0) is before all.
local function insert_node(db, z, ranks, at, place, key, span)
  local chunks = ranks.chunks
  local chunk = chunks[at]
  if not chunk then
    chunk = new_chunk()
    chunks[at] = chunk
  end
  table.insert(chunk.keys, place + 1, key)
  table.insert(chunk.spans, place + 1, span)
  chunk.sum, ranks.sum = chunk.sum + span, ranks.sum + span
  if #chunk.keys > CHUNK then
    split(chunks, at)
  end
  db.store:put(z.nodes .. key, pack(">I4", span))
end

local function remove_node(db, z, ranks, at, place)
  local chunk = ranks.chunks[at]
  local key = table.remove(chunk.keys, place)
  local span = table.remove(chunk.spans, place)
  chunk.sum, ranks.sum = chunk.sum - span, ranks.sum - span
  if #chunk.keys == 0 then
    table.remove(ranks.chunks, at)
  end
  db.store:delete(z.nodes .. key)
  return span
end

-- ---- changes

---A member has come: its row is there, and counted.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param z table
---@param key string
---@param hash integer  of the member
function M.insert(db, c, z, key, hash)
  if c.more == 0 and not M.is_node(hash) then
    return
  end
  local ranks = ranks_of(db, z)
  local at, place = find(ranks, key)
  if not M.is_node(hash) then
    if at then
      add_to_span(db, z, ranks, at, place, 1)
    end
    return
  end
  local previous = at and ranks.chunks[at].keys[place] or ""
  local before = db.store:count(z.scores .. previous, z.scores .. key)
  if at then
    local span = ranks.chunks[at].spans[place] + 1
    add_to_span(db, z, ranks, at, place, before - ranks.chunks[at].spans[place])
    insert_node(db, z, ranks, at, place, key, span - before)
  else
    insert_node(db, z, ranks, 1, 0, key, c.count - ranks.sum - before)
  end
  c.more = c.more + 1
end

---A member has gone, and its row.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param z table
---@param key string
---@param hash integer
function M.remove(db, c, z, key, hash)
  if c.more == 0 then
    return
  end
  local ranks = ranks_of(db, z)
  local at, place = find(ranks, key)
  if not M.is_node(hash) then
    if at then
      add_to_span(db, z, ranks, at, place, -1)
    end
    return
  end
  local rest = remove_node(db, z, ranks, at, place) - 1
  c.more = c.more - 1
  at, place = find(ranks, key)
  if at and rest > 0 then
    add_to_span(db, z, ranks, at, place, rest)
  end
end

-- ---- questions

---How many members come before `key`.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param z table
---@param key string
---@return integer
function M.rank(db, c, z, key)
  local ranks = c.more > 0 and ranks_of(db, z)
  local at, place = nil, nil
  if ranks then
    at, place = find(ranks, key)
  end
  if not at then
    return db.store:count(z.scores .. (z.first or ""), z.scores .. key)
  end
  local rank = c.count - ranks.sum
  for i = 1, at - 1 do
    rank = rank + ranks.chunks[i].sum
  end
  local chunk = ranks.chunks[at]
  for i = 1, place - 1 do
    rank = rank + chunk.spans[i]
  end
  return rank + db.store:count(z.scores .. chunk.keys[place], z.scores .. key)
end

---A node from which the member with this rank is not far.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param z table
---@param rank integer
---@return string key, integer offset  the member is so many members behind the first one at or behind `key`
function M.seek(db, c, z, rank)
  local ranks = c.more > 0 and ranks_of(db, z)
  local rest = ranks and rank - (c.count - ranks.sum) or -1
  if rest < 0 then
    return z.first or "", rank
  end
  for _, chunk in ipairs(ranks.chunks) do
    if rest < chunk.sum then
      for i, span in ipairs(chunk.spans) do
        if rest < span then
          return chunk.keys[i], rest
        end
        rest = rest - span
      end
    end
    rest = rest - chunk.sum
  end
  error("the ranks of a sorted set do not add up")
end

return M
