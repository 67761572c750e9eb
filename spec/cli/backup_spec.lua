-- lunode backup, lunode restore, BGSAVE: copies that are whole, or are not there.
local data = require "spec.support.data"
local lunode = require "spec.support.lunode"
local redis = require "spec.support.redis"
local store = require "lunode.store"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local FULL = os.getenv("LUNODE_FULL") == "1"

local function ok(...)
  local code, out, err = lunode.run { ... }
  assert.same({ 0, "" }, { code, err })
  assert.is_truthy(out:find("^[^\n]+\n$"), out)
  return out
end

local function refused(pattern, ...)
  local code, out, err = lunode.run { ... }
  assert.same({ 1, "" }, { code, out }, err)
  assert.is_truthy(err:find("^lunode: [^\n]+\n$"), err)
  assert.is_truthy(err:find(pattern), err)
end

-- Keys that a backup must agree on: x runs ahead of y by one at most, and each pair is equal.
local function keep_busy(node)
  local client = node:client()
  local self = { turns = 0, stopped = false }
  function self.turn()
    for _ = 1, 20 do
      local turn = tostring(self.turns)
      client:send("INCR x\r\nINCR y\r\nMSET one " .. turn .. " two " .. turn .. "\r\n")
      self.turns = self.turns + 1
    end
    for _ = 1, 60 do
      local reply = client:reply()
      assert.is_true(math.type(reply) == "integer" or reply.ok == "OK")
    end
  end
  return self
end

local function assert_consistent(node)
  local x, y, one, two = table.unpack(node:client():call("MGET", "x", "y", "one", "two"))
  x, y = math.tointeger(tonumber(x)), math.tointeger(tonumber(y))
  assert.is_true(x == y or x == y + 1, ("%s %s"):format(x, y))
  assert.equal(one, two)
  assert.is_true(math.abs(tonumber(one) + 1 - y) <= 1)
  return x
end

describe("lunode backup", function()
  for _, sync in ipairs { "everysec", "always" } do
    it("of a node that runs is what it had at one moment, amid writes, sync " .. sync, function()
      local node, out = lunode.kv { "--sync", sync }, tmp.dir() .. "/out"
      data.fill(node:client(), 20, 100000)
      local busy = keep_busy(node)
      busy.turn()
      for round = 1, FULL and 10 or 2 do
        local before = busy.turns
        local p = lunode.start { "backup", node.dir, out .. round }
        repeat
          busy.turn()
        until not p:is_alive()
        assert.same({ 0, "" }, { p:wait(10), p:stderr() })
        assert.is_truthy(p:stdout():find("^backed up .*: %d+ rows, [^\n]* up to entry %d+, in [%d.]+ s\n$"), p:stdout())
        assert.equal(0, (lunode.run { "check", out .. round }))
        local copy = lunode.kv { dir = out .. round }
        local x = assert_consistent(copy)
        assert.is_true(x >= before and x <= busy.turns, ("%d, between %d and %d"):format(x, before, busy.turns))
        assert.equal(100000, copy:client():call("STRLEN", "big:20"))
        copy:client():call("INCR", "x")
        copy:kill9()
        copy:start()
        assert.equal(tostring(x + 1), copy:client():call("GET", "x"))
        copy:stop()
      end
    end)
  end

  it("of one that was killed brings what its log has, also commands that this lunode does not know", function()
    local node, dir = lunode.kv {}, tmp.dir()
    for i = 1, 50 do
      node:client():call("SET", "k" .. i, "v" .. i)
    end
    node:kill9()
    local before = tmp.read(node.dir .. "/FORMAT")
    assert.is_truthy(ok("backup", node.dir, dir .. "/out"):find(" and %d+ entries of the log, "))
    assert.equal(before, tmp.read(dir .. "/out/FORMAT"))
    local copy = lunode.kv { dir = dir .. "/out" }
    assert.same({ 50, "v50" }, { copy:client():call("DBSIZE"), copy:client():call("GET", "k50") })
    copy:stop()
    node:start()
    assert.equal(50, node:client():call("DBSIZE"))
  end)

  it("asks the socket that it is given, and says where nobody answers", function()
    local dir = tmp.dir()
    local node = lunode.kv { "--console", dir .. "/c.sock" }
    node:client():call("SET", "a", "1")
    ok("backup", "unix:" .. dir .. "/c.sock", dir .. "/out")
    refused("there is no console at .*/console%.sock: is the node running", "backup", node.dir, dir .. "/other")
    refused("there is no console at ", "backup", "unix:" .. dir .. "/no.sock", dir .. "/other")
    assert.is_false(data.exists(dir .. "/other"))
  end)

  it("never writes into a directory that holds something", function()
    local node, dir = lunode.kv {}, tmp.dir()
    data.sh("mkdir %s && echo precious >%s", dir .. "/full", dir .. "/full/file")
    refused("not empty %(it holds file%)", "backup", node.dir, dir .. "/full")
    ok("backup", node.dir, dir .. "/out")
    refused("holds data already", "backup", node.dir, dir .. "/out")
    node:stop()
    refused("not empty %(it holds file%)", "backup", node.dir, dir .. "/full")
    refused("holds data already", "backup", node.dir, node.dir)
    refused("No such file or directory", "backup", dir .. "/nowhere", dir .. "/new")
    refused("its parent does not exist", "backup", node.dir, dir .. "/a/b")
    assert.equal("precious\n", tmp.read(dir .. "/full/file"))
  end)

  it("leaves nothing when it is interrupted, whoever writes it", function()
    local node, out = lunode.kv {}, tmp.dir() .. "/out"
    data.fill(node:client(), 60, 1 << 20)
    local function interrupt(signal)
      local p = lunode.start { "backup", node.dir, out }
      wait.till(function()
        return data.exists(out .. "/FORMAT") or not p:is_alive()
      end, 20, "the copy to begin")
      p:kill(signal)
      return p:wait(20), p
    end
    assert.equal(130, (interrupt "INT"))
    wait.till(function()
      return not data.exists(out)
    end, 20, "the node to delete the copy")
    assert.equal(137, (interrupt "KILL"))
    wait.till(function()
      return not data.exists(out)
    end, 20, "the node to delete the copy")
    assert.equal(60, node:client():call("DBSIZE"))
    node:stop()
    assert.equal(130, (interrupt "INT"))
    assert.is_false(data.exists(out))
  end)

  it("that was killed is never taken for a whole one", function()
    local node, out = lunode.kv {}, tmp.dir() .. "/out"
    data.fill(node:client(), 60, 1 << 20)
    node:stop()
    local p = lunode.start { "backup", node.dir, out }
    wait.till(function()
      return data.exists(out) and tonumber(data.sh("du -sm %s | cut -f1", out)) > 4 or not p:is_alive()
    end, 20, "some of the copy")
    p:kill("KILL")
    assert.equal(137, p:wait(10))
    refused("never finished", "kv", "--listen", "127.0.0.1:0", "--data", out)
    refused("never finished", "restore", out, out .. "2")
    refused("never finished", "backup", out, out .. "2")
    local code, report = lunode.run { "check", out }
    assert.equal(1, code)
    assert.is_truthy(report:find("never finished", 1, true), report)
    assert.is_false(data.exists(out .. "2"))
  end)

  it("that was killed at its very beginning holds nothing, and is no backup", function()
    local dir = tmp.dir()
    assert(store.open(dir .. "/out")):close()
    refused("holds no data", "restore", dir .. "/out", dir .. "/new")
    refused("holds no data", "backup", dir .. "/out", dir .. "/new")
    local code, report = lunode.run { "check", dir .. "/out" }
    assert.equal(1, code)
    assert.is_truthy(report:find("there is nothing in it", 1, true), report)
  end)

  it("says that the disk is full, leaves nothing there, and the node serves on", function()
    local disk, why = data.small_disk("8m")
    if not disk then
      pending(why)
      return
    end
    local node = lunode.kv {}
    local client = node:client()
    data.fill(client, 24, 1 << 20)
    refused("No space left on device", "backup", node.dir, disk .. "/out")
    assert.is_false(data.exists(disk .. "/out"))
    assert.same({ ok = "OK" }, client:call("SET", "after", "1"))
    node:stop()
    refused("No space left on device", "backup", node.dir, disk .. "/out")
    assert.is_false(data.exists(disk .. "/out"))
  end)

  it("ends when its node ends", function()
    local node, out = lunode.kv {}, tmp.dir() .. "/out"
    data.fill(node:client(), 60, 1 << 20)
    local p = lunode.start { "backup", node.dir, out }
    wait.till(function()
      return data.exists(out .. "/FORMAT") or not p:is_alive()
    end, 20, "the copy to begin")
    assert.equal(0, node:stop())
    assert.equal(1, p:wait(20))
    assert.is_false(data.exists(out))
  end)

  it("refuses wrong words", function()
    for _, words in ipairs { { "backup" }, { "backup", "a" }, { "backup", "a", "b", "c" }, { "restore", "a" },
      { "backup", "--fast", "a", "b" }, { "restore", "a", "b", "-x" } } do
      local code, out, err = lunode.run(words)
      assert.same({ 2, "" }, { code, out })
      assert.is_truthy(err:find("^lunode: [^\n]+ %(see `lunode help %l+`%)\n$"), err)
    end
  end)
end)

describe("lunode restore", function()
  it("brings back what was backed up, into a new directory or an empty one", function()
    local node, dir = lunode.kv {}, tmp.dir()
    node:client():call("SET", "a", "1", "EX", "1000")
    node:client():call("SET", "b\0\xff", "2")
    ok("backup", node.dir, dir .. "/out")
    node:client():call("FLUSHALL")
    data.sh("mkdir -m 0710 %s", dir .. "/empty")
    for _, name in ipairs { "/new", "/empty" } do
      assert.is_truthy(ok("restore", dir .. "/out", dir .. name):find("^restored .* up to entry 2, "))
      local copy = lunode.kv { dir = dir .. name }
      assert.same({ "1", "2" }, copy:client():call("MGET", "a", "b\0\xff"))
      assert.is_true(copy:client():call("TTL", "a") > 900)
      assert.equal(0, copy:stop())
      assert.equal(0, (lunode.run { "check", dir .. name }))
    end
    assert.equal("710\n", data.sh("stat -c %%a %s", dir .. "/empty"))
    assert.equal(0, (lunode.run { "check", dir .. "/out" }))
  end)

  it("refuses a directory with something in it, and a backup that is in use or none", function()
    local node, dir = lunode.kv {}, tmp.dir()
    ok("backup", node.dir, dir .. "/out")
    refused("in use by process %d+", "restore", node.dir, dir .. "/new")
    node:stop()
    refused("holds data already", "restore", dir .. "/out", node.dir)
    data.sh("mkdir %s && touch %s", dir .. "/full", dir .. "/full/file")
    refused("not empty", "restore", dir .. "/out", dir .. "/full")
    refused("not a data directory of lunode", "restore", dir .. "/full", dir .. "/new")
    refused("No such file", "restore", dir .. "/nothing", dir .. "/new")
    assert.is_false(data.exists(dir .. "/new"))
  end)
end)

describe("BGSAVE", function()
  local function info(client, field)
    return client:call("INFO", "persistence"):match("\n" .. field .. ":([^\r]*)")
  end

  local function save(client)
    assert.same({ ok = "Background saving started" }, client:call("BGSAVE"))
    wait.till(function()
      return info(client, "rdb_bgsave_in_progress") == "0"
    end, 20, "the end of BGSAVE")
  end

  it("keeps the last two copies, of which LASTSAVE tells the time", function()
    local node = lunode.kv {}
    local client = node:client()
    local started = client:call("LASTSAVE")
    for i = 1, 3 do
      client:call("SET", "round", tostring(i))
      save(client)
      assert.equal("ok", info(client, "rdb_last_bgsave_status"))
    end
    assert.is_true(client:call("LASTSAVE") >= started)
    assert.equal(tostring(client:call("LASTSAVE")), info(client, "rdb_last_save_time"))
    local function round(slot)
      assert.equal(0, (lunode.run { "check", node.dir .. "/backup-" .. slot }))
      local copy = lunode.kv { dir = node.dir .. "/backup-" .. slot }
      local value = copy:client():call("GET", "round")
      copy:stop()
      return value
    end
    assert.same({ "3", "2" }, { round(1), round(2) })
    node:stop()
    node:start() -- it finds out again which one is older
    client = node:client()
    client:call("SET", "round", "4")
    save(client)
    assert.same({ "3", "4" }, { round(1), round(2) })
    assert.equal(0, node:stop())
    assert.equal(0, (lunode.run { "check", node.dir }))
  end)

  it("is one at a time, and answers as Redis does; SAVE refuses", function()
    local node, server = lunode.kv {}, redis.server()
    local client, theirs = node:client(), server:client()
    data.fill(client, 40, 1 << 20)
    for _, words in ipairs { { "BGSAVE", "NOW" }, { "BGSAVE", "SCHEDULE", "x" }, { "SAVE", "x" } } do
      assert.same(theirs:call(table.unpack(words)), client:call(table.unpack(words)))
    end
    local replies = client:pipeline { { "BGSAVE", "schedule" }, { "BGSAVE" }, { "SAVE" } }
    assert.same({ ok = "Background saving started" }, replies[1])
    assert.same({ err = "ERR Background save already in progress" }, replies[2])
    assert.same({ err = "ERR Background save already in progress" }, replies[3])
    wait.till(function()
      return info(client, "rdb_bgsave_in_progress") == "0"
    end, 20, "the end of BGSAVE")
    assert.is_truthy(client:call("SAVE").err:find("^ERR .*BGSAVE"))
  end)

  it("that finds the disk full tells so, and nothing is left of it", function()
    local disk, why = data.small_disk("48m")
    if not disk then
      pending(why)
      return
    end
    local node = lunode.kv { dir = disk .. "/data" }
    local client = node:client()
    data.fill(client, 6, 1 << 20)
    local free = data.sh("df --output=avail -B1 %s | tail -1", disk)
    data.sh("head -c " .. math.tointeger(tonumber(free)) - (3 << 20) .. " /dev/zero >%s", disk .. "/ballast")
    save(client)
    assert.equal("err", info(client, "rdb_last_bgsave_status"))
    assert.is_false(data.exists(disk .. "/data/backup-1"))
    os.remove(disk .. "/ballast")
    save(client)
    assert.equal("ok", info(client, "rdb_last_bgsave_status"))
    assert.is_true(data.exists(disk .. "/data/backup-1"))
  end)

  it("of a node in memory goes to the disk", function()
    local node = lunode.kv { "--engine", "memory" }
    local client = node:client()
    client:call("SET", "a", "1")
    save(client)
    assert.equal("leveldb", store.inspect(node.dir .. "/backup-1").engine)
    local copy = lunode.kv { dir = node.dir .. "/backup-1" }
    assert.equal("1", copy:client():call("GET", "a"))
  end)
end)
