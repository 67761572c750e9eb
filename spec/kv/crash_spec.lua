-- kill -9 at any moment: what was acknowledged is there, nothing is half there. See spec.support.writer for how that is
-- told. (After the death of a process its writes are in the page cache, so these kills lose nothing with any --sync;
-- what --sync adds, on the disk before the reply, is in sync_spec.lua. Kills at each system call: kill_spec.lua.)
local keys = require "lunode.kv.keys"
local loop = require "lunode.loop"
local set_expiring = require "spec.support.set_expiring"
local store = require "lunode.store"
local lunode = require "spec.support.lunode"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"
local writer = require "spec.support.writer"

local FULL = os.getenv "LUNODE_FULL" == "1"
local SEED = tonumber(os.getenv "LUNODE_SEED") or loop.random(1, 1000000)

-- A shell that waits for a word and then kills: a `kill` of its own would take longer than the node needs for all
-- that is under way. The spec goes on meanwhile, so the signal arrives amid the load.
local function killer(node)
  return assert(io.popen(("read _ && kill -s KILL -- -%d"):format(node.process.pid), "w"))
end

local function pull(trigger)
  trigger:write("now\n")
  trigger:close()
end

local function wait_dead(node)
  node.process:wait(20)
end

-- ---- what must hold of the rows, whatever was written

-- On a copy, so that the node itself meets the directory as the crash left it. Part of what is there is in the log
-- only: a node that starts on the copy and ends in good order brings all of it into the store.
local function with_copy(dir, fn)
  local copy = tmp.dir() .. "/data"
  assert(os.execute(("cp -a %s %s"):format(tmp.quote(dir), tmp.quote(copy))))
  local node = lunode.kv { dir = copy }
  assert.equal(0, node:stop(), node.process:stderr())
  local handle <close> = assert(store.open(copy))
  return fn(handle)
end

-- The expiry index and the counts are what the keys say.
local function assert_consistent(handle)
  local count, expiring, index = 0, 0, {}
  for row, value in handle:scan("", keys.SLOTS_END) do
    count = count + 1
    local expiry = keys.expiry(value)
    if expiry then
      expiring = expiring + 1
      index[keys.expiry_row(expiry, row)] = true
    end
  end
  for row in handle:scan(keys.EXPIRY_START, keys.SYSTEM_START) do
    assert(index[row], "an expiry row without its key")
    index[row] = nil
  end
  assert.is_nil(next(index)) -- a key without its expiry row
  local counts = handle:get(keys.COUNT_ROW)
  if counts or count > 0 then
    assert.same({ count, expiring }, { keys.counts(counts) })
  end
end

local function assert_counts(client, count, all)
  assert.equal(count, client:call("DBSIZE"))
  local cursor, scanned = "0", 0
  repeat
    local reply = client:call("SCAN", cursor, "COUNT", 50)
    cursor = reply[1]
    for _, name in ipairs(reply[2]) do
      assert(all[name], name)
      scanned = scanned + 1
    end
  until cursor == "0"
  assert.equal(count, scanned)
  local expiring = 0
  for _, entry in pairs(all) do
    expiring = expiring + (entry.expiry ~= -1 and 1 or 0)
  end
  local told = client:call("INFO", "keyspace"):match("db0:keys=%d+,expires=(%d+)")
  assert.equal(expiring, tonumber(told or 0))
end

-- How often the rows are looked at, as that takes longer than the rest.
local LOOK = 10

describe(("kill -9 at random moments (LUNODE_SEED=%d)"):format(SEED), function()
  local function survive(sync, kills)
    math.randomseed(SEED)
    local node = lunode.kv { "--sync", sync }
    local writers = {}
    for i = 1, 4 do
      writers[i] = writer.new("w" .. i, { batch = 1 << i })
    end
    local lost_replies = 0
    for kill = 1, kills do
      local trigger = killer(node)
      for _, w in ipairs(writers) do
        w:connect(node)
      end
      local some = math.random(4, 400)
      wait.till(function()
        local acked = 0
        for _, w in ipairs(writers) do
          acked = acked + w.acked
        end
        return acked >= some
      end, 30, some .. " acknowledged writes")
      pull(trigger)
      wait.till(function()
        return writers[1].closed and writers[2].closed and writers[3].closed and writers[4].closed
      end, 20, "the connections to break")
      wait_dead(node)
      if kill % LOOK == 1 then
        with_copy(node.dir, assert_consistent)
      end
      node:start()
      local client = node:client()
      local all, count = writer.dump(client)
      for _, w in ipairs(writers) do
        lost_replies = lost_replies + w.sent - w.acked
        w:settle(all)
      end
      assert_counts(client, count, all)
      client:close()
    end
    assert.is_true(lost_replies > 0) -- else no kill has met a node at work
  end

  it("loses no acknowledged write, and leaves none half done (--sync always)", function()
    survive("always", FULL and 200 or 20)
  end)

  it("loses no acknowledged write (--sync everysec)", function()
    survive("everysec", FULL and 60 or 6)
  end)

  it("loses no acknowledged write (--sync no)", function()
    survive("no", FULL and 60 or 6)
  end)
end)

describe(("kill -9 amid FLUSHALL (LUNODE_SEED=%d)"):format(SEED), function()
  local MANY = 50000

  local function fill(client)
    for from = 1, MANY, 1000 do
      local words = { "MSET" }
      for i = from, from + 999 do
        words[#words + 1], words[#words + 2] = "key:" .. i, "value"
      end
      assert.same({ ok = "OK" }, client:call(table.unpack(words)))
    end
    client:call("PEXPIREAT", "key:1", 4102444800000)
  end

  -- Returns whether the flush was acknowledged.
  local function kill_at_flush(node, patient)
    local client, trigger = node:client(), killer(node)
    client:send("FLUSHALL\r\n")
    if patient then
      wait.till(function()
        return client:bytes() ~= ""
      end, 20, "the reply")
    end
    pull(trigger)
    client:wait_closed()
    wait_dead(node)
    local acknowledged = client:bytes() == "+OK\r\n"
    client:close()
    return acknowledged
  end

  it("leaves all keys or none, and none once it was acknowledged", function()
    math.randomseed(SEED)
    local node = lunode.kv { "--sync", "no" }
    for round = 1, FULL and 40 or 6 do
      local client = node:client()
      if client:call("DBSIZE") == 0 then
        fill(client)
      end
      client:close()
      local acknowledged = kill_at_flush(node, round % 2 == 0)
      assert.is_true(acknowledged or round % 2 == 1)
      node:start()
      client = node:client()
      local count = client:call("DBSIZE")
      assert.equal(count, #client:call("KEYS", "*"))
      assert.is_true(count == 0 or count == MANY and not acknowledged, count)
      client:close()
      if round % LOOK == 1 then
        with_copy(node.dir, assert_consistent)
      end
    end
  end)

  -- The rows of the engine go in the background, in many batches, when the marker reaches it: at the latest as the node
  -- ends.
  it("again and again while it ends and starts, it still completes the flush", function()
    math.randomseed(SEED)
    local node = lunode.kv {}
    local client = node:client()
    fill(client)
    client:close()
    assert.equal(0, node:stop())
    node:start()
    client = node:client()
    assert.equal(MANY, client:call("DBSIZE"))
    assert.same({ ok = "OK" }, client:call("FLUSHALL"))
    client:close()
    for round = 1, FULL and 60 or 15 do
      local p = node.process
      if round > 1 then
        p = lunode.start { "kv", "--listen", node.host .. ":" .. node.port, "--data", node.dir }
      else
        p:kill("TERM")
      end
      local due = loop.time() + math.random() * (round == 1 and 0.02 or 0.15)
      wait.till(function()
        return loop.time() >= due
      end)
      p:kill("KILL")
      p:wait(10)
    end
    node:start()
    client = node:client()
    assert.equal(0, client:call("DBSIZE"))
    assert.same({}, client:call("KEYS", "*"))
    assert.same({ ok = "OK" }, client:call("SET", "a", "1"))
    assert.equal(1, client:call("DBSIZE"))
    client:close()
    node:kill9()
    with_copy(node.dir, assert_consistent)
  end)
end)

describe("kill -9 amid the expiry of many keys", function()
  it("leaves keys, index and counts agreed, and the rest of the keys goes on to expire", function()
    local MANY = 20000
    local node = lunode.kv {}
    local client = node:client()
    client:call("SET", "stays", "1")
    set_expiring(client, MANY)
    assert.equal(MANY + 1, client:call("DBSIZE"))
    local trigger = killer(node)
    wait.till(function()
      return client:call("DBSIZE") <= MANY
    end, 30, "the first keys to expire")
    pull(trigger)
    client:wait_closed()
    wait_dead(node)
    with_copy(node.dir, function(handle)
      local left = keys.counts(handle:get(keys.COUNT_ROW))
      assert.is_true(left >= 1 and left <= MANY, left)
      assert_consistent(handle)
    end)
    node:start()
    client = node:client()
    wait.till(function()
      return client:call("DBSIZE") == 1
    end, 30, "the rest to expire")
    assert.same({ "stays" }, client:call("KEYS", "*"))
    client:close()
    node:kill9()
    with_copy(node.dir, assert_consistent)
  end)
end)
