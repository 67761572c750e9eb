-- What `members` of a simulated store makes: rows under a prefix by the hash of their names, as the real store's. It
-- knows no disk.
local pieces = require "lunode.sim.store_pieces"
local slot = require "lunode.slot"

local M = {}

---@class lunode.sim.store_members
---@field store lunode.sim.store
local methods = {}
local metatable = { __index = methods, __name = "lunode.members" }

---@param store lunode.sim.store
function M.new(store)
  return setmetatable({ store = store }, metatable)
end

-- (the row, the hash), which is the same as in the row of a key of this name.
local function row_of(prefix, member)
  local tail = slot.row("m", member):sub(4)
  return prefix .. tail, (string.unpack(">I4", tail))
end

function methods:get(prefix, member)
  return self.store:get((row_of(prefix, member)))
end

function methods:has(prefix, member)
  local row, hash = row_of(prefix, member)
  return self.store:get(row) ~= nil, hash
end

function methods:put(prefix, member, value)
  local row, hash = row_of(prefix, member)
  local existed = self.store:get(row) ~= nil
  self.store:put(row, value)
  return existed, hash
end

function methods:swap(prefix, member, value)
  local row, hash = row_of(prefix, member)
  local old = self.store:get(row)
  self.store:put(row, value)
  return old, hash
end

function methods:index(prefix, member, index, value)
  if #value > 64 then
    error("bad argument #5 to 'index' (too long for an index)", 2)
  end
  local old, hash = self:swap(prefix, member, value)
  if old ~= value then
    if old then
      self.store:delete(index .. old .. member)
    end
    self.store:put(index .. value .. member, "")
  end
  return old, hash
end

function methods:unindex(prefix, member, index)
  local row, hash = row_of(prefix, member)
  local old = self.store:get(row)
  if old then
    self.store:delete(index .. old .. member)
    self.store:delete(row)
  end
  return old, hash
end

function methods:pop(prefix, entry, index, value_bytes)
  local member = entry:sub(value_bytes + 1)
  local row, hash = row_of(prefix, member)
  self.store:delete(index .. entry)
  self.store:delete(row)
  return member, hash
end

function methods:add(prefix, member, value)
  local row, hash = row_of(prefix, member)
  local absent = self.store:get(row) == nil
  if absent then
    self.store:put(row, value)
  end
  return absent, hash
end

function methods:unpack(prefix, content, first, paired)
  if not self.store.directory then
    error("store is closed", 2)
  end
  local list = pieces.parse(content, first)
  local width = paired and 2 or 1
  if not list or #list % width ~= 0 then
    return nil
  end
  for i = 1, #list, width do
    if not self:add(prefix, list[i], paired and list[i + 1] or "") then
      return nil
    end
  end
  return #list // width
end

function methods:cut(prefix, index, from, to, value_bytes, limit, offset, reverse)
  local list = self.store:collect(from, to, "keys", limit, #index, reverse, offset)
  for _, entry in ipairs(list) do
    self:pop(prefix, entry, index, value_bytes)
  end
  if #list == 0 then
    return 0
  end
  return #list, list[reverse and #list or 1], list[reverse and 1 or #list]
end

function methods:delete(prefix, member, known)
  local row, hash = row_of(prefix, member)
  local existed = known or self.store:get(row) ~= nil
  if existed then
    self.store:delete(row)
  end
  return existed, hash
end

return M
