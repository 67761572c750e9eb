-- Finds spec files: those that are named, and in directories all whose names end in _spec.lua.

local tmp = require "lunode.test.tmp"

local M = {}

local function lines_of(command)
  local pipe = assert(io.popen(command, "r"))
  local lines = {}
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  return pipe:close() and lines
end

local function is(kind, path)
  return os.execute(("test %s %s"):format(kind, tmp.quote(path))) == true
end

local function safe(path)
  return path:sub(1, 1) == "-" and "./" .. path or path
end

local function in_directory(path)
  local command = "find -L %s -type f -name '*_spec.lua' ! -path '*/.*' | LC_ALL=C sort"
  local found = lines_of(command:format(tmp.quote((path:gsub("(.)/+$", "%1")))))
  return found
end

---@param paths string[]
---@return string[]? files  in order, each once
---@return string? message
function M.find(paths)
  local files, seen = {}, {}
  for _, given in ipairs(paths) do
    local path = safe(given)
    local found = is("-d", path) and in_directory(path) or is("-f", path) and { path } or nil
    if not found then
      return nil, given .. ": there is no such file or directory"
    elseif #found == 0 then
      return nil, given .. ": there is no *_spec.lua in this directory"
    end
    for _, file in ipairs(found) do
      file = file:gsub("^%./(.)", "%1")
      if not seen[file] then
        seen[file] = true
        files[#files + 1] = file
      end
    end
  end
  return files
end

return M
