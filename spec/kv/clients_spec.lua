-- The clients that people have: redis-cli and redis-benchmark against the node, each command line run to its end.

local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local resp = require "lunode.resp"

local node

-- Runs redis-cli with these words; it must succeed. Its output.
local function cli(options)
  local words = { "redis-cli", "-h", node.host, "-p", tostring(node.port), stdin = options.stdin }
  table.move(options, 1, #options, #words + 1, words)
  local code, out, err = process.run(words)
  assert.equal("", err)
  assert.equal(0, code, out)
  return out
end

local function sorted_lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    list[#list + 1] = line
  end
  table.sort(list)
  return list
end

describe("redis-cli", function()
  before_each(function()
    node = lunode.kv()
  end)

  it("sets and gets", function()
    assert.equal("OK\n", cli { "SET", "greeting", "hello world" })
    assert.equal("hello world\n", cli { "GET", "greeting" })
    assert.equal("\n", cli { "GET", "nothing" })
    assert.equal("1\n", cli { "DEL", "greeting" })
    assert.equal("PONG\n", cli { "PING" })
  end)

  it("shows values raw, and types as a terminal does", function()
    assert.equal("OK\n", cli { "-x", "SET", "bytes", stdin = "a\r\n\0\xff" })
    assert.equal("a\r\n\0\xff\n", cli { "--raw", "GET", "bytes" })
    assert.equal('"a\\r\\n\\x00\\xff"\n', cli { "--no-raw", "GET", "bytes" })
    assert.equal("(integer) 5\n", cli { "--no-raw", "STRLEN", "bytes" })
    assert.equal("(nil)\n", cli { "--no-raw", "GET", "nothing" })
    assert.equal('1) "a\\r\\n\\x00\\xff"\n2) (nil)\n', cli { "--no-raw", "MGET", "bytes", "nothing" })
    cli { "MSET", "x", "1", "y", "2" }
    assert.equal('"1","2"\n', cli { "--csv", "MGET", "x", "y" })
  end)

  it("speaks RESP3", function()
    assert.is_truthy(cli { "-3", "--no-raw", "HELLO" }:find('"proto" => (integer) 3', 1, true))
    assert.is_truthy(cli { "-3", "--no-raw", "CONFIG", "GET", "timeout" }:find('1# "timeout" => "0"', 1, true))
    assert.equal("(nil)\n", cli { "-3", "--no-raw", "GET", "nothing" })
  end)

  it("reads commands from its standard input, and tells of errors there", function()
    local out = cli { stdin = "SET n 41\nINCR n\nINCR\nset s 'two words'\nGET s\nINCR s\n" }
    assert.equal("OK\n42\nERR wrong number of arguments for 'incr' command\n\nOK\ntwo words\n"
      .. "ERR value is not an integer or out of range\n\n", out)
  end)

  it("scans for keys", function()
    local words = { "MSET" }
    for i = 1, 300 do
      words[#words + 1], words[#words + 2] = "key:" .. i, tostring(i)
    end
    cli(words)
    assert.equal(300, #sorted_lines(cli { "--scan" }))
    assert.same({ "key:100", "key:200", "key:300" }, sorted_lines(cli { "--scan", "--pattern", "key:?00" }))
  end)

  it("shows the node's information", function()
    cli { "SET", "a", "1" }
    local info = cli { "INFO" }
    assert.is_truthy(info:find("redis_version:7.0.15", 1, true))
    assert.is_truthy(info:find("tcp_port:" .. node.port, 1, true))
    assert.is_truthy(info:find("db0:keys=1,expires=0", 1, true))
    assert.is_truthy(cli { "CLIENT", "LIST" }:find("cmd=client|list", 1, true))
  end)

  it("sends masses of commands through --pipe", function()
    local commands = {}
    for i = 1, 5000 do
      commands[i] = resp.command("SET", "piped:" .. i, ("v"):rep(i % 200))
    end
    commands[#commands + 1] = "NOTHING\r\n"
    local words = { "redis-cli", "-p", tostring(node.port), "--pipe", stdin = table.concat(commands) }
    local code, out, err = process.run(words)
    assert.is_truthy(out:find("errors: 1, replies: 5001", 1, true), out .. err)
    assert.equal(1, code) -- as there was an error
    assert.is_truthy((out .. err):find("ERR unknown command 'NOTHING'", 1, true))
    assert.equal("5000\n", cli { "DBSIZE" })
  end)

  it("authenticates", function()
    node = lunode.kv { password = "secret" }
    local address = { "redis-cli", "-p", tostring(node.port) }
    local _, refused = process.run { address[1], address[2], address[3], "GET", "a" }
    assert.equal("NOAUTH Authentication required.\n\n", refused)
    local _, wrong = process.run { address[1], address[2], address[3], "--no-auth-warning", "-a", "wrong", "GET", "a" }
    assert.is_truthy(wrong:find("NOAUTH", 1, true))
    assert.equal("OK\n", cli { "--no-auth-warning", "-a", "secret", "SET", "a", "1" })
    assert.equal("1\n", cli { "--no-auth-warning", "--user", "default", "-a", "secret", "GET", "a" })
  end)

  it("ends the node with SHUTDOWN", function()
    cli { "SET", "a", "kept" }
    process.run { "redis-cli", "-p", tostring(node.port), "SHUTDOWN" }
    assert.equal(0, node.process:wait(20))
    node:start()
    assert.equal("kept\n", cli { "GET", "a" })
  end)
end)

describe("redis-benchmark", function()
  before_each(function()
    node = lunode.kv()
  end)

  -- Every test must tell a figure.
  local function run(more)
    local words = { "redis-benchmark", "-h", node.host, "-p", tostring(node.port), "-n", "2000", "-q" }
    table.move(more, 1, #more, #words + 1, words)
    local code, out, err = process.run(words)
    assert.equal(0, code, out .. err)
    assert.is_nil((out .. err):find("[Ee]rror"), out .. err)
    local figures = {}
    for name, rate in out:gmatch("([%w_ ()]+): (%S+) requests per second") do
      -- "inf" is the rate of a test that took none of its clock's milliseconds
      figures[name:match("^%w+")] = rate == "inf" and math.huge or tonumber(rate)
    end
    return figures
  end

  for _, case in ipairs { { "one by one" }, { "pipelined", "-P", "16" }, { "on random keys", "-r", "500" } } do
    it("gives figures for PING, SET, GET, INCR and MSET, " .. case[1], function()
      local figures = run { "-t", "ping,set,get,incr,mset", table.unpack(case, 2) }
      for _, name in ipairs { "PING", "SET", "GET", "INCR", "MSET" } do
        assert.is_true((figures[name] or 0) > 0, name)
      end
      assert.is_true(node:client():call("DBSIZE") > 0)
    end)
  end
end)
