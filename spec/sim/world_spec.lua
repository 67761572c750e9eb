-- Worlds: virtual time, the lives of nodes, what they print, how their failures are told.

local sim = require "lunode.sim"

local function ticker()
  local loop = require "lunode.loop"
  local n = 0
  loop.timer(1, function()
    n = n + 1
    print("tick " .. n)
  end, 1)
end

describe("a world", function()
  it("runs hours in no time", function()
    local world = sim.new()
    local node = world:node("n", ticker)
    world:run(3600)
    assert.equal(3600, world.now)
    assert.matches("tick 3600\n$", node:output())
  end)

  it("runs until a predicate holds, and says when it does not", function()
    local world = sim.new()
    local node = world:node("n", ticker)
    assert.is_truthy(world:run_until(function() return node:output():find "tick 3" end))
    assert.equal(3, world.now)
    local value, err = world:run_until(function() return false end, 5)
    assert.is_nil(value)
    assert.equal("not within 5 virtual seconds", err)
    assert.equal(8, world.now)
  end)

  it("steps event by event, until nothing is left to happen", function()
    local world = sim.new()
    world:node("n", function()
      require("lunode.loop").timer(5, function() print "done" end)
    end)
    local steps = 0
    while world:step() do
      steps = steps + 1
      assert.is_true(steps < 10)
    end
    assert.equal("done\n", world:get("n"):output())
    assert.equal("ended", world:get("n").state)
  end)

  it("gives its nodes addresses in the order of making", function()
    local world = sim.new()
    assert.equal("127.1.0.1", world:node("a").address)
    assert.equal("127.1.0.2", world:node("b").address)
    assert.equal(world:get "b", world:get "127.1.0.2")
    assert.error_matches(function() world:node "a" end, "there is a node a already")
    assert.error_matches(function() world:node "no space" end, "a name of letters")
    assert.error_matches(function() world:crash "c" end, "there is no node c")
  end)

  it("is driven from the outside through the loop of a node without a script", function()
    local world = sim.new()
    local loop = world:node("here"):require "lunode.loop"
    local fired = 0
    loop.timer(0.5, function() fired = fired + 1 end)
    assert.is_true(loop.step(0.2))
    assert.equal(0.2, loop.now())
    assert.is_false(loop.step(1))
    assert.equal(0.5, loop.now())
    loop.timer(2, function() loop.stop() end)
    loop.timer(9, function() fired = fired + 1 end)
    loop.run()
    assert.equal(2.5, loop.now())
    assert.equal(1, fired)
  end)

  it("runs inside of a task, without waiting for real time", function()
    local task = require "lunode.task"
    task.run(function()
      local world = sim.new()
      local node = world:node("n", ticker)
      world:run(100)
      assert.matches("tick 100\n$", node:output())
      task.sleep(0)
    end)
  end)

  it("refuses misuse", function()
    assert.error_matches(function() sim.new { seed = "x" } end, "seed must be a number")
    assert.error_matches(function() sim.new { seed = 1.5 } end, "seed must be an integer")
    assert.error_matches(function() sim.new { errors = "ignore" } end, 'errors must be "raise" or "record"')
    assert.error_matches(function() sim.new(7) end, "table of options")
    local world = sim.new()
    assert.error_matches(function() world:run() end, "virtual seconds are needed")
    assert.error_matches(function() world:run(math.huge) end, "virtual seconds are needed")
    assert.error_matches(function() world:run_until(7) end, "a function is needed")
    assert.error_matches(function() world:node("x", 7) end, "a script's path or a function")
  end)

  it("cannot be run from within itself", function()
    local world = sim.new()
    world:node("n", function() world:run(1) end)
    assert.error_matches(function() world:run(1) end, "the world runs already")
    world:at(world.now, function() world:step() end)
    assert.error_matches(function() world:run(1) end, "the world runs already")
  end)
end)

describe("a node's main chunk", function()
  it("gets its arguments as `lunode run` gives them", function()
    local world = sim.new()
    local node = world:node("n", function(...)
      print(arg[0], arg[1], #arg, ...)
    end, { "a", "b" })
    world:run(1)
    assert.equal("n\ta\t2\ta\tb\n", node:output())
  end)

  it("may run the loop itself, and step it", function()
    local world = sim.new()
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      loop.timer(2, loop.stop)
      loop.timer(9, function() print "nine" end)
      loop.run()
      print("stopped", loop.now())
      print(loop.step(3), loop.now())
      loop.run()
      print("end", loop.now())
      print(loop.step(1), loop.now())
    end)
    world:run(100)
    assert.equal("stopped\t2.0\ntrue\t5.0\nnine\nend\t9.0\nfalse\t10.0\n", node:output())
    assert.equal("ended", node.state)
    assert.equal(0, node.exit_code)
  end)

  it("waits in tasks, too", function()
    local world = sim.new()
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      local co = coroutine.create(function() loop.run() end)
      loop.timer(1, function()
        print(select(2, pcall(loop.run)))
        print(select(2, pcall(loop.step)))
      end)
      print(select(2, coroutine.resume(co)))
    end)
    world:run(5)
    assert.matches("loop.run inside of a coroutine of the main chunk", node:output())
    assert.matches("loop.run inside of a callback", node:output())
    assert.matches("loop.step inside of a callback", node:output())
  end)

  it("ends its node when nothing is active any more, at loop.stop, and at os.exit", function()
    local world = sim.new()
    world:node("nothing", function() end)
    world:node("stop", function()
      local loop = require "lunode.loop"
      loop.timer(1, loop.stop)
      loop.timer(100, function() print "never" end)
    end)
    world:node("exit", function()
      pcall(os.exit, 3)
      print "never"
    end)
    world:run(10)
    assert.equal("ended", world:get("nothing").state)
    assert.equal("ended", world:get("stop").state)
    assert.equal(3, world:get("exit").exit_code)
    assert.equal("", world:get("stop"):output() .. world:get("exit"):output())
  end)

  it("is left by os.exit from wherever it is called, once and for all", function()
    local world = sim.new()
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      loop.timer(1, function()
        local co = coroutine.wrap(function()
          while true do
            xpcall(os.exit, function() while true do end end, false)
          end
        end)
        while true do pcall(co) end
      end)
    end)
    world:run(2)
    assert.equal("ended", node.state)
    assert.equal(1, node.exit_code)
  end)
end)

describe("a failure", function()
  it("of a script that does not parse, or is not there, is told by world:node", function()
    local world = sim.new()
    local dir = require("lunode.test.tmp").dir()
    local path = require("lunode.test.tmp").write(dir .. "/bad.lua", "local = 7\n")
    assert.error_matches(function() world:node("bad", path) end, "node bad, virtual time 0.0+ s: .*bad.lua:1: <name>")
    assert.error_matches(function() world:node("none", dir .. "/none.lua") end, "No such file or directory")
    assert.error_matches(function() world:node("dir", dir) end, "is it a file")
  end)

  it("in the main chunk names node, virtual time and place, and ends the node with 1", function()
    local world = sim.new()
    world:run(2)
    local node = world:node("n", function() error "no way" end)
    local ok, err = pcall(world.run, world, 1)
    assert.is_false(ok)
    assert.matches("^node n, virtual time 2.000%d+ s: .*world_spec.lua:%d+: no way\nstack traceback:\n", err)
    assert.not_matches("sim/loop.lua", err)
    assert.equal(1, node.exit_code)
    world:run(1) -- told once
  end)

  it("in a callback goes to loop.on_error, and without it to whoever runs the world; the node lives", function()
    local world = sim.new()
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      loop.on_error(function(traceback) print((traceback:gsub("\n.*", ""):gsub("^.-:%d+: ", ""))) end)
      loop.timer(1, function() error "first" end)
      loop.timer(2, function() loop.on_error() error { } end)
      loop.timer(3, function() print "alive" end)
    end)
    world:run(1.5)
    assert.equal("first\n", node:output())
    local _, err = pcall(world.run, world, 1)
    assert.matches("virtual time 2.0*%d* s: %(error object is a table value%)\n", err)
    world:run(1)
    assert.equal("first\nalive\n", node:output())
  end)

  it("is only recorded where the world, or the node, says so", function()
    local world = sim.new { errors = "record" }
    world:node("n", function() error "quiet" end)
    world:run(1)
    assert.equal(1, #world.failures)
    assert.equal("n", world.failures[1].node)
    assert.matches("quiet", world.failures[1].text)
    local other = sim.new()
    other:node("n", function() error "quiet" end, {}, { errors = "record" })
    other:run(1)
    assert.matches("error .*quiet", other:trace())
  end)

  it("of a function that brings the real world along names the upvalue", function()
    local world = sim.new()
    local loop = require "lunode.loop"
    local spawn = require("lunode.task").spawn
    local clock, stream = os.clock, io.stdout
    local function helper() return spawn end
    assert.error_matches(function() world:node("a", function() loop.now() end) end,
      "upvalue 'loop' is lunode.loop of the real world; require the module inside")
    assert.error_matches(function() world:node("b", function() helper() end) end,
      "upvalue 'helper %(its upvalue spawn%)' is lunode.task.spawn of the real world")
    assert.error_matches(function() world:node("c", function() return clock() end) end, "'clock' is os.clock")
    assert.error_matches(function() world:node("d", print) end, "a function written in C cannot be a node")
    assert.is_not_nil(stream)
  end)
end)

describe("world:check_idle", function()
  it("lets a node close what it has opened", function()
    local world = sim.new()
    world:node("n", function() require("lunode.loop").timer(20, function() end) end)
    world:check_idle()
    assert.equal("ended", world:get("n").state)
  end)

  it("names the node that leaves something active, how much of what, and where it was made", function()
    local world = sim.new()
    world:node("n", function()
      local loop, tcp_server = require "lunode.loop", require "lunode.tcp_server"
      for _ = 1, 2 do loop.timer(1, function() end, 1) end
      loop.before_sleep(function() end)
      loop.signal("TERM", function() end)
      assert(tcp_server.listen("127.1.0.1", 7000, {}))
      require("lunode.tcp_client").connect("127.1.0.1", 7000, {})
    end)
    local _, err = pcall(world.check_idle, world, 5)
    assert.matches("node n, virtual time 5.000%d+ s: still active: 2 timers %(%S*spec/sim/world_spec.lua:%d+%), "
      .. "2 connections, 1 server, 1 hook %(%S+:%d+%), 1 signal handler %(%S+:%d+%)$", err)
    world:kill "n"
    world:check_idle()
  end)
end)

describe("a budget", function()
  -- Processor time is real: a small budget keeps the specs short.
  local function spend(fn)
    local world = sim.new { budget = 0.05 }
    world:node("greedy", fn)
    world:node("other", ticker)
    local ok, err = pcall(world.run, world, 10)
    assert.is_false(ok)
    assert.matches("^node greedy, virtual time %d+%.%d+ s: used more than 0.05 s of processor time within one event\n",
      err)
    assert.matches("stack traceback:\n%s*%S*spec/sim/world_spec.lua:%d+", err)
    assert.equal("ended", world:get("greedy").state)
    world:run(10) -- the others go on
    assert.matches("tick 10\n", world:get("other"):output())
  end

  it("names who loops without end", function()
    spend(function() while true do end end)
  end)

  it("cannot be swallowed by pcall or a handler of xpcall", function()
    spend(function()
      while true do
        pcall(function() while true do pcall(error) end end)
      end
    end)
    spend(function()
      xpcall(function() while true do end end, function() while true do end end)
    end)
  end)

  it("reaches into coroutines, tasks, deferred calls and timers", function()
    spend(function()
      local co = coroutine.wrap(function() while true do end end)
      co()
    end)
    spend(function()
      while true do coroutine.resume(coroutine.create(function() while true do end end)) end
    end)
    spend(function()
      require("lunode.loop").timer(1, function() while true do end end)
    end)
    spend(function()
      local co = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = function() while true do end end })
        coroutine.yield()
      end)
      coroutine.resume(co)
      coroutine.close(co)
    end)
  end)

  it("is for one event, not for all of them", function()
    local world = sim.new { budget = 0.1 }
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      local n = 0
      local timer
      timer = loop.timer(0.1, function()
        for _ = 1, 100000 do n = n + 1 end
        if n == 10000000 then timer:close() end
      end, 0.1)
    end)
    world:run(20)
    assert.equal("ended", node.state)
  end)

  it("refuses strings that nobody can have, without trying", function()
    local world = sim.new()
    local node = world:node("n", function()
      print(select(2, pcall(string.rep, "x", 1 << 40)))
      print(select(2, pcall(function() return ("x"):rep(1 << 40) end)))
    end)
    world:run(1)
    assert.equal(2, select(2, node:output():gsub("resulting string too large\n", "")))
  end)
end)

describe("the lives of a node", function()
  it("have globals and modules of their own", function()
    local world = sim.new()
    local node = world:node("n", function()
      counter = (counter or 0) + 1 -- luacheck: ignore
      local logger = require "lunode.logger"
      logger.seen = (logger.seen or 0) + 1
      print(counter, logger.seen, _G.counter) -- luacheck: ignore
    end)
    local other = world:node("m", function() print(counter, package.loaded["lunode.logger"]) end) -- luacheck: ignore
    world:run(1)
    world:restart "n"
    world:run(1)
    assert.equal("1\t1\t1\n1\t1\t1\n", node:output())
    assert.equal("nil\tnil\n", other:output())
    assert.equal(2, node.boot)
    assert.is_nil(rawget(_G, "counter"))
  end)

  it("share the upvalues of a function with the spec", function()
    local world = sim.new()
    local seen = {}
    local count = 0
    world:node("n", function(what)
      count = count + 1
      seen[count] = what
    end, { { "a table" } })
    world:run(1)
    assert.same({ { "a table" } }, seen)
  end)

  it("end by kill and crash, and nothing of them runs any more", function()
    for _, how in ipairs { "kill", "crash" } do
      local world = sim.new()
      local node = world:node("n", ticker)
      world:run(2.5)
      world[how](world, "n")
      assert.equal(how == "crash" and "crashed" or "ended", node.state)
      world:run(10)
      assert.equal("tick 1\ntick 2\n", node:output())
      world:restart "n"
      world:run(1.5)
      assert.equal("tick 1\ntick 2\ntick 1\n", node:output())
    end
  end)

  it("may be ended from within", function()
    local world = sim.new()
    local node = world:node("n", function()
      pcall(world.kill, world, "n")
      print "never"
    end)
    world:run(1)
    assert.equal("", node:output())
    assert.equal("ended", node.state)
  end)

  it("stop while paused, and catch up when resumed", function()
    local world = sim.new()
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      loop.timer(1, function() print(loop.now()) end, 1)
      loop.timer(1.5, function() print "once" end)
    end)
    world:run(1.2)
    world:pause "n"
    world:run(10)
    assert.equal("1.0\n", node:output())
    world:resume "n"
    world:run(1.5)
    assert.equal("1.0\nonce\n11.2\n12.2\n", node:output())
  end)

  it("get signals", function()
    local world = sim.new()
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      loop.timer(100, function() end)
      loop.signal("TERM", function(name) print(name) loop.stop() end)
      print(select(2, pcall(loop.signal, "KILL", print)))
      print(select(2, pcall(loop.signal, "NONE", print)))
    end)
    world:run(1)
    node:signal "TERM"
    world:run(1)
    assert.equal("ended", node.state)
    assert.equal(0, node.exit_code)
    assert.matches("this signal cannot be caught.*no such signal.*\nTERM\n$", node:output())
    world:restart "n"
    world:run(1)
    node:signal "INT"
    assert.equal("ended", node.state)
    assert.matches("kill SIGINT\n$", world:trace())
    assert.error_matches(function() node:signal "FOO" ; world:restart "n" ; node:signal "FOO" end, "there is no signal")
  end)

  it("have a wall clock that jumps and drifts, and a monotonic one that does not", function()
    local world = sim.new { epoch = 1000 }
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      loop.timer(1, function() print(loop.now(), loop.time()) end, 1)
    end, {}, { clock = 5 })
    world:run(1)
    world:jump_clock("n", -100)
    world:run(1)
    world:drift_clock("n", 0.5)
    world:run(2)
    assert.equal("1.0\t1006.0\n2.0\t907.0\n3.0\t908.5\n4.0\t910.0\n", node:output())
  end)
end)

describe("a turn", function()
  it("has the order of the real loop's", function()
    local world = sim.new()
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      loop.timer(1, function()
        print "timer"
        loop.timer(0, function() print "timer it added" end)
        loop.defer(function()
          print "deferred"
          loop.defer(function() print "deferred again" end)
        end)
      end)
      local hook
      hook = loop.before_sleep(function()
        if loop.now() >= 1 then print "hook" end
        if loop.now() > 1.1 then hook:close() end
      end)
      loop.timer(1.2, function() print "last" end)
    end)
    world:run(2)
    assert.equal("timer\ndeferred\nhook\ntimer it added\ndeferred again\nhook\nlast\nhook\n", node:output())
  end)

  it("lets time go on for those who poll", function()
    local world = sim.new()
    local node = world:node("n", function()
      local loop = require "lunode.loop"
      while loop.now() < 0.01 do loop.step(0) end
      print "later"
    end)
    world:run(1)
    assert.equal("later\n", node:output())
  end)
end)
