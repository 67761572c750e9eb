-- The broker among the examples, run by the real binary. For gossip.lua see examples_gossip_spec.lua.

local cleanup = require "lunode.test.cleanup"
local lunode = require "spec.support.lunode"
local tcp_client = require "lunode.tcp_client"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local FULL = os.getenv("LUNODE_FULL") == "1"

local BROKER = "examples/pubsub_broker.lua"

--- Starts it; its process, and its port.
local function start()
  local process = lunode.start {
    "run", BROKER, "127.0.0.1:0",
    -- Memory that was freed must count as free, also under ASan.
    env = { ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "") .. ":quarantine_size_mb=1" },
  }
  local port = wait.till(function()
    assert(process:is_alive(), process:stderr())
    return process:stdout():match("listening on 127%.0%.0%.1:(%d+)\n")
  end, 10, "the broker to listen")
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
    process, port = start()
  end)

  --- Sends lines, and waits for what they bring, all of it.
  local function exchange(client, lines, answers)
    client.got = ""
    client.conn:write(lines)
    wait.till(function()
      return #client.got >= #answers
    end, 30, ("%q; there is %q"):format(answers, client.got))
    assert.equal(answers, client.got)
  end

  local function hears(client, text)
    wait.till(function()
      return client.got:find(text, 1, true)
    end, 30, ("%q; there is %q"):format(text, client.got:sub(-300)))
  end

  it("is less than 100 lines, all counted", function()
    local _, lines = tmp.read(BROKER):gsub("\n", "")
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
