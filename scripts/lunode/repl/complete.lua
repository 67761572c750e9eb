-- Completes names: of globals, of fields and of methods, of commands and methods that a peer has told. Looks at tables
-- and metatables only: no function of theirs runs, but `__complete`, which the prompt's own objects have.

local inspect = require "lunode.repl.inspect"

local M = {}

local MOST_KEYS = 20000 -- looked at, of one table
local MOST_SHOWN = 200

---What an object can look names up in: a table, or what stands behind an `__index` written in C (a connection's).
local function lookup_of(meta)
  local index = type(meta) == "table" and rawget(meta, "__index") or nil
  if type(index) == "function" then
    local _, upvalue = debug.getupvalue(index, 1)
    index = type(upvalue) == "table" and debug.getinfo(index, "S").what == "C" and upvalue or nil
  end
  return type(index) == "table" and index or nil
end

-- The tables in which a name of the object may be, nearest first.
local function chain(object)
  local tables, seen = {}, {}
  if type(object) == "table" then
    tables[1], seen[object] = object, true
  end
  local behind = lookup_of(debug.getmetatable(object))
  while behind and not seen[behind] and #tables < 20 do
    tables[#tables + 1], seen[behind] = behind, true
    behind = lookup_of(debug.getmetatable(behind))
  end
  return tables
end

---The field of an object, without calling anything.
---@param object any
---@param name string
---@return any
function M.get(object, name)
  for _, from in ipairs(chain(object)) do
    local value = rawget(from, name)
    if value ~= nil then
      return value
    end
  end
end

local function is_callable(value)
  local meta = type(value) == "table" and debug.getmetatable(value)
  return type(value) == "function" or type(meta) == "table" and rawget(meta, "__call") ~= nil
end

-- Names that begin with the prefix: a map to whether they are functions.
local function names_of(object, prefix, functions_only)
  local found = {}
  for _, from in ipairs(chain(object)) do
    local looked = 0
    for key, value in next, from do
      looked = looked + 1
      if looked > MOST_KEYS then
        break
      end
      if type(key) == "string" and key:sub(1, #prefix) == prefix and key:find "^[%a_][%w_]*$" and #key <= 200
        and found[key] == nil and not (prefix == "" and key:find "^__") then
        local callable = is_callable(value)
        if callable or not functions_only then
          found[key] = callable
        end
      end
    end
  end
  return found
end

local function complete_of(object)
  local meta = debug.getmetatable(object)
  return type(meta) == "table" and rawget(meta, "__complete") or nil
end

-- What an object knows beside its fields: `__complete(object, prefix)` gives names, and may wait.
local function add_told(found, object, prefix)
  local complete = complete_of(object)
  local ok, names = pcall(complete or function() end, object, prefix)
  for _, name in ipairs(ok and type(names) == "table" and names or {}) do
    if type(name) == "string" and name:sub(1, #prefix) == prefix and found[name] == nil then
      found[name] = true
    end
  end
end

local function resolve(env, path)
  local value = env
  for name in path:gmatch "[%a_][%w_]*" do
    value = M.get(value, name)
    if value == nil then
      return nil
    end
  end
  return value
end

local function common_prefix(names)
  local common = names[1] or ""
  for _, name in ipairs(names) do
    while name:sub(1, #common) ~= common do
      common = common:sub(1, -2)
    end
  end
  return common
end

---@class lunode.repl.completion
---@field insert string  what is certain, to be put in at the cursor; "" where nothing is
---@field names string[]  what there is to choose from, sorted; one where it is complete

---@return lunode.repl.completion
local function completion(found, prefix, ending)
  local names = {}
  for name in next, found do
    names[#names + 1] = name
  end
  table.sort(names)
  local insert = common_prefix(names):sub(#prefix + 1)
  if #names == 1 then
    insert = insert .. ending(found[names[1]])
  elseif #names > MOST_SHOWN then
    local more = ("… %d more"):format(#names - MOST_SHOWN)
    names = table.move(names, 1, MOST_SHOWN, 1, {})
    names[MOST_SHOWN + 1] = more
  end
  return { insert = insert, names = names }
end

-- `n1:call("na`: the object and the beginning of the name.
local function in_call(before)
  local path, quote, prefix = before:match "([%a_][%w_.]*):%a+%s*%(?%s*([\"'])([%w_.$/|-]*)$"
  return path, quote, prefix
end

---@param env table
---@param before string  what stands before the cursor
---@return lunode.repl.completion
function M.complete(env, before)
  local path, quote, prefix = in_call(before)
  if path then
    local object = resolve(env, path)
    local found = {}
    if object ~= nil then
      add_told(found, object, prefix)
    end
    return completion(found, prefix, function()
      return quote
    end)
  end
  local words = before:match "[%a_][%w_.:]*$" or ""
  local owner, separator
  owner, separator, prefix = words:match "^(.-)([.:]?)([%a_]?[%w_]*)$"
  local found
  if separator == "" then
    if before:sub(-1 - #words, -1 - #words):find "[\"'.:%d%)%]]" then
      return { insert = "", names = {} } -- within text, or behind what was computed
    end
    found = names_of(env, prefix, false)
    for word in next, inspect.KEYWORDS do
      if prefix ~= "" and word:sub(1, #prefix) == prefix then
        found[word] = false
      end
    end
  else
    local object = resolve(env, owner)
    found = object ~= nil and names_of(object, prefix, separator == ":") or {}
    if object ~= nil then
      add_told(found, object, prefix)
    end
  end
  return completion(found, prefix, function(callable)
    return callable and "(" or ""
  end)
end

return M
