-- A cluster of key-value nodes, unmodified, where everything around it fails: what its replies promise holds, whichever
-- member gave them, and its members never differ. That these worlds find what is wrong is shown by bugs put back.

local kit = require "spec.sim.kv_cluster_kit"
local sim = require "lunode.sim"
local worlds = require "spec.sim.kv_cluster_worlds"

local totals = { ok = 0, unknown = 0, refused = 0, lives = 0, compared = 0, replaced = 0 }

local function add(cluster, told)
  for _, counts in pairs(told or {}) do
    for name, count in pairs(counts) do
      totals[name] = totals[name] + count
    end
  end
  totals.compared = totals.compared + cluster.told.compared
  for _, state in pairs(cluster.states) do
    totals.lives = totals.lives + state.lives
    totals.replaced = totals.replaced + state.replaced
  end
end

describe("a cluster of key-value nodes", function()
  sim_it("is linearizable on whichever member, where nothing fails", { seeds = 2, full = 30 }, function(world)
    local _, told = worlds.linearizable(world, 3)
    assert.equal(0, told.ann.unknown + told.bob.unknown + told.cleo.unknown + told.ann.refused)
  end)

  for what, kinds in pairs { processes = worlds.PROCESSES, disks = worlds.DISKS, networks = worlds.NETWORK } do
    sim_it(("is linearizable where %s fail"):format(what), { seeds = 3, full = 100 }, function(world)
      add(worlds.linearizable(world, 3, kinds))
    end)
  end

  sim_it("of five is linearizable where all of that fails", { seeds = 2, full = 100 }, function(world)
    add(worlds.linearizable(world, 5, worlds.ALL, { log_keep = 1000 }))
  end)

  sim_it("is linearizable while all its members are exchanged, one by one", { seeds = 2, full = 100 }, function(world)
    add(worlds.linearizable(world, 3, { "latency", "reset", "crash", "pause" }, { exchange = true, log_keep = 1000 }))
  end)

  sim_it("comes to the same state on all members, whatever the commands", { seeds = 3, full = 100 }, function(world)
    add(worlds.alike(world, 3, worlds.ALL, { log_keep = 1000 }))
  end)

  it("has met there what it is to be proven against", function()
    for name, least in pairs { ok = 1000, unknown = 5, refused = 10, lives = 50, compared = 3000, replaced = 1 } do
      assert.is_true(totals[name] >= least, ("%s: %d"):format(name, totals[name]))
    end
  end)
end)

-- Each with the world that is to find it, within so many seeds; `seed`: where the search begins.
local BUGS = {
  {
    name = "a member reads without asking anybody", world = "linearizable", kinds = "NETWORK", seed = 5,
    module = "lunode.kv.replicated", from = "if not entry.reads then\n    return true",
    to = "if true then\n    return true",
  },
  {
    name = "what is unknown is sent again", world = "linearizable", kinds = "NETWORK", rare = true,
    module = "lunode.kv.units",
    from = "    unsettle(self)\n    if up then",
    to = "    take_back(self, self.first)\n    if up then",
  },
  {
    name = "entries are applied before they are committed", world = "alike", kinds = "NETWORK", seed = 2,
    module = "lunode.raft.core", from = "math.min(self.commit, self.log.persisted)", to = "self.log.persisted",
  },
  {
    name = "a command draws lots on its own", world = "alike", kinds = "NETWORK",
    module = "lunode.kv.context", from = "if not self.seed and not self.db.writing then", to = "if true then",
  },
  {
    name = "a key's time to live goes by the member's clock", world = "alike", kinds = "PROCESSES",
    module = "lunode.kv.writes", from = "ctx.now, db.now, self.seed = entry.time, entry.time, entry.seed",
    to = "self.node:read_clock() self.seed = entry.seed",
  },
  {
    name = "a new leader reads before it knows what is committed", world = "linearizable", kinds = "PROCESSES",
    rare = true,
    module = "lunode.raft.reads", from = "return self.commit >= self.noop_index", to = "return true",
  },
  {
    name = "a leader is kinder to transactions", world = "alike", kinds = "NETWORK", seed = 2,
    module = "lunode.kv.replicated_watches", from = "local same = record[2] == 0",
    to = "local same = record[2] == 0 or self.node.writes:leads()",
  },
}

local FULL = os.getenv "LUNODE_FULL" == "1"
local SEEDS = FULL and 200 or 25

describe("these worlds find it where", function()
  for _, bug in ipairs(BUGS) do
    local test = (FULL or not bug.rare) and it or pending
    test(bug.name, function()
      local options = { bug = kit.bug(bug), log_keep = 1000 }
      local first = bug.seed or 1
      for seed = first, first + SEEDS - 1 do
        local ok = pcall(worlds[bug.world], sim.new { seed = seed }, 3, worlds[bug.kinds], options)
        if not ok then
          return
        end
      end
      error(("%d worlds have not found it"):format(SEEDS))
    end)
  end
end)
