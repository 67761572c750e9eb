-- COPY, and what a server with one database answers to MOVE and SWAPDB.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local SAME = resp.error("ERR source and destination objects are the same")
local DB_RANGE = resp.error("ERR DB index is out of range")

-- Raises where that is not the one database.
local function check_database(text)
  if numbers.int32(text) ~= 0 then
    error(DB_RANGE, 0)
  end
end

local function copy(db, source, target, value)
  local type = keys.type(value)
  if type == keys.STRING then
    db:set(target, db:text(value), keys.expiry(value))
    return
  end
  local c = db.collections:read(source, type)
  db.collections:write_out(c)
  local made = db.collections:replace(target, type)
  db.store:copy(c.prefix, made.prefix)
  made.count, made.more = c.count, c.more
  db.collections:changed(made)
  if keys.expiry(value) then
    local row, plain = db:find(target)
    db:put(row, plain, keys.with_expiry(plain, keys.expiry(value)))
  end
end

-- What follows COPY's keys: whether to replace.
local function copy_options(args)
  local replace, i = false, 3
  while i <= #args do
    local option = args[i]:upper()
    if option == "REPLACE" then
      replace = true
    elseif option == "DB" and args[i + 1] then
      i = i + 1
      check_database(args[i])
    else
      error(errors.SYNTAX, 0)
    end
    i = i + 1
  end
  return replace
end

command.command("COPY", {
  arity = -3, variadic = true, flags = { "write", "denyoom" }, keys = { 1, 2, 1 },
  access = { "RO access", "OW update" }, group = "generic", since = "6.2.0",
  complexity = "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
  summary = "Copy a key",
  run = function(ctx, args)
    local db, source, target = ctx.db, args[1], args[2]
    local replace = copy_options(args)
    if source == target then
      return SAME
    end
    local _, value = db:find(source)
    if value == nil or not replace and select(2, db:find(target)) then
      return 0
    end
    db:delete(target) -- so that it counts as new, as in Redis
    copy(db, source, target, value)
    ctx:notify("g", "copy_to", target)
    return 1
  end,
})

command.command("MOVE", {
  arity = 3, flags = { "write", "fast" }, keys = { 1, 1, 1 }, access = "RW access update", group = "generic",
  since = "1.0.0", complexity = "O(1)", summary = "Move a key to another database",
  run = function(_, _, index)
    check_database(index)
    return SAME
  end,
})

local function parse_index(text, message)
  local index = numbers.parse(text)
  if not index or index < -0x80000000 or index > 0x7FFFFFFF then
    error(message, 0)
  end
  return index
end

local BAD_FIRST = resp.error("ERR invalid first DB index")
local BAD_SECOND = resp.error("ERR invalid second DB index")

command.command("SWAPDB", {
  arity = 3, flags = { "write", "fast" }, group = "server", acl = { "keyspace", "dangerous" }, since = "4.0.0",
  complexity = "O(N) where N is the count of clients watching or blocking on keys from both databases.",
  summary = "Swaps two Redis databases",
  run = function(_, first, second)
    local a, b = parse_index(first, BAD_FIRST), parse_index(second, BAD_SECOND)
    return a == 0 and b == 0 and resp.OK or DB_RANGE
  end,
})
