-- How results are shown: to people, to other programs.

local junit = require "lunode.test.junit"
local kit = require "spec.test.kit"
local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"

local has, run = kit.has, kit.run

kit.prepare()

describe("progress", function()
  -- Runs it on a terminal of so many columns; returns what was drawn.
  local function draw(columns, env)
    tmp.write(kit.dir .. "/spec/a_spec.lua", 'it("waits", function() require("lunode.task").sleep(0.5) end)')
    tmp.write(kit.dir .. "/spec/b_spec.lua", 'it("fails", function() error("here", 0) end)')
    local command = ("stty cols %d; %s test --jobs 2"):format(columns, tmp.quote(lunode.bin))
    local all = { LUNODE_TEST_TIMES = kit.dir .. "/times", TERM = "xterm", NO_COLOR = false, SHELL = "/bin/sh" }
    for name, value in pairs(env or {}) do
      all[name] = value
    end
    process.run { "script", "-qec", command, kit.dir .. "/typescript", cwd = kit.dir, env = all }
    return (tmp.read(kit.dir .. "/typescript"):gsub("^Script started[^\n]*\n", ""):gsub("\nScript done.*", ""))
  end

  it("is one line on a terminal, as wide as that, and goes away", function()
    local out = draw(50)
    local lines = 0
    for line in out:gmatch "\r(%[%d/2 files%][^\27]*)\27%[K" do
      lines = lines + 1
      assert.is_true(utf8.len(line) <= 49, line)
    end
    assert.is_true(lines > 1)
    assert.is_truthy(out:find("\r[1/2 files] 0 passed, 1 failed, 0:0", 1, true), out)
    assert.is_truthy(out:find "\n1 passed, 1 failed\r%s*$", out)
  end)

  it("has colours unless they are unwanted", function()
    has("\27[31mFAILED \27[0mspec/b_spec.lua: fails", draw(80))
    assert.is_nil(draw(80, { NO_COLOR = "1" }):find("\27[31m", 1, true))
  end)

  it("is not shown where there is no such terminal", function()
    assert.is_nil(draw(80, { TERM = "dumb" }):find("files]", 1, true))
    local _, out = run('it("a", function() end)')
    assert.is_nil(out:find("\27", 1, true))
  end)
end)

describe("results for other programs", function()
  local hostile = [==[
    it("a", function() end)
    it("b # <&\"\27[31m>\n\0\255 ü", function() error("bad <]]> \1 \255 \u{FFFE} & \n second") end)
    it("c", function() pending "later <" end)
    os.execute "echo from the spec"
  ]==]

  it("are TAP, with a plan, and escaped", function()
    local code, out = run(hostile, { "--tap" })
    assert.equal(1, code)
    has("TAP version 13\nok 1 - spec/x_spec.lua: a\nnot ok 2 - spec/x_spec.lua: b \\# <&\"\\x1b[31m> \\x00", out)
    has("\n#  second\n", out)
    has("\nok 3 - spec/x_spec.lua: c # SKIP spec/x_spec.lua:3: later <\n1..3\n", out)
  end)

  it("are XML that is well-formed", function()
    local path = kit.dir .. "/out.xml"
    local code = run(hostile, { "--junit", path })
    assert.equal(1, code)
    local text = tmp.read(path)
    has('tests="3" failures="1" errors="0" skipped="1"', text)
    assert.is_truthy(utf8.len(text))
    assert.is_nil(text:find "[\0-\8\11-\31\127]")
    assert.is_nil(text:find("]]>", 1, true))
    assert.is_nil(text:find "&[^aglq#]")
    has('name="b # &lt;&amp;&quot;\\x1b[31m&gt;&#10;\\x00\\xff ü"', text)
  end)

  it("are written where that can be, or the run fails", function()
    local code, out = run('it("a", function() end)', { "--junit", "no/such/dir/out.xml" })
    assert.equal(1, code)
    has("--junit: no/such/dir/out.xml: No such file or directory", out)
  end)

  it("escape what XML has no character for", function()
    local hostile_name = "\xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80 \u{10FFFF} \u{FFFF} \xe2\x82"
    local total = { passed = 0, failed = 1, skipped = 0, seconds = 0, files = {} }
    total.files[1] = {
      file = "f", passed = 0, failed = 1, skipped = 0, seconds = 0, troubles = {},
      tests = { { name = hostile_name, status = "failed", seconds = 0 } },
    }
    has("\\xed\\xa0\\x80 \\xc0\\x80 \\xf4\\x90\\x80\\x80 \u{10FFFF} \\xef\\xbf\\xbf \\xe2\\x82", junit.text(total))
  end)
end)
