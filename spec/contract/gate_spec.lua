-- What a server's gate promises: what its connections queued once it holds leaves when its mark is released, in order,
-- and never before.

local kit = require "spec.contract.kit"

local function contract(world)
  -- A server of two connections: (server, its sides, what their peers get: `data`, and `events`).
  local function two()
    local sides, got = {}, { kit.log(), kit.log() }
    local server = kit.listen(world, {
      on_connect = function(conn)
        sides[#sides + 1] = conn
      end,
    })
    local _, port = server:sock()
    for i = 1, 2 do
      kit.connect(world, port, got[i].callbacks)
      kit.till(world, function()
        return #sides == i
      end, "a connection")
    end
    return server, sides, got
  end

  local function gets(log, data)
    kit.till(world, function()
      return #log.data >= #data
    end, data)
    assert.equal(data, log.data)
  end

  local function stays(log, data)
    kit.settle(world)
    assert.equal(data, log.data)
  end

  it("holds back what is queued in its turn and after, on all connections, until the mark is released", function()
    local server, sides, got = two()
    sides[1]:write("before")
    gets(got[1], "before")
    sides[1]:write(" same turn")
    server:hold(7)
    world.loop.step(0)
    sides[1]:write(" later")
    sides[2]:write("other")
    stays(got[1], "before")
    stays(got[2], "")
    assert.equal(#" same turn later", sides[1]:stats().queued)
    server:release(6)
    stays(got[1], "before")
    server:release(7)
    gets(got[1], "before same turn later")
    gets(got[2], "other")
    sides[2]:write(" free")
    gets(got[2], "other free")
  end)

  it("lets go of each part with its own mark, in order", function()
    local server, sides, got = two()
    for mark = 1, 2 do
      sides[1]:write(tostring(mark))
      server:hold(mark)
      world.loop.step(0)
    end
    sides[2]:write("2")
    world.loop.step(0)
    stays(got[1], "")
    server:release(1)
    gets(got[1], "1")
    stays(got[1], "1")
    assert.equal("", got[2].data)
    server:release(2)
    gets(got[1], "12")
    gets(got[2], "2")
  end)

  it("holds the third mark's bytes and the second's together: never too early", function()
    local server, sides, got = two()
    for mark = 1, 3 do
      sides[1]:write(tostring(mark))
      server:hold(mark)
      world.loop.step(0)
    end
    server:release(1)
    gets(got[1], "1")
    server:release(2)
    stays(got[1], "1")
    server:release(3)
    gets(got[1], "123")
  end)

  it("holds nothing where the mark was released already, nor with one lower than before", function()
    local server, sides, got = two()
    server:hold(5)
    server:release(9)
    server:hold(4)
    server:hold(9)
    sides[1]:write("free")
    gets(got[1], "free")
    server:hold(10)
    server:hold(8)
    sides[1]:write(" held")
    server:release(9)
    stays(got[1], "free")
    server:release(10)
    gets(got[1], "free held")
  end)

  it("makes a connection that closes wait with its end", function()
    local server, sides, got = two()
    sides[1]:write("last words")
    server:hold(1)
    sides[1]:close()
    server:close()
    stays(got[1], "")
    server:release(1)
    gets(got[1], "last words")
    kit.till(world, function()
      return got[1].events[#got[1].events] == "end"
    end, "its end")
  end)

  it("drops what it holds of a connection that is aborted", function()
    local server, sides, got = two()
    sides[1]:write("never")
    sides[2]:write("told")
    server:hold(1)
    world.loop.step(0)
    sides[1]:abort()
    kit.settle(world)
    server:release(1)
    gets(got[2], "told")
    assert.equal("", got[1].data)
  end)

  local on_virtual_time = world.simulated and it or function() end

  on_virtual_time("waits longer than a peer is waited for, if it is not the peer's fault", function()
    local server, sides, got = two()
    sides[1]:write("patience")
    server:hold(1)
    sides[1]:close()
    local due = world.loop.now() + 25
    kit.till(world, function()
      return world.loop.now() >= due
    end, "25 s", 60)
    server:release(1)
    gets(got[1], "patience")
  end)

  it("counts what it holds for the watermarks", function()
    local server, sides, got = two()
    sides[1]:set { low = 10, high = 100 }
    server:hold(1)
    assert.is_true(sides[1]:write(("x"):rep(100)))
    assert.is_false(sides[1]:write("x"))
    stays(got[1], "")
    server:release(1)
    gets(got[1], ("x"):rep(101))
  end)
end

kit.describe("the gate of a server", contract)
