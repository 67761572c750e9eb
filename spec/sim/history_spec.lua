local explain = require "lunode.sim.history.explain"
local history = require "lunode.sim.history"
local kit = require "spec.sim.history_kit"
local lunode = require "spec.support.lunode"
local prng = require "spec.support.prng"
local sim = require "lunode.sim"
local tmp = require "lunode.test.tmp"

local FULL = os.getenv("LUNODE_FULL") == "1"
local KINDS = { "register", "counter", "set", "list" }

-- A history from a script: each line is an operation that is over before the next begins, or the half of one.
--   { "a", "write", { 1 } }            a did it
--   { "a", "read", {}, 1 }             and was told 1
--   { "a", "write", { 1 }, begin = 1 } it begins; { done = 1, result } ends it, { lost = 1 } leaves it unknown
local function history_of(lines)
  local h, open = history.new(), {}
  for _, line in ipairs(lines) do
    if line.done then
      h:ok(open[line.done], line[1])
    elseif line.lost then
      h:unknown(open[line.lost])
    else
      local op = h:invoke(line[1], line[2], "x", table.unpack(line[3]))
      if line.begin then
        open[line.begin] = op
      elseif line.failed then
        h:fail(op)
      elseif line.unknown then
        h:unknown(op)
      else
        h:ok(op, line[4])
      end
    end
  end
  return h
end

local function assert_linearizable(model, lines)
  local ok, why = history_of(lines):check(model)
  assert.is_true(ok, why)
end

local function assert_violated(model, lines)
  local ok, why, code = history_of(lines):check(model)
  assert.is_nil(ok)
  assert.equal("EVIOLATED", code)
  return why
end

describe("a history of a register", function()
  it("is linearizable when reads see the last write", function()
    assert_linearizable("register", {
      { "a", "read", {}, nil },
      { "a", "write", { 1 } },
      { "b", "read", {}, 1 },
      { "b", "cas", { 1, 2 }, true },
      { "a", "cas", { 1, 3 }, false },
      { "a", "read", {}, 2 },
    })
  end)

  it("has no place for a stale read", function()
    local why = assert_violated("register", {
      { "a", "write", { 1 } },
      { "a", "write", { 2 } },
      { "b", "read", {}, 1 },
    })
    assert.is_truthy(why:find("read → 1 of b (5 … 6 s) has no place: by then, the completed operations have left 2.", 1,
      true))
  end)

  it("lets a read that overlaps a write see the old value or the new one, and then never the old one again", function()
    for _, seen in ipairs { 1, 2 } do
      assert_linearizable("register", {
        { "a", "write", { 1 } },
        { "a", "write", { 2 }, begin = 1 },
        { "b", "read", {}, seen },
        { done = 1 },
      })
    end
    assert_violated("register", {
      { "a", "write", { 1 } },
      { "a", "write", { 2 }, begin = 1 },
      { "b", "read", {}, 2 },
      { "b", "read", {}, 1 },
      { done = 1 },
    })
  end)

  it("has no place for a lost update: two that swap the same value away", function()
    local why = assert_violated("register", {
      { "a", "write", { 0 } },
      { "a", "cas", { 0, 1 }, begin = 1 },
      { "b", "cas", { 0, 2 }, begin = 2 },
      { done = 1, true },
      { done = 2, true },
    })
    assert.is_truthy(why:find("cas(0, 2) → true of b", 1, true))
  end)

  it("has no place for write skew: each swaps what the other one had before it swapped", function()
    assert_violated("register", {
      { "a", "write", { 1 } },
      { "a", "cas", { 1, 2 }, begin = 1 },
      { "b", "cas", { 2, 1 }, begin = 2 },
      { done = 1, true },
      { done = 2, true },
      { "c", "read", {}, 2 },
    })
  end)

  it("shows a repeated write that took effect twice", function()
    assert_violated("register", {
      { "a", "write", { 1 } }, -- sent twice: the second copy arrives after b's write
      { "b", "write", { 2 } },
      { "b", "read", {}, 2 },
      { "b", "read", {}, 1 },
    })
  end)

  it("has a place for an unknown write that takes effect late, once", function()
    assert_linearizable("register", {
      { "a", "write", { 1 }, unknown = true },
      { "b", "read", {}, nil },
      { "b", "write", { 2 } },
      { "b", "read", {}, 2 },
      { "b", "read", {}, 1 },
      { "b", "read", {}, 1 },
    })
    assert_violated("register", {
      { "a", "write", { 1 }, unknown = true },
      { "b", "read", {}, 1 },
      { "b", "write", { 2 } },
      { "b", "read", {}, 1 },
    })
  end)

  it("lets one read its own unknown write, or not; but not unread it", function()
    assert_linearizable("register", {
      { "a", "write", { 1 }, unknown = true },
      { "a", "read", {}, 1 },
    })
    assert_linearizable("register", {
      { "a", "write", { 1 }, unknown = true },
      { "a", "read", {}, nil },
    })
    assert_violated("register", {
      { "a", "write", { 1 }, unknown = true },
      { "a", "read", {}, 1 },
      { "a", "read", {}, nil },
    })
  end)

  it("has no place for the effect of an operation that failed", function()
    assert_violated("register", {
      { "a", "write", { 1 }, failed = true },
      { "b", "read", {}, 1 },
    })
  end)

  it("has no place for an effect before its invocation", function()
    assert_violated("register", {
      { "b", "read", {}, 1 },
      { "a", "write", { 1 } },
    })
  end)

  it("is checked for each key by itself", function()
    local h = history.new()
    h:ok(h:invoke("a", "write", "x", 1))
    h:ok(h:invoke("a", "read", "y"), nil)
    h:ok(h:invoke("a", "read", { "x" }), nil)
    local ok, verdicts = h:check("register")
    assert.is_true(ok)
    assert.same({ "x", "y", { "x" } }, { verdicts[1].key, verdicts[2].key, verdicts[3].key })
  end)

  it("compares tables and numbers by what they are", function()
    assert_linearizable("register", {
      { "a", "write", { { name = "x", 1.0 } } },
      { "a", "read", {}, { 1, name = "x" } },
      { "a", "write", { 0 / 0 } },
      { "a", "read", {}, 0 / 0 },
    })
    assert_violated("register", {
      { "a", "write", { "1" } },
      { "a", "read", {}, 1 },
    })
  end)

  it("begins with what it is told to begin with", function()
    local h = history.new()
    h:ok(h:invoke("a", "read"), "old")
    assert.is_true(h:check("register", { initial = "old" }))
    assert.is_nil((h:check("register")))
  end)
end)

describe("a history", function()
  it("is recorded in the order of time, one operation a process, each completed once", function()
    local now = 1
    local h = history.new {
      now = function()
        return now
      end,
    }
    local op = h:invoke("a", "write", "x", 1)
    assert.error_matches(function()
      h:invoke("a", "read", "x")
    end, "a calls read while its write has not ended: complete that")
    h:ok(op)
    assert.error_matches(function()
      h:unknown(op)
    end, "there is no such operation under way")
    now = 0.5
    assert.error_matches(function()
      h:invoke("a", "read", "x")
    end, "the clock of the history went from 1 to 0.5")
    assert.error_matches(function()
      h:invoke({}, "read", "x")
    end, "a process is a name or an integer, not a table")
    assert.error_matches(function()
      history.new { now = 7 }
    end, "must be a function")
  end)

  it("of a world is in its trace, and goes by its clock", function()
    local world = sim.new()
    local h = history.new { world = world }
    local op = h:invoke("a", "write", "x", 1)
    world:run(2)
    h:unknown(op)
    local seen = {}
    for i, record in ipairs(world:records()) do
      seen[i] = ("%g %s %s %s"):format(record.t, record.node, record.kind, record.text)
    end
    assert.same({ '0 a invoke write(1) of "x"', "2 a unknown write(1) → ?" }, seen)
    assert.equal(2, op.returned_at)
    assert.error_matches(function()
      history.new { world = {} }
    end, "must be a world")
  end)

  it("tells from what a call returns whether it was done, was not, or may have been", function()
    local h = history.new()
    assert.equal("old", (h:attempt("a", "read", "x", {}, function()
      return "old"
    end)))
    local _, err = h:attempt("a", "write", "x", { 1 }, function()
      return nil, { definite = true }
    end)
    assert.is_true(err.definite)
    h:attempt("a", "write", "x", { 2, n = 1 }, function()
      return nil, { definite = false }
    end)
    h:attempt("a", "write", "x", { 3 }, function()
      return nil, "lost"
    end)
    assert.error_matches(function()
      h:attempt("a", "write", "x", { 4 }, function()
        error "torn"
      end)
    end, "torn")
    local statuses = {}
    for i, op in ipairs(h.operations) do
      statuses[i] = op.status
    end
    assert.same({ "ok", "failed", "unknown", "unknown", "unknown" }, statuses)
  end)

  it("is refused where the model has no such operation, or the operation cannot have that result", function()
    local function refused(model, lines, text)
      local h = history_of(lines)
      assert.error_matches(function()
        h:check(model)
      end, text, 1, true)
    end
    refused("register", { { "a", "add", { 1 } } }, "add of process a: a register has no such operation, only read, wr")
    refused("register", { { "a", "cas", { 1, 2 } } }, "its result must be true or false: did it swap?; it is nil")
    refused("counter", { { "a", "read", {}, "7" } }, 'its result must be an integer; it is "7"')
    refused("counter", { { "a", "add", { 0.5 } } }, "only integers can be added; this is 0.5")
    refused("set", { { "a", "read", {}, 7 } }, "its result must be a list of elements; it is 7")
    refused("register", { { "a", "write", { print } } }, "a function cannot be a value of a history")
    refused("registers", {}, 'there is no model "registers", only register, set, counter, list')
  end)

  it("of which nothing is known is linearizable", function()
    assert.is_true(history.new():check("register"))
    assert_linearizable("register", { { "a", "write", { 1 }, unknown = true }, { "a", "write", { 2 }, failed = true } })
  end)

  it("that takes too long to decide is no success, and the text says what helps", function()
    local h = history.new()
    local writes = {}
    for i = 1, 12 do
      writes[i] = h:invoke(i, "write", "x", i)
    end
    h:ok(h:invoke("r", "read", "x"), 99)
    for i = 1, 12 do
      h:ok(writes[i])
    end
    local ok, why, code = h:check("register", { steps = 500 })
    assert.is_nil(ok)
    assert.equal("EUNDECIDED", code)
    assert.is_truthy(why:find('key "x" is undecided (13 operations): the check gave up', 1, true))
    assert.is_truthy(why:find("fewer processes", 1, true))
    assert.equal("EVIOLATED", select(3, h:check("register")))
  end)

  it("is explained by the operations that contradict each other, drawn over time", function()
    local why = assert_violated("register", {
      { "a", "write", { 1 } },
      { "b", "write", { 2 }, begin = 1 },
      { "c", "write", { 3 }, unknown = true },
      { "a", "read", {}, 2 },
      { done = 1 },
      { "a", "read", {}, 1 },
    })
    assert.equal([[
key "x" is not linearizable (5 operations)
read → 1 of a (9 … 10 s) has no place: by then, the completed operations have left 2.
These 3 operations have no order, whatever the others did:

a  ├─ write(1) ─┤              ├─ read → 1 ─┤ ✗
b                ├─ write(2) ─┤
   1                                     10 s

The last order there was, of 3 operations:
  a  write(1)
  b  write(2)
  a  read → 2
It leaves 2.]], why)
  end)

  it("that is long is explained from a point on at which the state is known", function()
    local h = history.new()
    for i = 1, 500 do
      h:ok(h:invoke("a", "write", "x", i))
    end
    h:ok(h:invoke("b", "read", "x"), 499)
    local _, why = h:check("register")
    assert.is_truthy(why:find("After %d+ operations, the state was %d+%.\nFrom there on, these 3 operations"))
    assert.is_truthy(why:find("… 490 before these\n  a  write(491)\n", 1, true))
  end)

  it("shows hostile values as text of one line", function()
    local why = assert_violated("register", {
      { "a\27[2J", "write", { "\27]0;x\7\n<script>" } },
      { "b", "read", {}, ("x"):rep(1000) },
    })
    assert.is_nil((why:gsub("\n", ""):find("%c")))
    assert.is_truthy(why:find('… (1000 bytes)', 1, true))
  end)
end)

describe("a history of a counter", function()
  it("has no place for an addition that took effect twice", function()
    local why = assert_violated("counter", {
      { "a", "add", { 1 } },
      { "b", "add", { 5 } },
      { "b", "read", {}, 7 },
    })
    assert.is_truthy(why:find("it can be 6 at least, and 6 at most", 1, true))
  end)

  it("takes what an addition returns at its word", function()
    assert_linearizable("counter", {
      { "a", "add", {}, begin = 1 },
      { "b", "add", {}, begin = 2 },
      { done = 2, 1 },
      { done = 1, 2 },
    })
    assert_violated("counter", {
      { "a", "add", {}, begin = 1 },
      { "b", "add", {}, begin = 2 },
      { done = 2, 1 },
      { done = 1, 1 },
    })
  end)

  it("is refuted without a search where the search gives up", function()
    local h = history.new()
    for i = 1, 40 do
      h:unknown(h:invoke(i, "add", nil, 1 << i))
    end
    h:ok(h:invoke("a", "read"), 1 << 42)
    local _, why, code = h:check("counter", { steps = 1000 })
    assert.equal("EVIOLATED", code)
    assert.is_truthy(why:find("it can be 0 at least, and 2199023255550 at most", 1, true))
  end)
end)

describe("a history of a set", function()
  it("has no place for an element that comes back by itself", function()
    assert_violated("set", {
      { "a", "add", { "apple" }, true },
      { "a", "remove", { "apple" }, true },
      { "b", "contains", { "apple" }, true },
    })
  end)

  it("has no place for two that both added the same element", function()
    assert_violated("set", {
      { "a", "add", { 1 }, begin = 1 },
      { "b", "add", { 1 }, begin = 2 },
      { done = 1, true },
      { done = 2, true },
    })
  end)

  it("has no place for two reads that saw two additions in different orders", function()
    assert_violated("set", {
      { "a", "add", { 1 }, begin = 1 },
      { "b", "add", { 2 }, begin = 2 },
      { "c", "read", {}, { 1 } },
      { "d", "read", {}, { 2 } },
      { done = 1 },
      { done = 2 },
    })
  end)

  it("has no element twice", function()
    assert_violated("set", {
      { "a", "add", { 1 } },
      { "a", "read", {}, { 1, 1 } },
    })
  end)

  it("is refuted by one element where the search for all gives up", function()
    local h = history.new()
    for i = 1, 40 do
      h:unknown(h:invoke(i, "add", nil, i))
    end
    h:ok(h:invoke("a", "remove", nil, 7))
    h:ok(h:invoke("a", "add", nil, 41))
    h:ok(h:invoke("a", "read"), { 41, 99 })
    local _, why, code = h:check("set", { steps = 1000 })
    assert.equal("EVIOLATED", code)
    assert.is_truthy(why:find("read → {41, 99} of a", 1, true))
  end)
end)

describe("a history of a list", function()
  it("has no place for a read that forgets", function()
    assert_violated("list", {
      { "a", "append", { 1 } },
      { "a", "append", { 2 } },
      { "b", "read", {}, { 2 } },
    })
  end)

  it("has no place for reads that contradict each other about the order", function()
    local why = assert_violated("list", {
      { "a", "append", { 1 }, begin = 1 },
      { "b", "append", { 2 }, begin = 2 },
      { "c", "read", {}, { 1, 2 } },
      { "d", "read", {}, { 2, 1 } },
      { "c", "read", {}, { 1, 2 } },
      { done = 1 },
      { done = 2 },
    })
    assert.is_truthy(why:find("These 2 operations have no order", 1, true))
  end)

  it("lets appends that overlap come in any order", function()
    local lines = {}
    for i = 1, 12 do
      lines[#lines + 1] = { i, "append", { i }, begin = i }
    end
    lines[#lines + 1] = { "r", "read", {}, { 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1 } }
    for i = 1, 12 do
      lines[#lines + 1] = { done = i }
    end
    assert_linearizable("list", lines)
  end)
end)

describe("a history of a model of one's own", function()
  local queue = {
    init = "",
    step = function(state, op)
      if op.name == "put" then
        return true, state .. op.args[1]
      end
      local first = state:sub(1, 1)
      return not op.known or op.result == (first ~= "" and first or nil), state:sub(2)
    end,
  }

  it("is checked against that", function()
    assert_linearizable(queue, {
      { "a", "put", { "1" }, begin = 1 },
      { "b", "put", { "2" }, begin = 2 },
      { "c", "take", {}, "2" },
      { "c", "take", {}, "1" },
      { done = 1 },
      { done = 2 },
    })
    assert_violated(queue, {
      { "a", "put", { "1" } },
      { "b", "put", { "2" } },
      { "c", "take", {}, "2" },
    })
  end)

  it("needs a hash where its states are tables", function()
    local h = history_of { { "a", "put", { 1 } } }
    assert.error_matches(function()
      h:check { init = function() return {} end, step = function(state) return true, state end }
    end, "give it hash%(state%)")
  end)
end)

-- ---------------------------------------------------------------- against every order

local function compare(kind, h, seed)
  local expected = kit.has_order(kind, h)
  local ok, why = h:check(kind)
  if (ok or false) ~= expected then
    error(("%s, seed %d: the check says %s, trying all orders says %s\n%s"):format(
      kind, seed, tostring(ok), tostring(expected), ok and kit.show(h) or why))
  end
  return expected
end

describe("the checker", function()
  for _, kind in ipairs(KINDS) do
    it("decides about ten thousand operations on ten keys in few steps, of a " .. kind, function()
      local h = kit.linearizable(kind, prng.new(1), {
        operations = 10000,
        processes = 10,
        keys = 10,
        values = 1000,
        unknown = 0.02,
      })
      local ok, verdicts = h:check(kind)
      assert.is_true(ok, verdicts)
      local steps = 0
      for _, verdict in ipairs(verdicts) do
        steps = steps + verdict.steps
      end
      assert.is_true(steps < 100000, steps .. " steps")
    end)
  end

  it("finds the same and says it in the same words in every process", function()
    local script = tmp.write(tmp.dir() .. "/check.lua", [[
      package.path = arg[1] .. "/?.lua;" .. package.path
      local kit, prng = require "spec.sim.history_kit", require "spec.support.prng"
      for _, kind in ipairs { "register", "counter", "set", "list" } do
        for seed = 1, 20 do
          local chance = prng.new(seed)
          local h = kit.linearizable(kind, chance, { operations = 80, processes = 4, keys = 2, unknown = 0.1 })
          kit.mutate(h, chance, 3)
          kit.mutate(h, chance, 3)
          local ok, why, code = h:check(kind)
          print(code, not ok and why)
        end
      end
    ]])
    local root = assert(io.popen("pwd -P")):read("l")
    local code, first, err = lunode.run { "run", script, root }
    assert.same({ 0, "" }, { code, err })
    assert.is_truthy(first:find("EVIOLATED", 1, true))
    assert.equal(first, (select(2, lunode.run { "run", script, root })))
  end)

  for _, kind in ipairs(KINDS) do
    it("agrees with a search through every order of small histories of a " .. kind, function()
      local good, bad = 0, 0
      for seed = 1, FULL and 4000 or 1000 do
        local chance = prng.new(seed)
        local h = kit.linearizable(kind, chance, {
          operations = chance:int(2, 7),
          processes = chance:int(1, 4),
          values = chance:int(1, 3),
          unknown = chance:pick { 0, 0.2, 0.5 },
        })
        assert.is_true(compare(kind, h, seed))
        for _ = 1, chance:int(1, 3) do
          kit.mutate(h, chance, 3)
        end
        if compare(kind, h, seed) then
          good = good + 1
        else
          bad = bad + 1
        end
      end
      assert.is_true(good > 100 and bad > 100, ("%d good, %d bad: it is not tried enough"):format(good, bad))
    end)

    it("finds operations that contradict each other whatever the others do, in histories of a " .. kind, function()
      local found = 0
      for seed = 1, FULL and 600 or 150 do
        local chance = prng.new(seed)
        local h = kit.linearizable(kind, chance, { operations = 6, processes = 3, values = 2, unknown = 0.2 })
        kit.mutate(h, chance, 2)
        for _, failure in ipairs(kit.failures(h, kind)) do
          local core = explain.core(failure, { steps = 100000, configurations = 100000 })
          local rest = kit.with_others_free(failure, core)
          if kit.has_order(kind, rest) then
            error(("%s, seed %d: these have an order\n%s"):format(kind, seed, kit.show(rest)))
          end
          found = found + (#core < #failure.entries and 1 or 0)
        end
      end
      assert.is_true(found > 20, "no operation could be left out")
    end)

    it("explains nothing but what has no order, in histories of a " .. kind, function()
      local explained = 0
      for seed = 1, FULL and 200 or 60 do
        local chance = prng.new(seed)
        local h = kit.linearizable(kind, chance, { operations = 60, processes = 3, values = 3, unknown = 0.05 })
        for _ = 1, 3 do
          kit.mutate(h, chance, 3)
        end
        local ok, why = h:check(kind)
        if not ok then
          explained = explained + 1
          assert.is_truthy(why:find("have no order", 1, true) or why:find("has no place", 1, true))
        end
      end
      assert.is_true(explained > 20, "too few of them are wrong")
    end)
  end
end)
