-- Remembers how long spec files took, to start the longest first and to tell how long the rest will take. Only hints:
-- what cannot be read or written is not an error.
--
-- A line a file: seconds, a space, the absolute path. In $LUNODE_TEST_TIMES, else in the user's cache directory.

local tmp = require "lunode.test.tmp"

local M = {}

local MAX_ENTRIES = 2000
local BYTES_PER_SECOND = 10000 -- of a spec's source, where nothing is known

local function path()
  local given = os.getenv "LUNODE_TEST_TIMES"
  if given and given ~= "" then
    return given
  end
  local cache = os.getenv "XDG_CACHE_HOME"
  if not cache or cache:sub(1, 1) ~= "/" then
    local home = os.getenv "HOME"
    cache = home and home:sub(1, 1) == "/" and home .. "/.cache" or nil
  end
  return cache and cache .. "/lunode/test-times"
end

-- A rename would replace a device or a link by a file, and to read a pipe takes for ever.
local function is_ours(where)
  local quoted = tmp.quote(where)
  return os.execute(("test -f %s -o ! -e %s && test ! -L %s"):format(quoted, quoted, quoted)) == true
end

local function directory()
  local pipe = io.popen("pwd -P", "r")
  local dir = pipe and pipe:read "l"
  if pipe then
    pipe:close()
  end
  return dir or ""
end

local here

local function absolute(file)
  here = here or directory()
  return file:sub(1, 1) == "/" and file or here .. "/" .. file
end

-- Seconds by absolute path, and the paths in their order.
local function load()
  local where = path()
  local seconds, order = {}, {}
  for line in (where and is_ours(where) and tmp.read(where) or ""):gmatch "[^\n]+" do
    local number, name = line:match "^([%d.]+) (/.+)$"
    if tonumber(number) and not seconds[name] then
      seconds[name] = tonumber(number)
      order[#order + 1] = name
    end
  end
  return seconds, order
end

---@param files string[]
---@return table<string, number> seconds  of each file, remembered or guessed
function M.read(files)
  local known = load()
  local seconds = {}
  for _, file in ipairs(files) do
    seconds[file] = known[absolute(file)] or #(tmp.read(file) or "") / BYTES_PER_SECOND
  end
  return seconds
end

---@param measured table<string, number>  seconds by file
---@param files string[]  the files, in order
function M.write(measured, files)
  local where = path()
  if not where or not is_ours(where) then
    return
  end
  local lines, fresh = {}, {}
  for _, file in ipairs(files) do
    if measured[file] then
      lines[#lines + 1] = ("%.3f %s"):format(measured[file], absolute(file))
      fresh[absolute(file)] = true
    end
  end
  local known, order = load()
  for _, name in ipairs(order) do
    if not fresh[name] and #lines < MAX_ENTRIES then
      lines[#lines + 1] = ("%.3f %s"):format(known[name], name)
    end
  end
  -- Whole or not at all, also where several run.
  local draft = ("%s.%d"):format(where, require("lunode.loop").random(1, 1 << 48))
  os.execute("mkdir -p -- " .. tmp.quote(where:match "^(.*)/[^/]*$" or "/") .. " 2>/dev/null")
  local out = io.open(draft, "w")
  if out then
    local written = out:write(table.concat(lines, "\n"), "\n")
    if not (out:close() and written and os.rename(draft, where)) then
      os.remove(draft)
    end
  end
end

return M
