-- Lists, hashes and sorted sets of very many elements: built, paged through and deleted, while somebody else asks for
-- something small all the time. The times that these replies take are printed; what is asserted is that no command does
-- more at once than it says.
--
-- LUNODE_FULL=1: ten million elements, which takes longer than tests may by themselves: `lunode test --timeout 1500`.

local fake_node = require "spec.kv.fake_node"
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local prng = require "spec.support.prng"
local process = require "lunode.test.process"

local FULL = os.getenv("LUNODE_FULL") == "1"
local COUNT = FULL and 10000000 or 200000
local PAGE = 1000
local SECONDS = FULL and 3000 or 120

-- ---------------------------------------------------------------- how long others wait

local function percentile(times, share)
  return times[math.max(1, math.ceil(#times * share))] * 1000
end

local function report(what, started, times, word)
  table.sort(times)
  io.write(("    %-28s %6.2f s; %s meanwhile: %d times, p50 %.2f ms, p99 %.2f ms, longest %.2f ms\n"):format(what,
    loop.now() - started, word, #times, percentile(times, 0.5), percentile(times, 0.99), times[#times] * 1000))
end

local function ask(client, times, words)
  local before = loop.now()
  client:call(table.unpack(words))
  times[#times + 1] = loop.now() - before
end

-- Asks for something small while `step` returns true: PING, unless the words are others.
local function measure(what, other, step, words)
  local started, times = loop.now(), {}
  repeat
    local more = step()
    ask(other, times, words or { "PING" })
  until not more
  report(what, started, times, words and words[1] or "PING")
end

-- redis-benchmark runs a command so often, so many of them in one piece.
local function load(node, count, pipeline, ...)
  return process.start {
    "redis-benchmark", "-h", node.host, "-p", tostring(node.port), "-c", "4", "-P", tostring(pipeline),
    "-n", tostring(count), "-r", "2000000000", "-q", ...,
  }
end

local function build(node, other, what, count, pipeline, ...)
  local running = load(node, count, pipeline, ...)
  measure(what, other, function()
    return running:is_alive()
  end)
  assert.equal(0, running:wait(SECONDS))
end

-- ---------------------------------------------------------------- one of each

local function elements(n)
  local list = {}
  for i = 1, n do
    list[i] = "element-" .. i
  end
  return table.unpack(list)
end

-- Each: how it is built, how many it has, a step of walking over all of it.
local kinds = {
  list = {
    build = function(node, other)
      build(node, other, "a list is built", COUNT // 100, 1, "RPUSH", "list", elements(100))
    end,
    size = { "LLEN", "list" },
    walker = function(client)
      local at = 0
      return function()
        local page = client:call("LRANGE", "list", at, at + PAGE - 1)
        at = at + #page
        return #page == PAGE, #page
      end
    end,
  },
  hash = {
    build = function(node, other)
      build(node, other, "a hash is built", COUNT, 16, "HSET", "hash", "field:__rand_int__", "value")
    end,
    size = { "HLEN", "hash" },
    walker = function(client)
      local cursor = "0"
      return function()
        local reply = client:call("HSCAN", "hash", cursor, "COUNT", PAGE)
        cursor = reply[1]
        return cursor ~= "0", #reply[2] // 2
      end
    end,
  },
  zset = {
    build = function(node, other)
      build(node, other, "a sorted set is built", COUNT, 16, "ZADD", "zset", "__rand_int__", "member:__rand_int__")
    end,
    size = { "ZCARD", "zset" },
    walker = function(client)
      local at = 0
      return function()
        local page = client:call("ZRANGE", "zset", at, at + PAGE - 1)
        at = at + #page
        return #page == PAGE, #page
      end
    end,
  },
}

describe("a value of many elements", function()
  for _, name in ipairs { "list", "hash", "zset" } do
    local kind = kinds[name]

    it(("is built, paged through and deleted beside others (%s)"):format(name), function()
      local node = lunode.kv()
      local client, other = node:client(), node:client()
      client.seconds = SECONDS
      kind.build(node, other)
      local size = client:call(table.unpack(kind.size))
      assert.is_true(size >= COUNT * 0.99 and size <= COUNT) -- some names may come twice

      local walk, met = kind.walker(client), 0
      measure("it is paged through", other, function()
        local more, count = walk()
        met = met + count
        return more
      end)
      assert.equal(size, met)

      assert.equal(1, client:call("UNLINK", name))
      assert.equal(0, client:call("EXISTS", name))
      -- The mark reaches the engine with the next flush, which a backup asks for; then the rows go. SCAN comes by.
      client:call("BGSAVE")
      measure("it is deleted", other, function()
        return client:call("INFO", "persistence"):find("store_flush_in_progress:1", 1, true) ~= nil
      end, { "SCAN", "0" })
      assert.equal(0, client:call("DBSIZE"))
      node.process:kill("TERM")
      assert.equal(0, node.process:wait(SECONDS), node.process:stderr())
    end)
  end
end)

describe("a sorted set of many members", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  local function holds(model, key)
    assert.same(model, client("ZRANGE", key, "0", "-1"))
    assert.equal(#model, client("ZCARD", key))
    for at = 1, #model, 97 do
      assert.equal(at - 1, client("ZRANK", key, model[at]))
    end
    for at = 1, #model, 331 do
      assert.same({ model[at] }, client("ZRANGE", key, tostring(at - 1), tostring(at - 1)))
    end
  end

  -- Members first … last of the model go.
  local function cut(model, first, last)
    local rest = table.move(model, 1, first - 1, 1, {})
    return table.move(model, last + 1, #model, #rest + 1, rest)
  end

  local function new_set(chance, count)
    local model, args = {}, { "z" }
    for i = 1, count do
      args[2 * i], args[2 * i + 1] = tostring(chance:int(1, count // 3)), "member" .. i
    end
    client("ZADD", args)
    node:finish_turn()
    for _, member in ipairs(client("ZRANGE", "z", "0", "-1")) do
      model[#model + 1] = member
    end
    return model
  end

  it("has its ranks whatever goes of it at once, and in whatever way it was made", function()
    local chance = prng.new(11)
    local model = new_set(chance, 6000)
    holds(model, "z")
    for round = 1, 30 do
      local n = chance:int(1, 500)
      local way = chance:int(1, 4)
      if #model < 1200 then
        model = new_set(chance, 6000)
      elseif way == 1 then
        local list = client("ZPOPMIN", "z", tostring(n))
        assert.same(table.move(model, 1, n, 1, {})[n], list[2 * n - 1])
        model = cut(model, 1, n)
      elseif way == 2 then
        local list = client("ZPOPMAX", "z", tostring(n))
        assert.equal(model[#model - n + 1], list[2 * n - 1])
        model = cut(model, #model - n + 1, #model)
      elseif way == 3 then
        local first = chance:int(1, #model - n)
        assert.equal(n, client("ZREMRANGEBYRANK", "z", tostring(first - 1), tostring(first + n - 2)))
        model = cut(model, first, first + n - 1)
      else
        local low = chance:int(1, 1500)
        local count = client("ZCOUNT", "z", tostring(low), tostring(low + 150))
        local first = client("ZCOUNT", "z", "-inf", "(" .. low) + 1
        assert.equal(count, client("ZREMRANGEBYSCORE", "z", tostring(low), tostring(low + 150)))
        model = cut(model, first, first + count - 1)
      end
      if chance:odds(0.5) then
        node:finish_turn()
      end
      holds(model, "z")
      if round % 10 == 0 then
        assert.equal(#model, client("ZUNIONSTORE", "copy", "1", "z"))
        holds(model, "copy")
        assert.equal(#model - 10, client("ZRANGESTORE", "copy", "z", "5", "-6"))
        holds(table.move(model, 6, #model - 5, 1, {}), "copy")
        assert.equal("OK", client("RESTORE", "copy", "0", client("DUMP", "z"), "REPLACE"))
        holds(model, "copy")
        assert.equal(1, client("COPY", "z", "copy", "REPLACE"))
        holds(model, "copy")
        client("ZADD", "copy", "0", "first")
        holds(table.move(model, 1, #model, 2, { "first" }), "copy")
      end
    end
    assert.equal(#model, client("ZREMRANGEBYSCORE", "z", "-inf", "+inf"))
    assert.equal(0, client("EXISTS", "z"))
    client("ZADD", "z", "1", "a")
    assert.same({ "a" }, client("ZRANGE", "z", "0", "-1"))
    local count = client("ZCARD", "copy")
    assert.equal(2 * count, #client("ZPOPMAX", "copy", tostring(count + 1)))
    assert.equal(0, client("EXISTS", "copy"))
  end)

  it("is what it was after a command that has failed", function()
    local chance = prng.new(5)
    local model = new_set(chance, 3000)
    local db = node.db
    for _, words in ipairs {
      { "ZREMRANGEBYRANK", "z", "100", "2000" }, { "ZPOPMIN", "z", "700" }, { "ZPOPMAX", "z", "5000" },
      { "ZREMRANGEBYSCORE", "z", "-inf", "+inf" }, { "ZUNIONSTORE", "z", "1", "none" },
    } do
      local changed = db.collections.changed
      function db.collections.changed(...)
        changed(...)
        error("after it has written", 0)
      end
      local remove = db.remove
      function db.remove(...)
        remove(db, select(2, ...))
        error("after it has deleted", 0)
      end
      assert.is_string(client:err(table.unpack(words)))
      db.collections.changed, db.remove = changed, nil
      holds(model, "z")
    end
  end)
end)

describe("what a command does at once", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
    local batch = {}
    for i = 1, 20000 do
      batch[i] = "e" .. i
    end
    client("RPUSH", { "list", table.unpack(batch) })
    client("SADD", { "set", table.unpack(batch) })
    node:finish_turn()
  end)

  after_each(function()
    node:close()
  end)

  -- How many rows and ranges a command writes.
  local function writes_of(...)
    local before = node.db.store:stats().pending
    client(...)
    return node.db.store:stats().pending - before
  end

  it("is no more for a large value than for a small one", function()
    assert.is_true(writes_of("RENAME", "list", "other") <= 3)
    assert.is_true(writes_of("LTRIM", "other", "5000", "-5000") <= 3)
    assert.is_true(writes_of("LPUSH", "other", "x") <= 3)
    assert.is_true(writes_of("DEL", "other") <= 3)
    assert.is_true(writes_of("UNLINK", "set") <= 3)
    assert.equal(0, client("DBSIZE"))
  end)

  it("can be answered again, where the reply is kept", function()
    client("ZUNIONSTORE", "zset", "1", "set")
    for i, words in ipairs {
      { "LPOP", "list", "5000" }, { "RPOP", "list", "5000" }, { "LMPOP", "1", "list", "LEFT", "COUNT", "5000" },
      { "ZPOPMIN", "zset", "5000" }, { "ZPOPMAX", "zset", "5000" }, { "SPOP", "set", "20001" },
    } do
      local reply = client("ONCE", "id" .. i, table.unpack(words))
      assert.is_true(#(words[1] == "LMPOP" and reply[2] or reply) >= 5000)
      assert.same(reply, client("ONCE", "id" .. i, table.unpack(words)))
    end
    assert.equal(5000, client("LLEN", "list"))
    assert.equal(10000, client("ZCARD", "zset"))
  end)

  it("is as much as is there to be moved, on the shorter side, or to be copied", function()
    assert.is_true(writes_of("LINSERT", "list", "BEFORE", "e11", "x") <= 13)
    assert.is_true(writes_of("LREM", "list", "1", "e19990") <= 13)
    assert.is_true(writes_of("COPY", "set", "copy") <= 20002)
  end)
end)
