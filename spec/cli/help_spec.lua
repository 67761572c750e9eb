local lunode = require "spec.support.lunode"
local tmp = require "lunode.test.tmp"

local VERBS = {
  "run", "repl", "attach", "kv", "cluster", "backup", "restore", "check", "dump", "test", "version", "help",
}

describe("lunode on the command line", function()
  it("prints its version, which is CMake's", function()
    local code, out, err = lunode.run { "version" }
    assert.same({ 0, "" }, { code, err })
    local version = out:match("^lunode (%d+%.%d+%.%d+) %(Lua 5%.4%)\n$")
    assert.is_truthy(version, out)
    assert.equal(version, tmp.read("CMakeLists.txt"):match("project%(lunode VERSION (%S+)"))
    assert.equal(out, select(2, lunode.run { "--version" }))
  end)

  it("prints the short help when alone, with every verb", function()
    local code, out, err = lunode.run {}
    assert.same({ 0, "" }, { code, err })
    for _, verb in ipairs(VERBS) do
      assert.is_truthy(out:find("\n  " .. verb .. " ", 1, true), verb)
    end
    for _, words in ipairs { { "help" }, { "--help" }, { "-h" } } do
      assert.equal(out, select(2, lunode.run(words)))
    end
  end)

  it("explains each verb the same way, asked before or after it", function()
    for _, verb in ipairs(VERBS) do
      local code, out, err = lunode.run { "help", verb }
      assert.same({ 0, "" }, { code, err })
      assert.is_truthy(out:find("usage: lunode " .. verb, 1, true), out)
      if verb ~= "help" then
        assert.equal(out, select(2, lunode.run { verb, "--help" }))
      end
    end
  end)

  it("names in the help of kv each option, in aligned columns", function()
    local _, out = lunode.run { "help", "kv" }
    local columns = {}
    for name, left, gap in out:gmatch("\n  %-%-([%l-]+)(.-)(  +)%l") do
      columns[#columns + 1] = utf8.len(name .. left .. gap)
      assert.equal(columns[1], columns[#columns])
    end
    assert.equal(22, #columns)
    for _, name in ipairs {
      "listen", "data", "sync", "engine", "requirepass", "maxclients", "protected", "rename-command", "console",
      "no-console", "config", "log-level",
    } do
      assert.is_truthy(out:find("\n  --" .. name .. " ", 1, true), name)
    end
  end)

  it("refuses an unknown verb, names the nearest, and exits 2", function()
    local code, out, err = lunode.run { "vk" }
    assert.same({ 2, "", 'lunode: unknown verb "vk"; did you mean kv?\n' }, { code, out, err })
    assert.equal(2, (lunode.run { "help", "versoin" }))
    code, out, err = lunode.run { "qqqqqqqq" }
    assert.equal("", out)
    assert.equal(2, code)
    assert.is_truthy(err:find("known are " .. table.concat(VERBS, ", "), 1, true), err)
  end)

  it("refuses arguments that it has no use for", function()
    assert.equal(2, (lunode.run { "version", "1" }))
    assert.equal(2, (lunode.run { "help", "run", "kv" }))
  end)

  it("survives a reader that goes away", function()
    local process = require "lunode.test.process"
    local code = process.run { "sh", "-c", '"$1" help kv | true', "sh", lunode.bin }
    assert.equal(0, code)
  end)
end)
