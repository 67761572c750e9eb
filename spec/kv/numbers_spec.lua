local errors = require "lunode.kv.errors"
local numbers = require "lunode.kv.numbers"

describe("an integer", function()
  it("is read as Redis reads it", function()
    assert.equal(0, numbers.parse("0"))
    assert.equal(-17, numbers.parse("-17"))
    assert.equal(math.maxinteger, numbers.parse("9223372036854775807"))
    assert.equal(math.mininteger, numbers.parse("-9223372036854775808"))
  end)

  for _, text in ipairs {
    "", "-", "-0", "+1", "01", " 1", "1 ", "1.0", "1e3", "0x10", "abc", "1\0", "9223372036854775808",
    "-9223372036854775809", "99999999999999999999", ("1"):rep(100),
  } do
    it(("is not %q"):format(text), function()
      assert.is_nil(numbers.parse(text))
      local ok, err = pcall(numbers.integer, text)
      assert.is_false(ok)
      assert.equal(errors.NOT_INTEGER, err)
    end)
  end

  it("is added within 64 bits only", function()
    assert.equal(3, numbers.add(1, 2))
    assert.equal(math.maxinteger, numbers.add(math.maxinteger - 1, 1))
    assert.is_nil(numbers.add(math.maxinteger, 1))
    assert.is_nil(numbers.add(math.mininteger, -1))
    assert.equal(-1, numbers.add(math.mininteger, math.maxinteger))
  end)
end)
