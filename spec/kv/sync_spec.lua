-- What --sync promises, seen in the node's system calls: with `always` no reply leaves before its write is on disk.
local lunode = require "spec.support.lunode"
local strace = require "spec.support.strace"
local wait = require "lunode.test.wait"
local writer = require "spec.support.writer"

local FULL = os.getenv "LUNODE_FULL" == "1"

-- LeakSanitizer traces the process at its end, which cannot be while strace does.
local TRACEABLE = { ASAN_OPTIONS = "detect_leaks=0" }

local WRITES = { write = true, pwrite64 = true }
local SYNCS = { fdatasync = true, fsync = true }

local function is_log(call)
  return call.file:find("/log/%x+%.log$") ~= nil
end

-- Takes what a sync has brought to disk out of the writes: those that had ended before it began.
local function settle(unsynced, sync)
  for i = #unsynced, 1, -1 do
    if unsynced[i].file == sync.file and unsynced[i].ended < sync.begun then
      table.remove(unsynced, i)
    end
  end
end

-- Walks the calls; returns how many replies (to clients' sockets) there were, how many of them left before all that
-- the log had been given was on disk, how many syncs there were, and whether all is on disk at the end.
local function judge(calls)
  local unsynced, replies, early, syncs = {}, 0, 0, 0
  for _, call in ipairs(calls) do
    if is_log(call) and WRITES[call.name] then
      unsynced[#unsynced + 1] = call
    elseif is_log(call) and SYNCS[call.name] then
      settle(unsynced, call)
      syncs = syncs + 1
    elseif call.name == "sendto" then
      replies = replies + 1
      early = early + (#unsynced > 0 and 1 or 0)
    end
  end
  return replies, early, syncs, #unsynced == 0
end

local function sends(count)
  return function(calls)
    return (judge(calls)) >= count
  end
end

local function after(calls, position)
  return table.move(calls, position + 1, #calls, 1, {})
end

local function fill(client, count)
  local words = { "MSET" }
  for i = 1, count do
    words[#words + 1], words[#words + 2] = "key:" .. i, "value"
    if i % 1000 == 0 or i == count then
      assert.same({ ok = "OK" }, client:call(table.unpack(words)))
      words = { "MSET" }
    end
  end
end

describe("--sync", function()
  -- A node with `count` keys, traced from then on.
  local function start(sync, count)
    local node = lunode.kv { "--sync", sync, env = TRACEABLE }
    local client = node:client()
    if count > 0 then
      fill(client, count)
    end
    local trace, err = strace.attach(node)
    if not trace then
      pending(err)
    end
    return node, client, trace
  end

  it("always: each kind of write is on disk before its reply", function()
    local _, client, trace = start("always", 0)
    local commands = {
      { "SET", "a", "1" }, { "MSET", "b", "1", "c", "2" }, { "INCR", "a" }, { "APPEND", "b", "x" },
      { "RENAME", "b", "d" }, { "EXPIRE", "a", "1000" }, { "PERSIST", "a" }, { "DEL", "a" }, { "GETDEL", "c" },
    }
    for _, words in ipairs(commands) do
      client:call(table.unpack(words))
    end
    local calls = trace:wait_for(sends(#commands), "the replies")
    assert.same({ #commands, 0, #commands, true }, { judge(calls) })
  end)

  it("always: reads wait for no disk", function()
    local _, client, trace = start("always", 10)
    for _ = 1, 5 do
      client:call("GET", "key:1")
    end
    assert.same({ 5, 0, 0, true }, { judge(trace:wait_for(sends(5), "the replies")) })
  end)

  it("always: the commands of many clients that come together share one sync", function()
    local node, first, trace = start("always", 1)
    local clients = {}
    for i = 1, 20 do
      clients[i] = node:client()
    end
    local before = #trace:calls()
    node.process:kill("STOP")
    for i, client in ipairs(clients) do
      client:send(("SET key:%d value\r\n"):format(i))
      wait.till(function()
        return client.conn:stats().queued == 0
      end)
    end
    node.process:kill("CONT")
    for _, client in ipairs(clients) do
      assert.same({ ok = "OK" }, client:reply())
    end
    local calls = trace:wait_for(function(all)
      return (judge(after(all, before))) >= #clients
    end, "the replies")
    assert.same({ 20, 0, 1, true }, { judge(after(calls, before)) })
    assert.equal(20, first:call("DBSIZE"))
  end)

  it("always: a flush of few and of many keys is on disk before its reply", function()
    for _, count in ipairs { 3, 10000 } do
      local _, client, trace = start("always", count)
      assert.same({ ok = "OK" }, client:call("FLUSHALL"))
      local replies, early, syncs = judge(trace:wait_for(sends(1), "the reply"))
      assert.same({ 1, 0 }, { replies, early })
      assert.is_true(syncs >= 1)
    end
  end)

  it("always: a write before a flush in the same turn is on disk before its reply, too", function()
    local _, client, trace = start("always", 100)
    client:send("SET a 1\r\nFLUSHALL\r\nSET b 2\r\nFLUSHDB\r\n")
    for _ = 1, 4 do
      assert.same({ ok = "OK" }, client:reply())
    end
    local _, early = judge(trace:wait_for(sends(1), "the replies"))
    assert.equal(0, early)
  end)

  -- What a power cut would take: for each sync, how old the oldest write is that it covers.
  local function ages_at_syncs(calls)
    local unsynced, ages = {}, {}
    for _, call in ipairs(calls) do
      if is_log(call) and WRITES[call.name] then
        unsynced[#unsynced + 1] = call
      elseif is_log(call) and SYNCS[call.name] and unsynced[1] and unsynced[1].ended < call.begun then
        ages[#ages + 1] = call.time - unsynced[1].time
        settle(unsynced, call)
      end
    end
    table.sort(ages)
    return ages
  end

  it("everysec: under load a power cut takes about a second at most", function()
    local node, _, trace = start("everysec", 0)
    local w = writer.new("w", { batch = 4 })
    w:connect(node)
    local wanted = FULL and 10 or 3 -- one a second, and 20 s are waited for them
    local ages = ages_at_syncs(trace:wait_for(function(all)
      return #ages_at_syncs(all) >= wanted
    end, wanted .. " syncs"))
    w:finish()
    -- a machine that is busy with others may hold a thread back now and then
    local usual = ages[(#ages + 1) // 2]
    assert.is_true(usual < 2, ("writes were %.1f s old before their sync began"):format(usual))
    assert.is_true(ages[#ages] < 10, ("a write was %.1f s old before its sync began"):format(ages[#ages]))
    assert.is_true(w.acked > 100)
  end)

  it("everysec: replies wait for no disk, which has the writes soon after", function()
    for _, words in ipairs { { "SET", "a", "1" }, { "FLUSHALL" } } do
      local _, client, trace = start("everysec", 100)
      trace:wait_for(function(calls)
        return select(3, judge(calls)) >= 1
      end, "the sync of what was there before")
      local before = #trace:calls()
      assert.same({ ok = "OK" }, client:call(table.unpack(words)))
      local calls = trace:wait_for(function(all)
        local replies, early = judge(after(all, before))
        return replies == 1 and early == 1
      end, "a reply that waits for no disk")
      trace:wait_for(function(all)
        return select(4, judge(after(all, before)))
      end, "the sync of " .. words[1])
      assert.is_false(select(4, judge(after(calls, before))))
    end
  end)
end)
