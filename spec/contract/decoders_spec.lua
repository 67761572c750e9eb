-- The decoders: lines, frames, MessagePack and the script's own function. What "resp" does is decoder_spec's.

local expect = require "lunode.test.expect"
local kit = require "spec.contract.kit"
local misuse = require "spec.support.misuse"
local msgpack = require "lunode.msgpack"

-- A decoder of the script's own: messages end with a semicolon, and a "!" is malformed.
local function until_semicolon(bytes, position)
  local bad = bytes:find("!", position, true)
  local stop = bytes:find(";", position, true)
  if bad and (not stop or bad < stop) then
    return nil, "there is a '!'"
  end
  if stop then
    return bytes:sub(position, stop - 1), stop + 1
  end
end

-- Another, which tells how many bytes it needs: one digit, then so many bytes.
local function counted(bytes, position)
  local length = bytes:byte(position) - 48
  if #bytes < position + length then
    return nil, 1 + length
  end
  return bytes:sub(position + 1, position + length), position + 1 + length
end

-- Each with a batch of bytes, its messages, what on_message returns, and what is then written.
local decoders = {
  {
    name = "line",
    decoder = "line",
    bytes = "one\ntwo\r\n\na\0b\r\r\nlast\n",
    messages = { "one", "two", "", "a\0b\r", "last" },
    returned = "ok",
    written = "ok\n",
    part = "unfinished",
    limited = { max_line = 10 },
    too_long = "elevenbytes",
    complaint = "line longer than 10 bytes",
  },
  {
    name = "{length = 4}",
    decoder = { length = 4 },
    bytes = "\0\0\0\3one\0\0\0\0\0\0\0\4l\0\r\n",
    messages = { "one", "", "l\0\r\n" },
    returned = "ok",
    written = "\0\0\0\2ok",
    part = "\0\0\0\9eight",
    limited = { max_message = 10 },
    too_long = "\0\0\0\11",
    complaint = "frame of 11 bytes; at most 10 are allowed",
  },
  {
    name = '{length = 2, endian = "little", max = 10}',
    decoder = { length = 2, endian = "little", max = 10 },
    bytes = "\3\0one\0\0\10\0tententent",
    messages = { "one", "", "tententent" },
    returned = "ok",
    written = "\2\0ok",
    part = "\9\0eight",
    limited = { max_message = 5 }, -- its own max counts
    too_long = "\11\0",
    complaint = "frame of 11 bytes; at most 10 are allowed",
  },
  {
    name = "msgpack",
    decoder = "msgpack",
    bytes = "\1\x93\1\xa1x\xc0\xa3one\x81\xa1k\xc4\1v\xc2",
    messages = { 1, { 1, "x", msgpack.null }, "one", { k = "v" }, false },
    returned = { 1, 2 },
    written = "\x92\1\2",
    part = "\x92\1\xa5four",
    limited = { max_message = 10 },
    too_long = "\xaa",
    complaint = "message longer than 10 bytes",
  },
  {
    name = "a function",
    decoder = until_semicolon,
    bytes = "one;;last;",
    messages = { "one", "", "last" },
    returned = "ok;",
    written = "ok;",
    part = "unfinished",
    limited = { max_message = 10 },
    too_long = "elevenbytes",
    complaint = "message longer than 10 bytes",
  },
  {
    name = "a function that tells what it needs",
    decoder = counted,
    bytes = "3one04last",
    messages = { "one", "", "last" },
    returned = "2ok",
    written = "2ok",
    part = "5four",
    limited = { max_message = 5 },
    too_long = "5",
    complaint = "message longer than 5 bytes",
  },
}

local function contract(world)
  local function till(...)
    return kit.till(world, ...)
  end

  local function with(options, more)
    local all = {}
    for key, value in pairs(options) do
      all[key] = value
    end
    for key, value in pairs(more or {}) do
      all[key] = value
    end
    return all
  end

  for _, case in ipairs(decoders) do
    describe("with decoder = " .. case.name, function()
      --- A server that decodes, and a client that sends raw bytes.
      local function pair(options, client_options)
        return kit.pair(world, client_options, with(options, { decoder = case.decoder }))
      end

      local function collector()
        local seen = {}
        return seen, function(_, ...)
          assert.equal(1, select("#", ...))
          seen[#seen + 1] = (...)
        end
      end

      it("calls on_message for each message, sent byte by byte or all at once", function()
        local seen, on_message = collector()
        local client, server = pair { on_message = on_message }
        for i = 1, #case.bytes do
          client:write(case.bytes:sub(i, i))
          till(function()
            return server:stats().bytes_read == i
          end)
        end
        assert.same(case.messages, seen)
        assert.equal(0, server:stats().kept)
        client:write(case.bytes:rep(100))
        till(function()
          return #seen == 101 * #case.messages
        end)
        for i = 1, 100 do
          assert.same(case.messages, { table.unpack(seen, i * #case.messages + 1, (i + 1) * #case.messages) })
        end
      end)

      it("gives messages longer than what one read brings", function()
        local total = math.floor(300000 * math.max(world.volume, 0.3))
        local frames = {
          line = ("x"):rep(total) .. "\n",
          msgpack = msgpack.encode(("x"):rep(total)),
          ["{length = 4}"] = string.pack(">s4", ("x"):rep(total)),
          ["a function"] = ("x"):rep(total) .. ";",
        }
        local bytes = frames[case.name]
        if not bytes then
          return
        end
        local seen, on_message = collector()
        local client = pair { on_message = on_message, max_line = total, max_message = total + 5 }
        client:write(bytes:rep(2))
        till(function()
          return #seen == 2
        end)
        assert.is_true(seen[1] == ("x"):rep(total) and seen[2] == seen[1])
      end)

      it("that pauses after each message gets the next after resume, in order", function()
        local seen = {}
        local client, server = pair {
          on_message = function(conn, message)
            seen[#seen + 1] = message
            conn:pause()
          end,
        }
        client:write(case.bytes)
        for n = 1, #case.messages do
          till(function()
            return #seen == n
          end)
          kit.settle(world)
          assert.equal(n, #seen)
          server:resume()
        end
        assert.same(case.messages, seen)
        kit.settle(world)
        assert.equal(0, server:stats().kept)
      end)

      it("keeps a message that is not whole, and drops it at the end of the stream", function()
        local seen, on_message = collector()
        local kept
        local client = pair {
          on_message = on_message,
          on_bad_message = expect(nil, 0),
          on_end = expect(function(conn)
            kept = conn:stats().kept
            conn:close()
          end),
        }
        client:write(case.bytes .. case.part)
        client:shutdown()
        till(function()
          return kept
        end)
        assert.equal(#case.part, kept)
        assert.same(case.messages, seen)
      end)

      it("writes what on_message returns, and nothing for nil", function()
        local answers = { [1] = case.returned }
        local n = 0
        local got = kit.log()
        local client, server = pair({
          on_message = function()
            n = n + 1
            return answers[n]
          end,
        }, got.callbacks)
        client:write(case.bytes)
        till(function()
          return n == #case.messages and server:stats().bytes_written == #case.written
        end)
        kit.settle(world)
        assert.equal(case.written, got.data)
      end)

      it("takes no more messages while what they return fills the queue", function()
        local n = 0
        local big = case.returned
        if type(big) ~= "string" then
          big = { ("x"):rep(1000) }
        elseif not case.name:find "max" then
          big = ("x"):rep(1000)
        end
        local client, server = pair({
          high = 5000,
          low = 1000,
          on_message = function()
            n = n + 1
            return big
          end,
        }, {
          on_connect = function(conn)
            conn:pause()
          end,
        })
        local sent = math.ceil(6000 / #case.messages)
        client:write(case.bytes:rep(sent))
        till(function()
          return n > 1
        end)
        client:resume()
        till(function()
          return n == sent * #case.messages
        end)
        assert.is_true(server:is_open())
      end)

      it("tells on_bad_message what is too long before it is there, and closes with EPROTO", function()
        local got, complaint, code = kit.log(), nil, nil
        local client = pair(
          with(case.limited, {
            on_message = expect(nil, 0),
            on_bad_message = expect(function(conn, err)
              complaint = err
              conn:write("bad")
            end),
            on_close = expect(function(_, _, why)
              code = why
            end),
          }),
          got.callbacks
        )
        client:write(case.too_long)
        till(function()
          return code and got.events[3] == "end"
        end)
        assert.equal(case.complaint, complaint)
        assert.equal("EPROTO", code)
        assert.equal("bad", got.data)
      end)

      it("lets set change its limit at any time", function()
        local code
        local client, server = pair {
          on_close = function(_, _, why)
            code = why
          end,
        }
        server:set(case.limited)
        client:write(case.too_long)
        till(function()
          return code
        end)
        assert.equal("EPROTO", code)
      end)

      it("is closed with ECALLBACK when on_message raises, and gets no more of the batch", function()
        local errors, code = kit.collect_errors(world), nil
        local client = pair {
          on_message = expect(function()
            error "not this one"
          end),
          on_close = function(_, _, why)
            code = why
          end,
        }
        client:write(case.bytes)
        till(function()
          return code
        end)
        assert.equal("ECALLBACK", code)
        assert.equal(1, #errors)
        assert.matches("decoders_spec.lua:%d+: not this one\nstack traceback", errors[1])
      end)

      it("goes on behind a message that raised where on_error answers", function()
        local seen, raised = {}, 0
        local got = kit.log()
        local client = pair({
          on_message = function(_, message)
            seen[#seen + 1] = message
            error { "a table" }
          end,
          on_error = function(_, err)
            assert.same({ "a table" }, err)
            raised = raised + 1
            return raised == 1 and case.returned or nil
          end,
        }, got.callbacks)
        client:write(case.bytes)
        till(function()
          return raised == #case.messages and #got.data == #case.written
        end)
        assert.same(case.messages, seen)
        assert.equal(case.written, got.data)
      end)

      it("refuses to write what its protocol has not, which on_error hears", function()
        local heard
        local client = pair {
          on_message = function()
            return print
          end,
          on_error = function(_, err)
            heard = err
          end,
        }
        client:write(case.bytes)
        till(function()
          return heard
        end)
        local words = case.name == "msgpack" and "cannot encode a function" or "on_message returned a function"
        assert.matches(words, heard)
      end)

      it("that closes within a batch gets no more of it", function()
        for _, how in ipairs { "close", "abort" } do
          local client, server = pair {
            on_message = expect(function(conn)
              conn[how](conn)
              return case.returned
            end),
          }
          client:write(case.bytes)
          till(function()
            return server:stats().state == "closed"
          end)
        end
      end)

      it("passes over messages that nobody takes", function()
        local client, server = pair {}
        client:write(case.bytes:rep(100))
        till(function()
          return server:stats().bytes_read == 100 * #case.bytes
        end)
        assert.equal(0, server:stats().kept)
      end)
    end)
  end

  describe("whose decoder is a function", function()
    --- Sends bytes; returns the code with which the server's side closed, what loop.on_error and on_bad_message heard.
    local function outcome(decoder, bytes, options)
      local errors, code, complaint = kit.collect_errors(world), nil, nil
      local client = kit.pair(world, {}, with(options or {}, {
        decoder = decoder,
        on_error = expect(nil, 0), -- it answers for on_message, not for the decoder
        on_bad_message = function(_, err)
          complaint = err
        end,
        on_close = function(_, _, why)
          code = why
        end,
      }))
      client:write(bytes)
      till(function()
        return code
      end)
      return code, errors[1], complaint
    end

    it("refuses what it calls malformed, after all that was right", function()
      local seen = {}
      local code, err, complaint = outcome(until_semicolon, "a;b;c!;d;", {
        on_message = function(_, message)
          seen[#seen + 1] = message
        end,
      })
      assert.same({ "EPROTO", nil, "there is a '!'" }, { code, err, complaint })
      assert.same({ "a", "b" }, seen)
    end)

    it("closes with ECALLBACK when it raises", function()
      local code, err, complaint = outcome(function()
        error "the decoder is wrong"
      end, "x")
      assert.same({ "ECALLBACK" }, { code, complaint })
      assert.matches("the decoder is wrong\nstack traceback", err)
    end)

    it("must go forward, and stay within the bytes", function()
      for _, position in ipairs { 1, 0, 3, 1.5, "x", false } do
        local code, err = outcome(function()
          return "value", position
        end, "x")
        assert.equal("ECALLBACK", code)
        assert.matches("the decoder must return the next message's position beside its value", err)
        assert.matches("an integer from 2 to 2; it returned ", err, 1, true)
      end
      local code, err = outcome(function()
        return nil, 1
      end, "x")
      assert.equal("ECALLBACK", code)
      assert.matches("the decoder asks for 1 bytes and has 1", err)
    end)

    it("is not asked twice about the same bytes, nor before what it needs is there", function()
      local calls, seen = 0, {}
      local client, server = kit.pair(world, {}, {
        decoder = function(...)
          calls = calls + 1
          return counted(...)
        end,
        on_message = function(_, message)
          seen[#seen + 1] = message
        end,
      })
      local bytes = "9123456789"
      for i = 1, #bytes do
        client:write(bytes:sub(i, i))
        till(function()
          return server:stats().bytes_read == i
        end)
        server:pause()
        server:resume() -- offers the same bytes again
        kit.turns(world, 3)
      end
      assert.same({ "123456789" }, seen)
      assert.equal(2, calls)
    end)

    it("gets one string for all messages that it holds", function()
      local strings, seen = {}, 0
      local client, server = kit.pair(world, {}, {
        decoder = function(bytes, position)
          strings[bytes] = true
          return until_semicolon(bytes, position)
        end,
        on_message = function(conn)
          seen = seen + 1
          conn:pause()
        end,
      })
      client:write("a;b;c;")
      for n = 1, 3 do
        till(function()
          return seen == n
        end)
        server:resume()
      end
      assert.same({ ["a;b;c;"] = true }, strings)
    end)
  end)

  describe("with MessagePack", function()
    it("refuses values that nest too deeply, are too many, or are none", function()
      for bytes, words in pairs {
        [("\x91"):rep(33)] = "nested more than 32 deep",
        ["\xdd\xff\xff\xff\xff"] = "more than 1048576 values in one message",
        ["\xc1"] = "0xc1 begins no value",
        ["\x81\xca\x7f\xc0\0\0\1"] = "a map key that is not a number (NaN)",
      } do
        local complaint
        local client = kit.pair(world, {}, {
          decoder = "msgpack",
          on_bad_message = function(_, err)
            complaint = err
          end,
        })
        client:write(bytes)
        till(function()
          return complaint
        end)
        assert.equal(words, complaint)
      end
    end)
  end)

  it("checks its decoder as all options are checked", function()
    local function listen(options)
      return pcall(world.tcp_server.listen, kit.HOST, 0, options)
    end
    for words, options in pairs {
      ['option \'decoder\' must be "line", "resp", "msgpack", {length = …} or a function'] = { decoder = "lines" },
      ["option 'decoder' must be"] = { decoder = 4 },
      ["option 'decoder.length' must be 1, 2, 4 or 8"] = { decoder = { length = 3 } },
      ["option 'decoder' needs its length: {length = 1, 2, 4 or 8}"] = { decoder = {} },
      ['option \'decoder.endian\' must be "big" or "little"'] = { decoder = { length = 4, endian = "middle" } },
      ["option 'decoder.max' must be an integer from 1"] = { decoder = { length = 4, max = 0 } },
      ["unknown option 'decoder.size'"] = { decoder = { size = 4 } },
      ["option 'decoder': fields are named; found a number"] = { decoder = { 4 } },
      ["option 'max_line' must be an integer from 1"] = { max_line = 0 },
      ["option 'max_message' must be an integer from 1"] = { max_message = 1 << 40 },
      ["option 'max_values' must be an integer from 1"] = { max_values = "many" },
    } do
      local ok, message = listen(options)
      assert.is_false(ok)
      assert.matches(words, message, 1, true)
    end
    misuse("option 'decoder' must be", function() world.tcp_server.listen(kit.HOST, 0, { decoder = "x" }) end)
  end)
end

kit.describe("a connection", contract)
