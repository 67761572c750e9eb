-- docs/testing.md, run as it stands there, in one directory: ```lua that begins with `-- name.lua` becomes that file,
-- other ```lua is run and prints what stands behind `-->` or in the ```text after it; so does ```sh its ```text.
-- `…` in a line stands for anything, and a line of nothing else for any lines.

local lunode = require "spec.support.lunode"
local page = require "spec.support.page"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"

local TREE = lunode.bin:gsub("/bin/[^/]*$", "")

local function line_matches(line, wanted)
  local pattern = wanted:gsub("%p", "%%%0"):gsub("…", ".*")
  return line:find("^" .. pattern .. "$") ~= nil
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do
    lines[#lines + 1] = line
  end
  return lines
end

-- Does the output, from a line on, match what is expected, from a line on?
local function matches(output, wanted, i, k)
  if k > #wanted then
    return i > #output
  elseif wanted[k]:match("^%s*…$") then
    for from = i, #output + 1 do
      if matches(output, wanted, from, k + 1) then
        return true
      end
    end
    return false
  end
  return i <= #output and line_matches(output[i], wanted[k]) and matches(output, wanted, i + 1, k + 1)
end

local function assert_output(block, output)
  local expected = page.expected(block)
  if not matches(lines_of(output), lines_of(expected), 1, 1) then
    assert.equal(expected, output)
  end
end

describe("docs/testing.md", function()
  local text = assert(tmp.read("docs/testing.md"))
  local blocks, dir = page.blocks(text), nil

  setup(function()
    dir = tmp.dir()
    local quoted = tmp.quote(dir)
    local root = (assert(io.popen("pwd -P")):read("l"))
    assert(os.execute(("mkdir %s/build && ln -s %s %s/build/release && ln -s %s/examples %s/examples"):format(
      quoted, tmp.quote(TREE), quoted, tmp.quote(root), quoted)))
    for _, block in ipairs(blocks) do
      local file = block.code:match("^%-%- ([%w_]+%.lua)\n")
      if file then
        tmp.write(dir .. "/" .. file, block.code)
      end
    end
  end)

  for _, block in ipairs(blocks) do
    if not block.code:find("^%-%- [%w_]+%.lua\n") then
      it(("does what it says, in line %d"):format(block.line), function()
        assert.is_true(page.expected(block) ~= "", "it does not say what it prints")
        local code, out, err
        if block.kind == "lua" then
          local file = tmp.write(("%s/line_%d.lua"):format(dir, block.line), block.code)
          code, out, err = lunode.run { "run", file, cwd = dir, seconds = 55 }
        else
          local words = { "sh", "-eu", "-c", block.code, cwd = dir, seconds = 55 }
          words.env = { LUNODE_TEST_TIMES = dir .. "/times", LUNODE_FULL = false } -- as a reader runs it
          code, out, err = process.run(words)
        end
        assert_output(block, out .. err)
        assert.equal(out:find("[1-9]%d* failed\n$") and 1 or 0, code)
      end)
    end
  end

  it("quotes the example as it is", function()
    local script = assert(tmp.read("examples/primary_backup.lua"))
    local quoted = text:match("\n(    local function may_go_alone.-\n    end\n)"):gsub("\n    ", "\n"):gsub("^    ", "")
    assert.is_truthy(script:find(quoted, 1, true))
  end)

  it("has no link that leads nowhere", function()
    for target in text:gmatch("%]%(([^)#]+)[^)]*%)") do
      if not target:find("^%a+:") then
        assert.is_truthy(io.open("docs/" .. target), target)
      end
    end
  end)
end)
