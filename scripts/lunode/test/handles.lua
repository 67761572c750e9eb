-- Finds what a spec left active in the loop: timers, connections, servers, hooks, signals. Closes what it finds.
--
-- Each is told with the place of one of its callbacks, which is nearly always the place that made it.

local loop = require "lunode.loop"

local M = {}

-- What was closed needs some turns to go, and a connection waits for its peer.
local SECONDS = 0.1
local CONNECTION_SECONDS = 2

local expected = setmetatable({}, { __mode = "k" })

---What is active now may stay so.
function M.remember()
  expected = setmetatable({}, { __mode = "k" })
  for _, handle in ipairs(loop.handles()) do
    expected[handle] = true
  end
end

---Nothing may stay but these.
---@param handles userdata[]
function M.forget_all_but(handles)
  expected = setmetatable({}, { __mode = "k" })
  for _, handle in ipairs(handles) do
    expected[handle] = true
  end
end

-- Returns what should not be there, and how long it may take to go.
local function unexpected()
  local found, seconds = {}, SECONDS
  for _, handle in ipairs(loop.handles()) do
    if not expected[handle] then
      found[#found + 1] = handle
      if getmetatable(handle).__name == "lunode.conn" then
        seconds = CONNECTION_SECONDS
      end
    end
  end
  return found, seconds
end

-- The callback, or the first of the list of callbacks, that the box of a handle keeps as its first user value.
local function callback_of(handle)
  local value = debug.getuservalue(handle, 1)
  if type(value) == "function" then
    return value
  elseif type(value) == "table" then
    for i = 1, rawlen(value) do
      if type(value[i]) == "function" then
        return value[i]
      end
    end
  end
end

local function describe(handle)
  local kind = getmetatable(handle).__name:gsub("^lunode%.", ""):gsub("^conn$", "connection")
  local fn = callback_of(handle)
  local info = fn and debug.getinfo(fn, "S")
  if info and info.what ~= "C" then
    return ("%s, callback at %s:%d"):format(kind, info.short_src, info.linedefined)
  end
  return kind
end

local function close(handle)
  local method = handle.abort or handle.close
  pcall(method, handle)
end

-- Alike ones as one line with their number, sorted.
local function list(handles)
  local counts, lines = {}, {}
  for _, handle in ipairs(handles) do
    local text = describe(handle)
    if not counts[text] then
      lines[#lines + 1] = text
    end
    counts[text] = (counts[text] or 0) + 1
  end
  table.sort(lines)
  for i, text in ipairs(lines) do
    lines[i] = ("  %d × %s"):format(counts[text], text)
  end
  return table.concat(lines, "\n")
end

---Waits a little for the end of what is being closed.
---@return string? left  what is still active, a line a kind; it is closed then
function M.left()
  loop.step(0)
  local begun = loop.time()
  local found, seconds = unexpected()
  while #found > 0 and loop.time() < begun + seconds do
    loop.step(0.01)
    found, seconds = unexpected()
  end
  if #found == 0 then
    return nil
  end
  local text = list(found)
  for _, handle in ipairs(found) do
    close(handle)
  end
  loop.step(0)
  return text
end

return M
