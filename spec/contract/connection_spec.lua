-- What an open connection promises: writes and watermarks, half-close, close and abort, its fields.

local cleanup = require "lunode.test.cleanup"
local expect = require "lunode.test.expect"
local kit = require "spec.contract.kit"
local misuse = require "spec.support.misuse"

local function contract(world)
  local function till(...)
    return kit.till(world, ...)
  end

  -- The kernels' buffers grow for a while before they are full, and an acknowledgement may come 40 ms late.
  local function stuck(conn)
    local written = conn:stats().bytes_written
    for _ = 1, 3 do
      kit.settle(world)
    end
    return conn:stats().bytes_written == written and conn:stats().queued > 0
  end

  --- Writes pieces until the queue is above the high watermark and stays there; how many bytes that took.
  local function fill(conn, piece)
    local taken = 0
    repeat
      local room, err = conn:write(piece)
      assert(room ~= nil, err)
      taken = taken + #piece
      world.loop.step(0)
    until room == false and stuck(conn)
    return taken
  end

  describe("write", function()
    it("queues strings and lists of strings, in order, whatever their bytes", function()
      local got = kit.log()
      local client, server = kit.pair(world, nil, got.callbacks)
      assert.is_true(client:write("a\0b\r\n"))
      assert.is_true(client:write({ "c", "", "d\255" }))
      assert.is_true(client:write(""))
      assert.is_true(client:write({}))
      assert.equal(8, client:stats().queued)
      till(function()
        return #got.data == 8
      end)
      assert.equal("a\0b\r\ncd\255", got.data)
      assert.equal(8, client:stats().bytes_written)
      assert.equal(8, server:stats().bytes_read)
      assert.equal(0, client:stats().queued)
    end)

    it("refuses a list with anything but strings, at the caller's line, and queues nothing of it", function()
      local got = kit.log()
      local client = kit.pair(world, nil, got.callbacks)
      misuse("element 3 is a table, not a string", function() client:write({ "a", "b", {} }) end)
      misuse("element 1 is a nil, not a string", function() client:write({ nil, "b" }) end)
      misuse("element 2 is a number, not a string", function() client:write({ "a", 2 }) end)
      misuse("string expected, got nil", function() client:write(nil) end)
      misuse("string expected, got boolean", function() client:write(true) end)
      misuse("lunode.conn expected", function() client.write("data") end)
      assert.equal(0, client:stats().queued)
      client:write("clean")
      till(function()
        return got.data == "clean"
      end)
    end)

    it("asks no metamethods of a list", function()
      local client = kit.pair(world)
      local list = setmetatable({ "x" }, {
        __len = function()
          error "asked for its length"
        end,
        __index = function()
          error "asked for an element"
        end,
      })
      assert.is_true(client:write(list))
      assert.equal(1, client:stats().queued)
    end)

    it("is false above the high watermark, and on_writable tells once when the queue is below the low one", function()
      local log = kit.log()
      local options = log.callbacks
      options.low, options.high, options.cap = 1000, 100000, 1 << 26
      local client, server = kit.pair(world, options)
      server:pause()
      for _ = 1, 3 do
        fill(client, ("x"):rep(50000))
        client:write("more, while it is full")
        local told
        repeat -- the kernel may still make its buffers larger
          fill(client, ("x"):rep(50000))
          told = #log.events
          kit.settle(world)
        until told == #log.events and client:stats().queued > 100000
        kit.settle(world)
        assert.equal(told, #log.events)
        server:resume()
        till(function()
          return client:stats().queued == 0
        end)
        kit.settle(world)
        assert.equal(told + 1, #log.events)
        assert.equal("writable", log.events[#log.events])
        server:pause()
      end
    end)

    it("below the watermark asks for no on_writable", function()
      local log = kit.log()
      local options = log.callbacks
      options.low, options.high = 10, 100000
      local client = kit.pair(world, options)
      for _ = 1, 20 do
        assert.is_true(client:write(("x"):rep(5000)))
        assert.is_true(client:write(("x"):rep(5000)))
        till(function()
          return client:stats().queued == 0
        end)
      end
      assert.same({ "connect" }, log.events)
    end)

    it("from on_writable can fill the queue again: it is told again", function()
      local rounds = 0
      local client = kit.pair(world, {
        low = 10,
        high = 1000,
        on_writable = function(conn)
          rounds = rounds + 1
          if rounds < 50 then
            assert.is_false(conn:write(("x"):rep(1001)))
          end
        end,
      })
      assert.is_false(client:write(("x"):rep(1001)))
      till(function()
        return rounds == 50
      end)
      kit.settle(world)
      assert.equal(50, rounds)
    end)

    it("past the cap is refused whole and closes the connection", function()
      for _, shape in ipairs { "string", "list" } do
        local log, got = kit.log(), kit.log()
        log.callbacks.cap, log.callbacks.high = 1000, 500
        local client, server = kit.pair(world, log.callbacks, got.callbacks)
        local refused = ("y"):rep(500)
        assert.is_true(client:write(("x"):rep(500)))
        assert.is_false(client:write("xx"))
        local room, err, code = client:write(shape == "string" and refused or { refused:sub(1, 250), refused:sub(251) })
        assert.is_nil(room)
        assert.equal("string", type(err))
        assert.equal("ENOBUFS", code)
        assert.same({ "connect" }, log.events) -- not within the call
        assert.same({ nil, "ENOTCONN" }, { (client:write("z")), (select(3, client:write("z"))) })
        till(function()
          return log.closed
        end)
        assert.same({ "connect", "close:ENOBUFS" }, log.events)
        kit.settle(world)
        assert.is_nil(got.data:find("[yz]"))
        server:abort()
      end
    end)

    it("takes exactly as much as the cap", function()
      local client = kit.pair(world, { cap = 1000 })
      assert.is_true(client:write(("x"):rep(999)))
      assert.is_true(client:write("x"))
      assert.is_nil((client:write("x")))
    end)

    it("after the connection has closed is refused, and raises nothing", function()
      local client = kit.pair(world)
      client:abort()
      assert.same({ nil, "ENOTCONN" }, { (client:write("z")), (select(3, client:write({ "z" }))) })
      till(function()
        return client:stats().state == "closed"
      end)
      assert.same({ nil, "ENOTCONN" }, { (client:write("z")), (select(3, client:write({ "z" }))) })
      misuse("string expected, got no value", function() client:write() end)
    end)
  end)

  describe("pause", function()
    it("keeps on_read from being called until resume, and nothing is lost", function()
      local got, sent = kit.log(), {}
      local client, server = kit.pair(world, nil, got.callbacks)
      server:pause()
      for i = 1, 100 do
        sent[i] = ("%d,"):format(i):rep(50)
        client:write(sent[i])
        kit.turns(world, 1)
      end
      kit.settle(world)
      assert.equal("", got.data)
      server:resume()
      till(function()
        return got.data == table.concat(sent)
      end)
    end)

    it("within on_read takes effect at once", function()
      local log = kit.log()
      log.callbacks.on_read = expect(function(conn)
        conn:pause()
      end)
      local client = kit.pair(world, nil, log.callbacks)
      for _ = 1, 5 do
        client:write("more")
        kit.settle(world)
      end
    end)

    it("keeps the peer's end for after resume", function()
      local got = kit.log()
      local client, server = kit.pair(world, nil, got.callbacks)
      server:pause()
      client:write("the last words")
      client:close()
      kit.settle(world)
      assert.same({ "connect" }, got.events)
      server:resume()
      till(function()
        return got.events[3]
      end)
      assert.same({ "connect", "read", "end" }, got.events)
      assert.equal("the last words", got.data)
    end)

    it("keeps it also where our own side has ended before", function()
      local got = kit.log()
      local client, server = kit.pair(world, { on_end = function() end }, got.callbacks)
      server:shutdown()
      server:pause()
      kit.settle(world)
      client:write("the last words")
      client:close()
      kit.settle(world)
      server:resume()
      till(function()
        return got.closed
      end)
      assert.same({ "connect", "read", "end", "close" }, got.events)
      assert.equal("the last words", got.data)
    end)

    it("and resume may come as often as they like, and on closed connections", function()
      local got = kit.log()
      local client, server = kit.pair(world, nil, got.callbacks)
      for _ = 1, 10 do
        server:resume()
        server:pause()
        server:pause()
        server:resume()
        server:resume()
      end
      client:write("x")
      till(function()
        return got.data == "x"
      end)
      server:abort()
      server:pause()
      server:resume()
      till(function()
        return got.closed
      end)
      server:pause()
      server:resume()
    end)
  end)

  describe("shutdown", function()
    it("ends one side after its queue is sent; the other goes on sending", function()
      local here, there = kit.log(), kit.log()
      there.callbacks.low = 1
      local client, server = kit.pair(world, here.callbacks, there.callbacks)
      local block = ("x"):rep(300000)
      client:write(block)
      client:shutdown()
      client:shutdown()
      assert.equal("EPIPE", (select(3, client:write("more"))))
      till(function()
        return there.events[3] == "end"
      end)
      assert.equal(block, there.data)
      for i = 1, 5 do
        server:write("answer " .. i .. ";")
        kit.turns(world, 2)
      end
      till(function()
        return here.data == "answer 1;answer 2;answer 3;answer 4;answer 5;"
      end)
      assert.is_true(client:is_open() and server:is_open())
      server:shutdown()
      till(function()
        return here.closed and there.closed
      end)
      assert.same({ "connect", "read", "end", "close" }, here.events)
      assert.same({ "connect", "read", "end", "close" }, there.events)
    end)

    it("works the other way round", function()
      local here, there = kit.log(), kit.log()
      local client, server = kit.pair(world, here.callbacks, there.callbacks)
      server:write("that was all")
      server:shutdown()
      till(function()
        return here.events[3] == "end"
      end)
      assert.equal("that was all", here.data)
      client:write("thanks")
      client:shutdown()
      till(function()
        return here.closed and there.closed
      end)
      assert.equal("thanks", there.data)
      assert.same({ "connect", "read", "end", "close" }, there.events)
      assert.same({ "connect", "read", "end", "close" }, here.events)
    end)

    it("from both sides at once closes both, in good order", function()
      local here, there = kit.log(), kit.log()
      local client, server = kit.pair(world, here.callbacks, there.callbacks)
      client:write("a")
      server:write("b")
      client:shutdown()
      server:shutdown()
      till(function()
        return here.closed and there.closed
      end)
      assert.same({ "connect", "read", "end", "close" }, here.events)
      assert.same({ "connect", "read", "end", "close" }, there.events)
    end)

    it("of the peer closes a connection that has no on_end, once its queue is sent", function()
      local got, closed = kit.log(), nil
      local client, server = kit.pair(world, got.callbacks, {
        on_close = expect(function(_, err, code)
          closed = { err, code }
        end),
      })
      local block = ("y"):rep(3000000)
      server:write(block)
      client:shutdown()
      till(function()
        return closed
      end)
      assert.same({}, closed)
      till(function()
        return got.closed
      end)
      assert.equal(#block, #got.data)
      assert.is_false(server:is_open())
    end)
  end)

  describe("close", function()
    it("sends what is queued first; on_close comes once, last, and never within the call", function()
      local here, there = kit.log(), kit.log()
      local client, server = kit.pair(world, here.callbacks, there.callbacks)
      local block = ("0123456789"):rep(500000)
      server:pause()
      client:write(block)
      client:close()
      client:close()
      assert.is_false(client:is_open())
      assert.equal("closing", client:stats().state)
      assert.equal("ENOTCONN", (select(3, client:write("more"))))
      assert.same({ "connect" }, here.events)
      kit.settle(world)
      assert.same({ "connect" }, here.events) -- the peer has not taken it all
      server:resume()
      till(function()
        return there.events[3] == "end"
      end)
      assert.is_true(there.data == block)
      till(function()
        return here.closed
      end)
      assert.same({ "connect", "close" }, here.events)
      kit.settle(world)
      assert.same({ "connect", "close" }, here.events)
      assert.equal("closed", client:stats().state)
    end)

    it("reads nothing more", function()
      local got = kit.log()
      got.callbacks.on_read = expect(nil, 0)
      local client, server = kit.pair(world, nil, got.callbacks)
      client:write("too late")
      kit.turns(world, 0)
      server:close()
      till(function()
        return got.closed
      end)
    end)

    it("can be called in any callback, and is the end of them", function()
      for _, where in ipairs { "on_connect", "on_read", "on_writable", "on_end" } do
        for _, how in ipairs { "close", "abort" } do
          local log = kit.log({
            [where] = function(conn)
              conn[how](conn)
            end,
          })
          local server = kit.listen(world, {
            on_connect = function(conn)
              conn:write("data")
              conn:shutdown()
            end,
          })
          local _, port = server:sock()
          log.callbacks.low, log.callbacks.high = 10, 20
          local conn = kit.connect(world, port, log.callbacks)
          conn:write("more than twenty bytes of data")
          till(function()
            return log.closed
          end, where .. " " .. how)
          kit.settle(world)
          local short = where:sub(4)
          assert.equal(short, log.events[#log.events - 1])
          assert.equal("close", log.events[#log.events])
          server:close()
        end
      end
    end)

    it("of one connection by the callback of another silences it, also within the same batch", function()
      for _, how in ipairs { "close", "abort" } do
        local conns, reads, closes = {}, 0, 0
        local server = kit.listen(world, {
          on_connect = function(conn)
            conns[#conns + 1] = conn
          end,
          on_read = function(conn)
            reads = reads + 1
            for _, other in ipairs(conns) do
              if other ~= conn then
                other[how](other)
              end
            end
          end,
          on_close = function()
            closes = closes + 1
          end,
        })
        local _, port = server:sock()
        local clients = {}
        for i = 1, 20 do
          clients[i] = kit.connect(world, port, {})
        end
        till(function()
          return #conns == 20
        end)
        kit.turns(world, 3)
        for _, client in ipairs(clients) do
          client:write("now")
        end
        till(function()
          return closes == 19
        end)
        kit.settle(world)
        assert.equal(1, reads)
        assert.equal(19, closes)
        assert.equal(1, server:connections())
      end
    end)

    it("of a connection in the on_close of another one is told in its turn", function()
      local order, clients = {}, {}
      local server = kit.listen(world, {})
      local _, port = server:sock()
      for i = 1, 5 do
        clients[i] = kit.connect(world, port, {
          on_close = function()
            order[#order + 1] = i
            if clients[i + 1] then
              clients[i + 1]:abort()
            end
          end,
        })
      end
      till(function()
        return clients[5]:is_open()
      end)
      clients[1]:abort()
      till(function()
        return #order == 5
      end)
      assert.same({ 1, 2, 3, 4, 5 }, order)
    end)

    it("happens at the end of the block of a connection that is <close>", function()
      local log = kit.log()
      local client = kit.pair(world, log.callbacks)
      do
        local conn <close> = client
        conn:write("x")
      end
      till(function()
        return log.closed
      end)
    end)
  end)

  describe("abort", function()
    it("closes at once and drops what is queued", function()
      local here, there = kit.log(), kit.log()
      local client, server = kit.pair(world, here.callbacks, there.callbacks)
      server:pause()
      client:write(("x"):rep(20000000))
      kit.turns(world, 3)
      assert.is_true(client:stats().queued > 0)
      client:abort()
      client:abort()
      client:close()
      assert.same({ "connect" }, here.events)
      till(function()
        return here.closed
      end)
      assert.same({ "connect", "close" }, here.events)
      server:resume()
      till(function()
        return there.events[#there.events] == "end" or there.closed
      end)
      assert.is_true(#there.data < 20000000)
    end)

    it("ends a close that waits for its peer", function()
      local log = kit.log()
      local client, server = kit.pair(world, log.callbacks)
      server:pause()
      client:write(("x"):rep(20000000))
      client:close()
      kit.settle(world)
      assert.same({ "connect" }, log.events)
      client:abort()
      till(function()
        return log.closed
      end)
    end)
  end)

  describe("an error in a callback", function()
    it("is told with its traceback, closes that connection with ECALLBACK, and no other", function()
      for _, where in ipairs { "on_read", "on_writable", "on_end" } do
        local errors = kit.collect_errors(world)
        local log = kit.log({
          [where] = function()
            error("raised in " .. where)
          end,
        })
        log.callbacks.low, log.callbacks.high = 10, 20
        local bystander = kit.log()
        local other = kit.pair(world, bystander.callbacks, {
          on_read = function(conn, data)
            conn:write(data)
          end,
        })
        local client, server = kit.pair(world, log.callbacks)
        if where == "on_writable" then
          client:write(("x"):rep(50))
        else
          server:write("x")
          server:shutdown()
        end
        other:write("untouched")
        till(function()
          return log.closed and bystander.data == "untouched"
        end)
        assert.equal("close:ECALLBACK", log.events[#log.events])
        assert.equal(1, #errors)
        assert.matches("connection_spec.lua:%d+: raised in " .. where .. "\nstack traceback:", errors[1])
        assert.is_true(other:is_open())
      end
    end)

    it("in on_close is told, and the connection is closed all the same", function()
      local errors = kit.collect_errors(world)
      local client = kit.pair(world, {
        on_close = expect(function()
          error "at the very end"
        end),
      })
      client:abort()
      till(function()
        return #errors == 1
      end)
      assert.matches("at the very end", errors[1])
      assert.equal("closed", client:stats().state)
    end)

    it("drops what that connection had queued", function()
      kit.collect_errors(world)
      local got = kit.log()
      local client = kit.pair(world, got.callbacks, {
        on_read = function(conn)
          conn:write("half an answer")
          error "and then no more"
        end,
      })
      client:write("question")
      till(function()
        return got.events[#got.events] == "end"
      end)
      assert.equal("", got.data)
    end)
  end)

  describe("the fields", function()
    it("data is the script's own, from the first to after the last", function()
      local seen
      local client = kit.pair(world, {
        on_close = function(conn)
          seen = conn.data
        end,
      })
      assert.is_nil(client.data)
      client.data = { name = "mine" }
      client:abort()
      till(function()
        return seen
      end)
      assert.equal("mine", seen.name)
      assert.equal(seen, client.data)
      client.data = nil
      assert.is_nil(client.data)
    end)

    it("there are no others: reading gives nil, setting raises", function()
      local client = kit.pair(world)
      assert.is_nil(client.nonsense)
      assert.is_nil(client[1])
      misuse("no field 'name' to set; use conn.data", function() client.name = "x" end)
      misuse("no field 'write' to set; use conn.data", function() client.write = print end)
    end)

    it("set changes limits on the way, all or nothing", function()
      local client, server = kit.pair(world)
      server:pause()
      client:set { high = 10, low = 5, cap = 100, nodelay = false }
      assert.is_false(client:write("eleven byte"))
      misuse("unknown option 'hihg'", function() client:set { high = 50, hihg = 1 } end)
      misuse("unknown option 'on_read'", function() client:set { on_read = print } end)
      misuse("unknown option 'decoder'", function() client:set { decoder = "resp" } end)
      misuse("option 'cap' must be an integer from 1", function() client:set { cap = -1 } end)
      misuse("table expected", function() client:set() end)
      assert.is_false(client:write("x"))
      assert.is_nil((client:write(("x"):rep(100))))
      till(function()
        return client:stats().state == "closed"
      end)
      client:set { high = 10 }
    end)
  end)

  it("sends only after before_sleep, the place for group commit", function()
    local seen = {}
    local client, server = kit.pair(world, nil, {
      on_read = function(conn)
        conn:write("reply")
      end,
    })
    local hook = world.loop.before_sleep(function()
      local stats = server:stats()
      if stats.bytes_read > 0 then
        seen[#seen + 1] = { stats.queued, stats.bytes_written }
      end
    end)
    cleanup.add(function()
      hook:close()
    end)
    client:write("request")
    till(function()
      return client:stats().bytes_read == 5
    end)
    assert.same({ 5, 0 }, seen[1])
  end)
end

kit.describe("a connection", contract)
