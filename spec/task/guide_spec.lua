-- The snippets of docs/guide/tasks.md are run as they stand there, and print what they say after `-->`.

local lunode = require "spec.support.lunode"
local tmp = require "spec.support.tmp"

local ROOT = arg[0]:match("^(.*)/spec/") or "."

local snippets = {}
for snippet in assert(tmp.read(ROOT .. "/docs/guide/tasks.md")):gmatch("```lua\n(.-)```") do
  snippets[#snippets + 1] = snippet
end

describe("the guide to tasks", function()
  it("has its snippets", function()
    assert.equal(6, #snippets)
  end)

  for i, snippet in ipairs(snippets) do
    it("shows what happens, in snippet " .. i, function()
      local expected = {}
      for text in snippet:gmatch("%-%-> ([^\n]*)") do
        expected[#expected + 1] = text
      end
      assert.is_true(#expected > 0)
      local code, out, err = lunode.run { "run", "-", stdin = snippet, seconds = 30 }
      assert.equal("", err)
      assert.equal(0, code)
      assert.equal(table.concat(expected, "\n") .. "\n", out)
    end)
  end
end)
