-- The state of a machine that is an ordered store: which directory holds it, how far it is, and how much of the log is
-- kept behind it. Part of driver.lua; does not know what the rows mean.
--
-- An entry's rows and its index reach the disk in one batch (lunode.store), so a restart finds out from the store how
-- far it is. The log keeps what the store has not made durable, and then as much as `log_keep` says, for members that
-- lag. What a log that is cut no longer tells of the last entry that went (its term, its time, the configuration
-- as of it) is in the row "snapshot" of storage.lua, durably, before the log is cut.

local loop = require "lunode.loop"
local storage = require "lunode.raft.storage"
local stores = require "lunode.store"

local M = {}

local NAMES = { "data-0", "data-1" } -- one is in force; the other is being received, or is left over
local STEPS = 16 -- in how many steps the log that is kept moves on
local OVERHEAD = 64 -- bytes of an entry beside its payload, about

---@class lunode.raft.data
---@field driver lunode.raft.driver
---@field store lunode.store_handle
---@field durable integer  up to here the store is on disk
---@field private marks table[]  snapshot_meta with `bytes`: places at which the log may be cut, first to last
---@field private bytes integer  of the entries applied, since any beginning
---@field private cutting boolean
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.data" }

-- ---------------------------------------------------------------- opening

local function open_store(self, name, create)
  local driver, path = self.driver, self.dir .. "/" .. name
  local o = driver.options.store or {}
  local handle, err, code
  handle, err, code = stores.open(path, {
    create = create, cache = o.cache, engine = o.engine, overlay = o.overlay, limit = o.limit,
    on_flushed = function(failure, _, index)
      if driver.closed or self.store ~= handle then
        return
      elseif failure then
        return driver:fail(failure)
      end
      self.durable = index
      self:cut_log()
    end,
    on_room = function()
      if not driver.closed and self.store == handle then
        driver:store_has_room()
      end
    end,
  })
  return handle, err, code
end

local function other(name)
  return name == NAMES[1] and NAMES[2] or NAMES[1]
end

-- A directory that is not in force: what a crash has left of a snapshot, or of the state before one.
local function remove(self, name)
  local ok, err, code = stores.remove(self.dir .. "/" .. name)
  if not ok and code ~= "ENOENT" then
    return nil, err, code
  end
  return true
end

local function mark_of(driver, bytes)
  return {
    index = driver.applied, term = driver.applied_term, config = driver.applied_config, time = driver.time,
    bytes = bytes,
  }
end

-- How the entry that was applied last moves the marks on.
local function count(self, payload)
  local marks, driver = self.marks, self.driver
  self.bytes = self.bytes + #payload + OVERHEAD
  local last = marks[#marks]
  if self.bytes - (last and last.bytes or self.first_bytes) >= self.step then
    marks[#marks + 1] = mark_of(driver, self.bytes)
  end
end

-- Brings the driver to where the store is: the log tells what has come to pass since the mark it was cut at.
local function roll_forward(self)
  local driver, disk = self.driver, self.driver.storage
  driver:stand_at(disk.snapshot)
  for index, payload, kind, term in disk.log:entries(disk.snapshot.index + 1, self.store:applied()) do
    driver:note_applied { index = index, term = term, type = kind, payload = payload }
    count(self, payload)
  end
  driver.told_applied = driver.applied
end

local function check_place(self, path)
  local disk, applied = self.driver.storage, self.store:applied()
  if applied < disk.snapshot.index or applied > disk.log:last() then
    return nil, ("the data in %s are as of entry %d, and the log beside them goes from %d to %d: one of them is lost; "
      .. "remove this member from the cluster, and add it anew, with an empty directory"):format(path, applied,
      disk.snapshot.index + 1, disk.log:last()), "ECORRUPT"
  end
  return true
end

---Opens the store in force, and brings the driver to where it stands.
---@param driver lunode.raft.driver
---@return lunode.raft.data?
---@return string? err, lunode.code? code
function M.open(driver)
  local meta, keep = driver.storage.snapshot, driver.options.log_keep
  local self = setmetatable({
    driver = driver, dir = driver.options.dir, store = nil, name = meta.data or NAMES[1], durable = 0,
    marks = {}, bytes = 0, first_bytes = 0, keep = keep, step = math.max(1, keep // STEPS), cutting = false,
  }, metatable)
  local path = self.dir .. "/" .. self.name
  if meta.chunks > 0 then
    return nil, ("%s holds the snapshot of a state machine that is no store"):format(self.dir), "EFOREIGN"
  elseif driver.options.store and driver.options.store.engine == "memory" then
    return nil, "the engine memory keeps nothing, and a member must know what it has acknowledged", "EINVAL"
  end
  local ok, err, code = remove(self, other(self.name))
  if ok then
    -- Nothing was cut from the log before the row "snapshot" tells of it: then the log brings all of it back.
    self.store, err, code = open_store(self, self.name, meta.index == 0)
  end
  if not self.store then
    return nil, err, code
  end
  ok, err, code = check_place(self, path)
  if not ok then
    self.store:close()
    return nil, err, code
  end
  self.durable = self.store:applied()
  roll_forward(self)
  return self
end

---Shows the machine the store.
---@return boolean? ok
---@return string? err, lunode.code? code
function methods:attach()
  local driver = self.driver
  local ok, done, err, code = xpcall(driver.machine.attach, debug.traceback, self.store)
  if not ok then
    return nil, done, "ECALLBACK"
  elseif not done then
    return nil, err or "the state machine has refused the store", code or "EREFUSED"
  end
  return true
end

function methods:close()
  self.store:close()
end

-- ---------------------------------------------------------------- entries

---Whether an entry may be applied: the store's writes that wait for the disk are bounded. Where the disk is full it
---may: then nothing is added to the log any more, and what is there has its bounds.
---@return boolean
function methods:has_room()
  local ok, _, code = self.store:room()
  return ok or code ~= "EAGAIN"
end

---The machine has applied an entry, and the driver stands at it.
---@param entry lunode.raft.entry
function methods:was_applied(entry)
  local ok, err = self.store:advance(entry.index)
  if not ok then
    return self.driver:fail(err)
  end
  local marks = #self.marks
  count(self, entry.payload)
  if #self.marks > marks then
    self:cut_log()
  end
end

-- ---------------------------------------------------------------- the log

-- The last place behind which all that the log is to keep lies. `keep`: bytes.
local function place_to_cut(self, keep)
  local found
  for i, mark in ipairs(self.marks) do
    if mark.index > self.durable or mark.index > self.driver.told_applied or self.bytes - mark.bytes < keep then
      break
    end
    found = i
  end
  return found
end

---Cuts the log where there is more of it than is to be kept.
---@param keep? integer  bytes (default: as the options say)
function methods:cut_log(keep)
  local at = not self.cutting and place_to_cut(self, keep or self.keep)
  if not at then
    return
  end
  local driver, disk, mark = self.driver, self.driver.storage, self.marks[at]
  self.marks, self.first_bytes = table.move(self.marks, at + 1, #self.marks, 1, {}), mark.bytes
  self.cutting = true
  disk:put_snapshot({
    name = "", index = mark.index, term = mark.term, config = mark.config, time = mark.time, chunks = 0,
    data = self.name,
  }, function(err)
    self.cutting = false
    if driver.closed then
      return
    elseif err then
      return driver:fail(err)
    elseif mark.index < disk.log:first() then
      return -- a snapshot was installed meanwhile
    end
    local ok, failure, code = disk.log:truncate_prefix(mark.index)
    if ok then
      driver:step { type = "snapshot_saved", index = mark.index }
    elseif not storage.is_full(code) then
      driver:fail(failure)
    end
    loop.defer(function()
      if not driver.closed then
        self:cut_log()
      end
    end)
  end)
end

---The log has no room on the disk: what the store has made durable may go.
function methods:make_room()
  self:cut_log(0)
  if not self.flushing then
    self.flushing = self.store:flush(function()
      self.flushing = false
      if not self.driver.closed then
        self:cut_log(0)
      end
    end) ~= nil
  end
end

return M
