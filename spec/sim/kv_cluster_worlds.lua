-- Worlds in which clusters of key-value nodes fail, and what must hold in them. Raises where it does not. Contains no
-- specs.

local cluster_kit = require "spec.sim.kv_cluster_kit"
local history = require "lunode.sim.history"
local kit = require "spec.sim.kv_kit"

local M = {}

M.PROCESSES = { "kill", "kill", "crash", "crash", "pause", "clock_jump", "clock_drift" }
M.NETWORK = { "split", "isolate", "one_way", "bridge", "flapping", "latency", "reset", "half_open", "slow_reader" }
M.DISKS = { "disk_latency", "disk_stall", "disk_eio", "disk_enospc", "disk_torn", "kill", "crash" }

M.ALL = {}
for _, kinds in ipairs { M.PROCESSES, M.NETWORK, M.DISKS } do
  table.move(kinds, 1, #kinds, #M.ALL + 1, M.ALL)
end

local CLIENTS = { "ann", "bob", "cleo" }

-- What depends on more than a key and its value. A transaction may be left open: then the next command is in it.
local MORE = {
  "ONCE k INCR k", "WATCH k", "MULTI", "EXEC", "EXEC", "EXEC", "DISCARD", "UNWATCH", "PUBLISH k v", "HSET hk v v",
  "HINCRBY hk v 3", "HDEL hk v", "RPUSH lk v v", "LPOP lk", "LTRIM lk 0 5", "SADD sk v v v", "SPOP sk", "SPOP sk 2",
  "SRANDMEMBER sk", "ZADD zk n v", "ZPOPMIN zk", "ZINCRBY zk 3 v", "EXPIRE hk 1", "EXPIRE sk 2", "DEL lk sk zk",
  "RENAME hk lk", "SET hk v", "BLPOP lk mk 0.1", "BLMOVE lk mk LEFT RIGHT 0.2", "BZMPOP 0.1 1 zk MAX COUNT 2",
  "COPY lk mk REPLACE", "SORT lk ALPHA STORE mk", "LINSERT lk BEFORE v v", "LREM lk 1 v", "SETBIT bk n 1",
  "BITFIELD bk INCRBY u8 0 3", "BITOP NOT dk bk", "READMODE STALE n", "READMODE LEADER", "READMODE LINEARIZABLE",
  "CLUSTER SLOTS",
}

local function fail_for_a_while(world, cluster, kinds, intensity, seconds)
  local ends = world.now + seconds + 5
  if kinds then
    world:swarm { duration = seconds, quiet = 5, intensity = intensity, kinds = kinds, nodes = cluster.names }
  end
  if cluster.options.exchange then
    for i, old in ipairs { "n1", "n2", "n3" } do
      cluster:run(2)
      cluster:exchange(old, "m" .. i)
    end
  end
  cluster:run(math.max(1, ends - world.now))
  world:heal()
  for _, name in ipairs(cluster.names) do
    if world:get(name).state ~= "up" then -- a disk that failed has ended it
      world:restart(name)
    end
  end
end

---Clients with histories on all members: what they are told is linearizable, and in the end all are answered.
---@param world lunode.sim.world
---@param count integer  of members
---@param kinds? string[]  of faults
---@param options? table  as those of kv_cluster_kit.cluster
---@return table cluster, table told
function M.linearizable(world, count, kinds, options)
  local cluster, told = cluster_kit.cluster(world, count, options), {}
  local histories = { register = history.new { world = world }, counter = history.new { world = world },
    list = history.new { world = world } }
  cluster:leader()
  local slow = kinds and world:stream "spec":chance(0.5) -- so that much is under way when something fails
    and world:fault { kind = "disk_latency", nodes = cluster.names, seconds = 0.05 }
  for i, name in ipairs(CLIENTS) do
    world:node(name, kit.client, { name, histories, i * 30, i, told, cluster.places })
  end
  fail_for_a_while(world, cluster, kinds, slow and 6 or 3, 30)
  if slow then
    slow:stop()
  end
  cluster:leader(10)
  world:node("reader", kit.client, { "reader", histories, 30, 1, told, cluster.places })
  cluster:run(40)
  assert(told.reader.ok == 30, "the cluster does not answer in the end")
  for i, name in ipairs(CLIENTS) do
    assert(told[name].ok + told[name].refused + told[name].unknown == 30 * i, "commands are open in the end")
  end
  cluster:agree()
  assert(histories.register:check(kit.register))
  assert(histories.counter:check "counter")
  assert(histories.list:check "list")
  return cluster, told
end

---All kinds of commands, which members, and replays, must run alike.
---@param world lunode.sim.world
---@param count integer
---@param kinds? string[]
---@param options? table
---@return table cluster
function M.alike(world, count, kinds, options)
  local cluster = cluster_kit.cluster(world, count, options)
  cluster:leader()
  for i = 1, 3 do
    world:node("noise" .. i, kit.noise, { true, cluster.places, MORE })
  end
  fail_for_a_while(world, cluster, kinds, 4, 15)
  for i = 1, 3 do
    world:kill("noise" .. i)
  end
  cluster:leader(10)
  cluster:run(5)
  cluster:agree()
  return cluster
end

return M
