-- lunode.loop: time, chance, turns. What happens on sockets is spec/contract's to specify.

local cleanup = require "lunode.test.cleanup"
local expect = require "lunode.test.expect"
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local misuse = require "spec.support.misuse"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local function nothing() end

--- Keeps what would end only with the process from outliving the spec.
local function closing(object)
  cleanup.add(function()
    object:close()
  end)
  return object
end

--- Runs a script in a process of its own.
local function run(script, ...)
  return lunode.run { "run", "-", ..., stdin = "local loop = require 'lunode.loop'\n" .. script, seconds = 30 }
end

--- Collects what loop.on_error is told.
local function collect_errors()
  local errors = {}
  loop.on_error(function(traceback)
    errors[#errors + 1] = traceback
  end)
  return errors
end

describe("a timer", function()
  it("fires once, after its delay and never before, with itself as argument", function()
    local start, given = loop.time(), nil
    local timer = loop.timer(0.02, expect(function(t)
      given = t
      assert.is_true(loop.time() - start >= 0.0199) -- the two clocks may differ by a little
      assert.is_false(t:is_active())
    end))
    assert.is_true(timer:is_active())
    wait.till(function()
      return given
    end)
    assert.equal(timer, given)
  end)

  it("never fires within the call that makes it", function()
    local inside, fired = true, false
    loop.timer(0, function()
      assert.is_false(inside)
      fired = true
    end)
    inside = false
    wait.till(function()
      return fired
    end)
  end)

  it("fires in the order of what is due, and of starting where that is the same", function()
    local order = {}
    local function note(name)
      return function()
        order[#order + 1] = name
      end
    end
    loop.timer(0.03, note "late")
    loop.timer(0.01, note "early")
    loop.timer(0, note "first")
    loop.timer(0.02, note "middle")
    wait.till(function()
      return #order == 4
    end)
    assert.same({ "first", "early", "middle", "late" }, order)

    -- Within a callback time stands still, so these are due at the same moment.
    order = {}
    loop.defer(function()
      for i = 1, 200 do
        loop.timer(0, note(i))
      end
    end)
    wait.till(function()
      return #order == 200
    end)
    for i = 1, 200 do
      assert.equal(i, order[i])
    end
  end)

  it("that another one adds waits for the next turn, even when it is due", function()
    local turn, added_in, fired_in = 0, nil, nil
    closing(loop.before_sleep(function()
      turn = turn + 1
    end))
    loop.timer(0, function()
      added_in = turn
      loop.timer(0, function()
        fired_in = turn
      end)
    end)
    wait.till(function()
      return fired_in
    end)
    assert.is_true(fired_in > added_in)
  end)

  it("fires again and again where an interval is given, until it is closed inside of its own callback", function()
    local count = 0
    local timer = loop.timer(0.001, function(t)
      count = count + 1
      assert.is_true(t:is_active())
      if count == 5 then
        t:close()
        assert.is_false(t:is_active())
      end
    end, 0.001)
    wait.till(function()
      return count == 5
    end)
    local later = false
    loop.timer(0.01, function()
      later = true
    end)
    wait.till(function()
      return later
    end)
    assert.equal(5, count)
    assert.is_false(timer:is_active())
  end)

  it("with an interval does not catch up on what a long callback missed", function()
    local count = 0
    local timer = loop.timer(0, function()
      count = count + 1
      if count == 1 then
        local till = loop.time() + 0.03
        while loop.time() < till do end -- a callback that takes thirty intervals
      end
    end, 0.001)
    loop.step(0)
    loop.step(0)
    loop.step(0)
    timer:close()
    assert.is_true(count <= 3)
  end)

  it("can be closed by another one that is due in the same turn", function()
    local second
    loop.timer(
      0,
      expect(function()
        second:close()
      end)
    )
    second = loop.timer(0, expect(nil, 0))
    wait.till(function()
      return not second:is_active()
    end)
    wait.turns(3)
  end)

  it("that is closed never fires; closing it twice is nothing", function()
    local timer = loop.timer(0, expect(nil, 0))
    timer:close()
    timer:close()
    assert.is_false(timer:is_active())
    wait.turns(3)
  end)

  it("starts anew with again: from its callback, while active, after its end, with another delay", function()
    local count, done = 0, false
    local timer = loop.timer(0, function(t)
      count = count + 1
      if count < 3 then
        t:again()
      end
    end)
    wait.till(function()
      return count == 3
    end)
    assert.is_false(timer:is_active())
    timer:again(0.001)
    wait.till(function()
      return count == 4
    end)

    local postponed = loop.timer(0.01, function()
      done = true
    end)
    postponed:again(3600)
    wait.till(function()
      return not timer:is_active()
    end)
    local passed = false
    loop.timer(0.02, function()
      passed = true
    end)
    wait.till(function()
      return passed
    end)
    assert.is_false(done)
    assert.is_true(postponed:is_active())
    postponed:again(0)
    wait.till(function()
      return done
    end)
  end)

  it("takes the longest times there are", function()
    local forever = closing(loop.timer(math.huge, expect(nil, 0)))
    local once = closing(loop.timer(0, expect(nil, 1), math.huge))
    wait.turns(3)
    loop.step(0.001)
    assert.is_true(forever:is_active())
    assert.is_true(once:is_active())
  end)

  it("that raises goes on when it has an interval, and does not keep others from firing", function()
    local errors, count, other = collect_errors(), 0, false
    closing(loop.timer(0, function()
      count = count + 1
      error("boom " .. count)
    end, 0.001))
    loop.timer(0.001, function()
      other = true
    end)
    wait.till(function()
      return count >= 3 and other
    end)
    assert.matches("loop_spec.lua:%d+: boom 1\nstack traceback:", errors[1])
    assert.matches("boom 3", errors[3])
  end)

  it("fires although nothing refers to it, and is collected after that, or once it is closed", function()
    local weak, fired = setmetatable({}, { __mode = "v" }), 0
    weak.single = loop.timer(0.001, function()
      fired = fired + 1
    end)
    weak.closed = loop.timer(3600, nothing)
    collectgarbage()
    collectgarbage()
    assert.is_truthy(weak.single)
    assert.is_truthy(weak.closed)
    weak.closed:close()
    wait.till(function()
      return fired == 1
    end)
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak.single)
    assert.is_nil(weak.closed)
  end)

  it("that its own callback refers to is collected all the same", function()
    local weak = setmetatable({}, { __mode = "v" })
    do
      local timer
      timer = loop.timer(0, function()
        return timer
      end)
      weak.timer = timer
    end
    wait.turns(3)
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak.timer)
  end)

  it("closes at the end of its block where it is <close>", function()
    local outer
    do
      local timer <close> = loop.timer(0, expect(nil, 0))
      outer = timer
    end
    assert.is_false(outer:is_active())
    wait.turns(2)
  end)

  it("is one among ten thousand, started and closed in any order, and each fires once", function()
    local fired, kept = {}, {}
    local expected = 0
    for i = 1, 10000 do
      kept[i] = loop.timer(loop.random(0, 10) / 1000, function()
        fired[i] = (fired[i] or 0) + 1
      end)
    end
    for i = 1, 10000 do
      if loop.random(0, 1) == 0 then
        kept[i]:close()
        kept[i] = nil
      else
        expected = expected + 1
      end
    end
    wait.till(function()
      for _, timer in pairs(kept) do
        if timer:is_active() then
          return false
        end
      end
      return true
    end)
    local count = 0
    for i, times in pairs(fired) do
      assert.is_truthy(kept[i])
      assert.equal(1, times)
      count = count + 1
    end
    assert.equal(expected, count)
  end)
end)

describe("loop.defer", function()
  it("calls in order, not before the caller returns", function()
    local order = {}
    for i = 1, 100 do
      loop.defer(function()
        order[#order + 1] = i
      end)
    end
    assert.same({}, order)
    loop.step()
    assert.equal(100, #order)
    for i = 1, 100 do
      assert.equal(i, order[i])
    end
  end)

  it("leaves what a deferred call defers to the next turn", function()
    local order = {}
    loop.defer(function()
      order[#order + 1] = "first"
      loop.defer(function()
        order[#order + 1] = "third"
      end)
    end)
    loop.defer(function()
      order[#order + 1] = "second"
    end)
    loop.step()
    assert.same({ "first", "second" }, order)
    loop.step()
    assert.same({ "first", "second", "third" }, order)
  end)

  it("lets one that raises stop no other", function()
    local errors, order = collect_errors(), {}
    for i = 1, 6 do
      loop.defer(function()
        order[#order + 1] = i
        if i % 2 == 0 then
          error("call " .. i)
        end
      end)
    end
    loop.step()
    assert.same({ 1, 2, 3, 4, 5, 6 }, order)
    assert.equal(3, #errors)
    assert.matches("call 6", errors[3])
  end)

  it("calls the same function as often as it was given", function()
    local f = expect(nil, 3)
    loop.defer(f)
    loop.defer(f)
    loop.defer(f)
    loop.step()
  end)

  it("keeps the loop alive", function()
    local code, out = run "loop.defer(function() loop.defer(function() print 'done' end) end)"
    assert.equal(0, code)
    assert.equal("done\n", out)
  end)

  it("lets go of what it has called", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local f = function()
        return weak
      end
      weak[f] = true
      loop.defer(f)
    end
    collectgarbage()
    assert.is_truthy(next(weak))
    loop.step()
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)
end)

describe("loop.report", function()
  it("gives an error to on_error, and refuses what is no text", function()
    local errors = collect_errors()
    loop.report "found elsewhere"
    assert.same({ "found elsewhere" }, errors)
    misuse("string expected", function() loop.report({}) end)
  end)

  it("goes to stderr where nobody listens", function()
    local code, _, err = run "loop.report 'found elsewhere'"
    assert.equal(0, code)
    assert.equal("lunode: found elsewhere\n", err)
  end)
end)

describe("loop.before_sleep", function()
  it("calls after the callbacks of every turn, in the order of adding, until closed", function()
    local order = {}
    local function note(name)
      return function()
        order[#order + 1] = name
      end
    end
    local first, second = loop.before_sleep(note "first"), loop.before_sleep(note "second")
    loop.timer(0, note "timer")
    loop.defer(note "deferred")
    loop.step()
    assert.same({ "timer", "deferred", "first", "second" }, order)
    first:close()
    first:close()
    order = {}
    loop.step()
    assert.same({ "second" }, order)
    second:close()
    loop.step()
    assert.same({ "second" }, order)
  end)

  it("lets a hook close itself, and the next one", function()
    local hooks, order = {}, {}
    for i = 1, 4 do
      hooks[i] = loop.before_sleep(function()
        order[#order + 1] = i
        if i == 1 then
          hooks[1]:close()
          hooks[2]:close()
        end
      end)
    end
    loop.step()
    assert.same({ 1, 3, 4 }, order)
    loop.step()
    assert.same({ 1, 3, 4, 3, 4 }, order)
    hooks[3]:close()
    hooks[4]:close()
  end)

  it("goes on after one that raised", function()
    local errors = collect_errors()
    closing(loop.before_sleep(function()
      error "in a hook"
    end))
    closing(loop.before_sleep(expect(nil, 2)))
    loop.step()
    loop.step()
    assert.equal(2, #errors)
    assert.matches("in a hook", errors[1])
  end)

  it("does not keep the loop alive; a hook that nothing refers to still works", function()
    local code, out = run [[
      loop.before_sleep(function() io.write "hook " end)
      collectgarbage() collectgarbage()
      loop.defer(function() io.write "deferred " end)
    ]]
    assert.equal(0, code)
    assert.equal("deferred hook ", out)
  end)
end)

describe("loop.signal", function()
  local function raise(name)
    assert(os.execute("kill -s " .. name .. " $PPID"))
  end

  it("calls with the name, as often as the signal comes, until closed", function()
    local names = {}
    local signal = loop.signal("USR1", function(name)
      names[#names + 1] = name
    end)
    raise "USR1"
    wait.till(function()
      return #names == 1
    end)
    raise "USR1"
    wait.till(function()
      return #names == 2
    end)
    assert.same({ "USR1", "USR1" }, names)
    signal:close()
    signal:close()
  end)

  it("calls every watcher of a name, in order, and others not", function()
    local order = {}
    for i = 1, 3 do
      closing(loop.signal("USR2", function()
        order[#order + 1] = i
      end))
    end
    closing(loop.signal("WINCH", expect(nil, 0)))
    raise "USR2"
    wait.till(function()
      return #order == 3
    end)
    assert.same({ 1, 2, 3 }, order)
  end)

  it("lets a watcher close all others inside of its callback", function()
    local signals, called = {}, 0
    for i = 1, 3 do
      signals[i] = loop.signal("USR1", function()
        called = called + 1
        for _, signal in ipairs(signals) do
          signal:close()
        end
      end)
    end
    raise "USR1"
    wait.till(function()
      return called > 0
    end)
    wait.turns(3)
    assert.equal(1, called)
  end)

  it("does not keep the loop alive, and needs no reference", function()
    local code, out = run [[
      loop.signal("TERM", function(name) print("got " .. name) os.exit(0) end)
      collectgarbage() collectgarbage()
      if arg[1] then os.execute "kill -s TERM $PPID" loop.timer(20, function() print "too late" end) end
    ]]
    assert.equal(0, code)
    assert.equal("", out)
    code, out = lunode.run {
      "run",
      "-",
      "kill",
      stdin = [[
        local loop = require "lunode.loop"
        loop.signal("TERM", function(name) print("got " .. name) loop.stop() end)
        collectgarbage() collectgarbage()
        os.execute "kill -s TERM $PPID"
        loop.timer(20, function() print "too late" end)
      ]],
    }
    assert.equal(0, code)
    assert.equal("got TERM\n", out)
  end)

  it("gives the signal its former effect back when the last watcher closes", function()
    local code, out = run [[
      loop.signal("TERM", function() end):close()
      os.execute "kill -s TERM $PPID"
      print "survived"
    ]]
    assert.equal(128 + 15, code)
    assert.equal("", out)
  end)
end)

describe("loop.process", function()
  it("tells what the system knows of this process", function()
    local status = assert(tmp.read("/proc/self/status"))
    local process = loop.process()
    assert.equal(status:match("\nPid:%s+(%d+)"), tostring(process.pid))
    local resident = 1024 * math.tointeger(status:match("\nVmRSS:%s+(%d+) kB"))
    assert.is_true(math.abs(process.rss - resident) < resident // 4, ("%d, not %d"):format(process.rss, resident))
    local total = 1024 * math.tointeger(tmp.read("/proc/meminfo"):match("MemTotal:%s+(%d+) kB"))
    assert.equal(total, process.system_memory)
  end)
end)

describe("loop.random", function()
  it("stays within its bounds, and reaches both", function()
    local seen = {}
    for _ = 1, 2000 do
      local n = loop.random(-2, 3)
      assert.equal("integer", math.type(n))
      seen[n] = true
    end
    local count = 0
    for n in pairs(seen) do
      assert.is_true(n >= -2 and n <= 3)
      count = count + 1
    end
    assert.equal(6, count)
    assert.equal(7, loop.random(7, 7))
    assert.equal(math.mininteger, loop.random(math.mininteger, math.mininteger))
    assert.equal(math.maxinteger, loop.random(math.maxinteger, math.maxinteger))
  end)

  it("covers all of the 64 bits: each is seen set and clear", function()
    local any, all = 0, -1
    for _ = 1, 200 do
      local n = loop.random(math.mininteger, math.maxinteger)
      any, all = any | n, all & n
    end
    assert.equal(-1, any)
    assert.equal(0, all)
  end)

  it("is even, also where the range is no power of two", function()
    -- 30,000 draws of 10 values: the standard deviation of each count is 52; six of those make a false alarm rarer
    -- than once in ten million runs.
    local counts = {}
    for _ = 1, 30000 do
      local n = loop.random(0, 9)
      counts[n] = (counts[n] or 0) + 1
    end
    for n = 0, 9 do
      assert.is_true(math.abs(counts[n] - 3000) < 6 * 52, ("%d came %d times"):format(n, counts[n]))
    end
    -- 3/4 of all 64-bit numbers: taking the remainder would hit the lower third twice as often.
    local low, third = 0, math.maxinteger // 2 + 1
    for _ = 1, 10000 do
      if loop.random(math.mininteger, math.maxinteger - third) < math.mininteger + third then
        low = low + 1
      end
    end
    assert.is_true(math.abs(low - 10000 / 3) < 6 * 48, ("the lower third came %d times"):format(low))
  end)
end)

describe("loop.now and loop.time", function()
  it("go on; now stands still within a turn", function()
    local before, wall, fired = loop.now(), loop.time(), false
    assert.equal("float", math.type(before))
    assert.is_true(math.abs(wall - os.time()) < 2)
    loop.timer(0.01, function()
      local now = loop.now()
      local till = loop.time() + 0.005
      while loop.time() < till do end
      assert.equal(now, loop.now())
      assert.is_true(now >= before + 0.01)
      fired = true
    end)
    wait.till(function()
      return fired
    end)
    assert.is_true(loop.time() >= wall)
  end)
end)

describe("loop.step, loop.run and loop.stop", function()
  it("step says whether anything is active", function()
    assert.is_false(loop.step())
    local timer = loop.timer(3600, nothing)
    assert.is_true(loop.step())
    timer:close()
    assert.is_false(loop.step())
  end)

  it("step sleeps at most as long as it is told, and not at all when nothing is active", function()
    local start = loop.time()
    loop.step(60)
    loop.step(math.huge)
    local timer = closing(loop.timer(3600, nothing))
    loop.step(0.02)
    local took = loop.time() - start
    assert.is_true(took >= 0.019 and took < 10, took)
    loop.timer(
      0.01,
      expect(function()
        timer:close()
      end)
    )
    loop.step(math.huge) -- until the timer
    loop.step(math.huge)
    assert.is_true(loop.time() - start < 10)
  end)

  it("step sleeps forever where it is told to and only a socket is active", function()
    local tcp_server = require "lunode.tcp_server"
    local server = assert(tcp_server.listen("127.0.0.1", 0, {}))
    closing(loop.signal("USR1", expect(function()
      server:close()
    end)))
    os.execute "kill -s USR1 $PPID"
    loop.step(math.huge)
    wait.turns(2)
  end)

  it("run ends when nothing is active any more", function()
    local order = {}
    loop.timer(0.005, function()
      order[#order + 1] = "timer"
      loop.defer(function()
        order[#order + 1] = "deferred"
      end)
    end)
    loop.run()
    assert.same({ "timer", "deferred" }, order)
  end)

  it("stop ends run after the turn that is under way, and what is left goes on with the next run", function()
    local order = {}
    loop.defer(function()
      order[#order + 1] = "stop"
      loop.stop()
    end)
    loop.defer(function()
      order[#order + 1] = "same turn"
    end)
    loop.timer(0.001, function()
      order[#order + 1] = "timer"
    end)
    loop.run()
    assert.same({ "stop", "same turn" }, order)
    loop.run()
    assert.same({ "stop", "same turn", "timer" }, order)
  end)

  it("run and step raise inside of a callback, and the loop is none the worse", function()
    local errors = collect_errors()
    loop.defer(function()
      loop.run()
    end)
    loop.timer(0, function()
      loop.step()
    end)
    wait.till(function()
      return #errors == 2
    end)
    local both = table.concat(errors)
    assert.matches("loop_spec.lua:%d+: loop.run inside of a callback", both)
    assert.matches("loop_spec.lua:%d+: loop.step inside of a callback", both)
  end)

  it("can be driven from a coroutine, whose end the callbacks survive", function()
    local fired = false
    local co = coroutine.create(function()
      loop.timer(0.001, function()
        fired = true
      end)
      loop.step()
    end)
    assert(coroutine.resume(co))
    co = nil
    collectgarbage()
    collectgarbage()
    assert.is_nil(co)
    wait.till(function()
      return fired
    end)
  end)
end)

describe("loop.on_error", function()
  it("hears each error with its traceback, and returns the handler it replaces", function()
    local function mine() end
    local former = loop.on_error(mine)
    assert.equal("function", type(former))
    assert.equal(mine, loop.on_error(nil))
    assert.is_nil(loop.on_error(former))

    local errors = collect_errors()
    local function culprit()
      error "deep down"
    end
    loop.defer(function()
      culprit()
    end)
    loop.step()
    assert.equal(1, #errors)
    assert.matches("^[^\n]*loop_spec.lua:%d+: deep down\nstack traceback:\n", errors[1])
    assert.matches("in upvalue 'culprit'", errors[1])
  end)

  it("hears of errors that are no strings", function()
    local errors = collect_errors()
    loop.defer(function()
      error(setmetatable({}, {
        __tostring = function()
          return "an object's own words"
        end,
      }))
    end)
    loop.defer(function()
      error({})
    end)
    loop.defer(function()
      error(nil)
    end)
    loop.step()
    assert.matches("^an object's own words\nstack traceback", errors[1])
    assert.matches("^%(error object is a table value%)", errors[2])
    assert.matches("^%(error object is a nil value%)", errors[3])
  end)

  it("hears of a callback that recurses without end", function()
    local errors = collect_errors()
    local function deeper(n)
      return 1 + deeper(n + 1)
    end
    loop.defer(function()
      deeper(1)
    end)
    loop.step()
    assert.equal(1, #errors)
    assert.matches("stack overflow", errors[1])
  end)

  it("hears of a callback that yields", function()
    local errors = collect_errors()
    loop.defer(function()
      coroutine.yield()
    end)
    loop.step()
    assert.matches("attempt to yield", errors[1])
  end)

  it("is stderr by default, and the process lives", function()
    local code, out, err = run [[
      loop.defer(function() error "the first" end)
      loop.timer(0.001, function() print "alive" end)
    ]]
    assert.equal(0, code)
    assert.equal("alive\n", out)
    assert.matches("^lunode: [^\n]*: the first\nstack traceback:\n", err)
  end)

  it("is backed by stderr where it raises itself: both are told", function()
    local code, out, err = run [[
      loop.on_error(function() error "the handler" end)
      loop.defer(function() error "the callback" end)
      loop.timer(0.001, function() print "alive" end)
    ]]
    assert.equal(0, code)
    assert.equal("alive\n", out)
    assert.matches("the callback", err, 1, true)
    assert.matches("on_error failed: [^\n]*the handler", err)
  end)
end)

describe("misuse of the loop", function()
  it("raises at the caller's line, in words that help", function()
    misuse("number expected", function() loop.timer("soon", nothing) end)
    misuse("seconds must not be negative", function() loop.timer(-1, nothing) end)
    misuse("seconds must not be negative", function() loop.timer(0 / 0, nothing) end)
    misuse("function expected", function() loop.timer(1) end)
    misuse("interval must be positive", function() loop.timer(1, nothing, 0) end)
    misuse("function expected", function() loop.defer() end)
    misuse("function expected", function() loop.before_sleep("f") end)
    misuse('give a name such as "TERM"', function() loop.signal("SIGTERM", nothing) end)
    misuse("cannot be caught", function() loop.signal("KILL", nothing) end)
    misuse("function expected", function() loop.signal("TERM") end)
    misuse("interval is empty", function() loop.random(2, 1) end)
    misuse("number has no integer representation", function() loop.random(0.5, 1) end)
    misuse("number expected", function() loop.random(1) end)
    misuse("seconds must not be negative", function() loop.step(-1) end)
    misuse("function expected", function() loop.on_error("print") end)
    local timer <close> = loop.timer(3600, nothing)
    misuse("seconds must not be negative", function() timer:again(-1) end)
    misuse("lunode.timer expected", function() timer.close(io.stdout) end)
    misuse("lunode.timer expected", function() timer.is_active() end)
  end)
end)

describe("the end of the process", function()
  it("has the code that a callback gives to os.exit", function()
    assert.equal(7, (run "loop.defer(function() os.exit(7) end)"))
    assert.equal(8, (run "loop.timer(0, function() os.exit(8) end, 1)"))
    assert.equal(9, (run "loop.before_sleep(function() os.exit(9) end) loop.defer(print)"))
  end)

  it("has that code also where the state is closed first, within the callback", function()
    local code, _, err = run [[
      local tcp_server, tcp_client = require "lunode.tcp_server", require "lunode.tcp_client"
      local server = assert(tcp_server.listen("127.0.0.1", 0, {}))
      local _, port = server:sock()
      loop.timer(3600, print, 1)
      loop.signal("HUP", print)
      tcp_client.connect("127.0.0.1", port, { on_connect = function(conn)
        conn:write("something queued")
        os.exit(6, true)
      end })
    ]]
    assert.equal("", err)
    assert.equal(6, code)
  end)

  it("is clean with everything still active", function()
    local code, _, err = run [[
      local tcp_server, tcp_client = require "lunode.tcp_server", require "lunode.tcp_client"
      local server = assert(tcp_server.listen("127.0.0.1", 0, {}))
      local _, port = server:sock()
      loop.timer(3600, print, 1)
      loop.before_sleep(function() end)
      loop.signal("HUP", print)
      loop.defer(loop.stop)
      tcp_client.connect("127.0.0.1", port, { on_close = function() print "nobody is told at the end" end })
    ]]
    assert.equal("", err)
    assert.equal(0, code)
  end)

  it("lets finalizers use the loop, whenever they were made", function()
    local code, out, err = run [[
      setmetatable({}, { __gc = function()
        loop.timer(1, print)
        loop.defer(function() end)
        print(loop.random(1, 1), pcall(loop.step))
      end })
    ]]
    assert.equal("", err)
    assert.equal("1\ttrue\ttrue\n", out)
    assert.equal(0, code)
  end)

  it("takes with it what is still in use, wherever the state is closed", function()
    local code, _, err = run [[
      setmetatable({}, { __gc = function() loop.signal("HUP", print) end })
      loop.timer(0, function() os.exit(5, true) end)
      loop.defer(print)
    ]]
    assert.equal("", err)
    assert.equal(5, code)
  end)
end)
