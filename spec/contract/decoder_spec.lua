-- A connection that decodes the Redis protocol: commands come as messages. What the bytes mean is resp_spec's.

local expect = require "lunode.test.expect"
local kit = require "spec.contract.kit"
local misuse = require "spec.support.misuse"

local function contract(world)
  local function till(...)
    return kit.till(world, ...)
  end

  --- A server that decodes, and a client that sends raw bytes.
  local function pair(options, client_options)
    options.decoder = "resp"
    return kit.pair(world, client_options, options)
  end

  --- Keeps each message as one string.
  local function collector()
    local seen = {}
    return seen,
      function(_, ...)
        seen[#seen + 1] = table.concat({ ... }, " ")
      end
  end

  it("calls on_message for each command, however the bytes are cut", function()
    local seen, on_message = collector()
    local client = pair { on_message = on_message }
    local bytes = "*2\r\n$4\r\nECHO\r\n$5\r\na\r\nb\0\r\nPING\r\n*1\r\n$4\r\nLAST\r\n"
    for i = 1, #bytes do
      client:write(bytes:sub(i, i))
      kit.turns(world, 1)
    end
    client:write(bytes)
    till(function()
      return #seen == 6
    end)
    assert.same({ "ECHO a\r\nb\0", "PING", "LAST", "ECHO a\r\nb\0", "PING", "LAST" }, seen)
  end)

  --- A command of so many words.
  local function command(argc)
    local parts = { ("*%d\r\n$3\r\nCMD\r\n"):format(argc) }
    for i = 2, argc do
      parts[i] = "$1\r\nx\r\n"
    end
    return parts
  end

  it("gives commands of more than 4096 words to on_long_message, as a list", function()
    local got
    local client = pair {
      on_message = function(_, name, ...)
        got = { "short", name, select("#", ...) }
      end,
      on_long_message = function(_, name, args)
        got = { "long", name, #args }
      end,
    }
    client:write(command(4096))
    till(function()
      return got
    end)
    assert.same({ "short", "CMD", 4095 }, got)
    got = nil
    client:write(command(4097))
    till(function()
      return got
    end)
    assert.same({ "long", "CMD", 4096 }, got)
  end)

  it("without on_long_message refuses such commands, whatever set says", function()
    local errors = {}
    local client, server = pair {
      max_args = 100000,
      on_message = expect(nil, 1),
      on_bad_message = function(_, err)
        errors[#errors + 1] = err
      end,
    }
    server:set { max_args = 100000 }
    client:write(command(4096))
    client:write(command(4097))
    till(function()
      return errors[1]
    end)
    assert.same({ "invalid multibulk length" }, errors)
  end)

  it("sends what on_message returns as the reply, and nothing where it returns nothing", function()
    local got = kit.log()
    local client, server = pair({
      on_message = function(_, name, value)
        if name == "GET" then
          return value
        elseif name == "NIL" then
          return nil
        end
      end,
    }, got.callbacks)
    client:write("GET a\r\nQUIET\r\nNIL\r\nGET bc\r\n")
    till(function()
      return got.data == "$1\r\na\r\n$-1\r\n$2\r\nbc\r\n"
    end)
    server:set { protocol = 3 }
    client:write("NIL\r\n")
    till(function()
      return got.data:sub(-3) == "_\r\n"
    end)
  end)

  it("takes no more messages while replies wait for a client that does not read", function()
    local seen, reply = 0, ("r"):rep(10000)
    local client, server = pair({
      high = 50000,
      low = 10000,
      on_message = function()
        seen = seen + 1
        return reply
      end,
    }, {})
    client:pause()
    local count = 5000 -- 50 MB of replies
    client:write(("PING\r\n"):rep(count))
    local last
    till(function()
      local previous = last
      last = seen
      kit.settle(world)
      return seen > 0 and previous == seen
    end)
    assert.is_true(seen < count)
    assert.is_true(server:stats().queued < 50000 + 10020)
    client:resume()
    till(function()
      return seen == count and server:stats().queued == 0
    end, "all replies", 60)
  end)

  it("lets on_error answer for what on_message raised, and goes on", function()
    local got, errors = kit.log(), {}
    local client = pair({
      on_message = function(_, name)
        if name == "BAD" then
          error "boom"
        elseif name == "WORSE" then
          error({ code = 7 })
        elseif name == "UNSENDABLE" then
          return print
        end
        return name
      end,
      on_error = function(_, err)
        errors[#errors + 1] = err
        return "sorry"
      end,
    }, got.callbacks)
    client:write("A\r\nBAD\r\nWORSE\r\nUNSENDABLE\r\nB\r\n")
    local sorry = "$5\r\nsorry\r\n"
    till(function()
      return got.data == "$1\r\nA\r\n" .. sorry:rep(3) .. "$1\r\nB\r\n"
    end)
    assert.matches("decoder_spec.lua:%d+: boom\nstack traceback:", errors[1])
    assert.same({ code = 7 }, errors[2])
    assert.equal(3, #errors)
  end)

  it("closes with ECALLBACK where on_error raises as well", function()
    local errors, code = kit.collect_errors(world), nil
    pair({
      on_message = function()
        error "first"
      end,
      on_error = function()
        error "second"
      end,
      on_close = function(_, _, why)
        code = why
      end,
    }):write("A\r\nB\r\n")
    till(function()
      return code
    end)
    assert.equal("ECALLBACK", code)
    assert.equal(1, #errors)
    assert.matches("second", errors[1])
  end)

  it("that pauses within a batch gets the rest after resume, in order", function()
    local seen = {}
    local client, server = pair {
      on_message = function(conn, name)
        seen[#seen + 1] = name
        if #seen % 3 == 0 then
          conn:pause()
        end
      end,
    }
    client:write("A\r\nB\r\nC\r\nD\r\nE\r\nF\r\nG\r\nH\r\n")
    client:shutdown()
    till(function()
      return #seen == 3
    end)
    kit.settle(world)
    assert.same({ "A", "B", "C" }, seen)
    assert.is_true(server:stats().kept > 0)
    server:resume()
    assert.equal(3, #seen) -- not within the call
    till(function()
      return #seen == 6
    end)
    kit.settle(world)
    assert.equal("ABCDEF", table.concat(seen))
    assert.is_true(server:is_open())
    server:resume()
    till(function()
      return server:stats().state == "closed"
    end)
    assert.equal("ABCDEFGH", table.concat(seen))
  end)

  it("that closes within a batch gets no more of it", function()
    for _, how in ipairs { "close", "abort" } do
      local client, server = pair {
        on_message = expect(function(conn)
          conn[how](conn)
        end),
      }
      client:write("A\r\nB\r\nC\r\n")
      till(function()
        return server:stats().state == "closed"
      end)
    end
  end)

  it("that raises within a batch gets no more of it, and is closed with ECALLBACK", function()
    local errors, code = kit.collect_errors(world), nil
    local client = pair {
      on_message = expect(function()
        error "not this one"
      end),
      on_close = function(_, _, why)
        code = why
      end,
    }
    client:write("A\r\nB\r\nC\r\n")
    till(function()
      return code
    end)
    assert.equal("ECALLBACK", code)
    assert.equal(1, #errors)
    assert.matches("decoder_spec.lua:%d+: not this one\nstack traceback", errors[1])
  end)

  it("tells on_bad_message what is wrong after all that was right, sends its answer, and closes with EPROTO", function()
    local seen, on_message = collector()
    local got, code = kit.log(), nil
    local client = pair({
      on_message = on_message,
      on_bad_message = expect(function(conn, err)
        conn:write("-ERR " .. err)
      end),
      on_close = expect(function(_, _, why)
        code = why
      end),
    }, got.callbacks)
    client:write("A\r\nB\r\n*1\r\n+oops\r\nC\r\n")
    till(function()
      return got.events[3] == "end" and code
    end)
    assert.same({ "A", "B" }, seen)
    assert.equal("-ERR expected '$', got '+'", got.data)
    assert.equal("EPROTO", code)
  end)

  it("closes with EPROTO also without on_bad_message, and with ECALLBACK where that raises", function()
    local errors, codes = kit.collect_errors(world), {}
    local function on_close(_, _, code)
      codes[#codes + 1] = code
    end
    pair({ on_close = on_close }):write("*x\r\n")
    till(function()
      return #codes == 1
    end)
    local client = pair {
      on_close = on_close,
      on_bad_message = function()
        error "worse"
      end,
    }
    client:write("*x\r\n")
    till(function()
      return #codes == 2
    end)
    assert.same({ "EPROTO", "ECALLBACK" }, codes)
    assert.equal(1, #errors)
  end)

  it("holds to its limits, which set can change within a batch", function()
    local errors = {}
    local function on_bad_message(_, err)
      errors[#errors + 1] = err
    end
    local function refused(options, bytes)
      options.on_bad_message = on_bad_message
      local client = pair(options)
      client:write(bytes)
      till(function()
        return #errors > 0
      end)
      return table.remove(errors)
    end
    assert.equal("invalid multibulk length", refused({ max_args = 2 }, "*3\r\n"))
    assert.equal("invalid bulk length", refused({ max_bulk = 10 }, "*1\r\n$11\r\n"))
    local stranger = "*11\r\n"
    assert.equal("unauthenticated multibulk length", refused({ authenticated = false }, stranger))
    local names = {}
    local client = pair {
      authenticated = false,
      on_message = function(conn, name)
        names[#names + 1] = name
        if name == "AUTH" then
          conn:set { authenticated = true }
        end
      end,
    }
    client:write("AUTH\r\n*11\r\n$3\r\nCMD\r\n" .. ("$1\r\nx\r\n"):rep(10))
    till(function()
      return names[2]
    end)
    assert.same({ "AUTH", "CMD" }, names)
  end)

  it("passes over messages that nobody takes", function()
    local client, server = pair {}
    client:write(("PING\r\n"):rep(1000))
    till(function()
      return server:stats().bytes_read == 6000
    end)
    assert.equal(0, server:stats().kept)
  end)

  it("limits are checked as all options are", function()
    local listen = world.tcp_server.listen
    misuse("option 'max_args' must be an integer from 1", function() listen(kit.HOST, 0, { max_args = 0 }) end)
    misuse("option 'max_bulk' must be an integer from 1", function() listen(kit.HOST, 0, { max_bulk = 1 << 40 }) end)
    misuse("option 'authenticated' must be true or false", function() listen(kit.HOST, 0, { authenticated = 1 }) end)
  end)
end

kit.describe("a connection that decodes", contract)
