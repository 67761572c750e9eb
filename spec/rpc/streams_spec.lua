-- Streams: chunks in both directions while a call is under way, held back by slow receivers.

local kit = require "spec.rpc.kit"
local misuse = require "spec.support.misuse"
local msgpack = require "lunode.msgpack"
local task = require "lunode.task"
local wait = require "lunode.test.wait"

local function chunk_of(size)
  return ("x"):rep(size)
end

local METHODS = {
  count = function(ctx)
    local bytes, chunks = 0, 0
    for chunk in ctx:chunks() do
      bytes, chunks = bytes + #chunk, chunks + 1
    end
    return { bytes, chunks }
  end,
  send = function(ctx, count, size)
    for i = 1, count do
      ctx:send(("%08d"):format(i) .. chunk_of(size - 8))
    end
    return "sent"
  end,
  echo = function(ctx)
    for chunk in ctx:chunks() do
      ctx:send(chunk)
    end
    return "echoed"
  end,
  first = function(ctx) return ctx:receive() end,
  fail = function(ctx)
    ctx:send "one"
    error { code = "EHALF", message = "in the middle" }
  end,
  plain = function() return "no stream" end,
  needs = function(ctx) ctx:send "x" end,
}

local MEASURE = [[
local rpc, task = require "lunode.rpc", require "lunode.task"
local function rss() -- in MB
  for line in io.lines "/proc/self/status" do
    if line:find "^VmRSS" then return tonumber(line:match "%d+") / 1024 end
  end
end
local before, most, count = rss(), 0, 0
local function measure()
  count = count + 1
  if count % 100 == 0 then most = math.max(most, rss()) end
end
]]

describe("a stream", function()
  it("carries chunks to the handler, as they were cut", function()
    local _, address = kit.serve(METHODS)
    local stream = assert(kit.peer(address):open("count"))
    for i = 1, 1000 do
      assert(stream:send(chunk_of(i % 3 * 500)))
    end
    assert.same({ 500000, 1000 }, stream:close())
  end)

  it("carries chunks from the handler, in order, and then the result", function()
    local _, address = kit.serve(METHODS)
    local stream, count = assert(kit.peer(address):open("send", { 2000, 1000 })), 0
    for chunk in stream:chunks() do
      count = count + 1
      assert.equal(count, tonumber(chunk:sub(1, 8)))
      assert.equal(1000, #chunk)
    end
    assert.equal(2000, count)
    assert.equal("sent", stream:result())
    assert.is_nil(stream:receive())
    assert.equal("EPIPE", select(2, stream:send("late")).code)
  end)

  it("carries both at once; our end does not end theirs", function()
    local _, address = kit.serve(METHODS)
    local stream, got = assert(kit.peer(address):open("echo")), {}
    local reader = task.spawn(function()
      for chunk in stream:chunks() do
        got[#got + 1] = chunk
      end
    end)
    for i = 1, 500 do
      assert(stream:send(("%d"):format(i) .. chunk_of(5000)))
    end
    stream:finish()
    assert.is_true(select("#", reader:join(10)) == 0)
    assert.equal(500, #got)
    assert.equal("500", got[500]:match "^%d+")
    assert.equal("echoed", stream:result())
  end)

  it("holds its sender back while nobody receives, by the window", function()
    local go, sent = task.event(), 0
    local _, address = kit.serve({
      slow = function(ctx)
        ctx:receive()
        go:wait()
        for _ in ctx:chunks() do end
        return "all"
      end,
    }, { window = 10000 })
    local stream = assert(kit.peer(address):open("slow"))
    local sender = task.spawn(function()
      for _ = 1, 100 do
        assert(stream:send(chunk_of(1000)))
        sent = sent + 1
      end
    end)
    wait.till(function() return sent >= 8 end)
    wait.settled(function() return sent end)
    assert.is_true(sent <= 10, sent .. " were sent")
    go:resolve()
    sender:join(10)
    assert.equal(100, sent)
    assert.equal("all", stream:close())
  end)

  it("holds a handler back, too, and no other call meanwhile", function()
    local sent = 0
    local _, address = kit.serve {
      send = function(ctx)
        for _ = 1, 100 do
          ctx:send(chunk_of(1000))
          sent = sent + 1
        end
      end,
      add = function(_, a, b) return a + b end,
    }
    local peer = kit.peer(address)
    local stream <close> = assert(peer:open("send", {}, { window = 5000 }))
    wait.till(function() return sent == 4 end)
    assert.equal(3, peer:call("add", { 1, 2 }))
    assert.equal(4, sent)
    assert.is_nil(select(2, stream:close()))
    assert.equal(100, sent)
  end)

  it("may end early: by the handler's return", function()
    local _, address = kit.serve(METHODS)
    local stream = assert(kit.peer(address):open("first"))
    assert(stream:send "hello")
    assert.equal("hello", stream:result())
    local ok, err = stream:send "more"
    assert.is_nil(ok)
    assert.equal("EPIPE", err.code)
  end)

  it("ends with the error of the handler, after what it had sent", function()
    local _, address = kit.serve(METHODS)
    local stream = assert(kit.peer(address):open("fail"))
    assert.equal("one", stream:receive())
    local chunk, err = stream:receive()
    assert.is_nil(chunk)
    assert.same({ "EHALF", true }, { err.code, err.definite })
    assert.equal("EHALF", select(2, stream:result()).code)
    assert.equal("ENOMETHOD", select(2, assert(kit.peer(address):open("nope")):result()).code)
  end)

  it("may be cancelled by the caller, which interrupts the handler", function()
    local ended = task.event()
    local server, address = kit.serve {
      endless = function(ctx)
        local _ <close> = setmetatable({}, { __close = function() ended:resolve(ctx.cancelled) end })
        while true do
          ctx:send(chunk_of(1000))
        end
      end,
    }
    local peer = kit.peer(address)
    local stream = assert(peer:open("endless"))
    assert(stream:receive())
    stream:cancel "enough"
    assert.is_true(ended:wait(20))
    assert.equal("the stream was cancelled: enough", select(2, stream:result()).message)
    do
      local other <close> = assert(peer:open("endless"))
      assert(other:receive())
    end
    wait.till(function() return server:stats().active == 0 end)
    assert.equal(0, peer:stats().in_flight)
  end)

  it("ends with the connection, its outcome unknown", function()
    local server, address = kit.serve(METHODS)
    local stream = assert(kit.peer(address):open("echo"))
    assert(stream:send "x")
    assert.equal("x", stream:receive())
    local waiter = task.spawn(function() return stream:receive() end)
    task.yield()
    server:close()
    local chunk, err = waiter:join(5)
    assert.is_nil(chunk)
    assert.is_false(err.definite)
    assert.is_false(select(2, stream:send("x")).definite)
    assert.is_false(select(2, stream:result()).definite)
  end)

  it("ends a wait when the other side does not move", function()
    local _, address = kit.serve { idle = function() task.sleep(30) end }
    local stream <close> = assert(kit.peer(address):open("idle", {}, { timeout = 0.05 }))
    for _, wait_for in ipairs { "receive", "result" } do
      local _, err = stream[wait_for](stream)
      assert.equal("ETIMEDOUT", err.code)
    end
    local _, err = stream:send "x"
    assert.equal("ETIMEDOUT", err.code)
  end)

  it("has one sender and one receiver at a time", function()
    local _, address = kit.serve { idle = function() task.sleep(30) end }
    local stream <close> = assert(kit.peer(address):open("idle"))
    local one <close> = task.spawn(function() stream:receive() end)
    local two <close> = task.spawn(function() stream:send "x" end)
    task.yield()
    assert.equal("waiting", one:status())
    assert.equal("waiting", two:status())
    assert.equal("EBUSY", select(2, stream:receive()).code)
    assert.equal("EBUSY", select(2, stream:send("x")).code)
  end)

  it("can be misused, and says how", function()
    local _, address = kit.serve(METHODS, { window = 2048 })
    local peer = kit.peer(address)
    local stream <close> = assert(peer:open("count"))
    misuse("a chunk is a string", function() stream:send(7) end)
    local sent, err = stream:send(chunk_of(3000))
    assert.same({ nil, "EMSGSIZE", true }, { sent, err.code, err.definite })
    assert.matches("the other side takes 2016 at once", err.message)
    misuse("window must be", function() peer:open("count", {}, { window = 1 }) end)
    misuse("timeout must be", function() peer:open("count", {}, { timeout = 0 }) end)
    misuse("arguments are a list", function() peer:open("count", { a = 1 }) end)
    misuse("cannot encode a function", function() peer:open("count", { print }) end)
    kit.errors()
    local _, refused = peer:call("needs")
    assert.matches("the caller has not opened a stream", refused.message)
    assert.equal("no stream", assert(peer:open("plain")):close())
  end)

  it("needs a lunode on the other side", function()
    local address = kit.raw_server(function(_, message)
      return msgpack.array { 1, message[2], "unknown method", msgpack.null }
    end)
    local stream, err = kit.peer(address):open("count")
    assert.is_nil(stream)
    assert.equal("ENOTSUP", err.code)
    assert.is_true(err.definite)
    stream, err = kit.peer("127.0.0.1:1"):open("count")
    assert.is_nil(stream)
    assert.is_true(err.definite)
  end)

  it("closes the connection of one that sends more than it may", function()
    local server, address = kit.serve { hold = function(ctx) ctx:receive() task.sleep(30) end }
    local raw = kit.raw(address)
    raw.send(msgpack.array { 0, 1, "$/open", msgpack.array { "hold", 1000, msgpack.array {} } })
    wait.till(function() return raw.got[1] end) -- the credit
    assert.equal("$/up_credit", raw.got[1][2])
    for _ = 1, 10 do
      raw.send(msgpack.array { 2, "$/up", msgpack.array { 1, chunk_of(100000) } })
    end
    wait.till(function() return raw.closed end)
    assert.equal(1, server:stats().bad)
    assert.equal(0, server:stats().active)
  end)

  it("carries 100 MB between two processes, neither of which grows", function()
    local _, address = kit.node(MEASURE .. [[
      local server = assert(rpc.serve("127.0.0.1:0", {
        sink = function(ctx)
          local bytes = 0
          for chunk in ctx:chunks() do
            bytes = bytes + #chunk
            if bytes % (10 << 20) == 0 then task.sleep(0.005) end -- slower than what comes
            measure()
          end
          return bytes
        end,
        source = function(ctx, bytes)
          local chunk = ("x"):rep(65536)
          for _ = 1, bytes // #chunk do
            ctx:send(chunk)
            measure()
          end
        end,
        grown = function() return most - before end,
      }))
      print("listening on " .. server:address())
    ]])
    local client = kit.node(MEASURE .. [[
      print("listening on nothing")
      local peer, size, chunk = rpc.peer(arg[1]), 100 << 20, ("x"):rep(65536)
      task.run(function()
        local stream = assert(peer:open("sink"))
        for _ = 1, size // #chunk do
          assert(stream:send(chunk))
          measure()
        end
        assert(stream:close() == size)
        stream = assert(peer:open("source", { size }))
        for piece in stream:chunks() do
          size = size - #piece
          measure()
        end
        assert(size == 0)
        peer:close()
        print("grew by", most - before, "end")
      end)
    ]], address)
    local grown_there = wait.till(function()
      return tonumber(client:stdout():match "grew by\t(.-)\tend") or not client:is_alive() and error(client:stderr())
    end, 50)
    local grown_here = kit.peer(address):call("grown")
    assert.is_true(grown_there < 40, grown_there .. " MB")
    assert.is_true(grown_here < 40, grown_here .. " MB")
  end, 60)
end)
