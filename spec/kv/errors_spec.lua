-- What goes wrong in a user's own scripts: it is told where it happened, and nothing else is harmed.
local lunode = require "spec.support.lunode"
local redis = require "spec.support.redis"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

-- The number of the line that holds a mark.
local function line_of(text, mark)
  local before = text:sub(1, assert(text:find(mark, 1, true)))
  return select(2, before:gsub("\n", "")) + 1
end

describe("a user's command", function()
  local SCRIPT = [[
    local kv = require "lunode.kv"
    local resp = require "lunode.resp"
    local write = { "write" }

    local function add(name, flags, run)
      kv.command(name, { arity = 2, flags = flags, keys = { 1, 1, 1 }, run = run })
    end

    local function deeper(ctx)
      return ctx.nothing.there -- the mistake
    end

    add("RAISE", write, function(ctx, key)
      ctx.db:set(key, "partial")
      ctx.db:set(key .. ":more", "partial", ctx.now + 100000)
      ctx.db:delete("other")
      local reply = deeper(ctx)
      return reply
    end)
    add("RAISE.TABLE", write, function(ctx, key)
      ctx.db:set(key, "partial")
      error({ code = 5 })
    end)
    add("RAISE.NIL", write, function(ctx, key)
      ctx.db:set(key, "partial")
      error(nil)
    end)
    add("REFUSE", write, function(ctx, key)
      ctx.db:set(key, "partial")
      error(resp.error("BUSY not today"), 0)
    end)
    add("REFUSE.POLITELY", write, function(ctx, key)
      ctx.db:set(key, "kept")
      return resp.error("ERR it is there")
    end)
    add("ODD", write, function(ctx, key)
      ctx.db:set(key, "partial")
      return { "fine", { function() end } }
    end)
    add("SNEAK", { "readonly" }, function(ctx, key)
      ctx.db:set(key, "partial") -- without the flag
    end)
    add("NOTHING", {}, function() end)

    local node = assert(kv.start { port = 0, dir = arg[1] })
    print(node.port)
    io.stdout:flush()
  ]]

  local process, port, other, path

  before_each(function()
    path = tmp.write(tmp.dir() .. "/mine.lua", SCRIPT)
    process = lunode.start { "run", path, tmp.dir() .. "/data" }
    port = wait.till(function()
      assert(process:is_alive(), process:stderr())
      return tonumber(process:stdout():match("^(%d+)\n"))
    end, 20, "the script to start")
    other = redis.connect("127.0.0.1", port)
    other:pipeline { { "SET", "key", "whole" }, { "SET", "other", "here" } }
  end)

  local INTERNAL = { err = "ERR internal error; the log has its traceback" }

  local function assert_unharmed()
    assert.same({ "whole", "here", { "key", "other" }, 2 }, {
      other:call("GET", "key"), other:call("GET", "other"),
      (function()
        local names = other:call("KEYS", "*")
        table.sort(names)
        return names
      end)(), other:call("DBSIZE"),
    })
    assert.is_truthy(other:call("INFO", "keyspace"):find("db0:keys=2,expires=0", 1, true))
    assert.is_true(process:is_alive())
  end

  local function assert_internal_error(command)
    local client = redis.connect("127.0.0.1", port)
    client:send("SET mine 1\r\nDEL mine\r\n" .. command .. " key\r\nSET key late\r\nPING\r\n")
    assert.same({ { ok = "OK" }, 1, INTERNAL }, { client:reply(), client:reply(), client:reply() })
    client:wait_closed()
    assert.equal("", client:bytes())
    assert.is_nil(client.close_code)
    assert_unharmed()
  end

  it("that raises is undone, answered, logged with its line, and closes its connection only", function()
    assert_internal_error("RAISE")
    local log = process:stderr()
    local line = line_of(SCRIPT, "-- the mistake")
    assert.is_truthy(log:find("Z error command raise: .*mine.lua:" .. line .. ": attempt to index a nil value"), log)
    assert.is_truthy(log:find("stack traceback:\n.*mine.lua:" .. line .. ": in upvalue 'deeper'"), log)
    for each in log:gmatch("[^\n]+") do
      assert.is_truthy(each:find("^%d%d%d%d%-%d%d%-") or each:find("^    "), each)
    end
  end)

  it("that raises something else than text is treated alike", function()
    assert_internal_error("RAISE.TABLE")
    assert_internal_error("RAISE.NIL")
    local log = process:stderr()
    assert.is_truthy(log:find("error command raise.table: ", 1, true), log)
    assert.is_truthy(log:find("error command raise.nil: ", 1, true), log)
  end)

  it("that returns what is no reply is treated alike", function()
    assert_internal_error("ODD")
    assert.is_truthy(process:stderr():find("error command odd: .*function"), process:stderr())
  end)

  it("that writes without the flag for it is treated alike, and told so", function()
    assert_internal_error("SNEAK")
    local log = process:stderr()
    local line = line_of(SCRIPT, "-- without the flag")
    assert.is_truthy(log:find('error command sneak: .*: a command that writes needs the flag "write"\n'), log)
    assert.is_truthy(log:find("mine.lua:" .. line .. ": ", 1, true), log)
  end)

  it("that raises a reply is undone, and the connection goes on", function()
    local client = redis.connect("127.0.0.1", port)
    assert.same({ { err = "BUSY not today" }, { ok = "PONG" } }, client:pipeline { { "REFUSE", "key" }, { "PING" } })
    assert_unharmed()
    assert.equal("", process:stderr())
  end)

  it("that returns an error reply keeps what it wrote", function()
    assert.same({ err = "ERR it is there" }, other:call("REFUSE.POLITELY", "new"))
    assert.equal("kept", other:call("GET", "new"))
  end)

  it("that returns nothing leaves no client waiting", function()
    assert.same({ require("lunode.resp").null, { ok = "PONG" } }, other:pipeline { { "NOTHING", "x" }, { "PING" } })
  end)

  it("is called with as many arguments as it wants, else Redis's error is the reply", function()
    for _, words in ipairs { { "RAISE" }, { "RAISE", "a", "b" } } do
      assert.same({ err = "ERR wrong number of arguments for 'raise' command" }, other:call(table.unpack(words)))
    end
    assert_unharmed()
  end)

  it("undoes nothing of other clients' writes in the same turn", function()
    local client = redis.connect("127.0.0.1", port)
    process:kill("STOP")
    other:send("SET mine 1\r\n")
    client:send("RAISE key\r\n")
    wait.till(function()
      return other.conn:stats().queued == 0 and client.conn:stats().queued == 0
    end)
    process:kill("CONT")
    assert.same({ { ok = "OK" }, INTERNAL }, { other:reply(), client:reply() })
    assert.equal("1", other:call("GET", "mine"))
    assert.equal(1, other:call("DEL", "mine"))
    assert_unharmed()
  end)
end)

describe("kv.command names the mistake and the line:", function()
  local function misuse(call, pattern)
    local path = tmp.write(tmp.dir() .. "/wrong.lua", 'local kv = require "lunode.kv"\n' .. call .. "\n")
    local code, _, err = lunode.run { "run", path }
    assert.equal(1, code)
    assert.is_truthy(err:find("wrong.lua:2: " .. pattern), err)
  end

  local function options(more)
    return "kv.command('MINE', { arity = 2, run = print, " .. more .. " })"
  end

  it("no arity, no function, unknown words", function()
    misuse("kv.command('MINE', { run = print })", "command MINE: arity must be an integer other than 0")
    misuse("kv.command('MINE', { arity = 2 })", "command MINE: needs a function run")
    misuse("kv.command('MINE')", "command MINE: needs a table of options")
    misuse("kv.command('MINE HERE', {})", "command MINE HERE: a name is letters, digits")
    misuse("kv.command(7, {})", "command 7: a name is letters, digits")
    misuse(options "flag = {}", "command MINE: unknown option flag")
    misuse(options "flags = { 'writes' }", "command MINE: unknown flag writes")
    misuse(options "flags = { 'write', 'readonly' }", 'command MINE: flags "write" and "readonly" exclude each other')
    misuse(options "flags = 'write'", "command MINE: flags must be a table, not a string")
    misuse(options "keys = { 1 }", "command MINE: keys must be {first, last, step}")
    misuse(options "keys = { 1, 'x', 1 }", "command MINE: keys must be three integers")
  end)

  it("a name that is taken, a container that is missing", function()
    misuse("kv.command('get', { arity = 2, run = print })", "command get: exists already; say replace = true")
    misuse("kv.command('NO|SUB', { arity = 2, run = print })", "command NO|SUB: there is no command NO to add it to")
  end)

  it("kv.start's options, too", function()
    misuse("kv.start()", "kv.start needs a table of options")
    misuse("kv.start {}", "kv.start: dir is missing")
    misuse("kv.start { dir = 'd', prot = 1 }", "kv.start: unknown option prot")
    misuse("kv.start { dir = 'd', port = '1' }", "kv.start: port must be a number, not a string")
    misuse("kv.start { dir = 'd', port = 70000 }", "kv.start: port must be an integer from 0 to 65535")
    misuse("kv.start { dir = 'd', port = 1.5 }", "kv.start: port must be an integer from 0 to 65535")
    misuse("kv.start { dir = 'd', maxclients = 1.5 }", "kv.start: maxclients must be an integer")
    misuse("kv.start { dir = 'd', cache = -1 }", "kv.start: cache must be an integer")
    misuse("kv.start { dir = 'd', sync = 'sometimes' }", 'kv.start: sync must be "always", "everysec" or "no"')
  end)
end)

describe("an error in a callback of a plain script", function()
  it("goes to the standard error with its traceback, and the process lives", function()
    local text = [[
      local loop = require "lunode.loop"
      local tcp_server = require "lunode.tcp_server"
      local server = assert(tcp_server.listen("127.0.0.1", 0, {
        on_read = function(conn, data)
          if data == "bad" then
            error("no good") -- here
          end
          conn:write(data)
        end,
      }))
      loop.timer(0, function()
        error("too early") -- there
      end)
      print(select(2, server:sock()))
      io.stdout:flush()
    ]]
    local path = tmp.write(tmp.dir() .. "/plain.lua", text)
    local process = lunode.start { "run", path }
    local port = wait.till(function()
      assert(process:is_alive(), process:stderr())
      return tonumber(process:stdout():match("^(%d+)\n"))
    end, 20, "the script to start")
    local good, bad = redis.connect("127.0.0.1", port), redis.connect("127.0.0.1", port)
    bad:send("bad")
    bad:wait_closed()
    good:send("+good\r\n")
    assert.same({ ok = "good" }, good:reply())
    local err = process:stderr()
    for mark, message in pairs { ["-- here"] = "no good", ["-- there"] = "too early" } do
      assert.is_truthy(err:find(("plain.lua:%d: %s\n"):format(line_of(text, mark), message), 1, true), err)
    end
    assert.is_truthy(err:find("stack traceback:", 1, true), err)
    assert.is_true(process:is_alive())
  end)
end)
