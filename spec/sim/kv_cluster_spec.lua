-- A cluster of key-value nodes, unmodified, where everything around it fails: what its replies promise holds, whichever
-- member gave them, and its members never differ.

local cluster_kit = require "spec.sim.kv_cluster_kit"
local history = require "lunode.sim.history"
local kit = require "spec.sim.kv_kit"

local PROCESSES = { "kill", "kill", "crash", "crash", "pause", "clock_jump", "clock_drift" }
local NETWORK = { "split", "isolate", "one_way", "bridge", "flapping", "latency", "reset", "half_open", "slow_reader" }

local DISKS = { "disk_latency", "disk_stall", "disk_eio", "disk_enospc", "disk_torn", "kill", "crash" }

local ALL = {}
for _, kinds in ipairs { PROCESSES, NETWORK, DISKS } do
  table.move(kinds, 1, #kinds, #ALL + 1, ALL)
end

local CLIENTS = { "ann", "bob", "cleo" }

local function run(world, count, kinds, options)
  local cluster, told = cluster_kit.cluster(world, count, options), {}
  local histories = { register = history.new { world = world }, counter = history.new { world = world },
    list = history.new { world = world } }
  cluster:leader()
  for i, name in ipairs(CLIENTS) do
    world:node(name, kit.client, { name, histories, i * 30, i, told, cluster.places })
  end
  if kinds then
    world:swarm { duration = 30, quiet = 5, intensity = 3, kinds = kinds, nodes = cluster.names }
  end
  cluster:run(35)
  world:heal()
  for _, name in ipairs(cluster.names) do
    if world:get(name).state ~= "up" then
      world:restart(name)
    end
  end
  cluster:leader(10)
  world:node("reader", kit.client, { "reader", histories, 30, 1, told, cluster.places })
  cluster:run(40)
  assert.equal(30, told.reader.ok, "the cluster does not answer in the end")
  local answered = 0
  for _, name in ipairs(CLIENTS) do
    answered = answered + told[name].ok
  end
  cluster:agree()
  assert.is_true(cluster.told.compared > 0)
  assert(histories.register:check(kit.register))
  assert(histories.counter:check "counter")
  assert(histories.list:check "list")
  return answered, told
end

-- What depends on more than a key and its value. A transaction may be left open: then the next command is in it.
local MORE = {
  "ONCE k INCR k", "WATCH k", "MULTI", "EXEC", "EXEC", "EXEC", "DISCARD", "UNWATCH", "PUBLISH k v", "HSET hk v v",
  "HINCRBY hk v 3", "HDEL hk v", "RPUSH lk v v", "LPOP lk", "LTRIM lk 0 5", "SADD sk v v v", "SPOP sk", "SPOP sk 2",
  "SRANDMEMBER sk", "ZADD zk n v", "ZPOPMIN zk", "ZINCRBY zk 3 v", "EXPIRE hk 1", "EXPIRE sk 2", "DEL lk sk zk",
  "RENAME hk lk", "SET hk v", "READMODE STALE n", "READMODE LEADER", "READMODE LINEARIZABLE", "CLUSTER SLOTS",
}

-- All kinds of commands, which their replays and the members must run alike.
local function compare(world, count, kinds, options)
  local cluster = cluster_kit.cluster(world, count, options)
  cluster:leader()
  for i = 1, 3 do
    world:node("noise" .. i, kit.noise, { true, cluster.places, MORE })
  end
  world:swarm { duration = 30, quiet = 5, intensity = 3, kinds = kinds, nodes = cluster.names }
  cluster:run(35)
  world:heal()
  for i = 1, 3 do
    world:kill("noise" .. i)
  end
  cluster:leader(10)
  cluster:run(5)
  cluster:agree()
  assert.is_true(cluster.told.compared > 50)
end

describe("a cluster of key-value nodes", function()
  sim_it("comes to the same state on all members, whatever the commands", { seeds = 10, full = 200 }, function(world)
    compare(world, 3, ALL, { log_keep = 2000 })
  end)

  sim_it("is linearizable on whichever member, where nothing fails", { seeds = 3, full = 30 }, function(world)
    run(world, 3, nil)
  end)

  sim_it("is linearizable where processes fail", { seeds = 10, full = 100 }, function(world)
    run(world, 3, PROCESSES)
  end)

  sim_it("is linearizable where disks fail", { seeds = 10, full = 100 }, function(world)
    run(world, 3, DISKS)
  end)

  sim_it("of five is linearizable where all of that fails", { seeds = 5, full = 100 }, function(world)
    run(world, 5, ALL)
  end)

  sim_it("is linearizable where the network fails", { seeds = 10, full = 100 }, function(world)
    run(world, 3, NETWORK)
  end)
end)
