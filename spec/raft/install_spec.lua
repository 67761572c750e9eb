-- Real processes: a member that is killed again and again while it is sent a copy of the store, and one whose disk is
-- full meanwhile.

local data = require "spec.support.data"
local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local rpc = require "lunode.rpc"
local store = require "lunode.store"
local task = require "lunode.task"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local SCRIPT = "spec/support/store_member.lua"
local FULL = os.getenv "LUNODE_FULL" == "1"

local function member(id, dir, founder)
  local self = { id = id, rpc = "127.0.0.1:" .. ports.free(), address = "127.0.0.1:" .. ports.free() }
  function self.start()
    self.process = process.start { lunode.bin, "run", SCRIPT, id, dir, self.rpc, self.address, founder }
  end
  function self.kill()
    self.process:kill "KILL"
    self.process:wait(10)
  end
  function self.call(method, ...)
    return self.peer:call(method, { ... }, { timeout = 30 })
  end
  self.start()
  self.peer = rpc.peer(self.rpc)
  return self
end

describe("a member that is sent a copy of the store", function()
  it("has the old state or the new one however often it is killed meanwhile, and comes to the same rows", function()
    local dir = tmp.dir()
    local leader = member("n1", dir .. "/n1", "founder")
    wait.till(function()
      return (leader.call("write", "first", "row"))
    end, 20, "a leader")
    assert(leader.call("fill", FULL and 100000 or 12000, 1000))
    assert(leader.call "flush")
    wait.till(function()
      leader.call("write", "k", ("v"):rep(20000))
      return leader.call("state").first > 10
    end, 30, "the log is cut")
    local away = member("n2", dir .. "/n2")
    wait.till(function()
      return (away.call "state")
    end, 20, "n2 is up")
    assert(leader.call("add", "n2", away.address))
    local kills, seen = FULL and 40 or 5, {}
    for i = 1, kills do
      local at = (i - 1) * 10 // kills -- tenths of the way
      wait.till(function()
        local state = away.call "state"
        if state and state.pieces >= 0 then
          seen[#seen + 1] = state.pieces
        end
        return state and (state.applied > 0 or state.pieces >= at * (FULL and 40 or 4))
      end, 60, "it has so much of the copy")
      if i % 2 == 0 then
        task.sleep(i * 0.002) -- somewhere between two looks
      end
      away.kill()
      local applied = 0
      for _, name in ipairs { "data-0", "data-1" } do -- what it is, it is as a whole
        local handle = store.open(dir .. "/n2/" .. name, { create = false })
        if handle then
          applied = math.max(applied, handle:applied())
          handle:close()
        end
      end
      assert.is_true(applied == 0 or applied > 10)
      away.start()
    end
    assert.is_true(#seen > 0, "it was never seen to receive anything")
    assert(leader.call("write", "last", "row"))
    wait.till(function()
      local state, other = away.call "state", leader.call "state"
      return state and other and state.applied == other.applied
    end, 60, "it is where the leader is")
    assert.equal(leader.call "digest", away.call "digest")
    away.kill()
    away.start()
    assert(leader.call("write", "very last", "row"))
    wait.till(function()
      local state, other = away.call "state", leader.call "state"
      return state and other and state.applied == other.applied
    end, 60, "it is where the leader is")
    assert.equal(leader.call "digest", away.call "digest")
    local in_force = away.call("state").data
    assert.equal("ENOENT", select(3, store.inspect(dir .. "/n2/" .. (in_force == "data-0" and "data-1" or "data-0"))))
    leader.peer:close()
    away.peer:close()
  end)

  it("waits where its disk is full, and takes it when there is room", function()
    local disk, why = data.small_disk "56m"
    if not disk then
      pending(why)
      return
    end
    local dir = tmp.dir()
    local leader = member("n1", dir .. "/n1", "founder")
    wait.till(function()
      return (leader.call("write", "first", "row"))
    end, 20, "a leader")
    assert(leader.call("fill", 12000, 1000))
    data.sh("head -c 46m /dev/zero > %s/filler", disk)
    local away = member("n2", disk .. "/n2")
    wait.till(function()
      return (away.call "state")
    end, 20, "n2 is up")
    assert(leader.call("add", "n2", away.address))
    wait.till(function()
      return data.sh("df --output=avail %s | tail -1", disk):match "%d+" + 0 < 2000
    end, 30, "its disk is full")
    for i = 1, 20 do
      assert(leader.call("write", "k" .. i, ("v"):rep(20000)))
      assert(away.call "state", "it has ended")
    end
    assert.is_true(away.call("state").applied < leader.call("state").applied)
    data.sh("rm %s/filler", disk)
    wait.till(function()
      local state, other = away.call "state", leader.call "state"
      return state and other and state.applied == other.applied
    end, 60, "it is where the leader is")
    assert.equal(leader.call "digest", away.call "digest")
    leader.peer:close()
    away.peer:close()
    away.kill() -- its disk goes
  end)
end)
