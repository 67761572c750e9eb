-- `lunode test` from outside: what passes, what fails and with which words, and what must never pass.

local junit = require "lunode.test.junit"
local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local dir

before_each(function()
  dir = tmp.dir()
  assert(os.execute("mkdir " .. tmp.quote(dir .. "/spec")))
end)

-- Runs `lunode test` in a directory with these specs, by name, and further words. What it remembers stays there.
local function run(specs, words)
  os.execute(("rm -f -- %s/spec/*"):format(tmp.quote(dir)))
  for name, text in pairs(type(specs) == "table" and specs or { x = specs }) do
    tmp.write(("%s/spec/%s_spec.lua"):format(dir, name), text)
  end
  local env = { LUNODE_TEST_TIMES = dir .. "/times", LUNODE_REWRITE = false, LUNODE_FULL = false }
  local options = { "test", cwd = dir, seconds = 120, env = env }
  for _, word in ipairs(words or {}) do
    options[#options + 1] = word
  end
  local code, out, err = lunode.run(options)
  return code, out .. err
end

local function has(text, out)
  assert.is_truthy(out:find(text, 1, true), ("no %q in:\n%s"):format(text, out))
end

-- Exit code 1, the words, and the closing line.
local function fails(specs, text, counts, words)
  local code, out = run(specs, words)
  assert.equal(1, code, out)
  has(text, out)
  has("\n" .. counts, out)
end

local function passes(specs, counts, words)
  local code, out = run(specs, words)
  assert.equal(0, code, out)
  has("\n" .. counts, out)
  return out
end

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
      dir .. "/spec/x_spec.lua",
      [[
        it("a", function()
          local test = require "lunode.test"
          local p = test.process.start { "sleep", "1000" }
          print("PID " .. p.pid .. ".")
          test.till(function() end, 1000)
        end)
      ]]
    )
    local runner = lunode.start { "test", cwd = dir, env = { TMPDIR = dir, LUNODE_TEST_TIMES = dir .. "/times" } }
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
    tmp.write(dir .. "/spec/a_spec.lua", 'it("a", function() end)')
    tmp.write(dir .. "/spec/b_spec.lua", 'it("b", function() print "here"; require("lunode.task").sleep(1000) end)')
    local runner = lunode.start { "test", cwd = dir, env = { LUNODE_TEST_TIMES = dir .. "/times" } }
    wait.till(function()
      return runner:stdout():find("here", 1, true)
    end)
    runner:kill "INT"
    assert.equal(130, runner:wait())
    has("\n1 passed, 0 failed\n", runner:stdout())
    has("interrupted", runner:stderr())
  end)
end)

describe("the body of a test", function()
  it("may wait as a task does, turn the loop, and run it", function()
    passes(
      [[
        local loop, task = require "lunode.loop", require "lunode.task"
        it("waits", function()
          local begun = loop.now()
          task.sleep(0.02)
          assert.is_true(loop.now() - begun >= 0.02)
          assert.is_truthy(task.current())
        end)
        it("turns the loop", function()
          local fired
          loop.timer(0.01, function() fired = true; assert.is_nil(task.current()) end)
          while not fired do loop.step(0.1) end
        end)
        it("runs the loop", function()
          local fired
          loop.timer(0.01, function() fired = true end)
          loop.run()
          assert.is_true(fired)
          assert.equal(7, task.run(function() task.sleep(0.01) return 7 end))
        end)
        it("waits for other tasks, which wait for it", function()
          local inbox, outbox = task.channel(), task.channel()
          local other <close> = task.spawn(function()
            for value in function() return inbox:receive() end do outbox:send(value + 1) end
          end)
          for i = 1, 100 do
            inbox:send(i)
            assert.equal(i + 1, outbox:receive())
          end
        end)
        describe("surrounded", function()
          local told
          setup(function() task.sleep(0.001) told = "" end)
          before_each(function() task.sleep(0.001) told = told .. "b" end)
          after_each(function() task.sleep(0.001) told = told .. "a" end)
          it("by what waits", function() finally(function() task.yield() told = told .. "f" end) told = told .. "i" end)
          it("by what has waited", function() assert.equal("bifab", told) end)
        end)
      ]],
      "6 passed, 0 failed\n"
    )
  end)

  it("fails at its deadline where it waits, and the next one runs", function()
    fails(
      [[
        local task, loop = require "lunode.task", require "lunode.loop"
        it("waits", function()
          task.sleep(1000)
        end)
        it("waits again and again", function()
          while true do pcall(task.sleep, 0.3) if loop.time() > 1e12 then break end end
        end)
        it("passes", function() task.sleep(0.01) end)
      ]],
      "spec/x_spec.lua:3: not ended within 0.5 s; it waits here:",
      "0 passed, 2 failed\n",
      { "--timeout", "0.5", "--filter", "waits" }
    )
  end)

  it("fails at once where nothing is active that could end its wait", function()
    fails(
      'it("a", function()\nrequire("lunode.task").event():wait()\nend)',
      "spec/x_spec.lua:2: nothing is active any more that could end this wait:",
      "0 passed, 1 failed\n"
    )
  end)

  it("fails at its deadline where it turns the loop, and the next one runs", function()
    fails(
      [[
        local loop = require "lunode.loop"
        local timer
        after_each(function() timer:close() end)
        it("runs", function()
          timer = loop.timer(1000, print)
          loop.run()
        end)
        it("steps", function()
          timer = loop.timer(0.01, function() end, 0.01)
          while true do loop.step(0.1) end
        end)
        it("passes", function() end)
      ]],
      "spec/x_spec.lua:10: not ended within 0.2 s; it is here:",
      "1 passed, 2 failed\n",
      { "--timeout", "0.2" }
    )
  end)

  it("fails where it yields by itself, and the next one runs", function()
    local specs = [[
      describe("d", function()
        it("yields", function() coroutine.yield() end)
        it("passes", function() assert.equal("d", ("d")) end)
      end)
      it("passes, too", function() end)
    ]]
    fails(specs, "the task called coroutine.yield itself", "2 passed, 1 failed\n")
  end)

  it("is killed where it neither waits nor turns the loop, and the other files run", function()
    fails(
      { a = 'it("spins", function() while true do end end)', b = 'it("b", function() end)' },
      'did not end within 0.1 s, nor when it was told to: it was killed, in it of "spins"',
      "1 passed, 1 failed\n",
      { "--timeout", "0.1" }
    )
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
    tmp.write(dir .. "/spec/x_spec.lua", "")
    local code, _, err = lunode.run { "test", cwd = dir, env = { LUA_PATH_5_4 = "/nowhere/?.lua" } }
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
    has("/spec/b_spec.lua\n", tmp.read(dir .. "/times"))
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

describe("progress", function()
  -- Runs it on a terminal of so many columns; returns what was drawn.
  local function draw(columns, env)
    tmp.write(dir .. "/spec/a_spec.lua", 'it("waits", function() require("lunode.task").sleep(0.5) end)')
    tmp.write(dir .. "/spec/b_spec.lua", 'it("fails", function() error("here", 0) end)')
    local command = ("stty cols %d; %s test --jobs 2"):format(columns, tmp.quote(lunode.bin))
    local all = { LUNODE_TEST_TIMES = dir .. "/times", TERM = "xterm", NO_COLOR = false, SHELL = "/bin/sh" }
    for name, value in pairs(env or {}) do
      all[name] = value
    end
    process.run { "script", "-qec", command, dir .. "/typescript", cwd = dir, env = all }
    return (tmp.read(dir .. "/typescript"):gsub("^Script started[^\n]*\n", ""):gsub("\nScript done.*", ""))
  end

  it("is one line on a terminal, as wide as that, and goes away", function()
    local out = draw(50)
    local lines = 0
    for line in out:gmatch "\r(%[%d/2 files%][^\27]*)\27%[K" do
      lines = lines + 1
      assert.is_true(utf8.len(line) <= 49, line)
    end
    assert.is_true(lines > 1)
    assert.is_truthy(out:find("\r[1/2 files] 0 passed, 1 failed, 0:0", 1, true), out)
    assert.is_truthy(out:find "\n1 passed, 1 failed\r%s*$", out)
  end)

  it("has colours unless they are unwanted", function()
    has("\27[31mFAILED \27[0mspec/b_spec.lua: fails", draw(80))
    assert.is_nil(draw(80, { NO_COLOR = "1" }):find("\27[31m", 1, true))
  end)

  it("is not shown where there is no such terminal", function()
    assert.is_nil(draw(80, { TERM = "dumb" }):find("files]", 1, true))
    local _, out = run('it("a", function() end)')
    assert.is_nil(out:find("\27", 1, true))
  end)
end)

describe("results for other programs", function()
  local hostile = [==[
    it("a", function() end)
    it("b # <&\"\27[31m>\n\0\255 ü", function() error("bad <]]> \1 \255 \u{FFFE} & \n second") end)
    it("c", function() pending "later <" end)
    os.execute "echo from the spec"
  ]==]

  it("are TAP, with a plan, and escaped", function()
    local code, out = run(hostile, { "--tap" })
    assert.equal(1, code)
    has("TAP version 13\nok 1 - spec/x_spec.lua: a\nnot ok 2 - spec/x_spec.lua: b \\# <&\"\\x1b[31m> \\x00", out)
    has("\n#  second\n", out)
    has("\nok 3 - spec/x_spec.lua: c # SKIP spec/x_spec.lua:3: later <\n1..3\n", out)
  end)

  it("are XML that is well-formed", function()
    local path = dir .. "/out.xml"
    local code = run(hostile, { "--junit", path })
    assert.equal(1, code)
    local text = tmp.read(path)
    has('tests="3" failures="1" errors="0" skipped="1"', text)
    assert.is_truthy(utf8.len(text))
    assert.is_nil(text:find "[\0-\8\11-\31\127]")
    assert.is_nil(text:find("]]>", 1, true))
    assert.is_nil(text:find "&[^aglq#]")
    has('name="b # &lt;&amp;&quot;\\x1b[31m&gt;&#10;\\x00\\xff ü"', text)
  end)

  it("are written where that can be, or the run fails", function()
    local code, out = run('it("a", function() end)', { "--junit", "no/such/dir/out.xml" })
    assert.equal(1, code)
    has("--junit: no/such/dir/out.xml: No such file or directory", out)
  end)

  it("escape what XML has no character for", function()
    local hostile_name = "\xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80 \u{10FFFF} \u{FFFF} \xe2\x82"
    local total = { passed = 0, failed = 1, skipped = 0, seconds = 0, files = {} }
    total.files[1] = {
      file = "f", passed = 0, failed = 1, skipped = 0, seconds = 0, troubles = {},
      tests = { { name = hostile_name, status = "failed", seconds = 0 } },
    }
    has("\\xed\\xa0\\x80 \\xc0\\x80 \\xf4\\x90\\x80\\x80 \u{10FFFF} \\xef\\xbf\\xbf \\xe2\\x82", junit.text(total))
  end)
end)
