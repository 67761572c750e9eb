-- The simulated `lunode.store`: the API, the order of rows and the errors of the real one, on a simulated disk. A
-- commit, and a flush, is one record of its directory's journal, so it survives whole or not at all.
--
-- Writes show at once in the directory's rows, and gather in a layer, which knows how to undo them: for a rollback,
-- and for a process that ends before they have reached the system.

local directories = require "lunode.sim.store_directory"
local pieces = require "lunode.sim.store_pieces"
local resp = require "lunode.resp"
local scans = require "lunode.sim.store_scan"
local score = require "lunode.score"
local store_elements = require "lunode.sim.store_elements"
local store_members = require "lunode.sim.store_members"
local store_rows = require "lunode.sim.store_rows"
local store_scored = require "lunode.sim.store_scored"

local M = {}

local MAX_BYTES = 1 << 30
local OVERLAY, LIMIT, MAX_AGE = 32 << 20, 96 << 20, 30
local RETRY = 1 -- seconds between two looks at a full disk

local fail = directories.fail

---@class lunode.sim.store
---@field directory lunode.sim.store_directory|false  false: closed
local methods = {}
local metatable = { __index = methods, __name = "lunode.store_handle" }

local function misuse(position, name, text)
  error(("bad argument #%d to '%s' (%s)"):format(position, name, text), 4)
end

local function got(value)
  return value == nil and "no value" or type(value)
end

local function check_open(self, name)
  if getmetatable(self) ~= metatable then
    misuse(1, name, "lunode.store_handle expected, got " .. got(self))
  elseif not self.directory then
    error("store is closed", 3)
  end
end

local function check_string(value, position, name)
  if type(value) == "number" then
    return tostring(value)
  elseif type(value) ~= "string" then
    misuse(position, name, "string expected, got " .. got(value))
  end
  return value
end

-- ---------------------------------------------------------------- layers

-- undo is flat: key, the row before, what the layer had for it before (the layer itself: nothing).
local function new_layer()
  return { rows = {}, undo = {}, mark = 0, count = 0, bytes = 0, index = 0, since = false }
end

local function size(key, value)
  return #key + (value and #value or 0)
end

local function write(self, key, value)
  if #key > MAX_BYTES or value and #value > MAX_BYTES then
    error("cannot write: Argument list too long", 3)
  elseif self.failed and self.logged and self.failed[2] ~= "ENOSPC" then
    error("cannot write: " .. directories.TEXTS[self.failed[2]], 3)
  end
  local layer, rows = self.layer, self.directory.rows
  local undo, before = layer.undo, layer.rows[key]
  undo[#undo + 1], undo[#undo + 2], undo[#undo + 3] = key, rows.values[key] or false, before == nil and layer or before
  if before == nil then
    layer.count = layer.count + 1
  else
    layer.bytes = layer.bytes - size(key, before)
  end
  layer.bytes = layer.bytes + size(key, value)
  layer.rows[key] = value or false
  rows:set(key, value or nil)
  self.dirty = true
  layer.since = layer.since or self.disk.node.world.now
end

local function undo_to(self, mark)
  local layer, rows = self.layer, self.directory.rows
  local undo = layer.undo
  for i = #undo - 2, mark + 1, -3 do
    local key, value, before = undo[i], undo[i + 1], undo[i + 2]
    layer.bytes = layer.bytes - size(key, layer.rows[key])
    if before == layer then
      layer.rows[key] = nil
      layer.count = layer.count - 1
    else
      layer.rows[key] = before
      layer.bytes = layer.bytes + size(key, before)
    end
    rows:set(key, value or nil)
    undo[i], undo[i + 1], undo[i + 2] = nil, nil, nil
  end
end

-- The layer as a batch, in the order of its keys.
local function batch_of(layer)
  local keys, batch = {}, {}
  for key in next, layer.rows do -- in any order: sorted below
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    batch[#batch + 1], batch[#batch + 2] = key, layer.rows[key]
  end
  batch.index = layer.index
  return batch
end

-- ---------------------------------------------------------------- rows

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

function methods:delete_range(from, to)
  check_open(self, "delete_range")
  from = check_string(from, 2, "delete_range")
  to = to ~= nil and check_string(to, 3, "delete_range") or nil
  local rows = self.directory.rows
  local key = rows:first(from, to)
  while key do
    write(self, key, nil)
    key = rows:first(key .. "\0", to)
  end
  self.dirty = true
end

function methods:begin()
  check_open(self, "begin")
  self.layer.mark = #self.layer.undo
end

function methods:rollback()
  check_open(self, "rollback")
  undo_to(self, self.layer.mark)
end

function methods:pending()
  check_open(self, "pending")
  return self.layer.count + (self.flushing and self.flushing.count or 0)
end

function methods:scan(from, to, options)
  check_open(self, "scan")
  from = check_string(from, 2, "scan")
  to = to ~= nil and check_string(to, 3, "scan") or nil
  return scans.new(function()
    return self.directory and self.directory.rows
  end, from, to, scans.check_options(options))
end


-- A flat list's elements two by two.
local function pairs_of(list)
  local grouped = {}
  for i = 1, #list, 2 do
    grouped[#grouped + 1] = { list[i], list[i + 1] }
  end
  return grouped
end

function methods:collect(from, to, what, limit, skip, reverse, offset)
  check_open(self, "collect")
  what, limit, skip, offset = what or "both", limit or math.maxinteger, skip or 0, offset or 0
  if what ~= "keys" and what ~= "values" and what ~= "both" then
    error(("bad argument #4 to 'collect' (invalid option '%s')"):format(what), 2)
  elseif skip < 0 then
    error("bad argument #6 to 'collect' (at least 0 expected)", 2)
  end
  local list, rows = {}, 0
  if limit <= 0 then
    return list
  end
  for key, value in self:scan(from, to, { reverse = reverse }) do
    rows = rows + 1
    if rows > offset then
      if what ~= "values" then
        list[#list + 1] = key:sub(skip + 1)
      end
      if what ~= "keys" then
        list[#list + 1] = value
      end
      if rows - offset == limit then
        break
      end
    end
  end
  return list
end

function methods:fresh(prefix)
  check_open(self, "fresh")
  check_string(prefix, 2, "fresh")
end

function methods:load()
  check_open(self, "load")
  return true -- there is no disk that takes time
end

-- As a list where the real store makes a view.
function methods:reply(from, to, what, kind, _, skip, reverse, limit, offset, protocol)
  check_open(self, "reply")
  if kind == "map" and what ~= nil and what ~= "both" then
    error("bad argument #5 to 'reply' (a map is of both)", 2)
  elseif kind == "set" and what == "scores" then
    error("bad argument #5 to 'reply' (no array)", 2)
  elseif kind and kind ~= "array" and kind ~= "set" and kind ~= "map" then
    error(("bad argument #5 to 'reply' (invalid option '%s')"):format(kind), 2)
  elseif skip and skip < 0 then
    error("bad argument #7 to 'reply' (at least 0 expected)", 2)
  end
  local list = self:collect(from, to, what == "scores" and "keys" or what, limit, skip, reverse, offset)
  if what == "scores" then
    list = score.split(list)
    return protocol == 3 and pairs_of(list) or list
  elseif kind == "map" then
    return resp.map(list)
  end
  return kind == "set" and resp.set(list) or list
end

function methods:count(from, to, limit)
  return #self:collect(from, to, "keys", limit)
end

function methods:elements()
  check_open(self, "elements")
  return store_elements.new(self)
end

function methods:members()
  check_open(self, "members")
  return store_members.new(self)
end

function methods:rows(kind)
  check_open(self, "rows")
  return store_rows.new(self, check_string(kind, 2, "rows"))
end

function methods:pack(from, to, what, skip, most, head)
  check_open(self, "pack")
  local content = pieces.format(self:collect(from, to, what, nil, skip))
  return #content <= most and head .. content or nil
end

function methods:copy(from, to)
  check_open(self, "copy")
  store_scored.copy(self, from, to)
end

function methods:combine(how, sets, into, limit)
  check_open(self, "combine")
  return store_scored.combine(self, how, sets, into, limit)
end

function methods:scored()
  check_open(self, "scored")
  return store_scored.new(self)
end

function methods:snapshot()
  check_open(self, "snapshot")
  if self.logged and self.dirty then
    return nil, "a snapshot in the middle of an entry: advance first", "EINVAL"
  end
  self.layer.mark = #self.layer.undo
  return scans.snapshot(self.directory.rows:copy(), self.index, self)
end

-- ---------------------------------------------------------------- to the disk

-- The rest of the way of a layer that the system has: nothing of it is undone any more.
local function settle(self, layer, synced)
  if synced and layer.index > self.durable then
    self.durable = layer.index
    self:tell()
  end
  self.directory:compact(self.disk)
end

local function count_batch(self, layer)
  self.batches = self.batches + 1
  self.flushed_bytes = self.flushed_bytes + layer.bytes
end

local function append(self, layer)
  local code = self.disk:append(self.directory.journal, batch_of(layer))
  if not code then
    count_batch(self, layer)
  end
  return code
end

local function set_failed(self, code)
  self.failed = table.pack(fail(self.dir, "write to", code, (" (IO error: %s/db/000003.log: %s)"):format(self.dir,
    directories.TEXTS[code])))
end

---Calls fn(err, code, index), which is the node's, in the loop's socket phase.
local function call_later(self, fn, err, code, index, done)
  local loop = self.disk.node.loop
  loop:socket(function()
    if done then
      done()
    end
    if fn then
      loop:call(fn, err, code, index)
    end
  end)
end

-- Tells of what is durable now: on_flushed, and those who wait for their flush.
function methods:tell()
  if self.on_flushed and self.journal then
    call_later(self, self.on_flushed, nil, nil, self.durable)
  end
end

local function answer_waiting(self, err, code)
  local left, loop = {}, self.disk.node.loop
  for _, waiting in ipairs(self.waiting) do
    if err or waiting.number < self.number then
      call_later(self, waiting.fn, err, code, self.durable, function()
        loop:release()
      end)
    else
      left[#left + 1] = waiting
    end
  end
  self.waiting = left
end

function methods:commit(sync)
  check_open(self, "commit")
  local layer = self.layer
  if self.logged and self.dirty and not self.failed then
    return nil, "commit in the middle of an entry: advance first", "EINVAL"
  elseif self.failed and self.failed[2] == "ENOSPC" and not self.disk:is_full() then
    self.failed = false -- a full disk is not for ever
  end
  if self.flushing then -- it waits for it
    local loop = self.disk.node.loop
    loop.lag = math.max(loop.lag, self.flush_ends - self.disk.node.world.now)
    self:finish_flush()
  end
  if not self.failed and self.journal and (layer.count > 0 or sync) then
    layer.index = self.index
    local code = layer.count > 0 and append(self, layer) or nil
    code = code or sync and self.disk:sync(self.journal) or nil
    if code then
      set_failed(self, code)
    end
  end
  if self.failed then
    return nil, self.failed[1], self.failed[2]
  end
  self.layer, self.dirty, self.layer_number = new_layer(), false, self.layer_number + 1
  self.number = self.layer_number
  settle(self, layer, sync)
  answer_waiting(self)
  return true
end

-- ---------------------------------------------------------------- under a log

local function give_room(self)
  if self.said_no and self:room() then
    self.said_no = false
    if self.on_room then
      call_later(self, self.on_room)
    end
  end
end

local start_flush

-- A flush ends: everything up to its layer is on the disk, or it has failed.
function methods:finish_flush()
  local layer, event = self.flushing, self.flush_event
  self.flushing, self.flush_event = false, false
  self.disk.node.world:cancel(event)
  local code = layer.code
  if not code then
    self.number = layer.number + 1
    settle(self, layer, true)
    answer_waiting(self)
  elseif code == "ENOSPC" then
    set_failed(self, code)
    self.retry = layer
  else
    set_failed(self, code)
    self.broken = layer
    answer_waiting(self, self.failed[1], code)
    if self.on_flushed then
      call_later(self, self.on_flushed, self.failed[1], code, self.durable)
    end
  end
  give_room(self)
end

local function on_flush_end(self)
  if self.directory and self.flushing then
    self.flush_event = { cancelled = true }
    self:finish_flush()
    if self.retry then
      self.disk.node.world:at(self.disk.node.world.now + RETRY, start_flush, self, self.retry)
    elseif self.layer.wanted then
      start_flush(self)
    end
  end
end

-- Freezes what is written; it has to be the end of an entry.
function start_flush(self, again)
  if not self.directory or self.disk.node.loop.dead or self.loop ~= self.disk.node.loop or self.flushing then
    return
  end
  local layer = again or self.layer
  if not again then
    self.layer, layer.index, layer.number = new_layer(), self.index, self.layer_number
    self.layer_number = self.layer_number + 1
  elseif self.retry ~= again then
    return
  end
  self.retry = false
  local world = self.disk.node.world
  self.flushing = layer
  local seconds
  layer.code = self.disk:failure "write"
  if layer.code then
    seconds = self.disk:delay "sync"
  else
    self.failed = false
    if layer.count > 0 or layer.index > self.durable then
      self.journal.records[#self.journal.records + 1] = batch_of(layer) -- by a thread: the node does not wait for it
      count_batch(self, layer)
    end
    layer.undo = {}
    seconds = self.disk:begin_sync(self.journal) -- what fails a write fails a sync, and has not failed this one
  end
  self.flush_ends = world.now + seconds
  self.flush_event = world:at(self.flush_ends, on_flush_end, self)
end

-- Begins to flush where it is time, and an entry has ended.
local function maybe_flush(self)
  local layer = self.layer
  if not self.journal or self.flushing or self.retry or self.failed or self.logged and self.dirty then
    return
  end
  local world = self.disk.node.world
  if layer.wanted or layer.bytes >= self.options.overlay
    or layer.since and world.now - layer.since >= self.options.max_age then
    start_flush(self)
  end
end

function methods:advance(index)
  check_open(self, "advance")
  local number = math.tointeger(index)
  if not number then
    misuse(2, "advance", "number expected, got " .. got(index))
  elseif number <= 0 or number <= self.index then
    misuse(2, "advance", "greater than the index before expected")
  elseif self.failed and self.failed[2] ~= "ENOSPC" then
    return nil, self.failed[1], self.failed[2]
  end
  self.index, self.logged, self.dirty = number, true, false
  self.layer.mark = #self.layer.undo
  maybe_flush(self)
  return true
end

function methods:applied()
  check_open(self, "applied")
  return self.index
end

function methods:room()
  check_open(self, "room")
  if self.failed then
    self.said_no = true
    return false, self.failed[1], self.failed[2]
  end
  local bytes = self.layer.bytes + (self.flushing and self.flushing.bytes or 0)
  if bytes > self.options.limit then
    self.said_no = true
    return false, ("the flush is behind: %d MiB of writes wait for the engine"):format(bytes >> 20), "EAGAIN"
  end
  return true
end

function methods:flush(fn)
  check_open(self, "flush")
  if fn ~= nil and type(fn) ~= "function" then
    misuse(2, "flush", "function expected, got " .. got(fn))
  elseif self.failed and self.failed[2] ~= "ENOSPC" then
    return nil, self.failed[1], self.failed[2]
  end
  local loop = self.disk.node.loop
  loop:hold()
  if not self.journal then
    call_later(self, fn, nil, nil, self.index, function()
      loop:release()
    end)
    return true
  end
  self.waiting[#self.waiting + 1] = { fn = fn, number = self.layer_number }
  self.layer.wanted = true
  maybe_flush(self)
  return true
end

-- ---------------------------------------------------------------- figures, the end

function methods:stats()
  check_open(self, "stats")
  local layer, frozen = self.layer, self.flushing
  local bytes = layer.bytes + (frozen and frozen.bytes or 0)
  return {
    pending = self:pending(), pending_bytes = bytes, overlay_bytes = bytes, frozen = frozen and 1 or 0,
    batches = self.batches, applied = self.index, durable = self.durable, flushed_bytes = self.flushed_bytes,
    flush_time = 0.0, purged = 0, cache_hits = 0, cache_misses = 0, cache_rows = 0, cache_bytes = 0, disk_bytes = 0,
    engine = self.directory.engine, full = self.failed and self.failed[2] == "ENOSPC" or false,
  }
end

-- What has not reached the system is gone, with the process or by close.
local function forget(self)
  undo_to(self, 0)
  local undone = self.flushing or self.retry or self.broken
  if undone then
    self.layer = undone
    undo_to(self, 0)
  end
  self.directory.holder, self.directory = nil, false
end

function methods:close()
  if getmetatable(self) ~= metatable then
    misuse(1, "close", "lunode.store_handle expected, got " .. got(self))
  elseif self.directory then
    answer_waiting(self, "the store was closed", "ECANCELED")
    forget(self)
  end
end
metatable.__close = methods.close

-- ---------------------------------------------------------------- opening

local ENGINES = { leveldb = true, rocksdb = true, memory = true }

local function check_options(options)
  if options == nil then
    options = {}
  elseif type(options) ~= "table" then
    misuse(2, "open", "table expected, got " .. got(options))
  end
  for _, name in ipairs { "cache", "overlay", "limit" } do
    local value = options[name]
    if value ~= nil and not (math.tointeger(value) and math.tointeger(value) >= 0) then
      misuse(2, "open", name .. ": a number of bytes expected")
    end
  end
  for _, name in ipairs { "on_flushed", "on_room" } do
    if options[name] ~= nil and type(options[name]) ~= "function" then
      misuse(2, "open", name .. ": a function expected")
    end
  end
  if options.engine ~= nil and type(options.engine) ~= "string" then
    misuse(2, "open", "engine: a name expected")
  end
  return options
end

local function open(node, dir, options)
  local disk = node.disk
  local directory, err, code = directories.open(disk, dir, options)
  if not directory then
    return nil, err, code
  end
  local self = setmetatable({
    dir = dir or "", disk = disk, loop = node.loop, directory = directory, journal = directory.journal,
    options = {
      overlay = options.overlay or OVERLAY, limit = options.limit or LIMIT, max_age = options.max_age or MAX_AGE,
    },
    on_flushed = options.on_flushed, on_room = options.on_room,
    layer = new_layer(), layer_number = 1, -- of the layer
    flushing = false, flush_event = false, flush_ends = 0, -- a layer on its way to the disk
    retry = false, -- one that found the disk full
    broken = false, -- one that found it failing
    number = 1, -- the first layer that is not on the disk
    waiting = {}, -- for flushes: { fn, number }
    index = directory.index, durable = directory.index,
    logged = directory.index > 0, dirty = false, -- there was an advance; there were writes since
    batches = 0, flushed_bytes = 0, failed = false, said_no = false,
  }, metatable)
  directory.holder = self
  directory.forget = function()
    if directory.holder == self then
      forget(self)
    end
  end
  return self
end

---The module for one life of a node.
---@param node lunode.sim.node
---@return table
function M.module(node)
  local module = {}

  function module.open(dir, options)
    options = check_options(options)
    if not (dir == nil and options.engine == "memory") then
      dir = check_string(dir, 1, "open")
    end
    if options.engine and not ENGINES[options.engine] then
      return nil, ("there is no engine %s; there are leveldb, rocksdb and memory"):format(options.engine), "EINVAL"
    end
    return open(node, dir, options)
  end

  function module.inspect(dir)
    local journal = node.disk:find(check_string(dir, 1, "inspect"))
    if not journal then
      return nil, fail(dir, "open", "ENOENT")
    end
    local directory = journal.directory
    return {
      format = 2, engine = directory.engine, locked = directory.holder ~= nil, pid = directory.holder and node.number,
    }
  end

  function module.remove(dir)
    local info, err, code = module.inspect(dir)
    if info and info.locked then
      return nil, directories.in_use(node.disk, dir)
    elseif not info then
      return nil, err, code
    end
    for _, name in ipairs { "", "/log (log)", "/data-0", "/data-1" } do
      node.disk:remove(dir .. name)
    end
    return true
  end

  return module
end

return M
