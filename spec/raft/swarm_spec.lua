-- Random worlds for raft's core: every invariant holds at every step, whatever fails; and once nothing fails any
-- more, the cluster recovers. A seed that fails is replayed with `model.run(seed, { trace = true, seconds = … })`,
-- whose lines tell what happened.

local model = require "spec.raft.model"

local FULL = os.getenv "LUNODE_FULL" == "1"
local SEEDS = FULL and 3000 or 300
local SECONDS = FULL and 40 or 20 -- of a world with faults

-- What a run of 100 worlds must see at the least, so that nobody is content with worlds where nothing happens.
local PER_HUNDRED = {
  elections = 200, commits = 1500, acknowledged = 2000, reads = 1000, crashes = 700, partitions = 400, pauses = 150,
  snapshots = 10, changes = 25, ["changes committed"] = 20, ["disk errors"] = 40,
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
  for from = 1, SEEDS, SEEDS // 10 do
    local to = from + SEEDS // 10 - 1
    it(("finds no violation with the seeds %d to %d"):format(from, to), function()
      local total = run(from, to)
      for what, count in pairs(PER_HUNDRED) do
        assert.is_true((total[what] or 0) >= count * (SEEDS // 10) / 100, ("only %d %s"):format(total[what] or 0, what))
      end
    end)
  end

  it("is the same for the same seed", function()
    local first, second = model.run(7, { trace = true }), model.run(7, { trace = true })
    assert.is_true(#first.lines > 500)
    assert.equal(table.concat(first.lines, "\n"), table.concat(second.lines, "\n"))
    assert.not_equal(table.concat(first.lines, "\n"), table.concat(model.run(8, { trace = true }).lines, "\n"))
  end)
end)
