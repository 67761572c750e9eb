-- A client's connection: what it is allowed, what it waits for, what it watches, when it sends no more. Runs no
-- commands: kv.dispatch does.
local channels = require "lunode.kv.channels"
local logger = require "lunode.logger"
local loop = require "lunode.loop"

local M = {}

-- Commands of one connection that wait: then it sends no more, until half of them have their replies.
local MOST_WAITING = 1024

-- What it has sent behind a command that blocks: past that, it is closed.
local MOST_HELD_BYTES = 64 << 20
local HELD_BYTES = 256 -- of a command, beside its words

---@class lunode.kv.session
---@field node lunode.kv.node
---@field conn lunode.conn
---@field id integer
---@field protocol 2|3
---@field name string        "" where it has none
---@field authenticated boolean
---@field created integer    milliseconds since the epoch
---@field last integer       when its last command came
---@field command table?     its last command
---@field waiting integer    commands whose replies are still to come
---@field diverted boolean   what it sends takes the long way (kv.divert): it waits, or is in a transaction, or …
---@field multi table?       what it has queued since MULTI
---@field subscriptions table?  the names and the counts of its subscriptions (kv.channels)
---@field watching table<string, table>?  the keys that it watches
---@field blocked lunode.kv.blocking_waiter?  it waits for an element
---@field held table?        what it has sent behind a command that may block
---@field closed boolean
---@field unit lunode.kv.unit?  in a cluster: with the last command of it that writes
---@field watch_id string?  in a cluster: of what it watches (kv.replicated_watches)
---@field read_mode "leader"|"stale"|nil  in a cluster: which state is good enough for it (nil: linearizable)
---@field max_age number  seconds: how old, for "stale"
---@field redirects boolean?  in a cluster: whether it is told who leads; nil: as the node is set
local methods = {}
local session_mt = { __name = "lunode.kv.session", __index = methods }

---@param node lunode.kv.node
---@param conn lunode.conn
---@param id integer
---@param now integer
---@return lunode.kv.session
function M.new(node, conn, id, now)
  local self = setmetatable({
    node = node,
    conn = conn,
    id = id,
    protocol = 2,
    name = "",
    authenticated = true,
    created = now,
    last = now,
    command = nil,
    waiting = node.cluster and 1 or 0, -- in a cluster all commands take the way of those that wait
    diverted = node.cluster ~= nil,
    multi = nil,
    subscriptions = nil,
    watching = nil,
    blocked = nil,
    held = nil,
    held_bytes = 0,
    silence = nil, -- "off": it wants no replies; "skip": not the next one
    quiet = false, -- the command under way gets none
    asked = 0, -- of the commands that have ever waited: how many there were,
    answered = 0, -- how many have been answered,
    muted = nil, -- and the numbers of those that get no reply
    monitors = false, -- it sees what the others send
    no_evict = nil,
    tracking = nil,
    watched = false, -- it has sent WATCH since the last EXEC or DISCARD: so `watching` may still be filled
    crowded = false, -- too many wait
    full = false, -- it does not take its replies
    leaving = false,
    closed = false,
    unit = nil,
    watch_id = nil,
    read_mode = nil,
    max_age = 0,
    redirects = nil,
  }, session_mt)
  if node.requirepass then
    self:set_authenticated(false)
  end
  self:update()
  return self
end

---To be called when one of the states has changed that `divert` looks at.
function methods:update()
  local node = self.node
  self.diverted = self.waiting > 0 or self.multi ~= nil or self.held ~= nil or self:is_listener()
    or self.silence ~= nil or node.paused ~= nil or node.monitors.count > 0 or self.tracking ~= nil
    or not self.authenticated
end

---Whether it has subscriptions, and a protocol in which messages look like replies.
---@return boolean
function methods:is_listener()
  return self.subscriptions ~= nil and self.protocol == 2 and channels.class(self) == "pubsub"
end

---@param authenticated boolean
function methods:set_authenticated(authenticated)
  self.authenticated = authenticated
  self.conn:set { authenticated = authenticated } -- until then, commands are bounded tightly
  self:update()
end

---@param protocol 2|3  of its replies, from the one under way on
function methods:set_protocol(protocol)
  self.protocol = protocol
  self.conn:set { protocol = protocol }
  self:update()
end

---Back to how a new connection is: RESET.
function methods:reset()
  self.name, self.read_mode, self.redirects = "", nil, nil
  self.multi, self.watched, self.silence, self.quiet, self.no_evict = nil, false, nil, false, nil
  self:unwatch()
  self.node.monitors:remove(self)
  self.node.tracking:stop(self)
  self.node.channels:forget(self)
  self.node.channels:set_limit(self)
  self:set_protocol(2)
  if self.node.requirepass then
    self:set_authenticated(false)
  end
end

---Takes no further commands.
function methods:leave()
  self.leaving = true
  self.conn:pause()
end

---Takes no further commands, and closes once the reply of this one is sent.
function methods:quit()
  self:leave()
  loop.defer(function()
    self.conn:close()
  end)
end

---Its connection has closed.
function methods:end_()
  self.closed = true
  self:unwatch()
  self.node.monitors:remove(self)
  self.node.tracking:stop(self)
  self.node.blocking:forget(self)
  self.node.channels:forget(self)
end

---Whether it may be closed because it has sent nothing for long: `timeout`.
---@return boolean
function methods:may_time_out()
  return not (self.blocked or self.monitors) and channels.class(self) == "normal"
end

-- ---- keys that it watches

---@param key string
---@param db lunode.kv.db
function methods:watch(key, db)
  local watching = self.watching or {}
  self.watching = watching
  if not watching[key] then
    local _, value = db:find(key)
    watching[key] = { token = self.node.watches:add(key), existed = value ~= nil }
    self.node.writes:update()
  end
end

---Whether a key that it watches has changed.
---@return boolean
function methods:has_dirty_keys()
  for key, was in pairs(self.watching or {}) do
    if not self.node.watches:is_same(key, was.token, was.existed) then
      return true
    end
  end
  return false
end

---Watches no key any more.
---@return boolean same  none of them had changed
function methods:unwatch()
  local watching, node, same = self.watching, self.node, true
  self.watching = nil
  for key, was in pairs(watching or {}) do
    same = same and node.watches:is_same(key, was.token, was.existed)
      and not (was.existed and node.db:has_expired(key))
    node.watches:remove(key)
  end
  if watching then
    node.writes:update()
  elseif self.watch_id then
    node.writes.watching:leave(self)
  end
  return same
end

-- ---- commands that wait

---One more command waits.
function methods:wait()
  self.waiting, self.asked = self.waiting + 1, self.asked + 1
  self.diverted = true
  if self.quiet then
    self.muted = self.muted or {}
    self.muted[self.asked] = true
  end
  if self.waiting >= MOST_WAITING then
    self:crowd()
  end
end

---It sends no more before it has replies.
function methods:crowd()
  self.crowded = true
  self.conn:pause()
end

local function go_on(self)
  if not (self.crowded or self.full or self.leaving or self.closed) then
    self.conn:resume()
  end
end

---Replies to the command that has waited longest.
---@param bytes string
function methods:answer(bytes)
  self.waiting, self.answered = self.waiting - 1, self.answered + 1
  if self.waiting == 0 then
    self:update()
  end
  local muted = self.muted
  if muted and muted[self.answered] then
    muted[self.answered] = nil
  else
    self:write(bytes)
  end
  if self.crowded and self.waiting <= MOST_WAITING // 2 then
    self.crowded = false
    go_on(self)
  end
end

---Sends bytes that are replies.
---@param bytes string
function methods:write(bytes)
  if not self.closed and self.conn:write(bytes) == false then
    self.full = true
    self.conn:pause()
  end
end

---Its replies have left.
function methods:drained()
  if self.full then
    self.full = false
    go_on(self)
  end
end

-- ---- commands behind one that may block

---What comes from now on waits until `release`. Connections are read on, as else nobody would see them close.
function methods:hold()
  self.held = self.held or {}
  self.diverted = true
end

---Whether the command that they wait for has its reply: it was the last one to be sent.
---@return boolean
function methods:is_answered()
  return not self.blocked and self.waiting <= (self.node.cluster and 1 or 0)
end

---A command to be held.
---@param name string
---@param args string[]
function methods:keep(name, args)
  local held = self.held
  held[#held + 1] = { name = name, args = args }
  self.held_bytes = self.held_bytes + HELD_BYTES + #name
  for i = 1, #args do
    self.held_bytes = self.held_bytes + #args[i]
  end
  if self.held_bytes > MOST_HELD_BYTES then
    logger.warn("closed a connection that has sent %d commands behind one that blocks", #held)
    self.conn:abort()
  end
end

---Runs what was held, up to the next command that blocks.
function methods:release()
  local held = self.held or {}
  self.held, self.held_bytes = nil, 0
  self:update()
  for i, one in ipairs(held) do
    if self.closed then
      return
    elseif self.held then
      self:keep(one.name, one.args)
    else
      self.node.perform(self, one.name, one.args)
    end
    held[i] = false
  end
end

return M
