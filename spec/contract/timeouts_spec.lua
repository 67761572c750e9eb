-- Timeouts of an open connection: each ends it with ETIMEDOUT and says which one it was.

local cleanup = require "lunode.test.cleanup"
local kit = require "spec.contract.kit"

local function contract(world)
  -- A connected pair whose client has the options; returns client, server, and what on_close heard.
  local function pair(options)
    local closed = {}
    options.on_close = function(_, err, code)
      closed.err, closed.code, closed.done = err, code, true
    end
    local client, server = kit.pair(world, options)
    return client, server, closed
  end

  local function ended(closed)
    kit.till(world, function()
      return closed.done
    end, "on_close")
    return closed
  end

  describe("a connection with a timeout", function()
    it("ends when it was idle for that long", function()
      local _, _, closed = pair { idle_timeout = 0.03 }
      assert.equal("ETIMEDOUT", ended(closed).code)
      assert.matches("^idle timeout", closed.err)
    end)

    it("ends when nothing was received for that long, whatever was sent", function()
      local client, _, closed = pair { read_timeout = 0.05 }
      local timer = world.loop.timer(0.01, function()
        client:write("still here")
      end, 0.01)
      cleanup.add(function()
        timer:close()
      end)
      assert.equal("ETIMEDOUT", ended(closed).code)
      assert.matches("^read timeout", closed.err)
      timer:close()
    end)

    it("ends when the peer takes nothing of what is queued for that long", function()
      local client, server, closed = pair { write_timeout = 0.05 }
      server:pause()
      while client:is_open() and client:write(("x"):rep(65536)) do
        world.loop.step(0)
      end
      assert.equal("ETIMEDOUT", ended(closed).code)
      assert.matches("^write timeout", closed.err)
    end)

    it("goes on while bytes come and go", function()
      local client, server, closed = pair { idle_timeout = 0.6, read_timeout = 0.6, write_timeout = 0.6 }
      local begun = world.loop.now()
      local timer = world.loop.timer(0.02, function()
        server:write("news")
      end, 0.02)
      cleanup.add(function()
        timer:close()
      end)
      kit.till(world, function()
        return world.loop.now() - begun > 0.9
      end)
      timer:close()
      assert.is_nil(closed.done)
      assert.is_true(client:is_open())
    end)

    it("can be given another one, or none, while it is open", function()
      local client, _, closed = pair { idle_timeout = 0.03 }
      client:set { idle_timeout = false, read_timeout = 0.05 }
      assert.equal("ETIMEDOUT", ended(closed).code)
      assert.matches("^read timeout", closed.err)
    end)
  end)

  it("a connect that nobody answers says so", function()
    local done
    local conn = world.tcp_client.connect("127.0.0.1", 9, {
      connect_timeout = 1e-9,
      on_connect = function(_, err, code)
        done = { err, code }
      end,
    })
    cleanup.add(function()
      conn:abort()
    end)
    kit.till(world, function()
      return done
    end)
    if done[2] ~= "ECONNREFUSED" then -- which can come first
      assert.equal("ETIMEDOUT", done[2])
      assert.matches("^connect timeout", done[1])
    end
  end)
end

kit.describe("timeouts", contract)
