-- How the node treats connections: CLIENT KILL LIST REPLY PAUSE, MONITOR; and what it tells of time: SLOWLOG LATENCY.
local command = require "lunode.kv.command"
local fake_node = require "spec.kv.fake_node"
local loop = require "lunode.loop"
local resp = require "lunode.resp"
local wait = require "lunode.test.wait"

for _, sync in ipairs { "no", "always" } do
  describe("connections, where sync is " .. sync, function()
    local node, client, other

    before_each(function()
      node = fake_node.new { sync = sync }
      client, other = node:client(), node:client()
    end)

    after_each(function()
      for _, timer in pairs(node.timers) do
        timer:close()
      end
      node:close()
    end)

    local function settle()
      for _ = 1, 3 do
        node:finish_turn()
        node:commit()
      end
    end

    -- All replies that have come for a client, after the disk has taken what there was.
    local function all(who)
      settle()
      local list = {}
      for reply in who.reply, who do
        list[#list + 1] = reply
      end
      return list
    end

    describe("CLIENT REPLY", function()
      it("OFF gives no replies until ON", function()
        client:send("SET", "a", "1")
        client:send("CLIENT", "REPLY", "OFF")
        client:send("SET", "a", "2")
        client:send("GET", "a")
        client:send("NOSUCH")
        client:send("INCR", "text")
        client:send("CLIENT", "REPLY", "ON")
        client:send("GET", "a")
        assert.same({ "OK", "OK", "2" }, all(client))
      end)

      it("SKIP leaves out the next one", function()
        client:send("CLIENT", "REPLY", "SKIP")
        client:send("SET", "a", "2")
        client:send("GET", "a")
        client:send("CLIENT", "REPLY", "SKIP")
        client:send("NOSUCH")
        client:send("NOSUCH")
        local replies = all(client)
        assert.equal("2", replies[1])
        assert.matches("^ERR unknown command", replies[2].err)
        assert.equal(2, #replies)
        assert.equal("ERR syntax error", client:err("CLIENT", "REPLY", "MAYBE"))
      end)

      it("keeps what is left out of the order of the others", function()
        client:send("CLIENT", "REPLY", "SKIP")
        client:send("SET", "a", "1")
        for i = 1, 5 do
          client:send("SET", "a", tostring(i), "GET")
          client:send("CLIENT", "REPLY", "SKIP")
          client:send("INCRBY", "a", "10")
        end
        assert.same({ "1", "11", "12", "13", "14" }, all(client))
      end)
    end)

    describe("CLIENT PAUSE", function()
      it("WRITE holds back what writes, in order, until UNPAUSE", function()
        assert.equal("OK", other("CLIENT", "PAUSE", "60000", "WRITE"))
        client:send("GET", "a")
        client:send("SET", "a", "1")
        client:send("GET", "a")
        client:send("INCR", "a")
        assert.same({ resp.null }, all(client))
        assert.equal("OK", other("CLIENT", "UNPAUSE"))
        assert.same({ "OK", "1", 2 }, all(client))
      end)

      it("holds back EXEC where the transaction writes, and PUBLISH", function()
        other("CLIENT", "PAUSE", "60000", "WRITE")
        client:send "MULTI"
        client:send("GET", "a")
        client:send "EXEC"
        client:send("PUBLISH", "c", "m")
        assert.same({ "OK", "QUEUED", { resp.null } }, all(client))
        other("CLIENT", "UNPAUSE")
        assert.same({ 0 }, all(client))
        client "MULTI"
        client("SET", "a", "1")
        other("CLIENT", "PAUSE", "60000", "WRITE")
        client:send "EXEC"
        assert.same({}, all(client))
        other("CLIENT", "UNPAUSE")
        assert.same({ { { ok = "OK" } } }, all(client))
      end)

      it("ALL holds back everything, new connections too, until its time is over", function()
        other("CLIENT", "PAUSE", "60")
        client:send "PING"
        local third = node:client()
        third:send "PING"
        assert.same({}, all(client))
        assert.same({}, all(third))
        wait.till(function()
          return not node.paused
        end, 10, "the pause to end")
        assert.same({ "PONG" }, all(client))
        assert.same({ "PONG" }, all(third))
        assert.equal("PONG", other "PING")
      end)

      it("is checked as Redis checks it", function()
        assert.equal("ERR timeout is not an integer or out of range", client:err("CLIENT", "PAUSE", "x"))
        assert.equal("ERR timeout is negative", client:err("CLIENT", "PAUSE", "-1"))
        assert.equal("ERR CLIENT PAUSE mode must be WRITE or ALL", client:err("CLIENT", "PAUSE", "1", "READ"))
        assert.equal("OK", client("CLIENT", "UNPAUSE"))
      end)
    end)

    describe("MONITOR", function()
      it("sees what the others send, quoted, and no secrets nor what administrators do", function()
        assert.equal("OK", client "MONITOR")
        other:send("SET", "a b", 'x"\\\n\r\t\a\b\0\255')
        other:send("get", "a b")
        other:send("CONFIG", "GET", "save")
        other:send("AUTH", "secret")
        other:send("NOSUCH", "x")
        other:send "MULTI"
        other:send("INCR", "n")
        other:send "EXEC"
        settle()
        local lines = {}
        for line in client.conn.output:gmatch("%+([^\r]*)\r\n") do
          local time, rest = line:match("^(%d+%.%d%d%d%d%d%d) %[0 127%.0%.0%.1:50000%] (.*)$")
          assert.is_truthy(time, line)
          lines[#lines + 1] = rest
        end
        assert.same({
          [["SET" "a b" "x\"\\\n\r\t\a\b\x00\xff"]], [["get" "a b"]], [["AUTH" "(redacted)"]], [["MULTI"]],
          [["EXEC"]], [["INCR" "n"]],
        }, lines)
        client.conn.output = ""
        assert.equal("ERR Replica can't interact with the keyspace", client:err("GET", "a"))
        assert.equal("RESET", client "RESET")
        other("GET", "a")
        assert.equal("", client.conn.output)
        assert.is_false(other.session.diverted and sync == "no")
      end)
    end)
  end)
end

describe("CLIENT", function()
  local node, client, other

  before_each(function()
    node = fake_node.new()
    client, other = node:client(), node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("KILL ends the connections that pass all filters", function()
    assert.equal(0, client("CLIENT", "KILL", "ID", "999"))
    assert.equal(0, client("CLIENT", "KILL", "ID", "1"))
    assert.equal(1, client("CLIENT", "KILL", "ID", "2", "TYPE", "normal", "ADDR", "127.0.0.1:50000", "USER", "default"))
    assert.is_true(other.conn.closed)
    assert.is_false(client.conn.closed)
    local third = node:client()
    third("SUBSCRIBE", "a")
    assert.equal(1, client("CLIENT", "KILL", "TYPE", "pubsub"))
    assert.is_true(third.conn.closed)
    assert.equal(1, client("CLIENT", "KILL", "LADDR", "127.0.0.1:6380", "SKIPME", "no", "ID", "1"))
    assert.is_true(client.session.leaving) -- after this reply
  end)

  it("KILL refuses what Redis refuses", function()
    for words, err in pairs {
      ["1.1.1.1:1"] = "ERR No such client",
      ["ID x"] = "ERR client-id should be greater than 0",
      ["ID 0"] = "ERR client-id should be greater than 0",
      ["TYPE foo"] = "ERR Unknown client type 'foo'",
      ["USER foo"] = "ERR No such user 'foo'",
      ["SKIPME maybe"] = "ERR syntax error",
      ["ID 1 ADDR"] = "ERR syntax error",
      ["FOO 1"] = "ERR syntax error",
    } do
      local list = {}
      for word in words:gmatch("%S+") do
        list[#list + 1] = word
      end
      assert.equal(err, client:err("CLIENT", "KILL", table.unpack(list)))
    end
  end)

  it("LIST tells what a client is at", function()
    other("SUBSCRIBE", "a", "b")
    other("PSUBSCRIBE", "x*")
    local third = node:client()
    third("WATCH", "k")
    client("SET", "k", "1")
    third "MULTI"
    third("GET", "k")
    client("CLIENT", "NO-EVICT", "on")
    local lines = {}
    for line in client("CLIENT", "LIST"):gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end
    assert.matches(" flags=e .* sub=0 psub=0 ssub=0 multi=%-1 .* cmd=client|list ", lines[1])
    assert.matches(" flags=P .* sub=2 psub=1 ", lines[2])
    assert.matches(" flags=xd .* multi=1 ", lines[3])
    assert.matches("^id=2 ", client("CLIENT", "LIST", "TYPE", "pubsub"))
    assert.equal("", client("CLIENT", "LIST", "TYPE", "master"))
    assert.equal("ERR Unknown client type 'foo'", client:err("CLIENT", "LIST", "TYPE", "foo"))
    assert.equal("ERR syntax error", client:err("CLIENT", "NO-EVICT", "maybe"))
  end)
end)

describe("what takes long", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
    command.command("DAWDLE", { arity = -2, variadic = true, replace = true, run = function(_, args)
      local till = loop.time() + tonumber(args[1]) / 1000
      repeat until loop.time() >= till
      return resp.OK
    end })
  end)

  after_each(function()
    command.by_name.DAWDLE, command.by_name.dawdle = nil, nil
    node:close()
  end)

  it("is in the slow log, with its words cut", function()
    client("CLIENT", "SETNAME", "me")
    client("CONFIG", "SET", "slowlog-log-slower-than", "5000")
    client("DAWDLE", "0")
    client("DAWDLE", "6", ("x"):rep(200))
    local many = {}
    for i = 1, 40 do
      many[i] = "w" .. i
    end
    client("DAWDLE", "7", table.unpack(many))
    client "MULTI"
    client("DAWDLE", "8")
    client "EXEC"
    assert.equal(3, client("SLOWLOG", "LEN"))
    local log = client("SLOWLOG", "GET", "-1")
    assert.same({ "DAWDLE", "8" }, log[1][4])
    assert.equal(32, #log[2][4])
    assert.equal("... (11 more arguments)", log[2][4][32])
    assert.same({ "DAWDLE", "6", ("x"):rep(128) .. "... (72 more bytes)" }, log[3][4])
    assert.is_true(log[3][3] >= 6000)
    assert.equal(0, log[3][1])
    assert.equal("127.0.0.1:50000", log[3][5])
    assert.equal("me", log[3][6])
    assert.equal(1, #client("SLOWLOG", "GET", "1"))
    assert.equal("ERR count should be greater than or equal to -1", client:err("SLOWLOG", "GET", "x"))
    client("CONFIG", "SET", "slowlog-max-len", "2")
    client("DAWDLE", "6")
    assert.equal(2, client("SLOWLOG", "LEN"))
    assert.equal("OK", client("SLOWLOG", "RESET"))
    client("CONFIG", "SET", "slowlog-log-slower-than", "-1")
    client("DAWDLE", "6")
    assert.equal(0, client("SLOWLOG", "LEN"))
  end)

  it("is an event for LATENCY, where that is asked for", function()
    client("DAWDLE", "6")
    assert.same({}, client("LATENCY", "LATEST"))
    assert.matches("monitor is off", client("LATENCY", "DOCTOR"))
    client("CONFIG", "SET", "latency-monitor-threshold", "5")
    assert.matches("Nothing has taken", client("LATENCY", "DOCTOR"))
    client("DAWDLE", "8")
    local latest = client("LATENCY", "LATEST")
    assert.equal("command", latest[1][1])
    assert.is_true(latest[1][3] >= 8 and latest[1][4] >= 8)
    assert.equal(latest[1][2], client("LATENCY", "HISTORY", "command")[1][1])
    assert.matches("command %- high %d+ ms", client("LATENCY", "GRAPH", "command"))
    assert.matches("command: 1 spikes", client("LATENCY", "DOCTOR"))
    assert.equal("ERR No samples available for event 'x'", client:err("LATENCY", "GRAPH", "x"))
    assert.equal(0, client("LATENCY", "RESET", "x"))
    assert.equal(1, client("LATENCY", "RESET"))
    assert.same({}, client("LATENCY", "HISTORY", "command"))
  end)

  it("is counted by powers of two", function()
    client("DAWDLE", "0")
    client("DAWDLE", "2")
    local histogram = client("LATENCY", "HISTOGRAM", "dawdle", "nosuch")
    assert.equal("dawdle", histogram[1])
    assert.equal("calls", histogram[2][1])
    assert.equal(2, histogram[2][2])
    local buckets = histogram[2][4]
    assert.equal(2, buckets[#buckets])
    assert.is_true(buckets[#buckets - 1] >= 2048)
    client("CONFIG", "GET", "x")
    assert.equal("config|get", client("LATENCY", "HISTOGRAM", "config")[1])
    local info = client("INFO", "commandstats", "latencystats")
    assert.matches("cmdstat_dawdle:calls=2,usec=%d+,usec_per_call=%d+%.%d%d,", info)
    assert.matches("latency_percentiles_usec_dawdle:p50=%d+,p99=%d+,p99%.9=%d+\r\n", info)
    assert.matches("cmdstat_dawdle", client("INFO", "everything"))
    assert.is_nil(client("INFO"):find("cmdstat", 1, true))
    assert.matches("pubsub_channels:0\r\n", client "INFO")
    client("CONFIG", "RESETSTAT")
    assert.same({}, client("LATENCY", "HISTOGRAM", "dawdle"))
    client("CONFIG", "SET", "latency-tracking", "no")
    client("DAWDLE", "0")
    assert.same({}, client("LATENCY", "HISTOGRAM", "dawdle"))
  end)

  it("MEMORY tells what a key takes", function()
    client("SET", "a", ("x"):rep(1000))
    assert.is_true(client("MEMORY", "USAGE", "a") > 1000)
    assert.equal(resp.null, client("MEMORY", "USAGE", "nothing"))
    assert.equal("ERR syntax error", client:err("MEMORY", "USAGE", "a", "FOO", "1"))
    for i = 1, 100 do
      client("HSET", "h", "field:" .. i, ("x"):rep(100))
    end
    local all, few = client("MEMORY", "USAGE", "h", "SAMPLES", "0"), client("MEMORY", "USAGE", "h")
    assert.is_true(all > 10000 and math.abs(few - all) < all // 10)
    assert.equal("keys.count", client("MEMORY", "STATS")[13])
    assert.matches("ordinary", client("MEMORY", "DOCTOR"))
  end)

  it("ROLE, WAIT and LOLWUT answer", function()
    assert.same({ "master", 0, {} }, client "ROLE")
    assert.equal(0, client("WAIT", "1", "100"))
    assert.equal("ERR timeout is negative", client:err("WAIT", "1", "-1"))
    assert.equal("ERR timeout is not an integer or out of range", client:err("WAIT", "1", "x"))
    assert.matches("Redis ver%. 7%.0%.15", client "LOLWUT")
  end)
end)
