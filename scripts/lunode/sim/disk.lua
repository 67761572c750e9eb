-- The disk of a node: journals by name, which survive its processes, and power cuts as far as they were synced. How
-- long writes take, and how they fail. Does not know what the records are: lunode.sim.store does.
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
---@field holder any         who has it open
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
  local journal = { records = {}, synced = 0, synced_at = 0, before = 0, torn = false, holder = nil, lost = nil }
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

-- How long this access takes; a stalled disk takes all until its stall ends.
local function wait(self, seconds)
  local now, slow = self.node.world.now, active(self, "latency")
  if slow then
    seconds = seconds + slow.seconds
  end
  local stall = active(self, "stall")
  if stall then
    seconds = seconds + math.max(0, stall.ends - now)
  end
  return seconds
end

---Makes the node wait for the disk, and tells whether it works.
---@param what "read"|"write"|"sync"
---@return string? code  "EIO", "ENOSPC"
function methods:access(what)
  local seconds = what == "sync" and self.rng:between(SYNC_MIN, SYNC_MAX) or 0
  seconds = wait(self, seconds)
  local loop = self.node.loop
  if seconds > 0 and not loop.dead then
    loop.lag = loop.lag + seconds
  end
  if what ~= "read" then
    return active(self, "eio") and "EIO" or what == "write" and active(self, "enospc") and "ENOSPC" or nil
  end
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
    self.journals[name].holder = nil
  end
end

---The power has failed.
function methods:cut()
  local now, torn = self.node.world.now, active(self, "torn")
  for _, name in ipairs(self.names) do
    local journal = self.journals[name]
    local safe = journal.synced_at <= now and journal.synced or journal.before
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
