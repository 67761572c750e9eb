local lunode = require "spec.support.lunode"
local redis = require "spec.support.redis"
local tcp_server = require "lunode.tcp_server"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

describe("lunode kv", function()
  local dir

  before_each(function()
    dir = tmp.dir()
  end)

  local function words_of(words, env)
    local all = { "kv", env = env, cwd = dir }
    for _, word in ipairs(words) do
      all[#all + 1] = word
    end
    return all
  end

  -- Starts it on a port that the kernel chooses. Returns the process, and the host and port that it tells.
  local function start(words, env)
    local p = lunode.start(words_of(words, env))
    wait.till(function()
      return p:stdout():find("\ntry: [^\n]*\n") or not p:is_alive()
    end, 20, "the node to start")
    local host, port = p:stdout():match("listens on %[?([%x.:]-)%]?:(%d+), ")
    assert.is_truthy(host, p:stderr())
    return p, host, tonumber(port)
  end

  local function refused(code, pattern, words, env)
    local exit, out, err = lunode.run(words_of(words, env))
    assert.same({ code, "" }, { exit, out })
    assert.is_truthy(err:find(pattern), err)
    assert.is_truthy(err:find("^lunode: [^\n]+\n$"), err) -- one line
  end

  it("tells its address, where its data is, and a line to try that works", function()
    local p, host, port = start { "--listen", "127.0.0.1:0" }
    assert.is_truthy(p:stdout():find("listens on 127.0.0.1:" .. port .. ", data in ./data, sync everysec\n", 1, true))
    local line = p:stdout():match("\ntry: ([^\n]+)\n")
    local shell = assert(io.popen(line .. " 2>&1", "r"))
    assert.equal("OK\n", shell:read("a"))
    shell:close()
    local client = redis.connect(host, port)
    assert.equal("hello", client:call("GET", "greeting"))
    client:close()
    p:kill("TERM")
    assert.equal(0, p:wait())
  end)

  it("ends in good order at SIGTERM and SIGINT, and keeps what was written", function()
    for _, signal in ipairs { "TERM", "INT" } do
      local p, host, port = start { "--listen", "127.0.0.1:0", "--sync=no" }
      local client = redis.connect(host, port)
      assert.same({ ok = "OK" }, client:call("SET", signal, "kept"))
      p:kill(signal)
      client:wait_closed()
      assert.equal(0, p:wait(), p:stderr())
      assert.is_truthy(p:stderr():find("Z info SIG" .. signal .. ": "), p:stderr())
    end
    local _, host, port = start { "--listen", "127.0.0.1:0" }
    assert.same({ "kept", "kept" }, redis.connect(host, port):call("MGET", "TERM", "INT"))
  end)

  it("ends at once at a second SIGINT, though a client does not take its replies", function()
    local p, host, port = start { "--listen", "127.0.0.1:0" }
    local client = redis.connect(host, port)
    client:call("SET", "big", ("x"):rep(8000000))
    client.conn:pause()
    client:send(("GET big\r\n"):rep(10) .. "PING\r\n")
    local other = redis.connect(host, port)
    wait.till(function()
      return other:call("CLIENT", "LIST"):find("cmd=get ", 1, true)
    end, 10, "the first GET")
    p:kill("INT")
    wait.till(function()
      return p:stderr():find("SIGINT", 1, true)
    end, 10, "the first SIGINT")
    assert.is_true(p:is_alive())
    p:kill("INT")
    assert.equal(130, p:wait(20)) -- the first SIGINT alone ends it with 0
  end)

  it("takes its settings from the option, else the variable, else the file", function()
    local config = tmp.write(dir .. "/node.lua", 'listen = "127.0.0.1:0"\nmaxclients = 11\nsync = "always"\ndata = "d"')
    local env = { LUNODE_SYNC = "everysec", LUNODE_DATA = "v" }
    local p, host, port = start({ "--config", config, "--sync=no" }, env)
    assert.is_truthy(p:stdout():find("data in v, sync no\n", 1, true), p:stdout())
    assert.same({ "maxclients", "11" }, redis.connect(host, port):call("CONFIG", "GET", "maxclients"))
  end)

  it("asks for the password that it was given", function()
    local p, host, port = start({ "--listen", "127.0.0.1:0" }, { LUNODE_REQUIREPASS = "secret" })
    assert.is_truthy(p:stdout():find(" --askpass set greeting hello\n", 1, true), p:stdout())
    assert.is_nil((p:stdout() .. p:stderr()):find("secret", 1, true))
    local client = redis.connect(host, port)
    assert.is_truthy(client:call("PING").err:find("^NOAUTH "))
    assert.same({ ok = "OK" }, client:call("AUTH", "secret"))
    assert.same({ ok = "PONG" }, client:call("PING"))
  end)

  it("listens on IPv6", function()
    local server, err = tcp_server.listen("::1", 0, {})
    if not server then
      pending("no IPv6 here: " .. err)
      return
    end
    server:close()
    local _, host, port = start { "--listen", "[::1]:0" }
    assert.equal("::1", host)
    assert.same({ ok = "PONG" }, redis.connect(host, port):call("PING"))
  end)

  it("names the address that is in use and the option to choose another, and exits 1", function()
    local _, host, port = start { "--listen", "127.0.0.1:0" }
    local address = host .. ":" .. port
    local pattern = ("cannot listen on %s port %d: .*%%-%%-listen"):format(host, port)
    refused(1, pattern, { "--listen", address, "--data", "other" })
  end)

  it("names the data directory that another process has, and exits 1", function()
    local data = dir .. "/taken"
    start { "--listen", "127.0.0.1:0", "--data", data }
    refused(1, "taken is in use by process %d+; ", { "--listen", "127.0.0.1:0", "--data", data })
  end)

  it("does not touch a directory that holds something else, and exits 1", function()
    local data = tmp.dir()
    tmp.write(data .. "/letter.txt", "dear")
    refused(1, "is not empty %(it holds letter.txt%)", { "--listen", "127.0.0.1:0", "--data", data })
    local pipe = assert(io.popen("ls -A " .. tmp.quote(data), "r"))
    assert.equal("letter.txt\n", pipe:read("a"))
    pipe:close()
  end)

  it("says which setting is wrong, and exits 2", function()
    refused(2, "unknown option %-%-lsiten; did you mean %-%-listen%?", { "--lsiten", "127.0.0.1:0" })
    refused(2, "unknown option %-%-port; %-%-listen HOST:PORT is for that", { "--port", "7000" })
    refused(2, "unknown option %-%-appendfsync; %-%-sync WHEN is for that", { "--appendfsync=always" })
    refused(2, '%-%-sync: "sometimes" is not acceptable; give one of always, everysec, no', { "--sync", "sometimes" })
    refused(2, 'LUNODE_MAXCLIENTS: "0" is not', {}, { LUNODE_MAXCLIENTS = "0" })
    local config = tmp.write(dir .. "/bad.lua", "\nlog_levle = 'debug'")
    refused(2, "bad.lua:2: unknown key log_levle; did you mean log_level%?", { "--config", config })
  end)

  it("exits 1 for a config file that cannot be read or run", function()
    refused(1, "config file: /none: No such file", { "--config", "/none" })
    local of_redis = tmp.write(dir .. "/redis.conf", "# ours\nport 7000\n")
    refused(1, "redis%.conf:1: .*; its lines are as in: listen = \"127%.0%.0%.1:7000\"", { "--config", of_redis })
    local config = tmp.write(dir .. "/while.lua", "while true do end")
    refused(1, "while%.lua:1: it runs for too long", { "--config", config })
    assert.is_nil(tmp.read(dir .. "/data/CURRENT"))
  end)

  it("takes more descriptors than the soft limit gives, and says how many clients the hard one leaves", function()
    local function said(limits)
      local p = lunode.start { "kv", "--listen", "127.0.0.1:0", "--data", tmp.dir() .. "/data", "--maxclients", "400",
        wrapper = { "prlimit", "--nofile=" .. limits } }
      wait.till(function()
        return p:stdout():find("lunode kv listens on", 1, true) or not p:is_alive()
      end, 20, "the node to start")
      return p:stderr()
    end
    assert.equal("", said "100:1000")
    local expected = "warn the system gives 300 descriptors, which is enough for 236 clients, not 400; raise "
      .. "`ulimit -Hn`\n"
    assert.matches(expected, said "100:300", 1, true)
  end)

  it("warns of a variable that is probably misspelt, and ignores others", function()
    local env = { LUNODE_LISTNE = "127.0.0.1:1", LUNODE_OF_MINE = "x" }
    local p = start({ "--listen", "127.0.0.1:0" }, env)
    local expected = "Z warn the variable LUNODE_LISTNE is not known and not used; is LUNODE_LISTEN meant?\n"
    assert.is_truthy(p:stderr():find(expected, 1, true), p:stderr())
    assert.is_nil(p:stderr():find("LUNODE_OF_MINE", 1, true))
    assert.is_truthy(p:stderr():find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ warn "))
  end)
end)
