-- The client libraries that people have, from Debian's and npm's packages: each runs a program of its own against the
-- node, which is killed and started again in the middle of it; and redis-benchmark.

local libraries = require "spec.support.libraries"
local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"

describe("a node does what is asked by", function()
  for _, client in ipairs {
    { "python3-redis", "redis_py.py" },
    { "hiredis", "hiredis.c" },
    { "npm's ioredis", "ioredis.js" },
    { "npm's redis, with RESP2 and RESP3", "node_redis.js" },
  } do
    it(client[1], function()
      local program, why = libraries.program(client[2])
      if not program then
        pending(why)
        return
      end
      local node = lunode.kv()
      program:start(node.host, node.port)
      program:finish(function()
        node:kill9()
        node:start()
      end)
      assert.is_true(program.requests > 0)
    end)
  end
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
