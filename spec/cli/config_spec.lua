local config = require "lunode.cli.config"
local tmp = require "lunode.test.tmp"

describe("a config file", function()
  local path

  before_each(function()
    path = tmp.dir() .. "/node.lua"
  end)

  local function load(text)
    return config.load(tmp.write(path, text))
  end

  local function refused(text, pattern)
    local entries, err = load(text)
    assert.is_nil(entries)
    assert.is_truthy(err:find(pattern), err)
    assert.is_nil(err:find("\n"), err)
  end

  it("sets values by assignment, and says on which line", function()
    assert.same({
      { key = "listen", value = "a:1", where = path .. ":1" },
      { key = "maxclients", value = 20, where = path .. ":3" },
    }, load('listen = "a:1"\n-- more\nmaxclients = 2 * 10'))
  end)

  it("can use what it has set", function()
    assert.equal(11, load("a = 10\nb = a + 1")[2].value)
  end)

  it("can return a table instead, told in the order of its keys", function()
    assert.same({
      { key = "data", value = "d", where = path },
      { key = "listen", value = "a:1", where = path },
    }, load('return { listen = "a:1", data = "d" }'))
  end)

  it("may be empty", function()
    assert.same({}, load(""))
  end)

  it("sees no library and no function", function()
    for _, name in ipairs { "os", "io", "require", "load", "dofile", "debug", "string", "print", "pcall", "_G" } do
      assert.is_nil(load("x = " .. name)[1].value)
    end
    refused("os.exit(3)", ":1: attempt to index a nil value")
    refused('x = ("x"):rep(10)', ":1: attempt to index a string value")
    assert.equal("xx", ("x"):rep(2)) -- and we got the methods back
  end)

  it("cannot run for ever, nor take all the memory", function()
    refused("while true do end", ":1: it runs for too long")
    refused("local function f() return f() end f()", ":1: it runs for too long")
    refused('local s = "xxxxxxxx" while true do s = s .. s end', ":1: it takes too much memory")
  end)

  it("cannot be bytecode", function()
    local _, err = load(string.dump(function() end))
    assert.equal(path .. ": attempt to load a binary chunk (mode is 't')", err)
  end)

  it("is refused with its place when it is not Lua, raises, or returns something else", function()
    refused('listen = "a', "node.lua:1: unfinished string")
    refused("\n\nlisten = nothing.at.all", "node.lua:3: attempt to index")
    refused("return 4", "node.lua: returns a number")
    refused(("-"):rep(1024 * 1024 + 1), "larger than 1 MiB")
  end)

  it("is refused when it cannot be read", function()
    local entries, err = config.load(path)
    assert.is_nil(entries)
    assert.equal(path .. ": No such file or directory", err)
    assert.is_truthy(select(2, config.load("/")):find("Is a directory"))
  end)
end)
