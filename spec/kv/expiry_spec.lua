local fake_node = require "spec.kv.fake_node"

describe("commands on expiry", function()
  local node, client

  before_each(function()
    node = fake_node.new() -- at 1700000000 seconds
    client = node:client()
    client("SET", "a", "1")
  end)

  after_each(function()
    node:close()
  end)

  it("set it relative and absolute, in seconds and milliseconds", function()
    assert.equal(1, client("EXPIRE", "a", "10"))
    assert.equal(10000, client("PTTL", "a"))
    assert.equal(1, client("PEXPIRE", "a", "1500"))
    assert.equal(1500, client("PTTL", "a"))
    assert.equal(1, client("EXPIREAT", "a", "1700000100"))
    assert.equal(100, client("TTL", "a"))
    assert.equal(1, client("PEXPIREAT", "a", "1700000000250"))
    assert.equal(250, client("PTTL", "a"))
    assert.equal(0, client("EXPIRE", "missing", "10"))
  end)

  it("tell it, rounded to seconds", function()
    assert.same({ -1, -1, -1, -1 },
      { client("TTL", "a"), client("PTTL", "a"), client("EXPIRETIME", "a"), client("PEXPIRETIME", "a") })
    assert.same({ -2, -2, -2, -2 },
      { client("TTL", "x"), client("PTTL", "x"), client("EXPIRETIME", "x"), client("PEXPIRETIME", "x") })
    client("PEXPIREAT", "a", "1700000001499")
    assert.same({ 1, 1499, 1700000001, 1700000001499 },
      { client("TTL", "a"), client("PTTL", "a"), client("EXPIRETIME", "a"), client("PEXPIRETIME", "a") })
    client("PEXPIREAT", "a", "1700000001500")
    assert.same({ 2, 1700000002 }, { client("TTL", "a"), client("EXPIRETIME", "a") })
    client("PEXPIREAT", "a", "9223372036854775807")
    assert.same({ 9223372036854776, math.maxinteger }, { client("EXPIRETIME", "a"), client("PEXPIRETIME", "a") })
  end)

  it("delete keys at once where it has passed", function()
    assert.equal(1, client("EXPIRE", "a", "0"))
    assert.equal(0, client("EXISTS", "a"))
    client("SET", "a", "1")
    assert.equal(1, client("PEXPIREAT", "a", "-9223372036854775808"))
    assert.equal(0, client("DBSIZE"))
  end)

  it("let keys go when it passes", function()
    client("PEXPIRE", "a", "100")
    node:advance(100)
    assert.equal("1", client("GET", "a"))
    node:advance(1)
    assert.equal(0, client("EXISTS", "a"))
    assert.equal(-2, client("TTL", "a"))
    assert.equal(0, client("DBSIZE"))
  end)

  it("obey NX, XX, GT and LT", function()
    local function try(seconds, option, expected, ttl)
      assert.equal(expected, client("EXPIRE", "a", seconds, option))
      assert.equal(ttl, client("TTL", "a"))
    end
    try("10", "XX", 0, -1)
    try("10", "GT", 0, -1) -- no expiry is longer than any
    try("10", "LT", 1, 10)
    try("20", "NX", 0, 10)
    try("20", "xx", 1, 20)
    try("15", "GT", 0, 20)
    try("20", "GT", 0, 20)
    try("30", "GT", 1, 30)
    try("30", "LT", 0, 30)
    try("5", "LT", 1, 5)
    client("PERSIST", "a")
    try("7", "NX", 1, 7)
  end)

  it("refuse what contradicts itself or overflows, in Redis's words", function()
    for _, case in ipairs {
      { "ERR NX and XX, GT or LT options at the same time are not compatible", "10", "NX", "GT" },
      { "ERR NX and XX, GT or LT options at the same time are not compatible", "10", "XX", "NX" },
      { "ERR GT and LT options at the same time are not compatible", "10", "GT", "LT" },
      { "ERR Unsupported option foo", "abc", "foo" },
      { "ERR value is not an integer or out of range", "abc" },
      { "ERR invalid expire time in 'expire' command", "9223372036854775807" },
      { "ERR invalid expire time in 'expire' command", "-9223372036854776" },
      { "ERR invalid expire time in 'expire' command", "9223372036854775" },
    } do
      assert.equal(case[1], client:err("EXPIRE", "a", table.unpack(case, 2)))
    end
    assert.equal("ERR invalid expire time in 'pexpire' command", client:err("PEXPIRE", "a", "9223372036854775807"))
    assert.equal(-1, client("TTL", "a"))
  end)

  it("PERSIST takes it away", function()
    assert.equal(0, client("PERSIST", "a"))
    client("EXPIRE", "a", "10")
    assert.equal(1, client("PERSIST", "a"))
    assert.equal(-1, client("TTL", "a"))
    assert.equal(0, client("PERSIST", "missing"))
    assert.equal(0, node.db.expires)
  end)
end)
