-- lunode.resp: values to reply bytes and back. What the bytes mean to a real client is kv's to specify.

local cleanup = require "lunode.test.cleanup"
local resp = require "lunode.resp"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"
local wait = require "lunode.test.wait"

--- A list inside of a list, `depth` of them.
local function nested(depth)
  local value = {}
  for _ = 2, depth do
    value = { value }
  end
  return value
end

--- Every value here is encoded, and its RESP2 and RESP3 bytes compared.
local function assert_encodes(value, resp2, resp3)
  assert.equal(resp2, resp.encode(value))
  assert.equal(resp2, resp.encode(value, 2))
  assert.equal(resp3 or resp2, resp.encode(value, 3))
end

--- Decodes, and checks that no shorter prefix is taken for a whole reply, and that what follows is left alone.
local function decode(bytes)
  for n = 0, #bytes - 1 do
    local value, next_position = resp.decode(bytes:sub(1, n))
    if value ~= nil or next_position ~= nil then
      error(("taken for whole: %q"):format(bytes:sub(1, n)))
    end
  end
  local value, next_position = resp.decode("junk" .. bytes .. "+more\r\n", 5)
  assert.equal(5 + #bytes, next_position)
  return value
end

local FULL = os.getenv("LUNODE_FULL") == "1"

describe("resp.encode", function()
  it("writes strings as bulk strings, whatever their bytes", function()
    assert_encodes("hello", "$5\r\nhello\r\n")
    assert_encodes("", "$0\r\n\r\n")
    assert_encodes("a\0b\r\n", "$5\r\na\0b\r\n\r\n")
    assert_encodes(("x"):rep(100000), "$100000\r\n" .. ("x"):rep(100000) .. "\r\n")
  end)

  it("writes integers to the ends of their range", function()
    assert_encodes(0, ":0\r\n")
    assert_encodes(-42, ":-42\r\n")
    assert_encodes(math.maxinteger, ":9223372036854775807\r\n")
    assert_encodes(math.mininteger, ":-9223372036854775808\r\n")
  end)

  it("writes floats as doubles", function()
    assert_encodes(1.5, "$3\r\n1.5\r\n", ",1.5\r\n")
    assert_encodes(10.0, "$2\r\n10\r\n", ",10\r\n")
    assert_encodes(0.1, "$19\r\n0.10000000000000001\r\n", ",0.10000000000000001\r\n")
    assert_encodes(math.huge, "$3\r\ninf\r\n", ",inf\r\n")
    assert_encodes(-math.huge, "$4\r\n-inf\r\n", ",-inf\r\n")
    assert_encodes(0 / 0, "$3\r\nnan\r\n", ",nan\r\n")
  end)

  it("writes booleans and nulls as the protocol has them", function()
    assert_encodes(true, ":1\r\n", "#t\r\n")
    assert_encodes(false, ":0\r\n", "#f\r\n")
    assert_encodes(nil, "$-1\r\n", "_\r\n")
    assert_encodes(resp.null, "$-1\r\n", "_\r\n")
    assert_encodes(resp.null_array, "*-1\r\n", "_\r\n")
  end)

  it("writes lists as arrays, nested as they are", function()
    assert_encodes({}, "*0\r\n")
    assert_encodes({ "a", 1, { resp.null, {} } }, "*3\r\n$1\r\na\r\n:1\r\n*2\r\n$-1\r\n*0\r\n",
      "*3\r\n$1\r\na\r\n:1\r\n*2\r\n_\r\n*0\r\n")
  end)

  it("writes maps, sets, pushes and verbatim strings, which RESP2 does not know", function()
    assert_encodes(resp.map { "a", 1, "b", {} }, "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*0\r\n",
      "%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*0\r\n")
    assert_encodes(resp.set { "a", 1 }, "*2\r\n$1\r\na\r\n:1\r\n", "~2\r\n$1\r\na\r\n:1\r\n")
    assert_encodes(resp.push { "a" }, "*1\r\n$1\r\na\r\n", ">1\r\n$1\r\na\r\n")
    assert_encodes(resp.verbatim "hi\n", "$3\r\nhi\n\r\n", "=7\r\ntxt:hi\n\r\n")
    assert_encodes({ resp.map {}, resp.set {} }, "*2\r\n*0\r\n*0\r\n", "*2\r\n%0\r\n~0\r\n")
  end)

  it("leaves the list that was tagged a plain list", function()
    local list = { "a", "b" }
    resp.map(list)
    resp.set(list)
    assert_encodes(list, "*2\r\n$1\r\na\r\n$1\r\nb\r\n")
  end)

  it("writes statuses and errors as they were made, on one line", function()
    assert_encodes(resp.OK, "+OK\r\n")
    assert_encodes(resp.status "PONG", "+PONG\r\n")
    assert_encodes(resp.error "ERR no\r\nsuch\nthing", "-ERR no  such thing\r\n")
    assert_encodes({ resp.OK, resp.error "ERR x" }, "*2\r\n+OK\r\n-ERR x\r\n")
    assert.equal("+OK", tostring(resp.OK))
    assert_encodes(resp.raw "*1\r\n:1\r\n+two\r\n", "*1\r\n:1\r\n+two\r\n")
    assert_encodes({ resp.raw "", 1 }, "*2\r\n:1\r\n")
    assert.equal("", tostring(resp.raw ""))
    assert.equal("null", tostring(resp.null))
    assert.equal("null array", tostring(resp.null_array))
  end)

  it("refuses what has no encoding, at its caller's level", function()
    local function refused(value, message)
      local ok, err = pcall(function()
        return resp.encode(value) .. "" -- the line that the error tells
      end)
      assert.is_false(ok)
      assert.matches("resp_spec%.lua:%d+: " .. message, err)
    end
    refused(print, "cannot encode a function")
    refused(coroutine.create(print), "cannot encode a thread")
    refused(io.stdout, "cannot encode a userdata")
    refused({ 1, { print } }, "cannot encode a function")
    refused(nested(33), "cannot encode a table nested this deeply")
    local cycle = {}
    cycle[1] = resp.map { "k", cycle }
    refused(cycle, "cannot encode a table nested this deeply")
    local list = { "k", "v" }
    local map = resp.map(list)
    list[3] = "k2"
    refused(map, "cannot encode a map: its last key has no value")
  end)

  it("refuses misuse", function()
    assert.has_error(function() resp.encode() end)
    assert.has_error(function() resp.encode("x", 4) end)
    assert.has_error(function() resp.map { "k" } end)
    assert.has_error(function() resp.map "k" end)
    assert.has_error(function() resp.verbatim {} end)
    assert.has_error(function() resp.status {} end)
  end)

  it("nests 32 deep", function()
    assert.equal(("*1\r\n"):rep(31) .. "*0\r\n", resp.encode(nested(32)))
    local value = resp.set {}
    for _ = 2, 32 do
      value = resp.set { value }
    end
    assert.equal(("~1\r\n"):rep(31) .. "~0\r\n", resp.encode(value, 3))
  end)

  it("can be entered again by a finalizer", function()
    local runs = 0
    local function litter()
      setmetatable({}, { __gc = function()
        runs = runs + 1
        resp.encode(("y"):rep(200000))
        resp.command("y", ("y"):rep(1000))
      end })
    end
    local pause = collectgarbage("setpause", 0) -- collect all the time, however large the heap is
    finally(function() collectgarbage("setpause", pause) end)
    collectgarbage() -- from here on, with that pause
    local expected = "*3\r\n$3\r\nSET\r\n$20\r\n" .. "1.2345678901235e+100" .. "\r\n$1\r\nv\r\n"
    for i = 1, FULL and 2000 or 200 do
      litter()
      assert.equal(expected, resp.command("SET", 1.2345678901235e+100, "v"))
      assert.equal("$5\r\n" .. (10000 + i % 90000) .. "\r\n", resp.encode(tostring(10000 + i % 90000)))
      assert.equal("+" .. i, tostring(resp.status(tostring(i))))
    end
    assert.is_true(runs > 0)
  end)
end)

describe("resp.reply", function()
  local function recorder()
    return {
      written = {},
      write = function(self, ...)
        table.insert(self.written, { ... })
        return nil, "full", "ENOBUFS"
      end,
    }
  end

  it("writes the encoded value to a connection that is not of this process", function()
    local conn = recorder()
    local room, err, code = resp.reply(conn, resp.map { "a", true }, 3)
    assert.same({ { "%1\r\n$1\r\na\r\n#t\r\n" } }, conn.written)
    assert.is_nil(room)
    assert.equal("full", err)
    assert.equal("ENOBUFS", code)
    resp.reply(conn, nil)
    assert.same({ "$-1\r\n" }, conn.written[2])
  end)

  it("finds write by __index too", function()
    local conn = recorder()
    resp.reply(setmetatable({ written = conn.written }, { __index = conn }), 7)
    assert.same({ { ":7\r\n" } }, conn.written)
  end)

  it("writes nothing where the value cannot be encoded", function()
    local conn = recorder()
    assert.has_error(function() resp.reply(conn, { "a", print }) end)
    assert.same({}, conn.written)
  end)

  it("refuses misuse", function()
    local conn = recorder()
    assert.has_error(function() resp.reply(conn) end)
    assert.has_error(function() resp.reply(1, "x") end)
    assert.has_error(function() resp.reply(nil, "x") end)
    assert.has_error(function() resp.reply({}, "x") end)
    assert.has_error(function() resp.reply(conn, "x", 5) end)
    assert.same({}, conn.written)
  end)
end)

describe("a connection with decoder = \"resp\"", function()
  --- Sends `bytes` in pieces to a server that gives each command to `serve(conn, …)`; returns what came back until
  --- `complete(received)`, and why the server's side closed.
  local function talk(pieces, serve, complete, options)
    local received, closed = "", nil
    local server_options = {
      decoder = "resp",
      on_message = serve,
      on_bad_message = function(conn, err) resp.reply(conn, resp.error("ERR Protocol error: " .. err)) end,
      on_close = function(_, _, code) closed = { code = code } end,
    }
    for key, value in pairs(options or {}) do
      server_options[key] = value
    end
    local server = assert(tcp_server.listen("127.0.0.1", 0, server_options))
    cleanup.add(function() server:close() end)
    local _, port = server:sock()
    local client = tcp_client.connect("127.0.0.1", port, {
      on_connect = function(_, err) assert.is_nil(err) end,
      on_read = function(_, data) received = received .. data end,
    })
    cleanup.add(function() client:abort() end)
    wait.till(function() return client:stats().state == "open" end)
    for _, piece in ipairs(pieces) do
      client:write(piece)
      wait.turns(2)
    end
    wait.till(function() return complete(received, closed) end, 10, "the replies")
    return received, closed
  end

  it("gets its replies in the order of its commands, however they were cut", function()
    local commands = resp.command("PING") .. "SET k 'v w'\r\n" .. resp.command("GET", ("k"):rep(20)) .. "\r\n"
    local expected = "*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nv w\r\n+OK\r\n:7\r\n"
    for size = 1, #commands, 7 do
      local pieces = {}
      for at = 1, #commands, size do
        pieces[#pieces + 1] = commands:sub(at, at + size - 1)
      end
      local received = talk(pieces, function(conn, name, ...)
        if name == "GET" then
          assert.is_true(resp.reply(conn, resp.OK))
          assert.is_true(resp.reply(conn, 7))
        else
          assert.is_true(resp.reply(conn, { name, ... }))
        end
      end, function(received) return #received >= #expected end)
      assert.equal(expected, received)
    end
  end)

  it("keeps its queue whole when a value cannot be encoded", function()
    local err
    local received = talk({ "PING\r\n" }, function(conn)
      resp.reply(conn, "before")
      err = select(2, pcall(resp.reply, conn, { "half", { 1, print } }))
      resp.reply(conn, resp.map { "after", true }, 3)
    end, function(received) return received:find("#t\r\n", 1, true) end)
    assert.equal("$6\r\nbefore\r\n%1\r\n$5\r\nafter\r\n#t\r\n", received)
    assert.matches("cannot encode a function", err)
  end)

  it("is told what was wrong, after the replies to what was right, and closed", function()
    local received, closed = talk({ resp.command("PING") .. "*1\r\n:4\r\n" }, function(conn)
      resp.reply(conn, resp.status "PONG")
    end, function(received, closed) return closed and received:find("got", 1, true) end)
    assert.equal("+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n", received)
    assert.equal("EPROTO", closed.code)
  end)

  it("gets no reply once it is closed or shut down", function()
    local kept, answers = nil, nil
    local _, closed = talk({ "PING\r\n" }, function(conn)
      kept = conn
      conn:shutdown()
      answers = { resp.reply(conn, "late") }
      conn:close()
    end, function(_, closed) return closed end)
    assert.equal("EPIPE", answers[3])
    assert.is_nil(closed.code)
    local room, _, code = resp.reply(kept, "late")
    assert.is_nil(room)
    assert.equal("ENOTCONN", code)
  end)

  it("is closed when its replies pass the cap", function()
    local code
    local _, closed = talk({ "PING\r\n" }, function(conn)
      code = select(3, resp.reply(conn, ("x"):rep(2000)))
    end, function(_, closed) return closed end, { low = 10, high = 100, cap = 1000 })
    assert.equal("ENOBUFS", code)
    assert.equal("ENOBUFS", closed.code)
  end)
end)

describe("resp.command", function()
  it("is an array of bulk strings", function()
    assert.equal("*1\r\n$4\r\nPING\r\n", resp.command "PING")
    assert.equal("*4\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n-1\r\n$3\r\n1.5\r\n", resp.command("SET", "", -1, 1.5))
  end)

  it("refuses what is neither string nor number", function()
    assert.has_error(function() resp.command() end)
    assert.has_error(function() resp.command("GET", {}) end)
    assert.has_error(function() resp.command("GET", nil) end)
    assert.has_error(function() resp.command("GET", true) end)
  end)
end)

describe("resp.decode", function()
  it("reads each type, and only when it is complete", function()
    assert.same({ ok = "PONG" }, decode "+PONG\r\n")
    assert.same({ err = "ERR no" }, decode "-ERR no\r\n")
    assert.same({ err = "ERR\r\n" }, decode "!5\r\nERR\r\n\r\n")
    assert.equal(-12, decode ":-12\r\n")
    assert.equal("integer", math.type(decode ":12\r\n"))
    assert.equal("a\r\n", decode "$3\r\na\r\n\r\n")
    assert.equal("", decode "$0\r\n\r\n")
    assert.equal("hi", decode "=6\r\ntxt:hi\r\n")
    assert.equal("123456789012345678901234567890", decode "(123456789012345678901234567890\r\n")
    assert.is_true(decode "#t\r\n")
    assert.is_false(decode "#f\r\n")
    assert.equal(10.0, decode ",10\r\n")
    assert.equal("float", math.type(decode ",10\r\n"))
    assert.equal(-math.huge, decode ",-inf\r\n")
    local nan = decode ",nan\r\n"
    assert.not_equal(nan, nan)
  end)

  it("reads every null as resp.null", function()
    assert.equal(resp.null, decode "$-1\r\n")
    assert.equal(resp.null, decode "*-1\r\n")
    assert.equal(resp.null, decode "_\r\n")
  end)

  it("reads aggregates as lists that tell their kind", function()
    assert.same({}, decode "*0\r\n")
    assert.same({ 1, { "a", resp.null } }, decode "*2\r\n:1\r\n*2\r\n$1\r\na\r\n_\r\n")
    assert.same({ kind = "map", { ok = "k" }, 1 }, decode "%1\r\n+k\r\n:1\r\n")
    assert.same({ kind = "set", 1, 2 }, decode "~2\r\n:1\r\n:2\r\n")
    assert.same({ kind = "push", 1, false }, decode ">2\r\n:1\r\n#f\r\n")
  end)

  it("passes over attributes", function()
    assert.equal(5, decode "|1\r\n+ttl\r\n:3\r\n:5\r\n")
    assert.same({ 1, 2 }, decode "*2\r\n|1\r\n+a\r\n%1\r\n+b\r\n+c\r\n:1\r\n|0\r\n:2\r\n")
  end)

  it("walks along pipelined replies by position", function()
    local bytes, position, values = "+OK\r\n:1\r\n$1\r\nx\r\n:2", 1, {}
    while true do
      local value, next_position = resp.decode(bytes, position)
      if value == nil then
        assert.is_nil(next_position)
        break
      end
      values[#values + 1], position = value, next_position
    end
    assert.same({ { ok = "OK" }, 1, "x" }, values)
    assert.equal(":2", bytes:sub(position))
    assert.is_nil(resp.decode(bytes, #bytes + 1))
    assert.has_error(function() resp.decode(bytes, 0) end)
    assert.has_error(function() resp.decode(bytes, #bytes + 2) end)
  end)

  it("tells what is malformed", function()
    for _, bytes in ipairs { "PONG\r\n", ":x\r\n", ":\r\n", "$-2\r\n", "$536870913\r\n", "*-2\r\n", "%-1\r\n", "#x\r\n",
      ",1x\r\n", ",0x1\r\n", "(1.5\r\n", "_x\r\n", "=3\r\nabc\r\n", "$1\r\nabc", "+a\rb\r\n", "*2\r\n:1\r\n?\r\n" } do
      local value, message, code = resp.decode(bytes)
      assert.is_nil(value)
      assert.is_string(message)
      assert.equal("EPROTO", code)
    end
  end)

  it("allocates nothing for what is only announced", function()
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    assert.is_nil(resp.decode(("*2000000000\r\n"):rep(32) .. "$500000000\r\n"))
    local grown = collectgarbage "count" - before
    collectgarbage "restart"
    assert.is_true(grown < 256)
  end)

  it("nests 32 deep", function()
    assert.same(nested(32), decode(("*1\r\n"):rep(31) .. "*0\r\n"))
    for _, bytes in ipairs { ("*1\r\n"):rep(32) .. "*0\r\n", ("|1\r\n"):rep(33), ("%1\r\n"):rep(100000) } do
      local value, message, code = resp.decode(bytes)
      assert.is_nil(value)
      assert.equal("nested too deeply", message)
      assert.equal("EPROTO", code)
    end
  end)
end)

describe("what resp.encode writes, resp.decode reads", function()
  local values = {
    "", "text", ("z"):rep(300), 0, -1, math.maxinteger, math.mininteger, {}, { 1, { 2, { "3" } } }, resp.null,
    { resp.null, "a", { resp.null } },
  }

  it("in both protocols", function()
    for _, protocol in ipairs { 2, 3 } do
      for _, value in ipairs(values) do
        assert.same(value, decode(resp.encode(value, protocol)))
      end
      assert.same(values, decode(resp.encode(values, protocol)))
    end
  end)

  it("with the types of RESP3", function()
    for _, value in ipairs { true, false, 1.5, -0.1, 1e300, math.huge, 2.0 } do
      local decoded = decode(resp.encode(value, 3))
      assert.equal(value, decoded)
      assert.equal(math.type(value), math.type(decoded))
    end
    assert.same({ kind = "map", "k", { kind = "set", 1 } }, decode(resp.encode(resp.map { "k", resp.set { 1 } }, 3)))
    assert.same({ kind = "push", "x", 1.25 }, decode(resp.encode(resp.push { "x", 1.25 }, 3)))
    assert.equal("txt", decode(resp.encode(resp.verbatim "txt", 3)))
  end)

  it("commands included", function()
    assert.same({ "SET", "k", "1" }, decode(resp.command("SET", "k", 1)))
  end)
end)
