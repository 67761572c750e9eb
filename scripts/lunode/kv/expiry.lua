-- Commands on the expiry of keys: EXPIRE and its kin, TTL and its kin, PERSIST; and the node's own, which delete keys
-- whose time has come.
local command = require "lunode.kv.command"
local deadline = require "lunode.kv.deadline"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local logged = require "lunode.kv.logged"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local expiry_of = keys.expiry

local NX_CONFLICT = resp.error("ERR NX and XX, GT or LT options at the same time are not compatible")
local GT_LT_CONFLICT = resp.error("ERR GT and LT options at the same time are not compatible")

local CONDITIONS = { NX = true, XX = true, GT = true, LT = true }

local function conditions(...)
  local given = {}
  for _, text in ipairs { ... } do
    local option = text:upper()
    if not CONDITIONS[option] then
      error(errors.quoting("ERR Unsupported option %s", text), 0)
    end
    given[option] = true
  end
  if given.NX and (given.XX or given.GT or given.LT) then
    error(NX_CONFLICT, 0)
  elseif given.GT and given.LT then
    error(GT_LT_CONFLICT, 0)
  end
  return given
end

-- Without an expiry a key lives for ever: longer than any other.
local function allowed(given, current, at)
  if given.NX and current or given.XX and not current then
    return false
  elseif given.GT and (not current or at <= current) then
    return false
  elseif given.LT and current and at >= current then
    return false
  end
  return true
end

local function expire(ctx, name, unit, key, text, ...)
  local given = ... and conditions(...)
  local at = deadline.at(name, unit, numbers.integer(text), ctx.now)
  local db = ctx.db
  local row, value = db:find(key)
  if value == nil or given and not allowed(given, expiry_of(value), at) then
    return 0
  elseif at <= ctx.now then
    db:remove(row, value)
    ctx:notify("g", "del", key)
  else
    db:put(row, value, keys.with_expiry(value, at))
    ctx:notify("g", "expire", key)
  end
  return 1
end

for name, entry in pairs {
  EXPIRE = { "EX", "1.0.0", "Set a key's time to live in seconds" },
  PEXPIRE = { "PX", "2.6.0", "Set a key's time to live in milliseconds" },
  EXPIREAT = { "EXAT", "1.2.0", "Set the expiration for a key as a UNIX timestamp" },
  PEXPIREAT = { "PXAT", "2.6.0", "Set the expiration for a key as a UNIX timestamp specified in milliseconds" },
} do
  local unit, since, summary = table.unpack(entry)
  local lower = name:lower()
  command.command(name, {
    arity = -3, flags = { "write", "fast" }, keys = { 1, 1, 1 }, access = "RW update", group = "generic",
    since = since, complexity = "O(1)", summary = summary,
    run = function(ctx, ...)
      return expire(ctx, lower, unit, ...)
    end,
  })
end

-- -2 without the key, -1 without an expiry, else what `from` makes of it.
local function remaining(ctx, key, from)
  local _, value = ctx.db:find(key)
  if value == nil then
    return -2
  end
  local expiry = expiry_of(value)
  return expiry and from(expiry, ctx.now) or -1
end

local function seconds(milliseconds) -- rounded; n + 500 could overflow
  return milliseconds // 1000 + (milliseconds % 1000 >= 500 and 1 or 0)
end

for name, entry in pairs {
  TTL = { "1.0.0", "Get the time to live for a key in seconds", function(expiry, now)
    return seconds(expiry - now)
  end },
  PTTL = { "2.6.0", "Get the time to live for a key in milliseconds", function(expiry, now)
    return expiry - now
  end },
  EXPIRETIME = { "7.0.0", "Get the expiration Unix timestamp for a key", function(expiry)
    return seconds(expiry)
  end },
  PEXPIRETIME = { "7.0.0", "Get the expiration Unix timestamp for a key in milliseconds", function(expiry)
    return expiry
  end },
} do
  local since, summary, from = table.unpack(entry)
  command.command(name, {
    arity = 2, flags = { "readonly", "fast" }, keys = { 1, 1, 1 }, access = "RO access", group = "generic",
    tips = name:find("TTL") and { "nondeterministic_output" } or nil,
    since = since, complexity = "O(1)", summary = summary,
    run = function(ctx, key)
      return remaining(ctx, key, from)
    end,
  })
end

command.command("PERSIST", {
  arity = 2, flags = { "write", "fast" }, keys = { 1, 1, 1 }, access = "RW update", group = "generic",
  since = "2.2.0", complexity = "O(1)", summary = "Remove the expiration from a key",
  run = function(ctx, key)
    local row, value = ctx.db:find(key)
    if value == nil or not expiry_of(value) then
      return 0
    end
    ctx.db:put(row, value, keys.with_expiry(value, nil))
    ctx:notify("g", "persist", key)
    return 1
  end,
})

-- ---- what has expired

local PER_TURN = 500 -- keys that the background deletes; then the next turn goes on

logged.add("expire", function(ctx)
  ctx.db:expire_due(PER_TURN)
end, { touches = false }) -- db.on_deleted tells

-- A reading command has met it.
logged.add("expire_row", function(ctx, row)
  ctx.db:expire_row(row)
end, { touches = false })
