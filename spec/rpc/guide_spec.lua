-- The guide's code is run as it stands there; the example as its first lines say.

local lunode = require "spec.support.lunode"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"


describe("the guide to RPC", function()
  it("has code that runs, top to bottom", function()
    local blocks = {}
    for block in assert(tmp.read("docs/guide/rpc.md")):gmatch "```lua\n(.-)```" do
      blocks[#blocks + 1] = block
    end
    assert.is_true(#blocks >= 6)
    blocks[#blocks + 1] = [[
      while not balance do require("lunode.loop").step(0.01) end
      assert(balance == 7)
      print "all of it"
      for _, each in ipairs { server, store, clock } do each:close() end
    ]]
    local path = tmp.write(tmp.dir() .. "/guide.lua", table.concat(blocks, "\n"))
    local code, out, err = lunode.run { "run", path, seconds = 55 }
    assert.equal("", err)
    assert.equal("all of it\n", out)
    assert.equal(0, code)
  end)
end)

describe("examples/rpc_calculator.lua", function()
  local path = "examples/rpc_calculator.lua"

  it("serves, and calls", function()
    local server = lunode.start { "run", path, "serve", "127.0.0.1:0" }
    local address = wait.till(function()
      return server:stdout():match "listening on (%S+)\n"
    end)
    local function call(...)
      return lunode.run { "run", path, "call", address, ... }
    end
    for _, case in ipairs { { "3", "add", 1, 2 }, { "-1", "sub", 1, 2 }, { "10.5", "mul", 3, 3.5 },
      { "0.25", "div", 1, 4 }, { "10", "sum", 1, 2, 3, 4 }, { "0", "sum" } } do
      local code, out, err = call(table.unpack(case, 2))
      assert.same({ 0, case[1] .. "\n", "" }, { code, out, err })
    end
    local code, _, err = call("div", 1, 0)
    assert.same({ 1, "cannot divide by zero\n" }, { code, err })
    code, _, err = call("sqrt", 2)
    assert.same({ 1, "unknown method 'sqrt'\n" }, { code, err })
    server:kill "KILL"
    server:wait()
    code, _, err = call("add", 1, 2)
    assert.equal(1, code)
    assert.matches("^cannot connect to 127.0.0.1:%d+: .*refused\n$", err)
  end)

  it("says what is wrong with its words, or with an address that is taken", function()
    local code, _, err = lunode.run { "run", path }
    assert.equal(2, code)
    assert.matches("^usage: ", err)
    local server = lunode.start { "run", path, "serve", "127.0.0.1:0" }
    local address = wait.till(function()
      return server:stdout():match "listening on (%S+)\n"
    end)
    code, _, err = lunode.run { "run", path, "serve", address }
    assert.equal(1, code)
    assert.matches("^cannot listen on 127.0.0.1:%d+: ", err)
  end)
end)
