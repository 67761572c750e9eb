-- What names promise: commands of few arguments come to on_short_message with the value of their name, all others to
-- on_message; and views end with their command.

local batch = require "lunode.batch"
local kit = require "spec.contract.kit"
local misuse = require "spec.support.misuse"
local resp = require "lunode.resp"

describe("names", function()
  it("are found in any case, for as many arguments as they are bound to", function()
    local names = resp.names()
    local value = {}
    names:bind("Get", value, 1, 1)
    names:bind("x_1-.", false, 0, 2)
    assert.equal(value, names:find("GET", 1))
    assert.equal(value, names:find("gEt", 1))
    assert.is_nil(names:find("GET", 0))
    assert.is_nil(names:find("GET", 2))
    assert.is_nil(names:find("GETX", 1))
    assert.is_nil(names:find("", 0))
    assert.is_nil(names:find(("x"):rep(65), 0))
    assert.is_false(names:find("X_1-.", 2))
    names:bind("GET", 5, 0, 2)
    assert.equal(5, names:find("get", 2))
    names:unbind("get")
    names:unbind("never")
    assert.is_nil(names:find("get", 1))
    names:bind("never", 1, 0, 0)
    assert.equal(1, names:find("never", 0))
    for i = 1, 500 do
      names:bind("n" .. i, i, 0, 2)
    end
    for i = 1, 500 do
      assert.equal(i, names:find("N" .. i, 0))
    end
  end)

  it("tell which of them take a list", function()
    local names = resp.names()
    names:bind("mset", 1, 2, 255, "list")
    names:bind("get", 2, 1, 1, true)
    assert.same({ 1, true }, { names:find("mset", 255) })
    assert.same({ 2, false }, { names:find("get", 1) })
    assert.is_nil(names:find("mset", 256))
    names:bind("mset", 1, 2, 3, true)
    assert.same({ 1, false }, { names:find("mset", 2) })
  end)

  it("refuse what cannot be", function()
    local names = resp.names()
    misuse("from 0 to 255 expected", function() names:bind("x", 1, 0, 256, "list") end)
    misuse("a name has 1 to 64 bytes", function() names:bind("", 1, 0, 0) end)
    misuse("a name has 1 to 64 bytes", function() names:bind(("x"):rep(65), 1, 0, 0) end)
    misuse("from 0 to 3 expected", function() names:bind("x", 1, 0, 4) end)
    misuse("from 1 to 3 expected", function() names:bind("x", 1, 0, 3, 4) end)
    misuse("from 0 to 3 expected", function() names:bind("x", 1, -1, 0) end)
    misuse("less than the least", function() names:bind("x", 1, 2, 1) end)
    misuse("from 0 to 3 expected", function() names:bind("x", 1, 1, 2, 2, 4) end)
    assert.has_error(function()
      for i = 1, 2000 do
        names:bind("n" .. i, i, 0, 0)
      end
    end, "too many names")
  end)
end)

local function contract(world)
  -- A connection whose server has `names`, and what its callbacks were given, as text.
  local function serve(bind, handlers)
    local seen, got = {}, kit.log()
    local names = resp.names()
    bind(names)
    local function keep(kind)
      return function(_, name, ...)
        seen[#seen + 1] = table.concat({ kind, tostring(name), resp.words(...) }, " ")
        return handlers and handlers(name, ...) or resp.OK
      end
    end
    local client = kit.pair(world, got.callbacks, {
      decoder = "resp", names = names, on_message = keep "message", on_short_message = keep "short",
      on_long_message = keep "long",
      on_error = function(_, err)
        return resp.error((tostring(err):match "[^\n]*"))
      end,
    })
    return client, seen, got
  end

  local function till(list, count)
    kit.till(world, function()
      return #list >= count
    end, count .. " messages")
  end

  it("go to on_short_message in whatever form the command comes", function()
    local client, seen = serve(function(names)
      names:bind("one", "ONE", 1, 2, true)
      names:bind("none", "NONE", 0, 0)
      names:bind("some", "SOME", 2, 3, 2)
    end)
    client:write "one a\r\nOnE a 'b c'\r\none\r\none a b c\r\nnone\r\nnone x\r\nother\r\nsome a b c\r\n"
    for _, byte in utf8.codes "*3\r\n$3\r\none\r\n$1\r\nk\r\n$0\r\n\r\n" do
      client:write(utf8.char(byte))
      world.loop.step(0)
    end
    till(seen, 9)
    assert.same({
      "short ONE a", "short ONE a b c", "message one", "message one a b c", "short NONE", "message none x",
      "message other", "short SOME a b c", "short ONE k ",
    }, seen)
  end)

  it("give arguments that can be kept as strings, put into a batch, and sent as a reply", function()
    local b = batch.new()
    local client, _, got = serve(function(names)
      names:bind("echo", 1, 1, 1, true)
    end, function(_, a)
      b:add("echo", a)
      return a
    end)
    local text = ("x"):rep(1000)
    client:write("ECHO one\r\nECHO " .. text .. "\r\n")
    local expected = "$3\r\none\r\n$1000\r\n" .. text .. "\r\n"
    kit.till(world, function()
      return #got.data >= #expected
    end, "replies")
    assert.equal(expected, got.data)
    local payload = b:take()
    local position, name, word = batch.next(payload)
    assert.same({ "echo", "one" }, { name, word })
    assert.same({ "echo", text }, { select(2, batch.next(payload, position)) })
  end)

  it("give the first arguments as strings, where only those behind them are views", function()
    local types
    local client, seen = serve(function(names)
      names:bind("some", "SOME", 3, 3, 2)
    end, function(_, a, b, c)
      types = { type(a), type(b), type(c) }
      return resp.OK
    end)
    client:write "some a b c\r\n"
    till(seen, 1)
    local view = world.simulated and "string" or "userdata"
    assert.same({ "string", view, view }, types)
  end)

  it("give all arguments as one list", function()
    local b, store, told = batch.new(), assert(world.store.open(world.directory())), {}
    local rows = store:rows "k"
    local client, seen = serve(function(names)
      names:bind("mset", "MSET", 0, 40, "list")
    end, function(_, list)
      told[#told + 1] = resp.count(list)
      if resp.count(list) % 2 == 0 then
        b:add("MSET", list)
        rows:put_list(list, 1, 0)
      end
      return resp.OK
    end)
    local many = {}
    for i = 1, 40 do
      many[i] = "word" .. i
    end
    local text = table.concat(many, " ")
    client:write("mset a 1 b '2 3'\r\nMSET\r\nmset odd\r\nmset " .. text .. "\r\nmset " .. text .. " more\r\n")
    till(seen, 5)
    assert.same({ 4, 0, 1, 40 }, { table.unpack(told, 1, 4) })
    assert.same({ "short MSET a 1 b 2 3", "short MSET", "short MSET odd", "short MSET " .. text,
      "message mset " .. text .. " more" }, seen)
    assert.same({ "1", "2 3", "word40" }, { rows:get("a", 0), (rows:get("b", 0)), (rows:get("word39", 0)) })
    local payload = b:take()
    local position, name, word = batch.next(payload)
    assert.same({ "MSET", "a" }, { name, word })
    local _
    _, name = batch.next(payload, position)
    assert.equal("MSET", name)
    store:close()
  end)

  it("give arguments that end with their command", function()
    local kept, raised = nil, {}
    local client, seen = serve(function(names)
      names:bind("keep", 1, 1, 1, true)
    end, function(_, a)
      if kept then
        raised[#raised + 1] = not pcall(resp.words, kept)
      end
      kept = a or kept
      return resp.OK
    end)
    client:write "KEEP a\r\nKEEP b\r\nother\r\n"
    till(seen, 3)
    if not world.simulated then -- there they are strings
      assert.same({ true, true }, raised)
      misuse("a view of a command that is over", function() resp.words(kept) end)
      assert.has_error(function() resp.encode(kept) end)
    end
  end)
end

kit.describe("commands with names", contract)
