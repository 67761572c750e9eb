-- Commands on lists, but for those that block: kv.list_waits has these.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local list = require "lunode.kv.list"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local OK, null_array = resp.OK, resp.null_array
local integer, parse_integer = numbers.integer, numbers.parse
local LIST, FIRST_INDEX = keys.LIST, list.FIRST_INDEX

local OUT_OF_RANGE = resp.error("ERR index out of range")
local NOT_POSITIVE = resp.error("ERR value is out of range, must be positive")
local NO_KEYS = resp.error("ERR numkeys should be greater than 0")
local NO_COUNT = resp.error("ERR count should be greater than 0")
local RANK_ZERO = resp.error("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
  .. "or use negative to start from the end of the list")
local NEGATIVE_COUNT = resp.error("ERR COUNT can't be negative")
local NEGATIVE_LENGTH = resp.error("ERR MAXLEN can't be negative")

local WRITE = { "write", "denyoom" }
local FAST_WRITE = { "write", "denyoom", "fast" }
local KEY = { 1, 1, 1 }

local PUSH = { [true] = list.push_left, [false] = list.push_right }
local POP = { [true] = list.pop_left, [false] = list.pop_right }
local PUSHED = { [true] = "lpush", [false] = "rpush" }
local POPPED = { [true] = "lpop", [false] = "rpop" }

local M = {}

-- Raises `refusal` where the text is no integer of at least `least`.
local function at_least(text, least, refusal)
  local n = parse_integer(text)
  if not n or n < least then
    error(refusal, 0)
  end
  return n
end

-- Elements were taken out of the list.
local function removed(ctx, c, event)
  ctx.db.collections:changed(c)
  if ctx.notifies then
    ctx:notify("l", event, c.key)
    if c.count == 0 then
      ctx:notify("g", "del", c.key)
    end
  end
end

-- ---- at the ends

local function push(ctx, c, at_left, args)
  local db, push_one = ctx.db, PUSH[at_left]
  for i = 2, #args do
    push_one(db, c, args[i])
  end
  db.collections:changed(c)
  ctx:notify("l", PUSHED[at_left], c.key)
  return c.count
end

local PUSH_COMPLEXITY = "O(1) for each element added, so O(N) to add N elements when the command is called with "
  .. "multiple arguments."

for name, about in pairs {
  LPUSH = { at_left = true, summary = "Prepend one or multiple elements to a list" },
  RPUSH = { at_left = false, summary = "Append one or multiple elements to a list" },
} do
  local at_left, push_one = about.at_left, PUSH[about.at_left]
  command.command(name, {
    arity = -3, variadic = true, flags = FAST_WRITE, keys = KEY, access = "RW insert", group = "list",
    since = "1.0.0", complexity = PUSH_COMPLEXITY, summary = about.summary,
    run = function(ctx, args)
      return push(ctx, list.create(ctx.db, args[1]), at_left, args)
    end,
    short = function(ctx, key, element)
      local db = ctx.db
      local collections = db.collections
      local c = collections:create(key, LIST, FIRST_INDEX)
      push_one(db, c, element)
      collections:changed(c)
      return c.count
    end,
  })
end

for name, about in pairs {
  LPUSHX = { at_left = true, summary = "Prepend an element to a list, only if the list exists" },
  RPUSHX = { at_left = false, summary = "Append an element to a list, only if the list exists" },
} do
  local at_left = about.at_left
  command.command(name, {
    arity = -3, variadic = true, flags = FAST_WRITE, keys = KEY, access = "RW insert", group = "list",
    since = "2.2.0", complexity = PUSH_COMPLEXITY, summary = about.summary,
    run = function(ctx, args)
      local c = ctx.db.collections:open(args[1], LIST)
      return c and push(ctx, c, at_left, args) or 0
    end,
  })
end

---Takes several elements off an end of a list, and tells of it.
---@param ctx lunode.kv.ctx
---@param c lunode.kv.collection
---@param at_left boolean
---@param count integer
---@param replied? boolean  they are for a reply alone
---@return any  a list; or if they are for a reply, perhaps a view
function M.pop(ctx, c, at_left, count, replied)
  local elements = list.pop(ctx.db, c, at_left, count, replied and not ctx.keeps)
  removed(ctx, c, POPPED[at_left])
  return elements
end

---Takes the element at an end of a list, and tells of it.
---@param ctx lunode.kv.ctx
---@param c lunode.kv.collection
---@param at_left boolean
---@return string
function M.pop_one(ctx, c, at_left)
  local element = POP[at_left](ctx.db, c)
  removed(ctx, c, POPPED[at_left])
  return element
end

for name, about in pairs {
  LPOP = { at_left = true, summary = "Remove and get the first elements in a list" },
  RPOP = { at_left = false, summary = "Remove and get the last elements in a list" },
} do
  local at_left, pop_one = about.at_left, POP[about.at_left]
  local wrong_arity = resp.error(("ERR wrong number of arguments for '%s' command"):format(name:lower()))
  command.command(name, {
    arity = -2, flags = { "write", "fast" }, keys = KEY, access = "RW access delete", group = "list", since = "1.0.0",
    complexity = "O(N) where N is the number of elements returned", summary = about.summary,
    run = function(ctx, key, count, ...)
      if ... then
        return wrong_arity
      end
      local most = count and at_least(count, 0, NOT_POSITIVE)
      local c = ctx.db.collections:open(key, LIST)
      if c == nil then
        return most and null_array or nil
      elseif most == nil then
        return M.pop_one(ctx, c, at_left)
      end
      return most > 0 and M.pop(ctx, c, at_left, most, true) or {}
    end,
    short = function(ctx, key)
      local db = ctx.db
      local collections = db.collections
      local c = collections:open(key, LIST)
      if not c then
        return nil
      end
      local element = pop_one(db, c, true)
      collections:changed(c)
      return element
    end,
  })
end

-- ---- by index

command.command("LLEN", {
  arity = 2, flags = { "readonly", "fast" }, keys = KEY, access = "RO", group = "list", since = "1.0.0",
  complexity = "O(1)", summary = "Get the length of a list",
  run = function(ctx, key)
    return ctx.db.collections:count(key, LIST)
  end,
})

-- The position that an index of either sign means; nil where there is none.
local function position_of(c, index)
  local at = integer(index)
  if at < 0 then
    at = at + c.count
  end
  return at >= 0 and at < c.count and at or nil
end

command.command("LINDEX", {
  arity = 3, flags = { "readonly" }, keys = KEY, access = "RO access", group = "list", since = "1.0.0",
  complexity = "O(N) where N is the number of elements to traverse to get to the element at index. This makes asking "
    .. "for the first or the last element of the list O(1).",
  summary = "Get an element from a list by its index",
  run = function(ctx, key, index)
    local c = ctx.db.collections:read(key, LIST)
    local at = c and position_of(c, index)
    return at and list.get(ctx.db, c, at)
  end,
})

command.command("LSET", {
  arity = 4, flags = WRITE, keys = KEY, access = "RW update", group = "list", since = "1.0.0",
  complexity = "O(N) where N is the length of the list. Setting either the first or the last element of the list is "
    .. "O(1).",
  summary = "Set the value of an element in a list by its index",
  run = function(ctx, key, index, value)
    local c = ctx.db.collections:open(key, LIST)
    if c == nil then
      return errors.NO_SUCH_KEY
    end
    local at = position_of(c, index)
    if at == nil then
      return OUT_OF_RANGE
    end
    list.set(ctx.db, c, at, value)
    ctx.db.collections:changed(c)
    ctx:notify("l", "lset", key)
    return OK
  end,
})

-- The first and the last position of a range that counts from the end where it is negative.
local function clamp(c, first, last)
  first = math.max(first < 0 and first + c.count or first, 0)
  return first, math.min(last < 0 and last + c.count or last, c.count - 1)
end

local function lrange(ctx, key, from, to)
  local first, last = integer(from), integer(to)
  local db = ctx.db
  local c = db.collections:read(key, LIST)
  if c == nil then
    return {}
  end
  first, last = clamp(c, first, last)
  return first <= last and list.reply(db, c, first, last) or {}
end

command.command("LRANGE", {
  arity = 4, flags = { "readonly" }, keys = KEY, access = "RO access", group = "list", since = "1.0.0",
  complexity = "O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or "
    .. "TAIL) for large lists; and N is the number of elements in the specified range.",
  summary = "Get a range of elements from a list",
  run = lrange,
  short = lrange,
})

command.command("LTRIM", {
  arity = 4, flags = { "write" }, keys = KEY, access = "RW delete", group = "list", since = "1.0.0",
  complexity = "O(N) where N is the number of elements to be removed by the operation.",
  summary = "Trim a list to the specified range",
  run = function(ctx, key, from, to)
    local first, last = integer(from), integer(to)
    local c = ctx.db.collections:open(key, LIST)
    if c == nil then
      return OK
    end
    first, last = clamp(c, first, last)
    if first > last then
      first, last = c.count, c.count - 1
    end
    list.trim(ctx.db, c, first, c.count - 1 - last)
    removed(ctx, c, "ltrim")
    return OK
  end,
})

-- ---- by value

command.command("LREM", {
  arity = 4, flags = { "write" }, keys = KEY, access = "RW delete", group = "list", since = "1.0.0",
  complexity = "O(N+M) where N is the length of the list and M is the number of elements removed.",
  summary = "Remove elements from a list",
  run = function(ctx, key, count, value)
    local most = integer(count)
    local c = ctx.db.collections:open(key, LIST)
    if c == nil then
      return 0
    end
    local positions = list.find(ctx.db, c, value, math.abs(most), most < 0)
    if #positions > 0 then
      table.sort(positions)
      list.remove(ctx.db, c, positions)
      removed(ctx, c, "lrem")
    end
    return #positions
  end,
})

command.command("LINSERT", {
  arity = 5, flags = WRITE, keys = KEY, access = "RW insert", group = "list", since = "2.2.0",
  complexity = "O(N) where N is the number of elements to traverse before seeing the value pivot. This means that "
    .. "inserting somewhere on the left end on the list (head) can be considered O(1) and inserting somewhere on the "
    .. "right end (tail) is O(N).",
  summary = "Insert an element before or after another element in a list",
  run = function(ctx, key, where, pivot, value)
    local side = where:upper()
    if side ~= "BEFORE" and side ~= "AFTER" then
      return errors.SYNTAX
    end
    local c = ctx.db.collections:open(key, LIST)
    if c == nil then
      return 0
    end
    local position = list.find(ctx.db, c, pivot, 1)[1]
    if position then
      list.insert(ctx.db, c, side == "AFTER" and position + 1 or position, value)
      ctx.db.collections:changed(c)
      ctx:notify("l", "linsert", key)
      return c.count
    end
    return -1
  end,
})

local function parse_rank(text)
  local rank = integer(text)
  if rank == 0 then
    error(RANK_ZERO, 0)
  end
  return rank
end

-- What follows LPOS's element: (rank, count or nil, how many elements to look at; 0: all).
local function lpos_options(args)
  local rank, count, most = 1, nil, 0
  for i = 3, #args, 2 do
    local option, value = args[i]:upper(), args[i + 1]
    if value == nil then
      error(errors.SYNTAX, 0)
    elseif option == "RANK" then
      rank = parse_rank(value)
    elseif option == "COUNT" then
      count = at_least(value, 0, NEGATIVE_COUNT)
    elseif option == "MAXLEN" then
      most = at_least(value, 0, NEGATIVE_LENGTH)
    else
      error(errors.SYNTAX, 0)
    end
  end
  return rank, count, most
end

-- Up to `limit` positions of the element (0: all), from its rank-th one on.
local function find(ctx, c, element, rank, limit, most)
  local passed = math.abs(math.max(rank, -math.maxinteger)) - 1
  local enough = limit > 0 and limit < math.maxinteger - passed and passed + limit or 0
  local found = list.find(ctx.db, c, element, enough, rank < 0, most > 0 and most or nil)
  return table.move(found, passed + 1, #found, 1, {})
end

command.command("LPOS", {
  arity = -3, variadic = true, flags = { "readonly" }, keys = KEY, access = "RO access", group = "list",
  since = "6.0.6",
  complexity = "O(N) where N is the number of elements in the list, for the average case. When searching for elements "
    .. "near the head or the tail of the list, or when the MAXLEN option is provided, the command may run in constant "
    .. "time.",
  summary = "Return the index of matching elements on a list",
  run = function(ctx, args)
    local rank, count, most = lpos_options(args)
    local c = ctx.db.collections:read(args[1], LIST)
    local limit = count == nil and 1 or count == 0 and -1 or count
    local positions = c and find(ctx, c, args[2], rank, limit, most) or {}
    if count then
      return positions
    end
    return positions[1]
  end,
})

-- ---- between lists

local SIDES = { LEFT = true, RIGHT = false }

---Whether a command's word says LEFT; raises where it says neither that nor RIGHT.
---@param word string?
---@return boolean at_left
function M.side(word)
  local at_left = word and SIDES[word:upper()]
  if at_left == nil then
    error(errors.SYNTAX, 0)
  end
  return at_left
end

---Moves an element from an end of one list to an end of another.
---@param ctx lunode.kv.ctx
---@param source string
---@param target string
---@param from_left boolean
---@param to_left boolean
---@return string? element  nil: there is none
function M.move(ctx, source, target, from_left, to_left)
  local db = ctx.db
  local collections = db.collections
  local c = collections:open(source, LIST)
  if c == nil then
    return nil
  end
  local other = source == target and c or list.create(db, target)
  local element = POP[from_left](db, c)
  PUSH[to_left](db, other, element)
  if other ~= c then
    collections:changed(other)
  end
  ctx:notify("l", PUSHED[to_left], target)
  removed(ctx, c, POPPED[from_left])
  return element
end

local MOVE_ACCESS = { "RW access delete", "RW insert" }

command.command("LMOVE", {
  arity = 5, flags = WRITE, keys = { 1, 2, 1 }, access = MOVE_ACCESS, group = "list", since = "6.2.0",
  complexity = "O(1)", summary = "Pop an element from a list, push it to another list and return it",
  run = function(ctx, source, target, from, to)
    local from_left, to_left = M.side(from), M.side(to)
    return M.move(ctx, source, target, from_left, to_left)
  end,
})

command.command("RPOPLPUSH", {
  arity = 3, flags = WRITE, keys = { 1, 2, 1 }, access = MOVE_ACCESS, group = "list", since = "1.2.0",
  complexity = "O(1)", summary = "Remove the last element in a list, prepend it to another list and return it",
  deprecated = { since = "6.2.0", replaced_by = "`LMOVE` with the `RIGHT` and `LEFT` arguments" },
  run = function(ctx, source, target)
    return M.move(ctx, source, target, false, true)
  end,
})

---The keys of `numkeys key … word [COUNT count]`, the position of the word, and the count; raises Redis's errors.
---@param args string[]
---@param first integer  where numkeys is
---@return string[] keys, string word, integer count
function M.counted_keys(args, first)
  local count = at_least(args[first], 1, NO_KEYS)
  local word = count < #args and args[first + count + 1]
  if not word then
    error(errors.SYNTAX, 0)
  end
  return table.move(args, first + 1, first + count, 1, {}), word, first + count + 2
end

---What follows the word: [COUNT count].
---@param args string[]
---@param first integer
---@return integer count
function M.count_option(args, first)
  if args[first] == nil then
    return 1
  elseif args[first]:upper() ~= "COUNT" or args[first + 1] == nil then
    error(errors.SYNTAX, 0)
  end
  local count = at_least(args[first + 1], 1, NO_COUNT)
  if args[first + 2] then
    error(errors.SYNTAX, 0)
  end
  return count
end

---Takes elements off the first of the lists that there is: LMPOP's reply, or nil.
---@param ctx lunode.kv.ctx
---@param names string[]
---@param at_left boolean
---@param count integer
---@param replied? boolean  it is for a reply alone
---@return table?
function M.pop_first(ctx, names, at_left, count, replied)
  for _, key in ipairs(names) do
    local c = ctx.db.collections:open(key, LIST)
    if c then
      return { key, M.pop(ctx, c, at_left, count, replied) }
    end
  end
end

command.command("LMPOP", {
  arity = -4, variadic = true, flags = { "write" }, numkeys = { 1, "RW access delete" }, group = "list",
  since = "7.0.0",
  complexity = "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
  summary = "Pop elements from a list",
  run = function(ctx, args)
    local names, word, rest = M.counted_keys(args, 1)
    local at_left = M.side(word)
    local count = M.count_option(args, rest)
    return M.pop_first(ctx, names, at_left, count, true) or null_array
  end,
})

return M
