-- Moves the state of the machine to members that lag behind the log, piece by piece, so that no more than a few pieces
-- are under way. Does not decide who needs it (core does), nor what the pieces are (pieces.lua and copies.lua do).
--
--   {"snapshot", number, meta}          →   {"have", number, n, done, key}: n pieces are here, up to that key
--   {"chunk", number, n, last, data}    →   the same
--   {"message", …, name}                    once all is there
--
-- A number is of one transfer: what belongs to an earlier one is not heard.

local logger = require "lunode.logger"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local storage = require "lunode.raft.storage"

local M = {}

local WINDOW = 16 -- pieces under way to a peer
local AT_ONCE = 2 -- pieces sent in one turn

---@class lunode.raft.snapshots
---@field driver lunode.raft.driver
---@field transfers table<string, table>  by peer
---@field incoming table?  { from, number, n, meta }: the transfer to here
---@field private last_number integer
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.snapshots" }

---@param driver lunode.raft.driver
---@return lunode.raft.snapshots
function M.new(driver)
  return setmetatable({
    driver = driver, transfers = {}, incoming = nil, last_number = loop.random(0, 1 << 40),
  }, metatable)
end

-- ---------------------------------------------------------------- sent

local function end_transfer(self, transfer, ok)
  if self.transfers[transfer.to] == transfer then
    self.transfers[transfer.to] = nil
    transfer.source:close()
    self.driver:step { type = "snapshot_sent", peer = transfer.to, session = transfer.message.session, ok = ok }
  end
end

---Sends what the message asks for, and then the message.
---@param message table  core's, of type "snapshot"
function methods:send(message)
  local driver, to = self.driver, message.to
  if self.transfers[to] then
    end_transfer(self, self.transfers[to], false)
  end
  local source, err
  if driver.transport:is_ready(to) then
    source, err = driver.state:source()
  end
  if not source then
    if err then
      logger.warn("raft: no snapshot can be sent to %s: %s", to, err)
    end
    return driver:step { type = "snapshot_sent", peer = to, session = message.session, ok = false }
  end
  local meta = source.meta
  message.index, message.log_term, message.config = meta.index, meta.term, meta.config
  self.last_number = self.last_number + 1
  self.transfers[to] = {
    to = to, message = message, source = source, number = self.last_number, moved = loop.now(),
    started = false, ended = false, pumping = false,
    sent = 0, acknowledged = 0, -- pieces
  }
  driver.transport:send(to, msgpack.encode { "snapshot", self.last_number, meta })
end

-- Sends as many pieces as may be under way, few a turn: others have their say in between.
local function pump(self, transfer)
  local driver, count = self.driver, 0
  while count < AT_ONCE and not transfer.ended and transfer.sent < transfer.acknowledged + WINDOW do
    local bytes, last, err = transfer.source:next()
    if not bytes then
      logger.warn("raft: the snapshot that is being sent to %s is lost: %s", transfer.to, err)
      return end_transfer(self, transfer, false)
    end
    count, transfer.sent, transfer.ended = count + 1, transfer.sent + 1, last
    local frame = { "chunk", transfer.number, transfer.sent, last, msgpack.bin(bytes) }
    if not driver.transport:send(transfer.to, msgpack.encode(frame)) then
      return end_transfer(self, transfer, false)
    end
  end
  if count == AT_ONCE and not transfer.pumping then
    transfer.pumping = true
    loop.defer(function()
      transfer.pumping = false
      if not driver.closed and self.transfers[transfer.to] == transfer then
        pump(self, transfer)
      end
    end)
  end
end

---A peer has the first n pieces.
---@param from string
---@param frame any[]
function methods:on_have(from, frame)
  local transfer = self.transfers[from]
  local _, number, n, done, key = table.unpack(frame, 1, 5)
  if not transfer or transfer.number ~= number or math.type(n) ~= "integer" or n < 0 then
    return
  end
  transfer.moved = loop.now()
  if done == true then
    self.driver:send_message(transfer.message, transfer.source.meta.name)
    return end_transfer(self, transfer, true)
  elseif not transfer.started then
    transfer.started, transfer.sent, transfer.acknowledged = true, n, n
    transfer.source:start(n, type(key) == "string" and key or nil)
  end
  transfer.acknowledged = math.min(math.max(transfer.acknowledged, n), transfer.sent)
  if not transfer.pumping then
    pump(self, transfer)
  end
end

---Gives up transfers that do not get on: the peer has another one under way, or no room.
---@param patience number  seconds; 0: all, as this member leads no more
function methods:tick(patience)
  local stuck = {}
  for to, transfer in pairs(self.transfers) do
    if loop.now() - transfer.moved >= patience then
      stuck[#stuck + 1] = to
    end
  end
  table.sort(stuck)
  for _, to in ipairs(stuck) do
    self:abort(to)
  end
end

---The connection to a peer is lost.
---@param to string
function methods:abort(to)
  local transfer = self.transfers[to]
  if transfer then
    end_transfer(self, transfer, false)
  end
end

function methods:close()
  for _, transfer in pairs(self.transfers) do -- nothing of it can be seen
    transfer.source:close()
  end
  self.transfers, self.incoming = {}, nil
end

-- ---------------------------------------------------------------- received

local function answer(incoming, have, reply)
  reply { "have", incoming.number, have.n, have.done, have.key and msgpack.bin(have.key) or nil }
end

---@param from string
---@param frame any[]
---@param reply fun(frame: any[])
function methods:on_offer(from, frame, reply)
  local number, meta, driver = frame[2], frame[3], self.driver
  if not storage.is_meta(meta) or math.type(number) ~= "integer" then
    return logger.debug("raft: %s offers a snapshot that is none", from)
  elseif driver.core.installing or driver.core.leader and driver.core.leader ~= from then
    return -- a leader that is new may offer one before it has said that it leads
  elseif (meta.data ~= nil) ~= (driver.machine.attach ~= nil) then
    return logger.warn("raft: %s offers the state of another kind of machine", from)
  end
  local have, err = driver.state:begin_receiving(meta)
  if have then
    self.incoming = { from = from, number = number, n = have.n, meta = meta }
    answer(self.incoming, have, reply)
  elseif not driver.closed then
    logger.warn("raft: no snapshot can be received: %s", err)
  end
end

---@param from string
---@param frame any[]
---@param reply fun(frame: any[])
function methods:on_chunk(from, frame, reply)
  local incoming, driver = self.incoming, self.driver
  local _, number, n, last, bytes = table.unpack(frame, 1, 5)
  if not incoming or driver.core.installing or incoming.from ~= from or incoming.number ~= number
    or n ~= incoming.n + 1 or type(bytes) ~= "string" then
    return -- of another transfer
  end
  incoming.n = n
  local ok, err = driver.state:put(bytes, last == true, function(have)
    if self.incoming == incoming then
      answer(incoming, have, reply)
    end
  end)
  if not ok then
    self.incoming = nil
    logger.warn("raft: the snapshot that %s sends is refused: %s", from, err)
  end
end

---Whether all that a message speaks of is here, so that core may hear of it.
---@param message table  core's, of type "snapshot"
---@param name any
---@return boolean
function methods:is_complete(message, name)
  local state = self.driver.state
  if self.driver.storage.snapshot.name == name and name ~= "" or message.index <= self.driver.applied then
    return true -- core will say so
  end
  local meta = state:complete()
  return meta ~= nil and meta.name == name and meta.index == message.index and meta.term == message.log_term
    and meta.config == message.config
end

return M
