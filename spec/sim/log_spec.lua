-- The simulated log where its disk lets it down: power cuts, a full disk, errors, delays. What it is on a calm day,
-- spec/contract/log_spec.lua says.

local sim = require "lunode.sim"

local FULL = os.getenv "LUNODE_FULL"

-- A node that appends and syncs for as long as it lives; `told` is what it knows to be on disk.
local told
local function writer()
  local log = require "lunode.log"
  local loop = require "lunode.loop"
  local h = assert(log.open "data")
  local count = 0
  for index, payload, kind, term in h:entries() do
    assert(payload == "entry " .. index and kind == 1 and term == 1)
    count = count + 1
  end
  assert(count == h:last() + 1 - h:first())
  told.boots = told.boots + 1
  told.found = h:last()
  assert(h:last() >= told.synced, "what was acknowledged is lost")
  assert(h:state() >= told.state, "the state that was acknowledged is lost")
  local function more()
    for _ = 1, loop.random(1, 5) do
      told.appended = assert(h:append(1, "entry " .. h:last() + 1, 1))
    end
    local state = loop.random(1, 8) == 1 and h:state() + 1 or h:state()
    if state > h:state() then
      assert(h:set_state(state, "vote"))
    end
    if loop.random(1, 6) == 1 then
      assert(h:truncate_prefix(h:first() + (h:last() - h:first()) // 2))
    end
    if loop.random(1, 3) == 1 then
      assert(h:sync(function(err, _, index)
        assert(not err, err)
        told.synced, told.state = index, state
      end))
    end
  end
  more()
  loop.timer(0.001, more, 0.001)
end

local function new_told()
  return { boots = 0, found = 0, synced = 0, state = 0, appended = 0 }
end

local function restart(world)
  local boots = told.boots
  world:restart "n"
  assert(world:run_until(function()
    return told.boots > boots
  end, 1))
end

describe("a simulated log", function()
  it("keeps through power cuts what was synced, and loses of the rest what chance takes", function()
    local lost, kept = 0, 0
    for seed = 1, FULL and 200 or 20 do
      told = new_told()
      local world = sim.new { seed = seed, trace = 0 }
      world:node("n", writer)
      for _ = 1, 10 do
        world:run(0.002 + seed % 7 * 0.003)
        local before = told
        world:crash "n"
        local appended, synced = before.appended, before.synced
        restart(world)
        lost = lost + (appended - told.found)
        kept = kept + (told.found > synced and 1 or 0)
      end
      assert.equal(11, told.boots)
    end
    assert.is_true(lost > 0) -- else nothing was at stake
    assert.is_true(kept > 0)
  end)

  it("loses nothing that was flushed when its process is killed", function()
    told = new_told()
    local world = sim.new { seed = 3, trace = 0 }
    world:node("n", writer)
    for _ = 1, 30 do
      world:run(0.0105)
      world:kill "n"
      local appended = told.appended
      restart(world)
      assert.equal(appended, told.found)
    end
  end)

  it("gives the same run for the same seed", function()
    local hashes = {}
    for run = 1, 2 do
      told = new_told()
      local world = sim.new { seed = 8 }
      world:node("n", writer)
      world:run(0.1)
      world:crash "n"
      world:restart "n"
      world:run(0.1)
      hashes[run] = world:trace_hash()
    end
    assert.equal(hashes[1], hashes[2])
  end)
end)

describe("the disk of a simulated log", function()
  local world, loop, h

  before_each(function()
    world = sim.new { trace = 0 }
    local node = world:node "n"
    loop = node:require "lunode.loop"
    h = assert(node:require("lunode.log").open "data")
    for i = 1, 10 do
      assert(h:append(1, "entry " .. i))
    end
  end)

  local function sync()
    local result
    assert(h:sync(function(err, code, index)
      result = { err = err, code = code, index = index, at = world.now }
    end))
    while not result do
      loop.step(1)
    end
    return result
  end

  it("refuses entries while it is full, and takes what frees space", function()
    local fault = world:fault { kind = "disk_enospc", nodes = { "n" } }
    local index, err, code = h:append(1, "x")
    assert.is_nil(index)
    assert.equal("ENOSPC", code)
    assert.matches("new segment .* No space left", err)
    assert.is_true(h:stats().full)
    assert.is_true(h:set_state(3, "me"))
    assert.is_true(h:truncate_prefix(5))
    assert.equal(10, sync().index)
    fault:stop()
    assert.equal(11, h:append(1, "x"))
    assert.equal(11, sync().index)
  end)

  it("ends the log when a sync fails", function()
    assert.equal(10, sync().index)
    assert(h:append(1, "lost"))
    assert(h:flush())
    local fault = world:fault { kind = "disk_eio", nodes = { "n" } }
    local result = sync()
    assert.equal("EIO", result.code)
    assert.equal(10, result.index)
    assert.matches("the log has ended", result.err)
    fault:stop()
    for _, call in ipairs { "flush", "sync" } do
      assert.equal("EIO", select(3, h[call](h, print)))
    end
    assert.equal("EIO", select(3, h:append(1, "x")))
    assert.equal("EIO", select(3, h:set_state(1)))
    assert.equal("EIO", select(3, h:truncate_prefix(1)))
    assert.equal("EIO", select(3, h:read(1)))
    assert.equal("EIO", select(3, h:close()))
  end)

  it("ends the log when a write fails", function()
    world:fault { kind = "disk_eio", nodes = { "n" } }
    assert.equal("EIO", select(3, h:flush()))
    assert.equal("EIO", select(3, h:append(1, "x")))
  end)

  it("that is slow makes syncs late, and the node goes on", function()
    sync()
    world:fault { kind = "disk_latency", nodes = { "n" }, seconds = 0.5 }
    local turns, result = 0, nil
    local begun = world.now
    assert(h:append(1, "x"))
    assert(h:sync(function(_, _, index)
      result = index
    end))
    local timer = loop.timer(0.01, function()
      turns = turns + 1
      assert(h:append(1, "meanwhile"))
    end, 0.01)
    while not result do
      loop.step(1)
    end
    timer:close()
    assert.equal(11, result)
    assert.is_true(world.now - begun >= 0.5)
    assert.is_true(turns > 10)
  end)
end)
