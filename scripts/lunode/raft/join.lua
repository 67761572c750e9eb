-- How a server gets into a cluster by itself: it asks until it is a voter, and the cluster's leader does the rest. Adds
-- nobody: that is a change of the membership as any other, which the leader makes or refuses.
--
-- It asks any member, at its address, on a connection of its own (auth.lua, with "" for whom it looks for):
--
--   {"join", address}     {"joined", "voter" | "waits" | "elsewhere" | "refused", text, the leader's address}
--
-- waits: it is a learner now, or nobody leads, or another change is under way; it asks again. Once a voter it never
-- asks again, also not after a restart: who demotes it means that.

local auth = require "lunode.raft.auth"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local options_of = require "lunode.rpc.options"
local tcp_client = require "lunode.tcp_client"

local M = {}

local AGAIN = 0.5 -- seconds
local PATIENCE = 5 -- seconds, for an answer
local MAX_ANSWER = 4096 -- bytes

-- ---------------------------------------------------------------- who is asked

-- What the leader makes of it.
local function change_for(driver, id, address)
  local member = driver.core.config.members[id]
  if not member then
    return { kind = "add", id = id, address = address }
  elseif member.address ~= address then
    return nil, "refused", ("%s is a member already, at %s, and not at %s: choose another id"):format(id,
      member.address or "no address", address)
  elseif member.voter then
    return nil, "voter", ""
  end
  return { kind = "promote", id = id }
end

---A server asks to be a member.
---@param driver lunode.raft.driver
---@param id string
---@param frame any[]
---@param reply fun(frame: any[])
function M.answer(driver, id, frame, reply)
  local core, address = driver.core, frame[2]
  if frame[1] ~= "join" or type(address) ~= "string" then
    return reply { "joined", "refused", "what it asks cannot be read", "" }
  elseif not core or core.role ~= "leader" then
    local leader = core and core.leader and core.config.members[core.leader]
    return reply { "joined", leader and "elsewhere" or "waits", "nobody leads", leader and leader.address or "" }
  end
  local change, verdict, text = change_for(driver, id, address)
  if not change then
    return reply { "joined", verdict, text, "" }
  end
  driver:change(change, function(_, err)
    if not err then
      logger.info("raft: %s is a %s now, as it has asked", id, change.kind == "add" and "learner" or "voter")
    end
    local removed = driver.core and driver.core.config.removed[id]
    reply { "joined", removed and "refused" or not err and change.kind == "promote" and "voter" or "waits",
      err and err.message or "it is a learner now", "" }
  end)
end

-- ---------------------------------------------------------------- who asks

---@class lunode.raft.joiner
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.joiner" }

local function tell(self, format, ...)
  local text = format:format(...)
  if self.told ~= text then
    self.told = text
    logger.info("raft: %s", text)
  end
end

local function ask_later(self)
  if not self.closed then
    self.timer = loop.timer(AGAIN * (0.75 + loop.random(0, 500) / 1000), function()
      self.timer = nil
      self:ask()
    end)
  end
end

-- Whoever leads is asked next; if that leads nowhere, the one that was named first, again.
local function on_joined(self, frame)
  local verdict, text, leader = frame[2], tostring(frame[3]), frame[4]
  self.at = verdict == "elsewhere" and type(leader) == "string" and leader ~= "" and leader or self.address
  if verdict == "voter" then
    tell(self, "this member is a voter now")
    self:close()
    self.driver.storage:keep_joined(function(err)
      if err and not self.driver.closed then
        self.driver:fail(err)
      end
    end)
  elseif verdict == "refused" then
    tell(self, "the cluster at %s refuses this member: %s", self.asked, text)
  elseif verdict == "waits" then
    self.at = self.asked
    tell(self, "waiting to be a voter: %s", text)
  end
end

local function on_frame(self, conn, frame)
  if conn.data.known then
    if type(frame) == "table" and frame[1] == "joined" then
      on_joined(self, frame)
    end
    return conn:close()
  end
  local verdict, value = conn.data.handshake:step(frame)
  if verdict == "say" then
    conn:write(msgpack.encode(value))
  elseif verdict == "known" then
    conn.data.known = true
    conn:write(msgpack.encode { "join", self.driver.transport.options.address })
  else
    tell(self, verdict == "refused" and "the member at %s refuses this one: %s" or "the member at %s is refused: %s",
      self.asked, value:sub(1, 500))
    conn:close()
  end
end

---Asks once; and again later, unless it was answered for good.
function methods:ask()
  local ok, host, port = pcall(options_of.address, self.at, "raft")
  if not ok then
    self.at = self.address
    return ask_later(self)
  end
  self.asked = self.at
  self.conn = tcp_client.connect(host, port, {
    connect_timeout = PATIENCE, read_timeout = PATIENCE, write_timeout = PATIENCE,
    decoder = "msgpack", max_message = MAX_ANSWER,
    on_connect = function(conn, err)
      if err then
        self.at = self.address
        return tell(self, "cannot ask the member at %s: %s", self.asked, err)
      end
      local handshake, hello = auth.connect(self.driver.transport:credentials(), "")
      conn.data = { handshake = handshake, known = false }
      conn:write(msgpack.encode(hello))
    end,
    on_message = function(conn, frame)
      on_frame(self, conn, frame)
    end,
    on_bad_message = function()
      tell(self, "what listens at %s is no member: give --join a member's cluster address", self.asked)
    end,
    on_close = function()
      self.conn = nil
      ask_later(self)
    end,
  })
end

---Begins to ask, where there is anything to ask for.
---@param driver lunode.raft.driver
---@param address string?  "HOST:PORT" of any member
---@return lunode.raft.joiner?
function M.start(driver, address)
  if not address or driver.storage:has_joined() then
    return nil
  end
  local self = setmetatable({
    driver = driver, address = address, at = address, asked = nil, conn = nil, timer = nil, told = nil, closed = false,
  }, metatable)
  self:ask()
  return self
end

function methods:close()
  self.closed = true
  if self.timer then
    self.timer:close()
  end
  if self.conn then
    self.conn:close()
  end
end

return M
