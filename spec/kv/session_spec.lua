local command = require "lunode.kv.command"
local fake_node = require "spec.kv.fake_node"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

describe("a session", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("finds commands in any case", function()
    assert.equal("PONG", client("PING"))
    assert.equal("PONG", client("ping"))
    assert.equal("PONG", client("pInG"))
    assert.equal("x", client("Echo", "x"))
  end)

  it("refuses what it does not know in Redis's words", function()
    assert.equal("ERR unknown command 'foo', with args beginning with: 'a' 'b' ", client:err("foo", "a", "b"))
    assert.equal("ERR unknown command 'FOO', with args beginning with: ", client:err("FOO"))
    assert.equal("ERR wrong number of arguments for 'get' command", client:err("GeT"))
    assert.equal("ERR wrong number of arguments for 'get' command", client:err("get", "a", "b"))
    assert.equal("ERR unknown subcommand 'foo'. Try CLIENT HELP.", client:err("client", "foo"))
    assert.equal("ERR wrong number of arguments for 'client|setname' command", client:err("CLIENT", "SetName"))
    assert.equal("ERR wrong number of arguments for 'client' command", client:err("CLIENT"))
    assert.equal("ERR unknown command 'client|id', with args beginning with: ", client:err("client|id"))
  end)

  it("quotes at most 128 bytes of what it does not know, and no line breaks", function()
    local long = ("x"):rep(300)
    assert.equal("ERR unknown command '" .. ("x"):rep(128) .. "', with args beginning with: ", client:err(long))
    assert.equal("ERR unknown command 'f', with args beginning with: '" .. ("x"):rep(128) .. "' ",
      client:err("f", long, "y"))
    assert.equal("ERR unknown command 'a  b', with args beginning with: 'c d' ", client:err("a\r\nb", "c\nd"))
    assert.equal("ERR unknown command 'f', with args beginning with: 'a' ", client:err("f", "a\0b"))
  end)

  it("takes a great many arguments as a list", function()
    local list = {}
    for i = 1, 5000 do
      list[2 * i - 1], list[2 * i] = "key" .. i, "value" .. i
    end
    assert.equal("OK", client("MSET", list))
    assert.equal(5000, client("DBSIZE"))
    assert.equal("value5000", client("GET", "key5000"))
    assert.equal("ERR wrong number of arguments for 'ping' command", client:err("PING", list))
    assert.equal("ERR unknown subcommand 'key1'. Try CLIENT HELP.", client:err("CLIENT", list))
    assert.matches("^ERR unknown command 'foo', with args beginning with: 'key1' 'value1' ", client:err("foo", list))
    assert.equal("ERR syntax error", client:err("SET", list))
  end)

  it("undoes a command that raised a reply", function()
    client("SET", "a", "1")
    command.command("SPEC.REFUSE", { arity = 1, flags = { "write" }, replace = true, run = function(ctx)
      ctx.db:set("a", "2")
      ctx.db:set("b", "2", ctx.now + 1000)
      error(resp.error("SPECERR no"), 0)
    end })
    assert.equal("SPECERR no", client:err("SPEC.REFUSE"))
    assert.equal("1", client("GET", "a"))
    assert.equal(1, client("DBSIZE"))
    assert.equal(0, node.db.expires)
    assert.is_false(client.conn.closed)
  end)

  describe("with a command that is broken", function()
    local logged, sink

    before_each(function()
      logged, sink = {}, logger.sink
      logger.sink = function(level, text)
        logged[#logged + 1] = level .. " " .. text
      end
    end)

    after_each(function()
      logger.sink = sink
    end)

    local function expect_internal_error(run)
      command.command("SPEC.BROKEN", { arity = 1, flags = { "write" }, replace = true, run = run })
      local other = node:client()
      assert.matches("^ERR internal error", client:err("SPEC.BROKEN"))
      assert.is_true(client.conn.paused)
      loop.step()
      assert.is_true(client.conn.closed)
      assert.is_false(other.conn.closed)
      assert.equal(resp.null, other("GET", "half"))
      assert.equal(0, other("DBSIZE"))
      assert.equal(1, #logged)
      assert.matches("^error command spec.broken: ", logged[1])
    end

    it("logs the traceback, undoes its writes and closes that connection only", function()
      expect_internal_error(function(ctx)
        ctx.db:set("half", "done")
        error("oops")
      end)
      assert.matches("session_spec.lua:%d+: oops", logged[1])
    end)

    it("does the same where its reply is no value", function()
      expect_internal_error(function(ctx)
        ctx.db:set("half", "done")
        return print
      end)
    end)

    it("does not let a reading command write", function()
      command.command("SPEC.SNEAKY", { arity = 1, flags = { "readonly" }, replace = true, run = function(ctx)
        ctx.db:set("half", "done")
      end })
      assert.matches("^ERR internal error", client:err("SPEC.SNEAKY"))
      assert.matches('needs the flag "write"', logged[1], 1, true)
      assert.equal(0, node:client()("DBSIZE"))
    end)
  end)

  it("takes nothing more after QUIT, and closes when its reply is sent", function()
    assert.equal("OK", client("QUIT"))
    assert.is_true(client.conn.paused)
    assert.is_false(client.conn.closed)
    loop.step()
    assert.is_true(client.conn.closed)
  end)

  describe("where a password is required", function()
    before_each(function()
      node:set_password("secret")
      client = node:client()
    end)

    it("runs nothing before it", function()
      assert.equal("NOAUTH Authentication required.", client:err("GET", "a"))
      assert.equal("NOAUTH Authentication required.", client:err("PING"))
      assert.equal("NOAUTH Authentication required.", client:err("CLIENT", "ID"))
      assert.equal("ERR wrong number of arguments for 'get' command", client:err("GET"))
      assert.matches("^ERR unknown command", client:err("FOO"))
      assert.equal("WRONGPASS invalid username-password pair or user is disabled.", client:err("AUTH", "secre"))
      assert.equal("WRONGPASS invalid username-password pair or user is disabled.", client:err("AUTH", ""))
      assert.equal("WRONGPASS invalid username-password pair or user is disabled.",
        client:err("AUTH", "nobody", "secret"))
      assert.matches("^NOAUTH HELLO must be called", client:err("HELLO", "3"))
      assert.equal("NOAUTH Authentication required.", client:err("GET", "a"))
    end)

    it("keeps the decoder's limits low until then", function()
      assert.is_false(client.conn.options.authenticated)
      assert.equal("OK", client("AUTH", "secret"))
      assert.is_true(client.conn.options.authenticated)
      assert.equal("PONG", client("PING"))
      assert.equal("RESET", client("RESET"))
      assert.is_false(client.conn.options.authenticated)
      assert.equal("NOAUTH Authentication required.", client:err("PING"))
    end)

    it("lets HELLO bring it", function()
      client("HELLO", "2", "AUTH", "default", "secret", "SETNAME", "me")
      assert.equal("me", client("CLIENT", "GETNAME"))
    end)

    it("still lets anybody quit", function()
      assert.equal("OK", client("QUIT"))
    end)
  end)
end)
