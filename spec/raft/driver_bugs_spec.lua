-- Bugs put into the driver's source, and worlds that notice each: so that the worlds without one mean something.

local cleanup = require "lunode.test.cleanup"
local data = require "spec.support.data"
local kit = require "spec.raft.kit"
local sim = require "lunode.sim"
local tmp = require "lunode.test.tmp"

local FULL = os.getenv "LUNODE_FULL" == "1"
local SEEDS = 40

local function others(cluster, name)
  local list = {}
  for _, other in ipairs(cluster.names) do
    if other ~= name then
      list[#list + 1] = other
    end
  end
  return list
end

-- ---------------------------------------------------------------- worlds

local OPTIONS = { store = true, log_keep = 2000, overlay = 3000 }

local function up(world, cluster, name)
  assert(world:run_until(function()
    return cluster:is_up(name)
  end, 10), name .. " does not come up: " .. tostring(cluster.state[name].refused))
end

-- Power fails here and there while all write and cut their logs.
local function cuts(world)
  local cluster, rng = kit.cluster(world, 3, OPTIONS), world:stream "spec"
  for i = 1, 8 do
    for j = 1, 12 do
      cluster:write("k" .. (i * 12 + j) % 40, i .. ("v"):rep(300))
    end
    world:run(rng:between(0, 0.01))
    local name = rng:pick(cluster.names)
    world:crash(name)
    world:restart(name)
    up(world, cluster, name)
  end
  cluster:agree(cluster.names)
end

-- One that has missed what the others have in their stores, and no more in their logs.
local function lagging(world, small)
  local options = setmetatable({ overlay = 50000 }, { __index = OPTIONS })
  local cluster = kit.cluster(world, 3, options)
  local away = others(cluster, cluster:leader())[1]
  world:crash(away)
  if not small then -- more than an overlay: it is brought to the disk
    cluster:finish(cluster:propose(cluster:leader(), "pad", 700000))
  end
  for i = 1, 20 do
    cluster:write("k" .. i, ("v"):rep(200))
  end
  if small then -- it is, for its age
    world:run(31)
    cluster:write("k", "v")
    world:run(1)
  end
  assert(cluster.state[cluster:leader()].node.storage.log:first() > 2, "the log was not cut")
  world:restart(away)
  return cluster, away
end

-- One is sent copies, while it, the connections and the leader fail, and others write.
local function copies(world)
  local cluster, away = lagging(world)
  local rng = world:stream "spec"
  for i = 1, 12 do
    up(world, cluster, away)
    world:run(rng:between(0, 0.4))
    local what = rng:integer(1, 4)
    if what == 1 then
      world:crash(away)
      world:restart(away)
    elseif what == 2 then
      world:fault { kind = "reset", nodes = { away, cluster:leader() } }
    elseif what == 3 then
      local leader = cluster:leader()
      world:crash(leader)
      world:restart(leader)
    end
    cluster:write("k" .. i, ("w"):rep(100))
  end
  cluster:agree(cluster.names)
  world:crash(away)
  world:restart(away)
  up(world, cluster, away)
  cluster:agree(cluster.names)
end

-- The power fails as soon as a copy is in force.
local function cut_behind(world)
  local cluster, away = lagging(world, true)
  assert(world:run_until(function()
    local node = cluster:is_up(away)
    return node and node.state.name == "data-1"
  end, 20))
  world:crash(away)
  world:restart(away)
  up(world, cluster, away)
  cluster:agree(cluster.names)
end

-- Two of three have lost their disks.
local function wiped(world)
  local cluster = kit.cluster(world, 3, OPTIONS)
  cluster:write("k", "v")
  cluster:agree(cluster.names)
  local rest = others(cluster, cluster:leader())
  for _, name in ipairs(rest) do
    world:kill(name)
    cluster:wipe(name)
    world:restart(name)
  end
  world:run(20)
  for _, name in ipairs(rest) do
    assert(cluster.state[name].node and not cluster.state[name].node.core, name .. " takes part")
  end
end

-- Whoever has lost its disk is met by one that never met it before.
local function newcomer(world)
  local cluster = kit.cluster(world, 3, OPTIONS)
  cluster:member("n4", nil, setmetatable({ join = "n1:7001" }, { __index = OPTIONS }))
  assert(world:run_until(function()
    local node = cluster:is_up "n4"
    return node and node.core.config:is_voter "n4"
  end, 20))
  world:kill "n4"
  cluster:wipe "n4"
  cluster:member("n5", nil, setmetatable({ join = "n1:7001" }, { __index = OPTIONS }))
  assert(world:run_until(function()
    local node = cluster:is_up "n5"
    return node and node.core.config.members.n4
  end, 20))
  world:restart "n4"
  world:run(5)
  assert(not cluster:is_up "n5".transport:is_ready "n4", "it is let in")
end

-- ---------------------------------------------------------------- bugs

local AT_ONCE = "(function(change, fn) disk:put_snapshot(change, function() end) fn() end)"

local bugs = {
  {
    name = "a copy is in force before it is on the disk", module = "lunode.raft.copies", world = cut_behind,
    from = "ok, err = receiving.store:flush(function(failure)",
    to = "ok, err = (function(fn) fn() return true end)(function(failure)",
  },
  {
    name = "the log is reset before the copy is in force", module = "lunode.raft.carry", world = copies,
    from = "self.storage:put_snapshot(meta, function(err)",
    to = "local disk = self.storage " .. AT_ONCE .. "(meta, function(err)",
  },
  {
    name = "the log is cut before it is known elsewhere what it told", module = "lunode.raft.data", world = cuts,
    from = "disk:put_snapshot(mark, function(err)", to = AT_ONCE .. "(mark, function(err)",
  },
  {
    name = "the log is cut behind what the store has on the disk", module = "lunode.raft.data", world = cuts,
    from = "math.min(self.durable, self.driver.told_applied,", to = "math.min(self.driver.told_applied,",
  },
  {
    name = "a restart takes what was applied for new", module = "lunode.raft.data", world = cuts,
    from = "disk.log:entries(disk.snapshot.index + 1, self.store:applied())",
    to = "disk.log:entries(disk.snapshot.index + 1, disk.snapshot.index)",
  },
  {
    name = "pieces of two copies are mixed", seldom = true, module = "lunode.raft.copies", world = copies,
    from = "if receiving and receiving.meta.name == meta.name then", to = "if receiving then",
  },
  {
    name = "a view is taken for what the store is now", module = "lunode.raft.copies", world = copies,
    from = "    meta = view.meta,\n",
    to = "    meta = setmetatable({ index = self.data.driver.applied }, { __index = view.meta }),\n",
  },
  {
    name = "founders do not wait until all know", module = "lunode.raft.founding", world = wiped,
    from = "if not self.ending and #self:missing() == 0 then", to = "if not self.ending and has_all(self) then",
  },
  {
    name = "a voter may come with another disk", module = "lunode.raft.peers", world = newcomer,
    from = "if member and member.disk then", to = "if member and not member.id then",
  },
}

-- Nodes find the module with the bug before the one without.
local function put_in(bug)
  local path = assert(package.searchpath(bug.module, package.path))
  local source = tmp.read(path)
  local from, to = source:find(bug.from, 1, true)
  assert(from, "it finds nothing to break any more")
  assert(not source:find(bug.from, to + 1, true), "what it breaks is there more than once")
  local dir, before = tmp.dir(), package.path
  data.sh("mkdir -p %s/lunode/raft", dir)
  tmp.write(("%s/%s.lua"):format(dir, bug.module:gsub("%.", "/")), source:sub(1, from - 1) .. bug.to
    .. source:sub(to + 1))
  package.path = dir .. "/?.lua;" .. before
  cleanup.add(function()
    package.path = before
  end)
end

local function notices(bug)
  for seed = 1, SEEDS do
    local ok = pcall(bug.world, sim.new { seed = seed, bandwidth = 2000000 })
    if not ok then
      return seed
    end
  end
end

describe("the worlds of the driver notice that", function()
  for _, bug in ipairs(bugs) do
    if FULL or not bug.seldom then
      it(bug.name, function()
        put_in(bug)
        assert.is_truthy(notices(bug))
      end)
    end
  end
end)

describe("the worlds of the driver pass", function()
  for _, case in ipairs { { "cuts", cuts }, { "copies", copies }, { "cut_behind", cut_behind }, { "wiped", wiped },
    { "newcomer", newcomer } } do
    sim_it("where there is no bug: " .. case[1], { seeds = 2, full = 40, world = { bandwidth = 2000000 } }, case[2])
  end
end)
