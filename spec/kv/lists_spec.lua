local database = require "lunode.kv.db"
local fake_node = require "spec.kv.fake_node"
local keys = require "lunode.kv.keys"
local list = require "lunode.kv.list"
local prng = require "spec.support.prng"
local resp = require "lunode.resp"
local store = require "lunode.store"

local null = resp.null

describe("the elements of a list", function()
  local handle, db

  before_each(function()
    handle = assert(store.open(nil, { engine = "memory" }))
    db = assert(database.open(handle))
  end)

  after_each(function()
    handle:close()
  end)

  -- Runs fn on the list as one command.
  local function write(fn)
    db:begin()
    local c = list.create(db, "list")
    fn(c)
    db.collections:changed(c)
    db:finish()
    return c
  end

  local function elements()
    local c = db.collections:read("list", keys.LIST)
    return c and list.range(db, c, 0, c.count - 1) or {}
  end

  local function row_count()
    return handle:count("", keys.SLOTS_END) - (db.keys > 0 and 1 or 0)
  end

  -- What each operation does to a table.
  local operations = {
    function(chance, model, c)
      local value = tostring(chance:int(0, 5))
      table.insert(model, 1, value)
      list.push_left(db, c, value)
    end,
    function(chance, model, c)
      local value = tostring(chance:int(0, 5))
      model[#model + 1] = value
      list.push_right(db, c, value)
    end,
    function(_, model, c)
      if c.count > 0 then
        assert.equal(table.remove(model, 1), list.pop_left(db, c))
      end
    end,
    function(_, model, c)
      if c.count > 0 then
        assert.equal(table.remove(model), list.pop_right(db, c))
      end
    end,
    function(chance, model, c)
      local at = chance:int(0, #model)
      table.insert(model, at + 1, "new")
      list.insert(db, c, at, "new")
    end,
    function(chance, model, c)
      local positions = {}
      for position = 0, #model - 1 do
        if chance:odds(0.2) then
          positions[#positions + 1] = position
        end
      end
      for i = #positions, 1, -1 do
        table.remove(model, positions[i] + 1)
      end
      if #positions > 0 then
        list.remove(db, c, positions)
      end
    end,
  }

  it("are those of a table under the same operations, and no rows are left over", function()
    local chance, model = prng.new(1), {}
    for round = 1, 3000 do
      write(function(c)
        chance:weighted {
          { 4, operations[1] }, { 4, operations[2] }, { 2, operations[3] }, { 2, operations[4] }, { 3, operations[5] },
          { 1, operations[6] },
        }(chance, model, c)
      end)
      if round % 50 == 0 then
        assert.same(model, elements())
        assert.equal(#model, row_count())
      end
      if round % 500 == 0 then -- what is kept in memory is forgotten
        db:save_counts()
        db = assert(database.open(handle))
      end
    end
  end)

  it("move as few as possible when some are removed", function()
    local moved = 0
    local elements_of = db.elements
    local counting = {
      move = function(_, prefix, first, count, by)
        moved = moved + count
        return elements_of:move(prefix, first, count, by)
      end,
    }
    for _, case in ipairs {
      { { 0 }, 0 }, { { 99 }, 0 }, { { 1 }, 1 }, { { 98 }, 1 }, { { 1, 98 }, 2 }, { { 0, 1, 2, 99 }, 0 },
      { { 10, 20, 90 }, 28 }, { { 50 }, 49 },
    } do
      local c = write(function(c)
        list.trim(db, c, c.count, 0)
        for i = 0, 99 do
          list.push_right(db, c, tostring(i))
        end
      end)
      moved = 0
      db:begin()
      db.elements = counting
      list.remove(db, c, case[1])
      db.elements = elements_of
      db.collections:changed(c)
      db:finish()
      assert.equal(case[2], moved)
    end
  end)

  it("are found from either end", function()
    write(function(c)
      for i = 0, 2999 do
        list.push_right(db, c, tostring(i % 1000))
      end
    end)
    local c = db.collections:read("list", keys.LIST)
    assert.same({ 7, 1007, 2007 }, list.find(db, c, "7", 0))
    assert.same({ 2007, 1007 }, list.find(db, c, "7", 2, true))
    assert.same({ 7 }, list.find(db, c, "7", 1))
    assert.same({}, list.find(db, c, "none", 0))
    assert.same({}, list.find(db, c, "7", 0, false, 7))
    assert.same({ 7 }, list.find(db, c, "7", 0, false, 8))
    assert.same({ 2007 }, list.find(db, c, "7", 0, true, 993))
  end)

  it("go with one mark where they are many, and with their rows where they are few", function()
    for _, count in ipairs { 10, 256, 257, 5000 } do
      write(function(c)
        for i = 1, count do
          list.push_right(db, c, tostring(i))
        end
      end)
      write(function(c)
        list.trim(db, c, count // 2, 0)
        assert.equal(tostring(count // 2 + 1), list.get(db, c, 0))
        list.trim(db, c, 0, c.count)
      end)
      assert.equal(0, handle:count("", keys.SLOTS_END))
    end
  end)
end)

describe("commands on lists", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  local function all(key)
    return client("LRANGE", key, "0", "-1")
  end

  it("push and pop at both ends", function()
    assert.equal(2, client("RPUSH", "a", "1", "2"))
    assert.equal(4, client("LPUSH", "a", "3", "4"))
    assert.same({ "4", "3", "1", "2" }, all "a")
    assert.equal("4", client("LPOP", "a"))
    assert.same({ "2", "1" }, client("RPOP", "a", "2"))
    assert.same({}, client("LPOP", "a", "0"))
    assert.same({ "3" }, client("LPOP", "a", "100"))
    assert.equal(null, client("LPOP", "a"))
    assert.equal("none", client("TYPE", "a"))
    assert.equal(0, client("LPUSHX", "a", "1"))
    assert.equal(0, client("EXISTS", "a"))
    assert.equal("ERR value is out of range, must be positive", client:err("LPOP", "a", "-1"))
    assert.equal("ERR wrong number of arguments for 'rpop' command", client:err("RPOP", "a", "1", "2"))
  end)

  it("LINDEX, LSET, LRANGE and LTRIM count from either end", function()
    client("RPUSH", "a", "0", "1", "2", "3", "4")
    assert.equal("1", client("LINDEX", "a", "1"))
    assert.equal("4", client("LINDEX", "a", "-1"))
    assert.equal(null, client("LINDEX", "a", "5"))
    assert.equal("OK", client("LSET", "a", "-5", "zero"))
    assert.equal("ERR index out of range", client:err("LSET", "a", "-6", "x"))
    assert.equal("ERR no such key", client:err("LSET", "none", "0", "x"))
    assert.same({ "zero", "1" }, client("LRANGE", "a", "-100", "1"))
    assert.same({}, client("LRANGE", "a", "3", "2"))
    assert.equal("OK", client("LTRIM", "a", "1", "-2"))
    assert.same({ "1", "2", "3" }, all "a")
    assert.equal("OK", client("LTRIM", "a", "5", "10"))
    assert.equal(0, client("EXISTS", "a"))
  end)

  it("LREM, LINSERT and LPOS find elements", function()
    client("RPUSH", "a", "x", "1", "x", "2", "x", "3")
    assert.equal(1, client("LREM", "a", "-1", "x"))
    assert.same({ "x", "1", "x", "2", "3" }, all "a")
    assert.equal(2, client("LREM", "a", "0", "x"))
    assert.equal(0, client("LREM", "a", "5", "x"))
    assert.equal(4, client("LINSERT", "a", "before", "1", "b"))
    assert.equal(5, client("LINSERT", "a", "AFTER", "2", "b"))
    assert.equal(-1, client("LINSERT", "a", "AFTER", "none", "b"))
    assert.same({ "b", "1", "2", "b", "3" }, all "a")
    assert.equal(0, client("LPOS", "a", "b"))
    assert.equal(3, client("LPOS", "a", "b", "RANK", "-1"))
    assert.same({ 3, 0 }, client("LPOS", "a", "b", "RANK", "-1", "COUNT", "0"))
    assert.same({}, client("LPOS", "a", "3", "COUNT", "1", "MAXLEN", "4"))
    assert.equal(null, client("LPOS", "a", "none"))
    assert.matches("^ERR RANK can't be zero", client:err("LPOS", "a", "b", "RANK", "0"))
  end)

  it("LMOVE moves between lists, or within one", function()
    client("RPUSH", "a", "1", "2", "3")
    assert.equal("1", client("LMOVE", "a", "b", "LEFT", "RIGHT"))
    assert.equal("3", client("RPOPLPUSH", "a", "b"))
    assert.same({ "3", "1" }, all "b")
    assert.equal("3", client("LMOVE", "b", "b", "left", "right"))
    assert.same({ "1", "3" }, all "b")
    assert.equal("1", client("LMOVE", "b", "b", "LEFT", "LEFT"))
    assert.same({ "1", "3" }, all "b")
    assert.equal(null, client("LMOVE", "none", "b", "LEFT", "LEFT"))
    client("SET", "text", "x")
    assert.matches("^WRONGTYPE", client:err("LMOVE", "b", "text", "LEFT", "LEFT"))
    assert.same({ "1", "3" }, all "b")
    assert.same({ "b", { "3", "1" } }, client("LMPOP", "3", "none", "b", "a", "RIGHT", "COUNT", "9"))
    assert.equal(null, client("LMPOP", "1", "b", "LEFT"))
  end)

  it("refuse keys of other types, and nothing is changed by what is refused", function()
    client("SET", "text", "x")
    for _, words in ipairs {
      { "LPUSH", "text", "x" }, { "RPUSHX", "text", "x" }, { "LPOP", "text" }, { "RPOP", "text", "2" },
      { "LLEN", "text" }, { "LINDEX", "text", "0" }, { "LSET", "text", "0", "x" }, { "LRANGE", "text", "0", "1" },
      { "LTRIM", "text", "0", "1" }, { "LREM", "text", "0", "x" }, { "LINSERT", "text", "BEFORE", "x", "x" },
      { "LPOS", "text", "x" }, { "LMOVE", "text", "a", "LEFT", "LEFT" }, { "LMPOP", "1", "text", "LEFT" },
    } do
      assert.matches("^WRONGTYPE", client:err(table.unpack(words)))
    end
    client("RPUSH", "a", "1")
    assert.matches("^WRONGTYPE", client:err("GET", "a"))
    assert.equal("OK", client("SET", "a", "x"))
    assert.equal("string", client("TYPE", "a"))
    assert.equal(2, client("DBSIZE"))
  end)

  it("survive a restart, and stay with a key that is renamed", function()
    client("RPUSH", "a", "1", "2")
    client("LPUSH", "a", "0")
    client("EXPIRE", "a", "100")
    node:reopen()
    client = node:client()
    client("RENAME", "a", "b")
    assert.same({ "0", "1", "2" }, all "b")
    assert.equal(100, client("TTL", "b"))
    assert.equal(4, client("RPUSH", "b", "3"))
    node:advance(100001)
    assert.equal(0, client("LLEN", "b"))
    assert.equal(1, client("RPUSH", "b", "x"))
    assert.same({ "x" }, all "b")
    assert.equal(-1, client("TTL", "b"))
  end)

  it("tell of what they do to keys", function()
    node.ctx.notifies = { l = true, g = true }
    local told
    function node.ctx.tell_events(ctx)
      told, ctx.events = ctx.events, nil
    end
    local function events(...)
      told = nil
      client(...)
      return told
    end
    assert.same({ "lpush", "a" }, events("LPUSH", "a", "1", "2"))
    assert.same({ "rpush", "b", "lpop", "a" }, events("LMOVE", "a", "b", "LEFT", "RIGHT"))
    assert.same({ "rpop", "a", "del", "a" }, events("RPOP", "a"))
    assert.same({ "linsert", "b" }, events("LINSERT", "b", "BEFORE", "2", "1"))
    assert.same({ "lset", "b" }, events("LSET", "b", "0", "x"))
    assert.same({ "lrem", "b" }, events("LREM", "b", "1", "x"))
    assert.same({ "ltrim", "b", "del", "b" }, events("LTRIM", "b", "5", "6"))
    assert.is_nil(events("LTRIM", "b", "5", "6"))
  end)
end)
