-- OBJECT: what Redis would tell of how a value lies in its memory. Ours lie in a store; the encodings are those that
-- Redis chooses for such a value when it is new. We keep no access times, as nothing is ever evicted.
local command = require "lunode.kv.command"
local help = require "lunode.kv.help"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local NO_LFU = resp.error("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that "
  .. "when switching between policies at runtime LRU and LFU data will take some time to adjust.")

local EMBEDDED = 44 -- bytes of the longest string that lies in its object
local SHARED = 10000 -- integers below are one object for all keys
local MANY_REFERENCES = 0x7FFFFFFF
local PACKED_HASH, PACKED_ZSET, PACKED_BYTES = 512, 128, 64 -- a listpack's entries, and the bytes of one
local INTEGERS = 512 -- of an intset

local encodings = {}

encodings[keys.STRING] = function(db, value)
  local text = db:text(value)
  if numbers.parse(text) then
    return "int"
  end
  return #text <= EMBEDDED and "embstr" or "raw"
end

encodings[keys.LIST] = function()
  return "quicklist"
end

-- Whether `check` holds for all strings in the rows of a small collection.
local function all_are(db, value, most, what, check)
  local home, version, count = keys.collection(value)
  if count > most then
    return false
  end
  local prefix = keys.element_prefix(home, version)
  local hash_bytes = 4
  for _, text in ipairs(db.store:collect(prefix, keys.past(prefix), what, nil, #prefix + hash_bytes)) do
    if not check(text) then
      return false
    end
  end
  return true
end

local function is_short(text)
  return #text <= PACKED_BYTES
end

encodings[keys.HASH] = function(db, value)
  return all_are(db, value, PACKED_HASH, "both", is_short) and "listpack" or "hashtable"
end

encodings[keys.SET] = function(db, value)
  return all_are(db, value, INTEGERS, "keys", numbers.parse) and "intset" or "hashtable"
end

-- Of its three kinds of rows all have the member behind at least the bytes of a hash.
local ZSET_ROW = PACKED_BYTES + 1 + 8 - 4

encodings[keys.ZSET] = function(db, value)
  return all_are(db, value, PACKED_ZSET, "keys", function(row)
    return #row <= ZSET_ROW
  end) and "listpack" or "skiplist"
end

-- A subcommand about a key: nothing where there is none.
local function about_key(name, options)
  command.command("OBJECT|" .. name, {
    arity = 3, flags = { "readonly" }, keys = { 2, 2, 1 }, access = "RO", group = "generic", since = options.since,
    complexity = "O(1)", summary = options.summary, tips = { "nondeterministic_output" },
    run = function(ctx, key)
      local _, value = ctx.db:find(key)
      return value and options.run(ctx.db, value)
    end,
  })
end

command.command("OBJECT", {
  arity = -2, group = "generic", since = "2.2.3", complexity = "Depends on subcommand.",
  summary = "A container for object introspection commands",
})

about_key("ENCODING", {
  since = "2.2.3", summary = "Inspect the internal encoding of a Redis object",
  run = function(db, value)
    return encodings[keys.type(value)](db, value)
  end,
})

about_key("FREQ", {
  since = "4.0.0", summary = "Get the logarithmic access frequency counter of a Redis object",
  run = function()
    return NO_LFU
  end,
})

about_key("IDLETIME", {
  since = "2.2.3", summary = "Get the time since a Redis object was last accessed",
  run = function()
    return 0
  end,
})

about_key("REFCOUNT", {
  since = "2.2.3", summary = "Get the number of references to the value of the key",
  run = function(db, value)
    local n = keys.type(value) == keys.STRING and numbers.parse(db:text(value))
    return n and n >= 0 and n < SHARED and MANY_REFERENCES or 1
  end,
})

help.command("OBJECT", { group = "generic", since = "6.2.0" })
