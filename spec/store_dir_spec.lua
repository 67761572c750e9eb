-- lunode.store from outside of a directory: inspect, remove.
local data = require "spec.support.data"
local log = require "lunode.log"
local store = require "lunode.store"
local tmp = require "lunode.test.tmp"

describe("store.inspect", function()
  it("tells the format, the engine, and who has it open, and changes nothing", function()
    local dir = tmp.dir() .. "/data"
    local handle = assert(store.open(dir, { engine = "leveldb" }))
    local before = data.contents(dir)
    local pid = math.tointeger(tonumber(tmp.read("/proc/self/stat"):match("^%d+")))
    assert.same({ format = 2, engine = "leveldb", locked = true, pid = pid }, store.inspect(dir))
    assert.equal(before, data.contents(dir))
    handle:close()
    assert.same({ format = 2, engine = "leveldb", locked = false }, store.inspect(dir))
  end)

  it("says what is none", function()
    local dir = tmp.dir()
    local function code_of(path)
      return select(3, store.inspect(path))
    end
    assert.equal("ENOENT", code_of(dir .. "/nothing"))
    assert.equal("ENOENT", code_of(dir))
    tmp.write(dir .. "/FORMAT", "lunode data 99\n")
    assert.equal("EVERSION", code_of(dir))
    tmp.write(dir .. "/FORMAT", "something\n")
    assert.equal("EFOREIGN", code_of(dir))
    os.remove(dir .. "/FORMAT")
    tmp.write(dir .. "/file", "x")
    assert.equal("EFOREIGN", code_of(dir))
    assert.equal("ENOTDIR", code_of(dir .. "/file"))
  end)
end)

describe("store.remove", function()
  local function make(dir)
    local handle = assert(store.open(dir))
    handle:put("a", "1")
    assert(handle:commit(true))
    handle:close()
    local entries = assert(log.open(dir .. "/log"))
    entries:append(1, "x")
    entries:close()
  end

  it("deletes a store with its log, and the directory unless it is to stay", function()
    local dir = tmp.dir() .. "/data"
    make(dir)
    for _, name in ipairs { "data-0", "data-1" } do -- a member of a cluster
      make(dir .. "/" .. name)
    end
    data.sh("mkdir -p %s/db/archive && touch %s/db/archive/1", dir, dir)
    assert.is_true(store.remove(dir))
    assert.is_false(data.exists(dir))
    make(dir)
    assert.is_true(store.remove(dir, true))
    assert.equal("", data.sh("ls -A %s", dir))
    assert.equal("ENOENT", select(3, store.remove(dir .. "/nothing")))
  end)

  it("lets alone what is in use, or not lunode's, and follows no links", function()
    local dir = tmp.dir()
    local handle = assert(store.open(dir .. "/data"))
    assert.equal("ELOCKED", select(3, store.remove(dir .. "/data")))
    handle:put("a", "1")
    assert(handle:commit(true))
    handle:close()
    data.sh("mkdir %s && echo precious >%s", dir .. "/mine", dir .. "/mine/file")
    local before = data.contents(dir .. "/mine")
    assert.equal("EFOREIGN", select(3, store.remove(dir .. "/mine")))
    data.sh("ln -s %s %s", dir .. "/mine", dir .. "/data/log")
    data.sh("ln -s %s %s", dir .. "/mine/file", dir .. "/data/db/link")
    assert.is_nil(store.remove(dir .. "/data")) -- it holds a link that is not the store's
    assert.equal(before, data.contents(dir .. "/mine"))
    os.remove(dir .. "/data/log")
    assert.is_true(store.remove(dir .. "/data"))
    assert.equal(before, data.contents(dir .. "/mine"))
    make(dir .. "/other")
    tmp.write(dir .. "/other/notes", "precious")
    assert.equal("ENOTEMPTY", select(3, store.remove(dir .. "/other")))
    assert.equal("precious", tmp.read(dir .. "/other/notes"))
  end)
end)
