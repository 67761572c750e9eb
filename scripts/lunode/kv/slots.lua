-- CLUSTER and its kin, as clients of Redis Cluster use them: the member that leads is the master of all slots, the
-- others are its replicas. Changes nothing of the cluster: RAFT does (kv.admin).
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local help = require "lunode.kv.help"
local keys = require "lunode.kv.keys"
local members = require "lunode.kv.cluster_members"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"
local slot = require "lunode.slot"

local DISABLED = resp.error("ERR This instance has cluster support disabled")
local BAD_SLOT = resp.error("ERR Invalid slot")
local BAD_COUNT = resp.error("ERR Invalid number of keys")
local LAST = keys.SLOTS - 1

local FLAGS = { "stale" }

-- A command that only a member of a cluster has.
local function of_member(run)
  return function(ctx, ...)
    if not ctx.node.cluster then
      return DISABLED
    end
    return run(ctx, ...)
  end
end

local SAME_FOR_LONG = { KEYSLOT = true, MYID = true, COUNTKEYSINSLOT = true }
local OF_ADMINS = { REPLICAS = true, SLAVES = true }
local DEPRECATED = {
  SLAVES = { since = "5.0.0", replaced_by = "`CLUSTER REPLICAS`" },
  SLOTS = { since = "7.0.0", replaced_by = "`CLUSTER SHARDS`" },
}

local function subcommand(name, arity, since, complexity, summary, run)
  command.command("CLUSTER|" .. name, {
    arity = arity, flags = OF_ADMINS[name] and { "admin", "stale" } or FLAGS, group = "cluster", since = since,
    complexity = complexity, tips = not SAME_FOR_LONG[name] and { "nondeterministic_output" } or nil,
    summary = summary, deprecated = DEPRECATED[name], run = of_member(run),
  })
end

command.command("CLUSTER", {
  arity = -2, group = "cluster", since = "3.0.0", complexity = "Depends on subcommand.",
  summary = "A container for cluster commands",
})

-- ---------------------------------------------------------------- who there is

subcommand("MYID", 2, "3.0.0", "O(1)", "Return the node id", function(ctx)
  return members.node_id(ctx.node, ctx.node.cluster.id)
end)

-- The leader, or the last one known, and then the others: those whom clients can reach.
local function masters_first(node)
  local leader, list = members.last_leader(node), {}
  for _, member in ipairs(members.list(node)) do
    if member.host then
      table.insert(list, member.id == leader and 1 or #list + 1, member)
    end
  end
  return list[1] and list[1].id == leader and list or {}
end

subcommand("SLOTS", 2, "3.0.0", "O(N) where N is the total number of Cluster nodes",
  "Get array of Cluster slot to node mappings", function(ctx)
    local row = { 0, LAST }
    for _, member in ipairs(masters_first(ctx.node)) do
      row[#row + 1] = { member.host, member.port, member.node_id, {} }
    end
    return #row > 2 and { row } or {}
  end)

subcommand("SHARDS", 2, "7.0.0", "O(N) where N is the total number of cluster nodes",
  "Get array of cluster slots to node mappings", function(ctx)
    local nodes = {}
    for i, member in ipairs(masters_first(ctx.node)) do
      nodes[i] = resp.map {
        "id", member.node_id, "port", member.port, "ip", member.host, "endpoint", member.host,
        "role", i == 1 and "master" or "replica", "replication-offset", member.applied or 0,
        "health", member.up and "online" or "failed",
      }
    end
    return #nodes > 0 and { resp.map { "slots", { 0, LAST }, "nodes", nodes } } or {}
  end)

-- A line of CLUSTER NODES.
local function describe(node, member, leader, term)
  local own, leads = member.id == node.cluster.id, member.id == leader
  local flags = (own and "myself," or "") .. (leads and "master" or "slave") .. (member.up and "" or ",fail?")
  return table.concat({
    member.node_id,
    ("%s:%d@%d"):format(member.host or "", member.port or 0, member.bus or 0),
    flags,
    leads and "-" or leader and members.node_id(node, leader) or "-",
    0, 0, term,
    member.up and "connected" or "disconnected",
    leads and "0-" .. LAST or nil,
  }, " ")
end

local function nodes_text(node, wanted)
  local leader, term = members.last_leader(node), node.cluster.core and node.cluster.core.term or 0
  local lines = {}
  for _, member in ipairs(members.list(node)) do
    if not wanted or wanted(member, leader) then
      lines[#lines + 1] = describe(node, member, leader, term)
    end
  end
  return lines
end

subcommand("NODES", 2, "3.0.0", "O(N) where N is the total number of Cluster nodes",
  "Get Cluster config for the node", function(ctx)
    return resp.verbatim(table.concat(nodes_text(ctx.node), "\n") .. "\n")
  end)

local function replicas(ctx, id)
  local leader = members.last_leader(ctx.node)
  for _, member in ipairs(members.list(ctx.node)) do
    if member.node_id == id and member.id ~= leader then
      return resp.error("ERR The specified node is not a master")
    elseif member.node_id == id then
      return nodes_text(ctx.node, function(other)
        return other.id ~= leader
      end)
    end
  end
  return errors.quoting("ERR Unknown node %s", id)
end

subcommand("REPLICAS", 3, "5.0.0", "O(1)", "List replica nodes of the specified master node", replicas)
subcommand("SLAVES", 3, "3.0.0", "O(1)", "List replica nodes of the specified master node", replicas)

subcommand("INFO", 2, "3.0.0", "O(1)", "Provides info about Redis Cluster node state", function(ctx)
  local node = ctx.node
  local core = node.cluster.core
  local term, ids = core and core.term or 0, core and core.config.ids or {}
  local up = core and core.leader ~= nil
  local lines = {
    "cluster_state:" .. (up and "ok" or "fail"),
    "cluster_slots_assigned:" .. keys.SLOTS,
    "cluster_slots_ok:" .. (up and keys.SLOTS or 0),
    "cluster_slots_pfail:0",
    "cluster_slots_fail:" .. (up and 0 or keys.SLOTS),
    "cluster_known_nodes:" .. #ids,
    "cluster_size:1",
    "cluster_current_epoch:" .. term,
    "cluster_my_epoch:" .. term,
    "cluster_stats_messages_sent:0",
    "cluster_stats_messages_received:0",
    "total_cluster_links_buffer_limit_exceeded:0",
  }
  return resp.verbatim(table.concat(lines, "\r\n") .. "\r\n")
end)

subcommand("LINKS", 2, "7.0.0", "O(N) where N is the total number of Cluster nodes",
  "Returns a list of all TCP links to and from peer nodes in cluster", function(ctx)
    local links = {}
    for _, member in ipairs(members.list(ctx.node)) do
      for _, link in ipairs(members.links(ctx.node, member.id)) do
        links[#links + 1] = resp.map {
          "direction", link.direction, "node", member.node_id, "create-time", link.since, "events", "rw",
          "send-buffer-allocated", link.queued, "send-buffer-used", link.queued,
        }
      end
    end
    return links
  end)

-- ---------------------------------------------------------------- keys and slots

subcommand("KEYSLOT", 3, "3.0.0", "O(N) where N is the number of bytes in the key",
  "Returns the hash slot of the specified key", function(_, key)
    return slot.of(key)
  end)

local function parse_slot(text)
  local n = numbers.parse(text)
  if not n or n < 0 or n > LAST then
    error(BAD_SLOT, 0)
  end
  return n
end

-- Visits the keys of a slot until `visit` returns true.
local function walk(db, at, visit)
  db:walk(at, 0, function(row)
    local slot_of_row = keys.position(row)
    return slot_of_row ~= at or visit(row)
  end)
end

subcommand("COUNTKEYSINSLOT", 3, "3.0.0", "O(N) where N is the number of keys in the slot",
  "Return the number of local keys in the specified hash slot", function(ctx, text)
    local count = 0
    walk(ctx.db, parse_slot(text), function()
      count = count + 1
    end)
    return count
  end)

subcommand("GETKEYSINSLOT", 4, "3.0.0", "O(N) where N is the number of requested keys",
  "Return local key names in the specified hash slot", function(ctx, text, most)
    local at, limit, list = parse_slot(text), numbers.parse(most), {}
    if not limit or limit < 0 then
      return BAD_COUNT
    end
    walk(ctx.db, at, function(row)
      if #list == limit then
        return true
      end
      list[#list + 1] = keys.key(row)
    end)
    return list
  end)

help.command("CLUSTER", { group = "cluster", since = "5.0.0", only_if = of_member })

-- ---------------------------------------------------------------- what a connection wants

local HANDSHAKE = { "loading", "stale", "fast" }

command.command("READONLY", {
  arity = 1, flags = HANDSHAKE, group = "cluster", since = "3.0.0", complexity = "O(1)", acl = { "connection" },
  summary = "Enables read queries for a connection to a cluster replica node",
  run = of_member(function(ctx)
    local session = ctx.session
    session.read_mode, session.max_age, session.redirects = "stale", math.huge, true
    return resp.OK
  end),
})

command.command("READWRITE", {
  arity = 1, flags = HANDSHAKE, group = "cluster", since = "3.0.0", complexity = "O(1)", acl = { "connection" },
  summary = "Disables read queries for a connection to a cluster replica node",
  run = of_member(function(ctx)
    ctx.session.read_mode, ctx.session.redirects = nil, true
    return resp.OK
  end),
})

command.command("ASKING", {
  arity = 1, flags = { "fast" }, group = "cluster", since = "3.0.0", complexity = "O(1)", acl = { "connection" },
  summary = "Sent by cluster clients after an -ASK redirect",
  run = of_member(function() -- no slot ever moves
    return resp.OK
  end),
})

local BAD_MODE = resp.error("ERR the read mode is LINEARIZABLE, LEADER, or STALE [milliseconds]")

local function mode_of(session)
  if session.read_mode == "stale" and session.max_age < math.huge then
    return { "stale", math.floor(session.max_age * 1000) }
  end
  return { session.read_mode or "linearizable" }
end

-- On a node by itself all three are the same.
command.command("READMODE", {
  arity = -1, flags = HANDSHAKE, group = "cluster", since = "1.0.0", complexity = "O(1)", acl = { "connection" },
  summary = "Says which state is good enough for what this connection reads",
  syntax = "[LINEARIZABLE|LEADER|STALE [milliseconds]]",
  run = function(ctx, mode, age, ...)
    local session = ctx.session
    local word, milliseconds = mode and mode:upper(), age and numbers.parse(age)
    if mode == nil then
      return mode_of(session)
    elseif ... or age and (word ~= "STALE" or not milliseconds or milliseconds < 0) then
      return BAD_MODE
    elseif word == "LINEARIZABLE" then
      session.read_mode = nil
    elseif word == "LEADER" then
      session.read_mode = "leader"
    elseif word == "STALE" then
      session.read_mode, session.max_age = "stale", milliseconds and milliseconds / 1000 or math.huge
    else
      return BAD_MODE
    end
    return resp.OK
  end,
})
