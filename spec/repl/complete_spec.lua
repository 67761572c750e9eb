-- Names that Tab knows: those of tables and what stands behind them, and no code runs for it.

local complete = require "lunode.repl.complete"
local tcp_client = require "lunode.tcp_client"

local function names(env, before)
  return complete.complete(env, before).names
end

describe("completion", function()
  local env = setmetatable({
    alpha = { one = 1, only = function() end, ["not a name"] = 1, ["end"] = 1 },
    also = 1,
  }, { __index = { behind = print } })

  it("finds globals, also those behind the environment, and keywords", function()
    assert.same({ insert = "", names = { "alpha", "also" } }, complete.complete(env, "al"))
    assert.same({ insert = "nd(", names = { "behind" } }, complete.complete(env, "x = behi"))
    assert.same({ insert = "tion", names = { "function" } }, complete.complete(env, "local func"))
    assert.same({ insert = "", names = {} }, complete.complete(env, "nope"))
  end)

  it("finds fields and methods, of strings and connections, too", function()
    assert.same({ insert = "", names = { "one", "only" } }, complete.complete(env, "x = alpha.on"))
    assert.same({ insert = "nly(", names = { "only" } }, complete.complete(env, "f(alpha:o"))
    assert.same({}, names(env, "nothing.here"))
    assert.same({}, names(env, "alpha.one.two"))
    assert.same({ "upper" }, names({ s = "text" }, "s:upp"))
    local conn = tcp_client.connect("127.0.0.1", 1, {})
    assert.same({ "shutdown" }, names({ c = conn }, "c:shut"))
    conn:abort()
  end)

  it("keeps out of text, and of what would have to be computed", function()
    for _, before in ipairs { "'a", '"a', "f().a", "t[1].a", "1.a", "a..a.." } do
      assert.same({ insert = "", names = {} }, complete.complete(env, before), before)
    end
  end)

  it("runs nothing but __complete", function()
    local function no()
      error "called"
    end
    local traps = setmetatable({}, { __index = no, __pairs = no, __len = no, __tostring = no, __call = no })
    assert.same({}, names({ t = traps }, "t.a"))
    assert.same({}, names({ t = traps }, "t.a.b"))
    local told = setmetatable({}, { __complete = function(_, prefix) return { prefix .. "x", "other", 5 } end })
    assert.same({ insert = "x(", names = { "ax" } }, complete.complete({ t = told }, "t:a"))
    assert.same({ insert = "x'", names = { "ax" } }, complete.complete({ t = told }, "t:call('a"))
    assert.same({}, names({ t = setmetatable({}, { __complete = no }) }, "t:a"))
  end)

  it("is bounded: cycles of metatables, a million names", function()
    local a, b = {}, {}
    setmetatable(a, { __index = b })
    setmetatable(b, { __index = a })
    assert.same({}, names({ a = a }, "a.x"))
    local many = {}
    for i = 1, 100000 do
      many["n" .. i] = i
    end
    local found = names({ many = many }, "many.n")
    assert.is_true(#found <= 201, #found)
    assert.matches("more$", found[#found])
  end)
end)
