-- The store as scripts see it, beyond its contract (spec/contract/store_spec.lua). What the core promises about crashes
-- and full disks, core/store_test.c checks.

local loop = require "lunode.loop"
local resp = require "lunode.resp"
local store = require "lunode.store"
local wait = require "lunode.test.wait"

--- A name for a directory that does not exist yet.
local function new_dir()
  local name = os.tmpname()
  assert(os.remove(name))
  return name
end

local function remove_dir(dir)
  assert(dir:match("^/tmp/lua_%w+$"), dir)
  assert(os.execute("rm -rf '" .. dir .. "'"))
end

local function write_file(path, text)
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  assert(file:close())
end

--- All rows of a scan of a store or snapshot, as "key=value key=value …".
local function rows(s, from, to, options)
  local met = {}
  for key, value in s:scan(from or "", to, options) do
    met[#met + 1] = key .. "=" .. value
  end
  return table.concat(met, " ")
end

describe("a store", function()
  local dir, s

  before_each(function()
    dir = new_dir()
    s = assert(store.open(dir))
  end)

  after_each(function()
    s:close()
    remove_dir(dir)
  end)

  local function reopen()
    s:close()
    s = assert(store.open(dir))
  end

  it("tells what ranges that are read again take of memory, which is an eighth of its cache at most", function()
    s:close()
    s = assert(store.open(dir, { cache = 80000 }))
    for i = 1, 3000 do
      s:put(("%05d"):format(i), "value")
    end
    local before, largest = s:stats().cache_bytes, 0
    for from = 1, 2800, 100 do
      for _ = 1, 3 do
        local key, to = ("%05d"):format(from), ("%05d"):format(from + 100)
        local bytes = resp.encode(s:reply(key, to, "values", "array", 100))
        assert.equal("*100\r\n" .. ("$5\r\nvalue\r\n"):rep(100), bytes)
        largest = math.max(largest, s:stats().cache_bytes - before)
      end
    end
    assert.is_true(largest > 5000 and largest <= 10000)
  end)

  it("counts what is pending", function()
    assert.equal(0, s:pending())
    s:put("a", "1")
    s:put("a", "2")
    s:delete("b")
    assert.equal(2, s:pending())
    local stats = s:stats()
    assert.equal(2, stats.pending)
    assert.equal(3, stats.pending_bytes)
    assert.equal(0, stats.batches)
    assert.equal("leveldb", stats.engine)
    assert.is_true(s:commit())
    assert.equal(0, s:pending())
    assert.equal(1, s:stats().batches)
  end)

  it("carries large values", function()
    local large = ("0123456789abcdef"):rep(1 << 16)
    s:put("large", large)
    assert.is_true(s:get("large") == large)
    s:commit()
    assert.is_true(s:get("large") == large)
  end)

  describe("scan", function()
    before_each(function()
      for _, key in ipairs { "a", "c", "e" } do s:put(key, "stored") end
      assert.is_true(s:commit())
    end)

    it("walks pending and stored rows in one order", function()
      s:put("b", "new")
      s:put("c", "new")
      s:delete("e")
      assert.equal("a=stored b=new c=new", rows(s))
      assert.equal("b=new", rows(s, "b", "c"))
      assert.equal("", rows(s, "d"))
      assert.equal("", rows(s, "a", "a"))
    end)

    it("ends with its loop, also where that breaks or raises", function()
      for key in s:scan("") do
        if key == "a" then break end
      end
      assert.has_error(function()
        for _ in s:scan("") do error("out") end
      end)
      local next_row <const>, _, _, box <close> = s:scan("")
      assert.equal("a", (next_row()))
      getmetatable(box).__close(box)
      assert.is_nil(next_row())
    end)

    it("stays at its end", function()
      local next_row = s:scan("e")
      assert.equal("e", (next_row()))
      assert.is_nil(next_row())
      s:put("f", "late")
      assert.is_nil(next_row())
    end)

    it("can be left to the garbage collector, in any order", function()
      for i = 1, 100 do
        local next_row = s:scan("")
        if i % 2 == 0 then next_row() end
      end
      collectgarbage()
      local next_row = store.open(dir .. "/other"):scan("")
      collectgarbage() -- the iterator keeps its store
      assert.is_nil(next_row())
    end)
  end)

  it("raises on any use after close, and close itself does not", function()
    s:close()
    s:close()
    for _, use in ipairs {
      function() s:get("k") end, function() s:put("k", "v") end, function() s:delete("k") end,
      function() s:begin() end, function() s:rollback() end, function() s:commit() end,
      function() s:scan("") end, function() s:pending() end, function() s:stats() end,
      function() s:delete_range("") end, function() s:advance(1) end, function() s:applied() end,
      function() s:room() end, function() s:flush() end, function() s:snapshot() end,
    } do
      assert.error_matches(use, "store is closed")
    end
  end)

  it("walks backwards, too", function()
    for _, key in ipairs { "a", "c", "e" } do s:put(key, "1") end
    assert.is_true(s:commit())
    s:put("b", "2")
    s:delete("c")
    assert.equal("e=1 b=2 a=1", rows(s, "", nil, { reverse = true }))
    assert.equal("b=2 a=1", rows(s, "a", "e", { reverse = true }))
    assert.equal("", rows(s, "c", "d", { reverse = true }))
  end)

  it("deletes ranges at once, and takes them back", function()
    for i = 0, 99 do s:put(("%02d"):format(i), "x") end
    assert.is_true(s:commit())
    s:begin()
    s:delete_range("10", "90")
    s:put("50", "later")
    assert.is_nil(s:get("10"))
    assert.equal("09=x 50=later 90=x", rows(s, "09", "91"))
    s:rollback()
    assert.equal("x", s:get("10"))
    s:delete_range("01")
    assert.is_true(s:commit())
    reopen()
    assert.equal("00=x", rows(s))
  end)

  it("stores keys that look like its own rows", function()
    for _, key in ipairs { "\xff", "\xff\xff", "\xff\xff\0applied", "\xff\xff\xff" } do
      s:put(key, key)
      assert.is_true(s:advance(s:applied() + 1))
    end
    assert.is_true(s:commit(true))
    reopen()
    assert.equal(4, s:applied())
    assert.equal("\xff\xff\0applied", s:get("\xff\xff\0applied"))
    s:delete_range("\xff\xff")
    assert.equal("\xff=\xff", rows(s))
    assert.is_true(s:advance(5))
    assert.is_true(s:commit(true))
    reopen()
    assert.equal(5, s:applied())
    assert.equal("\xff=\xff", rows(s))
  end)

  it("says at open what was flushed, and has whole entries", function()
    assert.equal(0, s:applied())
    s:put("a", "1")
    assert.is_true(s:advance(7))
    s:put("b", "half an entry")
    local ok, err, code = s:commit(true)
    assert.is_nil(ok)
    assert.matches("advance first", err)
    assert.equal("EINVAL", code)
    local told
    assert.is_true(s:flush(function(...) told = table.pack(...) end))
    assert.is_nil(told)
    s:put("c", "1")
    assert.is_true(s:advance(8))
    s:put("d", "never advanced")
    wait.till(function() return told end)
    assert.same({ n = 3, [3] = 8 }, told)
    reopen()
    assert.equal(8, s:applied())
    assert.equal("a=1 b=half an entry c=1", rows(s))
    assert.error_matches(function() s:advance(8) end, "greater than the index before expected")
    assert.error_matches(function() s:advance(-1) end, "greater than the index before expected")
  end)

  it("keeps the loop alive for who waits for a flush, and for nobody else", function()
    local calls = 0
    s:put("a", "1")
    s:flush(function() calls = calls + 1 end)
    s:flush()
    collectgarbage()
    loop.run()
    assert.equal(1, calls)
    assert.equal(0, s:pending())
  end)

  it("cancels a flush when it is closed", function()
    local told
    s:put("a", "1")
    s:advance(1)
    s:put("b", "half an entry")
    s:flush(function(_, code) told = code end)
    s:close()
    assert.is_nil(told)
    wait.till(function() return told end)
    assert.equal("ECANCELED", told)
  end)

  it("reports a callback that raises, and goes on", function()
    local reported
    local former = loop.on_error(function(traceback) reported = traceback end)
    s:put("a", "1")
    s:flush(function() error("out of the flush") end)
    local done
    s:flush(function() done = true end)
    wait.till(function() return done end)
    loop.on_error(former)
    assert.matches("out of the flush", reported)
  end)

  it("gives snapshots that stay as they were", function()
    s:put("a", "1")
    s:put("b", "1")
    s:advance(3)
    local snapshot = assert(s:snapshot())
    s:delete_range("")
    s:put("a", "2")
    s:advance(4)
    local done
    s:flush(function() done = true end)
    wait.till(function() return done end)
    assert.equal("a=2", rows(s))
    assert.equal(3, snapshot:applied())
    assert.equal("1", snapshot:get("a"))
    assert.equal(1, select("#", snapshot:get("none")))
    assert.equal("a=1 b=1", rows(snapshot))
    assert.equal("b=1 a=1", rows(snapshot, "", nil, { reverse = true }))
    local next_row = snapshot:scan("")
    next_row()
    snapshot:close()
    snapshot:close()
    assert.error_matches(function() snapshot:get("a") end, "snapshot is closed")
    assert.error_matches(next_row, "the store is closed")
    local orphan <close> = assert(s:snapshot())
    s:close()
    assert.same({ nil, "the store is closed", "EBADF" }, { orphan:get("a") })
    assert.error_matches(function() orphan:scan("") end, "the store is closed")
  end)

  it("leaves snapshots and their scans to the garbage collector", function()
    s:put("a", "1")
    for i = 1, 100 do
      local next_row = assert(s:snapshot()):scan("")
      if i % 2 == 0 then next_row() end
    end
    collectgarbage()
    assert.is_not_nil(s:snapshot())
    local next_row = assert(s:snapshot()):scan("")
    collectgarbage()
    assert.equal("a", (next_row()))
  end)

  it("closes at the end of its scope, and when it is collected", function()
    s:close()
    do
      local scoped <close> = assert(store.open(dir))
      scoped:put("k", "v")
    end
    do
      local lost = assert(store.open(dir))
      assert.is_nil(lost:get("k"))
    end
    collectgarbage()
    s = assert(store.open(dir))
  end)
end)

describe("store.open", function()
  local dir

  before_each(function() dir = new_dir() end)
  after_each(function() remove_dir(dir) end)

  local function assert_fails(code, cause, options)
    local s, err, got = store.open(dir, options)
    assert.is_nil(s)
    assert.equal(code, got)
    assert.matches(cause, err, 1, true)
    assert.matches("give ", err, 1, true) -- what to do
    assert.not_matches("\n", err)
  end

  it("makes the directory only where it may", function()
    assert_fails("ENOENT", "No such file or directory", { create = false })
    store.open(dir, { create = true }):close()
    store.open(dir, { create = false }):close()
  end)

  it("says who has the directory in use", function()
    local s = assert(store.open(dir))
    assert_fails("ELOCKED", "in use by process ")
    s:put("still", "works")
    assert.is_true(s:commit())
    s:close()
    store.open(dir):close()
  end)

  it("leaves a newer format and a stranger's files alone", function()
    store.open(dir):close()
    write_file(dir .. "/FORMAT", "lunode data 3\n")
    assert_fails("EVERSION", "has format 3")
    assert(os.remove(dir .. "/FORMAT"))
    assert_fails("EFOREIGN", "not a data directory of lunode")
    assert.is_nil(io.open(dir .. "/FORMAT"))
  end)

  it("tells of flushes and of room", function()
    local indices, rooms = {}, 0
    local s = assert(store.open(dir, {
      overlay = 100000,
      limit = 150000,
      on_flushed = function(err, code, index)
        assert(not err and not code)
        indices[#indices + 1] = index
      end,
      on_room = function() rooms = rooms + 1 end,
    }))
    local value, index = ("x"):rep(1000), 0
    assert.is_true(s:room())
    while s:room() do
      index = index + 1
      s:put(("%08d"):format(index), value)
      s:advance(index)
      assert(index < 10000)
    end
    local room, err, code = s:room()
    assert.is_false(room)
    assert.matches("the flush is behind", err)
    assert.equal("EAGAIN", code)
    wait.till(function() return rooms == 1 and #indices > 0 end)
    assert.is_true(s:room())
    assert.equal(indices[#indices], s:stats().durable)
    s:close()
    s = assert(store.open(dir))
    assert.is_true(s:applied() >= indices[#indices])
    assert.equal(("%08d"):format(s:applied()), (s:scan("", nil, { reverse = true })()))
    s:close()
  end)

  it("leaves a cycle through its callbacks to the garbage collector", function()
    local weak = setmetatable({}, { __mode = "v" })
    do
      local s
      s = assert(store.open(dir, { on_room = function() s:put("a", "1") end }))
      weak[1] = s
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
    store.open(dir):close()
  end)

  it("remembers the engine, and refuses another one", function()
    store.open(dir):close()
    assert_fails("EENGINE", "holds data of the engine leveldb, not memory", { engine = "memory" })
    assert_fails("EINVAL", "there is no engine granite; give leveldb", { engine = "granite" })
    store.open(dir, { engine = "leveldb" }):close()
    write_file(dir .. "/FORMAT", "lunode data 2\nengine granite\n")
    assert_fails("EVERSION", "of the engine granite")
  end)

  it("takes RocksDB, where there is one", function()
    local s, err, code = store.open(dir, { engine = "rocksdb" })
    if code == "ENOSYS" then
      assert.matches("install", err)
      assert.is_nil(io.open(dir .. "/FORMAT")) -- nothing was made
      return store.open(dir):close()
    end
    s:put("a", "1")
    s:put("b", "1")
    s:delete_range("b")
    assert.is_true(s:commit(true))
    s:close()
    s = assert(store.open(dir)) -- as it remembers
    assert.equal("rocksdb", s:stats().engine)
    assert.equal("a=1", rows(s))
    s:close()
    assert_fails("EENGINE", "holds data of the engine rocksdb", { engine = "leveldb" })
  end)

  it("upgrades format 1", function()
    local s = assert(store.open(dir))
    s:put("a", "1")
    s:put("\xffcount", "2")
    assert.is_true(s:commit(true))
    s:close()
    write_file(dir .. "/FORMAT", "lunode data 1\n")
    s = assert(store.open(dir))
    assert.equal("2", s:get("\xffcount"))
    s:close()
    assert.equal("lunode data 2\nengine leveldb\n", assert(io.open(dir .. "/FORMAT")):read("a"))
    s = assert(store.open(dir))
    s:put("\xff\xff", "")
    assert.is_true(s:commit(true))
    s:close()
    write_file(dir .. "/FORMAT", "lunode data 1\n")
    local opened, err, code = store.open(dir)
    assert.is_nil(opened)
    assert.matches("cannot be upgraded", err)
    assert.equal("EVERSION", code)
  end)

  it("keeps rows in memory only, without a directory", function()
    assert.error_matches(function() store.open(nil) end, "string expected")
    local s = assert(store.open(nil, { engine = "memory" }))
    s:put("a", "1")
    assert.is_true(s:commit(true))
    s:put("b", "2")
    s:delete_range("a", "b")
    assert.equal("b=2", rows(s))
    assert.is_true(s:commit())
    assert.equal("b=2", rows(s))
    assert.equal("memory", s:stats().engine)
    s:close()
    store.open(dir):close() -- for after_each
  end)

  it("tells damage", function()
    store.open(dir):close()
    write_file(dir .. "/db/CURRENT", "MANIFEST-000099\n")
    assert_fails("ECORRUPT", "is damaged")
  end)

  it("takes a cache size, and refuses what is none", function()
    store.open(dir, { cache = 1 << 20 }):close()
    assert.error_matches(function() store.open(dir, { cache = "much" }) end, "number of bytes expected")
    assert.error_matches(function() store.open(dir, { cache = -1 }) end, "number of bytes expected")
    assert.error_matches(function() store.open(dir, { overlay = 1.5 }) end, "overlay: a number of bytes expected")
    assert.error_matches(function() store.open(dir, { engine = 7 }) end, "engine: a name expected")
    assert.error_matches(function() store.open(dir, { on_room = 7 }) end, "on_room: a function expected")
    assert.error_matches(function() store.open(dir, { max_age = -1 }) end, "must not be negative")
    assert.error_matches(function() store.open(dir, 7) end, "table expected")
    assert.error_matches(function() store.open() end, "string expected")
  end)
end)
