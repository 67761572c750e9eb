-- `lunode test` from outside: what passes, what fails and with which words, and what must never pass.

local kit = require "spec.test.kit"
local lunode = require "spec.support.lunode"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local fails, has, passes, run = kit.fails, kit.has, kit.passes, kit.run

kit.prepare()

describe("a run of specs", function()
  it("passes, with its counts in the last line", function()
    passes('it("a", function() end) it("b", function() end)', "2 passed, 0 failed\n")
    passes('it("a", function() end) it("b", function() pending "later" end)', "1 passed, 0 failed, 1 skipped\n")
  end)

  it("fails where a test fails or raises, and says where and what", function()
    local specs = 'it("a", function() assert.equal(1, 2) end)\nit("b", function() error("x") end)'
    fails(specs, "FAILED spec/x_spec.lua: a\n    spec/x_spec.lua:1: Expected", "0 passed, 2 failed\n")
    fails(specs, "FAILED spec/x_spec.lua: b\n    spec/x_spec.lua:2: x\n    stack traceback:", "0 passed, 2 failed\n")
    fails('it("a", function() error({}) end)', "FAILED spec/x_spec.lua: a", "0 passed, 1 failed\n")
    fails('it("a", function() error(nil) end)', "FAILED spec/x_spec.lua: a", "0 passed, 1 failed\n")
  end)

  it("shows line by line how long values differ", function()
    fails(
      'it("a", function() assert.equal("1\\n2\\n3\\n4\\n", "1\\n2\\n5\\n4\\n") end)',
      "\n    - 3\n    + 5\n",
      "0 passed, 1 failed"
    )
  end)

  it("fails where a file is no Lua, raises, or cannot be read", function()
    fails('it("a", functio', "spec/x_spec.lua:1: ", "0 passed, 1 failed\n")
    fails('it("a", function() end) error "in the file"', "in the file", "0 passed, 1 failed\n")
    fails(
      'describe("d", function() it("a", function() end) error "in the block" end)',
      "in the block",
      "0 passed, 1 failed\n"
    )
  end)

  it("fails where what surrounds a test fails", function()
    fails(
      'before_each(function() error "early" end) it("a", function() end)',
      "in before_each: ",
      "0 passed, 1 failed\n"
    )
    fails('after_each(function() error "late" end) it("a", function() end)', "in after_each: ", "0 passed, 1 failed\n")
    fails(
      'describe("d", function() setup(function() error "first" end) it("a", function() end) end)',
      "first",
      "0 passed, 1 failed\n"
    )
    fails('teardown(function() error "last" end) it("a", function() end)', "last", "1 passed, 1 failed\n")
    fails('it("a", function() finally(function() error "fin" end) end)', "fin", "0 passed, 1 failed\n")
  end)

  it("fails where there is nothing to run", function()
    local function refuses(text, words)
      local code, out = run({}, words)
      assert.equal(1, code, out)
      has(text, out)
    end
    refuses("spec: there is no *_spec.lua in this directory", {})
    refuses("nope: there is no such file or directory", { "nope" })
    refuses("spec/nope_spec.lua: there is no such file or directory", { "spec/nope_spec.lua" })
    fails("", "there is no test in these files", "0 passed, 0 failed\n")
    fails('it("a", function() end)', 'no test has "zzz" in its name', "0 passed, 0 failed\n", { "--filter", "zzz" })
  end)

  it("fails where a spec ends its process, whatever the exit code, and runs the other files", function()
    local others = 'it("c", function() end)'
    for _, how in ipairs { "os.exit(0)", "os.exit(0, true)", "os.exit(7)", 'os.execute("kill -KILL $PPID")' } do
      local specs = { a = ('it("ends", function() %s end) it("b", function() end)'):format(how), z = others }
      fails(specs, 'in it of "ends"', "1 passed, 1 failed\n")
    end
    fails('os.exit(0)', "outside of any test", "0 passed, 1 failed\n")
    fails('it("a", function() end) teardown(function() os.exit(0) end)', "the process ended", "1 passed, 1 failed\n")
    fails(
      'it("a", function() setmetatable({}, { __gc = function() os.exit(3) end }) keep = 1 end)',
      "the process ended",
      "1 passed, 1 failed\n"
    )
  end)

  it("fails where a callback raises", function()
    local text = [[
      it("a", function()
        require("lunode.loop").defer(function() error("lost") end)
        require("lunode.test").turns(2)
      end)
    ]]
    fails(text, "an error in a callback:\n    spec/x_spec.lua:2: lost", "0 passed, 1 failed\n")
    fails(
      'it("a", function() require("lunode.loop").defer(function() error("lost") end) end)',
      "lost",
      "0 passed, 1 failed\n"
    )
  end)

  it("fails where a callback is not called as often as it should be", function()
    fails(
      [[
        it("a", function() expect(function() end) end)
        it("b", function() pcall(expect(nil, 0)) end)
        it("c", function() expect(function() end)() end)
      ]],
      "x_spec.lua:1 was to be called 1 times, and was called 0 times",
      "1 passed, 2 failed\n"
    )
  end)

  it("fails where a test leaves something active, and says what and where it was made", function()
    local specs = [[
        local loop = require "lunode.loop"
        it("timers", function()
          for _ = 1, 2 do loop.timer(1000, function() end) end
        end)
        it("server", function() require("lunode.tcp_server").listen("127.0.0.1", 0, {
          on_read = function() end })
        end)
        it("hook", function() loop.before_sleep(function() end) end)
        it("signal", function() loop.signal("USR2", function() end) end)
        it("closes what it opens", function() loop.timer(1000, print):close() end)
      ]]
    local code, out = run(specs)
    assert.equal(1, code)
    has("\n1 passed, 4 failed\n", out)
    has("2 × timer, callback at spec/x_spec.lua:3", out)
    has("1 × server, callback at spec/x_spec.lua:6", out)
    has("1 × hook, callback at spec/x_spec.lua:8", out)
    has("1 × signal, callback at spec/x_spec.lua:9", out)
  end)

  it("fails where a file leaves something active", function()
    fails(
      'require("lunode.loop").timer(1000, function() end) it("a", function() end)',
      "the file left this active",
      "1 passed, 1 failed\n"
    )
  end)

  it("takes its processes and directories along", function()
    local out = passes(
      [[
        local process = require "lunode.test.process"
        it("a", function()
          local p = process.start { "sh", "-c", "sleep 1000 & echo $!; sleep 1001" }
          local child = require("lunode.test").till(function() return p:stdout():match("%d+") end)
          print("PIDS", p.pid, child, p.dir)
        end)
      ]],
      "1 passed, 0 failed\n"
    )
    local pid, child, left = out:match "PIDS%s+(%d+)%s+(%d+)%s+(%S+)"
    assert.is_nil(tmp.read("/proc/" .. pid .. "/stat"))
    -- The orphan is dead, though nobody may have collected it yet.
    local state = (tmp.read("/proc/" .. child .. "/stat") or ""):match "%) (%a)" or "gone"
    assert.is_truthy(state == "gone" or state == "Z", state)
    assert.is_nil(os.rename(left, left))
  end)

  it("takes the processes of a spec along even when it is killed itself", function()
    tmp.write(
      kit.dir .. "/spec/x_spec.lua",
      [[
        it("a", function()
          local test = require "lunode.test"
          local p = test.process.start { "sleep", "1000" }
          print("PID " .. p.pid .. ".")
          test.till(function() end, 1000)
        end)
      ]]
    )
    local env = kit.env()
    env.TMPDIR = kit.dir
    local runner = lunode.start { "test", cwd = kit.dir, env = env }
    local pid = wait.till(function()
      return runner:stdout():match "PID (%d+)%."
    end)
    assert.is_truthy(tmp.read("/proc/" .. pid .. "/stat"))
    os.execute("kill -KILL " .. runner.pid)
    runner:wait()
    wait.till(function()
      local state = (tmp.read("/proc/" .. pid .. "/stat") or ""):match "%) (%a)"
      return state == nil or state == "Z"
    end, 10, "the end of its child")
  end)

  it("takes the directories of a spec along even when that was killed", function()
    local specs = [[
      it("a", function() print("DIR " .. require("lunode.test").dir() .. ".") os.execute("kill -KILL $PPID") end)
    ]]
    local _, out = run(specs)
    local left = assert(out:match "DIR (/.-/lunode%-spec%.%w+)%.\n")
    assert.is_nil(os.rename(left, left))
  end)

  it("ends when it is interrupted, with what is known so far", function()
    tmp.write(kit.dir .. "/spec/a_spec.lua", 'it("a", function() end)')
    tmp.write(kit.dir .. "/spec/b_spec.lua", 'it("b", function() print "here"; require("lunode.task").sleep(1000) end)')
    local runner = lunode.start { "test", cwd = kit.dir, env = { LUNODE_TEST_TIMES = kit.dir .. "/times" } }
    wait.till(function()
      return runner:stdout():find("here", 1, true)
    end)
    runner:kill "INT"
    assert.equal(130, runner:wait())
    has("\n1 passed, 0 failed\n", runner:stdout())
    has("interrupted", runner:stderr())
  end)
end)

describe("the command line of a run", function()
  local function refuses(text, words)
    local code, out = run('it("a", function() end)', words)
    assert.equal(2, code, out)
    has(text, out)
  end

  it("refuses what it does not know, and says what it accepts", function()
    refuses("unknown option --filtre; did you mean --filter?", { "--filtre", "x" })
    refuses("unknown option -x", { "-x" })
    refuses('--jobs: "0" is not acceptable; give a whole number', { "--jobs", "0" })
    refuses("--jobs: a value is needed", { "--jobs" })
    refuses("--tap takes no value", { "--tap=1" })
    refuses('--filter: "(" is not acceptable; give a Lua pattern', { "--filter", "(" })
    refuses('--keep: "1,x" is not acceptable', { "--keep", "1,x" })
    refuses("give one of them", { "--seed", "1", "--seeds", "2" })
  end)

  it("selects tests by their full names", function()
    local specs = 'describe("d", function() it("one", function() end) it("two", function() error() end) end)'
    passes(specs, "1 passed, 0 failed\n", { "--filter", "d one" })
    passes(specs, "1 passed, 0 failed\n", { "--filter=^d o.e$", "spec/x_spec.lua", "spec" })
  end)

  it("names busted's package where it is missing", function()
    tmp.write(kit.dir .. "/spec/x_spec.lua", "")
    local code, _, err = lunode.run { "test", cwd = kit.dir, env = { LUA_PATH_5_4 = "/nowhere/?.lua" } }
    assert.equal(1, code)
    has("apt-get install lua-busted", err)
  end)
end)

describe("several files at a time", function()
  it("are told in the order of their names, each once, whatever the order they end in", function()
    local specs = {}
    for i, name in ipairs { "a", "b", "c", "d" } do
      specs[name] = ('it("%s", function() require("lunode.task").sleep(%g) end)'):format(name, 0.4 - i / 10)
    end
    local out = passes(specs, "4 passed, 0 failed\n", { "--jobs", "3" })
    local order = {}
    for name in out:gmatch "spec/(%l)_spec.lua +1 passed" do
      order[#order + 1] = name
    end
    assert.same({ "a", "b", "c", "d" }, order)
  end)

  it("begin with the longest, as it was the last time", function()
    local specs = {
      a = 'it("a", function() print "began a" end)',
      b = 'it("b", function() print "began b"; require("lunode.task").sleep(0.3) end)',
    }
    run(specs, { "--jobs", "2" })
    has("/spec/b_spec.lua\n", tmp.read(kit.dir .. "/times"))
    -- One after the other, but ordered as for two: jobs are more than one, files are three, b comes first.
    specs.c = 'it("c", function() end)'
    local begun = {}
    for name in select(2, run(specs, { "--jobs", "2" })):gmatch "began (%l)" do
      begun[#begun + 1] = name
    end
    table.sort(begun)
    assert.same({ "a", "b" }, begun)
  end)

  it("each have their own globals, modules and loop", function()
    local text = [[
      it("a", function()
        assert.is_nil(shared)
        shared = 1
        assert.is_nil(package.loaded["x"])
        package.loaded["x"] = true
      end)
    ]]
    passes({ a = text, b = text }, "2 passed, 0 failed\n", { "--jobs", "2" })
  end)

  it("are given ports from ranges of their own", function()
    local function text(name)
      return ([[
        it("draws", function()
          for _ = 1, 10 do print("%s drew " .. require("lunode.test.ports").free()) end
        end)
      ]]):format(name)
    end
    local out = passes({ a = text "a", b = text "b" }, "2 passed, 0 failed\n", { "--jobs", "2" })
    local drawn = { a = {}, b = {} }
    for name, port in out:gmatch "(%l) drew (%d+)" do
      table.insert(drawn[name], tonumber(port))
    end
    assert.same({ 10, 10 }, { #drawn.a, #drawn.b })
    assert.is_true(math.max(table.unpack(drawn.a)) < math.min(table.unpack(drawn.b))
      or math.max(table.unpack(drawn.b)) < math.min(table.unpack(drawn.a)))
  end)
end)

describe("a random order", function()
  it("is told, and can be had again", function()
    local lines = {}
    for i = 1, 20 do
      lines[i] = ('it("t%d", function() print "ran t%d" end)'):format(i, i)
    end
    local text = table.concat(lines, "\n")
    local function order(words)
      local out = passes(text, "20 passed, 0 failed\n", words)
      local ran = {}
      for name in out:gmatch "ran (t%d+)" do
        ran[#ran + 1] = name
      end
      return table.concat(ran, " "), out
    end
    local first, out = order { "--shuffle" }
    local seed = out:match "%-%-shuffle=(%d+) repeats this order"
    assert.equal(first, (order { "--shuffle=" .. seed }))
    assert.not_equal(first, (order {}))
  end)
end)
