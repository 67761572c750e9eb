local command = require "lunode.kv.command"
local kv = require "lunode.kv"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local redis = require "spec.support.redis"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"
local logged = require "lunode.kv.logged"

describe("a node", function()
  local node, dir

  local function start(options)
    options = options or {}
    options.dir, options.port = dir, 0
    node = assert(kv.start(options))
  end

  local function close()
    node:close()
    wait.till(function()
      return node.closed
    end, 10, "the node to close")
  end

  before_each(function()
    dir = tmp.dir() .. "/data"
  end)

  after_each(function()
    if node and not node.closed then
      close()
    end
    node = nil
  end)

  it("serves clients, and has their writes after a restart", function()
    start { sync = "always" }
    local client = redis.connect(node.host, node.port)
    assert.same({ ok = "OK" }, client:call("SET", "a", "1"))
    assert.equal("1", client:call("GET", "a"))
    close()
    client:wait_closed()
    start()
    assert.equal("1", redis.connect(node.host, node.port):call("GET", "a"))
  end)

  it("makes the writes of one turn one entry of the log, on disk before the replies leave", function()
    start { sync = "always" }
    local client = redis.connect(node.host, node.port)
    client:call("PING")
    local log = node.replica.log
    local before = log:last()
    local commands = {}
    for i = 1, 10 do
      commands[i] = { "SET", "key" .. i, "x" }
    end
    client:pipeline(commands)
    assert.equal(before + 1, log:last())
    assert.equal(log:last(), log:synced())
  end)

  it("stops where it cannot write, and lets no reply to a lost write leave", function()
    local told, sink = {}, logger.sink
    logger.sink = function(level, text)
      told[#told + 1] = level .. " " .. text
    end
    start()
    local client = redis.connect(node.host, node.port)
    client:call("PING")
    local log = node.replica.log
    node.replica.log = setmetatable({
      flush = function()
        return nil, "cannot write: Input/output error", "EIO"
      end,
    }, { __index = function(_, name)
      return function(_, ...)
        return log[name](log, ...)
      end
    end })
    client:send("SET a 1\r\nGET a\r\n")
    client:wait_closed()
    logger.sink = sink
    assert.equal("", client:bytes())
    assert.equal("cannot write: Input/output error", node.failed)
    assert.equal(1, #told)
    assert.matches("^error the node stops: cannot write: Input/output error. Every", told[1])
    close()
  end)

  for _, sync in ipairs { "always", "no" } do
    it("that is closed in the turn of a write keeps it, --sync " .. sync, function()
      logged.add("spec.touch", function(ctx)
        ctx.db:set("touched", (ctx.db:get("touched") or "") .. "1")
      end)
      start { sync = sync }
      node:read_clock()
      node.writes:internal("spec.touch")
      node:commit()
      node:read_clock()
      node.writes:internal("spec.touch")
      close()
      assert.is_nil(node.failed)
      start()
      assert.equal("11", redis.connect(node.host, node.port):call("GET", "touched"))
    end)
  end

  it("counts bytes, also of clients that have left, and commands a second, from zero at CONFIG RESETSTAT", function()
    start()
    local client = redis.connect(node.host, node.port)
    local function field(name)
      return tonumber(client:call("INFO", "stats"):match("\n" .. name .. ":(%d+)"))
    end
    local other = redis.connect(node.host, node.port)
    other:call("SET", "large", ("x"):rep(100000))
    other:call("GET", "large")
    other:close()
    wait.till(function()
      return node.stats.clients == 1
    end)
    for _, name in ipairs { "total_net_input_bytes", "total_net_output_bytes" } do
      local bytes = field(name)
      assert.is_true(bytes > 100000 and bytes < 110000, name .. " is " .. bytes)
    end
    wait.till(function() -- each look is a command
      return field "instantaneous_ops_per_sec" > 0
    end)
    client:call("CONFIG", "RESETSTAT")
    for _, name in ipairs { "total_net_input_bytes", "total_net_output_bytes", "instantaneous_ops_per_sec" } do
      assert.is_true(field(name) < 5000, name)
    end
  end)

  it("turns away those past maxclients", function()
    start { maxclients = 1 }
    local first = redis.connect(node.host, node.port)
    assert.same({ ok = "PONG" }, first:call("PING"))
    local second = redis.connect(node.host, node.port)
    second:wait_closed()
    assert.equal("-ERR max number of clients reached\r\n", second:bytes())
    assert.same({ ok = "PONG" }, first:call("PING"))
    first:close()
    wait.till(function()
      return node.stats.clients == 0
    end)
    assert.same({ ok = "PONG" }, redis.connect(node.host, node.port):call("PING"))
  end)

  it("refuses malformed input in Redis's words, and closes that connection only", function()
    start()
    local good, bad = redis.connect(node.host, node.port), redis.connect(node.host, node.port)
    bad:send("*1\r\n+PING\r\n")
    bad:wait_closed()
    assert.equal("-ERR Protocol error: expected '$', got '+'\r\n", bad:bytes())
    assert.same({ ok = "PONG" }, good:call("PING"))
  end)

  it("lets keys expire in the background", function()
    start()
    local client = redis.connect(node.host, node.port)
    client:call("SET", "a", "1", "PX", "1")
    client:call("SET", "b", "1")
    wait.till(function()
      return node.db.keys == 1
    end, 10, "the key to expire")
    assert.equal(0, node.db.expires)
  end)

  it("ends by SHUTDOWN without a reply", function()
    start()
    local client = redis.connect(node.host, node.port)
    client:call("SET", "a", "1")
    client:send("SHUTDOWN\r\n")
    client:wait_closed()
    assert.equal("", client:bytes())
    wait.till(function()
      return node.closed
    end)
  end)

  it("runs a user's command beside its own", function()
    command.command("SPEC.SWAP", { arity = 3, flags = { "write" }, replace = true, run = function(ctx, a, b)
      local x, y = ctx.db:get(a), ctx.db:get(b)
      ctx.db:set(a, y or "")
      ctx.db:set(b, x or "")
      return { y, x }
    end })
    start()
    local client = redis.connect(node.host, node.port)
    client:call("MSET", "a", "1", "b", "2")
    assert.same({ "2", "1" }, client:call("SPEC.SWAP", "a", "b"))
    assert.same({ "2", "1" }, client:call("MGET", "a", "b"))
  end)

  it("sets many keys at once, whatever they held", function()
    start()
    local client = redis.connect(node.host, node.port)
    client:call("RPUSH", "list", "x")
    client:call("SET", "timed", "1", "EX", "100")
    assert.same({ ok = "OK" }, client:call("MSET", "a", "1", "list", "2", "b", "", "timed", "3", "a", "4"))
    assert.same({ "4", "2", "", "3" }, client:call("MGET", "a", "list", "b", "timed"))
    assert.equal(-1, client:call("TTL", "timed"))
    assert.equal(4, client:call("DBSIZE"))
    assert.matches("wrong number of arguments for 'mset'", client:call("MSET", "a", "5", "c").err)
    assert.equal("4", client:call("GET", "a"))
    local words, names = {}, {}
    for i = 1, 40 do -- 62 words take the short way, those of 80 the long one
      words[2 * i - 1], words[2 * i], names[i] = "k" .. i, "v" .. i, "k" .. i
    end
    for _, count in ipairs { 31, 32, 40 } do
      client:call("MSET", table.unpack(words, 1, 2 * count))
      local values = client:call("MGET", table.unpack(names, 1, count))
      assert.equal("v" .. count, values[count])
      assert.equal(4 + count, client:call("DBSIZE"))
    end
    close() -- and again from the log
    start()
    client = redis.connect(node.host, node.port)
    assert.equal(44, client:call("DBSIZE"))
    assert.same({ "4", "2", "", "3", "v40" }, client:call("MGET", "a", "list", "b", "timed", "k40"))
  end)

  it("says in one line why it cannot start", function()
    start()
    local none, err, code = kv.start { dir = tmp.dir() .. "/other", port = node.port }
    assert.is_nil(none)
    assert.equal("EADDRINUSE", code)
    assert.matches("^cannot listen on 127.0.0.1 port %d+: .+; end that, or choose another port$", err)
    none, err, code = kv.start { dir = dir, port = 0 }
    assert.is_nil(none)
    assert.equal("ELOCKED", code)
    assert.is_nil(err:find("\n"))
  end)

  it("raises where it is started wrongly", function()
    for _, case in ipairs {
      { "unknown option prot", { dir = dir, prot = 1 } },
      { "dir is missing", {} },
      { "port must be a number, not a string", { dir = dir, port = "1" } },
      { 'sync must be "always", "everysec" or "no", not "never"', { dir = dir, sync = "never" } },
      { "maxclients must be an integer from 1", { dir = dir, maxclients = 0 } },
    } do
      local ok, err = pcall(kv.start, case[2])
      assert.is_false(ok)
      assert.matches(case[1], err, 1, true)
    end
  end)

  it("keeps the loop alive only while it runs", function()
    start()
    close()
    assert.is_false(loop.step())
  end)
end)
