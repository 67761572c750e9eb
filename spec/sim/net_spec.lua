-- The simulated network: links, names, and each of its faults as the nodes' code sees it. What connections promise
-- whatever the world is spec/contract's.

local misuse = require "spec.support.misuse"
local sim = require "lunode.sim"

-- A node that keeps what it is sent; on a line "ping" it answers.
local function keeper(log)
  local tcp_server = require "lunode.tcp_server"
  assert(tcp_server.listen("0.0.0.0", 7000, {
    decoder = "line",
    on_connect = function(conn)
      log.conns[#log.conns + 1] = conn
      log.peers[#log.peers + 1] = conn:peer()
    end,
    on_message = function(_, line)
      log[#log + 1] = line
      if line == "ping" then
        return "pong"
      end
    end,
    on_end = function(conn)
      log.ended = true
      conn:close()
    end,
    on_close = function(_, _, code)
      log.code, log.closed = code, true
    end,
  }))
end

-- A node with a connection, which the spec uses.
local function caller(log, host, options)
  local loop = require "lunode.loop"
  local tcp_client = require "lunode.tcp_client"
  options.decoder = "line"
  function options.on_connect(conn, _, code)
    log.connected, log.connect_code, log.at = not code, code, loop.now()
    log.address = not code and conn:peer()
  end
  function options.on_message(_, line)
    log[#log + 1] = line
  end
  function options.on_end(conn)
    log.ended = true
    if not log.stays then
      conn:close()
    end
  end
  function options.on_close(_, _, code)
    log.code, log.closed, log.closed_at = code, true, loop.now()
  end
  log.conn = tcp_client.connect(host, 7000, options)
end

--- A world with a server and a client that is connected to it: world, what the client hears, what the server hears.
local function connected(options, conn_options)
  local world = sim.new(options or {})
  local there = { conns = {}, peers = {} }
  local here = {}
  world:node("server", keeper, { there })
  world:node("client", caller, { here, "server", conn_options or {} })
  assert(world:run_until(function()
    return here.connected and there.conns[1]
  end))
  return world, here, there
end

local function faults_of(world)
  local list = {}
  for _, record in ipairs(world:records()) do
    if record.kind == "fault" then
      list[#list + 1] = ("%s %s (%s)"):format(record.fault, record.phase, table.concat(record.nodes, " "))
    end
  end
  return list
end

describe("the simulated network", function()
  it("knows the nodes by name and by address, and shows who is who", function()
    local world, here, there = connected()
    assert.equal("127.1.0.1", here.address)
    assert.same({ "127.1.0.2" }, there.peers)
    local other = {}
    world:node("third", caller, { other, "127.1.0.1", {} })
    world:run(1)
    assert.is_true(other.connected)
    assert.equal("127.1.0.3", there.peers[2])
  end)

  it("says what cannot be reached", function()
    local world = sim.new()
    local codes = {}
    world:node("server", function() end)
    local function try(host)
      local log = {}
      world:node("client" .. #world.nodes, caller, { log, host, {} })
      assert(world:run_until(function()
        return log.closed
      end))
      codes[#codes + 1] = log.code
    end
    try "server" -- nobody listens there
    try "nobody"
    try "192.0.2.1"
    try "127.0.0.1"
    assert.same({ "ECONNREFUSED", "ENOTFOUND", "ENETUNREACH", "ECONNREFUSED" }, codes)
  end)

  it("takes its time: as much as the latency of its links says", function()
    local world, here = connected { latency = 0.1 }
    local asked = world.now
    here.conn:write("ping\n")
    world:run_until(function()
      return here[1] == "pong"
    end)
    assert.is_near(0.2, world.now - asked, 0.001)
    world.net:between("server", "client", { latency = 0.5 })
    asked = world.now
    here.conn:write("ping\n")
    world:run_until(function()
      return here[2] == "pong"
    end)
    assert.is_near(1, world.now - asked, 0.001)
  end)

  it("lets no bytes of one connection overtake others, and those of two connections do so", function()
    local overtaken = false
    for seed = 1, 5 do
      local world = sim.new { seed = seed, latency = { min = 0, max = 0.5 } }
      local there = { conns = {}, peers = {} }
      local logs = { {}, {} }
      world:node("server", keeper, { there })
      world:node("a", caller, { logs[1], "server", {} })
      world:node("b", caller, { logs[2], "server", {} })
      world:run(5)
      for i = 1, 100 do
        logs[1].conn:write(("a %d\n"):format(i))
        logs[2].conn:write(("b %d\n"):format(i))
        world:run(0.001)
      end
      world:run(5)
      local last = { a = 0, b = 0 }
      for _, line in ipairs(there) do
        local name, i = line:match "^(%a) (%d+)$"
        assert.equal(last[name] + 1, tonumber(i))
        last[name] = tonumber(i)
        overtaken = overtaken or last.b > last.a
      end
      assert.same({ a = 100, b = 100 }, last)
    end
    assert.is_true(overtaken)
  end)

  it("is as narrow as the bandwidth of its links", function()
    local world, here, there = connected { bandwidth = 100000 }
    local begun = world.now
    here.conn:write(("x"):rep(49999) .. "\n")
    here.conn:write(("y"):rep(49999) .. "\n")
    world:run_until(function()
      return there[2]
    end)
    assert.is_near(1, world.now - begun, 0.05)
  end)

  it("tries all addresses of a name, each with a head start", function()
    local world = sim.new { latency = 0.001 }
    local there, here = { conns = {}, peers = {} }, {}
    world:node("dead", function() end)
    world:node("server", keeper, { there })
    world:partition { isolate = "dead" }
    world.net:name("cluster", { "127.1.0.1", "127.1.0.2" })
    local begun = world.now
    world:node("client", caller, { here, "cluster", {} })
    world:run(1)
    assert.equal("127.1.0.2", here.address)
    assert.is_near(0.25, here.at - begun, 0.01)
  end)
end)

describe("a partition", function()
  it("holds back what is sent until after it has healed, in order, and nothing is lost", function()
    local world, here, there = connected()
    local fault = world:partition { { "client" }, { "server" } }
    for i = 1, 10 do
      here.conn:write(("line %d\n"):format(i))
      world:run(1)
    end
    assert.same({ 0, nil }, { #there, there.closed })
    fault:stop()
    world:run(30)
    local expected = {}
    for i = 1, 10 do
      expected[i] = ("line %d"):format(i)
    end
    assert.same(expected, { table.unpack(there, 1) })
    here.conn:close()
    world:run(1)
    assert.is_true(here.closed and there.closed)
  end)

  it("swallows also what is under way when it begins", function()
    local world, here, there = connected { latency = 1 }
    here.conn:write("ping\n")
    world:run(0.5)
    local fault = world:partition { { "client" }, { "server" } }
    world:run(2)
    assert.equal(0, #there)
    fault:stop()
    world:run(10)
    assert.same({ "ping" }, { there[1] })
  end)

  it("lets a connect time out, or succeed late where it heals", function()
    local world = sim.new()
    local there = { conns = {}, peers = {} }
    local early, late = {}, {}
    world:node("server", keeper, { there })
    world:node("early", caller, { early, "server", { connect_timeout = 2 } })
    world:node("late", caller, { late, "server", { connect_timeout = 20 } })
    world:partition { isolate = "server", duration = 5 }
    world:run(10)
    assert.equal("ETIMEDOUT", early.connect_code)
    assert.is_true(late.connected)
    assert.is_true(late.at > 5 and late.at < 10)
  end)

  it("ends connections with ETIMEDOUT where somebody waits for an acknowledgement, after user_timeout", function()
    local world, here, there = connected(nil, { user_timeout = 3 })
    world:partition { { "client" }, { "server" } }
    local cut = world.now
    here.conn:write("ping\n")
    world:run(60)
    assert.equal("ETIMEDOUT", here.code)
    assert.is_near(3, here.closed_at - cut, 0.5)
    assert.is_nil(there.closed) -- it was told nothing, and asks for nothing
  end)

  it("ends them after a quarter of an hour without that", function()
    local world, here = connected()
    world:partition { { "client" }, { "server" } }
    here.conn:write("ping\n")
    world:run(900)
    assert.is_nil(here.closed)
    world:run(60)
    assert.equal("ETIMEDOUT", here.code)
  end)

  it("of one direction lets the other pass", function()
    local world, here, there = connected()
    local fault = world:partition { one_way = { "server", "client" } }
    here.conn:write("ping\n")
    world:run(1)
    assert.same({ { "ping" }, 0 }, { { there[1] }, #here })
    fault:stop()
    world:run(5)
    assert.equal("pong", here[1])
  end)

  it("of one direction leaves the sender unanswered: its user_timeout ends it, though all has arrived", function()
    local world, here, there = connected(nil, { user_timeout = 3 })
    world:partition { one_way = { "server", "client" } }
    here.conn:write("hello\n")
    world:run(10)
    assert.equal("hello", there[1])
    assert.equal("ETIMEDOUT", here.code)
  end)

  -- Which of the nodes reach which, now.
  local function reach(world)
    local can = {}
    for _, a in ipairs(world.nodes) do
      for _, b in ipairs(world.nodes) do
        local link = world.net:link(world.net:host(a), world.net:host(b))
        if a ~= b and link:carries() then
          can[#can + 1] = a.name .. b.name
        end
      end
    end
    return table.concat(can, " ")
  end

  local function four()
    local world = sim.new()
    for _, name in ipairs { "a", "b", "c", "d" } do
      world:node(name, function() end)
    end
    return world
  end

  it("comes in every shape, and each takes back what it did", function()
    local world = four()
    local all = "ab ac ad ba bc bd ca cb cd da db dc"
    local function try(options, expected)
      assert.equal(all, reach(world))
      local fault = world:partition(options)
      assert.equal(expected, reach(world))
      fault:stop()
      fault:stop()
    end
    try({ { "a", "b" }, { "c", "d" } }, "ab ba cd dc")
    try({ { "a" }, { "b" }, { "c", "d" } }, "cd dc")
    try({ { "a" }, { "b" } }, "ac ad bc bd ca cb cd da db dc")
    try({ isolate = "b" }, "ac ad ca cd da dc")
    try({ isolate = { "a", "b" } }, "cd dc")
    try({ one_way = { "a", { "b", "c" } } }, "ad ba bc bd ca cb cd da db dc")
    try({ { "a" }, { "b", "c" }, bridge = "d" }, "ad bc bd cb cd da db dc")
    assert.equal(all, reach(world))
  end)

  it("may overlap another one: what both cut stays cut until both are over", function()
    local world = four()
    local first = world:partition { isolate = "a" }
    local second = world:partition { { "a", "b" }, { "c", "d" } }
    first:stop()
    assert.equal("ab ba cd dc", reach(world))
    first = world:partition { isolate = "a", duration = 5 }
    second:stop()
    assert.equal("bc bd cb cd db dc", reach(world))
    world:partition { isolate = "b" }
    world:heal()
    assert.equal("ab ac ad ba bc bd ca cb cd da db dc", reach(world))
    world:run(10)
    assert.equal("ab ac ad ba bc bd ca cb cd da db dc", reach(world))
    assert.is_false(first.active)
  end)

  it("that flaps comes and goes", function()
    local world = four()
    local fault = world:partition { { "a" }, { "b", "c", "d" }, flapping = 1 }
    local seen = {}
    for i = 1, 4 do
      world:run(i == 1 and 0.5 or 1)
      seen[i] = reach(world):find("ab", 1, true) ~= nil
    end
    assert.same({ false, true, false, true }, seen)
    world:run(1)
    fault:stop()
    world:run(5)
    assert.equal("ab ac ad ba bc bd ca cb cd da db dc", reach(world))
  end)

  it("is told in the trace when it begins and when it ends", function()
    local world = four()
    world:partition { { "c" }, { "b" }, duration = 1 }
    world:fault { kind = "latency", nodes = { "a", "d" }, latency = 0.5, text = "a slow link" }
    world:run(2)
    assert.same({ "split begin (b c)", "latency begin (a d)", "split end (b c)" }, faults_of(world))
    assert.matches("fault: a slow link", world:trace())
  end)
end)

describe("a handshake", function()
  local function start(latency)
    local world = sim.new { latency = latency or 0.01 }
    local there, here = { conns = {}, peers = {} }, {}
    world:node("server", keeper, { there })
    world:run(1)
    return world, there, here
  end

  it("whose answer gets lost is begun again, and makes one connection", function()
    local world, there, here = start()
    world:node("client", caller, { here, "server", {} })
    world:partition { one_way = { "server", "client" }, duration = 2.5 }
    world:run(10)
    assert.same({ true, 1 }, { here.connected, #there.conns })
    assert.is_true(here.at > 2.5)
  end)

  it("whose last segment gets lost leaves the client connected, and the server without it, until that comes", function()
    local world, there, here = start(0.1)
    world:node("client", caller, { here, "server", {} })
    world:run(0.25)
    assert.is_true(here.connected)
    local fault = world:partition { { "client" }, { "server" } }
    here.conn:write("ping\n")
    world:run(1)
    assert.equal(0, #there.conns)
    fault:stop()
    world:run(10)
    assert.same({ 1, "pong" }, { #there.conns, here[1] })
  end)

  it("that its client gives up leaves nothing behind", function()
    local world, there, here = start(0.1)
    world:node("client", caller, { here, "server", {} })
    world:run(0.15)
    here.conn:abort()
    world:run(10)
    assert.same({ 0, "ECANCELED" }, { #there.conns, here.connect_code })
  end)

  it("with a server that lost its power meanwhile ends well for the client, and then in a reset", function()
    local world, _, here = start(0.5)
    world:node("client", caller, { here, "server", {} })
    world:run(0.6)
    world:crash "server"
    world:restart "server"
    world:run(10)
    assert.same({ true, "ECONNRESET" }, { here.connected, here.code })
  end)

  it("whose client has vanished frees its place in the backlog after a while", function()
    local world = sim.new { latency = 0.1 }
    local late, accepted = {}, 0
    world:node("server", function()
      require("lunode.tcp_server").listen("0.0.0.0", 7000, {
        backlog = 1,
        on_connect = function()
          accepted = accepted + 1
        end,
      })
    end)
    for i = 1, 3 do
      world:node("client" .. i, caller, { {}, "server", {} })
    end
    world:run(0.15)
    for i = 1, 3 do
      world:crash("client" .. i)
    end
    world:node("late", caller, { late, "server", { connect_timeout = 100 } })
    world:run(30)
    assert.is_nil(late.connected)
    world:run(60)
    assert.same({ true, 1 }, { late.connected, accepted })
  end)
end)

describe("a fault of connections", function()
  it("resets both ends", function()
    local world, here, there = connected()
    world:fault { kind = "reset", nodes = { "client", "server" } }
    world:run(1)
    assert.same({ "ECONNRESET", "ECONNRESET" }, { here.code, there.code })
  end)

  it("resets only what is between those it names", function()
    local world, here = connected()
    local other = {}
    world:node("other", caller, { other, "server", {} })
    world:run(1)
    world:fault { kind = "reset", nodes = { "other", "server" } }
    world:run(1)
    assert.same({ nil, "ECONNRESET" }, { here.code, other.code })
    world:fault { kind = "reset", nodes = { "server" } }
    world:run(1)
    assert.equal("ECONNRESET", here.code)
  end)

  it("leaves it half-open: what is sent never arrives, and nobody is told", function()
    local world, here, there = connected()
    world:fault { kind = "half_open", nodes = { "client", "server" } }
    here.conn:write("ping\n")
    world:run(600)
    assert.same({ 0, nil, nil }, { #there, here.closed, there.closed })
  end)

  it("that is half-open is found by keepalive", function()
    local world, here = connected(nil, { keepalive = { idle = 10, interval = 2, count = 3 } })
    world:run(100)
    assert.is_nil(here.closed)
    world:fault { kind = "half_open", nodes = { "client", "server" } }
    local begun = world.now
    world:run(60)
    assert.equal("ETIMEDOUT", here.code)
    assert.is_true(here.closed_at - begun <= 10 + 3 * 2 + 1)
  end)

  it("lets a host read slowly, so that its peers' queues fill", function()
    local world, here, there = connected()
    world:fault { kind = "slow_reader", nodes = { "server" }, bandwidth = 10000, duration = 20 }
    local line = ("x"):rep(999) .. "\n"
    here.conn:write(line:rep(2000))
    world:run(10)
    assert.is_true(#there > 80 and #there < 120, #there .. " lines in ten seconds")
    assert.is_true(here.conn:stats().queued > 1000000)
    world:run(20)
    assert.equal(2000, #there)
  end)

  it("keeps a host from accepting: connections wait in its backlog", function()
    local world = sim.new()
    local there, here = { conns = {}, peers = {} }, {}
    world:node("server", keeper, { there })
    world:fault { kind = "accept_failures", nodes = { "server" }, duration = 3 }
    world:node("client", caller, { here, "server", {} })
    world:run(2)
    assert.same({ true, 0 }, { here.connected, #there.conns })
    here.conn:write("ping\n")
    world:run(2)
    assert.equal("pong", here[1])
  end)

  it("makes links slow, or narrow, for a while", function()
    local world, here = connected { latency = 0.001 }
    local function round_trip()
      local asked, count = world.now, #here
      here.conn:write("ping\n")
      world:run_until(function()
        return #here > count
      end)
      return world.now - asked
    end
    local slow = world:fault { kind = "latency", nodes = { "client", "server" }, latency = 1 }
    world:fault { kind = "latency", nodes = { "client" }, latency = 2, duration = 3 }
    assert.is_near(4, round_trip(), 0.01)
    assert.is_near(2, round_trip(), 0.01) -- the one before the last counts again
    slow:stop()
    assert.is_near(0.002, round_trip(), 0.001)
    world:fault { kind = "bandwidth", nodes = { "client", "server" }, bandwidth = 100 }
    assert.is_true(round_trip() > 0.8)
  end)
end)

describe("a peer", function()
  it("that is killed is an end, as with a real kernel", function()
    local world, here = connected()
    world:kill "server"
    world:run(1)
    assert.same({ true, nil }, { here.ended, here.code })
    assert.is_true(here.closed)
  end)

  it("that is killed with bytes unread is a reset", function()
    local world, here, there = connected()
    there.conns[1]:pause()
    here.conn:write("never read\n")
    world:run(1)
    world:kill "server"
    world:run(1)
    assert.equal("ECONNRESET", here.code)
  end)

  it("that loses power is silent; started again, it answers with a reset", function()
    local world, here = connected()
    world:crash "server"
    here.conn:write("ping\n")
    world:run(60)
    assert.is_nil(here.closed)
    world:restart "server"
    world:run(200)
    assert.equal("ECONNRESET", here.code)
  end)

  it("that loses power takes what waits to be accepted with it", function()
    local world = sim.new()
    local there, here = { conns = {}, peers = {} }, {}
    world:node("server", keeper, { there })
    world:run(1)
    world:pause "server"
    world:node("client", caller, { here, "server", {} })
    world:run(1)
    assert.is_true(here.connected)
    world:crash "server"
    world:restart "server"
    here.conn:write("ping\n")
    world:run(5)
    assert.equal("ECONNRESET", here.code)
  end)

  it("that is paused has a kernel that goes on: it is connected to, and sent to; then it answers", function()
    local world, first = connected()
    world:pause "server"
    local second = {}
    world:node("second", caller, { second, "server", {} })
    world:run(1)
    assert.is_true(second.connected)
    second.conn:write("ping\n")
    first.conn:write("ping\n")
    world:run(60)
    assert.same({ 0, 0 }, { #first, #second })
    world:resume "server"
    world:run(1)
    assert.same({ "pong", "pong" }, { first[1], second[1] })
  end)

  it("has no port any more once it is gone, and has it again at once after a restart", function()
    local world = connected()
    world:kill "server"
    local refused, again = {}, {}
    world:node("early", caller, { refused, "server", {} })
    world:run(1)
    assert.equal("ECONNREFUSED", refused.code)
    world:restart "server"
    world:node("late", caller, { again, "server", {} })
    world:run(1)
    assert.is_true(again.connected)
  end)
end)

it("misuse of the network raises at the caller, in words that help", function()
  local world = sim.new()
  world:node("a", function() end)
  world:node("b", function() end)
  local net = world.net
  misuse("a partition needs groups", function() net:partition({}) end)
  misuse("a partition needs groups", function() net:partition({ { "a" } }) end)
  misuse("there is no node c in this world", function() net:partition({ { "a" }, { "c" } }) end)
  misuse("there is no fault 'rain'", function() net:fault({ kind = "rain" }) end)
  misuse("'isolate' needs nodes", function() net:fault({ kind = "isolate" }) end)
  misuse("'split' needs two groups", function() net:fault({ kind = "split", groups = { { "a" } } }) end)
  misuse("'one_way' needs from and to", function() net:fault({ kind = "one_way", from = { "a" } }) end)
  misuse("'flapping' needs a period", function() net:fault({ kind = "flapping", period = 0 }) end)
  misuse("duration must be", function() net:partition({ isolate = "a", duration = -1 }) end)
  misuse("latency must be", function() net:fault({ kind = "latency", nodes = { "a" }, latency = -1 }) end)
  misuse("bandwidth must be", function() net:fault({ kind = "bandwidth", nodes = { "a" } }) end)
  misuse("bandwidth must be", function() net:between("a", "b", { bandwidth = "wide" }) end)
  misuse("latency must be", function() net:between("a", "b", { latency = { min = 2, max = 1 } }) end)
  misuse("a name and a list", function() net:name("x") end)
  misuse("latency must be", function() sim.new({ latency = "slow" }) end)
  misuse("bandwidth must be", function() sim.new({ bandwidth = 0 }) end)
end)
