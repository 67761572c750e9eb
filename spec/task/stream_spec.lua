-- Streams: connections as tasks use them. What the connections under them do is spec/contract's.

local cleanup = require "lunode.test.cleanup"
local in_task = require "spec.support.in_task"
local kit = require "spec.contract.kit"
local loop = require "lunode.loop"
local misuse = require "spec.support.misuse"
local task = require "lunode.task"
local tcp_client = require "lunode.tcp_client"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local HOST = "127.0.0.1"

local function collect_errors()
  local errors = {}
  loop.on_error(function(traceback)
    errors[#errors + 1] = traceback
  end)
  return errors
end

local function listen(handler, options)
  local server = assert(task.listen(HOST, 0, options or {}, handler))
  cleanup.add(function()
    server:close()
  end)
  local _, port = server:sock()
  return port, server
end

-- Two streams that are each other's peers, both for the running task.
local function pair(options, server_options)
  local accepted, done = task.event(), task.event()
  local port, server = listen(function(stream)
    accepted:resolve(stream)
    done:wait()
  end, server_options)
  local client = assert(task.connect(HOST, port, options))
  local peer = accepted:wait()
  server:close()
  cleanup.add(function()
    done:resolve()
    client:abort()
    peer:abort()
    wait.turns(3)
  end)
  return client, peer
end

-- Turns until the stream has received so many bytes that nobody has taken.
local function wait_buffered(stream, size)
  local deadline = loop.now() + 10
  while stream.buffer.size < size do
    assert(loop.now() < deadline, "the bytes have not come")
    task.yield()
  end
end

kit.describe_real("a stream", function(world)
  local function volume(n)
    return math.max(1, math.floor(n * world.volume))
  end

  describe("reads", function()
    it("what is there, at most so much, and nil alone at the end", function()
      local a, b = pair()
      b:write "hello"
      assert.equal("hello", a:read())
      b:write "world"
      wait_buffered(a, 5)
      assert.equal("wo", a:read(2))
      assert.equal("r", a:read(1))
      assert.equal("ld", a:read(100))
      b:write "bye"
      b:close()
      assert.equal("bye", a:read())
      assert.same({ n = 1 }, table.pack(a:read()))
      assert.same({ n = 1 }, table.pack(a:read()))
    end)

    it("lines, however the network cuts them", function()
      local a, b = pair()
      local writer = task.spawn(function()
        for piece in ("one\r\ntwo\n\nfo\rur\r\n\r\nlast"):gmatch "." do
          b:write(piece)
          task.sleep(0)
        end
        b:shutdown()
      end)
      local lines = {}
      for i = 1, 5 do
        lines[i] = a:read_line()
      end
      assert.same({ "one", "two", "", "fo\rur", "" }, lines)
      assert.same({ nil, "the stream ended before the end of the line", "EOF" }, { a:read_line() })
      assert.equal("last", a:read())
      assert.same({ n = 1 }, table.pack(a:read_line()))
      writer:join()
    end)

    it("many lines that come in one piece", function()
      local a, b = pair()
      local n = volume(20000)
      local writer = task.spawn(function()
        local lines = {}
        for i = 1, n do
          lines[i] = "line " .. i .. "\n"
        end
        assert(b:write(lines))
        b:close()
      end)
      for i = 1, n do
        assert.equal("line " .. i, a:read_line())
      end
      assert.is_nil(a:read_line())
      writer:join()
    end)

    it("up to a separator, also where it is cut in two", function()
      local a, b = pair()
      local writer = task.spawn(function()
        for piece in ("--a-b--=--x--==--end"):gmatch "." do
          b:write(piece)
          task.sleep(0)
        end
        b:close()
      end)
      assert.equal("--a-b--=--x", a:read_until "--==")
      assert.equal("", a:read_until "--")
      assert.same({ nil, "the stream ended before the end of the message", "EOF" }, { a:read_until "--" })
      assert.equal("end", a:read())
      writer:join()
    end)

    it("exactly so many bytes, more than the limit, too", function()
      local a, b = pair { read_limit = 1000 }
      local n = volume(3000000) + 12345
      local data = ("0123456789"):rep(n // 10 + 1)
      local writer = task.spawn(function()
        assert(b:write(data))
        b:shutdown()
      end)
      assert.equal("", a:read_exactly(0))
      assert.equal("0", a:read_exactly(1))
      assert.equal("1234", a:read_exactly(4))
      assert.is_true(data:sub(6, n) == a:read_exactly(n - 5))
      local left = #data - n
      assert.same(
        { nil, "the stream ended before the end of the message", "EOF" },
        { a:read_exactly(left + 1) }
      )
      assert.equal(data:sub(-left), a:read_exactly(left))
      assert.equal("EOF", select(3, a:read_exactly(1)))
      assert.equal("", a:read_exactly(0))
      writer:join()
    end)

    it("no line that is longer than it may be, whether its end has come or not", function()
      local a, b = pair()
      b:write "12345"
      assert.same({ nil, "the line is longer than 4 bytes", "EMSGSIZE" }, { a:read_line(4) })
      b:write "\n12345\n"
      assert.equal("12345", a:read_line(5))
      assert.equal("EMSGSIZE", select(3, a:read_line(4)))
      assert.equal("EMSGSIZE", select(3, a:read_until("345", 1)))
      assert.equal("12", a:read_until("345", 2))
      assert.equal("", a:read_line(0))
      b:write(("x"):rep(65536) .. "\n" .. ("x"):rep(65537) .. "\n")
      assert.equal(65536, #a:read_line())
      assert.equal("EMSGSIZE", select(3, a:read_line()))
    end)

    it("random messages in any way, as they were sent", function()
      in_task(function()
        local a, b = pair { read_limit = 3000 }
        local n, messages = volume(400), {}
        for i = 1, n do
          local size = loop.random(1, 4) == 1 and loop.random(0, 20000) or loop.random(0, 50)
          messages[i] = { how = loop.random(1, 3), text = ("%d,"):format(i):rep(size):sub(1, size) }
        end
        local writer = task.spawn(function()
          local pending = {}
          for _, message in ipairs(messages) do
            pending[#pending + 1] = message.text .. ({ "\n", "", "<end>" })[message.how]
            if loop.random(1, 3) == 1 then
              assert(b:write(pending))
              pending = {}
              if loop.random(1, 2) == 1 then
                task.sleep(0)
              end
            end
          end
          assert(b:write(pending))
          b:close()
        end)
        for _, message in ipairs(messages) do
          local got
          if message.how == 1 then
            got = a:read_line()
          elseif message.how == 2 then
            got = a:read_exactly(#message.text)
          else
            got = a:read_until "<end>"
          end
          assert.is_true(message.text == got)
        end
        assert.is_nil(a:read())
        writer:join()
      end, 60)
    end)

    it("the rest, and then why there is no more, after a reset", function()
      local port = listen(function(stream)
        stream:write "the rest"
        stream:read(1)
        stream:abort() -- with unread input: a reset
      end)
      local a = assert(task.connect(HOST, port))
      cleanup.add(function()
        a:abort()
      end)
      wait_buffered(a, 8)
      a:write(("x"):rep(10))
      while not a.gone and not a.ended do
        task.yield()
      end
      assert.equal("the rest", a:read())
      local data, _, code = a:read()
      assert.is_nil(data)
      assert.equal(a.ended and "nil" or "ECONNRESET", tostring(code))
    end)
  end)

  describe("holds back a peer that sends more than is read", function()
    it("and reads on when there is room", function()
      local a, b = pair({ read_limit = 10000 }, { low = 1000, high = 20000 })
      local total, sent = volume(30) * 1000000, 0
      local piece = ("x"):rep(50000)
      local writer = task.spawn(function()
        while sent < total do
          assert(b:write(piece))
          sent = sent + #piece
        end
        b:shutdown()
      end)
      -- Nobody reads: the sender comes to a halt once the buffers on the way are full.
      local last
      repeat
        last = sent
        task.sleep(0.05)
      until sent == last
      assert.is_true(a.buffer.size < 10000 + 200000, a.buffer.size)
      if world.volume == 1 then
        assert.equal("waiting", writer:status())
      end
      local received = 0
      for data in function() return a:read(7777) end do
        received = received + #data
      end
      assert.equal(sent, received)
      writer:join()
    end)
  end)

  describe("writes", function()
    it("and waits while the queue is full, until the peer has read", function()
      local a, b = pair({ low = 1000, high = 10000 }, { read_limit = 1000 })
      local n = math.max(600, volume(2000)) -- more than the kernel's buffers hold
      local writer = task.spawn(function()
        for _ = 1, n do
          assert(a:write(("x"):rep(10000)) == true)
        end
        a:close()
      end)
      wait.till(function()
        return a.writer ~= false
      end, 10, "a writer that waits")
      local received = 0
      for data in function() return b:read() end do
        received = received + #data
      end
      assert.equal(n * 10000, received)
      writer:join()
    end)

    it("lists of strings as one", function()
      local a, b = pair()
      assert.is_true(a:write { "a", "", "bc" })
      assert.equal("abc", b:read_exactly(3))
    end)

    it("after shutdown nothing, and still reads", function()
      local a, b = pair()
      a:write "question"
      a:shutdown()
      assert.same({ nil, "EPIPE" }, { (a:write "more"), select(3, a:write "more") })
      assert.equal("question", b:read())
      assert.is_nil(b:read())
      b:write "answer"
      b:shutdown()
      assert.equal("answer", a:read())
      assert.is_nil(a:read())
    end)

    it("past the cap nothing: the connection closes with ENOBUFS", function()
      local a = pair { low = 10, high = 100, cap = 1000 }
      assert.equal("ENOBUFS", select(3, a:write(("x"):rep(1001))))
      task.yield()
      assert.equal("ENOBUFS", select(3, a:write "x"))
      assert.equal("ENOBUFS", select(3, a:read()))
    end)
  end)

  describe("has one waiter on each side", function()
    it("and tells a second reader so, while writing goes on", function()
      local a, b = pair()
      local reader = task.spawn(a.read, a)
      task.yield()
      for _, read in ipairs {
        function() return a:read() end,
        function() return a:read_line() end,
        function() return a:read_exactly(3) end,
        function() return a:read_until "x" end,
      } do
        local data, err, code = read()
        assert.is_nil(data)
        assert.matches("busy", err)
        assert.equal("EBUSY", code)
      end
      assert.is_true(a:write "x")
      assert.equal("x", b:read())
      b:write "for the first"
      assert.equal("for the first", reader:join())
    end)

    it("and tells a second writer so, without queueing its bytes", function()
      local a, b = pair({ low = 10, high = 100 }, { read_limit = 1000 })
      b.conn:pause()
      local writer = task.spawn(function()
        repeat
          local ok = a:write(("x"):rep(100000))
        until not ok
      end)
      while not a.writer do
        task.yield()
      end
      local queued = a.conn:stats().queued
      assert.equal("EBUSY", select(3, a:write "y"))
      assert.equal(queued, a.conn:stats().queued)
      a:abort()
      writer:join()
    end)

    it("which, when cancelled or out of time, leaves its place, and no byte is lost", function()
      local a, b = pair()
      for _, read in ipairs {
        function() return a:read() end,
        function() return a:read_line() end,
        function() return a:read_exactly(300) end,
        function() return a:read_until "x" end,
      } do
        local reader = task.spawn(read)
        task.yield()
        reader:cancel()
        assert.equal("ECANCELED", select(3, reader:join()))
        assert.same({ nil, "timed out", "ETIMEDOUT" }, { task.with_timeout(0.001, read) })
      end
      b:write "all of "
      assert.equal("ETIMEDOUT", select(3, task.with_timeout(0.003, a.read_line, a)))
      b:write "it\n"
      assert.equal("all of it", a:read_line())
    end)

    it("which may be a writer whose time is over: another can write then", function()
      local a, b = pair({ low = 1000, high = 10000 }, { read_limit = 1000 })
      b.conn:pause()
      local code
      repeat
        code = select(3, task.with_timeout(0.01, a.write, a, ("x"):rep(1000000)))
      until code
      assert.equal("ETIMEDOUT", code)
      assert.is_false(a.writer)
      b.conn:resume()
      local reader = task.spawn(function()
        while b:read() do
        end
      end)
      assert.is_true(a:write "y")
      a:close()
      reader:join()
    end)
  end)

  describe("that is closed", function()
    it("wakes who reads and who writes with ECANCELED; later ones hear ENOTCONN", function()
      for _, close in ipairs { "close", "abort" } do
        local a, b = pair({ low = 10, high = 100 })
        b.conn:pause()
        local reader = task.spawn(a.read_exactly, a, 10)
        local writer = task.spawn(function()
          local ok, err, code
          repeat
            ok, err, code = a:write(("x"):rep(100000))
          until not ok
          return ok, err, code
        end)
        while not a.writer do
          task.yield()
        end
        a[close](a)
        a[close](a)
        assert.equal("ECANCELED", select(3, reader:join()))
        assert.equal("ECANCELED", select(3, writer:join()))
        assert.equal("ENOTCONN", select(3, a:read()))
        assert.equal("ENOTCONN", select(3, a:read_line()))
        assert.equal("ENOTCONN", select(3, a:read_exactly(1)))
        assert.equal("ENOTCONN", select(3, a:write "x"))
        assert.is_false(a:is_open())
        a:abort()
        b:abort()
      end
    end)

    it("sends what is queued; at the end of its block, too", function()
      local a, b = pair()
      do
        local stream <close> = a
        stream:write "last words"
      end
      assert.equal("last words", b:read_exactly(10))
      assert.is_nil(b:read())
    end)

    it("by a block that raises goes at once", function()
      local a, b = pair()
      assert.is_false(pcall(function()
        local stream <close> = a
        stream:write "half a mess"
        error "boom"
      end))
      task.with_timeout(5, b.read, b)
      assert.is_true(a.gone)
      assert.equal("lunode.task.stream (closed)", tostring(a))
    end)

    it("by the connection's own timeout says so to its reader", function()
      local a = pair { idle_timeout = 0.01 }
      local data, err, code = a:read()
      assert.is_nil(data)
      assert.matches("idle timeout", err)
      assert.equal("ETIMEDOUT", code)
    end)
  end)

  describe("that connects", function()
    it("tells why it could not", function()
      local port, server = listen(print)
      server:close()
      task.sleep(0.002) -- the socket goes in the loop's closing phase
      local stream, err, code = task.connect(HOST, port)
      assert.is_nil(stream)
      assert.matches("refused", err)
      assert.equal("ECONNREFUSED", code)
    end)

    it("gives up when it is cancelled, out of time, or past its own timeout", function()
      local host, port = world.silent()
      in_task(function()
        assert.same({ nil, "timed out", "ETIMEDOUT" }, { task.with_timeout(0.01, task.connect, host, port) })
        local handle = task.spawn(task.connect, host, port)
        task.yield()
        handle:cancel()
        assert.equal("ECANCELED", select(3, handle:join()))
        local stream, err, code = task.connect(host, port, { connect_timeout = 0.01 })
        assert.is_nil(stream)
        assert.matches("connect timeout", err)
        assert.equal("ETIMEDOUT", code)
      end)
    end)

    it("does so over a Unix socket, too", function()
      local path = "unix:" .. tmp.dir() .. "/socket"
      local server = assert(task.listen(path, nil, {}, function(stream)
        stream:write(stream:read())
      end))
      local a <close> = assert(task.connect(path))
      a:write "hello"
      assert.equal("hello", a:read())
      server:close()
    end)

    it("knows both ends, and takes the connection's options, and its own", function()
      local a, b = pair { nodelay = false, read_limit = 5 }
      local host, port = a:peer()
      assert.equal(HOST, host)
      assert.equal(port, select(2, b:sock()))
      a:set { high = 5, low = 1, read_limit = 100 }
      assert.equal(100, a.read_limit)
      a:set { nodelay = true }
      assert.equal(100, a.read_limit)
      misuse("unknown option 'hihg'", function() a:set { hihg = 1 } end)
      misuse("'read_limit' must be an integer from 1", function() a:set { read_limit = 0 } end)
      misuse("a table is needed", function() a:set(1) end)
      misuse("stream:read: a number of bytes from 1 is needed, got 0", function() a:read(0) end)
      misuse("stream:read_exactly: a number of bytes from 0", function() a:read_exactly() end)
      misuse("a separator is needed", function() a:read_until "" end)
      misuse("stream:read_line: a number of bytes", function() a:read_line(-1) end)
      misuse("bad argument", function() a:write(nil) end)
      misuse("element 2 is a number", function() a:write { "x", 2 } end)
    end)

    it("tells misuse at the caller's line", function()
      misuse("option 'on_read' is for callbacks", function() task.connect(HOST, 1, { on_read = print }) end)
      misuse("option 'decoder' is for callbacks", function() task.listen(HOST, 0, { decoder = "resp" }, print) end)
      misuse("unknown option 'colour'", function() task.connect(HOST, 1, { colour = "red" }) end)
      misuse("unknown option 'colour'", function() task.listen(HOST, 0, { colour = "red" }, print) end)
      misuse("options must be a table, got a function", function() task.listen(HOST, 0, print) end)
      misuse("a function is needed, got a nil", function() task.listen(HOST, 0, {}) end)
      misuse("bad argument #2", function() task.connect(HOST, "x") end)
      misuse("'read_limit' must be", function() task.connect(HOST, 1, { read_limit = "x" }) end)
    end)
  end)

  describe("that is served", function()
    it("closes at its handler's end, after what is queued", function()
      local port = listen(function(stream)
        stream:write(stream:read_line():upper())
      end)
      local a <close> = assert(task.connect(HOST, port))
      a:write "shout\n"
      assert.equal("SHOUT", a:read_exactly(5))
      assert.is_nil(a:read())
    end)

    it("closes when its handler raises, which is told, and others go on", function()
      local errors = collect_errors()
      local port = listen(function(stream)
        local line = stream:read_line()
        assert(line ~= "bad", "cannot stand this")
        stream:write(line .. "\n")
      end)
      local good <close> = assert(task.connect(HOST, port))
      local bad <close> = assert(task.connect(HOST, port))
      bad:write "bad\n"
      assert.is_nil((bad:read()))
      good:write "good\n"
      assert.equal("good", good:read_line())
      assert.equal(1, #errors)
      assert.matches("cannot stand this\nstack traceback", errors[1])
    end)

    it("beside a hundred others echoes all, and at the end nothing is left", function()
      local n = math.max(10, volume(100))
      in_task(function()
        local ended = 0
        local port, server = listen(function(stream)
          local _ <close> = setmetatable({}, { __close = function() ended = ended + 1 end })
          for line in function() return stream:read_line() end do
            stream:write { line, "\n" }
          end
        end)
        local handles = {}
        for i = 1, n do
          handles[i] = task.spawn(function()
            local stream <close> = assert(task.connect(HOST, port))
            for k = 1, 20 do
              local text = i .. ":" .. k
              stream:write(text .. "\n")
              assert.equal(text, stream:read_line())
            end
          end)
        end
        task.wait_all(handles)
        local deadline = loop.now() + 10
        while ended < n or server:connections() > 0 do
          assert(loop.now() < deadline)
          task.yield()
        end
        server:close()
      end, 60)
    end)

    it("goes on when its client hangs up at any moment", function()
      local errors = collect_errors()
      local port, server = listen(function(stream)
        while stream:read(1) do
          if not stream:write(("x"):rep(1000)) then
            return
          end
        end
      end)
      for i = 1, volume(200) do
        local stream = assert(task.connect(HOST, port))
        stream:write(("y"):rep(i % 7))
        if i % 3 == 0 and i % 7 > 0 then
          stream:read(1)
        end
        if i % 2 == 0 then
          stream:abort()
        else
          stream:close()
        end
      end
      local deadline = loop.now() + 10
      while server:connections() > 0 do
        assert(loop.now() < deadline)
        task.yield()
      end
      assert.same({}, errors)
    end)
  end)

  it("waits while nothing but the loop refers to it", function()
    local got
    in_task(function()
      local _, b = pair()
      do
        local port = listen(function(stream)
          got = stream:read()
        end)
        tcp_client.connect(HOST, port, {
          on_connect = function(conn)
            loop.timer(0.005, function()
              collectgarbage()
              collectgarbage()
              conn:write "still there"
              conn:close()
            end)
          end,
        })
      end
      while not got do
        task.yield()
        collectgarbage()
      end
      b:close()
    end)
    assert.equal("still there", got)
  end)

  it("is collected once it has closed", function()
    local weak = setmetatable({}, { __mode = "k" })
    local function use()
      in_task(function()
        local a, b = pair()
        weak[a], weak[b] = true, true
        a:write "x"
        b:read()
        a:close()
        b:close()
        task.sleep(0.005)
      end)
      cleanup.end_test()
      cleanup.begin_test()
    end
    use()
    wait.turns(5)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)
end)

describe("a stream's buffer", function()
  it("holds many small pieces at little more than their size", function()
    local buffer = require("lunode.task.buffer").new()
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, 65536 do
      buffer:append(string.char(i % 256))
    end
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 300)
    local wrong = 0
    for i = 1, 65536 do
      wrong = wrong + (buffer:take(1):byte() == i % 256 and 0 or 1)
    end
    assert.equal(0, wrong)
    assert.equal(0, buffer.size)
  end)
end)
