-- Data directories in specs: commands that fill them, what is in them, damage. Paths come from lunode.test.tmp.
--
--   data.sh("cp -r %s %s", from, to)      -- words are quoted; raises where it fails; returns what it printed
--   data.contents(dir)                    -- names, rights and hashes of all files in it, as one text
--   data.flip(path, offset)               -- one byte of a file, from 0 on
--   data.fill(client, count, bytes)       -- SET big:1 … of so many random bytes each
--   data.small_disk("8m")                 -- a tmpfs, or nil and why there can be none

local cleanup = require "lunode.test.cleanup"
local tmp = require "lunode.test.tmp"

local M = {}

---@param line string   a format
---@param ... string    quoted for the shell
---@return string output
function M.sh(line, ...)
  local words = { ... }
  for i, word in ipairs(words) do
    words[i] = tmp.quote(word)
  end
  local pipe = assert(io.popen("{ " .. line:format(table.unpack(words)) .. "\n} 2>&1", "r"))
  local out = pipe:read("a")
  return pipe:close() and out or error(out, 2)
end

---@param dir string
---@return string
function M.contents(dir)
  return M.sh("cd %s && find . -printf '%%M %%p\\n' | sort && find . -type f -exec sha256sum {} + | sort", dir)
end

---@param path string
---@return boolean
function M.exists(path)
  return (pcall(M.sh, "test -e %s", path))
end

---@param path string
---@param offset integer
function M.flip(path, offset)
  local file = assert(io.open(path, "r+b"))
  file:seek("set", offset)
  local byte = assert(file:read(1), "there is no such offset"):byte()
  file:seek("set", offset)
  file:write(string.char(byte ~ 0x55))
  file:close()
end

---@param client spec.redis.client
---@param count integer
---@param bytes integer
function M.fill(client, count, bytes)
  local file = assert(io.open("/dev/urandom", "rb"))
  local noise = file:read(bytes)
  file:close()
  for i = 1, count do
    assert(client:call("SET", "big:" .. i, noise).ok == "OK", "it was not taken")
  end
end

---@param size string  as mount takes it
---@return string? dir, string? why  not
function M.small_disk(size)
  local dir = tmp.dir()
  local ok, err = pcall(M.sh, "mount -t tmpfs -o mode=777,size=" .. size .. " tmpfs %s", dir)
  if not ok then
    return nil, "no file system can be mounted here: " .. err
  end
  cleanup.add(function()
    M.sh("umount -l %s", dir)
  end)
  return dir
end

return M
