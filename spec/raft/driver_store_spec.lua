-- Members whose state is an ordered store, in simulated worlds: what restarts find, how the log is cut, how those that
-- lag come to a copy of the store.

local kit = require "spec.raft.kit"

local FEW = { seeds = 2, full = 50 }

local function others(cluster, name)
  local list = {}
  for _, other in ipairs(cluster.names) do
    if other ~= name then
      list[#list + 1] = other
    end
  end
  return list
end

local function cluster_of(world, count, options)
  options = options or {}
  options.store = true
  return kit.cluster(world, count, options)
end

describe("a cluster whose state is a store", function()
  for _, count in ipairs { 1, 3 } do
    sim_it(("of %d applies what is proposed to it"):format(count), FEW, function(world)
      local cluster = cluster_of(world, count)
      local leader = cluster:leader()
      cluster:write("k", "v")
      assert.is_true(cluster:finish(cluster:propose(leader, "cas", "k", "v", "w")))
      cluster:agree(cluster.names)
      for _, name in ipairs(cluster.names) do
        assert.equal("w", cluster.state[name].get "k")
        assert.equal(cluster.state[name].node.applied, cluster.state[name].node.store:applied())
        assert.equal(1, cluster.state[name].attached)
      end
    end)
  end

  for _, how in ipairs { "crash", "kill" } do
    sim_it("holds all that was acknowledged after the " .. how .. " of all its members", FEW, function(world)
      local cluster = cluster_of(world, 3, { overlay = 2000, log_keep = 3000 })
      for round = 1, 4 do
        for i = 1, 30 do
          cluster:write("k" .. i, round .. ("v"):rep(100))
        end
        for _, name in ipairs(cluster.names) do
          world[how](world, name)
        end
        for _, name in ipairs(cluster.names) do
          world:restart(name)
        end
      end
      cluster:leader()
      cluster:agree(cluster.names)
      for i = 1, 30 do
        assert.equal("4" .. ("v"):rep(100), cluster.state.n2.get("k" .. i))
      end
      for _, name in ipairs(cluster.names) do
        assert.is_true(cluster.state[name].node.storage.log:first() > 1, "the log was never cut")
      end
    end)
  end

  sim_it("keeps of the log what the store has not on disk, and as much behind it as was asked for", FEW,
    function(world)
      local cluster = cluster_of(world, 1, { log_keep = 20000, overlay = 1000 })
      local leader = cluster:leader()
      local function bytes(from, to)
        local sum = 0
        for _, payload in cluster.state.n1.node.storage.log:entries(from, to) do
          sum = sum + #payload + 64
        end
        return sum
      end
      for i = 1, 500 do
        cluster:finish(cluster:propose(leader, "write", "k" .. i, ("v"):rep(100)))
      end
      world:run(1)
      local kept = bytes()
      assert.is_true(kept >= 20000 and kept < 30000, "the log holds " .. kept .. " bytes")
    end)

  sim_it("goes on where its store may hold less than it would flush", { seeds = 2 }, function(world)
    local cluster = cluster_of(world, 3, { overlay = 100000, limit = 5000 })
    for i = 1, 50 do
      cluster:write("k" .. i, ("v"):rep(1000))
    end
    cluster:agree(cluster.names)
  end)

  sim_it("tells a proposer's own entry from others", FEW, function(world)
    local seen = {}
    local function member(me)
      local driver = require "lunode.raft.driver"
      me.node = assert(driver.open {
        id = me.id, cluster = "spec", dir = "data", listen = "0.0.0.0:7001", on_role = function() end,
        members = { n1 = "n1:7001", n2 = "n2:7001" },
        machine = {
          attach = function() return true end,
          apply = function(entry)
            seen[me.id .. " " .. entry.payload] = entry.context or "none"
          end,
        },
      })
    end
    local members = { n1 = { id = "n1" }, n2 = { id = "n2" } }
    for _, name in ipairs { "n1", "n2" } do
      world:node(name, member, { members[name] })
    end
    local leader
    assert(world:run_until(function()
      for _, me in pairs(members) do -- one leads at most
        if me.node and me.node.core and me.node.core.role == "leader" then
          leader = me
        end
      end
      return leader
    end, 20))
    local done
    leader.node:propose("x", function(_, err)
      done = not err
    end, "mine")
    world:run(2)
    assert.is_true(done)
    assert.equal("mine", seen[leader.id .. " x"])
    assert.equal("none", seen[(leader.id == "n1" and "n2" or "n1") .. " x"])
  end)

  sim_it("says that there is no room while too much is under way, and when there is some again", { seeds = 1 },
    function(world)
      local cluster = cluster_of(world, 1)
      local leader = cluster:leader()
      local node = cluster.state[leader].node
      local told = 0
      node.options.on_room = function()
        told = told + 1
      end
      assert.is_true(node:room(1000))
      local last
      for _ = 1, 18 do
        last = cluster:propose(leader, "write", "k", ("v"):rep(1 << 20))
      end
      local ok, _, code = node:room(1000)
      assert.same({ nil, "EAGAIN" }, { ok, code })
      assert.equal(0, told)
      assert.is_true(cluster:finish(last))
      assert.equal(1, told)
      assert.is_true(node:room(1000))
    end)
end)

-- One that was away while the log of the others was cut, and their stores have grown.
local function lagging(world, options, megabytes)
  local cluster = cluster_of(world, 3, options)
  local away = others(cluster, cluster:leader())[1]
  world:crash(away)
  for _ = 1, 5 do
    assert(cluster:finish(cluster:propose(cluster:leader(), "pad", megabytes * 1000000)))
  end
  for i = 1, 150 do
    cluster:write("k" .. i, ("v"):rep(100))
  end
  assert.is_true(cluster.state[cluster:leader()].node.storage.log:first() > 20, "the log was not cut")
  return cluster, away
end

local SMALL = { log_keep = 2000, overlay = 4000 }

describe("a member that lags behind a store's log", function()
  sim_it("is sent a copy, and stands on it from there", FEW, function(world)
    local cluster, away = lagging(world, SMALL, 1)
    world:restart(away)
    cluster:agree(cluster.names)
    local node = cluster.state[away].node
    assert.equal("data-1", node.state.name)
    assert.equal(node.store, node.state.store)
    assert.equal(3, cluster.state[away].attached) -- at two starts, and to the copy
    for _, how in ipairs { "crash", "kill" } do
      world[how](world, away)
      world:restart(away)
      cluster:write("k", how)
      cluster:agree(cluster.names)
      assert.equal(how, cluster.state[away].get "k")
      assert.equal("data-1", cluster.state[away].node.state.name)
    end
  end)

  local slow = { seeds = 1, full = 10, world = { bandwidth = 800000 } }
  sim_it("goes on where a broken connection left it", slow, function(world)
    local cluster, away = lagging(world, SMALL, 4)
    world:restart(away)
    local name
    assert(world:run_until(function()
      local node = cluster:is_up(away)
      local receiving = node and node.state.copies.receiving
      name = receiving and receiving.meta.name
      return receiving and receiving.n > 5
    end))
    world:fault { kind = "reset", nodes = { cluster:leader(), away } }
    local least = math.huge
    assert(world:run_until(function()
      local node = cluster:is_up(away)
      least = math.min(least, node.state.copies.receiving and node.state.copies.receiving.n or math.huge)
      return node.storage.snapshot.name == name
    end))
    assert.is_true(least > 5, "it began anew")
    cluster:agree(cluster.names)
  end)

  sim_it("has the old state or the new one whenever the power fails, and nothing else", FEW, function(world)
    local cluster, away = lagging(world, SMALL, 1)
    local before
    for i = 1, 12 do
      world:restart(away)
      assert(world:run_until(function()
        return cluster.state[away].node
      end, 5))
      local node = cluster.state[away].node
      before = before or node.applied
      assert.is_true(node.applied == before or node.applied > 150, "it stands at " .. node.applied)
      world:run(world:stream("spec"):between(0, 0.1 * i))
      world:crash(away)
    end
    world:restart(away)
    cluster:agree(cluster.names)
  end)
end)

describe("a full disk", function()
  for _, store in ipairs { true, false } do
    local what = store and ", where the state is a store" or ""
    local options = { store = store, overlay = 2000, log_keep = 2000, snapshot_bytes = 4000 }

    local function full(world, names)
      return world:fault { kind = "disk_enospc", nodes = names, duration = 20 }
    end

    local function unharmed(cluster)
      for _, name in ipairs(cluster.names) do
        assert.is_nil(cluster.state[name].failure)
        assert.truthy(cluster:is_up(name))
      end
    end

    sim_it("of a follower does no harm, and it catches up when there is room" .. what, FEW, function(world)
      local cluster = kit.cluster(world, 3, options)
      local follower = others(cluster, cluster:leader())[1]
      cluster:write("k", "v")
      cluster:agree(cluster.names)
      local last = cluster.state[follower].node.core.log.last
      full(world, { follower })
      for i = 1, 100 do
        cluster:write("k" .. i, ("v"):rep(100))
      end
      unharmed(cluster)
      assert.is_true(cluster.state[follower].node.storage.log:last() <= last + 1)
      world:run(20)
      cluster:agree(cluster.names)
      unharmed(cluster)
    end)

    sim_it("of the leader makes another one lead" .. what, FEW, function(world)
      local cluster = kit.cluster(world, 3, options)
      local old = cluster:leader()
      cluster:write("k", "v")
      full(world, { old })
      local _, err = cluster:finish(cluster:propose(old, "write", "k", "w"))
      assert.same({ "ENOSPC", true }, { err.code, err.definite })
      assert(world:run_until(function()
        local leader = cluster:latest_leader()
        return leader and leader ~= old
      end, 5))
      cluster:write("k", "x")
      world:run(20)
      cluster:agree(cluster.names)
      unharmed(cluster)
    end)

    sim_it("of all makes them refuse what is proposed, and elect nonetheless" .. what, FEW, function(world)
      local cluster = kit.cluster(world, 3, options)
      local old = cluster:leader()
      cluster:write("k", "v")
      full(world, cluster.names)
      world:kill(old)
      world:run(5)
      local leader = cluster:latest_leader()
      assert.truthy(leader)
      local _, err = cluster:finish(cluster:propose(leader, "write", "k", "w"))
      assert.same({ "ENOSPC", true }, { err.code, err.definite })
      local waiting = 0
      for _, line in ipairs(cluster.state[leader].log) do
        waiting = waiting + (line:find("nothing can be written", 1, true) and 1 or 0)
      end
      assert.equal(1, waiting) -- for its first entry
      world:run(16)
      world:restart(old)
      cluster:write("k", "x")
      cluster:agree(cluster.names)
      unharmed(cluster)
    end)
  end
end)

describe("a clock that is set back", function()
  sim_it("lets the time of entries stand still, and is told once", FEW, function(world)
    local cluster = cluster_of(world, 1)
    cluster:write("k", "v")
    local node = cluster.state.n1.node
    local before = node.time
    world:fault { kind = "clock_jump", nodes = { "n1" }, seconds = -3600 }
    for i = 1, 10 do
      cluster:write("k", "v" .. i)
    end
    assert.is_true(node.time >= before and node.time < before + 1000)
    local told = 0
    for _, line in ipairs(cluster.state.n1.log) do
      told = told + (line:find("the clock is 3[56]%d%d s behind") and 1 or 0)
    end
    assert.equal(1, told)
  end)
end)

describe("a follower that is slow", function()
  for _, kind in ipairs { "slow_reader", "pause", "disk_stall" } do
    sim_it("does not slow the others, by " .. kind .. ", and catches up", { seeds = 2 }, function(world)
      local cluster = cluster_of(world, 3, { log_keep = 20000, overlay = 20000 })
      local follower = others(cluster, cluster:leader())[1]
      world:fault {
        kind = kind, nodes = { follower }, duration = 10, bandwidth = kind == "slow_reader" and 10000 or nil,
      }
      local slowest, from = 0, world.now
      for i = 1, 100 do
        local at = world.now
        cluster:finish(cluster:propose(cluster:leader(), "write", "k" .. i % 20, ("v"):rep(5000)))
        slowest = math.max(slowest, world.now - at)
      end
      assert.is_true(world.now < from + 10, "it was over before it began")
      assert.is_true(slowest < 0.1, "a write took " .. slowest .. " s")
      world:run(10)
      cluster:agree(cluster.names)
    end)
  end
end)
