-- What the process that runs a spec file tells the one that shows results: a file of MessagePack maps, one an event.
--
--   { kind = "run", what = "it", name = … }       something of the spec begins to run: a sign of life
--   { kind = "test", name, status = "passed"|"failed"|"skipped", seconds, message, place }
--   { kind = "trouble", name, message }           a failure outside of any test
--   { kind = "note", text }                       what a long test is about, nil at its end
--   { kind = "done" }                             the file was run to its end
--
-- A file, as it neither blocks its writer nor needs the loop, which is the spec's; and what was written before the
-- process was killed can be read.

local msgpack = require "lunode.msgpack"

local M = {}

local out

---@param path string
function M.open(path)
  out = assert(io.open(path, "ab"))
  out:setvbuf "no"
end

---Does nothing where no one listens.
---@param event table
function M.emit(event)
  if out then
    assert(out:write(msgpack.encode(event)))
  end
end

---@class lunode.test.reader
---@field private file file*
---@field private rest string  the beginning of an event
local methods = {}
local metatable = { __index = methods, __name = "lunode.test.reader" }

---@param path string
---@return lunode.test.reader
function M.reader(path)
  return setmetatable({ file = assert(io.open(path, "a+b")), rest = "", position = 0 }, metatable)
end

---@return table[] events  those that have come since
function methods:read()
  self.file:seek("set", self.position)
  local bytes = self.file:read "a"
  self.position = self.position + #bytes
  local data, at, events = self.rest .. bytes, 1, {}
  while at <= #data do
    local event, next_at, code = msgpack.decode(data, at)
    if code then
      error("the events of a spec file are damaged: " .. tostring(next_at))
    elseif event == nil then
      break
    end
    events[#events + 1] = event
    at = next_at
  end
  self.rest = data:sub(at)
  return events
end

function methods:close()
  self.file:close()
end

return M
