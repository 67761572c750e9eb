-- Poking peers: a real redis-server, a key-value node of ours, Neovim, our RPC, and raw connections, from one session.

local cleanup = require "lunode.test.cleanup"
local kit = require "spec.rpc.kit"
local lunode = require "spec.support.lunode"
local peers = require "lunode.repl.peers"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local redis = require "spec.support.redis"
local sessions = require "lunode.repl.session"
local task = require "lunode.task"
local tcp_server = require "lunode.tcp_server"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

--- A session with peers: eval(code) → text of the results, raising what is wrong; printed() → all output so far.
local function open()
  local output = {}
  local function print_text(text)
    output[#output + 1] = text
  end
  local all = peers.new(print_text)
  local session = sessions.new(all:objects(), { print = print_text })
  all.env = session.env
  cleanup.add(function()
    all:close()
  end)
  local self = { session = session }
  function self.eval(code)
    local outcome = session:eval(code)
    if outcome.status ~= "ok" then
      error(outcome.text, 0)
    end
    return outcome.text
  end
  function self.printed()
    return table.concat(output)
  end
  return self
end

local function refused(text, s, code)
  local ok, err = pcall(s.eval, code)
  assert.is_false(ok, code)
  assert.equal(text, err)
end

describe("a Redis server at the prompt", function()
  for kind, start in pairs {
    ["redis-server"] = function() return redis.server() end,
    ["lunode kv"] = function() return lunode.kv() end,
  } do
    it("has its commands as methods: " .. kind, function()
      local server, s = start(), open()
      s.eval(("r = redis '127.0.0.1:%d'"):format(server.port))
      assert.equal('"OK", "v", nil', s.eval "r:set('k', 'v'), r:get 'k', r:get 'none'")
      assert.equal("1, 2.5", s.eval "r:INCR('n'), tonumber((r:incrbyfloat('n', 1.5)))")
      assert.equal('{ "v", null }', s.eval "r:mget('k', 'none')")
      assert.equal('"\\xff\\x00\\r\\n"', s.eval "r:set('b', '\\xff\\0\\r\\n') and r:get 'b'")
      assert.equal('"PONG", "PONG"', s.eval "r:ping(), r:call 'PING'")
      assert.matches('^{ dir = ".*" }$', s.eval "r:config('GET', 'dir')")
      refused("ERR value is not an integer or out of range", s, "r:incr 'k'")
      assert.matches("^ERR unknown command", select(2, pcall(s.eval, "r:nonsense()")))
      refused("get: argument 1 is a table; commands take strings and numbers", s, "r:get {}")
      refused("get: argument 1 is a nil; commands take strings and numbers", s, "r:get(nil)")
      assert.equal(("redis 127.0.0.1:%d (connected)"):format(server.port), s.eval "r")
      local found = s.session:complete "r:getra"
      assert.same({ insert = "nge(", names = { "getrange" } }, found)
    end)
  end

  it("wants a password, and is given it again when the connection is", function()
    local server, s = redis.server(), open()
    server:client():call("CONFIG", "SET", "requirepass", "hush")
    s.eval(("r = redis(%d)"):format(server.port))
    assert.matches("^NOAUTH", select(2, pcall(s.eval, "r:get 'k'")))
    assert.matches("^WRONGPASS", select(2, pcall(s.eval, "r:auth 'no'")))
    assert.equal('"OK"', s.eval "r:auth 'hush'")
    assert.equal("nil", s.eval "r:get 'k'")
    local client = server:client()
    client:call("AUTH", "hush")
    client:call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait.till(function()
      return s.printed():find "redis r: connected again\n"
    end)
    assert.matches("redis r: the connection was lost: .-; connecting again\n", s.printed())
    assert.equal("nil", s.eval "r:get 'k'")
    s.eval(("q = redis(%d, { password = 'hush', name = 'with' })"):format(server.port))
    assert.equal("nil", s.eval "q:get 'k'")
    assert.matches("^WRONGPASS", select(2, pcall(s.eval, ("redis(%d, { password = 'no' })"):format(server.port))))
  end)

  it("prints what comes unasked", function()
    local server, s = redis.server(), open()
    s.eval(("r = redis(%d)"):format(server.port))
    assert.equal('{ "subscribe", "news", 1 }', s.eval "r:subscribe 'news'")
    server:client():call("PUBLISH", "news", "it\27[2J rains")
    wait.till(function()
      return s.printed() == 'redis r: { "message", "news", "it\\x1b[2J rains" }\n'
    end)
    assert.equal('"PONG"', s.eval "r:ping()") -- replies still find those who wait for them
  end)

  it("says what is wrong with addresses, options, and servers that are none", function()
    local s = open()
    refused('redis "HOST:PORT": an address is HOST:PORT, [IPV6]:PORT, unix:/path or a port of this machine, got "x"', s,
      "redis 'x'")
    assert.matches("got nil$", select(2, pcall(s.eval, "redis()")))
    refused("cannot connect to 127.0.0.1:1: Connection refused", s, "redis '127.0.0.1:1'")
    refused("redis: unknown option 'nope'; there are name, timeout, user, password", s, "redis('h:1', { nope = 1 })")
    refused("redis: option 'timeout' must be a positive number", s, "redis('h:1', { timeout = 0 })")
    local server = assert(tcp_server.listen("127.0.0.1", 0, {
      on_read = function(conn)
        conn:write "HTTP/1.1 400 Bad Request\r\n\r\n"
      end,
    }))
    local silent = assert(tcp_server.listen("127.0.0.1", 0, { on_read = function() end }))
    cleanup.add(function()
      server:close()
      silent:close()
    end)
    assert.is_false((pcall(s.eval, ("redis('127.0.0.1:%d', { timeout = 0.5 })"):format(select(2, server:sock())))))
    local _, err = pcall(s.eval, ("redis('127.0.0.1:%d', { timeout = 0.1 })"):format(select(2, silent:sock())))
    assert.matches("^cannot connect to 127.0.0.1:%d+: it takes too long$", err)
  end)

  it("that does not answer costs a call its time, and those behind it none of their replies", function()
    local held = {}
    local server = assert(tcp_server.listen("127.0.0.1", 0, {
      decoder = "resp",
      on_message = function(conn, name)
        if name:lower() == "hello" then
          return require("lunode.resp").error "ERR unknown command"
        end
        held[#held + 1] = conn
        return #held
      end,
    }))
    cleanup.add(function()
      server:close()
    end)
    local s = open()
    s.eval(("r = redis('127.0.0.1:%d', { timeout = 0.1 })"):format(select(2, server:sock())))
    assert.equal("1, 2", s.eval "r:a(), r:b()")
    held[1]:set { high = 1 }
    held[1]:pause()
    assert.matches("no reply within 0.1 s; it may still be carried out$", select(2, pcall(s.eval, "r:c()")))
    held[1]:resume()
    assert.equal("4", s.eval "r:d()")
    assert.equal("5", s.eval "r:close() or 5")
    assert.matches("it is closed", select(2, pcall(s.eval, "r:e()")))
  end)
end)

describe("an RPC peer at the prompt", function()
  it("is called by the names of its methods, which it tells", function()
    kit.errors()
    local server, address = kit.serve {
      ping = function() return "pong" end,
      add = function(_, a, b) return a + b end,
      fail = function() return nil, "no\27way", "ENO" end,
      slow = function() task.sleep(1000) end,
    }
    local s = open()
    s.eval(("n1 = peer '%s'"):format(address))
    assert.equal('"pong", 5, 5', s.eval "n1:call 'ping', n1:call('add', 2, 3), n1:add(2, 3)")
    refused("no\\x1bway (ENO)", s, "n1:fail()")
    assert.matches("unknown method 'none' %(ENOMETHOD%)", select(2, pcall(s.eval, "n1:none()")))
    assert.same({ insert = "(", names = { "ping" } }, s.session:complete "n1:ping")
    assert.same({ insert = "", names = { "add", "call", "close", "fail", "notify", "ping", "slow" } },
      s.session:complete "n1:")
    assert.same({ insert = "dd'", names = { "add" } }, s.session:complete "n1:call('a")
    s.eval "n1:notify 'ping'"
    for conn in pairs(server.connections) do
      conn:close()
    end
    wait.till(function()
      return s.printed():find "peer n1: connected again\n"
    end)
    assert.equal('"pong"', s.eval "n1:ping()")
  end)

  it("may be Neovim", function()
    local address, dir = "127.0.0.1:" .. ports.free(), tmp.dir()
    local nvim = process.start {
      "nvim", "--headless", "--clean", "--listen", address,
      env = { HOME = dir, XDG_RUNTIME_DIR = dir, NVIM_LOG_FILE = dir .. "/log" },
    }
    local s = open()
    wait.till(function()
      assert(nvim:is_alive(), nvim:stderr())
      return pcall(s.eval, ("v = peer '%s'"):format(address))
    end, 20, "Neovim to answer")
    assert.equal('3, { 1, { a = "ä" } }', s.eval [[v:nvim_eval "1+2", v:call("nvim_eval", "[1, {'a': 'ä'}]")]])
    assert.same({ insert = "tusline(", names = { "nvim_eval_statusline" } }, s.session:complete "v:nvim_eval_sta")
    assert.matches("E121: Undefined variable: nonsense", select(2, pcall(s.eval, "v:nvim_eval 'nonsense'")))
    s.eval "peers()"
    assert.matches("\nv     rpc   127.0.0.1:%d+  connected  %d+%.%d%d ms\n$", s.printed())
  end)

  it("that is not there is told at once", function()
    local s = open()
    assert.matches("^cannot connect to 127.0.0.1:1: Connection refused", select(2, pcall(s.eval, "peer '127.0.0.1:1'")))
    s.eval "peers()"
    assert.matches("^no peers; ", s.printed())
  end)
end)

describe("a raw connection at the prompt", function()
  it("sends, reads, and says when the other side is gone", function()
    local conns = {}
    local server = assert(tcp_server.listen("127.0.0.1", 0, {
      on_connect = function(conn)
        conns[#conns + 1] = conn
      end,
      on_read = function(conn, data)
        conn:write(data)
      end,
    }))
    cleanup.add(function()
      server:close()
    end)
    local s = open()
    s.eval(("t = tcp '127.0.0.1:%d'"):format(select(2, server:sock())))
    assert.equal("true", s.eval "t:send 'one\\r\\ntwo'")
    assert.equal('"one", "two"', s.eval "t:line(), t:read(3)")
    assert.equal('nil, "timed out", "ETIMEDOUT"', s.eval "t:read(1, 0.01)")
    refused("send: a string is needed, got a number", s, "t:send(5)")
    conns[1]:close()
    assert.equal("nil", s.eval "t:read()")
    assert.matches("ended by the other side", s.eval "tostring(t)")
    s.eval "t:connect(); t:send 'again\\n'"
    assert.equal('"again"', s.eval "t:line()")
    s.eval "t:close()"
    assert.matches("closed", s.eval "tostring(t)")
  end)
end)

describe("several peers", function()
  it("are listed by name, with state and latency, and called at the same time", function()
    local one, two, s = redis.server(), redis.server(), open()
    local _, address = kit.serve { ping = function() return "pong" end }
    s.eval(("r = redis(%d); redis(%d, { name = 'other' }); n = peer '%s'; t = tcp(%d)"):format(
      one.port, two.port, address, one.port))
    s.eval "peers()"
    local rows = {}
    for line in s.printed():gmatch "[^\n]+" do
      rows[#rows + 1] = line
    end
    assert.equal(5, #rows)
    assert.matches("^NAME   KIND   ADDRESS          STATE      LATENCY$", rows[1])
    assert.matches("^r      redis  127.0.0.1:%d+  connected  %d+%.%d%d ms$", rows[2])
    assert.matches("^other  redis  127.0.0.1:%d+  connected  %d+%.%d%d ms$", rows[3])
    assert.matches("^n      rpc    127.0.0.1:%d+  connected  %d+%.%d%d ms$", rows[4])
    assert.matches("^t      tcp    127.0.0.1:%d+  connected  %d+%.%d%d ms$", rows[5])

    local before = #s.printed()
    s.eval "broadcast(function(p, name) if name == 't' then error 'raw' end return p:ping(), name end)"
    local printed = s.printed():sub(before + 1)
    assert.matches('\nr      %d+%.%d%d ms  "PONG", "r"\n', printed)
    assert.matches('\nother  %d+%.%d%d ms  "PONG", "other"\n', printed)
    assert.matches('\nn      %d+%.%d%d ms  "pong", "n"\n', printed)
    assert.matches("\nt      %d+%.%d%d ms  error: prompt:1: raw\n$", printed)

    one.process:kill "KILL"
    wait.till(function()
      return s.printed():find "redis r: the connection was lost"
    end)
    before = #s.printed()
    s.eval "peers()"
    printed = s.printed():sub(before + 1)
    assert.matches("\nr      redis  127.0.0.1:%d+  %a+ +%-\n", printed)
    refused("broadcast: a function is needed, as in broadcast(function(p) return p:ping() end)", s, "broadcast()")
    s.eval "r:close()"
    before = #s.printed()
    s.eval "peers()"
    assert.is_nil(s.printed():find("\nr  ", before, true))
  end)
end)
