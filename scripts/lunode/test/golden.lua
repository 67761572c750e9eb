-- Compares a text with the one that is kept in testdata/ beside the spec; `lunode test --rewrite` keeps the new one.
--
--   local golden = require "lunode.test.golden"
--   golden("calm.txt", world:trace())       -- spec/testdata/calm.txt, for spec/x_spec.lua
--
-- Read what a rewrite changes before you commit it: a golden text is worth what its reader understood.

local body = require "lunode.test.body"
local diff = require "lunode.test.diff"
local tmp = require "lunode.test.tmp"

local function path_of(name)
  if type(name) ~= "string" or not name:find("^[%w_][%w_.-]*$") then
    error(("golden: a file name is needed, of letters, digits and ._-, got %s"):format(tostring(name)), 3)
  end
  local dir = (body.file or ""):match("^(.*)/[^/]*$") or "."
  return dir .. "/testdata/" .. name, dir .. "/testdata"
end

local function is_rewriting()
  return (os.getenv "LUNODE_REWRITE" or "") ~= ""
end

---Raises, with what differs, unless the text is the kept one.
---@param name string  of the file
---@param text string
return function(name, text)
  local path, dir = path_of(name)
  if type(text) ~= "string" then
    error(("golden: a string is needed as text, got a %s"):format(type(text)), 2)
  end
  local kept = tmp.read(path)
  if kept == text then
    return
  elseif is_rewriting() then
    assert(os.execute("mkdir -p -- " .. tmp.quote(dir)), "cannot make the directory " .. dir)
    tmp.write(path, text)
  elseif not kept then
    error(("golden: there is no %s; `lunode test --rewrite` writes it"):format(path), 2)
  else
    local changes = diff.lines(kept, text, "kept", "now")
    error(("%s has another text; `lunode test --rewrite` keeps the new one\n%s"):format(path, changes), 2)
  end
end
