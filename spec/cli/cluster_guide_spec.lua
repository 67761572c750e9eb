-- docs/guide/cluster.md: its blocks are run in one shell, as its reader does, and print what the page says, but for
-- numbers: terms, indexes, times and the cluster's own number differ.

local lunode = require "spec.support.lunode"
local page = require "spec.support.page"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"

local MARK = "\1"

-- Each number is one; blanks do not count, as columns are as wide as what is in them.
local function normal(text)
  return (text:gsub("cluster %x+", "cluster #"):gsub("%d+", "#"):gsub("#[#.:-]*#", "#"):gsub("[ \t]+", " "))
end

local function with_free_ports(text)
  local given = {}
  return (text:gsub("%f[%d]70%d%d%f[%D]", function(port)
    given[port] = given[port] or tostring(ports.free())
    return given[port]
  end))
end

describe("docs/guide/cluster.md", function()
  it("has blocks that do what it says, one after the other", function()
    local blocks = page.blocks(assert(tmp.read "docs/guide/cluster.md"))
    assert.is_true(#blocks >= 5)
    local dir = tmp.dir()
    local place = tmp.quote(dir)
    os.execute(("mkdir %s/bin && ln -s %s %s/bin/lunode"):format(place, tmp.quote(lunode.bin), place))
    local script = {
      "set -eu\nPATH=$PWD/bin:$PATH\ntrap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT\n",
      'redis-cli() { command redis-cli --no-raw "$@"; }\n', -- as on a terminal
    }
    for _, block in ipairs(blocks) do
      assert.equal("sh", block.kind)
      script[#script + 1] = block.code .. ("printf '%s\\n'\n"):format("\\001")
    end
    tmp.write(dir .. "/page.sh", with_free_ports(table.concat(script)))
    local code, out, err = process.run { "bash", "page.sh", cwd = dir, seconds = 55 }
    err = err:gsub("[^\n]* Killed [^\n]*\n", "") -- the shell notices
    local printed = {}
    for text in out:gmatch("(.-)" .. MARK .. "\n") do
      printed[#printed + 1] = text
    end
    for i, block in ipairs(blocks) do
      assert.equal(normal(block.text or ""), normal(printed[i] or ""), err)
    end
    assert.same({ 0, "" }, { code, err })
  end)
end)
