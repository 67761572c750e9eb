-- Core's messages as bytes and back. Believes no peer: what is not a message comes out as one that core refuses.
--
--   {"message", fields, entries, name}
--
-- fields: the message without `entries`, `from` and `to`, which the connection knows. entries: {term, type, payload,
-- term, type, payload, …}, as their indexes follow from the message. name: of the snapshot that went before it.

local msgpack = require "lunode.msgpack"

local M = {}

-- Peers that keep up are sent the same list: its flat form is made once.
local flat_of = setmetatable({}, { __mode = "k" })

local function flatten(entries)
  local flat = flat_of[entries]
  if not flat then
    flat = {}
    for i = 1, #entries do
      local entry = entries[i]
      flat[#flat + 1] = entry.term
      flat[#flat + 1] = entry.type
      flat[#flat + 1] = entry.payload
    end
    flat_of[entries] = flat
  end
  return flat
end

---@param message table
---@param name? string
---@return string
function M.encode(message, name)
  local fields = {}
  for key, value in pairs(message) do -- msgpack sorts them
    if key ~= "entries" and key ~= "from" and key ~= "to" then
      fields[key] = value
    end
  end
  return msgpack.encode(msgpack.array {
    n = 4, "message", fields, message.entries and flatten(message.entries) or nil, name,
  })
end

local function entries_of(flat, prev_index)
  if type(flat) ~= "table" or math.type(prev_index) ~= "integer" then
    return nil
  end
  local entries = {}
  for i = 1, #flat, 3 do
    local at = #entries + 1
    entries[at] = { index = prev_index + at, term = flat[i], type = flat[i + 1], payload = flat[i + 2] }
  end
  return entries
end

---@param frame any[]
---@param from string
---@param to string
---@return table?
function M.decode(frame, from, to)
  local fields = frame[2]
  if type(fields) ~= "table" then
    return nil
  end
  local message = {}
  for key, value in pairs(fields) do -- from a table to a table
    message[key] = value
  end
  message.from, message.to = from, to
  message.entries = message.type == "append" and entries_of(frame[3], message.prev_index) or nil
  return message
end

return M
