-- The trace: what people read, what is kept, and the hash that tells whether two runs are the same.

local sim = require "lunode.sim"

local function small_world(options)
  local world = sim.new(options)
  world:node("alpha", function()
    local loop = require "lunode.loop"
    loop.timer(1, function() print(loop.random(1, 1000000)) end, 1)
  end)
  world:node("b", function() print "two\nlines" end)
  world:run(5)
  return world
end

describe("a transcript", function()
  it("has columns: virtual time, node, event", function()
    local lines = {}
    for line in small_world():trace():gmatch("[^\n]+") do lines[#lines + 1] = line end
    assert.equal("    0.000000  alpha  boot", lines[1])
    assert.equal("    0.000000  b      boot", lines[2])
    assert.equal("    0.000000  b      print two", lines[3])
    assert.matches("^    1%.000000  alpha  print %d+$", lines[6])
  end)

  it("can be the last lines, of some nodes, of some kinds", function()
    local world = small_world()
    local last = world:trace { last = 2 }
    assert.matches("^… %d earlier records\n    4%.0+  alpha  print %d+\n    5%.0+  alpha  print %d+\n$", last)
    assert.not_matches("alpha", world:trace { nodes = { "b" } })
    assert.equal("    0.000000  alpha  boot\n    0.000000  b      boot\n", world:trace { kinds = { "boot" } })
  end)

  it("is in the order of time, also where a node has waited for its disk meanwhile", function()
    local world = sim.new()
    world:record { t = 1, node = "a", kind = "boot" }
    world:record { t = 3, node = "a", kind = "print", text = "synced" }
    world:record { t = 2, node = "b", kind = "print", text = "first" }
    world:record { t = 2, node = "b", kind = "print", text = "second" }
    world:record { t = 3, node = "b", kind = "print", text = "third" }
    assert.equal(table.concat({
      "    1.000000  a  boot",
      "    2.000000  b  print first",
      "    2.000000  b  print second",
      "    3.000000  a  print synced",
      "    3.000000  b  print third",
      "",
    }, "\n"), world:trace())
  end)

  it("shows messages with their content, and faults with those they hit", function()
    local world = sim.new()
    world:record { t = 0.5, node = "a", kind = "send", id = 7, to = "b", conn = 3, bytes = 5, data = "hi\n\0\"" }
    world:record { t = 1, node = "b", kind = "deliver", id = 7, from = "a", conn = 3, bytes = 5, data = ("x"):rep(100) }
    world:record { t = 2, kind = "fault", fault = 1, phase = "begin", nodes = { "a", "b" }, text = "split" }
    world:record { t = 3, kind = "fault", fault = 1, phase = "end", nodes = { "a", "b" }, text = "split" }
    assert.equal(table.concat({
      '    0.500000  a  -> b #7 5 B [conn 3] "hi\\n\\x00\\""',
      '    1.000000  b  <- a #7 5 B [conn 3] "' .. ("x"):rep(60) .. '" …',
      "    2.000000  *  fault: split (a, b)",
      "    3.000000  *  ends: split (a, b)",
      "",
    }, "\n"), world:trace())
  end)
end)

describe("a trace", function()
  it("keeps the last records only, and counts all of them in its hash", function()
    local world, all = small_world { trace = 3 }, small_world()
    assert.equal(3, #world:records())
    assert.equal("print", world:records()[3].kind)
    assert.matches("^… %d earlier records\n", world:trace())
    assert.equal(all:trace_hash(), world:trace_hash())
    assert.equal(0, #small_world({ trace = 0 }):records())
    assert.equal(all:trace_hash(), small_world({ trace = 0 }):trace_hash())
  end)

  it("has a hash that depends on the seed, on every field, and on the order", function()
    assert.equal(small_world({ seed = 3 }):trace_hash(), small_world({ seed = 3 }):trace_hash())
    assert.not_equal(small_world({ seed = 3 }):trace_hash(), small_world({ seed = 4 }):trace_hash())
    local seen = {}
    local function hash(...)
      local world = sim.new()
      for _, record in ipairs { ... } do world:record(record) end
      local value = world:trace_hash()
      assert.is_nil(seen[value])
      seen[value] = true
    end
    local base = { t = 1, kind = "x" }
    hash(base)
    hash(base, base)
    hash({ t = 2, kind = "x" })
    hash({ t = 1, kind = "y" })
    for _, field in ipairs { "node", "text", "from", "to", "data", "phase" } do
      hash({ t = 1, kind = "x", [field] = "v" })
    end
    for _, field in ipairs { "id", "conn", "bytes", "fault" } do
      hash({ t = 1, kind = "x", [field] = 1 })
    end
    hash({ t = 1, kind = "x", nodes = { "v" } })
    hash({ t = 1, kind = "x", id = "1" })
    hash({ t = 1, kind = "x", text = "ab" }, { t = 1, kind = "x", text = "c" })
    hash({ t = 1, kind = "x", text = "a" }, { t = 1, kind = "x", text = "bc" })
  end)
end)
