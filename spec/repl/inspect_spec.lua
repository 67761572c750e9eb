-- Values as the prompt writes them: readable, bounded, and harmless to terminals.

local inspect = require "lunode.repl.inspect"
local json = require "lunode.repl.json"
local msgpack = require "lunode.msgpack"
local prng = require "spec.support.prng"

local show = inspect.inspect

describe("a value", function()
  it("that is plain is written as Lua reads it", function()
    for text, value in pairs {
      ["1"] = 1, ["-9223372036854775808"] = math.mininteger, ["1.0"] = 1.0, ["0.1"] = 0.1, ["1e+100"] = 1e100,
      ["0.30000000000000004"] = 0.1 + 0.2, ["math.huge"] = math.huge, ["-math.huge"] = -math.huge, ["true"] = true,
      ['"a\\"b\\\\c"'] = 'a"b\\c', ['"\\n\\t\\x00\\x7f"'] = "\n\t\0\127", ['"grün €"'] = "grün €",
      ["null"] = msgpack.null,
    } do
      assert.equal(text, (show(value)))
    end
    assert.equal("nil", (show(nil)))
    assert.equal("nan", (show(0 / 0)))
    assert.matches("^<function .*inspect_spec.lua:%d+>$", (show(function() end)))
    assert.equal("<C function>", (show(print)))
    assert.matches("^<thread, suspended", (show(coroutine.create(function() end))))
  end)

  it("that is a table is sorted: the list, numbers, names, the rest", function()
    assert.equal("{}", (show {}))
    assert.equal('{ 10, 20, [-1] = 0, [3.5] = 1, a = 1, ["b c"] = 2, ["end"] = 3, [true] = 4 }',
      (show { 10, 20, b = nil, ["b c"] = 2, a = 1, ["end"] = 3, [true] = 4, [3.5] = 1, [-1] = 0 }))
    assert.equal("{ 1, nil, 3 }", (show { 1, nil, 3 }):gsub("%[3%] = 3", "nil, 3"))
    assert.equal(("{\n  a = %q,\n  b = { 1, 2 },\n}"):format(("x"):rep(80)), (show { a = ("x"):rep(80), b = { 1, 2 } }))
  end)

  it("says where it goes round, and what it is", function()
    local t = { name = "t" }
    t.self = t
    assert.equal('{ name = "t", self = <cycle> }', (show(t)))
    local shared = { 1 }
    assert.equal("{ { 1 }, { 1 } }", (show { shared, shared }))
    assert.equal("thing { 1 }", (show(setmetatable({ 1 }, { __name = "thing" }))))
    local function tostring_of(fn)
      return (show(setmetatable({}, { __tostring = fn })))
    end
    assert.equal("I \\x1b[2J am", tostring_of(function() return "I \27[2J am" end))
    assert.equal("<its __tostring raises>", tostring_of(function() error "no" end))
    assert.equal("<its __tostring raises>", tostring_of(function() return {} end))
    assert.equal("{ 1 }", (show(setmetatable({ 1 }, { __metatable = false, __index = error, __pairs = error }))))
    assert.matches("^file %(0x%x+%)$", (show(io.stdout)))
  end)

  it("is bounded in depth, width, and bytes, and says so", function()
    local deep = {}
    for _ = 1, 1000 do
      deep = { deep }
    end
    assert.same({ "{ { { { { … } } } } }", true }, { show(deep) })
    local wide = {}
    for i = 1, 100000 do
      wide[i] = i
    end
    local text, cut = show(wide)
    assert.is_true(cut)
    assert.is_true(#text < 500, #text)
    assert.matches("50,\n  … 99950 more,\n}$", text)
    text = show(("é"):rep(100000))
    assert.matches("… %(200000 bytes%)$", text)
    assert.is_truthy(utf8.len(text))
    local huge = {}
    for i = 1, 50 do
      huge[i] = {}
      for k = 1, 50 do
        huge[i][k] = ("y"):rep(400)
      end
    end
    assert.is_true(#show(huge) < 60000)
    local names = {}
    for i = 1, 200000 do
      names["k" .. i] = i
    end
    assert.is_true(#show(names) < 2000)
  end)

  it("cannot drive the terminal, whatever bytes it has", function()
    assert.equal([["\x1b]0;x\x07\xc2\x9b"]], (show "\27]0;x\7\xc2\x9b"):gsub("\\u{9b}", "\\xc2\\x9b"))
    assert.equal([["a\u{202e}b\u{200b}\u{feff}"]], (show "a\u{202e}b\u{200b}\u{feff}"))
    assert.equal([["\xff\xfe\xc3"]], (show "\xff\xfe\xc3"))
    assert.equal([[["\x1b[1m"] = 1]], (show { ["\27[1m"] = 1 }):match "{ (.*) }")
    local chance = prng.new(4)
    for _ = 1, os.getenv "LUNODE_FULL" == "1" and 20000 or 2000 do
      local bytes = {}
      for i = 1, chance:int(0, 40) do
        bytes[i] = string.char(chance:pick { chance:int(0, 255), chance:int(0, 31), chance:int(128, 255), 0xc2, 0x9b })
      end
      local value = table.concat(bytes)
      local text = show(value)
      assert.is_truthy(utf8.len(text), text)
      assert.is_nil(text:find "[%z\1-\31\127]")
      assert.is_nil(text:find "\xc2[\x80-\x9f]")
      assert.equal(value, load("return " .. text)())
    end
  end)

  it("has colours that do not count as columns, where they are wanted", function()
    local text = show({ 1, "a" }, { color = true })
    assert.equal('{ \27[36m1\27[0m, \27[32m"a"\27[0m }', text)
    assert.equal(text .. "\\x1b[2J\\x1b]", inspect.escape_painted(text .. "\27[2J\27]"))
  end)
end)

describe("a value as JSON", function()
  it("is what other programs read", function()
    for text, value in pairs {
      ['{"1":1,"2":2,"a":1}'] = { 1, 2, a = 1 }, ["[1,2,[]]"] = { 1, 2, {} }, ['"\\u0000\\"\\\\\\n"'] = '\0"\\\n',
      ['"\xef\xbf\xbdx"'] = "\xffx", ['"math.huge"'] = math.huge, ["0.5"] = 0.5,
      ["[null,true]"] = { msgpack.null, true },
      ['"<C function>"'] = print, ['{"true":1}'] = { [true] = 1 },
    } do
      assert.equal(text, json.encode(value))
    end
    local t = {}
    t[1] = t
    assert.equal('["<cycle>"]', json.encode(t))
    local deep = {}
    for _ = 1, 100 do
      deep = { deep }
    end
    assert.matches("nested too deeply", json.encode(deep))
    local ok, err = pcall(json.encode, { ("x"):rep(5 << 20), ("x"):rep(5 << 20) })
    assert.is_false(ok)
    assert.matches("^the result is longer", err)
  end)
end)
