-- The nodes of a large sorted set in memory, as scripts see them; the model of their behaviour is core/ranks_test.c.
local ranks = require "lunode.ranks"

describe("the ranks of a sorted set", function()
  local nodes

  local function span(n)
    return string.pack(">I4", n)
  end

  before_each(function()
    nodes = ranks.new()
    nodes:load { "1b", span(2), "2d", span(3), "3f", span(1) }
  end)

  it("tell the node that is near a key or a rank, and what is before it", function()
    assert.same({ "2d", 2, 3 }, { nodes:at "2d" })
    assert.same({ "2d", 2, 3 }, { nodes:at "3a" })
    assert.same({}, { nodes:at "1a" })
    assert.same({ "2d", 2, 3 }, { nodes:with(4) })
    assert.same({}, { nodes:with(6) })
    assert.same({}, { nodes:with(-1) })
    assert.equal(6, nodes:sum())
  end)

  it("count members that come, move and go, and name the nodes that this concerns", function()
    assert.same({}, nodes:unsaved "")
    nodes:move(1, "e", nil, "2")
    nodes:move(1, "x", "3", "1")
    nodes:move(1, "y", "2", "2")
    nodes:move(1, "a", "0", nil)
    assert.same({ "p2d", span(4), "p3f", span(0), "p1b", span(3) }, nodes:unsaved "p")
    nodes:saved()
    assert.same({}, nodes:unsaved "")
    local long = ("x"):rep(1000)
    nodes:move(1, long, nil, "2")
    assert.same({ "2d", span(5) }, nodes:unsaved "")
  end)

  it("are what they were before a command that is undone, and that one only", function()
    nodes:add(1, "2d", 5)
    assert.equal(2, nodes:remove(2, "1b"))
    nodes:insert(2, "1c", 7)
    nodes:add(2, "9", 1)
    nodes:rollback(1) -- is no longer the last one
    assert.equal(17, nodes:sum())
    nodes:rollback(2)
    assert.equal(11, nodes:sum())
    assert.same({ "1b", 0, 2 }, { nodes:at "1c" })
    assert.same({ "2d", 2, 8 }, { nodes:at "2z" })
    nodes:rollback(2)
    assert.equal(11, nodes:sum())
  end)

  it("refuse what does not add up, and other values", function()
    for _, call in ipairs {
      function() nodes:move(1, "f", "3", nil) nodes:move(1, "f", "3", nil) end,
      function() nodes:add(1, "3f", -2) end,
      function() nodes:insert(1, "3f", 1) end,
      function() nodes:insert(1, "3g", -1) end,
      function() nodes:insert(1, "3g", 1 << 32) end,
      function() nodes:remove(1, "3g") end,
    } do
      assert.error_matches(call, "do not add up")
    end
    assert.error_matches(function() nodes:load { "x", "123" } end, "a span of 4 bytes expected")
    assert.error_matches(function() nodes.at({}, "x") end, "lunode.ranks expected")
    assert.error_matches(function() nodes.at(io.stdout, "x") end, "lunode.ranks expected")
    assert.error_matches(function() nodes:move(1, 7, "1", "2") end, "string expected")
  end)
end)
