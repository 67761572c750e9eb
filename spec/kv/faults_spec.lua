-- A disk that fails or stalls under a node at work: it stops before it says what is not so, or waits and loses nothing.
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local strace = require "spec.support.strace"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"
local writer = require "spec.support.writer"

local FULL = os.getenv "LUNODE_FULL" == "1"
local SEED = tonumber(os.getenv "LUNODE_SEED") or loop.random(1, 1000000)

local CALLS = "write,pwrite64,fdatasync,fsync,sendto"

local function need_strace()
  if not strace.usable() then
    pending("this system does not let processes be traced")
  end
end

-- A node with small buffers under strace.
local function start(sync, injection, more)
  local trace = tmp.dir() .. "/trace"
  local options = {
    small = true, "sync=" .. sync, "overlay=65536", "segment=262144", env = strace.ENV,
    wrapper = strace.wrapper(trace, CALLS, injection),
  }
  return lunode.kv(table.move(more or {}, 1, #(more or {}), #options + 1, options)), trace
end

local function error_lines(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    if line:find("Z error ", 1, true) then
      lines[#lines + 1] = line
    end
  end
  return lines
end

-- What a plain node finds in the directory is what the writers were told.
local function settle(dir, writers)
  local node = lunode.kv { dir = dir }
  local client = node:client()
  local all, count = writer.dump(client)
  for _, w in ipairs(writers) do
    w:settle(all)
  end
  assert.equal(count, client:call("DBSIZE"))
  client:close()
end

describe(("a write or sync that fails (LUNODE_SEED=%d)"):format(SEED), function()
  setup(need_strace)

  -- How many replies left after the failure.
  local function replies_after(trace)
    local failed, replies = nil, 0
    for _, call in ipairs(strace.calls(trace)) do
      failed = failed or call.text:find("(INJECTED)", 1, true)
      replies = replies + (failed and call.name == "sendto" and 1 or 0)
    end
    assert(failed, "nothing has failed")
    return replies
  end

  local function stops(sync, call, at, value)
    local node, trace = start(sync, ("%s:error=EIO:when=%d"):format(call, at))
    local writers = {}
    for i = 1, 3 do
      writers[i] = writer.new("w" .. i, { batch = 2 << i, value = value or 300 })
      writers[i]:connect(node)
    end
    assert.equal(1, node.process:wait(30), node.process:stderr())
    local lines = error_lines(node.process:stderr())
    assert.equal(1, #lines, node.process:stderr())
    assert.matches("error the node stops: .*Input/output error.*Every write that it acknowledged is kept", lines[1])
    wait.till(function()
      return writers[1].closed and writers[2].closed and writers[3].closed
    end, 10, "the connections to break")
    settle(node.dir, writers)
    return replies_after(trace)
  end

  for _, sync in ipairs { "always", "everysec", "no" } do
    it("of the log's bytes stops the node, and no reply leaves, --sync " .. sync, function()
      math.randomseed(SEED)
      for _ = 1, FULL and 20 or 2 do
        assert.equal(0, stops(sync, "pwrite64", math.random(3, 200))) -- the start has two
      end
    end)
  end

  -- Replies that leave in the turn in which it fails are of entries that were on disk: at most one for each connection.
  -- That they are: see the power cuts.
  it("of the log's sync stops the node, --sync always", function()
    math.randomseed(SEED)
    for _ = 1, FULL and 20 or 3 do
      assert.is_true(stops("always", "fdatasync", math.random(12, 60)) <= 3) -- the start has fewer
    end
  end)

  -- The loop goes on until it hears of it.
  it("of the store's flush, or of the log, stops the node soon, --sync everysec", function()
    math.randomseed(SEED)
    for _ = 1, FULL and 20 or 3 do
      stops("everysec", "fdatasync", math.random(12, 20), 2000)
    end
  end)

  it("of a new segment stops the node", function()
    math.randomseed(SEED)
    for _ = 1, FULL and 10 or 2 do
      stops("no", "fsync", math.random(10, 16), 3000) -- the start has fewer
    end
  end)
end)

-- After the death of a process all that it wrote is there. A power cut takes, at worst, all that no sync has covered:
-- here that is cut off by hand, as the trace of the node's calls tells it.
describe(("a power cut (LUNODE_SEED=%d)"):format(SEED), function()
  setup(need_strace)

  -- Where in the log's only segment what was synced ends, and what was written.
  local function ends(trace)
    local written, synced, pending = 0, 0, {}
    for _, call in ipairs(strace.calls(trace)) do
      local length, offset = call.text:match('^pwrite64%(.*, (%d+), (%d+)%) += %d+$')
      if length and call.file:find("/log/%x+%.log$") then
        written = math.max(written, length + offset)
        pending[#pending + 1] = { at = length + offset | 0, ended = call.ended }
      elseif call.name == "fdatasync" and call.file:find("/log/%x+%.log$") and call.text:find("= 0%f[%s\0]") then
        for _, write in ipairs(pending) do
          if write.ended < call.begun then
            synced = math.max(synced, write.at)
          end
        end
      end
    end
    return synced | 0, written | 0
  end

  local function cut_off(path, from, to)
    local file = assert(io.open(path, "r+b"))
    file:seek("set", from)
    file:write(("\0"):rep(to - from))
    file:close()
  end

  it("takes nothing that was acknowledged, --sync always", function()
    math.randomseed(SEED)
    local cut, delay, rounds = 0, 10, FULL and 30 or 3
    repeat
      -- syncs that last, so that there are writes behind them; longer, where the machine was too slow for that
      local injection = ("fdatasync:delay_enter=%dms"):format(delay)
      local node, trace = start("always", injection, { "segment=33554432", "overlay=33554432" })
      local writers = {}
      for i = 1, 3 do
        writers[i] = writer.new("w" .. i, { batch = 1 << i })
        writers[i]:connect(node)
      end
      local some = math.random(20, 300)
      wait.till(function()
        return writers[1].acked + writers[2].acked + writers[3].acked >= some
      end, 30, some .. " acknowledged writes")
      node:kill9()
      wait.till(function()
        return writers[1].closed and writers[2].closed and writers[3].closed
      end, 10, "the connections to break")
      local synced, written = ends(trace)
      assert.is_true(synced > 0)
      cut = cut + written - synced
      cut_off(node.dir .. "/log/0000000000000001.log", synced, written)
      settle(node.dir, writers)
      rounds = rounds - 1
      delay = rounds <= 0 and 2 * delay or delay
    until rounds <= 0 and (cut > 0 or rounds < -4)
    assert.is_true(cut > 0, "no write was ever on its way to the disk")
  end)
end)

describe("an engine that stalls", function()
  setup(need_strace)

  it("stops writes at the overlay's bound, reads go on, and nothing is lost", function()
    local LIMIT, MILLISECONDS = 512 << 10, 1500
    local injection = ("fdatasync:delay_enter=%dms:when=5+"):format(MILLISECONDS)
    local node = start("no", injection, { "limit=" .. LIMIT, "segment=33554432" })
    local client = node:client()
    local w = writer.new("w", { batch = 8, value = 2000 })
    w:connect(node)
    local stalls = 0
    for _ = 1, FULL and 5 or 2 do
      -- Twenty reads are answered, and meanwhile not one write.
      local before, written
      wait.till(function()
        before = w.acked
        for _ = 1, 20 do
          assert.equal(0, client:call("EXISTS", "none"))
        end
        written = w.acked
        return written == before
      end, 30, "writes to wait")
      stalls = stalls + 1
      assert.is_true(w.sent > w.acked)
      wait.till(function()
        return w.acked > written
      end, 30, "writes to go on")
    end
    assert.is_true(w.acked * 2000 > LIMIT, w.acked .. " commands")
    w:finish()
    client:close()
    node.process:close()
    settle(node.dir, { w })
  end)
end)

describe(("CONFIG SET appendfsync (LUNODE_SEED=%d)"):format(SEED), function()
  it("changes in all directions under load; a kill -9 then loses nothing", function()
    math.randomseed(SEED)
    local node = lunode.kv { small = true, "overlay=65536", "segment=262144" }
    local writers = {}
    for i = 1, 4 do
      writers[i] = writer.new("w" .. i, { batch = 1 << i })
    end
    for _ = 1, FULL and 20 or 2 do
      for _, w in ipairs(writers) do
        w:connect(node)
      end
      local client = node:client()
      for _, sync in ipairs { "always", "no", "everysec", "always", "everysec", "no", "always", "no" } do
        assert.same({ ok = "OK" }, client:call("CONFIG", "SET", "appendfsync", sync))
        assert.same({ "appendfsync", sync }, client:call("CONFIG", "GET", "appendfsync"))
        local acked = {}
        for i, w in ipairs(writers) do
          acked[i] = w.acked
        end
        local more = math.random(1, 60)
        wait.till(function()
          for i, w in ipairs(writers) do
            if w.acked < acked[i] + more then
              return false
            end
          end
          return true
        end, 30, "every writer to go on with " .. sync)
      end
      client:close()
      node:kill9()
      wait.till(function()
        return writers[1].closed and writers[2].closed and writers[3].closed and writers[4].closed
      end, 10, "the connections to break")
      node:start()
      client = node:client()
      local all = writer.dump(client)
      for _, w in ipairs(writers) do
        w:settle(all)
      end
      client:close()
    end
  end)
end)
