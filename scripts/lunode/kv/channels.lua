-- Who listens to which channels and patterns on this node, and the delivery of messages to them. It knows no commands.
--
-- A subscriber that does not take its messages is closed at its output limit, so what it costs is bounded: the hard
-- limit is the cap of its connection; the soft one is looked at while anybody is above it.
local glob = require "lunode.kv.glob"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

local M = {}

---Kinds of subscriptions: what the field of a session, and of the registry, is called.
---@alias lunode.kv.subscription "channels"|"patterns"|"shards"

local LOOK_INTERVAL = 1 -- seconds, while somebody is above the soft limit
local UNLIMITED = 8 << 30 -- what stands for it: the cap of a connection

---@class lunode.kv.channels
---@field channels table<string, table>
---@field patterns table<string, table>
---@field shards table<string, table>
---@field pattern_count integer
local methods = {}
local channels_mt = { __name = "lunode.kv.channels", __index = methods }

---@return lunode.kv.channels
function M.new()
  return setmetatable({
    channels = {}, -- name → {list: sessions, at: session → its place in it}
    patterns = {},
    shards = {},
    pattern_list = nil, -- the patterns, ordered; nil: to be made
    pattern_count = 0,
    limits = { -- of output, by class: bytes at once, bytes for so many seconds; 0: none
      normal = { hard = 0, soft = 0, seconds = 0 },
      slave = { hard = 268435456, soft = 67108864, seconds = 60 },
      pubsub = { hard = 33554432, soft = 8388608, seconds = 60 },
    },
    slow = {}, -- session → since when it is above the soft limit
    timer = nil,
  }, channels_mt)
end

-- ---- subscriptions

---The names in a table of subscriptions, ordered.
---@param names table<string, any>
---@return string[]
function M.ordered(names)
  local list = {}
  for name in pairs(names) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

-- Most sessions never subscribe.
local function subscriptions_of(session)
  local own = session.subscriptions
  if not own then
    own = { channels = {}, patterns = {}, shards = {}, counts = { channels = 0, patterns = 0, shards = 0 } }
    session.subscriptions = own
  end
  return own
end

---How many subscriptions of a kind a session has.
---@param session lunode.kv.session
---@param kind lunode.kv.subscription
---@return integer
function M.own_count(session, kind)
  return session.subscriptions and session.subscriptions.counts[kind] or 0
end

---Their names, ordered.
---@param session lunode.kv.session
---@param kind lunode.kv.subscription
---@return string[]
function M.own_names(session, kind)
  return M.ordered(session.subscriptions and session.subscriptions[kind] or {})
end

---@param session lunode.kv.session
---@param kind lunode.kv.subscription
---@param name string
function methods:subscribe(session, kind, name)
  local own = subscriptions_of(session)
  if own[kind][name] then
    return
  end
  own[kind][name] = true
  own.counts[kind] = own.counts[kind] + 1
  local listeners = self[kind][name]
  if not listeners then
    listeners = { list = {}, at = {} }
    self[kind][name] = listeners
    if kind == "patterns" then
      self.pattern_list, self.pattern_count = nil, self.pattern_count + 1
    end
  end
  local place = #listeners.list + 1
  listeners.list[place], listeners.at[session] = session, place
end

---@param session lunode.kv.session
---@param kind lunode.kv.subscription
---@param name string
function methods:unsubscribe(session, kind, name)
  local own = session.subscriptions
  if not own or not own[kind][name] then
    return
  end
  own[kind][name] = nil
  own.counts[kind] = own.counts[kind] - 1
  local listeners = self[kind][name]
  local list, at = listeners.list, listeners.at
  local last, place = list[#list], at[session]
  list[place], at[last] = last, place -- the last one takes its place
  list[#list], at[session] = nil, nil
  if #list == 0 then
    self[kind][name] = nil
    if kind == "patterns" then
      self.pattern_list, self.pattern_count = nil, self.pattern_count - 1
    end
  end
end

---How many listen to a channel.
---@param kind lunode.kv.subscription
---@param name string
---@return integer
function methods:count(kind, name)
  local listeners = self[kind][name]
  return listeners and #listeners.list or 0
end

---Ends all subscriptions of a session.
---@param session lunode.kv.session
function methods:forget(session)
  self.slow[session] = nil
  for _, kind in ipairs { "channels", "patterns", "shards" } do
    for _, name in ipairs(M.own_names(session, kind)) do
      self:unsubscribe(session, kind, name)
    end
  end
  session.subscriptions = nil
end

-- ---- limits

---The class of a session: that of its output limits, and of CLIENT LIST and KILL.
---@param session lunode.kv.session
---@return "normal"|"pubsub"
function M.class(session)
  local counts = session.subscriptions and session.subscriptions.counts
  return counts and counts.channels + counts.patterns + counts.shards > 0 and "pubsub" or "normal"
end

---To be called when a session's class, or the limits, may have changed.
---@param session lunode.kv.session
function methods:set_limit(session)
  local limited = session.monitors and "pubsub" or M.class(session)
  local hard = self.limits[limited].hard
  session.conn:set { cap = hard > 0 and hard or UNLIMITED }
end

local function drop(session, bytes)
  logger.warn("closed client %d: it does not take its messages, %d bytes are queued; see "
    .. "client-output-buffer-limit", session.id, bytes)
  session.conn:abort()
end

-- Whether it is still within its soft limit.
local function look_at(self, session)
  local limit = self.limits[session.monitors and "pubsub" or M.class(session)]
  local queued = session.conn:stats().queued
  if limit.soft == 0 or queued <= limit.soft then
    self.slow[session] = nil
    return
  end
  local since = self.slow[session] or loop.now()
  self.slow[session] = since
  if loop.now() - since > limit.seconds then
    drop(session, queued)
  end
end

local function watch(self, session)
  look_at(self, session)
  if self.timer or not next(self.slow) then
    return
  end
  self.timer = loop.timer(LOOK_INTERVAL, function(timer)
    local list = {}
    for slow in pairs(self.slow) do
      list[#list + 1] = slow
    end
    table.sort(list, function(a, b)
      return a.id < b.id
    end)
    for _, slow in ipairs(list) do
      look_at(self, slow)
    end
    if not next(self.slow) then
      timer:close()
      self.timer = nil
    end
  end, LOOK_INTERVAL)
end

---Nothing of it keeps the loop alive any more.
function methods:close()
  if self.timer then
    self.timer:close()
    self.timer = nil
  end
end

---Writes bytes to a session that has not asked for them now.
---@param session lunode.kv.session
---@param bytes string
function methods:push(session, bytes)
  local room, _, code = session.conn:write(bytes)
  if room == false then
    watch(self, session)
  elseif code == "ENOBUFS" then
    drop(session, session.conn:stats().queued + #bytes)
  end
end

-- ---- delivery

-- Encoded once for each protocol that is needed.
local function deliver(self, listeners, ...)
  local encoded, list = {}, listeners.list
  for _, session in ipairs(list) do -- closing one does not change the list: that comes later
    local protocol = session.protocol
    encoded[protocol] = encoded[protocol] or resp.encode(resp.push { ... }, protocol)
    self:push(session, encoded[protocol])
  end
  return #list
end

---Gives a message to all who listen to a channel.
---@param channel string
---@param message string
---@return integer receivers
function methods:publish(channel, message)
  local count, listeners = 0, self.channels[channel]
  if listeners then
    count = deliver(self, listeners, "message", channel, message)
  end
  if self.pattern_count > 0 then
    self.pattern_list = self.pattern_list or M.ordered(self.patterns)
    for _, pattern in ipairs(self.pattern_list) do
      if glob.match(pattern, channel) then
        count = count + deliver(self, self.patterns[pattern], "pmessage", pattern, channel, message)
      end
    end
  end
  return count
end

---The same for a shard channel, which no pattern covers.
---@param channel string
---@param message string
---@return integer receivers
function methods:publish_shard(channel, message)
  local listeners = self.shards[channel]
  return listeners and deliver(self, listeners, "smessage", channel, message) or 0
end

return M
