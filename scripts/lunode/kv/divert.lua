-- What becomes of a command whose session is in a special state: in a transaction, subscribed, … Sessions that are in
-- none never come here, so the states cost them nothing. It runs nothing itself.
--
-- Some commands have a part that is done as they arrive, `arrive`, whatever the session still waits for: what follows
-- them is read in the light of it.
local errors = require "lunode.kv.errors"
local resp = require "lunode.resp"

local M = {}

local MONITORS_ONLY = resp.error("ERR Replica can't interact with the keyspace")
local NO_MULTI = resp.error("ERR Command not allowed inside a transaction")

-- What a subscriber of RESP2 may send: it could not tell replies from messages.
local FOR_SUBSCRIBERS = {
  ping = true, subscribe = true, psubscribe = true, ssubscribe = true, unsubscribe = true, punsubscribe = true,
  sunsubscribe = true, quit = true, reset = true,
}

local function subscribers_ping(_, message)
  return { "pong", message or "" }
end

---PING for a subscriber of RESP2.
M.SUBSCRIBERS_PING = {
  name = "ping", run = subscribers_ping, write = false, variadic = false, direct = true, options = {},
}

-- In a transaction: (nil, the reply), or the entry to run after all.
local function in_transaction(session, entry, refusal, name, args)
  local multi = session.multi
  if refusal then
    multi.broken = true
    return nil, refusal
  elseif entry.no_multi then
    multi.broken = true
    return nil, NO_MULTI
  elseif entry.immediate then
    return entry, nil
  end
  return nil, session.node.gather(session, entry, name, args)
end

---Whether a pause of the node holds a command back. REQUIRES: there is one.
---@param session lunode.kv.session
---@param entry table
---@return boolean
function M.is_paused(session, entry)
  return session.node.paused.mode == "ALL" or entry.write or entry.may_replicate
    or entry.name == "exec" and session.multi ~= nil and session.multi.replicates
end

-- They are heard whatever CLIENT REPLY says, as messages are.
local HEARD = {
  subscribe = true, psubscribe = true, ssubscribe = true, unsubscribe = true, punsubscribe = true, sunsubscribe = true,
}

-- Whether a command gets a reply although the session is silent. CLIENT REPLY's own are its to give.
local function is_heard(session, name, silence)
  return name == "client|reply" and not session:is_listener() or HEARD[name] and not session.multi
    or name == "reset" and silence == "off"
end

---Whether a command gets no reply: CLIENT REPLY.
---@param session lunode.kv.session
---@param entry table?
---@return boolean
function M.hush(session, entry)
  local silence = session.silence
  if silence == "skip" then
    session.silence = "skipped" -- until the next one is here: then it is known that this one is done
  elseif silence == "skipped" then
    session.silence, silence = nil, nil
    session:update()
  end
  session.quiet = silence ~= nil and not (entry and is_heard(session, entry.name, silence))
  return session.quiet
end

---@param session lunode.kv.session
---@param entry table?    the command's
---@param refusal any     why it cannot run
---@param name string
---@param args string[]
---@return table? entry   the one to run; nil: it is answered
---@return any reply
---@return string name, string[] args  of what is to run, as the log is to have it
function M.take(session, entry, refusal, name, args)
  local reply = refusal
  if session.monitors and entry and (entry.write or entry.reads or entry.may_replicate) then
    refusal, reply, entry = MONITORS_ONLY, MONITORS_ONLY, nil
  elseif session:is_listener() and entry then
    if not FOR_SUBSCRIBERS[entry.name] and not entry.refuses then
      local context = errors.quoting("ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
        .. "RESET are allowed in this context", entry.name)
      entry = entry.refused and entry.refused(context) or nil
      refusal, reply = not entry and context or nil, not entry and context or nil
    elseif entry.name == "ping" then
      entry = #args <= 1 and M.SUBSCRIBERS_PING or entry
    end
  end
  if session.multi then
    entry, reply = in_transaction(session, entry, refusal, name, args)
  end
  if entry and session.node.monitors.count > 0 and not entry.refuses then
    session.node.monitors:show(session, entry, name, args)
  end
  if entry and entry.arrive then
    local other, own
    reply, other, own = entry.arrive(session, args)
    if other then
      return other, nil, other.log_name or name, own
    end
    entry = reply == nil and entry or nil
  elseif reply ~= nil then
    session.node.stats.errors = session.node.stats.errors + (refusal and 1 or 0)
  end
  return entry, reply, name, args
end

return M
