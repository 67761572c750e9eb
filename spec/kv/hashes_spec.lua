-- What the comparison with redis-server (differential_spec) does not show: shapes of RESP3, walks, chance, sizes.
local lunode = require "spec.support.lunode"

describe("commands on hashes", function()
  it("give clients of RESP3 maps, and pairs of fields and values", function()
    local client = lunode.kv():client()
    client:call("HELLO", "3")
    client:call("HSET", "h", "f", "v")
    assert.equal("%1\r\n$1\r\nf\r\n$1\r\nv\r\n", client:raw { "HGETALL", "h" })
    assert.equal("%0\r\n", client:raw { "HGETALL", "none" })
    assert.equal("*1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n", client:raw { "HRANDFIELD", "h", "1", "WITHVALUES" })
    assert.equal("*2\r\n$1\r\n0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n", client:raw { "HSCAN", "h", "0" })
    assert.equal("_\r\n", client:raw { "HGET", "h", "none" })
    assert.equal("_\r\n", client:raw { "HRANDFIELD", "none" })
  end)

  it("take fields and values of any length and bytes", function()
    local client = lunode.kv():client()
    for _, n in ipairs { 0, 1, 200, 255, 256, 257, 500, 512, 5000, 1000000 } do
      local text = ("\0\xff\r\n"):rep(n // 4) .. ("x"):rep(n % 4)
      client:call("HSET", "h", "other", "")
      assert.equal(0, client:call("HDEL", "h", text)) -- not there yet
      client:call("HDEL", "h", "other")
      assert.equal(1, client:call("HSET", "h", text, text))
      assert.equal(0, client:call("HSET", "h", text, text))
      assert.equal(text, client:call("HGET", "h", text))
      assert.equal(n, client:call("HSTRLEN", "h", text))
      assert.equal(1, client:call("HDEL", "h", text))
      assert.equal(0, client:call("EXISTS", "h"))
    end
  end)

  it("take more fields than a call of Lua's has room for", function()
    local client = lunode.kv():client()
    local command = { "HSET", "h" }
    for i = 1, 60000 do
      command[#command + 1], command[#command + 2] = "f" .. i, tostring(i)
    end
    assert.equal(60000, client:call(table.unpack(command)))
    assert.equal(60000, client:call("HLEN", "h"))
    assert.equal("777", client:call("HGET", "h", "f777"))
    assert.equal(1, client:call("DEL", "h"))
    assert.is_nil(next(client:call("HGETALL", "h")))
  end)

  it("meet every field in small steps of HSCAN, whatever else comes and goes", function()
    local client, batch = lunode.kv():client(), {}
    for i = 1, 3000 do
      batch[i] = { "HSET", "h", "f" .. i, i }
    end
    client:pipeline(batch)
    local met, cursor, calls = {}, "0", 0
    repeat
      local reply = client:call("HSCAN", "h", cursor, "COUNT", 40)
      cursor, calls = reply[1], calls + 1
      for i = 1, #reply[2], 2 do
        met[reply[2][i]] = reply[2][i + 1]
      end
      client:call("HDEL", "h", "f" .. calls)
      client:call("HSET", "h", "new" .. calls, "x")
    until cursor == "0"
    assert.is_true(calls > 50)
    for i = calls + 1, 3000 do
      assert.equal(tostring(i), met["f" .. i])
    end
  end)

  it("say of keys that hold something else that they do", function()
    local client = lunode.kv():client()
    client:call("SET", "text", "x")
    client:call("HSET", "h", "f", "v")
    local refusal = client:call("HGET", "text", "f").err
    assert.equal("WRONGTYPE Operation against a key holding the wrong kind of value", refusal)
    assert.truthy(client:call("GET", "h").err:find "WRONGTYPE")
    assert.truthy(client:call("INCR", "h").err:find "WRONGTYPE")
    assert.equal("OK", client:call("SET", "h", "now a string").ok)
    assert.equal("now a string", client:call("GET", "h"))
  end)
end)
