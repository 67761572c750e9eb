-- Members of a set in memory, as scripts see them; the model of their behaviour is core/nearby_test.c.
local nearby = require "lunode.nearby"

describe("the members of a set in memory", function()
  local function row(hash, member)
    return string.pack(">I4", hash) .. member
  end

  it("are found behind a hash, once their segment was read", function()
    local few = nearby.new(3)
    assert.same({ nil, 0 }, { few:find(7, 0) })
    assert.same({ nil, 0 }, { few:all() })
    assert.same({ 0 }, { few:range(0) })
    few:read(0, { row(5, "a"), row(7, ""), row(7, "b") })
    assert.equal("", few:find(6, 0))
    assert.equal("b", few:find(0, 2))
    assert.same({}, { few:find(0, 3) })
    few:add(6, "c")
    few:remove(7, "")
    few:remove(7, "none")
    assert.same({ "a", "c", "b" }, few:all())
    assert.is_true(few:bytes() > 0)
    assert.is_true(few:fit(12))
    assert.is_false(few:fit(100))
  end)

  it("lie in segments by their hashes, fewer ones where they become few", function()
    local many = nearby.new(1000)
    local from, past = many:range(1)
    assert.same({ 1 << 27, 1 << 28 }, { from, past })
    assert.same({ nil, 1 }, { many:find(from, 0) })
    assert.same({ 31 << 27 }, { many:range(31) })
    many:add(from, "is not noted")
    for segment = 0, 31 do
      many:read(segment, { row(segment << 27, "m" .. segment) })
    end
    assert.same({ "m31", nil }, { many:find(1, 30) })
    assert.is_true(many:fit(10))
    assert.same({ "m31", nil }, { many:find(1, 30) })
    assert.error_matches(function() many:range(4) end, "out of range")
  end)

  it("refuse other values", function()
    local few = nearby.new(1)
    assert.error_matches(function() nearby.new(-1) end, "out of range")
    assert.error_matches(function() few:find(1 << 32, 0) end, "out of range")
    assert.error_matches(function() few:find(0, -1) end, "out of range")
    assert.error_matches(function() few:read(1, {}) end, "out of range")
    assert.error_matches(function() few:read(0, { "abc" }) end, "4 bytes at least")
    assert.error_matches(function() few:add(1, 5) end, "string expected")
    assert.error_matches(function() few.find({}, 1, 1) end, "lunode.nearby expected")
  end)
end)
