-- Connecting to names: they are looked up off the loop, and every outcome is told once. What a name server answers is
-- not for a spec to know; core/resolver_test.c and core/tcp_client_test.c script that, slow servers included.

local cleanup = require "lunode.test.cleanup"
local expect = require "lunode.test.expect"
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local misuse = require "spec.support.misuse"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

-- What a lookup may end with where nobody knows the name.
local NOT_FOUND = { ENOTFOUND = true, EAGAIN = true, EDNS = true, ETIMEDOUT = true }

local function output(command)
  local pipe = assert(io.popen(command, "r"))
  local text = pipe:read("a")
  pipe:close()
  return text
end

--- Connects; the list it returns fills with the codes that on_connect and then on_close hear ("" for none).
local function outcome(host, port, timeout)
  local codes, inside = {}, true
  local function note(_, _, code)
    assert(not inside, "a callback was called within connect")
    codes[#codes + 1] = code or ""
  end
  local conn = tcp_client.connect(host, port, { connect_timeout = timeout or 5, on_connect = note, on_close = note })
  inside = false
  cleanup.add(function()
    conn:abort()
  end)
  return codes, conn
end

local function ended(codes, seconds)
  wait.till(function()
    return codes[2]
  end, seconds, "on_close")
  wait.turns(3)
  assert.equal(2, #codes)
  return codes
end

local function listen(host)
  local server, err = tcp_server.listen(host, 0, {
    on_read = function(conn, data)
      conn:write(data)
    end,
  })
  if server then
    cleanup.add(function()
      server:close()
    end)
  end
  return server, err
end

describe("a name", function()
  it("localhost, and all under it, is this machine", function()
    local server = assert(listen "localhost")
    local host, port = server:sock()
    assert.equal("127.0.0.1", host)
    for _, name in ipairs { "localhost", "LOCALHOST", "localhost.", "db.localhost" } do
      local codes, conn = outcome(name, port)
      wait.till(function()
        return conn:is_open()
      end, 20, name)
      assert.same({ host, port }, { conn:peer() })
      conn:close()
      assert.same({ "", "" }, ended(codes))
    end
  end)

  it("of this machine leads to it", function()
    local name = output("hostname"):match("%S+")
    if not name or output("getent hosts " .. name) == "" then
      pending("this machine's own name has no address")
      return
    end
    local server = listen "::" or assert(listen "0.0.0.0")
    local _, port = server:sock()
    local got = ""
    local conn = tcp_client.connect(name, port, {
      on_connect = expect(function(_, err)
        assert.is_nil(err)
      end),
      on_read = function(_, data)
        got = got .. data
      end,
      on_close = expect(),
    })
    conn:write("queued while it was looked up")
    wait.till(function()
      return got == "queued while it was looked up"
    end)
    conn:close()
    wait.till(function()
      return conn:stats().state == "closed"
    end)
  end)

  it("under .invalid is not found, and nobody is asked", function()
    for _, name in ipairs { "name.invalid", "INVALID", "a.b.invalid." } do
      local before = loop.time()
      assert.same({ "ENOTFOUND", "ENOTFOUND" }, ended((outcome(name, 1))))
      assert.is_true(loop.time() - before < 4.5) -- whoever asks, and gets no answer, waits for five
    end
  end)

  it("that is none at all is not found, in words that help", function()
    local long = ("a"):rep(64) .. ".test"
    for _, name in ipairs { "", " ", "a b", "a/b", "1.2.3", "256.1.1.1", "host:80", "[::1]", "::1%no-such-if", long } do
      assert.same({ "ENOTFOUND", "ENOTFOUND" }, ended((outcome(name, 1))))
    end
    local said
    tcp_client.connect("1.2.3", 1, {
      on_connect = function(_, err)
        said = err
      end,
    })
    assert.equal(
      "name not found",
      wait.till(function()
        return said
      end)
    )
  end)

  it("that nobody knows ends within connect_timeout", function()
    local codes = ended((outcome("no-such-host.test", 1, 3)), 6)
    assert.is_true(NOT_FOUND[codes[1]], codes[1])
    assert.equal(codes[1], codes[2])
  end)

  it("whose lookup outlasts the timeout is told as ETIMEDOUT", function()
    local codes = ended((outcome("no-such-host-2.test", 1, 1e-9))) -- no lookup is that quick
    assert.same({ "ETIMEDOUT", "ETIMEDOUT" }, codes)
  end)

  it("can be left alone while it is looked up: closed, aborted, forgotten", function()
    for _, how in ipairs { "close", "abort" } do
      local codes, conn = outcome("no-such-host-3.test", 1)
      conn:write("never sent")
      conn[how](conn)
      conn[how](conn)
      assert.same({}, codes)
      assert.same({ "ECANCELED", "" }, ended(codes))
    end
    local forgotten = {}
    for i = 1, 20 do
      forgotten[i] = outcome("no-such-host-4.test", 1, 2)
      collectgarbage()
    end
    collectgarbage()
    for i = 1, 20 do
      ended(forgotten[i], 6)
    end
  end)

  it("whose on_connect raises closes that connection alone", function()
    local errors = {}
    loop.on_error(function(traceback)
      errors[#errors + 1] = traceback
    end)
    local codes = {}
    local conn = tcp_client.connect("no-such-host-5.test", 1, {
      connect_timeout = 3,
      on_connect = expect(function()
        error "not this one"
      end),
      on_close = expect(function(_, _, code)
        codes[1] = code
      end),
    })
    local other = outcome("name.invalid", 1)
    ended(other)
    wait.till(function()
      return conn:stats().state == "closed"
    end, 6)
    assert.is_true(NOT_FOUND[codes[1]], codes[1])
    assert.equal(1, #errors)
    assert.matches("not this one", errors[1])
  end)

  it("may be looked up beside two hundred others, each to its own end", function()
    local server = assert(listen "127.0.0.1")
    local _, port = server:sock()
    local all, conns = {}, {}
    for i = 1, 200 do
      local name = i % 4 == 0 and "localhost" or ("n%d.test"):format(i % 100)
      all[i], conns[i] = outcome(name, port, 3)
      if i % 10 == 1 then
        conns[i]:abort()
      end
    end
    for i = 1, 200 do
      wait.till(function()
        return all[i][1]
      end, 8, "lookup " .. i)
      if i % 4 == 0 then
        assert.equal("", all[i][1])
      elseif i % 10 == 1 then
        assert.equal("ECANCELED", all[i][1])
      else
        assert.is_true(NOT_FOUND[all[i][1]], all[i][1])
      end
      conns[i]:abort()
      ended(all[i])
    end
  end)

  it("that is still looked up keeps no process from ending", function()
    local script = tmp.write(tmp.dir() .. "/leave.lua", [[
      local loop = require "lunode.loop"
      for i = 1, 50 do
        require("lunode.tcp_client").connect(("no-such-%d.test"):format(i), 1, { connect_timeout = 60 })
      end
      loop.defer(loop.stop)
    ]])
    local process = lunode.start { "run", script }
    assert.equal(0, process:wait(10))
    assert.equal("", process:stderr())
  end)

  it("is nothing to listen on: that would block", function()
    local server, err, code = tcp_server.listen("a-name.test", 80, {})
    assert.is_nil(server)
    assert.equal(
      "cannot listen on a-name.test port 80: "
        .. "listening looks no names up: it needs a numeric address, localhost or unix:/path",
      err
    )
    assert.equal("ENOTFOUND", code)
  end)

  it("with a zero byte in it, or without a port, is misuse", function()
    misuse("host contains a zero byte", function() tcp_client.connect("127.0.0.1\0.test", 1, {}) end)
    misuse("host contains a zero byte", function() tcp_server.listen("127.0.0.1\0", 1, {}) end)
    misuse("number expected", function() tcp_client.connect("localhost", nil, {}) end)
  end)
end)

describe("listening", function()
  it("together on one port needs reuseport on both sides", function()
    local first = assert(tcp_server.listen("127.0.0.1", 0, { reuseport = true }))
    local _, port = first:sock()
    local second = assert(tcp_server.listen("127.0.0.1", port, { reuseport = true }))
    local none, _, code = tcp_server.listen("127.0.0.1", port, {})
    assert.is_nil(none)
    assert.equal("EADDRINUSE", code)
    first:close()
    second:close()
  end)

  it("on :: takes IPv4, too, unless ipv6_only", function()
    local both, err = tcp_server.listen("::", 0, {})
    if not both then
      pending("no IPv6 here: " .. err)
      return
    end
    local _, port = both:sock()
    local codes, conn = outcome("127.0.0.1", port)
    wait.till(function()
      return codes[1]
    end)
    assert.equal("", codes[1])
    conn:close()
    both:close()
    local six = assert(tcp_server.listen("::", 0, { ipv6_only = true }))
    _, port = six:sock()
    assert.same({ "ECONNREFUSED", "ECONNREFUSED" }, ended((outcome("127.0.0.1", port))))
    six:close()
    misuse("option 'ipv6_only' must be true or false", function() tcp_server.listen("::", 0, { ipv6_only = 1 }) end)
    misuse("unknown option 'reuseport'", function() tcp_client.connect("::1", 1, { reuseport = true }) end)
  end)
end)
