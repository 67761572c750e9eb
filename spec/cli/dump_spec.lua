-- lunode dump: what is in a data directory, to be read.
local data = require "spec.support.data"
local lunode = require "spec.support.lunode"
local tmp = require "lunode.test.tmp"

local function dump(dir, ...)
  local before = data.contents(dir)
  local code, out, err = lunode.run { "dump", dir, ... }
  assert.same({ 0, "" }, { code, err })
  assert.equal(before, data.contents(dir))
  return out
end

local function has(text, out)
  assert.is_truthy(out:find(text), out)
end

describe("lunode dump", function()
  local node

  before_each(function()
    node = lunode.kv {}
    local client = node:client()
    client:call("SET", 'a "quoted"\n\0\xff', "1\27[2J")
    client:call("SET", "soon", "x", "PXAT", "4102444800123")
    client:call("DEL", "soon")
    client:call("MSET", "k1", "v1", "k2", "v2")
    client:call("PEXPIREAT", "k2", "4102444800123")
  end)

  it("shows the commands in the log, with their times", function()
    node:kill9()
    local out = dump(node.dir, "--log")
    has('^0000000000000001:0 segment behind entry 0\n0000000000000001:256 entry 1 term 0 20[%d-]+T[%d:.]+Z: SET "a '
      .. '\\"quoted\\"\\n\\x00\\xff" "1\\x1b%[2J"\n', out)
    has(': SET "soon" "x" "PXAT" "4102444800123"\n', out)
    has(': MSET "k1" "v1" "k2" "v2"\n', out)
    assert.is_nil(out:find("[^%g \n]"), "something that a terminal would obey")
  end)

  it("shows the rows of the store", function()
    node:stop()
    local out = dump(node.dir, "--store")
    has('\nkey "k1" slot 12706 string "v1"\n', "\n" .. out)
    has('key "k2" slot 449 string "v2" expires 2100%-01%-01T00:00:00%.123Z\n', out)
    has('\nexpiry 2100%-01%-01T00:00:00%.123Z of "k2"\n', out)
    has('\ncount: 3 keys, 1 of them expire\nformat "1"\n$', out)
    assert.equal(dump(node.dir, "--log") .. out, dump(node.dir))
  end)

  it("of a node that runs shows the log only, and says why", function()
    local code, out, err = lunode.run { "dump", node.dir }
    assert.equal(1, code)
    has(' MSET "k1" ', out)
    has("^lunode: the store in [^\n]* is not shown: process " .. node.process.pid .. " has it open; [^\n]*\n$", err)
    assert.is_truthy(dump(node.dir, "--log") == out)
  end)

  it("of a backup shows its rows, and when it was made", function()
    local out = tmp.dir() .. "/out"
    assert.equal(0, (lunode.run { "backup", node.dir, out }))
    has('\nformat "1"\nsaved 20[%d-]+T[%d:.]+Z\n$', dump(out))
  end)

  it("ends where the log is damaged with exit 1, and shows what is around it", function()
    node:kill9()
    data.flip(node.dir .. "/log/0000000000000001.log", 300)
    local code, out, err = lunode.run { "dump", "--log", node.dir }
    assert.equal(1, code)
    has("0000000000000001:256 damage: ", out)
    has("^lunode: the log in [^\n]* is damaged; `lunode check ", err)
  end)

  it("ends in silence when nobody reads on", function()
    node:stop()
    assert.equal("", data.sh("%s dump %s | true", lunode.bin, node.dir))
  end)
end)
