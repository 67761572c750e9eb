-- A connection that decodes the Redis protocol: commands come as messages. What the bytes mean is resp_spec's.

local expect = require "spec.support.expect"
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

  it("gives more than 4096 arguments in one list", function()
    local got
    local client = pair {
      max_args = 5000,
      on_message = function(_, name, ...)
        got = { name, select("#", ...), ... }
      end,
    }
    local function command(argc)
      local parts = { ("*%d\r\n$3\r\nCMD\r\n"):format(argc) }
      for i = 2, argc do
        parts[i] = "$1\r\nx\r\n"
      end
      return parts
    end
    client:write(command(4096))
    till(function()
      return got
    end)
    assert.same({ "CMD", 4095 }, { got[1], got[2] })
    got = nil
    client:write(command(4097))
    till(function()
      return got
    end)
    assert.same({ "CMD", 1, "table" }, { got[1], got[2], type(got[3]) })
    assert.equal(4096, #got[3])
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
      return got.events[3] == "end"
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
