-- A key-value node whose disk takes seconds for a sync: what waits for it, and what does not.

local kit = require "spec.sim.kv_kit"

local SEEDS = { seeds = 5, full = 50 }
local SLOW = 6 -- seconds

local function slow_server(world, sync)
  kit.server(world, sync, 1 << 20)
  kit.ask(world, { "SET", "before", "1" })
  world:run(2) -- that is on disk
  world:fault { kind = "disk_latency", nodes = { "server" }, seconds = SLOW }
end

-- A patient client sends a command; in what this returns, `reply` and `at`, when it came, will be set.
local function send_aside(world, ...)
  local words, told = { ... }, {}
  world:node("aside" .. #world.nodes, function()
    kit.connect(function(send)
      send(words, function(reply)
        told.at, told.reply = world.now, reply
      end)
    end, function() end, { host = kit.ADDRESS, port = kit.PORT, patience = 60 })
  end)
  world:run(0.1)
  return told
end

describe("a disk that takes seconds for a sync", function()
  sim_it("with always: nobody is told of a write before it is on disk, those who read it included", SEEDS,
    function(world)
      slow_server(world, "always")
      local begun = world.now
      local writes, reads = send_aside(world, "SET", "key", "value"), send_aside(world, "GET", "key")
      world:run(SLOW + 1)
      assert.same({ ok = "OK" }, writes.reply)
      assert.equal("value", reads.reply)
      assert.is_true(writes.at - begun > SLOW and reads.at - begun > SLOW)
    end)

  sim_it("with always: what is read when all is on disk waits for nothing", SEEDS, function(world)
    slow_server(world, "always")
    assert.equal("1", send_aside(world, "GET", "before").reply)
  end)

  sim_it("with everysec: writes wait once a sync has taken two seconds, and reads do not", SEEDS, function(world)
    slow_server(world, "everysec")
    assert.same({ ok = "OK" }, send_aside(world, "SET", "key", "1").reply)
    world:run(3.5) -- the sync began after a second at most, and has taken two
    local begun = world.now
    local second = send_aside(world, "SET", "key", "2")
    assert.equal("1", send_aside(world, "GET", "key").reply)
    assert.is_nil(second.at)
    world:run(SLOW)
    assert.same({ ok = "OK" }, second.reply)
    assert.is_true(second.at - begun > 1)
    assert.equal("2", send_aside(world, "GET", "key").reply)
  end)
end)
