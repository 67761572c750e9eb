-- Writes values so that people can read them: as Lua constructors, sorted, bounded, and without any byte that could
-- drive a terminal. Calls nothing of the values' own but `__tostring` and `__inspect`, and prints nothing.

local M = {}

---@class lunode.repl.limits
---@field depth? integer  tables inside of tables (default 4)
---@field items? integer  entries of a table (default 50)
---@field bytes? integer  of a string (default 500)
---@field size? integer   bytes of the whole (default 20000)
---@field width? integer  columns in which short tables stay on one line (default 80)
---@field color? boolean  (default false)

local DEFAULTS = { depth = 4, items = 50, bytes = 500, size = 20000, width = 80 }

-- Keys that are looked at to be sorted: of larger tables not the first are shown, but some.
local MOST_KEYS = 10000

local COLORS = { string = "32", number = "36", keyword = "35", other = "33", note = "2" }

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true
  until while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end
M.KEYWORDS = KEYWORDS

-- ---------------------------------------------------------------- text

local NAMED = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"' }

local function escape_byte(byte)
  return NAMED[byte] or ("\\x%02x"):format(byte:byte())
end

-- Code points that terminals obey or hide: C1 controls, directions, joiners, line separators, tags.
local function is_unseen(code)
  return code < 0xa0 or code == 0xad or code >= 0x200b and code <= 0x200f or code >= 0x2028 and code <= 0x202e
    or code >= 0x2060 and code <= 0x206f or code == 0xfeff or code >= 0xfff9 and code <= 0xfffb or code >= 0xe0000
end

local function escape_char(char)
  local code = utf8.codepoint(char)
  return is_unseen(code) and ("\\u{%x}"):format(code) or nil
end

-- What is not UTF-8 is escaped byte by byte, up to where it is again.
local function escape_high(text)
  local parts, position = {}, 1
  while position <= #text do
    local _, bad = utf8.len(text, position)
    local stop = bad and bad - 1 or #text
    parts[#parts + 1] = text:sub(position, stop):gsub("[\xc2-\xf4][\x80-\xbf]+", escape_char)
    if bad then
      parts[#parts + 1] = escape_byte(text:sub(bad, bad))
    end
    position = stop + (bad and 2 or 1)
  end
  return table.concat(parts)
end

---Text in which control characters, and what is not UTF-8, are escaped as in Lua's strings.
---@param text string
---@param keep? string  control characters that stay, as in "\n\t"
---@return string
function M.escape(text, keep)
  text = text:gsub("[%z\1-\31\127]", function(byte)
    return not (keep and keep:find(byte, 1, true)) and escape_byte(byte) or nil
  end)
  return text:find "[\128-\255]" and escape_high(text) or text
end

---As escape, for text that brings colours along: these stay, line breaks and tabs, too.
---@param text string
---@return string
function M.escape_painted(text)
  local parts, position = {}, 1
  while true do
    local start, stop = text:find("\27%[[%d;]*m", position)
    parts[#parts + 1] = M.escape(text:sub(position, (start or 0) - 1), "\n\t")
    if not start then
      return table.concat(parts)
    end
    parts[#parts + 1] = text:sub(start, stop)
    position = stop + 1
  end
end

-- Not within a character.
local function cut(text, bytes)
  while bytes > 0 and (text:byte(bytes + 1) or 0) & 0xc0 == 0x80 do
    bytes = bytes - 1
  end
  return text:sub(1, bytes)
end

-- ---------------------------------------------------------------- the parts of a value

-- A renderer has the options; `left`, bytes; `cut`, whether anything was left out; `seen`, the tables under way. Its
-- functions give a text, and the columns it takes; math.huge: it has several lines.

local function paint(r, kind, text)
  r.left = r.left - #text
  local columns = utf8.len(text) or #text
  if r.color and COLORS[kind] then
    return ("\27[%sm%s\27[0m"):format(COLORS[kind], text), columns
  end
  return text, columns
end

local function render_string(r, text)
  local most = math.max(math.min(r.bytes, r.left), 16)
  local shown = #text > most and cut(text, most) or text
  local quoted, columns = paint(r, "string", '"' .. M.escape((shown:gsub('["\\]', "\\%0"))) .. '"')
  if #shown < #text then
    r.cut = true
    local note, more = paint(r, "note", ("… (%d bytes)"):format(#text))
    return quoted .. note, columns + more
  end
  return quoted, columns
end

local function number_text(number)
  if math.type(number) == "integer" then
    return ("%d"):format(number)
  elseif number ~= number then
    return "nan"
  elseif number == math.huge or number == -math.huge then
    return number > 0 and "math.huge" or "-math.huge"
  end
  local text = ("%.14g"):format(number)
  if tonumber(text) ~= number then
    text = ("%.17g"):format(number)
  end
  return text:find "[.e]" and text or text .. ".0"
end

local function function_text(fn)
  local info = debug.getinfo(fn, "S")
  if info.what == "C" then
    return "<C function>"
  end
  return ("<function %s:%d>"):format(M.escape(info.short_src), info.linedefined)
end

local function thread_text(thread)
  local info = debug.getinfo(thread, 1, "Sl") or debug.getinfo(thread, 0, "Sl")
  local where = info and info.currentline > 0 and (" at %s:%d"):format(M.escape(info.short_src), info.currentline) or ""
  return ("<thread, %s%s>"):format(coroutine.status(thread), where)
end

-- The nulls of the modules that are loaded: light userdata, which have no name.
local function null_text(value)
  for _, name in ipairs { "lunode.resp", "lunode.msgpack" } do
    local module = package.loaded[name]
    if module and (value == module.null or value == module.null_array) then
      return "null"
    end
  end
end

-- What __tostring makes of it. A metatable may be anything, and may raise.
local function own_text(r, value)
  local ok, text = pcall(tostring, value)
  if not ok or type(text) ~= "string" then
    return paint(r, "other", "<its __tostring raises>")
  end
  local most = math.max(math.min(r.bytes, r.left), 16)
  if #text > most then
    text, r.cut = cut(text, most) .. "…", true
  end
  return paint(r, "other", M.escape(text))
end

local render

local function render_key(r, key, level)
  if type(key) == "string" and #key <= 80 and key:find "^[%a_][%w_]*$" and not KEYWORDS[key] then
    return paint(r, nil, key .. " = ")
  end
  local text, columns = render(r, key, level + 1)
  return "[" .. text .. "] = ", columns + 5
end

local RANK = { number = 1, string = 2, boolean = 3 }

local function key_less(a, b)
  local kind_a, kind_b = type(a), type(b)
  if kind_a ~= kind_b then
    return (RANK[kind_a] or 4) < (RANK[kind_b] or 4) or not RANK[kind_a] and not RANK[kind_b] and kind_a < kind_b
  elseif RANK[kind_a] and kind_a ~= "boolean" then
    return a < b
  elseif kind_a == "boolean" then
    return a and not b
  end
  return false -- functions, tables: as they come
end

-- The keys behind the list part, sorted, and how many more there are at least.
local function other_keys(object, length)
  local keys, looked = {}, 0
  for key in next, object do
    looked = looked + 1
    if not (math.type(key) == "integer" and key >= 1 and key <= length) then
      keys[#keys + 1] = key
    end
    if looked >= MOST_KEYS + length then
      break
    end
  end
  table.sort(keys, key_less)
  return keys
end

local function list_length(object)
  local length = 0
  while length < MOST_KEYS and rawget(object, length + 1) ~= nil do
    length = length + 1
  end
  return math.max(length, length == MOST_KEYS and rawlen(object) or 0)
end

-- The entries as texts, and the columns of all; the last may tell of what is left out.
local function entries_of(r, object, level)
  local length = list_length(object)
  local keys = other_keys(object, length)
  local entries, columns = {}, 0
  local function add(text, width)
    entries[#entries + 1] = text
    columns = columns + width + 2
  end
  for i = 1, length + #keys do
    if i > r.items or r.left <= 0 then
      r.cut = true
      add(paint(r, "note", ("… %d more"):format(length + #keys - i + 1)))
      break
    end
    local name, name_columns, key = "", 0, i
    if i > length then
      key = keys[i - length]
      name, name_columns = render_key(r, key, level)
    end
    local text, text_columns = render(r, rawget(object, key), level + 1)
    add(name .. text, name_columns + text_columns)
  end
  return entries, columns
end

local function render_table(r, object, level, name)
  local prefix = name and name .. " " or ""
  if r.seen[object] then
    return paint(r, "note", prefix .. "<cycle>")
  elseif next(object) == nil then
    return paint(r, nil, prefix .. "{}")
  elseif level >= r.depth then
    r.cut = true
    return paint(r, "note", prefix .. "{ … }")
  end
  r.seen[object] = true
  local entries, columns = entries_of(r, object, level)
  r.seen[object] = nil
  local head = prefix ~= "" and paint(r, "other", prefix) or ""
  columns = columns + #prefix + 2
  if columns + 2 * level <= r.width then
    return head .. "{ " .. table.concat(entries, ", ") .. " }", columns
  end
  local indent = ("  "):rep(level + 1)
  return ("%s{\n%s%s,\n%s}"):format(head, indent, table.concat(entries, ",\n" .. indent), ("  "):rep(level)), math.huge
end

local function field(meta, name)
  return type(meta) == "table" and rawget(meta, name) or nil
end

local function render_object(r, value, level)
  local meta = debug.getmetatable(value)
  local inspect = field(meta, "__inspect")
  if inspect then
    local ok, text = pcall(inspect, value)
    return ok and tostring(text) or "<its __inspect raises>", math.huge
  elseif field(meta, "__tostring") then
    return own_text(r, value)
  elseif type(value) == "table" then
    local name = field(meta, "__name")
    return render_table(r, value, level, type(name) == "string" and M.escape(name:sub(1, 80)) or nil)
  end
  local text = null_text(value)
  if text then
    return paint(r, "keyword", text)
  end
  return own_text(r, value)
end

function render(r, value, level)
  local kind = type(value)
  if kind == "string" then
    return render_string(r, value)
  elseif kind == "number" then
    return paint(r, "number", number_text(value))
  elseif kind == "nil" or kind == "boolean" then
    return paint(r, "keyword", tostring(value))
  elseif kind == "function" then
    return paint(r, "other", function_text(value))
  elseif kind == "thread" then
    return paint(r, "other", thread_text(value))
  end
  return render_object(r, value, level)
end

local function renderer(limits)
  local r = { seen = {}, cut = false, color = limits and limits.color or false }
  for name, default in next, DEFAULTS do
    r[name] = limits and limits[name] or default
  end
  r.left = r.size
  return r
end

---One value.
---@param value any
---@param limits? lunode.repl.limits
---@return string text  of several lines where it is long
---@return boolean cut  something was left out
function M.inspect(value, limits)
  local r = renderer(limits)
  local text = render(r, value, 0)
  return text, r.cut
end

---The results of an expression: on one line where they fit.
---@param values table  as table.pack has it
---@param limits? lunode.repl.limits
---@return string text
function M.results(values, limits)
  local r = renderer(limits)
  local texts, columns = {}, 0
  for i = 1, values.n do
    local text, width = render(r, values[i], 0)
    texts[i] = text
    columns = columns + width + 2
  end
  local text = table.concat(texts, columns <= r.width and ", " or ",\n")
  if r.cut then
    local note = "-- shortened; show(value) prints more of it, show(value, { depth = 9 }) deeper"
    text = text .. "\n" .. paint(r, "note", note)
  end
  return text
end

return M
