local database = require "lunode.kv.db"
local keys = require "lunode.kv.keys"
local store = require "lunode.store"
local tmp = require "lunode.test.tmp"

describe("the keys of a node", function()
  local dir, db

  local function open()
    db = assert(database.open(assert(store.open(dir))))
    db.now = 1000
  end

  local function reopen()
    db:save_counts()
    assert(db.store:commit(false))
    db.store:close()
    open()
  end

  -- Runs fn as a command that writes.
  local function write(fn)
    db:begin()
    fn()
    db:finish()
  end

  local function set(key, text, expiry)
    write(function()
      db:set(key, text, expiry)
    end)
  end

  -- What the store really holds, whatever the db counts.
  local function rows(from, to)
    local count = 0
    for _ in db.store:scan(from, to) do
      count = count + 1
    end
    return count
  end

  local function assert_consistent()
    assert.equal(rows("", keys.SLOTS_END), db.keys)
    assert.equal(rows(keys.EXPIRY_START, keys.SYSTEM_START), db.expires)
  end

  before_each(function()
    dir = tmp.dir() .. "/data"
    open()
  end)

  after_each(function()
    db.store:close()
  end)

  it("are set, replaced and deleted, and counted", function()
    set("a", "1")
    set("a", "2")
    set("b", "3", 5000)
    assert.equal("2", db:get("a"))
    assert.equal("3", db:get("b"))
    assert.is_nil(db:get("c"))
    assert.same({ 2, 1 }, { db.keys, db.expires })
    set("b", "4") -- no expiry any more
    assert.same({ 2, 0 }, { db.keys, db.expires })
    assert_consistent()
    write(function()
      assert.is_true(db:delete("a"))
      assert.is_false(db:delete("a"))
    end)
    assert.equal(1, db.keys)
    assert_consistent()
  end)

  it("survive a restart with their counts", function()
    set("a", "1")
    set("b", "2", 5000)
    reopen()
    assert.same({ 2, 1 }, { db.keys, db.expires })
    assert.equal("1", db:get("a"))
    assert.equal("2", db:get("b"))
    assert_consistent()
  end)

  it("are there until their expiry, then gone for who reads, and deleted by who writes", function()
    set("a", "1", 1500)
    local met = {}
    db.on_expired = function(row)
      met[#met + 1] = row
    end
    db.now = 1500
    assert.equal("1", db:get("a"))
    db.now = 1501
    assert.is_nil(db:get("a"))
    assert.same({ keys.row("a") }, met)
    assert.same({ 1, 1, 0 }, { db.keys, db.expires, db.expired })
    write(function()
      assert.is_nil(db:get("a"))
    end)
    assert.same({ 0, 0, 1 }, { db.keys, db.expires, db.expired })
    assert_consistent()
  end)

  it("are deleted one by one only if their time has come", function()
    set("a", "1", 1500)
    set("b", "1")
    write(function()
      db:expire_row(keys.row("a"))
      db:expire_row(keys.row("b"))
      db:expire_row(keys.row("none"))
    end)
    assert.equal(2, db.keys)
    db.now = 1501
    write(function()
      db:expire_row(keys.row("a"))
    end)
    assert.same({ 1, 0, 1 }, { db.keys, db.expires, db.expired })
    assert_consistent()
  end)

  it("say whether a command has changed anything", function()
    db:begin()
    db:get("none")
    assert.is_false(db:finish())
    db:begin()
    db:set("a", "1")
    assert.is_true(db:finish())
  end)

  it("expire in the background, a bounded number at a time", function()
    for i = 1, 25 do
      set("timed" .. i, "x", 1100 + i)
    end
    set("stays", "x")
    set("later", "x", 9000)
    local function expire()
      write(function()
        db:expire_due(10)
      end)
      return db.keys
    end
    assert.is_false(db:is_due(1000))
    assert.is_true(db:is_due(2000))
    assert.equal(27, expire())
    db.now = 2000
    assert.equal(17, expire())
    assert.equal(7, expire())
    assert.is_true(db:is_due(2000))
    assert.equal(2, expire())
    assert.is_false(db:is_due(2000))
    assert.same({ 2, 1, 25 }, { db.keys, db.expires, db.expired })
    assert_consistent()
    set("early", "x", 1200) -- before where the walk over the index had got to
    assert.is_true(db:is_due(2000))
    assert.equal(2, expire())
    assert_consistent()
  end)

  it("are as they were before, after a rollback", function()
    set("a", "1", 5000)
    db:begin()
    db:set("a", "2")
    db:set("b", "3", 6000)
    db:rollback()
    assert.equal("1", db:get("a"))
    assert.is_nil(db:get("b"))
    assert.same({ 1, 1 }, { db.keys, db.expires })
    assert_consistent()
  end)

  it("expire after a rollback of their end, too", function()
    set("timed", "x", 1100)
    db.now = 2000
    db:begin()
    db:expire_due(10)
    db:rollback()
    assert.is_true(db:is_due(2000))
    write(function()
      db:expire_due(10)
    end)
    assert.same({ 0, 0 }, { db.keys, db.expires })
    assert_consistent()
  end)

  it("are written only by commands that say so", function()
    assert.has_error(function()
      db:set("a", "1")
    end)
    set("a", "1")
    assert.has_error(function()
      db:delete("a")
    end)
    assert.equal("1", db:get("a"))
  end)

  it("of another type are no strings", function()
    write(function()
      db:put(keys.row("list"), nil, "\1payload")
    end)
    local ok, err = pcall(db.get, db, "list")
    assert.is_false(ok)
    assert.matches("WRONGTYPE", require("lunode.resp").encode(err))
    assert.is_true(db:exists("list"))
  end)

  it("are walked in order, elements of collections and expired keys left out", function()
    local expected = {}
    for i = 1, 200 do
      set("key" .. i, "x")
      expected[#expected + 1] = keys.row("key" .. i)
    end
    table.sort(expected)
    set("expired", "x", 1001)
    db.now = 1002
    for i = 1, 50 do -- as a later version will lay them out
      local row = keys.row("key" .. i)
      db.store:put(row:sub(1, 2) .. "e" .. row:sub(4) .. "member", "")
      db.store:put(row:sub(1, 2) .. "z" .. row:sub(4), "")
    end
    local met = {}
    db:walk(0, 0, function(row)
      met[#met + 1] = row
    end)
    assert.same(expected, met)
    met = {}
    local slot, hash = keys.position(expected[100])
    db:walk(slot, hash, function(row)
      met[#met + 1] = row
      return #met == 3
    end)
    assert.same({ expected[100], expected[101], expected[102] }, met)
  end)

  it("are all deleted by a flush", function()
    db:begin()
    for i = 1, 10000 do
      db:set("key" .. i, "x", i % 2 == 0 and 5000 or nil)
    end
    db:finish()
    write(function()
      db:flush()
    end)
    assert.same({ 0, 0 }, { db.keys, db.expires })
    assert_consistent()
    set("after", "x")
    reopen()
    assert.equal(1, db.keys)
  end)

  it("are all there again when a flush is rolled back", function()
    for i = 1, 100 do
      set("key" .. i, "x", 5000)
    end
    db:begin()
    db:flush()
    db:rollback()
    assert.same({ 100, 100 }, { db.keys, db.expires })
    assert_consistent()
  end)

  it("of a newer format are refused, and left alone", function()
    db.store:put(keys.FORMAT_ROW, "2")
    assert(db.store:commit(false))
    db.store:close()
    local handle = assert(store.open(dir))
    local none, err, code = database.open(handle)
    assert.is_nil(none)
    assert.matches("format 2", err)
    assert.equal("EVERSION", code)
    assert.equal("2", handle:get(keys.FORMAT_ROW))
    handle:delete(keys.FORMAT_ROW)
    assert(handle:commit(false))
    handle:close()
    open()
  end)
end)
