-- sim_it: many seeds, and of a failure the seed, the faults it needs, the transcript's end, and the command for more.

local lunode = require "spec.support.lunode"
local tmp = require "lunode.test.tmp"

local dir, file

before_each(function()
  dir = tmp.dir()
  file = dir .. "/x_spec.lua"
end)

local function run(words, text)
  if text then
    tmp.write(file, text)
  end
  local options = { "test", env = { LUNODE_TEST_TIMES = dir .. "/times", LUNODE_FULL = false } }
  for _, word in ipairs(words) do
    options[#options + 1] = word
  end
  options[#options + 1] = file
  local code, out, err = lunode.run(options)
  return code, out .. err
end

local function has(text, out)
  assert.is_truthy(out:find(text, 1, true), ("no %q in:\n%s"):format(text, out))
end

-- Fails when `bad` holds, of the ids of the faults that were applied.
local function failing_when(bad)
  return ([[
    sim_it("fails (sometimes)", { seeds = 3 }, function(world)
      world:node("a", function() require("lunode.loop").timer(1, print, 1) end)
      world:node("b", function() end)
      world:swarm { duration = 10, intensity = 12, kinds = { "pause", "clock_jump" } }
      local begun = {}
      world:run(12)
      for _, record in ipairs(world:records()) do
        if record.kind == "fault" and record.phase == "begin" then
          for _, fault in ipairs(world.schedule) do
            if math.abs(fault.at - record.t) < 1e-9 then begun[fault.id] = true end
          end
        end
      end
      assert.is_falsy(%s)
    end)
    it("passes", function() end)
  ]]):format(bad)
end

describe("sim_it", function()
  it("runs its body under each seed, with a world of its own", function()
    local text = [[
      local seen = {}
      sim_it("with its own count", { seeds = 4 }, function(world) print("A", world.seed) seen[world] = true end)
      sim_it("with the usual one", function(world) print("B", world.seed) end)
    ]]
    local function seeds(out, name)
      local list = {}
      for seed in out:gmatch(name .. "\t(%d+)") do
        list[#list + 1] = seed
      end
      return table.concat(list, " ")
    end
    local _, out = run({}, text)
    assert.equal("1 2 3 4", seeds(out, "A"))
    assert.equal("1 2 3 4 5 6 7 8 9 10", seeds(out, "B"))
    _, out = run { "--seeds", "2" }
    assert.equal("1 2", seeds(out, "A"))
    assert.equal("1 2", seeds(out, "B"))
    _, out = run { "--seed=9223372036854775807" }
    assert.equal("9223372036854775807", seeds(out, "A"))
  end)

  it("gives the world its options", function()
    local code, out = run({}, [[
      sim_it("is given", { seeds = 1, world = { epoch = 12 } }, function(world) assert.equal(12, world.epoch) end)
    ]])
    assert.equal(0, code, out)
  end)

  it("drops the faults that a failure does not need, and shows it again with those that it does", function()
    local code, out = run({}, failing_when "begun[3] and begun[7]")
    assert.equal(1, code, out)
    has("FAILED " .. file .. ": fails (sometimes)\n    " .. file .. ":14: Expected to be falsy", out)
    has("seed 1, virtual time 12.000000 s; faults, 2 of the 12 that were drawn:\n", out)
    assert.is_truthy(out:find "\n +3 +%d+%.%d+ s  [^\n]+\n +7 +%d+%.%d+ s  [^\n]+\n    the end of the transcript", out)
    has("\n1 passed, 1 failed\n", out)
    local command = out:match "to see it again:\n      lunode (test [^\n]+)\n"
    assert.equal("test --seed 1 --keep 3,7 --filter '^fails %(sometimes%)$' " .. file, command)

    local first = out:match "FAILED.-seed 1, virtual time [%d.]+ s;"
    local again = lunode.run { "version" } == 0
      and select(2, require("lunode.test.process").run { "sh", "-c", lunode.bin .. " " .. command, env = {
        LUNODE_TEST_TIMES = dir .. "/times",
      } })
    assert.equal(first, again:match "FAILED.-seed 1, virtual time [%d.]+ s;")
    assert.equal(command, again:match "to see it again:\n      lunode (test [^\n]+)\n")
    has("\n0 passed, 1 failed\n", again)
  end)

  it("says so where a failure needs no faults, or there are none", function()
    local _, out = run({}, failing_when "true")
    has("12 faults were drawn, none of which is needed", out)
    has("--keep none", out)
    _, out = run({}, 'sim_it("x", function(world) world:run(1) error "plain" end)')
    has("x_spec.lua:1: plain\n", out)
    has("seed 1, virtual time 1.000000 s; no faults were drawn", out)
  end)

  it("finds the seed that fails, and stops there", function()
    local _, out = run({}, [[
      sim_it("x", { seeds = 50 }, function(world) print("SEED", world.seed) assert.not_equal(17, world.seed) end)
    ]])
    has("--seed 17 ", out)
    assert.is_nil(out:find("SEED\t18", 1, true))
  end)

  it("tells of a test that depends on something outside of its world", function()
    local _, out = run({}, 'local n = 0 sim_it("x", function() n = n + 1 assert(n > 1) end)')
    has("seed 1: the test passed when it was run again: the test depends on something outside of its world", out)
    _, out = run({}, [[
      local n = 0
      sim_it("x", function(world) n = n + 1 world:run(n) world:node("a", function() end) world:run(1) error "x" end)
    ]])
    has("seed 1: something else happened when it was run again", out)
  end)

  it("tells an error of a node, and where its code is wrong", function()
    local _, out = run({}, 'sim_it("x", function(world) world:node("a", function() error "lost" end) world:run(1) end)')
    has("node a, virtual time 0.000000 s: ", out)
    has("x_spec.lua:1: lost", out)
    _, out = run({}, [[
      sim_it("x", { world = { budget = 0.1 } }, function(world)
        world:node("a", function() while true do end end)
        world:run(1)
      end)
    ]])
    has("node a, virtual time 0.000000 s: used more than 0.1 s of processor time within one event", out)
  end)

  it("may be pending", function()
    local code, out = run({}, 'sim_it("x", function() pending "later" end)')
    assert.equal(0, code, out)
    has("0 passed, 0 failed, 1 skipped", out)
  end)

  it("prints whole transcripts when it is asked to", function()
    local _, out = run({ "--trace", "--seed", "5" }, [[
      sim_it("x", function(world) world:node("a", function() print "hello" end) world:run(1) end)
    ]])
    assert.is_truthy(out:find "transcript of seed 5:\n +0.000000  a  boot\n +0.000000  a  print hello\n", out)
  end)

  it("draws the transcript of a failure as a page, with the failure on it", function()
    local text = 'sim_it("x <&>", function(world) world:run(1) error "<bad>" end)'
    local page = dir .. "/page.html"
    local code, out = run({ "--trace-html", page }, text)
    assert.equal(1, code, out)
    local html = tmp.read(page)
    assert.is_truthy(html:find "x_spec.lua:1: [^<>]*bad")
    has("<title>x &#60;&#38;&#62;, seed 1</title>", html)
    assert.is_nil(html:find("<bad>", 1, true))
    code, out = run { "--trace-html", dir .. "/no/such/page.html" }
    assert.equal(1, code)
    has("x_spec.lua:1: <bad>", out)
    has("--trace-html: cannot write", out)
  end)

  it("refuses nonsense", function()
    local code, out = run({}, [[
      local function refuses(words, ...)
        local ok, err = pcall(sim_it, ...)
        assert(not ok and err:find(words, 1, true), err)
      end
      refuses("a function of the world is needed", "x")
      refuses("a function of the world is needed", "x", {}, 3)
      refuses("a name is needed", nil, {}, print)
      refuses("options are a table", "x", 3, print)
      refuses("unknown option 'seed'", "x", { seed = 3 }, print)
      refuses("seeds must be a whole number", "x", { seeds = 0 }, print)
      refuses("full must be a whole number", "x", { full = 1.5 }, print)
      it("passes", function() end)
    ]])
    assert.equal(0, code, out)
  end)
end)
