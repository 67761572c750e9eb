-- Slots and rows of users' keys; the expected slots are CLUSTER KEYSLOT's answers of Redis 7.0.

local slot = require "lunode.slot"

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

describe("slot.of", function()
  it("gives the slots of Redis Cluster", function()
    assert.equal(12739, slot.of("123456789"))
    assert.equal(12182, slot.of("foo"))
    assert.equal(5061, slot.of("bar"))
    assert.equal(7915, slot.of("\xff\0\x80"))
    assert.equal(0, slot.of(""))
  end)

  it("looks only at the hash tag where there is one", function()
    assert.equal(slot.of("user1000"), slot.of("{user1000}.following"))
    assert.equal(slot.of("user1000"), slot.of("{user1000}.followers"))
    assert.equal(slot.of("bar"), slot.of("foo{bar}{zap}"))
    assert.equal(slot.of("{bar"), slot.of("foo{{bar}}zap"))
  end)

  it("takes an empty or open tag for none", function()
    assert.equal(8363, slot.of("foo{}{bar}"))
    assert.equal(15278, slot.of("foo{bar"))
    assert.equal(4092, slot.of("{"))
    assert.not_equal(slot.of("{}a"), slot.of("{}b"))
  end)

  it("refuses what is no string", function()
    assert.error_matches(function() slot.of() end, "string expected")
    assert.error_matches(function() slot.of({}) end, "string expected")
  end)
end)

describe("slot.row", function()
  it("puts slot, kind and hash in front of the key", function()
    assert.equal("31c36b937bad67" .. hex("123456789"), hex(slot.row("k", "123456789")))
    assert.equal("00000002cc5d05", hex(slot.row("\0", "")))
  end)

  it("takes a key of any length", function()
    for _, len in ipairs { 1, 100, 1017, 1018, 5000, 1000000 } do
      local key = ("x"):rep(len)
      local row = slot.row("k", key)
      assert.equal(7 + len, #row)
      assert.equal(key, row:sub(8))
      assert.equal(slot.of(key), string.unpack(">I2", row))
    end
  end)

  it("refuses a kind that is not one byte", function()
    assert.error_matches(function() slot.row("", "key") end, "one byte expected")
    assert.error_matches(function() slot.row("kk", "key") end, "one byte expected")
    assert.error_matches(function() slot.row("k") end, "string expected")
  end)
end)
