-- How a node starts, ends and comes back: nothing acknowledged is lost, no reply is cut, nobody waits in vain.
local loop = require "lunode.loop"
local resp = require "lunode.resp"
local set_expiring = require "spec.support.set_expiring"
local tcp_client = require "lunode.tcp_client"
local cleanup = require "lunode.test.cleanup"
local lunode = require "spec.support.lunode"
local redis = require "spec.support.redis"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"
local writer = require "spec.support.writer"

-- Connections opened all at once, each of which calls `on_reply` with what it receives.
local function connect_many(node, count, on_connect, on_reply)
  local conns, closed = {}, { count = 0, unclean = 0 }
  for i = 1, count do
    conns[i] = tcp_client.connect(node.host, node.port, {
      connect_timeout = 20,
      on_connect = function(conn, err)
        assert(not err, err)
        on_connect(conn)
      end,
      on_read = function(conn, data)
        on_reply(conn, data)
      end,
      on_close = function(_, _, code)
        closed.count = closed.count + 1
        closed.unclean = closed.unclean + (code and 1 or 0)
      end,
    })
  end
  cleanup.add(function()
    for _, conn in ipairs(conns) do
      conn:abort()
    end
    wait.till(function()
      return closed.count == count
    end)
  end)
  return conns, closed
end

-- Opens them and waits until each has had its PONG.
local function connect_and_ping(node, count)
  local pongs = 0
  local conns, closed = connect_many(node, count, function(conn)
    conn:write "PING\r\n"
  end, function(_, data)
    assert.equal("+PONG\r\n", data)
    pongs = pongs + 1
  end)
  wait.till(function()
    return pongs == count
  end, 30, count .. " clients to be served")
  return conns, closed
end

describe("a signal to end", function()
  for _, signal in ipairs { "TERM", "INT" } do
    it("under load: every write that happened is acknowledged and kept, SIG" .. signal, function()
      local node = lunode.kv { "--sync", "no" }
      local writers = {}
      for i = 1, 4 do
        writers[i] = writer.new("w" .. i, { batch = 1 << i })
      end
      for round = 1, 3 do
        for _, w in ipairs(writers) do
          w:connect(node)
        end
        wait.till(function()
          return writers[1].acked > 50 * round and writers[4].acked > 500
        end, 30, "some load")
        node.process:kill(signal)
        assert.equal(0, node.process:wait(20), node.process:stderr())
        for _, w in ipairs(writers) do
          wait.till(function()
            return w.closed
          end, 10, "the connections to close")
          assert.equal("", w.rest) -- a reply that was cut
        end
        node:start()
        local client = node:client()
        local all, count = writer.dump(client)
        for _, w in ipairs(writers) do
          assert.equal(0, w:settle(all), "a write happened and its reply did not arrive")
        end
        assert.equal(count, client:call("DBSIZE"))
        client:close()
      end
    end)
  end

  it("amid large replies cuts none of them, though their clients go on asking", function()
    local node = lunode.kv {}
    local big = ("x"):rep(3000000)
    node:client():call("SET", "big", big)
    local clients = {}
    for i = 1, 3 do
      local client = { received = {}, closed = false }
      client.conn = tcp_client.connect(node.host, node.port, {
        on_connect = function(conn)
          conn:write(("GET big\r\n"):rep(5))
        end,
        on_read = function(conn, data)
          client.received[#client.received + 1] = data
          conn:write "GET big\r\n"
        end,
        on_close = function()
          client.closed = true
        end,
      })
      cleanup.add(function()
        client.conn:abort()
      end)
      clients[i] = client
    end
    wait.till(function()
      return #clients[1].received > 20 and #clients[2].received > 20 and #clients[3].received > 20
    end, 20, "some replies")
    node.process:kill "TERM"
    assert.equal(0, node.process:wait(20))
    for _, client in ipairs(clients) do
      wait.till(function()
        return client.closed
      end, 10, "the connections to close")
      local all, position, whole = table.concat(client.received), 1, 0
      while position <= #all do
        local value, after = resp.decode(all, position)
        assert(value, ("the last reply was cut: %d of %d bytes"):format(#all - position + 1, #big + 12))
        position, whole = after, whole + 1
      end
      assert.is_true(whole > 0)
    end
  end)

  it("ends a thousand idle clients in good order, and does not wait long for one that never reads", function()
    local node = lunode.kv {}
    local _, closed = connect_and_ping(node, 1000)
    local deaf = node:client()
    deaf:call("SET", "big", ("x"):rep(8000000))
    deaf.conn:pause()
    deaf:send(("GET big\r\n"):rep(10))
    local other = node:client()
    wait.till(function()
      return other:call("CLIENT", "LIST"):find("cmd=get ", 1, true)
    end, 10, "the first GET")
    node.process:kill "TERM"
    wait.till(function()
      return closed.count == 1000
    end, 10, "the idle clients to be told")
    assert.equal(0, closed.unclean)
    other:wait_closed()
    assert.is_nil(other.close_code)
    assert.equal(0, node.process:wait(20))
  end)

  it("refuses new connections at once, while replies are still on their way", function()
    local node = lunode.kv {}
    local deaf = node:client()
    deaf:call("SET", "big", ("x"):rep(8000000))
    deaf.conn:pause()
    deaf:send(("GET big\r\n"):rep(10))
    local other = node:client()
    wait.till(function()
      return other:call("CLIENT", "LIST"):find("cmd=get ", 1, true)
    end, 10, "the first GET")
    node.process:kill "TERM"
    other:wait_closed()
    assert.is_true(node.process:is_alive())
    local refused
    tcp_client.connect(node.host, node.port, {
      on_connect = function(_, _, code)
        refused = code
      end,
    })
    assert.equal("ECONNREFUSED", wait.till(function()
      return refused
    end))
  end)
end)

describe("SHUTDOWN", function()
  for _, words in ipairs { "SHUTDOWN", "SHUTDOWN NOSAVE", "shutdown save", "SHUTDOWN NOW FORCE" } do
    it("ends the node in good order: " .. words, function()
      local node = lunode.kv {}
      local idle, client = node:client(), node:client()
      client:send("SET before 1\r\n" .. words .. "\r\nSET after 1\r\n")
      assert.same({ ok = "OK" }, client:reply())
      client:wait_closed()
      idle:wait_closed()
      assert.equal("", client:bytes())
      assert.is_nil(idle.close_code)
      assert.equal(0, node.process:wait(20))
      node:start()
      assert.same({ "before" }, node:client():call("KEYS", "*"))
    end)
  end

  it("that is misspelt or has nothing to abort changes nothing", function()
    local client = lunode.kv({}):client()
    assert.same({ err = "ERR syntax error" }, client:call("SHUTDOWN", "LATER"))
    assert.same({ err = "ERR syntax error" }, client:call("SHUTDOWN", "SAVE", "NOSAVE"))
    assert.same({ err = "ERR No shutdown in progress." }, client:call("SHUTDOWN", "ABORT"))
    assert.same({ ok = "PONG" }, client:call("PING"))
  end)
end)

describe("a restart", function()
  it("keeps keys, values and times to live to the millisecond", function()
    local node = lunode.kv {}
    local client = node:client()
    local due = math.floor(loop.time() * 1000) + 3600000
    client:pipeline {
      { "SET", "plain", "\0\r\n\255" }, { "SET", "", "empty key" }, { "SET", "empty", "" },
      { "SET", "hour", "1", "PXAT", due }, { "SET", "moment", "1", "PX", 1 }, { "SET", "persists", "1", "EX", 100 },
      { "PERSIST", "persists" },
    }
    client:close()
    assert.equal(0, node:stop())
    node:start()
    client = node:client()
    assert.same({ "\0\r\n\255", "empty key", "", "1", resp.null, "1" },
      client:call("MGET", "plain", "", "empty", "hour", "moment", "persists"))
    assert.same({ due, -1, -2 }, client:pipeline {
      { "PEXPIRETIME", "hour" }, { "PTTL", "persists" }, { "PTTL", "moment" },
    })
    assert.equal(5, client:call("DBSIZE"))
  end)

  it("comes to keys whose time passed meanwhile, by itself", function()
    local node = lunode.kv {}
    local client = node:client()
    local due = math.floor(loop.time() * 1000) + 1500
    local commands = {}
    for i = 1, 100 do
      commands[i] = { "SET", "key:" .. i, "1", "PXAT", due }
    end
    client:pipeline(commands)
    assert.equal(100, client:call("DBSIZE"))
    client:close()
    assert.equal(0, node:stop())
    wait.till(function()
      return loop.time() * 1000 > due
    end)
    node:start()
    client = node:client()
    wait.till(function()
      return client:call("DBSIZE") == 0
    end, 20, "the keys to expire")
  end)

  it("is quick and small (for information, nothing is asserted)", function()
    local node = lunode.kv {}
    node:stop()
    local before = loop.time()
    node:start()
    local took = loop.time() - before
    local status = tmp.read("/proc/" .. node.process.pid .. "/status")
    print(("  information: start to first reply %.0f ms; idle RSS %d KiB (%s)"):format(
      took * 1000, status:match("VmRSS:%s*(%d+)"), lunode.bin))
  end)
end)

describe("many clients", function()
  it("a thousand that connect at once are all served", function()
    local node = lunode.kv {}
    connect_and_ping(node, 1000)
    assert.is_truthy(node:client():call("INFO", "clients"):find("connected_clients:1001", 1, true))
  end)

  it("one more than maxclients is told so; there is room again when one leaves", function()
    local node = lunode.kv { "--maxclients", "3" }
    local clients = { node:client() }
    wait.till(function() -- the one that looked whether the node is ready has to go first
      return clients[1]:call("INFO", "clients"):find("connected_clients:1\r", 1, true)
    end)
    clients[2], clients[3] = node:client(), node:client()
    for _, client in ipairs(clients) do
      assert.same({ ok = "PONG" }, client:call("PING"))
    end
    local more = redis.connect(node.host, node.port)
    assert.same({ err = "ERR max number of clients reached" }, more:reply())
    more:wait_closed()
    assert.is_nil(more.close_code)
    clients[1]:close()
    wait.till(function()
      local again = redis.connect(node.host, node.port)
      again:send "PING\r\n"
      local reply = again:reply()
      again:close()
      return reply.ok == "PONG"
    end, 10, "room for a client")
    assert.is_truthy(clients[2]:call("INFO", "stats"):find("rejected_connections:[1-9]"))
  end)
end)

describe("expiry in the background", function()
  it("of 20,000 keys with one deadline goes in steps, between which others are served", function()
    local MANY = 20000
    local node = lunode.kv {}
    local client = node:client()
    set_expiring(client, MANY)
    assert.equal(MANY, client:call("DBSIZE"))
    local seen, distinct = MANY, 0
    wait.till(function()
      local count = client:call("DBSIZE")
      assert.is_true(count <= seen)
      distinct = distinct + (count < seen and count > 0 and 1 or 0)
      seen = count
      return count == 0
    end, 30, "the keys to expire")
    assert.is_true(distinct >= 2, distinct .. " requests were served meanwhile") -- of twenty, on a busy machine
    assert.is_truthy(client:call("INFO", "stats"):find("expired_keys:" .. MANY, 1, true))
    assert.same({}, client:call("KEYS", "*"))
  end)
end)
