-- Prints the trace hash of each scenario under seeds FROM … TO, a line each: spec/sim/determinism_spec.lua compares
-- two processes. `lunode run spec/sim/hashes.lua FROM TO`, from the project's folder.

package.path = "./?.lua;" .. package.path
local sim = require "lunode.sim"
local scenarios = require "spec.sim.scenarios"

for seed = tonumber(arg[1]), tonumber(arg[2]) do
  for _, name in ipairs(scenarios.names) do
    print(name, seed, scenarios.run(sim, name, seed):trace_hash())
  end
end
