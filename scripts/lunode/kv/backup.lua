-- Copies the data of a node into a directory of its own, which is a data directory itself: `lunode kv --data COPY` runs
-- from it. The rows of a snapshot go there piece by piece, between the turns of the loop, and are written by the copy's
-- own thread, so that a node serves meanwhile. It chooses no names and renames nothing.
--
-- Until all is on disk the copy is marked as unfinished, in the row that says which format its keys have: no node runs
-- from it, and what was interrupted is never taken for a whole one. What fails, or is cancelled, is deleted.
--
-- What a snapshot has not applied yet, because the node that had it is not running, comes along as entries of a log.
local keys = require "lunode.kv.keys"
local log = require "lunode.log"
local loop = require "lunode.loop"
local store = require "lunode.store"

local M = {}

-- In a turn of the loop: at most about this much is copied.
local TURN_BYTES = 256 << 10
local TURN_ROWS = 1000

local BATCH = 4 << 20 -- bytes that gather before the copy's thread writes them

local WATCH = 0.2 -- seconds

local TERM = 0 -- where the log in front of the snapshot's end tells none

---@class lunode.kv.backup_options
---@field dir string                   of the copy; it is made where it is missing, else it must be empty
---@field snapshot lunode.snapshot     closed at the end
---@field engine? string               (default "leveldb")
---@field now integer                  milliseconds since the epoch: when it was made
---@field log? lunode.log_handle       its entries behind the snapshot come along
---@field keep? boolean                where it fails, let the directory itself stay (default false)
---@field on_progress? fun(job: lunode.kv.backup)
---@field on_end fun(err: string?, code: lunode.code?)  once; "ECANCELED" after `cancel`

---@class lunode.kv.backup
---@field dir string
---@field rows integer      copied so far
---@field bytes integer     of their keys and values
---@field entries integer   of the log, copied so far
---@field index integer     of the last entry in it
---@field ended boolean
local methods = {}
local job_mt = { __name = "lunode.kv.backup", __index = methods }

-- ---- the end

local function finish(self, err, code)
  if self.ended then
    return
  end
  self.ended = true
  self.watch:close()
  self.snapshot:close()
  if self.new_log then
    self.new_log:close()
  end
  self.target:close()
  if err then
    local ok, failure = store.remove(self.dir, self.keep)
    if not ok then
      err = ("%s; what there is of it could not be deleted: %s"):format(err, failure)
    end
  end
  self.on_end(err, code)
end

---Ends it, and deletes what there is of the copy.
function methods:cancel()
  finish(self, "it was cancelled", "ECANCELED")
end

-- ---- steps: each does a little, and says what comes next

local rows, entries, complete

-- Goes on in the next turn, so that the node serves between any two.
local function go_on(self, step)
  loop.defer(function()
    if self.ended then
      return
    end
    local ok, err = pcall(step, self)
    if not ok then
      finish(self, tostring(err), "EIO")
    end
  end)
end

local function flush(self, step)
  self.pending = 0
  local ok, err, code = self.target:flush(function(err, code)
    if self.ended then
      return
    elseif err then
      finish(self, err, code)
    else
      self.on_progress(self)
      go_on(self, step)
    end
  end)
  if not ok then
    finish(self, err, code)
  end
end

-- A full disk is not waited for, while the copy's flush tries again for ever.
local function watch_disk(self)
  local ok, err, code = self.target:room()
  if not ok and code ~= "EAGAIN" then
    finish(self, err, code)
  end
end

local function copy_row(self, row, value)
  if row ~= keys.FORMAT_ROW and row ~= keys.SAVED_ROW then
    self.target:put(row, value)
  end
  local size = #row + #value
  self.rows, self.bytes, self.pending = self.rows + 1, self.bytes + size, self.pending + size
  return size
end

function rows(self)
  local bytes, count = 0, 0
  for row, value in self.scan do
    bytes, count = bytes + copy_row(self, row, value), count + 1
    if bytes >= TURN_BYTES or count >= TURN_ROWS then
      if self.pending >= BATCH then
        return flush(self, rows)
      end
      return go_on(self, rows)
    end
  end
  return flush(self, entries)
end

-- The log of the copy begins where the snapshot ends.
local function open_log(self)
  local err, code
  self.new_log, err, code = log.open(self.dir .. "/log")
  local ok = self.new_log ~= nil
  if ok and self.index > 0 then
    ok, err, code = self.new_log:truncate_prefix(self.index, self.log:term(self.index) or TERM)
  end
  return ok, err, code
end

-- Reads some entries of the old log and appends them to the new one; nil, err, code where that fails.
local function copy_entries(self)
  local list, err, code = self.log:read(self.index + 1, nil, TURN_BYTES)
  if not list then
    return nil, err, code
  end
  for _, entry in ipairs(list) do
    local index
    index, err, code = self.new_log:append(entry.type, entry.payload, entry.term)
    if not index then
      return nil, err, code
    end
    self.index, self.entries, self.bytes = index, self.entries + 1, self.bytes + #entry.payload
  end
  return true
end

function entries(self)
  if not self.log or self.log:last() <= self.index then
    return complete(self)
  end
  local ok, err, code = true, nil, nil
  if not self.new_log then
    ok, err, code = open_log(self)
  end
  if ok then
    ok, err, code = copy_entries(self)
  end
  if not ok then
    return finish(self, err, code)
  end
  self.on_progress(self)
  go_on(self, entries)
end

-- The mark goes, together with the index, once all the rest is on disk.
local function unmark(self)
  local target, applied = self.target, self.snapshot:applied()
  local format = self.snapshot:get(keys.FORMAT_ROW)
  if format then
    target:put(keys.FORMAT_ROW, format)
  else
    target:delete(keys.FORMAT_ROW)
  end
  target:put(keys.SAVED_ROW, keys.saved_value(self.now))
  if applied > 0 then
    target:advance(applied)
  end
  flush(self, finish)
end

function complete(self)
  if not self.new_log then
    return unmark(self)
  end
  local ok, err, code = self.new_log:sync(function(err, code)
    if self.ended then
      return
    elseif err then
      return finish(self, err, code)
    end
    unmark(self)
  end)
  if not ok then
    finish(self, err, code)
  end
end

-- ---- the beginning

-- A directory in which there is nothing; nil, err, code where it is not.
local function open_target(options)
  local dir = options.dir
  if store.inspect(dir) then
    return nil, ("%s holds data already; give an empty or a new directory"):format(dir), "EEXIST"
  end
  local target, err, code = store.open(dir, { engine = options.engine or "leveldb", cache = 1 << 20 })
  if not target then
    return nil, err, code
  end
  target:put(keys.FORMAT_ROW, keys.UNFINISHED)
  local ok
  ok, err, code = target:commit(true)
  if not ok then
    target:close()
    store.remove(dir, options.keep)
    return nil, err, code
  end
  return target
end

---Begins a copy.
---@param options lunode.kv.backup_options
---@return lunode.kv.backup? job
---@return string? err, lunode.code? code  "EEXIST" the directory is not empty; else as store.open. The snapshot is
---closed then
function M.start(options)
  local target, err, code = open_target(options)
  if not target then
    options.snapshot:close()
    return nil, err, code
  end
  local self = setmetatable({
    dir = options.dir,
    snapshot = options.snapshot,
    log = options.log,
    now = options.now,
    keep = options.keep,
    on_progress = options.on_progress or function() end,
    on_end = options.on_end,
    target = target,
    new_log = nil,
    scan = options.snapshot:scan(""),
    watch = nil,
    pending = 0, -- bytes in the copy's memory
    rows = 0,
    bytes = 0,
    entries = 0,
    index = options.snapshot:applied(),
    ended = false,
  }, job_mt)
  self.watch = loop.timer(WATCH, function()
    watch_disk(self)
  end, WATCH)
  go_on(self, rows)
  return self
end

---When the copy in a directory was made. Opens it, so no other process may have it open.
---@param dir string
---@return integer? milliseconds  since the epoch; nil: there is no finished one
function M.made(dir)
  local handle = store.inspect(dir) and store.open(dir, { create = false, cache = 1 << 20 })
  if not handle then
    return nil
  end
  local saved = handle:get(keys.SAVED_ROW)
  handle:close()
  return saved and keys.saved(saved)
end

return M
