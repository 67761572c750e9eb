-- The simulated `lunode.log`: the API, the order of durability and the errors of the real one, on a simulated disk.
-- Knows no files: each change is one record of its directory's journal, as in the real log.
--
-- What is flushed survives the process; a power cut takes a suffix of what no completed sync covers. A sync takes its
-- time on the disk, and the node goes on meanwhile. While the disk is full, each append fails, as if it always needed a
-- new segment; truncations and states have room in reserve. A write or sync that fails ends the log.

local journals = require "lunode.sim.log_journal"

local M = {}

local TEXTS = { EIO = "Input/output error", ENOSPC = "No space left on device", ENOENT = "there is no such directory" }
local RECORD, HEADER = 40, 256 -- bytes, as of the real files
local SEGMENT = 32 << 20
local MAX_PAYLOAD = 1 << 30
local KINDS = { -- as a check tells them
  entry = "entry", state = "state", suffix = "truncate suffix", prefix = "truncate prefix", reset = "reset",
}

-- ---------------------------------------------------------------- arguments

local methods = {}
local metatable = { __index = methods, __name = "lunode.log_handle" }

-- Blames the caller of the method, which is so many levels above this.
local function misuse(level, position, name, text)
  error(("bad argument #%d to '%s' (%s)"):format(position, name, text), level + 1)
end

local function expected(level, position, name, what, value)
  misuse(level + 1, position, name, ("%s expected, got %s"):format(what, value == nil and "no value" or type(value)))
end

local function check_open(self, name)
  if getmetatable(self) ~= metatable then
    expected(3, 1, name, "lunode.log_handle", self)
  elseif self.closed then
    error("log is closed", 3)
  end
end

local function check_integer(value, position, name)
  local integer = math.tointeger(value)
  if not integer then
    expected(3, position, name, "number", value)
  elseif integer < 0 then
    misuse(3, position, name, "an index or term is not negative")
  end
  return integer
end

local function check_string(value, position, name)
  if type(value) == "number" then
    return tostring(value)
  elseif type(value) ~= "string" then
    expected(3, position, name, "string", value)
  end
  return value
end

-- ---------------------------------------------------------------- failures

local function failure(self)
  return nil, self.failed, self.code
end

-- Those who wait are told in the loop's next turn.
local function fail(self, code, doing)
  self.code = code
  local text = "%s the log in %s failed: %s; the log has ended, and what is on disk is what a new start will find"
  self.failed = text:format(doing, self.dir, TEXTS[code])
  if #self.waiters > 0 then
    self.loop:socket(self.complete)
  end
end

-- ---------------------------------------------------------------- those who wait for a sync

-- Calls back all whose records are safe, or all where the log has ended.
local function complete(self)
  local waiters = self.waiters
  local count = #waiters
  for _ = 1, count do
    local waiter = waiters[1]
    if not waiter or not (self.code or waiter.position <= self.safe) then
      break
    end
    table.remove(waiters, 1)
    self.loop:release()
    self.loop:call(waiter.fn, self.failed, self.code, self.synced_index)
    if self.closed then
      return
    end
  end
end

local function on_synced(self, position, code)
  self.syncing = false
  if self.code then
    return
  elseif code then
    fail(self, code, "syncing")
    return
  end
  self.counts.syncs = self.counts.syncs + 1
  self.counts.synced_bytes = self.counts.synced_bytes + self.written_bytes - self.safe_bytes
  self.safe_bytes = self.syncing_bytes
  self.safe, self.synced_index = position, self.syncing_index
  journals.compact(self.disk, self.journal)
  complete(self)
  if not self.closed then
    self.begin_sync()
  end
end

local function begin_sync(self)
  local first
  for _, waiter in ipairs(self.waiters) do
    if waiter.position > self.safe then
      first = waiter
      break
    end
  end
  if self.syncing or self.code or not first or first.position > self.written then
    return
  end
  local position, loop = self.written, self.loop
  local seconds, code = self.disk:begin_sync(self.journal)
  self.syncing, self.syncing_index, self.syncing_bytes = true, self.facts.last, self.written_bytes
  self.counts.last_sync_seconds = seconds
  self.disk.node.world:at(loop:time() + seconds, function()
    if not loop.dead and not self.closed then
      loop:socket(function()
        if not self.closed then
          on_synced(self, position, code)
        end
      end)
    end
  end)
end

-- ---------------------------------------------------------------- writing

local function flush(self)
  if self.code or #self.buffer == 0 then
    begin_sync(self)
    return
  end
  if self.disk:is_broken() then
    fail(self, "EIO", "writing to")
    return
  end
  local records = self.journal.records
  table.move(self.buffer, 1, #self.buffer, #records + 1, records)
  self.buffer = {}
  self.written, self.written_bytes = self.position, self.bytes
  self.counts.writes = self.counts.writes + 1
  begin_sync(self)
end

local function will_flush(self)
  if not self.flush_queued then
    self.flush_queued = true
    self.loop:flush(self.on_flush)
  end
end

local function put(self, record, bytes)
  journals.apply(self.facts, record)
  self.buffer[#self.buffer + 1] = record
  self.position = self.position + 1
  self.bytes = self.bytes + (RECORD + bytes + 7) // 8 * 8
  will_flush(self)
  return true
end

local function no_space(self)
  return nil, ("making a new segment of the log in %s failed: %s"):format(self.dir, TEXTS.ENOSPC), "ENOSPC"
end

function methods:append(kind, payload, term)
  check_open(self, "append")
  local facts, number = self.facts, math.tointeger(kind)
  if not number then
    expected(2, 2, "append", "number", kind)
  elseif number < 0 or number > 127 then
    misuse(2, 2, "append", "a type is 0 … 127")
  end
  payload = check_string(payload, 3, "append")
  local last_term = journals.term(facts, facts.last)
  term = term == nil and last_term or check_integer(term, 4, "append")
  if self.code then
    return failure(self)
  elseif #payload > MAX_PAYLOAD then
    return nil, "an entry has at most 1 GiB", "EMSGSIZE"
  elseif term < last_term then
    return nil, "the term of an entry never goes back", "EINVAL"
  elseif self.disk:is_full() and #payload > self.promised then
    return no_space(self)
  end
  self.promised = -1
  local index = facts.last + 1
  put(self, { kind = "entry", index = index, term = term, type = number, payload = payload }, #payload)
  self.counts.appends = self.counts.appends + 1
  return index
end

function methods:room(bytes)
  check_open(self, "room")
  if (math.tointeger(bytes) or 0) < 0 then
    misuse(2, 2, "room", "a number of bytes expected")
  end
  bytes = check_integer(bytes, 2, "room")
  if self.code then
    return failure(self)
  elseif bytes > MAX_PAYLOAD then
    return nil, "an entry has at most 1 GiB", "EMSGSIZE"
  elseif not self.disk:is_full() then
    self.promised = math.max(self.promised, bytes)
  elseif bytes > self.promised then
    return no_space(self)
  end
  return true
end

-- What is on disk of the entries that are dropped is no part of the log any more.
local function forget_synced(self, last)
  self.synced_index = math.min(self.synced_index, last)
  self.syncing_index = math.min(self.syncing_index, last)
end

function methods:truncate_suffix(index)
  check_open(self, "truncate_suffix")
  index = check_integer(index, 2, "truncate_suffix")
  local facts = self.facts
  if self.code then
    return failure(self)
  elseif index < facts.first then
    return nil, ("entry %d cannot be dropped from the end: the log begins at %d"):format(index, facts.first), "EINVAL"
  elseif index <= facts.last then
    put(self, { kind = "suffix", index = index }, 0)
    forget_synced(self, index - 1)
  end
  return true
end

function methods:truncate_prefix(index, term)
  check_open(self, "truncate_prefix")
  index = check_integer(index, 2, "truncate_prefix")
  local facts = self.facts
  local known = journals.term(facts, index)
  if term ~= nil then
    term = check_integer(term, 3, "truncate_prefix")
  elseif index > facts.last then
    error("bad argument #3 to 'truncate_prefix' (the term of an index that the log does not have is needed)", 2)
  else
    term = known
  end
  if self.code then
    return failure(self)
  elseif index >= facts.first then
    local reset = known ~= term
    put(self, { kind = reset and "reset" or "prefix", index = index, term = term }, 0)
    if reset then
      forget_synced(self, 0)
    end
  end
  return true
end

function methods:set_state(term, vote)
  check_open(self, "set_state")
  term = check_integer(term, 2, "set_state")
  vote = vote ~= nil and check_string(vote, 3, "set_state") or ""
  if #vote > 128 then
    misuse(2, 3, "set_state", "a vote has at most 128 bytes")
  end
  if self.code then
    return failure(self)
  end
  return put(self, { kind = "state", term = term, vote = vote ~= "" and vote or nil }, #vote)
end

function methods:flush()
  check_open(self, "flush")
  flush(self)
  if self.code then
    return failure(self)
  end
  return true
end

function methods:sync(fn)
  check_open(self, "sync")
  if type(fn) ~= "function" then
    expected(2, 2, "sync", "function", fn)
  elseif self.code then
    return failure(self)
  end
  self.waiters[#self.waiters + 1] = { fn = fn, position = self.position }
  self.loop:hold()
  if self.position <= self.safe then
    self.loop:socket(self.complete)
  else
    will_flush(self)
  end
  return true
end

-- ---------------------------------------------------------------- reading

function methods:first()
  check_open(self, "first")
  return self.facts.first
end

function methods:last()
  check_open(self, "last")
  return self.facts.last
end

function methods:synced()
  check_open(self, "synced")
  return self.synced_index
end

function methods:term(index)
  check_open(self, "term")
  local term = journals.term(self.facts, check_integer(index, 2, "term"))
  if not term then
    return nil, ("the log has no entry %d"):format(index), "ERANGE"
  end
  return term
end

function methods:state()
  check_open(self, "state")
  local facts = self.facts
  if facts.vote then
    return facts.term, facts.vote
  end
  return facts.term
end

local function gone(self, index)
  return ("entry %d is gone: the log begins at %d"):format(index, self.facts.first)
end

function methods:read(from, to, max_bytes)
  check_open(self, "read")
  from = check_integer(from, 2, "read")
  to = to == nil and math.maxinteger or check_integer(to, 3, "read")
  max_bytes = max_bytes == nil and 1 << 20 or check_integer(max_bytes, 4, "read")
  if self.code then
    return failure(self)
  elseif from < self.facts.first then
    return nil, gone(self, from), "ERANGE"
  end
  local list, bytes = {}, 0
  for index = from, math.min(to, self.facts.last) do
    local entry = self.facts.entries[index]
    if #list > 0 and (bytes >= max_bytes or bytes + #entry.payload > max_bytes) then
      break
    end
    list[#list + 1] = { index = index, term = entry.term, type = entry.type, payload = entry.payload }
    bytes = bytes + math.max(#entry.payload, 1)
  end
  return list
end

function methods:entries(from, to)
  check_open(self, "entries")
  local index = from == nil and self.facts.first or check_integer(from, 2, "entries")
  to = to == nil and math.maxinteger or check_integer(to, 3, "entries")
  local box = setmetatable({}, { __name = "lunode.log_entries", __close = function() end })
  local function step()
    if self.closed then
      error("log is closed", 2)
    elseif self.code then
      error(self.failed, 2)
    elseif index < self.facts.first then
      error(gone(self, index), 2)
    end
    local entry = index <= to and self.facts.entries[index]
    if not entry then
      return nil
    end
    index = index + 1
    return entry.index, entry.payload, entry.type, entry.term
  end
  return step, nil, nil, box
end

function methods:stats()
  check_open(self, "stats")
  local counts = self.counts
  return {
    segments = 1, disk_bytes = self.segment_size, appends = counts.appends, writes = counts.writes,
    written_bytes = self.written_bytes, syncs = counts.syncs, synced_bytes = counts.synced_bytes,
    last_sync_seconds = counts.last_sync_seconds, waits = 0, unwritten_bytes = self.bytes - self.written_bytes,
    unsynced_bytes = self.bytes - self.safe_bytes, full = self.disk:is_full(),
  }
end

-- ---------------------------------------------------------------- closing

function methods:close()
  if getmetatable(self) ~= metatable then
    expected(2, 1, "close", "lunode.log_handle", self)
  elseif self.closed then
    return true
  end
  flush(self)
  if not self.code and self.safe < self.written then
    local code = self.disk:sync(self.journal)
    if code then
      fail(self, code, "syncing")
    end
  end
  self.closed = true
  self.journal.holder = nil
  local index = self.code and self.synced_index or self.facts.last
  self.loop:closing(function()
    for _, waiter in ipairs(self.waiters) do
      self.loop:release()
      self.loop:call(waiter.fn, self.failed, self.code, index)
    end
    self.waiters = {}
  end)
  if self.code then
    return failure(self)
  end
  return true
end
metatable.__close = methods.close

-- ---------------------------------------------------------------- opening and checking

local function check_options(options)
  if options == nil then
    return {}
  elseif type(options) ~= "table" then
    expected(3, 2, "open", "table", options)
  end
  for _, name in ipairs { "segment_size", "memory" } do
    local size = options[name]
    local bytes = math.tointeger(size)
    if size ~= nil and (type(size) ~= "number" or not bytes or bytes < 0 or bytes > 1 << 30) then
      error(("bad option %s (a number of bytes up to %d expected)"):format(name, 1 << 30), 3)
    end
  end
  return options
end

local function new_handle(node, dir, journal, options)
  local disk = node.disk
  local self = setmetatable({
    dir = dir, disk = disk, journal = journal, loop = node.loop,
    segment_size = options.segment_size or SEGMENT,
    facts = journals.replay(journal),
    buffer = {}, waiters = {},
    position = 0, written = 0, safe = 0, -- records since it was opened: made, flushed, on disk
    bytes = HEADER, written_bytes = HEADER, safe_bytes = HEADER,
    counts = { appends = 0, writes = 0, syncs = 0, synced_bytes = 0, last_sync_seconds = 0 },
    syncing = false, syncing_index = 0, syncing_bytes = 0,
    promised = -1, -- bytes of the next payload, which `room` has found room for
    flush_queued = false, closed = false, code = nil, failed = nil,
  }, metatable)
  self.synced_index = self.facts.last
  function self.complete()
    if not self.closed then
      complete(self)
    end
  end
  function self.begin_sync()
    begin_sync(self)
  end
  function self.on_flush()
    self.flush_queued = false
    if not self.closed then
      flush(self)
    end
  end
  return self
end

local function refuse(dir, code)
  return nil, ("cannot open the log in %s: %s%s"):format(dir, TEXTS[code],
    code == "ENOENT" and "; create it, or its parent" or ""), code
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
    local size = options.segment_size
    if size and size ~= 0 and size < 4096 then
      return nil, "a segment of the log has 4 KiB … 1 GiB", "EINVAL"
    end
    local name = dir .. " (log)"
    local journal = disk:find(name)
    if journal and journal.holder then
      return nil, ("the log in %s is in use by another process; stop that first"):format(dir), "ELOCKED"
    elseif not journal and options.create == false then
      return refuse(dir, "ENOENT")
    end
    local code = not journal and disk:access "write" or nil
    if code then
      return refuse(dir, code)
    end
    if not journal then
      journal = disk:create(name)
      journal.base = journals.new_facts()
    end
    code = disk:sync(journal) -- what a killed process has written may not be on the disk yet
    if code then
      return refuse(dir, code)
    end
    journal.torn = false
    journal.holder = new_handle(node, dir, journal, options)
    return journal.holder
  end

  function module.check(dir, fn)
    dir = check_string(dir, 1, "check")
    local journal = disk:find(dir .. " (log)")
    if not journal then
      return nil, ("cannot check the log in %s: No such file or directory"):format(dir), "ENOENT"
    end
    local facts, entries, bytes = journals.replay(journal), 0, HEADER
    for number, record in ipairs(journal.records) do
      local is_entry = record.kind == "entry"
      entries = entries + (is_entry and 1 or 0)
      if fn then
        fn { kind = KINDS[record.kind], segment = 1, offset = bytes, index = record.index or number, term = record.term,
          type = record.type, payload = record.payload }
      end
      bytes = bytes + (RECORD + #(record.payload or "") + 7) // 8 * 8
    end
    return { ok = true, torn = journal.torn, segments = 1, records = #journal.records, entries = entries, bytes = bytes,
      first = facts.first, last = facts.last, state_term = facts.term, damages = {} }
  end

  return module
end

return M
