-- Reads a config file: Lua that can set values and do nothing else. Does not know which keys there are.
--
--   listen = "127.0.0.1:7000"                 or      return { listen = "127.0.0.1:7000", maxclients = 100 }
--   maxclients = 10 * 10
--
-- The chunk is text, sees no function and no library (not even the methods of strings), and ends after a number
-- of instructions or when it has taken too much memory. So a config file from elsewhere can be wrong, not harmful.

local M = {}

local EXAMPLE = '; its lines are as in: listen = "127.0.0.1:7000"'
local MAX_BYTES = 1024 * 1024
local MAX_INSTRUCTIONS = 100000
local MAX_KILOBYTES = 16 * 1024 -- that it may take while it runs

---@class lunode.cli.config_entry
---@field key any       as in the file; meant to be a string
---@field value any
---@field where string  "FILE:LINE", or "FILE" for a key of the returned table

local function read(path)
  local file, err = io.open(path, "rb")
  if not file then
    return nil, err
  end
  local text, read_err = file:read(MAX_BYTES + 1)
  file:close()
  if not text and read_err then
    return nil, path .. ": " .. read_err
  end
  if text and #text > MAX_BYTES then
    return nil, path .. ": larger than 1 MiB; that cannot be a config file"
  end
  return text or ""
end

-- Runs the chunk with nothing but its own globals. Returns as coroutine.resume does.
local function run_bounded(chunk)
  local strings = getmetatable("")
  local methods = strings.__index
  local instructions = 0
  local limit = collectgarbage("count") + MAX_KILOBYTES
  -- Looked at before every instruction, as `s = s .. s` needs few of them to fill the memory.
  local function watch()
    instructions = instructions + 1
    if instructions > MAX_INSTRUCTIONS then
      error("it runs for too long: is there a loop without an end?", 2)
    elseif collectgarbage("count") > limit then
      error("it takes too much memory", 2)
    end
  end
  local thread = coroutine.create(chunk)
  debug.sethook(thread, watch, "", 1)
  strings.__index = nil
  local ok, result = coroutine.resume(thread)
  strings.__index = methods
  return ok, result
end

---@param path string
---@return lunode.cli.config_entry[]? entries  the last one of a key counts
---@return string? err  one line, with the path in it
function M.load(path)
  local text, err = read(path)
  if not text then
    return nil, err
  end

  local entries, values = {}, {}
  local env = setmetatable({}, {
    __index = values,
    __newindex = function(_, key, value)
      values[key] = value
      local line = debug.getinfo(2, "l").currentline
      entries[#entries + 1] = { key = key, value = value, where = path .. ":" .. line }
    end,
  })
  local chunk, syntax = load(text, "@" .. path, "t", env)
  if not chunk then
    local has_place = syntax:find("^[^:]+:%d+: ")
    return nil, has_place and syntax .. EXAMPLE or path .. ": " .. syntax
  end

  local ok, result = run_bounded(chunk)
  if not ok then
    return nil, type(result) == "string" and result or path .. ": error in the file"
  end
  if result ~= nil and type(result) ~= "table" then
    return nil, ("%s: returns a %s; a config file returns a table or nothing"):format(path, type(result))
  end
  local keys = {}
  for key in next, result or {} do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for _, key in ipairs(keys) do
    entries[#entries + 1] = { key = key, value = result[key], where = path }
  end
  return entries
end

return M
