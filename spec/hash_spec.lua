-- lunode.hash: the same on every machine, and different where anything is.

local hash = require "lunode.hash"

describe("hash.of", function()
  it("is XXH3, chained: the same for ever", function()
    assert.equal(7, hash.of(7))
    assert.equal(hash.of(0, "abc"), hash.of(0, "abc"))
    assert.equal(hash.of(hash.of(1, "a"), 2, nil), hash.of(1, "a", 2, nil))
  end)

  it("tells types, order and number of the values apart", function()
    local seen = {}
    for _, values in ipairs {
      { n = 0 }, { nil, n = 1 }, { nil, nil, n = 2 }, { 1, n = 1 }, { 1.0, n = 1 }, { "1", n = 1 }, { true, n = 1 },
      { false, n = 1 }, { 0, n = 1 }, { "", n = 1 }, { "", "", n = 2 }, { "a", "b", n = 2 }, { "b", "a", n = 2 },
      { "ab", n = 1 }, { "ab", "", n = 2 }, { "", "ab", n = 2 }, { 0.5, n = 1 }, { -1, n = 1 },
      { ("x"):rep(1000), n = 1 },
    } do
      local value = hash.of(0, table.unpack(values, 1, values.n))
      assert.is_nil(seen[value])
      seen[value] = true
    end
  end)

  it("refuses what has no value of its own", function()
    assert.error_matches(function() hash.of(0, {}) end, "string, number, boolean or nil expected")
    assert.error_matches(function() hash.of("x") end, "number expected")
  end)
end)
