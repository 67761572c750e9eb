-- Attaching to a running node: through its console, with its objects at hand, while it goes on serving.

local kit = require "spec.rpc.kit"
local lunode = require "spec.support.lunode"
local msgpack = require "lunode.msgpack"
local process = require "lunode.test.process"
local rpc = require "lunode.rpc"
local tcp_client = require "lunode.tcp_client"
local terminal = require "spec.support.terminal"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"
local cleanup = require "lunode.test.cleanup"

local function attach(node, ...)
  return lunode.run { "attach", node.dir, ... }
end

local function evaluate(node, code, ...)
  local status, out, err = attach(node, "-e", code, ...)
  assert.equal("", err)
  assert.equal(0, status)
  return out
end

local function console_peer(node)
  return kit.peer("unix:" .. node.dir .. "/console.sock", { methods = { print = function() end } })
end

describe("attach", function()
  it("evaluates in the node, which logs who did what, and how it ended", function()
    local node = lunode.kv()
    local client = node:client()
    client:call("SET", "greeting", "hello")
    assert.equal(('%d, "hello", 1\n'):format(node.port), evaluate(node, 'node.port, db:get "greeting", #sessions()'))
    local status, out, err = attach(node, "-e", "nothing.here")
    assert.same({ 1, "" }, { status, out })
    assert.equal("prompt:1: attempt to index a nil value (global 'nothing')\n", err)
    local log = node.process:stderr()
    local who = "console: pid %d+ uid %d+"
    assert.matches(who .. ' evaluates: node.port, db:get "greeting", #sessions%(%)\n', log)
    assert.matches(who .. ": ok after %d+%.%d ms\n", log)
    assert.matches(who .. " evaluates: nothing.here\n", log)
    assert.matches(who .. ": error after ", log)
    evaluate(node, "secret_password = 'hush\27'")
    evaluate(node, "x = '\27[2J'")
    log = node.process:stderr()
    assert.is_nil(log:find("hush", 1, true))
    assert.is_nil(log:find("\27", 1, true))
    assert.equal(0, node:stop())
    assert.is_nil(tmp.read(node.dir .. "/console.sock"))
  end)

  it("finds a socket that is for its user alone, or none at all", function()
    local node = lunode.kv()
    local path = node.dir .. "/console.sock"
    local _, mode = process.run { "stat", "-c", "%a %F", path }
    assert.equal("600 socket\n", mode)
    assert.equal('"1"\n', select(2, lunode.run { "attach", "unix:" .. path, "-e", "'1'" }))
    assert.equal('"1"\n', select(2, lunode.run { "attach", path, "-e", "'1'" }))
    node:stop()
    local other = lunode.kv { "--console", node.dir .. "/other.sock" }
    assert.equal("1\n", select(2, lunode.run { "attach", node.dir .. "/other.sock", "-e", "1" }))
    other:stop()
    local without = lunode.kv { "--no-console" }
    local status, _, err = attach(without, "-e", "1")
    assert.equal(1, status)
    assert.equal(("lunode: there is no console at %s/console.sock: is the node running, and not with --no-console?\n")
      :format(without.dir), err)
  end)

  it("survives its node's kill -9, and the node finds its socket again", function()
    local node = lunode.kv()
    node:kill9()
    local status, _, err = attach(node, "-e", "1")
    assert.equal(1, status)
    assert.equal(("lunode: nobody listens at %s/console.sock: the node that made it has ended\n"):format(node.dir), err)
    node:start()
    assert.equal("1\n", evaluate(node, "1"))
  end)

  it("says in one line what else is wrong", function()
    local dir = tmp.dir()
    local function said(word)
      local status, out, err = lunode.run { "attach", word, "-e", "1" }
      assert.same({ 1, "" }, { status, out })
      assert.matches("^lunode: [^\n]*\n$", err)
      return err
    end
    tmp.write(dir .. "/file.sock", "text")
    assert.matches("file.sock is not a console's socket", said(dir .. "/file.sock"))
    assert.matches("there is no console at .*/nowhere/console.sock", said(dir .. "/nowhere"))
    assert.matches("at most 107 bytes", said(dir .. "/" .. ("d"):rep(120)))
    local redis = process.start { "redis-server", "--port", "0", "--unixsocket", dir .. "/redis.sock", "--dir", dir }
    wait.till(function()
      return process.run { "test", "-S", dir .. "/redis.sock" } == 0
    end)
    assert.matches("nobody answers at .*redis.sock: .* or that is not a console", said(dir .. "/redis.sock"))
    redis:kill "TERM"
    assert.equal(2, (lunode.run { "attach", "a", "b" }))
    assert.equal(2, (lunode.run { "attach", "--timeout", "0" }))
    assert.equal(2, (lunode.run { "attach", "--nope" }))
  end)

  it("tells a node of another version, and one that it may not ask", function()
    local dir = tmp.dir()
    local server = assert(rpc.serve("unix:" .. dir .. "/new.sock", {
      ["console.hello"] = function() return { version = 2, lunode = "9.9\27" } end,
    }))
    cleanup.add(function()
      server:close()
    end)
    local attached = lunode.start { "attach", dir .. "/new.sock", "-e", "1" }
    assert.equal(1, attached:wait())
    assert.matches("%(lunode 9.9\\x1b%) speaks version 2 of the console's protocol, and this lunode version 1",
      attached:stderr())
    if process.run { "sh", "-c", "test $(id -u) = 0" } == 0 then
      os.execute(("chmod 755 %s; chmod 600 %s/new.sock"):format(tmp.quote(dir), tmp.quote(dir)))
      local status, _, err = lunode.run {
        "attach", dir .. "/new.sock", "-e", "1", wrapper = { "setpriv", "--reuid=65534", "--clear-groups" },
      }
      assert.equal(1, status)
      assert.matches("no permission for .*new.sock", err)
    end
  end)

  it("ends what takes too long, and the node goes on serving", function()
    local node = lunode.kv()
    local client = node:client()
    for code, message in pairs {
      ["while true do end"] = "ran for [%d.]+ s without waiting; the limit is 1.0 s",
      ["while true do pcall(function() while true do end end) end"] = "ran for [%d.]+ s without waiting",
      ["task.sleep(1000)"] = "timed out: it took longer than 2 s",
    } do
      local status, _, err = attach(node, "--timeout", "2", "-e", code)
      assert.equal(1, status)
      assert.matches(message, err)
      assert.equal("PONG", client:call("PING").ok)
    end
    attach(node, "-e", "task.spawn(function() while true do end end)")
    attach(node, "-e", "loop.timer(0, function() while true do end end)")
    assert.equal("PONG", client:call("PING").ok)
    wait.till(function()
      return select(2, node.process:stderr():gsub("error prompt:1: ran for", "")) == 2
    end)
    assert.equal(0, node:stop())
  end)

  it("keeps the globals of its clients apart, and shows each its own output", function()
    local node = lunode.kv()
    local one = lunode.start { "attach", node.dir, stdin = "x = 1\nprint('one', x)\ntask.sleep(0.05); print 'late'\nx" }
    local two = lunode.start { "attach", node.dir, stdin = "x\nprint('two', x)\n_G.shared = 7" }
    assert.same({ 0, 0 }, { one:wait(), two:wait() })
    assert.equal("one\t1\nlate\n1\n", one:stdout())
    assert.equal("nil\ntwo\tnil\n", two:stdout())
    assert.equal("7, nil\n", evaluate(node, "shared, x"))
  end)

  it("gives results as JSON to programs, and codes that tell", function()
    local node = lunode.kv()
    local status, out, err = attach(node, "--format", "json", "-e", "{ port = node.port }, nil", "-e", "error 'no'")
    assert.equal(1, status)
    assert.equal(('{"port":%d}\nnull\n'):format(node.port), out)
    assert.equal('{"error":"prompt:1: no","status":"error"}\n', err)
    local file = tmp.write(tmp.dir() .. "/code.lua", "#!/usr/bin/lunode\nlocal a = 1\nreturn a + 1\n")
    assert.equal("2\n", select(2, attach(node, "-f", file)))
    status, out, err = attach(node, "-f", file .. ".none")
    assert.same({ 1, "" }, { status, out })
    assert.matches("No such file", err)
  end)

  it("is bounded: output without end, results without measure", function()
    local node = lunode.kv()
    local code = "for _ = 1, 300 do print(('x'):rep(10000)) end; task.sleep(0.1)"
    local _, out, dropped = attach(node, "-e", code)
    assert.matches("^… %d+ bytes of output were dropped: they came faster than they were read\n$", dropped)
    assert.is_true(#out < 20 << 20)
    local rss = tonumber(tmp.read("/proc/" .. node.process.pid .. "/status"):match "VmRSS:%s*(%d+)")
    assert.is_true(rss < 400 * 1024, rss) -- under ASan, whose freed memory waits
    local status, nothing, err = attach(node, "--format", "json", "-e", "('x'):rep(20 << 20)")
    assert.same({ 1, "" }, { status, nothing })
    assert.matches("longer than 8388608 bytes as JSON", err)
    status, nothing, err = attach(node, "-e", "x = '" .. ("y"):rep(100000) .. "'", "-e", "#x")
    assert.same({ 0, "100000\n", "" }, { status, nothing, err })
  end)

  it("sees the end of the node, and says so", function()
    local node = lunode.kv()
    local t = terminal.start { lunode.bin, "attach", node.dir }
    t:wait(("127.0.0.1:%d>"):format(node.port))
    node:kill9()
    t:wait "the node has gone"
    assert.equal(1, t:ended())
  end)

  it("is the same prompt: completion inside of the node, Ctrl-C, values drawn safely", function()
    local node = lunode.kv()
    local t = terminal.start { lunode.bin, "attach", node.dir }
    t:wait(">")
    t:type "sess"
    t:key "Tab"
    t:wait "sessions("
    t:type ")"
    t:key "Enter"
    t:wait "{}"
    t:type "node.maxc"
    t:key "Tab"
    t:key "Enter"
    t:wait "\n10000\n"
    t:run "print('before \\27[31m\\27[2J after')"
    t:wait "before \\x1b[2J after" -- the colour may pass, the rest may not
    t:run "print 'on'; task.sleep(1000)"
    t:wait "\non\n"
    t:key "C-c"
    t:wait "interrupted\n"
    t:run "1 + 1"
    t:wait "\n2\n"
    wait.till(function()
      return node.process:stderr():find("interrupted after", 1, true)
    end)
    t:key "C-d"
    assert.equal(0, t:ended())
  end)
end)

describe("a console", function()
  it("outlives peers without manners", function()
    local node = lunode.kv()
    local path = "unix:" .. node.dir .. "/console.sock"
    local closed = 0
    local function raw(bytes)
      local conn = tcp_client.connect(path, nil, {
        on_close = function()
          closed = closed + 1
        end,
      })
      conn:write(bytes)
      return conn
    end
    local all = {
      "\0\1\2\255binary", "PING\r\n", msgpack.encode { 0, 1, "eval", { "1" } }:sub(1, 5),
      msgpack.encode { 0, 1, "eval", {} }, msgpack.encode { 0, 1, "eval", { "1 + 1" } },
      msgpack.encode { 0, 1, "console.hello", {} } .. msgpack.encode { 0, 2, "eval", { { "no code" } } },
      msgpack.encode { 0, 1, "console.hello", { 5 } } .. msgpack.encode { 0, 2, "eval", { "1", { width = "x" } } },
      msgpack.encode { 0, 1, "console.hello", {} } .. msgpack.encode { 0, 2, "complete", { 5 } },
      msgpack.encode { 2, "eval", { "1" } }, "\xdb\xff\xff\xff\xff", ("x"):rep(1 << 20),
      msgpack.encode { 0, 1, "eval", { ("y"):rep(3 << 20) } },
    }
    local conns = {}
    for i, bytes in ipairs(all) do
      conns[i] = raw(bytes)
      cleanup.add(function()
        conns[i]:abort()
      end)
    end
    wait.till(function()
      return closed >= 4
    end, 10, "those who break the protocol to be closed")
    for _, conn in ipairs(conns) do
      conn:abort()
    end
    assert.equal("2\n", evaluate(node, "1 + 1"))
    assert.equal("PONG", node:client():call("PING").ok)
  end)

  it("lets nobody evaluate before the hello, and cancels what nobody waits for", function()
    local node = lunode.kv()
    local peer = console_peer(node)
    local _, err = peer:call("eval", { "1" })
    assert.equal("EPROTO", err.code)
    assert.equal(1, peer:call("console.hello", { { version = 1 } }).version)
    assert.same({ status = "ok", text = "2" }, peer:call("eval", { "1 + 1", { width = -5, timeout = "soon" } }))
    local call = peer:call("eval", { "task.sleep(1000)", { timeout = 3600 } }, { callback = function() end })
    wait.till(function()
      return node.process:stderr():find("evaluates: task.sleep", 1, true)
    end)
    call:cancel()
    wait.till(function()
      return node.process:stderr():find("interrupted after", 1, true)
    end)
  end)

  it("takes sixteen clients, and more once some have gone", function()
    local node = lunode.kv()
    local peers = {}
    for i = 1, 16 do
      peers[i] = console_peer(node)
      assert.equal(1, peers[i]:call("console.hello", { { version = 1 } }).version)
    end
    local late = console_peer(node)
    local _, err = late:call("console.hello", {}, { timeout = 0.1 })
    assert.equal("ETIMEDOUT", err.code)
    peers[1]:close()
    assert.equal(1, late:call("console.hello", { { version = 1 } }).version)
  end)

  it("can be had by scripts", function()
    local dir = tmp.dir()
    local script = tmp.write(dir .. "/script.lua", [[
      local repl = require "lunode.repl"
      local console
      local objects = { answer = 42, stop = function() console:close() end }
      console = assert(repl.listen(arg[1], objects, { name = "mine" }))
      assert(not pcall(repl.listen, nil))
      local second, err, code = repl.listen(arg[1])
      print("listening", second, code)
    ]])
    local node = lunode.start { "run", script, dir .. "/c.sock" }
    wait.till(function()
      return node:stdout() == "listening\tnil\tEADDRINUSE\n"
    end)
    assert.equal("42\n", select(2, lunode.run { "attach", dir .. "/c.sock", "-e", "answer" }))
    lunode.run { "attach", dir .. "/c.sock", "-e", "stop()" }
    assert.equal(0, node:wait())
  end)

  it("is loaded with its first client only", function()
    local node = lunode.kv()
    assert.equal("false\n", evaluate(node, "package.loaded['lunode.edit'] ~= nil"))
    local script = [[
      local console = assert(require("lunode.repl.console").listen(arg[1]))
      for name in pairs(package.loaded) do
        assert(not name:find "^lunode.rpc" and not name:find "^lunode.task" and name ~= "lunode.repl.session", name)
      end
      console:close()]]
    local dir = tmp.dir()
    local status, _, err = lunode.run { "run", tmp.write(dir .. "/s.lua", script), dir .. "/c" }
    assert.same({ 0, "" }, { status, err })
  end)

  it("does not keep a node from starting where it cannot be opened, unless it was asked for", function()
    local dir = tmp.dir() .. "/" .. ("d"):rep(90)
    local node = lunode.kv { dir = dir }
    assert.matches("warn there is no console: ", node.process:stderr())
    assert.equal("PONG", node:client():call("PING").ok)
    assert.equal(0, node:stop())
    local status, _, err = lunode.run {
      "kv", "--listen", "127.0.0.1:0", "--data", tmp.dir() .. "/data", "--console", "/nowhere/at/all.sock",
    }
    assert.equal(1, status)
    assert.matches("^lunode: there is no console: [^\n]*%(%-%-console PATH, %-%-no%-console%)\n$", err)
  end)
end)
