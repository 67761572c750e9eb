-- The log access that raft.new wants, in plain memory: for specs, models and as the example of what to implement. Keeps
-- nothing over the end of the process.
--
-- What core asks of a log: `first_index`, `last_index`, `term`, `entries`. The rest is for whoever writes to it.

local M = {}

---@class lunode.raft.log_access
---@field first_index fun(self): integer  of the first entry it holds; last_index() + 1 where it holds none
---@field last_index fun(self): integer
---@field term fun(self, index: integer): integer?  from first_index() - 1 (known from the snapshot) to last_index()
---@field entries fun(self, from: integer, to: integer, max_bytes: integer): lunode.raft.entry[]?
---  as many as fit from `from` on, at least one; nil where `from` is not there any more

---@class lunode.raft.memory_log: lunode.raft.log_access
---@field private base integer  index of the last entry that was cut off
---@field private base_term integer
---@field private list lunode.raft.entry[]
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.memory_log" }

---@param base? integer  the log begins after this index (default 0)
---@param base_term? integer
---@return lunode.raft.memory_log
function M.new(base, base_term)
  return setmetatable({ base = base or 0, base_term = base_term or 0, list = {} }, metatable)
end

function methods:first_index()
  return self.base + 1
end

function methods:last_index()
  return self.base + #self.list
end

function methods:term(index)
  if index == self.base then
    return self.base_term
  end
  local entry = self.list[index - self.base]
  return entry and entry.term
end

function methods:entries(from, to, max_bytes)
  if from <= self.base then
    return nil
  end
  local list, bytes = {}, 0
  for index = from, to do
    local entry = self.list[index - self.base]
    bytes = bytes + #entry.payload
    if bytes > max_bytes and index > from then
      break
    end
    list[#list + 1] = entry
  end
  return list
end

---@param entries lunode.raft.entry[]  they follow the last one
function methods:append(entries)
  table.move(entries, 1, #entries, #self.list + 1, self.list)
end

---@param from integer  this entry and all behind it go
function methods:truncate_suffix(from)
  for i = #self.list, math.max(from - self.base, 1), -1 do
    self.list[i] = nil
  end
end

---@param index integer  this entry and all before it go
function methods:truncate_prefix(index)
  if index > self.base then
    self.base_term = assert(self:term(index), "there is no such entry")
    self.list = table.move(self.list, index - self.base + 1, #self.list, 1, {})
    self.base = index
  end
end

---Begins anew behind a snapshot.
---@param index integer
---@param term integer
function methods:reset(index, term)
  self.base, self.base_term, self.list = index, term, {}
end

return M
