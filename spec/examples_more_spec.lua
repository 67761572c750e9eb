-- Two larger examples: the broker, and the members of a group who tell each other who is there. Real processes, and
-- some of them are stopped or killed.

local cleanup = require "spec.support.cleanup"
local lunode = require "spec.support.lunode"
local ports = require "spec.support.ports"
local tcp_client = require "lunode.tcp_client"
local tmp = require "spec.support.tmp"
local wait = require "spec.support.wait"

local ROOT = arg[0]:match("^(.*)/spec/") or "."
local FULL = os.getenv("LUNODE_FULL") == "1"

local function example(name)
  return ROOT .. "/examples/" .. name .. ".lua"
end

--- Starts an example that listens; its process, and its port.
local function start(name, address, ...)
  local process = lunode.start {
    "run", example(name), address or "127.0.0.1:0", ...,
    -- Memory that was freed must count as free, also under ASan.
    env = { ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "") .. ":quarantine_size_mb=1" },
  }
  local port = wait.till(function()
    assert(process:is_alive(), process:stderr())
    return process:stdout():match("listening on 127%.0%.0%.1:(%d+)\n")
  end, 10, name .. " to listen")
  return process, tonumber(port)
end

--- A client that keeps what it gets.
local function connect(port)
  local self = { got = "", closed = false }
  self.conn = tcp_client.connect("127.0.0.1", port, {
    on_read = function(_, data)
      self.got = self.got .. data
    end,
    on_close = function()
      self.closed = true
    end,
  })
  cleanup.add(function()
    self.conn:abort()
  end)
  return self
end

describe("pubsub_broker.lua", function()
  local process, port

  before_each(function()
    process, port = start "pubsub_broker"
  end)

  --- Sends lines, and waits for what they bring, all of it.
  local function exchange(client, lines, answers)
    client.got = ""
    client.conn:write(lines)
    wait.till(function()
      return #client.got >= #answers
    end, 10, ("%q; there is %q"):format(answers, client.got))
    assert.equal(answers, client.got)
  end

  local function hears(client, text)
    wait.till(function()
      return client.got:find(text, 1, true)
    end, 10, ("%q; there is %q"):format(text, client.got:sub(-300)))
  end

  it("is less than 100 lines, all counted", function()
    local _, lines = tmp.read(example "pubsub_broker"):gsub("\n", "")
    assert.is_true(lines < 100, lines)
  end)

  it("brings what is published to those who have subscribed, and to nobody else", function()
    local ann, bob, carl = connect(port), connect(port), connect(port)
    exchange(ann, "SUB news.local\n", "OK\n")
    exchange(bob, "SUB news.*\nSUB weather\n", "OK\nOK\n")
    exchange(carl, "PUB news.local it rains\r\n", "OK 2\n")
    hears(ann, "MSG news.local it rains\n")
    hears(bob, "MSG news.local it rains\n")
    exchange(carl, "PUB news.world all is well\nPUB weather \nPUB other x\n", "OK 1\nOK 1\nOK 0\n")
    hears(bob, "MSG news.world all is well\nMSG weather \n")
    assert.is_nil(ann.got:find("world", 1, true))
    exchange(bob, "UNSUB news.*\nUNSUB news.*\n", "OK\nERR there is no such subscription\n")
    exchange(carl, "PUB news.local again\n", "OK 1\n")
    hears(ann, "again")
    assert.is_nil(bob.got:find("again", 1, true))
  end)

  it("counts a subscription once, and forgets those of a client that has left", function()
    local ann, bob = connect(port), connect(port)
    exchange(ann, "SUB a\nSUB a\nSUB *\n", "OK\nOK\nOK\n")
    exchange(bob, "SUB a\n", "OK\n")
    exchange(bob, "PUB a 1\n", "MSG a 1\nOK 3\n")
    ann.conn:close()
    wait.till(function()
      return ann.closed
    end)
    local answer
    repeat -- the broker may hear of the end a moment after us
      bob.got = ""
      bob.conn:write "PUB b x\n"
      answer = wait.till(function()
        return bob.got:match("OK (%d)\n")
      end)
    until answer == "0"
    exchange(bob, "PUB a 2\n", "MSG a 2\nOK 1\n")
  end)

  it("says what is wrong with a line, and sends away who sends one without end", function()
    local ann = connect(port)
    local usage = "ERR SUB topic, UNSUB topic or PUB topic text\n"
    exchange(ann, "hello\nSUB\nsub a\n\nTAKE a b\n", usage:rep(5))
    exchange(ann, "SUB a*b\nPUB a* x\n", "ERR a topic has 1 to 200 bytes, * at its end\n"
      .. "ERR a topic has 1 to 200 bytes, and no *\n")
    local many = {}
    for i = 1, 101 do
      many[i] = ("SUB t%d\n"):format(i)
    end
    exchange(ann, many, ("OK\n"):rep(100) .. "ERR too many subscriptions\n")
    ann.conn:write(("x"):rep(9000))
    hears(ann, "ERR ")
    wait.till(function()
      return ann.closed
    end)
  end)

  it("keeps others talking while some never read, does not grow, and tells those what they have missed", function()
    local slow, count, text = {}, FULL and 30000 or 10000, ("x"):rep(4000)
    for i = 1, 10 do
      slow[i] = connect(port)
      exchange(slow[i], "SUB *\n", "OK\n")
      slow[i].conn:pause()
    end
    local quick, talker = connect(port), connect(port)
    exchange(quick, "SUB a\n", "OK\n")
    local function rss()
      return tonumber(tmp.read("/proc/" .. process.pid .. "/status"):match("VmRSS:%s*(%d+) kB"))
    end
    local before, sent, line = rss(), 0, "PUB a " .. text .. "\n"
    local heard = 0
    wait.till(function() -- at the pace at which the quick one hears it: a hundred ahead at most
      local _, more = quick.got:gsub("MSG a ", "")
      heard = heard + more
      quick.got = more > 0 and "" or quick.got
      talker.got = ""
      while sent < count and sent - heard < 100 do
        talker.conn:write(line)
        sent = sent + 1
      end
      return heard >= count - 200 and sent == count -- a header may have been cut by a read
    end, 120, "the quick one to hear all")
    local grown = rss() - before
    assert.is_true(grown < 12 * 1024, ("the broker has grown by %d KiB"):format(grown))
    for _, client in ipairs(slow) do
      client.conn:resume()
    end
    for _, client in ipairs(slow) do
      hears(client, "MISSED ")
      assert.is_true(tonumber(client.got:match("MISSED (%d+)\n")) > count / 2)
    end
  end)
end)

describe("gossip.lua", function()
  local nodes -- by address: the process

  local function join(address, seed)
    local process, port = start("gossip", address, seed)
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

  it("is not impressed by what is no message of its own", function()
    local addresses = start_group(2)
    local port = tonumber(addresses[1]:match(":(%d+)$"))
    local msgpack = require "lunode.msgpack"
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
      local code, out, err = lunode.run { "run", example "gossip", table.unpack(words) }
      assert.same({ 2, "" }, { code, out })
      assert.matches("^usage: lunode run gossip.lua HOST:PORT", err)
    end
  end)
end)
