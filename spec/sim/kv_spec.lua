-- The key-value node, unmodified, where everything around it fails: what its replies promise holds, whatever kills it.

local history = require "lunode.sim.history"
local kit = require "spec.sim.kv_kit"
local resp = require "lunode.resp"
local sim = require "lunode.sim"

local SEEDS = { seeds = 50, full = 500 }
local FEWER = { seeds = 25, full = 500 }

local OF_SERVER = { "kill", "kill", "crash", "crash", "disk_latency", "disk_stall", "disk_eio", "disk_enospc",
  "disk_torn", "clock_jump", "clock_drift" }
local OF_ALL = { "reset", "half_open", "latency", "slow_reader", "pause" }

local CLIENTS = { "ann", "bob", "cleo" }

-- Of all seeds: what would not happen would not be tested.
local totals = { worlds = 0, restarts = 0, failures = 0, refused = 0, flushed = 0, compared = 0 }

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
    totals.worlds, totals.restarts = totals.worlds + 1, totals.restarts + server.lives - 1
    totals.failures, totals.compared = totals.failures + server.failures, totals.compared + server.compared
    totals.refused = totals.refused + told.ann.refused + told.bob.refused + told.cleo.refused
    totals.flushed = totals.flushed + server.node.replica.store:stats().durable
    check(histories)
  end)
end)

-- ---------------------------------------------------------------- everysec, no

-- What a restart has found, against what had been acknowledged. Returns how long before the end the first lost write
-- was.
local function judge(text, told, ended_at)
  local last, count = {}, 0
  for tag, name, digits in text:gmatch "(([^:,]+):(%d+),)" do
    local number = tonumber(digits)
    assert.is_true(told.sent[tag], "nobody sent " .. tag)
    assert.is_true(number > (last[name] or 0), tag .. " is out of order")
    last[name], count = number, count + 1
  end
  assert.is_true(#text == 0 or count > 0)
  local kept, lost = {}, nil
  for _, ack in ipairs(told.acked) do
    if ack.length <= #text then
      assert.equal(ack.tag, text:sub(ack.length - #ack.tag + 1, ack.length), "not what was acknowledged, in its order")
      kept[#kept + 1] = ack
    else
      lost = lost or ended_at - ack.at
    end
  end
  told.acked = kept
  return lost or 0
end

-- Some rounds of writing until something ends the node; `accept(how, lost, slow)` says whether that is fine.
local function rounds(world, sync, accept)
  local told, rng = { sent = {}, acked = {} }, world:stream "spec"
  local server = kit.server(world, sync, rng:pick { 1000, 1000000 }) -- or its store flushes what the log has not synced
  for round = 1, 4 do
    for writer = 1, 3 do
      local name = ("w%d-%d"):format(writer, round)
      world:node(name, kit.writer, { name, world, told })
    end
    world:node("noise" .. round, kit.noise, {})
    local slow = rng:chance(0.3) and rng:between(0, 0.3) or 0
    local fault = world:fault { kind = "disk_latency", nodes = { "server" }, seconds = slow }
    world:run(rng:between(0.3, 5))
    local how, ended_at = rng:pick { "kill", "crash" }, world.now
    world[how](world, "server")
    fault:stop()
    for writer = 1, 3 do
      world:kill(("w%d-%d"):format(writer, round))
    end
    world:kill("noise" .. round)
    world:restart "server"
    local text = kit.ask(world, { "GET", "order" })[1]
    local lost = judge(type(text) == "string" and text or "", told, ended_at)
    assert.is_true(accept(how, lost, slow), ("%s: writes of the last %.3f s are lost"):format(how, lost))
    totals[sync .. " " .. how] = (totals[sync .. " " .. how] or 0) + (lost > 0 and 1 or 0)
  end
  totals.compared = totals.compared + server.compared
end

describe("a key-value node that syncs every second", function()
  sim_it("loses nothing to a kill, and to a power cut the end of it, of a second at most", FEWER, function(world)
    rounds(world, "everysec", function(how, lost, slow)
      return lost <= (how == "kill" and 0 or 1.02 + slow)
    end)
  end)
end)

describe("a key-value node that leaves syncing to the system", function()
  sim_it("loses nothing to a kill, and to a power cut the end of it", FEWER, function(world)
    rounds(world, "no", function(how, lost)
      return how == "crash" or lost == 0
    end)
  end)
end)

-- ---------------------------------------------------------------- replays

describe("a replay", function()
  for _, sync in ipairs { "everysec", "always", "no" } do
    sim_it("leaves the state of the first time, expiry and chance included: " .. sync, FEWER, function(world)
      local server = kit.server(world, sync)
      for i = 1, 3 do
        world:node("noise" .. i, kit.noise, { i == 3 })
      end
      world:swarm { duration = 20, quiet = 2, intensity = 8, kinds = OF_SERVER, nodes = { "server" } }
      world:swarm { duration = 20, quiet = 2, intensity = 2, kinds = OF_ALL }
      kit.run(world, 25)
      assert.same({ "x" }, kit.ask(world, { "ECHO", "x" }))
      totals.compared = totals.compared + server.compared
    end)
  end
end)

-- ---------------------------------------------------------------- one thing at a time

describe("CONFIG SET appendfsync always", function()
  sim_it("counts for what is behind it in the same pipeline", { seeds = 30, full = 100 }, function(world)
    kit.server(world, "everysec")
    world:run(0.1)
    local replies = kit.ask(world, { "SET", "a", "1" }, { "CONFIG", "SET", "appendfsync", "always" },
      { "SET", "b", "2" }, { "GET", "b" })
    assert.same({ { ok = "OK" }, { ok = "OK" }, { ok = "OK" }, "2" }, replies)
    world:crash "server"
    world:restart "server"
    assert.same({ "1", "2" }, kit.ask(world, { "GET", "a" }, { "GET", "b" }))
  end)

  sim_it("leaves what was acknowledged before to the next second", { seeds = 30, full = 100 }, function(world)
    kit.server(world, "everysec")
    world:run(0.1)
    kit.ask(world, { "SET", "a", "1" }, { "CONFIG", "SET", "appendfsync", "always" })
    world:run(1.1)
    world:crash "server"
    world:restart "server"
    assert.same({ "1" }, kit.ask(world, { "GET", "a" }))
  end)
end)

describe("on a full disk, the node", function()
  for _, sync in ipairs { "everysec", "always" } do
    it("refuses writes, reads on, idles while keys expire, and recovers by itself: " .. sync, function()
      local world = sim.new()
      local server = kit.server(world, sync)
      kit.ask(world, { "SET", "a", "1" }, { "SET", "short", "1", "PX", "100" })
      local fault = world:fault { kind = "disk_enospc", nodes = { "server" } }
      local steps = world.steps
      world:run(20)
      assert.is_true(world.steps - steps < 2000, "it spins")
      local replies = kit.ask(world, { "SET", "b", "1" }, { "GET", "a" }, { "GET", "short" }, { "GET", "b" })
      assert.matches("^MISCONF .*No space left", replies[1].err)
      assert.same({ "1", resp.null, resp.null }, { table.unpack(replies, 2) })
      fault:stop()
      world:run(2)
      assert.same({ { ok = "OK" }, "2", 2 },
        kit.ask(world, { "SET", "b", "2" }, { "GET", "b" }, { "DBSIZE" }))
      assert.equal(1, server.lives)
    end)
  end
end)

describe("the time of entries", function()
  it("does not go back when the node starts again, whatever its clock does, and its log", function()
    for _, how in ipairs { "flush", "replay" } do
      local world = sim.new()
      kit.server(world, "always", how == "replay" and 1000000 or nil)
      local function roll()
        return tonumber(kit.ask(world, { "ROLL", "e" })[1]:match " (%d+)$")
      end
      local last = roll()
      world:run(5)
      if how == "flush" then
        kit.ask(world, { "SET", "long", ("x"):rep(1000) })
        world:run(1)
        assert.is_true(world:get("server").loop ~= nil)
      end
      for _ = 1, 3 do
        world:jump_clock("server", -3600)
        world:restart "server"
        local now = roll()
        assert.is_true(now >= last, how .. ": " .. last - now)
        last = now
      end
    end
  end)
end)

describe("while a flush stalls, the node", function()
  for _, sync in ipairs { "everysec", "no" } do
    it("writes on to its bound, then lets writes wait and reads on: " .. sync, function()
      local world = sim.new()
      kit.server(world, sync)
      kit.ask(world, { "SET", "a", "1" })
      local stalled = world:fault { kind = "disk_stall", nodes = { "server" }, duration = 1.5 }
      local done = 0
      world:node("writer", function()
        kit.connect(function(send)
          local function go_on()
            send({ "SET", "key" .. done, ("x"):rep(100) }, function(reply)
              assert(reply.ok)
              done = done + 1
              if done < 100 then
                go_on()
              end
            end)
          end
          go_on()
        end, function() end)
      end)
      world:run(0.5)
      local before = done
      for _ = 1, 10 do
        assert.same({ "1" }, kit.ask(world, { "GET", "a" }))
      end
      assert.is_true(before > 0 and before == done and done < 100 and stalled.active, tostring(done))
      world:run(2)
      assert.equal(100, done)
    end)
  end
end)

describe("the runs above", function()
  it("were not in vain", function()
    if totals.worlds < 20 then
      pending "only few seeds were tried"
    end
    for what, count in pairs(totals) do
      if what:find " kill$" then
        assert.equal(0, count)
      else
        assert.is_true(count >= 3, what .. " " .. count)
      end
    end
  end)
end)
