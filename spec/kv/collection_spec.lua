local database = require "lunode.kv.db"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local chosen = require "lunode.kv.members"
local prng = require "spec.support.prng"
local remembered = require "lunode.kv.remembered"
local store = require "lunode.store"

describe("a key's collection", function()
  local handle, db

  local function open_db()
    db = assert(database.open(handle))
    db.now = 1000
  end

  before_each(function()
    handle = assert(store.open(nil, { engine = "memory" }))
    open_db()
  end)

  after_each(function()
    handle:close()
  end)

  -- The end of an entry, and all that is kept between two is forgotten.
  local function reopen()
    db:save_counts()
    open_db()
  end

  local function write(fn)
    db:begin()
    fn()
    db:finish()
  end

  local function add(key, member)
    local c = db.collections:create(key, keys.SET)
    if db.members:add(c.prefix, member, "") then
      c.count = c.count + 1
    end
    db.collections:changed(c)
  end

  local function remove(key, member)
    local c = db.collections:open(key, keys.SET)
    if c and db.members:delete(c.prefix, member) then
      c.count = c.count - 1
      db.collections:changed(c)
    end
  end

  local function size(key)
    local c = db.collections:read(key, keys.SET)
    return c and c.count
  end

  -- Element rows in the store, and those that the collections count; keys in the store.
  local function rows()
    local elements, counted, metas = 0, 0, 0
    for row, value in handle:scan("", keys.SLOTS_END) do
      if row:byte(3) == keys.ELEMENT then
        elements = elements + 1
      else
        metas = metas + 1
        if keys.is_collection(value) then
          counted = counted + select(3, keys.collection(value))
        end
      end
    end
    return elements, counted, metas
  end

  local function assert_whole()
    db:save_counts()
    local elements, counted, metas = rows()
    assert.equal(elements, counted)
    assert.equal(metas, db.keys)
  end

  it("comes with its first element and goes with its last", function()
    write(function()
      add("s", "a")
      add("s", "b")
    end)
    assert.equal(2, size("s"))
    assert.equal(1, db.keys)
    reopen()
    assert.equal(2, size("s"))
    assert_whole()
    write(function()
      remove("s", "a")
      remove("s", "b")
    end)
    assert.is_nil(size("s"))
    assert.equal(0, db.keys)
    assert.same({ 0, 0, 0 }, { rows() })
  end)

  it("is not made by a command that puts nothing in", function()
    write(function()
      db.collections:create("s", keys.SET)
    end)
    assert.is_nil(size("s"))
    assert.equal(0, db.version) -- such a command is in no log: a replay would not know of a version it took
    assert_whole()
  end)

  it("of another type, or a string, raises", function()
    write(function()
      db:set("text", "1")
      add("s", "a")
    end)
    for _, fn in ipairs {
      function() db.collections:read("text", keys.SET) end,
      function() db.collections:read("s", keys.HASH) end,
      function() db:get("s") end,
    } do
      local ok, err = pcall(fn)
      assert.is_false(ok)
      assert.equal(errors.WRONGTYPE, err)
    end
  end)

  it("has its meta row written once at the end of an entry, and nobody sees an older count", function()
    write(function()
      add("s", "a")
    end)
    write(function()
      add("s", "b")
    end)
    local row, value = db:find("s")
    assert.equal(2, select(3, keys.collection(value)))
    assert.equal(1, select(3, keys.collection(handle:get(row))))
    db:save_counts()
    assert.equal(value, handle:get(row))
  end)

  it("goes with all its elements, large or small, when its key is deleted or set", function()
    for _, count in ipairs { 10, 1000 } do
      write(function()
        for i = 1, count do
          add("deleted", "m" .. i)
          add("set", "m" .. i)
          add("stays", "m" .. i)
        end
      end)
      write(function()
        assert.is_true(db:delete("deleted"))
      end)
      write(function()
        db:set("set", "text")
      end)
      assert.is_nil(size("deleted"))
      assert.equal("text", db:get("set"))
      assert.equal(count, size("stays"))
      assert_whole()
      write(function()
        db:flush()
      end)
      assert.is_nil(size("stays"))
      assert.same({ 0, 0, 0 }, { rows() })
    end
  end)

  it("never meets the elements of one that was there before", function()
    write(function()
      add("s", "a")
    end)
    local before = db.collections:read("s", keys.SET).version
    write(function()
      db:flush()
    end)
    reopen()
    write(function()
      add("s", "b")
    end)
    assert.is_true(db.collections:read("s", keys.SET).version > before)
  end)

  it("keeps its expiry as elements come and go, and is gone once that has passed", function()
    write(function()
      add("s", "a")
      local row, value = db:find("s")
      db:put(row, value, keys.with_expiry(value, 2000))
      add("s", "b")
    end)
    assert.equal(1, db.expires)
    db.now = 2000
    assert.equal(2, size("s"))
    db.now = 2001
    local told
    db.on_expired = function(row)
      told = keys.key(row)
    end
    assert.is_nil(size("s"))
    assert.equal("s", told)
    write(function()
      db:expire_due(10)
    end)
    assert.same({ 0, 0 }, { db.keys, db.expires })
    assert.same({ 0, 0, 0 }, { rows() })
  end)

  it("moves to another key, of another slot too, without its elements moving", function()
    write(function()
      for i = 1, 10 do
        add("from", "m" .. i)
        add("to", "m" .. i)
      end
      remove("from", "m1")
    end)
    write(function()
      local row, value = db:find("from")
      db:move(row, value, db:find("to"))
    end)
    reopen()
    assert.is_nil(size("from"))
    assert.equal(9, size("to"))
    assert_whole()
    write(function()
      add("to", "m1")
      add("from", "new")
    end)
    assert.same({ 10, 1 }, { size("to"), size("from") })
    assert_whole()
  end)

  it("is what it was before a command that failed", function()
    local chance, model = prng.new(7), {}
    local names = { "a", "b", "c", "text" }
    local function copy()
      local same = {}
      for name, members in pairs(model) do
        same[name] = type(members) == "table" and table.move(members, 1, 20, 1, {}) or members
      end
      return same
    end
    local function step()
      local name, member, which = chance:pick(names), chance:int(1, 20), chance:int(1, 12)
      if which == 1 then
        db:delete(name)
        model[name] = nil
      elseif which == 2 then
        db:set(name, "text")
        model[name] = "text"
      elseif which == 3 then
        local target, row, value = chance:pick(names), db:find(name)
        if value and target ~= name then
          db:move(row, value, db:find(target))
          model[target], model[name] = model[name], nil
        end
      elseif which == 4 then
        local row, value = db:find(name)
        if value then
          db:put(row, value, keys.with_expiry(value, chance:int(5000, 9000)))
        end
      elseif model[name] ~= "text" and which < 10 then
        add(name, "m" .. member)
        model[name] = model[name] or {}
        model[name][member] = true
      elseif model[name] ~= "text" then
        remove(name, "m" .. member)
        if model[name] then
          model[name][member] = nil
          model[name] = next(model[name]) and model[name] or nil
        end
      end
    end
    local failures = 0
    for turn = 1, 2000 do
      local before = copy()
      db:begin()
      for _ = 1, chance:int(1, 6) do
        step()
      end
      if chance:odds(0.3) then
        db:rollback()
        model, failures = before, failures + 1
      else
        db:finish()
      end
      for _, name in ipairs(names) do
        if type(model[name]) == "table" then
          local count = 0
          for member in pairs(model[name]) do
            count = count + 1
            local c = db.collections:read(name, keys.SET)
            assert.is_true((db.members:has(c.prefix, "m" .. member)))
          end
          assert.equal(count, size(name), turn)
        else
          assert.equal(model[name], db:get(name), turn)
        end
      end
      if chance:odds(0.1) then
        assert_whole()
      end
      if chance:odds(0.05) then
        reopen()
      end
    end
    assert_whole()
    assert.is_true(failures > 100)
  end)

  -- A command's ctx, as far as chance asks for it.
  local function context(seed)
    local chance = prng.new(seed)
    return {
      db = db,
      random = function(_, low, high)
        return chance:int(low, high)
      end,
    }
  end

  it("gives the same members to chance, whether they are remembered or read", function()
    local chance, next_member, times = prng.new(11), 0, 0
    local function come(c, count)
      for _ = 1, count do
        next_member = next_member + 1
        local name = "m" .. next_member
        local added, hash = db.members:add(c.prefix, name, "")
        assert.is_true(added)
        remembered.added(db, c, name, hash)
        c.count = c.count + 1
      end
    end
    local function take(c, turn)
      times = times + (c.index and 1 or 0)
      local expected = chosen.pick(context(turn), c.prefix, c.count, "keys")
      assert.equal(expected, chosen.take(context(turn), c), turn)
      assert.is_false((db.members:has(c.prefix, expected)))
      c.count = c.count - 1
    end
    db:begin()
    local first = db.collections:create("s0", keys.SET)
    come(first, 1000)
    db.collections:changed(first)
    db:finish()
    for turn = 1, 6000 do
      db:begin()
      local c = db.collections:create("s" .. (chance:odds(0.01) and 1 or 0), keys.SET)
      if c.count == 0 then
        come(c, chance:int(1, 300))
      elseif chance:odds(0.2) then
        come(c, chance:int(1, 3))
      elseif chance:odds(0.01) then -- by a command that names it
        local name = chosen.pick(context(turn), c.prefix, c.count, "keys")
        local _, hash = db.members:delete(c.prefix, name)
        remembered.removed(c, name, hash)
        c.count = c.count - 1
      else
        take(c, turn)
      end
      db.collections:changed(c)
      if chance:odds(0.005) then
        db:rollback()
      else
        db:finish()
      end
    end
    assert_whole()
    assert.is_true(times > 1000, times)
  end)

  it("does not walk over members that were taken, each time another one is", function()
    db:begin()
    local c = db.collections:create("s", keys.SET)
    for i = 1, 2000 do
      db.members:add(c.prefix, "m" .. i, "")
    end
    c.count = 2000
    local reads, collect = 0, handle.collect
    db.store = setmetatable({
      collect = function(_, ...)
        reads = reads + 1
        return collect(handle, ...)
      end,
    }, { __index = function(_, name)
      return function(_, ...)
        return handle[name](handle, ...)
      end
    end })
    for turn = 1, 2000 do
      chosen.take(context(turn), c)
      c.count = c.count - 1
    end
    db.store = handle
    assert.is_true(reads < 500, reads)
    assert.same({}, chosen.all(db, c.prefix, "keys"))
    db.collections:changed(c)
    db:finish()
  end)
end)
