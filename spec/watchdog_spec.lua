-- Code that runs too long is ended, however it is written; code that does not costs nothing and sees nothing of it.

local watchdog = require "lunode.watchdog"

local function traceback(err)
  return debug.traceback(err, 2)
end

describe("watchdog.call", function()
  setup(function() watchdog.start(0.02) end) -- of processor time
  teardown(function() watchdog.stop() end)

  local function assert_ended(fn)
    local ok, text, reason, where = watchdog.call("spec", traceback, fn)
    assert.is_false(ok)
    assert.equal("used more than 0.02 s of processor time within one event", text)
    assert.equal("budget", reason)
    assert.matches("^stack traceback:\n.*spec/watchdog_spec.lua:%d+", where)
    assert.is_nil((debug.gethook()))
    assert.is_false(watchdog.ending())
  end

  it("returns what the function returns, all of it", function()
    local function same(...) return ... end
    assert.same({ true, 1, nil, 3, n = 4 }, table.pack(watchdog.call("spec", traceback, same, 1, nil, 3)))
    assert.same({ true, n = 1 }, table.pack(watchdog.call("spec", traceback, function() end)))
  end)

  it("returns what the handler makes of an error", function()
    local ok, err, reason = watchdog.call("spec", function(e) return "<" .. e .. ">" end, error, "x", 0)
    assert.same({ false, "<x>" }, { ok, err })
    assert.is_nil(reason)
  end)

  it("ends a loop without an end", function()
    assert_ended(function() while true do end end)
  end)

  it("ends one that catches all errors", function()
    assert_ended(function()
      while true do
        pcall(function()
          while true do pcall(error) end
        end)
      end
    end)
  end)

  it("ends one in coroutines, made by whatever function", function()
    assert_ended(function()
      while true do
        watchdog.resume(coroutine.create(function() while true do end end))
      end
    end)
    assert_ended(function()
      while true do
        pcall(watchdog.wrap(function() pcall(function() while true do end end) while true do end end))
      end
    end)
    assert_ended(function()
      local thread = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = function() while true do end end })
        coroutine.yield()
      end)
      watchdog.resume(thread)
      watchdog.close(thread)
    end)
    assert_ended(function()
      local inner
      inner = watchdog.wrap(function()
        local other = watchdog.wrap(function() while true do pcall(string.rep, "x", 10) end end)
        other()
      end)
      inner()
    end)
  end)

  it("ends one in a metamethod, a comparison or a replacement, called by C", function()
    assert_ended(function() table.sort({ 1, 2, 3 }, function() while true do end end) end)
    assert_ended(function() return ("x"):gsub(".", function() while true do end end) end)
    assert_ended(function() return setmetatable({}, { __index = function() while true do end end }).x end)
  end)

  it("leaves no trace on coroutines that go on afterwards", function()
    local steps, thread = 0
    repeat -- until it was not the thread itself that was ended
      thread = coroutine.create(function()
        while true do
          steps = steps + 1
          coroutine.yield()
        end
      end)
      assert_ended(function()
        while true do
          watchdog.resume(thread)
          for _ = 1, 1000 do end
        end
      end)
    until coroutine.status(thread) == "suspended"
    local before = steps
    for _ = 1, 100 do assert.is_true((coroutine.resume(thread))) end
    assert.equal(before + 100, steps)
  end)

  it("has a budget for each call, not for all", function()
    local start = os.clock()
    while os.clock() - start < 0.1 do
      assert.is_true((watchdog.call("spec", traceback, function()
        for _ = 1, 1000 do end
      end)))
    end
  end)

  it("may be inside of another, and ends only itself", function()
    local inner, after
    assert.is_true((watchdog.call("outer", traceback, function()
      inner = table.pack(watchdog.call("inner", traceback, function() while true do end end))
      after = true
    end)))
    assert.equal("budget", inner[3])
    assert.is_true(after)
  end)

  it("can be ended from within, which nothing can catch either", function()
    local caught = 0
    local ok, value, reason = watchdog.call("spec", traceback, function()
      watchdog.wrap(function()
        pcall(watchdog.cancel, "enough")
        caught = caught + 1
      end)()
      caught = caught + 1
    end)
    assert.same({ false, "enough", "cancelled" }, { ok, value, reason })
    assert.equal(0, caught)
    assert.error_matches(function() watchdog.cancel "x" end, "outside of watchdog.call")
  end)

  it("tells handlers of xpcall when they have to return", function()
    local ending
    assert_ended(function()
      xpcall(function() while true do end end, function(err)
        ending = watchdog.ending()
        return err
      end)
    end)
    assert.is_true(ending)
  end)

  it("refuses arguments of the wrong type", function()
    assert.error_matches(function() watchdog.call(nil, traceback, print) end, "string expected")
    assert.error_matches(function() watchdog.call("x", 7, print) end, "function expected")
    assert.error_matches(function() watchdog.start(0) end, "0.001 to 1e6")
    assert.error_matches(function() watchdog.start(0 / 0) end, "0.001 to 1e6")
    assert.error_matches(function() watchdog.resume(7) end, "thread expected")
    assert.error_matches(function() watchdog.wrap(7) end, "function expected")
  end)

  it("ends the process, with one line, when code stays inside of one C function", function()
    local lunode = require "spec.support.lunode"
    local file = require("lunode.test.tmp").dir() .. "/stuck.lua"
    require("lunode.test.tmp").write(file, [[
      local watchdog = require "lunode.watchdog"
      watchdog.start(0.01)
      watchdog.call("node n1", print, function()
        return (("a"):rep(40)):find((".-"):rep(40) .. "b")
      end)
    ]])
    local code, _, err = lunode.run { "run", file }
    assert.equal(70, code)
    assert.equal("lunode: node n1: has spent 10 times its budget of 0.01 s inside of one C function, which nothing can "
      .. "interrupt (a pattern?); the process ends\n", err)
  end)
end)

describe("watchdog's coroutine functions", function()
  -- What a coroutine does, told with the given functions.
  local function story(resume, wrap, close)
    local told = {}
    local function tell(...)
      local words = table.pack(...)
      for i = 1, words.n do words[i] = tostring(words[i]):gsub("0x%x+", "ADDRESS") end
      told[#told + 1] = table.concat(words, " ")
    end
    local thread = coroutine.create(function(a, b)
      tell("started", a, b, coroutine.isyieldable())
      tell("resumed", coroutine.yield(a + b, nil))
      error { }
    end)
    tell(resume(thread, 1, 2))
    tell(resume(thread, "x", nil, "y"))
    tell(resume(thread))
    tell(coroutine.status(thread), close(thread))
    tell(pcall(close, coroutine.running()))
    local generator = wrap(function(...)
      tell("wrapped", ...)
      coroutine.yield(...)
      error("lost", 1)
    end)
    tell(generator(1, nil, 3))
    tell((select(2, pcall(generator)):gsub("^.-: ", "")))
    tell(pcall(generator))
    local closed = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() error("in close", 0) end })
      coroutine.yield()
    end)
    resume(closed)
    tell(close(closed))
    tell(resume(coroutine.create(function() return table.unpack({}, 1, 200) end)))
    tell((select(2, pcall(resume, "no thread")):gsub("'.-'", "resume")))
    return told
  end

  it("do what Lua's own do", function()
    local expected = story(coroutine.resume, coroutine.wrap, coroutine.close)
    assert.same(expected, story(watchdog.resume, watchdog.wrap, watchdog.close))
  end)

  it("nest as deeply as Lua's own", function()
    local function depth(wrap)
      local reached = 0
      local function go()
        reached = reached + 1
        wrap(go)()
      end
      pcall(go)
      return reached
    end
    assert.is_true(math.abs(depth(coroutine.wrap) - depth(watchdog.wrap)) < 5)
  end)
end)
