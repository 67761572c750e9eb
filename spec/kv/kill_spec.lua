-- SIGKILL at each system call by which a node changes what is on disk: the start on an empty directory, 200 commands,
-- which are enough for new segments of the log and flushes of the store, and the end. Each restart finds exactly the
-- commands that were acknowledged, or those and the one that was under way.
--
-- The Nth call of a kind is counted for each thread; the kill meets the thread that comes to its Nth first.
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local redis = require "spec.support.redis"
local strace = require "spec.support.strace"
local tmp = require "lunode.test.tmp"
local writer = require "spec.support.writer"

local FULL = os.getenv "LUNODE_FULL" == "1"
local SEED = tonumber(os.getenv "LUNODE_SEED") or loop.random(1, 1000000)

local COMMANDS = 200
local PARTS = FULL and 8 or 1 -- as a test has its time limit
local CALLS = "write,pwrite64,writev,fdatasync,fsync,fallocate,ftruncate,rename,renameat,renameat2,unlink,unlinkat,"
  .. "mkdir,openat"

-- ---- the script: each command's words, and what it does to a table of texts

local FILLER = ("x"):rep(1500)
local makers = {
  function(i)
    local key, value = "s" .. i % 17, i .. FILLER
    return { "SET", key, value }, function(state)
      state[key] = value
    end
  end,
  function(i)
    local key = "n" .. i % 5
    return { "INCR", key }, function(state)
      state[key] = tostring((tonumber(state[key]) or 0) + 1 | 0)
    end
  end,
  function(i)
    local key = "s" .. i % 23
    return { "APPEND", key, "+" .. i }, function(state)
      state[key] = (state[key] or "") .. "+" .. i
    end
  end,
  function(i)
    local a, b = "s" .. i % 13, "s" .. i % 7
    return { "MSET", a, "a" .. i, b, "b" .. i }, function(state)
      state[a] = "a" .. i
      state[b] = "b" .. i
    end
  end,
  function(i)
    local a, b = "s" .. i % 11, "n" .. i % 3
    return { "DEL", a, b }, function(state)
      state[a], state[b] = nil, nil
    end
  end,
}

local function words_of(i)
  if i == 120 then
    return { "FLUSHALL" }, function(state)
      for key in pairs(state) do
        state[key] = nil
      end
    end
  end
  return makers[i % #makers + 1](i)
end

local function state_after(count)
  local state = {}
  for i = 1, count do
    select(2, words_of(i))(state)
  end
  return state
end

-- ---- a run

local function start(dir, sync, trace, injection)
  return lunode.kv {
    small = true, "sync=" .. sync, "overlay=32768", "segment=65536", dir = dir, env = strace.ENV, patient = false,
    wrapper = strace.wrapper(trace, CALLS, injection),
  }
end

-- A client of a node that may die at any moment; nil where it has.
local function connect(node)
  local ok = pcall(redis.wait_ready, node.host, node.port, node.process)
  local connected, client = pcall(node.client, node)
  return ok and connected and client or nil
end

-- Sends the commands one by one, until the node is dead or has ended. Returns how many replies came.
local function run_script(node)
  local client, acked = connect(node), 0
  if client then
    for i = 1, COMMANDS do
      if not pcall(client.call, client, table.unpack((words_of(i)))) then
        break
      end
      acked = i
    end
    pcall(client.call, client, "SHUTDOWN")
    client:close()
  end
  return acked, node.process:wait(60)
end

local function texts(all)
  local list = {}
  for key, entry in pairs(all) do
    list[key] = entry.text
  end
  return list
end

local function same(a, b)
  for key, value in pairs(a) do
    if b[key] ~= value then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

-- Restarts it, as `lunode kv`, and judges what is there.
local function judge(dir, acked, where)
  local node = lunode.kv { dir = dir }
  local client = node:client()
  local all, count = writer.dump(client)
  local there = texts(all)
  local found = same(there, state_after(acked)) or acked < COMMANDS and same(there, state_after(acked + 1))
  assert(found, ("%s: it is as after neither %d commands, which were acknowledged, nor one more"):format(where, acked))
  assert.equal(count, client:call("DBSIZE"))
  assert.same({ ok = "OK" }, client:call("SET", "s1", "after"))
  client:close()
  node:kill9()
end

-- The calls of an undisturbed run, as { name, N }: each kind as often as the thread that has most of them calls it.
local function points_of(trace)
  local counts, most, points = {}, {}, {}
  for _, call in ipairs(strace.calls(trace)) do
    local thread, name = call.thread, call.name
    local of_thread = counts[thread] or {}
    counts[thread] = of_thread
    of_thread[name] = (of_thread[name] or 0) + 1
    if of_thread[name] > (most[name] or 0) then
      most[name] = of_thread[name]
      if name ~= "openat" or call.text:find("O_CREAT", 1, true) then
        points[#points + 1] = { name, most[name] }
      end
    end
  end
  return points, most
end

-- In a full run, each part has every PARTSth point.
local function each(points, part)
  local chosen = {}
  for i = part, #points, PARTS do
    chosen[#chosen + 1] = points[i]
  end
  return chosen
end

local function sample(points, count)
  for i = 1, math.min(count, #points) do
    local j = math.random(i, #points)
    points[i], points[j] = points[j], points[i]
  end
  return table.move(points, 1, math.min(count, #points), 1, {})
end

describe(("SIGKILL at a system call (LUNODE_SEED=%d)"):format(SEED), function()
  setup(function()
    if not strace.usable() then
      pending("this system does not let processes be traced")
    end
  end)

  local function survive(sync, count, part)
    math.randomseed(SEED)
    local base = tmp.dir()
    local acked, code = run_script(start(base .. "/undisturbed", sync, base .. "/trace"))
    assert.same({ COMMANDS, 0 }, { acked, code })
    judge(base .. "/undisturbed", COMMANDS, "undisturbed")
    local points, most = points_of(base .. "/trace")
    for _, name in ipairs { "pwrite64", "fdatasync", "write", "fallocate", "unlinkat", "openat", "mkdir" } do
      assert((most[name] or 0) > 0, name .. " was never called")
    end
    assert(most.fallocate > 2, "the log has had no new segment")
    local killed, done, begun = 0, 0, loop.now()
    local chosen = FULL and each(points, part) or sample(points, count)
    for i, point in ipairs(chosen) do
      if not FULL and loop.now() - begun > 25 then -- a slow machine tries fewer
        break
      end
      done = i
      local dir, where = ("%s/%d"):format(base, i), ("%s %d"):format(point[1], point[2])
      local node = start(dir, sync, "/dev/null", ("%s:signal=KILL:when=%d"):format(point[1], point[2]))
      acked, code = run_script(node)
      killed = killed + (code ~= 0 and 1 or 0)
      node.process:close()
      judge(dir, acked, where)
      os.execute("rm -rf " .. tmp.quote(dir))
    end
    -- Some come less often in another run: threads meet otherwise, and more so where nobody waits for the disk.
    local wanted = done * (sync == "always" and 0.8 or 0.4) - 1
    assert(killed > 0 and killed >= wanted, ("only %d of %d runs were killed"):format(killed, done))
  end

  for part = 1, PARTS do
    for _, mode in ipairs { { "always", 20 }, { "everysec", 8 } } do
      local sync, count = mode[1], mode[2]
      it(("loses no acknowledged command, --sync %s (part %d of %d)"):format(sync, part, PARTS), function()
        survive(sync, count, part)
      end)
    end
  end
end)
