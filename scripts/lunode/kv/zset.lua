-- A sorted set as it lies in the store: members put, removed, popped and met in order. No commands.
--
-- A score is a number in what is returned, and 8 bytes in what is put (lunode.score). A key is what follows the prefix
-- of a row 's': score and member, so that keys are ordered as the set is. What is given of members is a flat list:
-- member, score, member, score …, or members alone.
local keys = require "lunode.kv.keys"
local ranks = require "lunode.kv.zset_ranks"
local resp = require "lunode.resp"
local score = require "lunode.score"

local pack, unpack, sub = string.pack, string.unpack, string.sub
local min, max = math.min, math.max
local words = resp.words
local decode = score.decode
local is_node, change_ranks = ranks.is_node, ranks.change

local M = {}

local SCORE_BYTES = 8
local MOST_AHEAD = 64 -- members that are read ahead of the pops that take them
local FEW = 256 -- members are deleted one by one; all of a larger set, with one mark
local PAST_ALL = ("\xFF"):rep(9) -- a key behind all others

---The first key past all those that begin with this score.
---@param bytes string
---@return string
function M.past_score(bytes)
  return pack(">i8", unpack(">i8", bytes) + 1)
end

-- ---- the set

-- What is remembered of a set while its collection is kept. Before `first` and from `last` on there are no rows: a
-- queue's deleted rows lie there, which need not be walked over again. The members that the next pops take are read
-- ahead, more of them with each time that they were all taken: so that a scan serves many pops.
---@class lunode.kv.zset
---@field members string     prefixes of its rows
---@field scores string
---@field scores_past string
---@field first string?      a key
---@field last string?
---@field ahead string[]?    keys, in the order of the pops that take them: all that there are up to the last of them
---@field at integer         the first of them that was not taken
---@field highest boolean    they are taken from the end
---@field reach integer      how many they were, as they were read
---@field low string?        what has a lower score than this, or the same, is near `first` and what is ahead from there
---@field high string?       the same at the end
local function view(c)
  local z = c.index
  if not z then
    local prefix = c.prefix
    z = {
      members = prefix .. "m", scores = prefix .. "s", scores_past = prefix .. "t", first = nil, last = nil,
      ahead = nil, at = 1, highest = false, reach = 0, low = nil, high = nil,
    }
    c.index = z
  end
  return z
end

---The prefix of the rows by member: for what is chosen by hash.
---@param c lunode.kv.collection
---@return string
function M.members(c)
  return view(c).members
end

---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param member string
---@return number? score
function M.score(db, c, member)
  local bytes = db.members:get(view(c).members, member)
  return bytes and decode(bytes)
end

local function score_of(key)
  return key and sub(key, 1, SCORE_BYTES)
end

local function forget_ahead(z)
  z.ahead, z.reach = nil, 0
  z.low, z.high = score_of(z.first), score_of(z.last)
end

-- Whether a member with this score may be among those that are read ahead, or beyond the ends.
local function is_near_end(z, bytes)
  local low, high = z.low, z.high
  return low and bytes <= low or high and bytes >= high
end

-- A row has come or gone, other than by a pop.
local function changed(z, key)
  local ahead = z.ahead
  if ahead then
    local last = ahead[#ahead]
    if z.highest and key >= last or not z.highest and key <= last then
      forget_ahead(z)
    end
  end
end

-- A row has come near an end.
local function widen(z, key)
  if z.first and key < z.first then
    z.first = key
  end
  if z.last and key >= z.last then
    z.last = key .. "\0"
  end
  changed(z, key)
end

---Gives a member a score, whether it is there or not.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param member any    a string or a view
---@param bytes string  its score
---@return boolean added, boolean changed
function M.put(db, c, member, bytes)
  local z = c.index or view(c)
  local old, hash = db.members:index(z.members, member, z.scores, bytes)
  if old == bytes then
    return false, false
  elseif not old then
    c.count = c.count + 1
  end
  if is_near_end(z, bytes) then
    widen(z, bytes .. words(member))
  end
  if old and is_near_end(z, old) then
    changed(z, old .. words(member))
  end
  if c.more > 0 or is_node(hash) then
    change_ranks(db, c, z, member, hash, old, bytes)
  end
  return not old, old ~= nil
end

---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param member string
---@return boolean existed
function M.remove(db, c, member)
  local z = c.index or view(c)
  local bytes, hash = db.members:unindex(z.members, member, z.scores)
  if not bytes then
    return false
  end
  c.count = c.count - 1
  if is_near_end(z, bytes) then
    changed(z, bytes .. member)
  end
  if c.more > 0 then
    change_ranks(db, c, z, member, hash, bytes, nil)
  end
  return true
end

---Puts all members of a set that has none.
---@param c lunode.kv.collection
---@param scored lunode.scored
function M.fill(c, scored)
  local z = view(c)
  c.count, c.more = scored:count(), scored:put(z.members, z.scores, c.prefix .. ranks.NODE)
end

-- ---- in order

-- Rows of a range of keys, as a flat list, or into what has no order yet.
local function collect(db, z, from, to, limit, offset, reverse, scores, scored)
  if scored then
    scored:collect(from, to, #z.scores, limit, offset, reverse)
    return scored
  elseif scores then
    return score.split(db.store:collect(from, to, "keys", limit, #z.scores, reverse, offset))
  end
  return db.store:collect(from, to, "keys", limit, #z.scores + SCORE_BYTES, reverse, offset)
end

-- The same as a reply; `known`: how many rows the range has, where that is known.
local function reply(db, c, z, from, to, limit, offset, reverse, scores, protocol, known)
  local skip = scores and #z.scores or #z.scores + SCORE_BYTES
  if not known then -- else the reply itself tells whether memory has them all
    db.store:load(z.scores, z.scores_past, c.count)
  end
  return db.store:reply(from, to, scores and "scores" or "keys", "array", known, skip, reverse, limit, offset, protocol)
end

-- Keys between which all members are.
local function ends(z)
  return z.scores .. (z.first or ""), z.last and z.scores .. z.last or z.scores_past
end

---@class lunode.kv.zset_options
---@field limit integer?
---@field offset integer?
---@field reverse boolean?
---@field scores boolean?
---@field protocol integer?
---@field scored lunode.scored?

---The members with from <= key < to; nil: no end.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param from string?
---@param to string?
---@param options lunode.kv.zset_options
---@return any list  with a protocol: the reply, where it has any; with `scored`: that, and there they are
function M.range(db, c, from, to, options)
  local z, protocol = view(c), options.protocol
  local first, past = ends(z)
  if from and z.scores .. from > first then
    first = z.scores .. from
  end
  if to and z.scores .. to < past then
    past = z.scores .. to
  end
  if first >= past then
    return options.scored or {}
  end
  if protocol then
    return reply(db, c, z, first, past, options.limit, options.offset, options.reverse, options.scores, protocol)
  end
  return collect(db, z, first, past, options.limit, options.offset, options.reverse, options.scores, options.scored)
end

local function reversed(list, width)
  local result, n = {}, #list
  for i = 1, n, width do
    for k = 0, width - 1 do
      result[n - i - width + 2 + k] = list[i + k]
    end
  end
  return result
end

---The members with first <= rank <= last, both between 0 and the count.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param first integer
---@param last integer
---@param reverse boolean?  the ranks count from the end
---@param scores boolean?
---@param protocol integer?
---@param scored lunode.scored?
---@return any list  with a protocol: perhaps the reply; with `scored`: that
function M.by_rank(db, c, first, last, reverse, scores, protocol, scored)
  local z, limit = view(c), last - first + 1
  local from, past = ends(z)
  local offset = 0
  if first > 0 then -- from the node before it, or from the end
    local low = reverse and c.count - 1 - last or first
    local key
    key, offset = ranks.seek(db, c, z, low)
    if offset > c.count - limit - low then -- the other end is nearer
      offset = c.count - limit - low
      if protocol and reverse then
        return reply(db, c, z, from, past, limit, offset, true, scores, protocol)
      end
      local list = collect(db, z, from, past, limit, offset, true, scores, scored)
      return (reverse or scored) and list or reversed(list, scores and 2 or 1)
    elseif reverse then
      local list = collect(db, z, z.scores .. key, past, limit, offset, false, scores, scored)
      return scored or reversed(list, scores and 2 or 1)
    end
    from = z.scores .. key
  end
  if protocol then
    return reply(db, c, z, from, past, limit, offset, reverse, scores, protocol, limit == c.count and limit or nil)
  end
  return collect(db, z, from, past, limit, offset, reverse, scores, scored)
end

---How many members have a key before this one.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param key string
---@return integer
function M.count_before(db, c, key)
  return ranks.rank(db, c, view(c), key)
end

---How many members have from <= key < to.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param from string
---@param to string
---@return integer
function M.count_range(db, c, from, to)
  if from >= to then
    return 0
  elseif c.more == 0 then
    local z = view(c)
    return db.store:count(z.scores .. from, z.scores .. to)
  end
  return M.count_before(db, c, to) - M.count_before(db, c, from)
end

---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param member string
---@return integer? rank  from 0
function M.rank(db, c, member)
  local bytes = db.members:get(view(c).members, member)
  return bytes and M.count_before(db, c, bytes .. member)
end

-- ---- many that go

-- All members, with one mark.
local function clear(db, c)
  db.store:delete_range(c.prefix, keys.past(c.prefix))
  local count = c.count
  c.count, c.more = 0, 0
  return count
end

-- Deletes the members with from <= key < to, where these begin with the prefix: how many.
local function cut(db, c, z, from, to, limit, offset, reverse)
  local count, low, high = db.members:cut(z.members, z.scores, from, to, SCORE_BYTES, limit, offset, reverse)
  if count > 0 then
    forget_ahead(z)
    c.count = c.count - count
    if c.more > 0 and c.count > 0 then
      ranks.cut(db, c, low, high, count)
    end
  end
  return count
end

---What takes the place of a lunode.scored's `collect` in `range` and `by_rank`: the members go, and are counted.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@return fun(result: {count: integer}, from: string, to: string, skip: integer, limit?: integer, offset?: integer,
---  reverse?: boolean)
function M.cutter(db, c)
  return function(result, from, to, skip, limit, offset, reverse)
    local z = view(c)
    local past = to < z.scores_past and sub(to, skip + 1) or PAST_ALL
    if c.count > FEW and (limit or c.count) >= c.count and (offset or 0) == 0
      and M.count_range(db, c, sub(from, skip + 1), past) == c.count then
      result.count = clear(db, c)
    else
      result.count = cut(db, c, z, from, to, limit, offset, reverse)
    end
  end
end

-- As pop: many of them.
local function pop_many(db, c, highest, limit, protocol)
  local z = view(c)
  local from, past = ends(z)
  local list
  if protocol then
    list = reply(db, c, z, from, past, limit, 0, highest, true, protocol)
  else
    list = collect(db, z, from, past, limit, 0, highest, true)
  end
  if limit >= c.count then
    clear(db, c)
  else
    cut(db, c, z, from, past, limit, 0, highest)
  end
  return list
end

-- ---- at the ends

-- What pops take next from an end, `limit` members at least, if there are as many.
local function look_ahead(db, z, highest, limit)
  local ahead = z.highest == highest and z.ahead
  if ahead and #ahead - z.at + 1 >= limit then
    return ahead
  end
  z.reach = ahead and min(z.reach * 2, MOST_AHEAD) or 0
  local from, past = ends(z)
  ahead = db.store:collect(from, past, "keys", max(limit, z.reach), #z.scores, highest)
  if z.ahead and z.highest ~= highest then
    forget_ahead(z)
  end
  local last = score_of(ahead[#ahead])
  if highest then
    z.high = last
  else
    z.low = last
  end
  z.ahead, z.at, z.highest, z.reach = ahead, 1, highest, #ahead
  return ahead
end

-- Takes the member that was met with this key: (it, its score).
local function take(db, c, z, key)
  local member, hash = db.members:pop(z.members, key, z.scores, SCORE_BYTES)
  c.count = c.count - 1
  if c.more > 0 then
    ranks.pop(db, c, key, hash)
  end
  return member, decode(key)
end

---Takes members from an end.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param highest boolean  from the end
---@param limit integer
---@param protocol integer?
---@return any list  members and scores; with a protocol: perhaps the reply
function M.pop(db, c, highest, limit, protocol)
  if limit > FEW and c.count > FEW then
    return pop_many(db, c, highest, limit, protocol)
  end
  local z = c.index or view(c)
  local ahead = look_ahead(db, z, highest, limit)
  local first = z.at
  local last = min(first + limit - 1, #ahead)
  local list = { take(db, c, z, ahead[first]) }
  for i = first + 1, last do
    local n = 2 * (i - first)
    list[n + 1], list[n + 2] = take(db, c, z, ahead[i])
  end
  z.at = last + 1
  if highest then
    z.last = ahead[last]
  else
    z.first = ahead[last]
  end
  if last > MOST_AHEAD then
    forget_ahead(z)
  end
  return list
end

---The score that all members have, if that is so; else that of the first one.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@return string bytes
function M.common_score(db, c)
  local z = view(c)
  local from, past = ends(z)
  local first = db.store:collect(from, past, "keys", 1, #z.scores)
  return sub(first[1], 1, SCORE_BYTES)
end

return M
