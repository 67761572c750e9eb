-- Snapshots of the state machine: made when the log has grown, sent to members that lag behind it, and received, piece
-- by piece, so that no more than a few pieces are ever in memory. Does not decide who needs one: core does.
--
-- What is sent is the snapshot that is stored, which may be older than what core asked for: the log that was kept
-- behind it has the rest. So all who lag share one, and a transfer that was cut off goes on where it was left.
--
--   {"snapshot", meta}        →   {"have", name, n}: pieces 1 to n are here, the next are wanted
--   {"chunk", name, n, data}  →   {"have", name, n}
--   {"message", …}                once all are there

local logger = require "lunode.logger"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local storage = require "lunode.raft.storage"

local M = {}

local CHUNK = 128 << 10 -- bytes
local WINDOW = 4 -- pieces under way to a peer
local FLUSH = 32 -- pieces after which those received are brought to disk, so that a power cut costs no more

---@class lunode.raft.snapshots
---@field driver lunode.raft.driver
---@field making table?  the snapshot that is being made
---@field transfers table<string, table>  by peer
---@field received integer  pieces of the one that is being received
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.snapshots" }

---@param driver lunode.raft.driver
---@return lunode.raft.snapshots
function M.new(driver)
  return setmetatable({ driver = driver, making = nil, transfers = {}, received = 0 }, metatable)
end

-- ---------------------------------------------------------------- made

-- Pieces of even size, of whatever the state machine gives.
local function pieces(given)
  local next_bytes = type(given) == "function" and given or nil
  local rest = next_bytes and "" or given
  return function()
    while next_bytes and #rest < CHUNK do
      local bytes = next_bytes()
      if bytes == nil then
        next_bytes = nil
      elseif type(bytes) == "string" then
        rest = rest .. bytes
      else
        error("a snapshot gives strings, not " .. type(bytes), 0)
      end
    end
    if rest == "" then
      return nil
    end
    local piece = rest:sub(1, CHUNK)
    rest = rest:sub(CHUNK + 1)
    return piece
  end
end

-- The log is cut where the snapshot before ended: who lags by less needs no snapshot.
local function finish(self, making)
  local driver = self.driver
  local disk, cut = driver.storage, driver.storage.snapshot.index
  self.making = nil
  if disk.snapshot.index >= making.meta.index then -- one was installed meanwhile
    local ok, err = disk:drop(making.meta.name)
    return not ok and driver:fail(err) or nil
  end
  disk:put_snapshot(making.meta, function(err)
    if driver.closed then
      return
    elseif err then
      return driver:fail(err)
    end
    logger.info("raft: a snapshot holds all up to entry %d, in %d pieces", making.meta.index, making.meta.chunks)
    if cut >= disk.log:first() then
      local ok, failure = disk.log:truncate_prefix(cut)
      if not ok then
        return driver:fail(failure)
      end
      driver:step { type = "snapshot_saved", index = cut }
    end
  end)
end

-- A piece a turn: others have their say in between.
local function make_more(self, making)
  if self.driver.closed or self.making ~= making then
    return
  elseif not self.driver.storage.store:room() then
    loop.timer(0.05, function()
      make_more(self, making)
    end)
    return
  end
  local piece = self.driver:ask_machine(making.next)
  if self.driver.closed then
    return
  elseif piece == nil then
    return finish(self, making)
  end
  making.meta.chunks = making.meta.chunks + 1
  local ok, err = self.driver.storage:put_chunk(making.meta.name, making.meta.chunks, piece)
  if not ok then
    return self.driver:fail(err)
  end
  loop.defer(function()
    make_more(self, making)
  end)
end

---Makes one of the state machine as it is now, unless that is under way.
---@return boolean begun
function methods:make()
  local driver = self.driver
  if self.making or driver.applied <= driver.storage.snapshot.index then
    return false
  end
  local given = driver:ask_machine(driver.machine.snapshot)
  if driver.closed then
    return false
  elseif type(given) ~= "string" and type(given) ~= "function" then
    driver:fail("the state machine's snapshot is neither a string nor a function that gives strings")
    return false
  end
  self.making = {
    next = pieces(given),
    meta = {
      name = ("%d-%s-%x"):format(driver.applied, driver.id, loop.random(0, math.maxinteger)), index = driver.applied,
      term = driver.applied_term, config = driver.applied_config, time = driver.time, chunks = 0,
    },
  }
  make_more(self, self.making)
  return true
end

-- ---------------------------------------------------------------- sent

local function end_transfer(self, transfer, ok)
  if self.transfers[transfer.to] == transfer then
    self.transfers[transfer.to] = nil
  end
  transfer.view:close()
  self.driver:step { type = "snapshot_sent", peer = transfer.to, session = transfer.message.session, ok = ok }
end

---Sends what the message asks for, and then the message.
---@param message table  core's, of type "snapshot"
function methods:send(message)
  local driver, to = self.driver, message.to
  local meta = driver.storage.snapshot
  local view, err = driver.storage.store:snapshot()
  if self.transfers[to] then
    end_transfer(self, self.transfers[to], false)
  end
  if not view or meta.index == 0 or not driver.transport:is_ready(to) then
    if err then
      logger.warn("raft: no snapshot can be sent to %s: %s", to, err)
    end
    if view then
      view:close()
    end
    return driver:step { type = "snapshot_sent", peer = to, session = message.session, ok = false }
  end
  message.index, message.log_term, message.config = meta.index, meta.term, meta.config
  self.transfers[to] = { to = to, message = message, meta = meta, view = view, sent = 0, moved = loop.now() }
  driver.transport:send(to, msgpack.encode { "snapshot", meta })
end

---A peer has the first n pieces.
---@param from string
---@param name any
---@param n any
function methods:on_have(from, name, n)
  local driver, transfer = self.driver, self.transfers[from]
  if not transfer or transfer.meta.name ~= name or math.type(n) ~= "integer" or n < 0 or n > transfer.meta.chunks then
    return
  end
  transfer.sent, transfer.moved = math.max(transfer.sent, n), loop.now()
  while transfer.sent < math.min(n + WINDOW, transfer.meta.chunks) do
    local at = transfer.sent + 1
    local data, err = driver.storage:chunk_of(transfer.view, transfer.meta, at)
    if not data then
      logger.warn("raft: the snapshot that is being sent to %s is lost: %s", from, err or "a piece is missing")
      return end_transfer(self, transfer, false)
    elseif not driver.transport:send(from, msgpack.encode { "chunk", name, at, msgpack.bin(data) }) then
      return end_transfer(self, transfer, false)
    end
    transfer.sent = at
  end
  if n == transfer.meta.chunks then
    driver:send_message(transfer.message, name)
    end_transfer(self, transfer, true)
  end
end

---Gives up transfers that do not get on: the peer has another one under way, or no room.
---@param patience number  seconds
function methods:tick(patience)
  local stuck = {}
  for to, transfer in pairs(self.transfers) do
    if loop.now() - transfer.moved > patience then
      stuck[#stuck + 1] = to
    end
  end
  table.sort(stuck)
  for _, to in ipairs(stuck) do
    self:abort(to)
  end
end

---The connection to a peer is lost, or this member leads no more.
---@param to string
function methods:abort(to)
  local transfer = self.transfers[to]
  if transfer then
    end_transfer(self, transfer, false)
  end
end

function methods:close()
  self.making = nil
  for _, transfer in pairs(self.transfers) do -- nothing of it can be seen
    transfer.view:close()
  end
  self.transfers = {}
end

-- ---------------------------------------------------------------- received

---@param frame any[]
---@param reply fun(frame: any[])
function methods:on_offer(frame, reply)
  local meta, disk = frame[2], self.driver.storage
  if not storage.is_meta(meta) or self.driver.core.installing then
    return
  elseif meta.name == disk.snapshot.name then
    return reply { "have", meta.name, meta.chunks } -- core will say that it is here
  end
  local have, err = disk:begin_receiving(meta)
  if not have then
    return self.driver:fail(err)
  end
  self.received = have
  reply { "have", meta.name, self.received }
end

-- Asks for more when what has come is on its way to the disk.
local function acknowledge(self, name, n, reply)
  local driver = self.driver
  if driver.closed or not driver.storage.receiving or driver.storage.receiving.name ~= name then
    return
  elseif driver.storage.store:room() then
    return reply { "have", name, n }
  end
  loop.timer(0.05, function()
    acknowledge(self, name, n, reply)
  end)
end

---@param frame any[]
---@param reply fun(frame: any[])
function methods:on_chunk(frame, reply)
  local disk = self.driver.storage
  local _, name, n, data = table.unpack(frame, 1, 4)
  local meta = disk.receiving
  if not meta or meta.name ~= name or type(data) ~= "string" or #data > CHUNK or n ~= self.received + 1
    or n > meta.chunks then
    return -- of another transfer
  end
  self.received = n
  local ok, err = disk:put_chunk(name, n, data)
  if not ok then
    return self.driver:fail(err)
  elseif n % FLUSH == 0 then
    disk.store:flush()
  end
  acknowledge(self, name, n, reply)
end

---Whether all pieces of a snapshot are here, so that core may hear of it.
---@param message table  core's, of type "snapshot"
---@param name any
---@return boolean
function methods:is_complete(message, name)
  local disk = self.driver.storage
  if disk.snapshot.name == name then
    return true
  end
  local meta = disk.receiving
  return meta ~= nil and meta.name == name and self.received == meta.chunks and meta.index == message.index
    and meta.term == message.log_term and meta.config == message.config
end

return M
