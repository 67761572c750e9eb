-- The store as scripts see it, in the real world and in the simulated one. What crashes and faults do to it, each
-- world's own specs say; what is open, locked or damaged on a real disk, spec/store_spec.lua.

local cleanup = require "lunode.test.cleanup"
local kit = require "spec.contract.kit"
local prng = require "spec.support.prng"
local resp = require "lunode.resp"
local score = require "lunode.score"
local store = require "lunode.store"

local function contract(world, engine)
  -- Flushes in the background, entries and snapshots came later than the rest.
  local probe = assert(world.store.open(world.directory() .. "/probe"))
  local has_entries = probe.advance ~= nil
  probe:close()

  local function open(dir, options)
    local all = { engine = engine }
    for name, value in pairs(options or {}) do
      all[name] = value
    end
    local s = assert(world.store.open(dir, all))
    cleanup.add(function() s:close() end)
    return s
  end

  local function new(options)
    local dir = world.directory()
    return open(dir, options), dir
  end

  --- All rows of a scan, as "key=value key=value …".
  local function rows(s, ...)
    local met = {}
    for key, value in s:scan(...) do
      met[#met + 1] = key .. "=" .. value
    end
    return table.concat(met, " ")
  end

  it("reads what was written, before and after commit", function()
    local s = new()
    assert.is_nil(s:get("key"))
    s:put("key", "value")
    s:put("bytes\0\xff", "\0")
    s:put("empty", "")
    s:put("", "empty key")
    for _ = 1, 2 do
      assert.equal("value", s:get("key"))
      assert.equal("\0", s:get("bytes\0\xff"))
      assert.equal("", s:get("empty"))
      assert.equal("empty key", s:get(""))
      assert.is_true(s:commit())
    end
  end)

  it("gives nil alone for a missing key", function()
    local s = new()
    assert.equal(1, select("#", s:get("missing")))
    s:put("gone", "x")
    s:delete("gone")
    assert.equal(1, select("#", s:get("gone")))
  end)

  it("keeps what was committed, and only that, when it is opened again", function()
    local s, dir = new()
    s:put("a", "1")
    s:put("b", "1")
    assert.is_true(s:commit(true))
    s:delete("a")
    assert.is_true(s:commit(false))
    s:put("b", "not committed")
    s:put("c", "not committed")
    s:close()
    assert.equal("b=1", rows(open(dir), ""))
  end)

  it("counts what is pending", function()
    local s = new()
    assert.equal(0, s:pending())
    s:put("a", "1")
    s:put("a", "2")
    s:delete("b")
    assert.equal(2, s:pending())
    assert.equal(2, s:stats().pending)
    assert.equal(3, s:stats().pending_bytes)
    assert.equal(0, s:stats().batches)
    assert.is_true(s:commit())
    assert.equal(0, s:pending())
    assert.equal(1, s:stats().batches)
    assert.is_true(s:commit())
    assert.equal(1, s:stats().batches)
  end)

  it("rolls back to the last begin", function()
    local s = new()
    s:put("stored", "1")
    s:commit()
    s:put("a", "1")
    s:begin()
    s:put("a", "2")
    s:delete("stored")
    s:put("b", "2")
    s:put("b", "3")
    s:rollback()
    assert.equal("a=1 stored=1", rows(s, ""))
    assert.equal(1, s:pending())
    s:put("c", "1")
    s:rollback() -- the mark stays
    assert.equal("a=1 stored=1", rows(s, ""))
    s:commit()
    s:rollback()
    assert.equal("a=1 stored=1", rows(s, ""))
  end)

  it("does what a table does, whatever is written, rolled back, committed and opened anew", function()
    for seed = 1, math.ceil((os.getenv "LUNODE_FULL" and 50 or 3) * world.volume) do
      local chance = prng.new(seed)
      local s, dir = new()
      local now, marked, stored = {}, {}, {}
      local function copy(t)
        local new_table = {}
        for key, value in pairs(t) do new_table[key] = value end
        return new_table
      end
      for _ = 1, math.ceil(200 * world.volume) do
        local key = ("k%d"):format(chance:int(1, 12))
        local what = chance:weighted {
          { 8, "put" }, { 4, "delete" }, { 2, "begin" }, { 2, "rollback" }, { 2, "commit" }, { 1, "reopen" },
        }
        if what == "put" then
          now[key] = tostring(chance:int(1, 99))
          s:put(key, now[key])
        elseif what == "delete" then
          now[key] = nil
          s:delete(key)
        elseif what == "begin" then
          marked = copy(now)
          s:begin()
        elseif what == "rollback" then
          now = copy(marked)
          s:rollback()
        elseif what == "commit" then
          marked, stored = copy(now), copy(now)
          assert.is_true(s:commit(chance:odds(0.3)))
        else
          now, marked = copy(stored), copy(stored)
          s:close()
          s = open(dir)
        end
        local expected = {}
        for k, value in pairs(now) do expected[#expected + 1] = k .. "=" .. value end
        table.sort(expected, function(a, b) return a:match("^[^=]*") < b:match("^[^=]*") end)
        assert.equal(table.concat(expected, " "), rows(s, ""))
      end
      s:close()
    end
  end)

  describe("scan", function()
    local s

    before_each(function()
      s = new()
      for _, key in ipairs { "a", "c", "e" } do s:put(key, "stored") end
      assert.is_true(s:commit())
    end)

    it("walks pending and stored rows in one order, from inclusive, to exclusive", function()
      s:put("b", "new")
      s:put("c", "new")
      s:delete("e")
      assert.equal("a=stored b=new c=new", rows(s, ""))
      assert.equal("b=new", rows(s, "b", "c"))
      assert.equal("", rows(s, "d"))
      assert.equal("", rows(s, "a", "a"))
    end)

    it("orders keys as bytes", function()
      for _, key in ipairs { "\xff", "\xc3\xa4", "Z", "z", "\0", "", "a\0", "aa" } do s:put(key, "x") end
      local keys = {}
      for key in s:scan("") do keys[#keys + 1] = key end
      assert.same({ "", "\0", "Z", "a", "a\0", "aa", "c", "e", "z", "\xc3\xa4", "\xff" }, keys)
    end)

    it("meets each row once while they are rewritten, deleted and committed", function()
      local met = {}
      for key in s:scan("") do
        met[#met + 1] = key
        s:delete(key)
        s:put(key .. "+", "x")
        s:delete(key .. "+")
        assert.is_true(s:commit())
      end
      assert.same({ "a", "c", "e" }, met)
      assert.equal("", rows(s, ""))
    end)

    it("stays at its end, and can end before", function()
      local next_row = s:scan("e")
      assert.equal("e", (next_row()))
      assert.is_nil(next_row())
      s:put("f", "late")
      assert.is_nil(next_row())
      for key in s:scan("") do
        if key == "a" then break end
      end
      local step <const>, _, _, box <close> = s:scan("")
      assert.equal("a", (step()))
      getmetatable(box).__close(box)
      assert.is_nil(step())
    end)

    it("raises once its store is closed", function()
      local next_row = s:scan("")
      next_row()
      s:close()
      assert.error_matches(next_row, "the store is closed")
    end)
  end)

  it("is closed once, and raises on any use after that", function()
    local s = new()
    s:close()
    s:close()
    for _, use in ipairs {
      function() s:get("k") end, function() s:put("k", "v") end, function() s:delete("k") end,
      function() s:begin() end, function() s:rollback() end, function() s:commit() end,
      function() s:scan("") end, function() s:pending() end, function() s:stats() end,
    } do
      assert.error_matches(use, "store is closed")
    end
  end)

  it("closes at the end of its scope", function()
    local dir = world.directory()
    do
      local scoped <close> = assert(world.store.open(dir, { engine = engine }))
      scoped:put("k", "v")
    end
    assert.is_nil(open(dir):get("k"))
  end)

  it("refuses arguments of the wrong type", function()
    local s = new()
    assert.error_matches(function() s:get() end, "string expected")
    assert.error_matches(function() s:put("k") end, "string expected")
    assert.error_matches(function() s:put({}, "v") end, "string expected")
    assert.error_matches(function() s:scan() end, "string expected")
    assert.error_matches(function() s.get({}, "k") end, "store_handle expected")
    assert.equal(0, s:pending())
    assert.error_matches(function() world.store.open("x", { cache = "much" }) end, "number of bytes expected")
    assert.error_matches(function() world.store.open("x", { cache = -1 }) end, "number of bytes expected")
    assert.error_matches(function() world.store.open("x", 7) end, "table expected")
    assert.error_matches(function() world.store.open() end, "string expected")
  end)

  it("makes its directory only where it may, and says who has it", function()
    local dir = world.directory() .. "/new"
    local none, err, code = world.store.open(dir, { create = false })
    assert.is_nil(none)
    assert.equal("ENOENT", code)
    assert.matches("^cannot open data directory .*: No such file or directory; create it, or give another", err)
    local s = open(dir)
    none, err, code = world.store.open(dir)
    assert.is_nil(none)
    assert.equal("ELOCKED", code)
    assert.matches("^data directory .* is in use by process %d+; stop it, or give another", err)
    s:put("still", "works")
    assert.is_true(s:commit())
    s:close()
    open(dir, { create = false })
  end)

  if not has_entries then
    return
  end

  it("scans in reverse", function()
    local s = new()
    for _, key in ipairs { "a", "b", "c", "d" } do s:put(key, key:upper()) end
    s:commit()
    s:delete("c")
    s:put("bb", "x")
    assert.equal("d=D bb=x b=B a=A", rows(s, "", nil, { reverse = true }))
    assert.equal("bb=x b=B", rows(s, "b", "d", { reverse = true }))
    local met = {}
    for key in s:scan("", nil, { reverse = true }) do
      met[#met + 1] = key
      s:delete(key)
      s:put(key .. "z", "behind")
    end
    assert.equal("d bb b a", table.concat(met, " "))
  end)

  it("deletes ranges, at once, and takes that back", function()
    local s, dir = new()
    for _, key in ipairs { "a", "b", "c", "d" } do s:put(key, "1") end
    s:commit(true)
    s:begin()
    s:delete_range("b", "d")
    assert.equal("a=1 d=1", rows(s, ""))
    s:put("c", "2")
    assert.equal("a=1 c=2 d=1", rows(s, ""))
    s:rollback()
    assert.equal("a=1 b=1 c=1 d=1", rows(s, ""))
    s:delete_range("c")
    s:commit(true)
    s:close()
    assert.equal("a=1 b=1", rows(open(dir), ""))
  end)

  it("keeps whole entries only, up to the index that it tells when it is opened again", function()
    local s, dir = new()
    assert.equal(0, s:applied())
    s:put("a", "1")
    assert.is_true(s:advance(5))
    assert.equal(5, s:applied())
    local told
    assert.is_true(s:flush(function(err, _, index) told = { err, index } end))
    s:put("b", "entry 6")
    s:advance(6)
    s:put("c", "no entry yet")
    kit.till(world, function() return told end)
    assert.is_nil(told[1])
    assert.is_true(told[2] >= 5)
    s:close()
    s = open(dir)
    local index = s:applied()
    assert.is_true(index == 5 or index == 6)
    assert.equal(index == 5 and "a=1" or "a=1 b=entry 6", rows(s, ""))
  end)

  it("rolls back no further than the last entry, and indexes only grow", function()
    local s = new()
    s:put("a", "1")
    s:advance(1)
    s:put("b", "1")
    s:rollback()
    assert.equal("a=1", rows(s, ""))
    for _, index in ipairs { 0, 1, -1 } do
      assert.error_matches(function() s:advance(index) end, "greater than the index before expected")
    end
    s:put("b", "1")
    local none, err, code = s:commit()
    assert.same({ nil, "commit in the middle of an entry: advance first", "EINVAL" }, { none, err, code })
    none, err, code = s:snapshot()
    assert.same({ nil, "a snapshot in the middle of an entry: advance first", "EINVAL" }, { none, err, code })
    s:advance(2)
    assert.is_true(s:commit())
  end)

  it("tells on_flushed what is on disk", function()
    local flushed
    local s = new { overlay = 1000, on_flushed = function(err, _, index) flushed = err or index end }
    for i = 1, 30 do
      s:put("key" .. i, ("x"):rep(100))
      s:advance(i)
    end
    kit.till(world, function() return flushed end)
    assert.is_true(flushed >= 1 and flushed <= 30)
    local done
    s:flush(function() done = true end)
    kit.till(world, function() return done and flushed == 30 end)
    assert.equal(30, s:stats().durable)
  end)

  it("has room, up to its limit, and tells on_room", function()
    local room
    local s = new { overlay = 1000, limit = 5000, on_room = function() room = true end }
    assert.is_true(s:room())
    local index = 0
    repeat
      index = index + 1
      s:put("key" .. index, ("x"):rep(3000))
      s:advance(index)
    until not s:room()
    assert.equal("EAGAIN", select(3, s:room()))
    kit.till(world, function() return room end)
    assert.is_true(s:room())
  end)

  it("ends the flushes that a close leaves with ECANCELED", function()
    local s = new()
    s:put("a", "1")
    s:advance(1)
    local code = "none"
    s:flush(function(_, why) code = why end)
    s:close()
    kit.till(world, function() return code ~= "none" end)
    assert.is_true(code == "ECANCELED" or code == nil) -- it may have been done by then
  end)

  it("has snapshots, which no later write changes", function()
    local s = new()
    s:put("a", "1")
    s:put("b", "1")
    s:advance(3)
    local snapshot <close> = assert(s:snapshot())
    s:put("a", "2")
    s:delete("b")
    s:put("c", "2")
    s:advance(4)
    assert.is_true(s:commit())
    assert.equal("1", snapshot:get("a"))
    assert.is_nil(snapshot:get("c"))
    assert.equal("a=1 b=1", rows(snapshot, ""))
    assert.equal("b=1 a=1", rows(snapshot, "", nil, { reverse = true }))
    assert.equal(3, snapshot:applied())
    assert.equal("a=2 c=2", rows(s, ""))
    snapshot:close()
    snapshot:close()
    assert.error_matches(function() snapshot:get("a") end, "snapshot is closed")
  end)

  it("has the rows of a kind, by key and head", function()
    local s = new()
    local row = require("lunode.slot").row
    local plain = s:rows("m")
    assert.equal(0, select("#", plain:get("key", 0)))
    assert.is_nil(plain:put("key", 0, "text"))
    assert.equal("text", plain:get("key", 0))
    assert.equal("\0text", s:get(row("m", "key")))
    assert.same({ nil, "\0text" }, { plain:get("key", 1) })
    assert.is_nil((s:rows("e"):get("key", 0))) -- another kind
    assert.equal(0, plain:put("key", 255, "", 0x10))
    assert.equal("\xff", s:get(row("m", "key")))
    assert.equal("", plain:get("key", 255))
    assert.is_true(s:commit())
    assert.equal(255, plain:put("key", 0, "not written", 0x10))
    assert.equal("", plain:get("key", 255))
    assert.equal(255, plain:put("key", 0, "written", 0x00))
    s:rollback()
    assert.equal("", plain:get("key", 255))
  end)

  it("has them at any length, the empty one included", function()
    local s = new()
    local plain = s:rows("m")
    for _, n in ipairs { 0, 1, 490, 504, 505, 506, 512, 513, 5000, 100000 } do
      local text = ("x"):rep(n)
      assert.is_nil(plain:put(text, 0, text))
      assert.equal(text, plain:get(text, 0))
      assert.equal(0, plain:put(text, 7, text .. "y"))
      assert.equal(text .. "y", plain:get(text, 7))
    end
    s:put(require("lunode.slot").row("m", "bare"), "") -- a value without a head
    assert.same({ nil, "" }, { plain:get("bare", 0) })
    assert.equal(-1, plain:put("bare", 0, "text"))
    assert.equal("text", plain:get("bare", 0))
  end)

  it("puts a list of pairs, up to a key whose head forbids it", function()
    local s = new()
    local plain = s:rows("m")
    plain:put("b", 0x10, "keeps")
    assert.same({ 3, 1 }, { plain:put_list({ "a", "1", "b", "2", "c", "3" }, 1, 0, 0x10) })
    assert.equal("1", plain:get("a", 0))
    assert.equal("keeps", plain:get("b", 0x10))
    assert.is_nil((plain:get("c", 0)))
    assert.same({ 7, 1 }, { plain:put_list({ "a", "1", "b", "2", "c", "3" }, 3, 0) })
    assert.equal("2", plain:get("b", 0))
    assert.equal("3", plain:get("c", 0))
    local many = {}
    for i = 1, 50 do -- each key twice; more than are looked ahead for at once, some longer than those that are
      local key = ("x"):rep(i % 3 * 40) .. i
      many[#many + 1], many[#many + 2] = key, "before"
      many[#many + 1], many[#many + 2] = key, ("y"):rep(i * 20)
    end
    assert.same({ 201, 50 }, { plain:put_list(many, 1, 0, 0x10) })
    for i = 3, 199, 4 do
      assert.equal(many[i + 1], plain:get(many[i], 0))
    end
    assert.same({ 1, 0 }, { plain:put_list({}, 1, 0) })
  end)

  it("makes a reply of many keys, unless one of them has another head", function()
    local s = new()
    local plain = s:rows("m")
    local list, v2, v3 = {}, { "*100\r\n" }, { "*100\r\n" }
    for i = 1, 100 do
      local text = ("y"):rep(i % 7 == 0 and 70000 or i)
      list[i] = ("x"):rep(i % 3 * 300) .. i
      if i % 5 ~= 0 then
        plain:put(list[i], 7, text)
      end
      local bulk = i % 5 ~= 0 and ("$%d\r\n%s\r\n"):format(#text, text)
      v2[i + 1], v3[i + 1] = bulk or "$-1\r\n", bulk or "_\r\n"
    end
    assert.equal(table.concat(v2), resp.encode(plain:reply(list, 7), 2))
    assert.is_true(s:commit())
    assert.equal(table.concat(v3), resp.encode(plain:reply(list, 7, 3), 3))
    assert.equal("*0\r\n", resp.encode(plain:reply({}, 7)))
    plain:put(list[64], 8, "other")
    assert.equal(0, select("#", plain:reply(list, 7)))
    s:put(require("lunode.slot").row("m", "bare"), "")
    assert.equal(0, select("#", plain:reply({ "bare" }, 7)))
  end)

  it("adds to integers, and to nothing else", function()
    local s = new()
    local plain = s:rows("m")
    assert.same({ -5, true }, { plain:add("n", 0, -5) })
    assert.same({ 37, false }, { plain:add("n", 0, 42) })
    assert.equal("37", plain:get("n", 0))
    assert.same({ math.mininteger, true }, { plain:add("least", 0, math.mininteger) })
    assert.equal("-9223372036854775808", plain:get("least", 0))
    assert.equal(0, select("#", plain:add("least", 0, -1)))
    assert.equal(-1, (plain:add("least", 0, math.maxinteger)))
    assert.equal(0, select("#", plain:add("n", 1, 1))) -- another head
    for _, text in ipairs { "", "-", "-0", "01", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "9223372036854775808" } do
      plain:put("n", 0, text)
      assert.equal(0, select("#", plain:add("n", 0, 0)))
      assert.equal(text, plain:get("n", 0))
    end
    s:put(require("lunode.slot").row("m", "bare"), "")
    assert.equal(0, select("#", plain:add("bare", 0, 1)))
    local long = ("k"):rep(5000)
    plain:put(long, 0, "9223372036854775806")
    assert.equal(math.maxinteger, (plain:add(long, 0, 1)))
    assert.equal(0, select("#", plain:add(long, 0, 1)))
  end)

  -- The same as lists of strings.
  local function generic(s, from, to, what, kind, skip, reverse, limit, offset, protocol)
    if what == "scores" then
      local list = score.split(s:collect(from, to, "keys", limit, skip, reverse, offset))
      local grouped = {}
      for i = 1, #list, 2 do
        grouped[#grouped + 1] = { list[i], list[i + 1] }
      end
      return protocol == 3 and grouped or list
    end
    local list = s:collect(from, to, what, limit, skip, reverse, offset)
    return kind == "map" and resp.map(list) or kind == "set" and resp.set(list) or list
  end

  it("makes the replies of rows that their lists make", function()
    local s, chance = new(), prng.new(31)
    local function compare(...)
      local _, from, to, what, kind, known, skip, reverse, limit, offset, protocol = ...
      local bytes = resp.encode(s:reply(from, to, what, kind, known, skip, reverse, limit, offset, protocol), protocol)
      local list = generic(s, from, to, what, kind, skip, reverse, limit, offset, protocol)
      assert.equal(resp.encode(list, protocol), bytes)
      return #bytes
    end
    local largest = 0
    for round = 1, 15 do
      for _ = 1, chance:int(0, 40) do
        local key = "p" .. score.encode(chance:int(-9, 9) / 4) .. ("m"):rep(chance:int(0, 3))
        if chance:int(1, 3) == 1 then
          s:delete(key)
        else
          s:put(key, ("v"):rep(chance:pick { 0, 1, 9, 10, 11, 99, 100, 101, 5000, 70000 }))
        end
      end
      if round % 7 == 0 then
        s:delete_range("p" .. score.encode(-1), "p" .. score.encode(chance:int(-3, 3) / 4))
      elseif chance:int(1, 3) == 1 then
        assert(s:commit())
      end
      for _, what in ipairs { "keys", "values", "both", "scores" } do
        local kind = chance:pick(what == "both" and { "array", "map", "set" } or what == "scores" and { "array" }
          or { "array", "set" })
        local from, to = "p", chance:pick { "q", "p\xff", false } or nil
        largest = math.max(largest, compare(s, from, to, what, kind, s:count(from, to), 1, chance:int(0, 1) == 1, nil,
          nil, chance:int(2, 3)))
        from = from .. score.encode(chance:int(-9, 9) / 4)
        compare(s, from, to, what, kind, nil, what == "scores" and 1 or chance:int(0, 12), chance:int(0, 1) == 1,
          chance:int(0, 9), chance:int(0, 9), chance:int(2, 3))
      end
    end
    assert.is_true(largest > 1 << 18)
    assert.error_matches(function() s:reply("p", "q", "all") end, "invalid option 'all'")
    assert.error_matches(function() s:reply("p", "q", "keys", "list") end, "invalid option 'list'")
    assert.error_matches(function() s:reply("p", "q", "keys", "map") end, "a map is of both")
    assert.error_matches(function() s:reply("p", "q", "scores", "set") end, "no array")
    assert.error_matches(function() s:reply("p", "q", "keys", "array", nil, -1) end, "at least 0 expected")
  end)

  -- As the node reads it: the same few ranges over and over, while this and that changes in them.
  local function read_again(s, chance, change)
    local whats = { "keys", "values", "both", "scores" }
    for _ = 1, 25 do
      for _ = 1, chance:int(0, 6) do
        change()
      end
      local what, from = chance:pick(whats), "p" .. score.encode(chance:int(0, 2) * 100)
      local skip, protocol = chance:int(0, 1), chance:int(2, 3)
      local limit, offset = chance:pick { false, 50 } or nil, chance:pick { false, 20 } or nil
      local reverse = chance:int(1, 3) == 1
      local known = not limit and not offset and s:count(from, "q") or nil
      local list = resp.encode(generic(s, from, "q", what, "array", skip, reverse, limit, offset, protocol), protocol)
      for _ = 1, chance:int(1, 4) do
        local view = s:reply(from, "q", what, "array", known, skip, reverse, limit, offset, protocol)
        assert.equal(list, resp.encode(view, protocol))
      end
    end
  end

  it("makes the same reply each time that a range is read, and another one once it has changed", function()
    for seed, options in ipairs { {}, { cache = 16384 }, { overlay = 4096 } } do
      local s, chance = new(options), prng.new(seed)
      local function key()
        return "p" .. score.encode(chance:int(0, 300)) .. "m"
      end
      for i = 0, 300 do
        s:put("p" .. score.encode(i) .. "m", "v" .. i)
      end
      read_again(s, chance, function()
        local dice = chance:int(1, 20)
        if dice <= 12 then
          s:put(key(), ("v"):rep(chance:pick { 1, 3, 12, 300 }))
        elseif dice <= 14 then
          s:delete(key())
        elseif dice == 15 then
          local at = chance:int(0, 300)
          s:delete_range("p" .. score.encode(at), "p" .. score.encode(at + 3))
        elseif dice <= 17 then
          s:begin()
        elseif dice <= 19 then
          s:rollback()
        else
          assert(s:commit())
        end
      end)
      s:delete_range("p", "q") -- and made again
      assert.equal("*0\r\n", resp.encode(s:reply("p", "q", "keys")))
      s:put("p" .. score.encode(1) .. "m", "anew")
      assert.equal("*1\r\n$4\r\nanew\r\n", resp.encode(s:reply("p", "q", "values")))
    end
  end)

  it("has the elements under a prefix, in the order of their numbers", function()
    local s = new()
    local elements = s:elements()
    for i = -2, 3 do
      elements:put("p", i, "v" .. i)
    end
    assert.equal("v3", elements:get("p", 3))
    assert.equal("v3", s:get("p" .. string.pack(">i8", 3)))
    assert.equal("v-1", s:get("p" .. string.pack(">i8", -1)))
    assert.is_nil(elements:get("p", 4))
    assert.same({ "v-1", "v0", "v1" }, elements:range("p", -1, 3))
    assert.same({ "v3", "v2" }, elements:range("p", 3, 2, true))
    assert.same({ "v2", "v3" }, elements:range("p", 2, 5))
    assert.same({}, elements:range("p", 0, 0))
    assert.equal("*3\r\n$2\r\nv0\r\n$2\r\nv1\r\n$2\r\nv2\r\n", resp.encode(elements:reply("p", 0, 3)))
    assert.equal("*0\r\n", resp.encode(elements:reply("p", 1, 0)))
    assert.error_matches(function() elements:reply("p", -1, 3) end, "0 or more expected")
    assert.error_matches(function() elements:reply("p", 1, math.maxinteger) end, "out of range")
    assert.is_nil(elements:reply("p", 2, 3))
    assert.equal("v2", elements:take("p", 2))
    assert.is_nil(elements:take("p", 2))
    assert.same({ "v1" }, elements:range("p", 1, 5))
    local long = ("p"):rep(64)
    elements:put(long, 1, "x")
    assert.equal("x", elements:get(long, 1))
    s:close()
    assert.error_matches(function() elements:get("p", 1) end, "store is closed")
  end)

  it("takes elements as they were put, in whatever order, of many prefixes at a time", function()
    local s = new()
    local elements = s:elements()
    local firsts = { math.mininteger, math.maxinteger - 19 }
    local function each(step, visit)
      for i = step > 0 and 0 or 19, step > 0 and 19 or 0, step do
        for _, first in ipairs(firsts) do
          for _, prefix in ipairs { "p", ("p"):rep(64) } do
            visit(prefix, first + i)
          end
        end
      end
    end
    for _, steps in ipairs { { 1, -1 }, { -1, 1 } } do
      each(steps[1], function(prefix, index) elements:put(prefix, index, prefix .. index) end)
      for i = 1, 20 do -- one list alone, so that one follows the other
        elements:put("r", i * steps[1], "r" .. i)
      end
      for i = 1, 20 do
        assert.equal("r" .. i, elements:take("r", i * steps[1]))
        assert.is_nil(elements:take("r", i * steps[1]))
      end
      each(steps[2], function(prefix, index) assert.equal(prefix .. index, elements:take(prefix, index)) end)
      assert.is_nil(s:scan("")())
    end
  end)

  it("forgets what came and went, whatever the disk had of it", function()
    local s, dir = new()
    local elements, members, model, kept = s:elements(), s:members(), {}, {}
    local first, last, seed = 0, 0, 7
    local function below(n)
      seed = (seed * 1103515245 + 12345) % 2147483648
      return (seed >> 8) % n
    end
    local function copy(from)
      local to = {}
      for key, value in pairs(from) do
        to[key] = value
      end
      return to
    end
    local marks = { first, last }
    for step = 1, 400 do
      local dice, name = below(100), "m" .. below(9)
      if dice < 25 then
        elements:add("e", last, "v" .. last)
        last = last + 1
      elseif dice < 50 then
        assert.equal(first < last and "v" .. first or nil, elements:take("e", first))
        first = math.min(first + 1, last)
      elseif dice < 70 then
        assert.equal(not model[name], (members:add("m", name, "x")))
        model[name] = true
      elseif dice < 90 then
        assert.equal(model[name] or false, (members:delete("m", name)))
        model[name] = nil
      elseif dice < 95 then
        s:begin()
        kept, marks = copy(model), { first, last }
      elseif dice < 97 then
        s:rollback()
        model, first, last = copy(kept), marks[1], marks[2]
      elseif dice < 99 or step % 3 > 0 then
        assert(s:commit())
        kept, marks = copy(model), { first, last }
      else
        assert(s:commit())
        s:close()
        s = open(dir)
        elements, members, kept, marks = s:elements(), s:members(), copy(model), { first, last }
      end
      if step % 50 == 0 then
        local names, met = 0, 0
        for _ in pairs(model) do
          names = names + 1
        end
        for _ in s:scan("m", "n") do
          met = met + 1
        end
        assert.equal(names, met)
        assert.equal(last - first, #elements:range("e", first, 400))
      end
    end
    assert.is_true(last > 50)
  end)

  it("has the members under a prefix, in the order of their hashes", function()
    local s = new()
    local members, row = s:members(), require("lunode.slot").row
    local function row_of(prefix, member)
      return prefix .. row("m", member):sub(4)
    end
    local function hash_of(member)
      return (string.unpack(">I4", row("m", member):sub(4)))
    end
    assert.is_nil(members:get("p", "a"))
    assert.same({ false, hash_of("a") }, { members:put("p", "a", "1") })
    assert.same({ true, hash_of("a") }, { members:put("p", "a", "2") })
    assert.equal("2", members:get("p", "a"))
    assert.equal("2", s:get(row_of("p", "a")))
    assert.same({ false, hash_of("a") }, { members:add("p", "a", "3") })
    assert.equal("2", members:get("p", "a"))
    assert.same({ "2", hash_of("a") }, { members:swap("p", "a", "4") })
    assert.same({ nil, hash_of("b") }, { members:swap("p", "b", "5") })
    assert.same({ "4", "5" }, { members:get("p", "a"), members:get("p", "b") })
    assert.same({ nil, hash_of("c") }, { members:index("i", "c", "v", "1") })
    assert.same({ "1", hash_of("c") }, { members:index("i", "c", "v", "2") })
    assert.same({ "2", hash_of("c") }, { members:index("i", "c", "v", "2") })
    assert.same({ nil, hash_of("") }, { members:index("i", "", "v", "0") })
    assert.same({ "v0", "v2c" }, s:collect("v", "w", "keys"))
    assert.equal("2", members:get("i", "c"))
    assert.error_matches(function() members:index("i", "c", "v", ("x"):rep(65)) end, "too long for an index")
    assert.same({ "2", hash_of("c") }, { members:unindex("i", "c", "v") })
    assert.same({ nil, hash_of("c") }, { members:unindex("i", "c", "v") })
    assert.same({ "v0" }, s:collect("v", "w", "keys"))
    assert.is_nil(members:get("i", "c"))
    assert.same({ "0", hash_of("") }, { members:unindex("i", "", "v") })
    assert.same({}, s:collect("v", "w", "keys"))
    assert.same({ true, hash_of("") }, { members:add("p", "", "") })
    assert.same({ true, hash_of("") }, { members:has("p", "") })
    assert.same({ false, hash_of("a") }, { members:has("q", "a") })
    assert.same({ true, hash_of("a") }, { members:delete("p", "a") })
    assert.same({ false, hash_of("a") }, { members:delete("p", "a") })
    members:put("p", "a", "1")
    assert.same({ true, hash_of("a") }, { members:delete("p", "a", true) })
    assert.is_false((members:delete("p", ("x"):rep(600))))
    assert.is_nil(members:get("p", "a"))
    members:index("i", "c", "v", "1")
    assert.same({ "c", hash_of("c") }, { members:pop("i", "1c", "v", 1) })
    assert.is_nil(members:get("i", "c"))
    assert.same({}, s:collect("v", "w", "keys"))
    local far = ("x"):rep(1000)
    members:index("i", far, "v", "12345678")
    assert.same({ far, hash_of(far) }, { members:pop("i", "12345678" .. far, "v", 8) })
    assert.same({}, s:collect("i", "j", "keys"))
    for _, n in ipairs { 490, 507, 508, 1000, 100000 } do
      local long = ("x"):rep(n)
      assert.is_true((members:add("p", long, long)))
      assert.equal(long, members:get("p", long))
      assert.equal(long, s:get(row_of("p", long)))
    end
    s:close()
    assert.error_matches(function() members:get("p", "a") end, "store is closed")
  end)

  it("collects and counts the rows of a range", function()
    local s = new()
    for i = 1, 5 do
      s:put("k" .. i, "v" .. i)
    end
    assert.is_true(s:commit())
    s:delete("k2")
    s:put("k6", "v6")
    assert.same({ "k1", "v1", "k3", "v3", "k4", "v4", "k5", "v5", "k6", "v6" }, s:collect("k"))
    assert.same({ "k3", "k4" }, s:collect("k2", "k5", "keys"))
    assert.same({ "v1", "v3" }, s:collect("", nil, "values", 2))
    assert.same({ "6", "5" }, s:collect("k", "l", "keys", 2, 1, true))
    assert.same({ "", "" }, s:collect("k", "l", "keys", 2, 9))
    assert.same({ "v4", "v5" }, s:collect("", nil, "values", 2, 0, false, 2))
    assert.same({ "v4" }, s:collect("", nil, "values", 1, 0, true, 2))
    assert.same({}, s:collect("k", "l", "both", 0))
    assert.same({}, s:collect("l"))
    assert.same({ 5, 3, 2, 0 }, { s:count(""), s:count("k", "k5"), s:count("k", "l", 2), s:count("l") })
    assert.error_matches(function() s:collect("k", "l", "all") end, "invalid option 'all'")
    assert.error_matches(function() s:collect("k", "l", "keys", 1, -1) end, "at least 0 expected")
  end)

  it("has what is written under a new prefix, before and after commit, and deletes it for good", function()
    local s, dir = new()
    s:put("o", "before")
    s:put("q", "behind")
    s:fresh("p")
    s:fresh(("p"):rep(17))
    assert.is_nil(s:get("p1"))
    assert.equal("", rows(s, "p", "q"))
    s:put("p1", "1")
    s:put("p2", "2")
    s:begin()
    s:put("p3", "3")
    assert.equal("p1=1 p2=2 p3=3", rows(s, "p", "q"))
    s:rollback()
    for _ = 1, 2 do
      assert.equal("1", s:get("p1"))
      assert.is_nil(s:get("p3"))
      assert.equal("p2=2", rows(s, "p1\0", "q"))
      assert.equal("o=before p1=1 p2=2 q=behind", rows(s, ""))
      assert.is_true(s:commit())
    end
    s:delete("p1")
    assert.is_true(s:commit())
    assert.equal("p2=2", rows(s, "p", "q"))
    for i = 1, 20 do -- more than are remembered
      s:fresh("r" .. i)
      s:put("r" .. i, "x")
    end
    assert.equal("x", s:get("r1"))
    s:close()
    s = open(dir)
    assert.is_nil(s:get("p1"))
    assert.equal("2", s:get("p2"))
    assert.has_error(function() s:fresh() end)
  end)

  it("refuses kinds and heads that are not one byte, and rows of a store that is closed", function()
    local s = new()
    local plain = s:rows("m")
    assert.error_matches(function() s:rows("me") end, "one byte expected")
    assert.error_matches(function() plain:get("key", 256) end, "a byte expected")
    assert.error_matches(function() plain:put("key", -1, "text") end, "a byte expected")
    s:close()
    assert.error_matches(function() plain:get("key", 0) end, "store is closed")
    assert.error_matches(function() plain:put("key", 0, "text") end, "store is closed")
  end)

  it("may live in memory only", function()
    local s = open(nil, { engine = "memory" })
    s:put("a", "1")
    assert.is_true(s:commit(true))
    assert.equal("a=1", rows(s, ""))
    local none, _, code = world.store.open(world.directory(), { engine = "papyrus" })
    assert.same({ nil, "EINVAL" }, { none, code })
  end)
end

kit.describe("a store", contract)

-- A build may leave it out.
if select(3, store.open("unused", { engine = "rocksdb", create = false })) ~= "ENOSYS" then
  kit.describe("a store on RocksDB", function(world)
    contract(world, "rocksdb")
  end)
end
