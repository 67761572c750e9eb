-- The members of a set as picks have met them, in memory: a pick at random would open a scan each time, and where many
-- members were taken, walk over their deleted rows. Chooses nothing: what is found here is what the store has.
--
-- The space of hashes is cut into segments of some members each. A segment is read when a pick falls into it, and then
-- follows what comes and goes. As members grow few, segments are joined. All sets together remember a bounded number of
-- members, about: past that, all is forgotten.
local keys = require "lunode.kv.keys"
local resp = require "lunode.resp"

local pack, insert, remove, move = string.pack, table.insert, table.remove, table.move

local M = {}

local HASH_BITS, HASH_BYTES = 32, 4
local SEGMENT = 32 -- members, at most on the average, as segments are cut
local JOINED = 8 -- segments, once their members are so many times fewer
local GROWN = 4 -- times as many members: then all segments are cut anew
local MOST = 1 << 18 -- members remembered, of all sets
local LARGE = MOST // 2 -- a set of more is not remembered

---@class lunode.kv.remembered
---@field segments table<integer, string[]>  hashes and members of those that were read, by their numbers from 0
---@field shift integer   of a hash, that leaves a segment's number
---@field last integer    the last segment's number
---@field count integer   of the set's members, as the segments were cut

local function cut(count)
  local bits = 0
  while count >> bits > SEGMENT do
    bits = bits + 1
  end
  return { segments = {}, shift = HASH_BITS - bits, last = (1 << bits) - 1, count = count }
end

-- So many more are remembered.
local function count_rows(collections, count)
  collections.remembered_rows = collections.remembered_rows + count
  if collections.remembered_rows > MOST then
    for _, c in ipairs(collections.remembered) do
      c.index = nil
    end
    collections.remembered, collections.remembered_rows = {}, 0
  end
end

-- Each JOINED segments become one, where all of them were read.
local function join(rest, count)
  local segments, joined = rest.segments, {}
  for first = 0, rest.last, JOINED do
    local rows = {}
    for i = first, first + JOINED - 1 do
      local segment = segments[i]
      if not segment then
        rows = nil
        break
      end
      move(segment, 1, #segment, #rows + 1, rows)
    end
    joined[first // JOINED] = rows
  end
  rest.segments, rest.shift, rest.last, rest.count = joined, rest.shift + 3, rest.last // JOINED, count
end

---What is remembered of a set; nil: it is too large for that.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@return lunode.kv.remembered?
function M.of(db, c)
  local rest, count = c.index, c.count
  if rest and count <= rest.count * GROWN then
    if count * JOINED < rest.count and rest.last >= JOINED then
      join(rest, count)
    end
    return rest
  elseif count > LARGE then
    c.index = nil
    return nil
  end
  local collections = db.collections
  if not rest then
    count_rows(collections, SEGMENT)
    insert(collections.remembered, c)
  end
  rest = cut(count)
  c.index = rest
  return rest
end

local function read(db, c, rest, number)
  local prefix = c.prefix
  local from = keys.member_seek(prefix, number << rest.shift)
  local past = number < rest.last and keys.member_seek(prefix, number + 1 << rest.shift) or keys.past(prefix)
  local rows = db.store:collect(from, past, "keys", nil, #prefix)
  rest.segments[number] = rows
  count_rows(db.collections, #rows)
  return rows
end

-- The first row that is not before `key`.
local function seek(rows, key)
  local low, high = 1, #rows + 1
  while low < high do
    local middle = (low + high) // 2
    if rows[middle] < key then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

---The row that is so many behind the first one from `hash` on.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param rest lunode.kv.remembered
---@param hash integer
---@param offset integer
---@return string[]? rows, integer at  of a segment; nil: there are not so many
function M.find(db, c, rest, hash, offset)
  local segments, number = rest.segments, hash >> rest.shift
  local rows = segments[number] or read(db, c, rest, number)
  local at = seek(rows, pack(">I4", hash)) + offset
  while at > #rows do
    if number == rest.last then
      return nil, 0
    end
    at, number = at - #rows, number + 1
    rows = segments[number] or read(db, c, rest, number)
  end
  return rows, at
end

---All of a set, in the order of the hashes.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param rest lunode.kv.remembered
---@return string[] members
function M.all(db, c, rest)
  local list, n = {}, 0
  for number = 0, rest.last do
    local rows = rest.segments[number] or read(db, c, rest, number)
    for i = 1, #rows do
      n = n + 1
      list[n] = rows[i]:sub(HASH_BYTES + 1)
    end
  end
  return list
end

---@param rows string[]
---@param at integer
---@return string
function M.member(rows, at)
  return rows[at]:sub(HASH_BYTES + 1)
end

---A member that `find` has found is taken.
---@param rows string[]
---@param at integer
function M.take(rows, at)
  remove(rows, at)
end

-- (the segment that it belongs to, its place there, its row); nothing where the segment was not read.
local function place_of(c, member, hash)
  local rest = c.index
  local rows = rest and rest.segments[hash >> rest.shift]
  if rows then
    local row = pack(">I4", hash) .. resp.words(member)
    return rows, seek(rows, row), row
  end
end

---A member has come to a set; its row is in the store.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param member any    a string or a view
---@param hash integer
function M.added(db, c, member, hash)
  local rows, at, row = place_of(c, member, hash)
  if rows then
    insert(rows, at, row)
    count_rows(db.collections, 1)
  end
end

---A member of a set has gone.
---@param c lunode.kv.collection
---@param member any    a string or a view
---@param hash integer
function M.removed(c, member, hash)
  local rows, at = place_of(c, member, hash)
  if rows then
    remove(rows, at)
  end
end

return M
