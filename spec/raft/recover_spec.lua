-- A member that lost the others for good is made a cluster of its own; in simulated worlds.

local kit = require "spec.raft.kit"

-- Runs the recovery on a stopped member's disk, and starts it again.
local function recover(world, cluster, name)
  local state = cluster.state[name]
  state.recovers, state.told = true, nil
  world:restart(name)
  assert(world:run_until(function()
    return state.told and (state.told.group or state.told.err)
  end, 20))
  world:kill(name)
  state.recovers = false
  return state.told
end

local function others(names, name)
  local list = {}
  for _, other in ipairs(names) do
    if other ~= name then
      list[#list + 1] = other
    end
  end
  return list
end

local function logged(state, pattern)
  local count = 0
  for _, line in ipairs(state.log) do
    count = count + (line:find(pattern, 1, true) and 1 or 0)
  end
  return count
end

for _, kind in ipairs { { "a machine of pieces", {} }, { "a store", { store = true } } } do
  local what, options = table.unpack(kind)
  describe("recovering one of three, with " .. what, function()
    sim_it("makes it a cluster of its own, with all that it had; the others are refused", { seeds = 5 }, function(world)
      local cluster = kit.cluster(world, 3, options)
      for i = 1, 20 do
        cluster:write("k" .. i, "v" .. i)
      end
      cluster:agree(cluster.names)
      local old = cluster.state.n1.node.storage.group
      for _, name in ipairs(cluster.names) do
        world:kill(name)
      end
      local told = recover(world, cluster, "n1")
      assert.is_nil(told.err)
      assert.is_true(told.last >= 20 and told.committed <= told.last)
      assert.not_equal(old, told.group)
      for _, name in ipairs(cluster.names) do
        world:restart(name)
      end
      local all = cluster.names
      cluster.names = { "n1" }
      assert.equal("n1", cluster:leader())
      cluster:write("new", "v")
      world:run(20)
      for i = 1, 20 do
        assert.equal("v" .. i, cluster.state.n1.get("k" .. i))
      end
      local config, own = cluster.state.n1.node.core.config, cluster.state.n1.node.storage.disk
      assert.same({ { "n1" }, own }, { config.ids, config.members.n1.disk })
      for _, name in ipairs(others(all, "n1")) do
        assert.is_true(logged(cluster.state[name], "it is of another cluster") > 0)
        assert.is_nil(cluster.state[name].get "new")
      end
    end)

    sim_it("is safe at every power cut in it: it is as it was, or it is done", { seeds = 20 }, function(world)
      local cluster = kit.cluster(world, 3, options)
      cluster:write("k", "v")
      cluster:agree(cluster.names)
      for _, name in ipairs(cluster.names) do
        world:kill(name)
      end
      local state = cluster.state.n1
      state.recovers = true
      world:restart "n1"
      world:run(world.seed % 20 * 0.0005)
      world:crash "n1"
      local told = recover(world, cluster, "n1")
      assert.is_nil(told.err)
      world:restart "n1"
      cluster.names = { "n1" }
      cluster:write("new", "v")
      assert.equal("v", state.get "k")
    end)

    sim_it("lets others join it, under new ids", { seeds = 3 }, function(world)
      local cluster = kit.cluster(world, 3, options)
      cluster:write("k", "v")
      cluster:agree(cluster.names)
      for _, name in ipairs(cluster.names) do
        world:kill(name)
      end
      recover(world, cluster, "n2")
      world:restart "n2"
      local joining = { store = options.store, join = "n2:7001" }
      cluster:member("n4", nil, joining)
      cluster:member("n5", nil, joining)
      cluster.names = { "n2", "n4", "n5" }
      assert(world:run_until(function()
        return cluster:is_up "n2" and #cluster:is_up("n2").core.config.voters == 3
      end, 60))
      world:kill "n2"
      cluster:write("k", "w")
      assert.equal("w", cluster.state[cluster:leader()].get "k")
    end)
  end)
end

describe("recovering", function()
  sim_it("keeps what was in the log and not known to be committed", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    for _, name in ipairs(others(cluster.names, leader)) do
      world:kill(name)
    end
    cluster:propose(leader, "write", "k", "v")
    world:run(0.3)
    world:kill(leader)
    assert.is_nil(recover(world, cluster, leader).err)
    world:restart(leader)
    cluster.names = { leader }
    cluster:leader()
    assert.equal("v", cluster.state[leader].get "k")
  end)

  sim_it("is refused for what is no member's directory, or was never added", { seeds = 2 }, function(world)
    local cluster = kit.cluster(world, 1)
    cluster:leader()
    world:kill "n1"
    world:get("n1").disk.journals, world:get("n1").disk.names = {}, {}
    assert.is_truthy(recover(world, cluster, "n1").err)
    cluster:member("n2", nil, {})
    world:run(2)
    world:kill "n2"
    assert.truthy(recover(world, cluster, "n2").obstacle:find "never added to a cluster")
  end)
end)
