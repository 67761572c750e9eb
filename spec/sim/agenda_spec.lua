-- The order of events, which everything else stands on: by time, and at equal times by the order of adding.

local agendas = require "lunode.sim.agenda"
local events = require "lunode.sim.events"
local prng = require "spec.support.prng"

describe("the agenda", function()
  it("takes entries as a sorted list would, whatever is added and cancelled on the way", function()
    for seed = 1, 50 do
      local chance, agenda, expected, count = prng.new(seed), agendas.new(), {}, 0
      for _ = 1, 300 do
        if chance:odds(0.6) then
          count = count + 1
          local at = agenda.now + chance:int(0, 8)
          local entry = { fn = print, number = count, due = at, cancelled = false, order = 0 }
          agenda:add(entry, at)
          expected[#expected + 1] = entry
        elseif chance:odds(0.2) and #expected > 0 then
          local gone = table.remove(expected, chance:int(1, #expected))
          agenda:cancel(gone)
          assert.is_false(gone.fn)
        else
          table.sort(expected, function(a, b) return a.due < b.due or a.due == b.due and a.number < b.number end)
          local entry
          repeat entry = agenda:take(math.huge) until not entry or not entry.cancelled
          assert.equal(table.remove(expected, 1), entry)
          assert.is_true(not entry or agenda.now == entry.due)
        end
      end
    end
  end)

  it("forgets what was cancelled where that is most of it", function()
    local agenda, kept = agendas.new(), setmetatable({}, { __mode = "k" })
    local keep = {}
    for i = 1, 10000 do
      local entry = { fn = print, a = {}, cancelled = false, order = 0 }
      agenda:add(entry, i)
      if i % 10 == 0 then keep[#keep + 1] = entry else kept[entry.a] = true agenda:cancel(entry) end
    end
    collectgarbage()
    assert.is_nil(next(kept))
    assert.is_true(agenda.count < 3000)
    for i, entry in ipairs(keep) do
      local taken
      repeat taken = agenda:take(math.huge) until not taken.cancelled
      assert.equal(entry, taken)
      assert.equal(10 * i, agenda.now)
    end
    assert.is_nil(agenda:take(math.huge))
    assert.is_true(agenda:is_empty())
  end)

  it("takes nothing that is later than the limit", function()
    local agenda = agendas.new()
    agenda:add({ fn = print, cancelled = false, order = 0 }, 5)
    assert.is_nil(agenda:take(4.9))
    assert.equal(0, agenda.now)
    assert.is_truthy(agenda:take(5))
    assert.equal(5, agenda.now)
  end)
end)

describe("a queue of timers", function()
  it("keeps its order while entries are added, taken and removed", function()
    for seed = 1, 50 do
      local chance, queue, expected = prng.new(seed), events.new(), {}
      for i = 1, 300 do
        if chance:odds(0.55) then
          local entry = { number = i, due = chance:int(0, 20), index = 0 }
          queue:add(entry, entry.due)
          expected[#expected + 1] = entry
        elseif chance:odds(0.4) and #expected > 0 then
          local gone = table.remove(expected, chance:int(1, #expected))
          queue:remove(gone)
          queue:remove(gone) -- again, and nothing happens
          assert.equal(0, gone.index)
        elseif #expected > 0 then
          table.sort(expected, function(a, b) return a.due < b.due or a.due == b.due and a.number < b.number end)
          assert.equal(table.remove(expected, 1), queue:pop())
        end
        assert.equal(#expected, queue.count)
      end
    end
  end)
end)

describe("lunode.sim.random", function()
  local random = require "lunode.sim.random"

  it("gives the same numbers for the same seed and name for ever, and others for others", function()
    local first, second = random.new(7, "a"), random.new(7, "a")
    for _ = 1, 100 do assert.equal(first:float(), second:float()) end
    assert.not_equal(random.new(7, "a"):float(), random.new(8, "a"):float())
    assert.not_equal(random.new(7, "a"):float(), random.new(7, "b"):float())
  end)

  it("draws uniformly from intervals of all sizes", function()
    local rng = random.new(1, "spec")
    local counts = {}
    for _ = 1, 60000 do
      local face = rng:integer(1, 6)
      counts[face] = (counts[face] or 0) + 1
    end
    for face = 1, 6 do assert.is_true(math.abs(counts[face] - 10000) < 500, counts[face]) end
    for _, bounds in ipairs {
      { 0, 0 }, { -3, 3 }, { math.mininteger, math.maxinteger }, { 0, math.maxinteger }, { math.mininteger, 0 },
      { math.mininteger, -1 }, { -1, math.maxinteger }, { math.maxinteger - 1, math.maxinteger },
    } do
      for _ = 1, 50 do
        local draw = rng:integer(bounds[1], bounds[2])
        assert.is_true(draw >= bounds[1] and draw <= bounds[2])
      end
    end
    local sum, hits = 0, 0
    for _ = 1, 10000 do
      local float = rng:float()
      assert.is_true(float >= 0 and float < 1)
      sum = sum + float
      hits = hits + (rng:chance(0.25) and 1 or 0)
    end
    assert.is_true(math.abs(sum - 5000) < 150 and math.abs(hits - 2500) < 200)
  end)

  it("picks, shuffles, and draws between", function()
    local rng = random.new(2, "spec")
    local list = rng:shuffle { 1, 2, 3, 4, 5 }
    table.sort(list)
    assert.same({ 1, 2, 3, 4, 5 }, list)
    local seen = {}
    for _ = 1, 100 do seen[rng:pick { "a", "b" }] = true end
    assert.same({ a = true, b = true }, seen)
    for _ = 1, 100 do
      local number = rng:between(2, 3, 4)
      assert.is_true(number >= 2 and number < 3)
    end
  end)
end)
