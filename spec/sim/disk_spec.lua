-- What kills, power cuts and failing disks leave of a simulated store.

local sim = require "lunode.sim"

-- Counts up in a store, a row and a commit a time; tells how far it is. Every `sync`-th commit is synced.
local function counter(told, sync)
  local loop, store = require "lunode.loop", require "lunode.store"
  local s = assert(store.open "data")
  local n = tonumber(s:get "n" or 0)
  told.found = n
  for key, value in s:scan "row" do
    assert(tonumber(value) <= n, key .. " is of a later batch")
  end
  local function step()
    n = n + 1
    s:put("n", tostring(n))
    s:put("row" .. n % 7, tostring(n))
    local ok, err, code = s:commit(n % sync == 0)
    if not ok then
      told.failed = { err, code }
      return loop.stop()
    end
    told.committed = n
    if n % sync == 0 then told.synced = n end
    loop.timer(0.001, step)
  end
  step()
end

local function start(seed, sync)
  local world, told = sim.new { seed = seed }, {}
  world:node("n", counter, { told, sync })
  return world, told
end

local function reopen(world, told)
  world:restart "n"
  told.found = nil
  assert(world:run_until(function() return told.found end))
  return told.found
end

describe("a store in the simulator", function()
  it("loses nothing to a kill", function()
    for seed = 1, 20 do
      local world, told = start(seed, 10)
      world:run(world:stream("spec"):between(0.01, 0.3))
      world:kill "n"
      assert.equal(told.committed, reopen(world, told))
    end
  end)

  it("loses a suffix of what was not synced to a power cut, whole batches of it", function()
    local lost, kept = 0, 0
    for seed = 1, 60 do
      local world, told = start(seed, 10)
      for _ = 1, 3 do
        world:run(world:stream("spec"):between(0.01, 0.3))
        world:crash "n"
        local synced, committed = told.synced or 0, told.committed
        local found = reopen(world, told)
        -- The sync that was under way may count, or not; and so may the commit after the last that was told.
        assert.is_true(found >= synced - 10 and found <= committed, ("%d %d %d"):format(synced, found, committed))
        lost, kept = lost + (found < committed and 1 or 0), kept + (found > synced and 1 or 0)
      end
    end
    assert.is_true(lost > 10 and kept > 10, ("%d lost, %d kept"):format(lost, kept))
  end)

  it("loses nothing that was synced before the reply could leave", function()
    for seed = 1, 30 do
      local world = sim.new { seed = seed }
      local told = 0
      world:node("server", function()
        local loop, store = require "lunode.loop", require "lunode.store"
        local s = assert(store.open "data")
        local changed = {}
        loop.before_sleep(function()
          if next(changed) then assert(s:commit(true)) end
          changed = {}
        end)
        require("lunode.tcp_server").listen("127.1.0.1", 7000, {
          decoder = "line",
          on_message = function(_, line)
            changed[1] = line
            s:put("last", line)
            return line
          end,
        })
        print(s:get "last")
      end)
      world:node("client", function()
        local n = 0
        require("lunode.tcp_client").connect("server", 7000, {
          decoder = "line",
          on_connect = function(conn) conn:write "1\n" end,
          on_message = function(_, line)
            n = tonumber(line)
            told = n
            return tostring(n + 1)
          end,
        })
      end)
      world:run(world:stream("spec"):between(0.02, 0.5))
      world:crash "server"
      world:restart "server"
      world:run(1)
      local found = tonumber(world:get("server"):output():match "(%d+)\n$")
      assert.is_true(told > 3 and (found == told or found == told + 1), ("%d %s"):format(told, found))
    end
  end)

  it("keeps the process waiting while it syncs, and everybody else going", function()
    local world, told = start(1, 1)
    local ticks = 0
    world:node("other", function()
      require("lunode.loop").timer(0.01, function() ticks = ticks + 1 end, 0.01)
    end)
    world:run(1)
    assert.is_true(told.committed > 200 and told.committed < 700, told.committed) -- 0.5 to 2 ms each, and the timer's
    world:fault { kind = "disk_stall", duration = 5 }
    local before, before_ticks = told.committed, ticks
    world:run(4.9)
    assert.is_true(told.committed <= before + 1)
    assert.is_true(ticks > before_ticks + 480)
    world:run(1)
    assert.is_true(told.committed > before + 100)
    local fault = world:fault { kind = "disk_latency", seconds = 0.1 }
    before = told.committed
    world:run(10)
    assert.is_true(told.committed > before + 80 and told.committed <= before + 100)
    fault:stop()
  end)

  it("fails as the real one does where the disk fails or is full", function()
    for kind, text in pairs { disk_eio = "Input/output error", disk_enospc = "No space left on device" } do
      local world, told = start(1, 5)
      world:run(0.1)
      local committed = told.committed
      local fault = world:fault { kind = kind }
      world:run(1)
      assert.matches("^cannot write to data directory data: " .. text .. " %(.*%); ", told.failed[1])
      assert.equal(kind == "disk_eio" and "EIO" or "ENOSPC", told.failed[2])
      assert.equal("ended", world:get("n").state)
      fault:stop()
      assert.equal(committed, reopen(world, told))
    end
  end)

  -- A state machine over the store, with its log in the test: entries n add up; each life replays from applied().
  local function machine(log, told)
    local loop, store = require "lunode.loop", require "lunode.store"
    local s = assert(store.open("data", { overlay = 2000 }))
    local function apply(index)
      local sum = tonumber(s:get "sum" or 0) + log[index]
      s:put("sum", tostring(sum))
      s:put("entry" .. index, ("x"):rep(50))
      assert(s:advance(index))
    end
    for index = s:applied() + 1, #log do apply(index) end
    told.sum, told.applied = tonumber(s:get "sum" or 0), s:applied()
    loop.timer(0.001, function()
      log[#log + 1] = loop.random(1, 100)
      apply(#log)
      if #log % 50 == 0 then s:flush(function(_, _, index) told.flushed = index end) end
    end, 0.001)
  end

  it("applies each entry of a log exactly once, whatever kills the process or the host", function()
    for seed = 1, 20 do
      local world, log, told = sim.new { seed = seed }, {}, {}
      world:node("n", machine, { log, told })
      local rng = world:stream "spec"
      for _ = 1, 5 do
        world:run(rng:between(0.01, 0.4))
        world[rng:pick { "kill", "crash" }](world, "n")
        local count, flushed = #log, told.flushed or 0
        world:restart "n"
        told.applied = nil
        assert(world:run_until(function() return told.applied end))
        assert.is_true(flushed <= count)
        local sum = 0
        for i = 1, told.applied do sum = sum + log[i] end
        assert.equal(sum, told.sum)
        assert.is_true(told.applied >= count)
      end
      assert.is_true(told.flushed > 0)
    end
  end)

  it("tries again by itself when a full disk has room, and applies meanwhile", function()
    local world, log, told = sim.new(), {}, {}
    world:node("n", machine, { log, told })
    world:run(0.2)
    local fault = world:fault { kind = "disk_enospc" }
    local count, flushed = #log, told.flushed
    world:run(3)
    assert.is_true(#log > count + 2000)
    assert.is_true((told.flushed or 0) <= (flushed or 0) + 100)
    fault:stop()
    world:run(3)
    assert.is_true(told.flushed > count + 2000, told.flushed)
  end)
end)
