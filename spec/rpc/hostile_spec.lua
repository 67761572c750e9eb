-- Peers without manners: garbage, hostile frames, floods, clients that never read. One connection pays, no other one.

local kit = require "spec.rpc.kit"
local msgpack = require "lunode.msgpack"
local prng = require "spec.support.prng"
local task = require "lunode.task"
local wait = require "lunode.test.wait"

local array, null = msgpack.array, msgpack.null

local METHODS = { add = function(_, a, b) return a + b end }

-- Sends bytes to a server, which must close that connection, and serve others.
local function refused(bytes)
  local server, address = kit.serve(METHODS)
  local raw = kit.raw(address)
  raw.conn:write(bytes)
  wait.till(function() return raw.closed end, 20, ("the end of the connection after %q"):format(bytes))
  assert.equal(1, server:stats().bad)
  assert.equal(3, kit.peer(address):call("add", { 1, 2 }))
end

describe("a server", function()
  it("closes a connection that does not speak MessagePack-RPC", function()
    for _, bytes in ipairs {
      "GET / HTTP/1.1\r\n\r\n",
      "\xc1", -- no MessagePack at all
      "\xdb\xff\xff\xff\xff", -- a string of 4 GiB
      "\xdd\xff\xff\xff\xff", -- an array of 4 billion values
      "\xdf\xff\xff\xff\xff",
      "\xc9\xff\xff\xff\xff\x01",
      ("\x91"):rep(10000), -- ten thousand arrays inside of each other
      ("\x81\x01"):rep(10000),
      "\x90", -- an empty array
      "\xc0",
      "\x80",
    } do
      refused(bytes)
    end
  end)

  it("closes a connection whose messages have wrong types in them", function()
    for _, message in ipairs {
      array { 3, 1, "add", array {} },
      array { "0", 1, "add", array {} },
      array { 0, "1", "add", array {} },
      array { 0, -1, "add", array {} },
      array { 0, 2 ^ 40 // 1 | 0, "add", array {} },
      array { 0, 1.5, "add", array {} },
      array { 0, 0 / 0, "add", array {} },
      array { 0, null, "add", array {} },
      array { 0, 1, 7, array {} },
      array { 0, 1, null, array {} },
      array { 0 },
      array { 1, "x", null, null },
      array { 1 },
      array { 2 },
      array { 2, "add" },
      array { 2, 7, array {} },
      array { 0, 1, "$/open", array { 7, 1, array {} } },
      array { 0, 1, "$/open", array { "add", -1, array {} } },
      array { 0, 1, "$/open", array { "add", 1 } },
      array { 0, 1, "$/open", array {} },
    } do
      refused(msgpack.encode(message))
    end
  end)

  it("answers a request whose params are no array with an error", function()
    local _, address = kit.serve(METHODS)
    local raw = kit.raw(address)
    for id, params in ipairs { 7, "x", null, msgpack.map { 1, 2 }, { a = 1 }, true } do
      raw.send(array { 0, id, "add", params })
      assert.equal("params must be an array", raw.response(id)[3])
    end
    raw.send(array { 0, 100, "add", array { 1, 2 } })
    assert.equal(3, raw.response(100)[4])
  end)

  it("drops responses to nothing, and what streams and requests that there are not should do", function()
    local server, address = kit.serve(METHODS)
    local raw = kit.raw(address)
    for id = 1, 100 do
      raw.send(array { 1, id, null, "unasked" })
    end
    for _, name in ipairs { "up", "down", "up_end", "down_end", "up_credit", "down_credit", "cancel", "deadline" } do
      for _, params in ipairs { array {}, array { 1 }, array { 1, 1 }, array { "x", "y" }, array { null, null },
        array { 0 / 0, -1 } } do
        raw.send(array { 2, "$/" .. name, params })
      end
    end
    raw.send(array { 2, "$/nonsense", array { 1 } })
    raw.send(array { 0, 5, "$/nonsense", array { 1 } })
    assert.equal("unknown method '$/nonsense'", raw.response(5)[3])
    assert.equal(0, server:stats().bad)
    assert.is_true(server:stats().dropped >= 101)
    assert.is_false(raw.closed)
  end)

  it("refuses a msgid that is under way", function()
    local go = task.event()
    local _, address = kit.serve { wait = function() return (go:wait()) end }
    local raw = kit.raw(address)
    raw.send(array { 0, 1, "wait", array {} })
    raw.send(array { 0, 1, "wait", array {} })
    assert.equal("the msgid is in use", raw.response(1)[3])
    raw.got = {}
    go:resolve("once")
    assert.equal("once", raw.response(1)[4])
    assert.equal(1, #raw.got)
  end)

  it("survives random bytes, and random messages", function()
    local server, address = kit.serve(METHODS)
    local random = prng.new(7)
    local pieces = { 0, 1, 2, 3, -1, "add", "$/open", "$/up", "$/cancel", "$/hello", "$/ping", "$/deadline", null,
      true, 1.5, array {}, array { 1, 2 }, { a = 1 } }
    for round = 1, kit.FULL and 2000 or 100 do
      local raw, parts = kit.raw(address), {}
      for part = 1, random:int(1, 8) do
        if random:int(1, 8) == 1 then
          parts[part] = string.char(random:int(0, 255), random:int(0, 255))
        else
          local message = array {}
          for j = 1, random:int(0, 5) do
            message[j] = pieces[random:int(1, #pieces)]
          end
          parts[part] = msgpack.encode(message)
        end
      end
      raw.conn:write(table.concat(parts))
      raw.conn:close()
      if round % 20 == 0 then
        assert.equal(3, kit.peer(address):call("add", { 1, 2 }))
      end
    end
    wait.till(function() return server:stats().active == 0 end)
  end)

  it("stops reading a client that floods it, with bounded memory; others do not notice", function()
    local ended = task.event()
    local server, address = kit.serve({
      wait = function() ended:wait() end,
      add = METHODS.add,
    }, { concurrency = 4, queue = 100 })
    local raw = kit.raw(address, { cap = 1 << 30 })
    local request, sent = msgpack.encode(array { 0, 1, "wait", array { ("x"):rep(1000) } }), 0
    -- Each with an id of its own.
    for id = 1, 20000 do
      raw.conn:write((request:gsub("^\x94\x00\x01", function()
        return "\x94\x00\xce" .. (">I4"):pack(id)
      end)))
      sent = sent + #request
    end
    wait.till(function() return server:stats().active == 4 end)
    wait.settled(function() return raw.conn:stats().queued end)
    collectgarbage()
    assert.is_true(raw.conn:stats().queued > 2 ^ 20, "the server has read on")
    assert.equal(3, kit.peer(address):call("add", { 1, 2 }))
    ended:resolve()
    wait.till(function() return #raw.got == 20000 end, 30, "all responses")
    assert.equal(0, server:stats().refused)
  end)

  it("stops reading a client that reads no responses", function()
    local calls = 0
    local _, address = kit.serve({
      big = function()
        calls = calls + 1
        return ("x"):rep(100000)
      end,
      add = METHODS.add,
    }, { max_queued = 1 << 18 })
    local raw = kit.raw(address, { cap = 1 << 30 })
    wait.till(function() return raw.conn:is_open() end)
    raw.conn:pause()
    for id = 1, 2000 do
      raw.send(array { 0, id, "big", array {} })
    end
    wait.till(function() return calls > 0 end)
    wait.settled(function() return calls end)
    assert.is_true(calls < 300, calls .. " calls have run")
    assert.equal(3, kit.peer(address):call("add", { 1, 2 }))
    raw.conn:resume()
    wait.till(function() return #raw.got == 2000 end, 30, "all responses")
  end)

  it("keeps answering a client whose handlers wait for it: it refuses what is too much", function()
    local server, address = kit.serve({
      ask = function(ctx) return (assert(ctx.conn:call("answer"))) end,
    }, { concurrency = 2, queue = 4 })
    local raw = kit.raw(address)
    for id = 1, 20 do
      raw.send(array { 0, id, "ask", array {} })
    end
    wait.till(function() return server:stats().refused == 14 end)
    local answered = {}
    wait.till(function() -- now it answers, and each that was taken ends
      local responses = 0
      for i, message in ipairs(raw.got) do
        if message[1] == 0 and not answered[i] then
          answered[i] = true
          raw.send(array { 1, message[2], null, "fine" })
        end
        responses = responses + (message[1] == 1 and 1 or 0)
      end
      return responses == 20
    end)
  end)

  it("takes no message above its limit", function()
    local server, address = kit.serve({ size = function(_, text) return #text end }, { max_message = 10000 })
    local peer = kit.peer(address)
    assert.equal(9000, peer:call("size", { ("x"):rep(9000) }))
    local _, err = peer:call("size", { ("x"):rep(11000) })
    assert.is_false(err.definite)
    assert.equal(1, server:stats().bad)
  end)
end)

describe("a peer", function()
  it("leaves a server that talks nonsense, and tells so", function()
    for _, nonsense in ipairs { "\xc1", "HTTP/1.1 400 Bad Request\r\n", "\x93\x01\xa1x\xc0" } do
      local address = kit.raw_server(function(conn) conn:write(nonsense) end)
      local _, err = kit.peer(address, { backoff = 5 }):call("add", { 1, 2 })
      assert.is_false(err.definite)
      assert.matches("broke the protocol", err.message)
    end
  end)

  it("understands errors of every shape", function()
    local shapes = {
      { "text", "text" }, { 42, "42" }, { array { 0, "as Neovim has it" }, "as Neovim has it" },
      { { message = "a map" }, "a map" }, { true, "the handler failed" }, { array {}, "the handler failed" },
      { { code = 7, message = 7 }, "the handler failed" },
    }
    local at = 0
    local address = kit.raw_server(function(_, message)
      at = at + 1
      return array { 1, message[2], shapes[at][1], null }
    end)
    local peer = kit.peer(address, { plain = true })
    for _, shape in ipairs(shapes) do
      local result, err = peer:call "x"
      assert.is_nil(result)
      assert.equal(shape[2], err.message)
      assert.equal("EHANDLER", err.code)
      assert.is_true(err.definite)
    end
  end)
end)
