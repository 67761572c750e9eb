-- Who may use a node, and which of its commands: protected mode, and commands with other names or with none.
local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local redis = require "spec.support.redis"

-- An address of this machine that is not its loopback, if it has one.
local function own_address()
  local _, out = process.run { "hostname", "-I" }
  return out:match("%d+%.%d+%.%d+%.%d+")
end

describe("protected mode", function()
  it("takes clients of this machine only, while there is no password", function()
    local address = own_address()
    if not address then
      pending "this machine has no address but its loopback"
      return
    end
    local port = ports.free()
    lunode.kv { "--listen", "0.0.0.0:" .. port, port = port }
    local near = redis.connect("127.0.0.1", port)
    local far = redis.connect(address, port)
    assert.matches("^DENIED ", far:reply().err)
    far:wait_closed()
    near:call("CONFIG", "SET", "protected-mode", "no")
    assert.same({ ok = "PONG" }, redis.connect(address, port):call("PING"))
    near:call("CONFIG", "SET", "protected-mode", "yes", "requirepass", "secret")
    far = redis.connect(address, port)
    assert.matches("^NOAUTH ", far:call("PING").err)
    assert.same({ ok = "OK" }, far:call("AUTH", "secret"))
  end)
end)

describe("commands with other names", function()
  it("are found by these alone, and the log goes on to know them", function()
    local names = "CONFIG=,append=put-behind,MSET=many,CLIENT=visitor"
    local node = lunode.kv { "--rename-command", names }
    local client = node:client()
    assert.matches("^ERR unknown command 'CONFIG'", client:call("CONFIG", "GET", "save").err)
    assert.matches("^ERR unknown command 'append'", client:call("append", "a", "1").err)
    assert.equal(1, client:call("put-behind", "a", "1"))
    assert.equal(2, client:call("PUT-BEHIND", "a", "2"))
    assert.same({ ok = "OK" }, client:call("many", "x", 1, "y", 2, "z", 3))
    assert.same({ ok = "OK" }, client:call("VISITOR", "SETNAME", "me"))
    assert.equal("me", client:call("visitor", "getname"))
    client:call("MULTI")
    client:call("MANY", "m", 1)
    client:call("put-behind", "m", 2)
    assert.same({ { ok = "OK" }, 2 }, client:call("EXEC"))
    node:kill9()
    node.options[2] = "FLUSHALL=" -- they have their own names again
    node:start()
    client = node:client()
    assert.equal("12", client:call("GET", "a"))
    assert.equal("12", client:call("GET", "m"))
    assert.equal("3", client:call("GET", "z"))
    assert.equal(3, client:call("APPEND", "a", "3"))
  end)

  it("are refused where they make no sense", function()
    for given, said in pairs {
      ["NOSUCH=x"] = "there is no command NOSUCH", ["GET=set"] = "there is a command set already",
      ["GET=x,SET=x"] = "there is a command x already",
    } do
      local code, _, err = lunode.run { "kv", "--listen", "127.0.0.1:0", "--data", "/nonexistent/x",
        "--rename-command", given }
      assert.same({ 2, ("lunode: rename-command: %s (see `lunode help kv`)\n"):format(said) }, { code, err })
    end
    local code, _, err = lunode.run { "kv", "--rename-command", "GET" }
    assert.equal(2, code)
    assert.is_truthy(err:find("names to names", 1, true), err)
  end)
end)
