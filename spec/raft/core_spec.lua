-- What transcripts do not show well: misuse, bounds, hostile messages, many steps.

local config = require "lunode.raft.config"
local core = require "lunode.raft.core"
local memory_log = require "lunode.raft.memory_log"
local message = require "lunode.raft.message"
local node = require "spec.raft.node"
local prng = require "spec.support.prng"

local function options(changes)
  local all = {
    id = "n1", config = node.voters { "n1", "n2", "n3" }, log = memory_log.new(), now = 0, random = function()
      return 0.5
    end,
  }
  for key, value in pairs(changes or {}) do
    all[key] = value
  end
  return all
end

-- A single voter, which leads.
local function leader(changes)
  local all = { id = "n1", config = node.voters { "n1" }, now = 0, random = function()
    return 0.5
  end }
  for key, value in pairs(changes or {}) do
    all[key] = value
  end
  local n = node.new(all)
  n:step { type = "campaign" }
  while n:sync() or n:apply() do end
  assert.equal("leader", n.core.role)
  return n
end

describe("raft.new", function()
  it("refuses what it cannot work with, and says what", function()
    for _, case in ipairs {
      { { id = "a b" }, "id must be" },
      { { config = false }, "config is missing" },
      { { random = false }, "random is missing" },
      { { now = "x" }, "now is missing" },
      { { heartbeat = 2 }, "election_timeout must exceed heartbeat" },
      { { heartbeat = 0 }, "election_timeout must exceed heartbeat" },
      { { clock_drift = 0.5 }, "clock_drift" },
      { { applied = 3 }, "the log holds 1 to 0, and the state machine has applied 3" },
      { { log = memory_log.new(5, 1) }, "the log holds 6 to 5, and the state machine has applied 0" },
      { { log = memory_log.new(5, 2), applied = 5, hard_state = { term = 1 } }, "the hard state is of term 1" },
    } do
      local ok, err = pcall(function()
        core.new(options(case[1]))
      end)
      assert.is_false(ok)
      assert.matches(case[2], err, 1, true)
      assert.matches("core_spec", err) -- where the mistake is
    end
  end)

  it("starts from what is on the disk", function()
    local log = memory_log.new(4, 2)
    log:append {
      { index = 5, term = 2, type = core.COMMAND, payload = "a" },
      { index = 6, term = 3, type = core.CONFIG, payload = "voter n1 -\n" },
    }
    local status = core.new(options { log = log, applied = 5, hard_state = { term = 7, vote = "n2" } }):status()
    assert.equal(7, status.term)
    assert.equal("n2", status.vote)
    assert.equal(5, status.commit)
    assert.equal(6, status.config_index)
    assert.same({ "n1" }, status.config.voters)
  end)
end)

describe("an event", function()
  it("that does not exist is the caller's mistake", function()
    local ok, err = pcall(core.new(options()).step, core.new(options()), { type = "nonsense" })
    assert.is_false(ok)
    assert.matches("there is no event nonsense", err)
  end)

  it("with a proposal that is no list of strings changes nothing", function()
    local n = leader()
    local last = n.core.log.last
    for _, entries in ipairs { { 7 }, { "a", {} }, { "a", false }, {}, false, "a" } do
      local ok, err = pcall(n.core.step, n.core, { type = "propose", entries = entries })
      assert.is_false(ok)
      assert.matches("propose wants entries, a list of strings", err)
    end
    assert.matches("change wants a change", select(2, pcall(n.core.step, n.core, { type = "change" })))
    assert.equal(last, n.core.log.last)
  end)

  it("that reports what was never handed out is dropped, with a reason", function()
    local n = leader()
    for _, event in ipairs {
      { type = "persisted", sequence = 99 }, { type = "persisted" }, { type = "applied", index = 99 },
      { type = "applied" }, { type = "snapshot_saved", index = 99 }, { type = "snapshot_saved" },
      { type = "snapshot_installed", index = 9, log_term = 1, ok = true },
      { type = "snapshot_sent", peer = "n2", session = 1, ok = true },
    } do
      local update = n:step(event)
      assert.is_string(update.dropped[1].reason)
    end
  end)

  it("moves no clock back", function()
    local r = core.new(options())
    r:step { type = "tick", now = 5 }
    r:step { type = "tick", now = 3 }
    assert.equal(5, r.now)
  end)
end)

describe("a server alone", function()
  it("leads at once, and commits what it has persisted", function()
    local n = leader()
    local update = n:step { type = "propose", entries = { "a", "b" }, id = "mine" }
    assert.same({ first = 2, last = 3, term = 1, id = "mine" }, update.proposed)
    assert.is_nil(update.committed)
    assert.is_true(n:sync())
    assert.equal(2, #n.to_apply)
    update = n:step { type = "read", id = "r" }
    assert.same({ { id = "r", index = 3 } }, update.reads)
  end)

  it("is handed entries in pieces that fit, as it applies them", function()
    local n = leader { max_message_bytes = 200 }
    n:step { type = "propose", entries = { ("x"):rep(100), ("y"):rep(100), ("z"):rep(100) } }
    n:sync()
    assert.equal(1, #n.to_apply)
    n:apply()
    assert.equal(1, #n.to_apply)
    n:apply()
    n:apply()
    assert.equal(4, n.store.applied)
  end)

  it("keeps nothing of what is applied in memory", function()
    local n = leader()
    for i = 1, 1000 do
      n:step { type = "propose", entries = { "entry " .. i } }
      n:sync()
      n:apply()
    end
    assert.is_nil(next(n.core.log.tail))
    assert.equal(0, n.core.log.tail_bytes)
    assert.equal(0, n.core.uncommitted_bytes)
  end)

  it("bounds the reads that wait", function()
    local n = node.new { id = "n1", config = node.voters { "n1", "n2" }, now = 0, max_reads = 3, random = function()
      return 0
    end }
    n:step { type = "message", message = {
      type = "append", from = "n2", to = "n1", term = 1, session = 1, prev_index = 0, prev_term = 0, entries = {},
      commit = 0,
    } }
    for i = 1, 3 do
      assert.is_nil(n:step({ type = "read", id = i }).refused)
    end
    assert.equal("too many reads are waiting", n:step({ type = "read", id = 4 }).refused[1].reason)
    local update = n:step { type = "tick", now = 9 }
    assert.equal(3, #update.refused)
  end)
end)

describe("a message from a peer", function()
  local function sorted_keys(map)
    local keys = {}
    for key in pairs(map) do
      keys[#keys + 1] = key
    end
    table.sort(keys)
    return keys
  end

  local kinds = sorted_keys(message.fields)

  local VALUES = {
    0, 1, 2, 3, 7, -1, 1.5, 2 ^ 53, math.maxinteger, math.mininteger, 0 / 0, math.huge, "", "x", "n1", "n2", true,
    false, {}, { 1 }, { {} }, "voter n1 -\n", "voter n2 -\nvoter n3 -\n",
  }

  local function entry(chance)
    return {
      index = chance:int(0, 5), term = chance:int(0, 4), type = chance:int(0, 4), payload = chance:pick { "a", "", 7 },
    }
  end

  -- Not far from what makes sense now, else little would be looked at.
  local function random_message(chance, c)
    local kind = chance:pick(kinds)
    local m = {
      type = kind, from = chance:pick { "n2", "n2", "n2", "n3", "n9" }, to = "n1", entries = {},
      term = math.max(1, c.term + chance:pick { 0, 0, 0, 0, 0, 0, 0, 1, -1 }),
    }
    for _, name in ipairs(sorted_keys(message.fields[kind])) do
      m[name] = name:find "term" and chance:int(0, c.term) or name:find "session" and chance:int(1, 2)
        or math.max(0, c.log.last + chance:int(-2, 1))
    end
    if m.prev_index then
      m.prev_term = chance:odds(0.8) and c.log:term(m.prev_index) or m.prev_term
    end
    m.config, m.granted, m.reject = "voter n1 -\nvoter n2 -\n", chance:odds(0.5), chance:odds(0.3) or nil
    for _ = 1, chance:int(0, 3) do
      m.entries[#m.entries + 1] = chance:odds(0.8)
        and { index = (m.prev_index or 0) + #m.entries + 1, term = m.term, type = 1, payload = "x" } or entry(chance)
    end
    if chance:odds(0.2) then
      m[chance:pick { "type", "from", "to", "term", "session", "index", "prev_index", "prev_term", "commit", "entries",
        "config", "round", "sent", "granted", "hint_index", "hint_term", "reject", "context", "last_index" }] =
        chance:pick(VALUES)
    end
    return m
  end

  -- What must hold of a server whatever it is told.
  local function check(n)
    local c = n.core
    assert.is_true(c.commit <= c.log.last)
    assert.is_true(c.handed <= c.commit and c.applied <= c.handed)
    assert.is_true(c.log.persisted <= c.log.last and c.log.first <= c.log.last + 1)
    assert.equal(c.log.last_term, c.log:term(c.log.last))
    assert.is_true(c.term >= c.log.last_term)
    assert.is_true(c.configs[1] ~= nil and c.config == c.configs[#c.configs].config)
  end

  it("never raises, nor breaks the state, whatever it holds", function()
    local taken, dropped = 0, 0
    for seed = 1, os.getenv "LUNODE_FULL" == "1" and 5000 or 200 do
      local chance = prng.new(seed)
      local n = node.new {
        id = "n1", config = node.voters { "n1", "n2", "n3" }, now = 0, watch = { fault = error }, random = function()
          return chance:int(0, 99) / 100
        end,
      }
      local committed = 0
      for step = 1, 60 do
        local m = random_message(chance, n.core)
        m.data = { applied = m.index, term = m.log_term, config = "voter n1 -\n", digest = 0 }
        local update = n:step { type = "message", message = m, now = step * 0.1 }
        if update.dropped then
          dropped = dropped + 1
        else
          taken = taken + 1
        end
        if chance:odds(0.3) then
          n:step { type = chance:pick { "tick", "campaign" }, now = step * 0.1 }
        end
        if chance:odds(0.5) then
          n:sync()
        end
        if chance:odds(0.5) then
          n:apply()
        end
        check(n)
        assert.is_true(n.core.commit >= committed)
        committed = n.core.commit
      end
    end
    assert.is_true(taken > 1000 and dropped > 1000, ("%d taken, %d dropped"):format(taken, dropped))
  end)

  it("that is no table is none", function()
    local r = core.new(options())
    for _, value in ipairs { 7, "x", true } do
      assert.equal("it is not a message", r:step({ type = "message", message = value }).dropped[1].reason)
    end
    assert.equal("it is not a message", r:step({ type = "message" }).dropped[1].reason)
  end)

  it("has as long a term as can be counted, and no longer", function()
    local r = core.new(options())
    local update = r:step { type = "message", message = {
      type = "heartbeat", from = "n2", to = "n1", term = 1 << 53, session = 1, commit = 0, round = 0, sent = 0,
    } }
    assert.equal("its term is out of range", update.dropped[1].reason)
    assert.equal(0, r.term)
  end)
end)

describe("raft's scripts", function()
  it("require nothing but each other", function()
    for _, name in ipairs {
      "core", "config", "election", "follower", "leader", "log", "membership", "memory_log", "message", "progress",
      "reads",
    } do
      local file = assert(io.open(assert(package.searchpath("lunode.raft." .. name, package.path))))
      local source = file:read "a"
      file:close()
      for required in source:gmatch "require[ (]+\"([^\"]+)\"" do
        assert.matches("^lunode%.raft%.", required)
      end
    end
  end)

  it("know the same types of entries", function()
    assert.same({ 1, 2, 3 }, { core.COMMAND, core.NOOP, core.CONFIG })
  end)

  it("give and take a configuration as text", function()
    assert.is_string(config.new({}):encode())
  end)
end)
