-- What the store does with all rows of prefixes at once, in the real world and in the simulated one: copy, combine,
-- and members with scores.

local cleanup = require "lunode.test.cleanup"
local kit = require "spec.contract.kit"
local prng = require "spec.support.prng"
local resp = require "lunode.resp"
local score = require "lunode.score"
local slot = require "lunode.slot"

local function contract(world)
  local s

  before_each(function()
    s = assert(world.store.open(world.directory()))
    cleanup.add(function() s:close() end)
  end)

  local function name_of(member)
    return slot.row("m", member):sub(4)
  end

  -- A set with these members, values as given or none; a part of it on disk, a part in memory.
  local function fill(prefix, members)
    local members_of = s:members()
    for i, member in ipairs(members) do
      members_of:put(prefix, member, members.values and members.values[i] or "")
      if i == #members // 2 then
        assert(s:commit())
      end
    end
    return #members
  end

  local function some(random, count)
    local list, seen = {}, {}
    while #list < count do
      local member = "m" .. random:int(1, count * 3)
      if not seen[member] then
        seen[member] = true
        list[#list + 1] = member
      end
    end
    return list
  end

  -- How the members of `how` several lists follow from the sets, and what their order is.
  local function expected(how, lists)
    local met = {}
    for _, list in ipairs(lists) do
      for _, member in ipairs(list) do
        met[member] = (met[member] or 0) + 1
      end
    end
    local names = {}
    for member, times in pairs(met) do
      local in_first = false
      for _, other in ipairs(lists[1]) do
        in_first = in_first or other == member
      end
      if how == "union" or how == "intersection" and times == #lists
        or how == "difference" and in_first and times == 1 then
        names[#names + 1] = name_of(member)
      end
    end
    table.sort(names)
    for i, name in ipairs(names) do
      names[i] = name:sub(5)
    end
    return names
  end

  local function decoded(view, protocol)
    local list = resp.decode(resp.encode(view, protocol))
    return list
  end

  it("copies the rows of a prefix under another", function()
    for i = 1, 1500 do
      s:put("from" .. i, ("value %d "):format(i):rep(10))
      if i == 1000 then
        assert(s:commit())
      end
    end
    s:delete("from7")
    s:put("fron", "past it")
    s:begin()
    s:copy("from", "t")
    local rows = s:collect("from", "fron", "both", nil, 4)
    assert.equal(1499 * 2, #rows)
    assert.same(rows, s:collect("t", "u", "both", nil, 1))
    s:rollback()
    assert.equal(0, s:count("t", "u"))
    s:copy("none", "t")
    assert.equal(0, s:count("t", "u"))
    s:put("\1\xFF\xFFx", "at the end")
    s:copy("\1\xFF\xFF", "t")
    assert.same({ "x", "at the end" }, s:collect("t", "u", "both", nil, 1))
  end)

  for _, how in ipairs { "union", "intersection", "difference" } do
    it(("combines sets of many sizes as a %s"):format(how), function()
      local random, at = prng.new(7), 0
      for _, sizes in ipairs { { 5, 9 }, { 300, 200 }, { 90, 2000 }, { 2000, 90, 300 }, { 1, 1, 1 }, { 40 } } do
        at = at + 1
        local lists, sets = {}, {}
        for i, size in ipairs(sizes) do
          lists[i] = some(random, size)
          local prefix = ("s%d.%d."):format(at, i)
          sets[2 * i - 1], sets[2 * i] = prefix, fill(prefix, lists[i])
        end
        local members = expected(how, lists)
        assert.same(members, decoded(s:combine(how, sets)))
        assert.equal(#members, s:combine(how, sets, false))
        assert.equal(math.min(#members, 3), s:combine(how, sets, false, 3))
        s:begin()
        local into = ("t%d."):format(at)
        assert.equal(#members, s:combine(how, sets, into))
        assert.same(members, s:collect(into, ("t%d/"):format(at), "keys", nil, #into + 4))
        s:rollback()
        assert.equal(0, s:count(into, ("t%d/"):format(at)))
      end
      assert.equal(0, s:combine(how, { "none", 0, "other", 0 }, false))
      assert.equal(0, s:combine(how, {}, false))
    end)
  end

  it("combines a set with itself, and tells a set in RESP3", function()
    fill("a", { "x", "y" })
    assert.equal(2, s:combine("union", { "a", 2, "a", 2 }, false))
    assert.equal(2, s:combine("intersection", { "a", 2, "a", 2 }, false))
    assert.equal(0, s:combine("difference", { "a", 2, "a", 2 }, false))
    assert.equal("~2\r\n", resp.encode(s:combine("union", { "a", 2 }), 3):sub(1, 4))
    assert.equal("*0\r\n", resp.encode(s:combine("union", {})))
    assert.error_matches(function() s:combine("sum", {}) end, "invalid option 'sum'")
  end)

  local INF = math.huge

  -- Scores by members, of { member = score, … }.
  local function zset(prefix, scores)
    local count = 0
    for member, number in pairs(scores) do
      s:members():put(prefix, member, score.encode(number))
      count = count + 1
    end
    return count
  end

  local function reply_of(fn, protocol)
    local scored <close> = s:scored()
    fn(scored)
    return resp.encode(scored:reply(true, protocol), protocol)
  end

  it("joins the scores of sorted sets in the order of the inputs", function()
    local a = zset("a", { x = 1, y = 2, z = INF })
    local b = zset("b", { y = 0.5, z = -INF, w = -1 })
    fill("c", { "y", "z" })
    local function of(how, aggregate, first, second)
      local scored <close> = s:scored()
      scored:combine(how, { "a", a, first or 1, "b", b, second or 1 }, aggregate)
      return decoded(scored:reply(true))
    end
    assert.same({ "w", "-1", "z", "0", "x", "1", "y", "2.5" }, of("union"))
    assert.same({ "z", "-inf", "w", "-1", "y", "0.5", "x", "1" }, of("union", "min"))
    assert.same({ "w", "-1", "x", "1", "y", "2", "z", "inf" }, of("union", "max"))
    assert.same({ "z", "0", "y", "2.5" }, of("intersection", "sum"))
    assert.same({ "x", "1" }, of("difference"))
    assert.same({ "w", "-0", "x", "0", "y", "0", "z", "0" }, of("union", "sum", 0, 0)) -- of inf * 0, too
    local scored <close> = s:scored()
    scored:combine("intersection", { "a", a, 1, "c", 2, 3 })
    assert.equal(2, scored:count())
    assert.same({ "y", "5", "z", "inf" }, decoded(scored:reply(true)))
    assert.same({ "y", "z" }, decoded(scored:reply()))
    scored:close()
    assert.equal(0, scored:count())
  end)

  it("orders by scores, then by members, and tells pairs in RESP3", function()
    local a = zset("a", { b = 1, c = 1, a = 1, d = -1, [""] = 1 })
    local function add(scored)
      scored:combine("union", { "a", a, 1 })
    end
    assert.equal("*10\r\n$1\r\nd\r\n$2\r\n-1\r\n$0\r\n\r\n$1\r\n1\r\n$1\r\na\r\n", reply_of(add, 2):sub(1, 40))
    assert.equal("*5\r\n*2\r\n$1\r\nd\r\n,-1\r\n*2\r\n$0\r\n\r\n,1\r\n", reply_of(add, 3):sub(1, 34))
  end)

  it("puts the rows of a sorted set, with a node for every 256th member", function()
    local random, content, nodes, left = prng.new(3), {}, 0, {}
    for i = 1, 1500 do
      local member, number = "member " .. i, random:int(0, 999) / 2
      content[i] = string.pack(">s4s4", member, score.encode(number))
      left[member] = number
      nodes = nodes + (name_of(member):byte(4) == 0 and 1 or 0)
    end
    local scored <close> = s:scored()
    assert.is_true(scored:unpack("head" .. table.concat(content), 5))
    assert.equal(1500, scored:count())
    s:begin()
    assert.equal(nodes, scored:put("pm", "ps", "pn"))
    assert.is_true(nodes > 1)
    local keys = s:collect("ps", "pt", "keys", nil, 2)
    assert.equal(1500, #keys)
    for _, key in ipairs(keys) do
      local member = key:sub(9)
      assert.equal(left[member], score.decode(key:sub(1, 8)))
      assert.equal(key:sub(1, 8), s:get("pm" .. name_of(member)))
      left[member] = nil
    end
    assert.is_nil(next(left))
    local rows, at = s:collect("pn", "po", "both", nil, 2), {}
    for i, key in ipairs(keys) do
      at[key] = i
    end
    for i = 1, #rows, 2 do
      local following = rows[i + 2] and at[rows[i + 2]] or #keys + 1
      assert.equal(following - at[rows[i]], (string.unpack(">I4", rows[i + 1])))
    end

    local some_of <close> = s:scored()
    some_of:collect("ps", "pt", 2, 10, 5)
    assert.equal(10, some_of:count())
    assert.equal(keys[6]:sub(9), decoded(some_of:reply())[1])
    some_of:collect("ps", "pt", 2, 1, 0, true)
    assert.equal(keys[1500]:sub(9), decoded(some_of:reply())[11])
    s:rollback()
    assert.equal(0, s:count("pm", "po"))
  end)

  it("knows what is no sorted set", function()
    local one, two = string.pack(">s4s4", "a", score.encode(1)), string.pack(">s4s4", "b", score.encode(2))
    local nan = string.pack(">s4s4", "n", string.pack(">I8", 0xFFF8000000000000))
    local function is_good(text, first)
      local scored <close> = s:scored()
      return scored:unpack(text, first)
    end
    assert.is_true(is_good(one .. two))
    assert.is_true(is_good("x" .. one, 2))
    local two_of_one = one .. two .. one
    for _, text in ipairs { "", one .. one, two_of_one, nan, string.pack(">s4s4", "a", "1234567"), one .. "x" } do
      assert.is_false(is_good(text))
    end
    assert.is_false(is_good(one, #one + 1))
    for length = 1, #one + #two - 1 do
      assert.equal(length == #one, is_good((one .. two):sub(1, length)))
    end
  end)

  -- Rows 1 … count: a part of them on disk, a part in memory.
  local function number(prefix, count)
    local elements = s:elements()
    for i = 1, count do
      elements:put(prefix, i, "v" .. i % 100)
      if i == count // 2 then
        assert(s:commit())
      end
    end
    return elements
  end

  it("finds a value among numbered rows, from either end", function()
    local elements = number("e", 1000)
    assert.same({ 7, 107, 207 }, elements:find("e", 1, 1000, "v7", 3))
    assert.same({ 907, 807 }, elements:find("e", 1000, 1000, "v7", 2, true))
    assert.equal(10, #elements:find("e", 1, 1000, "v7", 0))
    assert.same({ 7 }, elements:find("e", 1, 106, "v7", 0))
    assert.same({ 107 }, elements:find("e", 8, 100, "v7", 0))
    assert.same({}, elements:find("e", 1, 0, "v7", 0))
    assert.same({}, elements:find("e", 1, 1000, "none", 1))
    assert.same({ 7 }, elements:find("e", 1, 2000, "v7", 1)) -- found before one is missing
    assert.is_nil(elements:find("e", 1, 2000, "v7", 0))
    assert.is_nil(elements:find("e", 1000, 2000, "none", 0, true))
    assert.is_nil(elements:find("e", 0, 2, "v1", 0))
    assert.error_matches(function() elements:find("e", 1, -1, "v1", 0) end, "out of range")
  end)

  for _, by in ipairs { 1, -1, 7, -300, 300, 5000 } do
    it(("moves numbered rows by %d"):format(by), function()
      for _, count in ipairs { 1, 63, 64, 65, 900 } do
        local prefix = "e" .. count .. "."
        local elements = number(prefix, 1000)
        s:begin()
        assert.is_true(elements:move(prefix, 50, count, by))
        local values = {}
        for i = 0, count - 1 do
          values[i + 1] = "v" .. (50 + i) % 100
        end
        assert.same(values, elements:range(prefix, 50 + by, count))
        s:rollback()
        assert.equal("v99", elements:get(prefix, 999))
        assert.is_nil(elements:get(prefix, 5050))
      end
      assert.is_false(s:elements():move("e900.", 950, 100, by))
      assert.is_true(s:elements():move("none", 1, 0, by))
    end)
  end

  it("packs rows, and unpacks them", function()
    local elements, members = number("e", 300), s:members()
    local packed = s:pack("e", "f", "values", 0, 1 << 20, "head")
    assert.equal("head" .. string.pack(">s4", "v1"), packed:sub(1, 10))
    assert.equal(300, elements:unpack("u", 11, packed, 5))
    assert.same(elements:range("e", 1, 300), elements:range("u", 11, 300))
    fill("s", { "a", "b", "c", values = { "1", "", "3" } })
    local keys, both = s:pack("s", "t", "keys", 5, 15, ""), s:pack("s", "t", "both", 5, 29, "")
    assert.is_nil(s:pack("s", "t", "keys", 5, 14, ""))
    assert.equal(15, #keys)
    assert.equal(29, #both)
    assert.equal("", s:pack("none", "nonf", "keys", 5, 0, ""))
    assert.equal(3, members:unpack("x", keys))
    assert.same({ "", "", "" }, s:collect("x", "y", "values"))
    s:begin()
    assert.equal(3, members:unpack("y", both, 1, true))
    assert.same(s:collect("s", "t", "both", nil, 1), s:collect("y", "z", "both", nil, 1))
    assert.is_nil(members:unpack("z", keys .. keys))
    s:rollback()
    assert.equal(0, s:count("y", "z\xFF"))
    assert.is_nil(members:unpack("z", keys, 1, true))
    for length = 0, #both - 1 do
      local cut = ("cut%02d."):format(length)
      local count = members:unpack(cut, both:sub(1, length), 1, true)
      if count then
        assert.equal(both:sub(1, length), s:pack(cut, cut .. "\xFF", "both", #cut + 4, 29, ""))
      end
      assert.equal(0 < length and count ~= nil, count ~= nil)
    end
    elements:add_list("l", 5, { "a", "", "c" })
    assert.same({ "a", "", "c" }, elements:range("l", 5, 9))
    assert.is_nil(elements:unpack("u", 1, ""))
    assert.is_nil(elements:unpack("u", 1, keys, 16))
  end)

  for _, reverse in ipairs { false, true } do
    it("deletes members that an index names, " .. (reverse and "backwards" or "forwards"), function()
      local members = s:members()
      for _, case in ipairs { { 3, 0 }, { 300, 7 }, { nil, 0 }, { 0, 0 }, { 5, 500 } } do
        local limit, offset = case[1], case[2]
        s:begin()
        for i = 1, 400 do
          members:index("m", "member" .. i, "i", string.pack(">I8", i * 37 % 401))
        end
        local before = s:collect("i", "j", "keys", nil, 1)
        local count, low, high = members:cut("m", "i", "i", "j", 8, limit, offset, reverse)
        assert.equal(math.max(0, math.min(limit or 400, 400 - offset)), count)
        local first = reverse and 400 - offset - count + 1 or offset + 1
        if count > 0 then
          assert.same({ before[first], before[first + count - 1] }, { low, high })
        end
        local left = table.move(before, 1, count > 0 and first - 1 or 400, 1, {})
        left = count > 0 and table.move(before, first + count, 400, #left + 1, left) or left
        assert.same(left, s:collect("i", "j", "keys", nil, 1))
        assert.equal(400 - count, s:count("m", "n"))
        for _, key in ipairs(left) do
          assert.equal(key:sub(1, 8), members:get("m", key:sub(9)))
        end
        s:rollback()
        assert.equal(0, s:count("i", "n"))
      end
    end)
  end

  it("raises once the store is closed", function()
    local scored = s:scored()
    s:close()
    for _, fn in ipairs {
      function() s:copy("a", "b") end,
      function() s:combine("union", {}) end,
      function() s:scored() end,
    } do
      assert.error_matches(fn, "store is closed")
    end
    assert.error_matches(function() scored:combine("union", {}) end, "store is closed")
    scored:close()
  end)
end

kit.describe("many rows of a store at once", contract)
