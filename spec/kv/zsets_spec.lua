local database = require "lunode.kv.db"
local keys = require "lunode.kv.keys"
local lunode = require "spec.support.lunode"
local prng = require "spec.support.prng"
local scores = require "lunode.score"
local store = require "lunode.store"
local zset = require "lunode.kv.zset"

local FULL = os.getenv("LUNODE_FULL") == "1"

describe("a large sorted set", function()
  local handle, db, chance
  local model -- member → score, and the same in order

  before_each(function()
    handle = assert(store.open(nil, { engine = "memory" }))
    db = assert(database.open(handle))
    db.now = 1000
    chance = prng.new(11)
    model = { scores = {}, list = {} }
  end)

  after_each(function()
    handle:close()
  end)

  local function open()
    return db.collections:read("z", keys.ZSET)
  end

  local function write(fn)
    db:begin()
    local c = db.collections:create("z", keys.ZSET)
    fn(c)
    db.collections:changed(c)
    db:finish()
  end

  local function sort()
    model.list = {}
    for member, score in pairs(model.scores) do
      model.list[#model.list + 1] = { member, score }
    end
    table.sort(model.list, function(a, b)
      return a[2] < b[2] or a[2] == b[2] and a[1] < b[1]
    end)
  end

  local function put(c, i)
    local member, score = "m" .. i, chance:int(-50, 50) / 4
    zset.put(db, c, member, scores.encode(score))
    model.scores[member] = score
  end

  -- The spans of the nodes, as the store has them at the end of an entry, against the members between them.
  local function check_nodes(key)
    db:save_counts()
    local c, nodes, counted = db.collections:read(key or "z", keys.ZSET), 0, 0
    local prefix = c.prefix .. "n"
    local members, past = c.prefix .. "s", c.prefix .. "t"
    local rows = handle:collect(prefix, keys.past(prefix), "both", nil, #prefix)
    for i = 1, #rows, 2 do
      nodes = nodes + 1
      local from, to = members .. rows[i], rows[i + 2] and members .. rows[i + 2] or past
      local span = handle:count(from, to)
      counted = counted + span
      assert.equal(span, (string.unpack(">I4", rows[i + 1])))
    end
    assert.equal(c.more, nodes)
    assert.equal(c.count, handle:count(members, past))
    assert.equal(c.count, counted + handle:count(members, rows[1] and members .. rows[1] or past))
    return nodes
  end

  local function check_ranks(samples)
    sort()
    local c, list = open(), model.list
    assert.equal(#list, c.count)
    for _ = 1, samples do
      local at = chance:int(1, #list)
      assert.equal(at - 1, zset.rank(db, c, list[at][1]))
      local last = math.min(at + chance:int(0, 20), #list)
      local reverse = chance:odds(0.5)
      local got = reverse and zset.by_rank(db, c, #list - last, #list - at, true, true)
        or zset.by_rank(db, c, at - 1, last - 1, false, true)
      local expected = {}
      for i = at, last do
        local from = reverse and last - (i - at) or i
        expected[#expected + 1], expected[#expected + 2] = list[from][1], list[from][2]
      end
      assert.same(expected, got)
      local from, to = chance:pick(list), chance:pick(list)
      local low, high = scores.encode(from[2]) .. from[1], scores.encode(to[2]) .. to[1]
      local between = 0
      for _, entry in ipairs(list) do
        local key = scores.encode(entry[2]) .. entry[1]
        between = between + (low <= key and key < high and 1 or 0)
      end
      assert.equal(between, zset.count_range(db, c, low, high))
    end
  end

  it("knows every rank, as members come, move and go, and across restarts", function()
    local size = FULL and 100000 or 6000
    for from = 1, size, 500 do
      write(function(c)
        for i = from, from + 499 do
          put(c, i)
        end
      end)
    end
    assert.is_true(check_nodes() > size / 400)
    check_ranks(100)
    for round = 1, 6 do
      write(function(c)
        for _ = 1, size // 10 do
          local i = chance:int(1, size)
          if chance:odds(0.5) then
            put(c, i)
          elseif zset.remove(db, c, "m" .. i) then
            model.scores["m" .. i] = nil
          end
        end
      end)
      if round % 2 == 0 then -- nothing in memory
        db:save_counts()
        db = assert(database.open(handle))
        db.now = 1000
      end
      check_nodes()
      check_ranks(20)
    end
  end)

  it("is as before, ranks included, after a command that failed, wherever in an entry that was", function()
    write(function(c)
      for i = 1, 3000 do
        put(c, i)
      end
    end)
    for round = 1, 8 do
      write(function(c) -- is in the same entry, every other time
        for i = round * 100, round * 100 + 50 do
          put(c, i)
        end
      end)
      local before = {}
      for member, score in pairs(model.scores) do
        before[member] = score
      end
      if round % 2 == 0 then
        check_nodes()
      end
      db:begin()
      local c = db.collections:create("z", keys.ZSET)
      for i = 2000, 4000 do
        put(c, i)
      end
      zset.pop(db, c, true, 500)
      zset.pop(db, c, false, 500)
      db.collections:changed(c)
      if round % 3 == 0 then
        db:delete("z")
      end
      db:rollback()
      model.scores = before
      check_ranks(10)
      if round % 4 >= 2 then
        check_nodes()
      end
    end
  end)

  -- As RENAME does it.
  local function rename(from, to)
    local row, value = db:find(from)
    db:move(row, value, db:find(to))
  end

  it("has its ranks under another key, and in a copy, that came in the same entry", function()
    write(function(c)
      for i = 1, 3000 do
        put(c, i)
      end
    end)
    for round = 1, 4 do
      write(function(c)
        for i = 1, 500 do
          put(c, i)
        end
      end)
      db:begin() -- COPY, as kv.copy does it
      local from = open()
      db.collections:write_out(from)
      local to = db.collections:replace("copy", keys.ZSET)
      local rows = handle:collect(from.prefix, keys.past(from.prefix), "both", nil, #from.prefix)
      for i = 1, #rows, 2 do
        handle:put(to.prefix .. rows[i], rows[i + 1])
      end
      to.count, to.more = from.count, from.more
      db.collections:changed(to)
      db:finish()
      write(function(c)
        for i = 600, 900 do
          put(c, i)
        end
      end)
      db:begin()
      rename("z", "y")
      if round % 2 == 0 then
        db:rollback()
      else
        db:finish()
        db:begin()
        rename("y", "z")
        db:finish()
      end
      write(function(c)
        for i = 2000, 2200 do
          put(c, i)
        end
      end)
      check_ranks(10)
      assert.equal(check_nodes(), open().more)
      check_nodes("copy")
    end
    db:begin()
    db:delete("z")
    db:delete("copy")
    db:finish()
    db:save_counts()
    assert.equal(0, handle:count("", keys.SLOTS_END))
  end)

  it("is popped from both ends in order, with new members before and between", function()
    write(function(c)
      for i = 1, 2000 do
        put(c, i)
      end
    end)
    local i = 2000
    while open() do
      sort()
      local highest, count = chance:odds(0.5), chance:int(1, 60)
      local expected = {}
      for k = 1, math.min(count, #model.list) do
        local entry = model.list[highest and #model.list - k + 1 or k]
        expected[#expected + 1], expected[#expected + 2] = entry[1], entry[2]
        model.scores[entry[1]] = nil
      end
      write(function(c)
        assert.same(expected, zset.pop(db, c, highest, count))
      end)
      if open() and i < 2300 then
        write(function(c)
          i = i + 1
          put(c, i)
        end)
      end
    end
    assert.equal(0, handle:count("", keys.SLOTS_END))
  end)
end)

describe("pops from a sorted set", function()
  it("meet what comes, moves and goes near the ends, whatever was read ahead", function()
    local handle = assert(store.open(nil, { engine = "memory" }))
    local db, chance, model = assert(database.open(handle)), prng.new(17), {}
    db.now = 1000
    local function sorted()
      local list = {}
      for member, score in pairs(model) do
        list[#list + 1] = scores.encode(score) .. member
      end
      table.sort(list)
      return list
    end
    local steps = {
      put = function(c)
        local member, score = "m" .. chance:int(1, 100), chance:int(1, 40)
        local was = model[member]
        assert.same({ was == nil, was ~= nil and was ~= score }, { zset.put(db, c, member, scores.encode(score)) })
        model[member] = score
      end,
      remove = function(c)
        local list = sorted()
        local at = chance:odds(0.5) and chance:int(1, 30) or #list - chance:int(0, 30)
        local member = list[at] and list[at]:sub(9) or "none"
        assert.equal(model[member] ~= nil, zset.remove(db, c, member))
        model[member] = nil
      end,
      pop = function(c)
        local highest, list = chance:odds(0.5), sorted()
        for _ = 1, chance:int(1, 10) do
          local count, expected = chance:odds(0.995) and 1 or chance:int(2, 100), {}
          for _ = 1, math.min(count, #list) do
            local key = table.remove(list, highest and #list or 1)
            expected[#expected + 1], expected[#expected + 2] = key:sub(9), scores.decode(key)
            model[key:sub(9)] = nil
          end
          if #expected > 0 then
            assert.same(expected, zset.pop(db, c, highest, count))
          end
        end
      end,
    }
    for round = 1, FULL and 20000 or 1500 do
      local name = chance:pick { "put", "put", "remove", "pop" }
      for _ = 1, name == "put" and 4 or 1 do
        db:begin()
        local c = db.collections:create("z", keys.ZSET)
        steps[name](c)
        db.collections:changed(c)
        db:finish()
      end
      if round % 50 == 0 then -- a command that fails: nothing of it is remembered
        local before = {}
        for member, score in pairs(model) do
          before[member] = score
        end
        db:begin()
        local c = db.collections:create("z", keys.ZSET)
        steps.pop(c)
        steps.put(c)
        db:rollback()
        model = before
      end
    end
    handle:close()
  end)
end)

describe("a pop behind others, whose member was read ahead", function()
  local client

  before_each(function()
    client = lunode.kv():client()
  end)

  -- Four pops from an end of 40 members: more have been read by then.
  local function popped(command)
    client:call("DEL", "z")
    for i = 1, 40 do
      client:call("ZADD", "z", i, "m" .. i)
    end
    for _ = 1, 4 do
      client:call(command, "z")
    end
  end

  for name, change in pairs {
    ["has moved away"] = { { "ZADD", "z", "20.5", "%s" } },
    ["has moved beyond the others"] = { { "ZADD", "z", "%d", "%s" } },
    ["was removed"] = { { "ZREM", "z", "%s" } },
    ["was removed as one of a range"] = {
      { "ZREMRANGEBYSCORE", "z", "4.5", "5.5" }, { "ZREMRANGEBYRANK", "z", "-1", "-1" },
    },
    ["was removed and came again"] = { { "ZREM", "z", "%s" }, { "ZADD", "z", "20.5", "%s" } },
    ["has come before it"] = { { "ZADD", "z", "0", "new" }, { "ZADD", "z", "99", "new" } },
    ["has moved before it"] = { { "ZADD", "z", "0", "m20" }, { "ZADD", "z", "99", "m20" } },
    ["was in a set that went"] = { { "DEL", "z" }, { "ZADD", "z", "1", "m1" } },
    ["was popped from the other end"] = { { "ZPOPMAX", "z", "35" }, { "ZPOPMIN", "z", "34" } },
  } do
    it("sees that one " .. name, function()
      for _, pops in ipairs { { "ZPOPMIN", "m5", 41 }, { "ZPOPMAX", "m36", 0 } } do
        popped(pops[1])
        for _, words in ipairs(change) do
          local sent = {}
          for i, word in ipairs(words) do
            sent[i] = word == "%s" and pops[2] or word == "%d" and pops[3] or word
          end
          client:call(table.unpack(sent))
        end
        local range = client:call("ZRANGE", "z", "0", "-1", "WITHSCORES")
        while #range > 0 do
          local at = pops[1] == "ZPOPMIN" and 1 or #range - 1
          local score, member = table.remove(range, at + 1), table.remove(range, at)
          assert.same({ member, score }, client:call(pops[1], "z"))
        end
        assert.equal(0, client:call("EXISTS", "z"))
      end
    end)
  end
end)

describe("commands on sorted sets", function()
  it("give clients of RESP3 doubles, and pairs of members and scores", function()
    local client = lunode.kv():client()
    client:call("HELLO", "3")
    client:call("ZADD", "z", "1.5", "a", "2", "b", "inf", "c")
    assert.equal("*2\r\n*2\r\n$1\r\na\r\n,1.5\r\n*2\r\n$1\r\nb\r\n,2\r\n",
      client:raw { "ZRANGE", "z", "0", "1", "WITHSCORES" })
    assert.equal(",inf\r\n", client:raw { "ZSCORE", "z", "c" })
    assert.equal("*2\r\n$1\r\na\r\n,1.5\r\n", client:raw { "ZPOPMIN", "z" })
    assert.equal("*1\r\n*2\r\n$1\r\nb\r\n,2\r\n", client:raw { "ZPOPMIN", "z", "1" })
    assert.equal(",-inf\r\n", client:raw { "ZADD", "z", "INCR", "-inf", "d" })
    assert.equal("_\r\n", client:raw { "ZADD", "z", "NX", "INCR", "1", "d" })
  end)

  it("meet every member in small steps of ZSCAN, whatever else comes and goes", function()
    local client, batch = lunode.kv():client(), {}
    for i = 1, 2000 do
      batch[i] = { "ZADD", "z", i, "m" .. i }
    end
    client:pipeline(batch)
    local met, cursor, calls = {}, "0", 0
    repeat
      local reply = client:call("ZSCAN", "z", cursor, "COUNT", 50)
      cursor, calls = reply[1], calls + 1
      for i = 1, #reply[2], 2 do
        met[reply[2][i]] = reply[2][i + 1]
      end
      client:call("ZREM", "z", "m" .. calls)
      client:call("ZADD", "z", "0", "new" .. calls)
    until cursor == "0"
    assert.is_true(calls > 30)
    for i = calls + 1, 2000 do
      assert.equal(tostring(i), met["m" .. i])
    end
  end)
end)
