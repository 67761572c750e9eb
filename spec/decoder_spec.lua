-- lunode.decoder: decoders without a socket. What the bytes mean is spec/contract's; here is what the object does.

local decoder = require "lunode.decoder"
local misuse = require "spec.support.misuse"
local resp = require "lunode.resp"

--- All messages that are there, each as a list with its kind in front; then how it ended, where that was a refusal.
local function all(object)
  local seen = {}
  while true do
    local message = table.pack(object:next())
    if message[1] == nil then
      return seen, message[2], message[3]
    end
    message.n = nil
    seen[#seen + 1] = message
  end
end

describe("a decoder", function()
  it("takes messages from what it is fed, however that is cut, and keeps the rest", function()
    local object = decoder.new { decoder = "line" }
    assert.same({}, (all(object)))
    for byte in ("one\ntwo\r\nthr"):gmatch(".") do
      object:feed(byte)
    end
    assert.same({ { "message", "one" }, { "message", "two" } }, (all(object)))
    assert.equal(3, object:kept())
    object:feed("ee\n")
    assert.same({ { "message", "three" } }, (all(object)))
    assert.equal(0, object:kept())
  end)

  it("counts as kept only what no message has consumed", function()
    local object = decoder.new { decoder = { length = 1 } }
    object:feed("\3one\3two\3t")
    object:next()
    assert.equal(6, object:kept())
  end)

  it("gives the values of a command one by one, and those of a long one as a list", function()
    local words = ("$1\r\nx\r\n"):rep(5000)
    local object = decoder.new { decoder = "resp", long_messages = true }
    object:feed("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*5001\r\n$3\r\nDEL\r\n" .. words)
    local seen = all(object)
    assert.same({ "message", "GET", "k" }, seen[1])
    assert.same({ "long", "DEL", 5000 }, { seen[2][1], seen[2][2], #seen[2][3] })
    object = decoder.new { decoder = "resp" }
    object:feed("*5001\r\n")
    assert.same({ {}, "invalid multibulk length", "EPROTO" }, { all(object) })
  end)

  it("tells why it refuses, after all that was right, and says it again", function()
    local object = decoder.new { decoder = "line", max_line = 3 }
    object:feed("abc\nabcd\n")
    for _, expected in ipairs { { { "message", "abc" } }, {} } do
      assert.same({ expected, "line longer than 3 bytes", "EPROTO" }, { all(object) })
    end
  end)

  it("encodes what on_message returned, as its protocol has it", function()
    assert.equal("ok\n", decoder.new({ decoder = "line" }):encode("ok"))
    assert.equal("\0\2ok", decoder.new({ decoder = { length = 2 } }):encode("ok"))
    assert.equal("\x92\1\2", decoder.new({ decoder = "msgpack" }):encode({ 1, 2 }))
    assert.equal("$-1\r\n", decoder.new({ decoder = "resp" }):encode(nil))
    assert.equal("_\r\n", decoder.new({ decoder = "resp", protocol = 3 }):encode(nil))
    assert.equal(0, select("#", decoder.new({ decoder = "line" }):encode(nil)))
    local object = decoder.new { decoder = "line" }
    misuse("on_message returned a table; this decoder writes strings", function() object:encode({}) end)
    assert.equal("ok\n", object:encode("ok"))
    local large = ("x"):rep(1 << 20)
    assert.equal(large .. "\n", object:encode(large))
  end)

  it("can have its limits changed between two messages, all or none", function()
    local object = decoder.new { decoder = "line" }
    object:feed("a line\n")
    misuse("unknown option 'max_lines'", function() object:set({ max_line = 3, max_lines = 4 }) end)
    misuse("option 'max_line' must be an integer from 1", function() object:set({ max_line = 0 }) end)
    misuse("unknown option 'decoder'", function() object:set({ decoder = "resp" }) end)
    misuse("table expected", function() object:set() end)
    object:set { max_line = 3 }
    assert.same({ {}, "line longer than 3 bytes", "EPROTO" }, { all(object) })
  end)

  it("raises at the caller what its options have wrong", function()
    misuse("option 'decoder' is missing", function() decoder.new({}) end)
    misuse("option 'decoder' must be", function() decoder.new({ decoder = "lines" }) end)
    misuse("unknown option 'on_read'", function() decoder.new({ decoder = "line", on_read = print }) end)
    misuse("options are named; found a number as a key", function() decoder.new({ "line" }) end)
    misuse("option 'long_messages' must be true", function() decoder.new({ decoder = "resp", long_messages = 1 }) end)
    misuse("option 'max_args' must be an integer", function() decoder.new({ decoder = "resp", max_args = 0 }) end)
    misuse("table expected", function() decoder.new() end)
    local object = decoder.new { decoder = "line" }
    misuse("string expected", function() object:feed(nil) end)
    misuse("lunode.decoder expected", function() object.feed("x") end)
  end)

  it("checks one option without making anything, and says what is wrong without a position", function()
    assert.is_true(decoder.check("max_line", 5))
    assert.is_true(decoder.check("decoder", print))
    assert.is_false(decoder.check("high", 5))
    assert.same(
      { nil, "option 'max_line' must be an integer from 1 to 536870912" },
      { decoder.check("max_line", "x") }
    )
    assert.matches("^option 'decoder.length' must be", select(2, decoder.check("decoder", { length = 3 })))
  end)

  it("is useless once closed, and closing it twice is no matter", function()
    local object = decoder.new { decoder = "resp" }
    object:feed("PING\r\n")
    object:close()
    object:close()
    misuse("the decoder is closed", function() object:next() end)
    misuse("the decoder is closed", function() object:feed("x") end)
    misuse("the decoder is closed", function() object:encode("x") end)
    misuse("the decoder is closed", function() object:kept() end)
  end)
end)

describe("a decoder that is a function", function()
  it("raises through next, once; then it cannot be asked again, but closed", function()
    local object = decoder.new {
      decoder = function()
        error "wrong"
      end,
    }
    object:feed("x")
    local ok, err = pcall(object.next, object)
    assert.is_false(ok)
    assert.matches("decoder_spec.lua:%d+: wrong", err)
    misuse("the decoder raised an error, or asks itself", function() object:next() end)
    object:close()
    misuse("the decoder is closed", function() object:next() end)
  end)

  it("may close, feed and ask its own object: nothing of it is used after that", function()
    local object, inner
    object = decoder.new {
      decoder = function()
        object:feed(("y"):rep(100000))
        inner = select(2, pcall(object.next, object))
        object:close()
        return "value", 2
      end,
    }
    object:feed("x")
    assert.same({ "message", "value" }, { object:next() })
    assert.matches("asks itself", inner)
    misuse("the decoder is closed", function() object:next() end)
  end)

  it("that refers to its object is collected once that is closed, also after it has raised", function()
    local weak = setmetatable({}, { __mode = "k" })
    local function make(raises)
      local object
      object = decoder.new {
        decoder = function()
          return assert(not raises and object, "raised"), 2
        end,
      }
      weak[object] = true
      object:feed("x")
      pcall(object.next, object)
      object:close()
    end
    make(false)
    make(true)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)
end)

describe("an encoder given a connection that is none of ours", function()
  local written
  local conn = setmetatable({}, {
    __index = {
      write = function(_, bytes)
        written = bytes
        return true
      end,
    },
    __protocol = function()
      return 3
    end,
  })

  it("writes with its method, in the protocol that it has", function()
    assert.is_true(resp.reply(conn, nil))
    assert.equal("_\r\n", written)
    assert.is_true(resp.reply(conn, nil, 2))
    assert.equal("$-1\r\n", written)
    assert.is_true(require("lunode.msgpack").write(conn, { 1 }))
    assert.equal("\x91\1", written)
  end)
end)
