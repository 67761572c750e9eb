-- A run is a pure function of its seed: two processes, with other addresses and other hash seeds, have the same
-- traces.

local lunode = require "spec.support.lunode"
local scenarios = require "spec.sim.scenarios"
local sim = require "lunode.sim"

local SEEDS = os.getenv "LUNODE_FULL" and 200 or 20

local function hashes(from, to)
  return lunode.start { "run", "spec/sim/hashes.lua", tostring(from), tostring(to), cwd = scenarios.file "." }
end

describe("worlds with examples, RPC and a key-value node, under random faults", function()
  it(("run the same in two processes, for %d seeds each"):format(SEEDS), function()
    local first, second = hashes(1, SEEDS), hashes(1, SEEDS)
    assert.equal(0, first:wait(600))
    assert.equal(0, second:wait(600))
    local lines = 0
    local other = second:stdout():gmatch "[^\n]+"
    for line in first:stdout():gmatch "[^\n]+" do
      assert.equal(line, other())
      lines = lines + 1
    end
    assert.is_nil(other())
    assert.equal(SEEDS * #scenarios.names, lines)
  end)

  it("run otherwise under another seed", function()
    local seen = {}
    for _, name in ipairs(scenarios.names) do
      for seed = 1, 5 do
        local hash = scenarios.run(sim, name, seed):trace_hash()
        assert.is_nil(seen[hash], name .. " " .. seed)
        seen[hash] = true
      end
    end
  end)

  it("run the same within one process, whatever ran before, and however much of the trace is kept", function()
    for _, name in ipairs(scenarios.names) do
      local hash = scenarios.run(sim, name, 7):trace_hash()
      collectgarbage()
      assert.equal(hash, scenarios.run(sim, name, 7, { trace = 5 }):trace_hash())
    end
  end)

  it("raise nothing in any script, whatever the faults do", function()
    for _, name in ipairs(scenarios.names) do
      for seed = 1, SEEDS // 4 do
        local world = scenarios.run(sim, name, seed)
        for _, failure in ipairs(world.failures) do
          error(("%s, seed %d: %s: %s"):format(name, seed, failure.node, failure.text))
        end
      end
    end
  end)
end)
