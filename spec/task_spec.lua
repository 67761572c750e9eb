-- lunode.task: how tasks start, wait, end, fail and are cancelled. What they wait for beside time is spec/task's.

local cleanup = require "lunode.test.cleanup"
local in_callback = require "spec.support.in_callback"
local in_task = require "spec.support.in_task"
local kit = require "spec.contract.kit"
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local misuse = require "spec.support.misuse"
local task = require "lunode.task"
local wait = require "lunode.test.wait"

local FULL = os.getenv "LUNODE_FULL"

local function collect_errors()
  local errors = {}
  loop.on_error(function(traceback)
    errors[#errors + 1] = traceback
  end)
  return errors
end

-- What notes that it was closed, and with which error.
local function closing(note)
  return setmetatable({}, {
    __close = function(_, err)
      note(err)
    end,
  })
end

local function collect()
  collectgarbage()
  collectgarbage()
end

-- A task that sleeps until cancelled, and goes with the spec.
local function sleeper()
  local handle = task.spawn(task.sleep, math.huge)
  cleanup.add(function()
    handle:cancel()
    wait.turns(3)
  end)
  return handle
end

kit.describe_real("a task", function(world)
  local function volume(n)
    return math.max(10, math.floor(n * world.volume))
  end

  it("starts in the next turn, with its arguments, nils included", function()
    local got
    local handle = task.spawn(function(...)
      got = table.pack(...)
    end, 1, nil, "x", nil)
    assert.is_nil(got)
    assert.equal("ready", handle:status())
    wait.turns(1)
    assert.same({ 1, nil, "x", nil, n = 4 }, got)
    assert.equal("done", handle:status())
  end)

  it("gives its results to all who join, before its end and after it", function()
    local handle = task.spawn(function()
      task.sleep(0.005)
      return 1, nil, 3, nil
    end)
    local joined = {}
    local joiners = {}
    for i = 1, 5 do
      joiners[i] = task.spawn(function()
        local results = table.pack(handle:join())
        joined[#joined + 1] = { i, results }
      end)
    end
    task.wait_all(joiners)
    for i = 1, 5 do
      assert.same({ i, { 1, nil, 3, nil, n = 4 } }, joined[i])
    end
    assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(handle:join()))
    assert.equal(0, select("#", task.spawn(function() end):join()))
  end)

  it("runs in the order of waking, and those that others wake before the next turn", function()
    local order = {}
    for i = 1, 50 do
      task.spawn(function()
        order[#order + 1] = i
      end)
    end
    assert.same({}, order)
    task.yield()
    assert.equal(50, #order)
    for i = 1, 50 do
      assert.equal(i, order[i])
    end
  end)

  it("may yield as often as it likes: the loop turns meanwhile, and other tasks run", function()
    local fired, rounds, other = false, 0, 0
    loop.timer(0.002, function()
      fired = true
    end)
    local function spin()
      while not fired or rounds < 10 do
        rounds = rounds + 1
        task.yield()
      end
    end
    task.spawn(function()
      while not fired or other < 10 do
        other = other + 1
        task.yield()
      end
    end)
    in_task(spin)
    assert.is_true(math.abs(rounds - other) <= 1)
  end)

  it("that wakes another for ever does not keep timers from firing", function()
    local fired = false
    loop.timer(0.002, function()
      fired = true
    end)
    in_task(function()
      local a, b = task.channel(), task.channel()
      local echo <close> = task.spawn(function()
        for value in a:values() do
          b:send(value)
        end
      end)
      while not fired do
        a:send(1)
        b:receive()
      end
      return echo
    end)
  end)

  it("sleeps at least as long as it should, and in order of what is due", function()
    local order, start, handles = {}, loop.now(), {}
    for i, seconds in ipairs { 0.03, 0, 0.01, 0.02 } do
      handles[i] = task.spawn(function()
        task.sleep(seconds)
        assert.is_true(loop.now() - start >= seconds)
        order[#order + 1] = seconds
      end)
    end
    task.wait_all(handles)
    assert.same({ 0, 0.01, 0.02, 0.03 }, order)
  end)

  it("waits across pcall, metamethods, iterators and its own <close>", function()
    local steps = {}
    local ok, err = pcall(function()
      task.sleep(0)
      steps[#steps + 1] = "pcall"
      error { "thrown" }
    end)
    assert.is_false(ok)
    assert.same({ "thrown" }, err)
    local _, message = xpcall(function()
      task.yield()
      error("x", 0)
    end, function(e)
      return "handled " .. e
    end)
    assert.equal("handled x", message)

    local waiting = setmetatable({}, {
      __index = function(_, key)
        task.sleep(0)
        return key .. "!"
      end,
      __add = function(_, b)
        task.yield()
        return b + 1
      end,
      __lt = function()
        task.yield()
        return true
      end,
      __call = function(_, x)
        task.yield()
        return x
      end,
      __concat = function()
        task.yield()
        return "joined"
      end,
    })
    assert.equal("key!", waiting.key)
    assert.equal(3, waiting + 2)
    assert.is_true(waiting < waiting)
    assert.equal(9, waiting(9))
    assert.equal("joined", waiting .. "x")

    local seen = {}
    for i in
      function(_, i)
        task.yield()
        return i < 3 and i + 1 or nil
      end,
      nil,
      0
    do
      seen[#seen + 1] = i
    end
    assert.same({ 1, 2, 3 }, seen)

    do
      local _ <close> = closing(function()
        task.sleep(0)
        steps[#steps + 1] = "closed"
      end)
      steps[#steps + 1] = "in"
    end
    assert.same({ "pcall", "in", "closed" }, steps)
  end)

  it("is task.current() for itself, and there is none outside", function()
    local inner, handle
    handle = task.spawn(function()
      inner = task.current()
      assert.equal("running", inner:status())
    end)
    local me = task.current()
    handle:join()
    assert.equal(handle, inner)
    assert.equal(me, task.current())
    local outside = true
    loop.defer(function()
      outside = task.current()
    end)
    task.sleep(0.001)
    assert.is_nil(outside)
    assert.matches("lunode.task %(done%)", tostring(handle))
  end)

  describe("that fails", function()
    it("raises in the one who joins it: a string with the task's own traceback", function()
      local function the_culprit()
        error "boom"
      end
      local handle = task.spawn(function()
        task.yield()
        the_culprit()
      end)
      local ok, err = pcall(handle.join, handle)
      assert.is_false(ok)
      assert.matches("task_spec.lua:%d+: boom\nstack traceback:", err)
      assert.matches("the_culprit", err)
      assert.equal("failed", handle:status())
      assert.equal(err, handle:traceback())
      assert.equal(err, select(2, pcall(handle.join, handle)))
    end)

    it("raises other values as they are", function()
      local value = setmetatable({}, {
        __tostring = function()
          return "an error of my own"
        end,
      })
      local handle = task.spawn(error, value)
      local _, err = pcall(handle.join, handle)
      assert.equal(value, err)
      assert.matches("^an error of my own\nstack traceback:", handle:traceback())
      handle = task.spawn(error)
      local ok
      ok, err = pcall(handle.join, handle)
      assert.is_false(ok)
      assert.is_nil(err)
    end)

    it("goes to loop.on_error, once, when nobody joins it, and later to who does", function()
      local errors = collect_errors()
      local handle = task.spawn(function()
        local function deep()
          error "unseen"
        end
        deep()
      end)
      task.spawn(error, { "a table" })
      task.spawn(error, setmetatable({}, {
        __tostring = function()
          error "worse"
        end,
      }))
      wait.turns(3)
      assert.equal(3, #errors)
      assert.matches("task_spec.lua:%d+: unseen\nstack traceback:.*in .*deep", errors[1])
      assert.matches("^table: .*\nstack traceback:", errors[2])
      assert.matches("__tostring raises", errors[3])
      in_task(function()
        assert.is_false(pcall(handle.join, handle))
      end)
      assert.equal(3, #errors)
    end)

    it("does not go to loop.on_error when somebody waits for it", function()
      local errors = collect_errors()
      in_task(function()
        local first, second = task.spawn(error, "first"), task.spawn(error, "second")
        assert.is_false(pcall(task.wait_all, { first, second }))
      end)
      wait.turns(2)
      -- wait_all has told of the first; nobody waits for the second then.
      assert.equal(1, #errors)
      assert.matches("second", errors[1])
    end)

    it("by a stack overflow is told as any other", function()
      local errors = collect_errors()
      local function recurse(n)
        return 1 + recurse(n + 1)
      end
      task.spawn(recurse, 1)
      wait.turns(2)
      assert.equal(1, #errors)
      assert.matches("stack overflow", errors[1])
      in_task(function()
        task.sleep(0)
      end)
    end)

    it("in <close> after an error fails with the later one", function()
      local errors = collect_errors()
      task.spawn(function()
        local _ <close> = closing(function()
          task.sleep(0)
          error "in close"
        end)
        error "in body"
      end)
      wait.till(function()
        return errors[1]
      end)
      assert.equal(1, #errors)
      assert.matches("in close\nstack traceback", errors[1])
    end)

    it("keeps its traceback through with_timeout", function()
      local function deep_down()
        error "boom"
      end
      local handle = task.spawn(function()
        return task.with_timeout(5, function()
          return task.with_timeout(5, function()
            task.yield()
            deep_down()
          end)
        end)
      end)
      local _, err = pcall(handle.join, handle)
      assert.matches("boom", err)
      assert.matches("deep_down", err)
      local _, count = err:gsub("stack traceback", "")
      assert.equal(1, count)
    end)
  end)

  it("that yields by itself fails, in words that help, and is unwound", function()
    local errors, closed = collect_errors(), false
    task.spawn(function()
      local _ <close> = closing(function()
        closed = true
      end)
      coroutine.yield(1)
    end)
    wait.turns(2)
    assert.equal(1, #errors)
    assert.matches("task.yield%(%)", errors[1])
    assert.matches("task_spec.lua", errors[1])
    assert.is_true(closed)
  end)

  describe("that is cancelled", function()
    it("raises at its wait, is unwound, and joins as nil, …, ECANCELED", function()
      local closed, caught
      local handle = task.spawn(function()
        local _ <close> = closing(function(err)
          closed = err
        end)
        local ok, err = pcall(task.sleep, math.huge)
        assert.is_false(ok)
        caught = err
        error(err, 0)
      end)
      task.yield()
      assert.equal("waiting", handle:status())
      assert.is_true(handle:cancel "no longer needed")
      assert.is_true(handle:cancel "the first reason counts")
      assert.same({ nil, "cancelled: no longer needed", "ECANCELED", n = 3 }, table.pack(handle:join()))
      assert.equal("cancelled", handle:status())
      assert.is_true(task.is_interrupt(caught))
      assert.equal("ECANCELED", caught.code)
      assert.equal(caught, closed)
      assert.is_false(handle:cancel())
    end)

    it("never starts when it has not started", function()
      local started = false
      local handle = task.spawn(function()
        started = true
      end)
      handle:cancel()
      assert.same({ nil, "cancelled", "ECANCELED" }, { handle:join() })
      assert.is_false(started)
    end)

    it("raises at every further wait, when it catches the first, and the loop turns meanwhile", function()
      local count, fired = 0, false
      local handle = task.spawn(function()
        repeat
          local ok = pcall(task.sleep, math.huge)
          assert(not ok)
          count = count + 1
        until fired and count > 1
        return "in spite of all"
      end)
      task.yield()
      handle:cancel()
      loop.timer(0.003, function()
        fired = true
      end)
      assert.equal("in spite of all", handle:join())
      assert.equal("done", handle:status())
    end)

    it("by itself raises at its next wait", function()
      local after = false
      local handle = task.spawn(function()
        task.current():cancel()
        after = true
        task.yield()
        after = "too late"
      end)
      assert.equal("ECANCELED", select(3, handle:join()))
      assert.is_true(after)
    end)

    it("is no error: nobody hears of it", function()
      local errors = collect_errors()
      sleeper():cancel()
      local handle = task.spawn(task.sleep, 1)
      task.yield()
      handle:cancel()
      task.sleep(0.002)
      assert.same({}, errors)
      assert.equal("cancelled", handle:status())
    end)

    it("and raises something else while it is unwound has failed", function()
      local errors = collect_errors()
      local handle = task.spawn(function()
        local _ <close> = closing(function()
          error "cannot clean up"
        end)
        task.sleep(math.huge)
      end)
      wait.turns(1)
      handle:cancel()
      wait.turns(2)
      assert.equal("failed", handle:status())
      assert.matches("cannot clean up", errors[1])
    end)

    it("cleans up in a shield, which nothing interrupts, and which ends in time", function()
      local steps = {}
      local handle = task.spawn(function()
        local _ <close> = closing(function()
          assert(not pcall(task.sleep, 0))
          steps[#steps + 1] = task.shield(5, function()
            task.sleep(0.001)
            task.yield()
            return "cleaned"
          end)
          steps[#steps + 1] = select(3, task.shield(0.002, task.sleep, math.huge))
          assert(not pcall(task.sleep, 0))
        end)
        task.sleep(math.huge)
      end)
      task.yield()
      handle:cancel()
      assert.equal("ECANCELED", select(3, handle:join(5)))
      assert.same({ "cleaned", "ETIMEDOUT" }, steps)
    end)

    it("within a shield raises behind it", function()
      local steps = {}
      local handle = task.spawn(function()
        task.shield(5, function()
          task.sleep(0.005)
          steps[#steps + 1] = "whole"
        end)
        task.yield()
        steps[#steps + 1] = "never"
      end)
      task.yield()
      handle:cancel()
      assert.equal("ECANCELED", select(3, handle:join()))
      assert.same({ "whole" }, steps)
    end)

    it("while it joins leaves the other task alone", function()
      local other = sleeper()
      local joiner = task.spawn(other.join, other)
      task.yield()
      joiner:cancel()
      assert.equal("ECANCELED", select(3, joiner:join()))
      assert.equal("waiting", other:status())
    end)

    it("is so at the end of the block where its handle is <close>", function()
      local handle
      do
        local other <close> = task.spawn(task.sleep, math.huge)
        handle = other
        task.yield()
      end
      assert.equal("ECANCELED", select(3, handle:join()))
    end)

    it("leaves no timer: the loop has nothing to wait for", function()
      local handles = {}
      for i = 1, volume(1000) do
        handles[i] = task.spawn(function()
          task.with_timeout(3600, function()
            task.with_timeout(1800, task.sleep, 7200)
          end)
        end)
      end
      wait.turns(2)
      assert.is_true(loop.step())
      for _, handle in ipairs(handles) do
        handle:cancel()
      end
      wait.turns(2)
      for _, handle in ipairs(handles) do
        assert.equal("cancelled", handle:status())
      end
      assert.is_false(loop.step())
    end)

    it("is one in a storm, in any order, at any moment of its life", function()
      local n = volume(3000)
      local handles, ends = {}, 0
      local sem, channel, event = task.semaphore(3), task.channel(2), task.event()
      local waits = {
        function() task.sleep(loop.random(0, 5) / 1000) end,
        function() local _ <close> = sem:acquire() task.sleep(0.001) end,
        function() channel:send(1) end,
        function() channel:receive() end,
        function() event:wait() end,
        function() task.with_timeout(0.002, task.sleep, 1) task.yield() end,
        function() handles[1]:join() end,
        function() task.wait_any { handles[1], event } end,
      }
      handles[1] = task.spawn(task.sleep, math.huge)
      for i = 2, n do
        handles[i] = task.spawn(function()
          local _ <close> = closing(function() ends = ends + 1 end)
          for _ = 1, 3 do waits[loop.random(1, #waits)]() end
        end)
      end
      local victims = {}
      for i = n, 1, -1 do victims[n - i + 1] = i end
      for i = n, 2, -1 do
        local j = loop.random(1, i)
        victims[i], victims[j] = victims[j], victims[i]
      end
      for i = 1, n do
        if i % 50 == 0 then loop.step(0.001) end
        handles[victims[i]]:cancel()
      end
      wait.turns(n // 1000 + 5) -- so many run in a turn
      for i = 1, n do
        assert.is_truthy(({ done = true, cancelled = true })[handles[i]:status()])
      end
      assert.is_false(loop.step())
      assert.equal(3, sem:available())
      assert.is_true(ends > 0)
    end)
  end)

  describe("within a deadline", function()
    it("gets what the function returns, or nil, timed out, ETIMEDOUT", function()
      assert.same({ 1, nil, 3, n = 3 }, table.pack(task.with_timeout(5, function(...)
        task.yield()
        return ...
      end, 1, nil, 3)))
      local start = loop.now()
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { task.with_timeout(0.01, task.sleep, 60) })
      assert.is_true(loop.now() - start >= 0.01 and loop.now() - start < 10)
      task.sleep(0) -- nothing is left of it
    end)

    it("is unwound, sees why, and every further wait raises, too", function()
      local errors, closed = {}, nil
      local _, _, code = task.with_timeout(0.002, function()
        local _ <close> = closing(function(err)
          closed = err
        end)
        for i = 1, 3 do
          errors[i] = select(2, pcall(task.sleep, 60))
        end
        error(errors[1], 0)
      end)
      assert.equal("ETIMEDOUT", code)
      assert.equal(errors[1], closed)
      for i = 1, 3 do
        assert.is_true(task.is_interrupt(errors[i]))
        assert.equal("timed out", tostring(errors[i]))
      end
    end)

    it("gets what the function returns in spite of it", function()
      assert.equal("late", task.with_timeout(0.001, function()
        pcall(task.sleep, 60)
        return "late"
      end))
    end)

    it("nested: never waits longer than the outermost, which is the one that times out", function()
      local inner_returned = false
      local start = loop.now()
      local _, _, code = task.with_timeout(0.01, function()
        task.with_timeout(60, function()
          task.with_timeout(30, task.sleep, 90)
          inner_returned = true
        end)
        inner_returned = true
      end)
      assert.equal("ETIMEDOUT", code)
      assert.is_false(inner_returned)
      assert.is_true(loop.now() - start < 10)
    end)

    it("nested: the inner one alone times out when it is the shorter", function()
      assert.equal("went on", task.with_timeout(60, function()
        local _, _, code = task.with_timeout(0.002, task.sleep, 60)
        assert.equal("ETIMEDOUT", code)
        task.sleep(0.001)
        return "went on"
      end))
    end)

    it("nested: where both are over, the outer one unwinds", function()
      local inner_returned = false
      local _, _, code = task.with_timeout(0, function()
        task.with_timeout(0, task.sleep, 60)
        inner_returned = true
      end)
      assert.equal("ETIMEDOUT", code)
      assert.is_false(inner_returned)
    end)

    it("knows it, and so can hand it on to a task, which inherits none by itself", function()
      assert.is_nil(task.deadline())
      task.with_timeout(5, function()
        local at = task.deadline()
        assert.is_true(math.abs(at - loop.now() - 5) < 1)
        task.with_timeout(60, function()
          assert.equal(at, task.deadline())
        end)
        task.with_timeout(1, function()
          assert.is_true(task.deadline() < at)
        end)
        task.shield(60, function()
          assert.is_true(task.deadline() > at)
        end)
        local child = task.spawn(function()
          assert.is_nil(task.deadline())
          return task.with_deadline(at, task.deadline)
        end)
        assert.equal(at, child:join())
        assert.equal(at, task.with_deadline(nil, task.deadline))
      end)
      assert.is_nil(task.deadline())
      assert.equal("ETIMEDOUT", select(3, task.with_deadline(loop.now() - 1, task.yield)))
    end)

    it("that is over does not interrupt what is awake already", function()
      -- The value is there before the deadline is, if only just: it must not get lost.
      local channel, got = task.channel(), nil
      loop.timer(0.001, function()
        local till = loop.time() + 0.02
        while loop.time() < till do end -- so that the next two are due in one turn
      end)
      loop.timer(0.005, function()
        channel:try_send "precious"
      end)
      local _, _, code = task.with_timeout(0.01, function()
        got = channel:receive()
        task.yield()
        got = "interrupted too late"
      end)
      assert.equal("precious", got)
      assert.equal("ETIMEDOUT", code)
    end)

    it("waits in <close> in a shield, though time is over", function()
      local steps = {}
      local _, _, code = task.with_timeout(0.002, function()
        local _ <close> = closing(function()
          task.shield(1, function()
            task.sleep(0.001)
            steps[1] = "cleaned"
          end)
        end)
        task.sleep(60)
      end)
      assert.equal("ETIMEDOUT", code)
      assert.same({ "cleaned" }, steps)
    end)

    it("is cancelled all the same", function()
      local handle = task.spawn(task.with_timeout, 60, task.sleep, 60)
      task.yield()
      handle:cancel()
      assert.equal("ECANCELED", select(3, handle:join()))
    end)
  end)

  describe("that waits for others", function()
    it("stops joining after its seconds, and leaves the task alone", function()
      local handle = sleeper()
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { handle:join(0.002) })
      assert.equal("waiting", handle:status())
    end)

    it("for any of them gets the first, by index, with its results", function()
      local slow, event = sleeper(), task.event()
      local quick = task.spawn(function()
        task.sleep(0.001)
        return "quick", nil, 3
      end)
      assert.same({ 3, "quick", nil, 3 }, { task.wait_any { slow, event, quick } })
      task.spawn(event.resolve, event, "resolved")
      assert.same({ 2, "resolved" }, { task.wait_any { slow, event } })
      assert.same({ 2, "resolved" }, { task.wait_any { slow, event, quick } })
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { task.wait_any({ slow, slow }, 0.001) })
      local failing = task.spawn(error, "boom", 0)
      local ok, err = pcall(task.wait_any, { slow, failing })
      assert.is_false(ok)
      assert.matches("^boom\nstack", err)
      slow:cancel()
      assert.same({ 1, nil, "cancelled", "ECANCELED" }, { task.wait_any { slow } })
    end)

    it("for all of them gets all results, or the first error at once", function()
      local event = task.event()
      local handles = { event }
      for i = 2, 6 do
        handles[i] = task.spawn(function()
          task.sleep((7 - i) / 1000)
          event:resolve "event"
          return i, nil
        end)
      end
      local results = task.wait_all(handles)
      assert.same({ "event", n = 1 }, results[1])
      for i = 2, 6 do
        assert.same({ i, nil, n = 2 }, results[i])
      end
      assert.equal("ETIMEDOUT", select(3, task.wait_all({ sleeper(), handles[2] }, 0.001)))
      local slow = sleeper()
      local ok, err = pcall(task.wait_all, { slow, task.spawn(error, "boom", 0) })
      assert.is_false(ok)
      assert.matches("^boom\nstack", err)
      assert.equal("waiting", slow:status())
      local failed = task.spawn(error, "again", 0)
      pcall(failed.join, failed)
      assert.matches("^again", select(2, pcall(task.wait_all, { slow, failed })))
      slow:cancel()
      assert.same({ { nil, "cancelled", "ECANCELED", n = 3 } }, task.wait_all { slow })
    end)

    it("and is cancelled leaves no trace with any of them", function()
      local a, b, event = sleeper(), sleeper(), task.event()
      for _, wait_for in ipairs { task.wait_any, task.wait_all } do
        local waiter = task.spawn(wait_for, { a, b, event })
        task.yield()
        waiter:cancel()
        assert.equal("ECANCELED", select(3, waiter:join()))
        assert.is_false(a.first or b.first or event.first or false)
      end
    end)
  end)

  describe("and the collector", function()
    it("get along: one that a timer will wake is kept, though nothing refers to it", function()
      local done = false
      task.spawn(function()
        task.sleep(0.005)
        collect()
        done = true
      end)
      collect()
      wait.turns(1)
      collect()
      wait.till(function()
        return done
      end)
    end)

    it("get along: what has ended is collected, and what nothing can wake, too", function()
      local weak = setmetatable({}, { __mode = "k" })
      local function fill()
        for _ = 1, 20 do
          weak[task.spawn(function()
            task.sleep(0)
          end)] = "ended"
          weak[task.spawn(function()
            task.event():wait()
          end)] = "lost"
          weak[task.spawn(function()
            task.with_timeout(0.001, task.sleep, 60)
          end)] = "timed out"
        end
        local handle = task.spawn(task.sleep, 60)
        weak[handle] = "cancelled"
        wait.turns(1)
        handle:cancel()
      end
      fill()
      in_task(function()
        task.sleep(0.01)
      end)
      wait.turns(2)
      collect()
      local count = 0
      for _ in pairs(weak) do
        count = count + 1
      end
      assert.equal(0, count)
    end)
  end)
end)

describe("task", function()
  it("has many tasks at once, and forgets them", function()
    local n = FULL and 100000 or 10000
    local ended = 0
    collect()
    local before = collectgarbage "count"
    for _ = 1, n do
      task.spawn(function()
        task.sleep(0.2)
        ended = ended + 1
      end)
    end
    wait.turns(n // 1000 + 2)
    collect()
    local each = (collectgarbage "count" - before) * 1024 / n
    assert.is_true(each < 4096, ("%.0f bytes for each"):format(each))
    wait.till(function()
      return ended == n
    end, 60)
    wait.turns(2)
    collect()
    assert.is_true((collectgarbage "count" - before) * 1024 / n < 100)
  end)

  it("says at the caller's line what is wrong outside of a task", function()
    local event, channel, semaphore = task.event(), task.channel(), task.semaphore(1)
    in_callback(function()
      misuse("task.sleep outside of a task", function() task.sleep(1) end)
      misuse("task.yield outside of a task", function() task.yield() end)
      misuse("task.with_timeout outside of a task", function() task.with_timeout(1, print) end)
      misuse("task.with_deadline outside of a task", function() task.with_deadline(1, print) end)
      misuse("task.shield outside of a task", function() task.shield(1, print) end)
      misuse("event:wait outside of a task", function() event:wait() end)
      misuse("channel:send outside of a task", function() channel:send(1) end)
      misuse("channel:receive outside of a task", function() channel:receive() end)
      misuse("semaphore:acquire outside of a task", function() semaphore:acquire() end)
      misuse("task.wait_any outside of a task", function() task.wait_any { event } end)
      misuse("task.wait_all outside of a task", function() task.wait_all { event } end)
      misuse("task.connect outside of a task", function() task.connect("127.0.0.1", 1) end)
      local handle = task.spawn(function() end)
      misuse("task:join outside of a task", function() handle:join() end)
    end)
    wait.turns(1)
  end)

  it("says at the caller's line what is wrong inside of one", function()
    misuse("a function is needed, got a number", function() task.spawn(1) end)
    misuse("seconds must be a number and not negative, got -1", function() task.sleep(-1) end)
    misuse("seconds must be a number and not negative, got", function() task.sleep(0 / 0 * -1) end)
    misuse("seconds must be a number and not negative, got nil", function() task.sleep() end)
    misuse("a function is needed, got a nil", function() task.with_timeout(1) end)
    misuse("seconds must be", function() task.with_timeout("1", print) end)
    misuse("a time is needed", function() task.with_deadline("soon", print) end)
    misuse("cannot join itself", function() task.current():join() end)
    misuse("cannot wait for itself", function() task.wait_any { task.current() } end)
    misuse("not empty", function() task.wait_any {} end)
    misuse("element 2 is a number", function() task.wait_all { task.event(), 3 } end)
    in_task(function()
      misuse("task.run inside of a task", function() task.run(print) end)
    end)
    local generator = coroutine.wrap(function()
      misuse("coroutine that the task has made itself", function() task.sleep(1) end)
      misuse("coroutine that the task has made itself", function() task.with_timeout(1, print) end)
      coroutine.yield "plain coroutines work inside of tasks"
    end)
    assert.equal("plain coroutines work inside of tasks", generator())
  end)

  it("mixes with callbacks: they spawn, tasks call what calls back", function()
    local log = {}
    loop.timer(0.001, function()
      task.spawn(function()
        task.sleep(0.001)
        log[#log + 1] = "a task from a callback"
      end)
    end)
    in_task(function()
      local event = task.event()
      loop.timer(0.004, function()
        event:resolve "a callback"
      end)
      local by = event:wait()
      log[#log + 1] = by
    end)
    wait.till(function()
      return #log == 2
    end)
    table.sort(log)
    assert.same({ "a callback", "a task from a callback" }, log)
  end)
end)

describe("task.run", function()
  local function run(script)
    return lunode.run { "run", "-", stdin = "local task = require 'lunode.task'\n" .. script, seconds = 30 }
  end

  it("runs the loop until the task has ended, and returns what it returns", function()
    local code, out = run [[
      local loop = require "lunode.loop"
      local other = loop.timer(3600, print)
      print(task.run(function(...) task.sleep(0.01) return select("#", ...), nil, "end" end, nil, nil))
      other:close()
      print(task.run(function() return "again" end))
    ]]
    assert.equal(0, code)
    assert.equal("2\tnil\tend\nagain\n", out)
  end)

  it("raises what the task raises, with its traceback: a script ends with 1", function()
    local code, _, err = run "task.run(function() task.sleep(0) error 'boom' end)"
    assert.equal(1, code)
    assert.matches("stdin:2: boom\nstack traceback:", err)
    local _, count = err:gsub("boom", "")
    assert.equal(1, count)
  end)

  it("says where a task waits that nothing can wake any more", function()
    local code, _, err = run "task.run(function() task.event():wait() end)"
    assert.equal(1, code)
    assert.matches("the loop has ended before the task, which waits here:.*stdin:2", err)
  end)

  it("refuses to run inside of a callback", function()
    local code, out = run [[
      local loop = require "lunode.loop"
      loop.defer(function() print(pcall(task.run, function() end)) end)
    ]]
    assert.equal(0, code)
    assert.matches("false.*loop.run inside of a callback", out)
  end)
end)
