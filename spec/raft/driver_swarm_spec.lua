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

local tally = { runs = 0, done = 0, copies = 0, changes = 0 } -- over all seeds

local function all()
  local list = {}
  for _, kinds in ipairs { NETWORK, PROCESSES, DISKS } do
    for _, kind in ipairs(kinds) do
      list[#list + 1] = kind
    end
  end
  return list
end

-- Lets clients work while faults come and go; options beside the driver's: `spare` members that come and go, too, and
-- `pad`, bytes of ballast, so that copies take their time.
local function run(world, count, kinds, options)
  options = options or {}
  local cluster = kit.cluster(world, count, options)
  for i = count + 1, count + (options.spare or 0) do
    cluster:member("n" .. i, nil)
  end
  local members = table.move(cluster.all, 1, #cluster.all, 1, {})
  local h = history.new { world = world }
  local leader = cluster:leader()
  if options.pad then
    cluster:finish(cluster:propose(leader, "pad", options.pad))
  end
  cluster:clients(h, { "ann", "bob", "cleo" }, 30)
  world:swarm { duration = 30, quiet = 5, intensity = 5, kinds = kinds, nodes = members }
  for _ = 1, 20 do
    world:run(2)
    if options.spare then
      cluster:change_members(world:stream "changes")
    end
  end
  world:heal()
  for _, name in ipairs(members) do
    if world:get(name).state ~= "up" then -- a disk that failed has ended it
      world:restart(name)
    end
  end
  if options.spare then
    cluster:meet()
  end
  cluster:leader(10)
  cluster:write("k1", "the end")
  cluster:agree(cluster.names)
  for _, name in ipairs(cluster.names) do
    local requests = cluster.state[name].node.requests
    assert.same({}, requests.batches)
    assert.same({}, requests.placed)
    assert.equal(0, requests.in_flight)
  end
  local done = 0
  for _, op in ipairs(h.operations) do
    done = done + (op.status == "ok" and 1 or 0)
  end
  tally.runs, tally.done = tally.runs + 1, tally.done + done
  assert(h:check("register", { initial = "" }))
  for _, name in ipairs(members) do
    tally.copies = tally.copies + cluster.state[name].copies
  end
  tally.changes = tally.changes + (cluster.changed or 0)
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

  local STORE = { store = true, overlay = 1500, log_keep = 1000, pad = 500000 }
  local SLOW = { bandwidth = 2000000 }

  sim_it("of failing processes and disks is linearizable, where the state is a store", { seeds = 4, full = 75,
    world = SLOW }, function(world)
    run(world, 3, DISKS, STORE)
  end)

  sim_it("of all faults is linearizable, where the state is a store, and members come and go", { seeds = 4, full = 75,
    world = SLOW }, function(world)
    run(world, 3, all(), setmetatable({ spare = 3 }, { __index = STORE }))
  end)

  sim_it("of all faults is linearizable, with five members", { seeds = 3, full = 75 }, function(world)
    run(world, 5, all(), { snapshot_bytes = 1000 })
  end)

  it("has answered its clients, made members take copies, and changed the membership", function()
    assert.is_true(tally.done > 50 * tally.runs, tally.done .. " operations were answered: the faults were too many")
    assert.is_true(tally.copies >= 4, "only " .. tally.copies .. " copies were taken")
    assert.is_true(tally.changes >= 10, "only " .. tally.changes .. " changes were made")
  end)
end)
