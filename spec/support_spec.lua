-- The harness itself: what it starts works, what it opens goes away, and the faults it is to find fail a run.

local lunode = require "spec.support.lunode"
local process = require "spec.support.process"
local redis = require "spec.support.redis"
local tmp = require "spec.support.tmp"
local wait = require "spec.support.wait"

describe("a process of a spec", function()
  it("gives its exit code, output and errors", function()
    assert.same({ 3, "o\n", "e\n" }, { process.run { "sh", "-c", "echo o; echo e >&2; exit 3" } })
    assert.same({ 0, "in", "" }, { process.run { "cat", stdin = "in" } })
    assert.same({ 0, "/\n", "" }, { process.run { "pwd", cwd = "/" } })
    assert.same({ 0, "a 'b'\n", "" }, { process.run { "sh", "-c", "echo $X", env = { X = "a 'b'" } } })
  end)

  it("is alive until a signal ends it", function()
    local p = process.start { "sleep", "1000" }
    assert.is_true(p:is_alive())
    p:kill("TERM")
    assert.equal(128 + 15, p:wait())
    assert.is_false(p:is_alive())
  end)

  it("is told when it takes too long", function()
    local p = process.start { "sleep", "1000" }
    local ok, err = pcall(p.wait, p, 0.02)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("waited 0.02 s in vain for the end of process"), err)
  end)
end)

describe("a redis-server of a spec", function()
  it("answers calls, pipelines and bytes, and tells when it closes", function()
    local server = redis.server()
    local client = server:client()
    assert.same({ ok = "OK" }, client:call("SET", "a", 1))
    assert.same({ 2, "2" }, client:pipeline { { "INCR", "a" }, { "GET", "a" } })
    assert.equal("$1\r\n2\r\n", client:raw { "GET", "a" })
    local big = ("x"):rep(3000000)
    client:call("SET", "big", big)
    assert.equal(big, client:call("GET", "big"))
    client:send("PING\r\nPING\r\n")
    assert.same({ ok = "PONG" }, client:reply())
    wait.till(function()
      return client:bytes() == "+PONG\r\n"
    end)
    assert.same({ ok = "PONG" }, client:reply())
    client:call("QUIT")
    client:wait_closed()
    assert.is_false(pcall(client.call, client, "PING"))
  end)
end)

describe("a run of specs", function()
  -- Runs the file with the harness of this tree. Returns its exit code, output, and the counts for ./dev.
  local function run(text)
    local dir = tmp.dir()
    assert.equal(0, (process.run { "mkdir", dir .. "/spec" }))
    assert.equal(0, (process.run { "cp", "-R", "spec/run.lua", "spec/support", dir .. "/spec" }))
    tmp.write(dir .. "/spec/x_spec.lua", text)
    local code, out, err = lunode.run {
      "run",
      dir .. "/spec/run.lua",
      env = { LUNODE_SPEC_COUNT_FILE = dir .. "/counts" },
      seconds = 120,
    }
    return code, out .. err, tmp.read(dir .. "/counts")
  end

  local function fails(text, pattern, counts)
    local code, out, counted = run(text)
    assert.is_truthy(out:find(pattern), out)
    assert.same({ 1, counts }, { code, counted })
  end

  it("passes, with its count", function()
    local code, _, counts = run('it("a", function() end) it("b", function() end)')
    assert.same({ 0, "2 0\n" }, { code, counts })
  end)

  it("fails where a test fails or raises", function()
    fails('it("a", function() assert.equal(1, 2) end) it("b", function() error("x") end)', "FAILURE: a", "0 2\n")
  end)

  it("fails where a file is no Lua", function()
    fails('it("a", functio', "ERROR: [^\n]*x_spec.lua", "0 1\n")
  end)

  it("fails where a callback raises", function()
    fails(
      [[
        it("a", function()
          require("lunode.loop").defer(function() error("lost") end)
          require("spec.support.wait").turns(2)
        end)
      ]],
      "an error in a callback:\n[^\n]*lost",
      "0 1\n"
    )
  end)

  it("fails where a callback is not called as often as it should be", function()
    fails(
      [[
        local expect = require "spec.support.expect"
        it("a", function() expect(function() end) end)
        it("b", function() pcall(expect(nil, 0)) end)
        it("c", function() expect(function() end)() end)
      ]],
      "x_spec.lua:2 was to be called 1 times, and was called 0 times",
      "1 2\n"
    )
  end)

  it("fails where a file leaves something open", function()
    fails(
      [[it("a", function() leak = require("lunode.loop").timer(1000, print) end)]],
      "leaves a connection, timer or server open",
      "1 1\n"
    )
  end)

  it("takes its processes and directories along", function()
    local code, out = run([[
      local process = require "spec.support.process"
      it("a", function()
        local p = process.start { "sh", "-c", "sleep 1000 & echo $!; sleep 1001" }
        local child = require("spec.support.wait").till(function() return p:stdout():match("%d+") end)
        print("PIDS", p.pid, child, p.dir)
      end)
    ]])
    assert.equal(0, code, out)
    local pid, child, dir = out:match("PIDS%s+(%d+)%s+(%d+)%s+(%S+)")
    assert.is_nil(tmp.read("/proc/" .. pid .. "/stat"))
    -- The orphan is dead, though nobody may have collected it yet.
    local state = (tmp.read("/proc/" .. child .. "/stat") or ""):match("%) (%a)") or "gone"
    assert.is_truthy(state == "gone" or state == "Z", state)
    assert.equal(1, (process.run { "test", "-e", dir }))
  end)

  it("takes its processes along even when it is killed", function()
    local dir = tmp.dir()
    local script = tmp.write(
      dir .. "/s.lua",
      ([[
        package.path = %q .. "/?.lua;" .. package.path
        local p = require("spec.support.process").start { "sleep", "1000" }
        print(p.pid)
        io.stdout:flush()
        require("lunode.loop").timer(1000, print)
      ]]):format(select(2, process.run { "pwd" }):gsub("\n", ""))
    )
    local runner = lunode.start { "run", script, env = { TMPDIR = dir } }
    local pid = wait.till(function()
      return runner:stdout():match("(%d+)\n")
    end)
    assert.is_truthy(tmp.read("/proc/" .. pid .. "/stat"))
    os.execute("kill -KILL " .. runner.pid)
    runner:wait()
    wait.till(function()
      local state = (tmp.read("/proc/" .. pid .. "/stat") or ""):match("%) (%a)")
      return state == nil or state == "Z"
    end, 10, "the end of its child")
  end)

  it("tells ./dev with the exit code 4 that nothing matches", function()
    assert.equal(4, (lunode.run { "run", "spec/run.lua", "no such spec" }))
  end)
end)
