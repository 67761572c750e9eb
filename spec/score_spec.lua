-- Scores as text, as numbers and as bytes.

local score = require "lunode.score"

describe("lunode.score", function()
  it("has bytes whose order is that of the numbers", function()
    local numbers = {
      -math.huge, -1.7976931348623157e308, -1e300, -2.5, -1, -0.1, -2.2250738585072014e-308, -4.9e-324, 0.0, 4.9e-324,
      2.2250738585072014e-308, 0.1, 1, 2.5, 4503599627370497, 1e300, 1.7976931348623157e308, math.huge,
    }
    for i, number in ipairs(numbers) do
      assert.equal(number, score.decode(score.encode(number)))
      assert.is_true(i == 1 or score.encode(numbers[i - 1]) < score.encode(number))
    end
    assert.equal(score.encode(0.0), score.encode(-0.0))
    assert.equal("0.0", tostring(score.decode(score.encode(-0.0))))
    assert.error_matches(function() score.decode("1234567") end, "a score's bytes expected")
  end)

  it("reads all of a text, or nothing", function()
    for text, number in pairs {
      ["1"] = 1.0, ["-1.5e3"] = -1500.0, ["+.5"] = 0.5, ["0x10"] = 16.0, ["0x.8p1"] = 1.0, inf = math.huge,
      ["-Infinity"] = -math.huge, ["1e-320"] = 1e-320, ["0xffffffffffffffffff"] = 2.0 ^ 72 - 1,
      ["9007199254740993"] = 9007199254740992.0,
    } do
      assert.equal(number, score.parse(text), text)
      assert.equal(score.encode(number), score.read(text), text)
      assert.equal(number, score.bound(text), text)
    end
    for _, text in ipairs {
      "", "x", "1x", " 1", "1 ", "nan", "-nan", "1e400", "-1e400", "1e-400", "1,5", "1\0", "0x",
    } do
      assert.is_nil(score.parse(text), text)
      assert.is_nil(score.read(text), text)
    end
  end)

  it("reads the ends of ranges as C does", function()
    assert.equal(0.0, score.bound(""))
    assert.equal(1.0, score.bound(" 1"))
    assert.equal(1.0, score.bound("1\0x"))
    assert.equal(math.huge, score.bound("1e400"))
    assert.is_nil(score.bound("nan"))
    assert.is_nil(score.bound("1 "))
  end)

  it("parts scores from what follows them", function()
    assert.same({ "a", 1.5, "", -2.0 }, score.split { score.encode(1.5) .. "a", score.encode(-2.0) })
    assert.same({}, score.split {})
    assert.error_matches(function() score.split { "short" } end, "a score's bytes expected")
    assert.error_matches(function() score.split { 5 } end, "a score's bytes expected")
  end)

  it("reads what SORT sorts by as Redis does", function()
    assert.same({ 1.0, 0.0, 0.0, -2.5, 16.0, 1.0 }, score.weights { "1", "", false, " -2.5", "0x10", "1\0x" })
    assert.same({}, score.weights {})
    for _, text in ipairs { "x", " ", "1 ", "nan", "1e400", "1e-400" } do
      assert.is_nil(score.weights { "1", text }, text)
    end
  end)

  it("orders lists by numbers or texts, then by their strings", function()
    assert.same({ "c", "a", "b" }, score.order({ "a", "b", "c" }, { 2.0, 2.0, 1.0 }))
    assert.same({ "b", "a", "c" }, score.order({ "a", "b", "c" }, { 2.0, 2.0, 1.0 }, true))
    assert.same({ "c", "b", "a" }, score.order({ "a", "b", "c" }, { "x\0b", "x\0a", "x" }))
    assert.same({ "b", "d", "c", "a" }, score.order({ "a", "b", "c", "d" }, { "y", false, "x", false }))
    assert.same({ "a", "a" }, score.order({ "a", "a" }, { 1.0, 1.0 }))
    assert.same({}, score.order({}, {}))
    assert.error_matches(function() score.order({ 1 }, { 1 }) end, "a list of strings expected")
  end)
end)
