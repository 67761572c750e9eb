local fake_node = require "spec.kv.fake_node"
local resp = require "lunode.resp"

local null = resp.null

describe("commands on strings", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("SET and GET keep any bytes", function()
    assert.equal(null, client("GET", "a"))
    assert.equal("OK", client("SET", "a", "\0\r\n\xff"))
    assert.equal("\0\r\n\xff", client("GET", "a"))
    client("SET", "", "")
    assert.equal("", client("GET", ""))
    node:reopen()
    assert.equal("\0\r\n\xff", client("GET", "a"))
  end)

  it("SET obeys NX, XX and GET", function()
    assert.equal(null, client("SET", "a", "1", "XX"))
    assert.equal("OK", client("SET", "a", "1", "nx"))
    assert.equal(null, client("SET", "a", "2", "NX"))
    assert.equal("1", client("SET", "a", "2", "NX", "GET"))
    assert.equal("1", client("SET", "a", "2", "XX", "GET"))
    assert.equal("2", client("GET", "a"))
    assert.equal(null, client("SET", "b", "1", "GET"))
    assert.equal("1", client("GET", "b"))
    assert.equal("ERR syntax error", client:err("SET", "a", "3", "NX", "XX"))
    assert.equal("2", client("GET", "a"))
  end)

  it("SET obeys EX, PX, EXAT, PXAT and KEEPTTL", function()
    client("SET", "a", "1", "EX", "10")
    assert.equal(10000, client("PTTL", "a"))
    client("SET", "a", "2", "KEEPTTL")
    assert.equal(10000, client("PTTL", "a"))
    client("SET", "a", "3", "PX", "1500")
    assert.equal(1500, client("PTTL", "a"))
    client("SET", "a", "3", "EXAT", "1700000020")
    assert.equal(20000, client("PTTL", "a"))
    client("SET", "a", "3", "PXAT", "1700000000001")
    assert.equal(1, client("PTTL", "a"))
    client("SET", "a", "4")
    assert.equal(-1, client("PTTL", "a"))
    client("SET", "past", "x", "EXAT", "1")
    assert.equal(null, client("GET", "past"))
  end)

  it("SET refuses times that are none", function()
    for _, case in ipairs {
      { "ERR invalid expire time in 'set' command", "EX", "0" },
      { "ERR invalid expire time in 'set' command", "PX", "-1" },
      { "ERR invalid expire time in 'set' command", "EX", "9223372036854775807" },
      { "ERR invalid expire time in 'set' command", "PX", "9223372036854775807" },
      { "ERR value is not an integer or out of range", "EX", "1.5" },
      { "ERR syntax error", "EX" },
      { "ERR syntax error", "EX", "10", "PX", "10" },
      { "ERR syntax error", "EX", "10", "KEEPTTL" },
      { "ERR syntax error", "PERSIST" },
    } do
      assert.equal(case[1], client:err("SET", "a", "1", table.unpack(case, 2)))
    end
    assert.equal(0, client("EXISTS", "a"))
    assert.equal("ERR invalid expire time in 'setex' command", client:err("SETEX", "a", "0", "x"))
    assert.equal("ERR invalid expire time in 'psetex' command", client:err("PSETEX", "a", "-5", "x"))
  end)

  it("GETSET, GETDEL and GETEX give the value and change the key", function()
    client("SET", "a", "1", "EX", "10")
    assert.equal("1", client("GETSET", "a", "2"))
    assert.equal(-1, client("TTL", "a"))
    assert.equal("2", client("GETEX", "a", "EX", "100"))
    assert.equal(100, client("TTL", "a"))
    assert.equal("2", client("GETEX", "a", "PERSIST"))
    assert.equal(-1, client("TTL", "a"))
    assert.equal("ERR syntax error", client:err("GETEX", "a", "PERSIST", "EX", "1"))
    assert.equal("ERR invalid expire time in 'getex' command", client:err("GETEX", "a", "EX", "0"))
    assert.equal(null, client("GETEX", "missing", "EX", "0"))
    assert.equal("2", client("GETEX", "a", "EXAT", "1"))
    assert.equal(0, client("EXISTS", "a"))
    client("SET", "a", "3")
    assert.equal("3", client("GETDEL", "a"))
    assert.equal(null, client("GETDEL", "a"))
    assert.equal(0, node.db.expires)
  end)

  it("MSET, MGET and MSETNX take many keys at once", function()
    assert.equal("OK", client("MSET", "a", "1", "b", "2"))
    assert.same({ "1", null, "2" }, client("MGET", "a", "x", "b"))
    assert.equal(0, client("MSETNX", "c", "3", "a", "4"))
    assert.equal(0, client("EXISTS", "c"))
    assert.equal(1, client("MSETNX", "c", "3", "c", "4"))
    assert.equal("4", client("GET", "c"))
    assert.equal("ERR wrong number of arguments for 'mset' command", client:err("MSET", "a", "1", "b"))
  end)

  it("APPEND, STRLEN, GETRANGE and SETRANGE work on parts", function()
    assert.equal(5, client("APPEND", "a", "Hello"))
    client("EXPIRE", "a", "100")
    assert.equal(11, client("APPEND", "a", " World"))
    assert.equal(11, client("STRLEN", "a"))
    assert.equal(0, client("STRLEN", "missing"))
    assert.equal("World", client("GETRANGE", "a", "-5", "-1"))
    assert.equal("Hello World", client("GETRANGE", "a", "0", "9223372036854775807"))
    assert.equal("", client("GETRANGE", "a", "5", "3"))
    assert.equal("H", client("GETRANGE", "a", "-100", "-50"))
    assert.equal(11, client("SETRANGE", "a", "6", "Redis"))
    assert.equal("Hello Redis", client("GET", "a"))
    assert.equal(100, client("TTL", "a"))
    assert.equal(7, client("SETRANGE", "b", "5", "xy"))
    assert.equal("\0\0\0\0\0xy", client("GET", "b"))
    assert.equal(0, client("SETRANGE", "c", "5", ""))
    assert.equal(0, client("EXISTS", "c"))
    assert.equal("ERR offset is out of range", client:err("SETRANGE", "a", "-1", "x"))
    assert.equal("ERR string exceeds maximum allowed size (proto-max-bulk-len)",
      client:err("SETRANGE", "a", "536870912", "x"))
  end)

  it("counters count, keep their expiry, and never overflow", function()
    assert.equal(1, client("INCR", "n"))
    client("EXPIRE", "n", "100")
    assert.equal(11, client("INCRBY", "n", "10"))
    assert.equal(10, client("DECR", "n"))
    assert.equal(-5, client("DECRBY", "n", "15"))
    assert.equal(100, client("TTL", "n"))
    client("SET", "n", "9223372036854775807")
    assert.equal("ERR increment or decrement would overflow", client:err("INCR", "n"))
    assert.equal("ERR decrement would overflow", client:err("DECRBY", "n", "-9223372036854775808"))
    assert.equal("ERR value is not an integer or out of range", client:err("INCRBY", "n", "1.5"))
    assert.equal("9223372036854775807", client("GET", "n"))
    client("SET", "n", " 1")
    assert.equal("ERR value is not an integer or out of range", client:err("INCR", "n"))
  end)

  it("INCRBYFLOAT counts as Redis's long doubles do", function()
    client("SET", "n", "10.50", "EX", "100")
    assert.equal("10.6", client("INCRBYFLOAT", "n", "0.1"))
    assert.equal("10.6", client("GET", "n"))
    assert.equal(100, client("TTL", "n"))
    assert.equal("ERR value is not a valid float", client:err("INCRBYFLOAT", "n", "abc"))
    assert.equal("ERR increment would produce NaN or Infinity", client:err("INCRBYFLOAT", "n", "inf"))
  end)

  it("refuse keys of other types", function()
    node.db:begin()
    node.db:put(require("lunode.kv.keys").row("list"), nil, "\1x")
    node.db:finish()
    local wrong = "WRONGTYPE Operation against a key holding the wrong kind of value"
    for _, words in ipairs {
      { "GET", "list" }, { "GETSET", "list", "x" }, { "GETDEL", "list" }, { "GETEX", "list" },
      { "SET", "list", "x", "GET" }, { "APPEND", "list", "x" }, { "STRLEN", "list" }, { "INCR", "list" },
      { "GETRANGE", "list", "0", "1" }, { "SETRANGE", "list", "0", "x" }, { "INCRBYFLOAT", "list", "1" },
    } do
      assert.equal(wrong, client:err(table.unpack(words)))
    end
    assert.same({ null }, client("MGET", "list"))
    assert.equal("list", client("TYPE", "list"))
    assert.equal(0, client("SETNX", "list", "x"))
    assert.equal("OK", client("SET", "list", "x"))
    assert.equal("string", client("TYPE", "list"))
  end)
end)
