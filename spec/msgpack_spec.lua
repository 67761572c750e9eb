-- lunode.msgpack: values to bytes and back. How tokens are cut and limited is core/msgpack_test.c's.

local cleanup = require "lunode.test.cleanup"
local misuse = require "spec.support.misuse"
local msgpack = require "lunode.msgpack"
local prng = require "spec.support.prng"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"
local wait = require "lunode.test.wait"

local FULL = os.getenv "LUNODE_FULL" == "1"

local function hex(bytes)
  return (bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

local function unhex(digits)
  return (digits:gsub("%s", ""):gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

local function encodes(value, digits)
  assert.equal(digits:gsub(" ", ""), hex(msgpack.encode(value)))
end

--- Decodes, and checks that no shorter prefix is taken for a whole value, and that what follows is left alone.
local function decode(bytes, options)
  for n = 0, #bytes - 1 do
    assert.same({ n = 1 }, table.pack(msgpack.decode(bytes:sub(1, n), 1, options)))
  end
  local value, next_position, code = msgpack.decode("junk" .. bytes .. "\xc1", 5, options)
  assert.equal(5 + #bytes, next_position)
  assert.is_nil(code)
  return value
end

local function decodes(digits, value)
  local got = decode(unhex(digits))
  assert.equal(math.type(value) or type(value), math.type(got) or type(got))
  assert.same(value, got)
end

--- Both ways.
local function stands_for(value, digits)
  encodes(value, digits)
  decodes(digits, value)
end

local function refused(words, bytes, options)
  local value, message, code = msgpack.decode(bytes, 1, options)
  assert.is_nil(value)
  assert.equal(words, message)
  assert.equal("EPROTO", code)
end

local function nested(depth, innermost)
  local value = innermost
  for _ = 1, depth do
    value = { value }
  end
  return value
end

describe("msgpack", function()
  it("has integers in the shortest format, to the ends of their range", function()
    for value, digits in pairs {
      [0] = "00", [127] = "7f", [128] = "cc80", [255] = "ccff", [256] = "cd0100", [65535] = "cdffff",
      [65536] = "ce00010000", [4294967295] = "ceffffffff", [4294967296] = "cf0000000100000000",
      [math.maxinteger] = "cf7fffffffffffffff", [-1] = "ff", [-32] = "e0", [-33] = "d0df", [-128] = "d080",
      [-129] = "d1ff7f", [-32768] = "d18000", [-32769] = "d2ffff7fff", [-2147483648] = "d280000000",
      [-2147483649] = "d3ffffffff7fffffff", [-4294967297] = "d3fffffffeffffffff",
      [math.mininteger] = "d38000000000000000",
    } do
      stands_for(value, digits)
    end
  end)

  it("reads integers in every format, those that Lua has not as the nearest float", function()
    decodes("cc05", 5)
    decodes("cd0005", 5)
    decodes("ce00000005", 5)
    decodes("cf0000000000000005", 5)
    decodes("d0ff", -1)
    decodes("d1ffff", -1)
    decodes("d2ffffffff", -1)
    decodes("d3ffffffffffffffff", -1)
    decodes("d30000000000000005", 5)
    decodes("cf8000000000000000", 2.0 ^ 63)
    decodes("cfffffffffffffffff", 2.0 ^ 64)
  end)

  it("has floats in 32 bits where nothing gets lost, and keeps them floats", function()
    stands_for(1.5, "ca3fc00000")
    stands_for(1.0, "ca3f800000")
    stands_for(0.1, "cb3fb999999999999a")
    stands_for(1e300, "cb7e37e43c8800759c")
    stands_for(math.huge, "ca7f800000")
    stands_for(-math.huge, "caff800000")
    decodes("cb3ff8000000000000", 1.5)
    encodes(-0.0, "ca80000000")
    assert.equal(-math.huge, 1 / decode(unhex "ca80000000"))
    for _, nan in ipairs { 0 / 0, -(0 / 0) } do
      encodes(nan, "cb7ff8000000000000")
    end
    local nan = decode(unhex "cafff00001")
    assert.is_true(nan ~= nan)
  end)

  it("has nil as null, and booleans", function()
    encodes(nil, "c0")
    stands_for(msgpack.null, "c0")
    assert.equal("null", tostring(msgpack.null))
    stands_for(true, "c3")
    stands_for(false, "c2")
  end)

  it("has strings as str, whatever their bytes, in the shortest format", function()
    stands_for("", "a0")
    stands_for("a\0\xff", "a36100ff")
    for length, header in pairs { [31] = "bf", [32] = "d920", [255] = "d9ff", [256] = "da0100",
      [65536] = "db00010000" } do
      local text = ("x"):rep(length)
      assert.equal(header, hex(msgpack.encode(text):sub(1, -length - 1)))
      assert.equal(text, (msgpack.decode(msgpack.encode(text))))
    end
    decodes("d90161", "a")
    decodes("da000161", "a")
    decodes("db0000000161", "a")
  end)

  it("has bin where it is asked for, and reads it as a string unless told otherwise", function()
    encodes(msgpack.bin "abc", "c403616263")
    decodes("c403616263", "abc")
    decodes("c50003616263", "abc")
    decodes("c600000003616263", "abc")
    local bin = decode(unhex "c403616263", { bin = true })
    assert.equal("userdata", type(bin))
    assert.equal("abc", bin.data)
    assert.equal("abc", tostring(bin))
    assert.is_nil(bin.type)
    assert.is_true(bin == msgpack.bin "abc")
    assert.is_false(bin == msgpack.bin "abd")
    encodes(bin, "c403616263")
    assert.equal("str", (decode(unhex "a3737472", { bin = true })))
  end)

  it("has extension types, those below 0 too", function()
    for digits, given in pairs {
      ["d405aa"] = { 5, "aa" }, ["d505aabb"] = { 5, "aabb" }, ["d6ff00000001"] = { -1, "00000001" },
      ["d7ff0000000000000001"] = { -1, "0000000000000001" }, ["d880" .. ("01"):rep(16)] = { -128, ("01"):rep(16) },
      ["c7007f"] = { 127, "" }, ["c70305aabbcc"] = { 5, "aabbcc" },
      ["c8010005" .. ("00"):rep(256)] = { 5, ("00"):rep(256) },
    } do
      local ext = msgpack.ext(given[1], unhex(given[2]))
      encodes(ext, digits)
      local got = decode(unhex(digits))
      assert.is_true(got == ext)
      assert.same({ given[1], unhex(given[2]) }, { got.type, got.data })
    end
    assert.equal(5, decode(unhex "c90000000105aa").type)
    assert.is_false(msgpack.ext(5, "a") == msgpack.ext(6, "a"))
    assert.is_false(msgpack.ext(0, "a") == msgpack.bin "a")
    assert.equal("ext -1 (4 bytes)", tostring(msgpack.ext(-1, "abcd")))
  end)

  it("takes a table for an array whose keys are 1 to n, and any other for a map", function()
    stands_for({}, "90")
    stands_for({ 1, "a", { true } }, "9301a16191c3")
    stands_for({ msgpack.null, 2 }, "92c002")
    stands_for({ a = 1 }, "81a16101")
    encodes({ 1, nil, 3 }, "82 01 01 03 03")
    encodes({ 1, a = 2 }, "82 01 01 a16102")
    encodes({ [2] = 1 }, "81 02 01")
    encodes({ [0] = 1, 2 }, "82 00 01 01 02")
    local grown = {}
    for i = 40, 1, -1 do -- these do not lie in a table's array part
      grown[i] = i
    end
    assert.equal("dc0028", hex(msgpack.encode(grown):sub(1, 3)))
    assert.same(grown, decode(msgpack.encode(grown)))
    decodes("dc000101", { 1 })
    decodes("dd0000000101", { 1 })
    decodes("de000101 02", { 2 })
    decodes("df00000001 01 02", { 2 })
  end)

  it("has tags that say which", function()
    encodes(msgpack.map {}, "80")
    encodes(msgpack.map { "a" }, "81 01 a161")
    encodes(msgpack.array {}, "90")
    encodes(msgpack.array { 1, nil, 3, n = 4 }, "94 01 c0 03 c0")
    encodes(msgpack.array(table.pack(nil, nil)), "92 c0 c0")
    encodes(msgpack.array { 1, x = 2 }, "91 01")
    local table = {}
    assert.equal(table, msgpack.map(table))
  end)

  it("reads a map that would be taken for an array so that it stays one", function()
    for _, digits in ipairs { "80", "810102", "8201020203", "81a161 80" } do
      encodes(decode(unhex(digits)), digits)
    end
  end)

  it("keeps maps in the order of their keys' bytes, whatever the order of pairs", function()
    encodes({ b = 1, a = 2, aa = 3, [1] = 4, [-1] = 5, [200] = 6, [1.5] = 7, [true] = 8, [msgpack.bin "a"] = 9 },
      "89 0104 a16102 a16201 a2616103 c308 c4016109 ca3fc0000007 ccc806 ff05")
    local count = FULL and 200 or 40
    for n = 1, count do
      local keys, one, other = {}, {}, {}
      for i = 1, n do
        keys[i] = ("key %d"):format(i * 7919 % 1000)
        one[keys[i]] = { [keys[i]] = i, x = i }
      end
      for i = n, 1, -1 do
        other[keys[i]] = { x = i, [keys[i]] = i }
      end
      assert.equal(msgpack.encode(one), msgpack.encode(other))
      assert.same(one, decode(msgpack.encode(one):sub(1)))
    end
  end)

  it("reads keys of every type; of equal ones the last counts", function()
    local map = decode(unhex "85 c0 01 c2 02 ca3fc00000 03 d405aa 04 90 05")
    assert.equal(1, map[msgpack.null])
    assert.equal(2, map[false])
    assert.equal(3, map[1.5])
    assert.same({ a = 2 }, decode(unhex "82 a161 01 a161 02"))
    assert.same({ 2 }, decode(unhex "82 01 01 ca3f800000 02"))
    refused("a map key that is not a number (NaN)", unhex "81 cb7ff8000000000000 01")
  end)

  it("nests 32 deep", function()
    local bytes = ("\x91"):rep(31) .. "\x90"
    assert.equal(bytes, msgpack.encode(nested(31, {})))
    assert.same(nested(31, {}), decode(bytes))
    local words = "cannot encode a table nested more than 32 deep, or inside of itself"
    misuse(words, function() msgpack.encode(nested(32, {})) end)
    refused("nested more than 32 deep", "\x91" .. bytes)
    local maps = {}
    for _ = 1, 31 do
      maps = { k = maps }
    end
    assert.same(maps, decode(msgpack.encode(maps)))
  end)

  it("refuses what has no encoding, and says so", function()
    local itself = {}
    itself[1] = itself
    misuse("cannot encode a table nested more than 32 deep, or inside of itself", function() msgpack.encode(itself) end)
    misuse("cannot encode a function", function() msgpack.encode { a = { print } } end)
    misuse("cannot encode a thread", function() msgpack.encode(coroutine.create(print)) end)
    misuse("cannot encode a userdata", function() msgpack.encode { [io.stdout] = 1 } end)
    misuse("value expected", function() msgpack.encode() end)
    misuse("a type is from -128 to 127", function() msgpack.ext(128, "") end)
    misuse("string expected", function() msgpack.ext(1, 5) end)
    misuse("string expected", function() msgpack.bin(5) end)
    misuse("table expected", function() msgpack.map "a" end)
    misuse("lunode.conn expected", function() msgpack.write("no connection", 1) end)
    misuse("out of range", function() msgpack.decode("", 2) end)
    misuse("unknown option 'bim'", function() msgpack.decode("", 1, { bim = true }) end)
    misuse("option 'bin' must be true or false", function() msgpack.decode("", 1, { bin = 1 }) end)
    assert.equal("\1", msgpack.encode(1)) -- nothing stays behind
  end)

  it("does not ask metatables", function()
    local proxy = setmetatable({ 1 }, { __index = error, __len = error, __pairs = error })
    encodes(proxy, "91 01")
  end)

  it("refuses malformed bytes, and announced lengths past its limits, before anything of them is there", function()
    refused("0xc1 begins no value", "\xc1")
    refused("0xc1 begins no value", "\x92\x01\xc1")
    refused("message longer than 67108864 bytes", "\xdb\xff\xff\xff\xff")
    refused("more than 1048576 values in one message", "\xdd\xff\xff\xff\xff")
    refused("message longer than 10 bytes", "\xaa", { max_message = 10 })
    refused("more than 3 values in one message", "\x93", { max_values = 3 })
    assert.same({ n = 1 }, table.pack(msgpack.decode("\xdb\x03\xff\xff\x00")))
  end)

  local function random_value(chance, depth)
    local kind = chance:int(1, depth > 0 and 10 or 7)
    if kind <= 2 then
      local size = chance:int(0, math.maxinteger - 1) >> chance:int(0, 62)
      return chance:odds(0.5) and size or ~size
    elseif kind == 3 then
      return chance:int(-1000000, 1000000) / 64
    elseif kind == 4 then
      return chance:odds(0.5)
    elseif kind <= 6 then
      return ("s"):rep(chance:int(0, 40)) .. chance:int(0, 9)
    elseif kind == 7 then
      return msgpack.ext(chance:int(-128, 127), ("e"):rep(chance:int(0, 20)))
    end
    local value = {}
    for i = 1, chance:int(0, 20) do
      value[kind == 8 and i or ("k" .. chance:int(0, 50))] = random_value(chance, depth - 1)
    end
    return value
  end

  it("gives back what it was given, and the same bytes for that", function()
    local chance = prng.new(11)
    for _ = 1, FULL and 5000 or 300 do
      local value = random_value(chance, 4)
      local bytes = msgpack.encode(value)
      local back, next_position = msgpack.decode(bytes)
      assert.equal(#bytes + 1, next_position)
      assert.same(value, back)
      assert.equal(bytes, msgpack.encode(back))
    end
  end)

  it("survives any change of its bytes: a value, nothing yet, or what is wrong", function()
    local chance = prng.new(12)
    local values, waiting, wrong = 0, 0, 0
    for _ = 1, FULL and 50000 or 3000 do
      local bytes = msgpack.encode(random_value(chance, 3))
      local at = chance:int(1, #bytes)
      bytes = bytes:sub(1, at - 1) .. string.char(chance:int(0, 255)) .. bytes:sub(at + 1)
      local value, second, code = msgpack.decode(bytes)
      if value ~= nil then
        values = values + 1
        assert.is_true(second > 1 and second <= #bytes + 1)
        msgpack.encode(value)
      elseif second == nil then
        waiting = waiting + 1
      else
        wrong = wrong + 1
        assert.equal("EPROTO", code)
      end
    end
    assert.is_true(values > 100 and waiting > 100 and wrong > 5)
  end)
end)

describe("msgpack.write", function()
  it("encodes straight into the queue of a connection, as write does with the bytes", function()
    local got = ""
    local server = assert(tcp_server.listen("127.0.0.1", 0, {
      on_connect = function(conn)
        assert.is_true(msgpack.write(conn, { 1, "two" }))
        assert.has_error(function()
          msgpack.write(conn, { 1, { print } })
        end, "cannot encode a function")
        assert.is_true(msgpack.write(conn, { a = msgpack.null }))
        conn:shutdown()
        assert.same({ nil, "Broken pipe", "EPIPE", n = 3 }, table.pack(msgpack.write(conn, 1)))
      end,
    }))
    local _, port = server:sock()
    local closed = false
    local conn = tcp_client.connect("127.0.0.1", port, {
      on_read = function(_, data)
        got = got .. data
      end,
      on_close = function()
        closed = true
      end,
    })
    cleanup.add(function()
      conn:abort()
      server:close()
    end)
    wait.till(function()
      return closed
    end)
    assert.equal("9201a374776f81a161c0", hex(got))
    assert.same({ nil, "Transport endpoint is not connected", "ENOTCONN", n = 3 }, table.pack(msgpack.write(conn, 1)))
  end)

  it("calls the write method of a connection that is not of ours", function()
    local written
    local foreign = {
      write = function(self, data)
        written = { self, data }
        return nil, "full", "ENOBUFS"
      end,
    }
    assert.same({ nil, "full", "ENOBUFS", n = 3 }, table.pack(msgpack.write(foreign, { 1 })))
    assert.same({ foreign, "\x91\x01" }, written)
  end)
end)
