-- Lists, hashes and sorted sets of very many elements: built, paged through and deleted, while somebody else asks for
-- something small all the time. The times that these replies take are printed; what is asserted is that no command does
-- more at once than it says.
--
-- LUNODE_FULL=1: ten million elements.

local fake_node = require "spec.kv.fake_node"
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
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

  it("is as much as is there to be moved, on the shorter side, or to be copied", function()
    assert.is_true(writes_of("LINSERT", "list", "BEFORE", "e11", "x") <= 13)
    assert.is_true(writes_of("LREM", "list", "1", "e19990") <= 13)
    assert.is_true(writes_of("COPY", "set", "copy") <= 20002)
  end)
end)
