-- What a node's code finds as its globals: deterministic, or refused by an error that names the door to use.

local sim = require "lunode.sim"

-- Runs a function as a node, and returns what it printed.
local function output(fn, ...)
  local world = sim.new()
  local node = world:node("n", fn, ...)
  world:run(10)
  return node:output(), world
end

describe("a node's globals", function()
  it("refuse the real world, naming node, time and remedy", function()
    local said = output(function()
      for _, library in ipairs { os, io, math, debug, package } do
        for _, name in ipairs {
          "time", "clock", "date", "getenv", "remove", "rename", "tmpname", "execute", "setlocale", "difftime", -- os
          "open", "popen", "lines", "read", "tmpfile", "input", -- io
          "random", "randomseed", -- math
          "sethook", "getlocal", "getregistry", "setmetatable", "upvaluejoin", -- debug
          "loadlib", "searchpath", "searchers", -- package
        } do
          if library[name] and not (library == debug and name == "getinfo") then
            local ok, err = pcall(library[name], "x", "y")
            print(ok, (err:gsub("^.-node n", "node n")))
          end
        end
      end
      print(pcall(dofile, "x.lua"))
      print(pcall(loadfile, "x.lua"))
      print(pcall(io.stdout.read, io.stdout))
    end)
    local count = 0
    for line in said:gmatch("[^\n]+") do
      count = count + 1
      assert.matches("^false\t.*node n, virtual time 0.000%d+ s: .* use ", line)
    end
    assert.is_true(count >= 27, said)
    assert.matches("os.time reaches out of the simulated world; use lunode.loop's time%(%)", said)
    assert.matches("math.random reaches out of the simulated world; use lunode.loop's random%(low, high%)", said)
  end)

  it("have no more than Lua's own, and no less", function()
    local missing = output(function(names)
      for _, name in ipairs(names) do
        if _G[name] == nil then print(name) end
      end
    end, {
      { "assert", "collectgarbage", "coroutine", "debug", "dofile", "error", "getmetatable", "io", "ipairs", "load",
        "loadfile", "math", "next", "os", "package", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen",
        "rawset", "require", "select", "setmetatable", "string", "table", "tonumber", "tostring", "type", "utf8",
        "warn", "xpcall", "_G", "_VERSION", "arg" },
    })
    assert.equal("", missing)
    assert.equal("nil\tnil\n", output(function() print(describe, no_such_global) end)) -- luacheck: ignore
  end)

  it("draw chance from the seed alone", function()
    local function roll(seed)
      local world = sim.new { seed = seed }
      local node = world:node("n", function()
        local loop = require "lunode.loop"
        for _ = 1, 20 do
          print(loop.random(1, 6), loop.random(math.mininteger, math.maxinteger), loop.random(-5, -5))
        end
        print(select(2, pcall(loop.random, 2, 1)))
      end)
      world:run(1)
      return node:output()
    end
    assert.equal(roll(1), roll(1))
    assert.not_equal(roll(1), roll(2))
    assert.matches("\t%-5\n", roll(1))
    assert.matches("bad argument #2 to 'random' %(interval is empty%)", roll(1))
    local seen = {}
    for seed = 1, 5 do
      for face in roll(seed):gmatch("(%d)\t%-?%d+\t") do seen[face] = true end
    end
    for face = 1, 6 do assert.is_true(seen[tostring(face)]) end
  end)

  it("keep print, io.write and stderr in the trace, line by line", function()
    local said, world = output(function()
      print("a", nil, 1, 2.5, true)
      io.write("b", 1, "\nc")
      io.stdout:write("d\n"):write("e\n")
      io.stderr:write("trouble\n")
      print(io.type(io.stdout), tostring(io.stderr), io.stdout:setvbuf "line", io.stdout:flush() == io.stdout)
      warn("careful", "!")
      io.write "no end"
    end)
    assert.equal("a\tnil\t1\t2.5\ttrue\nb1\ncd\ne\nfile\tfile (stderr)\ttrue\ttrue\nno end\n", said)
    assert.equal("trouble\nLua warning: careful!\n", world:get("n"):output "stderr")
    assert.matches("n  print no end\n", world:trace())
    assert.matches("n  stderr trouble\n", world:trace())
  end)

  it("walk tables in one order: numbers, strings, booleans, objects", function()
    local said = output(function()
      local first, second = setmetatable({}, {}), setmetatable({}, {})
      local thread = coroutine.create(print)
      local t = { z = 1, a = 2, [3] = 3, [1] = 4, [2.5] = 5, [true] = 6, [false] = 7, [-1] = 8 }
      t[second], t[first], t[thread] = 9, 10, 11
      local values = {}
      for _, value in pairs(t) do values[#values + 1] = value end
      print(table.concat(values, " "))
      values = {}
      local key, value = next(t)
      while key ~= nil do
        values[#values + 1] = value
        key, value = next(t, key)
      end
      print(table.concat(values, " "))
      values = {}
      for _, v in next, t do values[#values + 1] = v end
      print(table.concat(values, " "))
      print(next {}, next { 7 }, next({ 7 }, 1), select(2, pcall(next, {}, "x")))
    end)
    local order = "8 4 5 3 2 1 7 6 10 9 11\n"
    assert.equal(order .. order .. order, said:sub(1, 3 * #order))
    assert.matches("nil\t1\tnil\t.*invalid key to 'next'", said)
  end)

  it("let entries be changed and taken out on the way, and skip what is gone", function()
    assert.equal("a c 0\n", output(function()
      local t, met = { a = 1, b = 2, c = 3 }, {}
      for key in pairs(t) do
        met[#met + 1] = key
        t.b = nil
        t[key] = 5
        t[key] = nil
      end
      print(table.concat(met, " ") .. " " .. (next(t) == nil and 0 or 1))
    end))
  end)

  it("honour __pairs, and raise for keys without an order and for weak tables", function()
    local said = output(function()
      for key, value in pairs(setmetatable({}, { __pairs = function() return next, { custom = 1 }, nil end })) do
        print(key, value)
      end
      for key in pairs { [function() end] = 1 } do print(type(key)) end -- one alone has an order
      print(select(2, pcall(pairs, { [{}] = 1, [{}] = 2 })))
      print(select(2, pcall(pairs, { [function() end] = 1, [print] = 2 })))
      print(select(2, pcall(pairs, setmetatable({}, { __mode = "k" }))))
      print(select(2, pcall(pairs)))
    end)
    assert.matches("^custom\t1\nfunction\n", said)
    assert.matches("pairs over keys without an order: two or more are tables; keep a list", said)
    assert.matches("two or more are functions", said)
    assert.matches("pairs over a weak table depends on the garbage collector", said)
    assert.matches("table expected, got n", said)
  end)

  it("print ordinals instead of addresses", function()
    local function show()
      local object = setmetatable({}, { __name = "thing" })
      print({}, print, object, coroutine.create(print))
      print(("%s %p %q %5.1f %%"):format(object, object, "x", 2), string.format("%-30s|", {}))
      print(tostring(setmetatable({}, { __tostring = function() return "own" end })))
      print(#("%p"):format "text", select(2, pcall(string.format, "%d", {})))
    end
    local said = output(show)
    assert.equal(said, (output(show)))
    assert.matches("^table: 0x%d+3\tfunction: 0x%d+4\tthing: 0x00000000000001\tthread: 0x%d+2\n", said)
    assert.matches("thing: 0x00000000000001 0x00000000000001 \"x\"   2.0 %%\ttable: 0x%d+ +|\nown\n", said)
    assert.matches("number expected, got table", said)
  end)

  it("leave the strings of the spec alone", function()
    local world = sim.new()
    world:node("n", function()
      rawset(string, "mine", function(s) return "<" .. s .. ">" end)
      print(("x"):mine())
    end)
    world:node("m", function() print(("x").mine) end)
    world:run(1)
    assert.equal("<x>\n", world:get("n"):output())
    assert.equal("nil\n", world:get("m"):output())
    assert.is_nil(("x").mine)
  end)

  it("sort long lists without the clock's help", function()
    local function sort()
      local list = {}
      for i = 1, 5000 do list[i] = { key = i * 7919 % 10, id = i } end
      table.sort(list, function(a, b) return a.key < b.key end)
      local ids = {}
      for i, entry in ipairs(list) do
        assert(i == 1 or list[i - 1].key <= entry.key)
        ids[i] = entry.id
      end
      print(table.concat(ids, " "))
      local numbers = { 3, 1, 2 }
      table.sort(numbers)
      print(table.concat(numbers))
      print(select(2, pcall(table.sort, 7)))
    end
    local said = output(sort)
    assert.equal(said, (output(sort)))
    assert.matches("\n123\n.*table expected", said)
  end)

  it("tell nothing about the memory, and have no finalizers", function()
    local said = output(function()
      print(collectgarbage "count", collectgarbage(), collectgarbage "step", collectgarbage "isrunning")
      print(select(2, pcall(collectgarbage, "nonsense")))
      print(select(2, pcall(setmetatable, {}, { __gc = print })))
    end)
    assert.matches("^0.0\t0\ttrue\ttrue\n", said)
    assert.matches("invalid option 'nonsense'", said)
    assert.matches("a finalizer %(__gc%) runs whenever the garbage collector likes", said)
  end)

  it("load text into the node's own globals", function()
    assert.equal("7\t7\tnil\n", output(function()
      load("x = 7")()
      local own = {}
      load("y = 8", "chunk", "t", own)()
      print(x, _G.x, y) -- luacheck: ignore
    end))
  end)

  it("require modules anew, and refuse those that are not there or not for nodes", function()
    local said = output(function()
      print(require "lunode.msgpack" == require "lunode.msgpack", require("lunode.slot").of "foo")
      package.preload.mine = function(name) return { name = name } end
      print(require("mine").name, package.loaded.mine == require "mine", require "string" == string)
      print(select(2, pcall(require, "no.such.module")))
      print(select(2, pcall(require, "lfs")))
      print(select(2, pcall(require, "lunode.sim")))
      print(select(2, pcall(require, "lunode.cli")))
      print(select(2, pcall(require)))
    end)
    assert.matches("^true\t12182\nmine\ttrue\ttrue\n", said)
    assert.matches("module 'no.such.module' not found:\n\tno file", said)
    assert.matches("module 'lfs' is written in C, and could reach out", said) -- busted brings one
    assert.matches("a node cannot require 'lunode.sim': it is for those who run worlds", said)
    assert.matches("a node cannot require 'lunode.cli'", said)
    assert.matches("string expected, got nil", said)
  end)

  it("can be given more", function()
    assert.equal("7\n", output(function() print(extra) end, {}, { globals = { extra = 7 } })) -- luacheck: ignore
  end)

  it("have tracebacks that end with the node's own code", function()
    local said = output(function()
      require("lunode.loop").timer(1, function() print(debug.traceback "here") end)
    end)
    assert.matches("^here\nstack traceback:\n[^\n]*env_spec.lua:%d+: in function <[^\n]*\n$", said)
  end)
end)
