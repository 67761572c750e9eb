-- Clients that wait for elements. Beside redis-server they are in blocking_differential_spec.lua.

local blocking = require "lunode.kv.blocking"
local command = require "lunode.kv.command"
local fake_node = require "spec.kv.fake_node"
local list = require "lunode.kv.list"
local lunode = require "spec.support.lunode"
local resp = require "lunode.resp"
local wait = require "lunode.test.wait"

local null = resp.null

describe("a client that finds no element", function()
  local node, client, pusher

  before_each(function()
    node = fake_node.new()
    client, pusher = node:client(), node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("waits, and is served before the next command runs", function()
    assert.is_nil(client("BLPOP", "a", "b", "0"))
    assert.equal(1, node.blocking.count)
    assert.equal(2, pusher("RPUSH", "b", "1", "2"))
    assert.equal("2", pusher("LPOP", "b"))
    assert.same({ "b", "1" }, client:reply())
    assert.equal(0, node.blocking.count)
    assert.same({}, node.blocking.queues)
  end)

  it("is served in its turn, whatever else it waits for", function()
    local others = {}
    for i = 1, 3 do
      others[i] = node:client()
      others[i]("BLPOP", "a", i == 2 and "b" or "c", "0")
    end
    pusher("RPUSH", "b", "x")
    pusher("RPUSH", "a", "1", "2", "3")
    node:finish_turn()
    assert.same({ "a", "1" }, others[1]:reply())
    assert.same({ "b", "x" }, others[2]:reply())
    assert.same({ "a", "2" }, others[3]:reply())
    assert.same({ "3" }, pusher("LRANGE", "a", "0", "-1"))
  end)

  it("is served along a chain of keys", function()
    client("BLMOVE", "a", "b", "LEFT", "RIGHT", "0")
    local next_client, last = node:client(), node:client()
    next_client("BRPOPLPUSH", "b", "c", "0")
    last("BLMPOP", "0", "2", "d", "c", "LEFT", "COUNT", "5")
    pusher("LPUSH", "a", "x")
    node:finish_turn()
    assert.equal("x", client:reply())
    assert.equal("x", next_client:reply())
    assert.same({ "c", { "x" } }, last:reply())
    assert.equal(0, pusher("EXISTS", "a", "b", "c"))
  end)

  it("gets an error where its pop turns out to be one, and the element stays for the next", function()
    client("BLMOVE", "a", "text", "LEFT", "RIGHT", "0")
    local other = node:client()
    other("BLPOP", "a", "0")
    pusher("SET", "text", "x")
    pusher("RPUSH", "a", "1")
    node:finish_turn()
    assert.matches("^WRONGTYPE", client:reply().err)
    assert.same({ "a", "1" }, other:reply())
  end)

  it("goes on waiting while the key is of another type", function()
    client("BLPOP", "a", "0")
    pusher("SET", "a", "x")
    pusher("SADD", "b", "x")
    pusher("RENAME", "b", "a")
    node:finish_turn()
    assert.is_nil(client:reply())
    pusher("DEL", "a")
    pusher("RPUSH", "b", "1")
    pusher("RENAME", "b", "a")
    node:finish_turn()
    assert.same({ "a", "1" }, client:reply())
  end)

  it("has what it sends meanwhile done afterwards, in its order", function()
    client("BLPOP", "a", "0")
    client:send("INCR", "n")
    client:send("BLPOP", "b", "0")
    client:send("GET", "n")
    client:send("FOO")
    client:send("RPUSH", { "c", "1" })
    assert.equal(null, pusher("GET", "n"))
    pusher("RPUSH", "a", "1")
    node:finish_turn()
    assert.same({ "a", "1" }, client:reply())
    assert.equal(1, client:reply())
    assert.is_nil(client:reply())
    pusher("RPUSH", "b", "2")
    node:finish_turn()
    assert.same({ "b", "2" }, client:reply())
    assert.equal("1", client:reply())
    assert.matches("^ERR unknown command", client:reply().err)
    assert.equal(1, client:reply())
    assert.equal("PONG", client("PING"))
  end)

  it("does not wait in a transaction", function()
    client("MULTI")
    client("BLPOP", "a", "0")
    client("BLMOVE", "a", "b", "LEFT", "LEFT", "0")
    client("RPUSH", "a", "1")
    client("BRPOP", "a", "0")
    assert.same({ null, null, 1, { "a", "1" } }, client("EXEC"))
    assert.equal(0, node.blocking.count)
  end)

  it("does not wait inside of ONCE", function()
    assert.equal(null, client("ONCE", "id-1", "BLPOP", "a", "0"))
    assert.equal(0, node.blocking.count)
    pusher("RPUSH", "a", "1")
    assert.same({ "a", "1" }, client("ONCE", "id-2", "BLPOP", "a", "0"))
    assert.same({ "a", "1" }, client("ONCE", "id-2", "BLPOP", "a", "0"))
    assert.equal(0, pusher("LLEN", "a"))
  end)

  it("is unblocked by CLIENT UNBLOCK", function()
    local id = client("CLIENT", "ID")
    assert.equal(0, pusher("CLIENT", "UNBLOCK", tostring(id)))
    client("BLPOP", "a", "0")
    assert.equal(1, pusher("CLIENT", "UNBLOCK", tostring(id)))
    assert.equal(null, client:reply())
    node:finish_turn()
    client("BLMOVE", "a", "b", "LEFT", "LEFT", "0")
    assert.equal(1, pusher("CLIENT", "UNBLOCK", tostring(id), "error"))
    assert.equal("UNBLOCKED client unblocked via CLIENT UNBLOCK", client:reply().err)
    assert.equal("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR", pusher:err("CLIENT", "UNBLOCK", "1", "FOO"))
    assert.equal("ERR value is not an integer or out of range", pusher:err("CLIENT", "UNBLOCK", "x"))
  end)

  it("leaves no trace, and takes nothing, once it has left", function()
    client("BLPOP", "a", "b", "0")
    local other = node:client()
    other("BLPOP", "a", "0")
    client.session:end_()
    pusher("RPUSH", "a", "1")
    node:finish_turn()
    assert.same({ "a", "1" }, other:reply())
    assert.same({}, node.blocking.queues)
    client = node:client()
    client("BLPOP", "a", "0")
    client.conn:close() -- its end is not yet told of
    pusher("RPUSH", "a", "2")
    node:finish_turn()
    assert.same({ "2" }, pusher("LRANGE", "a", "0", "-1"))
    client.session:end_()
    assert.equal(0, node.blocking.count)
  end)

  it("goes on waiting where the disk is full, and is served once it has room", function()
    client("BLPOP", "a", "0")
    node.db:begin() -- as if it had come by the log of others
    local c = list.create(node.db, "a")
    list.push_right(node.db, c, "1")
    node.db.collections:changed(c)
    node.db:finish()
    node:finish_turn()
    node.replica.full = { "no space left", "ENOSPC" }
    node.blocking:touch("a")
    node:finish_turn()
    assert.is_nil(client:reply())
    assert.equal(1, node.blocking.count)
    assert.is_not_nil(node.blocking.retry)
    node.replica.full = nil
    node.blocking:close()
    assert.is_nil(node.blocking.retry)
    node.blocking:touch_all() -- what the retry does
    node:finish_turn()
    assert.same({ "a", "1" }, client:reply())
  end)

  it("is closed when it sends without end meanwhile", function()
    client("BLPOP", "a", "0")
    local long = ("x"):rep(1 << 20)
    for _ = 1, 70 do
      client:send("ECHO", long)
    end
    assert.is_true(client.conn.closed)
  end)

  it("leaves a log that a replay brings to the same state", function()
    client("BLPOP", "a", "0")
    pusher("RPUSH", "a", "1", "2")
    node:finish_turn()
    local entries = node.replica.entries
    local replayed = fake_node.new()
    for _, entry in ipairs(entries) do
      replayed.writes:apply(entry)
    end
    assert.same({ "2" }, replayed:client()("LRANGE", "a", "0", "-1"))
    assert.equal(0, replayed.blocking.count)
    replayed:close()
  end)

  it("says what is wrong with a timeout, before it looks at the keys", function()
    client("SET", "text", "x")
    for text, message in pairs {
      ["-1"] = "ERR timeout is negative", ["x"] = "ERR timeout is not a float or out of range",
      [""] = "ERR timeout is not a float or out of range", ["nan"] = "ERR timeout is not a float or out of range",
      ["1e18"] = "ERR timeout is negative", ["inf"] = "ERR timeout is negative",
      ["9223372036854776"] = "ERR timeout is negative", ["-inf"] = "ERR timeout is negative",
    } do
      assert.equal(message, client:err("BLPOP", "text", text))
      assert.equal(message, client:err("BLMOVE", "text", "a", "LEFT", "LEFT", text))
      assert.equal(message, client:err("BLMPOP", text, "1", "text", "LEFT"))
    end
    assert.equal(1, blocking.timeout("0.0001"))
    assert.equal(1500, blocking.timeout("1.5"))
    assert.equal(0, blocking.timeout("-0.0001"))
    assert.matches("^WRONGTYPE", client:err("BLPOP", "text", "0"))
    assert.equal("ERR numkeys should be greater than 0", client:err("BLMPOP", "0", "0", "a", "LEFT"))
  end)
end)

describe("where commands wait for their entry, a client that finds no element", function()
  local node, client, pusher

  before_each(function()
    node = fake_node.new { sync = "always" }
    client, pusher = node:client(), node:client()
  end)

  after_each(function()
    node:close()
  end)

  -- What is proposed is committed, and what follows from that is proposed.
  local function commit()
    node:finish_turn()
    node:commit()
  end

  -- An element comes, and another node's pop before that for the client.
  local function push_and_take(element)
    pusher("RPUSH", "a", element)
    node:finish_turn()
    node.replica:commit_all()
    assert.equal(1, pusher:reply())
    node.writes:submit(nil, command.find("LPOP"), "LPOP", { "a" })
    node:finish_turn()
  end

  it("is served by a command of its own", function()
    client("BLPOP", "a", "0")
    commit()
    assert.equal(1, node.blocking.count)
    pusher("RPUSH", "a", "1", "2")
    commit()
    assert.equal(2, pusher:reply())
    assert.is_nil(client:reply())
    commit()
    assert.same({ "a", "1" }, client:reply())
  end)

  it("goes on waiting, at its place, when somebody else was first", function()
    local other = node:client()
    client("BLPOP", "a", "0")
    other("BLPOP", "a", "0")
    commit()
    push_and_take("1")
    assert.is_string(client.session.blocked.busy)
    commit()
    assert.is_nil(client.session.blocked.busy)
    assert.equal(2, node.blocking.count)
    pusher("RPUSH", "a", "2")
    commit()
    commit()
    assert.same({ "a", "2" }, client:reply())
    assert.is_nil(other:reply())
  end)

  it("has what it sends meanwhile done afterwards", function()
    client("BLPOP", "a", "0")
    client:send("INCR", "n")
    client:send("GET", "n")
    commit()
    pusher("RPUSH", "a", "1")
    commit()
    commit()
    assert.same({ "a", "1" }, client:reply())
    commit()
    assert.equal(1, client:reply())
    assert.equal("1", client:reply())
    client("RPUSH", "b", "1")
    client("BLPOP", "b", "0")
    client("PING")
    commit()
    assert.equal(1, client:reply())
    assert.same({ "b", "1" }, client:reply())
    commit()
    assert.equal("PONG", client:reply())
    assert.is_false(client.session.diverted)
  end)

  for _, case in ipairs {
    { { "BLPOP", "a", "0" } },
    { { "BRPOP", "a", "0" } },
    { { "BLMPOP", "0", "1", "a", "RIGHT", "COUNT", "2" } },
    { { "BZPOPMIN", "z", "0" } },
    { { "BZMPOP", "0", "1", "z", "MAX", "COUNT", "2" } },
  } do
    it(("loses nothing if it leaves while it is being served (%s)"):format(case[1][1]), function()
      local has_scores = case[1][1]:find("Z")
      local all = has_scores and { "a", "-inf", "b", "1.5", "c", "inf" } or { "1", "2", "3" }
      local function present()
        if has_scores then
          return pusher("ZRANGE", "z", "0", "-1", "WITHSCORES")
        end
        return pusher("LRANGE", "a", "0", "-1")
      end
      client(table.unpack(case[1]))
      commit()
      if has_scores then
        pusher("ZADD", "z", "-inf", "a", "1.5", "b", "inf", "c")
      else
        pusher("RPUSH", "a", "1", "2", "3")
      end
      commit()
      assert.equal(3, pusher:reply())
      assert.is_string(client.session.blocked.busy) -- its pop is proposed
      client.session:end_()
      client.conn:close()
      commit()
      assert.not_same(all, present())
      commit()
      assert.same(all, present())
      assert.equal(0, node.blocking.count)
      assert.same({}, node.blocking.queues)
    end)
  end

  it("gets the element that was popped for it although it was unblocked meanwhile, else the reply to that", function()
    local id = tostring(client.session.id)
    client("BLPOP", "a", "0")
    commit()
    pusher("RPUSH", "a", "1")
    commit()
    assert.equal(1, pusher:reply())
    assert.equal(1, pusher("CLIENT", "UNBLOCK", id, "ERROR"))
    commit()
    assert.same({ "a", "1" }, client:reply())
    client("BLPOP", "a", "0")
    commit()
    push_and_take("2")
    assert.is_string(client.session.blocked.busy)
    assert.equal(1, pusher("CLIENT", "UNBLOCK", id, "ERROR"))
    assert.is_nil(client:reply())
    commit()
    assert.matches("^UNBLOCKED", client:reply().err)
  end)
end)

describe("on a node, a client that blocks", function()
  it("gets a null when its time is over", function()
    local node = lunode.kv()
    local client, other = node:client(), node:client()
    assert.equal("*-1\r\n", client:raw { "BLPOP", "a", "0.01" })
    assert.equal("*-1\r\n", client:raw { "BLMOVE", "a", "b", "LEFT", "LEFT", "0.001" })
    client:call("HELLO", 3)
    assert.equal("_\r\n", client:raw { "BLMPOP", "0.01", "1", "a", "LEFT" })
    assert.equal(1, other:call("RPUSH", "a", "1"))
    assert.same({ "a", "1" }, client:call("BLPOP", "a", "0.01"))
    assert.equal(0, node:stop(), node.process:stderr())
  end)

  it("is forgotten when it closes, or the node ends", function()
    local node = lunode.kv()
    local client, other = node:client(), node:client()
    client:send(resp.command("BLPOP", "a", "0"))
    wait.till(function()
      return resp.encode(other:call("INFO", "clients")):find("blocked_clients:1", 1, true)
    end)
    client:close()
    wait.till(function()
      return resp.encode(other:call("INFO", "clients")):find("blocked_clients:0", 1, true)
    end)
    assert.equal(1, other:call("RPUSH", "a", "1"))
    assert.equal(1, other:call("LLEN", "a"))
    local waiting = node:client()
    waiting:send(resp.command("BLPOP", "b", "0"))
    assert.equal(0, node:stop(), node.process:stderr())
    waiting:wait_closed()
    assert.equal("", waiting:bytes())
  end)
end)
