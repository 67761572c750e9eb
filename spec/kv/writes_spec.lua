-- From a command to an entry of the log and back: what runs at once, what waits, and in which order replies come.

local batch = require "lunode.batch"
local command = require "lunode.kv.command"
local fake_node = require "spec.kv.fake_node"
local logger = require "lunode.logger"
local resp = require "lunode.resp"

-- The commands of an entry, each as one string.
local function commands_of(entry)
  local list, position = {}, 1
  while true do
    local words = table.pack(batch.next(entry.payload, position))
    if words.n == 0 then
      return list
    end
    position = words[1]
    list[#list + 1] = table.concat(words, " ", 2, words.n)
  end
end

local function entries(node)
  local list = {}
  for i, entry in ipairs(node.replica.entries) do
    list[i] = commands_of(entry)
  end
  return list
end

local node, client

local function start(options)
  node = fake_node.new(options)
  client = node:client()
end

after_each(function()
  node:close()
end)

describe("commands that write, where an entry counts once it is written", function()
  before_each(function()
    start()
  end)

  it("run as they come, and those of a turn are one entry", function()
    assert.equal("OK", client("SET", "a", "1"))
    assert.equal("1", client("GET", "a"))
    assert.equal(2, client("INCR", "a"))
    assert.same({}, entries(node))
    node:finish_turn()
    assert.equal("OK", client("SET", "b", "1"))
    node:finish_turn()
    node:finish_turn()
    assert.same({ { "SET a 1", "INCR a" }, { "SET b 1" } }, entries(node))
  end)

  it("leave no trace in the log where they have changed nothing", function()
    client("SET", "a", "x")
    client("SETNX", "a", "y")
    client("DEL", "none")
    client:err("INCR", "a")
    client("MSET", "b", "1", "c", "2")
    node:finish_turn()
    assert.same({ { "SET a x", "MSET b 1 c 2" } }, entries(node))
  end)

  it("are undone as a whole when their reply cannot be encoded", function()
    command.command("X.BAD", { arity = 2, flags = { "write" }, run = function(ctx, key)
      ctx.db:set(key, "1")
      return print
    end })
    logger.sink = function() end
    client("SET", "a", "1")
    client:err("X.BAD", "b")
    node:finish_turn()
    assert.same({ { "SET a 1" } }, entries(node))
    assert.is_nil(node.db:get("b"))
  end)

  it("wait from the moment that CONFIG SET says so, also in the middle of a turn", function()
    client:send("SET", "a", "1")
    client:send("CONFIG", "SET", "appendfsync", "always")
    client:send("APPEND", "a", "2")
    client:send("GET", "a")
    assert.equal("OK", client:reply())
    assert.equal("OK", client:reply())
    node:finish_turn()
    assert.is_nil(client:reply())
    assert.same({ { "SET a 1" }, { "APPEND a 2" } }, entries(node))
    node:commit()
    assert.equal(2, client:reply())
    assert.equal("12", client:reply())
  end)

  it("of the node's own tell whether they were done", function()
    client("SET", "a", "1", "PX", "1")
    node:advance(2)
    node.replica.full = { "No space left on device", "ENOSPC" }
    assert.is_false(node.writes:internal("expire"))
    node:finish_turn()
    assert.equal(1, node.db.keys)
    node.replica.full = nil
    assert.is_true(node.writes:internal("expire"))
    node:finish_turn()
    assert.equal(0, node.db.keys)
  end)

  it("get MISCONF while the disk is full, reads go on, and all is well again when it has room", function()
    client("SET", "a", "1")
    node:finish_turn()
    node.replica.full = { "No space left on device", "ENOSPC" }
    assert.equal("MISCONF Errors writing to the log: No space left on device", client:err("SET", "a", "2"))
    assert.equal("1", client("GET", "a"))
    node:finish_turn()
    node.replica.full = nil
    assert.equal("OK", client("SET", "a", "3"))
  end)

  it("wait in their order while the flush is behind, and reads of others go on", function()
    client("SET", "a", "1")
    node:finish_turn()
    node.replica.full = { "the flush is behind", "EAGAIN" }
    local other = node:client()
    client:send("SET", "a", "2")
    client:send("GET", "a")
    other:send("APPEND", "a", "!")
    assert.is_nil(client:reply())
    assert.equal("1", node:client()("GET", "a"))
    node:finish_turn()
    assert.is_nil(client:reply())
    node.replica.full = nil
    node.writes:resume()
    node:finish_turn()
    node:commit()
    assert.equal("OK", client:reply())
    assert.equal("2", client:reply())
    assert.equal(2, other:reply())
    assert.equal("OK", client("SET", "a", "4")) -- at once again
  end)
end)

describe("commands that write, where an entry has to be on disk first", function()
  before_each(function()
    start { sync = "always" }
  end)

  it("get MISCONF in their turn where the disk is full by then", function()
    client:send("SET", "a", "1")
    node:finish_turn()
    node.replica.full = { "No space left on device", "ENOSPC" }
    client:send("SET", "a", "2")
    client:send("GET", "a")
    assert.is_nil(client:reply())
    node:finish_turn()
    assert.is_nil(client:reply())
    node:commit()
    assert.equal("OK", client:reply())
    assert.matches("^MISCONF .*No space left", client:reply().err)
    assert.equal("1", client:reply())
    assert.matches("^MISCONF", client:err("SET", "a", "2")) -- where nothing waits, at once
  end)

  it("run when it is, in order, and so do those that were sent behind them", function()
    client:send("SET", "a", "1")
    client:send("GET", "a")
    client:send("INCR", "a")
    client:send("PING")
    client:send("NONSENSE")
    node:finish_turn()
    assert.is_nil(client:reply())
    assert.is_nil(node:client()("GET", "a") ~= resp.null or nil)
    node:commit()
    assert.equal("OK", client:reply())
    assert.equal("1", client:reply())
    assert.equal(2, client:reply())
    assert.equal("PONG", client:reply())
    assert.matches("^ERR unknown command", client:reply().err)
    assert.equal("2", client("GET", "a"))
  end)

  it("of several turns keep their order", function()
    client:send("SET", "a", "1")
    node:finish_turn()
    client:send("APPEND", "a", "2")
    node:finish_turn()
    client:send("GET", "a")
    node:commit()
    assert.equal("OK", client:reply())
    assert.equal(2, client:reply())
    assert.equal("12", client:reply())
    assert.same({ { "SET a 1" }, { "APPEND a 2" } }, entries(node))
  end)

  it("that fail give their error, and the next ones run", function()
    client:send("SET", "a", "x")
    client:send("INCR", "a")
    client:send("SET", "a", "5")
    client:send("INCR", "a")
    node:finish_turn()
    node:commit()
    assert.equal("OK", client:reply())
    assert.matches("not an integer", client:reply().err)
    assert.equal("OK", client:reply())
    assert.equal(6, client:reply())
  end)

  it("are refused by a full disk in their order, behind what was taken before", function()
    client:send("SET", "a", "1")
    node:finish_turn()
    node.replica.full = { "No space left on device", "ENOSPC" }
    client:send("SET", "a", "2")
    client:send("GET", "a")
    assert.is_nil(client:reply())
    node:finish_turn()
    node.replica.full = nil
    client:send("APPEND", "a", "3")
    node:finish_turn()
    node:commit()
    assert.equal("OK", client:reply())
    assert.matches("^MISCONF", client:reply().err)
    assert.equal("1", client:reply())
    assert.equal(2, client:reply())
    assert.same({ { "SET a 1" }, { "APPEND a 3" } }, entries(node))
  end)

  it("are applied though their client has gone", function()
    client:send("SET", "a", "1")
    node:finish_turn()
    client.session.closed = true
    node:commit()
    assert.equal("1", node:client()("GET", "a"))
  end)

  it("hold a client that sends too many back, until half of them are answered", function()
    for _ = 1, 1024 do
      client:send("INCR", "n")
    end
    assert.is_true(client.conn.paused)
    node:finish_turn()
    node:commit()
    assert.is_false(client.conn.paused)
    for i = 1, 1024 do
      assert.equal(i, client:reply())
    end
  end)

  it("change over to running at once when they may", function()
    client:send("SET", "a", "1")
    node:finish_turn()
    node.replica:set_sync("no")
    client:send("APPEND", "a", "2")
    node:finish_turn()
    assert.is_nil(client:reply())
    node:commit()
    assert.equal("OK", client:reply())
    assert.equal(2, client:reply())
    assert.equal(3, client("APPEND", "a", "3"))
  end)
end)

describe("an entry", function()
  before_each(function()
    start()
  end)

  -- What a node becomes that applies the same entries.
  local function replay(from)
    local replica = fake_node.new()
    for _, entry in ipairs(from.replica.entries) do
      replica.writes:apply(entry)
      replica:finish_turn()
    end
    return replica
  end

  local function rows(one)
    local list = {}
    for row, value in one.db.store:scan("") do
      list[#list + 1] = row .. "=" .. value
    end
    return list
  end

  it("has the same effect wherever and whenever it is applied: time and chance are its own", function()
    command.command("X.DRAW", { arity = 2, flags = { "write" }, run = function(ctx, key)
      local drawn = ctx:random(1, 1000000) .. " " .. ctx:random(0, math.maxinteger) .. " " .. ctx.now
      ctx.db:set(key, drawn)
      return drawn
    end })
    client("X.DRAW", "a")
    client("CONFIG", "SET", "appendfsync", "everysec") -- ends an entry
    client("X.DRAW", "b")
    client("SETNX", "a", "nothing") -- in no entry, so it draws nothing either
    client("X.DRAW", "c")
    node:advance(500)
    client("X.DRAW", "d")
    client("SET", "e", "x", "PX", "100")
    node:advance(101)
    assert.equal(0, client("EXISTS", "e"))
    node:finish_turn()
    local replica = replay(node)
    assert.same(rows(node), rows(replica))
    assert.not_equal(client("GET", "a"), client("GET", "b"))
    replica:close()
  end)

  it("with a command that nobody knows is refused by its name", function()
    local b = batch.new()
    b:add("X.FOREIGN", "a")
    assert.error_matches(function()
      node.writes:apply { index = 1, time = 1, seed = 1, payload = b:take() }
    end, 'holds the command "X.FOREIGN", which this node does not know')
    assert.error_matches(function()
      node.writes:apply { index = 1, time = 1, seed = 1, payload = "\5" }
    end, "holds no commands")
  end)
end)
