-- Rows of a key-value node and entries of its log as lines for people. Reads no files.

local batch = require "lunode.batch"
local core = require "lunode.raft.core"
local keys = require "lunode.kv.keys"

local M = {}

---Bytes as a string of Lua's: what cannot be printed is escaped.
---@param text string
---@return string
function M.quote(text)
  local quoted = text:gsub('[%c"\\\128-\255]', function(char)
    return char == '"' and '\\"' or char == "\\" and "\\\\" or char == "\n" and "\\n" or char == "\r" and "\\r"
      or char == "\t" and "\\t" or ("\\x%02x"):format(char:byte())
  end)
  return '"' .. quoted .. '"'
end

local quote = M.quote

---@param milliseconds integer  since the epoch
---@return string  as "2026-11-22T16:40:00.123Z"; the number itself where no calendar has it
function M.time(milliseconds)
  local seconds = milliseconds // 1000
  if seconds < 0 or seconds > 253402300799 then -- past the year 9999
    return tostring(milliseconds) .. " ms"
  end
  return ("%s.%03dZ"):format(os.date("!%Y-%m-%dT%H:%M:%S", seconds), milliseconds % 1000)
end

-- ---- entries of the log

-- Bytes before the commands. Of lunode.replica: the time and the seed. In a cluster, whose terms begin with 1, that and
-- the format (raft/carry), then the unit (kv.replicated).
local HEAD, CLUSTER_HEAD = 16, 17 + 24

---Goes through the commands of an entry of a key-value node's log.
---@param entry { payload: string, term: integer }
---@param fn fun(name: string, args: string[])
---@return integer? time  milliseconds since the epoch
---@return string? err  what is wrong with it
function M.commands(entry, fn)
  local payload, head = entry.payload, entry.term > 0 and CLUSTER_HEAD or HEAD
  if #payload < head then
    return nil, "it is too short for its head"
  end
  local time = string.unpack(">i8", payload)
  local commands = payload:sub(head + 1)
  if commands == "" and entry.term > 0 then
    return time -- it only marks a place
  end
  local position, err = 1, nil
  local function step(next_position, name, ...)
    position = next_position
    if not next_position then
      err = name
      return
    end
    fn(name, type(...) == "table" and ... or { ... })
  end
  repeat
    step(batch.next(commands, position))
  until not position
  if err then
    return nil, err
  end
  return time
end

local KINDS = { [core.NOOP] = "no-op", [core.CONFIG] = "configuration" }

---One line about an entry.
---@param entry lunode.log_finding
---@return string
function M.entry(entry)
  local words = {}
  local time, err = M.commands(entry, function(name, args)
    local own = name:match "^%z(.*)$"
    words[#words + 1] = own and ("(%s)"):format(own) or name:find "^[%w_.|-]+$" and name:upper() or quote(name)
    for _, arg in ipairs(args) do
      words[#words + 1] = quote(arg)
    end
    words[#words] = words[#words] .. ";"
  end)
  local head = ("entry %d term %d"):format(entry.index, entry.term)
  if entry.type ~= core.COMMAND then
    return ("%s %s: %d bytes %s"):format(head, KINDS[entry.type] or ("type %d"):format(entry.type), #entry.payload,
      quote(entry.payload))
  elseif not time then
    return ("%s: no commands (%s) %s"):format(head, err, quote(entry.payload))
  end
  return ("%s %s: %s"):format(head, M.time(time), (table.concat(words, " "):gsub(";$", "")))
end

-- ---- rows of the store

local function key_row(row, value)
  local slot = keys.position(row)
  if value == "" then
    return ("key %s slot %d: no value"):format(quote(keys.key(row)), slot)
  end
  local expiry = keys.HAS_EXPIRY & value:byte() ~= 0 and #value >= 9 and keys.expiry(value)
  local kind = keys.TYPE_NAMES[keys.type(value)] or "of an unknown type"
  local payload = value:sub(keys.payload_start(value))
  if keys.is_collection(value) and #payload == 26 then
    local home, version, count = keys.collection(value)
    payload = ("of %d elements, version %d in slot %d"):format(count, version, home)
  else
    payload = quote(payload)
  end
  return ("key %s slot %d %s %s%s"):format(quote(keys.key(row)), slot, kind,
    payload, expiry and " expires " .. M.time(expiry) or "")
end

---Whether it is the row of a user's key.
---@param row string
---@return boolean
function M.is_key(row)
  return #row >= 7 and row < keys.SLOTS_END and row:byte(3) == keys.META
end

---Whether it is the row of an element of a collection.
---@param row string
---@return boolean
function M.is_element(row)
  return #row >= keys.ELEMENT_PREFIX_BYTES and row < keys.SLOTS_END and row:byte(3) == keys.ELEMENT
end

---One line about a row.
---@param row string
---@param value string
---@return string
function M.row(row, value)
  if M.is_key(row) then
    return key_row(row, value)
  elseif M.is_element(row) then
    local slot, _, version = string.unpack(">I2Bi8", row)
    return ("element of version %d slot %d: %s %s"):format(version, slot,
      quote(row:sub(keys.ELEMENT_PREFIX_BYTES + 1)), quote(value))
  elseif row:byte() == keys.EXPIRY_START:byte() and #row >= 9 then
    local expiry, target = keys.expiry_target(row)
    return ("expiry %s of %s"):format(M.time(expiry), quote(keys.key(target)))
  elseif row == keys.FORMAT_ROW then
    return "format " .. quote(value)
  elseif row == keys.COUNT_ROW and #value == 16 then
    return ("count: %d keys, %d of them expire"):format(keys.counts(value))
  elseif row == keys.VERSION_ROW and #value == 8 then
    return ("version %d was the last one given"):format(keys.version(value))
  elseif row == keys.SAVED_ROW and #value == 8 then
    return "saved " .. M.time(keys.saved(value))
  end
  return ("row %s %s"):format(quote(row), quote(value))
end

return M
