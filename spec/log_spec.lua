-- The log on a real disk: damage, kill -9, a full disk, a sync that fails. What holds in every world is in
-- spec/contract/log_spec.lua; power cuts and each system call's failure are in core/log_*_test.c.

local cleanup = require "lunode.test.cleanup"
local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local log = require "lunode.log"

local FULL = os.getenv "LUNODE_FULL"

local function open(dir, options)
  local h = assert(log.open(dir, options or { segment_size = 65536 }))
  cleanup.add(function()
    h:close()
  end)
  return h
end

local function append(h, count)
  for _ = 1, count do
    local index = h:last() + 1
    assert.equal(index, h:append(1, ("entry %d "):format(index):rep(8)))
  end
end

local function synced(h)
  local done
  assert(h:sync(function(err)
    assert(not err, err)
    done = true
  end))
  wait.till(function()
    return done
  end)
end

local function check_entries(h)
  local count = 0
  for index, payload in h:entries() do
    assert.equal(("entry %d "):format(index):rep(8), payload)
    count = count + 1
  end
  assert.equal(h:last() + 1 - h:first(), count)
end

local function segment(dir, number)
  return ("%s/%016x.log"):format(dir, number)
end

local function flip(path, offset)
  local text = tmp.read(path)
  local byte = text:byte(offset + 1) ~ 0x10
  tmp.write(path, text:sub(1, offset) .. string.char(byte) .. text:sub(offset + 2))
  return tmp.read(path)
end

local function sh(...)
  return os.execute(string.format(...))
end

describe("a damaged log", function()
  local dir

  before_each(function()
    dir = tmp.dir() .. "/log"
    local h = open(dir)
    append(h, 2000)
    synced(h)
    h:close()
  end)

  it("does not open, says where, and stays as it is", function()
    local damaged = flip(segment(dir, 2), 4711)
    local h, err, code = log.open(dir)
    assert.is_nil(h)
    assert.equal("ECORRUPT", code)
    assert.matches("segment 0000000000000002.log, offset 4%d%d%d: ", err)
    assert.matches("`lunode check` tells more", err)
    assert.is_true(damaged == tmp.read(segment(dir, 2)))
  end)

  it("is told by a check, which goes on behind", function()
    flip(segment(dir, 1), 5000)
    flip(segment(dir, 2), 6000)
    local kinds = {}
    local report = assert(log.check(dir, function(finding)
      kinds[finding.kind] = (kinds[finding.kind] or 0) + 1
    end))
    assert.is_false(report.ok)
    assert.equal(2, #report.damages)
    assert.equal(2, kinds.damage)
    assert.equal(1, report.damages[1].segment)
    assert.is_true(report.damages[1].offset <= 5000)
    assert.is_string(report.damages[1].what)
    assert.equal(1998, report.entries)
    assert.equal(1998, kinds.entry)
    assert.equal(2000, report.last)
  end)

  it("whose tail is torn opens without it", function()
    local h = open(dir)
    append(h, 3)
    assert(h:flush())
    local path = segment(dir, h:stats().segments)
    local text = tmp.read(path)
    h:close()
    local at = text:find("entry 2002", 1, true)
    local sector = (at // 512 + 1) * 512
    tmp.write(path, text:sub(1, sector) .. ("\0"):rep(#text - sector))
    local report = assert(log.check(dir))
    assert.is_true(report.ok and report.torn)
    h = open(dir)
    assert.is_true(h:last() >= 2000 and h:last() < 2003)
    check_entries(h)
    append(h, 5)
    h:close()
    assert.is_false(assert(log.check(dir)).torn)
    check_entries(open(dir))
  end)

  it("is not there at all: a check says so", function()
    local report, _, code = log.check(dir .. "/nowhere")
    assert.is_nil(report)
    assert.equal("ENOENT", code)
  end)
end)

describe("a check", function()
  it("ends with what its function raises", function()
    local dir = tmp.dir()
    append(open(dir), 3)
    local ok, err = pcall(log.check, dir, function()
      error("enough", 0)
    end)
    assert.is_false(ok)
    assert.equal("enough", err)
    assert.has_error(function()
      log.check(dir, "no function")
    end)
  end)

  it("reads beside the one who writes", function()
    local dir = tmp.dir()
    local h = open(dir)
    append(h, 100)
    assert(h:flush())
    append(h, 10)
    local report = assert(log.check(dir))
    assert.is_true(report.ok)
    assert.equal(100, report.entries)
  end)
end)

-- Appends and syncs for as long as it lives, and tells each index that is on disk.
local WRITER = [[
local log = require "lunode.log"
local loop = require "lunode.loop"
local h = assert(log.open(arg[1], { segment_size = 65536 }))
local function entry(index)
  return ("entry %d "):format(index):rep(8)
end
local function more()
  for _ = 1, 20 do
    assert(h:append(1, entry(h:last() + 1)))
  end
  assert(h:sync(function(err, code, index)
    assert(not err, err)
    io.write(index, "\n")
    io.flush()
    more()
  end))
  if h:last() % 200 == 0 and h:synced() > 500 then
    assert(h:truncate_prefix(h:synced() - 400))
  end
end
more()
loop.run()
]]

describe("a process that is killed", function()
  it("leaves all that it was told is on disk, in order", function()
    local script = tmp.write(tmp.dir() .. "/writer.lua", WRITER)
    local dir = tmp.dir()
    for round = 1, FULL and 40 or 5 do
      local writer = process.start { lunode.bin, "run", script, dir }
      local function told()
        local text = writer:stdout():match("(.*\n)") or ""
        return tonumber(text:match("(%d+)\n$"))
      end
      local before = round == 1 and 0 or assert(log.check(dir)).last
      wait.till(function()
        return (told() or 0) > before + 100 * (round % 3)
      end, 30, "entries on disk")
      writer:kill("KILL")
      assert.equal(128 + 9, writer:wait(10))
      local least = told()
      local report = assert(log.check(dir))
      assert.is_true(report.ok)
      local h = open(dir)
      assert.is_true(h:last() >= least)
      check_entries(h)
      h:close()
    end
  end)
end)

describe("a sync that fails", function()
  it("ends the log, and all later calls tell why", function()
    local script = tmp.write(tmp.dir() .. "/fails.lua", [[
local log = require "lunode.log"
local loop = require "lunode.loop"
local h = assert(log.open(arg[1]))
assert(h:append(1, "kept"))
local function lose(err)
  assert(not err, err)
  print(h:append(1, "lost"))
  h:sync(function(err, code, index)
    print(code, index, err)
    print(select(3, h:append(1, "x")), select(3, h:flush()), select(3, h:sync(print)), select(3, h:read(1)))
    print(select(2, h:set_state(1)))
    print(h:close())
  end)
end
h:sync(lose)
loop.run()
]])
    local dir = tmp.dir()
    local second = "inject=fdatasync:error=EIO:when=2+" -- of each thread
    local words = { "strace", "-f", "-o", tmp.dir() .. "/trace", "-e", second }
    local h = open(dir)
    h:close()
    words[#words + 1], words[#words + 2], words[#words + 3], words[#words + 4] = lunode.bin, "run", script, dir
    words.env = { ASAN_OPTIONS = "detect_leaks=0" } -- that is tracing as well
    local code, out, err = process.run(words)
    if err:find("ptrace", 1, true) then
      pending("this system does not let processes be traced: " .. err)
    end
    assert.equal(0, code, err)
    local lines = {}
    for line in out:gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end
    assert.equal("2", lines[1])
    assert.matches("^EIO\t1\tsyncing the log in .* failed: Input/output error; the log has ended", lines[2])
    assert.equal("EIO\tEIO\tEIO\tEIO", lines[3])
    assert.matches("the log has ended", lines[4])
    assert.matches("^nil\t.*EIO$", lines[5])
  end)
end)

describe("a full disk", function()
  it("refuses entries, takes what frees space, and goes on when there is some", function()
    local dir = tmp.dir()
    if not sh("mount -t tmpfs -o size=400k tmpfs %s 2>/dev/null", dir) then
      pending("no file system can be mounted here")
    end
    cleanup.add(function()
      assert(sh("umount -l %s", dir))
    end)
    local h = open(dir .. "/log", { segment_size = 65536 })
    local code
    repeat
      local index, _, why = h:append(1, ("entry %d "):format(h:last() + 1):rep(8))
      code = why
      assert.is_true(h:last() < 10000)
    until not index
    assert.equal("ENOSPC", code)
    local full = h:last()
    assert.is_true(full > 1000)
    assert.is_true(h:stats().full)
    assert.is_true(h:flush())
    synced(h)
    assert.equal(full, h:synced())
    check_entries(h)
    for i = 1, 50 do
      assert.is_true(h:set_state(i, "still here"))
    end
    assert.is_true(h:truncate_prefix(full - 100))
    wait.till(function()
      return h:append(1, ("entry %d "):format(h:last() + 1):rep(8))
    end, 10, "room for an entry")
    append(h, 100)
    synced(h)
    h:close()
    h = open(dir .. "/log")
    assert.equal(full + 101, h:last())
    assert.equal(full - 99, h:first())
    assert.same({ 50, "still here" }, { h:state() })
    check_entries(h)
    h:close()
  end)
end)

describe("a log that nobody closes", function()
  it("is closed by the collector, and nothing is lost", function()
    local dir = tmp.dir()
    local h = assert(log.open(dir))
    append(h, 5)
    h = nil -- luacheck: ignore
    local again
    wait.till(function()
      collectgarbage()
      again = log.open(dir)
      return again
    end, 10, "the collector")
    assert.equal(5, again:last())
    again:close()
  end)

  it("lives while a sync is awaited", function()
    local dir = tmp.dir()
    local told
    do
      local h = assert(log.open(dir))
      append(h, 5)
      assert(h:sync(function(_, _, index)
        told = index
      end))
    end
    collectgarbage()
    collectgarbage()
    assert.equal(5, wait.till(function()
      return told
    end))
    collectgarbage()
  end)

  it("ends with its process, whatever it waits for", function()
    local script = tmp.write(tmp.dir() .. "/leaves.lua", [[
local log = require "lunode.log"
local loop = require "lunode.loop"
local h = assert(log.open(arg[1]))
for i = 1, 100 do
  assert(h:append(1, "x"))
  assert(h:sync(function() error("nobody is there any more") end))
end
if arg[2] == "close" then h:close() end
if arg[2] == "flush" then h:flush() end
if arg[2] == "exit" then loop.defer(function() os.exit(0, true) end) loop.run() end
os.exit(0, true)
]])
    for _, how in ipairs { "", "close", "flush", "exit" } do
      local dir = tmp.dir()
      local code, _, err = process.run { lunode.bin, "run", script, dir, how }
      assert.equal(0, code, how .. ": " .. err)
      local h = open(dir)
      assert.equal(100, h:last())
      h:close()
    end
  end)
end)
