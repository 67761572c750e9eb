-- What specs start works, and goes away.

local process = require "lunode.test.process"
local redis = require "spec.support.redis"
local wait = require "lunode.test.wait"

describe("a process of a spec", function()
  it("gives its exit code, output and errors", function()
    assert.same({ 3, "o\n", "e\n" }, { process.run { "sh", "-c", "echo o; echo e >&2; exit 3" } })
    assert.same({ 0, "in", "" }, { process.run { "cat", stdin = "in" } })
    assert.same({ 0, "/\n", "" }, { process.run { "pwd", cwd = "/" } })
    assert.same({ 0, "a 'b'\n", "" }, { process.run { "sh", "-c", "echo $X", env = { X = "a 'b'" } } })
  end)

  it("is alive until a signal ends it", function()
    local p = process.start { "sleep", "1000" }
    assert.is_true(p:is_alive())
    p:kill("TERM")
    assert.equal(128 + 15, p:wait())
    assert.is_false(p:is_alive())
  end)

  it("is told when it takes too long", function()
    local p = process.start { "sleep", "1000" }
    local ok, err = pcall(p.wait, p, 0.02)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("waited 0.02 s in vain for the end of process"), err)
  end)
end)

describe("a redis-server of a spec", function()
  it("answers calls, pipelines and bytes, and tells when it closes", function()
    local server = redis.server()
    local client = server:client()
    assert.same({ ok = "OK" }, client:call("SET", "a", 1))
    assert.same({ 2, "2" }, client:pipeline { { "INCR", "a" }, { "GET", "a" } })
    assert.equal("$1\r\n2\r\n", client:raw { "GET", "a" })
    local big = ("x"):rep(3000000)
    client:call("SET", "big", big)
    assert.equal(big, client:call("GET", "big"))
    client:send("PING\r\nPING\r\n")
    assert.same({ ok = "PONG" }, client:reply())
    wait.till(function()
      return client:bytes() == "+PONG\r\n"
    end)
    assert.same({ ok = "PONG" }, client:reply())
    client:call("QUIT")
    client:wait_closed()
    assert.is_false(pcall(client.call, client, "PING"))
  end)
end)
