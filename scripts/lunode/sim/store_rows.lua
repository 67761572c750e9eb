-- What `rows` of a simulated store makes: users' keys of one kind, as the real store's. It knows no disk.
local resp = require "lunode.resp"
local slot = require "lunode.slot"

local M = {}

---@class lunode.sim.store_rows
---@field store lunode.sim.store
---@field kind string
local methods = {}
local metatable = { __index = methods, __name = "lunode.rows" }

local function check_head(head, name)
  if math.type(head) ~= "integer" or head < 0 or head > 255 then
    error(("bad argument #3 to '%s' (a byte expected)"):format(name), 3)
  end
end

---@param store lunode.sim.store
---@param kind string
function M.new(store, kind)
  if #kind ~= 1 then
    error("bad argument #2 to 'rows' (one byte expected)", 3)
  end
  return setmetatable({ store = store, kind = kind }, metatable)
end

function methods:get(key, head)
  check_head(head, "get")
  local value = self.store:get(slot.row(self.kind, key))
  if value == nil then
    return
  elseif value:byte() == head then
    return value:sub(2)
  end
  return nil, value
end

function methods:put(key, head, text, unless)
  check_head(head, "put")
  local row = slot.row(self.kind, key)
  local value = self.store:get(row)
  local old = value and (value:byte() or -1)
  if not old or old & (unless or 0) == 0 then
    self.store:put(row, string.char(head) .. text)
  end
  if value then
    return old
  end
end

function methods:put_list(list, first, head, unless)
  check_head(head, "put")
  local created = 0
  for at = first, #list - 1, 2 do
    local old = self:put(list[at], head, list[at + 1], unless)
    if not old then
      created = created + 1
    elseif old & (unless or 0) ~= 0 then
      return at, created
    end
  end
  return first + (#list + 1 - first) // 2 * 2, created
end

-- As a list where the real store makes a view.
function methods:reply(list, head)
  check_head(head, "reply")
  local values = {}
  for i, key in ipairs(list) do
    local text, value = self:get(key, head)
    if value then
      return
    end
    values[i] = text or resp.null
  end
  return values
end

-- As the real store's and Redis take one: no "+", no spaces, no leading zeros.
local function integer(text)
  local n = (text == "0" or text:find "^%-?[1-9]%d*$") and tonumber(text)
  return math.type(n) == "integer" and n or nil -- past 64 bits it is a float
end

function methods:add(key, head, by)
  check_head(head, "add")
  local row = slot.row(self.kind, key)
  local value = self.store:get(row)
  local n = not value and 0 or value:byte() == head and integer(value:sub(2))
  local sum = n and n + by
  if not n or (n ~ sum) & (by ~ sum) < 0 then -- both have the sign that the sum has not
    return
  end
  self.store:put(row, string.char(head) .. sum)
  return sum, value == nil
end

return M
