-- examples/replicated_counter.lua: in the simulator, and as real processes whose leader is killed.

local history = require "lunode.sim.history"
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local rpc = require "lunode.rpc"
local task = require "lunode.task"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local SCRIPT = "examples/replicated_counter.lua"
local FULL = os.getenv "LUNODE_FULL" == "1"

describe("examples/replicated_counter.lua", function()
  sim_it("counts on, right, while its nodes crash one after the other", { seeds = 5 }, function(world)
    local members, names = {}, { "n1", "n2", "n3" }
    for i, name in ipairs(names) do
      members[i] = ("%s=127.1.0.%d:7001"):format(name, i)
    end
    for i, name in ipairs(names) do
      world:node(name, SCRIPT, { name, "data", ("127.1.0.%d:7000"):format(i), table.unpack(members) })
    end
    local h, adds = history.new { world = world }, 0
    world:node("client", function()
      local rpc_of_node = require "lunode.rpc"
      local task_of_node = require "lunode.task"
      task_of_node.spawn(function()
        local peers, at = {}, 1
        for i, name in ipairs(names) do
          peers[i] = rpc_of_node.peer(name .. ":7000")
        end
        for i = 1, 60 do
          local name = i % 3 == 0 and "read" or "add"
          local _, err = h:attempt("client", name, nil, name == "add" and { 1 } or {}, function()
            return peers[at]:call(name == "add" and "add" or "get", name == "add" and { "k", 1 } or { "k" },
              { timeout = 1 })
          end)
          adds = adds + (name == "add" and not err and 1 or 0)
          at = err and at % #names + 1 or at
          task_of_node.sleep(0.3)
        end
        for _, peer in ipairs(peers) do
          peer:close()
        end
      end)
    end)
    for i = 1, 6 do
      world:run(4)
      local victim = names[i % 3 + 1]
      world:crash(victim)
      world:run(1)
      world:restart(victim)
    end
    world:run(40)
    assert.is_true(adds > 10, "only " .. adds .. " additions were acknowledged")
    assert(h:check "counter")
  end)

  it("says how it is used", function()
    local code, _, err = lunode.run { "run", SCRIPT, "n1" }
    assert.equal(2, code)
    assert.truthy(err:find("usage:", 1, true))
  end)

  it("refuses an addition that is none, which harms nobody", function()
    local port, address = ports.free(), "127.0.0.1:" .. ports.free()
    process.start { lunode.bin, "run", SCRIPT, "n1", tmp.dir() .. "/n1", address, "n1=127.0.0.1:" .. port }
    local peer = rpc.peer(address)
    wait.till(function()
      return (peer:call("add", { "k", 1 }, { timeout = 1 }))
    end, 20, "a leader")
    for _, words in ipairs { {}, { 7, 7 }, { "k", "x" }, { "k", 1.5 }, { { "k" }, 1 } } do
      local _, err = peer:call("add", words)
      assert.truthy(err.message:find("add needs a name and an integer", 1, true))
    end
    assert.equal(2, peer:call("add", { "k", 1 }))
    peer:close()
  end)
end)

-- ---------------------------------------------------------------- real processes

local function start_cluster(count)
  local cluster = { dir = tmp.dir(), members = {}, nodes = {} }
  for i = 1, count do
    cluster.members[i] = ("n%d=127.0.0.1:%d"):format(i, ports.free())
    cluster.nodes[i] = { id = "n" .. i, address = "127.0.0.1:" .. ports.free() }
  end
  function cluster.start(i)
    local node = cluster.nodes[i]
    node.process = process.start {
      lunode.bin, "run", SCRIPT, node.id, cluster.dir .. "/" .. node.id, node.address,
      table.unpack(cluster.members),
    }
  end
  for i = 1, count do
    cluster.start(i)
    cluster.nodes[i].peer = rpc.peer(cluster.nodes[i].address)
  end
  return cluster
end

-- Asks each in turn until one answers. Returns the answer and who gave it; nil where it may have been done.
local function add(cluster, seconds)
  local from = cluster.leader or 1
  local result
  wait.till(function()
    local answer, err = cluster.nodes[from].peer:call("add", { "k", 1 }, { timeout = 2 })
    if answer or not err.definite then
      result, cluster.leader = answer, answer and from or nil
      return true
    end
    from = from % #cluster.nodes + 1
    task.sleep(0.02)
  end, seconds, "a leader that takes an addition")
  return result
end

describe("a cluster of real processes", function()
  it("loses nothing that it acknowledged, however often its leader is killed", function()
    local cluster = start_cluster(3)
    local kills = FULL and 30 or 4
    local done, unknown, slowest = 0, 0, 0
    local function count()
      local before, result = done, add(cluster, 20)
      if result then
        done = done + 1
        assert.is_true(result >= done and result <= done + unknown,
          ("%d, and %d were acknowledged, %d perhaps done"):format(result, before, unknown))
      else
        unknown = unknown + 1
      end
      return result
    end
    for _ = 1, kills do
      for _ = 1, 20 do
        count()
      end
      while not cluster.leader do
        count()
      end
      local killed = cluster.leader
      cluster.nodes[killed].process:kill "KILL"
      cluster.nodes[killed].process:wait(10)
      local at = loop.now()
      cluster.leader = killed % 3 + 1
      repeat
        local result = count()
      until result
      slowest = math.max(slowest, loop.now() - at)
      cluster.start(killed)
    end
    assert.is_true(done >= 20 * kills and slowest < 10, ("the slowest failover took %g s"):format(slowest))
    -- All of them, those that were restarted too, come to say the same.
    local answers = {}
    for i, node in ipairs(cluster.nodes) do
      wait.till(function()
        answers[i] = node.peer:call("get", { "k" }, { timeout = 2 })
        return answers[i]
      end, 20, node.id .. " answers")
    end
    assert.is_true(answers[1] >= done and answers[1] <= done + unknown)
    assert.same({ answers[1], answers[1], answers[1] }, answers)
    for _, node in ipairs(cluster.nodes) do
      node.peer:close()
    end
  end)
end)
