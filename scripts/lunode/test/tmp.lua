-- Temporary directories and files that go away when the spec ends. Not for anything outside of them.
--
--   local tmp = require "lunode.test.tmp"
--   local dir = tmp.dir()
--   tmp.write(dir .. "/node.conf", 'data = "here"')
--   local text = tmp.read(dir .. "/out")     -- nil where there is no such file

local cleanup = require "lunode.test.cleanup"

local M = {}

---Quotes one word for sh.
---@param word string
---@return string
function M.quote(word)
  return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

---Makes a temporary directory, which goes away when the test ends.
---@return string path
function M.dir()
  local pipe = assert(io.popen('mktemp -d "${TMPDIR:-/tmp}/lunode-spec.XXXXXXXX"', "r"))
  local path = pipe:read("l")
  assert(pipe:close() and path and path:find("/lunode-spec.", 1, true), "mktemp -d failed")
  cleanup.add(function()
    -- A spec may have taken away the right to write.
    os.execute(("chmod -R u+rwX -- %s; rm -rf -- %s"):format(M.quote(path), M.quote(path)))
  end)
  return path
end

---@param path string
---@param from? integer   how many bytes to skip
---@param most? integer  how many bytes to read
---@return string? text  nil where there is no such file
function M.read(path, from, most)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  if from then
    file:seek("set", from)
  end
  local text = file:read(most or "a") or ""
  file:close()
  return text
end

---@param path string
---@param text string
---@return string path
function M.write(path, text)
  local file = assert(io.open(path, "wb"))
  local written, err = file:write(text)
  local closed, err_at_close = file:close()
  if not (written and closed) then
    error(("%s: %s"):format(path, err or err_at_close), 2)
  end
  return path
end

return M
