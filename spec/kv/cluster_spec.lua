-- Three members of a cluster in one process, over real sockets and disks: what clients see of them.

local batch = require "lunode.batch"
local cleanup = require "lunode.test.cleanup"
local in_task = require "spec.support.in_task"
local kv = require "lunode.kv"
local logger = require "lunode.logger"
local misuse = require "spec.support.misuse"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local redis = require "spec.support.redis"
local resp = require "lunode.resp"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"
local logged = require "lunode.kv.logged"

local ELECTION_TIMEOUT = 0.2

local nodes, dirs, init, options_of_all

local function start(id)
  local given = { listen = init[id], init = init, election_timeout = ELECTION_TIMEOUT }
  for name, value in pairs(options_of_all) do
    given[name] = value
  end
  nodes[id] = assert(kv.start { id = id, port = 0, dir = dirs[id], overlay = 20000, cluster = given })
end

local function close(id)
  local node = nodes[id]
  nodes[id] = nil
  if node and not node.closed then
    node:close()
    wait.till(function()
      return node.closed
    end, 15, id .. " to close")
  end
end

local function leader()
  return wait.till(function()
    local found
    for id, node in pairs(nodes) do
      local core = node.cluster.core
      if not core or not core.leader or core.applied < core.commit then
        return nil
      elseif core.role == "leader" and core.commit >= core.noop_index then
        found = id
      end
    end
    return found
  end, 20, "a leader")
end

-- All know where clients reach the others.
local function announced()
  wait.till(function()
    for _, node in pairs(nodes) do
      for _, other in pairs(nodes) do
        local member = other.cluster.id
        if not node.db.store:get("\xFFmember/" .. member) then
          return false
        end
      end
    end
    return true
  end, 20, "the members to say where they are")
end

local function cluster(options)
  nodes, dirs, init, options_of_all = {}, {}, {}, options or {}
  for _, id in ipairs { "n1", "n2", "n3" } do
    init[id], dirs[id] = "127.0.0.1:" .. ports.free(), tmp.dir() .. "/data"
  end
  for _, id in ipairs { "n1", "n2", "n3" } do
    start(id)
  end
  cleanup.add(function()
    for _, id in ipairs { "n1", "n2", "n3", "n4" } do
      close(id)
    end
  end)
  local first = leader()
  announced()
  return first
end

local function others(id)
  local list = {}
  for _, other in ipairs { "n1", "n2", "n3" } do
    if other ~= id then
      list[#list + 1] = other
    end
  end
  return list
end

local function client_of(id)
  return redis.connect(nodes[id].host, nodes[id].port)
end

local default_sink, log = logger.sink, {}

local function begin_log()
  logger.sink = function(_, text)
    log[#log + 1] = text
  end
end

local function end_log()
  logger.sink, log = default_sink, {}
end

describe("a cluster of nodes", function()
  setup(begin_log)
  teardown(end_log)

  it("takes commands on any member, and shows what was written on all others", function()
    cluster()
    for _, writer in ipairs { "n1", "n2", "n3" } do
      assert.same({ ok = "OK" }, client_of(writer):call("SET", "k", writer))
      for _, reader in ipairs { "n1", "n2", "n3" } do
        assert.equal(writer, client_of(reader):call("GET", "k"))
      end
    end
  end)

  it("answers in the order of the commands, whatever they are and wherever they run", function()
    local first = cluster()
    for _, id in ipairs { first, others(first)[1] } do
      local commands, expected = {}, {}
      for i = 1, 300 do
        local n = #commands
        commands[n + 1], expected[n + 1] = { "APPEND", "list" .. id, "x" }, i
        commands[n + 2], expected[n + 2] = { "STRLEN", "list" .. id }, i
        commands[n + 3], expected[n + 3] = { "ECHO", "e" .. i }, "e" .. i
        if i % 7 == 0 then
          commands[n + 4], expected[n + 4] = { "NONSENSE" }, "error"
        end
      end
      local replies = client_of(id):pipeline(commands)
      for i, reply in ipairs(replies) do
        assert.equal(expected[i], type(reply) == "table" and reply.err and "error" or reply)
      end
    end
  end)

  it("has transactions, collections and expiry on any member", function()
    local id = others(cluster())[1]
    local client = client_of(id)
    assert.equal(2, client:call("RPUSH", "l", "a", "b"))
    assert.same({ "a", "b" }, client:call("LRANGE", "l", 0, -1))
    client:call("MULTI")
    client:call("INCR", "n")
    client:call("GET", "n")
    assert.same({ 1, "1" }, client:call("EXEC"))
    client:call("SET", "short", "x", "PX", 30)
    wait.till(function()
      return client:call("DBSIZE") == 2
    end, 10, "the key to be deleted by the leader")
  end)

  it("runs a transaction only if nothing that is watched has changed, wherever it was changed", function()
    local first = cluster()
    local second, third = table.unpack(others(first))
    local other = client_of(third)
    for _, id in ipairs { first, second } do
      local client = client_of(id)
      local function exec()
        for _, words in ipairs { { "MULTI" }, { "SET", "k", "mine" }, { "GET", "k" } } do
          client:call(table.unpack(words))
        end
        return client:call "EXEC"
      end
      client:call("WATCH", "k", "l")
      assert.same({ { ok = "OK" }, "mine" }, exec())
      client:call("WATCH", "k", "l")
      other:call("SET", "k", "theirs")
      assert.equal(resp.null, exec())
      assert.equal("theirs", client:call("GET", "k"))
      client:call("WATCH", "k", "l")
      other:call("HSET", "l", "f", id)
      assert.equal(resp.null, exec())
      client:call("WATCH", "k", "l")
      other:call("SET", "m", "theirs")
      assert.same({ { ok = "OK" }, "mine" }, exec())
      client:call("WATCH", "k", "l")
      other:call("SET", "k", "theirs")
      client:call("UNWATCH")
      assert.same({ { ok = "OK" }, "mine" }, exec())
      client:call("WATCH", "none")
      other:call("FLUSHALL")
      assert.same({ { ok = "OK" }, "mine" }, exec())
      client:call("WATCH", "k")
      other:call("FLUSHALL")
      assert.equal(resp.null, exec())
      local replies = client:pipeline { { "WATCH", "k" }, { "MULTI" }, { "GET", "k" }, { "EXEC" }, { "GET", "k" } }
      assert.same({ resp.null }, replies[4])
      assert.equal(resp.null, replies[5])
    end
    wait.till(function()
      for _, node in pairs(nodes) do
        if node.db.store:scan("\xFFwatch/", "\xFFwatch0")() or node.writes.watching.count > 0 then
          return false
        end
      end
      return true
    end, 10, "what was watched to be forgotten")
  end)

  -- Clients on some members, which wait.
  local function waiters(ids, ...)
    local list, before = {}, {}
    for _, id in ipairs(ids) do
      before[id] = (before[id] or nodes[id].blocking.count) + 1
      list[#list + 1] = client_of(id)
      list[#list]:send(resp.command(...) .. resp.command("INCR", "served"))
    end
    wait.till(function()
      for id, count in pairs(before) do
        if nodes[id].blocking.count < count then
          return false
        end
      end
      return true
    end, 10, "the clients to wait")
    return list
  end

  it("gives each element to one of those who wait for it, on any member", function()
    local first = cluster()
    local list = waiters({ "n1", "n2", "n3", "n1", "n2", "n3" }, "BLPOP", "q", "0")
    local pusher, got = client_of(others(first)[1]), {}
    for i = 1, #list do
      pusher:call("RPUSH", "q", "e" .. i)
    end
    for i, client in ipairs(list) do
      got[i] = client:reply()[2]
      assert.is_true(client:reply() > 0)
    end
    table.sort(got)
    assert.same({ "e1", "e2", "e3", "e4", "e5", "e6" }, got)
    assert.equal(0, pusher:call("EXISTS", "q"))
    assert.equal("6", pusher:call("GET", "served"))
  end)

  it("goes on waiting for an element while the leader goes and another one comes", function()
    local first = cluster()
    local second, third = table.unpack(others(first))
    local list = waiters({ second, third }, "BZPOPMIN", "z", "0")
    close(first)
    leader()
    local pusher = client_of(third)
    pusher:call("ZADD", "z", 1, "a")
    pusher:call("ZADD", "z", 2, "b")
    local got = { list[1]:reply()[2], list[2]:reply()[2] }
    table.sort(got)
    assert.same({ "a", "b" }, got)
    assert.is_true(list[1]:reply() + list[2]:reply() == 3)
  end)

  it("gives what is published on one member to the subscribers of all", function()
    cluster()
    local subscriber = client_of "n1"
    subscriber:call("SUBSCRIBE", "news")
    assert.equal(0, client_of("n2"):call("PUBLISH", "news", "hello"))
    assert.same({ "message", "news", "hello" }, { table.unpack(subscriber:reply()) })
  end)

  it("runs commands from within any member", function()
    local id = others(cluster())[1]
    in_task(function()
      assert.same({ ok = "OK" }, nodes[id]:call("SET", "a", "1"))
      assert.equal("1", nodes[id]:call("GET", "a"))
    end)
  end)

  it("takes what a large value needs, and refuses what does not fit an entry", function()
    local id = others(cluster())[1]
    local client = client_of(id)
    local large = ("x"):rep(5 << 20)
    assert.same({ ok = "OK" }, client:call("SET", "large", large))
    assert.is_true(client:call("GET", "large") == large)
    local replies = client:pipeline { { "SET", "a", "1" }, { "SET", "b", ("x"):rep(17 << 20) }, { "GET", "a" } }
    assert.same({ ok = "OK" }, replies[1])
    assert.matches("^ERR the command is too large", replies[2].err)
    assert.equal("1", replies[3])
  end)

  it("goes on with two of three, and says so where there is but one", function()
    local first = cluster()
    local second, third = table.unpack(others(first))
    client_of(first):call("SET", "k", "1")
    close(first)
    local client = client_of(second)
    wait.till(function()
      local reply = client:call("SET", "k", "2")
      return type(reply) == "table" and reply.ok == "OK"
    end, 20, "the two others to go on")
    close(third)
    wait.till(function()
      local reply = client:call("SET", "k", "3")
      return type(reply) == "table" and reply.err and reply.err:find "^CLUSTERDOWN"
    end, 20, "it to say that the cluster is down")
    assert.matches("^CLUSTERDOWN", client:call("GET", "k").err)
    assert.same({ ok = "PONG" }, client:call("PING"))
    assert.matches("cluster_state:fail", client:call("CLUSTER", "INFO"))
    client:call("READMODE", "STALE")
    assert.equal("2", client:call("GET", "k"))
    start(first)
    client:call("READMODE", "LINEARIZABLE")
    wait.till(function()
      local value = client:call("GET", "k")
      return value == "2" or value == "3" -- which one, nobody was told
    end, 20, "it to come back")
  end)

  it("takes in a new member, by a snapshot of its state", function()
    local first = cluster { log_keep = 1000 }
    local client = client_of(others(first)[1])
    local commands = {}
    for i = 1, 2000 do
      commands[i] = { "SET", "key" .. i, ("x"):rep(100) }
    end
    commands[2001] = { "RPUSH", "list", "a", "b" }
    for i = 1, #commands, 100 do
      client:pipeline(table.move(commands, i, math.min(i + 99, #commands), 1, {}))
    end
    wait.till(function()
      return nodes[first].replica.log:first() > 1
    end, 20, "the log to be cut")
    init.n4, dirs.n4 = "127.0.0.1:" .. ports.free(), tmp.dir() .. "/data"
    nodes.n4 = assert(kv.start {
      id = "n4", port = 0, dir = dirs.n4, cluster = { listen = init.n4, election_timeout = ELECTION_TIMEOUT },
    })
    local function changed(...)
      local reply = client:call("RAFT", ...)
      return type(reply) == "table" and reply.ok == "OK"
    end
    wait.till(function() -- on a busy machine the leadership changes
      return changed("ADD", "n4", init.n4)
    end, 20, "the new member to be taken in")
    wait.till(function()
      return changed("PROMOTE", "n4")
    end, 20, "the new member to catch up")
    local there = client_of "n4"
    assert.equal(2001, there:call("DBSIZE"))
    assert.same({ "a", "b" }, there:call("LRANGE", "list", 0, -1))
    assert.equal(3, there:call("RPUSH", "list", "c"))
    assert.equal(("x"):rep(100), there:call("GET", "key2000"))
    wait.till(function()
      return #client:call("CLUSTER", "SLOTS")[1] == 6
    end, 20, "clients to hear of it")
  end)

  it("hands the leadership over when its leader ends in good order", function()
    local first = cluster()
    local term = nodes[first].cluster.core.term
    local second, third = table.unpack(others(first))
    nodes[first]:close()
    wait.till(function()
      for _, id in ipairs { second, third } do
        local core = nodes[id].cluster.core
        if core.role == "leader" then
          return core.term == term + 1
        end
      end
    end, ELECTION_TIMEOUT, "another one to lead, before anybody could have missed the first")
    assert.same({ ok = "OK" }, client_of(second):call("SET", "k", "1"))
  end)

  it("applies a command with an id once, whichever members are asked", function()
    cluster()
    for i = 1, 6 do
      assert.equal(1, client_of("n" .. i % 3 + 1):call("ONCE", "id", "INCR", "n"))
    end
    assert.equal("1", client_of("n2"):call("GET", "n"))
  end)

  it("says by INFO, HELLO and a line in the log how a member stands", function()
    local first = cluster()
    local second = others(first)[1]
    local text = client_of(first):call("INFO", "replication")
    assert.matches("role:master\r\nconnected_slaves:2\r\nslave0:ip=127.0.0.1,port=%d+,state=online,offset=%d+", text)
    assert.matches("raft_leader:" .. first, text)
    text = client_of(second):call("INFO", "replication")
    assert.matches("role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:" .. nodes[first].port, text)
    assert.matches("master_link_status:up", text)
    assert.matches("cluster_enabled:1", client_of(second):call("INFO", "cluster"))
    local hello = table.concat(client_of(second):call("HELLO", "3"), " ", 9, 12)
    assert.equal("mode cluster role replica", hello)
    assert.matches("cluster: id=" .. first .. " role=leader term=%d+ leader=" .. first, table.concat(log, "\n"))
  end)
end)

describe("clients of Redis Cluster", function()
  setup(begin_log)
  teardown(end_log)

  it("find the leader as master of all slots, and the others as its replicas", function()
    local first = cluster()
    for _, id in ipairs { "n1", "n2", "n3" } do
      local client = client_of(id)
      local slots = client:call("CLUSTER", "SLOTS")
      assert.equal(1, #slots)
      assert.same({ 0, 16383 }, { slots[1][1], slots[1][2] })
      assert.equal(nodes[first].port, slots[1][3][2])
      assert.equal(5, #slots[1])
      local mine = client:call("CLUSTER", "MYID")
      assert.equal(40, #mine)
      local own_line = client:call("CLUSTER", "NODES"):match("[^\n]*myself[^\n]*")
      assert.equal(id == first, own_line:find("master", 1, true) ~= nil)
      assert.equal(mine, own_line:sub(1, 40))
      assert.matches("cluster_state:ok\r\ncluster_slots_assigned:16384", client:call("CLUSTER", "INFO"))
      local shard = client:call("CLUSTER", "SHARDS")[1]
      assert.same({ 0, 16383 }, shard[2])
      assert.equal("master", shard[4][1][10])
    end
    local client = client_of(first)
    assert.equal(2, #client:call("CLUSTER", "REPLICAS", client:call("CLUSTER", "MYID")))
    assert.equal(4, #client:call("CLUSTER", "LINKS"))
  end)

  it("are told of slots and their keys", function()
    cluster()
    local client = client_of "n2"
    assert.equal(12182, client:call("CLUSTER", "KEYSLOT", "foo"))
    for i = 1, 5 do
      client:call("SET", "{foo}" .. i, "x")
    end
    client:call("SET", "bar", "x")
    assert.equal(5, client:call("CLUSTER", "COUNTKEYSINSLOT", 12182))
    assert.equal(3, #client:call("CLUSTER", "GETKEYSINSLOT", 12182, 3))
    assert.same({}, client:call("CLUSTER", "GETKEYSINSLOT", 12183, 3))
    assert.equal("ERR Invalid slot", client:call("CLUSTER", "COUNTKEYSINSLOT", 16384).err)
  end)

  it("are sent to the leader, where the node or the connection is set so", function()
    local first = cluster { redirect = "moved" }
    local client = client_of(others(first)[1])
    local there = ("127.0.0.1:%d"):format(nodes[first].port)
    assert.equal("MOVED 12182 " .. there, client:call("GET", "foo").err)
    assert.equal("MOVED 12182 " .. there, client:call("SET", "foo", "1").err)
    assert.same({ ok = "PONG" }, client:call("PING"))
    assert.same({ ok = "OK" }, client_of(first):call("SET", "foo", "1"))
    client:call("READONLY")
    wait.till(function()
      return client:call("GET", "foo") == "1"
    end, 10, "the write to arrive")
    assert.equal("MOVED 12182 " .. there, client:call("SET", "foo", "1").err)
    client:call("READWRITE")
    assert.equal("MOVED 12182 " .. there, client:call("GET", "foo").err)
  end)

  it("that say READONLY read here, and are sent to the leader with the rest", function()
    local first = cluster()
    local client = client_of(others(first)[1])
    assert.same({ ok = "OK" }, client:call("SET", "foo", "1"))
    client:call("READONLY")
    assert.equal("1", client:call("GET", "foo"))
    assert.matches("^MOVED 12182 ", client:call("SET", "foo", "1").err)
    client:call("RESET")
    assert.same({ ok = "OK" }, client:call("SET", "foo", "2"))
  end)

  it("choose which state is good enough for their reads", function()
    local first = cluster()
    for _, id in ipairs { first, others(first)[1] } do
      local client = client_of(id)
      client:call("SET", "foo", id)
      assert.same({ "linearizable" }, client:call("READMODE"))
      for _, words in ipairs { { "leader" }, { "stale" }, { "stale", 5000 }, { "linearizable" } } do
        assert.same({ ok = "OK" }, client:call("READMODE", table.unpack(words)))
        assert.same(words, client:call("READMODE"))
        assert.equal(id, client:call("GET", "foo"))
      end
      assert.matches("^ERR the read mode is", client:call("READMODE", "FRESH").err)
      assert.matches("^ERR the read mode is", client:call("READMODE", "LEADER", "5").err)
      assert.matches("^ERR the read mode is", client:call("READMODE", "STALE", "-1").err)
    end
  end)

  it("are redis-cli -c, which finds its way from any member", function() -- others: spec/cluster/libraries_spec.lua
    local first = cluster { redirect = "moved" }
    local asked = nodes[others(first)[1]]
    local _, out = process.run { "redis-cli", "-c", "-h", asked.host, "-p", tostring(asked.port), "SET", "k", "1" }
    assert.equal("OK\n", out)
  end)

  it("learn from a node by itself that it is none of a cluster", function()
    local node = assert(kv.start { port = 0, dir = tmp.dir() .. "/data" })
    local client = redis.connect(node.host, node.port)
    for _, words in ipairs { { "CLUSTER", "INFO" }, { "CLUSTER", "SLOTS" }, { "READONLY" }, { "ASKING" } } do
      assert.equal("ERR This instance has cluster support disabled", client:call(table.unpack(words)).err)
    end
    assert.matches("cluster_enabled:0", client:call("INFO", "cluster"))
    assert.same({ ok = "OK" }, client:call("READMODE", "LEADER"))
    assert.equal(resp.null, client:call("GET", "foo"))
    node:close()
    wait.till(function()
      return node.closed
    end)
  end)
end)

describe("what a member forwards", function()
  local function of(...)
    local builder = batch.new()
    for _, words in ipairs { ... } do
      builder:add(table.unpack(words))
    end
    return builder:take()
  end

  it("is taken where all of it can be run", function()
    assert.is_true(logged.knows("", 1))
    assert.is_true(logged.knows(of({ "SET", "a", "1" }, { "\0expire" }, { "\0once", "id", "incr", "n" }), 1))
    assert.is_true(logged.knows(of { "\0exec", "3", "SET", "a", "1", "2", "INCR", "n" }, 1))
    assert.is_true(logged.knows("in front" .. of { "SET", "a", "1" }, 9))
  end)

  it("is refused where not: it would end every member, or make them differ", function()
    for _, payload in ipairs {
      of({ "SET", "a", "1" }, { "NONSENSE", "x" }), of { "\0nonsense" }, "\1\2\3",
      of { "\0exec", "2", "NONSENSE", "x" }, of { "\0once", "id", "NONSENSE" }, of { "\0once", "id", "GET", "a" },
      of { "\0watched_exec", "id", "2", "NONSENSE", "x" },
    } do
      local known, err = logged.knows(payload, 1)
      assert.is_nil(known)
      assert.is_string(err)
    end
  end)
end)

describe("the options of a member", function()
  setup(begin_log)
  teardown(end_log)

  it("are checked", function()
    local function given(cluster_options, id)
      return { dir = "x", id = id or "n1", cluster = cluster_options }
    end
    misuse("needs an id", function() kv.start { dir = "x", cluster = { listen = "127.0.0.1:1" } } end)
    misuse("id is for a member of a cluster", function() kv.start { dir = "x", id = "n1" } end)
    misuse("cluster.listen is missing", function() kv.start(given {}) end)
    misuse("unknown option cluster.lisen", function() kv.start(given { lisen = "x" }) end)
    misuse("cluster.init must be a table", function() kv.start(given { listen = "x", init = "y" }) end)
    misuse('must be "forward" or "moved"', function() kv.start(given { listen = "x", redirect = "y" }) end)
  end)

  it("must fit what the directory holds: a node by itself and a member do not share one", function()
    local dir = tmp.dir() .. "/data"
    local node = assert(kv.start { port = 0, dir = dir })
    node:close()
    wait.till(function()
      return node.closed
    end)
    local listen = "127.0.0.1:" .. ports.free()
    local given = { listen = listen, init = { n1 = listen } }
    local _, err, code = kv.start { port = 0, dir = dir, id = "n1", cluster = given }
    assert.equal("EFOREIGN", code, err)
    dir = tmp.dir() .. "/data"
    node = assert(kv.start { port = 0, dir = dir, id = "n1", cluster = given })
    wait.till(function()
      return node.cluster.core and node.cluster.core.role == "leader"
    end, 10)
    node:close()
    wait.till(function()
      return node.closed
    end)
    _, err, code = kv.start { port = 0, dir = dir }
    assert.equal("EFOREIGN", code, err)
  end)
end)
