-- The driver in simulated worlds: real members over log, store and connections, with crashes, partitions and snapshots.

local kit = require "spec.raft.kit"

local function others(cluster, name)
  local list = {}
  for _, other in ipairs(cluster.names) do
    if other ~= name then
      list[#list + 1] = other
    end
  end
  return list
end

local function logged(state, pattern)
  local count = 0
  for _, line in ipairs(state.log) do
    count = count + (line:find(pattern) and 1 or 0)
  end
  return count
end

describe("a cluster", function()
  for _, count in ipairs { 1, 3, 5 } do
    local name = ("of %d elects a leader, and replicates what is proposed to it"):format(count)
    sim_it(name, { seeds = 5 }, function(world)
      local cluster = kit.cluster(world, count)
      local leader = cluster:leader(10)
      local outcomes = {}
      for i = 1, 50 do
        outcomes[i] = cluster:propose(leader, "write", "k", "v" .. i)
      end
      assert.is_true(cluster:finish(cluster:propose(leader, "cas", "k", "v50", "last")))
      for i = 1, 50 do
        assert.is_true(outcomes[i].result)
      end
      cluster:agree(cluster.names)
      assert.equal("last", cluster.state["n" .. count].get "k")
    end)
  end

  sim_it("writes what was proposed in one turn with one sync", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    world:run(2)
    local log = cluster.state[leader].node.storage.log
    local before, last = log:stats().syncs, nil
    for i = 1, 100 do
      last = cluster:propose(leader, "write", "k" .. i, "v")
    end
    cluster:finish(last)
    assert.equal(1, log:stats().syncs - before)
  end)

  sim_it("refuses what is proposed to a follower, definitely, and says who leads", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    local _, err = cluster:finish(cluster:propose(others(cluster, leader)[1], "write", "k", "v"))
    assert.same({ "ENOTLEADER", true, leader }, { err.code, err.definite, err.leader })
  end)

  sim_it("says that a proposal may have been done, where its leader leads no more", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    world:partition { isolate = leader }
    local outcome = cluster:propose(leader, "write", "k", "v")
    local _, err = cluster:finish(outcome, 10)
    assert.same({ "EUNKNOWN", false }, { err.code, err.definite })
    world:heal()
    cluster:leader()
    cluster:agree(cluster.names)
  end)

  sim_it("answers reads on each member, with all that was written before", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    for i = 1, 5 do
      cluster:write("k", "v" .. i)
      for _, name in ipairs(cluster.names) do
        local got, err
        cluster.state[name].node:read(function(ok, failure)
          got, err = ok and cluster.state[name].get "k", failure
        end)
        world:run_until(function()
          return got or err
        end)
        assert.equal("v" .. i, got, tostring(err))
      end
    end
  end)

  sim_it("does not answer reads where nobody can confirm them", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    world:partition { isolate = leader }
    local err
    cluster.state[leader].node:read(function(_, failure)
      err = failure
    end)
    assert(world:run_until(function()
      return err
    end, 10))
    assert.is_true(err.definite)
  end)
end)

describe("what is promised", function()
  local function stall(world, names, seconds)
    world:fault { kind = "disk_stall", nodes = names, duration = seconds or 1000 }
  end

  sim_it("is no acknowledgement before the disks of a majority have it", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    local rest = others(cluster, leader)
    stall(world, { leader, rest[1] })
    local outcome = cluster:propose(leader, "write", "k", "v")
    world:run(5)
    assert.is_false(outcome.done)
    assert.equal(leader, cluster:leader(1)) -- it waits for its disk only
    stall(world, { rest[2] })
    cluster:propose(leader, "write", "k", "w")
    world:run(1)
    for _, name in ipairs(cluster.names) do
      assert.is_nil(cluster.state[name].get "k")
    end
  end)

  sim_it("is an acknowledgement as soon as two disks of three have it, be they the followers'", { seeds = 5 },
    function(world)
      local cluster = kit.cluster(world, 3)
      local leader = cluster:leader()
      stall(world, { leader })
      local outcome = cluster:propose(leader, "write", "k", "v")
      world:run(0.5)
      for _, name in ipairs(others(cluster, leader)) do
        assert.equal("v", cluster.state[name].get "k")
      end
      assert.is_false(outcome.done) -- it applies nothing that it could lose
    end)

  sim_it("is a vote that a power cut does not take back", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    local before, votes = {}, 0
    for _, name in ipairs(cluster.names) do
      local raft = cluster.state[name].node.core
      before[name] = { raft.term, raft.vote }
      votes = votes + (raft.vote == leader and 1 or 0)
      world:crash(name)
    end
    assert.is_true(votes >= 2)
    for _, name in ipairs(cluster.names) do
      world:restart(name)
      assert(world:run_until(function()
        return cluster:is_up(name)
      end, 5))
      local raft = cluster:is_up(name).core
      assert.same(before[name], { raft.term, raft.vote })
      world:crash(name)
    end
  end)

  sim_it("is no vote before the disk has it", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local old = cluster:leader()
    local rest = others(cluster, old)
    stall(world, rest, 10)
    world:crash(old)
    world:run(9)
    for _, name in ipairs(rest) do
      assert.is_not.equal("leader", cluster.state[name].node.core.role)
    end
    cluster:leader(10)
  end)
end)

describe("a cluster that loses members", function()
  for _, how in ipairs { "crash", "kill" } do
    sim_it("goes on after its leader's " .. how .. ", keeps what it acknowledged, and takes it back", { seeds = 5 },
      function(world)
        local cluster = kit.cluster(world, 3)
        for i = 1, 5 do
          local leader = cluster:leader()
          cluster:write("k" .. i, "v")
          world[how](world, leader)
          cluster:write("l" .. i, "v")
          world:restart(leader)
        end
        cluster:agree(cluster.names)
        for i = 1, 5 do
          assert.same({ "v", "v" }, { cluster.state.n1.get("k" .. i), cluster.state.n2.get("l" .. i) })
        end
      end)
  end

  sim_it("goes on without two of five", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 5)
    local leader = cluster:leader()
    local rest = others(cluster, leader)
    world:crash(leader)
    world:kill(rest[1])
    cluster:write("k", "v")
    world:restart(leader)
    world:restart(rest[1])
    cluster:agree(cluster.names)
  end)

  sim_it("stands still without a quorum, and goes on when there is one again", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    local rest = others(cluster, leader)
    world:crash(rest[1])
    world:crash(rest[2])
    local outcome = cluster:propose(leader, "write", "k", "v")
    world:run(10)
    assert.is_true(outcome.done and not outcome.err.definite)
    world:restart(rest[1])
    cluster:write("k", "w")
  end)

  sim_it("holds all that was acknowledged after a power cut of all of them", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    for i = 1, 20 do
      cluster:write("k" .. i, "v")
    end
    for _, name in ipairs(cluster.names) do
      world:crash(name)
    end
    for _, name in ipairs(cluster.names) do
      world:restart(name)
    end
    cluster:leader()
    cluster:agree(cluster.names)
    for i = 1, 20 do
      assert.equal("v", cluster.state.n3.get("k" .. i))
    end
  end)

  sim_it("fails over when its leader is cut off, which follows when it is back", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local old = cluster:leader()
    world:partition { isolate = old }
    local new
    assert(world:run_until(function()
      new = cluster.state[others(cluster, old)[1]].node.core.leader
      return new and new ~= old and cluster.state[new].node.core.role == "leader"
    end, 20))
    assert.is_true(cluster:finish(cluster:propose(new, "write", "k", "new")))
    world:heal()
    cluster:agree(cluster.names)
    assert.equal("new", cluster.state[old].get "k")
  end)
end)

describe("a member that was away", function()
  sim_it("catches up from the log", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local away = others(cluster, cluster:leader())[1]
    world:crash(away)
    for i = 1, 100 do
      cluster:write("k" .. i, ("v"):rep(100))
    end
    world:restart(away)
    cluster:agree(cluster.names)
    assert.is_nil(cluster.state[away].restored)
  end)

  sim_it("catches up from a snapshot, where the log does not reach back so far", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3, { snapshot_bytes = 4000 })
    local leader = cluster:leader()
    local away = others(cluster, leader)[1]
    world:crash(away)
    cluster:finish(cluster:propose(cluster:leader(), "pad", 1000000))
    for i = 1, 150 do
      cluster:write("k" .. i, ("v"):rep(100))
    end
    assert.is_true(cluster.state[cluster:leader()].node.storage.log:first() > 1)
    world:restart(away)
    cluster:agree(cluster.names)
    assert.equal(1, cluster.state[away].restored)
    -- And it stands on its own disk from there.
    world:crash(away)
    world:restart(away)
    cluster:write("k", "after")
    cluster:agree(cluster.names)
    assert.equal("after", cluster.state[away].get "k")
  end)

  sim_it("goes on with a snapshot's transfer where a broken connection left it", { seeds = 3,
    world = { bandwidth = 400000 } }, function(world)
    local cluster = kit.cluster(world, 3, { snapshot_bytes = 4000 })
    local leader = cluster:leader()
    local away = others(cluster, leader)[1]
    world:crash(away)
    cluster:finish(cluster:propose(cluster:leader(), "pad", 3000000))
    for i = 1, 100 do
      cluster:write("k" .. i, ("v"):rep(100))
    end
    world:restart(away)
    local name
    assert(world:run_until(function()
      local node = cluster:is_up(away)
      name = node and node.storage.receiving and node.storage.receiving.name
      return name and node.state.received > 5
    end))
    world:fault { kind = "reset", nodes = { cluster:leader(), away } }
    local least
    assert(world:run_until(function()
      local node = cluster:is_up(away)
      least = math.min(least or 1000, node.state.received)
      return node.storage.snapshot.name == name
    end))
    assert.is_true(least > 5, "it began anew")
    cluster:agree(cluster.names)
  end)

  sim_it("takes a snapshot although it loses power again and again", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3, { snapshot_bytes = 4000 })
    local leader = cluster:leader()
    local away = others(cluster, leader)[1]
    world:crash(away)
    cluster:finish(cluster:propose(cluster:leader(), "pad", 2000000))
    for i = 1, 100 do
      cluster:write("k" .. i, ("v"):rep(100))
    end
    for i = 1, 8 do
      world:restart(away)
      world:run(i * 0.15)
      world:crash(away)
    end
    world:restart(away)
    cluster:agree(cluster.names)
  end)
end)

describe("a snapshot", function()
  sim_it("bounds the log, and is what a restart begins with", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3, { snapshot_bytes = 4000 })
    for i = 1, 200 do
      cluster:write("k" .. i % 10, ("v"):rep(100))
    end
    for _, name in ipairs(cluster.names) do
      local log = cluster.state[name].node.storage.log
      assert.is_true(log:last() - log:first() < 100, "the log holds " .. log:last() - log:first())
      world:crash(name)
      world:restart(name)
    end
    cluster:write("k", "after")
    cluster:agree(cluster.names)
    for _, name in ipairs(cluster.names) do
      assert.equal(1, cluster.state[name].restored)
    end
  end)
end)

describe("membership", function()
  local function ask(cluster, method, ...)
    local outcome = { done = false }
    local node = cluster.state[cluster:leader()].node
    local words = { ... }
    words[#words + 1] = function(result, err)
      outcome.done, outcome.result, outcome.err = true, result, err
    end
    node[method](node, table.unpack(words))
    local ok, err = cluster:finish(outcome)
    assert(ok or err.code == "EUNKNOWN", tostring(err)) -- to a leader that leaves before its own disk has the change
  end

  sim_it("shrinks by its leader, who says so although the others are faster", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    world:fault { kind = "disk_stall", nodes = { leader }, duration = 0.5 }
    ask(cluster, "change", { kind = "remove", id = leader })
    assert.is_not.equal(leader, cluster:leader())
  end)

  sim_it("grows by a server that catches up, and shrinks by its leader", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3, { snapshot_bytes = 4000 })
    for i = 1, 100 do
      cluster:write("k" .. i, ("v"):rep(100))
    end
    cluster:member("n4", nil)
    ask(cluster, "change", { kind = "add", id = "n4", address = "n4:7001" })
    assert(world:run_until(function()
      local node = cluster:is_up "n4"
      return node and node.applied > 0
    end))
    cluster:write("k", "v")
    cluster:agree { "n1", "n2", "n3", "n4" }
    ask(cluster, "change", { kind = "promote", id = "n4" })
    local old = cluster:leader()
    ask(cluster, "change", { kind = "remove", id = old })
    cluster.names = others({ names = { "n1", "n2", "n3", "n4" } }, old)
    cluster:write("k", "w")
    cluster:agree(cluster.names)
    -- It is told so when it comes back.
    world:kill(old)
    world:restart(old)
    assert(world:run_until(function()
      return logged(cluster.state[old], "was removed from the cluster") > 0
    end))
  end)

  sim_it("hands over its leadership without a pause that clients could see", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local old = cluster:leader()
    local new = others(cluster, old)[2]
    ask(cluster, "transfer", new)
    assert.equal(new, cluster:leader(1))
    cluster:write("k", "v")
  end)
end)

describe("a member that is not who it says", function()
  sim_it("is refused by each peer with one line where it has lost its disk", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    local wiped = others(cluster, cluster:leader())[1]
    cluster:write("k", "v")
    world:kill(wiped)
    cluster:wipe(wiped)
    world:restart(wiped)
    world:run(30)
    for _, name in ipairs(others(cluster, wiped)) do
      assert.equal(1, logged(cluster.state[name], "it has lost its data"), table.concat(cluster.state[name].log, "\n"))
    end
    assert.equal(2, logged(cluster.state[wiped], "refuses this member")) -- a line a peer
    assert.is_nil(cluster.state[wiped].node.core) -- it neither votes nor acknowledges
    cluster.names = others(cluster, wiped)
    cluster:write("k", "w")
  end)

  sim_it("is refused where it belongs to another cluster", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    cluster:leader()
    local stranger = cluster:member("n4", { n4 = "n4:7001", n1 = "n1:7001" }, { cluster = "other" })
    world:run(30)
    assert.equal(1, logged(cluster.state.n1, "it belongs to the cluster other, and this is spec"))
    assert.equal(1, logged(stranger, "it belongs to the cluster other"))
    cluster:write("k", "v")
  end)
end)
