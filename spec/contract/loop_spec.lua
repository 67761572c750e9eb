-- The loop as scripts see it: the order of a turn, timers, hooks, signals of errors. What needs a real process
-- (signals, descriptors, random numbers of the kernel) is in spec/loop_spec.lua.

local kit = require "spec.contract.kit"

local function contract(world)
  local loop = world.loop

  -- Collects what is told, and steps until so much was.
  local function teller()
    local told = {}
    local function tell(what)
      told[#told + 1] = what
    end
    local function till(count)
      kit.till(world, function()
        return #told >= count
      end, count .. " to be told, and not only " .. table.concat(told, " "))
      return table.concat(told, " ")
    end
    return tell, till
  end

  describe("a turn", function()
    it("runs timers, then deferred calls, then hooks", function()
      local tell, till = teller()
      local hook
      loop.timer(0.01, function()
        hook = loop.before_sleep(function()
          tell "hook"
          hook:close()
        end)
        loop.defer(function() tell "deferred" end)
        tell "timer"
      end)
      assert.equal("timer deferred hook", till(3))
    end)

    it("fires the timers that are due in the order of their times, equal ones in that of their making", function()
      local tell, till = teller()
      loop.timer(0.03, function() tell "c" end)
      loop.timer(0.01, function() tell "a" end)
      loop.timer(0.02, function() tell "b1" end)
      loop.timer(0.02, function() tell "b2" end)
      assert.equal("a b1 b2 c", till(4))
    end)

    it("leaves what its timers add, and what its deferred calls defer, to the next one", function()
      local tell, till = teller()
      local turn = 0
      local hook = loop.before_sleep(function() turn = turn + 1 end)
      loop.timer(0.01, function()
        turn = 0
        loop.timer(0, function() tell("added:" .. turn) end)
        loop.defer(function()
          tell("deferred:" .. turn)
          loop.defer(function() tell("again:" .. turn) end)
        end)
      end)
      assert.equal("deferred:0 added:1 again:1", till(3))
      hook:close()
    end)

    it("calls deferred functions once, in order, also where one raises", function()
      local tell, till = teller()
      loop.on_error(function(traceback) tell(traceback:match "told") end)
      loop.defer(function() tell "a" end)
      loop.defer(function() error "told" end)
      loop.defer(function() tell "b" end)
      assert.equal("a told b", till(3))
      kit.turns(world, 3)
      assert.equal("a told b", till(3))
    end)

    it("calls a hook that a hook adds in the same turn, and none that was closed", function()
      local tell, till = teller()
      local first, second, third
      first = loop.before_sleep(function()
        tell "first"
        second = loop.before_sleep(function()
          tell "second"
          second:close()
        end)
        first:close()
        third:close()
      end)
      third = loop.before_sleep(function() tell "third" end)
      loop.defer(function() tell "turn" end)
      assert.equal("turn first second", till(3))
      kit.turns(world, 3)
      assert.equal("turn first second", till(3))
    end)
  end)

  describe("a timer", function()
    it("fires once, and is then no longer active", function()
      local count = 0
      local timer = loop.timer(0.01, function() count = count + 1 end)
      assert.is_true(timer:is_active())
      kit.till(world, function() return count > 0 end)
      kit.turns(world, 3)
      assert.is_false(timer:is_active())
      assert.equal(1, count)
      timer:close()
    end)

    it("repeats on its grid, until it is closed, also by itself", function()
      local times = {}
      local start = loop.now()
      local timer
      timer = loop.timer(0.02, function(self)
        assert.equal(timer, self)
        times[#times + 1] = loop.now()
        if #times == 5 then self:close() end
      end, 0.01)
      kit.till(world, function() return not timer:is_active() end)
      for i, time in ipairs(times) do
        assert.is_true(time >= start + 0.02 + (i - 1) * 0.01 - 1e-6)
      end
      assert.equal(5, #times)
    end)

    it("that another one closes in the same turn does not fire", function()
      local tell, till = teller()
      local second
      loop.timer(0.01, function()
        tell "first"
        second:close()
      end)
      second = loop.timer(0.01, function() tell "second" end)
      loop.timer(0.03, function() tell "end" end)
      assert.equal("first end", till(2))
    end)

    it("starts anew with again, also from within its callback, with another delay where given", function()
      local tell, till = teller()
      local count = 0
      local timer = loop.timer(5, function(self)
        count = count + 1
        tell("fired" .. count)
        if count == 1 then self:again() end
      end)
      timer:again(0.01)
      assert.equal("fired1 fired2", till(2))
      assert.is_false(timer:is_active())
    end)

    it("of no seconds fires in the next turn", function()
      local fired = false
      loop.timer(0, function() fired = true end)
      assert.is_false(fired)
      kit.till(world, function() return fired end)
    end)

    it("of all seconds that there are never fires, and can be closed", function()
      local timer = loop.timer(math.huge, function() end)
      assert.is_true(loop.step(0))
      timer:close()
      assert.is_false(loop.step(0))
    end)

    it("closes at the end of its scope", function()
      do
        local timer <close> = loop.timer(1000, function() end)
        assert.is_true(timer:is_active())
      end
      assert.is_false(loop.step(0))
    end)

    it("refuses what is no time and no function", function()
      assert.error_matches(function() loop.timer(-1, print) end, "seconds must not be negative")
      assert.error_matches(function() loop.timer(0 / 0, print) end, "seconds must not be negative")
      assert.error_matches(function() loop.timer("x", print) end, "number expected")
      assert.error_matches(function() loop.timer(1, 2) end, "function expected")
      assert.error_matches(function() loop.timer(1, print, 0) end, "interval must be positive")
      assert.error_matches(function() loop.defer(7) end, "function expected")
      assert.error_matches(function() loop.before_sleep() end, "function expected")
      assert.error_matches(function() loop.random(2, 1) end, "interval is empty")
      assert.error_matches(function() loop.random(1.5, 2) end, "number")
      assert.error_matches(function() loop.signal("NONE", print) end, "no such signal")
      assert.error_matches(function() loop.signal("KILL", print) end, "this signal cannot be caught")
      assert.error_matches(function() loop.on_error(7) end, "function expected")
      assert.error_matches(function() loop.report {} end, "string expected")
      assert.is_false(loop.step(0))
    end)
  end)

  describe("running", function()
    it("goes on until nothing is active, or stop is called", function()
      local tell, till = teller()
      loop.run()
      loop.timer(0.01, function() tell "a" end)
      loop.timer(0.02, function() tell "b" end)
      loop.run()
      assert.equal("a b", till(2))
      local timer = loop.timer(1000, function() end)
      loop.timer(0.01, function()
        loop.stop()
        loop.defer(function() tell "later" end)
      end)
      loop.run()
      assert.is_true(timer:is_active())
      timer:close()
      assert.equal("a b later", till(3))
    end)

    it("is refused inside of a callback", function()
      local errors = {}
      loop.defer(function()
        errors[1] = select(2, pcall(loop.run))
        errors[2] = select(2, pcall(loop.step))
      end)
      kit.till(world, function() return errors[2] end)
      assert.matches("loop.run inside of a callback", errors[1])
      assert.matches("loop.step inside of a callback", errors[2])
    end)

    it("steps once, and tells whether anything is active", function()
      assert.is_false(loop.step())
      local count = 0
      local hook = loop.before_sleep(function() count = count + 1 end)
      local timer = loop.timer(1000, function() end)
      assert.is_true(loop.step(0))
      assert.equal(1, count)
      timer:close()
      assert.is_false(loop.step(0.001))
      hook:close()
    end)

    it("has a clock that never goes back, and is the same within a callback", function()
      local last, same = loop.now(), 0
      for _ = 1, 20 do
        loop.timer(0.001, function()
          local now = loop.now()
          assert.is_true(now >= last)
          last = now
          same = same + (loop.now() == now and 1 or 0)
        end)
        kit.turns(world, 1)
      end
      kit.till(world, function() return same == 20 end)
      assert.is_true(loop.time() > 1e9)
    end)
  end)

  describe("an error", function()
    it("goes to on_error with its traceback, and the loop goes on", function()
      local errors = {}
      local previous = loop.on_error(function(traceback) errors[#errors + 1] = traceback end)
      loop.defer(function() error "one" end)
      loop.timer(0, function() error(setmetatable({}, { __tostring = function() return "two" end })) end)
      local hook
      hook = loop.before_sleep(function()
        hook:close()
        error {}
      end)
      loop.report "three"
      kit.till(world, function() return #errors == 4 end)
      loop.on_error(previous)
      local all = table.concat(errors, "\n")
      assert.matches("one\nstack traceback:", all)
      assert.matches("two\nstack traceback:", all)
      assert.matches("%(error object is a table value%)\nstack traceback:", all)
      assert.equal("three", errors[1])
    end)
  end)

  it("draws integers from whole intervals", function()
    local seen = {}
    for _ = 1, 200 do seen[loop.random(1, 3)] = true end
    assert.same({ true, true, true }, seen)
    assert.equal(7, loop.random(7, 7))
    assert.equal("integer", math.type(loop.random(math.mininteger, math.maxinteger)))
  end)

  it("gives back memory that is free", function()
    assert.equal(3, #table.concat({ ("x"):rep(50000000), "abc" }):sub(-3))
    collectgarbage()
    local before = loop.process().rss
    loop.trim()
    assert.is_true(loop.process().rss <= before + (1 << 20)) -- the look itself takes some pages
  end)

  it("tells which process it runs in, and what that uses", function()
    local before = loop.process()
    assert.is_true(before.pid > 0)
    kit.till(world, function()
      return loop.process().user + loop.process().system > before.user + before.system or world.simulated
    end, "time of the processor")
    local after = loop.process()
    assert.equal(before.pid, after.pid)
    for _, name in ipairs { "pid", "max_files", "rss", "peak_rss", "system_memory" } do
      assert.equal("integer", math.type(after[name]), name)
    end
    assert.is_true(after.rss <= after.peak_rss and after.peak_rss <= after.system_memory)
  end)
end

kit.describe("a loop", contract)
