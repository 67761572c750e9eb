-- Values of a history: prints them for people, and gives equal ones one identity. Knows nothing of operations.

local M = {}

local LONGEST = 32 -- bytes of a string that are shown
local DEEPEST = 16 -- tables within tables

local RANK = { number = 1, string = 2, boolean = 3 }

-- Keys of a table in an order that is the same in every process.
local function sorted_keys(value)
  local keys = {}
  for key in pairs(value) do
    if not RANK[type(key)] then
      error(("a %s cannot be a key in a value of a history: only numbers, strings and booleans"):format(type(key)), 0)
    end
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    local rank_a, rank_b = RANK[type(a)], RANK[type(b)]
    if rank_a ~= rank_b then
      return rank_a < rank_b
    end
    return rank_a == 3 and a ~= b and b or rank_a < 3 and a < b
  end)
  return keys
end

local function quote(text)
  return '"' .. text:gsub('[%c"\\\x80-\xff]', function(c)
    return ({ ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" })[c]
      or ("\\x%02x"):format(c:byte())
  end) .. '"'
end

local function show_string(text, longest)
  if #text <= longest then
    return quote(text)
  end
  return quote(text:sub(1, longest)) .. ("… (%d bytes)"):format(#text)
end

local show

local function show_table(value, longest, depth)
  if depth > DEEPEST then
    error(("a value of a history has more than %d tables within each other; or it contains itself"):format(DEEPEST), 0)
  end
  local parts, count = {}, #value
  for i = 1, count do
    parts[i] = show(value[i], longest, depth + 1)
  end
  for _, key in ipairs(sorted_keys(value)) do
    if not (math.type(key) == "integer" and key >= 1 and key <= count) then
      local name = type(key) == "string" and key:find("^[%a_][%w_]*$") and key or "[" .. show(key, longest) .. "]"
      parts[#parts + 1] = name .. " = " .. show(value[key], longest, depth + 1)
    end
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

function show(value, longest, depth)
  local kind = type(value)
  if kind == "string" then
    return show_string(value, longest)
  elseif kind == "table" then
    return show_table(value, longest, depth or 1)
  elseif kind == "number" and math.type(value) == "float" and value == math.tointeger(value) then
    return ("%d"):format(value) -- 1.0 and 1 are the same value
  elseif kind == "number" and math.type(value) == "float" and value == value then
    local short = ("%.14g"):format(value)
    return tonumber(short) == value and short or ("%.17g"):format(value)
  elseif kind == "number" and value ~= value then
    return "nan"
  elseif kind == "nil" or kind == "boolean" or kind == "number" then
    return tostring(value)
  end
  error(("a %s cannot be a value of a history: only what can be written down"):format(kind), 0)
end

---A value as people read it; long strings are cut.
---@param value any  nil, boolean, number, string, or a table of such
---@param longest? integer  bytes of a string that are shown (default 32)
---@return string
function M.show(value, longest)
  return show(value, longest or LONGEST)
end

---A name as it is where it is harmless, else quoted: what is not plain text never reaches a terminal.
---@param name string|integer
---@return string
function M.name(name)
  name = tostring(name)
  return utf8.len(name) and not name:find("%c") and name or show(name, LONGEST)
end

---Makes a function that gives equal values the same thing, never nil, which serves as a key in tables. Equal are the
---same numbers, strings and booleans, and tables with equal contents.
---@return fun(value: any): any
function M.interner()
  local known = {}
  return function(value)
    local kind = type(value)
    if kind == "string" or kind == "boolean" or kind == "number" and value == value then
      return value
    end
    local text = show(value, math.maxinteger)
    local same = known[text]
    if not same then
      same = { value = value }
      known[text] = same
    end
    return same
  end
end

---What an interner was given, by what it gave.
---@param interned any
---@return any
function M.original(interned)
  if type(interned) == "table" then
    return interned.value
  end
  return interned
end

return M
