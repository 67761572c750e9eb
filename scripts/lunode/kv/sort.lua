-- SORT and SORT_RO. The values that sort, and those that are shown instead of the elements, may lie in other keys.
local command = require "lunode.kv.command"
local elements = require "lunode.kv.elements"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"
local score = require "lunode.score"

local null = resp.null

local NOT_NUMBERS = resp.error("ERR One or more scores can't be converted into double")

-- Where a pattern's first "*" is. It ends at a NUL, as C strings do.
local function star_of(pattern)
  local star = pattern:find("[*\0]")
  return star and pattern:byte(star) ~= 0 and star or nil
end

-- ---- options

---@class lunode.kv.sort_options
---@field by string?        the pattern; false: do not sort
---@field get string[]
---@field alpha boolean
---@field descending boolean
---@field start integer
---@field count integer     negative: all
---@field store string?

local function parse(args, read_only)
  local options = { by = nil, get = {}, alpha = false, descending = false, start = 0, count = -1, store = nil }
  local i = 2
  while i <= #args do
    local option, value = args[i]:upper(), args[i + 1]
    local taken = 1
    if option == "ASC" or option == "DESC" then
      options.descending, taken = option == "DESC", 0
    elseif option == "ALPHA" then
      options.alpha, taken = true, 0
    elseif option == "LIMIT" and args[i + 2] then
      options.start, options.count, taken = numbers.integer(value), numbers.integer(args[i + 2]), 2
    elseif option == "BY" and value then
      options.by = options.by ~= false and star_of(value) and value or false
    elseif option == "GET" and value then
      options.get[#options.get + 1] = value
    elseif option == "STORE" and value and not read_only then
      options.store = value
    else
      error(errors.SYNTAX, 0)
    end
    i = i + 1 + taken
  end
  return options
end

-- ---- patterns

-- A function from an element to the string that the pattern means for it: at the key, or in the field of the hash at
-- the key, where the element stands for the first "*". nil: there is none.
local function look_up(db, pattern)
  if pattern == "#" then
    return function(element)
      return element
    end
  end
  local star = star_of(pattern)
  if not star then
    return function() end
  end
  local name, field = pattern, nil
  local arrow = pattern:match("^[^\0]-()%->[^\0]", star + 1)
  if arrow then
    name, field = pattern:sub(1, arrow - 1), pattern:sub(arrow + 2)
  end
  local before, behind = name:sub(1, star - 1), name:sub(star + 1)
  return function(element)
    local key = before .. element .. behind
    local text = not field and db.get_row(db.rows, key, keys.STRING)
    if text then
      return text
    end
    local _, value = db:find(key)
    local type = value and keys.type(value)
    if field and type == keys.HASH then
      return db.members:get(db.collections:read(key, keys.HASH).prefix, field)
    elseif not field and type == keys.STRING then
      return db:text(value)
    end
  end
end

-- ---- order

-- What each element is sorted by; false: it lacks that.
local function texts_of(db, list, pattern)
  local texts, find = {}, look_up(db, pattern)
  for i = 1, #list do
    texts[i] = find(list[i]) or false
  end
  return texts
end

-- Where an element lacks what it is sorted by, it comes first, or counts as 0. What is equal keeps an order of its own,
-- so that every node comes to the same.
local function sorted(db, list, options)
  local weights = options.by and texts_of(db, list, options.by) or list
  if not options.alpha then
    weights = score.weights(weights) or error(NOT_NUMBERS, 0)
  end
  return score.order(list, weights, options.descending)
end

-- The elements in their order; unsorted ones as they lie, a list or a sorted set from its end with DESC.
local function arrange(db, list, type, options)
  if options.by == false and type == keys.SET and options.store then
    options.by, options.alpha = nil, true -- a set has no order, but what is stored must have one
  end
  if options.by ~= false then
    return sorted(db, list, options)
  elseif options.descending and type ~= keys.SET then
    local reversed = {}
    for i = #list, 1, -1 do
      reversed[#reversed + 1] = list[i]
    end
    return reversed
  end
  return list
end

-- ---- the commands

-- The results within LIMIT: null where a pattern of GET means nothing.
local function results(db, list, options)
  local first = math.min(math.max(options.start, 0), #list)
  local count = options.count < 0 and #list or options.count
  local last = first + math.min(count, #list - first)
  if #options.get == 0 then
    return first == 0 and last == #list and list or table.move(list, first + 1, last, 1, {})
  end
  local shown, finds = {}, {}
  for k, pattern in ipairs(options.get) do
    finds[k] = look_up(db, pattern)
  end
  for i = first + 1, last do
    for k = 1, #finds do
      shown[#shown + 1] = finds[k](list[i]) or null
    end
  end
  return shown
end

local SORTABLE = { [keys.LIST] = true, [keys.SET] = true, [keys.ZSET] = true }

local function sort(ctx, args, read_only)
  local db = ctx.db
  local options = parse(args, read_only)
  local _, value = db:find(args[1])
  local type = value and keys.type(value)
  if type and not SORTABLE[type] then
    return errors.WRONGTYPE
  end
  local list = type and arrange(db, elements.plain(db, args[1], type), type, options) or {}
  local shown = results(db, list, options)
  if not options.store then
    return shown
  elseif #shown == 0 then
    if db:delete(options.store) then
      ctx:notify("g", "del", options.store)
    end
    return 0
  end
  for i, text in ipairs(shown) do
    shown[i] = text ~= null and text or ""
  end
  db:make_way(options.store)
  elements.put_list(db, options.store, shown)
  ctx:notify("l", "sortstore", options.store)
  return #shown
end

-- Of what a call says itself; those that follow from elements are anybody's guess.
local function keys_of_call(args)
  local list, i = { { at = 1, access = "RO access" } }, 2
  local store
  while i <= #args do
    local option = args[i]:upper()
    if option == "STORE" and args[i + 1] then
      store = i + 1
    end
    i = i + ((option == "LIMIT" and 3) or ((option == "STORE" or option == "BY" or option == "GET") and 2) or 1)
  end
  list[2] = store and { at = store, access = "OW update" } or nil
  return list
end

local function first_key()
  return { { at = 1, access = "RO access" } }
end

local BY_OR_GET = {
  "RO access", "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content "
    .. "of the key we sort",
}
local STORE = {
  "OW update", "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the "
    .. "argument array",
}

local COMPLEXITY = "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of "
  .. "returned elements. When the elements are not sorted, complexity is O(N)."
local CATEGORIES = { "set", "sortedset", "list", "dangerous" }

command.command("SORT", {
  arity = -2, variadic = true, flags = { "write", "denyoom" }, keys = { 1, 1, 1 }, access = "RO access",
  more_keys = { BY_OR_GET, STORE }, getkeys = keys_of_call, group = "generic", acl = CATEGORIES, since = "1.0.0",
  complexity = COMPLEXITY, summary = "Sort the elements in a list, set or sorted set",
  run = function(ctx, args)
    return sort(ctx, args, false)
  end,
})

command.command("SORT_RO", {
  arity = -2, variadic = true, flags = { "readonly" }, keys = { 1, 1, 1 }, access = "RO access",
  more_keys = { BY_OR_GET }, getkeys = first_key, group = "generic", acl = CATEGORIES, since = "7.0.0",
  complexity = COMPLEXITY, summary = "Sort the elements in a list, set or sorted set. Read-only variant of SORT.",
  run = function(ctx, args)
    return sort(ctx, args, true)
  end,
})
