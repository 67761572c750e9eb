-- CLIENT REPLY, PAUSE, UNPAUSE, NO-EVICT: how the node treats connections, one or all of them.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local loop = require "lunode.loop"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local BAD_TIME = resp.error("ERR timeout is not an integer or out of range")
local NEGATIVE_TIME = resp.error("ERR timeout is negative")
local BAD_MODE = resp.error("ERR CLIENT PAUSE mode must be WRITE or ALL")
local NOTHING = resp.raw ""

local FLAGS = { "noscript", "loading", "stale" }
local ADMIN = { "admin", "noscript", "loading", "stale" }

-- ---- CLIENT REPLY

-- It counts from where it stands among the commands: so it takes effect as it arrives.
local function reply_mode(session, word)
  word = word:upper()
  if word == "ON" then
    session.silence = nil
  elseif word == "OFF" then
    session.silence = "off"
  elseif word == "SKIP" then
    session.silence = session.silence == "off" and "off" or "skip"
  else
    return session.silence and NOTHING or errors.SYNTAX
  end
  session:update()
  return word == "ON" and resp.OK or NOTHING
end

command.command("CLIENT|REPLY", {
  arity = 3, flags = FLAGS, group = "connection", since = "3.2.0", complexity = "O(1)",
  summary = "Instruct the server whether to reply to commands",
  arrive = function(session, args)
    return reply_mode(session, args[2])
  end,
  run = function(ctx, word)
    return reply_mode(ctx.session, word)
  end,
})

-- ---- CLIENT PAUSE

local function unpause(node)
  if node.timers.pause then
    node.timers.pause:close()
    node.timers.pause = nil
  end
  node.paused = nil
  for _, session in ipairs(node:list_sessions()) do
    session:update()
    if session.held and not session.blocked then
      node.blocking:release(session)
    end
  end
end

-- The later end counts, and the stricter mode while both last.
local function pause(node, mode, milliseconds)
  local until_ = loop.now() + milliseconds / 1000
  local before = node.paused
  if before then
    mode = before.mode == "ALL" and "ALL" or mode
    until_ = math.max(until_, before.until_)
    node.timers.pause:close()
  end
  node.paused = { mode = mode, until_ = until_ }
  node.timers.pause = loop.timer(math.max(until_ - loop.now(), 0), function()
    unpause(node)
  end)
  for _, session in ipairs(node:list_sessions()) do
    session:update()
  end
end

local MODES = { WRITE = true, ALL = true }

command.command("CLIENT|PAUSE", {
  arity = -3, flags = ADMIN, group = "connection", since = "2.9.50", complexity = "O(1)",
  summary = "Stop processing commands from clients for some time",
  run = function(ctx, text, mode, ...)
    if ... then
      return errors.subcommand_syntax(ctx, "CLIENT")
    end
    mode = (mode or "ALL"):upper()
    local milliseconds = numbers.parse(text)
    if not MODES[mode] then
      return BAD_MODE
    elseif not milliseconds then
      return BAD_TIME
    elseif milliseconds < 0 then
      return NEGATIVE_TIME
    end
    if numbers.add(ctx.now, milliseconds) then -- else its end lies in the past, as Redis counts
      pause(ctx.node, mode, milliseconds)
    end
    return resp.OK
  end,
})

command.command("CLIENT|UNPAUSE", {
  arity = 2, flags = ADMIN, group = "connection", since = "6.2.0",
  complexity = "O(N) Where N is the number of paused clients",
  summary = "Resume processing of clients that were paused",
  run = function(ctx)
    unpause(ctx.node)
    return resp.OK
  end,
})

-- ---- CLIENT NO-EVICT

-- Nothing is evicted here: it is remembered for CLIENT LIST.
command.command("CLIENT|NO-EVICT", {
  arity = 3, flags = ADMIN, group = "connection", since = "7.0.0", complexity = "O(1)",
  summary = "Set client eviction mode for the current connection",
  run = function(ctx, word)
    word = word:lower()
    if word ~= "on" and word ~= "off" then
      return errors.SYNTAX
    end
    ctx.session.no_evict = word == "on" or nil
    return resp.OK
  end,
})
