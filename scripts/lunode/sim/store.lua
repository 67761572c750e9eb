-- The simulated `lunode.store`: the API, the order of rows and the errors of the real one, on a simulated disk. A
-- commit is one record of its directory's journal, so it survives whole or not at all.

local M = {}

local TEXTS = { EIO = "Input/output error", ENOSPC = "No space left on device", ENOENT = "No such file or directory" }
local REMEDIES = {
  EIO = "repair that, or give another --data",
  ENOSPC = "free some space, or give another --data",
  ENOENT = "create it, or give another --data",
}
local MAX_BYTES = 1 << 30
local COMPACT = 1000 -- records of a journal, after which those on the disk are folded into the rows below them

local function fail(dir, doing, code, cause)
  return ("cannot %s data directory %s: %s%s; %s"):format(doing, dir, TEXTS[code], cause or "", REMEDIES[code]), code
end

-- ---------------------------------------------------------------- rows in order

---@class lunode.sim.rows
---@field values table<string, string>
---@field keys string[]   sorted, with keys that have no value any more
---@field fresh string[]  new keys, not yet in `keys`
---@field known table<string, boolean>  those in keys or fresh

local function new_rows()
  return { values = {}, keys = {}, fresh = {}, known = {} }
end

-- The position of the first key that is not less.
local function seek(keys, key)
  local low, high = 1, #keys + 1
  while low < high do
    local middle = (low + high) // 2
    if keys[middle] < key then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local function sort_rows(rows)
  local keys, fresh = rows.keys, rows.fresh
  if #fresh <= 16 then
    for _, key in ipairs(fresh) do
      table.insert(keys, seek(keys, key), key)
    end
  else
    table.move(fresh, 1, #fresh, #keys + 1, keys)
    table.sort(keys)
  end
  rows.fresh = {}
end

local function set_row(rows, key, value)
  rows.values[key] = value
  if value and not rows.known[key] then
    rows.known[key] = true
    rows.fresh[#rows.fresh + 1] = key
  end
end

-- ---------------------------------------------------------------- a directory

-- A batch is a flat list: key, value or false, …
local function apply(rows, batch)
  for i = 1, #batch, 2 do
    set_row(rows, batch[i], batch[i + 1] or nil)
  end
end

-- What lies in a directory: `base`, which is safe, and above it the journal's records.
local function new_directory(journal)
  local directory = { base = new_rows(), rows = new_rows(), journal = journal }
  journal.directory = directory
  journal.lost = function(kept)
    local rows = new_rows()
    for key, value in next, directory.base.values do -- in any order: they are sorted later
      set_row(rows, key, value)
    end
    for i = 1, kept do
      apply(rows, journal.records[i])
    end
    directory.rows = rows
  end
  return directory
end

local function compact(disk, directory)
  local journal = directory.journal
  local count = journal.synced_at <= disk.node.world.now and journal.synced or journal.before
  if count >= COMPACT then
    for i = 1, count do
      apply(directory.base, journal.records[i])
    end
    disk:drop(journal, count)
  end
end

-- ---------------------------------------------------------------- a store

---@class lunode.sim.store
local methods = {}
local metatable = { __index = methods, __name = "lunode.store_handle" }

local scan_metatable = { __name = "lunode.scan" }

local function misuse(position, name, expected, value)
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(position, name, expected,
    value == nil and "no value" or type(value)), 4)
end

local function check_open(self, name)
  if getmetatable(self) ~= metatable then
    misuse(1, name, "lunode.store_handle", self)
  elseif not self.directory then
    error("store is closed", 3)
  end
end

local function check_string(value, position, name)
  if type(value) == "number" then
    return tostring(value)
  elseif type(value) ~= "string" then
    misuse(position, name, "string", value)
  end
  return value
end

local function write(self, key, value)
  if #key > MAX_BYTES or value and #value > MAX_BYTES then
    error("cannot write: Argument list too long", 3)
  end
  local rows, pending, undo = self.directory.rows, self.pending_rows, self.undo
  local before = pending[key]
  undo[#undo + 1], undo[#undo + 2], undo[#undo + 3] = key, rows.values[key] or false, before == nil and self or before
  if before == nil then
    self.count = self.count + 1
  end
  pending[key] = value or false
  set_row(rows, key, value or nil)
end

local function undo_to(self, mark)
  local undo, rows, pending = self.undo, self.directory.rows, self.pending_rows
  for i = #undo - 2, mark + 1, -3 do
    local key, value, before = undo[i], undo[i + 1], undo[i + 2]
    set_row(rows, key, value or nil)
    if before == self then
      pending[key] = nil
      self.count = self.count - 1
    else
      pending[key] = before
    end
    undo[i], undo[i + 1], undo[i + 2] = nil, nil, nil
  end
end

function methods:get(key)
  check_open(self, "get")
  return self.directory.rows.values[check_string(key, 2, "get")]
end

function methods:put(key, value)
  check_open(self, "put")
  write(self, check_string(key, 2, "put"), check_string(value, 3, "put"))
end

function methods:delete(key)
  check_open(self, "delete")
  write(self, check_string(key, 2, "delete"), nil)
end

function methods:begin()
  check_open(self, "begin")
  self.mark = #self.undo
end

function methods:rollback()
  check_open(self, "rollback")
  undo_to(self, self.mark)
end

function methods:pending()
  check_open(self, "pending")
  return self.count
end

-- The pending writes as a batch, in the order of their keys.
local function take_batch(self)
  local keys, batch = {}, {}
  for key in next, self.pending_rows do -- in any order: sorted below
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    batch[#batch + 1], batch[#batch + 2] = key, self.pending_rows[key]
  end
  return batch
end

function methods:commit(sync)
  check_open(self, "commit")
  local disk, directory = self.disk, self.directory
  if not self.failed and (self.count > 0 or sync) then
    local code = self.count > 0 and disk:append(directory.journal, take_batch(self)) or nil
    if not code and sync then
      code = disk:sync(directory.journal)
    end
    if code then
      self.failed = table.pack(fail(self.dir, "write to", code, (" (IO error: %s/db/000003.log: %s)"):format(self.dir,
        TEXTS[code])))
      return nil, self.failed[1], code
    end
  end
  if self.failed then
    return nil, self.failed[1], self.failed[2]
  end
  if self.count > 0 then
    self.batches = self.batches + 1
    self.pending_rows, self.undo, self.mark, self.count = {}, {}, 0, 0
    compact(disk, directory)
  end
  return true
end

function methods:stats()
  check_open(self, "stats")
  local bytes = 0
  for key, value in next, self.pending_rows do -- a sum, in any order
    bytes = bytes + #key + (value and #value or 0)
  end
  return { pending = self.count, pending_bytes = bytes, batches = self.batches, disk_bytes = 0, engine = "simulated" }
end

-- The first row from a key on.
local function row_from(directory, key, to)
  local rows = directory.rows
  if #rows.fresh > 0 then
    sort_rows(rows)
  end
  local keys, values = rows.keys, rows.values
  local i = seek(keys, key)
  while keys[i] and not values[keys[i]] do
    i = i + 1
  end
  local found = keys[i]
  if found and not (to and found >= to) then
    return found, values[found]
  end
end

function methods:scan(from, to)
  check_open(self, "scan")
  from = check_string(from, 2, "scan")
  to = to ~= nil and check_string(to, 3, "scan") or nil
  local scan = setmetatable({ ended = false }, scan_metatable)
  local function next_row()
    if scan.ended then
      return nil
    elseif not self.directory then
      error("the store is closed", 2)
    end
    local key, value = row_from(self.directory, from, to)
    if not key then
      scan.ended = true
      return nil
    end
    from = key .. "\0" -- the smallest key behind it
    return key, value
  end
  return next_row, nil, nil, scan
end

function scan_metatable:__close()
  self.ended = true
end

function methods:close()
  if getmetatable(self) ~= metatable then
    misuse(1, "close", "lunode.store_handle", self)
  elseif self.directory then
    undo_to(self, 0)
    self.directory.journal.holder = nil
    self.directory = nil
  end
end
metatable.__close = methods.close

-- ---------------------------------------------------------------- opening

local function check_options(options)
  if options == nil then
    return {}
  elseif type(options) ~= "table" then
    misuse(2, "open", "table", options)
  end
  local cache = options.cache
  if cache ~= nil and not (math.tointeger(cache) and math.tointeger(cache) >= 0) then
    error("bad argument #2 to 'open' (cache: a number of bytes expected)", 3)
  end
  return options
end

-- What a process left that was killed with writes pending: they were in its memory.
local function forget_pending(directory)
  local store = directory.store
  if store and store.directory == directory then
    undo_to(store, 0)
    store.directory = nil
  end
end

---The module for one life of a node.
---@param node lunode.sim.node
---@return table
function M.module(node)
  local disk = node.disk
  local module = {}

  function module.open(dir, options)
    dir = check_string(dir, 1, "open")
    options = check_options(options)
    local journal = disk:find(dir)
    if not journal then
      if options.create == false then
        return nil, fail(dir, "open", "ENOENT")
      end
      local code = disk:access "write" or disk:access "sync"
      if code then
        return nil, fail(dir, "create", code)
      end
      journal = disk:create(dir)
      new_directory(journal)
    elseif journal.holder then
      return nil, ("data directory %s is in use by process %d; stop it, or give another --data"):format(dir,
        node.number), "ELOCKED"
    end
    local directory = journal.directory
    forget_pending(directory)
    local self = setmetatable({
      dir = dir, disk = disk, directory = directory,
      pending_rows = {}, -- key → value, or false where it is deleted
      undo = {}, mark = 0, -- flat: key, the row before, what was pending before (the store itself: nothing)
      count = 0, batches = 0, failed = false,
    }, metatable)
    directory.store, journal.holder, journal.torn = self, self, false
    return self
  end

  return module
end

return M
