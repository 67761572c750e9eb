-- The elements of a list, over its collection: at either end, by index, in a range. No commands.
--
-- Elements have rows with indices that count up from `c.more`, the first one's. What goes at an end costs one row; what
-- goes in between moves the elements of the shorter side. After changes the caller says `db.collections:changed(c)`.
local keys = require "lunode.kv.keys"

local M = {}

local LIST = keys.LIST

local FIRST_INDEX = 1 << 62 -- of a new list: 2^62 elements fit in on either side

M.FIRST_INDEX = FIRST_INDEX

local FEW_ROWS = 1000 -- are read and deleted one by one; more of them, as a range

local MISSING = "the store lacks an element of a list"

-- Positions are those in the list, from 0.
local function row(c, position)
  return c.prefix .. string.pack(">i8", c.more + position)
end

---The list at `key`, also an empty one that comes to be once something is in it. Raises WRONGTYPE.
---@param db lunode.kv.db
---@param key string
---@return lunode.kv.collection
function M.create(db, key)
  return db.collections:create(key, LIST, FIRST_INDEX)
end

---An empty list in place of whatever the key holds.
---@param db lunode.kv.db
---@param key string
---@return lunode.kv.collection
function M.replace(db, key)
  return db.collections:replace(key, LIST, FIRST_INDEX)
end

---The element there. REQUIRES: there is one.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param position integer
---@return string
function M.get(db, c, position)
  return db.elements:get(c.prefix, c.more + position) or error(MISSING, 0)
end

---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param position integer
---@param value string
function M.set(db, c, position, value)
  db.elements:put(c.prefix, c.more + position, value)
end

---The elements of a range, both ends included.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param first integer
---@param last integer
---@param reverse? boolean  from the last one to the first
---@return string[]
function M.range(db, c, first, last, reverse)
  local count = last - first + 1
  local list
  if count > FEW_ROWS then
    list = db.store:collect(row(c, first), row(c, last + 1), "values", count, 0, reverse)
  else
    list = db.elements:range(c.prefix, c.more + (reverse and last or first), count, reverse)
  end
  return #list == count and list or error(MISSING, 0)
end

---The same as a reply: for LRANGE.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param first integer
---@param last integer
---@return any
function M.reply(db, c, first, last)
  return db.elements:reply(c.prefix, c.more + first, last - first + 1) or error(MISSING, 0)
end

---Where a value is, from the first element on or from the last one.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param value string
---@param limit integer     so many positions at most; 0: all
---@param reverse? boolean
---@param most? integer     so many elements are looked at (default: all)
---@return integer[] positions  in the order in which they were met
function M.find(db, c, value, limit, reverse, most)
  local first, count = c.more, c.count
  local from = reverse and first + count - 1 or first
  local found = db.elements:find(c.prefix, from, math.min(most or count, count), value, limit, reverse)
    or error(MISSING, 0)
  for i = 1, #found do
    found[i] = found[i] - first
  end
  return found
end

-- ---- at the ends

---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param value any  a string or a view
function M.push_left(db, c, value)
  local index = c.more - 1
  db.add_element(db.elements, c.prefix, index, value)
  c.more, c.count = index, c.count + 1
end

---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param value any  a string or a view
function M.push_right(db, c, value)
  local count = c.count
  db.add_element(db.elements, c.prefix, c.more + count, value)
  c.count = count + 1
end

-- Deletes the rows of a range.
local function delete(db, c, first, last)
  local store = db.store
  if last - first >= FEW_ROWS then
    store:delete_range(row(c, first), row(c, last + 1))
    return
  end
  for position = first, last do
    store:delete(row(c, position))
  end
end

---Deletes elements at both ends.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param left integer   how many
---@param right integer
function M.trim(db, c, left, right)
  delete(db, c, 0, left - 1)
  delete(db, c, c.count - right, c.count - 1)
  c.more, c.count = c.more + left, c.count - left - right
end

---Takes the first element. REQUIRES: there is one.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param view? boolean  it is for a reply alone: it may be a view (see resp.names)
---@return any
function M.pop_left(db, c, view)
  local index = c.more
  local value = db.take_element(db.elements, c.prefix, index, view) or error(MISSING, 0)
  c.more, c.count = index + 1, c.count - 1
  return value
end

---Takes the last element. REQUIRES: there is one.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param view? boolean
---@return any
function M.pop_right(db, c, view)
  local last = c.count - 1
  local value = db.take_element(db.elements, c.prefix, c.more + last, view) or error(MISSING, 0)
  c.count = last
  return value
end

-- Many of them as a reply, in reverse perhaps.
local function reply_of(db, c, first, last, reverse)
  if reverse then
    return db.store:reply(row(c, first), row(c, last + 1), "values", "array", nil, 0, true)
  end
  return M.reply(db, c, first, last)
end

---Takes several elements off an end, at most all.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param from_left boolean
---@param count integer
---@param replied? boolean  they are for a reply alone
---@return any  in the order in which they are taken; if they are for a reply, and many, as a view
function M.pop(db, c, from_left, count, replied)
  count = math.min(count, c.count)
  local first = from_left and 0 or c.count - count
  local list
  if replied and count > FEW_ROWS then
    list = reply_of(db, c, first, first + count - 1, not from_left)
  else
    list = M.range(db, c, first, first + count - 1, not from_left)
  end
  M.trim(db, c, from_left and count or 0, from_left and 0 or count)
  return list
end

-- ---- in between

-- The elements from `first` to `last` move; what was where they come to is gone.
local function move(db, c, first, last, by)
  if first <= last and not db.elements:move(c.prefix, c.more + first, last - first + 1, by) then
    error(MISSING, 0)
  end
end

---Inserts an element in front of the one at `position`; behind all where that is the count.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param position integer
---@param value string
function M.insert(db, c, position, value)
  if position < c.count // 2 then
    move(db, c, 0, position - 1, -1)
    c.more = c.more - 1
  else
    move(db, c, position, c.count - 1, 1)
  end
  c.count = c.count + 1
  M.set(db, c, position, value)
end

-- How many of the gaps at `positions` are best closed from the left, the others from the right: so that as few elements
-- as possible move.
local function split(positions, count)
  local gaps, best, least = #positions, 0, math.huge
  for left = 0, gaps do
    local moves = left > 0 and positions[left] + 1 - left or 0
    if left < gaps then
      moves = moves + count - positions[left + 1] - (gaps - left)
    end
    if moves < least then
      best, least = left, moves
    end
  end
  return best
end

---Deletes the elements at some positions.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param positions integer[]  in order
function M.remove(db, c, positions)
  local left = split(positions, c.count)
  for gap = left, 1, -1 do -- upwards, over the gaps
    move(db, c, (positions[gap - 1] or -1) + 1, positions[gap] - 1, left - gap + 1)
  end
  for gap = left + 1, #positions do -- and downwards
    move(db, c, positions[gap] + 1, (positions[gap + 1] or c.count) - 1, left - gap)
  end
  M.trim(db, c, left, #positions - left)
end

return M
