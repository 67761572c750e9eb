-- The driver under faults by chance: what clients saw is linearizable, and when the faults are over a leader emerges,
-- all members come to the same state, and nothing that was asked stays open.

local history = require "lunode.sim.history"
local kit = require "spec.raft.kit"

local NETWORK = {
  "split", "isolate", "one_way", "bridge", "flapping", "latency", "bandwidth", "reset", "half_open", "slow_reader",
  "accept_failures",
}
local PROCESSES = { "kill", "crash", "pause", "clock_jump", "clock_drift" }
local DISKS = { "disk_latency", "disk_stall", "disk_eio", "disk_enospc", "disk_torn", "kill", "crash" }

local function all()
  local list = {}
  for _, kinds in ipairs { NETWORK, PROCESSES, DISKS } do
    for _, kind in ipairs(kinds) do
      list[#list + 1] = kind
    end
  end
  return list
end

local function run(world, count, kinds, options)
  local cluster = kit.cluster(world, count, options)
  local members = table.move(cluster.names, 1, count, 1, {})
  local h = history.new { world = world }
  cluster:leader()
  cluster:clients(h, { "ann", "bob", "cleo" }, 30)
  world:swarm { duration = 30, quiet = 5, intensity = 5, kinds = kinds, nodes = members }
  world:run(40)
  world:heal()
  for _, name in ipairs(members) do
    if world:get(name).state ~= "up" then -- a disk that failed has ended it
      world:restart(name)
    end
  end
  cluster:leader(10)
  cluster:write("k1", "the end")
  cluster:agree(members)
  for _, name in ipairs(members) do
    local requests = cluster.state[name].node.requests
    assert.same({}, requests.batches)
    assert.same({}, requests.placed)
  end
  local done = 0
  for _, op in ipairs(h.operations) do
    done = done + (op.status == "ok" and 1 or 0)
  end
  assert.is_true(done > 30, ("only %d operations were answered: the faults were too many"):format(done))
  assert(h:check("register", { initial = "" }))
end

describe("a cluster in a swarm", function()
  sim_it("of the network's faults is linearizable", { seeds = 9, full = 75 }, function(world)
    run(world, 3, NETWORK)
  end)

  sim_it("of failing processes is linearizable", { seeds = 9, full = 75 }, function(world)
    run(world, 3, PROCESSES, { snapshot_bytes = 2000 })
  end)

  sim_it("of failing disks is linearizable", { seeds = 9, full = 75 }, function(world)
    run(world, 3, DISKS, { snapshot_bytes = 2000 })
  end)

  sim_it("of all faults is linearizable, with five members", { seeds = 3, full = 75 }, function(world)
    run(world, 5, all(), { snapshot_bytes = 1000 })
  end)
end)
