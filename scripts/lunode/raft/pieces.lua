-- The state of a machine that tells it in pieces and is told it in pieces: snapshots are made when the log has grown,
-- stored, and what a restart begins with. Part of driver.lua; see data.lua for a machine whose state is a store.
--
-- What is sent is the snapshot that is stored, which may be older than what core asked for: the log that was kept
-- behind it has the rest. So all who lag share one, and a transfer that was cut off goes on where it was left.

local logger = require "lunode.logger"
local loop = require "lunode.loop"
local storage = require "lunode.raft.storage"

local M = {}

local PIECE = 128 << 10 -- bytes
local FLUSH = 32 -- pieces after which those received are brought to disk, so that a power cut costs no more
local AGAIN = 0.05 -- seconds until a store without room is asked again

---@class lunode.raft.pieces
---@field driver lunode.raft.driver
---@field making table?  the snapshot that is being made
---@field grown integer  bytes applied since the last one
---@field private received integer  pieces of the one that is being received
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.pieces" }

---Brings the driver to the snapshot that is stored, and the machine, too.
---@param driver lunode.raft.driver
---@return lunode.raft.pieces?
---@return string? err, lunode.code? code
function M.open(driver)
  local meta = driver.storage.snapshot
  if meta.data then
    return nil, ("%s holds the state of a machine that is an ordered store"):format(driver.options.dir), "EFOREIGN"
  end
  local self = setmetatable({ driver = driver, making = nil, grown = 0, received = 0 }, metatable)
  driver:stand_at(meta)
  if not self:restore(meta) then
    return nil, driver.failed, "ECALLBACK"
  end
  return self
end

---Puts a stored snapshot in the place of the machine's state.
---@param meta lunode.raft.snapshot_meta
---@return boolean ok
function methods:restore(meta)
  local driver = self.driver
  if meta.index > 0 then
    driver:ask_machine(driver.machine.restore, driver.storage:chunks(meta))
  end
  self.grown = 0
  return not driver.failed
end

---An entry was applied.
---@param entry lunode.raft.entry
function methods:was_applied(entry)
  self.grown = self.grown + #entry.payload
  if self.grown >= self.driver.options.snapshot_bytes and self:make() then
    self.grown = 0
  end
end

---@return boolean
function methods.has_room()
  return true
end

function methods.make_room() end

function methods.tick() end

function methods:close()
  self.making = nil
end

-- ---------------------------------------------------------------- made

-- Pieces of even size, of whatever the state machine gives.
local function pieces(given)
  local next_bytes = type(given) == "function" and given or nil
  local rest = next_bytes and "" or given
  return function()
    while next_bytes and #rest < PIECE do
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
    local piece = rest:sub(1, PIECE)
    rest = rest:sub(PIECE + 1)
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
      local ok, failure, code = disk.log:truncate_prefix(cut)
      if ok then
        driver:step { type = "snapshot_saved", index = cut }
      elseif not storage.is_full(code) then
        driver:fail(failure)
      end
    end
  end)
end

-- A piece a turn: others have their say in between.
local function make_more(self, making)
  if self.driver.closed or self.making ~= making then
    return
  elseif not self.driver.storage.store:room() then
    loop.timer(AGAIN, function()
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
  self.making = { next = pieces(given), meta = driver:describe(storage.new_name(driver)) }
  make_more(self, self.making)
  return true
end

-- ---------------------------------------------------------------- sent

---What is sent to who lags: `meta`, and the pieces behind the first n.
---@return lunode.raft.source?
---@return string? err
function methods:source()
  local disk = self.driver.storage
  local meta = disk.snapshot
  if meta.index == 0 then
    return nil, "there is no snapshot yet"
  end
  local view, err = disk.store:snapshot()
  if not view then
    return nil, err
  end
  local at = 0
  return {
    meta = meta,
    start = function(_, n)
      at = n
    end,
    next = function()
      at = at + 1
      local bytes, failure = disk:chunk_of(view, meta, at)
      return bytes, at == meta.chunks, failure or "a piece is missing"
    end,
    close = function()
      view:close()
    end,
  }
end

-- ---------------------------------------------------------------- received

---Begins to receive a snapshot, or goes on where it was left.
---@param meta lunode.raft.snapshot_meta
---@return { n: integer, done: boolean }? have
---@return string? err
function methods:begin_receiving(meta)
  local disk = self.driver.storage
  if meta.name == disk.snapshot.name then
    return { n = meta.chunks, done = true } -- core will say that it is here
  end
  local n, err = disk:begin_receiving(meta)
  if not n then
    self.driver:fail(err)
    return nil, err
  end
  self.received = n
  return { n = n, done = n == meta.chunks }
end

-- Asks for more when what has come is on its way to the disk.
local function acknowledge(self, meta, have, fn)
  local driver = self.driver
  if driver.closed or driver.storage.receiving ~= meta then
    return
  elseif driver.storage.store:room() then
    return fn(have)
  end
  loop.timer(AGAIN, function()
    acknowledge(self, meta, have, fn)
  end)
end

---Takes the next piece; `fn` is called when there is room for more.
---@param bytes string
---@param _ boolean  it is the last one
---@param fn fun(have: { n: integer, done: boolean })
---@return boolean? ok
---@return string? err  nothing that a peer should send
function methods:put(bytes, _, fn)
  local disk = self.driver.storage
  local meta, n = disk.receiving, self.received + 1
  if #bytes > PIECE or n > meta.chunks then
    return nil, "a piece of a snapshot is too large, or is one too many"
  end
  self.received = n
  local ok, err = disk:put_chunk(meta.name, n, bytes)
  if not ok then
    self.driver:fail(err)
    return true
  elseif n % FLUSH == 0 then
    disk.store:flush()
  end
  acknowledge(self, meta, { n = n, done = n == meta.chunks }, fn)
  return true
end

---The snapshot of which all pieces are here.
---@return lunode.raft.snapshot_meta?
function methods:complete()
  local meta = self.driver.storage.receiving
  return meta and self.received == meta.chunks and meta or nil
end

---What is received has taken the place of the one before on the disk, and of the log: now the machine follows.
---@param meta lunode.raft.snapshot_meta
---@return boolean ok
function methods:installed(meta)
  return self:restore(meta)
end

---What the row "snapshot" is to be.
---@param meta lunode.raft.snapshot_meta
---@return lunode.raft.snapshot_meta
function methods.begin_install(_, meta)
  return meta
end

return M
