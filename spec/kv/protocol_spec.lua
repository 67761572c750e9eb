-- The wire: malformed and unusual input to the node and to the real redis-server, to the byte; and input and clients
-- that must not cost the node its memory or the other clients their answers.

local differ = require "spec.support.differ"
local lunode = require "spec.support.lunode"
local prng = require "spec.support.prng"
local redis = require "spec.support.redis"
local resp = require "lunode.resp"
local tcp_client = require "lunode.tcp_client"
local cleanup = require "lunode.test.cleanup"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local FULL = os.getenv("LUNODE_FULL") == "1"
local SEED = tonumber(os.getenv("LUNODE_SEED")) or 1

local MIB = 1 << 20
local END = "*2\r\n$4\r\nECHO\r\n$5\r\n(end)\r\n"
local END_REPLY = "$5\r\n(end)\r\n"

-- AddressSanitizer keeps freed memory for long; then nothing can be said of how much is in use.
local LEAN = { ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "") .. ":quarantine_size_mb=4" }

-- Everything that a server answers to these bytes until it closes.
local function answer_and_close(server, bytes)
  local client = server:client()
  client:send(bytes)
  wait.till(function()
    return client.closed
  end, 20, ("the connection to close after %q"):format(bytes:sub(1, 100)))
  return client:bytes()
end

-- Everything that it answers before what it answers to a last command. It must stay open.
local function answer(server, bytes)
  local client = server:client()
  client:send(bytes .. END)
  wait.till(function()
    return client.closed or client:bytes():sub(-#END_REPLY) == END_REPLY
  end, 20, ("the last reply after %q"):format(bytes:sub(1, 100)))
  assert(not client.closed, ("the connection closed after %q: %q"):format(bytes:sub(1, 100), client:bytes()))
  local all = client:bytes()
  client:close()
  return all:sub(1, -#END_REPLY - 1)
end

-- Everything that it answers when the client then ends its sending side.
local function answer_to_all(server, bytes)
  local client = server:client()
  client:send(bytes)
  client.conn:shutdown()
  client:wait_closed()
  return client:bytes()
end

-- A bare connection that joins nothing: for replies of many megabytes.
local function stream(node)
  local self = { conn = nil, pieces = {}, size = 0 }
  self.conn = tcp_client.connect(node.host, node.port, {
    cap = 1024 * MIB,
    on_read = function(_, data)
      self.pieces[#self.pieces + 1] = data
      self.size = self.size + #data
    end,
  })
  cleanup.add(function()
    self.conn:abort()
  end)
  wait.till(function()
    return self.conn:stats().state == "open"
  end)
  return self
end

local function rss(node)
  local status = assert(tmp.read("/proc/" .. node.process.pid .. "/status"))
  return tonumber(status:match("VmRSS:%s*(%d+) kB")) * 1024
end

local function resident_below(node, limit, what)
  local used = rss(node)
  assert(used < limit, ("%s: %.1f MiB are resident, of at most %.1f"):format(what, used / MIB, limit / MIB))
end

describe("malformed input", function()
  local real, node, bystander
  setup(function()
    real = redis.server()
    node = lunode.kv()
    bystander = node:client()
  end)

  -- Lines with a zero byte are left out here and below: redis-server does not see the line's end behind it.
  local REFUSED = {
    "*abc\r\n", "*\r\n", "* 1\r\n", "*+1\r\n", "*01\r\n", "*1 \r\n", "*1x\r\n", "*-x\r\n", "*1.0\r\n", "*--1\r\n",
    "*2147483648\r\n", "*9223372036854775807\r\n", "*9223372036854775808\r\n", "*99999999999999999999999\r\n",
    "*-9223372036854775809\r\n", "*-0\r\n", "*1\n$4\nPING\n\r\n",
    "*1\r\nPING\r\n", "*1\r\n:5\r\n", "*1\r\n\r\n", "*1\r\n+OK\r\n", "*1\r\n*1\r\n", "*1\r\n\xff\r\n", "*1\r\n \r\n",
    "*1\r\n$abc\r\n", "*1\r\n$\r\n", "*1\r\n$-1\r\n", "*1\r\n$ 4\r\n", "*1\r\n$+4\r\n", "*1\r\n$04\r\n",
    "*1\r\n$4 \r\n",
    "*1\r\n$536870913\r\n", "*1\r\n$10737418240\r\n", "*1\r\n$9223372036854775807\r\n",
    "*1\r\n$9223372036854775808\r\n",
    "*1\r\n$-9223372036854775808\r\n", "*2\r\n$4\r\nECHO\r\n$-1\r\n", "*2\r\n$4\r\nECHO\r\n:1\r\n",
    "*3\r\n$3\r\nSET\r\n$1\r\na\r\n1\r\n",
    'SET "a\r\n', "SET 'a\r\n", 'SET "a"b c\r\n', "SET 'a'b c\r\n", 'SET a"b\r\n', 'SET "a\\"\r\n', "SET 'a\\'\r\n",
    '"\r\n', "'\n", "set a 'b\nGET a\n",
    ("x"):rep(70000), "*" .. ("1"):rep(70000), "*1\r\n$" .. ("1"):rep(70000), "ECHO " .. ("x"):rep(70000),
  }

  it("is refused in redis-server's words, and the connection closed", function()
    for _, bytes in ipairs(REFUSED) do
      local expected = answer_and_close(real, bytes)
      assert.is_truthy(expected:find("^%-ERR Protocol error: "), ("%q: %q"):format(bytes:sub(1, 80), expected))
      assert.equal(expected, answer_and_close(node, bytes), ("%q"):format(bytes:sub(1, 80)))
      assert.same({ ok = "PONG" }, bystander:call("PING"))
    end
  end)

  it("behind commands that are well formed is refused after their replies", function()
    local before = "SET a 1\r\n" .. resp.command("INCR", "a") .. resp.command("GET", "a") .. "nothing\r\n"
    for _, bytes in ipairs { "*x\r\n", "*1\r\n:\r\n", "*2\r\n$4\r\nECHO\r\n$x\r\n", 'GET "\r\n' } do
      local all = before .. bytes .. resp.command("SET", "a", "never")
      local expected = answer_and_close(real, all)
      assert.is_truthy(expected:find("^%+OK\r\n:2\r\n$1\r\n2\r\n%-ERR unknown command.*%-ERR Protocol error"))
      assert.equal(expected, answer_and_close(node, all))
      assert.equal("2", bystander:call("GET", "a"))
    end
  end)

  it("does not cost the memory that it announces", function()
    local lean = lunode.kv { env = LEAN }
    local witness = lean:client()
    witness:call("PING")
    local limit = rss(lean) + 16 * MIB
    local waiting = {}
    for i = 1, 20 do
      waiting[i] = lean:client()
      waiting[i]:send(i % 2 == 0 and "*1048576\r\n$3\r\nDEL\r\n" or "*2\r\n$4\r\nECHO\r\n$536870912\r\nabc")
    end
    assert.same({ ok = "PONG" }, witness:call("PING"))
    resident_below(lean, limit, "20 clients that announced much")
    for _, bytes in ipairs { "*1048577\r\n", "*2147483647\r\n" } do -- redis-server's own limit is higher
      assert.equal("-ERR Protocol error: invalid multibulk length\r\n", answer_and_close(lean, bytes))
    end
    resident_below(lean, limit, "counts past the limit")
    for _, client in ipairs(waiting) do
      assert.is_false(client.closed)
      client:close()
    end
    assert.same({ ok = "PONG" }, witness:call("PING"))
  end)

  it("made by changing bytes of well-formed commands is answered as redis-server does", function()
    local base = table.concat {
      resp.command("SET", "key", "value"), "GET key\r\n", resp.command("MSET", "a", "1", "b", "2"),
      resp.command("MGET", "a", "b", "key"), 'SET "q\\x41" \'it\'\r\n', resp.command("INCR", "n"),
      resp.command("ECHO", "some words"), resp.command("DEL", "key", "qA"), "\r\n", resp.command("PING"),
    }
    local alphabet = { "\r", "\n", "*", "$", "0", "1", "9", "-", '"', "'", "\\", " ", "\xff", "x", "\r\n" }
    local differing, closed = 0, 0
    for seed = SEED, SEED + (FULL and 5000 or 800) - 1 do
      local chance, bytes = prng.new(seed), base
      for _ = 1, chance:int(1, 3) do
        local at = chance:int(1, #bytes)
        bytes = bytes:sub(1, at - 1) .. chance:pick(alphabet) .. bytes:sub(at + chance:int(0, 2))
      end
      local expected, given = answer_to_all(real, bytes), answer_to_all(node, bytes)
      if expected ~= given then
        differing = differing + 1
        assert.equal(expected, given, ("LUNODE_SEED=%d: %q"):format(seed, bytes))
      end
      closed = closed + (expected:find("-ERR Protocol error", 1, true) and 1 or 0)
    end
    assert.is_true(closed >= 100)
    assert.same({ ok = "PONG" }, bystander:call("PING"))
  end)
end)

describe("unusual input", function()
  local real, node
  setup(function()
    real, node = redis.server(), lunode.kv()
  end)

  it("is taken as redis-server takes it", function()
    for _, bytes in ipairs {
      "", "\r\n", "\n", "\r\n\r\n  \r\n\t\r\n", "*0\r\n", "*-1\r\n", "*-10\r\n", "*-9223372036854775808\r\n",
      "PING\r\n", "PING\n", "ping hello\n", "  PING  \r\n", "\tPING\tx\t\r\n", "PING\r\r\n", "PING\rx\r\n",
      'SET "a b" \'c d\'\r\nGET "a b"\r\n', 'ECHO "\\x41\\n\\r\\t\\b\\a\\"\\\\\\q"\r\n', "ECHO '\\'\\n'\r\n",
      'ECHO "\\x4"\r\n', 'ECHO "\\xzz"\r\n', '""\r\n', "'' x\r\n", 'ECHO ""\r\n',
      "ECHO \xff\xfe\r\n", "ECHO " .. ("x"):rep(60000) .. "\r\n", "SET a" .. (" "):rep(60000) .. "b\r\nGET a\n",
      "*1\r\n$0\r\n\r\n", "*2\r\n$0\r\n\r\n$0\r\n\r\n", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "*1\r\n$4\r\nPINGxx",
      "*1\r\n$4\r\nPING\n\n", "*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n", "*1\r\n$6\r\nPING\r\n\r\n",
      "GET\r\n", "GET a b\r\n", "QUITT\r\n", "get /index.html HTTP/1.0\r\n", "-ERR x\r\n", "+OK\r\n",
      "$4\r\nPING\r\n", ":1\r\n",
      "EXISTS " .. ("k "):rep(5000) .. "\r\n", "*4\r\n$3\r\nFOO\r\n$3\r\n1\r\n\r\n$1\r\n'\r\n$2\r\n\"\\\r\n",
    } do
      assert.equal(answer(real, bytes), answer(node, bytes), ("%q"):format(bytes:sub(1, 80)))
    end
  end)

  it("such as an HTTP request closes the connection and does nothing", function()
    for _, bytes in ipairs { "POST / HTTP/1.1\r\nHost: x\r\n\r\nSET evil 1\r\n", "Host: x\r\nSET evil 1\r\n" } do
      assert.equal(answer_and_close(real, bytes), answer_and_close(node, bytes))
      assert.equal(resp.null, node:client():call("GET", "evil"))
    end
  end)

  it("may be split at every byte", function()
    local bytes = resp.command("SET", "split", "a\r\nvalue") .. 'ECHO "in line"\r\n' .. "*0\r\n"
      .. resp.command("GET", "split") .. "\n" .. resp.command("DEL", "split") .. END
    local whole = answer(node, bytes:sub(1, -#END - 1))
    local other = node:client()
    for at = 1, #bytes - 1 do
      local client = node:client()
      client:send(bytes:sub(1, at))
      other:call("PING") -- the first part has been read
      client:send(bytes:sub(at + 1))
      wait.till(function()
        return client:bytes():sub(-#END_REPLY) == END_REPLY
      end, 20, "the replies of a request split after byte " .. at)
      assert.equal(whole .. END_REPLY, client:bytes(), "split after byte " .. at)
      client:close()
    end
    local client = node:client()
    for at = 1, #bytes do
      client:send(bytes:sub(at, at))
      other:call("PING")
    end
    wait.till(function()
      return client:bytes():sub(-#END_REPLY) == END_REPLY
    end)
    assert.equal(whole .. END_REPLY, client:bytes())
  end)

  it("may end with the client's sending side: all is answered, then the connection closes", function()
    local batch = {}
    for i = 1, 2000 do
      batch[i] = resp.command("ECHO", ("%05d"):format(i):rep(20))
    end
    local bytes = table.concat(batch)
    local expected = answer_to_all(real, bytes)
    assert.equal(2000 * (100 + #"$100\r\n\r\n"), #expected)
    assert.equal(expected, answer_to_all(node, bytes))
    assert.equal("+OK\r\n", answer_to_all(node, "SET half 1\r\n*2\r\n$3\r\nGET"))
  end)
end)

describe("before it has authenticated, a client", function()
  local real, node
  setup(function()
    real, node = redis.server(), lunode.kv { password = "secret" }
    real:client():call("CONFIG", "SET", "requirepass", "secret")
    for _, server in ipairs { real, node } do
      function server.client(self) -- node's own would authenticate
        return redis.connect(self.host, self.port)
      end
    end
  end)

  it("may send 10 arguments of 16 KiB, and nothing beyond", function()
    for _, bytes in ipairs {
      "*11\r\n", "*1048576\r\n", "*1\r\n$16385\r\n", "*2\r\n$4\r\nECHO\r\n$536870913\r\n",
      resp.command("PING") .. "*11\r\n",
    } do
      assert.equal(answer_and_close(real, bytes), answer_and_close(node, bytes), ("%q"):format(bytes))
    end
    local ten = resp.command("MGET", "1", "2", "3", "4", "5", "6", "7", "8", ("x"):rep(16384)) .. "QUIT\r\n"
    assert.equal("-NOAUTH Authentication required.\r\n+OK\r\n", answer_and_close(real, ten))
    assert.equal("-NOAUTH Authentication required.\r\n+OK\r\n", answer_and_close(node, ten))
  end)

  it("is told so, whatever it asks, and may still introduce itself", function()
    for _, bytes in ipairs {
      "PING\r\n", "GET a\r\n", "GET\r\n", "SET a 1\r\n", "nothing\r\n", "COMMAND\r\n", "CLIENT ID\r\n",
      "CLIENT foo\r\n",
      "HELLO\r\n", "HELLO 3\r\n", "HELLO 4\r\n", "HELLO 3 SETNAME x\r\n", "HELLO 3 AUTH default wrong\r\n",
      "HELLO 2 AUTH bob secret\r\n", "AUTH wrong\r\n", "AUTH\r\n", "AUTH a b c\r\n", "AUTH default wrong\r\n",
      "AUTH bob secret\r\n", "RESET\r\n", "FLUSHALL\r\n", "SHUTDOWN\r\n", "AUTH secret\r\nPING\r\nRESET\r\nPING\r\n",
      "AUTH default secret\r\nSET a 1\r\nGET a\r\nAUTH wrong\r\nGET a\r\n", 'AUTH ""\r\n', 'AUTH "secret\\x00"\r\n',
    } do
      local told = answer_and_close(real, bytes .. "QUIT\r\n")
      assert.equal(told, answer_and_close(node, bytes .. "QUIT\r\n"), ("%q"):format(bytes))
    end
  end)

  it("has its limits lifted within the same batch as its AUTH", function()
    local wide = resp.command("MSET", table.unpack((function()
      local list = {}
      for i = 1, 40 do
        list[i] = "w" .. i
      end
      return list
    end)()))
    local bytes = resp.command("AUTH", "secret") .. wide .. resp.command("ECHO", ("x"):rep(20000))
    assert.equal(answer(real, bytes), answer(node, bytes))
  end)
end)

describe("large requests", function()
  it("of 10,000 pairs and of 300,000 keys are done whole", function()
    local client = lunode.kv():client()
    local words, names = { "MSET" }, { "DEL" }
    for i = 1, 10000 do
      words[#words + 1], words[#words + 2] = "k" .. i, "v" .. i
      names[#names + 1] = "k" .. i
    end
    assert.same({ ok = "OK" }, client:call(table.unpack(words)))
    assert.equal(10000, client:call("DBSIZE"))
    assert.equal("v10000", client:call("GET", "k10000"))
    words[1] = "MSETNX"
    assert.equal(0, client:call(table.unpack(words)))
    words[#words] = nil
    assert.same({ err = "ERR wrong number of arguments for 'msetnx' command" }, client:call(table.unpack(words)))
    words[1] = "nothing"
    assert.is_truthy(client:call(table.unpack(words)).err:find("^ERR unknown command 'nothing', with args"))
    words[1] = "GET"
    assert.same({ err = "ERR wrong number of arguments for 'get' command" }, client:call(table.unpack(words)))
    for i = #names, 300000 do
      names[i + 1] = "k" .. i
    end
    assert.equal(300001, #names)
    assert.equal(10000, client:call(table.unpack(names)))
    names[1] = "EXISTS"
    assert.equal(0, client:call(table.unpack(names)))
    assert.equal(0, client:call("DBSIZE"))
  end)

  it("of 64 MiB come back as they were", function()
    local node = lunode.kv { env = LEAN }
    local client, large = node:client(), stream(node)
    local value = ("0123456789abcde\n"):rep(4 * MIB)
    large.conn:write(resp.command("SET", "large", value) .. resp.command("GET", "large"))
    local expected = "+OK\r\n" .. resp.encode(value)
    wait.till(function()
      return large.size >= #expected
    end, 60, "the value to come back")
    assert.is_true(table.concat(large.pieces) == expected)
    assert.equal(#value, client:call("STRLEN", "large"))
    assert.equal(value:sub(-16), client:call("GETRANGE", "large", "-16", "-1"))
    assert.equal(1, client:call("DEL", "large"))
  end)
end)

describe("a client", function()
  it("that never reads costs bounded memory, and others are served meanwhile", function()
    local node = lunode.kv { env = LEAN }
    local witness = node:client()
    witness:call("SET", "large", ("x"):rep(10000))
    local requests = FULL and 100000 or 20000
    local size = requests * #resp.encode(("x"):rep(10000))
    local limit = rss(node) + 48 * MIB

    local reader = stream(node)
    reader.conn:pause()
    reader.conn:write(resp.command("GET", "large"):rep(requests))

    -- It stops working for that client once the queue of replies is long.
    local queued = 0
    wait.till(function()
      local before = queued
      for bytes in witness:call("CLIENT", "LIST"):gmatch("omem=(%d+)") do
        queued = math.max(queued, tonumber(bytes))
      end
      return queued > 0 and queued == before
    end, 20, "replies to pile up")
    assert.is_true(queued < 32 * MIB, queued .. " bytes are queued")
    for _ = 1, 500 do
      assert.same({ ok = "PONG" }, witness:call("PING"))
    end
    resident_below(node, limit, "a client that does not read")

    reader.conn:resume()
    wait.till(function()
      reader.pieces = {}
      return reader.size >= size
    end, 120, "all the replies")
    assert.equal(size, reader.size)
    resident_below(node, limit, "after all was read")
  end)

  it("that goes away in the middle of a command leaves nothing behind", function()
    local node = lunode.kv()
    local witness = node:client()
    for i = 1, 200 do
      local client = node:client()
      client:send(i % 2 == 0 and "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1000\r\nabc" or "SET half ")
      if i % 4 < 2 then
        client:close()
      else
        client.conn:close()
      end
    end
    wait.till(function()
      return select(2, witness:call("CLIENT", "LIST"):gsub("\n", "")) == 1
    end, 20, "the connections to end")
    assert.equal(0, witness:call("EXISTS", "half"))
  end)

  it("that goes away with replies unsent does not keep its commands from being done", function()
    local node = lunode.kv()
    local witness = node:client()
    local client = node:client()
    local batch = {}
    for i = 1, 1000 do
      batch[i] = resp.command("INCR", "n")
    end
    client:send(table.concat(batch))
    client.conn:close() -- sends what is queued
    wait.till(function()
      return witness:call("GET", "n") == "1000"
    end, 20, "all commands to be done")
  end)
end)

describe("the comparison of both servers", function()
  it("would tell of a server that ended", function()
    local a, b = redis.server(), redis.server()
    local d = differ.new(a, b)
    b.process:kill("KILL")
    b.process:wait(20)
    assert.error_matches(function()
      d:run { { { "PING" } } }
    end, "a server ended")
  end)
end)
