-- What `elements` of a simulated store makes: rows under a prefix in the order of a number, as the real store's. It
-- knows no disk.
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
