-- Random worlds for raft's core: every invariant holds at every step, whatever fails; what clients see is linearizable;
-- and once nothing fails any more, the cluster recovers. A seed that fails is replayed with
-- `model.run(seed, { trace = true, seconds = … })`, whose lines tell what happened.

local load_with = require "spec.raft.bugs.load"
local model = require "spec.raft.model"

local FULL = os.getenv "LUNODE_FULL" == "1"
local SEEDS = FULL and 1000 or 100
local SECONDS = FULL and 90 or 45 -- of a world with faults
local PARTS = 10

-- What a run of 100 worlds sees at the least, so that nobody is content with worlds where nothing happens. A part of
-- them may have a third of it.
local PER_HUNDRED = {
  elections = 400, commits = 5000, acknowledged = 7000, reads = 5000, crashes = 2000, partitions = 1200, pauses = 400,
  snapshots = 50, changes = 100, ["changes committed"] = 100, ["disk errors"] = 100, newcomers = 30,
  ["operations ok"] = 5000, ["operations unknown"] = 500,
}

local function run(from, to)
  local total = {}
  for seed = from, to do
    local result = model.run(seed, { seconds = SECONDS })
    if result.violation then
      local lines = model.run(seed, { trace = true, seconds = SECONDS }).lines
      local last = table.concat(lines, "\n", math.max(1, #lines - 40))
      error(("seed %d: %s\n%s"):format(seed, result.violation, last), 0)
    end
    for what, count in pairs(result.stats) do
      total[what] = (total[what] or 0) + count
    end
  end
  return total
end

describe("a swarm of random worlds", function()
  for from = 1, SEEDS, SEEDS // PARTS do
    local to = from + SEEDS // PARTS - 1
    it(("finds no violation with the seeds %d to %d"):format(from, to), function()
      local total = run(from, to)
      for what, count in pairs(PER_HUNDRED) do
        local least = count * (SEEDS // PARTS) / 100 / 3
        assert.is_true((total[what] or 0) >= least, ("only %d %s"):format(total[what] or 0, what))
      end
    end)
  end

  it("finds answers that are an entry old", function()
    local old = load_with {
      name = "old answers", module = "spec.raft.clients", from = "value_at(self, o, n.store.applied)))",
      to = "value_at(self, o, n.store.applied - 1)))",
    } "spec.raft.model"
    local violation
    local seed = 0
    repeat
      seed = seed + 1
      violation = old.run(seed).violation
    until violation or seed == 10
    assert.matches("^linearizability of a ", violation)
  end)

  it("is the same for the same seed", function()
    local first, second = model.run(7, { trace = true }), model.run(7, { trace = true })
    assert.is_true(#first.lines > 500)
    assert.equal(table.concat(first.lines, "\n"), table.concat(second.lines, "\n"))
    assert.not_equal(table.concat(first.lines, "\n"), table.concat(model.run(8, { trace = true }).lines, "\n"))
  end)
end)
