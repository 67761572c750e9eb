-- The prompt on a real terminal: what is typed, and what stands on the screen.

local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local terminal = require "spec.support.terminal"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local PROMPT = "lunode> "

local function start(options)
  options = options or {}
  table.insert(options, 1, lunode.bin)
  if #options == 1 then
    options[2] = "repl"
  end
  local t = terminal.start(options)
  t:wait(options.prompt or "lunode>")
  return t
end

--- Until the last line of the screen is this.
local function wait_last(t, text)
  t:wait(function(screen)
    return screen:match "([^\n]*)\n$" == text
  end)
end

describe("the prompt on a terminal", function()
  it("evaluates what is typed, and leaves the terminal as it was", function()
    local t = start()
    t:run "x = 20 + 1"
    t:run "x * 2, 'ok'"
    t:wait '\n42, "ok"\n'
    t:run "_ + 1"
    t:wait "\n43\n"
    t:run "nil .. 1"
    t:wait "\nprompt:1: attempt to concatenate a nil value\n"
    t:key "C-d"
    assert.equal(0, t:ended())
  end)

  it("takes several lines for one piece of code", function()
    local t = start()
    t:run "for i = 1, 2 do"
    t:wait "\n      >>"
    t:run "print('number', i)"
    t:run "end"
    t:wait "\nnumber  1\nnumber  2\n" -- the terminal has made spaces of the tabs
  end)

  it("prints what callbacks print above the line that is being edited", function()
    local t = start { columns = 40, rows = 12 }
    t:run "n = 0; loop.timer(0.2, function(t) n = n + 1; print('tick ' .. n); if n == 3 then t:close() end end, 0.2)"
    t:type "not yet"
    t:wait "tick 3\n"
    wait_last(t, PROMPT .. "not yet")
    local _, count = t:screen():gsub("not yet", "")
    assert.equal(1, count)
    -- A line that takes several rows goes, too, and comes back whole.
    local long = ("abcdefgh"):rep(10)
    t:key "C-u"
    t:type("s = '" .. long .. "'; loop.timer(0.05, function() io.write 'half' end)")
    t:key "Enter"
    t:type(long)
    t:wait "half\n"
    t:wait(function(screen)
      return screen:gsub("\n", ""):find("half" .. PROMPT .. long, 1, true)
    end)
    t:key "C-c"
    t:run "#s"
    t:wait "\n80\n"
  end)

  it("waits for what waits, and interrupts it with Ctrl-C", function()
    local t = start()
    t:run "task.sleep(0.01); print 'awake'"
    t:wait "\nawake\n"
    t:run "print 'asleep'; task.sleep(1000)"
    t:wait "\nasleep\n"
    t:key "C-c"
    t:wait "interrupted\n"
    t:run "1 + 1"
    t:wait "\n2\n"
  end)

  it("interrupts loops without an end: in code, behind pcall, in tasks and in timers", function()
    local t = start()
    for _, code in ipairs {
      "print 'go'; while true do end",
      "print 'go'; while true do pcall(function() while true do end end) end",
      "task.spawn(function() print 'go'; while true do end end); nil",
      "task.spawn(function() print 'go'; while true do end end)",
      "loop.timer(0, function() print 'go'; while true do end end)",
    } do
      t:key "C-l"
      t:run(code)
      if not code:find "nil$" then
        t:wait "\ngo\n"
        t:key "C-c"
        t:wait "interrupted"
      end
      t:run "'still ' .. 'here'"
      t:wait '"still here"'
    end
  end)

  it("drops a line with Ctrl-C, and goes on after Ctrl-Z", function()
    local t = start()
    t:type "abc def"
    t:wait "abc def"
    t:key "C-c"
    wait_last(t, "lunode>")
    t:run "('x'):rep(3)"
    t:wait '"xxx"'
    t:type "'half a "
    t:wait "'half a"
    t:key "C-z"
    local stopped = wait.till(function()
      return (tmp.read("/proc/" .. t.pid .. "/stat") or ""):find "%) T "
    end, 10, "it to stop")
    assert.is_truthy(stopped)
    os.execute("kill -CONT " .. t.pid)
    t:type "line'"
    t:key "Enter"
    t:wait '"half a line"'
    t:key "C-d"
    assert.equal(0, t:ended())
  end)

  it("completes globals, fields, methods", function()
    local t = start()
    t:run "thing = setmetatable({ alpha = 1 }, { __index = { beta = function() end, betamax = 2 } })"
    t:type "thi"
    t:key "Tab"
    t:wait(PROMPT .. "thing")
    t:type ".al"
    t:key "Tab"
    t:wait "thing.alpha"
    t:key "C-u"
    t:type "thing.be"
    t:key "Tab"
    t:wait "thing.beta"
    t:key "Tab"
    t:wait "beta     betamax\n"
    t:key "C-u"
    t:type "thing:be"
    t:key "Tab"
    t:wait "thing:beta("
    t:key "C-u"
    t:type "loop.time"
    t:key("Tab", "Tab")
    t:wait "time   timer\n"
    t:key "C-u"
    t:type "('x'):re"
    t:key "Tab" -- nobody knows what that is before it is computed
    t:type "p(2)"
    t:key "Enter"
    t:wait '"xx"'
  end)

  it("knows UTF-8, and searches what was typed before", function()
    local t = start()
    t:run "'grün ' .. #'€'"
    t:wait '"grün 3"'
    t:type "'äöü'"
    t:key("Left", "Left", "BSpace")
    t:key "Enter"
    t:wait '"äü"'
    t:key "C-r"
    t:type "grün"
    t:key("Enter")
    t:wait(function(screen)
      return select(2, screen:gsub('"grün 3"', "")) == 2
    end)
    t:key("Up", "Up", "Enter")
  end)

  it("keeps history for this user alone, without passwords, for the next prompt", function()
    local t = start()
    t:run "'first' .. 'one'"
    t:wait "firstone"
    t:run " 'not' .. 'kept'"
    t:wait "notkept"
    t:run "passw = 'hush'"
    t:run "{"
    t:run "7 }"
    t:wait "{ 7 }"
    t:key "C-d"
    t:ended()
    local path = t.dir .. "/.lunode_history"
    assert.equal("'first' .. 'one'\n{\\n7 }\n", tmp.read(path))
    local _, mode = process.run { "stat", "-c", "%a", path }
    assert.equal("600\n", mode)

    local again = start { cwd = t.dir }
    again:key("Up", "Up", "Enter")
    again:wait "\n\"firstone\"\n"
  end)

  it("survives binary input, keys that mean nothing, and lines without end", function()
    local t = start()
    t:type "\1\2\5\11\14\27[99;99~\27OZ\27\27\127\255\254\xc3"
    t:wait "9;99"
    t:key "C-c"
    t:wait "^C\nlunode>"
    t:type(("x"):rep(5000))
    t:wait(("x"):rep(79))
    t:key "C-c"
    t:wait "x^C\nlunode>"
    t:run "'a' .. 'live'"
    t:wait '"alive"'
    t:type "'tell"
    t:key "Escape" -- the beginning of a sequence, maybe: the loop goes on
    t:wait "'tell"
    t:key "C-c"
    t:wait "'tell^C\nlunode>"
    t:run "loop.timer(0.01, function() print 'turns' end)"
    t:wait "\nturns\n"
    t:key("C-u", "C-d")
    assert.equal(0, t:ended())
  end)

  it("gives the terminal back however it ends", function()
    for _, name in ipairs { "TERM", "HUP", "QUIT", "ABRT" } do
      local t = start()
      os.execute(("kill -s %s %d"):format(name, t.pid))
      assert.is_true(t:ended() >= 128, name)
    end
    local t = start()
    t:run "loop.timer(0.01, function() os.exit(7) end)"
    assert.equal(7, t:ended())
    t = start()
    t:run "loop.timer(0.01, function() error 'oops' end)"
    t:wait "oops"
    t:run "1 + 1"
    t:wait "\n2\n"
    t:key "C-d"
    assert.equal(0, t:ended())
  end)

  it("is drawn anew when the terminal has another size", function()
    local t = start { columns = 60 }
    t:type(("y"):rep(70))
    t:resize(100, 20)
    wait.till(function()
      t:key "C-l"
      return t:screen():find(PROMPT .. ("y"):rep(70) .. "\n", 1, true)
    end, 10, "one row of it")
  end)

  it("has colours, but for NO_COLOR and for terminals that have none", function()
    local t = start { env = { NO_COLOR = false } }
    t:run "'red'"
    t:wait '"red"'
    t:key "C-d"
    assert.equal(0, t:ended())
    local dumb = start { env = { TERM = "dumb" } , prompt = "" }
    dumb:run "1 + 1"
    dumb:wait "\n2\n"
  end)

  it("opens beside a script, which goes on", function()
    local script = tmp.write(tmp.dir() .. "/script.lua", [[
      local loop = require "lunode.loop"
      count = 0
      loop.timer(0.01, function() count = count + 1 end, 0.01)
      print("script has run", ...)
    ]])
    local t = start { "run", "--repl", script, "one" }
    t:wait "script has run"
    wait.till(function()
      t:run "count > 3 and 'counted'"
      return t:screen():find('"counted"', 1, true)
    end)
    t:key "C-d"
    assert.equal(0, t:ended())
  end)
end)
