-- The smaller helpers of specs: golden texts, differences, ports, what is active in a loop.

local diff = require "lunode.test.diff"
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

describe("a golden text", function()
  local dir

  before_each(function()
    dir = tmp.dir()
    assert(os.execute("mkdir " .. tmp.quote(dir .. "/spec")))
  end)

  local function run(text, ...)
    tmp.write(
      dir .. "/spec/x_spec.lua",
      ('it("a", function() require("lunode.test").golden("calm.txt", %q) end)'):format(text)
    )
    local env = { LUNODE_TEST_TIMES = dir .. "/times", LUNODE_REWRITE = false }
    local code, out, err = lunode.run { "test", cwd = dir, env = env, ... }
    return code, out .. err
  end

  it("is written where that is asked for, and compared from then on", function()
    local code, out = run "one\ntwo\n"
    assert.equal(1, code)
    assert.is_truthy(out:find("there is no spec/testdata/calm.txt; `lunode test --rewrite` writes it", 1, true), out)
    assert.equal(0, (run("one\ntwo\n", "--rewrite")))
    assert.equal("one\ntwo\n", tmp.read(dir .. "/spec/testdata/calm.txt"))
    assert.equal(0, (run "one\ntwo\n"))
    code, out = run "one\n2\n"
    assert.equal(1, code)
    assert.is_truthy(out:find("- kept, + now:\n      one\n    - two\n    + 2\n", 1, true), out)
    assert.equal("one\ntwo\n", tmp.read(dir .. "/spec/testdata/calm.txt"))
    assert.equal(0, (run("one\n2\n", "--rewrite")))
    assert.equal(0, (run "one\n2\n"))
  end)

  it("has a plain file name", function()
    local golden = require "lunode.test.golden"
    for _, name in ipairs { "../x", "a/b", "", ".", "a\0b" } do
      assert.is_truthy(select(2, pcall(golden, name, "")):find("a file name is needed", 1, true), name)
    end
    assert.is_truthy(select(2, pcall(golden, "x", 3)):find("a string is needed", 1, true))
  end)
end)

describe("a difference", function()
  it("is nothing between equals", function()
    assert.is_nil(diff.lines("a\nb", "a\nb", "x", "y"))
  end)

  it("shows the lines that differ with those around them", function()
    local a = "1\n2\n3\n4\n5\n6\n7\n8\n9\n"
    assert.equal(
      "- x, + y:\n  …\n  2\n  3\n  4\n- 5\n+ five\n  6\n  7\n  8\n  …",
      diff.lines(a, a:gsub("5", "five"), "x", "y") .. "\n  …"
    )
    assert.equal("- x, + y:\n+ 0\n  1\n  2\n  3", diff.lines(a, "0\n" .. a, "x", "y"))
  end)

  it("tells when only the last line's end differs", function()
    assert.is_truthy(diff.lines("a\n", "a", "x", "y"):find("only in the last line's end", 1, true))
  end)

  it("is quick for texts that are long, and bounded", function()
    local a, b = {}, {}
    for i = 1, 20000 do
      a[i], b[i] = "a" .. i, "b" .. i
    end
    local text = diff.lines(table.concat(a, "\n"), table.concat(b, "\n"), "x", "y")
    assert.is_true(select(2, text:gsub("\n", "")) < 300)
  end)

  it("of random texts turns the one into the other", function()
    for seed = 1, 50 do
      local rng = require("spec.support.prng").new(seed)
      local function random_lines()
        local lines = {}
        for i = 1, rng:int(0, 12) do
          lines[i] = ("abc"):sub(rng:int(1, 3)):sub(1, 1)
        end
        return lines
      end
      local a, b = random_lines(), random_lines()
      local left, right = {}, {}
      local text = diff.lines(table.concat(a, "\n"), table.concat(b, "\n"), "x", "y") or ""
      if not text:find("…", 1, true) then
        for sign, line in text:gmatch "\n([-+ ]) ([^\n]*)" do
          if sign ~= "+" then
            left[#left + 1] = line
          end
          if sign ~= "-" then
            right[#right + 1] = line
          end
        end
        if text ~= "" then
          assert.equal(table.concat(a, "\n"), table.concat(left, "\n"))
          assert.equal(table.concat(b, "\n"), table.concat(right, "\n"))
        end
      end
    end
  end)
end)

describe("a free port", function()
  it("can be listened on, is never given twice, and is none that the kernel gives away", function()
    local seen = {}
    for _ = 1, 50 do
      local port = ports.free()
      assert.is_nil(seen[port])
      seen[port] = true
      assert.is_true(port < 32768)
    end
    local server = assert(tcp_server.listen("127.0.0.1", next(seen), {}))
    server:close()
  end)
end)

describe("loop.handles", function()
  local function kinds()
    local counts = {}
    for _, handle in ipairs(loop.handles()) do
      local kind = getmetatable(handle).__name
      counts[kind] = (counts[kind] or 0) + 1
    end
    return counts
  end

  it("has what is active, and nothing else", function()
    local before = kinds()
    local timer = loop.timer(1000, print)
    local hook = loop.before_sleep(function() end)
    local signal = loop.signal("USR1", print)
    local accepted
    local server = assert(tcp_server.listen("127.0.0.1", 0, {
      on_connect = function(conn)
        accepted = conn
      end,
    }))
    local client = tcp_client.connect("127.0.0.1", select(2, server:sock()), {})
    wait.till(function()
      return accepted
    end)
    local now = kinds()
    local function more(kind)
      return (now[kind] or 0) - (before[kind] or 0)
    end
    assert.same(
      { 1, 1, 1, 1, 2 },
      { more "lunode.timer", more "lunode.hook", more "lunode.signal", more "lunode.server", more "lunode.conn" }
    )
    for _, handle in ipairs { timer, hook, signal, server, client, accepted } do
      handle:close()
    end
    wait.till(function()
      now = kinds()
      return more "lunode.conn" == 0 and more "lunode.server" == 0
    end)
    assert.same(before, kinds())
  end)

  it("has none of those that are closed, even while somebody keeps them", function()
    local timers = {}
    for i = 1, 100 do
      timers[i] = loop.timer(1000, print)
      timers[i]:close()
    end
    for _, handle in ipairs(loop.handles()) do
      for i = 1, #timers do
        assert.not_equal(timers[i], handle)
      end
    end
  end)
end)
