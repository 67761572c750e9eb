-- What `scored` and `combine` of a simulated store make: members of several sets, with or without scores, as the real
-- store's. It knows no disk.
local pieces = require "lunode.sim.store_pieces"
local resp = require "lunode.resp"
local score = require "lunode.score"
local slot = require "lunode.slot"

local pack, unpack = string.pack, string.unpack

local M = {}

local HASH_BYTES, SCORE_BYTES, NODE_MASK = 4, 8, 0xFF

local function past(prefix)
  local head, last = prefix:match("^(.*)([^\xFF])\xFF*$")
  return head .. string.char(last:byte() + 1)
end

-- ---- several sets

-- The rows of a set by their names.
local function rows_of(store, prefix)
  local rows, list = {}, store:collect(prefix, past(prefix), "both", nil, #prefix)
  for i = 1, #list, 2 do
    rows[list[i]] = list[i + 1]
  end
  return rows
end

local function is_wanted(how, all, name)
  if how == "union" then
    return true
  end
  for i = 2, #all do
    if (all[i][name] ~= nil) ~= (how == "intersection") then
      return false
    end
  end
  return all[1][name] ~= nil
end

-- The names of the result in their order, and the sets' rows.
local function merge(store, how, sets, width)
  if how ~= "union" and how ~= "intersection" and how ~= "difference" then
    error(("bad argument #2 to 'combine' (invalid option '%s')"):format(tostring(how)), 4)
  end
  local all, names, seen = {}, {}, {}
  for i = 1, #sets, width do
    all[#all + 1] = rows_of(store, sets[i])
  end
  for _, rows in ipairs(how == "union" and all or { all[1] }) do
    for name in next, rows do -- in any order: sorted below
      if not seen[name] and is_wanted(how, all, name) then
        seen[name], names[#names + 1] = true, name
      end
    end
  end
  table.sort(names)
  return names, all
end

---What `combine` of the store does.
---@param store lunode.sim.store
function M.combine(store, how, sets, into, limit)
  local names = merge(store, how, sets, 2)
  local count = math.max(0, math.min(#names, limit or math.maxinteger))
  if into == false then
    return count
  end
  local list = {}
  for i = 1, count do
    list[i] = names[i]:sub(HASH_BYTES + 1)
    if into then
      store:put(into .. names[i], "")
    end
  end
  return into and count or resp.set(list)
end

---What `copy` of the store does.
---@param store lunode.sim.store
function M.copy(store, from, to)
  local rows = store:collect(from, past(from), "both", nil, #from)
  for i = 1, #rows, 2 do
    store:put(to .. rows[i], rows[i + 1])
  end
end

-- ---- with scores

---@class lunode.sim.store_scored
---@field store lunode.sim.store
local methods = {}
local metatable = { __index = methods, __name = "lunode.scored" }

---@param store lunode.sim.store
function M.new(store)
  return setmetatable({ store = store, entries = {} }, metatable)
end

local function check_open(self)
  if not self.store.directory then
    error("store is closed", 3)
  end
end

local function name_of(member)
  return slot.row("m", member):sub(4)
end

local function no_nan(number)
  return number ~= number and 0.0 or number
end

local aggregates = {
  sum = function(a, b)
    return no_nan(a + b)
  end,
  min = function(a, b)
    return b < a and b or a
  end,
  max = function(a, b)
    return b > a and b or a
  end,
}

function methods:combine(how, sets, aggregate)
  check_open(self)
  local join = aggregates[aggregate or "sum"]
  local names, all = merge(self.store, how, sets, 3)
  for _, name in ipairs(names) do
    local sum
    for i, rows in ipairs(all) do
      local value = rows[name]
      if value then
        local number = (#value == SCORE_BYTES and score.decode(value) or 1.0) * sets[3 * i]
        number = (sum == nil or how == "union") and no_nan(number) or number
        sum = sum and join(sum, number) or number
      end
    end
    self.entries[#self.entries + 1] = { name = name, score = sum }
  end
end

function methods:collect(from, to, skip, limit, offset, reverse)
  check_open(self)
  local list = score.split(self.store:collect(from, to, "keys", limit, skip, reverse, offset))
  for i = 1, #list, 2 do
    self.entries[#self.entries + 1] = { name = name_of(list[i]), score = list[i + 1] }
  end
end

function methods:unpack(content, first)
  check_open(self)
  local list, seen = pieces.parse(content, first), {}
  if not list or #list % 2 ~= 0 then
    return false
  end
  for i = 1, #list, 2 do
    local member, number = list[i], #list[i + 1] == SCORE_BYTES and score.decode(list[i + 1])
    if not number or number ~= number or seen[member] then
      return false
    end
    seen[member] = true
    self.entries[#self.entries + 1] = { name = name_of(member), score = number }
  end
  return true
end

function methods:count()
  check_open(self)
  return #self.entries
end

local function sort(self)
  table.sort(self.entries, function(a, b)
    return a.score < b.score or a.score == b.score and a.name:sub(HASH_BYTES + 1) < b.name:sub(HASH_BYTES + 1)
  end)
end

function methods:reply(scores, protocol)
  check_open(self)
  local list = {}
  sort(self)
  for _, entry in ipairs(self.entries) do
    local member = entry.name:sub(HASH_BYTES + 1)
    if scores and protocol == 3 then
      list[#list + 1] = { member, entry.score }
    else
      list[#list + 1] = member
      list[#list + 1] = scores and entry.score or nil
    end
  end
  return list
end

function methods:put(members, scores, nodes)
  check_open(self)
  local count, last_row, last = 0, nil, nil
  sort(self)
  for i, entry in ipairs(self.entries) do
    local bytes, member = score.encode(entry.score), entry.name:sub(HASH_BYTES + 1)
    self.store:put(members .. entry.name, bytes)
    self.store:put(scores .. bytes .. member, "")
    if unpack(">I4", entry.name) & NODE_MASK == 0 then
      if last then
        self.store:put(last_row, pack(">I4", i - last))
      end
      count, last_row, last = count + 1, nodes .. bytes .. member, i
    end
  end
  if last then
    self.store:put(last_row, pack(">I4", #self.entries + 1 - last))
  end
  return count
end

function methods:close()
  self.entries = {}
end
metatable.__close = methods.close

return M
