-- What code inside of a node has: commands through the write path, as a client's go. And the console, which has no
-- other way.
local data = require "spec.support.data"
local fake_node = require "spec.kv.fake_node"
local kv = require "lunode.kv"
local lunode = require "spec.support.lunode"
local task = require "lunode.task"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

describe("node:call", function()
  for _, sync in ipairs { "no", "everysec", "always" } do
    it("runs commands as a client would, and waits until they are committed, sync " .. sync, function()
      local node = assert(kv.start { port = 0, dir = tmp.dir() .. "/data", sync = sync })
      local before = node.replica.log:last()
      assert.same({ ok = "OK" }, node:call("SET", "a", 1))
      assert.equal(before + 1, node.replica.log:last())
      if sync == "always" then
        assert.equal(node.replica.log:last(), node.replica.log:synced())
      end
      assert.equal("1", node:call("get", "a"))
      assert.equal(2, node:call("INCRBY", "a", 1))
      assert.equal("ERR value is not an integer or out of range", node:call("INCRBY", "a", "x").err)
      assert.is_truthy(node:call("NOSUCH").err:find("^ERR unknown command"))
      assert.is_truthy(node:call("GET").err:find("^ERR wrong number of arguments"))
      assert.is_truthy(node:call("CLIENT", "ID").err:find("about a connection"))
      assert.is_truthy(node:call("SHUTDOWN").err:find("about a connection"))
      assert.equal("2", node:call("GET", "a"))
      local many = {}
      for i = 1, 20 do
        many[i] = task.spawn(function()
          return node:call("INCR", "n")
        end)
      end
      local sum = 0
      for _, one in ipairs(many) do
        sum = sum + one:join()
      end
      assert.equal(210, sum)
      node:close()
      wait.till(function()
        return node.closed
      end)
      assert.has_error(function()
        node:call("GET", "a")
      end)
    end)
  end

  it("refuses what is no word of a command", function()
    local node = fake_node.new()
    node.call = require("lunode.kv.call").call
    for _, words in ipairs { {}, { true }, { "SET", "a", {} }, { "GET", nil, "x" } } do
      assert.is_false((pcall(node.call, node, table.unpack(words, 1, 3))))
    end
    node:close()
  end)
end)

describe("the console of a node", function()
  local node

  before_each(function()
    node = lunode.kv {}
  end)

  local function attach(code)
    local exit, out, err = lunode.run { "attach", node.dir, "-e", code }
    return exit, out, err
  end

  it("reads keys, and writes by commands", function()
    assert.same({ 0, '"v"\n', "" }, { attach 'command("SET", "k", "v")\nreturn db:get "k"' })
    assert.equal("v", node:client():call("GET", "k"))
    assert.same({ 0, "1\n", "" }, { attach "db.keys" })
    assert.same({ 0, '"v"\n', "" }, { attach 'node:call("GET", "k")' })
    node:kill9()
    node:start()
    assert.equal("v", node:client():call("GET", "k"))
  end)

  it("lets nothing pass the log by, and says what does", function()
    for _, code in ipairs {
      'db:set("k", "v")', 'db:delete "k"', "db:flush()", 'store:put("k", "v")', 'store:delete_range("")',
      "store:close()", "store:commit()", "db.keys = 5",
    } do
      local exit, _, err = attach(code)
      assert.equal(1, exit, code)
      assert.is_truthy(err:find('command("SET", "key", "value")', 1, true) or err:find("cannot be set", 1, true), err)
    end
    assert.equal(0, node:client():call("DBSIZE"))
    assert.equal(0, node:stop())
    assert.is_truthy(data.exists(node.dir))
    assert.equal(0, (lunode.run { "check", node.dir }))
  end)
end)
