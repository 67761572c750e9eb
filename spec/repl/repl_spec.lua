-- `lunode repl` for scripts: code on the command line, in files, on the standard input.

local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local redis = require "spec.support.redis"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local function run(...)
  local words = { "repl", ... }
  words.env = { HOME = tmp.dir() }
  return lunode.run(words)
end

local function typed(input, ...)
  return lunode.run { "repl", stdin = input, env = { HOME = tmp.dir() }, ... }
end

describe("lunode repl", function()
  it("evaluates -e and -f in their order, and prints the results", function()
    local file = tmp.write(tmp.dir() .. "/code.lua", "local a = x\nreturn a + 1, { a }\n")
    assert.same({ 0, "1\n2, { 1 }\n3\n", "" }, { run("-e", "x = 1 return x", "-f", file, "-e", "x + 2") })
    assert.same({ 0, "7\n", "" }, { typed("3 + 4", "-f", "-") })
    assert.same({ 0, "", "" }, { run("-e", "") })
  end)

  it("stops at the first that fails", function()
    local code, out, err = run("-e", "1", "-e", "error 'here'", "-e", "3")
    assert.same({ 1, "1\n", "prompt:1: here\n" }, { code, out, err })
  end)

  it("speaks JSON to programs", function()
    local code, out, err = run("--format=json", "-e", "{ a = { 1, 2 }, s = 'x\\0' }, nil", "-e", "nothing()")
    assert.same({ 1, '{"a":[1,2],"s":"x\\u0000"}\nnull\n' }, { code, out })
    assert.equal('{"error":"prompt:1: attempt to call a nil value (global \'nothing\')","status":"error"}\n', err)
  end)

  it("runs files before, whose globals are at hand", function()
    local file = tmp.write(tmp.dir() .. "/setup.lua", "answer = 42; print 'set up'")
    assert.same({ 0, "set up\n42\n", "" }, { run("-e", "answer", file) })
    local code, _, err = run("-e", "1", file .. ".none")
    assert.equal(1, code)
    assert.matches("No such file", err)
    code, _, err = run("-e", "1", tmp.write(tmp.dir() .. "/bad.lua", "x = = 1"))
    assert.equal(1, code)
    assert.matches("bad.lua:1: ", err)
    assert.equal(1, (run("-e", "1", tmp.write(tmp.dir() .. "/raises.lua", "error 'no'"))))
  end)

  it("reads lines where there is no terminal, and goes on after errors", function()
    local code, out, err = typed("x = 1\nfor i = 1, 2 do\n  print(i)\nend\nx.y.z\nx + 1\n'no end of line'")
    assert.same({ 1, '1\n2\n2\n"no end of line"\n' }, { code, out })
    assert.equal("prompt:1: attempt to index a number value (global 'x')\n", err)
    assert.same({ 0, "", "" }, { typed "" })
    assert.same({ 0, "", "" }, { typed "\n\n   \n" })
    code, out = typed "for i = 1, 2 do"
    assert.same({ 1, "" }, { code, out })
  end)

  it("survives binary and huge input in bounded memory", function()
    local code, out = typed("\0\1\2\n\27[2J\255\254\n\xc3\n1 + 1\n")
    assert.same({ 1, "2\n" }, { code, out })
    local err
    code, out, err = typed(("("):rep(100000) .. "\n1 + 1\n")
    assert.same({ 1, "2\n" }, { code, out })
    assert.is_true(#err > 0 and #err < 1000, err)
    code, out, err = typed(("x"):rep(8 << 20) .. "\n1 + 1\n")
    assert.same({ 1, "2\n" }, { code, out })
    assert.equal("a line is longer than 1048576 bytes; it is left out\n", err)
    code, out, err = typed("x = [[" .. ("\n"):rep(1001)) -- a piece of code without end
    assert.same({ 1, "" }, { code, out })
    assert.matches("^no end after 1000 lines, or 65536 bytes; ", err)
  end)

  it("ends when nobody reads what it prints, and lets go of what it has started", function()
    assert.equal(0, process.run {
      "sh", "-c", [["$1" repl -e 'for i = 1, 10000 do print(i) end' | true]], "sh", lunode.bin,
    })
    assert.equal(0, (run("-e", "loop.timer(1000, print); task.spawn(task.sleep, 1000); nothing = 1")))
  end)

  it("is interrupted by SIGINT with exit code 130", function()
    for _, code in ipairs { "print 'on'; task.sleep(1000)", "print 'on'; while true do end" } do
      local p = lunode.start { "repl", "-e", "io.stdout:setvbuf 'no'", "-e", code, env = { HOME = tmp.dir() } }
      wait.till(function()
        return p:stdout():find "on\n"
      end)
      p:kill "INT"
      assert.equal(130, p:wait())
    end
  end)

  it("refuses wrong usage with exit code 2", function()
    for _, words in ipairs { { "--nope" }, { "-e" }, { "--format", "xml" }, { "-f" }, { "--timeout", "1" } } do
      local code, out, err = run(table.unpack(words))
      assert.same({ 2, "" }, { code, out })
      assert.matches("^lunode: [^\n]* %(see `lunode help repl`%)\n$", err)
    end
    local code, _, err = lunode.run { "run", "--repl", "-" }
    assert.equal(2, code)
    assert.matches("needs the name of a script", err)
  end)

  it("pokes a real server from a script", function()
    local server = redis.server()
    local script = tmp.write(tmp.dir() .. "/script.lua", ([[
      local r = redis "127.0.0.1:%d"
      for i = 1, 3 do r:rpush("list", i) end
      return r:lrange("list", 0, -1)
    ]]):format(server.port))
    assert.same({ 0, '["1","2","3"]\n', "" }, { run("--format", "json", "-f", script) })
  end)
end)
