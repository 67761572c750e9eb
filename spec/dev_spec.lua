-- ./dev where something is missing: with programs of our own on its PATH, so that nothing gets installed.

local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"

describe("./dev", function()
  local bin

  -- Puts a script of that name on the PATH.
  local function program(name, script)
    tmp.write(bin .. "/" .. name, "#!/bin/sh\n" .. script .. "\n")
    os.execute("chmod 755 " .. tmp.quote(bin .. "/" .. name))
  end

  local function dev(...)
    return process.run { "./dev", ..., env = { PATH = bin, LUNODE_NO_INSTALL = false } }
  end

  before_each(function()
    bin = tmp.dir()
    for _, name in ipairs { "cat", "dirname", "env", "find", "mkdir", "nproc", "rm", "sh", "sort", "xargs" } do
      os.execute(("ln -s $(command -v %s) %s"):format(name, tmp.quote(bin)))
    end
    program("id", "echo 1000")
    program("dpkg-query", "echo 'cmake=installed'; echo 'clang-format=config-files'")
  end)

  it("explains itself, and needs nothing for that", function()
    local code, out, err = dev "help"
    assert.same({ 0, "" }, { code, err })
    for _, verb in ipairs {
      "run", "build", "test", "bench", "soak", "fuzz", "coverage", "lint", "fmt", "docs", "help",
    } do
      assert.is_truthy(out:find("\n  " .. verb .. " ", 1, true), verb)
    end
    code, out, err = dev "tets"
    assert.same({ 2, "" }, { code, out })
    assert.is_truthy(err:find("^dev: there is no verb tets\n"), err)
  end)

  it("says what to install by hand where there is no apt-get", function()
    local code, out, err = dev "build"
    assert.same({ 1, "" }, { code, out })
    -- All that a build needs, but cmake, which is "installed" above.
    local packages = assert(tmp.read("dev"):match("\nbuild_packages='([^']*)'")):gsub("cmake ", "")
    assert.equal(
      "dev: there is no apt-get here; install these Debian packages (or your system's own) by hand, then set "
        .. ("LUNODE_NO_INSTALL=1: %s\n"):format(packages),
      err
    )
  end)

  it("says what to install as root where there is no sudo", function()
    program("apt-get", "exit 1")
    local code, _, err = dev "fmt"
    assert.equal(1, code)
    assert.equal("dev: not root, and there is no sudo; as root: apt-get install clang-format\n", err)
  end)

  it("installs through sudo what is missing, says so, and says what to do when that fails", function()
    program("apt-get", "exit 1")
    program("sudo", ('echo "$*" >%s; echo no network; exit 1'):format(tmp.quote(bin .. "/asked")))
    local code, out, err = dev "fmt"
    assert.equal(1, code)
    assert.equal(
      "dev: ./dev fmt needs packages that are missing; installing through sudo apt-get: clang-format\n",
      out
    )
    assert.is_truthy(err:find("^no network\ndev: apt%-get failed %(see above%); install these"), err)
    assert.is_truthy(tmp.read(bin .. "/asked"):find("--no-install-recommends", 1, true))
    assert.is_truthy(tmp.read(bin .. "/asked"):find(" sh clang%-format\n$"))
  end)

  it("wants Debian's Node.js and npm for tests where the system has brought none", function()
    program("dpkg-query", 'for p; do case $p in nodejs | npm) ;; *) echo "$p=installed" ;; esac; done')
    local _, _, err = dev "test"
    assert.is_truthy(err:find("LUNODE_NO_INSTALL=1: nodejs npm\n", 1, true), err)
    program("node", "exit 1")
    _, _, err = dev "test"
    assert.is_truthy(err:find("LUNODE_NO_INSTALL=1: npm\n", 1, true), err)
  end)

  it("does nothing and says nothing where nothing is missing", function()
    program("dpkg-query", "echo 'clang-format=installed'")
    program("apt-get", "exit 1")
    program("clang-format", 'echo formatted "$1"')
    local code, out, err = dev "fmt"
    assert.same({ 0, "formatted -i\n", "" }, { code, out, err })
  end)
end)
