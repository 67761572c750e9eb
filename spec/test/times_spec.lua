-- How long spec files took: remembered where that can be, and nothing else is touched for it.

local lunode = require "spec.support.lunode"
local tmp = require "lunode.test.tmp"

describe("the times of spec files", function()
  local dir

  local function run(times)
    tmp.write(dir .. "/x_spec.lua", 'it("a", function() end)')
    local env = { LUNODE_TEST_TIMES = times, XDG_CACHE_HOME = dir .. "/cache", HOME = dir }
    local code, out, err = lunode.run { "test", "x_spec.lua", cwd = dir, env = env }
    assert.equal(0, code, out .. err)
    assert.equal("", err)
  end

  before_each(function()
    dir = tmp.dir()
  end)

  it("are kept in the user's cache", function()
    run(false)
    run ""
    assert.is_truthy(tmp.read(dir .. "/cache/lunode/test-times"):find "^[%d.]+ /[^\n]*/x_spec.lua\n$")
  end)

  it("keep those of other files, and survive nonsense", function()
    tmp.write(dir .. "/times", "1.500 /elsewhere/y_spec.lua\nnonsense\n\0\n1.2.3 /z\n")
    run(dir .. "/times")
    assert.is_truthy(tmp.read(dir .. "/times"):find "^[%d.]+ /[^\n]*/x_spec.lua\n1.500 /elsewhere/y_spec.lua\n$")
  end)

  it("never replace what is no file of theirs", function()
    local quoted = tmp.quote(dir)
    assert(os.execute(("mkfifo %s/fifo && ln -s x_spec.lua %s/link"):format(quoted, quoted)))
    for _, name in ipairs { "fifo", "link", "." } do
      local path = dir .. "/" .. name
      local function kind()
        local pipe = assert(io.popen("stat -c %F " .. tmp.quote(path)))
        local text = pipe:read "l"
        pipe:close()
        return text
      end
      local before = kind()
      run(path)
      assert.equal(before, kind())
    end
  end)

  it("may be where nothing can be written", function()
    run(dir .. "/x_spec.lua/below")
  end)
end)
