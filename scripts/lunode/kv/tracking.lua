-- CLIENT TRACKING: clients that cache what they read are told which keys have changed. Not which clients have which
-- values: a key that was read is remembered until it changes, then it is told once and forgotten.
--
-- A session with tracking is diverted, so reads of the others cost nothing. What has changed goes out at the end of the
-- turn, behind the replies; in BCAST mode by prefixes, which needs no memory of keys.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local getkeys = require "lunode.kv.getkeys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

require "lunode.kv.client" -- the container

local M = {}

local MOST_KEYS = 1000000 -- as Redis's tracking-table-max-keys: past that, all are forgotten, and everybody is told so
local CHANNEL = "__redis__:invalidate"

---@class lunode.kv.tracking
---@field count integer  sessions that track
local methods = {}
local tracking_mt = { __name = "lunode.kv.tracking", __index = methods }

---@param node lunode.kv.node
---@return lunode.kv.tracking
function M.new(node)
  return setmetatable({
    node = node,
    count = 0,
    sessions = {}, -- as keys
    readers = {}, -- key → sessions, as keys, that have read it
    keys = 0, -- how many are remembered
    changed = nil, -- keys that have changed in this turn, in order: { key, by: the session that did it }
    is_flushed = false, -- all of them have
  }, tracking_mt)
end

-- ---- who tracks

---@param session lunode.kv.session
---@param modes table  redirect, bcast, optin, optout, noloop, prefixes
function methods:start(session, modes)
  if not session.tracking then
    self.count = self.count + 1
    self.sessions[session] = true
  end
  session.tracking = modes
  session:update()
  self.node.writes:update()
end

---@param session lunode.kv.session
function methods:stop(session)
  if session.tracking then
    session.tracking = nil
    self.sessions[session] = nil
    self.count = self.count - 1
    if not session.closed then
      session:update()
    end
    self.node.writes:update()
    if self.count == 0 then
      self.readers, self.keys, self.changed = {}, 0, nil
    end
  end
end

---A session has sent a command that reads: it may keep what it gets.
---@param session lunode.kv.session
---@param entry table
---@param args string[]
function methods:saw(session, entry, args)
  local modes = session.tracking
  local caching = modes.caching
  if not entry.name:find("^client|") and not self.node.ctx.in_transaction then
    modes.caching = nil -- that was for this one
  end
  if modes.bcast or not entry.reads or modes.optin and not caching or modes.optout and caching == false
    or not getkeys.has_keys(entry) then
    return
  end
  for _, key in ipairs(getkeys.find(entry, args) or {}) do
    local name = args[key.at]
    local readers = self.readers[name]
    if not readers then
      readers = {}
      self.readers[name], self.keys = readers, self.keys + 1
    end
    readers[session] = true
  end
  if self.keys > MOST_KEYS then
    self:touch_all()
  end
end

-- ---- what changes

---A key has changed.
---@param key string
---@param by lunode.kv.session?  whose command did it
function methods:touch(key, by)
  if self.count == 0 then
    return
  end
  self.changed = self.changed or {}
  self.changed[#self.changed + 1] = { key = key, by = by }
end

---All keys may have changed.
function methods:touch_all()
  if self.count == 0 then
    return
  end
  self.changed, self.is_flushed = self.changed or {}, true
end

-- To the session itself, or to the one that it wants them sent to.
local function tell(self, session, keys)
  local target = session
  if session.tracking.redirect > 0 then
    target = self.node:find_session(session.tracking.redirect)
    if not target then
      session.tracking.is_broken = true
      if session.protocol == 3 then
        self.node.channels:push(session, resp.encode(resp.push {
          "tracking-redir-broken", session.tracking.redirect,
        }, 3))
      end
      return
    end
  end
  if target.protocol == 3 then
    self.node.channels:push(target, resp.encode(resp.push { "invalidate", keys }, 3))
  elseif target ~= session then
    self.node.channels:push(target, resp.encode({ "message", CHANNEL, keys }, 2))
  end
end

local function covers(modes, key)
  for _, prefix in ipairs(modes.prefixes) do
    if key:sub(1, #prefix) == prefix then
      return true
    end
  end
  return false
end

local function ordered_sessions(set)
  local list = {}
  for session in pairs(set) do
    list[#list + 1] = session
  end
  table.sort(list, function(a, b)
    return a.id < b.id
  end)
  return list
end

-- Each key that has changed to those who have read it.
local function tell_readers(self, changed)
  for _, one in ipairs(changed) do
    local readers = self.readers[one.key]
    if readers then
      self.readers[one.key], self.keys = nil, self.keys - 1
      for _, session in ipairs(ordered_sessions(readers)) do
        if session.tracking and not session.closed and not (session.tracking.noloop and one.by == session) then
          tell(self, session, { one.key })
        end
      end
    end
  end
end

-- All of a turn that has a prefix, at once.
local function tell_prefixes(self, changed)
  for _, session in ipairs(ordered_sessions(self.sessions)) do
    local modes, keys, seen = session.tracking, {}, {}
    for _, one in ipairs(modes.bcast and changed or {}) do
      if not seen[one.key] and covers(modes, one.key) and not (modes.noloop and one.by == session) then
        seen[one.key] = true
        keys[#keys + 1] = one.key
      end
    end
    if #keys > 0 then
      tell(self, session, keys)
    end
  end
end

---At the end of a turn: sends what has changed in it.
function methods:end_turn()
  local changed, is_flushed = self.changed, self.is_flushed
  if not changed then
    return
  end
  self.changed, self.is_flushed = nil, false
  tell_readers(self, changed)
  tell_prefixes(self, changed)
  if is_flushed then
    self.readers, self.keys = {}, 0
    for _, session in ipairs(ordered_sessions(self.sessions)) do
      tell(self, session, resp.null)
    end
  end
end

-- ---- CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR

local FLAGS = { "noscript", "loading", "stale" }

local NO_REDIRECT = resp.error("ERR The client ID you want redirect to does not exist")
local PREFIX_NEEDS_BCAST = resp.error("ERR PREFIX option requires BCAST mode to be enabled")
local SWITCHED = resp.error("ERR You can't switch BCAST mode on/off before disabling tracking for this client, and "
  .. "then re-enabling it with a different mode.")
local BOTH = resp.error("ERR You can't specify both OPTIN mode and OPTOUT mode")
local BCAST_OPT = resp.error("ERR OPTIN and OPTOUT are not compatible with BCAST")
local OPT_SWITCHED = resp.error("ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and "
  .. "then re-enabling it with a different mode.")

-- Prefixes may not overlap: a key would be told twice.
local function check_prefixes(given, existing)
  for _, prefix in ipairs(given) do
    for _, other in ipairs(existing) do
      if prefix:sub(1, #other) == other or other:sub(1, #prefix) == prefix then
        error(errors.quoting("ERR Prefix '%s' overlaps with an existing prefix '%s'. Prefixes for a single client must "
          .. "not overlap.", prefix, other), 0)
      end
    end
  end
  for i, prefix in ipairs(given) do
    for j = i + 1, #given do
      local other = given[j]
      if prefix:sub(1, #other) == other or other:sub(1, #prefix) == prefix then
        error(errors.quoting("ERR Prefix '%s' overlaps with another provided prefix '%s'. Prefixes for a single client "
          .. "must not overlap.", prefix, other), 0)
      end
    end
  end
end

local function parse_modes(node, args)
  local modes, i = { redirect = 0, prefixes = {} }, 2
  while i <= #args do
    local word = args[i]:upper()
    if word == "REDIRECT" and args[i + 1] then
      if modes.redirect ~= 0 then
        error(resp.error("ERR A client can only redirect to a single other client"), 0)
      end
      modes.redirect = numbers.integer(args[i + 1])
      if not node:find_session(modes.redirect) then
        error(NO_REDIRECT, 0)
      end
      i = i + 1
    elseif word == "BCAST" or word == "OPTIN" or word == "OPTOUT" or word == "NOLOOP" then
      modes[word:lower()] = true
    elseif word == "PREFIX" and args[i + 1] then
      modes.prefixes[#modes.prefixes + 1] = args[i + 1]
      i = i + 1
    else
      error(errors.SYNTAX, 0)
    end
    i = i + 1
  end
  return modes
end

local function turn_on(session, modes)
  local before = session.tracking
  if #modes.prefixes > 0 and not modes.bcast then
    error(PREFIX_NEEDS_BCAST, 0)
  elseif before and (before.bcast or false) ~= (modes.bcast or false) then
    error(SWITCHED, 0)
  elseif modes.bcast and (modes.optin or modes.optout) then
    error(BCAST_OPT, 0)
  elseif modes.optin and modes.optout then
    error(BOTH, 0)
  elseif before and (modes.optin and before.optout or modes.optout and before.optin) then
    error(OPT_SWITCHED, 0)
  end
  if modes.bcast then
    check_prefixes(modes.prefixes, before and before.prefixes or {})
    modes.prefixes = table.move(modes.prefixes, 1, #modes.prefixes, #(before and before.prefixes or {}) + 1,
      before and before.prefixes or {})
    if #modes.prefixes == 0 then
      modes.prefixes = { "" }
    end
  end
  session.node.tracking:start(session, modes)
end

command.command("CLIENT|TRACKING", {
  arity = -3, variadic = true, flags = FLAGS, group = "connection", since = "6.0.0",
  complexity = "O(1). Some options may introduce additional complexity.",
  summary = "Enable or disable server assisted client side caching support",
  run = function(ctx, args)
    local modes, word = parse_modes(ctx.node, args), args[1]:lower()
    if word == "on" then
      turn_on(ctx.session, modes)
    elseif word == "off" then
      ctx.node.tracking:stop(ctx.session)
    else
      return errors.SYNTAX
    end
    return resp.OK
  end,
})

local NOT_OPTING = resp.error("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
  .. "OPTOUT mode enabled")
local ONLY_OPTIN = resp.error("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
local ONLY_OPTOUT = resp.error("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")

command.command("CLIENT|CACHING", {
  arity = 3, flags = FLAGS, group = "connection", since = "6.0.0", complexity = "O(1)",
  summary = "Instruct the server about tracking or not keys in the next request",
  run = function(ctx, word)
    local modes = ctx.session.tracking
    word = word:lower()
    if not modes or not (modes.optin or modes.optout) then
      return NOT_OPTING
    elseif word ~= "yes" and word ~= "no" then
      return errors.SYNTAX
    elseif word == "yes" and not modes.optin then
      return ONLY_OPTIN
    elseif word == "no" and not modes.optout then
      return ONLY_OPTOUT
    end
    modes.caching = word == "yes"
    return resp.OK
  end,
})

command.command("CLIENT|GETREDIR", {
  arity = 2, flags = FLAGS, group = "connection", since = "6.0.0", complexity = "O(1)",
  summary = "Get tracking notifications redirection client ID if any",
  run = function(ctx)
    local modes = ctx.session.tracking
    return modes and modes.redirect or -1
  end,
})

command.command("CLIENT|TRACKINGINFO", {
  arity = 2, flags = FLAGS, group = "connection", since = "6.2.0", complexity = "O(1)",
  summary = "Return information about server assisted client side caching for the current connection",
  run = function(ctx)
    local modes = ctx.session.tracking
    if not modes then
      return resp.map { "flags", resp.set { "off" }, "redirect", -1, "prefixes", {} }
    end
    local flags = { "on" }
    for _, flag in ipairs { "bcast", "optin", "optout" } do
      flags[#flags + 1] = modes[flag] and flag or nil
    end
    if modes.caching ~= nil then
      flags[#flags + 1] = modes.caching and "caching-yes" or "caching-no"
    end
    flags[#flags + 1] = modes.noloop and "noloop" or nil
    flags[#flags + 1] = modes.is_broken and "broken_redirect" or nil
    local prefixes = table.move(modes.prefixes, 1, #modes.prefixes, 1, {})
    table.sort(prefixes)
    return resp.map { "flags", resp.set(flags), "redirect", modes.redirect, "prefixes", prefixes }
  end,
})

return M
