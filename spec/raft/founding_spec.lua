-- How a cluster is founded, and why those who have lost their disks cannot found it once more.

local kit = require "spec.raft.kit"

local FEW = { seeds = 2, full = 50 }

local function logged(state, text)
  local count = 0
  for _, line in ipairs(state.log) do
    count = count + (line:find(text, 1, true) and 1 or 0)
  end
  return count
end

local function others(cluster, name)
  local list = {}
  for _, other in ipairs(cluster.names) do
    if other ~= name then
      list[#list + 1] = other
    end
  end
  return list
end

-- Until it is done: a change before it may be under way.
local function change(cluster, what)
  local outcome, waiting
  assert(cluster.world:run_until(function()
    if not outcome and not waiting then
      waiting = true
      cluster.state[cluster:leader()].node:change(what, function(ok)
        outcome, waiting = ok, false
      end)
    end
    return outcome
  end, 10))
end

describe("a cluster", function()
  sim_it("is founded when all its founders have been up at once, and not before", FEW, function(world)
    local cluster = kit.cluster(world, 3)
    world:kill "n3"
    world:run(30)
    for _, name in ipairs { "n1", "n2" } do
      assert.is_nil(cluster.state[name].node.core)
      local status = cluster.state[name].node:status()
      assert.same({ "founding", { "n1", "n2", "n3" } }, { status.role, status.waiting_for })
      assert.equal(1, logged(cluster.state[name], "waiting for"), table.concat(cluster.state[name].log, "\n"))
    end
    local outcome = cluster:propose("n1", "write", "k", "v")
    local _, err = cluster:finish(outcome)
    assert.same({ "ENOTLEADER", true }, { err.code, err.definite })
    world:restart "n3"
    cluster:leader(10)
    cluster:write("k", "v")
    cluster:agree(cluster.names)
    for _, name in ipairs(cluster.names) do
      local config = cluster.state[name].node.core.config
      for _, id in ipairs(cluster.names) do
        assert.equal(cluster.state[id].node.storage.disk, config.members[id].disk)
      end
    end
    -- From then on a majority is enough.
    for _, name in ipairs(cluster.names) do
      world:crash(name)
    end
    world:restart "n1"
    world:restart "n2"
    cluster:write("k", "w")
  end)

  sim_it("is founded although its founders lose power meanwhile", { seeds = 8, full = 500 }, function(world)
    local cluster = kit.cluster(world, 3)
    local rng = world:stream "cuts"
    for _ = 1, 6 do
      world:run(rng:between(0, 0.05))
      local name = cluster.names[rng:integer(1, 3)]
      world:crash(name)
      world:run(rng:between(0, 0.05))
      world:restart(name)
    end
    cluster:leader(20)
    cluster:write("k", "v")
    cluster:agree(cluster.names)
  end)
end)

describe("members that come back without their disks", function()
  -- Two of three are wiped, and started with the same list of founders as in the beginning.
  local function wipe_two(world, options)
    local cluster = kit.cluster(world, 3, options)
    cluster:write("k", "v")
    cluster:agree(cluster.names)
    local rest = others(cluster, cluster:leader())
    local kept = table.remove(rest, 1)
    rest[2] = cluster:leader()
    for _, name in ipairs(cluster.names) do
      world:kill(name)
    end
    for _, name in ipairs(rest) do
      cluster:wipe(name)
      world:restart(name)
    end
    return cluster, kept, rest
  end

  for _, store in ipairs { false, true } do
    local what = store and ", where the state is a store" or ""
    sim_it("do not found the cluster once more, be they a majority" .. what, FEW, function(world)
      local cluster, kept, wiped = wipe_two(world, { store = store })
      world:run(30)
      for _, name in ipairs(wiped) do
        assert.is_nil(cluster.state[name].node.core)
      end
      world:restart(kept)
      world:run(30)
      for _, name in ipairs(wiped) do
        assert.is_nil(cluster.state[name].node.core)
        assert.equal(1, logged(cluster.state[kept], name .. " is refused: " .. name .. " comes with another disk"))
        assert.equal(1, logged(cluster.state[name], kept .. ", at " .. kept .. ":7001, refuses this member"))
      end
      assert.is_true(cluster.state[kept].node.core.log.last >= 2) -- all that was acknowledged is still there
      assert.is_not.equal("leader", cluster.state[kept].node.core.role)
    end)
  end

  sim_it("do found one where nobody has anything left to lose", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    cluster:write("k", "v")
    for _, name in ipairs(cluster.names) do
      world:kill(name)
      cluster:wipe(name)
    end
    for _, name in ipairs(cluster.names) do
      world:restart(name)
    end
    cluster.digests = {}
    cluster:leader(10)
    assert.is_nil(cluster.state.n1.get "k")
  end)

  sim_it("are known by those who never met them, as the configuration tells the disk of each voter", FEW,
    function(world)
      local cluster = kit.cluster(world, 3)
      cluster:write("k", "v")
      cluster:member("n4", nil, { join = "n1:7001" })
      assert(world:run_until(function()
        local node = cluster:is_up "n4"
        return node and node.core.config:is_voter "n4"
      end, 20))
      world:kill "n4"
      cluster:wipe "n4"
      cluster:member("n5", nil)
      change(cluster, { kind = "add", id = "n5", address = "n5:7001" })
      assert(world:run_until(function()
        local node = cluster:is_up "n5"
        return node and node.core.config.members.n4
      end, 20))
      assert.is_nil(cluster.state.n5.node.storage:disk_of "n4")
      world:restart "n4"
      assert(world:run_until(function()
        return logged(cluster.state.n5, "n4 is refused: n4 comes with another disk") == 1
      end, 20))
      world:run(5)
      assert.equal(0, cluster.state.n4.node.core.log.last)
      change(cluster, { kind = "remove", id = "n4" })
      cluster:write("k", "w")
    end)
end)
