-- What is typed is evaluated: as a task that may wait, be interrupted, and that ends.

local budget = require "lunode.budget"
local cleanup = require "lunode.test.cleanup"
local loop = require "lunode.loop"
local sessions = require "lunode.repl.session"
local task = require "lunode.task"
local wait = require "lunode.test.wait"

local function new(objects, seconds)
  local printed = {}
  local session = sessions.new(objects or {}, {
    seconds = seconds,
    print = function(text)
      printed[#printed + 1] = text
    end,
  })
  return session, printed
end

-- The limit of a turn, for one test.
local function limit(seconds)
  budget.set(seconds)
  cleanup.add(function()
    budget.set(math.huge, false)
  end)
end

local function same(expected, outcome)
  assert.same(expected, { outcome.status, outcome.text })
end

describe("a session", function()
  it("evaluates expressions and statements", function()
    local session = new()
    same({ "ok", "2" }, session:eval "1 + 1")
    same({ "ok", 'nil, "two", { 3 }' }, session:eval "nil, 'two', { 3 }")
    same({ "ok", "" }, session:eval "x = 5")
    same({ "ok", "5" }, session:eval "=x")
    same({ "ok", "5" }, session:eval "_")
    same({ "ok", "" }, session:eval "")
    same({ "ok", "7" }, session:eval "local y = 2 return x + y")
    assert.is_nil(rawget(_G, "x"))
    same({ "ok", "1\n[2]" }, session:eval("1, { 2 }", { json = true }))
  end)

  it("keeps its globals to itself, over those of the process and the objects given", function()
    local one, two = new { thing = 1 }, new { thing = 2 }
    one:eval "mine = 1; thing = thing + 10"
    same({ "ok", "1, 11" }, one:eval "mine, thing")
    same({ "ok", "nil, 2" }, two:eval "mine, thing")
    same({ "ok", "true" }, two:eval "print ~= nil and string == require 'string'")
  end)

  it("tells errors without its own part of the traceback", function()
    local session = new { bad = { fn = function() error "deep" end } }
    same({ "error", "prompt:1: here" }, session:eval "error 'here'")
    same({ "error", "{ 1 }" }, session:eval "error { 1 }")
    same({ "error", "nil" }, session:eval "error()")
    same({ "error", "prompt:1: attempt to index a nil value (global 'none')" }, session:eval "none.x")
    same({ "error", "prompt:1: unexpected symbol near '*'" }, session:eval "1 + * 2")
    assert.matches("^.-session_spec.lua:%d+: deep\nstack traceback:\n\t.-session_spec.lua:%d+: in [^\n]*$",
      session:eval("bad.fn()").text)
    same({ "error", "\\x1b[2J" }, session:eval "error('\27[2J', 0)")
    same({ "error", "prompt:1: boo" }, session:eval "setmetatable({}, { __tostring = error }); error 'boo'")
  end)

  it("knows what is not complete yet", function()
    for _, code in ipairs {
      "for i = 1, 2 do", "x = ", "{", "f(", "[[ text", "if x then\nelse", "--[[", "1 +", "a.b.", "'a\\", "'a\\z ",
    } do
      assert.is_true(sessions.is_incomplete(code), code)
    end
    for _, code in ipairs { "", "x = 1", "end", "}", "1 1", "'text", "x = = 1", "goto x", "\27Lua", "\0" } do
      assert.is_false(sessions.is_incomplete(code), code)
    end
  end)

  it("refuses bytecode, and code without measure", function()
    local session = new()
    assert.equal("error", session:eval(string.dump(function() end)).status)
    assert.equal("error", session:eval("\27Lua").status)
    assert.matches("longer than 1048576 bytes", session:eval(("x"):rep(2 << 20)).text)
  end)

  it("waits for what waits, and prints where it is told to", function()
    local session, printed = new()
    same({ "ok", "42" }, session:eval "print(1, nil, {} ~= nil); task.sleep(0.01) return 42")
    assert.same({ "1\tnil\ttrue\n" }, printed)
    session:eval "show({ { { { { { 1 } } } } } })"
    assert.equal("{ { { { { { 1 } } } } } }\n", printed[2])
    assert.matches("must be an integer", session:eval("show(1, { depth = 'x' })").text)
  end)

  it("is interrupted by the cancellation of who asked", function()
    local session = new()
    local outcome
    local asked = task.spawn(function()
      outcome = session:eval "task.sleep(1000)"
    end)
    wait.turns(3)
    asked:cancel()
    wait.till(function()
      return outcome
    end)
    same({ "interrupted", "interrupted" }, outcome)
  end)

  it("ends what waits for too long", function()
    local session = new({}, 0.05)
    same({ "timeout", "timed out: it took longer than 0.05 s" }, session:eval "task.sleep(1000)")
    same({ "ok", "1" }, session:eval "1")
  end)

  it("ends what catches that, too", function()
    local errors = {}
    loop.on_error(function(text)
      errors[#errors + 1] = text
    end)
    local session = new({}, 0.05)
    same({ "timeout", "timed out: it took longer than 0.05 s" },
      session:eval "n = 0; while true do pcall(task.sleep, 1000); n = n + 1 end")
    wait.till(function()
      return errors[1]
    end)
    assert.matches("ended: it went on after it was cancelled", errors[1])
    local turns = session.env.n
    for _ = 1, 3 do
      task.yield()
    end
    assert.equal(turns, session.env.n)
  end)

  it("ends loops without an end, whatever they do about it", function()
    limit(0.05)
    local session = new()
    local TOO_LONG = "ran for [%d.]+ s without waiting; the limit is 0.05 s"
    for _, code in ipairs {
      "while true do end",
      "while true do pcall(function() while true do end end) end",
      "while true do pcall(pcall, function() while true do end end) end",
      "local f; f = function() return f() end; f()",
      "while true do coroutine.wrap(function() while true do end end)() end",
      "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
      "while true do xpcall(function() while true do end end, function() end) end",
      "setmetatable({}, { __tostring = function() while true do end end })",
      "table.sort({ 1, 2, 3 }, function() while true do end end)",
      "('x'):gsub('x', function() while true do end end)",
      "local t <close> = setmetatable({}, { __close = function() while true do end end }); while true do end",
      "repeat local ok = pcall(error) until false",
    } do
      local outcome = session:eval(code)
      assert.is_true(outcome.status == "error" or outcome.text:find "raises" ~= nil, code)
      assert.is_truthy(outcome.text:find(TOO_LONG) or outcome.text:find "raises", code .. ": " .. outcome.text)
    end
    same({ "ok", "1" }, session:eval "1")
  end)

  it("ends them in tasks and timers that it has started, too", function()
    limit(0.05)
    local errors = {}
    loop.on_error(function(text)
      errors[#errors + 1] = text
    end)
    local session = new()
    session:eval "task.spawn(function() while true do end end)"
    session:eval "task.spawn(function() task.sleep(0.001); task.spawn(function() while true do end end) end)"
    session:eval "loop.timer(0.001, function() while true do end end)"
    session:eval "loop.defer(function() while true do end end)"
    session:eval "require('lunode.loop').defer(function() while true do end end)"
    wait.till(function()
      return #errors == 5
    end, 10, "five errors")
    for _, text in ipairs(errors) do
      assert.matches("ran for [%d.]+ s without waiting", text)
    end
  end)

  it("lets code run on in turns: what waits now and then may last", function()
    limit(0.1)
    local session = new()
    same({ "ok", "20" }, session:eval [[
      local n = 0
      for _ = 1, 20 do
        for _ = 1, 100000 do end
        n = n + 1
        task.yield()
      end
      return n]])
  end)

  it("writes no more than a screenful of a large result, and can show more", function()
    local session, printed = new()
    session:eval "t = {}; for i = 1, 100000 do t[i] = i end"
    local outcome = session:eval "t"
    assert.is_true(#outcome.text < 1000)
    assert.matches("show%(value%)", outcome.text)
    session:eval "show(t)"
    assert.matches("\n  1000,\n  … 99000 more,\n}\n$", printed[1])
    session:eval "show(t, { items = 20000 })"
    assert.matches("\n  20000,\n", printed[2])
  end)

  it("leaves nothing behind that keeps it", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local session = new()
      session:eval "x = { 1 }"
      weak[session.env] = true
    end
    for _ = 1, 3 do
      task.yield()
      collectgarbage()
    end
    assert.is_nil(next(weak))
  end)
end)

describe("a budget", function()
  it("raises at misuse", function()
    for _, bad in ipairs { -1, 0 / 0, "x", {} } do
      assert.has_error(function() budget.set(bad) end)
    end
  end)

  it("costs and ends only the coroutine that is armed, and those made in it", function()
    limit(0.02)
    loop.step(0)
    local function spin(seconds)
      local until_ = loop.time() + seconds
      repeat until loop.time() > until_
      return true
    end
    assert.is_true(spin(0.04)) -- this one is not
    local armed = coroutine.wrap(function()
      budget.arm()
      return pcall(coroutine.wrap(spin), 0.04)
    end)
    local ok, err = armed()
    assert.is_false(ok)
    assert.matches("the limit is 0.02 s", err)
    assert.same({ true, 1, nil, 3 }, { budget.call(function(...) return ... end, 1, nil, 3) })
    ok, err = budget.call(function() while true do pcall(spin, 1) end end)
    assert.is_false(ok)
    assert.matches("the limit is 0.02 s", err)
    assert.is_true(spin(0.04)) -- it has gone with the call
  end)
end)
