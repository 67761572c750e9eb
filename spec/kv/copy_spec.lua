-- COPY, SORT, OBJECT, DUMP and RESTORE, of values of all types.

local command = require "lunode.kv.command"
local fake_node = require "spec.kv.fake_node"
local keys = require "lunode.kv.keys"
local prng = require "spec.support.prng"
local resp = require "lunode.resp"

local null = resp.null

-- One key of each type, and how to read all of it.
local VALUES = {
  string = { { "SET", "string", "some\0text" }, { "GET", "string" } },
  list = { { "RPUSH", "list", "a", "b", "", "a" }, { "LRANGE", "list", "0", "-1" } },
  set = { { "SADD", "set", "a", "b", "" }, { "SMEMBERS", "set" } },
  hash = { { "HSET", "hash", "a", "1", "", "2" }, { "HGETALL", "hash" } },
  zset = { { "ZADD", "zset", "-inf", "a", "1.5", "b", "1.5", "" }, { "ZRANGE", "zset", "0", "-1", "WITHSCORES" } },
}
local TYPES = { "string", "list", "set", "hash", "zset" }

describe("values as wholes", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
    for _, type in ipairs(TYPES) do
      client(table.unpack(VALUES[type][1]))
    end
  end)

  after_each(function()
    node:close()
  end)

  -- What the key of a type holds, or another key of that type.
  local function read(type, key)
    local words = table.move(VALUES[type][2], 1, #VALUES[type][2], 1, {})
    words[2] = key or words[2]
    return client(table.unpack(words))
  end

  -- Many elements, some of them long, so that a sorted set has counted nodes, and rows come in several pieces.
  local function fill(type, key, count)
    local chance = prng.new(7)
    for i = 1, count do
      local element = i % 100 == 0 and ("x"):rep(i) or "e" .. i
      if type == "list" then
        client("RPUSH", key, element)
      elseif type == "set" then
        client("SADD", key, element)
      elseif type == "hash" then
        client("HSET", key, element, tostring(i))
      elseif type == "zset" then
        client("ZADD", key, tostring(chance:int(-50, 50)), element)
      end
    end
  end

  for _, type in ipairs(TYPES) do
    it(("COPY makes a %s that is one's own"):format(type), function()
      fill(type, type, 2500)
      local before = read(type)
      client("EXPIRE", type, "100")
      assert.equal(1, client("COPY", type, "{x}other"))
      assert.same(before, read(type, "{x}other"))
      assert.equal(100, client("TTL", "{x}other"))
      assert.equal(type, client("TYPE", "{x}other"))
      client("DEL", type)
      assert.same(before, read(type, "{x}other"))
      assert.equal(1, client("COPY", "{x}other", "string", "REPLACE") + client("DEL", "{x}other") - 1)
      assert.same(before, read(type, "string"))
      client("DEL", table.unpack(TYPES))
      assert.equal(0, node.db.store:count("", keys.SLOTS_END))
      assert.equal(0, client("DBSIZE"))
    end)

    it(("DUMP and RESTORE keep a %s"):format(type), function()
      fill(type, type, 300)
      local before, dump = read(type), client("DUMP", type)
      assert.equal("OK", client("RESTORE", "copy", "0", dump))
      assert.same(before, read(type, "copy"))
      assert.equal(-1, client("TTL", "copy"))
      assert.equal("BUSYKEY Target key name already exists.", client:err("RESTORE", "copy", "0", dump))
      assert.equal("OK", client("RESTORE", "copy", "5000", dump, "REPLACE", "IDLETIME", "3"))
      assert.equal(5000, client("PTTL", "copy"))
      assert.equal("OK", client("RESTORE", "copy", "1700000009000", dump, "REPLACE", "ABSTTL"))
      assert.equal(9000, client("PTTL", "copy"))
      assert.same(before, read(type, "copy"))
      assert.equal("OK", client("RESTORE", "string", "0", dump, "REPLACE"))
      assert.same(before, read(type, "string"))
      assert.equal("OK", client("RESTORE", "copy", "1", dump, "REPLACE", "ABSTTL"))
      assert.equal(0, client("EXISTS", "copy"))
    end)
  end

  it("COPY refuses what Redis refuses", function()
    assert.equal(0, client("COPY", "none", "x"))
    assert.equal(0, client("COPY", "list", "set"))
    assert.equal("ERR source and destination objects are the same", client:err("COPY", "list", "list"))
    assert.equal("ERR DB index is out of range", client:err("COPY", "list", "x", "DB", "1"))
    assert.equal(1, client("COPY", "list", "x", "db", "0", "replace"))
    assert.equal("ERR syntax error", client:err("COPY", "list", "x", "DB"))
    assert.equal("ERR source and destination objects are the same", client:err("MOVE", "list", "0"))
    assert.equal("ERR DB index is out of range", client:err("MOVE", "list", "1"))
    assert.equal("OK", client("SWAPDB", "0", "0"))
    assert.equal("ERR DB index is out of range", client:err("SWAPDB", "0", "1"))
    assert.equal("ERR invalid first DB index", client:err("SWAPDB", "x", "1"))
  end)

  it("RESTORE refuses every dump that is damaged, and changes nothing", function()
    local bad = "ERR DUMP payload version or checksum are wrong"
    for _, type in ipairs(TYPES) do
      local dump = client("DUMP", type)
      for i = 1, #dump do
        local flipped = dump:sub(1, i - 1) .. string.char(dump:byte(i) ~ 1) .. dump:sub(i + 1)
        assert.equal(bad, client:err("RESTORE", "copy", "0", flipped))
        assert.equal(bad, client:err("RESTORE", "copy", "0", dump:sub(1, i - 1)))
      end
    end
    assert.equal(0, client("EXISTS", "copy"))
  end)

  -- A dump as somebody would forge it.
  local function forged(type, ...)
    local hash = require "lunode.hash"
    local body = string.pack(">c4BB", "LUNO", 1, type)
    for _, element in ipairs { ... } do
      body = body .. string.pack(">s4", element)
    end
    return body .. string.pack(">i8", hash.of(0x4C554E4F, body))
  end

  it("RESTORE refuses forged dumps that are no values", function()
    local one, nan = string.pack(">i8", 0x3FF0000000000000 ~ math.mininteger), ("\xff"):rep(8)
    for _, dump in ipairs {
      forged(keys.LIST), forged(keys.SET), forged(keys.SET, "a", "a"), forged(keys.HASH, "a"),
      forged(keys.HASH, "a", "1", "a", "2"), forged(keys.ZSET, "a"), forged(keys.ZSET, "a", "1"),
      forged(keys.ZSET, "a", nan), forged(keys.ZSET, "a", one, "a", one), forged(5, "a"), forged(15, "a"),
      forged(keys.ZSET, "a", one, "b"),
    } do
      assert.equal("ERR Bad data format", client:err("RESTORE", "list", "0", dump, "REPLACE"))
    end
    assert.same({ "a", "b", "", "a" }, read "list")
    assert.equal("OK", client("RESTORE", "copy", "0", forged(keys.ZSET, "a", one)))
    assert.same({ "a", "1" }, read("zset", "copy"))
  end)

  it("RESTORE checks its options as Redis does", function()
    local dump = client("DUMP", "list")
    assert.equal("ERR Invalid TTL value, must be >= 0", client:err("RESTORE", "x", "-1", dump))
    assert.equal("ERR Invalid IDLETIME value, must be >= 0", client:err("RESTORE", "x", "0", dump, "IDLETIME", "-1"))
    assert.equal("ERR Invalid FREQ value, must be >= 0 and <= 255",
      client:err("RESTORE", "x", "0", dump, "FREQ", "256"))
    assert.equal("ERR syntax error", client:err("RESTORE", "x", "0", dump, "FREQ", "1", "IDLETIME", "1"))
    assert.equal(null, client("DUMP", "none"))
  end)

  it("OBJECT tells the encodings that Redis would choose", function()
    local function encoding(...)
      client(...)
      return client("OBJECT", "ENCODING", (select(2, ...)))
    end
    assert.equal("int", encoding("SET", "s", "-123"))
    assert.equal("embstr", encoding("SET", "s", ("x"):rep(44)))
    assert.equal("raw", encoding("SET", "s", ("x"):rep(45)))
    assert.equal("quicklist", encoding("RPUSH", "l", "1"))
    assert.equal("intset", encoding("SADD", "i", "1", "-2"))
    assert.equal("hashtable", encoding("SADD", "i", "x"))
    assert.equal("listpack", encoding("HSET", "h", "f", ("x"):rep(64)))
    assert.equal("hashtable", encoding("HSET", "h", "f", ("x"):rep(65)))
    assert.equal("listpack", encoding("ZADD", "z", "1", ("x"):rep(64)))
    assert.equal("skiplist", encoding("ZADD", "z", "1", ("x"):rep(65)))
    fill("hash", "many", 129)
    assert.equal("hashtable", client("OBJECT", "ENCODING", "many"))
    assert.equal(null, client("OBJECT", "ENCODING", "none"))
    assert.equal(1, client("OBJECT", "REFCOUNT", "list"))
    assert.equal(0, client("OBJECT", "IDLETIME", "list"))
    assert.matches("^ERR An LFU maxmemory policy", client:err("OBJECT", "FREQ", "list"))
    assert.matches("^OBJECT <subcommand>", client("OBJECT", "HELP")[1].ok)
  end)
end)

describe("SORT", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
    client("RPUSH", "list", "3", "1", "10", "2")
  end)

  after_each(function()
    node:close()
  end)

  it("sorts numbers, or bytes with ALPHA, from either end", function()
    assert.same({ "1", "2", "3", "10" }, client("SORT", "list"))
    assert.same({ "10", "3", "2", "1" }, client("SORT", "list", "desc"))
    assert.same({ "1", "10", "2", "3" }, client("SORT_RO", "list", "ALPHA"))
    assert.same({ "2", "3" }, client("SORT", "list", "LIMIT", "1", "2"))
    assert.same({}, client("SORT", "list", "LIMIT", "10", "2"))
    assert.same({}, client("SORT", "none"))
    client("SADD", "set", "b", "a")
    assert.same({ "a", "b" }, client("SORT", "set", "ALPHA"))
    assert.equal("ERR One or more scores can't be converted into double", client:err("SORT", "set"))
    client("ZADD", "zset", "1", "9", "2", "8")
    assert.same({ "8", "9" }, client("SORT", "zset"))
    assert.same({ "9", "8" }, client("SORT", "zset", "BY", "nosort"))
    assert.same({ "8", "9" }, client("SORT", "zset", "BY", "nosort", "DESC"))
  end)

  it("looks its weights and its results up in other keys", function()
    client("MSET", "w1", "5", "w2", "4", "w3", "3", "x1", "one", "x3", "three")
    client("HSET", "h2", "f", "two")
    assert.same({ "10", "3", "2", "1" }, client("SORT", "list", "BY", "w*"))
    assert.same({ "one", "1", null, null, "2", "two", "three", "3", null },
      client("SORT", "list", "LIMIT", "0", "3", "GET", "x*", "GET", "#", "GET", "h*->f"))
    assert.same({ "3", "1", "10", "2" }, client("SORT", "list", "BY", "nosort"))
  end)

  it("stores what it has found, in place of whatever was there", function()
    client("MSET", "x1", "one", "other", "text")
    assert.equal(4, client("SORT", "list", "STORE", "other"))
    assert.same({ "1", "2", "3", "10" }, client("LRANGE", "other", "0", "-1"))
    assert.equal(4, client("SORT", "list", "STORE", "list", "GET", "x*"))
    assert.same({ "one", "", "", "" }, client("LRANGE", "list", "0", "-1"))
    assert.equal(0, client("SORT", "none", "STORE", "other"))
    assert.equal(0, client("EXISTS", "other"))
    assert.equal("ERR syntax error", client:err("SORT_RO", "list", "STORE", "x"))
    assert.same({ "a", "d" },
      client("COMMAND", "GETKEYS", "SORT", "a", "BY", "x", "STORE", "b", "GET", "c", "STORE", "d"))
    assert.is_table(command.find "SORT")
  end)

  it("refuses values of other types", function()
    client("SET", "text", "x")
    assert.matches("^WRONGTYPE", client:err("SORT", "text"))
    client("HSET", "hash", "a", "b")
    assert.matches("^WRONGTYPE", client:err("SORT_RO", "hash"))
    assert.equal("ERR value is not an integer or out of range", client:err("SORT", "text", "LIMIT", "x", "1"))
  end)
end)
