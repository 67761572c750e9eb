-- Calls: results, errors and what they tell, deadlines, cancellation, both ways. Faults are in spec/rpc/.

local in_callback = require "spec.support.in_callback"
local kit = require "spec.rpc.kit"
local loop = require "lunode.loop"
local misuse = require "spec.support.misuse"
local msgpack = require "lunode.msgpack"
local rpc = require "lunode.rpc"
local task = require "lunode.task"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local function echo(_, ...)
  return msgpack.array { n = select("#", ...), ... }
end

describe("a call", function()
  it("gets the result of the method", function()
    local _, address = kit.serve { add = function(_, a, b) return a + b end }
    local peer = kit.peer(address)
    assert.equal(3, peer:call("add", { 1, 2 }))
    assert.equal("connected", peer:state())
  end)

  it("carries every kind of value, and nil among arguments and as the result", function()
    local _, address = kit.serve { echo = echo, nothing = function() end, count = function(_, ...)
      return select("#", ...)
    end }
    local peer = kit.peer(address)
    local value = peer:call("echo", { 1, -2.5, "\0\255", true, { a = { 1, 2 } }, math.mininteger })
    assert.same({ 1, -2.5, "\0\255", true, { a = { 1, 2 } }, math.mininteger }, { table.unpack(value) })
    assert.equal(3, peer:call("count", table.pack(nil, 1, nil)))
    assert.equal(0, peer:call("count"))
    assert.equal(0, peer:call("count", {}))
    local result, err = peer:call("nothing")
    assert.is_nil(result)
    assert.is_nil(err)
  end)

  it("works over a Unix socket", function()
    local path = "unix:" .. tmp.dir() .. "/s"
    local server <close> = assert(rpc.serve(path, { echo = echo }, { mode = "0600" }))
    assert.equal(path, server:address())
    assert.equal("x", kit.peer(path):call("echo", { "x" })[1])
  end)

  it("may be one of a thousand at a time, which end in any order", function()
    local _, address = kit.serve({
      after = function(_, i, seconds)
        task.sleep(seconds)
        return i
      end,
    }, { concurrency = 1000 })
    local peer = kit.peer(address)
    local order, tasks = {}, {}
    for i = 1, 1000 do
      tasks[i] = task.spawn(function()
        assert(i == peer:call("after", { i, (1000 - i) % 10 * 0.01 }))
        order[#order + 1] = i
      end)
    end
    assert(task.wait_all(tasks))
    assert.equal(1000, #order)
    assert.is_true(order[1] > order[1000] or order[500] > order[501], "no call overtook another")
  end)

  it("works with a callback outside of tasks, never within the call", function()
    local _, address = kit.serve { add = function(_, a, b) return a + b end }
    local peer = kit.peer(address)
    local results, inside = {}, true
    local function keep(result, err)
      results[#results + 1] = { result, err, inside }
    end
    peer:call("add", { 1, 2 }, { callback = keep })
    peer:call("sub", { 1, 2 }, { callback = keep })
    inside = false
    wait.till(function() return #results == 2 end)
    assert.same({ 3, nil, false }, results[1])
    assert.equal("ENOMETHOD", results[2][2].code)
    peer:close()
    inside = true
    peer:call("add", { 1, 2 }, { callback = keep })
    inside = false
    wait.till(function() return #results == 3 end)
    assert.equal("ENOTCONN", results[3][2].code)
    assert.is_false(results[3][3])
  end)

  it("whose callback raises harms no other", function()
    local _, address = kit.serve { add = function(_, a, b) return a + b end }
    local peer, errors, result = kit.peer(address), kit.errors(), nil
    peer:call("add", { 1, 2 }, { callback = function() error "in the callback" end })
    peer:call("add", { 3, 4 }, { callback = function(sum) result = sum end })
    wait.till(function() return result end)
    assert.equal(7, result)
    assert.equal(1, #errors)
    assert.matches("in the callback", errors[1])
  end)

  it("can be misused, and says how", function()
    local peer = kit.peer "127.0.0.1:1"
    in_callback(function()
      misuse("outside of a task", function() peer:call("x") end)
    end)
    misuse("the name of a method", function() peer:call(7) end)
    misuse("arguments are a list", function() peer:call("x", { a = 1 }) end)
    misuse("arguments are a list", function() peer:call("x", "a") end)
    misuse("timeout must be", function() peer:call("x", {}, { timeout = -1 }) end)
    misuse("timeout must be", function() peer:call("x", {}, { timeout = math.huge }) end)
    misuse("callback must be", function() peer:call("x", {}, { callback = 1 }) end)
    misuse("an address is", function() rpc.peer("nonsense") end)
    misuse("an address is", function() rpc.peer("host:70000") end)
    misuse("an address is", function() rpc.serve("host", {}) end)
    misuse("a table of methods", function() rpc.serve("127.0.0.1:0") end)
    misuse("unknown option 'retries'", function() rpc.peer("127.0.0.1:1", { retries = 3 }) end)
    misuse("'timeout' must be", function() rpc.peer("127.0.0.1:1", { timeout = 0 }) end)
    misuse("'concurrency' must be", function() rpc.serve("127.0.0.1:0", {}, { concurrency = 0 }) end)
    assert.equal("idle", peer:state())
  end)

  it("whose arguments cannot be sent raises, and the connection goes on", function()
    local _, address = kit.serve { echo = echo }
    local peer = kit.peer(address)
    for _ = 1, 2 do -- without a connection, and with one
      misuse("cannot encode a function", function() peer:call("echo", { print }) end)
      misuse("cannot encode a function", function() peer:call("echo", { print }, { timeout = 1 }) end)
      assert.equal(1, peer:call("echo", { 1 })[1])
    end
    assert.equal(0, peer:stats().in_flight)
  end)
end)

describe("an error", function()
  it("of an unknown method is definite", function()
    local _, address = kit.serve {}
    local peer = kit.peer(address)
    local result, err = peer:call("nope")
    assert.is_nil(result)
    assert.equal("ENOMETHOD", select(2, peer:call("nope")).code)
    assert.equal(0, peer:stats().bad) -- the answer is all that came
    assert.equal("ENOMETHOD", err.code)
    assert.is_true(err.definite)
    assert.equal("unknown method 'nope' (ENOMETHOD)", tostring(err))
  end)

  it("that a handler raises comes as its message; its traceback stays, for loop.on_error", function()
    local errors = kit.errors()
    local _, address = kit.serve { fail = function() error("no such user", 0) end }
    local _, err = kit.peer(address):call("fail")
    assert.equal("no such user", err.message)
    assert.equal("EHANDLER", err.code)
    assert.is_true(err.definite)
    assert.equal(1, #errors)
    assert.matches("no such user.*stack traceback.*rpc_spec", errors[1])
  end)

  it("that is a table comes as it is, and is nobody's bug", function()
    local _, address = kit.serve {
      refuse = function() error { code = "ENOUSER", message = "no such user", user = 7 } end,
      unsure = function() error { code = "ELOST", message = "who knows", definite = false } end,
      returned = function() return nil, "not today", "ETOMORROW" end,
    }
    local peer = kit.peer(address)
    local _, err = peer:call("refuse")
    assert.same({ "ENOUSER", "no such user", true, 7 }, { err.code, err.message, err.definite, err.data.user })
    _, err = peer:call("unsure")
    assert.is_false(err.definite)
    _, err = peer:call("returned")
    assert.same({ "ETOMORROW", "not today", true }, { err.code, err.message, err.definite })
  end)

  it("goes through a node in between", function()
    local _, behind = kit.serve { refuse = function() error { code = "ENOUSER", message = "no such user" } end }
    local upstream = kit.peer(behind)
    local _, address = kit.serve { refuse = function() return upstream:call("refuse") end }
    local _, err = kit.peer(address):call("refuse")
    assert.same({ "ENOUSER", "no such user", true }, { err.code, err.message, err.definite })
  end)

  it("stands for whatever else a handler raises or returns", function()
    local errors = kit.errors()
    local _, address = kit.serve {
      nothing = function() error() end,
      number = function() error(42) end,
      odd = function() error { code = print, message = "odd" } end,
      strange = function() error(setmetatable({}, { __tostring = function() error "no" end })) end,
      userdata = function() error(io.stdout) end,
      deep = function() local t = {} t.t = t return t end,
      callable = setmetatable({}, { __call = function() return "called" end }),
      wrong = 7,
    }
    local peer = kit.peer(address)
    for _, name in ipairs { "nothing", "number", "odd", "userdata", "deep", "wrong" } do
      local result, err = peer:call(name)
      assert.is_nil(result)
      assert.is_string(err.message)
      assert.is_true(err.definite)
    end
    assert.equal("42", select(2, peer:call("number")).message)
    assert.matches("the result cannot be sent", select(2, peer:call("deep")).message)
    local _, err = peer:call("strange")
    assert.is_table(err)
    assert.equal("called", peer:call("callable"))
    assert.is_true(#errors > 0)
  end)
end)

describe("a deadline", function()
  it("ends a call, whose outcome is unknown then; the response is dropped when it comes", function()
    local finish = task.event()
    local address, conns = kit.raw_server(function(conn, message)
      if message[3] == "slow" then
        task.spawn(function()
          finish:wait()
          conn:write(msgpack.encode(msgpack.array { 1, message[2], msgpack.null, "late" }))
        end)
      elseif message[3] == "fast" then
        return msgpack.array { 1, message[2], msgpack.null, "in time" }
      end
    end)
    local peer = kit.peer(address, { plain = true })
    local before = loop.now()
    local _, err = peer:call("slow", {}, { timeout = 0.05 })
    assert.equal("ETIMEDOUT", err.code)
    assert.is_false(err.definite)
    assert.matches("outcome unknown", tostring(err))
    assert.is_true(loop.now() - before >= 0.049)
    finish:resolve()
    assert.equal("in time", peer:call("fast"))
    assert.equal("in time", peer:call("fast"))
    assert.equal(1, peer:stats().dropped)
    assert.equal(1, #conns)
  end)

  it("of the task counts, too, and goes with the call", function()
    local left
    local _, address = kit.serve {
      slow = function(ctx)
        left = ctx.deadline - loop.now()
        task.sleep(10)
      end,
      ready = function() return true end,
    }
    local peer = kit.peer(address)
    assert(peer:call("ready"))
    local before = loop.now()
    local _, err, code = task.with_timeout(0.1, function()
      return peer:call("slow")
    end)
    assert.equal("timed out", err)
    assert.equal("ETIMEDOUT", code)
    assert.is_true(loop.now() - before < 4)
    assert.is_true(left <= 0.1001 and left > 0)
    assert.equal(0, peer:stats().in_flight)
  end)

  it("is handed from handler to handler", function()
    local left
    local _, behind = kit.serve {
      slow = function(ctx)
        left = ctx.deadline - loop.now()
        return task.deadline() == ctx.deadline
      end,
    }
    local upstream = kit.peer(behind)
    local _, address = kit.serve { forward = function() return upstream:call("slow") end }
    assert.is_true(kit.peer(address):call("forward", {}, { timeout = 1.5 }))
    assert.is_true(left <= 1.5001 and left > 0)
  end)

  it("interrupts a handler that waits, which tells its caller", function()
    local unwound
    local server, address = kit.serve({
      slow = function()
        local _ <close> = setmetatable({}, { __close = function() unwound = true end })
        task.sleep(10)
      end,
    }, { handler_timeout = 0.05 })
    local _, err = kit.peer(address):call("slow")
    assert.equal("ETIMEDOUT", err.code)
    assert.equal("the handler did not end in time", err.message)
    assert.is_false(err.definite)
    assert.is_true(unwound)
    assert.equal(0, server:stats().active)
  end)
end)

describe("cancellation", function()
  it("of the task that waits reaches the handler", function()
    local started, ended = task.event(), task.event()
    local _, address = kit.serve {
      slow = function(ctx)
        local _ <close> = setmetatable({}, { __close = function() ended:resolve(ctx.cancelled) end })
        started:resolve()
        task.sleep(60)
      end,
      ready = function() return true end,
    }
    local peer = kit.peer(address)
    assert(peer:call("ready"))
    local caller = task.spawn(function() peer:call("slow") end)
    started:wait(20)
    caller:cancel()
    assert.is_true(ended:wait(20))
    assert.equal("cancelled", caller:status())
    assert.equal(0, peer:stats().in_flight)
  end)

  it("of a call with a callback, too; the callback is not called", function()
    local started, ended = task.event(), task.event()
    local _, address = kit.serve {
      slow = function()
        local _ <close> = setmetatable({}, { __close = function() ended:resolve(true) end })
        started:resolve()
        task.sleep(60)
      end,
      ready = function() return true end,
    }
    local peer, called = kit.peer(address), false
    assert(peer:call("ready"))
    local call = peer:call("slow", {}, { callback = function() called = true end })
    started:wait(20)
    call:cancel()
    assert.is_true(ended:wait(20))
    assert(peer:call("ready"))
    assert.is_false(called)
  end)

  it("comes to a handler whose caller is gone", function()
    local started, ended = task.event(), task.event()
    local server, address = kit.serve {
      slow = function(ctx)
        local _ <close> = setmetatable({}, { __close = function() ended:resolve(ctx.cancelled) end })
        started:resolve()
        task.sleep(60)
      end,
    }
    local raw = kit.raw(address)
    raw.send { 0, 1, "slow", {} }
    started:wait(20)
    raw.conn:abort()
    assert.is_true(ended:wait(20))
    assert.equal(0, server:stats().active)
  end)

  it("does not reach what the handler shields", function()
    local started, ended = task.event(), task.event()
    local _, address = kit.serve {
      slow = function()
        task.shield(5, function()
          started:resolve()
          task.sleep(0.05)
          ended:resolve(true)
        end)
      end,
    }
    local raw = kit.raw(address)
    raw.send { 0, 1, "slow", {} }
    started:wait(20)
    raw.conn:abort()
    assert.is_true(ended:wait(20))
  end)

  it("by a handler of its own task ends that call alone", function()
    local _, address = kit.serve {
      strange = function()
        task.current():cancel()
        task.sleep(1)
      end,
      add = function(_, a, b) return a + b end,
    }
    local peer = kit.peer(address)
    local _, err = peer:call("strange")
    assert.equal("ECANCELED", err.code)
    for i = 1, 3 do
      assert.equal(i + 1, peer:call("add", { i, 1 }))
    end
  end)
end)

describe("a notification", function()
  it("runs the method, and nobody answers", function()
    local got = task.channel(10)
    local server, address = kit.serve { note = function(ctx, text) got:send { text, ctx.id == nil } end }
    local peer = kit.peer(address)
    assert.is_true(peer:notify("note", { "before there is a connection" }))
    assert.same({ "before there is a connection", true }, got:receive(5))
    assert.is_true(peer:notify("note", { "and after" }))
    assert.equal("and after", got:receive(5)[1])
    assert.is_true(peer:notify("nobody knows this"))
    wait.till(function() return server:stats().dropped == 1 end)
  end)

  it("whose handler raises is told to loop.on_error, as nobody else hears it", function()
    local errors = kit.errors()
    local _, address = kit.serve { note = function() error { code = "E", message = "unheard" } end, add = math.max }
    kit.peer(address):notify("note")
    wait.till(function() return errors[1] end)
  end)
end)

describe("a handler", function()
  it("knows its caller, and calls back over the same connection", function()
    local server, address = kit.serve {
      ask = function(ctx, n)
        assert(ctx.peer:find "^127%.0%.0%.1:%d+$")
        return (assert(ctx.conn:call("double", { n })))
      end,
      tell = function(ctx) return ctx.conn:notify("told", { "hello" }) end,
    }
    local told = task.event()
    local peer = kit.peer(address, {
      methods = { double = function(_, n) return 2 * n end, told = function(_, text) told:resolve(text) end },
    })
    assert.equal(42, peer:call("ask", { 21 }))
    assert.is_true(peer:call("tell"))
    assert.equal("hello", told:wait(20))
    assert.equal(1, server:stats().connections)
  end)

  it("that is slow blocks no other", function()
    local _, address = kit.serve { slow = function() task.sleep(30) end, fast = function() return "fast" end }
    local peer = kit.peer(address)
    local slow <close> = task.spawn(function() peer:call("slow") end)
    task.yield()
    for _ = 1, 10 do
      assert.equal("fast", peer:call("fast"))
    end
    assert.equal("waiting", slow:status())
  end)

  it("may be added, replaced and removed at any time", function()
    local methods = {}
    local _, address = kit.serve(methods)
    local peer = kit.peer(address)
    assert.equal("ENOMETHOD", select(2, peer:call("who")).code)
    methods.who = function() return "first" end
    assert.equal("first", peer:call("who"))
    methods.who = function() return "second" end
    assert.equal("second", peer:call("who"))
    methods.who = nil
    assert.equal("ENOMETHOD", select(2, peer:call("who")).code)
  end)

  it("is one of so many on its connection; further ones wait, in order", function()
    local most, now, order = 0, 0, {}
    local server, address = kit.serve({
      work = function(_, i)
        now = now + 1
        most = math.max(most, now)
        order[#order + 1] = i
        task.sleep(0.005)
        now = now - 1
      end,
    }, { concurrency = 3 })
    local peer, tasks, sorted = kit.peer(address), {}, {}
    for i = 1, 30 do
      sorted[i] = i
      tasks[i] = task.spawn(function() assert(select(2, peer:call("work", { i })) == nil) end)
    end
    assert(task.wait_all(tasks))
    assert.equal(3, most)
    assert.same(sorted, order)
    assert.equal(0, server:stats().active)
  end)

  it("is one of so many of all connections, which take turns", function()
    local now, most, order = 0, 0, {}
    local _, address = kit.serve({
      work = function(_, who)
        now = now + 1
        most = math.max(most, now)
        order[#order + 1] = who
        task.sleep(0.002)
        now = now - 1
      end,
    }, { total_concurrency = 2 })
    local greedy, modest, tasks = kit.peer(address), kit.peer(address), {}
    for _ = 1, 40 do
      tasks[#tasks + 1] = task.spawn(function() greedy:call("work", { "greedy" }) end)
    end
    wait.till(function() return #order >= 4 end)
    for _ = 1, 5 do
      tasks[#tasks + 1] = task.spawn(function() modest:call("work", { "modest" }) end)
    end
    assert(task.wait_all(tasks))
    assert.equal(2, most)
    local last = 0
    for i, who in ipairs(order) do
      last = who == "modest" and i or last
    end
    assert.is_true(last < 36, "the modest one waited until the greedy one was done")
  end)

  it("that has run leaves nothing behind", function()
    local _, address = kit.serve { add = function(_, a, b) return a + b end }
    local peer = kit.peer(address)
    local function run(n)
      for i = 1, n do
        peer:call("add", { i, 1 })
      end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    run(200)
    local before = run(200)
    local after = run(kit.FULL and 20000 or 3000)
    assert.is_true(after - before < 30, ("%.1f KiB more"):format(after - before))
  end)
end)
