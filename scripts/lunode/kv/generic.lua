-- Commands on keys of any type: DEL EXISTS TYPE RENAME, and the walks over all keys: RANDOMKEY KEYS SCAN.
local command = require "lunode.kv.command"
local cursors = require "lunode.kv.cursor"
local errors = require "lunode.kv.errors"
local glob = require "lunode.kv.glob"
local keys = require "lunode.kv.keys"
local resp = require "lunode.resp"

local NONE = resp.status("none")

local TYPES = {}
for number, name in pairs(keys.TYPE_NAMES) do
  TYPES[number] = resp.status(name)
end

local ALL = { 1, -1, 1 }
local SUM = { "request_policy:multi_shard", "response_policy:agg_sum" }

-- ---- single keys

local function delete(ctx, args)
  local db, count = ctx.db, 0
  for i = 1, #args do
    if db:delete(args[i]) then
      ctx:notify("g", "del", args[i])
      count = count + 1
    end
  end
  return count
end

command.command("DEL", {
  arity = -2, variadic = true, flags = { "write" }, keys = ALL, access = "RM delete", group = "generic",
  since = "1.0.0", tips = SUM,
  complexity = "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other "
    .. "than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, "
    .. "set, sorted set or hash. Removing a single key that holds a string value is O(1).",
  summary = "Delete a key",
  run = delete,
})

command.command("UNLINK", {
  arity = -2, variadic = true, flags = { "write", "fast" }, keys = ALL, access = "RM delete", group = "generic",
  since = "4.0.0", tips = SUM,
  complexity = "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different "
    .. "thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of.",
  summary = "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking.",
  run = delete,
})

local function count_existing(ctx, args)
  local db, count = ctx.db, 0
  for i = 1, #args do
    if db:exists(args[i]) then
      count = count + 1
    end
  end
  return count
end

command.command("EXISTS", {
  arity = -2, variadic = true, flags = { "readonly", "fast" }, keys = ALL, access = "RO", group = "generic",
  since = "1.0.0", tips = SUM, complexity = "O(N) where N is the number of keys to check.",
  summary = "Determine if a key exists",
  run = count_existing,
})

command.command("TOUCH", {
  arity = -2, variadic = true, flags = { "readonly", "fast" }, keys = ALL, access = "RO", group = "generic",
  since = "3.2.1", tips = SUM, complexity = "O(N) where N is the number of keys that will be touched.",
  summary = "Alters the last access time of a key(s). Returns the number of existing keys specified.",
  run = count_existing, -- we keep no access times: nothing is ever evicted
})

command.command("TYPE", {
  arity = 2, flags = { "readonly", "fast" }, keys = { 1, 1, 1 }, access = "RO", group = "generic", since = "1.0.0",
  complexity = "O(1)", summary = "Determine the type stored at key",
  run = function(ctx, key)
    local _, value = ctx.db:find(key)
    return value and TYPES[keys.type(value)] or NONE
  end,
})

-- Moves a value with its expiry. Returns false where the target exists and may not be replaced.
local function rename(ctx, from, to, replace)
  local db = ctx.db
  local row, value = db:find(from)
  if value == nil then
    error(errors.NO_SUCH_KEY, 0)
  elseif from == to then
    return replace
  end
  local target, old = db:find(to)
  if old and not replace then
    return false
  end
  db:move(row, value, target, old)
  if old then -- it was replaced: else the store has told
    ctx:notify("n", "new", to)
  end
  ctx:notify("g", "rename_from", from)
  ctx:notify("g", "rename_to", to)
  return true
end

command.command("RENAME", {
  arity = 3, flags = { "write" }, keys = { 1, 2, 1 }, access = { "RW access delete", "OW update" }, group = "generic",
  since = "1.0.0", complexity = "O(1)", summary = "Rename a key",
  run = function(ctx, from, to)
    rename(ctx, from, to, true)
    return resp.OK
  end,
})

command.command("RENAMENX", {
  arity = 3, flags = { "write", "fast" }, keys = { 1, 2, 1 }, access = { "RW access delete", "OW insert" },
  group = "generic", since = "1.0.0", complexity = "O(1)",
  summary = "Rename a key, only if the new key does not exist",
  run = function(ctx, from, to)
    return rename(ctx, from, to, false) and 1 or 0
  end,
})

-- ---- walks

-- Not quite uniform: a key that follows a wide gap of hashes is met more often.
command.command("RANDOMKEY", {
  arity = 1, flags = { "readonly" }, group = "generic", since = "1.0.0", complexity = "O(1)",
  tips = { "request_policy:all_shards", "nondeterministic_output" },
  summary = "Return a random key from the keyspace",
  run = function(ctx)
    local found
    local function take(row)
      found = keys.key(row)
      return true
    end
    ctx.db:walk(ctx:random(0, keys.SLOTS - 1), ctx:random(0, 0xFFFFFFFF), take)
    if not found then
      ctx.db:walk(0, 0, take)
    end
    return found
  end,
})

command.command("KEYS", {
  arity = 2, flags = { "readonly" }, group = "generic", since = "1.0.0", acl = { "dangerous" },
  tips = { "request_policy:all_shards", "nondeterministic_output_order" },
  complexity = "O(N) with N being the number of keys in the database, under the assumption that the key names in the "
    .. "database and the given pattern have limited length.",
  summary = "Find all keys matching the given pattern",
  run = function(ctx, pattern)
    local list, all = {}, pattern == "*"
    ctx.db:walk(0, 0, function(row)
      local key = keys.key(row)
      if all or glob.match(pattern, key) then
        list[#list + 1] = key
      end
    end)
    return list
  end,
})

-- The cursor is the (slot, hash) to go on from, so it needs no memory here, outlives restarts, and every key that is
-- there from the first call to the last is met: keys that share slot and hash come in one reply.
local function cursor_of(slot, hash)
  return slot << 32 | hash
end

command.command("SCAN", {
  arity = -2, variadic = true, flags = { "readonly" }, group = "generic", since = "2.8.0",
  tips = { "nondeterministic_output", "request_policy:special" },
  complexity = "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to "
    .. "return back to 0. N is the number of elements inside the collection.",
  summary = "Incrementally iterate the keys space",
  run = function(ctx, args)
    local cursor = cursors.parse(args[1])
    local count, pattern, type_name = cursors.options(args, 2, true)
    local list, met, last, next_cursor = {}, 0, nil, 0
    if cursor >= cursor_of(keys.SLOTS, 0) then -- past the end
      return { "0", list }
    end
    ctx.db:walk(cursor >> 32, cursor & 0xFFFFFFFF, function(row, value)
      local at = cursor_of(keys.position(row))
      if met >= count and at ~= last then
        next_cursor = at
        return true
      end
      met, last = met + 1, at
      local key = keys.key(row)
      if (not pattern or glob.match(pattern, key))
          and (not type_name or keys.TYPE_NAMES[keys.type(value)] == type_name) then
        list[#list + 1] = key
      end
    end)
    return { tostring(next_cursor), list }
  end,
})
