-- The client libraries that people have, in their cluster modes, against three processes: their leader is killed, and
-- each goes on with the one that follows.

local kit = require "spec.cluster.kit"
local libraries = require "spec.support.libraries"
local wait = require "lunode.test.wait"

-- All that are here, and why others are not.
local function programs_here()
  local programs, missing = {}, {}
  for _, file in ipairs { "redis_py_cluster.py", "ioredis_cluster.js", "node_redis_cluster.js" } do
    local program, why = libraries.program(file)
    programs[#programs + 1], missing[#missing + 1] = program, why
  end
  return programs, missing
end

-- Three, of which each knows where clients reach the others.
local function cluster(words)
  local c = kit.cluster { members = 3, words = words }
  for _, m in ipairs(c.members) do
    wait.till(function()
      local slots = m:ask("CLUSTER", "SLOTS")
      return slots and slots[1] and #slots[1] == 5
    end, 20, m.id .. " to know the others")
  end
  return c
end

-- All at once: one failover is enough for them.
local function go_on(words)
  local programs, missing = programs_here()
  if #programs > 0 then
    local c = cluster(words)
    local asked = c:follower()
    for _, program in ipairs(programs) do
      program:start(asked.host, asked.port)
    end
    for _, program in ipairs(programs) do
      program:wait_request()
    end
    c:leader():kill9()
    wait.till(function()
      return (c:leader():ask("SET", "killed", "1") or {}).ok == "OK"
    end, 20, "another leader to take a write")
    for _, program in ipairs(programs) do
      program:finish()
    end
  end
  if #missing > 0 then
    pending(table.concat(missing, "; "))
  end
end

describe("python3-redis, npm's ioredis and npm's redis go on after the leader's death", function()
  it("where members forward to the leader", function()
    go_on {}
  end)

  it("where they answer with MOVED", function()
    go_on { "--redirect", "moved" }
  end)
end)
