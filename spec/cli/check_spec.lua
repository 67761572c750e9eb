-- lunode check: it finds damage, says where, and changes nothing.
local data = require "spec.support.data"
local keys = require "lunode.kv.keys"
local lunode = require "spec.support.lunode"
local store = require "lunode.store"
local tmp = require "lunode.test.tmp"

-- Returns what it reports, after it was seen to change nothing.
local function check(code, dir, ...)
  local before = data.contents(dir)
  local exit, out, err = lunode.run { "check", dir, ... }
  assert.same({ code, "" }, { exit, err }, out)
  assert.equal(before, data.contents(dir))
  return out
end

local function has(text, report)
  assert.is_truthy(report:find(text), report)
end

-- A directory of a node that has ended, in order or not.
local function made(kill, fill)
  local node = lunode.kv {}
  local client = node:client()
  for i = 1, 200 do
    client:call("SET", "key:" .. i, ("value %d "):format(i):rep(20))
  end
  client:call("SET", "soon", "x", "EX", "5000")
  client:call("SET", "later", "x", "EX", "6000")
  if fill then
    fill(client)
  end
  if kill then
    node:kill9()
  else
    assert.equal(0, node:stop())
  end
  return node.dir
end

-- Changes rows behind the node's back.
local function tamper(dir, fn)
  local handle = assert(store.open(dir))
  fn(handle)
  handle:advance(handle:applied() + 1)
  assert(handle:commit(true))
  handle:close()
end

local function log_file(dir)
  return dir .. "/log/" .. data.sh("ls %s | grep 'log$' | head -1", dir .. "/log"):gsub("\n", "")
end

describe("lunode check", function()
  it("finds nothing wrong with a node that has ended in order, or was killed", function()
    local report = check(0, made(false))
    has("^log: %d+ records in %d segment", report)
    has("\nstore: 206 rows, .*; 202 keys, 2 of them expire; entries up to 202\n", report)
    has(": no damage\n$", report)
    report = check(0, made(true))
    has("entries 1 to 202, 202 commands\n", report)
    has("\nstore: 1 row, ", report)
  end)

  it("says the same as JSON", function()
    local report = check(0, made(false), "--format", "json")
    assert.is_truthy(report:find('^{"damages":%[%],"dir":"[^"]+","log":{.*"torn":false}.*"ok":true,.*}\n$'), report)
    has('"store":{"applied":202,.*"keys":202,', report)
  end)

  it("of a node that runs looks at the log, and says that it did not look at the store", function()
    local node = lunode.kv {}
    node:client():call("SET", "a", "1")
    local report = check(0, node.dir)
    has("\nnot checked: the store, as process " .. node.process.pid .. " has it open: make a backup", report)
    has(": no damage in what was checked\n$", report)
    assert.is_nil(report:find("\nstore:", 1, true))
    assert.equal("1", node:client():call("GET", "a"))
  end)

  it("tells a torn tail, which is no damage", function()
    local dir = made(true)
    local path = log_file(dir)
    local ends = 0 -- of the last entry
    for offset in select(2, lunode.run { "dump", "--log", dir }):gmatch("%x+:(%d+) entry") do
      ends = math.tointeger(tonumber(offset))
    end
    data.sh("truncate -s " .. ends + 60 .. " %s", path)
    local report = check(0, dir)
    has("\nnote: log: a torn tail in segment 0000000000000001 at offset " .. ends .. " .*the next start cuts it off\n",
      report)
    has("entries 1 to 201, ", report)
    has(": no damage\n$", report)
  end)

  it("finds a byte that has changed in the log, wherever it is", function()
    local dir = made(true)
    local path = log_file(dir)
    for _, offset in ipairs { 40, 300, 5000, 20000 } do
      local sound = tmp.read(path)
      data.flip(path, offset)
      local report = check(1, dir)
      local at = report:match("\ndamage: log: segment 0000000000000001 at offset (%d+): ")
      assert.is_truthy(at, report)
      assert.is_true(tonumber(at) <= offset and offset - tonumber(at) < 400, at)
      has(": damaged; restore a backup", report)
      tmp.write(path, sound)
    end
    check(0, dir)
  end)

  it("finds a byte that has changed in a table of the store, and looks at the rest", function()
    local dir = made(false, function(client)
      data.fill(client, 10, 1 << 20)
    end)
    assert(store.open(dir)):close() -- LevelDB makes a table of its own log
    local path = data.sh("ls -S %s/*.ldb | head -1", dir .. "/db"):gsub("\n", "")
    data.flip(path, 500000)
    local report = check(1, dir)
    has("\ndamage: store: rows behind [^\n]* cannot be read: ", report)
    assert.is_nil(report:find("lunode-view", 1, true), report)
    local rows = tonumber(report:match("\nstore: (%d+) rows"))
    assert.is_true(rows > 20 and rows < 216, report)
    assert.equal("", data.sh("find ${TMPDIR:-/tmp} -maxdepth 1 -name 'lunode-view-*' -user $(id -u) -newer %s", path))
  end)

  it("finds a store whose files are missing or not to be used", function()
    for _, harm in ipairs { "rm %s/db/CURRENT", "rm %s/db/*.ldb %s/db/MANIFEST*", "echo nonsense >%s/db/CURRENT" } do
      local dir = made(false)
      lunode.run { "backup", dir, dir .. ".copy" } -- so that there is a table
      data.sh(harm, dir, dir)
      has("\ndamage: store: ", check(1, dir))
    end
  end)

  it("holds keys against the expiry index and the counts", function()
    local row = keys.row "soon"
    for _, case in ipairs {
      { "is missing in the expiry index", function(handle)
        local expiry = keys.expiry(handle:get(row))
        handle:delete(keys.expiry_row(expiry, row))
      end },
      { 'the expiry index has key "gone", which is not there', function(handle)
        handle:put(keys.expiry_row(5, keys.row "gone"), "")
      end },
      { 'another time for key "soon"', function(handle)
        handle:put(keys.expiry_row(5, row), "")
      end },
      { "the counts say 202 keys, 2 of them expire, and there are 201 and 2", function(handle)
        handle:delete(keys.row "key:7")
      end },
      { 'the row of key "astray" is not where the key belongs', function(handle)
        local astray = keys.row "astray"
        handle:put("\0\0" .. astray:sub(3), keys.string_value "x")
      end },
      { 'the value of key "key:9" is malformed', function(handle)
        handle:put(keys.row "key:9", "\x1Fx")
      end },
      { "the row of the counts is malformed", function(handle)
        handle:put(keys.COUNT_ROW, "3")
      end },
      { 'its keys have format "9"', function(handle)
        handle:put(keys.FORMAT_ROW, "9")
      end },
    } do
      local dir = made(false)
      tamper(dir, case[2])
      has("\ndamage: store: [^\n]*" .. case[1]:gsub("%p", "%%%0"), check(1, dir))
    end
  end)

  it("holds collections against their elements", function()
    local dir = made(false, function(client)
      for _, key in ipairs { "few", "none", "long" } do
        client:call("SADD", key, "a", "b", "c")
      end
      for i = 1, 10 do
        client:call("ZADD", "sorted", i, "m" .. i, -i, "n" .. i)
      end
      client:call("RENAME", "sorted", "elsewhere")
    end)
    has("no damage", check(0, dir))
    tamper(dir, function(handle)
      handle:delete((handle:scan(keys.element_prefix(keys.slot "few", 1))()))
      handle:put(keys.member_row(keys.element_prefix(5, 9), "astray"), "")
      handle:put(keys.row "none", keys.collection_value(keys.SET, nil, keys.slot "none", 2, 0, 0))
      handle:put(keys.row "long", handle:get(keys.row "long") .. "x")
      handle:put(keys.VERSION_ROW, keys.version_value(3))
    end)
    local report = check(1, dir)
    has("version 1 in slot %d+, 1 rows of elements are missing", report)
    has("version 9 in slot 5, 1 rows of elements are there that it does not count", report)
    has('key "none" is a collection of 0 elements', report)
    has("version 2 in slot %d+, 3 rows of elements are there that it does not count", report)
    has('the value of key "long" is malformed', report)
    has('key "elsewhere" has version 4, and the last one that was given is 3', report)
  end)

  it("notes rows that no key-value node makes", function()
    local dir = made(false)
    tamper(dir, function(handle)
      handle:put("\xC0mine", "1")
    end)
    has("\nnote: store: 1 row that a key%-value node does not make", check(0, dir))
  end)

  it("says that a directory is none of ours, or not there", function()
    local dir = tmp.dir()
    tmp.write(dir .. "/file", "x")
    local texts = {
      [dir] = "not empty",
      [dir .. "/no"] = "No such file or directory; give the data directory of a node",
      [dir .. "/file"] = "Not a directory",
    }
    for path, text in pairs(texts) do
      local code, out, err = lunode.run { "check", path }
      assert.same({ 1, "" }, { code, out })
      has("^lunode: [^\n]*" .. text .. "[^\n]*\n$", err)
    end
    for _, words in ipairs { { "check" }, { "check", "a", "b" }, { "check", "a", "--format" },
      { "check", "a", "--format=yaml" }, { "check", "--fix", "a" } } do
      assert.equal(2, (lunode.run(words)))
    end
  end)
end)
