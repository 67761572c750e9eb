-- check, dump and backup on the directory of a cluster's member.
local data = require "spec.support.data"
local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local tmp = require "lunode.test.tmp"

local function has(text, out)
  assert.is_truthy(out:find(text), out)
end

-- Runs a verb on a directory, in which nothing may change.
local function run(code, verb, dir, ...)
  local before = data.contents(dir)
  local exit, out, err = lunode.run { verb, dir, ... }
  assert.equal(code, exit, out .. err)
  assert.equal(before, data.contents(dir))
  return out
end

describe("the directory of a member that has ended", function()
  local node, dir

  before_each(function()
    local address = "127.0.0.1:" .. ports.free()
    node = lunode.kv { "--id", "n1", "--cluster-listen", address, "--cluster-init", "n1=" .. address }
    dir = node.dir
    local client = node:client()
    for i = 1, 100 do
      client:call("SET", "key:" .. i, ("value %d "):format(i):rep(20))
    end
    client:call("RPUSH", "list", "a", "b")
  end)

  it("has no damage, and says whose it is", function()
    assert.equal(0, node:stop())
    local report = run(0, "check", dir)
    has("\nstore: .*; 101 keys, 0 of them expire; entries up to %d+\n", report)
    has("\nnote: it is of the member n1 of the cluster", report)
    has(": no damage\n$", report)
  end)

  it("shows its commands and its rows", function()
    node:kill9()
    local out = run(0, "dump", dir)
    has('\n%x+:%d+ entry %d+ term 1 20[%d-]+T[%d:.]+Z: RPUSH "list" "a" "b"\n', out)
    has('\nrow "identity" ', out)
    assert.equal(0, (lunode.run { "check", dir }))
  end)

  it("has its damage told", function()
    assert.equal(0, node:stop())
    local file = dir .. "/log/" .. data.sh("ls %s | grep 'log$' | head -1", dir .. "/log"):gsub("\n", "")
    local bytes = tmp.read(file)
    local at = assert(bytes:find("value 50 ", 1, true))
    tmp.write(file, bytes:sub(1, at - 1) .. "VALUE" .. bytes:sub(at + 5))
    has("damage: log: segment 0000000000000001 at offset %d+", run(1, "check", dir))
  end)

  it("is copied, and a node by itself runs from the copy, which has all that was acknowledged", function()
    assert.equal(0, node:stop())
    local copy = tmp.dir() .. "/copy"
    local code, _, err = lunode.run { "backup", dir, copy }
    assert.same({ 0, "" }, { code, err })
    has(": no damage\n$", run(0, "check", copy))
    local alone = lunode.kv { dir = copy }
    local client = alone:client()
    assert.equal(101, client:call "DBSIZE")
    assert.same({ "a", "b" }, client:call("LRANGE", "list", "0", "-1"))
    assert.equal(0, alone:stop())
  end)
end)
