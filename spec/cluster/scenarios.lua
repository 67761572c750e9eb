-- What can happen to a cluster of real processes while clients use it. Each scenario is rounds of something that goes
-- wrong and is over again; what the clients saw is checked at the end.
--
--   local scenarios = require "spec.cluster.scenarios"
--   for _, scenario in ipairs(scenarios.list) do
--     local told = scenarios.run(scenario, rounds)      -- raises where anything was lost or is not linearizable
--   end
--   told.kills, told.counts, told.failovers             -- seconds from a leader's death to the next write, sorted

local clients = require "spec.cluster.clients"
local kit = require "spec.cluster.kit"
local loop = require "lunode.loop"
local networks = require "spec.cluster.networks"
local strace = require "spec.support.strace"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

---@class spec.cluster.scenario
---@field name string
---@field options table       of the cluster
---@field clients? table      theirs
---@field rounds integer      in an ordinary run
---@field full integer        with LUNODE_FULL=1
---@field unless? fun(): string?  why this system cannot have it
---@field round fun(c: spec.cluster, cl: table, i: integer, told: table)

---@type spec.cluster.scenario[]
M.list = {}

local function add(scenario)
  M.list[#M.list + 1] = scenario
end

local function kill(m, told)
  m:kill9()
  told.kills = told.kills + 1
end

-- ---------------------------------------------------------------- processes

add {
  name = "a leader is killed", options = { members = 3 }, clients = { probes = true }, rounds = 2, full = 110,
  round = function(c, cl, _, told)
    local leader = c:leader()
    kill(leader, told)
    local write = cl:first_write()
    cl:after(20)
    told.failovers[#told.failovers + 1] = wait.till(function()
      return write.at
    end) - write.since
    leader:start()
    cl:after(30)
  end,
}

add {
  name = "two of five are killed, the leader with them", options = { members = 5 }, rounds = 0, full = 35,
  round = function(c, cl, _, told)
    local leader = c:leader()
    local other = c:follower()
    kill(leader, told)
    kill(other, told)
    cl:after(20)
    leader:start()
    other:start()
    cl:after(30)
  end,
}

add {
  name = "all are killed", options = { members = 3 }, rounds = 1, full = 20,
  round = function(c, cl, _, told)
    for _, m in ipairs(c.members) do
      kill(m, told)
    end
    c:heal()
    cl:after(30)
  end,
}

add {
  name = "one is killed again and again as it starts", options = { members = 3 }, rounds = 1, full = 15,
  round = function(c, cl, _, told)
    local m = c.members[loop.random(1, 3)]
    for _ = 1, 4 do
      kill(m, told)
      m:start()
      cl:after(loop.random(0, 15))
    end
    cl:after(20)
  end,
}

add {
  name = "one is stopped, and goes on", options = { members = 3 }, clients = { seconds = 1 }, rounds = 1, full = 20,
  round = function(c, cl, i)
    local m = i % 2 == 1 and c:leader() or c:follower()
    m:pause()
    cl:after(100)
    m:resume()
    cl:after(30)
  end,
}

-- ---------------------------------------------------------------- members

-- A member's row of RAFT STATUS, as the leader has it: one that is removed may not learn that.
local function row_of(c, id)
  local status = c:leader():status()
  for _, row in ipairs(status and status.members or {}) do
    if row.id == id then
      return row
    end
  end
  return status and "none" or nil
end

add {
  name = "members join and are removed", options = { members = 3 }, rounds = 1, full = 12,
  round = function(c, cl, i, told)
    local new = c:join("n" .. 3 + i)
    if i % 2 == 0 then
      local leader = c:leader()
      kill(leader, told)
      cl:after(20)
      leader:start()
    end
    wait.till(function()
      new:check_alive()
      local row = row_of(c, new.id)
      return row and row ~= "none" and row.voter == "yes" and row.state == "ok"
    end, 30, new.id .. " to be a voter that has caught up")
    local old = c.members[loop.random(1, 3)]
    wait.till(function()
      c:leader():ask("RAFT", "REMOVE", old.id)
      return row_of(c, old.id) == "none"
    end, 30, old.id .. " to be removed")
    c:forget(old)
    cl:after(30)
  end,
}

-- ---------------------------------------------------------------- the network

-- Each leaves a quorum connected.
local cuts = {
  function(c, leader)
    c:isolate(leader)
  end,
  function(c, leader) -- the leader is heard, and hears nothing
    for _, m in ipairs(c.members) do
      if m ~= leader then
        c:cut { from = m, to = leader }
      end
    end
  end,
  function(c, leader) -- the leader is not heard
    for _, m in ipairs(c.members) do
      if m ~= leader then
        c:cut { from = leader, to = m }
      end
    end
  end,
  function(c, leader)
    c:cut { from = leader, to = c:follower(), both = true }
  end,
  function(c, leader)
    c:cut { from = leader, to = c:follower() }
  end,
  function(c, leader)
    c:cut { from = c:follower(), to = leader }
  end,
}

for _, of in ipairs { { members = 3, rounds = 2, full = 24 }, { members = 5, rounds = 0, full = 18 } } do
  add {
    name = ("links of %d are cut, both ways or one way"):format(of.members), rounds = of.rounds, full = of.full,
    options = { members = of.members, network = true }, clients = { seconds = 1 }, unless = networks.missing,
    round = function(c, cl, i, told)
      cuts[(i - 1) % #cuts + 1](c, c:leader())
      cl:after(60)
      if i % 3 == 0 then -- and what was cut comes back while one is away
        local m = c:follower()
        kill(m, told)
        c:heal()
      end
      c.network:join_all()
      cl:after(30)
    end,
  }
end

-- ---------------------------------------------------------------- disks

add {
  name = "each has a slow disk", rounds = 0, full = 20, unless = function()
    return not strace.usable() and "this system does not let processes be traced" or nil
  end,
  options = {
    members = 3, env = strace.ENV, wrapper = function(m)
      local delay = ("fdatasync:delay_enter=%d"):format(m.id == "n1" and 100000 or 5000) -- microseconds
      return strace.wrapper("/dev/null", "fdatasync", delay)
    end,
  },
  round = function(c, cl, i, told)
    local m = i % 2 == 0 and c:leader() or c:follower()
    kill(m, told)
    cl:after(20)
    m:start()
    cl:after(20)
  end,
}

local DISK = "400m" -- what the log keeps, and more

local function sh(line, ...)
  local words = {}
  for i, word in ipairs { ... } do
    words[i] = tmp.quote(word)
  end
  return os.execute(line:format(table.unpack(words)) .. " 2>/dev/null")
end

add {
  name = "a disk is full", rounds = 0, full = 6, unless = function()
    local dir = tmp.dir()
    if not sh("mount -t tmpfs -o size=1m tmpfs %s && umount %s", dir, dir) then
      return "no file system can be mounted here"
    end
  end,
  options = {
    members = 3, data = function(m)
      m.disk = tmp.dir()
      assert(sh("mount -t tmpfs -o size=" .. DISK .. " tmpfs %s", m.disk))
      require("lunode.test.cleanup").add(function()
        assert(sh("umount -l %s", m.disk))
      end)
      return m.disk .. "/data"
    end,
  },
  round = function(c, cl, i)
    local m = i % 2 == 0 and c:leader() or c:follower()
    sh("fallocate -l %s %s 2>/dev/null || dd if=/dev/zero of=%s bs=1M", DISK, m.disk .. "/filler", m.disk .. "/filler")
    sh("dd if=/dev/zero of=%s bs=4k oflag=append conv=notrunc", m.disk .. "/filler")
    local big = ("x"):rep(1 << 20)
    for j = 1, 100 do -- until the room that the log has in reserve is used up, too
      local reply = c:leader():ask("SET", "filler:" .. j % 4, big)
      if not reply or reply.err then
        break
      end
    end
    if i % 2 == 1 then
      cl:after(20) -- a follower's disk hinders nobody
    end
    assert(os.remove(m.disk .. "/filler"))
    cl:after(30)
  end,
}

-- ---------------------------------------------------------------- a run

---@param sorted number[]
---@param share number
---@return number
function M.percentile(sorted, share)
  return sorted[math.max(1, math.ceil(#sorted * share))]
end

---Founds a cluster, lets its clients begin, has the rounds, and judges.
---@param scenario spec.cluster.scenario
---@param rounds integer
---@param each? fun(i: integer, told: table)  behind each round
---@return { kills: integer, counts: table<string, integer>, refusals: table<string, integer>, failovers: number[] }
function M.run(scenario, rounds, each)
  local c = kit.cluster(scenario.options)
  local cl = clients.new(c, scenario.clients)
  local told = { kills = 0, failovers = {}, counts = cl.counts, refusals = cl.refusals }
  cl:after(30)
  for i = 1, rounds do
    scenario.round(c, cl, i, told)
    if each then
      each(i, told)
    end
  end
  c:heal()
  cl:after(20)
  cl:stop()
  cl:read_all()
  cl:check()
  c:agree()
  for _, m in ipairs(c.members) do
    m:check_alive()
  end
  table.sort(told.failovers)
  return told
end

return M
