-- What goes to the other members of a cluster and comes from them, and who is believed to be one. Part of driver.lua:
-- methods of a driver.

local configs = require "lunode.raft.config"
local events = require "lunode.raft.events"
local founding = require "lunode.raft.founding"
local join = require "lunode.raft.join"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local storage = require "lunode.raft.storage"
local transport = require "lunode.raft.transport"

local M = {}

M.MAX_PAYLOAD = 16 << 20
local MAX_MESSAGE = M.MAX_PAYLOAD + (4 << 20)

---@param message table
---@param name? string  of the snapshot that was sent before it
function M:send_message(message, name)
  self.transport:send(message.to, events.encode(message, name))
end

---@param messages table[]
function M:send_all(messages)
  for i = 1, #messages do
    local message = messages[i]
    if message.type == "snapshot" then
      self.snapshots:send(message)
    else
      self:send_message(message)
    end
  end
end

-- What a full disk cannot take counts as lost on the way: its sender tries again.
local function has_room(self, message)
  local entries = message.type == "append" and message.entries
  if type(entries) ~= "table" or #entries == 0 then
    return true
  elseif self.backlog[1] then
    return false
  elseif self.store then
    local ok, _, code = self.store:room()
    if not ok and storage.is_full(code) then
      return false
    end
  end
  local bytes = 0
  for i = 1, #entries do
    local payload = entries[i].payload
    bytes = bytes + (type(payload) == "string" and #payload or 0) + 64
  end
  return self.storage.log:room(bytes)
end

-- What the driver's owner hears of. It must not raise; if it does, that is reported, and harms nobody.
local function call_owner(fn, ...)
  if fn then
    local ok, err = xpcall(fn, debug.traceback, ...)
    if not ok then
      loop.report(err)
    end
  end
end

---Tells another member something that is no matter of Raft's. It comes in the order in which it was told, or it is lost
---with the connection, and `on_link` tells that.
---@param id string
---@param what any  that MessagePack can carry
---@return boolean sent  false: there is no connection to it
function M:tell(id, what)
  return not self.closed and self.transport:send(id, msgpack.encode { "told", what })
end

-- A voter is one with the disk that the configuration has for it: who was let in before that was known here, under its
-- id, is not heard any more.
local function is_itself(self, from, disk)
  local member = self.core.config.members[from]
  return not (member and member.disk) or member.disk == disk
end

local function on_frame(self, from, frame, reply, disk)
  local kind = frame[1]
  if self.closed then
    return
  elseif kind == "founding" then
    return founding.hear(self, from, frame, reply)
  elseif not self.core or not is_itself(self, from, disk) then
    return
  elseif kind == "snapshot" then
    return self.snapshots:on_offer(from, frame, reply)
  elseif kind == "chunk" then
    return self.snapshots:on_chunk(from, frame, reply)
  elseif kind == "told" then
    return call_owner(self.options.on_told, from, frame[2], function(answer)
      reply { "answer", answer }
    end)
  end
  local message = kind == "message" and events.decode(frame, from, self.id)
  if not message or message.type == "snapshot" and not self.snapshots:is_complete(message, frame[4]) then
    return
  elseif has_room(self, message) then
    self:step { type = "message", message = message }
  else
    logger.debug("raft: no room on the disk for what %s sends", from)
  end
end

---Has connections to the members there are.
function M:meet_members()
  local applied = configs.decode(self.applied_config)
  for _, id in ipairs((self.core and self.core.config or applied).ids) do
    self.transport:open(id)
  end
  for id in pairs(applied.removed) do -- nobody sees in which order
    self.transport:drop(id)
  end
end

local function address_of(self, id)
  local config = self.core and self.core.config or configs.decode(self.applied_config)
  local member = config.members[id]
  return member and member.address or self.transport:hint(id)
end

-- The disk of which a server is known: to all, or to this one.
local function disk_of(self, id)
  local member = self.core and self.core.config.members[id]
  if member and member.disk then
    return member.disk
  end
  return self.storage:disk_of(id)
end

-- Whoever has once been met with a disk must come with that one: without it, it has forgotten what it has promised.
local function accept(self, who, fn)
  local id, disk = who.id, who.disk
  if not configs.is_id(id) then
    return fn "that is no id"
  elseif self.storage.group == "" and who.group ~= "" then
    return self.storage:adopt(who.group, function(failure)
      if failure and not self.closed then
        self:fail(failure)
      end
      return failure and fn(failure) or accept(self, who, fn)
    end)
  end
  local known, err = disk_of(self, id)
  if configs.decode(self.applied_config).removed[id] then
    fn(("%s was removed from the cluster"):format(id))
  elseif err then
    fn(err)
  elseif known and known ~= disk then
    fn(("%s comes with another disk than before: it has lost its data; remove it, and add it under another id"):format(
      id))
  elseif known then
    fn(nil)
  else
    self.storage:keep_disk(id, disk, function(failure)
      if failure and not self.closed then
        return self:fail(failure)
      end
      fn(failure)
      if self.founding and not failure then
        self.founding:learn(id, disk)
      end
    end)
  end
end

---@return lunode.raft.transport?
---@return string? err, lunode.code? code
function M:open_transport()
  local o = self.options
  return transport.open {
    id = self.id, cluster = o.cluster, disk = self.storage.disk, secret = o.secret, newest = o.protocol,
    format = o.format,
    listen = o.listen,
    group = function()
      return self.storage.group
    end,
    address = o.address or o.members and o.members[self.id] or o.listen,
    patience = self.patience, max_message = MAX_MESSAGE,
    address_of = function(id)
      return address_of(self, id)
    end,
    accept = function(who, fn)
      accept(self, who, fn)
    end,
    on_question = function(id, frame, reply)
      join.answer(self, id, frame, reply)
    end,
    on_connected = function(id)
      self:step { type = "connected", peer = id }
      if self.founding then
        founding.say_to(self, id)
      end
      call_owner(self.options.on_link, id, true)
    end,
    on_lost = function(id)
      self.snapshots:abort(id)
      call_owner(self.options.on_link, id, false)
    end,
    on_frame = function(id, frame, reply, disk)
      on_frame(self, id, frame, reply, disk)
    end,
    on_reply = function(id, frame)
      if type(frame) == "table" and frame[1] == "have" then
        self.snapshots:on_have(id, frame)
      elseif type(frame) == "table" and frame[1] == "answer" then
        call_owner(self.options.on_answer, id, frame[2])
      elseif type(frame) == "table" and frame[1] == "founding" then
        founding.hear(self, id, frame)
      end
    end,
  }
end

return M
