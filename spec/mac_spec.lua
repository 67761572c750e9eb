-- lunode.mac: HMAC-SHA-256 as RFC 4231 has it, and a comparison that tells equal from different.

local mac = require "lunode.mac"

local function hex(bytes)
  return (bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

describe("mac.of", function()
  -- RFC 4231, section 4: cases 1, 2, 6 and 7, the last two with a key longer than a block.
  local cases = {
    { ("\x0b"):rep(20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
    { "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
    { ("\xaa"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First",
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" },
    { ("\xaa"):rep(131), "This is a test using a larger than block-size key and a larger than block-size data. "
      .. "The key needs to be hashed before being used by the HMAC algorithm.",
      "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2" },
  }
  for i, case in ipairs(cases) do
    it("is what the RFC's case " .. i .. " says", function()
      assert.equal(case[3], hex(mac.of(case[1], case[2])))
    end)
  end

  it("takes an empty secret and an empty text", function()
    assert.equal("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad", hex(mac.of("", "")))
  end)

  it("wants strings", function()
    assert.error_matches(function() mac.of({}, "x") end, "string expected")
    assert.error_matches(function() mac.of("x") end, "string expected")
  end)
end)

describe("mac.equal", function()
  it("is true for the same bytes only", function()
    assert.is_true(mac.equal("", ""))
    assert.is_true(mac.equal("a\0b", "a\0b"))
    assert.is_false(mac.equal("a\0b", "a\0c"))
    assert.is_false(mac.equal("ab", "abc"))
    assert.is_false(mac.equal("", "a"))
  end)

  it("wants strings", function()
    assert.error_matches(function() mac.equal("x", nil) end, "string expected")
  end)
end)
