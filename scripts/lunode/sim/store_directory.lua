-- A directory of a simulated store: its rows, what of them is safe, and who has it open. Survives processes; what a
-- power cut leaves is the journal's affair, see lunode.sim.disk.

local rows = require "lunode.sim.rows"

local M = {}

local TEXTS = { EIO = "Input/output error", ENOSPC = "No space left on device", ENOENT = "No such file or directory" }
local REMEDIES = {
  EIO = "repair that, or give another --data",
  ENOSPC = "free some space, or give another --data",
  ENOENT = "create it, or give another --data",
}
local COMPACT = 1000 -- records of a journal, after which those on the disk are folded into the rows below them

M.TEXTS = TEXTS

---@return string err, string code
function M.fail(dir, doing, code, cause)
  return ("cannot %s data directory %s: %s%s; %s"):format(doing, dir, TEXTS[code], cause or "", REMEDIES[code]), code
end

---@class lunode.sim.store_directory
---@field engine string
---@field rows lunode.sim.rows   as the system has them, and what the process has written
---@field base lunode.sim.rows   below the journal's records: on the disk
---@field base_index integer
---@field index integer          of the log, that the records go up to
---@field journal lunode.sim.journal?  nil: memory only
---@field holder table?          the store that has it open
---@field forget fun()           the holder's process has ended
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.store_directory" }

local function new(engine, journal)
  local self = setmetatable({
    engine = engine, rows = rows.new(), base = rows.new(), base_index = 0, index = 0, journal = journal, holder = nil,
    forget = function() end,
  }, metatable)
  if journal then
    journal.directory = self
    function journal.released()
      self.forget()
    end
    function journal.lost(kept)
      self.rows = self.base:copy()
      for i = 1, kept do
        self.rows:apply(journal.records[i])
      end
    end
  end
  return self
end

-- The index that the records go up to.
local function last_index(self)
  local index = self.base_index
  for _, record in ipairs(self.journal.records) do
    index = math.max(index, record.index)
  end
  return index
end

---Folds records that are on the disk into the base, where they are many.
---@param disk lunode.sim.disk
function methods:compact(disk)
  local journal = self.journal
  local count = journal and disk:safe_count(journal) or 0
  if count >= COMPACT then
    for i = 1, count do
      self.base:apply(journal.records[i])
      self.base_index = math.max(self.base_index, journal.records[i].index)
    end
    disk:drop(journal, count)
  end
end

---@param disk lunode.sim.disk
---@param dir string?  nil: memory only
---@param options table
---@return lunode.sim.store_directory?
---@return string? err, string? code
function M.open(disk, dir, options)
  if not dir then
    return new("memory", nil)
  end
  local journal = disk:find(dir)
  if not journal then
    if options.create == false then
      return nil, M.fail(dir, "open", "ENOENT")
    end
    local code = disk:access "write" or disk:access "sync"
    if code then
      return nil, M.fail(dir, "create", code)
    end
    journal = disk:create(dir)
    return new(options.engine or "leveldb", journal)
  end
  local self = journal.directory
  if self.holder then
    return nil, ("data directory %s is in use by process %d; stop it, or give another --data"):format(dir,
      disk.node.number), "ELOCKED"
  elseif options.engine and options.engine ~= self.engine then
    return nil, ("data directory %s was made with the engine %s, not %s; give that, or another --data"):format(dir,
      self.engine, options.engine), "EENGINE"
  end
  journal.torn = false -- what was torn is cut off
  self.index = last_index(self)
  return self
end

return M
