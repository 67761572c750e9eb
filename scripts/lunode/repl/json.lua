-- Writes values as JSON, for programs that read what the prompt says. Reads none.
--
-- What JSON has no word for becomes text: functions, userdata, NaN and infinities; strings that are no UTF-8 keep their
-- valid parts, and U+FFFD stands for each byte of the others.

local inspect = require "lunode.repl.inspect"

local M = {}

local MOST_DEPTH = 32
local MOST_BYTES = 8 << 20 -- of the whole, about

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
  local parts, position = {}, 1
  while position <= #text do
    local _, bad = utf8.len(text, position)
    parts[#parts + 1] = text:sub(position, bad and bad - 1 or #text)
    parts[#parts + 1] = bad and "\xef\xbf\xbd" or nil
    position = bad and bad + 1 or #text + 1
  end
  return '"' .. table.concat(parts):gsub('[%z\1-\31\127"\\]', function(char)
    return ESCAPES[char] or ("\\u%04x"):format(char:byte())
  end) .. '"'
end

local count, encode

local function key_text(key)
  return type(key) == "string" and key or (inspect.inspect(key, { depth = 0 }))
end

local function encode_table(object, under_way)
  local meta = debug.getmetatable(object)
  if type(meta) == "table" and rawget(meta, "__tostring") then
    return quote((inspect.inspect(object)))
  elseif under_way[object] then
    return quote "<cycle>"
  elseif under_way.depth >= MOST_DEPTH then
    return quote "<nested too deeply>"
  end
  under_way[object], under_way.depth = true, under_way.depth + 1
  local parts, length = {}, rawlen(object)
  local entries = 0
  for _ in next, object do
    entries = entries + 1
  end
  local is_list = entries == length
  if is_list then
    for i = 1, length do
      parts[i] = encode(rawget(object, i), under_way)
    end
  else
    local keys = {}
    for key in next, object do
      keys[#keys + 1] = { key_text(key), key }
    end
    table.sort(keys, function(a, b)
      return a[1] < b[1]
    end)
    for i, pair in ipairs(keys) do
      count(under_way, #pair[1])
      parts[i] = quote(pair[1]) .. ":" .. encode(rawget(object, pair[2]), under_way)
    end
  end
  under_way[object], under_way.depth = nil, under_way.depth - 1
  local text = table.concat(parts, ",")
  return is_list and "[" .. text .. "]" or "{" .. text .. "}"
end

function count(under_way, bytes)
  under_way.left = under_way.left - bytes - 2
  if under_way.left < 0 then
    error(("the result is longer than %d bytes as JSON"):format(MOST_BYTES), 0)
  end
end

function encode(value, under_way)
  local kind = type(value)
  count(under_way, kind == "string" and #value or 0)
  if kind == "string" then
    return quote(value)
  elseif kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then
      return quote((inspect.inspect(value)))
    end
    return math.type(value) == "integer" and ("%d"):format(value) or (("%.17g"):format(value))
  elseif kind == "nil" then
    return "null"
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind == "table" then
    return encode_table(value, under_way)
  end
  local text = inspect.inspect(value)
  return text == "null" and text or quote(text)
end

---@param value any
---@return string
function M.encode(value)
  return encode(value, { depth = 0, left = MOST_BYTES })
end

return M
