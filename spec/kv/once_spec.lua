-- ONCE: a command that is sent again with its id is not applied again.

local command = require "lunode.kv.command"
local fake_node = require "spec.kv.fake_node"
local getkeys = require "lunode.kv.getkeys"
local resp = require "lunode.resp"

describe("ONCE", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("applies a command once, and gives the first reply again", function()
    assert.equal(1, client("ONCE", "a", "INCR", "n"))
    assert.equal(2, client("INCR", "n"))
    assert.equal(1, client("ONCE", "a", "INCR", "n"))
    assert.equal(3, client("ONCE", "b", "INCR", "n"))
    assert.equal("3", client("GET", "n"))
  end)

  it("remembers across a restart, and FLUSHALL", function()
    client("ONCE", "a", "RPUSH", "l", "x", "y")
    client("FLUSHALL")
    node:reopen()
    client = node:client()
    assert.equal(2, client("ONCE", "a", "RPUSH", "l", "x", "y"))
    assert.equal(0, client("EXISTS", "l"))
  end)

  it("gives the reply in the protocol of whoever asks", function()
    client("HSET", "h", "f", "1")
    assert.equal("1.5", client("ONCE", "a", "INCRBYFLOAT", "x", "1.5"))
    assert.equal(resp.null, client("ONCE", "b", "GETDEL", "none"))
    client("HELLO", "3")
    client.conn.output = ""
    assert.equal("1.5", client("ONCE", "a", "INCRBYFLOAT", "x", "1.5"))
    client:send("ONCE", "b", "GETDEL", "none")
    assert.equal("_\r\n", client.conn.output)
  end)

  it("does not remember an error: nothing was done", function()
    client("SET", "s", "text")
    assert.matches("^ERR value is not an integer", client:err("ONCE", "a", "INCR", "s"))
    client("SET", "s", "5")
    assert.equal(6, client("ONCE", "a", "INCR", "s"))
  end)

  it("refuses an id that was used for another command", function()
    client("ONCE", "a", "INCR", "n")
    assert.equal("ERR this id was used for another command", client:err("ONCE", "a", "INCR", "m"))
    assert.equal("ERR this id was used for another command", client:err("ONCE", "a", "DECR", "n"))
  end)

  it("is for commands that write", function()
    assert.matches("^ERR ONCE is for commands that write", client:err("ONCE", "a", "GET", "n"))
    assert.matches("^ERR ONCE is for commands that write", client:err("ONCE", "a", "ONCE", "b", "INCR", "n"))
    assert.matches("^ERR ONCE is for commands that write", client:err("ONCE", "a", "EXEC"))
    assert.matches("^ERR unknown command 'NONE'", client:err("ONCE", "a", "NONE"))
    assert.matches("^ERR wrong number of arguments for 'incr'", client:err("ONCE", "a", "INCR"))
    assert.matches("^ERR an id has", client:err("ONCE", "", "INCR", "n"))
    assert.matches("^ERR an id has", client:err("ONCE", ("x"):rep(129), "INCR", "n"))
  end)

  it("forgets after a quarter of an hour, through the log", function()
    client("ONCE", "old", "INCR", "n")
    node:advance(600000)
    client("ONCE", "young", "INCR", "n")
    node:advance(600000)
    node.writes:internal("once_forget", tostring(node.clock - 900000))
    node:finish_turn()
    assert.equal(2, client("ONCE", "young", "INCR", "n"))
    assert.equal(3, client("ONCE", "old", "INCR", "n"))
    local rows = 0
    for _ in node.db.store:scan("\xFFonce", "\xFFoncf") do
      rows = rows + 1
    end
    assert.equal(4, rows)
  end)

  it("is atomic with its command in a transaction, too", function()
    client("MULTI")
    client("ONCE", "a", "INCR", "n")
    client("INCR", "n")
    assert.same({ 1, 2 }, client("EXEC"))
    assert.equal(1, client("ONCE", "a", "INCR", "n"))
  end)

  it("has the keys of its command", function()
    local found = getkeys.find(command.find "ONCE", { "id", "MSET", "a", "1", "b", "2" })
    assert.same({ 3, 5 }, { found[1].at, found[2].at })
  end)
end)
