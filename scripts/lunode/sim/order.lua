-- What in Lua depends on addresses or on the hash seed, without that: `pairs` and `next` in a fixed order, `tostring`
-- with ordinals, `table.sort` without chance. For the code of one life of a node.
--
-- Objects get an ordinal when they get a metatable, when they are coroutines, or when somebody prints them: all of
-- that happens in the same order in each run. Two keys that have none cannot be put in order: that raises.

local M = {}

local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.order" }

---Gives an object its ordinal.
---@generic T
---@param object T
---@return T object
function methods:take(object)
  local ordinals = self.ordinals
  if not ordinals[object] then
    local count = self.count + 1
    self.count, ordinals[object] = count, count
  end
  return object
end

-- ---------------------------------------------------------------- pairs

local function refuse(self, kind)
  error(("%s: pairs over keys without an order: two or more are %ss; keep a list beside the table, or give the keys "
    .. "an id and sort by it"):format(self.node:where(), kind), 4)
end

-- All keys of a table in their order: numbers, strings, booleans, objects by ordinal.
local function sorted_keys(self, t)
  local numbers, strings, objects = {}, {}, nil
  local has_true, has_false, nameless = false, false, nil
  local ordinals = self.ordinals
  for key in next, t do
    local kind = type(key)
    if kind == "string" then
      strings[#strings + 1] = key
    elseif kind == "number" then
      numbers[#numbers + 1] = key
    elseif kind == "boolean" then
      if key then has_true = true else has_false = true end
    else
      objects = objects or {}
      objects[#objects + 1] = key
      if not ordinals[key] then
        if nameless then
          refuse(self, kind)
        end
        nameless = key
      end
    end
  end
  if #numbers > 1 then
    table.sort(numbers)
  end
  if #strings > 1 then
    table.sort(strings)
  end
  local keys = numbers
  table.move(strings, 1, #strings, #keys + 1, keys)
  if has_false then keys[#keys + 1] = false end
  if has_true then keys[#keys + 1] = true end
  if objects then
    if nameless then
      self:take(nameless)
    end
    table.sort(objects, function(a, b)
      return ordinals[a] < ordinals[b]
    end)
    table.move(objects, 1, #objects, #keys + 1, keys)
  end
  return keys
end

local function check_table(t, name)
  if type(t) ~= "table" then
    error(("bad argument #1 to 'for iterator' (table expected, got %s)"):format(t == nil and "nil" or type(t)), name)
  end
end

local function make_pairs(self)
  local function iterate(t)
    local keys, i = sorted_keys(self, t), 0
    return function()
      while true do
        i = i + 1
        local key = keys[i]
        if key == nil then
          return nil
        end
        local value = rawget(t, key)
        if value ~= nil then -- else it was taken out on the way
          return key, value
        end
      end
    end, t, nil
  end

  return function(t)
    local meta = getmetatable(t)
    local custom = type(meta) == "table" and rawget(meta, "__pairs")
    if custom then
      local a, b, c = custom(t)
      return a, b, c
    elseif type(meta) == "table" and rawget(meta, "__mode") then
      error(("%s: pairs over a weak table depends on the garbage collector; keep a list of what is alive"):format(
        self.node:where()), 2)
    end
    check_table(t, 3)
    return iterate(t)
  end
end

-- `next` walks the keys as they were at its first step, as long as it is asked for one after the other.
local function make_next(self)
  local walked, keys, places

  return function(t, key)
    check_table(t, 3)
    if key == nil then
      if next(t) == nil then
        return nil
      end
      walked, keys, places = t, sorted_keys(self, t), {}
      for i = 1, #keys do
        places[keys[i]] = i
      end
    elseif walked ~= t or not places[key] then
      walked, keys, places = t, sorted_keys(self, t), {}
      for i = 1, #keys do
        places[keys[i]] = i
      end
      if not places[key] then
        error("invalid key to 'next'", 2)
      end
    end
    local i = key == nil and 1 or places[key] + 1
    while keys[i] ~= nil do
      local value = rawget(t, keys[i])
      if value ~= nil then
        return keys[i], value
      end
      i = i + 1
    end
    walked, keys, places = nil, nil, nil
    return nil
  end
end

-- ---------------------------------------------------------------- text

local HAS_ADDRESS = { table = true, ["function"] = true, userdata = true, thread = true }

local function make_tostring(self)
  return function(...)
    if select("#", ...) == 0 then
      error("bad argument #1 to 'tostring' (value expected)", 2)
    end
    local value = ...
    local kind = type(value)
    if not HAS_ADDRESS[kind] then
      return tostring(value)
    end
    local meta = getmetatable(value)
    local name = kind
    if type(meta) == "table" then
      if meta.__tostring then
        return tostring(value)
      end
      name = type(meta.__name) == "string" and meta.__name or kind
    end
    self:take(value)
    return ("%s: 0x%014x"):format(name, self.ordinals[value])
  end
end

local function string_library(self, to_text)
  local library = {}
  for name, value in next, string do
    library[name] = value
  end
  local format, rep = string.format, string.rep

  local function with_text(template, ...)
    local values = table.pack(...)
    local position = 0
    template = template:gsub("%%([%-+ #0]*%d*%.?%d*)(.)", function(flags, letter)
      if letter == "%" then
        return nil
      end
      position = position + 1
      if HAS_ADDRESS[type(values[position])] then
        if letter == "s" then
          values[position] = to_text(values[position])
        elseif letter == "p" then
          values[position] = ("0x%014x"):format(self.ordinals[self:take(values[position])])
          return "%" .. flags .. "s"
        end
      elseif letter == "p" then -- strings have addresses, too
        values[position] = type(values[position]) == "string" and "0x" .. ("0"):rep(14) or "(null)"
        return "%" .. flags .. "s"
      end
    end)
    return format(template, table.unpack(values, 1, values.n))
  end

  function library.format(template, ...)
    for i = 1, select("#", ...) do
      if HAS_ADDRESS[type((select(i, ...)))] then
        return with_text(template, ...)
      end
    end
    if type(template) == "string" and template:find("%%[%-+ #0]*%d*%.?%d*p") then
      return with_text(template, ...)
    end
    return format(template, ...)
  end

  -- What the system would refuse sooner or later, and what no budget can interrupt.
  function library.rep(text, count, separator)
    if math.type(count) == "integer" and count > 0 and (type(text) == "string" or type(text) == "number") then
      local bytes = (#tostring(text) + (separator and #tostring(separator) or 0)) * (count + 0.0)
      if bytes > 1 << 30 then
        error("resulting string too large", 2)
      end
    end
    return rep(text, count, separator)
  end
  return library
end

-- ---------------------------------------------------------------- table

-- Above this, Lua's own sort may choose its pivot by the clock, and where that matters is who of equal ones comes
-- first.
local OWN_SORT = 100

local function merge_sort(list, less)
  local count = #list
  local from, to = list, {}
  local width = 1
  while width < count do
    for left = 1, count, 2 * width do
      local middle, right = math.min(left + width, count + 1), math.min(left + 2 * width, count + 1)
      local i, j = left, middle
      for k = left, right - 1 do
        if i < middle and (j >= right or not less(from[j], from[i])) then
          to[k], i = from[i], i + 1
        else
          to[k], j = from[j], j + 1
        end
      end
    end
    from, to = to, from
    width = 2 * width
  end
  if from ~= list then
    table.move(from, 1, count, 1, list)
  end
end

local function table_library()
  local library = {}
  for name, value in next, table do
    library[name] = value
  end
  function library.sort(list, less)
    if less == nil or type(list) ~= "table" or type(less) ~= "function" or #list <= OWN_SORT then
      return table.sort(list, less)
    end
    merge_sort(list, less)
  end
  return library
end

-- ---------------------------------------------------------------- all of it

local function make_setmetatable(self)
  return function(object, meta)
    if type(meta) == "table" and rawget(meta, "__gc") then
      error(("%s: a finalizer (__gc) runs whenever the garbage collector likes; use __close, or close what you open")
        :format(self.node:where()), 2)
    end
    setmetatable(object, meta)
    if meta then
      self:take(object)
    end
    return object
  end
end

---@param node lunode.sim.node
---@return table  pairs, next, setmetatable, tostring, string, table; take(object)
function M.new(node)
  local self = setmetatable({ node = node, count = 0, ordinals = setmetatable({}, { __mode = "k" }) }, metatable)
  self.pairs, self.next = make_pairs(self), make_next(self)
  self.tostring, self.setmetatable = make_tostring(self), make_setmetatable(self)
  self.string, self.table = string_library(self, self.tostring), table_library()
  return self
end

return M
