-- Checks the rows of a key-value node's store: that each can be read, that keys lie where they belong, that
-- collections have the elements that they count, and that the expiry index and the counts agree with them. Reads a
-- store, and prints nothing.

local keys = require "lunode.kv.keys"
local readable = require "lunode.cli.readable"
local slot = require "lunode.slot"

local M = {}

---@class lunode.cli.rows_report
---@field rows integer
---@field bytes integer
---@field keys integer
---@field expires integer      of them, with an expiry
---@field unknown integer      rows that a key-value node does not make
---@field unreadable integer   places where rows cannot be read
---@field applied integer
---@field saved integer?       milliseconds since the epoch: it is a backup, or comes from one, made then
---@field format string?       of the keys
---@field damages string[]

local MOST = 100 -- damages that are told one by one

local function damage(self, format, ...)
  self.count = self.count + 1
  if self.count <= MOST then
    self.report.damages[self.count] = format:format(...)
  end
end

local quote = readable.quote

local COLLECTION_BYTES = 26 -- of a meta row's payload

-- Rows of elements, less those that their collection counts. They meet in any order, as RENAME lets elements be where
-- they are: what is not 0 in the end is wrong.
local function weigh(self, prefix, rows)
  local balance = (self.balances[prefix] or 0) + rows
  self.balances[prefix] = balance ~= 0 and balance or nil
end

local function check_collection(self, row, value)
  if #value ~= keys.payload_start(value) - 1 + COLLECTION_BYTES then
    return damage(self, "the value of key %s is malformed", quote(keys.key(row)))
  end
  local home, version, count, more = keys.collection(value)
  if count < 1 then
    damage(self, "key %s is a collection of %d elements", quote(keys.key(row)), count)
  end
  if version > self.version then
    damage(self, "key %s has version %d, and the last one that was given is %d", quote(keys.key(row)), version,
      self.version)
  end
  weigh(self, keys.element_prefix(home, version), keys.type(value) == keys.ZSET and -2 * count - more or -count)
end

local function check_elements(self)
  local prefixes = {}
  for prefix in pairs(self.balances) do
    prefixes[#prefixes + 1] = prefix
  end
  table.sort(prefixes)
  for _, prefix in ipairs(prefixes) do
    local balance = self.balances[prefix]
    damage(self, "of the collection with version %d in slot %d, %d rows of elements are %s",
      string.unpack(">i8", prefix, 4), keys.position(prefix .. "\0\0\0\0"), math.abs(balance),
      balance > 0 and "there that it does not count" or "missing")
  end
end

local function check_key(self, row, value)
  local report, name = self.report, quote(keys.key(row))
  report.keys = report.keys + 1
  if slot.row("m", keys.key(row)) ~= row then
    damage(self, "the row of key %s is not where the key belongs", name)
  end
  local head = value:byte()
  if not head or #value < keys.payload_start(value) - 1 or not keys.TYPE_NAMES[keys.type(value)] then
    return damage(self, "the value of key %s is malformed", name)
  end
  if keys.is_collection(value) then
    check_collection(self, row, value)
  end
  local expiry = keys.expiry(value)
  if expiry then
    report.expires = report.expires + 1
    if self.store:get(keys.expiry_row(expiry, row)) == nil then
      damage(self, "key %s expires, and is missing in the expiry index", name)
    end
  end
end

local function check_expiry(self, index)
  self.indexed = self.indexed + 1
  local expiry, row = keys.expiry_target(index)
  local value = self.store:get(row)
  if value == nil then
    damage(self, "the expiry index has key %s, which is not there", quote(keys.key(row)))
  elseif value == "" or #value < keys.payload_start(value) - 1 or keys.expiry(value) ~= expiry then
    damage(self, "the expiry index has another time for key %s than the key", quote(keys.key(row)))
  end
end

local function check_row(self, row, value)
  local report = self.report
  report.rows, report.bytes = report.rows + 1, report.bytes + #row + #value
  if readable.is_key(row) then
    check_key(self, row, value)
  elseif readable.is_element(row) then
    weigh(self, row:sub(1, keys.ELEMENT_PREFIX_BYTES), 1)
  elseif row:byte() == keys.EXPIRY_START:byte() and #row >= 9 then
    check_expiry(self, row)
  elseif row < keys.SYSTEM_START then -- those behind it are the node's own
    report.unknown = report.unknown + 1
  end
end

-- Where to go on behind a row that cannot be read: some slots further on, or with the next kind of rows.
local function behind(last, slots)
  if last < keys.SLOTS_END then
    local at = (#last >= 2 and string.unpack(">I2", last) or 0) + slots
    return at < keys.SLOTS and string.pack(">I2", at) or keys.SLOTS_END
  elseif last < keys.EXPIRY_START then
    return keys.EXPIRY_START
  end
  return last < keys.SYSTEM_START and keys.SYSTEM_START or nil
end

-- Rows from `from` on; returns the last one that could be read, whether it was interrupted, and why it ended, where it
-- is not the end.
local function walk_from(self, from, yield)
  local last, interrupted = from, false
  local ok, err = pcall(function()
    for row, value in self.store:scan(from) do
      last = row
      check_row(self, row, value)
      if self.report.rows % 1000 == 0 and yield(self.report) then
        interrupted = true
        return
      end
    end
  end)
  return last, interrupted, not ok and err or nil
end

-- Steps get longer while nothing can be read, so that a large hole is not tried slot by slot.
local function walk(self, yield)
  local from, slots = "", 1
  while from do
    local last, interrupted, err = walk_from(self, from, yield)
    if interrupted then
      return "interrupted"
    elseif not err then
      return
    end
    slots = last == from and slots * 2 or 1
    self.report.unreadable = self.report.unreadable + 1
    damage(self, "rows behind %s cannot be read: %s", last == "" and "the beginning" or quote(last), self.explain(err))
    from = behind(last, slots)
  end
end

local function check_counts(self)
  local report, stored = self.report, self.store:get(keys.COUNT_ROW)
  local count, expires = 0, 0
  if stored and #stored == 16 then
    count, expires = keys.counts(stored)
  elseif stored then
    return damage(self, "the row of the counts is malformed")
  end
  if count ~= report.keys or expires ~= report.expires then
    damage(self, "the counts say %d keys, %d of them expire, and there are %d and %d", count, expires, report.keys,
      report.expires)
  end
end

---Checks a store.
---@param store lunode.store_handle
---@param explain fun(err: any): string
---@param yield fun(report: lunode.cli.rows_report): boolean?  is called now and then; true ends the check
---@return lunode.cli.rows_report? report  nil: ended before
function M.check(store, explain, yield)
  local self = {
    store = store, explain = explain, count = 0, indexed = 0, balances = {}, version = 0,
    report = {
      rows = 0, bytes = 0, keys = 0, expires = 0, unknown = 0, unreadable = 0, applied = store:applied(),
      saved = nil, format = nil, damages = {},
    },
  }
  local report = self.report
  local version = store:get(keys.VERSION_ROW)
  if version and #version == 8 then
    self.version = keys.version(version)
  elseif version then
    damage(self, "the row of the versions is malformed")
  end
  if walk(self, yield) == "interrupted" then
    return nil
  end
  report.format = store:get(keys.FORMAT_ROW)
  local saved = store:get(keys.SAVED_ROW)
  report.saved = saved and #saved == 8 and keys.saved(saved) or nil
  if report.format == keys.UNFINISHED then
    damage(self, "it is a copy that was never finished; make it again")
  elseif report.format and report.format ~= keys.FORMAT then
    damage(self, "its keys have format %s, and this lunode reads format %s", quote(report.format), keys.FORMAT)
  elseif report.unreadable == 0 then -- else they cannot agree
    check_counts(self)
    check_elements(self)
    if not report.format and report.keys > 0 then
      damage(self, "there are keys, and no row that says which format they have")
    end
  end
  if self.count > MOST then
    report.damages[MOST + 1] = ("and %d more"):format(self.count - MOST)
  end
  return report
end

return M
