local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

describe("lunode run", function()
  local dir

  before_each(function()
    dir = tmp.dir()
  end)

  local function run(text, ...)
    return lunode.run { "run", tmp.write(dir .. "/script.lua", text), ... }
  end

  it("gives a script its arguments as the stock lua does", function()
    local script = tmp.write(
      dir .. "/args.lua",
      [[
        print(select("#", ...), ...)
        print(#arg, arg[0], table.unpack(arg))
      ]]
    )
    local words = { "one", "", "three words here", "--help", "-x" }
    local code, out, err = lunode.run { "run", script, table.unpack(words) }
    assert.same({ 0, "" }, { code, err })
    assert.same({ 0, out, "" }, { process.run { "lua5.4", script, table.unpack(words) } })
    assert.equal(lunode.bin .. "\trun\n", select(2, run [[print(arg[-2], arg[-1])]]))
  end)

  it("runs the loop after the main chunk, until nothing is active", function()
    local code, out, err = run([[
      local loop = require "lunode.loop"
      local turns = 0
      loop.timer(0.001, function(timer)
        turns = turns + 1
        io.write(turns, " ")
        if turns == 3 then timer:close() end
      end, 0.001)
      io.write("main ")
    ]])
    assert.same({ 0, "main 1 2 3 ", "" }, { code, out, err })
  end)

  it("ends the loop at loop.stop()", function()
    local code, out = run([[
      local loop = require "lunode.loop"
      loop.timer(1000, print)
      loop.timer(0, function() io.write("stop") loop.stop() end)
    ]])
    assert.same({ 0, "stop" }, { code, out })
  end)

  it("tells an error in the main chunk with its traceback, and exits 1", function()
    local code, out, err = run("local function deep() error('broken') end\ndeep()")
    assert.same({ 1, "" }, { code, out })
    assert.is_truthy(err:find("^lunode: [^\n]*script%.lua:1: broken\nstack traceback:\n"), err)
    assert.is_truthy(err:find("script.lua:2: in main chunk", 1, true), err)
  end)

  it("lets an error object say what it is", function()
    local _, _, err = run("error(setmetatable({}, { __tostring = function() return 'told' end }))")
    assert.is_truthy(err:find("^lunode: told\n"), err)
    _, _, err = run("error({})")
    assert.is_truthy(err:find("^lunode: %(error object is a table value%)\n"), err)
    _, _, err = run("error()")
    assert.is_truthy(err:find("^lunode: %(error object is a nil value%)\n"), err)
  end)

  it("tells a callback's error with its traceback, and goes on", function()
    local code, out, err = run([[
      local loop = require "lunode.loop"
      loop.defer(function() error("in a callback") end)
      loop.timer(0.001, function() io.write("went on") end)
    ]])
    assert.same({ 0, "went on" }, { code, out })
    assert.is_truthy(err:find("script.lua:2: in a callback", 1, true), err)
    assert.is_truthy(err:find("stack traceback:", 1, true), err)
  end)

  it("exits 1 when there is no such file, or it is not Lua", function()
    local code, _, err = lunode.run { "run", dir .. "/none.lua" }
    assert.equal(1, code)
    assert.is_truthy(err:find("^lunode: cannot open [^\n]*none.lua[^\n]*\n$"), err)
    code, _, err = run("x = = 1")
    assert.equal(1, code)
    assert.is_truthy(err:find("^lunode: [^\n]*script.lua:1: unexpected symbol near '='\n$"), err)
  end)

  it("exits as the script wishes, and closes the state on the way", function()
    local code, out = run([[
      guard = setmetatable({}, { __gc = function() io.write("closed") end })
      os.exit(7, true)
    ]])
    assert.same({ 7, "closed" }, { code, out })
    assert.equal(0, (run("os.exit(true, true)")))
    assert.equal(1, (run("os.exit(false, true)")))
  end)

  it("can exit from within a callback", function()
    local code = run([[
      local loop = require "lunode.loop"
      loop.timer(1000, print)
      loop.defer(function() os.exit(9, true) end)
    ]])
    assert.equal(9, code)
  end)

  it("reads a script from the standard input as -", function()
    local code, out = lunode.run { "run", "-", "a", stdin = "print(arg[0], ...)" }
    assert.same({ 0, "-\ta\n" }, { code, out })
  end)

  it("needs a file, and has no options of its own", function()
    local code, _, err = lunode.run { "run" }
    assert.equal(2, code)
    assert.is_truthy(err:find("^lunode: run needs the name of a script"), err)
    code, _, err = lunode.run { "run", "--fast", "x.lua" }
    assert.equal(2, code)
    assert.is_truthy(err:find("^lunode: unknown option %-%-fast"), err)
  end)

  it("dies of SIGTERM as any program does, unless the script wants the signal", function()
    local script = tmp.write(
      dir .. "/signal.lua",
      [[
        local loop = require "lunode.loop"
        loop.timer(1000, print)
        if arg[1] then
          loop.signal(arg[1], function(name) print(name) loop.stop() end)
        end
        print("ready")
        io.stdout:flush()
      ]]
    )
    for _, case in ipairs { { signal = nil, code = 128 + 15 }, { signal = "TERM", code = 0 } } do
      local p = lunode.start { "run", script, case.signal }
      wait.till(function()
        return p:stdout():find("ready")
      end, 10, "the script")
      p:kill("TERM")
      assert.equal(case.code, p:wait())
    end
  end)
end)
