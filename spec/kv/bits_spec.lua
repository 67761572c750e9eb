local fake_node = require "spec.kv.fake_node"
local resp = require "lunode.resp"

local null = resp.null

describe("commands on bits", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("SETBIT and GETBIT grow strings and keep their expiry", function()
    assert.equal(0, client("SETBIT", "a", "7", "1"))
    assert.equal("\1", client("GET", "a"))
    client("EXPIRE", "a", "100")
    assert.equal(1, client("SETBIT", "a", "7", "0"))
    assert.equal(0, client("SETBIT", "a", "23", "1"))
    assert.equal("\0\0\1", client("GET", "a"))
    assert.equal(100, client("TTL", "a"))
    assert.equal(1, client("GETBIT", "a", "23"))
    assert.equal(0, client("GETBIT", "a", "4294967295"))
    assert.equal(0, client("GETBIT", "none", "0"))
  end)

  it("refuse offsets past 512 MiB, and what is no bit", function()
    local bad_offset = "ERR bit offset is not an integer or out of range"
    for _, offset in ipairs { "-1", "4294967296", "x", "#1", "9223372036854775807" } do
      assert.equal(bad_offset, client:err("SETBIT", "a", offset, "1"))
      assert.equal(bad_offset, client:err("GETBIT", "a", offset))
    end
    assert.equal(bad_offset, client:err("BITFIELD", "a", "GET", "u8", "4294967296"))
    assert.equal(bad_offset, client:err("BITFIELD", "a", "GET", "u8", "#536870912"))
    for _, bit in ipairs { "2", "-1", "x", "01" } do
      assert.equal("ERR bit is not an integer or out of range", client:err("SETBIT", "a", "0", bit))
    end
    assert.equal("ERR The bit argument must be 1 or 0.", client:err("BITPOS", "a", "2"))
    assert.equal("ERR value is not an integer or out of range", client:err("BITPOS", "a", "x"))
    assert.equal(0, client("EXISTS", "a"))
  end)

  it("BITCOUNT counts in bytes or bits, from either end", function()
    client("SET", "a", "foobar")
    assert.equal(26, client("BITCOUNT", "a"))
    assert.equal(4, client("BITCOUNT", "a", "0", "0"))
    assert.equal(6, client("BITCOUNT", "a", "1", "1", "BYTE"))
    assert.equal(17, client("BITCOUNT", "a", "5", "30", "bit"))
    assert.equal(7, client("BITCOUNT", "a", "-2", "-1"))
    assert.equal(0, client("BITCOUNT", "a", "7", "20"))
    assert.equal(0, client("BITCOUNT", "a", "-1", "-2"))
    assert.equal(0, client("BITCOUNT", "none", "x"))
    assert.equal("ERR syntax error", client:err("BITCOUNT", "a", "0"))
    assert.equal("ERR syntax error", client:err("BITCOUNT", "a", "0", "1", "WORD"))
  end)

  it("BITPOS sees zeros behind a string, unless the range has an end", function()
    client("SET", "ones", "\xFF\xFF")
    assert.equal(16, client("BITPOS", "ones", "0"))
    assert.equal(16, client("BITPOS", "ones", "0", "1"))
    assert.equal(-1, client("BITPOS", "ones", "0", "0", "-1"))
    assert.equal(-1, client("BITPOS", "ones", "0", "2"))
    assert.equal(8, client("BITPOS", "ones", "1", "1"))
    assert.equal(3, client("BITPOS", "ones", "1", "3", "4", "BIT"))
    assert.equal(0, client("BITPOS", "none", "0"))
    assert.equal(-1, client("BITPOS", "none", "1"))
  end)

  it("BITOP combines strings of any lengths, and leaves no empty one", function()
    client("MSET", "a", "\xF0\x0F", "b", "\x3C")
    client("EXPIRE", "a", "100")
    assert.equal(2, client("BITOP", "AND", "a", "a", "b"))
    assert.equal("\x30\0", client("GET", "a"))
    assert.equal(-1, client("TTL", "a"))
    assert.equal(2, client("BITOP", "or", "c", "a", "b", "none"))
    assert.equal("\x3C\0", client("GET", "c"))
    assert.equal(2, client("BITOP", "XOR", "c", "a", "b"))
    assert.equal("\x0C\0", client("GET", "c"))
    assert.equal(1, client("BITOP", "NOT", "c", "b"))
    assert.equal("\xC3", client("GET", "c"))
    assert.equal(0, client("BITOP", "AND", "c", "none", "nothing"))
    assert.equal(0, client("EXISTS", "c"))
    assert.equal("ERR BITOP NOT must be called with a single source key.", client:err("BITOP", "NOT", "c", "a", "b"))
    assert.equal("ERR syntax error", client:err("BITOP", "NAND", "c", "a", "b"))
  end)

  it("refuse keys of other types", function()
    node.db:begin()
    node.db:put(require("lunode.kv.keys").row("list"), nil, "\1x")
    node.db:finish()
    local wrong = "WRONGTYPE Operation against a key holding the wrong kind of value"
    for _, words in ipairs {
      { "SETBIT", "list", "0", "1" }, { "GETBIT", "list", "0" }, { "BITCOUNT", "list" }, { "BITPOS", "list", "1" },
      { "BITOP", "AND", "x", "none", "list" }, { "BITFIELD", "list", "SET", "u8", "0", "1" },
      { "BITFIELD", "list", "GET", "u8", "0" }, { "BITFIELD_RO", "list", "GET", "u8", "0" },
      { "SUBSTR", "list", "0", "1" },
    } do
      assert.equal(wrong, client:err(table.unpack(words)))
    end
    assert.equal("ERR The specified keys must contain string values", client:err("LCS", "none", "list"))
  end)
end)

describe("BITFIELD", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("reads and writes integers of any width at any bit", function()
    assert.same({ 0, 5 }, client("BITFIELD", "a", "SET", "u4", "6", "5", "GET", "u4", "6"))
    assert.equal("\1\x40", client("GET", "a"))
    assert.same({ 0, -1 }, client("BITFIELD", "b", "SET", "i64", "3", "-1", "GET", "i64", "3"))
    assert.equal("\x1F" .. ("\xFF"):rep(7) .. "\xE0", client("GET", "b"))
    assert.same({ math.maxinteger }, client("BITFIELD_RO", "b", "GET", "u63", "4"))
    assert.same({ 31, 255 }, client("BITFIELD_RO", "b", "GET", "u8", "#0", "GET", "u8", "#1"))
    assert.same({ 0 }, client("BITFIELD_RO", "none", "GET", "i8", "100"))
    assert.same({}, client("BITFIELD", "none"))
    assert.equal(0, client("EXISTS", "none"))
  end)

  it("wraps, saturates or fails where a number does not fit", function()
    assert.same({ 0, 1 }, client("BITFIELD", "a", "SET", "u8", "0", "257", "GET", "u8", "0"))
    assert.same({ 255, 0 },
      client("BITFIELD", "a", "OVERFLOW", "SAT", "INCRBY", "u8", "0", "500", "INCRBY", "u8", "0", "-500"))
    assert.same({ 0, 127, -128 },
      client("BITFIELD", "a", "SET", "i8", "0", "127", "GET", "i8", "0", "INCRBY", "i8", "0", "1"))
    assert.same({ null, -128 },
      client("BITFIELD", "a", "OVERFLOW", "fail", "INCRBY", "i8", "0", "-1", "GET", "i8", "0"))
    assert.same({ 0, math.mininteger },
      client("BITFIELD", "b", "SET", "i64", "0", "9223372036854775807", "INCRBY", "i64", "0", "1"))
  end)

  it("grows a string by what may be written, also where nothing is", function()
    assert.same({ null }, client("BITFIELD", "a", "OVERFLOW", "FAIL", "SET", "u4", "12", "100"))
    assert.equal("\0\0", client("GET", "a"))
  end)

  it("does all of it or nothing", function()
    assert.equal("ERR syntax error", client:err("BITFIELD", "a", "SET", "u8", "0", "1", "FOO"))
    assert.equal("ERR Invalid OVERFLOW type specified", client:err("BITFIELD", "a", "OVERFLOW", "FOO"))
    assert.matches("^ERR Invalid bitfield type", client:err("BITFIELD", "a", "SET", "u8", "0", "1", "GET", "u64", "0"))
    assert.equal("ERR BITFIELD_RO only supports the GET subcommand",
      client:err("BITFIELD_RO", "a", "SET", "u8", "0", "1"))
    assert.equal(0, client("EXISTS", "a"))
  end)
end)

describe("LCS", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
    client("MSET", "a", "ohmytext", "b", "mynewtext")
  end)

  after_each(function()
    node:close()
  end)

  it("gives the subsequence, its length, or where it lies", function()
    assert.equal("mytext", client("LCS", "a", "b"))
    assert.equal(6, client("LCS", "a", "b", "LEN"))
    assert.equal("", client("LCS", "a", "none"))
    local both = { { { 4, 7 }, { 5, 8 } }, { { 2, 3 }, { 0, 1 } } }
    assert.same({ "matches", both, "len", 6 }, client("LCS", "a", "b", "IDX"))
    assert.same({ "matches", { { { 4, 7 }, { 5, 8 }, 4 } }, "len", 6 },
      client("LCS", "a", "b", "IDX", "MINMATCHLEN", "4", "WITHMATCHLEN"))
  end)

  it("refuses what it cannot do", function()
    assert.matches("^ERR If you want both", client:err("LCS", "a", "b", "IDX", "LEN"))
    assert.equal("ERR syntax error", client:err("LCS", "a", "b", "MINMATCHLEN"))
    client("SETRANGE", "long", "20000", "x")
    assert.equal("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
      client:err("LCS", "long", "long"))
  end)
end)
