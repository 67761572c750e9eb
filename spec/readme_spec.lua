-- The README's code is run as it stands there, so that it cannot go stale.

local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local redis = require "spec.support.redis"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"


local function readme_block(marker)
  for block in assert(tmp.read("README.md")):gmatch("```lua\n(.-)```") do
    if block:find(marker, 1, true) then
      return block
    end
  end
  error("the README has no Lua block with " .. marker)
end

-- Starts the block, on a port of its own, and waits until it says that it listens.
local function start(block, port)
  local dir = tmp.dir()
  local changed = block:gsub("70%d%d", tostring(port))
  tmp.write(dir .. "/script.lua", changed)
  local process = lunode.start { "run", "script.lua", cwd = dir }
  wait.till(function()
    return process:stdout():find("listening on 127.0.0.1:" .. port, 1, true) or not process:is_alive()
  end, 10, "the script to listen")
  assert.equal("", process:stderr())
  return process
end

describe("the README", function()
  it("has an echo server that echoes", function()
    local port = ports.free()
    local process = start(readme_block "on_read", port)
    local client = redis.connect("127.0.0.1", port)
    client:send("hello")
    wait.till(function() return client:bytes() == "hello" end, 10, "the echo")
    client:close()
    wait.till(function() return process:stdout():find("a client has left", 1, true) end, 10, "the farewell")
  end)

  it("has a command of its own that counts", function()
    local port = ports.free()
    start(readme_block "VISIT", port)
    local client = redis.connect("127.0.0.1", port)
    assert.equal(1, client:call("visit", "/index.html"))
    assert.equal(2, client:call("VISIT", "/index.html"))
    assert.equal("2", client:call("GET", "/index.html"))
  end)

  -- Runs the block's spec; returns what was printed and whether it passed.
  local function run_spec(block)
    local path = tmp.dir() .. "/echo_spec.lua"
    tmp.write(path, block)
    local process = lunode.start { "test", "--seeds", os.getenv "LUNODE_FULL" == "1" and "1000" or "200", path }
    process:wait(60)
    return process:stdout() .. process:stderr(), process:stdout():find("1 passed, 0 failed", 1, true) ~= nil
  end

  it("has a spec that passes in all worlds, and says what it needs for that", function()
    local block = readme_block "sim_it"
    local output, passed = run_spec(block)
    assert.is_true(passed, output)
    local changed, count = block:gsub(", read_timeout = 1", "")
    assert.equal(1, count)
    output, passed = run_spec(changed)
    assert.is_false(passed, output)
    assert.matches("lunode test %-%-seed %d+ ", output)
  end)
end)
