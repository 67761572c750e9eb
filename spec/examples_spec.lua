-- The examples, each run as its first line says, by the real binary, with real bytes over the wire.

local cleanup = require "lunode.test.cleanup"
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local redis = require "spec.support.redis"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "spec"
local FULL = os.getenv("LUNODE_FULL") == "1"

local function example(name)
  return here .. "/../examples/" .. name .. ".lua"
end

--- Starts an example that listens; where it does.
local function start(name, ...)
  local process = lunode.start {
    "run",
    example(name),
    "127.0.0.1:0",
    ...,
    -- Memory that was freed must count as free, also under ASan.
    env = { ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "") .. ":quarantine_size_mb=1" },
  }
  local port = wait.till(function()
    assert(process:is_alive(), process:stderr())
    return process:stdout():match("listening on 127%.0%.0%.1:(%d+)\n")
  end, 10, name .. " to listen")
  return tonumber(port), process
end

--- A client that keeps what it gets: `got`, `ended`, `closed`, `code`.
local function connect(port, greeting)
  local self = { got = "", ended = false, closed = false, code = nil }
  self.conn = tcp_client.connect("127.0.0.1", port, {
    on_read = function(_, data)
      self.got = self.got .. data
    end,
    on_end = function()
      self.ended = true
    end,
    on_close = function(_, _, code)
      self.closed, self.code = true, code
    end,
  })
  cleanup.add(function()
    self.conn:abort()
  end)
  if greeting then
    self.conn:write(greeting)
  end
  return self
end

local function gets(client, text, seconds)
  wait.till(function()
    return client.got:find(text, 1, true)
  end, seconds, ("%q; there is %q"):format(text, client.got:sub(-500)))
end

local function rss_kib(process)
  return tonumber(tmp.read("/proc/" .. process.pid .. "/status"):match("VmRSS:%s*(%d+) kB"))
end

describe("examples that listen", function()
  it("say what is wrong with an address, or with a port that is taken", function()
    local taken = assert(tcp_server.listen("127.0.0.1", 0, {}))
    cleanup.add(function()
      taken:close()
    end)
    local address = ("%s:%d"):format(taken:sock())
    for _, name in ipairs { "echo_server", "chat" } do
      local code, _, err = lunode.run { "run", example(name), "nonsense" }
      assert.equal(2, code)
      assert.matches("^usage: lunode run " .. name .. ".lua HOST:PORT\n$", err)
      code, _, err = lunode.run { "run", example(name), address }
      assert.equal(1, code)
      assert.matches("^cannot listen on .*: Address already in use\n$", err)
    end
    local code, _, err = lunode.run { "run", example("proxy"), "nonsense" }
    assert.equal(1, code)
    assert.matches("usage: lunode run proxy.lua LISTEN TARGET", err)
  end)
end)

describe("echo_server.lua", function()
  it("gives back what it gets, to a client that reads only later, too", function()
    local port = start "echo_server"
    local client = connect(port, "hello")
    gets(client, "hello")
    client.conn:pause()
    local block = {}
    for i = 1, 100000 do
      block[i] = ("%07d%033d"):format(i, 0)
    end
    block = table.concat(block)
    for i = 1, #block, 65536 do
      client.conn:write(block:sub(i, i + 65535))
    end
    client.conn:shutdown()
    wait.turns(20)
    client.conn:resume()
    wait.till(function()
      return client.ended or client.closed
    end, 30)
    assert.is_true(client.got == "hello" .. block)
  end)
end)

describe("echo_client.lua", function()
  it("sends its arguments as lines, prints the echo, and exits 0", function()
    local port = start "echo_server"
    local address = "127.0.0.1:" .. port
    local code, out, err = lunode.run { "run", example "echo_client", address, "hello", "how are you?", "" }
    assert.equal("", err)
    assert.equal("hello\nhow are you?\n\n", out)
    assert.equal(0, code)
    assert.equal(0, (lunode.run { "run", example "echo_client", address }))
  end)

  it("says why there is no connection, and exits 1; 2 without an address", function()
    local address = "127.0.0.1:" .. ports.free()
    local code, out, err = lunode.run { "run", example "echo_client", address, "hello" }
    assert.equal(("cannot connect to %s: Connection refused\n"):format(address), err)
    assert.equal("", out)
    assert.equal(1, code)
    local _
    code, _, err = lunode.run { "run", example "echo_client" }
    assert.matches("^usage:", err)
    assert.equal(2, code)
  end)
end)

describe("chat.lua", function()
  local function join(port, name)
    local member = connect(port, name .. "\n")
    gets(member, "welcome, " .. name)
    return member
  end

  it("brings lines to everybody else, however they are cut, and tells who comes and goes", function()
    local port = start "chat"
    local ann, bob = join(port, "ann"), join(port, "bob")
    gets(ann, "* bob has joined\n")
    for _, byte in ipairs { "h", "e", "l", "l", "o\r", "\nand", " more\nhal" } do
      bob.conn:write(byte)
      wait.turns(2)
    end
    gets(ann, "<bob> hello\n<bob> and more\n")
    bob.conn:write("f\n\27[2Jclean\n")
    gets(ann, "<bob> half\n<bob> [2Jclean\n")
    assert.is_nil(bob.got:find("<bob>", 1, true))
    ann.conn:write("/quit\n")
    gets(bob, "* ann has left\n")
    gets(ann, "as you wish, goodbye\n")
    local cut = join(port, "cut")
    gets(bob, "* cut has joined\n")
    cut.conn:abort()
    gets(bob, "* cut has left\n")
  end)

  it("wants names that can be read and are not taken", function()
    local port = start "chat"
    join(port, "ann")
    local stranger = connect(port, "a b\n")
    gets(stranger, "* what is your name?\n* a name has 1 to 20 letters")
    stranger.conn:write(("x"):rep(21) .. "\nann\n")
    gets(stranger, "* ann is here already; try another name\n")
    stranger.conn:write("carl\n")
    gets(stranger, "* welcome, carl; 2 here")
  end)

  it("sends away who sends a line without end, with or without one", function()
    local port = start "chat"
    local ann = join(port, "ann")
    for i, tail in ipairs { "", "\nmore\n" } do
      local bore = join(port, "bore" .. i)
      bore.conn:write(("x"):rep(1001) .. tail)
      gets(bore, "* that line was too long, goodbye\n")
      gets(ann, ("* bore%d has left\n"):format(i))
    end
    assert.is_nil(ann.got:find("xxx", 1, true))
    assert.is_nil(ann.got:find("more", 1, true))
  end)

  it("keeps 50 clients talking while ten of them never read, and does not grow", function()
    local count, messages = 50, FULL and 20000 or 6000
    local port, process = start "chat"
    local line = ("y"):rep(980)
    local slow, quick, received = {}, {}, {}
    for i = 1, 10 do
      slow[i] = join(port, "slow" .. i)
      slow[i].conn:pause()
    end
    for i = 1, count - #slow do
      local joined, bytes = false, 0
      quick[i] = tcp_client.connect("127.0.0.1", port, {
        on_read = function(_, data)
          joined = joined or data:find("welcome", 1, true)
          local _, more = data:gsub("y", "") -- of lines: no name or notice has one
          bytes = bytes + more
          received[i] = bytes // #line
        end,
      })
      cleanup.add(function()
        quick[i]:abort()
      end)
      quick[i]:write("quick" .. i .. "\n")
      wait.till(function()
        return joined
      end)
    end

    -- One quick member talks, at the pace at which another one hears it: a hundred lines ahead at most.
    local before, sent = rss_kib(process), 0
    wait.till(function()
      while sent < messages and sent - received[2] < 100 do
        quick[1]:write(line .. "\n")
        sent = sent + 1
      end
      for i = 2, #quick do
        if received[i] < messages then
          return false
        end
      end
      return true
    end, 120, "all quick members to hear all")
    local grown = rss_kib(process) - before

    -- Unread and kept, it would be some 3 MB for each of the ten; what is kept is 64 KiB, or twice that.
    assert.is_true(grown < 12 * 1024, ("the server has grown by %d KiB"):format(grown))
    for i = 2, #quick do
      assert.equal(messages, received[i])
    end
    local missed = 0
    for _, member in ipairs(slow) do
      member.conn:resume()
    end
    for _, member in ipairs(slow) do
      wait.till(function()
        return member.got:match("%* you were too slow and missed (%d+) messages\n")
      end, 30, "a slow member to be told")
      missed = missed + tonumber(member.got:match("missed (%d+) messages"))
    end
    assert.is_true(missed > 10)
  end)
end)

describe("proxy.lua", function()
  --- A target in this process, and the proxy before it.
  local function start_proxy(options)
    local server = assert(tcp_server.listen("127.0.0.1", 0, options))
    cleanup.add(function()
      server:close()
    end)
    return (start("proxy", ("%s:%d"):format(server:sock()))), server
  end

  it("is less than 40 lines, all counted", function()
    local _, lines = tmp.read(example "proxy"):gsub("\n", "")
    assert.is_true(lines < 40, lines)
  end)

  it("passes on bytes and half-close, both ways", function()
    local heard = ""
    local port, server = start_proxy {
      on_read = function(_, data)
        heard = heard .. data
      end,
      on_end = function(conn)
        conn:write("you said: " .. heard)
        conn:shutdown()
      end,
    }
    local client = connect(port, "one ")
    client.conn:write("two")
    client.conn:shutdown()
    wait.till(function()
      return client.closed
    end)
    assert.equal("you said: one two", client.got)
    assert.is_nil(client.code)
    wait.till(function()
      return server:connections() == 0
    end)
  end)

  it("holds a fast sender back, in both directions, and loses nothing", function()
    local total, block = 30000000, ("0123456789abcdef"):rep(4096)
    for _, direction in ipairs { "up", "down" } do
      local received, sent, target, sample = 0, 0, nil, ""
      local function receive(_, data)
        received = received + #data
        sample = data
      end
      local function send(conn)
        while sent < total do
          local piece = block:sub(1, math.min(#block, total - sent))
          sent = sent + #piece
          if not conn:write(piece) then
            return
          end
        end
        conn:shutdown()
      end
      local receiver, sender = { on_read = receive }, { on_writable = send, high = 100000 }
      local up = direction == "up"
      local server_options = up and receiver or sender
      server_options.on_connect = function(conn)
        target = conn
      end
      local server = assert(tcp_server.listen("127.0.0.1", 0, server_options))
      local port, process = start("proxy", ("%s:%d"):format(server:sock()))
      local client = tcp_client.connect("127.0.0.1", port, up and sender or receiver)
      wait.till(function()
        return target and client:is_open()
      end)
      server:close()
      local before = rss_kib(process);
      (up and target or client):pause()
      send(up and client or target)
      local last
      wait.till(function() -- until nothing moves any more
        local previous = last
        last = sent
        local passed = false
        loop.timer(0.1, function()
          passed = true
        end)
        wait.till(function()
          return passed
        end)
        return previous == last
      end, 30)
      assert.is_true(sent < total, "the kernel swallowed it all")
      assert.is_true(rss_kib(process) - before < 8 * 1024, direction);
      (up and target or client):resume()
      wait.till(function()
        return received == total
      end, 60)
      assert.is_truthy(block:find(sample:sub(1, 1000), 1, true))
      client:abort()
      target:abort()
    end
  end)

  it("closes the client where the target refuses, and the target where the client is reset", function()
    local port = start("proxy", "127.0.0.1:" .. ports.free())
    local client = connect(port, "hello?")
    wait.till(function()
      return client.ended or client.closed
    end)
    assert.equal("", client.got)

    local accepted
    local through, server = start_proxy {
      on_connect = function(conn)
        accepted = conn
        conn:write(("x"):rep(100000))
      end,
    }
    client = connect(through)
    client.conn:pause()
    wait.till(function()
      return accepted and accepted:stats().queued == 0 and client.conn:is_open()
    end)
    client.conn:abort() -- with bytes unread: the kernel sends a reset
    wait.till(function()
      return server:connections() == 0
    end)

    accepted = nil
    client = connect(through)
    wait.till(function()
      return accepted and #client.got == 100000
    end)
    accepted:abort()
    wait.till(function()
      return client.ended or client.closed
    end)
  end)
end)

describe("examples/custom_command.lua", function()
  it("has commands of its own beside Redis's, which keep their data", function()
    local dir = tmp.dir() .. "/data"
    local port, process = start("custom_command", dir)
    local client = redis.connect("127.0.0.1", port)
    assert.equal(1, client:call("HITS", "front-page"))
    assert.equal(2, client:call("hits", "front-page"))
    assert.is_true(client:call("TTL", "front-page") > 24 * 3600 - 60)
    client:call("SET", "color", "blue")
    assert.equal(0, client:call("CAS", "color", "red", "green"))
    assert.equal(1, client:call("CAS", "color", "blue", "green"))
    assert.matches("wrong number of arguments for 'cas' command", client:call("CAS", "color").err)
    process:kill("TERM")
    assert.equal(0, process:wait())

    port, process = start("custom_command", dir)
    client = redis.connect("127.0.0.1", port)
    assert.equal("green", client:call("GET", "color"))
    assert.equal(3, client:call("HITS", "front-page"))
    process:kill("TERM")
    assert.equal(0, process:wait())
  end)

  it("says why it cannot start", function()
    local port = start("custom_command", tmp.dir() .. "/data")
    local code, _, err = lunode.run { "run", example "custom_command", "127.0.0.1:" .. port, tmp.dir() .. "/data" }
    assert.equal(1, code)
    assert.matches("^cannot listen on 127.0.0.1 port %d+: Address already in use; .+\n$", err)
  end)
end)
