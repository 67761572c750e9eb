-- Draws a world's trace as one HTML page that needs nothing else: a lane a node, time downward, messages as arrows,
-- faults as bands, contents on a click. Collects and escapes; what draws is in `html/`, and runs in the browser.
--
--   require("lunode.sim.html").write(world, "trace.html", { title = "a stale read", note = failure })
--
-- Whatever nodes sent and printed reaches the page as data, never as markup: see `quote`.

local controls = require "lunode.sim.html.controls"
local drawing = require "lunode.sim.html.drawing"
local model = require "lunode.sim.html.model"
local style = require "lunode.sim.html.style"

local M = {}

local CONTENT = 4096 -- bytes of one message
local ALL_CONTENT = 8 * 1024 * 1024 -- of all of them; then:
local LITTLE_CONTENT = 64

-- As JSON that is as safe within an element `script`: bytes are the characters U+0000 … U+00FF, and the page decodes
-- UTF-8 itself where it is valid. Nothing that could end the element, or begin one, gets through.
local function quote(text)
  return '"' .. text:gsub('[%c"\\<>&\x7f-\xff]', function(c)
    return ("\\u%04x"):format(c:byte())
  end) .. '"'
end

local function escape(text)
  return (text:gsub("[%c&<>\"']", function(c)
    return (c == "\n" or c == "\t") and c or ("&#%d;"):format(c:byte() < 32 and 0xfffd or c:byte())
  end))
end

local function number(value)
  if math.type(value) == "integer" then
    return ("%d"):format(value)
  elseif value ~= value or value == math.huge or value == -math.huge then
    return "null"
  end
  return ("%.9f"):format(value):gsub("0+$", ""):gsub("%.$", "")
end

local encode = {
  string = quote,
  number = number,
  boolean = tostring,
  table = function(list)
    return "[" .. table.concat(list, ",") .. "]"
  end,
}

-- Members of an object, in their order; nil ones are left out.
local function object(members)
  local parts = {}
  for i = 1, members.n, 2 do
    local value = members[i + 1]
    if value ~= nil then
      parts[#parts + 1] = ('"%s":%s'):format(members[i], (encode[type(value)](value)))
    end
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- Numbers for names: nodes in the order in which they were made, then whoever else is named.
local function numbering(nodes)
  local names, number_of = {}, {}
  local function index(name)
    if name == nil then
      return nil
    end
    if not number_of[name] then
      names[#names + 1] = quote(name)
      number_of[name] = #names - 1
    end
    return number_of[name]
  end
  for _, node in ipairs(nodes) do
    index(node.name)
  end
  return index, names
end

local function encode_record(record, index, room)
  local hit
  if record.nodes then
    hit = {}
    for i, name in ipairs(record.nodes) do
      hit[i] = index(name)
    end
  end
  local data = record.data
  return object(table.pack(
    "t", record.t,
    "k", record.kind,
    "n", index(record.node),
    "x", record.text,
    "i", record.id,
    "f", index(record.from),
    "o", index(record.to),
    "c", record.conn,
    "b", record.bytes or data and #data or nil,
    "d", data and data:sub(1, room) or nil,
    "F", record.fault and tostring(record.fault) or nil,
    "p", record.phase,
    "N", hit
  ))
end

local function encode_trace(world, options)
  local index, names = numbering(world.nodes)
  local records, content = {}, 0
  for i, record in ipairs(world:records()) do
    local room = content < ALL_CONTENT and CONTENT or LITTLE_CONTENT
    content = content + math.min(room, record.data and #record.data or 0)
    records[i] = encode_record(record, index, room)
  end
  return object(table.pack(
    "seed", ("%d"):format(world.seed),
    "hash", world:trace_hash(),
    "now", world.now,
    "count", world.log.count,
    "note", options.note,
    "nodes", names,
    "records", records
  ))
end

local PAGE = [[
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s</title>
<style>
%s</style>
</head>
<body>
%s<noscript>This page draws its trace with a script, and the browser does not run it.</noscript>
<script type="application/json" id="trace">
%s
</script>
<script>
%s</script>
</body>
</html>
]]

---The page.
---@param world lunode.sim.world
---@param options? {title?: string, note?: string}  `note`: why anybody should look, such as the failure
---@return string html
function M.page(world, options)
  options = options or {}
  local title = options.title or ("seed %d"):format(world.seed)
  return (PAGE:format(
    escape(title),
    style.css,
    style.body:format(escape(title)),
    encode_trace(world, options),
    model .. drawing .. controls
  ))
end

---Writes the page into a file.
---@param world lunode.sim.world
---@param path string
---@param options? {title?: string, note?: string}
---@return true? ok, string? err
function M.write(world, path, options)
  local page = M.page(world, options)
  local file, err = io.open(path, "wb")
  if not file then
    return nil, "cannot write the trace: " .. err
  end
  local written, why = file:write(page)
  local closed, why_not_closed = file:close()
  if not (written and closed) then
    return nil, ("cannot write the trace to %s: %s"):format(path, why or why_not_closed)
  end
  return true
end

return M
