-- Faults that last, and swarms of them: drawn from the seed, told in the trace, left out without changing the others.

local sim = require "lunode.sim"
local swarm = require "lunode.sim.swarm"

local LOCAL = { "kill", "crash", "pause", "clock_jump", "clock_drift", "disk_latency", "disk_stall", "disk_eio",
  "disk_enospc", "disk_torn" }

local function ticker()
  local loop = require "lunode.loop"
  loop.timer(0.5, function() print(("%.3f %.3f"):format(loop.now(), loop.time())) end, 0.5)
end

local function world_of(options)
  local world = sim.new(options)
  for _, name in ipairs { "a", "b", "c" } do world:node(name, ticker) end
  return world
end

local function faults_of(world)
  local begun, open = {}, 0
  for _, record in ipairs(world:records()) do
    if record.kind == "fault" then
      if record.phase == "begin" then
        begun[#begun + 1] = record.fault
        open = open + 1
      else
        open = open - 1
      end
    end
  end
  return begun, open
end

describe("a fault", function()
  it("lasts as long as it is told to, or until it is stopped", function()
    local world = world_of()
    world:fault { kind = "pause", nodes = { "a" }, duration = 2 }
    local fault = world:fault { kind = "crash", nodes = { "b", "c" } }
    assert.equal("paused", world:get("a").state)
    assert.equal("crashed", world:get("c").state)
    world:run(3)
    assert.equal("up", world:get("a").state)
    assert.equal("crashed", world:get("b").state)
    fault:stop()
    fault:stop()
    world:run(1)
    assert.equal("up", world:get("b").state)
    assert.equal(2, world:get("b").boot)
    local trace = world:trace { kinds = { "fault" } }
    assert.matches("fault: pause %(a%)\n.*fault: crash %(b, c%)\n.*ends: pause %(a%)\n.*ends: crash %(b, c%)\n$", trace)
  end)

  it("starts again only what it has ended itself", function()
    local world = world_of()
    world:kill "a"
    local fault = world:fault { kind = "crash", nodes = { "a", "b" } }
    world:run(1)
    world:restart "b"
    fault:stop()
    assert.equal("ended", world:get("a").state)
    assert.equal(2, world:get("b").boot)
  end)

  it("of a kind that there is not is refused", function()
    assert.error_matches(function() world_of():fault { kind = "flood" } end, "there is no fault 'flood'")
  end)

  it("with options that make no sense is refused: a slip of the hand is no fault of all nodes", function()
    local function refused(options, text)
      assert.error_matches(function() world_of():fault(options) end, "world:fault: " .. text)
    end
    refused({ kind = "pause", node = "a" }, "unknown option 'node'; there are drift, duration, id, kind, nodes")
    refused({ kind = "disk_stall", nodes = { "a" } }, "'disk_stall' needs a duration")
    refused({ kind = "pause", duration = -1 }, "duration must be a number, finite and not negative")
    refused({ kind = "clock_jump", seconds = "much" }, "seconds must be a number, finite$")
  end)
end)

describe("a swarm", function()
  it("draws the same schedule from the same seed, and another one from another", function()
    local function plan(seed)
      return swarm.format(world_of({ seed = seed }):swarm { duration = 60, kinds = LOCAL })
    end
    assert.equal(plan(1), plan(1))
    assert.not_equal(plan(1), plan(2))
  end)

  it("draws every kind sooner or later, each with a text of its own", function()
    local seen = {}
    for seed = 1, 10 do
      for _, entry in ipairs(world_of({ seed = seed }):swarm { duration = 100, kinds = swarm.kinds }) do
        seen[entry.kind] = true
        assert.matches("%a", entry.text)
      end
    end
    for _, kind in ipairs(swarm.kinds) do assert.is_true(seen[kind], kind) end
  end)

  it("begins and ends all of its faults in time, and leaves the end quiet", function()
    for seed = 1, 20 do
      local world = world_of { seed = seed }
      local schedule = world:swarm { duration = 20, quiet = 5, intensity = 10, kinds = LOCAL }
      assert.equal(20, #schedule)
      world:run(15.001)
      local begun, open = faults_of(world)
      assert.equal(20, #begun)
      for i, entry in ipairs(schedule) do
        assert.equal(i, entry.id)
        assert.is_true(entry.at + (entry.duration or 0) <= 15)
        assert.is_true(i == 1 or schedule[i - 1].at <= entry.at)
      end
      assert.equal(0, open)
      for _, node in ipairs(world.nodes) do assert.equal("up", node.state) end
    end
  end)

  it("applies only what `keep` names, and changes nothing about those", function()
    local all = world_of { seed = 9 }
    local whole = swarm.format(all:swarm { duration = 20, kinds = LOCAL })
    all:run(20)
    local some = world_of { seed = 9, keep = { 2, 3 } }
    assert.equal(whole, swarm.format(some:swarm { duration = 20, kinds = LOCAL }))
    some:run(20)
    assert.same({ 2, 3 }, (faults_of(some)))
    local none = world_of { seed = 9, keep = {} }
    none:swarm { duration = 20, kinds = LOCAL }
    none:run(20)
    assert.same({}, (faults_of(none)))
    local function times(world, id)
      local list = {}
      for _, record in ipairs(world:records()) do
        if record.kind == "fault" and record.fault == id then list[#list + 1] = record.t end
      end
      return list
    end
    assert.same(times(all, 2), times(some, 2))
  end)

  it("hits only the nodes it may", function()
    local world = world_of()
    world:swarm { duration = 60, nodes = { "b" }, kinds = LOCAL }
    world:run(60)
    for _, record in ipairs(world:records()) do
      if record.kind == "fault" then assert.same({ "b" }, record.nodes) end
    end
  end)

  it("refuses what makes no sense", function()
    local world = world_of()
    local function refused(options, text)
      assert.error_matches(function() world:swarm(options) end, text)
    end
    refused({ kinds = { "flood" } }, "there is no fault 'flood'; there are split, isolate")
    refused({ lenght = 7 }, "unknown option 'lenght'; there are duration, intensity")
    refused({ kinds = {} }, "no kinds of faults are left")
    refused({ kinds = { "bridge" }, nodes = { "a", "b" } }, "'bridge' needs 3 nodes, and there are 2")
    refused({ duration = "long" }, "duration must be a number")
    refused({ intensity = 0 / 0 }, "intensity must be a number")
    refused({ duration = 1, quiet = 2 }, "quiet must not be longer than duration")
    refused({ nodes = { "z" } }, "there is no node z")
  end)
end)
