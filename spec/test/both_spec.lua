-- describe_both: the same tests, on real sockets and in the simulator.

local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local tmp = require "lunode.test.tmp"

describe_both("a world", function(world)
  -- A port that is free on the real world is so in a simulated one.
  local port

  before_each(function()
    port = ports.free()
  end)

  local function echo(words)
    local got, closed
    world.tcp_client.connect("127.1.0.1", port, {
      on_connect = function(conn, err)
        if not err then
          conn:write(words)
        end
      end,
      on_read = function(conn, data)
        got = data
        conn:close()
      end,
      on_close = function(_, err)
        closed = err or "in good order"
      end,
    })
    world:till(function()
      return closed
    end)
    return got
  end

  local function start()
    local server = world:node("server", "examples/echo_server.lua", { "127.1.0.1:" .. port })
    world:till(function()
      return server:output():find("listening", 1, true)
    end)
    return server
  end

  it("runs a script as a node", function()
    assert.equal("127.1.0.1", start().address)
    assert.equal("hello", echo "hello")
  end)

  it("runs a function as a node", function()
    world:node("server", function(at)
      local server = require("lunode.tcp_server").listen("127.1.0.1", at, {
        on_read = function(conn, data)
          conn:write(data:upper())
        end,
        on_close = function()
          require("lunode.loop").stop()
        end,
      })
      require("lunode.loop").timer(0.5, function()
        server:close()
      end)
    end, { port })
    world:run(0.1)
    assert.equal("HELLO", echo "hello")
    world:run(0.6)
  end)

  it("kills a node, and starts it anew", function()
    local server = start()
    world:kill(server)
    assert.is_nil(echo "x")
    world:restart(server)
    world:till(function()
      return select(2, server:output():gsub("listening", "")) == 2
    end)
    assert.equal("y", echo "y")
  end)

  it("pauses a node, and lets it go on", function()
    local server = start()
    world:pause(server)
    local got
    local conn = world.tcp_client.connect("127.1.0.1", port, {
      on_connect = function(conn)
        conn:write "x"
      end,
      on_read = function(_, data)
        got = data
      end,
    })
    assert.is_nil((world:run_until(function()
      return got
    end, 0.2)))
    world:resume(server)
    assert.equal("x", world:till(function()
      return got
    end))
    conn:close()
  end)

  it("has a clock that begins with the test", function()
    local before = world.now
    assert.is_true(before < 5)
    world:run(0.05)
    assert.is_true(world.now >= before + 0.049)
  end)

  it("has an address for the test itself, counted with the nodes'", function()
    assert.equal("127.1.0.1", world.address)
    assert.is_truthy(world.loop)
    assert.equal("127.1.0.2", world:node("two", function() end).address)
  end)

  it("waits as a task does", function()
    local begun = world.now
    assert.same(
      { 1, nil, 3, n = 3 },
      table.pack(world:await(function(...)
        world.task.sleep(0.05)
        return ...
      end, 1, nil, 3))
    )
    assert.is_true(world.now >= begun + 0.049)
    assert.has_error(function()
      world:await(function()
        world.task.yield()
        error("raised", 0)
      end)
    end, "raised")
  end)

  it("tells what was waited for in vain", function()
    local ok, err = pcall(function()
      world:till(function() end, 0.02, "Godot")
    end)
    assert.is_false(ok)
    assert.is_truthy(err:find("in vain for Godot", 1, true), err)
  end)
end)

describe("describe_both", function()
  it("runs a block twice, and names the world", function()
    local dir = tmp.dir()
    local path = tmp.write(
      dir .. "/x_spec.lua",
      [[
        describe_both("a block", function(world)
          assert(not pcall(function() return world.now end))
          it("runs", function() error(("simulated: %s"):format(world.simulated), 0) end)
          it("leaves something", function() world.loop.timer(1e6, print) end)
        end)
        it("refuses nonsense", function()
          assert.has_error(function() describe_both("x") end)
          assert.has_error(function() describe_both(print) end)
        end)
      ]]
    )
    local code, out = lunode.run { "test", path, env = { LUNODE_TEST_TIMES = dir .. "/times" } }
    assert.equal(1, code)
    assert.is_truthy(out:find("a block (real) runs", 1, true), out)
    assert.is_truthy(out:find("simulated: false", 1, true), out)
    assert.is_truthy(out:find("a block (simulated) runs", 1, true), out)
    assert.is_truthy(out:find("a block (real) leaves something", 1, true), out)
    assert.is_truthy(out:find("the test left this active in the simulated world: 1 timer (", 1, true), out)
    assert.is_truthy(out:find("\n1 passed, 4 failed\n", 1, true), out)
  end)
end)
