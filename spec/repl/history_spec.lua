-- What was typed is kept for the next prompt: in a file that is nobody else's to read, without what should not be in
-- one.

local histories = require "lunode.repl.history"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"

local function open(path, instead)
  local warnings = {}
  local history, entries = histories.open(path, function(text)
    warnings[#warnings + 1] = text
  end, instead)
  return history, entries, warnings
end

local function mode_of(path)
  local _, out = process.run { "stat", "-c", "%a", path }
  return out:match "%d+"
end

describe("the history", function()
  it("comes back as it was, lines of several lines, too", function()
    local path = tmp.dir() .. "/h"
    local history, entries = open(path)
    assert.same({}, entries)
    local all = { "x = 1", "for i = 1, 2 do\n  print(i)\nend", "a \\n b \\\\", "'ä€'" }
    for _, entry in ipairs(all) do
      history:add(entry)
    end
    history:close()
    history:add "after its end"
    history, entries = open(path)
    assert.same(all, entries)
    history:close()
  end)

  it("is for its user alone, also where the file was there already", function()
    local path = tmp.dir() .. "/h"
    open(path):close()
    assert.equal("600", mode_of(path))
    os.execute("chmod 644 " .. tmp.quote(path))
    open(path):close()
    assert.equal("600", mode_of(path))
  end)

  it("keeps no passwords, and nothing that begins with a space", function()
    for _, entry in ipairs {
      "r:auth('x')", 'r:AUTH "x"', 'r:call("auth", "x")', 'redis("h:1", { password = "x" })',
      "c:config('SET', 'requirepass', 'x')", "r:hello(3, 'AUTH', 'a', 'b')", "passwd = 1", "SECRET = 1", "token = 2",
      " x = 1", "\tx", "", "  ", "a\0b", ("x"):rep(70000),
    } do
      assert.is_false(histories.is_kept(entry), entry)
    end
    for _, entry in ipairs { "author = 1", "x = 1", "authors()", "r:get 'k'" } do
      assert.is_true(histories.is_kept(entry), entry)
    end
  end)

  it("is found by XDG's rules, by LUNODE_HISTORY, or nowhere", function()
    local function path(env)
      return { histories.path(function(name) return env[name] end) }
    end
    assert.same({ "/h/.lunode_history" }, path { HOME = "/h" })
    assert.same({ "/s/lunode_history", "/h/.lunode_history" }, path { HOME = "/h", XDG_STATE_HOME = "/s" })
    assert.same({ "/h/.lunode_history" }, path { HOME = "/h", XDG_STATE_HOME = "relative" })
    assert.same({ "/x" }, path { HOME = "/h", LUNODE_HISTORY = "/x" })
    assert.is_nil(path { HOME = "/h", LUNODE_HISTORY = "" }[1])
    assert.is_nil(path {}[1])
    local dir = tmp.dir()
    local history, _, warnings = open(dir .. "/none/h", dir .. "/h")
    history:add "kept"
    history:close()
    assert.same({}, warnings)
    assert.equal("kept\n", tmp.read(dir .. "/h"))
  end)

  it("stays bounded", function()
    local path = tmp.dir() .. "/h"
    local lines = {}
    for i = 1, 5000 do
      lines[i] = "line " .. i .. "\n"
    end
    tmp.write(path, table.concat(lines))
    local history, entries = open(path)
    assert.same({ 1000, "line 4001", "line 5000" }, { #entries, entries[1], entries[1000] })
    history:add "one more"
    history:close()
    assert.equal(1001, select(2, tmp.read(path):gsub("\n", "")))
    assert.equal("600", mode_of(path))
    assert.is_nil(tmp.read(path .. ".new"))
    tmp.write(path, ("x"):rep(6 << 20)) -- one line without an end
    history, entries = open(path)
    assert.same({}, entries)
    history:close()
  end)

  it("warns once where it cannot be kept, and goes on", function()
    local dir = tmp.dir()
    local history, entries, warnings = open(dir .. "/no/such/h")
    assert.same({}, entries)
    assert.equal(1, #warnings)
    assert.matches("what you type is not kept: .*: ", warnings[1])
    history:add "x"
    history:close()
    history, entries, warnings = open "/dev/null"
    assert.same({}, entries)
    assert.matches("/dev/null", warnings[1])
    history:close()
    history, entries, warnings = open(dir)
    assert.same({ 0, 1 }, { #entries, #warnings })
    history:close()
  end)

  it("goes on when the disk is full", function()
    -- The limit on the size of files stands for it: both make the write fail.
    local dir = tmp.dir()
    local script = tmp.write(dir .. "/s.lua", [[
      local history = require("lunode.repl.history").open(arg[1], function(text) print(text) end)
      for _ = 1, 3 do history:add(("x"):rep(3000)) end
      print "alive"
    ]])
    local lunode = require "spec.support.lunode"
    local code, out = process.run {
      "sh", "-c", 'trap "" XFSZ; ulimit -f 8; exec "$@"', "sh", lunode.bin, "run", script, dir .. "/h",
    }
    assert.equal(0, code)
    assert.matches("^what you type is not kept any more: .*\nalive\n$", out)
  end)
end)
