-- Who is in a node's cluster, as clients see it. Changes nothing.
local hash = require "lunode.hash"
local loop = require "lunode.loop"

local M = {}

---The row that tells where clients reach a member: its value is "HOST:PORT".
---@param id string
---@return string
function M.row(id)
  return "\xFFmember/" .. id
end

---The name of a member as clients of Redis Cluster want it: 40 digits of base 16.
---@param node lunode.kv.node
---@param id string
---@return string
function M.node_id(node, id)
  local name = node.cluster_name .. "/" .. id
  return ("%016x%016x%08x"):format(hash.of(1, name), hash.of(2, name), hash.of(3, name) & 0xFFFFFFFF)
end

---The leader; where there is none, the last one that this member has known.
---@param node lunode.kv.node
---@return string? id
function M.last_leader(node)
  local core = node.cluster.core
  return core and core.leader or node.known_leader
end

---@class lunode.kv.member
---@field id string
---@field node_id string
---@field voter boolean
---@field host string?  where clients reach it; nil: it has not said so yet
---@field port integer?
---@field bus integer?  the port of its cluster address
---@field up boolean  as far as this member can tell
---@field applied integer?  where this member knows it

---The members, ordered by id.
---@param node lunode.kv.node
---@return lunode.kv.member[]
function M.list(node)
  local list, member = {}, node.cluster
  local core = member.core
  for i, id in ipairs(core and core.config.ids or {}) do
    local known = core.config.members[id]
    local host, port = M.client_address(node, id)
    local own, progress = id == member.id, core.role == "leader" and core.peers[id] or nil
    list[i] = {
      id = id, node_id = M.node_id(node, id), voter = known.voter, host = host, port = port,
      bus = math.tointeger(tonumber((known.address or ""):match(":(%d+)$"))),
      up = own or member.transport:is_ready(id) and (not progress or M.is_heard(node, progress)),
      applied = own and member.applied or progress and progress.match or nil,
    }
  end
  return list
end

---Whether a leader has heard from a member lately.
---@param node lunode.kv.node
---@param progress lunode.raft.progress
---@return boolean
function M.is_heard(node, progress)
  return loop.now() - progress.heard < 2 * node.cluster.options.election_timeout
end

---The connections with a member: what is queued for it.
---@param node lunode.kv.node
---@param id string
---@return {direction: "to"|"from", since: integer, queued: integer}[]
function M.links(node, id)
  local transport, list = node.cluster.transport, {}
  local peer, from = transport.peers[id], transport.incoming[id]
  for i, conn in ipairs { peer and peer.ready and peer.conn or false, from or false } do
    if conn then
      list[#list + 1] = { direction = i == 1 and "to" or "from", since = node.started, queued = conn:stats().queued }
    end
  end
  return list
end

---Where clients reach a member.
---@param node lunode.kv.node
---@param id string
---@return string? host, integer? port
function M.client_address(node, id)
  local text = node.db.store:get(M.row(id))
  local host, port = (text or ""):match("^(.*):(%d+)$")
  return host, math.tointeger(tonumber(port))
end

return M
