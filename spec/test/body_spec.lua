-- The bodies of tests: they wait as tasks do, or turn the loop as scripts do, and never for too long.

local kit = require "spec.test.kit"

local fails, passes = kit.fails, kit.passes

kit.prepare()

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
