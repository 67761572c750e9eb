-- What hashes, sets and sorted sets share: members in the order of their hashes, walked by cursors and chosen at
-- random. A member is a name alone, or followed by its value (`what`: "keys" or "both").
local cursors = require "lunode.kv.cursor"
local glob = require "lunode.kv.glob"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local remembered = require "lunode.kv.remembered"
local resp = require "lunode.resp"

local M = {}

local HASH_BYTES = 4
local LAST_HASH = 0xFFFFFFFF

-- A collection as small as this is scanned in one piece, whatever COUNT says, as Redis does.
local SMALL = 128

-- One as small as this is counted through for a random member; else the member is one of so many behind a random hash.
local NEIGHBOURS = 16

-- To pick one takes as long as to read so many. What SPOP chooses follows from the first number, in every replay and on
-- every replica.
local LOGGED_PICK, PICK = 4, 32

-- So many picks of a set are worth remembering what they have met, for as long as they last.
local MANY_PICKS = 1000

-- A set as small as this is read from what is remembered of it.
local FEW = 1024

local OUT_OF_RANGE = resp.error("ERR value is out of range")
local NO_NEGATIVE = resp.error("ERR value is out of range, value must between -9223372036854775807 and "
  .. "9223372036854775807")
local TOO_MANY = resp.error("ERR value is out of range: a reply has at most 67108864 elements")
local MOST = 1 << 26

---All members, in the order of their hashes.
---@param db lunode.kv.db
---@param prefix string
---@param what "keys"|"values"|"both"
---@return string[]
function M.all(db, prefix, what)
  return db.store:collect(prefix, keys.past(prefix), what, nil, #prefix + HASH_BYTES)
end

---The same as a reply.
---@param db lunode.kv.db
---@param c lunode.kv.collection
---@param what "keys"|"values"|"both"
---@param kind "array"|"map"|"set"
---@return any
function M.reply(db, c, what, kind)
  local prefix = c.prefix
  return db.store:reply(prefix, keys.past(prefix), what, kind, c.count, #prefix + HASH_BYTES)
end

-- ---- cursors

-- The rows from `hash` on, about `count` of them, all those with the same hash included; names still begin with it. And
-- the hash to go on from, 0 at the end.
local function page(db, prefix, hash, count, width, what)
  local from, past = keys.member_seek(prefix, hash), keys.past(prefix)
  while true do
    local list = db.store:collect(from, past, what, count + 1, #prefix)
    local last = #list - width + 1
    if #list <= count * width then
      return list, 0
    end
    local next_hash = list[last]:sub(1, HASH_BYTES)
    while last > 0 and list[last]:sub(1, HASH_BYTES) == next_hash do
      for i = last, last + width - 1 do
        list[i] = nil
      end
      last = last - width
    end
    if last > 0 then
      return list, (string.unpack(">I4", next_hash))
    end
    count = count * 2 -- more than that many share a hash
  end
end

---The reply of HSCAN, SSCAN or ZSCAN.
---@param ctx lunode.kv.ctx
---@param args string[]  key, cursor, options
---@param type integer
---@param part string    what follows the collection's prefix
---@param value? fun(stored: string): string  what the reply has beside a name (default: nothing)
---@return table
function M.scan(ctx, args, type, part, value)
  local cursor, db = cursors.parse(args[2]), ctx.db
  local c = db.collections:read(args[1], type)
  if c == nil then
    return { "0", {} }
  end
  local count, pattern = cursors.options(args, 3)
  if c.count <= SMALL then
    cursor, count = 0, SMALL
  end
  if cursor > LAST_HASH then
    return { "0", {} }
  end
  local width = value and 2 or 1
  count = math.min(count, 1 << 32)
  local rows, next_hash = page(db, c.prefix .. part, cursor, count, width, value and "both" or "keys")
  local list = {}
  for i = 1, #rows, width do
    local name = rows[i]:sub(HASH_BYTES + 1)
    if not pattern or glob.match(pattern, name) then
      list[#list + 1] = name
      list[#list + 1] = value and value(rows[i + 1])
    end
  end
  return { tostring(next_hash), list }
end

-- ---- chance

-- One member at random. Of a large collection that is not quite uniform: one that stands behind a wide gap of hashes is
-- met a little more often.
local function pick(ctx, prefix, count, what)
  local store, past, skip = ctx.db.store, keys.past(prefix), #prefix + HASH_BYTES
  if count <= NEIGHBOURS then
    return store:collect(prefix, past, what, 1, skip, false, ctx:random(0, count - 1))
  end
  local from = keys.member_seek(prefix, ctx:random(0, LAST_HASH))
  local offset = ctx:random(0, NEIGHBOURS - 1)
  local found = store:collect(from, past, what, 1, skip, false, offset)
  if #found == 0 then -- round, from the end to the beginning
    found = store:collect(prefix, past, what, 1, skip, false, offset)
  end
  return found
end

-- The same one, of a set that is remembered. Another replica may not remember it. `view`: perhaps it is one.
local function pick_remembered(ctx, c, rest, view)
  local db, count = ctx.db, c.count
  if count <= NEIGHBOURS then
    return remembered.find(db, c, rest, 0, ctx:random(0, count - 1), view)
  end
  local hash = ctx:random(0, LAST_HASH)
  local offset = ctx:random(0, NEIGHBOURS - 1)
  return remembered.find(db, c, rest, hash, offset, view) or remembered.find(db, c, rest, 0, offset, view)
end

-- As `pick`; `set`: the collection, if it is one.
local function pick_any(ctx, prefix, count, what, set)
  local rest = set and remembered.of(ctx.db, set)
  if rest then
    return { (pick_remembered(ctx, set, rest)) }
  end
  return pick(ctx, prefix, count, what)
end

---One member at random.
---@param ctx lunode.kv.ctx
---@param prefix string
---@param count integer  how many there are
---@param what "keys"|"both"
---@param set? lunode.kv.collection  the collection, where it is a set
---@return string name, string? value
function M.pick(ctx, prefix, count, what, set)
  return table.unpack(pick_any(ctx, prefix, count, what, set))
end

---Takes a member at random out of a set: the one that `pick` would choose. Its count is the caller's to change.
---@param ctx lunode.kv.ctx
---@param c lunode.kv.collection
---@param view? boolean  the caller takes a view, too
---@return any member
function M.take(ctx, c, view)
  local db = ctx.db
  local rest = remembered.of(db, c)
  local member = rest and pick_remembered(ctx, c, rest, view) or pick(ctx, c.prefix, c.count, "keys")[1]
  local _, hash = db.members:delete(c.prefix, member, true)
  if rest then
    rest:remove(hash, member)
  end
  return member
end

-- ---- several

-- Members i and j of a list change places.
local function swap(list, i, j, width)
  for k = 1, width do
    local a, b = (i - 1) * width + k, (j - 1) * width + k
    list[a], list[b] = list[b], list[a]
  end
end

-- All members.
local function all(db, prefix, count, what, set)
  local rest = set and count <= FEW and remembered.of(db, set)
  return rest and remembered.all(db, set, rest) or M.all(db, prefix, what)
end

---Different members, at random, in a random order.
---@param ctx lunode.kv.ctx
---@param prefix string
---@param count integer   how many there are
---@param wanted integer  how many of them: at most all
---@param what "keys"|"both"
---@param set? lunode.kv.collection  the collection, where it is a set
---@return string[]
function M.sample(ctx, prefix, count, wanted, what, set)
  local width = what == "both" and 2 or 1
  if wanted >= count or wanted * (ctx.db.writing and LOGGED_PICK or PICK) > count or count <= NEIGHBOURS then
    local list = all(ctx.db, prefix, count, what, set)
    wanted = math.min(wanted, count)
    for i = 1, wanted do -- Fisher and Yates; the rest of the order does not matter
      swap(list, i, ctx:random(i, count), width)
    end
    for i = #list, wanted * width + 1, -1 do
      list[i] = nil
    end
    return list
  end
  local list, seen, met = {}, {}, 0
  local rest = set and wanted >= MANY_PICKS and remembered.briefly(ctx.db, set)
  while met < wanted do
    local found = rest and { (pick_remembered(ctx, set, rest)) } or pick_any(ctx, prefix, count, what, set)
    if not seen[found[1]] then
      seen[found[1]], met = true, met + 1
      table.move(found, 1, width, #list + 1, list)
    end
  end
  return list
end

---Members at random, the same ones again and again perhaps.
---@param ctx lunode.kv.ctx
---@param prefix string
---@param count integer   how many there are
---@param wanted integer  how many picks
---@param what "keys"|"both"
---@param set? lunode.kv.collection
---@return string[]
function M.draw(ctx, prefix, count, wanted, what, set)
  local list, width = {}, what == "both" and 2 or 1
  if wanted > MOST then
    error(TOO_MANY, 0)
  elseif wanted * PICK > count then
    local found = all(ctx.db, prefix, count, what, set)
    for i = 0, wanted - 1 do
      local at = ctx:random(0, count - 1) * width
      table.move(found, at + 1, at + width, i * width + 1, list)
    end
    return list
  end
  for i = 0, wanted - 1 do
    table.move(pick_any(ctx, prefix, count, what, set), 1, width, i * width + 1, list)
  end
  return list
end

---The count of SRANDMEMBER, HRANDFIELD, ZRANDMEMBER: negative means that a member may come again.
---@param text string
---@return integer
function M.random_count(text)
  local n = numbers.integer(text)
  if n == math.mininteger then
    error(NO_NEGATIVE, 0)
  end
  return n
end

---As `sample`, or with a negative number as `draw`.
---@param ctx lunode.kv.ctx
---@param prefix string
---@param count integer
---@param wanted integer
---@param what "keys"|"both"
---@param set? lunode.kv.collection
---@return string[]
function M.random(ctx, prefix, count, wanted, what, set)
  if wanted < 0 then
    return M.draw(ctx, prefix, count, -wanted, what, set)
  end
  return M.sample(ctx, prefix, count, wanted, what, set)
end

---A count whose double must not overflow either: with values, Redis has it so.
---@param n integer
function M.check_doubled(n)
  if n < -(math.maxinteger // 2) or n > math.maxinteger // 2 then
    error(OUT_OF_RANGE, 0)
  end
end

return M
