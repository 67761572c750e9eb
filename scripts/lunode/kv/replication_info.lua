-- How a node stands in its cluster, in the words that clients of Redis know: INFO's sections "replication" and
-- "cluster", ROLE, the role and the mode of HELLO. Offsets are indexes of the cluster's log.
local members = require "lunode.kv.cluster_members"

local M = {}

local NO_ID = ("0"):rep(40)

---@param node lunode.kv.node
---@return "standalone"|"cluster"
function M.mode(node)
  return node.cluster and "cluster" or "standalone"
end

---@param node lunode.kv.node
---@return boolean
function M.is_master(node)
  return not node.cluster or node.writes:leads()
end

-- The members that this one, which leads, reaches.
local function replicas(node)
  local list = {}
  for _, member in ipairs(members.list(node)) do
    if member.id ~= node.cluster.id and member.up and member.host then
      list[#list + 1] = member
    end
  end
  return list
end

local function add_master(lines, node)
  local list = replicas(node)
  lines[#lines + 1] = { "role", "master" }
  lines[#lines + 1] = { "connected_slaves", #list }
  for i, member in ipairs(list) do
    lines[#lines + 1] = {
      "slave" .. i - 1,
      ("ip=%s,port=%d,state=online,offset=%d,lag=0"):format(member.host, member.port, member.applied or 0),
    }
  end
end

local function add_replica(lines, node)
  local core = node.cluster.core
  local leader = core and core.leader
  local host, port = nil, nil
  if leader then
    host, port = members.client_address(node, leader)
  end
  local silence = node.writes:silence()
  for _, line in ipairs {
    { "role", "slave" },
    { "master_host", host or "" },
    { "master_port", port or 0 },
    { "master_link_status", leader and "up" or "down" },
    { "master_last_io_seconds_ago", silence < math.huge and math.floor(silence) or -1 },
    { "master_sync_in_progress", core and core.installing and 1 or 0 },
    { "slave_read_repl_offset", core and core.log.last or 0 },
    { "slave_repl_offset", node.cluster.applied },
    { "slave_priority", 100 },
    { "slave_read_only", 0 }, -- it forwards what writes
    { "replica_announced", 1 },
    { "connected_slaves", 0 },
  } do
    lines[#lines + 1] = line
  end
end

---The fields of INFO replication.
---@param node lunode.kv.node
---@return any[][]
function M.replication(node)
  if not node.cluster then
    return {
      { "role", "master" },
      { "connected_slaves", 0 },
      { "master_failover_state", "no-failover" },
      { "master_replid", node.run_id },
      { "master_replid2", NO_ID },
      { "master_repl_offset", 0 },
      { "second_repl_offset", -1 },
      { "repl_backlog_active", 0 },
    }
  end
  local lines, core = {}, node.cluster.core
  if M.is_master(node) then
    add_master(lines, node)
  else
    add_replica(lines, node)
  end
  local commit, applied = core and core.commit or node.cluster.applied, node.cluster.applied
  for _, line in ipairs {
    { "master_failover_state", core and core.transferee and "failover-in-progress" or "no-failover" },
    { "master_replid", members.node_id(node, "") },
    { "master_replid2", NO_ID },
    { "master_repl_offset", commit },
    { "second_repl_offset", -1 },
    { "repl_backlog_active", 0 },
    { "raft_id", node.cluster.id },
    { "raft_role", core and core.role or "starting" },
    { "raft_term", core and core.term or 0 },
    { "raft_leader", core and core.leader or "" },
    { "raft_commit", commit },
    { "raft_applied", applied },
    { "raft_lag", math.max(0, commit - applied) },
    { "raft_members", core and #core.config.ids or 0 },
    { "raft_waiting", node.replica.waiting },
  } do
    lines[#lines + 1] = line
  end
  return lines
end

---ROLE.
---@param node lunode.kv.node
---@return any[]
function M.role(node)
  if not node.cluster then
    return { "master", 0, {} }
  elseif M.is_master(node) then
    local list = {}
    for i, member in ipairs(replicas(node)) do
      list[i] = { member.host, tostring(member.port), tostring(member.applied or 0) }
    end
    return { "master", node.cluster.core.commit, list }
  end
  local leader = node.cluster.core and node.cluster.core.leader
  local host, port = nil, nil
  if leader then
    host, port = members.client_address(node, leader)
  end
  return { "slave", host or "", port or 0, leader and "connected" or "connect", node.cluster.applied }
end

return M
