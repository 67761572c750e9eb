-- How a connection comes about, or not: every outcome of a connect, and what a listener promises.

local cleanup = require "lunode.test.cleanup"
local expect = require "lunode.test.expect"
local kit = require "spec.contract.kit"
local misuse = require "spec.support.misuse"

local function contract(world)
  local connect = world.tcp_client.connect

  --- Connects, and returns the log of what happened once the connection has closed.
  local function outcome(host, port, options, then_do)
    local log, inside = kit.log(then_do), true
    local all = log.callbacks
    local on_connect = all.on_connect
    all.on_connect = function(...)
      assert(not inside, "on_connect was called within connect")
      on_connect(...)
    end
    for key, value in pairs(options or {}) do
      all[key] = value
    end
    log.conn = connect(host, port, all)
    inside = false
    cleanup.add(function()
      log.conn:abort()
    end)
    return log
  end

  local function ended(log)
    kit.till(world, function()
      return log.closed
    end, "on_close")
    kit.settle(world)
    return log.events
  end

  describe("connect", function()
    it("that succeeds tells on_connect once, without an error, and never within the call", function()
      local server = kit.listen(world, {})
      local host, port = server:sock()
      local log = outcome(host, port)
      assert.equal("connecting", log.conn:stats().state)
      assert.is_false(log.conn:is_open())
      assert.same({ nil, "Transport endpoint is not connected", "ENOTCONN", n = 3 }, table.pack(log.conn:peer()))
      kit.till(world, function()
        return log.conn:is_open()
      end)
      kit.settle(world)
      assert.same({ "connect" }, log.events)
      assert.equal("open", log.conn:stats().state)
      assert.same({ host, port }, { log.conn:peer() })
      assert.equal(host, (log.conn:sock()))
      assert.matches("^lunode.conn %(open%): ", tostring(log.conn))
      log.conn:close()
      assert.same({ "connect", "close" }, ended(log))
      assert.same({ -1, "closed" }, { log.conn:stats().fd, log.conn:stats().state })
    end)

    it("that is refused tells on_connect and then on_close, each once", function()
      assert.same({ "connect:ECONNREFUSED", "close:ECONNREFUSED" }, ended(outcome(kit.HOST, 1)))
    end)

    it("gives people a sentence beside the code", function()
      local given
      kit.connect(world, 1, {
        on_connect = function(_, err)
          given = err
        end,
      })
      assert.equal(
        "Connection refused",
        kit.till(world, function()
          return given
        end)
      )
    end)

    it("that nobody answers ends after its timeout", function()
      local host, port = world.silent()
      local log = outcome(host, port, { connect_timeout = 0.05 })
      assert.same({ "connect:ETIMEDOUT", "close:ETIMEDOUT" }, ended(log))
    end)

    it("that is closed or aborted before it was begun hears that it was cancelled", function()
      local server = kit.listen(world, { on_connect = expect(nil, 0) })
      local host, port = server:sock()
      for _, how in ipairs { "close", "abort" } do
        local log = outcome(host, port)
        log.conn[how](log.conn)
        log.conn[how](log.conn)
        assert.same({}, log.events)
        assert.same({ "connect:ECANCELED", "close" }, ended(log))
      end
    end)

    it("that is closed or aborted while it waits hears that it was cancelled", function()
      local host, port = world.silent()
      for _, how in ipairs { "close", "abort" } do
        local log = outcome(host, port)
        log.conn:write("never sent")
        kit.turns(world, 3)
        assert.equal("connecting", log.conn:stats().state)
        log.conn[how](log.conn)
        assert.same({}, log.events)
        assert.same({ "connect:ECANCELED", "close" }, ended(log))
      end
    end)

    it("to a name that stands for nothing tells so", function()
      assert.same({ "connect:ENOTFOUND", "close:ENOTFOUND" }, ended(outcome("no.such.name.invalid", 1)))
    end)

    it("needs no callbacks at all", function()
      local server = kit.listen(world, {})
      local host, port = server:sock()
      local good, refused = connect(host, port, {}), connect(host, 1, {})
      kit.till(world, function()
        return good:is_open() and refused:stats().state == "closed"
      end)
      good:close()
    end)

    it("whose on_connect raises closes that connection with ECALLBACK", function()
      local server = kit.listen(world, {})
      local host, port = server:sock()
      local errors = kit.collect_errors(world)
      local log = outcome(host, port, nil, {
        on_connect = function()
          error "not now"
        end,
      })
      assert.same({ "connect", "close:ECALLBACK" }, ended(log))
      assert.equal(1, #errors)
      assert.matches("connect_spec.lua:%d+: not now\nstack traceback", errors[1])
    end)

    it("that failed keeps its code where on_connect raises", function()
      local errors = kit.collect_errors(world)
      local log = outcome(kit.HOST, 1, nil, {
        on_connect = function()
          error "as well"
        end,
      })
      assert.same({ "connect:ECONNREFUSED", "close:ECONNREFUSED" }, ended(log))
      assert.equal(1, #errors)
    end)

    it("that failed refuses writes in on_connect, and has nothing to close", function()
      local written
      local log = outcome(kit.HOST, 1, nil, {
        on_connect = function(conn)
          written = table.pack(conn:write("too late"))
          conn:close()
          conn:abort()
          conn:shutdown()
          conn:pause()
          conn:resume()
        end,
      })
      assert.same({ "connect:ECONNREFUSED", "close:ECONNREFUSED" }, ended(log))
      assert.is_nil(written[1])
      assert.equal("ENOTCONN", written[3])
    end)

    it("lets a hundred go at once, each to its own end", function()
      local server = kit.listen(world, {})
      local host, port = server:sock()
      local logs = {}
      for i = 1, 100 do
        logs[i] = outcome(host, i % 2 == 0 and port or 1)
        if i % 5 == 0 then
          logs[i].conn:abort()
        end
      end
      for i = 1, 100 do
        local first = i % 5 == 0 and "connect:ECANCELED" or i % 2 == 0 and "connect" or "connect:ECONNREFUSED"
        kit.till(world, function()
          return logs[i].events[1]
        end)
        assert.equal(first, logs[i].events[1])
        logs[i].conn:abort()
      end
      for i = 1, 100 do
        kit.till(world, function()
          return logs[i].closed
        end)
        assert.equal(2, #logs[i].events)
      end
    end)
  end)

  describe("what is written while connecting", function()
    it("follows in order once connected, and then the end where one was asked for", function()
      local got = kit.log()
      got.callbacks.on_connect = nil
      local server = kit.listen(world, got.callbacks)
      local _, port = server:sock()
      local conn = kit.connect(world, port, {
        on_connect = function(c)
          assert.is_nil((c:write("refused")))
        end,
      })
      assert.is_true(conn:write("one "))
      assert.is_true(conn:write({ "two ", "three ", "" }))
      assert.is_true(conn:write("four"))
      conn:shutdown()
      local room, _, code = conn:write("five")
      assert.is_nil(room)
      assert.equal("EPIPE", code)
      kit.till(world, function()
        return got.events[#got.events] == "end"
      end)
      assert.equal("one two three four", got.data)
    end)

    it("is bounded as ever: false above the high watermark, the cap ends the attempt", function()
      local server = kit.listen(world, {})
      local host, port = server:sock()
      local log = outcome(host, port, { low = 5, high = 10, cap = 20 })
      assert.is_true(log.conn:write(("x"):rep(10)))
      assert.is_false(log.conn:write("x"))
      assert.is_false(log.conn:write(("x"):rep(9)))
      local room, _, code = log.conn:write("x")
      assert.is_nil(room)
      assert.equal("ENOBUFS", code)
      assert.same({ "connect:ENOBUFS", "close:ENOBUFS" }, ended(log))
    end)

    it("tells on_writable once it has left", function()
      local server = kit.listen(world, {})
      local host, port = server:sock()
      local log = outcome(host, port, { low = 5, high = 10 })
      assert.is_false(log.conn:write(("x"):rep(11)))
      kit.till(world, function()
        return log.events[2]
      end)
      kit.settle(world)
      assert.same({ "connect", "writable" }, log.events)
    end)

    it("is read only after resume where it paused while connecting", function()
      local client
      local server = kit.listen(world, {
        on_connect = function(conn)
          conn:write("hello")
        end,
      })
      local host, port = server:sock()
      client = outcome(host, port)
      client.conn:pause()
      kit.till(world, function()
        return client.conn:is_open()
      end)
      kit.settle(world)
      assert.equal("", client.data)
      client.conn:resume()
      kit.till(world, function()
        return client.data == "hello"
      end)
    end)
  end)

  describe("a listener", function()
    it("says where it listens, counts its connections, and lets them go on when it closes", function()
      local got, accepted = kit.log(), nil
      local server = kit.listen(world, {
        on_connect = function(conn)
          accepted = conn
        end,
        on_read = function(conn, data)
          conn:write(data:upper())
        end,
      })
      local host, port = server:sock()
      assert.equal(kit.HOST, host)
      assert.is_true(port > 0 and port < 65536)
      assert.equal(0, server:connections())
      local client = kit.connect(world, port, got.callbacks)
      kit.till(world, function()
        return accepted
      end)
      assert.equal(1, server:connections())
      assert.same({ accepted:sock() }, { client:peer() })
      assert.same({ client:sock() }, { accepted:peer() })
      server:close()
      server:close()
      client:write("still here")
      kit.till(world, function()
        return got.data == "STILL HERE"
      end)
      assert.equal(1, server:connections())
      client:close()
      kit.till(world, function()
        return server:connections() == 0
      end)
      assert.is_nil((server:sock()))
    end)

    it("can close itself inside of on_connect: that connection goes on, no other comes", function()
      local server, log = nil, kit.log()
      server = kit.listen(world, {
        on_connect = expect(function(conn)
          server:close()
          conn:write("the only one")
        end),
      })
      local host, port = server:sock()
      local client = kit.connect(world, port, log.callbacks)
      kit.till(world, function()
        return log.data == "the only one"
      end)
      assert.same({ "connect:ECONNREFUSED", "close:ECONNREFUSED" }, ended(outcome(host, port)))
      client:close()
    end)

    it("can close itself inside of on_connect while more connections wait", function()
      local server, closed, connected = nil, false, {}
      server = kit.listen(world, {
        on_connect = expect(function()
          server:close()
          closed = true
        end),
      })
      local _, port = server:sock()
      for i = 1, 10 do
        kit.connect(world, port, {
          on_connect = function()
            connected[#connected + 1] = i
          end,
        })
      end
      kit.till(world, function()
        return #connected == 10 and closed
      end)
    end)

    it("lets connections past max_connections wait, and takes them when there is room", function()
      local accepted = {}
      local server = kit.listen(world, {
        max_connections = 2,
        on_connect = function(conn)
          accepted[#accepted + 1] = conn
        end,
      })
      local _, port = server:sock()
      for _ = 1, 4 do
        kit.connect(world, port, {})
      end
      kit.till(world, function()
        return #accepted == 2
      end)
      kit.settle(world)
      assert.equal(2, #accepted)
      assert.equal(2, server:connections())
      accepted[1]:close()
      kit.till(world, function()
        return #accepted == 3
      end)
      accepted[2]:abort()
      kit.till(world, function()
        return #accepted == 4
      end)
      accepted[3]:abort()
      accepted[4]:abort()
    end)

    it("closes a connection whose on_connect raises, and goes on accepting", function()
      local errors, seen, codes = kit.collect_errors(world), 0, {}
      local server = kit.listen(world, {
        on_connect = function(conn)
          seen = seen + 1
          conn.data = seen
          if seen == 1 then
            error "no room for the first"
          end
          conn:write("welcome")
        end,
        on_close = function(conn, _, code)
          codes[conn.data] = code
        end,
      })
      local _, port = server:sock()
      local first, second = kit.log(), kit.log()
      kit.connect(world, port, first.callbacks)
      kit.till(world, function()
        return first.events[2] == "end"
      end)
      kit.connect(world, port, second.callbacks)
      kit.till(world, function()
        return second.data == "welcome"
      end)
      assert.equal("ECALLBACK", codes[1])
      assert.equal(1, #errors)
      assert.matches("no room for the first", errors[1])
    end)

    it("that cannot listen returns what is wrong", function()
      local server = kit.listen(world, {})
      local _, port = server:sock()
      local none, err, code = world.tcp_server.listen(kit.HOST, port, {})
      assert.is_nil(none)
      assert.equal(("cannot listen on 127.0.0.1 port %d: Address already in use"):format(port), err)
      assert.equal("EADDRINUSE", code)
      none, err, code = world.tcp_server.listen("no.such.name.invalid", 0, {})
      assert.is_nil(none)
      assert.equal("cannot listen on no.such.name.invalid port 0: name not found", err)
      assert.equal("ENOTFOUND", code)
    end)

    it("can be reached again on its port right after it was closed", function()
      local client, accepted = kit.pair(world)
      local _, port = accepted:sock()
      accepted:close() -- our side first: its address stays in TIME_WAIT
      kit.till(world, function()
        return client:stats().state == "closed"
      end)
      local again = assert(world.tcp_server.listen(kit.HOST, port, {}))
      again:close()
    end)
  end)

  it("misuse raises at the caller's line, in words that help", function()
    local listen = world.tcp_server.listen
    misuse("unknown option 'on_data'", function() connect(kit.HOST, 1, { on_data = print }) end)
    misuse("unknown option 'on_data'", function() listen(kit.HOST, 0, { on_data = print }) end)
    misuse("unknown option 'backlog'", function() connect(kit.HOST, 1, { backlog = 5 }) end)
    misuse("unknown option 'max_connections'", function() connect(kit.HOST, 1, { max_connections = 5 }) end)
    misuse("unknown option 'connect_timeout'", function() listen(kit.HOST, 0, { connect_timeout = 5 }) end)
    misuse("options are named; found a number", function() connect(kit.HOST, 1, { print }) end)
    misuse("option 'on_read' must be a function", function() connect(kit.HOST, 1, { on_read = "data" }) end)
    misuse("option 'connect_timeout' must be a positive", function() connect(kit.HOST, 1, { connect_timeout = 0 }) end)
    misuse("option 'high' must be an integer from 1", function() connect(kit.HOST, 1, { high = 0 }) end)
    misuse("option 'cap' must be an integer from 1", function() listen(kit.HOST, 0, { cap = "much" }) end)
    misuse("option 'nodelay' must be true or false", function() connect(kit.HOST, 1, { nodelay = 1 }) end)
    misuse("option 'decoder' must be", function() connect(kit.HOST, 1, { decoder = "lines" }) end)
    misuse("port must be from 0 to 65535", function() connect(kit.HOST, 65536, {}) end)
    misuse("port must be from 0 to 65535", function() listen(kit.HOST, -1, {}) end)
    misuse("number expected", function() connect(kit.HOST, "http", {}) end)
    misuse("string expected", function() connect(nil, 1, {}) end)
    misuse("table expected", function() connect(kit.HOST, 1) end)
    misuse("table expected", function() listen(kit.HOST, 0, print) end)
  end)
end

kit.describe("connecting", contract)

describe("the real kernel", function()
  local tcp_client = require "lunode.tcp_client"
  local tcp_server = require "lunode.tcp_server"
  local wait = require "lunode.test.wait"

  it("refuses some addresses at once: that reaches on_connect as any other outcome", function()
    local codes = {}
    tcp_client.connect("255.255.255.255", 9, {
      on_connect = expect(function(_, _, code)
        codes[1] = code
      end),
      on_close = expect(function(_, _, code)
        codes[2] = code
      end),
    })
    assert.same({}, codes)
    wait.till(function()
      return codes[2]
    end)
    assert.equal(codes[1], codes[2])
    assert.matches("^E%u+$", codes[1])
  end)

  it("has two addresses for localhost: where the first refuses, the second is tried", function()
    local server, err = tcp_server.listen("::1", 0, {})
    if not server then
      pending("no IPv6 here: " .. err)
      return
    end
    local _, port = server:sock()
    local host
    local conn = tcp_client.connect("localhost", port, {
      on_connect = expect(function(c, failure)
        assert.is_nil(failure)
        host = c:peer()
      end),
    })
    wait.till(function()
      return host
    end)
    assert.equal("::1", host)
    conn:close()
    server:close()
  end)
end)
