local history = require "lunode.sim.history"
local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local rpc = require "lunode.rpc"
local wait = require "lunode.test.wait"

local SCRIPT = "examples/primary_backup.lua"
local PRIMARY, BACKUP, WITNESS = "127.1.0.1:7000", "127.1.0.2:7000", "127.1.0.3:7000"

local function start(world, witness)
  world:node("primary", SCRIPT, { "primary", PRIMARY, BACKUP, witness })
  world:node("backup", SCRIPT, { "backup", BACKUP, PRIMARY, witness })
  if witness then
    world:node("witness", SCRIPT, { "witness", witness })
  end
end

local function clients(world, count)
  local h = history.new { world = world }
  local function client(me)
    local loop = require "lunode.loop"
    local rpc_of_node = require "lunode.rpc"
    local task = require "lunode.task"
    local nodes, current = { rpc_of_node.peer(PRIMARY), rpc_of_node.peer(BACKUP) }, 1
    local function call(method, args)
      local result, err = nodes[current]:call(method, args, { timeout = 1 })
      current = err and 3 - current or current
      return result, err
    end
    task.spawn(function()
      for i = 1, 30 do
        task.sleep(loop.random(0, 200) / 1000)
        if loop.random(1, 2) == 1 then
          local value = me .. " " .. i
          h:attempt(me, "write", nil, { value }, function()
            return call("write", { value })
          end)
        else
          h:attempt(me, "read", nil, {}, function()
            return call("read", {})
          end)
        end
      end
    end)
  end
  for i = 1, count do
    world:node("client" .. i, client, { "client" .. i })
  end
  return h
end

local function count(h, status)
  local n = 0
  for _, op in ipairs(h.operations) do
    n = n + (op.status == status and 1 or 0)
  end
  return n
end

describe("examples/primary_backup.lua", function()
  it("says how it is used", function()
    local code, _, err = lunode.run { "run", SCRIPT, "primary" }
    assert.equal(2, code)
    assert.is_truthy(err:find("^usage: "))
  end)

  sim_it("is one register on a calm network, and does all it is asked", { seeds = 5 }, function(world)
    start(world)
    local h = clients(world, 3)
    world:run(20)
    assert.equal(90, count(h, "ok"))
    assert(h:check("register", { initial = "" }))
  end)

  sim_it("is two, where each side of a partition thinks the other one dead", { seeds = 5 }, function(world)
    start(world)
    local h = clients(world, 2)
    world:run(0.5)
    world:partition { { "primary", "client1" }, { "backup", "client2" } }
    world:run(60)
    local _, _, code = h:check("register", { initial = "" })
    assert.equal("EVIOLATED", code)
  end)

  sim_it("is one, with a witness on either side of the partition", { seeds = 10 }, function(world)
    start(world, WITNESS)
    local h = clients(world, 2)
    local with_witness = world.seed % 2 == 0 and { "primary", "client1", "witness" } or { "primary", "client1" }
    local others = world.seed % 2 == 0 and { "backup", "client2" } or { "backup", "client2", "witness" }
    world:run(0.5)
    world:partition { with_witness, others }
    world:run(60)
    assert(h:check("register", { initial = "" }))
    assert.is_true(count(h, "ok") >= 28, "the side with the witness did not go on")
    assert.is_true(count(h, "unknown") + count(h, "failed") > 0, "the other side did")
  end)

  local WHATEVER = { "split", "isolate", "one_way", "flapping", "latency", "reset", "half_open", "pause" }

  sim_it("is one whatever happens to the network, with a witness", { seeds = 30, full = 300 }, function(world)
    start(world, WITNESS)
    local h = clients(world, 3)
    world:swarm { duration = 6, intensity = 5, kinds = WHATEVER }
    world:run(60)
    assert(h:check("register", { initial = "" }))
  end)

  it("serves real clients, and goes on when the primary dies", function()
    local first, second = "127.0.0.1:" .. ports.free(), "127.0.0.1:" .. ports.free()
    local function listening(role, ...)
      local process = lunode.start { "run", SCRIPT, role, ... }
      wait.till(function()
        return process:stdout():find(role .. " listening on", 1, true)
      end)
      return process
    end
    local backup = listening("backup", second, first)
    local primary = listening("primary", first, second)
    local one <close> = rpc.peer(first)
    local two <close> = rpc.peer(second)
    assert.is_true((one:call("write", { "kept" })))
    local _, err = two:call("read", {})
    assert.equal("ENOTPRIMARY", err.code)
    primary:kill "KILL"
    wait.till(function()
      return backup:stdout():find("takes over", 1, true)
    end)
    assert.equal("kept", (two:call("read", {})))
  end)
end)
