-- The store as scripts see it. What the core promises about crashes and full disks, core/store_test.c checks.

local store = require "lunode.store"

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

--- All rows of a scan, as "key=value key=value …".
local function rows(s, from, to)
  local met = {}
  for key, value in s:scan(from or "", to) do
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

  it("reads what was written, before and after commit", function()
    assert.is_nil(s:get("key"))
    s:put("key", "value")
    s:put("bytes\0\xff", "\0")
    s:put("empty", "")
    for _ = 1, 2 do
      assert.equal("value", s:get("key"))
      assert.equal("\0", s:get("bytes\0\xff"))
      assert.equal("", s:get("empty"))
      assert.is_true(s:commit())
    end
  end)

  it("gives nil alone for a missing key", function()
    assert.equal(1, select("#", s:get("missing")))
    s:put("gone", "x")
    s:delete("gone")
    assert.equal(1, select("#", s:get("gone")))
  end)

  it("keeps what was committed, and only that, when it is opened again", function()
    s:put("a", "1")
    s:put("b", "1")
    assert.is_true(s:commit(true))
    s:delete("a")
    assert.is_true(s:commit(false))
    s:put("b", "not committed")
    reopen()
    assert.equal("b=1", rows(s))
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

  it("rolls back to the last begin", function()
    s:put("stored", "1")
    s:commit()
    s:put("a", "1")
    s:begin()
    s:put("a", "2")
    s:delete("stored")
    s:put("b", "2")
    s:rollback()
    assert.equal("a=1 stored=1", rows(s))
    assert.equal(1, s:pending())
    s:commit()
    s:rollback()
    assert.equal("a=1 stored=1", rows(s))
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
      assert.equal("", rows(s))
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

    it("raises once its store is closed", function()
      local next_row = s:scan("")
      next_row()
      s:close()
      assert.error_matches(next_row, "the store is closed")
    end)
  end)

  it("raises on any use after close, and close itself does not", function()
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

  it("refuses arguments of the wrong type", function()
    assert.error_matches(function() s:get() end, "string expected")
    assert.error_matches(function() s:put("k") end, "string expected")
    assert.error_matches(function() s:put({}, "v") end, "string expected")
    assert.error_matches(function() s:scan() end, "string expected")
    assert.error_matches(function() s.get({}, "k") end, "store_handle expected")
    assert.equal(0, s:pending())
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

  it("tells damage", function()
    store.open(dir):close()
    write_file(dir .. "/db/CURRENT", "MANIFEST-000099\n")
    assert_fails("ECORRUPT", "is damaged")
  end)

  it("takes a cache size, and refuses what is none", function()
    store.open(dir, { cache = 1 << 20 }):close()
    assert.error_matches(function() store.open(dir, { cache = "much" }) end, "number of bytes expected")
    assert.error_matches(function() store.open(dir, { cache = -1 }) end, "number of bytes expected")
    assert.error_matches(function() store.open(dir, 7) end, "table expected")
    assert.error_matches(function() store.open() end, "string expected")
  end)
end)
