-- The store of a data directory to look at, without a change to it: the engine opens a directory of links and copies
-- beside it. Only for a store that no process has open, as the files of one at work come and go.
--
-- Tables never change once they are written (LevelDB, RocksDB), so a link to each is enough, and it is the link that
-- the engine deletes. The rest is small: it is copied, as the engine writes on in it.

local files = require "lunode.cli.files"
local store = require "lunode.store"

local M = {}

---@class lunode.cli.view
---@field store lunode.store_handle
---@field private dir string     the directory that was asked for
---@field private place string   where the links are
local methods = {}
local view_mt = { __name = "lunode.cli.view", __index = methods }

local SCRIPT = [[
set -e
cp -- %s/FORMAT %s/FORMAT
mkdir %s/db
if [ -d %s/db ]; then
  find %s/db -mindepth 1 -maxdepth 1 -type f \( -name '*.ldb' -o -name '*.sst' \) -exec ln -s -t %s/db -- {} +
  find %s/db -mindepth 1 -maxdepth 1 -type f ! -name '*.ldb' ! -name '*.sst' ! -name LOCK -exec cp -t %s/db -- {} +
fi
]]

local function remove(place)
  files.shell("rm -rf -- " .. files.quote(place))
end

---What an error says, in the names of the directory that was asked for.
---@param err any
---@return string
function methods:explain(err)
  local text = files.without_option(tostring(err):gsub("^[^ ]*%.lua:%d+: ", ""))
  local from, to = text:find(self.place, 1, true)
  while from do
    text = text:sub(1, from - 1) .. self.dir .. text:sub(to + 1)
    from, to = text:find(self.place, from + #self.dir, true)
  end
  return text
end

---Opens the view of a directory that is not locked.
---@param dir string
---@return lunode.cli.view? view
---@return string? err, lunode.code? code
function M.open(dir)
  local place, err = files.shell "mktemp -d \"${TMPDIR:-/tmp}/lunode-view-XXXXXX\""
  if not place then
    return nil, "there is no room for a temporary directory: " .. err
  end
  local self = setmetatable({ dir = dir, place = place, store = nil }, view_mt)
  local from, to = files.quote(files.absolute(dir)), files.quote(place)
  local ok
  ok, err = files.shell(SCRIPT:format(from, to, to, from, from, to, from, to))
  if not ok then
    remove(place)
    return nil, ("cannot read %s: %s"):format(dir, self:explain(err))
  end
  local code
  self.store, err, code = store.open(place, { create = false, cache = 8 << 20 })
  if not self.store then
    remove(place)
    return nil, self:explain(err), code
  end
  return self
end

function methods:close()
  self.store:close()
  remove(self.place)
end

return M
