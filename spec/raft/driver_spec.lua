-- The driver in simulated worlds: real members over log, store and connections, with crashes, partitions and snapshots.

local kit = require "spec.raft.kit"

local function others(cluster, name)
  local list = {}
  for _, other in ipairs(cluster.names) do
    if other ~= name then
      list[#list + 1] = other
    end
  end
  return list
end

describe("a cluster of three", function()
  sim_it("elects a leader, and replicates what is proposed to it", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader(10)
    for i = 1, 50 do
      cluster:propose(leader, "write", "k", "v" .. i)
    end
    local result, err = cluster:finish(cluster:propose(leader, "cas", "k", "v50", "last"))
    assert(result == true, tostring(err))
    cluster:agree(cluster.names)
    assert.equal("last", cluster.state.n2.get "k")
  end)
end)
