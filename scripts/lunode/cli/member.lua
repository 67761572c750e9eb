-- Whose a data directory is, where it is that of a member of a cluster, and which store in it holds the data: for the
-- verbs about data directories. The rows are raft/storage's. Changes nothing.

local files = require "lunode.cli.files"
local msgpack = require "lunode.msgpack"

local M = {}

local FIRST = "data-0" -- as long as no other one took its place

---@class lunode.cli.member
---@field id string
---@field cluster string
---@field dir string?  the store of the data; nil: there is none, as of a state machine that is no store
---@field index integer  the log was cut behind this entry

---@param store lunode.store_handle  of the directory itself
---@param dir string
---@return lunode.cli.member? member  nil: it is no member's
---@return string? err  it is one, and cannot be read
function M.of(store, dir)
  local bytes = store:get "identity"
  if not bytes then
    return nil
  end
  local identity, snapshot = msgpack.decode(bytes), msgpack.decode(store:get "snapshot" or "")
  if type(identity) ~= "table" or type(identity.id) ~= "string" or type(identity.cluster) ~= "string"
    or type(snapshot) ~= "table" or math.type(snapshot.index) ~= "integer"
    or type(snapshot.data or FIRST) ~= "string" then
    return nil, "the rows that say whose it is are malformed"
  end
  local data = dir .. "/" .. (snapshot.data or FIRST)
  return {
    id = identity.id, cluster = identity.cluster, dir = files.exists(data .. "/FORMAT") and data or nil,
    index = snapshot.index,
  }
end

return M
