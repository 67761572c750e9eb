local longdouble = require "lunode.kv.longdouble"

local function sum(a, b)
  local x, y = longdouble.parse(a), longdouble.parse(b)
  local total = x and y and longdouble.add(x, y)
  return total and longdouble.format(total)
end

-- a, b, and what INCRBYFLOAT of Redis 7.0.15 on x86-64 says.
local SUMS = {
  { "0.1", "0.2", "0.3" },
  { "10.50", "0.1", "10.6" },
  { "5.0e3", "3.0e3", "8000" },
  { "0.3", "-0.3", "0" },
  { "-0", "-0", "0" },
  { "-1e-20", "0", "0" },
  { "-.5", "0.2", "-0.3" },
  { "5.", "0.2", "5.2" },
  { "+5", "01", "6" },
  { "5.0e-10", "0.2", "0.2000000005" },
  { "3000", "0.2", "3000.19999999999999996" },
  { "1e5", "0.2", "100000.20000000000000284" },
  { "1e17", "0.2", "100000000000000000.203125" },
  { "1e19", "0.2", "10000000000000000000" },
  { "1e30", "0", "1000000000000000000024696061952" },
  { "9223372036854775807", "1", "9223372036854775808" },
  { "0x10", "0.2", "16.2" },
  { "0x1.8p-1", "0.2", "0.95" },
  { "1e-4940", "0", "0" },
  { "1e00000000000000000000000005", "0", "100000" },
}

describe("a long double", function()
  for _, case in ipairs(SUMS) do
    it(("sum of %s and %s is %s"):format(case[1], case[2], case[3]), function()
      assert.equal(case[3], sum(case[1], case[2]))
      assert.equal(case[3], sum(case[2], case[1]))
    end)
  end

  for _, text in ipairs {
    "", "abc", "1e", " 1", "1 ", "0x", "1.5.", "--1", "nan", "nan(1)", "infx", "1_0", "1\0", "0x1p-36398088109",
    "0x1p36398088109",
    "1e-36398088109", "1e5000", "1e-5000",
    "-1e99999999999", ("1"):rep(5120),
  } do
    it(("is not %q"):format(text:sub(1, 20)), function()
      assert.is_nil(longdouble.parse(text))
    end)
  end

  it("is a double where that is enough", function()
    for _, text in ipairs { "0", "1", "-1.5", "0.1", "12345.678", "18446744073709551615", "1e300", "-1e-300" } do
      assert.equal(tonumber(text), longdouble.to_number(longdouble.parse(text)))
    end
    assert.equal(math.huge, longdouble.to_number(longdouble.parse("1e4000")))
  end)

  it("has no sum past its range", function()
    local largest = "1.18e4932"
    assert.is_table(longdouble.parse(largest))
    assert.is_nil(sum(largest, largest))
    assert.is_nil(sum("inf", "1"))
    assert.is_nil(sum("1", "-Infinity"))
  end)

  it("is exact where a double is not", function()
    assert.equal("9007199254740993", sum("9007199254740992", "1"))
    local digits = sum("1e4900", "0")
    assert.equal(4901, #digits)
    assert.equal("10000000000000000000270831223069034983322405250407", digits:sub(1, 50))
  end)
end)
