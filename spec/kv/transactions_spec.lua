-- MULTI EXEC DISCARD WATCH UNWATCH, on a node whose entries are committed at once, and on one where they have to wait.
local fake_node = require "spec.kv.fake_node"
local resp = require "lunode.resp"

local NULL_ARRAY = resp.decode "*-1\r\n"

describe("a transaction", function()
  local node, client, other

  before_each(function()
    node = fake_node.new()
    client, other = node:client(), node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("runs its commands at EXEC, one after the other", function()
    assert.equal("OK", client "MULTI")
    assert.equal("QUEUED", client("SET", "a", "1"))
    assert.equal("QUEUED", client("INCRBY", "a", "41"))
    assert.equal("QUEUED", client("GET", "a"))
    assert.equal(resp.null, other("GET", "a"))
    assert.same({ { ok = "OK" }, 42, "42" }, client "EXEC")
    assert.equal("42", client("GET", "a"))
    assert.equal("ERR EXEC without MULTI", client:err "EXEC")
  end)

  it("is one command of the log, which a replay runs as a whole", function()
    client "MULTI"
    client("SET", "a", "1")
    client("GET", "a")
    client("INCR", "a")
    client("APPEND", "b", "x")
    client "EXEC"
    node:finish_turn()
    assert.equal(1, #node.replica.entries)
    local again = fake_node.new()
    again.writes:apply(node.replica.entries[1])
    assert.equal("2", again:client()("GET", "a"))
    assert.equal("x", again:client()("GET", "b"))
    again:close()
  end)

  it("draws chance that a replay draws again", function()
    for i = 1, 20 do
      client("SET", "key:" .. i, "v")
    end
    client "MULTI"
    client("RANDOMKEY")
    client("SET", "a", "1")
    client "EXEC"
    assert.equal("1", client("GET", "a"))
  end)

  it("keeps what the others wrote where one command fails", function()
    client("SET", "text", "abc")
    client "MULTI"
    client("SET", "a", "1")
    client("INCR", "text")
    client("MSET", "x", "1", "y", "2")
    client("GETRANGE", "a", "x", "y")
    client("INCR", "a")
    assert.same({
      { ok = "OK" }, { err = "ERR value is not an integer or out of range" }, { ok = "OK" },
      { err = "ERR value is not an integer or out of range" }, 2,
    }, client "EXEC")
    assert.equal("abc", client("GET", "text"))
    assert.equal("2", client("GET", "y"))
  end)

  it("is discarded when a command could not be queued", function()
    for _, words in ipairs { { "NOSUCH" }, { "GET" }, { "CLIENT", "NOSUCH" }, { "SAVE" }, { "SHUTDOWN" } } do
      client "MULTI"
      client("SET", "a", "1")
      assert.is_truthy(client:err(table.unpack(words)))
      assert.equal("EXECABORT Transaction discarded because of previous errors.", client:err "EXEC")
      assert.equal(0, client("EXISTS", "a"))
    end
    client "MULTI"
    assert.equal("ERR Command not allowed inside a transaction", client:err "SAVE")
    assert.equal("OK", client "DISCARD")
  end)

  it("goes on after MULTI and WATCH inside of it", function()
    client "MULTI"
    assert.equal("ERR MULTI calls can not be nested", client:err "MULTI")
    assert.equal("ERR WATCH inside MULTI is not allowed", client:err("WATCH", "a"))
    client("PING")
    assert.same({ { ok = "PONG" } }, client "EXEC")
  end)

  it("ends with DISCARD and with RESET", function()
    assert.equal("ERR DISCARD without MULTI", client:err "DISCARD")
    client "MULTI"
    client("SET", "a", "1")
    assert.equal("OK", client "DISCARD")
    assert.equal(0, client("EXISTS", "a"))
    client "MULTI"
    assert.equal("RESET", client "RESET")
    assert.equal("ERR EXEC without MULTI", client:err "EXEC")
  end)

  it("may be empty", function()
    client "MULTI"
    assert.same({}, client "EXEC")
  end)

  it("knows what the node's own commands about the connection do", function()
    client "MULTI"
    client("CLIENT", "SETNAME", "me")
    client("CLIENT", "GETNAME")
    client("HELLO", "3")
    client("CONFIG", "GET", "databases")
    local replies = client "EXEC"
    assert.equal("me", replies[2])
    assert.equal("map", replies[4].kind)
  end)

  it("that only reads is in no log", function()
    client "MULTI"
    client("GET", "a")
    client("PING", "x")
    assert.same({ resp.null, "x" }, client "EXEC")
    node:finish_turn()
    assert.equal(0, #node.replica.entries)
  end)

  it("is refused as a whole where the log has no room", function()
    client "MULTI"
    client("SET", "a", "1")
    client("SET", "b", "1")
    node.replica.full = { "disk full", "ENOSPC" }
    assert.matches("^MISCONF ", client:err "EXEC")
    node.replica.full = nil
    node:finish_turn()
    assert.equal(0, client("DBSIZE"))
    client "MULTI"
    client("SET", "a", ("x"):rep(2 << 20))
    client("SET", "b", "1")
    other("SET", "c", "1") -- the turn has room by now, but not for so much
    node.replica.full = { "disk full", "ENOSPC" }
    assert.matches("^MISCONF ", client:err "EXEC")
    assert.equal(1, client("DBSIZE"))
  end)

  it("with a handler at fault answers so, undoes that command, and closes the connection", function()
    local command = require "lunode.kv.command"
    command.command("FAULTY", { arity = 2, flags = { "write" }, keys = { 1, 1, 1 }, replace = true,
      run = function(ctx, key)
        ctx.db:set(key, "x")
        error "a bug"
      end })
    client "MULTI"
    client("SET", "a", "1")
    client("FAULTY", "b")
    local replies = client "EXEC"
    assert.matches("^ERR internal error", replies[2].err)
    assert.equal("1", other("GET", "a"))
    assert.equal(0, other("EXISTS", "b"))
    assert.is_true(client.conn.paused)
    command.by_name.FAULTY, command.by_name.faulty = nil, nil
  end)
end)

for _, sync in ipairs { "no", "always" } do
  describe("WATCH, where sync is " .. sync, function()
    local node, client, other

    before_each(function()
      node = fake_node.new { sync = sync }
      client, other = node:client(), node:client()
    end)

    after_each(function()
      node:close()
    end)

    -- Sends a command and lets the disk take it.
    local function run(who, ...)
      who:send(...)
      node:finish_turn()
      node:commit()
      return who:reply()
    end

    local function exec()
      client "MULTI"
      client("SET", "done", "1")
      client:send "EXEC"
      for _ = 1, 3 do -- what is under way, then its own entry
        node:finish_turn()
        node:commit()
      end
      return client:reply()
    end

    it("lets EXEC run while the keys are as they were", function()
      run(client, "WATCH", "a", "b")
      run(other, "SET", "c", "1")
      assert.same({ { ok = "OK" } }, exec())
      assert.equal(0, node.watches.count)
      assert.same({ { ok = "OK" } }, exec())
    end)

    it("has EXEC give null once a key was written, by whomever", function()
      for _, who in ipairs { client, other } do
        for _, words in ipairs {
          { "SET", "a", "1" }, { "SET", "a", "1" }, { "APPEND", "a", "x" }, { "MSET", "x", "1", "a", "1" },
          { "RENAME", "a", "b" }, { "SETRANGE", "a", "1", "x" }, { "DEL", "a" }, { "RENAME", "b", "a" },
          { "EXPIRE", "a", "100" }, { "FLUSHALL" },
        } do
          run(client, "WATCH", "a")
          run(who, table.unpack(words))
          assert.equal(NULL_ARRAY, exec(), table.concat(words, " "))
          assert.equal(0, node.watches.count)
        end
      end
      assert.equal(0, run(client, "EXISTS", "done"))
    end)

    it("does not mind a transaction that changes other keys", function()
      run(client, "WATCH", "a")
      other "MULTI"
      other("SET", "b", "1")
      run(other, "EXEC")
      assert.same({ { ok = "OK" } }, exec())
    end)

    it("does not mind what changes nothing", function()
      run(other, "SET", "b", "1")
      run(client, "WATCH", "a")
      for _, words in ipairs {
        { "GET", "a" }, { "DEL", "a" }, { "EXPIRE", "a", "100" }, { "SET", "a", "1", "XX" }, { "INCR", "b" },
        { "FLUSHALL" }, { "GETDEL", "a" }, { "PERSIST", "a" },
      } do
        run(other, table.unpack(words))
      end
      assert.same({ { ok = "OK" } }, exec())
    end)

    it("ends with UNWATCH, DISCARD, RESET and the connection", function()
      for _, words in ipairs { { "UNWATCH" }, { "RESET" }, { "MULTI", "DISCARD" } } do
        run(client, "WATCH", "a")
        for _, word in ipairs(words) do
          run(client, word)
        end
        assert.equal(0, node.watches.count)
        run(other, "SET", "a", "1")
        assert.same({ { ok = "OK" } }, exec())
      end
      run(client, "WATCH", "a", "b", "a")
      assert.equal(2, node.watches.count)
      client.session:end_()
      assert.equal(0, node.watches.count)
    end)

    it("sees a key expire, also one that nobody has deleted yet", function()
      for _, look in ipairs { false, true } do
        run(other, "SET", "a", "1", "PX", "50")
        run(client, "WATCH", "a", "b")
        node:advance(100)
        if look then
          run(other, "GET", "a")
        end
        assert.equal(NULL_ARRAY, exec())
        run(client, "WATCH", "a")
        assert.same({ { ok = "OK" } }, exec())
      end
    end)

    it("counts what was sent before EXEC and had not yet run", function()
      client:send("SET", "a", "0")
      client:send("WATCH", "a") -- behind the SET: that is no change
      client:send "MULTI"
      client:send("INCR", "a")
      client:send "EXEC"
      client:send("GET", "a")
      for _ = 1, 3 do
        node:finish_turn()
        node:commit()
      end
      local replies = {}
      for i = 1, 6 do
        replies[i] = client:reply()
      end
      assert.same({ "OK", "OK", "OK", "QUEUED", { 1 }, "1" }, replies)

      run(client, "WATCH", "a")
      client "MULTI"
      client("INCR", "a")
      other:send("SET", "a", "5") -- under way when EXEC comes
      client:send "EXEC"
      for _ = 1, 3 do
        node:finish_turn()
        node:commit()
      end
      assert.equal("OK", other:reply())
      assert.equal(NULL_ARRAY, client:reply())
      assert.equal("5", run(client, "GET", "a"))
    end)

    it("keeps others in order behind an EXEC that waits to be sure", function()
      run(client, "WATCH", "a")
      client "MULTI"
      client("APPEND", "x", "1")
      other:send("APPEND", "x", "0")
      client:send "EXEC"
      other:send("APPEND", "x", "2")
      client:send("APPEND", "x", "3")
      for _ = 1, 3 do
        node:finish_turn()
        node:commit()
      end
      other.conn.output = ""
      assert.equal("0123", run(other, "GET", "x"))
    end)
  end)
end
