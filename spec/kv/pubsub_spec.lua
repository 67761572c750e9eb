-- Channels, patterns and shard channels, and who gets what. Beside the real server: spec/kv/pubsub_beside_redis_spec.
local fake_node = require "spec.kv.fake_node"
local resp = require "lunode.resp"

describe("publish and subscribe", function()
  local node, client, other

  before_each(function()
    node = fake_node.new()
    client, other = node:client(), node:client()
  end)

  after_each(function()
    node:close()
  end)

  -- All that has come for a client.
  local function all(who)
    local list = {}
    for reply in who.reply, who do
      list[#list + 1] = reply
    end
    return list
  end

  it("gives a message to those who listen to the channel, or to a pattern that it matches", function()
    client:send("SUBSCRIBE", "news", "other")
    client:send("PSUBSCRIBE", "n*", "*s")
    assert.same({
      { "subscribe", "news", 1 }, { "subscribe", "other", 2 }, { "psubscribe", "n*", 3 }, { "psubscribe", "*s", 4 },
    }, all(client))
    assert.equal(3, other("PUBLISH", "news", "hello"))
    assert.same({
      { "message", "news", "hello" }, { "pmessage", "*s", "news", "hello" }, { "pmessage", "n*", "news", "hello" },
    }, all(client))
    assert.equal(0, other("PUBLISH", "empty", "hello"))
    assert.equal(0, other("SPUBLISH", "news", "hello"))
    assert.same({}, all(client))
  end)

  it("keeps shard channels apart", function()
    client:send("SSUBSCRIBE", "s", "t")
    assert.same({ { "ssubscribe", "s", 1 }, { "ssubscribe", "t", 2 } }, all(client))
    assert.equal(1, other("SPUBLISH", "s", "hello"))
    assert.equal(0, other("PUBLISH", "s", "hello"))
    assert.same({ { "smessage", "s", "hello" } }, all(client))
    assert.same({ "s", "t" }, other("PUBSUB", "SHARDCHANNELS"))
    assert.same({ "t" }, other("PUBSUB", "SHARDCHANNELS", "[t-z]"))
    assert.same({ "s", 1, "x", 0 }, other("PUBSUB", "SHARDNUMSUB", "s", "x"))
    client:send("SUNSUBSCRIBE")
    assert.same({ { "sunsubscribe", "s", 1 }, { "sunsubscribe", "t", 0 } }, all(client))
  end)

  it("tells who listens to what", function()
    client:send("SUBSCRIBE", "b", "a")
    other:send("SUBSCRIBE", "a")
    other:send("PSUBSCRIBE", "x*", "y*")
    client:send("PSUBSCRIBE", "x*")
    local third = node:client()
    assert.same({ "a", "b" }, third("PUBSUB", "CHANNELS"))
    assert.same({ "b" }, third("PUBSUB", "CHANNELS", "b*"))
    assert.same({ "a", 2, "b", 1, "c", 0 }, third("PUBSUB", "NUMSUB", "a", "b", "c"))
    assert.equal(2, third("PUBSUB", "NUMPAT"))
    assert.equal("ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.",
      third:err("PUBSUB", "CHANNELS", "a", "b"))
  end)

  it("restricts a subscriber of RESP2, which could not tell replies from messages", function()
    client("SUBSCRIBE", "a")
    assert.equal("ERR Can't execute 'client|list': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
      .. "allowed in this context", client:err("CLIENT", "LIST"))
    assert.same({ "pong", "" }, client "PING")
    assert.same({ "pong", "hi" }, client("PING", "hi"))
    assert.same({ "unsubscribe", "a", 0 }, client "UNSUBSCRIBE")
    assert.equal("PONG", client "PING")
    client("SUBSCRIBE", "a")
    assert.equal("RESET", client "RESET")
    assert.equal(resp.null, client("GET", "a"))
    assert.equal(0, other("PUBLISH", "a", "x"))
  end)

  it("pushes to a client of RESP3, which may send what it likes", function()
    client("HELLO", "3")
    local confirmation = client("SUBSCRIBE", "a")
    assert.equal("push", confirmation.kind)
    assert.equal("PONG", client "PING")
    client:send("PUBLISH", "a", "to myself")
    local replies = all(client)
    assert.same({ "message", "a", "to myself", kind = "push" }, replies[1])
    assert.equal(1, replies[2])
    client("HELLO", "2")
    assert.is_truthy(client:err("GET", "a"))
  end)

  it("ends with the connection, whatever is being delivered", function()
    client("SUBSCRIBE", "a")
    client("PSUBSCRIBE", "*")
    client("SSUBSCRIBE", "s")
    client.session:end_()
    assert.equal(0, other("PUBLISH", "a", "x"))
    assert.same({}, other("PUBSUB", "CHANNELS"))
    assert.same({}, other("PUBSUB", "SHARDCHANNELS"))
    assert.equal(0, other("PUBSUB", "NUMPAT"))
  end)

  it("closes a subscriber that does not take its messages", function()
    other("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
    client("SUBSCRIBE", "a")
    assert.equal(1 << 20, client.conn.options.cap)
    client.conn.write = function()
      return nil, "the queue is full", "ENOBUFS"
    end
    other("PUBLISH", "a", "x")
    assert.is_true(client.conn.closed)
    local third = node:client()
    third("SUBSCRIBE", "a")
    other("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
    assert.equal(8 << 30, third.conn.options.cap)
  end)

  it("works in a transaction", function()
    client("SUBSCRIBE", "a")
    other "MULTI"
    other("PUBLISH", "a", "1")
    other("SET", "k", "v")
    other("PUBLISH", "a", "2")
    assert.same({ 1, { ok = "OK" }, 1 }, other "EXEC")
    assert.same({ { "message", "a", "1" }, { "message", "a", "2" } }, all(client))
    local third = node:client()
    third "MULTI"
    third("SUBSCRIBE", "b")
    third "PING"
    assert.same({ { "subscribe", "b", 1 }, { "pong", "" } }, third "EXEC")
  end)
end)

describe("keyspace notifications", function()
  local node, client, listener

  before_each(function()
    node = fake_node.new()
    client, listener = node:client(), node:client()
    listener("PSUBSCRIBE", "__key*")
  end)

  after_each(function()
    node:close()
  end)

  local function events()
    local list = {}
    for message in listener.reply, listener do
      list[#list + 1] = message[3]:gsub("__", "") .. " " .. message[4]
    end
    return list
  end

  it("are off until they are asked for", function()
    client("SET", "a", "1")
    assert.same({}, events())
    client("CONFIG", "SET", "notify-keyspace-events", "g$") -- neither K nor E
    client("SET", "a", "1")
    assert.same({}, events())
  end)

  it("tell by key and by event, of the classes that were asked for", function()
    client("CONFIG", "SET", "notify-keyspace-events", "KEg$")
    client("SET", "a", "1", "EX", "100")
    client("DEL", "a", "b")
    assert.same({
      "keyspace@0:a set", "keyevent@0:set a", "keyspace@0:a expire", "keyevent@0:expire a",
      "keyspace@0:a del", "keyevent@0:del a",
    }, events())
    client("CONFIG", "SET", "notify-keyspace-events", "E$")
    client("SET", "a", "1", "EX", "100")
    assert.same({ "keyevent@0:set a" }, events())
  end)

  it("tell nothing of a command that failed, and of one in a transaction only what it did", function()
    client("CONFIG", "SET", "notify-keyspace-events", "EA")
    client("SET", "t", "x")
    client "MULTI"
    client("SET", "a", "1")
    client("INCR", "t")
    client("INCR", "a")
    client "EXEC"
    assert.same({ "keyevent@0:set t", "keyevent@0:set a", "keyevent@0:incrby a" }, events())
    require("lunode.kv.command").command("FAULTY", { arity = 2, flags = { "write" }, keys = { 1, 1, 1 },
      run = function(ctx, key)
        ctx.db:set(key, "x")
        ctx:notify("$", "set", key)
        error "a bug"
      end })
    client("FAULTY", "a")
    client("SET", "b", "1")
    assert.same({ "keyevent@0:set b" }, events())
    node.replica.full = { "disk full", "ENOSPC" }
    client("SET", "c", ("x"):rep(3 << 20))
    assert.same({}, events())
    local by_name = require("lunode.kv.command").by_name
    by_name.FAULTY, by_name.faulty = nil, nil
  end)

  it("tell that keys expire, are new, and are missed", function()
    client("CONFIG", "SET", "notify-keyspace-events", "Exnm")
    client("SET", "a", "1", "PX", "50")
    client("SET", "a", "1", "PX", "50")
    client("GET", "b")
    node:advance(100)
    client("GET", "a")
    assert.same({ "keyevent@0:new a", "keyevent@0:keymiss b", "keyevent@0:expired a", "keyevent@0:keymiss a" },
      events())
  end)

  it("are shown as Redis shows them", function()
    local shapes = { A = "A", KEA = "AKE", KEAmn = "AKEm", ["Kg$lshzxetd"] = "AK", KEmn = "nKEm", [""] = "" }
    for given, shown in pairs(shapes) do
      client("CONFIG", "SET", "notify-keyspace-events", given)
      assert.same({ "notify-keyspace-events", shown }, client("CONFIG", "GET", "notify-keyspace-events"))
    end
    assert.equal("ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid event class "
      .. "character. Use 'Ag$lshzxeKEtmdn'.", client:err("CONFIG", "SET", "notify-keyspace-events", "q"))
  end)
end)
