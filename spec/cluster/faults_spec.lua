-- Real processes and networks that fail while clients use them: nothing acknowledged is lost, what clients saw is
-- linearizable, and all members hold the same in the end. spec/cluster/scenarios.lua says what happens.

local scenarios = require "spec.cluster.scenarios"

local FULL = os.getenv "LUNODE_FULL" == "1"
local KILLS = 300 -- of a full run
local LEADERLESS = 1.0 -- seconds, for 99 of 100 failovers

local function tell(scenario, told)
  local words = {}
  for _, list in ipairs { told.counts, told.refusals } do
    local names = {}
    for name in pairs(list) do
      names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
      words[#words + 1] = ("%s %d"):format(name, list[name])
    end
  end
  io.write(("%s: %d kills; %s\n"):format(scenario.name, told.kills, table.concat(words, ", ")))
end

describe("real processes", function()
  local kills = 0

  for _, scenario in ipairs(scenarios.list) do
    local rounds = FULL and scenario.full or scenario.rounds
    if rounds > 0 then
      it("lose nothing when " .. scenario.name, function()
        local why = scenario.unless and scenario.unless()
        if why then
          pending(why)
        end
        local told = scenarios.run(scenario, rounds)
        kills = kills + told.kills
        if FULL then
          tell(scenario, told)
        end
        local times = told.failovers
        if FULL and #times > 0 then
          local p50, p99 = scenarios.percentile(times, 0.5), scenarios.percentile(times, 0.99)
          io.write(("writes go on %.2f s (p50) or %.2f s (p99) after a leader's death\n"):format(p50, p99))
          assert.is_true(p99 <= LEADERLESS)
        end
      end)
    end
  end

  if FULL then
    it("were killed often enough", function()
      assert.is_true(kills >= KILLS, ("only %d times"):format(kills))
    end)
  end
end)
