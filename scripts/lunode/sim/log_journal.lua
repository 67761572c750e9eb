-- What the records of a simulated log come to: its entries, where they begin and end, the hard state. Knows no handle
-- and nothing of when a record is safe.

local M = {}

local COMPACT = 1000 -- records of a journal, after which those on the disk are folded into what lies below them

---@class lunode.sim.log_facts
---@field first integer
---@field last integer
---@field base_term integer  of the entry before the first
---@field entries table<integer, table>
---@field term integer       the hard state
---@field vote string?

---@return lunode.sim.log_facts  of a journal without records
function M.new_facts()
  return { first = 1, last = 0, base_term = 0, entries = {}, term = 0, vote = nil }
end

local function copy_facts(facts)
  local copy = { first = facts.first, last = facts.last, base_term = facts.base_term, entries = {} }
  copy.term, copy.vote = facts.term, facts.vote
  table.move(facts.entries, facts.first, facts.last, facts.first, copy.entries)
  return copy
end

---@param facts lunode.sim.log_facts
---@param index integer
---@return integer? term
function M.term(facts, index)
  if index == facts.first - 1 then
    return facts.base_term
  end
  local entry = index >= facts.first and index <= facts.last and facts.entries[index]
  return entry and entry.term or nil
end

local function forget(facts, from, to)
  for i = from, to do
    facts.entries[i] = nil
  end
end

local kinds = {}

function kinds.entry(facts, record)
  facts.last = record.index
  facts.entries[record.index] = record
end

function kinds.suffix(facts, record)
  forget(facts, record.index, facts.last)
  facts.last = record.index - 1
end

function kinds.prefix(facts, record)
  forget(facts, facts.first, record.index)
  facts.first, facts.base_term = record.index + 1, record.term
end

function kinds.reset(facts, record)
  forget(facts, facts.first, facts.last)
  facts.first, facts.last, facts.base_term = record.index + 1, record.index, record.term
end

function kinds.state(facts, record)
  facts.term, facts.vote = record.term, record.vote
end

---@param facts lunode.sim.log_facts
---@param record table
function M.apply(facts, record)
  kinds[record.kind](facts, record)
end

---@param journal table
---@return lunode.sim.log_facts
function M.replay(journal)
  local facts = copy_facts(journal.base)
  for _, record in ipairs(journal.records) do
    M.apply(facts, record)
  end
  return facts
end

---What is safe, and would be read again at each open, becomes the base.
---@param disk table
---@param journal table
function M.compact(disk, journal)
  local count = journal.synced_at <= disk.node.world.now and journal.synced or journal.before
  if count < COMPACT then
    return
  end
  for i = 1, count do
    local record = journal.records[i]
    M.apply(journal.base, record)
  end
  disk:drop(journal, count)
end

return M
