-- ONCE id command [arg …]: a command that is applied once, however often it is sent. Who sends it again with the same
-- id, because the reply was lost or was UNKNOWN, gets the reply of the first time. On any member of a cluster, and on
-- a node by itself.
--
-- What is remembered is part of the state, so it lives through restarts, changes of leadership, and FLUSHALL:
--
--   0xFF "once/" id                    → time:i64be command:u64be reply2 reply3    each reply = length:u32be bytes
--   0xFF "once-age/" time:i64be id     → ""
--
-- time: of the entry; command: a hash of the words, as an id is for one command only; reply3: that of RESP3, "" where
-- it is the same. After KEPT it is deleted, by a command in the log. An error changes nothing, so it is not remembered:
-- the command may be tried again.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local getkeys = require "lunode.kv.getkeys"
local hash = require "lunode.hash"
local logged = require "lunode.kv.logged"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

local M = {}

local KEPT = 15 * 60 * 1000 -- milliseconds
local LOOK = 10 -- seconds
local PER_TURN = 500 -- ids that are deleted at once
local LONGEST_ID = 128
local ROW, AGE_ROW, AGE_END = "\xFFonce/", "\xFFonce-age/", "\xFFonce-age0"
local FORMAT = ">i8i8s4s4"
local TIME = ">i8"

local BAD_ID = resp.error(("ERR an id has 1 to %d bytes"):format(LONGEST_ID))
local OTHER_COMMAND = resp.error("ERR this id was used for another command")
local NOT_A_WRITE = resp.error("ERR ONCE is for commands that write; others can be sent again as they are")

-- The entry of the command inside, and its arguments after its name; or the refusal. Clients know it by the name that
-- it has on their node, the log by its own.
local function inner(args, find)
  local name = args[2]
  local entry = find(name)
  local own, own_name = table.move(args, 3, #args, 1, {}), entry and entry.name
  if entry and not entry.direct and own[1] then
    entry = command.subcommand(entry, own[1])
  end
  if not entry then
    return nil, nil, errors.quoting("ERR unknown command '%s'", name:sub(1, 128))
  elseif #own < entry.min or #own > entry.max then
    return nil, nil, entry.wrong_arity
  elseif not entry.write or entry.name == "once" or entry.options.arrive then
    return nil, nil, NOT_A_WRITE
  end
  return entry, own, nil, own_name
end

-- The reply is encoded more than once, so it must be none that ends with that.
local function perform(ctx, entry, own)
  local _ <close> = setmetatable({}, {
    __close = function()
      ctx.keeps = false
    end,
  })
  ctx.keeps = true
  if entry.variadic then
    return entry.run(ctx, own)
  end
  return entry.run(ctx, table.unpack(own))
end

local function remember(ctx, id, sum, value)
  local reply2, reply3 = resp.encode(value, 2), resp.encode(value, 3)
  if reply2:byte() ~= 45 then -- "-": an error
    ctx.db:put_own(ROW .. id, FORMAT:pack(ctx.now, sum, reply2, reply3 ~= reply2 and reply3 or ""))
    ctx.db:put_own(AGE_ROW .. TIME:pack(ctx.now) .. id, "")
  end
end

local function once(ctx, args, find)
  local id = args[1]
  if #id == 0 or #id > LONGEST_ID then
    return BAD_ID
  end
  local entry, own, refusal, own_name = inner(args, find)
  if refusal then
    return refusal
  end
  args[2] = own_name -- for the log
  local sum = hash.of(0, entry.name, table.unpack(own, 1, math.min(#own, 200)))
  local known, err = ctx.db.store:get(ROW .. id)
  if err then
    error("the store failed: " .. err, 0)
  elseif known then
    local _, command_sum, reply2, reply3 = FORMAT:unpack(known)
    if command_sum ~= sum then
      return OTHER_COMMAND
    end
    return resp.raw(ctx.session and ctx.session.protocol == 3 and reply3 ~= "" and reply3 or reply2)
  end
  local value = perform(ctx, entry, own)
  remember(ctx, id, sum, value)
  return value
end

-- The keys are those of the command inside.
local function keys_of(args)
  local entry, own = inner(args, command.find_logged)
  local list = entry and getkeys.has_keys(entry) and getkeys.find(entry, own)
  for _, key in ipairs(list or {}) do
    key.at = key.at + 2
  end
  return list or {}
end

logged.add("once", function(ctx, args)
  return once(ctx, args, command.find_logged)
end, {
  variadic = true, getkeys = keys_of,
  verify = function(args)
    local _, _, refusal = inner(args, command.find_logged)
    if refusal then
      error("the log holds an ONCE of a command that this node does not know: " .. args[2], 0)
    end
  end,
})

local LOGGED = {
  name = "once", log_name = "\0once", write = true, variadic = true, direct = true, options = { getkeys = keys_of },
}

-- In a cluster only what all members can run goes into the log.
local function arrive(session, args)
  if not session.node.cluster then
    return nil
  end
  local _, _, refusal, own_name = inner(args, command.find)
  if refusal then
    return refusal
  end
  args[2] = own_name
  return nil, LOGGED, args
end

command.command("ONCE", {
  arity = -3, variadic = true, flags = { "write", "denyoom" }, getkeys = keys_of, group = "generic", since = "1.0.0",
  complexity = "that of the command", summary = "Applies a command once, however often it is sent with this id",
  syntax = "id command [arg...]",
  arrive = arrive,
  run = function(ctx, args)
    return once(ctx, args, ctx.session and command.find or command.find_logged)
  end,
})

-- ---------------------------------------------------------------- what is too old

logged.add("once_forget", function(ctx, before)
  local count = 0
  for row in ctx.db.store:scan(AGE_ROW, AGE_ROW .. TIME:pack(math.tointeger(before))) do
    if count == PER_TURN then
      return
    end
    count = count + 1
    ctx.db:put_own(row, nil)
    ctx.db:put_own(ROW .. row:sub(#AGE_ROW + 9), nil)
  end
end)

---Begins to look after what is too old.
---@param node lunode.kv.node
function M.start(node)
  node.timers.once = loop.timer(LOOK, function()
    local row = node.db.store:scan(AGE_ROW, AGE_END)()
    local before = (node.ctx.now or node:read_clock()) - KEPT
    if row and TIME:unpack(row, #AGE_ROW + 1) < before then
      node.writes:internal("once_forget", tostring(before))
    end
  end, LOOK)
end

return M
