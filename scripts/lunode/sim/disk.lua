-- The disk of a node: journals by name, which survive its processes, and power cuts as far as they were synced. How
-- long writes take, and how they fail. Does not know what the records are: lunode.sim.store and lunode.sim.log do.
--
-- A write reaches the system at once (a killed process loses nothing), and the disk by a sync. A power cut takes a
-- suffix of the records that were not synced, as chance has it.

local M = {}

local SYNC_MIN, SYNC_MAX = 0.0005, 0.002 -- seconds

---@class lunode.sim.disk
---@field node lunode.sim.node
---@field journals table<string, lunode.sim.journal>
---@field faults table[]  active ones: { kind, seconds }
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.disk" }

---@class lunode.sim.journal
---@field records any[]      those that the system has
---@field synced integer     so many of them are on the disk
---@field synced_at number   since when: a sync takes time, and the power may fail meanwhile
---@field before integer     how many were before that sync
---@field torn boolean       the power failed in the midst of a record: what is left of it follows the records
---@field holder any         who has it open, where only one may
---@field released fun()?    hears that the process has ended
---@field lost fun(kept: integer)?  hears of a power cut, and how many records it has left

---@param node lunode.sim.node
---@return lunode.sim.disk
function M.new(node)
  local self = setmetatable({ node = node, journals = {}, names = {}, faults = {} }, metatable)
  self.rng = node.world:stream("disk " .. node.name)
  return self
end

---@param name string
---@return lunode.sim.journal?  nil where there is none
function methods:find(name)
  return self.journals[name]
end

---@param name string
---@return lunode.sim.journal
function methods:create(name)
  local journal = { records = {}, synced = 0, synced_at = 0, before = 0, torn = false }
  self.journals[name] = journal
  self.names[#self.names + 1] = name
  return journal
end

-- ---------------------------------------------------------------- time and errors

local function active(self, kind)
  for _, fault in ipairs(self.faults) do
    if fault.kind == kind then
      return fault
    end
  end
end

---How long an access takes. A write goes to the system's memory, and a sync to the disk; a stalled disk holds both,
---until its stall ends.
---@param what "write"|"sync"
---@return number seconds
function methods:delay(what)
  local seconds, stall = 0, active(self, "stall")
  if what == "sync" then
    local slow = active(self, "latency")
    seconds = self.rng:between(SYNC_MIN, SYNC_MAX) + (slow and slow.seconds or 0)
  end
  return stall and seconds + math.max(0, stall.ends - self.node.loop:time()) or seconds
end

---Whether an access fails now.
---@param what "write"|"sync"
---@return string? code  "EIO", "ENOSPC"
function methods:failure(what)
  return active(self, "eio") and "EIO" or what == "write" and active(self, "enospc") and "ENOSPC" or nil
end

---Makes the node wait for the disk, and tells whether it works.
---@param what "write"|"sync"
---@return string? code  "EIO", "ENOSPC"
function methods:access(what)
  local seconds, loop = self:delay(what), self.node.loop
  if seconds > 0 and not loop.dead then
    loop.lag = loop.lag + seconds
  end
  return self:failure(what)
end

---Appends a record, for the system to write when it likes.
---@param journal lunode.sim.journal
---@param record any
---@return string? code
function methods:append(journal, record)
  local code = self:access "write"
  if not code then
    journal.records[#journal.records + 1] = record
  end
  return code
end

---Waits until all records are on the disk.
---@param journal lunode.sim.journal
---@return string? code
function methods:sync(journal)
  local code = self:access "sync"
  if not code then
    local loop = self.node.loop
    if journal.synced_at <= self.node.world.now then
      journal.before = journal.synced
    end
    journal.synced, journal.synced_at = #journal.records, loop:time()
  end
  return code
end

---How many records no power cut takes any more.
---@param journal lunode.sim.journal
---@return integer
function methods:safe_count(journal)
  return journal.synced_at <= self.node.world.now and journal.synced or journal.before
end

---Begins to put all records on the disk; the node goes on meanwhile.
---@param journal lunode.sim.journal
---@return number seconds  until they are there
---@return string? code    or until it fails
function methods:begin_sync(journal)
  local seconds = self:delay "sync"
  if self:is_broken() then
    return seconds, "EIO"
  end
  if journal.synced_at <= self.node.world.now then
    journal.before = journal.synced
  end
  journal.synced, journal.synced_at = #journal.records, self.node.loop:time() + seconds
  return seconds
end

---Whether reads and writes fail.
---@return boolean
function methods:is_broken()
  return active(self, "eio") ~= nil
end

---Whether there is no room left.
---@return boolean
function methods:is_full()
  return active(self, "enospc") ~= nil
end

---Forgets the first records, which the caller keeps elsewhere, durably.
---@param journal lunode.sim.journal
---@param count integer
function methods:drop(journal, count)
  local records = journal.records
  table.move(records, count + 1, #records + count, 1)
  journal.synced = math.max(0, journal.synced - count)
  journal.before = math.max(0, journal.before - count)
end

-- ---------------------------------------------------------------- death

---The process has ended: what it had open is closed.
function methods:release()
  for _, name in ipairs(self.names) do
    local journal = self.journals[name]
    journal.holder = nil
    if journal.released then
      journal.released()
    end
  end
end

---The power has failed.
function methods:cut()
  local now, torn = self.node.world.now, active(self, "torn")
  for _, name in ipairs(self.names) do
    local journal = self.journals[name]
    local safe = self:safe_count(journal)
    local count = #journal.records
    local kept = safe + self.rng:integer(0, count - safe)
    journal.torn = kept < count and (torn ~= nil or self.rng:chance(0.5))
    for i = count, kept + 1, -1 do
      journal.records[i] = nil
    end
    journal.synced, journal.before, journal.synced_at = kept, kept, now
    if kept < count then
      self.node:note("disk", ("%s: %d of %d records are lost%s"):format(name, count - kept, count,
        journal.torn and ", the next one is torn" or ""))
    end
    if journal.lost then
      journal.lost(kept)
    end
  end
end

return M
