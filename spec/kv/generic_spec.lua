local fake_node = require "spec.kv.fake_node"
local resp = require "lunode.resp"

local null = resp.null

describe("commands on keys", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  local function fill(count)
    for i = 1, count do
      client("SET", "key:" .. i, "x")
    end
  end

  it("DEL, UNLINK, EXISTS and TOUCH count keys", function()
    client("MSET", "a", "1", "b", "2")
    assert.equal(3, client("EXISTS", "a", "a", "b", "x"))
    assert.equal(2, client("TOUCH", "a", "b", "x"))
    assert.equal(1, client("DEL", "a", "a"))
    assert.equal(1, client("UNLINK", "b", "x"))
    assert.equal(0, client("DBSIZE"))
  end)

  it("TYPE names types", function()
    client("SET", "a", "1")
    assert.equal("string", client("TYPE", "a"))
    assert.equal("none", client("TYPE", "b"))
  end)

  it("RENAME moves a value with its expiry", function()
    client("SET", "a", "1", "EX", "100")
    client("SET", "b", "2", "EX", "5")
    assert.equal("OK", client("RENAME", "a", "b"))
    assert.equal("1", client("GET", "b"))
    assert.equal(100, client("TTL", "b"))
    assert.equal(0, client("EXISTS", "a"))
    assert.equal(1, node.db.expires)
    assert.equal("OK", client("RENAME", "b", "b"))
    assert.equal(0, client("RENAMENX", "b", "b"))
    assert.equal("ERR no such key", client:err("RENAME", "x", "x"))
    client("SET", "c", "3")
    assert.equal(0, client("RENAMENX", "b", "c"))
    assert.equal(1, client("RENAMENX", "b", "d"))
    assert.same({ "3", "1" }, client("MGET", "c", "d"))
  end)

  it("KEYS matches patterns", function()
    client("MSET", "one", "1", "two", "2", "three", "3")
    local found = client("KEYS", "t*")
    table.sort(found)
    assert.same({ "three", "two" }, found)
    assert.equal(3, #client("KEYS", "*"))
    assert.same({}, client("KEYS", "x*"))
  end)

  it("RANDOMKEY gives some key, each in the end", function()
    assert.equal(null, client("RANDOMKEY"))
    client("MSET", "a", "1", "b", "2", "c", "3")
    local seen, count = {}, 0
    for _ = 1, 10000 do
      local key = client("RANDOMKEY")
      if not seen[key] then
        seen[key], count = true, count + 1
      end
      if count == 3 then
        break
      end
    end
    assert.is_true(seen.a and seen.b and seen.c)
    client("PEXPIRE", "a", "1")
    client("DEL", "b", "c")
    node:advance(10)
    assert.equal(null, client("RANDOMKEY"))
  end)

  it("SCAN meets each key exactly once where none changes", function()
    fill(300)
    for _, count in ipairs { 1, 7, 1000 } do
      local cursor, met, total = "0", {}, 0
      repeat
        local reply = client("SCAN", cursor, "COUNT", tostring(count))
        cursor = reply[1]
        for _, key in ipairs(reply[2]) do
          assert.is_nil(met[key])
          met[key], total = true, total + 1
        end
      until cursor == "0"
      assert.equal(300, total)
    end
  end)

  it("SCAN meets what is there all the time, while others come and go", function()
    fill(100)
    local cursor, met, round = "0", {}, 0
    repeat
      round = round + 1
      local reply = client("SCAN", cursor, "COUNT", "5")
      cursor = reply[1]
      for _, key in ipairs(reply[2]) do
        met[key] = true
      end
      client("SET", "new:" .. round, "x")
      client("DEL", "new:" .. round - 3)
      if round == 5 then
        node:reopen() -- a cursor outlives restarts
      end
    until cursor == "0"
    for i = 1, 100 do
      assert.is_true(met["key:" .. i])
    end
  end)

  it("SCAN filters by pattern and type", function()
    fill(20)
    local reply = client("SCAN", "0", "COUNT", "100", "MATCH", "key:1?")
    assert.equal("0", reply[1])
    assert.equal(10, #reply[2])
    assert.equal(20, #client("SCAN", "0", "TYPE", "STRING", "COUNT", "100")[2])
    assert.equal(0, #client("SCAN", "0", "TYPE", "list", "COUNT", "100")[2])
  end)

  it("SCAN takes the cursors that Redis takes", function()
    fill(3)
    for _, cursor in ipairs { "0", "00", "+0", "", "\0", "0\0x" } do
      assert.equal(3, #client("SCAN", cursor)[2])
    end
    for _, cursor in ipairs { "-1", "18446744073709551615" } do
      assert.same({ "0", {} }, client("SCAN", cursor))
    end
    for _, cursor in ipairs { "abc", " 1", "1 ", "0x10", "18446744073709551616", "+", "1.0" } do
      assert.equal("ERR invalid cursor", client:err("SCAN", cursor))
    end
    assert.equal("ERR syntax error", client:err("SCAN", "0", "COUNT", "0"))
    assert.equal("ERR syntax error", client:err("SCAN", "0", "MATCH"))
    assert.equal("ERR value is not an integer or out of range", client:err("SCAN", "0", "COUNT", "x"))
  end)
end)
