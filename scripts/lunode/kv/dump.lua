-- DUMP and RESTORE: a value as bytes, and back, in a format of our own.
--
--   dump     = body checksum:u64be          checksum: lunode.hash of the body
--   body     = "LUNO" version:u8 type:u8 content
--   content  = bytes                        of a string
--            | (length:u32be bytes)…        of a list its elements, of a set its members, of a hash its fields and
--                                           values, of a sorted set its members and scores (8 bytes, as lunode.score);
--                                           in any order but a list's
local command = require "lunode.kv.command"
local elements = require "lunode.kv.elements"
local errors = require "lunode.kv.errors"
local hash = require "lunode.hash"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local pack, unpack = string.pack, string.unpack
local string_value = keys.string_value

local MAGIC, VERSION = "LUNO", 1
local HEAD = ">c4BB"
local HEAD_BYTES, CHECKSUM_BYTES = 6, 8
local SEED = 0x4C554E4F
local MOST = 512 * 1024 * 1024 -- bytes, as of any string

local BAD_CHECKSUM = resp.error("ERR DUMP payload version or checksum are wrong")
local BAD_FORMAT = resp.error("ERR Bad data format")
local BUSY_KEY = resp.error("BUSYKEY Target key name already exists.")
local BAD_TTL = resp.error("ERR Invalid TTL value, must be >= 0")
local BAD_IDLE_TIME = resp.error("ERR Invalid IDLETIME value, must be >= 0")
local BAD_FREQUENCY = resp.error("ERR Invalid FREQ value, must be >= 0 and <= 255")
local TOO_LARGE = resp.error("ERR the value is too large to be dumped: more than 512 MiB; read it in pieces")

local KEY = { 1, 1, 1 }

-- ---- DUMP

local function body_of(db, key, value)
  local type = keys.type(value)
  local head = pack(HEAD, MAGIC, VERSION, type)
  if type == keys.STRING then
    return head .. db:text(value)
  end
  return elements.pack(db, key, type, head, MOST) or error(TOO_LARGE, 0)
end

command.command("DUMP", {
  arity = 2, flags = { "readonly" }, keys = KEY, access = "RO access", group = "generic", since = "2.6.0",
  tips = { "nondeterministic_output" },
  complexity = "O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects "
    .. "composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) "
    .. "where M is small, so simply O(1).",
  summary = "Return a serialized version of the value stored at the specified key.",
  run = function(ctx, key)
    local db = ctx.db
    local _, value = db:find(key)
    if value == nil then
      return nil
    end
    local body = body_of(db, key, value)
    return body .. pack(">i8", hash.of(SEED, body))
  end,
})

-- ---- RESTORE

-- The type of a dump, and the head and content of it. Raises where it is none.
local function open(text)
  if #text < HEAD_BYTES + CHECKSUM_BYTES then
    error(BAD_CHECKSUM, 0)
  end
  local body = text:sub(1, -CHECKSUM_BYTES - 1)
  local magic, version, type = unpack(HEAD, body)
  if magic ~= MAGIC or version ~= VERSION or unpack(">i8", text, #body + 1) ~= hash.of(SEED, body) then
    error(BAD_CHECKSUM, 0)
  end
  return type, body
end

local KNOWN = { [keys.LIST] = true, [keys.SET] = true, [keys.HASH] = true, [keys.ZSET] = true }

local function restore_collection(db, key, type, body, expiry)
  if not KNOWN[type] or not elements.unpack(db, key, type, body, HEAD_BYTES + 1) then
    error(BAD_FORMAT, 0)
  end
  if expiry then
    local row, value = db:find(key)
    db:put(row, value, keys.with_expiry(value, expiry))
  end
end

-- What follows the dump.
local function options_of(args)
  local options, i = { replace = false, absolute = false }, 4
  while i <= #args do
    local option, value = args[i]:upper(), args[i + 1]
    if option == "REPLACE" then
      options.replace = true
    elseif option == "ABSTTL" then
      options.absolute = true
    elseif option == "IDLETIME" and value and not options.frequency then
      options.idle = numbers.integer(value)
      if options.idle < 0 then
        error(BAD_IDLE_TIME, 0)
      end
      i = i + 1
    elseif option == "FREQ" and value and not options.idle then
      options.frequency = numbers.integer(value)
      if options.frequency < 0 or options.frequency > 255 then
        error(BAD_FREQUENCY, 0)
      end
      i = i + 1
    else
      error(errors.SYNTAX, 0)
    end
    i = i + 1
  end
  return options
end

-- When the key expires; nil: never.
local function expiry_of(ctx, text, absolute)
  local ttl = numbers.integer(text)
  if ttl < 0 then
    error(BAD_TTL, 0)
  elseif ttl == 0 then
    return nil
  end
  return absolute and ttl or numbers.add(ttl, ctx.now) or error(BAD_TTL, 0)
end

command.command("RESTORE", {
  arity = -4, variadic = true, flags = { "write", "denyoom" }, keys = KEY, access = "OW update", group = "generic",
  since = "2.6.0", acl = { "dangerous" },
  complexity = "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the "
    .. "number of Redis objects composing the value and M their average size. For small string values the time "
    .. "complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity "
    .. "is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).",
  summary = "Create a key using the provided serialized value, previously obtained using DUMP.",
  run = function(ctx, args)
    local db, key = ctx.db, args[1]
    local options = options_of(args)
    local row, old = db:find(key)
    if old and not options.replace then
      return BUSY_KEY
    end
    local expiry = expiry_of(ctx, args[2], options.absolute)
    local type, body = open(args[3])
    if expiry and expiry <= ctx.now then
      if old then
        db:remove(row, old)
        ctx:notify("g", "del", key)
      end
      return resp.OK
    elseif type == keys.STRING then
      db:put(row, old, string_value(body:sub(HEAD_BYTES + 1), expiry))
    else
      restore_collection(db, key, type, body, expiry)
    end
    ctx:notify("g", "restore", key)
    return resp.OK
  end,
})
