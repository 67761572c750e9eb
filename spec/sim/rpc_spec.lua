-- RPC over the simulated network: the library unmodified, under faults that real sockets give only with great effort.

local sim = require "lunode.sim"

-- Serves a counter whose increments are kept in `state`, slow calls and streams.
local function serve(state)
  local rpc = require "lunode.rpc"
  local task = require "lunode.task"
  assert(rpc.serve("0.0.0.0:7000", {
    add = function(_, n)
      state.calls = state.calls + 1
      state.sum = state.sum + n
      return state.sum
    end,
    slow = function(_, seconds)
      task.sleep(seconds)
      state.slow = state.slow + 1
      return "done"
    end,
    count = function(ctx)
      local bytes = 0
      for chunk in ctx:chunks() do
        bytes = bytes + #chunk
        state.bytes = bytes
      end
      return bytes
    end,
    numbers = function(ctx, n)
      for i = 1, n do
        ctx:send(i)
      end
    end,
  }))
end

-- Calls that the spec asks for: `ask` is a list of {method, args, options}; outcomes go to `outcomes`.
local function call(state)
  local loop = require "lunode.loop"
  local rpc = require "lunode.rpc"
  local peer = rpc.peer("server:7000", state.options)
  loop.timer(3600, function() end, 3600) -- a peer without a connection keeps no process alive
  function state.ask(method, args, options)
    local outcome = { asked = loop.now() }
    options = options or {}
    function options.callback(result, err)
      outcome.result, outcome.err, outcome.at = result, err, loop.now()
    end
    peer:call(method, args, options)
    return outcome
  end
end

local function start(options, peer_options)
  local world = sim.new(options or {})
  local server, client = { calls = 0, sum = 0, slow = 0, bytes = 0 }, { options = peer_options }
  world:node("server", serve, { server })
  world:node("client", call, { client })
  world:run(0.1)
  return world, client, server
end

local function finished(world, outcome, limit)
  assert(world:run_until(function()
    return outcome.at
  end, limit))
  return outcome
end

describe("RPC in the simulated world", function()
  it("calls, and is answered", function()
    local world, client, server = start()
    local outcomes = {}
    for i = 1, 100 do
      outcomes[i] = client.ask("add", { i })
    end
    world:run(1)
    assert.equal(5050, outcomes[100].result)
    assert.equal(100, server.calls)
  end)

  it("finds a half-open peer by its heartbeat, and says that the call may have happened", function()
    local world, client, server = start(nil, { heartbeat = 2, heartbeat_timeout = 3 })
    assert.equal(1, finished(world, client.ask("add", { 1 })).result)
    world:fault { kind = "half_open", nodes = { "client", "server" } }
    local outcome = finished(world, client.ask("add", { 1 }, { timeout = 60 }))
    assert.is_false(outcome.err.definite)
    assert.is_true(outcome.at - outcome.asked >= 5 and outcome.at - outcome.asked < 7)
    -- It connects anew, and that connection is a good one.
    assert.equal(2, finished(world, client.ask("add", { 1 })).result)
    assert.equal(2, server.calls)
  end)

  it("does not give up a peer that is only slow", function()
    local world, client, server = start(nil, { heartbeat = 2, heartbeat_timeout = 3 })
    local outcome = finished(world, client.ask("slow", { 30 }, { timeout = 60 }))
    assert.same({ "done", 1 }, { outcome.result, server.slow })
  end)

  it("loses its answers in a partition of one direction: the outcome is not definite, and it did happen", function()
    local world, client, server = start()
    assert.equal(1, finished(world, client.ask("add", { 1 })).result)
    world:partition { one_way = { "server", "client" } }
    local outcome = finished(world, client.ask("add", { 10 }))
    assert.same({ "ETIMEDOUT", false, 11 }, { outcome.err.code, outcome.err.definite, server.sum })
  end)

  it("was not sent where there was no connection: that is definite", function()
    local world, client, server = start()
    world:partition { { "client" }, { "server" } }
    local outcome = finished(world, client.ask("add", { 1 }, { timeout = 3 }))
    assert.is_true(outcome.err.definite)
    world:heal()
    world:run(30)
    assert.equal(0, server.calls)
    assert.equal(1, finished(world, client.ask("add", { 1 })).result)
  end)

  it("connects again after its server was killed and started anew, however often", function()
    local world, client, server = start()
    for i = 1, 10 do
      assert.equal(i, finished(world, client.ask("add", { 1 }, { timeout = 30 })).result)
      world:kill "server"
      world:run(1)
      world:restart "server"
      world:run(5)
    end
    assert.equal(10, server.calls)
  end)

  it("never does a call twice, and knows of each that it does: over swarms of faults", function()
    local seeds = os.getenv "LUNODE_FULL" == "1" and 200 or 20
    local kinds = { "split", "one_way", "flapping", "latency", "bandwidth", "reset", "half_open", "pause",
      "slow_reader", "accept_failures" }
    local answered, doubtful = 0, 0
    for seed = 1, seeds do
      local world, client, server = start { seed = seed, errors = "record" }
      world:swarm { duration = 20, intensity = 6, kinds = kinds }
      local outcomes = {}
      for i = 1, 60 do
        outcomes[i] = client.ask("add", { 1 })
        world:run(0.4)
      end
      world:heal()
      world:run(60)
      local done, perhaps = 0, 0
      for i, outcome in ipairs(outcomes) do
        assert(outcome.at, ("seed %d: call %d never ended"):format(seed, i))
        done = done + (outcome.result and 1 or 0)
        perhaps = perhaps + (outcome.err and not outcome.err.definite and 1 or 0)
      end
      answered, doubtful = answered + done, doubtful + perhaps
      assert.is_true(server.calls >= done and server.calls <= done + perhaps,
        ("seed %d: %d answered, %d perhaps done, and %d were done"):format(seed, done, perhaps, server.calls))
    end
    assert.is_true(answered > 0 and doubtful > 0, "the swarms were too calm, or too wild")
  end)
end)

describe("a stream of RPC in the simulated world", function()
  local function run_stream(world, fn)
    local done = {}
    world:node("streamer", function()
      local rpc = require "lunode.rpc"
      local task = require "lunode.task"
      task.spawn(function()
        local peer <close> = rpc.peer("server:7000")
        done.result, done.err = fn(peer, task.sleep)
        done.ended = true
      end)
    end)
    return done
  end

  it("carries large amounts through a narrow link, and holds the sender back", function()
    local world = start { bandwidth = 1000000 }
    local sent = 0
    local done = run_stream(world, function(peer)
      local stream = assert(peer:open("count", {}, { timeout = 60 }))
      for _ = 1, 300 do
        assert(stream:send(("x"):rep(10000)))
        sent = sent + 10000
      end
      stream:finish()
      return stream:result()
    end)
    world:run(0.5)
    assert.is_true(sent < 2000000, sent .. " bytes sent in half a second")
    world:run_until(function()
      return done.ended
    end)
    assert.equal(3000000, done.result)
  end)

  it("goes on after a partition that heals in time, and loses nothing", function()
    local world = start()
    local done = run_stream(world, function(peer, sleep)
      local stream = assert(peer:open("count", {}, { timeout = 60 }))
      for _ = 1, 100 do
        assert(stream:send(("x"):rep(1000)))
        sleep(0.01)
      end
      stream:finish()
      return stream:result()
    end)
    world:run(0.3)
    world:partition { { "server" }, { "streamer" }, duration = 1 }
    assert(world:run_until(function()
      return done.ended
    end))
    assert.equal(100000, done.result)
  end)

  it("ends with an error where its peer loses power", function()
    local world = start()
    local done = run_stream(world, function(peer, sleep)
      local stream = assert(peer:open("count", {}, { timeout = 20 }))
      while true do
        local ok, err = stream:send(("x"):rep(1000))
        if not ok then
          return nil, err
        end
        sleep(0.01)
      end
    end)
    world:run(0.3)
    world:crash "server"
    assert(world:run_until(function()
      return done.ended
    end))
    assert.is_nil(done.result)
    assert.is_not_nil(done.err)
  end)
end)
