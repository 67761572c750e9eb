-- Unix sockets: "unix:/path" wherever a host is meant, and a file that comes and goes with its server.

local cleanup = require "lunode.test.cleanup"
local expect = require "lunode.test.expect"
local lunode = require "spec.support.lunode"
local misuse = require "spec.support.misuse"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local dir, path, host

local function stat(format, file)
  local pipe = assert(io.popen(("stat -c %s %s 2>&1"):format(tmp.quote(format), tmp.quote(file or path)), "r"))
  local text = pipe:read("l")
  pipe:close()
  return text
end

local function exists(file)
  return stat("%F", file) == "socket"
end

local function listen(options)
  local server = assert(tcp_server.listen(host, nil, options or {}))
  cleanup.add(function()
    server:close()
  end)
  return server
end

local function echo(options)
  options = options or {}
  options.on_read = function(conn, data)
    conn:write(data)
  end
  return listen(options)
end

local function connect(options)
  local conn = tcp_client.connect(host, nil, options or {})
  cleanup.add(function()
    conn:abort()
  end)
  return conn
end

--- The code that a connect ends with; "" where it succeeds.
local function code_of_connect()
  local seen
  local conn = connect {
    on_connect = function(_, _, code)
      seen = code or ""
    end,
  }
  wait.till(function()
    return seen
  end)
  conn:abort()
  return seen
end

--- A socket file whose server was killed.
local function leave_stale()
  local script = tmp.write(dir .. "/server.lua", ([[
    assert(require("lunode.tcp_server").listen(%q, nil, {}))
    print "listening"
    io.stdout:flush()
  ]]):format(host))
  local process = lunode.start { "run", script }
  wait.till(function()
    return process:stdout():find("listening", 1, true)
  end, 10, "the server to listen")
  process:kill("KILL")
  process:wait(10)
  assert.is_true(exists())
end

describe("a Unix socket", function()
  before_each(function()
    dir = tmp.dir()
    path = dir .. "/socket"
    host = "unix:" .. path
  end)

  it("connects both ends, and says where they are", function()
    local accepted
    local server = listen {
      on_connect = function(conn)
        accepted = conn
      end,
    }
    assert.same({ host, 0 }, { server:sock() })
    local client = connect { on_connect = expect(function(_, err) assert.is_nil(err) end) }
    wait.till(function()
      return accepted and client:is_open()
    end)
    assert.same({ host, 0 }, { client:peer() })
    assert.same({ host, 0 }, { accepted:sock() })
    assert.same({ "unix:", 0 }, { accepted:peer() }) -- the client is bound to no path
    assert.same({ "unix:", 0 }, { client:sock() })
    assert.equal(1, server:connections())
  end)

  it("takes any port, and options that are for TCP, without harm", function()
    local server = assert(tcp_server.listen(host, 80, { nodelay = true, keepalive = 10, reuseport = true }))
    local conn = tcp_client.connect(host, 81, { nodelay = false, keepalive = 5, user_timeout = 3 })
    wait.till(function()
      return conn:is_open()
    end)
    conn:set { nodelay = true, idle_timeout = 10 }
    conn:close()
    server:close()
    misuse("port must be from 0 to 65535", function() tcp_client.connect(host, 70000, {}) end)
  end)

  it("carries two megabytes each way, and both ends of the conversation", function()
    echo {
      on_end = function(conn)
        conn:write("bye")
        conn:shutdown()
      end,
    }
    local line, parts, size = ("0123456789abcdef"):rep(1024), {}, 0
    local ended, closed = false, nil
    local client = connect {
      on_read = function(_, data)
        parts[#parts + 1] = data
        size = size + #data
      end,
      on_end = function()
        ended = true
      end,
      on_close = expect(function(_, err)
        closed = err or "in good order"
      end),
    }
    for _ = 1, 128 do
      assert.is_truthy(client:write(line) ~= nil)
    end
    client:shutdown()
    wait.till(function()
      return closed
    end, 20, "the end of the conversation")
    assert.is_true(ended)
    assert.equal("in good order", closed)
    assert.equal(128 * #line + 3, size)
    assert.is_true(table.concat(parts) == line:rep(128) .. "bye")
  end)

  it("accepts a thousand connects at once, more than its backlog holds", function()
    local server = echo { backlog = 100 }
    local connected, answered, conns = 0, 0, {}
    for i = 1, 1000 do
      conns[i] = connect {
        connect_timeout = 30,
        on_connect = function(_, err)
          assert(not err, err)
          connected = connected + 1
        end,
        on_read = function()
          answered = answered + 1
        end,
      }
      conns[i]:write("x")
    end
    wait.till(function()
      return connected == 1000 and answered == 1000
    end, 30, "a thousand answers")
    assert.equal(1000, server:connections())
    for i = 1, 1000 do
      conns[i]:close()
    end
    wait.till(function()
      return server:connections() == 0
    end)
  end)

  it("whose backlog stays full ends with the timeout", function()
    local server = listen { backlog = 1, max_connections = 1 }
    local last
    for _ = 1, 8 do
      connect {
        connect_timeout = 0.2,
        on_connect = function(_, _, code)
          last = code
        end,
      }
    end
    wait.till(function()
      return last == "ETIMEDOUT"
    end)
    server:close()
  end)

  it("has the mode that was asked for, from the start", function()
    for _, mode in ipairs { "600", "0660", "0777" } do
      local server = listen { mode = mode }
      assert.equal("socket", stat("%F"))
      assert.equal(tostring(tonumber(mode)), stat("%a"))
      server:close()
    end
    local words = "option 'mode' must be a string of octal digits such as \"0600\""
    misuse(words, function() tcp_server.listen(host, nil, { mode = 600 }) end)
    misuse(words, function() tcp_server.listen(host, nil, { mode = "rw" }) end)
    misuse(words, function() tcp_server.listen(host, nil, { mode = "0" }) end)
    misuse(words, function() tcp_server.listen(host, nil, { mode = "1777" }) end)
    misuse("unknown option 'mode'", function() tcp_client.connect(host, nil, { mode = "600" }) end)
  end)

  it("goes with its server, while connections go on", function()
    local server = echo()
    local got = ""
    local conn = connect {
      on_read = function(_, data)
        got = got .. data
      end,
    }
    wait.till(function()
      return conn:is_open() and server:connections() == 1
    end)
    server:close()
    assert.is_false(exists())
    assert.equal("ENOENT", code_of_connect())
    conn:write("still here")
    wait.till(function()
      return got == "still here"
    end)
  end)

  it("goes when the process ends in good order, and in a finalizer", function()
    local script = tmp.write(dir .. "/server.lua", ([[
      assert(require("lunode.tcp_server").listen(%q, nil, {}))
      local loop = require "lunode.loop"
      loop.defer(loop.stop)
    ]]):format(host))
    local code, _, err = lunode.run { "run", script }
    assert.equal("", err)
    assert.equal(0, code)
    assert.is_false(exists())
  end)

  it("that is stale is replaced", function()
    leave_stale()
    assert.equal("ECONNREFUSED", code_of_connect())
    local inode = stat("%i")
    local server = echo { mode = "0600" }
    assert.equal("", code_of_connect())
    assert.equal("600", stat("%a"))
    server:close()
    assert.is_false(exists())
    assert.is_string(inode)
  end)

  it("that a server listens on is refused, and that server goes on", function()
    local server = echo()
    local inode = stat("%i")
    local none, err, code = tcp_server.listen(host, nil, {})
    assert.is_nil(none)
    assert.equal(("cannot listen on %s: a server is listening on that socket already"):format(host), err)
    assert.equal("EADDRINUSE", code)
    assert.equal(inode, stat("%i"))
    assert.equal("", code_of_connect())
    server:close()
  end)

  it("is never made over a file that is something else", function()
    tmp.write(path, "precious")
    local none, err, code = tcp_server.listen(host, nil, {})
    assert.is_nil(none)
    assert.equal(
      ("cannot listen on %s: there is a file that is not a socket; it is left as it is"):format(host),
      err
    )
    assert.equal("ENOTSOCK", code)
    assert.equal("precious", tmp.read(path))
    assert.equal("ENOTSOCK", select(3, tcp_server.listen("unix:" .. dir, nil, {})))
    assert.equal("directory", stat("%F", dir))
  end)

  it("that was replaced by another is left to that one", function()
    local first = echo()
    assert(os.remove(path))
    local second = echo()
    first:close()
    assert.is_true(exists())
    assert.equal("", code_of_connect())
    second:close()
    assert.is_false(exists())
  end)

  it("whose path cannot be says why", function()
    local long = "unix:" .. dir .. "/" .. ("x"):rep(108)
    for given, expected in pairs {
      [long] = { "the path of a Unix socket is too long: 107 bytes at most", "ENAMETOOLONG" },
      ["unix:"] = { "unix: needs a path, as in unix:/run/node.sock", "EINVAL" },
      [host .. "/below"] = { "No such file or directory", "ENOENT" },
    } do
      local none, err, code = tcp_server.listen(given, nil, {})
      assert.is_nil(none)
      assert.same({ ("cannot listen on %s: %s"):format(given, expected[1]), expected[2] }, { err, code })
      local seen
      tcp_client.connect(given, nil, {
        on_connect = expect(function(_, message, failure)
          seen = { message, failure }
        end),
        on_close = expect(),
      })
      wait.till(function()
        return seen
      end)
      wait.turns(2)
      assert.same(expected, seen)
    end
    misuse("host contains a zero byte", function() tcp_server.listen("unix:\0abstract", nil, {}) end)
  end)

  it("may be abstract: a name without a file", function()
    host = "unix:@" .. path
    local server = echo()
    assert.same({ host, 0 }, { server:sock() })
    local conn = connect()
    wait.till(function()
      return conn:is_open()
    end)
    assert.same({ host, 0 }, { conn:peer() })
    local none, err, code = tcp_server.listen(host, nil, {})
    assert.is_nil(none)
    assert.equal(("cannot listen on %s: Address already in use"):format(host), err)
    assert.equal("EADDRINUSE", code)
    assert.is_false(exists())
    server:close()
  end)

  it("tells who is at the other end, as TCP does not", function()
    local accepted
    listen {
      on_connect = function(conn)
        accepted = conn
      end,
    }
    local conn = connect()
    wait.till(function()
      return accepted and conn:is_open()
    end)
    local status = assert(tmp.read "/proc/self/status")
    local uid, gid = status:match "Uid:%s+(%d+)", status:match "Gid:%s+(%d+)"
    local own = { tonumber(status:match "\nPid:%s+(%d+)"), tonumber(uid), tonumber(gid) }
    assert.same(own, { accepted:credentials() })
    assert.same(own, { conn:credentials() })
    conn:abort()
    wait.till(function()
      return not accepted:is_open()
    end)
    assert.equal("ENOTCONN", select(3, conn:credentials()))
    local server = assert(tcp_server.listen("127.0.0.1", 0, {}))
    local tcp = tcp_client.connect("127.0.0.1", select(2, server:sock()), {})
    wait.till(function()
      return tcp:is_open()
    end)
    assert.equal("EOPNOTSUPP", select(3, tcp:credentials()))
    tcp:abort()
    server:close()
  end)
end)
