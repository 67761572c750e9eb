-- What has happened in a world: the last records, a hash over all of them, and the transcript that people read.
-- Decides nothing, and builds no text before somebody asks for it.
--
-- A record is a table: t (virtual seconds), kind, node (a name; nil: the world), and what the kind has beside.

local hash = require "lunode.hash"

local hash_of = hash.of

local M = {}

---@class lunode.sim.record
---@field t number      virtual time
---@field kind string   "boot", "print", "send", "deliver", "connect", "close", "fault", …
---@field node? string  whose event it is; nil: the world's
---@field text? string  what a reader wants to know
---@field id? integer   of a message: "send" and "deliver" have the same
---@field from? string
---@field to? string
---@field conn? integer
---@field bytes? integer
---@field data? string
---@field fault? string|integer
---@field phase? "begin"|"end"
---@field nodes? string[]

---@class lunode.sim.trace
---@field limit integer   how many records are kept
---@field count integer   how many there were
---@field hash integer
---@field private first integer  position of the oldest that is kept
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.trace" }

---@param limit integer
---@return lunode.sim.trace
function M.new(limit)
  return setmetatable({ limit = limit, count = 0, hash = 0, ring = {} }, metatable)
end

---@param record lunode.sim.record
function methods:add(record)
  local count, limit = self.count + 1, self.limit
  self.count = count
  local nodes = record.nodes
  self.hash = hash_of(self.hash, record.t, record.kind, record.node, record.text, record.id, record.from, record.to,
    record.conn, record.bytes, record.data, record.fault, record.phase, nodes and table.concat(nodes, " "))
  if limit > 0 then
    self.ring[(count - 1) % limit + 1] = record
  end
end

---The records that are kept, the oldest first.
---@return lunode.sim.record[]
function methods:records()
  local list, count, limit = {}, self.count, self.limit
  for i = limit > 0 and math.max(1, count - limit + 1) or count + 1, count do
    list[#list + 1] = self.ring[(i - 1) % limit + 1]
  end
  return list
end

-- ---------------------------------------------------------------- the transcript

local SHOWN = 60 -- bytes of a message

local function quote(data)
  local shown = data:sub(1, SHOWN):gsub("[%c\128-\255\\\"]", function(byte)
    if byte == "\n" then return "\\n" elseif byte == "\r" then return "\\r" elseif byte == '"' then return '\\"' end
    return ("\\x%02x"):format(byte:byte())
  end)
  return '"' .. shown .. '"' .. (#data > SHOWN and " …" or "")
end

local function count_bytes(record)
  local bytes = record.bytes or record.data and #record.data
  return bytes and (" %d B"):format(bytes) or ""
end

local describe = {
  send = function(record)
    return ("-> %s%s%s"):format(record.to or "?", record.id and " #" .. record.id or "", count_bytes(record))
  end,
  deliver = function(record)
    return ("<- %s%s%s"):format(record.from or "?", record.id and " #" .. record.id or "", count_bytes(record))
  end,
  fault = function(record)
    local whom = record.nodes and #record.nodes > 0 and " (" .. table.concat(record.nodes, ", ") .. ")" or ""
    return (record.phase == "end" and "ends: " or "fault: ") .. (record.text or tostring(record.fault)) .. whom
  end,
}

---One record as people read it, without time and node.
---@param record lunode.sim.record
---@return string
function M.describe(record)
  local special = describe[record.kind]
  local text
  if special then
    text = special(record)
    if record.kind ~= "fault" and record.text then
      text = text .. " " .. record.text
    end
  else
    text = record.kind .. (record.text and record.text ~= "" and " " .. record.text or "")
    if not record.text and (record.from or record.to) then
      text = ("%s %s -> %s"):format(text, record.from or "?", record.to or "?")
    end
  end
  if record.conn then
    text = ("%s [conn %s]"):format(text, record.conn)
  end
  if record.data then
    text = text .. " " .. quote(record.data)
  end
  return text
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do
    set[name] = true
  end
  return set
end

local function is_wanted(record, nodes, kinds)
  return (not nodes or not record.node or nodes[record.node] or nodes[record.from] or nodes[record.to] or false)
    and (not kinds or kinds[record.kind] or false)
end

---The transcript: a line a record, in columns: virtual time, node, event.
---`last`: only so many; `nodes`: only of these, and of the world; `kinds`: only these.
---@param options? {last: integer?, nodes: string[]?, kinds: string[]?}
---@return string  lines; where records were left out, the first one says so
function methods:format(options)
  options = options or {}
  local nodes = options.nodes and set_of(options.nodes)
  local kinds = options.kinds and set_of(options.kinds)
  local wanted, width = {}, 1
  for _, record in ipairs(self:records()) do
    if is_wanted(record, nodes, kinds) then
      wanted[#wanted + 1] = record
    end
  end
  local first = options.last and math.max(1, #wanted - options.last + 1) or 1
  for i = first, #wanted do
    width = math.max(width, utf8.len(wanted[i].node or "*") or #wanted[i].node)
  end
  local lines = {}
  if first > 1 or self.count > self.limit then
    lines[1] = ("… %d earlier records"):format(self.count - (#wanted - first + 1))
  end
  for i = first, #wanted do
    local record = wanted[i]
    local node = record.node or "*"
    local padding = (" "):rep(width - (utf8.len(node) or #node))
    lines[#lines + 1] = ("%12.6f  %s%s  %s"):format(record.t, node, padding,
      (M.describe(record):gsub("\n%s*", "\n" .. (" "):rep(width + 16) .. "  ")))
  end
  lines[#lines + 1] = ""
  return table.concat(lines, "\n")
end

return M
