-- What ./dev soak does: for hours, worlds of raft's core, simulated clusters and real ones in turn, each with fresh
-- seeds, until something is wrong. Prints a line for each, and at the first violation how to see it again.
--
--   lunode run spec/soak.lua [HOURS]            (default 1)
--   lunode run spec/soak.lua --world SEED       one world of raft's core again, with all that happened in it

local cleanup = require "lunode.test.cleanup"
local loop = require "lunode.loop"
local model = require "spec.raft.model"
local process = require "lunode.test.process"
local scenarios = require "spec.cluster.scenarios"
local support = require "spec.support.lunode"

local WORLDS, SECONDS = 10, 90 -- of raft's core, one behind the other
local ROUNDS = 5 -- of a scenario of real processes
local SPEC_TIMEOUT = 600 -- seconds

local begun = loop.now()

local function say(text, ...)
  local minutes = (loop.now() - begun) // 60 | 0
  print(("%3d:%02d  "):format(minutes // 60, minutes % 60) .. text:format(...))
  io.flush()
end

local function violated(what, why, again)
  say("VIOLATION: %s\n%s\n\nto see it again: %s", what, why, again)
  os.exit(1, true)
end

-- ---------------------------------------------------------------- raft's core

local function show_world(seed)
  local result = model.run(seed, { seconds = SECONDS, trace = true })
  print(table.concat(result.lines, "\n"))
  print(result.violation or "nothing is wrong")
end

local function worlds()
  local operations, elections, first = 0, 0, loop.random(1, 1 << 40)
  for seed = first, first + WORLDS - 1 do
    local result = model.run(seed, { seconds = SECONDS })
    if result.violation then
      violated(("world %d of raft's core"):format(seed), result.violation,
        ("lunode run spec/soak.lua --world %d"):format(seed))
    end
    operations = operations + (result.stats["operations ok"] or 0)
    elections = elections + (result.stats.elections or 0)
  end
  say("%d worlds of raft's core: %d elections, %d operations", WORLDS, elections, operations)
end

-- ---------------------------------------------------------------- simulated clusters

-- The specs that run members in the simulator.
local function simulated_specs()
  local pipe = assert(io.popen "grep -lE 'sim_it' spec/raft/*_spec.lua spec/kv/*_spec.lua spec/sim/*kv*_spec.lua")
  local list = {}
  for path in pipe:lines() do
    list[#list + 1] = path
  end
  pipe:close()
  assert(list[1], "there are no specs here; run this from the top of the source")
  return list
end

local function simulated(path)
  local seed = loop.random(1, 1 << 40)
  local words = { support.bin, "test", "--seed", tostring(seed), "--timeout", tostring(SPEC_TIMEOUT), path }
  words.seconds = SPEC_TIMEOUT
  local code, out, err = process.run(words)
  -- What a spec has counted over its seeds is short with one; only a failure that has a seed is one here.
  if code ~= 0 and (out:find("--seed " .. seed, 1, true) or not out:find "FAILED spec/") then
    violated(path, out .. err, ("lunode test --seed %d --trace %s"):format(seed, path))
  end
  say("%s with seed %d: %s", path, seed, out:match "%d+ passed")
end

-- ---------------------------------------------------------------- real processes

local skipped = {}

local function real(scenario)
  local rounds = loop.random(1, ROUNDS)
  local why = scenario.unless and scenario.unless()
  if why then
    if not skipped[scenario.name] then
      say("%s: skipped, %s", scenario.name, why)
    end
    skipped[scenario.name] = true
    return
  end
  local ok, told = xpcall(scenarios.run, debug.traceback, scenario, rounds)
  if ok then
    local times = told.failovers
    local slowest = #times > 0 and (", writes went on after %.2f s at the most"):format(times[#times]) or ""
    say("%s, %d rounds: %d kills, %d operations%s", scenario.name, rounds, told.kills, told.counts.ok, slowest)
  else
    local again = ("LUNODE_FULL=1 lunode test --timeout %d --filter '%s' spec/cluster/faults_spec.lua")
      :format(SPEC_TIMEOUT, scenario.name)
    violated(scenario.name, tostring(told), again)
  end
end

-- ---------------------------------------------------------------- hours

local function main(hours)
  local specs, turn = simulated_specs(), 0
  local function stage(fn, ...)
    cleanup.begin_test()
    fn(...)
    cleanup.end_test()
  end
  repeat
    turn = turn + 1
    stage(worlds)
    stage(simulated, specs[(turn - 1) % #specs + 1])
    stage(real, scenarios.list[(turn - 1) % #scenarios.list + 1])
  until loop.now() - begun > hours * 3600
  say "nothing was wrong"
end

if arg[1] == "--world" then
  show_world(assert(math.tointeger(arg[2]), "which world?"))
else
  local hours = tonumber(arg[1] or 1)
  if not hours or hours <= 0 or arg[2] then
    io.stderr:write "usage: lunode run spec/soak.lua [HOURS]\n"
    os.exit(2)
  end
  main(hours)
end
