-- The state of a machine that is an ordered store: which directory holds it, how far it is, and how much of the log is
-- kept behind it. Part of driver.lua; does not know what the rows mean.
--
-- An entry's rows and its index reach the disk in one batch (lunode.store), so a restart finds out from the store how
-- far it is. The log keeps what the store has not made durable, and then as much as `log_keep` says, for members that
-- lag. What a log that is cut no longer tells of the last entry that went (its term, its time, the configuration
-- as of it) is in the row "snapshot" of storage.lua, durably, before the log is cut.

local copies = require "lunode.raft.copies"
local loop = require "lunode.loop"
local storage = require "lunode.raft.storage"
local stores = require "lunode.store"

local M = {}

local NAMES = { "data-0", "data-1" } -- one is in force; the other is being received, or is left over
local STEPS = 16 -- in how many steps the log that is kept moves on
local HELD = 16 -- times `log_keep`, which the log may grow to for who is being sent a copy
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

local function open_store(self, name, create, on_room)
  local driver, handle, err, code = self.driver
  local o = driver.options.store or {}
  handle, err, code = stores.open(self.dir .. "/" .. name, {
    create = create, cache = o.cache, engine = o.engine, overlay = o.overlay, limit = o.limit,
    on_flushed = function(failure, _, index)
      if driver.closed then
        return
      elseif failure then
        return driver:fail(failure)
      elseif self.store == handle then
        self.durable = index
        self:cut_log()
      end
    end,
    on_room = function()
      if driver.closed then
        return
      elseif self.store == handle then
        driver:store_has_room()
      elseif on_room then
        on_room()
      end
    end,
  })
  return handle, err, code
end

local function other(name)
  return name == NAMES[1] and NAMES[2] or NAMES[1]
end

---Removes the directory that is not in force: what a crash has left of a copy, or of the state before one.
---@return boolean? ok
---@return string? err, lunode.code? code
function methods:remove_other()
  local ok, err, code = stores.remove(self.dir .. "/" .. other(self.name))
  if not ok and code ~= "ENOENT" then
    return nil, err, code
  end
  return true
end

---Makes a store in that directory.
---@param on_room fun()
---@return lunode.store_handle?
---@return string? err, lunode.code? code
function methods:open_other(on_room)
  return open_store(self, other(self.name), true, on_room)
end

-- How the entry that was applied last moves the marks on.
local function count(self, payload)
  local marks, driver = self.marks, self.driver
  self.bytes = self.bytes + #payload + OVERHEAD
  local last = marks[#marks]
  if self.bytes - (last and last.bytes or self.first_bytes) >= self.step then
    marks[#marks + 1] = driver:describe ""
    marks[#marks].data, marks[#marks].bytes = self.name, self.bytes
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
    copies = nil, installing = false, flushing = false,
  }, metatable)
  self.copies = copies.new(self)
  local path = self.dir .. "/" .. self.name
  if meta.chunks > 0 then
    return nil, ("%s holds the snapshot of a state machine that is no store"):format(self.dir), "EFOREIGN"
  elseif driver.options.store and driver.options.store.engine == "memory" then
    return nil, "the engine memory keeps nothing, and a member must know what it has acknowledged", "EINVAL"
  end
  local ok, err, code = self:remove_other()
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
  driver.store = self.store
  local ok, done, err, code = xpcall(driver.machine.attach, debug.traceback, self.store)
  if not ok then
    return nil, done, "ECALLBACK"
  elseif not done then
    return nil, err or "the state machine has refused the store", code or "EREFUSED"
  end
  return true
end

---@param _ number
function methods:tick()
  self.copies:tick(self.driver.applied)
end

-- What was applied goes to the disk, so that the next start has less to do, and a copy of the directory is whole. Where
-- that fails, the log has it.
function methods:close()
  self.copies:close()
  if not self.driver.failed then
    self.store:commit(true)
  end
  self.store:close()
end

-- ---------------------------------------------------------------- entries

---Whether the store takes more, which has bounds of its own; where it does not, it has to flush.
---@return boolean? room
---@return string? err, lunode.code? code
function methods:room()
  local ok, err, code = self.store:room()
  if code == "EAGAIN" and not self.flushing then
    self.flushing = self.store:flush(function()
      self.flushing = false
    end) ~= nil
  end
  return ok, err, code
end

---Whether an entry may be applied. Where the disk is full it may: then nothing is added to the log any more, and what
---is there has its bounds.
---@return boolean
function methods:has_room()
  local ok, _, code = self:room()
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
  local to = math.min(self.durable, self.driver.told_applied, self.copies:holds(HELD * self.keep))
  for i, mark in ipairs(self.marks) do
    if mark.index > to or self.bytes - mark.bytes < keep then
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
  self.cutting = true -- one at a time
  mark.bytes = nil
  disk:put_snapshot(mark, function(err)
    self.cutting = self.installing
    if driver.closed then
      return
    elseif err then
      return driver:fail(err)
    elseif self.installing or mark.index < disk.log:first() then
      return -- what comes takes the place of the log
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

-- ---------------------------------------------------------------- copies

---@return lunode.raft.source?
---@return string? err
function methods:source()
  return self.copies:source()
end

---@param meta lunode.raft.snapshot_meta
---@return { n: integer, done: boolean, key: string? }? have
---@return string? err
function methods:begin_receiving(meta)
  if meta.index <= self.driver.applied then
    return { n = 0, done = true } -- core will say that it is here
  end
  return self.copies:begin(meta)
end

---@param bytes string
---@param last boolean
---@param fn fun(have: table)
---@return boolean? ok
---@return string? err
function methods:put(bytes, last, fn)
  return self.copies:put(bytes, last, fn)
end

---The copy that is whole.
---@return lunode.raft.snapshot_meta?
function methods:complete()
  local receiving = self.copies.receiving
  return receiving and receiving.complete and receiving.meta or nil
end

---What the row "snapshot" is to be. From here on the log is cut no more.
---@param meta lunode.raft.snapshot_meta
---@return lunode.raft.snapshot_meta
function methods:begin_install(meta)
  local row = { data = other(self.name) }
  for key, value in pairs(meta) do -- from a table to a table
    row[key] = row[key] or value
  end
  self.cutting, self.installing = true, true
  return row
end

---The row, and the log, say that the copy is in force.
---@param meta lunode.raft.snapshot_meta
---@return boolean ok
function methods:installed(meta)
  local receiving, old = self.copies.receiving, self.store
  self.copies.receiving = nil
  self.copies:close()
  self.store, self.name, self.durable = receiving.store, meta.data, meta.index
  self.marks, self.bytes, self.first_bytes, self.cutting, self.installing = {}, 0, 0, false, false
  old:close()
  local ok, err = self:attach()
  if ok then
    ok, err = self:remove_other()
  end
  if not ok then
    self.driver:fail(err)
  end
  return ok == true
end

return M
