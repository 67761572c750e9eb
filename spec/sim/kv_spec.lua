-- The key-value node, unmodified, where everything around it fails: what its replies promise holds, whatever kills it.

local history = require "lunode.sim.history"
local kit = require "spec.sim.kv_kit"

local SEEDS = { seeds = 50, full = 500 }

local OF_SERVER = { "kill", "kill", "crash", "crash", "disk_latency", "disk_stall", "disk_eio", "disk_enospc",
  "disk_torn", "clock_jump", "clock_drift" }
local OF_ALL = { "reset", "half_open", "latency", "slow_reader", "pause" }

local CLIENTS = { "ann", "bob", "cleo" }

local function histories_of(world)
  return { register = history.new { world = world }, counter = history.new { world = world },
    list = history.new { world = world } }
end

local function start_clients(world, histories, told, count)
  for i, name in ipairs(CLIENTS) do
    world:node(name, kit.client, { name, histories, i * count, i, told })
  end
end

local function check(histories)
  assert(histories.register:check(kit.register))
  assert(histories.counter:check "counter")
  assert(histories.list:check "list")
end

describe("a key-value node that syncs always", function()
  sim_it("is linearizable, and loses nothing that it acknowledged, whatever happens", SEEDS, function(world)
    local server, told = kit.server(world, "always"), {}
    local histories = histories_of(world)
    start_clients(world, histories, told, 50)
    world:swarm { duration = 20, quiet = 2, intensity = 5, kinds = OF_SERVER, nodes = { "server" } }
    world:swarm { duration = 20, quiet = 2, intensity = 2, kinds = OF_ALL }
    kit.run(world, 40)
    world:node("reader", kit.client, { "reader", histories, 30, 1, told })
    kit.run(world, 20)
    assert.equal("up", world:get("server").state)
    assert.is_true(told.reader.ok == 30, "the node does not answer in the end")
    for i, name in ipairs(CLIENTS) do
      assert.equal(50 * i, told[name].ok + told[name].refused + told[name].unknown)
    end
    assert.is_true(server.lives > 1 and server.node.replica.store:stats().durable > 100)
    check(histories)
  end)
end)
