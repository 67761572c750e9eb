-- The guide, page by page: its code is run as it stands there, and prints what the page says. New pages come by
-- themselves.
--
-- * ```lua   is a script of its own. It prints what stands behind `-->` in it, in that order, or what the ```text after
--            it says. One that begins with a line `-- name.lua` is in that file for the blocks below it.
-- * ```sh    is run by sh in the same directory; the ```text after it is what it prints. A ```lua right before it that
--            names a port 7000 … 7099 runs meanwhile.
-- * A page with `<!-- run by SPEC -->` has a spec of its own: its blocks belong together, say.
-- * 70xx     is a port that each page has for itself: a free one takes its place.

local lunode = require "spec.support.lunode"
local page = require "spec.support.page"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local TREE = lunode.bin:gsub("/bin/[^/]*$", "")
local PORT = "%f[%d]70%d%d%f[%D]"

local function list_pages()
  local pipe = assert(io.popen("cd docs/guide && LC_ALL=C ls *.md", "r"))
  local pages = {}
  for name in pipe:lines() do
    pages[#pages + 1] = name
  end
  assert(pipe:close() and #pages > 0, "there is no guide")
  return pages
end

-- Programs that a page calls by name: redis-cli as on a terminal, and a stock Lua that can load a debug build.
local REDIS_CLI = [[
#!/bin/sh
PATH=${PATH#*:} exec redis-cli --no-raw "$@"
]]
local LUA = [[
#!/bin/sh
export LD_PRELOAD=%s ASAN_OPTIONS=detect_leaks=0
PATH=${PATH#*:} exec lua5.4 "$@"
]]

-- The directory in which the blocks of a page run. It has build/release, as the pages' reader has.
local function make_place()
  local dir = tmp.dir()
  local _, libraries = process.run { "ldd", TREE .. "/lib/lua/5.4/lunode.so" }
  local sanitizer = libraries:match("libasan[^ ]* => (/%S+)") or ""
  local place, tree = tmp.quote(dir), tmp.quote(TREE)
  os.execute(("mkdir %s/bin %s/build && ln -s %s %s/build/release"):format(place, place, tree, place))
  tmp.write(dir .. "/bin/redis-cli", REDIS_CLI)
  tmp.write(dir .. "/bin/lua5.4", LUA:format(sanitizer))
  os.execute(("chmod 755 %s/bin/*"):format(place))
  return dir
end

local function with_free_ports(text)
  local given = {}
  return (text:gsub(PORT, function(port)
    given[port] = given[port] or tostring(ports.free())
    return given[port]
  end))
end

local function file_of(block)
  return block.code:match("^%-%- ([%w_]+%.lua)\n")
end

-- Runs a script to its end; one that serves, until it has said all.
local function run_lua(block, dir, serves)
  local file = file_of(block) or ("line_%d.lua"):format(block.line)
  tmp.write(dir .. "/" .. file, block.code)
  local expected = page.expected(block)
  if not serves then
    assert.same({ 0, expected, "" }, { lunode.run { "run", file, cwd = dir, seconds = 55 } })
    return
  end
  local server = lunode.start { "run", file, cwd = dir }
  wait.till(function()
    return server:stdout() == expected or not server:is_alive()
  end, 30, ("the output; there is %q"):format(server:stdout()))
  assert.same({ expected, "" }, { server:stdout(), server:stderr() })
end

local function run_sh(block, dir)
  local path = dir .. "/bin:" .. TREE .. "/bin:" .. os.getenv("PATH")
  local words = { "sh", "-eu", "-c", block.code, cwd = dir, env = { PATH = path }, seconds = 55 }
  assert.same({ 0, page.expected(block), "" }, { process.run(words) })
end

for _, name in ipairs(list_pages()) do
  describe("docs/guide/" .. name, function()
    randomize(false) -- a page is read from its beginning
    local original = assert(tmp.read("docs/guide/" .. name))
    local own_spec = original:match("<!%-%- run by (%S+%.lua)")
    local blocks = own_spec and {} or page.blocks(original)
    local placed, dir -- the blocks with the ports that they use here, and where they run

    setup(function()
      placed = page.blocks(with_free_ports(original))
      dir = make_place()
    end)

    -- A server lives as long as its test, so what talks to it is part of that.
    local i = 1
    while i <= #blocks do
      local first, serves = i, blocks[i].kind == "lua" and blocks[i].code:find(PORT) ~= nil
      while serves and blocks[i + 1] and blocks[i + 1].kind == "sh" do
        i = i + 1
      end
      local last = i
      it(("does what it says, in line %d"):format(blocks[first].line), function()
        for k = first, last do
          local block = placed[k]
          assert.is_true(page.expected(block) ~= "" or file_of(block) ~= nil, "it does not say what it prints")
          if block.kind == "sh" then
            run_sh(block, dir)
          else
            run_lua(block, dir, serves)
          end
        end
      end)
      i = i + 1
    end

    if own_spec then
      it("has a spec of its own", function()
        assert.is_truthy(assert(tmp.read(own_spec)):find("docs/guide/" .. name, 1, true))
      end)
    end

    it("has no link that leads nowhere", function()
      for target in original:gmatch("%]%(([^)#]+)[^)]*%)") do
        if not target:find("^%a+:") then
          local path = "docs/guide/" .. target
          assert.equal(0, (process.run { "test", "-e", path }), target)
        end
      end
    end)
  end)
end

describe("the guide", function()
  it("has each page in its index", function()
    local index = assert(tmp.read("docs/guide/README.md"))
    for _, name in ipairs(list_pages()) do
      assert.is_true(name == "README.md" or index:find("](" .. name .. ")", 1, true) ~= nil, name)
    end
  end)
end)
