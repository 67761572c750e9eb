-- gossip.lua among the examples: real processes, some of which are stopped or killed, and members that the spec plays.

local cleanup = require "lunode.test.cleanup"
local lunode = require "spec.support.lunode"
local msgpack = require "lunode.msgpack"
local ports = require "lunode.test.ports"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"
local wait = require "lunode.test.wait"

local GOSSIP = "examples/gossip.lua"

--- Starts a member; its process, and its port.
local function start(address, seed)
  local process = lunode.start { "run", GOSSIP, address or "127.0.0.1:0", seed }
  local port = wait.till(function()
    assert(process:is_alive(), process:stderr())
    return process:stdout():match("listening on 127%.0%.0%.1:(%d+)\n")
  end, 10, "a member to listen")
  return process, tonumber(port)
end

--- A connection to it; `closed` once it has ended.
local function connect(port)
  local self = { closed = false }
  self.conn = tcp_client.connect("127.0.0.1", port, {
    on_close = function()
      self.closed = true
    end,
  })
  cleanup.add(function()
    self.conn:abort()
  end)
  return self
end

describe("gossip.lua", function()
  local nodes -- by address: the process

  local function join(address, seed)
    local process, port = start(address, seed)
    address = "127.0.0.1:" .. port
    nodes[address] = process
    return address, process
  end

  --- What a process has said last of each address: its state, and its incarnation.
  local function view(process)
    local states, incarnations = {}, {}
    for state, address, incarnation in process:stdout():gmatch("(%a+) (%S+:%d+) (%d+)\n") do
      states[address], incarnations[address] = state, tonumber(incarnation)
    end
    return states, incarnations
  end

  local function describe_views()
    local text = {}
    for address, process in pairs(nodes) do
      text[#text + 1] = address .. ":\n" .. process:stdout() .. process:stderr()
    end
    return table.concat(text, "\n")
  end

  --- Waits until all (but that one) say this of the address.
  local function all_say(state, address, seconds)
    local in_time = pcall(wait.till, function()
      for own, process in pairs(nodes) do
        if own ~= address and view(process)[address] ~= state then
          return false
        end
      end
      return true
    end, seconds or 30)
    assert(in_time, ("not all say %s of %s:\n%s"):format(state, address, describe_views()))
  end

  local function all_know_all(seconds)
    for address in pairs(nodes) do
      all_say("alive", address, seconds)
    end
  end

  local function start_group(count)
    nodes = {}
    local first = join()
    local addresses = { first }
    for i = 2, count do
      addresses[i] = join(nil, addresses[i - 1]) -- any member is a seed
    end
    all_know_all()
    return addresses
  end

  after_each(function()
    for address, process in pairs(nodes) do
      assert.equal("", process:stderr(), address)
    end
  end)

  it("five find each other through any of them; of one that is killed all learn, and that it is back", function()
    local addresses = start_group(5)
    local victim = addresses[3]
    nodes[victim]:kill("KILL")
    nodes[victim]:wait(10)
    nodes[victim] = nil
    all_say("dead", victim)
    for _, process in pairs(nodes) do
      assert.is_truthy(process:stdout():find("dead " .. victim, 1, true))
    end

    join(victim, addresses[1]) -- it knows nothing of its earlier life, and objects to what is said of it
    all_know_all()
    local _, incarnations = view(nodes[addresses[5]])
    assert.is_true(incarnations[victim] > 0)

    join(nil, addresses[5])
    all_know_all()
  end)

  it("one that stands still is suspected, then held for dead, and objects when it goes on", function()
    local addresses = start_group(5)
    local victim = addresses[2]
    nodes[victim]:kill("STOP")
    all_say("dead", victim)
    local suspected = 0
    for _, process in pairs(nodes) do
      local out = process:stdout()
      suspected = suspected + (out:find("suspect " .. victim, 1, true) and 1 or 0)
    end
    assert.is_true(suspected > 0)
    nodes[victim]:kill("CONT")
    all_know_all()
    local _, incarnations = view(nodes[addresses[4]])
    assert.is_true(incarnations[victim] > 0)
  end)

  it("one that goes on in time is alive again", function()
    local addresses = start_group(3)
    local victim = addresses[3]
    nodes[victim]:kill("STOP")
    wait.till(function()
      return nodes[addresses[1]]:stdout():find("suspect " .. victim, 1, true)
    end, 30, "a suspicion")
    nodes[victim]:kill("CONT")
    all_know_all()
    local _, incarnations = view(nodes[addresses[1]])
    assert.is_true(incarnations[victim] > 0)
  end)

  it("waits for a seed that is not there yet", function()
    nodes = {}
    local seed = "127.0.0.1:" .. ports.free()
    local early = join(nil, seed)
    join(seed)
    all_know_all()
    assert.is_string(early)
  end)

  --- A member that this spec plays: it answers as `answer` has it, by kind of message, and keeps the messages.
  local function play(node_address, answer)
    local self = { got = {} }
    local server
    server = assert(tcp_server.listen("127.0.0.1", 0, {
      decoder = "msgpack",
      on_message = function(_, message)
        self.got[#self.got + 1] = message
        local kind, _, number, _, target = table.unpack(message, 1, 5)
        if answer[kind] then
          answer[kind](self, number, target)
        end
      end,
    }))
    cleanup.add(function()
      server:close()
    end)
    self.address = ("127.0.0.1:%d"):format(select(2, server:sock()))
    local conn = connect(tonumber(node_address:match(":(%d+)$"))).conn
    function self.say(kind, number, updates, target)
      msgpack.write(conn, { kind, self.address, number, updates or {}, target })
    end
    function self.count(kind)
      local count = 0
      for _, message in ipairs(self.got) do
        count = count + (message[1] == kind and 1 or 0)
      end
      return count
    end
    return self
  end

  local function ack(self, number)
    self.say("ack", number)
  end

  it("asks others to try before it suspects one that does not answer", function()
    nodes = {}
    local node, process = join()
    local mute = play(node, {})
    local helps = true
    local helper = play(node, {
      ping = ack,
      ["ping-req"] = function(self, number, target)
        assert(target == mute.address)
        if helps then
          ack(self, number)
        end
      end,
    })
    mute.say("join", 0)
    helper.say("join", 0)
    wait.till(function()
      return helper.count "ping-req" >= 5
    end, 20, "the requests for help")
    local out = process:stdout()
    assert.is_truthy(out:find("alive " .. mute.address, 1, true))
    assert.is_nil(out:find("suspect " .. mute.address, 1, true), out)
    helps = false
    wait.till(function()
      return process:stdout():find("dead " .. mute.address, 1, true)
    end, 20, "the end of patience")
  end)

  it("tries on behalf of others, and tells them", function()
    local addresses = start_group(2)
    local asker = play(addresses[1], { ping = ack })
    asker.say("ping-req", 4711, {}, addresses[2])
    asker.say("join", 0)
    wait.till(function()
      for _, message in ipairs(asker.got) do
        if message[1] == "ack" and message[3] == 4711 then
          return true
        end
      end
    end, 20, "the answer")
  end)

  it("tells an update a number of times that grows with the logarithm of the group, few in each message", function()
    nodes = {}
    local node = join()
    local listener = play(node, { ping = ack })
    local updates = {}
    for i = 1, 30 do
      updates[i] = { "127.0.0.1:" .. i, "alive", 0 }
    end
    listener.say("ping", 1, updates)
    local times = {}
    wait.till(function()
      if listener.count "ack" < 60 then
        listener.say("ping", 1)
        return false
      end
      return true
    end, 20, "the answers")
    for _, message in ipairs(listener.got) do
      assert.is_true(#message[4] <= 8)
      for _, update in ipairs(message[4]) do
        local key = table.concat(update, " ")
        times[key] = (times[key] or 0) + 1
      end
    end
    local told = 0
    for key, count in pairs(times) do
      told = told + 1
      assert.is_true(count <= 18, key) -- 3 log2(33), rounded up
    end
    assert.is_true(told >= 30)
  end)

  it("is not impressed by what is no message of its own", function()
    local addresses = start_group(2)
    local port = tonumber(addresses[1]:match(":(%d+)$"))
    local before = nodes[addresses[1]]:stdout()
    for _, message in ipairs {
      1, "ping", {}, { "ping" }, { "nonsense", "127.0.0.1:1", 1, {} }, { "ping", "no address", 1, {} },
      { "ping", "127.0.0.1:99999", 1, {} }, { "ping", "127.0.0.1:1", "x", {} },
      { "ping", "127.0.0.1:1", 1, { 1 } }, { "ping", "127.0.0.1:1", 1, { { "127.0.0.1:1", "gone", 1 } } },
      { "ping", "127.0.0.1:1", 1, { { "127.0.0.1:1", "dead", -1 } } }, { "ping-req", "127.0.0.1:1", 1, {} },
    } do
      local client = connect(port)
      client.conn:write(msgpack.encode(message))
      wait.till(function()
        return client.closed
      end, 10, "the end of a connection")
    end
    local client = connect(port)
    client.conn:write "\xc1 is nothing"
    wait.till(function()
      return client.closed
    end)
    assert.equal(before, nodes[addresses[1]]:stdout())
  end)

  it("says what is wrong with its arguments", function()
    nodes = {}
    for _, words in ipairs { {}, { "here" }, { "127.0.0.1:70000" }, { "127.0.0.1:0", "there" } } do
      local code, out, err = lunode.run { "run", GOSSIP, table.unpack(words) }
      assert.same({ 2, "" }, { code, out })
      assert.matches("^usage: lunode run gossip.lua HOST:PORT", err)
    end
  end)
end)
