-- What hashes, sets and sorted sets share: members in the order of their hashes, walked by cursors and chosen at
-- random. A member is a name alone, or followed by its value (`what`: "keys" or "both").
local cursors = require "lunode.kv.cursor"
local glob = require "lunode.kv.glob"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local M = {}

local HASH_BYTES = 4
local LAST_HASH = 0xFFFFFFFF

-- A collection as small as this is scanned in one piece, whatever COUNT says, as Redis does.
local SMALL = 128

-- One as small as this is counted through for a random member; else the member is one of so many behind a random hash.
local NEIGHBOURS = 16

-- A set that members are taken from is remembered as soon as it has no more than MOST_REMEMBERED, and so many picks
-- have been made that the rows to be read are few for each. What is added is remembered, too, up to MOST_EXTENDED.
local MOST_REMEMBERED = 16384
local MOST_EXTENDED = 1024
local ROWS_PER_PICK = 4

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

---One member at random.
---@param ctx lunode.kv.ctx
---@param prefix string
---@param count integer  how many there are
---@param what "keys"|"both"
---@return string name, string? value
function M.pick(ctx, prefix, count, what)
  return table.unpack(pick(ctx, prefix, count, what))
end

-- ---- taken at random
--
-- Where many members were taken from a set, their deleted rows lie between the few that are left, and each pick would
-- walk over thousands of them. So what is left of the set that was last taken from is remembered. That must not change
-- which member is chosen: another replica may not remember it.

---@class lunode.kv.remaining
---@field picks integer
---@field rows string[]?          nil: not read yet. Hashes and names, in their order
---@field gone table<integer, boolean>  those of the rows that were taken since
---@field gone_count integer

local function sweep(rest)
  local rows, gone, n = rest.rows, rest.gone, 0
  for i = 1, #rows do
    if not gone[i] then
      n = n + 1
      rows[n] = rows[i]
    end
  end
  for i = #rows, n + 1, -1 do
    rows[i] = nil
  end
  rest.gone, rest.gone_count = {}, 0
end

-- What is remembered of a set, as far as it may be.
local function remaining(db, c)
  local rest, collections = c.index, db.collections
  if not rest then
    rest = { picks = 0, rows = nil, gone = {}, gone_count = 0 }
    c.index = rest
  elseif rest.rows then
    return rest
  end
  rest.picks = rest.picks + 1
  if c.count <= MOST_REMEMBERED and rest.picks * ROWS_PER_PICK >= c.count then
    local before = collections.remembered
    if before and before ~= c then
      before.index = nil
    end
    collections.remembered = c
    rest.rows = db.store:collect(c.prefix, keys.past(c.prefix), "keys", nil, #c.prefix)
  end
  return rest
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

-- Of those that are there, from row `at` on; nil where there are not so many.
local function skip_rows(rest, at, offset)
  local gone = rest.gone
  for i = at, #rest.rows do
    if not gone[i] then
      if offset == 0 then
        return i
      end
      offset = offset - 1
    end
  end
end

-- As `pick`.
local function pick_remembered(ctx, rest, count)
  if count <= NEIGHBOURS then
    return skip_rows(rest, 1, ctx:random(0, count - 1))
  end
  local at = seek(rest.rows, string.pack(">I4", ctx:random(0, LAST_HASH)))
  local offset = ctx:random(0, NEIGHBOURS - 1)
  return skip_rows(rest, at, offset) or skip_rows(rest, 1, offset)
end

local function take_remembered(ctx, rest, count)
  local at = pick_remembered(ctx, rest, count)
  local member = rest.rows[at]:sub(HASH_BYTES + 1)
  rest.gone[at], rest.gone_count = true, rest.gone_count + 1
  if rest.gone_count * 2 > #rest.rows then
    sweep(rest)
  end
  return member
end

---Takes a member at random out of a set: the one that `pick` would choose. Its count is the caller's to change.
---@param ctx lunode.kv.ctx
---@param c lunode.kv.collection
---@return string member
function M.take(ctx, c)
  local db, rest = ctx.db, remaining(ctx.db, c)
  local member = rest.rows and take_remembered(ctx, rest, c.count) or M.pick(ctx, c.prefix, c.count, "keys")
  db.members:delete(c.prefix, member)
  return member
end

---A member has come to a set; its row is in the store.
---@param c lunode.kv.collection
---@param member any    a string or a view
---@param hash integer
function M.added(c, member, hash)
  local rest = c.index
  if not rest or not rest.rows then
    return
  elseif #rest.rows >= MOST_EXTENDED then
    c.index = nil
    return
  end
  if rest.gone_count > 0 then
    sweep(rest)
  end
  local row = string.pack(">I4", hash) .. resp.words(member)
  table.insert(rest.rows, seek(rest.rows, row), row)
end

---Members were removed from a set, other than by `take`.
---@param c lunode.kv.collection
function M.removed(c)
  if c.index and c.index.rows then
    c.index = nil
  end
end

-- ---- several

-- Members i and j of a list change places.
local function swap(list, i, j, width)
  for k = 1, width do
    local a, b = (i - 1) * width + k, (j - 1) * width + k
    list[a], list[b] = list[b], list[a]
  end
end

---Different members, at random, in a random order.
---@param ctx lunode.kv.ctx
---@param prefix string
---@param count integer   how many there are
---@param wanted integer  how many of them: at most all
---@param what "keys"|"both"
---@return string[]
function M.sample(ctx, prefix, count, wanted, what)
  local width = what == "both" and 2 or 1
  if wanted >= count or wanted * 4 > count or count <= NEIGHBOURS then
    local list = M.all(ctx.db, prefix, what)
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
  while met < wanted do
    local found = pick(ctx, prefix, count, what)
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
---@return string[]
function M.draw(ctx, prefix, count, wanted, what)
  local list, width = {}, what == "both" and 2 or 1
  if wanted > MOST then
    error(TOO_MANY, 0)
  elseif wanted * 4 > count then
    local all = M.all(ctx.db, prefix, what)
    for i = 0, wanted - 1 do
      local at = ctx:random(0, count - 1) * width
      table.move(all, at + 1, at + width, i * width + 1, list)
    end
    return list
  end
  for i = 0, wanted - 1 do
    table.move(pick(ctx, prefix, count, what), 1, width, i * width + 1, list)
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
---@return string[]
function M.random(ctx, prefix, count, wanted, what)
  if wanted < 0 then
    return M.draw(ctx, prefix, count, -wanted, what)
  end
  return M.sample(ctx, prefix, count, wanted, what)
end

---A count whose double must not overflow either: with values, Redis has it so.
---@param n integer
function M.check_doubled(n)
  if n < -(math.maxinteger // 2) or n > math.maxinteger // 2 then
    error(OUT_OF_RANGE, 0)
  end
end

return M
