-- What a kernel decides about a connection: resets, half-open ends, the order of data, end and errors, the backlog,
-- ports. The sentences hold for Linux, and so for the simulated world.

local cleanup = require "lunode.test.cleanup"
local kit = require "spec.contract.kit"
local tmp = require "lunode.test.tmp"

local function contract(world)
  local function till(...)
    return kit.till(world, ...)
  end

  --- A connected pair and what each end hears: client, server, the client's log, the server's log.
  local function pair(client_hook, server_hook)
    local here, there = kit.log(client_hook), kit.log(server_hook)
    local client, server = kit.pair(world, here.callbacks, there.callbacks)
    return client, server, here, there
  end

  --- What has happened once the log's connection has closed.
  local function ended(log)
    till(function()
      return log.closed
    end, "on_close")
    kit.settle(world)
    return log.events
  end

  local function keep_open() end

  -- Bytes that the other end's kernel has, and nobody reads.
  local function unread(from, to)
    to:pause()
    local before = from:stats().bytes_written
    from:write("never read")
    till(function()
      return from:stats().bytes_written == before + 10
    end)
    kit.settle(world)
  end

  describe("an end that goes at once", function()
    it("with nothing unread is an end in good order for its peer", function()
      local client, server, here = pair()
      server:abort()
      till(function()
        return here.events[2]
      end)
      client:close()
      assert.same({ "connect", "end", "close" }, ended(here))
    end)

    it("with bytes unread resets its peer", function()
      local client, server, here = pair()
      unread(client, server)
      server:abort()
      assert.same({ "connect", "close:ECONNRESET" }, ended(here))
    end)

    it("with bytes unread resets its peer behind what it has sent: that is read first", function()
      local client, server, here = pair()
      unread(client, server)
      server:write("last words")
      kit.turns(world, 2)
      server:abort()
      assert.same({ "connect", "read", "close:ECONNRESET" }, ended(here))
      assert.equal("last words", here.data)
    end)

    it("with bytes unread ends a peer that has paused at once, with what that has not read", function()
      local client, server, here = pair()
      unread(client, server)
      client:pause()
      server:write("last words")
      kit.turns(world, 2)
      server:abort()
      assert.same({ "connect", "close:ECONNRESET" }, ended(here))
    end)

    it("resets a peer whose queue is full, and what was in it is dropped", function()
      local client, server, here = pair()
      server:pause()
      client:write(("x"):rep(20000000))
      kit.settle(world)
      server:abort()
      assert.same({ "connect", "close:ECONNRESET" }, ended(here))
      assert.equal("closed", client:stats().state)
    end)

    it("from both sides at the same time is no error", function()
      local client, server, here, there = pair()
      client:abort()
      server:abort()
      assert.same({ { "connect", "close" }, { "connect", "close" } }, { ended(here), ended(there) })
    end)
  end)

  describe("writing to an end that is gone", function()
    it("after its end was heard fails with EPIPE", function()
      local client, server, here, there = pair { on_end = keep_open }
      server:abort()
      till(function()
        return here.events[2] == "end" and there.closed
      end)
      client:write("is anybody there?")
      assert.same({ "connect", "end", "close:EPIPE" }, ended(here))
    end)

    it("while its end waits to be read fails with EPIPE, too", function()
      local client, server, here, there = pair()
      client:pause()
      server:abort()
      till(function()
        return there.closed
      end)
      kit.settle(world)
      client:write("is anybody there?")
      assert.same({ "connect", "close:EPIPE" }, ended(here))
    end)

    it("that has closed in good order, and was silent for a while, is the same", function()
      local client, server, here, there = pair { on_end = keep_open }
      server:close()
      assert.same({ "connect", "close" }, ended(there))
      client:write("is anybody there?")
      assert.same({ "connect", "end", "close:EPIPE" }, ended(here))
    end)
  end)

  describe("close", function()
    it("with bytes unread is an end in good order all the same", function()
      local client, server, here, there = pair()
      unread(client, server)
      server:close()
      till(function()
        return here.events[2]
      end)
      client:close()
      assert.same({ "connect", "end", "close" }, ended(here))
      assert.same({ "connect", "close" }, ended(there))
    end)

    it("takes and drops what the peer still sends, for as long as that goes on", function()
      local client, server, here, there = pair { on_end = keep_open }
      server:close()
      till(function()
        return here.events[2] == "end"
      end)
      for _ = 1, 5 do
        client:write(("more, "):rep(1000))
        kit.turns(world, 5)
      end
      client:close()
      assert.same({ "connect", "end", "close" }, ended(here))
      assert.same({ "connect", "close" }, ended(there))
    end)

    it("of a peer that never answers ends by itself, soon", function()
      local _, server, _, there = pair { on_end = keep_open }
      local begun = world.loop.now()
      server:close()
      assert.same({ "connect", "close" }, ended(there))
      assert.is_true(world.loop.now() - begun < 5) -- and not the linger's ten
    end)

    it("from both sides at the same time is no error", function()
      local client, server, here, there = pair()
      client:write("a")
      server:write("b")
      client:close()
      server:close()
      local events = { ended(here), ended(there) }
      assert.same({ { "connect", "close" }, { "connect", "close" } }, events)
    end)

    it("of one side while the other aborts is no error of the one that closes", function()
      local client, server, here, there = pair()
      client:close()
      server:abort()
      assert.same({ { "connect", "close" }, { "connect", "close" } }, { ended(here), ended(there) })
    end)

    it("to a peer that takes nothing gives up after ten seconds", function()
      if not world.simulated and os.getenv "LUNODE_FULL" ~= "1" then
        return -- they are real ones
      end
      local client, server, here = pair()
      server:pause()
      client:write(("x"):rep(20000000))
      client:close()
      local begun = world.loop.now()
      till(function()
        return here.closed
      end, "on_close", 30)
      assert.same({ "connect", "close:ETIMEDOUT" }, here.events)
      local waited = world.loop.now() - begun
      assert.is_true(waited > 9.9, waited .. " seconds") -- a kernel may take some more at first
      server:abort()
    end)

    it("after shutdown, with the peer's end heard, is immediate", function()
      local client, server, here, there = pair({ on_end = keep_open }, { on_end = keep_open })
      client:shutdown()
      till(function()
        return there.events[2] == "end"
      end)
      server:close()
      assert.same({ "connect", "end", "close" }, ended(there))
      assert.same({ "connect", "end", "close" }, ended(here))
      assert.equal("closed", client:stats().state)
    end)
  end)

  describe("the end of the peer", function()
    it("comes behind all of its data, also where that waited for a reader", function()
      local _, server, here = pair()
      local block = ("0123456789"):rep(100000)
      server:write(block)
      server:shutdown()
      till(function()
        return here.events[#here.events] == "end"
      end)
      assert.same({ "connect", "read", "end" }, here.events)
      assert.is_true(here.data == block)
    end)

    it("does not keep our queue from being sent, and on_writable comes when it has drained", function()
      local client, server, here, there = pair({ on_end = keep_open })
      server:pause()
      client:write(("x"):rep(5000000))
      kit.settle(world)
      assert.is_true(client:stats().queued > 0)
      server:shutdown()
      till(function()
        return here.events[2] == "end"
      end)
      assert.is_true(client:is_open())
      server:resume()
      till(function()
        return #there.data == 5000000
      end)
      till(function()
        return here.events[3]
      end)
      assert.same({ "connect", "end", "writable" }, here.events)
    end)

    it("leaves what on_end writes to be delivered", function()
      local _, server, here, there = pair {
        on_end = function(conn)
          conn:write("one more thing")
          conn:close()
        end,
      }
      server:shutdown()
      assert.same({ "connect", "end", "close" }, ended(here))
      assert.same({ "connect", "read", "end", "close" }, ended(there))
      assert.equal("one more thing", there.data)
    end)
  end)

  describe("addresses", function()
    it("of a connection that was reset: the peer is no more, ours is still there", function()
      local seen
      local client, server = pair {
        on_close = function(conn)
          seen = { select("#", conn:sock()), (select(3, conn:peer())) }
        end,
      }
      unread(client, server)
      server:abort()
      till(function()
        return seen
      end)
      assert.same({ 2, "ENOTCONN" }, seen)
    end)

    it("are of one kind: a port that the kernel chose belongs to nobody else", function()
      local ports = {}
      for _ = 1, 20 do
        local _, port = kit.listen(world, {}):sock()
        assert.is_nil(ports[port])
        ports[port] = true
      end
    end)

    it("that are not ours cannot be listened on", function()
      local none, err, code = world.tcp_server.listen("192.0.2.1", 7000, {})
      assert.same(
        { nil, "cannot listen on 192.0.2.1 port 7000: Cannot assign requested address", "EADDRNOTAVAIL" },
        { none, err, code }
      )
    end)

    it("overlap: all of them, and one of them, cannot share a port", function()
      local all = assert(world.tcp_server.listen("0.0.0.0", 0, {}))
      local host, port = all:sock()
      assert.equal("0.0.0.0", host)
      assert.equal("EADDRINUSE", (select(3, world.tcp_server.listen("127.0.0.1", port, {}))))
      local seen = kit.log()
      local client = kit.connect(world, port, seen.callbacks)
      till(function()
        return client:is_open()
      end)
      assert.same({ "127.0.0.1", port }, { client:peer() })
      all:close()
      client:close()
    end)

    it("can be shared where all who listen say so", function()
      local first = assert(world.tcp_server.listen(kit.HOST, 0, { reuseport = true }))
      local _, port = first:sock()
      assert.equal("EADDRINUSE", (select(3, world.tcp_server.listen(kit.HOST, port, {}))))
      local second = assert(world.tcp_server.listen(kit.HOST, port, { reuseport = true }))
      first:close()
      second:close()
    end)

    it("named localhost are two: where the first refuses, the second is tried", function()
      local server = world.tcp_server.listen("::1", 0, {})
      if not server then
        return -- a machine without IPv6
      end
      local _, port = server:sock()
      local host
      local conn = world.tcp_client.connect("localhost", port, {
        on_connect = function(c, err)
          assert.is_nil(err)
          host = c:peer()
        end,
      })
      till(function()
        return host
      end)
      assert.equal("::1", host)
      conn:close()
      server:close()
    end)
  end)

  describe("a backlog", function()
    -- A listener that accepts one connection only, and has done so.
    local function busy(options)
      local accepted = {}
      options.max_connections = 1
      options.on_connect = function(conn)
        accepted[#accepted + 1] = conn
      end
      local server = kit.listen(world, options)
      local _, port = server:sock()
      local first = kit.connect(world, port, {})
      till(function()
        return accepted[1] and first:is_open()
      end)
      return server, port, accepted
    end

    it("keeps what a connection has sent and how it ended, until that is accepted", function()
      local there = kit.log()
      local _, port, accepted = busy(there.callbacks)
      local here = kit.log()
      local client = kit.connect(world, port, here.callbacks)
      till(function()
        return client:is_open()
      end)
      client:write("early")
      client:close()
      assert.same({ "connect", "close" }, ended(here))
      assert.equal(1, #accepted)
      accepted[1]:abort()
      till(function()
        return there.events[#there.events] == "end"
      end)
      assert.equal("early", there.data)
      assert.equal(2, #accepted)
      accepted[2]:abort()
    end)

    it("is reset where its listener closes: those in it are connected, and then not", function()
      local server, port = busy {}
      local here = kit.log()
      local client = kit.connect(world, port, here.callbacks)
      till(function()
        return client:is_open()
      end)
      kit.settle(world)
      server:close()
      assert.same({ "connect", "close:ECONNRESET" }, ended(here))
    end)
  end)

  describe("a Unix socket", function()
    local path, host

    before_each(function()
      path = tmp.dir() .. "/node.sock"
      host = "unix:" .. path
    end)

    local function connect(log)
      local conn = world.tcp_client.connect(host, nil, log.callbacks)
      cleanup.add(function()
        conn:abort()
      end)
      return conn
    end

    it("carries bytes, and has a path where others have a host", function()
      local accepted
      local server = assert(world.tcp_server.listen(host, nil, {
        on_connect = function(conn)
          accepted = conn
        end,
        on_read = function(conn, data)
          conn:write(data:upper())
        end,
      }))
      assert.same({ host, 0 }, { server:sock() })
      local log = kit.log()
      local conn = connect(log)
      conn:write("hello")
      till(function()
        return log.data == "HELLO"
      end)
      assert.same({ { host, 0 }, { "unix:", 0 } }, { { conn:peer() }, { conn:sock() } })
      assert.same({ { "unix:", 0 }, { host, 0 } }, { { accepted:peer() }, { accepted:sock() } })
      conn:close()
      assert.same({ "connect", "read", "close" }, ended(log))
      server:close()
    end)

    it("that is not there, or has gone, says so", function()
      local log = kit.log()
      connect(log)
      assert.same({ "connect:ENOENT", "close:ENOENT" }, ended(log))
      local server = assert(world.tcp_server.listen(host, nil, {}))
      server:close()
      log = kit.log()
      connect(log)
      assert.same({ "connect:ENOENT", "close:ENOENT" }, ended(log))
    end)

    it("has one server at a time", function()
      local server = assert(world.tcp_server.listen(host, nil, {}))
      local none, err, code = world.tcp_server.listen(host, nil, {})
      assert.same({ nil, "EADDRINUSE" }, { none, code })
      assert.equal(("cannot listen on %s: a server is listening on that socket already"):format(host), err)
      server:close()
      server = assert(world.tcp_server.listen(host, nil, {}))
      server:close()
    end)

    it("needs a path that is not empty and not too long", function()
      for given, code in pairs { ["unix:"] = "EINVAL", ["unix:/" .. ("x"):rep(107)] = "ENAMETOOLONG" } do
        local _, err, got = world.tcp_server.listen(given, nil, {})
        assert.equal(code, got)
        assert.matches("cannot listen on unix:", err, 1, true)
      end
    end)

    it("whose other end has gone ends at once, also where on_end would keep it", function()
      local accepted
      local server = assert(world.tcp_server.listen(host, nil, {
        on_connect = function(conn)
          accepted = conn
        end,
      }))
      local log = kit.log { on_end = keep_open }
      local conn = connect(log)
      till(function()
        return accepted and conn:is_open()
      end)
      accepted:abort()
      assert.same({ "connect", "end", "close" }, ended(log))
      server:close()
    end)
  end)
end

kit.describe("a kernel", contract)
