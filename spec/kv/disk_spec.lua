-- Disks that are full, damaged, somebody else's or not to be written: one clear line, exit 1, nothing overwritten.
local keys = require "lunode.kv.keys"
local log = require "lunode.log"
local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local cleanup = require "lunode.test.cleanup"
local store = require "lunode.store"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"
local writer = require "spec.support.writer"

local quote = tmp.quote

local function sh(line, ...)
  local words = { ... }
  for i, word in ipairs(words) do
    words[i] = quote(word)
  end
  local pipe = assert(io.popen(line:format(table.unpack(words)) .. " 2>&1", "r"))
  local out = pipe:read("a")
  return pipe:close(), out
end

-- What is in a directory: each file's name, rights and hash. Without LOCK, which names whoever tried last, and LOG, in
-- which LevelDB talks to itself.
local function contents(dir)
  local ok, out = sh("cd %s && find . ! -name LOCK ! -name 'LOG*' -printf '%%M %%u %%p\\n' | sort"
    .. " && find . -type f ! -name LOCK ! -name 'LOG*' -exec sha256sum {} + | sort", dir)
  assert(ok, out)
  return out
end

-- Asserts that the node does not start: exit 1 and one line that matches, which is returned.
local function refused(dir, pattern, options)
  options = options or {}
  local code, out, err = lunode.run {
    "kv", "--listen", options.listen or "127.0.0.1:0", "--data", dir, wrapper = options.wrapper, cwd = options.cwd,
  }
  assert.same({ 1, "" }, { code, out })
  assert.is_truthy(err:find("^lunode: [^\n]+\n$"), err)
  assert.is_truthy(err:find(pattern), err)
  return err
end

local function refused_and_untouched(dir, pattern, options)
  local before = contents(dir)
  refused(dir, pattern, options)
  assert.equal(before, contents(dir))
end

local ROOT = select(2, sh("id -u")) == "0\n"

-- Words that run a program with no special rights, where we have them.
local function unprivileged(dir)
  if not ROOT then
    return {}
  end
  assert(sh("chmod 777 %s", dir))
  local words = { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all" }
  local all = table.move(words, 1, #words, 1, {})
  for _, word in ipairs { lunode.bin, "version" } do
    all[#all + 1] = word
  end
  local code, _, err = process.run(all)
  if code ~= 0 then
    pending("the binary cannot be run as nobody: " .. err)
  end
  return words
end

describe("a full disk", function()
  local function small_disk(size)
    local dir = tmp.dir()
    local ok, err = sh("mount -t tmpfs -o mode=777,size=%s tmpfs %s", size, dir)
    if not ok then
      pending("no file system can be mounted here: " .. err)
    end
    cleanup.add(function()
      assert(sh("umount -l %s", dir))
    end)
    return dir
  end

  local function fill_up(dir, bytes)
    local ok, err = sh("head -c " .. bytes .. " /dev/zero > %s", dir .. "/ballast")
    assert(ok, err)
  end

  local function error_lines(text)
    local lines = {}
    for line in text:gmatch("[^\n]+") do
      if not line:find("Z info ", 1, true) then
        lines[#lines + 1] = line
      end
    end
    return lines
  end

  local function free_bytes(disk)
    local _, free = sh("df --output=avail -B1 %s | tail -1", disk)
    return math.tointeger(tonumber(free))
  end

  local function sum(writers, field)
    local total = 0
    for _, w in ipairs(writers) do
      total = total + w[field]
    end
    return total
  end

  local function settle(node, writers)
    local client = node:client()
    local all, count = writer.dump(client)
    for _, w in ipairs(writers) do
      w:settle(all)
    end
    assert.equal(count, client:call("DBSIZE"))
    client:close()
  end

  for _, sync in ipairs { "always", "no" } do
    it("refuses writes with MISCONF, serves reads, and goes on when there is space, --sync " .. sync, function()
      local disk = small_disk("100m")
      local node = lunode.kv { "--sync", sync, dir = disk .. "/data" }
      local client = node:client()
      client:call("SET", "before", "1")
      fill_up(disk, free_bytes(disk) - (1 << 20))
      local writers = {}
      for i = 1, 3 do
        writers[i] = writer.new("w" .. i, { batch = 4 * i, value = 20000, refusable = true })
        writers[i]:connect(node)
      end
      wait.till(function()
        return writers[1].refused > 0 and writers[2].refused > 0 and writers[3].refused > 0
      end, 60, "the disk to be full")
      assert.is_true(sum(writers, "acked") > sum(writers, "refused"))
      assert.equal("1", client:call("GET", "before"))
      assert.matches("^MISCONF Errors writing to the log: .*No space left on device", client:call("SET", "a", "1").err)
      assert.equal("1", client:call("GET", "before"))
      local said, said_then = "the disk is full: writes are refused until", "there is space on the disk again"
      wait.till(function()
        return node.process:stderr():find(said, 1, true)
      end, 30, "the node to say so")
      os.remove(disk .. "/ballast")
      wait.till(function()
        return client:call("SET", "after", "1").ok
      end, 30, "writes to go on")
      local took = sum(writers, "acked") - sum(writers, "refused")
      wait.till(function()
        return sum(writers, "acked") - sum(writers, "refused") > took + 100
      end, 30, "the writers to go on")
      for _, w in ipairs(writers) do
        w:finish()
      end
      wait.till(function()
        return node.process:stderr():find(said_then, 1, true)
      end, 30, "the node to say so")
      client:call("DEL", "before", "after")
      settle(node, writers)
      node:kill9()
      node:start()
      settle(node, writers)
    end)
  end

  it("stops the store's flush alone where the log has room, and both go on when there is space", function()
    local disk = small_disk("100m")
    local node = lunode.kv { small = true, "overlay=65536", dir = disk .. "/data" }
    local client = node:client()
    sh("cat /dev/zero > %s", disk .. "/ballast")
    local w = writer.new("w", { batch = 8, value = 3000, refusable = true })
    w:connect(node)
    wait.till(function()
      return w.refused > 0
    end, 30, "the flush to meet the full disk")
    assert.is_true((w.acked - w.refused) * 3000 < 16 << 20, "the log has had room for much more")
    assert.matches("^MISCONF .*cannot write to .*/data: .*No space left on device", client:call("SET", "a", "1").err)
    assert.equal(0, client:call("EXISTS", "a"))
    os.remove(disk .. "/ballast")
    local took = w.acked - w.refused
    wait.till(function()
      return w.acked - w.refused > took + 200
    end, 30, "writes to go on")
    w:finish()
    settle(node, { w })
    client:close()
    assert.equal(0, node:stop())
    node:start()
    settle(node, { w })
  end)

  it("does not lose what was acknowledged when the node is killed, and cannot start before there is space", function()
    local disk = small_disk("100m")
    local node = lunode.kv { dir = disk .. "/data" }
    fill_up(disk, free_bytes(disk) - (1 << 20))
    local w = writer.new("w", { batch = 8, value = 20000, refusable = true })
    w:connect(node)
    wait.till(function()
      return w.refused > 0
    end, 60, "the disk to be full")
    node:kill9()
    wait.till(function()
      return w.closed
    end)
    sh("cat /dev/zero > %s", disk .. "/more")
    local before = contents(node.dir)
    refused(node.dir, "No space left on device.*free some space")
    assert.equal(before, contents(node.dir))
    os.remove(disk .. "/more")
    os.remove(disk .. "/ballast")
    node:start()
    settle(node, { w })
  end)

  it("takes FLUSHALL, which needs next to no space; at its end the node says that there is none", function()
    local disk = small_disk("100m")
    local node = lunode.kv { dir = disk .. "/data" }
    local client = node:client()
    for from = 1, 20000, 1000 do
      local words = { "MSET" }
      for i = from, from + 999 do
        words[#words + 1], words[#words + 2] = "key:" .. i, "value"
      end
      client:call(table.unpack(words))
    end
    client:close()
    assert.equal(0, node:stop())
    node:start()
    sh("cat /dev/zero > %s", disk .. "/ballast")
    client = node:client()
    assert.same({ ok = "OK" }, client:call("FLUSHALL"))
    assert.equal(0, client:call("DBSIZE"))
    assert.equal(1, node:stop())
    local lines = error_lines(node.process:stderr())
    assert.equal(1, #lines, node.process:stderr())
    assert.matches("error the node stops: .*No space left on device.*free some space", lines[1])
    os.remove(disk .. "/ballast")
    node:start()
    client = node:client()
    assert.equal(0, client:call("DBSIZE"))
    assert.same({}, client:call("KEYS", "*"))
  end)
end)

describe("a data directory that cannot be used is left as it is:", function()
  local dir

  before_each(function()
    dir = tmp.dir() .. "/data"
  end)

  -- A directory with tables and a log.
  local function make_data()
    local node = lunode.kv { dir = dir }
    for _, prefix in ipairs { "old", "new" } do
      local client, commands = node:client(), {}
      for i = 1, 1000 do
        commands[i] = { "SET", prefix .. ":" .. i, "value " .. i }
      end
      client:pipeline(commands)
      client:close()
      assert.equal(0, node:stop())
      if prefix == "old" then
        node:start() -- which makes a table of the log
      end
    end
  end

  local function assert_whole()
    local client = lunode.kv({ dir = dir }):client()
    assert.equal(2000, client:call("DBSIZE"))
    assert.same({ "value 1", "value 1000" }, client:call("MGET", "old:1", "new:1000"))
  end

  it("one in use names the process that has it, which goes on", function()
    local node = lunode.kv { dir = dir }
    node:client():call("SET", "a", "1")
    refused_and_untouched(dir, ("in use by process %d; stop it, or give another %%-%%-data"):format(node.process.pid))
    assert.equal("1", node:client():call("GET", "a"))
  end)

  it("one of a newer format", function()
    make_data()
    tmp.write(dir .. "/FORMAT", "lunode data 999\n")
    refused_and_untouched(dir, "has format 999, and this lunode knows up to 2; run a newer lunode")
  end)

  it("one whose keys are of a newer format", function()
    make_data()
    do
      local handle <close> = assert(store.open(dir))
      handle:put(keys.FORMAT_ROW, "999")
      assert(handle:advance(handle:applied() + 1))
      assert(handle:commit(true))
    end
    refused(dir, "its keys have format 999, this lunode reads format 1")
    local handle <close> = assert(store.open(dir))
    assert.equal("999", handle:get(keys.FORMAT_ROW))
  end)

  it("one with another node's log, which begins behind what the store has", function()
    make_data()
    assert(sh("cp -a %s/log %s/mine", dir, dir .. "/.."))
    do
      local other <close> = assert(log.open(dir .. "/log"))
      assert(other:truncate_prefix(other:last() + 100, 0))
      other:append(1, "an entry of another node", 0)
    end
    refused(dir, "begins with entry %d+, but the store holds entries up to %d+ only: the files are not of one node;"
      .. " restore a backup")
    assert(sh("rm -r %s/log && mv %s/mine %s/log", dir, dir .. "/..", dir))
    assert_whole()
  end)

  it("one whose log another process has", function()
    make_data()
    local held = assert(log.open(dir .. "/log"))
    refused(dir, "in use")
    held:close()
    assert_whole()
  end)

  it("one that is not lunode's", function()
    assert(sh("mkdir %s", dir))
    tmp.write(dir .. "/dump.rdb", "REDIS0010")
    refused_and_untouched(dir, "is not empty %(it holds dump.rdb%).*%-%-data")
    tmp.write(dir .. "/FORMAT", "rocks\n")
    refused_and_untouched(dir, "is not lunode's %(its FORMAT says something else%)")
  end)

  it("a file", function()
    tmp.write(dir, "dear diary")
    refused(dir, "Not a directory")
    assert.equal("dear diary", tmp.read(dir))
  end)

  it("one in a directory that does not exist", function()
    refused(dir .. "/deep/down", "its parent does not exist; create that")
    assert.is_nil(io.open(dir))
  end)

  it("one without the right to read it", function()
    make_data()
    local wrapper = unprivileged(dir .. "/..")
    assert(sh("chmod 0 %s", dir))
    local err = refused(dir, "Permission denied; give this user the right", { wrapper = wrapper })
    assert.is_nil(err:find("damaged"))
    assert(sh("chmod 755 %s && chmod 644 %s/db/*", dir, dir)) -- whatever the umask
    local before = contents(dir)
    assert(sh("chmod 0 %s/db/*", dir))
    refused(dir, "Permission denied.*; give this user the right", { wrapper = wrapper })
    assert(sh("chmod 644 %s/db/*", dir))
    assert.equal(before, contents(dir))
  end)

  it("one without the right to write it", function()
    make_data()
    local wrapper = unprivileged(dir .. "/..")
    assert(sh("chmod -R a-w %s", dir))
    refused_and_untouched(dir, "Permission denied.*; give this user the right", { wrapper = wrapper })
  end)

  it("one on a read-only file system", function()
    make_data()
    local ok, err = sh("mount --bind %s %s && mount -o remount,bind,ro %s", dir, dir, dir)
    if not ok then
      pending("no file system can be mounted here: " .. err)
    end
    cleanup.add(function()
      assert(sh("umount -l %s", dir))
    end)
    refused_and_untouched(dir, "Read%-only file system; ")
  end)

  -- Some bytes in the middle of each file of that kind become others.
  local function scramble(data, pattern)
    local _, names = sh("ls %s/db", data)
    for name in names:gmatch("%S+") do
      if name:find(pattern) then
        local path = data .. "/db/" .. name
        local text = tmp.read(path)
        local middle = #text // 2
        local scrambled = text:sub(middle, middle + 15):gsub(".", function(c)
          return string.char(c:byte() ~ 0x55)
        end)
        tmp.write(path, text:sub(1, middle - 1) .. scrambled .. text:sub(middle + 16))
      end
    end
  end

  local damages = {
    { "an empty MANIFEST", "cd %s/db && for f in MANIFEST-*; do : >\"$f\"; done" },
    { "a MANIFEST that was cut", "cd %s/db && truncate -s 30 MANIFEST-*" },
    { "a MANIFEST with wrong bytes", scramble, "^MANIFEST" },
    { "no MANIFEST", "cd %s/db && rm MANIFEST-*" },
    { "an empty CURRENT", "cd %s/db && : >CURRENT" },
    { "a CURRENT that says something else", "cd %s/db && echo nonsense >CURRENT" },
    { "no CURRENT", "cd %s/db && rm CURRENT" },
    { "a log with wrong bytes", scramble, "%.log$" },
    { "no log", "cd %s/db && rm *.log" },
    { "no tables", "cd %s/db && rm *.ldb" },
  }

  it("one that is damaged", function()
    make_data()
    local good = contents(dir)
    for _, damage in ipairs(damages) do
      local name, how, files = table.unpack(damage)
      local copy = tmp.dir() .. "/data"
      assert(sh("cp -a %s %s", dir, copy))
      if how == scramble then
        scramble(copy, files)
      else
        assert(sh(how, copy))
      end
      assert.not_equal(good, contents(copy), name)
      local before = contents(copy)
      refused(copy, "is damaged %(.*%); restore it from a backup, or give another %-%-data")
      assert.equal(before, contents(copy), name)
    end
  end)

  it("one with a table that was cut; with the table back, all is there", function()
    make_data()
    local _, tables = sh("ls %s/db | grep ldb$", dir)
    local name = assert(tables:match("^(%S+%.ldb)\n$"), tables)
    local whole = tmp.read(dir .. "/db/" .. name)
    tmp.write(dir .. "/db/" .. name, whole:sub(1, #whole // 2))
    refused(dir, "is damaged %(.*" .. name .. ".*%); restore it from a backup")
    tmp.write(dir .. "/db/" .. name, whole)
    assert_whole()
  end)

  it("rows that cannot be read are an error, and the rest is served", function()
    make_data()
    scramble(dir, "%.ldb$")
    local node = lunode.kv { dir = dir }
    local lost, kept = 0, 0
    for i = 1, 1000, 10 do
      local client = node:client()
      local reply = client:call("GET", "old:" .. i)
      if type(reply) == "table" then
        assert.same({ err = "ERR internal error; the log has its traceback" }, reply)
        client:wait_closed()
        lost = lost + 1
      else
        assert.equal("value " .. i, reply)
        kept = kept + 1
      end
      client:close()
    end
    assert.is_true(lost > 0 and kept > 0, ("%d lost, %d kept"):format(lost, kept))
    assert.equal("value 7", node:client():call("GET", "new:7"))
    assert.is_truthy(node.process:stderr():find("is damaged", 1, true))
  end)
end)

describe("an address that cannot be listened on", function()
  local function listen_refused(address, pattern, wrapper)
    local dir = tmp.dir()
    refused(dir .. "/data", "cannot listen on " .. pattern .. ".*%(%-%-listen HOST:PORT%)",
      { listen = address, wrapper = wrapper and wrapper(dir) })
  end

  it("that is in use is named, with what to do", function()
    local node = lunode.kv {}
    local pattern = "127%.0%.0%.1 port " .. node.port .. ": Address already in use; .*choose another port"
    listen_refused(node.host .. ":" .. node.port, pattern)
    assert.same({ ok = "PONG" }, node:client():call("PING"))
  end)

  it("that this machine does not have is named", function()
    listen_refused("192.0.2.1:7000", "192%.0%.2%.1 port 7000: .*this machine has no such address")
  end)

  it("that is for root is named", function()
    local _, first = sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start")
    if tonumber(first) < 100 then
      pending("here all ports are for everyone")
    end
    local pattern = "127%.0%.0%.1 port 99: Permission denied; ports below 1024 are for root"
    listen_refused("127.0.0.1:99", pattern, unprivileged)
  end)
end)
