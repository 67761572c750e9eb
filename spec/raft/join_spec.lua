-- Servers that ask to be added to a cluster, while it serves, and while things fail.

local kit = require "spec.raft.kit"

local SECRET = "correct horse battery staple"

local function wait_for_voters(world, cluster, names)
  local voters = table.concat(names, " ")
  assert(world:run_until(function()
    for _, name in ipairs(names) do
      local node = cluster:is_up(name)
      if not node or table.concat(node.core.config.voters, " ") ~= voters then
        return false
      end
    end
    return true
  end, 60), "they are not all voters")
end

local function logged(state, pattern)
  local count = 0
  for _, line in ipairs(state.log) do
    count = count + (line:find(pattern, 1, true) and 1 or 0)
  end
  return count
end

local function follower(cluster)
  local leader = cluster:leader()
  for _, name in ipairs(cluster.names) do
    if name ~= leader then
      return name
    end
  end
end

describe("a server that asks to be added", function()
  sim_it("is a voter in the end, whomever it asks, and has what the others have", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3, { secret = SECRET })
    cluster:write("k", "v")
    for _, who in ipairs { cluster:leader(), follower(cluster) } do
      local name = "n" .. #cluster.names + 1
      cluster:member(name, nil, { secret = SECRET, join = who .. ":7001" })
      cluster.names[#cluster.names + 1] = name
      wait_for_voters(world, cluster, cluster.names)
    end
    cluster:write("k", "w")
    cluster:agree(cluster.names)
    assert.equal("w", cluster.state.n5.get "k")
    assert.equal(cluster.state.n1.node.storage.group, cluster.state.n5.node.storage.group)
  end)

  sim_it("makes a cluster of one a cluster of three", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 1)
    cluster:write("k", "v")
    for _, name in ipairs { "n2", "n3" } do
      cluster:member(name, nil, { join = "n1:7001" })
    end
    cluster.names = { "n1", "n2", "n3" }
    wait_for_voters(world, cluster, cluster.names)
    world:kill "n1"
    cluster:write("k", "w")
  end)

  sim_it("gets there although its power fails again and again, as does the leader's", { seeds = 10 }, function(world)
    local cluster = kit.cluster(world, 3)
    cluster:write("k", "v")
    cluster:member("n4", nil, { join = "n2:7001" })
    for i = 1, 6 do
      world:run(0.4)
      world:crash(i % 2 == 0 and cluster:leader() or "n4")
      world:run(0.3)
      for _, name in ipairs { "n1", "n2", "n3", "n4" } do
        if world:get(name).state ~= "up" then
          world:restart(name)
        end
      end
    end
    cluster.names[4] = "n4"
    wait_for_voters(world, cluster, cluster.names)
    cluster:write("k", "w")
    cluster:agree(cluster.names)
  end)

  sim_it("stays what others make of it later: it does not ask again", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    cluster:member("n4", nil, { join = "n1:7001" })
    wait_for_voters(world, cluster, { "n1", "n2", "n3", "n4" })
    world:run(2)
    local leader, outcome = cluster:leader(), nil
    cluster.state[leader].node:change({ kind = "demote", id = "n4" }, function(ok, err)
      outcome = ok or err
    end)
    assert(world:run_until(function()
      return outcome
    end, 10))
    assert.is_true(outcome)
    world:kill "n4"
    world:restart "n4"
    world:run(10)
    assert.is_false(cluster.state[leader].node.core.config.members.n4.voter)
  end)

  sim_it("is told, in one line, that its id is taken", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    cluster:leader()
    local other = cluster:member("stranger", nil, { id = "n2", join = "n1:7001" })
    world:run(20)
    assert.equal(1, logged(other, "n2 comes with another disk than before"), table.concat(other.log, "\n"))
    assert.is_true(logged(cluster.state.n1, "n2 comes with another disk than before") >= 1)
    cluster:write("k", "v")
  end)

  sim_it("is refused without the secret, in one line", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3, { secret = SECRET })
    cluster:leader()
    local other = cluster:member("n4", nil, { join = "n1:7001", secret = "another secret, not that" })
    world:run(20)
    assert.equal(1, logged(other, "does not know the secret of this cluster"), table.concat(other.log, "\n"))
    assert.equal(1, logged(cluster.state.n1, "does not know the secret of this cluster"))
    assert.same({ "n1", "n2", "n3" }, cluster.state.n1.node.core.config.ids)
  end)

  sim_it("waits for a cluster that is not there yet", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 1)
    world:kill "n1"
    cluster:member("n2", nil, { join = "n1:7001" })
    world:run(20)
    world:restart "n1"
    wait_for_voters(world, cluster, { "n1", "n2" })
  end)
end)
