local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"

describe("an installation", function()
  local prefix

  local function installed(...)
    for _, path in ipairs { ... } do
      assert.equal(0, (process.run { "test", "-f", prefix .. path }), path)
    end
  end

  -- Sanitizers of a debug build have to be in programs that are not ours, too.
  local function sanitizer_of(path)
    local _, libraries = process.run { "ldd", path }
    return libraries:match("libasan[^ ]* => (/%S+)")
  end

  setup(function()
    prefix = tmp.dir() .. "/at first"
    local build = lunode.bin:gsub("/bin/[^/]*$", "")
    local code, out, err = process.run { "cmake", "--install", build, "--prefix", prefix }
    assert.equal(0, code, out .. err)
    -- It works where it is, not only where it was put.
    local moved = prefix:gsub("at first$", "later")
    assert.equal(0, (process.run { "mv", prefix, moved }))
    prefix = moved
  end)

  it("has each thing in its place", function()
    installed("/bin/lunode", "/share/lua/5.4/lunode/cli.lua", "/share/lua/5.4/lunode/cli/kv.lua")
    installed("/lib/lua/5.4/lunode.so", "/include/lunode/loop.h", "/share/man/man1/lunode.1")
    installed("/share/doc/lunode/LICENSE", "/share/doc/lunode/examples/echo_server.lua")
  end)

  it("has a lunode that works from any directory", function()
    local script = tmp.write(tmp.dir() .. "/s.lua", 'print(package.searchpath("lunode.cli", package.path))')
    local code, out, err = process.run { prefix .. "/bin/lunode", "run", script, cwd = "/" }
    assert.same({ 0, "" }, { code, err })
    assert.equal(prefix .. "/bin/../share/lua/5.4/lunode/cli.lua\n", out)
  end)

  it("has what few need where its binary finds it", function()
    installed("/lib/lunode/lunode/edit.so", "/lib/lunode/lunode/mac.so")
    local code, out, err = process.run {
      prefix .. "/bin/lunode", "repl", "-e", 'package.searchpath("lunode.edit", package.cpath)', cwd = "/",
    }
    assert.same({ 0, "" }, { code, err })
    assert.equal(('"%s/bin/../lib/lunode/lunode/edit.so"\n'):format(prefix), out)
  end)

  it("has a module for the stock lua5.4", function()
    local code, out, err = process.run {
      "lua5.4",
      "-e",
      [[
        local loop = require "lunode.loop"
        require "lunode.tcp_server"
        loop.timer(0.001, function() print("a timer") end)
        loop.run()
      ]],
      cwd = "/",
      env = {
        LUA_CPATH = prefix .. "/lib/lua/5.4/?.so",
        LD_PRELOAD = sanitizer_of(prefix .. "/lib/lua/5.4/lunode.so") or false,
        ASAN_OPTIONS = "detect_leaks=0", -- lua5.4's own are not ours
      },
    }
    assert.same({ 0, "a timer\n", "" }, { code, out, err })
  end)

  it("has a C library with headers and pkg-config, and the soname liblunode.so.0", function()
    local _, found = process.run { "find", prefix, "-name", "lunode.pc" }
    local directory = found:match("^(%S+)/lunode.pc\n$")
    local env = { PKG_CONFIG_PATH = directory }
    local code, flags, err = process.run { "pkg-config", "--cflags", "--libs", "lunode", env = env }
    assert.equal(0, code, err)

    local dir = tmp.dir()
    local headers = {}
    for header in select(2, process.run { "ls", prefix .. "/include/lunode" }):gmatch("%S+%.h") do
      headers[#headers + 1] = ('#include "%s"\n'):format(header)
    end
    assert.is_true(#headers > 5)
    tmp.write(dir .. "/program.c", table.concat(headers) .. [[
      #include <stdio.h>
      int main(void) {
          struct ln_loop *loop;
          int status = ln_loop_open(&loop);
          if (status == LN_OK) {
              ln_loop_run(loop);
              ln_loop_close(loop);
          }
          puts(ln_status_name(status));
      }
    ]])
    local library = directory:gsub("/pkgconfig$", "")
    local sanitize = sanitizer_of(library .. "/liblunode.so") and "-fsanitize=address,undefined" or ""
    local compile = ("cc -std=c11 -Wall -Werror %s -o %s/program %s/program.c %s"):format(sanitize, dir, dir, flags)
    code, _, err = process.run { "sh", "-c", compile }
    assert.equal(0, code, err)
    local _, needed = process.run { "ldd", dir .. "/program", env = { LD_LIBRARY_PATH = library } }
    assert.is_truthy(needed:find("liblunode.so.0 => " .. library, 1, true), needed)
    assert.same({ 0, "OK\n", "" }, { process.run { dir .. "/program", env = { LD_LIBRARY_PATH = library } } })
  end)
end)
