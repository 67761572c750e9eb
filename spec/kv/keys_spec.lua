local keys = require "lunode.kv.keys"

describe("the key grammar", function()
  it("puts the slot first, then the kind, the hash and the key", function()
    local row = keys.row("foo")
    assert.equal(12182, (string.unpack(">I2", row))) -- CLUSTER KEYSLOT foo
    assert.equal("m", row:sub(3, 3))
    assert.equal("foo", keys.key(row))
    assert.equal("", keys.key(keys.row("")))
    assert.equal("\0\xff", keys.key(keys.row("\0\xff")))
  end)

  it("finds a row again from its slot and hash", function()
    local row = keys.row("foo")
    local seek = keys.seek(keys.position(row))
    assert.equal(row:sub(1, 7), seek)
    assert.is_true(seek <= row)
  end)

  it("keeps keys with the same hash tag in one slot", function()
    assert.equal((keys.position(keys.row("{user}:a"))), (keys.position(keys.row("{user}:b"))))
  end)

  it("leaves the space from 0x40 to the node's own rows", function()
    assert.is_true(keys.seek(keys.SLOTS - 1, 0xFFFFFFFF) < keys.SLOTS_END)
    assert.is_true(keys.SLOTS_END < keys.EXPIRY_START)
    assert.is_true(keys.expiry_row(math.maxinteger, "row") < keys.SYSTEM_START)
    for _, row in ipairs { keys.FORMAT_ROW, keys.COUNT_ROW } do
      assert.is_true(row > keys.SYSTEM_START)
    end
  end)

  it("wraps strings with and without an expiry", function()
    local plain, timed = keys.string_value("text"), keys.string_value("text", 1700000000123)
    assert.equal("\0text", plain)
    assert.is_nil(keys.expiry(plain))
    assert.equal(1700000000123, keys.expiry(timed))
    for _, value in ipairs { plain, timed } do
      assert.equal(keys.STRING, keys.type(value))
      assert.equal("text", value:sub(keys.payload_start(value)))
    end
  end)

  it("changes an expiry and nothing else, also beside a version", function()
    local version = string.pack(">I8", 7)
    local value = "\x24" .. version .. "payload" -- a hash with a version
    local timed = keys.with_expiry(value, 99)
    assert.equal(4, keys.type(timed))
    assert.equal(99, keys.expiry(timed))
    assert.equal("payload", timed:sub(keys.payload_start(timed)))
    assert.equal(100, keys.expiry(keys.with_expiry(timed, 100)))
    assert.equal(value, keys.with_expiry(timed, nil))
    assert.equal(value, keys.with_expiry(value, nil))
  end)

  it("orders the expiry index by time, and gives back what it points to", function()
    local row = keys.row("foo")
    local early, late = keys.expiry_row(255, row), keys.expiry_row(256, keys.row("a"))
    assert.is_true(early < late)
    local expiry, target = keys.expiry_target(early)
    assert.equal(255, expiry)
    assert.equal(row, target)
  end)

  it("writes and reads the counts", function()
    local total, expires = keys.counts(keys.count_value(5, 2))
    assert.equal(5, total)
    assert.equal(2, expires)
  end)
end)
