-- Subscribers of real nodes: those that do not read, and those on the members of a cluster.
local kit = require "spec.cluster.kit"
local lunode = require "spec.support.lunode"
local resp = require "lunode.resp"
local wait = require "lunode.test.wait"

local function client_count(node)
  return tonumber(node:call("INFO", "clients"):match("connected_clients:(%d+)"))
end

describe("a subscriber that does not read", function()
  local message = ("x"):rep(64 << 10)

  -- Publishes until the node has closed the subscriber; how much that took.
  local function publish_until_gone(publisher, most)
    local bytes = 0
    while client_count(publisher) > 1 do
      for _ = 1, 8 do
        publisher:call("PUBLISH", "c", message)
        bytes = bytes + #message
      end
      assert(bytes < most, "the subscriber is still there")
    end
    return bytes
  end

  it("is closed at the hard limit, and the node says so", function()
    local node = lunode.kv()
    local subscriber, publisher = node:client(), node:client()
    publisher:call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
    subscriber:call("SUBSCRIBE", "c")
    subscriber.conn:pause()
    publish_until_gone(publisher, 64 << 20) -- the kernel's buffers take some of it
    assert.equal(0, publisher:call("PUBLISH", "c", "x"))
    wait.till(function()
      return node.process:stderr():find("client-output-buffer-limit", 1, true)
    end, 10, "a line in the log")
  end)

  it("is closed where it is above the soft limit for too long", function()
    local node = lunode.kv()
    local subscriber, publisher = node:client(), node:client()
    publisher:call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 1200kb 1")
    subscriber:call("SUBSCRIBE", "c")
    subscriber.conn:pause()
    local queued = 0
    while queued < 2 << 20 do
      publisher:call("PUBLISH", "c", message)
      queued = tonumber(publisher:call("CLIENT", "LIST", "TYPE", "pubsub"):match("omem=(%d+)"))
    end
    wait.till(function() -- nobody publishes any more
      return client_count(publisher) == 1
    end, 15, "the subscriber to be closed")
  end)

  it("costs others nothing, and goes on as soon as it reads", function()
    local node = lunode.kv()
    local subscriber, publisher = node:client(), node:client()
    subscriber:call("SUBSCRIBE", "c")
    subscriber.conn:pause()
    for _ = 1, 100 do
      assert.equal(1, publisher:call("PUBLISH", "c", message))
    end
    subscriber.conn:resume()
    for _ = 1, 100 do
      assert.equal(#message, #subscriber:reply()[3])
    end
    assert.same({ "pong", "here" }, subscriber:call("PING", "here"))
  end)
end)

describe("a cluster", function()
  -- What a subscriber has heard up to the message `last`.
  local function heard(subscriber, last)
    local list = {}
    repeat
      local reply = subscriber:reply()
      list[#list + 1] = ("%s %s"):format(reply[#reply - 1], reply[#reply])
    until reply[#reply] == last
    return list
  end

  it("delivers a message on every member, in one order with the writes; and goes on with another leader", function()
    local c = kit.cluster { members = 3 }
    local subscribers = {}
    for i, member in ipairs(c.members) do
      subscribers[i] = member:client()
      subscribers[i]:call("CONFIG", "SET", "notify-keyspace-events", "E$")
      subscribers[i]:call("SUBSCRIBE", "news")
      subscribers[i]:send(resp.command("SUBSCRIBE", "__keyevent@0__:set"))
      subscribers[i]:reply()
    end
    for i, member in ipairs(c.members) do
      local client = member:client()
      client:call("PUBLISH", "news", "from " .. i)
      client:call("SET", "key:" .. i, "1")
      client:call("MULTI")
      client:call("PUBLISH", "news", "first " .. i)
      client:call("SET", "t:" .. i, "1")
      client:call("PUBLISH", "news", "last " .. i)
      assert.same({ 1, { ok = "OK" }, 1 }, client:call("EXEC"))
    end
    local expected = heard(subscribers[1], "last 3")
    assert.equal(15, #expected)
    assert.same({ "news from 1", "__keyevent@0__:set key:1", "news first 1", "__keyevent@0__:set t:1", "news last 1" },
      table.move(expected, 1, 5, 1, {}))
    assert.same(expected, heard(subscribers[2], "last 3"))
    assert.same(expected, heard(subscribers[3], "last 3"))

    local leader = c:leader()
    leader:kill9()
    local rest = {}
    for i, member in ipairs(c.members) do
      if member ~= leader then
        rest[#rest + 1] = { subscriber = subscribers[i], client = member:client() }
      end
    end
    wait.till(function()
      return rest[1].client:call("PUBLISH", "news", "after") == 1
    end, 20, "another leader")
    assert.equal("news after", heard(rest[2].subscriber, "after")[1])
  end)

  it("answers ROLE and WAIT as its members are", function()
    local c = kit.cluster { members = 3 }
    local clients = {}
    for i, member in ipairs(c.members) do
      clients[i] = member:client()
    end
    wait.till(function()
      local addresses, followed, masters = {}, {}, 0
      for i, client in ipairs(clients) do
        local role = client:call("ROLE")
        if role[1] == "master" then
          masters, addresses = masters + 1, { c.members[i].host, c.members[i].port, #role[3] }
        elseif role[4] == "connected" then
          followed[#followed + 1] = { role[2], role[3], 2 }
        end
      end
      return masters == 1 and #followed == 2 and pcall(assert.same, { addresses, addresses }, followed)
    end, 20, "one master, and two that follow it")
    assert.equal(1, clients[1]:call("WAIT", "2", "100"))
  end)
end)
