-- What the comparison with redis-server (differential_spec) does not show: shapes of RESP3, walks, chance.
local command = require "lunode.kv.command"
local context = require "lunode.kv.context"
local database = require "lunode.kv.db"
local keys = require "lunode.kv.keys"
local lunode = require "spec.support.lunode"
local members = require "lunode.kv.members"
local prng = require "spec.support.prng"
local remembered = require "lunode.kv.remembered"
local resp = require "lunode.resp"
local store = require "lunode.store"
local tmp = require "lunode.test.tmp"

require "lunode.kv.sets"

local FULL = os.getenv("LUNODE_FULL") == "1"

describe("commands on sets", function()
  local function filled(count)
    local client, batch = lunode.kv():client(), {}
    for i = 1, count do
      batch[i] = { "SADD", "s", "m" .. i }
    end
    client:pipeline(batch)
    return client
  end

  it("give clients of RESP3 sets", function()
    local client = lunode.kv():client()
    client:call("HELLO", "3")
    client:call("SADD", "s", "a")
    assert.equal("~1\r\n$1\r\na\r\n", client:raw { "SMEMBERS", "s" })
    assert.equal("~1\r\n$1\r\na\r\n", client:raw { "SUNION", "s", "none" })
    assert.equal("~0\r\n", client:raw { "SINTER", "s", "none" })
    assert.equal("*1\r\n$1\r\na\r\n", client:raw { "SRANDMEMBER", "s", "5" })
    assert.equal("~1\r\n$1\r\na\r\n", client:raw { "SPOP", "s", "5" })
    assert.equal("~0\r\n", client:raw { "SMEMBERS", "s" })
    assert.equal("_\r\n", client:raw { "SPOP", "s" })
  end)

  it("choose small sets' members evenly, and any of a large one", function()
    for _, size in ipairs { 8, 2000 } do
      local client, met, kinds = filled(size), {}, 0
      local reply = client:call("SRANDMEMBER", "s", -size * 50)
      assert.equal(size * 50, #reply)
      for _, member in ipairs(reply) do
        kinds = kinds + (met[member] and 0 or 1)
        met[member] = (met[member] or 0) + 1
      end
      assert.equal(size, kinds)
      for _, times in pairs(met) do
        assert.is_true(size > 100 or times > 20 and times < 100, times)
      end
    end
    local client, met, kinds = filled(2000), {}, 0
    for _ = 1, 2000 do -- each by itself, and so behind a random hash
      local member = client:call("SRANDMEMBER", "s")
      kinds = kinds + (met[member] and 0 or 1)
      met[member] = true
    end
    assert.is_true(kinds > 1000, kinds) -- 1264 are to be expected of an even choice
  end)

  it("choose different members, where they are not to come twice", function()
    local client = filled(3000)
    for _, count in ipairs { 1, 31, 100, 700, 2999, 3000, 5000 } do
      local met, reply = {}, client:call("SRANDMEMBER", "s", count)
      assert.equal(math.min(count, 3000), #reply)
      for _, member in ipairs(reply) do
        assert.is_nil(met[member])
        met[member] = true
        assert.is_truthy(member:find "^m%d+$")
      end
    end
  end)

  it("pop every member once", function()
    local client, met, left = filled(1500), {}, 1500
    while left > 0 do
      local reply = client:call("SPOP", "s", "7")
      for _, member in ipairs(reply) do
        assert.is_nil(met[member])
        met[member], left = true, left - 1
      end
      assert.equal(left, client:call("SCARD", "s"))
    end
    assert.equal(0, client:call("EXISTS", "s"))
    assert.equal(0, client:call("DBSIZE"))
  end)

  it("meet every member in small steps of SSCAN", function()
    local client = filled(3000)
    for _, count in ipairs { 1, 30, 1000, 5000 } do
      local met, cursor, calls, kinds = {}, "0", 0, 0
      repeat
        local reply = client:call("SSCAN", "s", cursor, "COUNT", count)
        cursor, calls = reply[1], calls + 1
        for _, member in ipairs(reply[2]) do
          kinds = kinds + (met[member] and 0 or 1)
          met[member] = true
        end
      until cursor == "0"
      assert.equal(3000, kinds)
      assert.is_true(calls >= 3000 // count // 2)
    end
  end)
end)

describe("members of sets that are remembered", function()
  local handles, ctxs

  before_each(function()
    handles, ctxs = {}, {}
    for i = 1, 2 do
      handles[i] = assert(store.open(nil, { engine = "memory" }))
      ctxs[i] = context.new({}, assert(database.open(handles[i])))
      ctxs[i].now, ctxs[i].db.now = 1000, 1000
    end
  end)

  after_each(function()
    for _, handle in ipairs(handles) do
      handle:close()
    end
  end)

  local function run(ctx, seed, name, ...)
    local entry, db = command.find(name), ctx.db
    ctx.seed = seed
    if entry.write then
      db:begin()
    end
    local reply
    if entry.variadic then
      reply = entry.run(ctx, { ... })
    else
      reply = entry.run(ctx, ...)
    end
    if entry.write then
      db:finish()
    end
    return reply
  end

  -- The same command by one who remembers, and by one who does not: the replies are the same.
  local function both(seed, ...)
    local reply = resp.encode(run(ctxs[1], seed, ...), 2)
    local other = ctxs[2].db.collections
    for _, c in pairs(other.kept) do
      c.index = nil
    end
    assert.equal(resp.encode(run(ctxs[2], seed, ...), 2), reply)
    return reply
  end

  -- All that is remembered of each set, as picks would read the rest.
  local function check_remembered()
    local db = ctxs[1].db
    for _, c in pairs(db.collections.kept) do
      if c.index then
        local all = members.all(db, c.prefix, "keys")
        assert.same(all, remembered.all(db, c, c.index))
        assert.equal(all[1], c.index:find(0, 0))
        assert.equal(all[#all], c.index:find(0, #all - 1))
        assert.is_nil((c.index:find(0, #all)))
      end
    end
  end

  it("are those that the store has, and change no choice", function()
    local chance = prng.new(5)
    for round = 1, FULL and 40 or 2 do
      local most = round % 3 == 0 and 20 or round % 2 == 0 and 2000 or 300
      for i = 1, most do
        both(i, "SADD", chance:odds(0.8) and "a" or "b", "m" .. i)
      end
      check_remembered()
      for step = 1, most * 4 do
        local key, member = chance:odds(0.8) and "a" or "b", "m" .. chance:int(1, most)
        local command_words = chance:pick {
          { "SPOP", key }, { "SPOP", key }, { "SPOP", key }, { "SPOP", key }, { "SPOP", key, chance:int(1, 12) },
          { "SRANDMEMBER", key }, { "SRANDMEMBER", key, chance:int(-5, 5) }, { "SREM", key, member, "none" },
          { "SADD", key, member }, { "SMOVE", key, key == "a" and "b" or "a", member },
        }
        for i = 2, #command_words do
          command_words[i] = tostring(command_words[i])
        end
        both(round * 1000000 + step, table.unpack(command_words))
        if step % 100 == 0 then
          check_remembered()
        end
        if step % 150 == 0 then -- a command that fails
          local before = both(step, "SMEMBERS", key)
          local db = ctxs[1].db
          db:begin()
          local c = db.collections:create(key, keys.SET)
          local _, hash = db.members:add(c.prefix, "lost", "")
          remembered.added(db, c, "lost", hash)
          c.count = c.count + 1
          members.take(ctxs[1], c)
          db:rollback()
          assert.equal(before, both(step, "SMEMBERS", key))
          check_remembered()
        end
      end
      check_remembered()
    end
  end)

  it("are few when sets are many, and none of a set that is very large", function()
    local ctx = ctxs[1]
    local collections = ctx.db.collections
    for i = 1, 20000 do
      run(ctx, i, "SADD", "s" .. i, "a", "b", "c")
      run(ctx, i, "SPOP", "s" .. i)
    end
    assert.is_true(#collections.remembered < 16000 and collections.remembered_bytes <= 16 << 20)
    assert.is_nil(remembered.of(ctx.db, { count = (1 << 17) + 1 }))
  end)
end)

describe("collections after a replay of the log", function()
  it("are what they were, what was left to chance included", function()
    local dir = tmp.dir() .. "/data"
    local node = lunode.kv { dir = dir }
    local client, batch = node:client(), {}
    for i = 1, 4000 do
      local n = i % 97
      batch[i] = ({
        { "SADD", "s" .. n % 5, "m" .. i },
        { "ZADD", "z", i % 13, "m" .. i % 1500 },
        { "HSET", "h" .. n % 3, "f" .. n, i },
        { "SPOP", "s" .. n % 5 },
        { "ZPOPMIN", "z" },
        { "SPOP", "s" .. n % 5, "2" },
        { "HINCRBYFLOAT", "h9", "f" .. n, "0.1" },
        { "RENAME", "s" .. n % 5, "s" .. (n + 1) % 5 },
      })[i * 7 % 8 + 1]
    end
    client:pipeline(batch)
    local function contents(c)
      local list = {}
      for _, words in ipairs {
        { "SMEMBERS", "s0" }, { "SMEMBERS", "s1" }, { "SMEMBERS", "s2" }, { "SMEMBERS", "s3" }, { "SMEMBERS", "s4" },
        { "ZRANGE", "z", "0", "-1", "WITHSCORES" }, { "HGETALL", "h0" }, { "HGETALL", "h9" }, { "DBSIZE" },
      } do
        list[#list + 1] = c:raw(words)
      end
      return table.concat(list, "\n")
    end
    local before = contents(client)
    node:kill9()
    node = lunode.kv { dir = dir }
    assert.equal(before, contents(node:client()))
    assert.is_true(#before > 1000)
    assert.equal(0, node:stop())
    local code, out = lunode.run { "check", dir }
    assert.equal(0, code, out)
  end)
end)
