-- The client libraries that people have, from Debian's packages: each runs a program of its own against the node.

local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"

local function is_there(words)
  return (process.run(words)) == 0
end

-- Runs a client's program: it must say "ok".
local function passes(words)
  local node = lunode.kv()
  words[#words + 1], words[#words + 2] = node.host, tostring(node.port)
  local code, out, err = process.run(words)
  assert.same({ 0, "ok\n" }, { code, out }, err)
end

describe("a node does what is asked by", function()
  it("python3-redis", function()
    if not is_there { "/usr/bin/python3", "-c", "import redis" } then
      pending "python3-redis is not installed: ./dev test installs it"
      return
    end
    passes { "/usr/bin/python3", "spec/support/clients/redis_py.py" }
  end)

  it("node-redis", function()
    local node = { "env", "NODE_PATH=/usr/share/nodejs", "node" }
    if not is_there { node[1], node[2], node[3], "-e", "require('redis')" } then
      pending "node-redis is not installed: ./dev test installs it"
      return
    end
    node[4] = "spec/support/clients/node_redis.js"
    passes(node)
  end)

  it("hiredis", function()
    local program = tmp.dir() .. "/client"
    local code, _, err = process.run { "cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", program,
      "spec/support/clients/hiredis.c", "-lhiredis" }
    if code ~= 0 and err:find("hiredis", 1, true) then
      pending "libhiredis-dev is not installed: ./dev test installs it"
      return
    end
    assert.equal(0, code, err)
    passes { program }
  end)
end)

describe("redis-benchmark", function()
  local function run(options)
    local node = lunode.kv()
    local words = { "timeout", "60", "redis-benchmark", "-h", node.host, "-p", tostring(node.port), "-q", "--csv" }
    table.move(options, 1, #options, #words + 1, words)
    local code, out, err = process.run(words)
    assert.equal(0, code, err)
    return out
  end

  it("runs all its default tests, pipelined, too", function()
    local out = run { "-n", "500", "-r", "100", "-P", "16" }
    local seen = 0
    for name, rate in out:gmatch('\n"([^"]+)","([^"]+)"') do
      -- its clock counts milliseconds: a test that took none of them ran at "inf"
      assert.is_true(rate == "inf" or tonumber(rate) > 0, name)
      seen = seen + 1
    end
    assert.equal(20, seen, out)
    assert.is_nil(out:find("ERR", 1, true), out)
  end)

  it("runs them with RESP3", function()
    local out = run { "-n", "200", "-3", "-t", "ping,set,get,lpush,sadd,hset,zadd,mset" }
    assert.is_truthy(out:find('"ZADD"', 1, true), out)
  end)
end)
