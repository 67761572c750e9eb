-- What `elements` of a simulated store makes: rows under a prefix in the order of a number, as the real store's. It
-- knows no disk.
local pieces = require "lunode.sim.store_pieces"

local pack = string.pack

local M = {}

---@class lunode.sim.store_elements
---@field store lunode.sim.store
local methods = {}
local metatable = { __index = methods, __name = "lunode.elements" }

---@param store lunode.sim.store
function M.new(store)
  return setmetatable({ store = store }, metatable)
end

local function row_of(prefix, index)
  return prefix .. pack(">i8", index)
end

function methods:get(prefix, index)
  return (self.store:get(row_of(prefix, index)))
end

function methods:put(prefix, index, value)
  self.store:put(row_of(prefix, index), value)
end

methods.add = methods.put

function methods:take(prefix, index)
  local row = row_of(prefix, index)
  local value = self.store:get(row)
  if value ~= nil then
    self.store:delete(row)
  end
  return value
end

function methods:range(prefix, first, count, reverse)
  local list = {}
  for i = 1, count do
    local value = self.store:get(row_of(prefix, reverse and first - i + 1 or first + i - 1))
    if value == nil then
      break
    end
    list[i] = value
  end
  return list
end

local function check_open(self)
  if not self.store.directory then
    error("store is closed", 3)
  end
end

local function check_count(name, count)
  if count < 0 then
    error(("bad argument #4 to '%s' (out of range)"):format(name), 3)
  end
end

function methods:find(prefix, first, count, value, limit, reverse)
  check_open(self)
  check_count("find", count)
  local found = {}
  for i = 0, count - 1 do
    local index = reverse and first - i or first + i
    local element = self.store:get(row_of(prefix, index))
    if element == nil then
      return nil
    elseif element == value then
      found[#found + 1] = index
      if #found == limit then
        break
      end
    end
  end
  return found
end

function methods:move(prefix, first, count, by)
  check_open(self)
  check_count("move", count)
  local list = self:range(prefix, first, count)
  if #list == count then
    for i, value in ipairs(list) do
      self.store:put(row_of(prefix, first + i - 1 + by), value)
    end
  end
  return #list == count
end

function methods:add_list(prefix, index, list)
  check_open(self)
  for i, value in ipairs(list) do
    self.store:put(row_of(prefix, index + i - 1), value)
  end
end

function methods:unpack(prefix, index, content, first)
  check_open(self)
  local list = pieces.parse(content, first)
  if list then
    self:add_list(prefix, index, list)
  end
  return list and #list
end

function methods:reply(prefix, first, count)
  if first < 0 then
    error("bad argument #3 to 'reply' (0 or more expected)", 2)
  elseif count < 0 or count > math.maxinteger - first then
    error("bad argument #4 to 'reply' (out of range)", 2)
  end
  local list = self:range(prefix, first, count)
  return #list == count and list or nil
end

return M
