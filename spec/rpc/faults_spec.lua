-- What goes wrong between peers: servers that are not there, die, hang, or come back; connections lost in every state.

local cleanup = require "lunode.test.cleanup"
local kit = require "spec.rpc.kit"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local ports = require "lunode.test.ports"
local rpc = require "lunode.rpc"
local task = require "lunode.task"
local tcp_server = require "lunode.tcp_server"
local wait = require "lunode.test.wait"

local NODE = [[
local rpc, task = require "lunode.rpc", require "lunode.task"
local server = assert(rpc.serve(arg[1] or "127.0.0.1:0", {
  add = function(_, a, b) return a + b end,
  slow = function(_, seconds) task.sleep(seconds) return "slept" end,
}))
print("listening on " .. server:address())
]]

local QUICK = { backoff = 0.01, max_backoff = 0.05, heartbeat = 0.1, heartbeat_timeout = 0.1 }

local function quick(more)
  local opts = {}
  for key, value in pairs(QUICK) do
    opts[key] = value
  end
  for key, value in pairs(more or {}) do
    opts[key] = value
  end
  return opts
end

describe("a peer whose server", function()
  it("is not there fails a call for certain, with the attempt", function()
    local peer = kit.peer("127.0.0.1:" .. ports.free(), QUICK)
    local result, err = peer:call("add", { 1, 2 })
    assert.is_nil(result)
    assert.equal("ECONNREFUSED", err.code)
    assert.is_true(err.definite)
    assert.is_true(peer:state() == "waiting" or peer:state() == "connecting")
  end)

  it("comes up later is found by a call that still waits", function()
    local port = ports.free()
    local peer = kit.peer("127.0.0.1:" .. port, { backoff = 0.3, max_backoff = 0.3 })
    assert.equal("ECONNREFUSED", select(2, peer:call("add", { 1, 2 })).code)
    local server = assert(rpc.serve("127.0.0.1:" .. port, { add = function(_, a, b) return a + b end }))
    cleanup.add(function() server:close() end)
    assert.equal(3, peer:call("add", { 1, 2 }))
  end)

  it("is killed during a call tells that the outcome is unknown, and finds it again when it is back", function()
    local node, address = kit.node(NODE)
    local states = {}
    local peer = kit.peer(address, quick { on_state = function(_, state) states[#states + 1] = state end })
    assert.equal(3, peer:call("add", { 1, 2 }))
    local result, err
    local caller = task.spawn(function() result, err = peer:call("slow", { 60 }, { timeout = 30 }) end)
    task.sleep(0)
    wait.till(function() return peer:stats().in_flight > 0 end)
    node:kill("KILL")
    caller:join()
    assert.is_nil(result)
    assert.is_false(err.definite)
    assert.matches("lost", err.message)
    local second = kit.node(NODE:gsub("arg%[1%] or \"127.0.0.1:0\"", ("%q"):format(address)))
    wait.till(function() return peer:state() == "connected" end)
    assert.equal(7, peer:call("add", { 3, 4 }))
    assert.same({ "connecting", "connected", "waiting" }, { states[1], states[2], states[3] })
    assert.equal("connected", states[#states])
    second:kill("KILL")
  end)

  it("is stopped is found out by its silence; what is under way fails, and the connection goes", function()
    local node, address = kit.node(NODE)
    local peer = kit.peer(address, QUICK)
    assert.equal(3, peer:call("add", { 1, 2 }))
    node:kill("STOP")
    local before = loop.time()
    local _, err = peer:call("add", { 1, 2 }, { timeout = 30 })
    assert.equal("ETIMEDOUT", err.code)
    assert.is_false(err.definite)
    assert.matches("no sign of life", err.message)
    assert.is_true(loop.time() - before < 10)
    node:kill("CONT")
    wait.till(function() return peer:call("add", { 1, 2 }) == 3 end)
  end)

  it("accepts, and never says a word, is found out, too", function()
    local address, conns = kit.raw_server()
    local peer = kit.peer(address, QUICK)
    local _, err = peer:call("add", { 1, 2 }, { timeout = 30 })
    assert.matches("no sign of life", err.message)
    assert.is_false(err.definite)
    wait.till(function() return #conns >= 2 end) -- it tries again, by itself
  end)

  it("is slow but alive keeps its connection: any answer to a ping is a sign of life", function()
    local pings = 0
    local address, conns = kit.raw_server(function(conn, message)
      if message[3] == "slow" then
        task.spawn(function()
          wait.till(function() return pings >= 3 end)
          conn:write(msgpack.encode(msgpack.array { 1, message[2], msgpack.null, "at last" }))
        end)
      elseif message[3] == "$/ping" then
        pings = pings + 1
        return msgpack.array { 1, message[2], "what is a ping?", msgpack.null }
      end
    end)
    local peer = kit.peer(address, quick { plain = true, heartbeat = 0.02, heartbeat_timeout = 2 })
    assert.equal("at last", peer:call("slow"))
    assert.equal(1, #conns)
    assert.equal("connected", peer:state())
  end)

  it("closes each connection at once is not stormed: the delays grow", function()
    local accepted = 0
    local server = assert(tcp_server.listen("127.0.0.1", 0, {
      on_connect = function(conn)
        accepted = accepted + 1
        conn:abort()
      end,
    }))
    cleanup.add(function() server:close() end)
    local peer = kit.peer(("%s:%d"):format(server:sock()), { backoff = 0.04, max_backoff = 10 })
    peer:notify("x")
    task.sleep(0)
    wait.till(function() return accepted >= 2 end)
    local before, first = loop.now(), accepted
    wait.till(function() return loop.now() - before >= 0.5 end)
    assert.is_true(accepted - first <= 30, accepted .. " connections")
  end)
end)

describe("a hundred peers of a server that restarts", function()
  it("come back spread out, and every call ends once", function()
    local port = ports.free()
    local methods = { add = function(_, a, b) return a + b end }
    local server = assert(rpc.serve("127.0.0.1:" .. port, methods))
    local peers, count = {}, 100
    for i = 1, count do
      peers[i] = kit.peer("127.0.0.1:" .. port, { backoff = 0.02, max_backoff = 0.1 })
      assert.equal(i, peers[i]:call("add", { i, 0 }))
    end
    for _ = 1, 3 do
      server:close()
      wait.till(function()
        for _, peer in ipairs(peers) do
          if peer:state() == "connected" then return false end
        end
        return true
      end)
      server = assert(rpc.serve("127.0.0.1:" .. port, methods))
      local ended = 0
      for i, peer in ipairs(peers) do
        peer:call("add", { i, 0 }, { callback = function() ended = ended + 1 end })
      end
      wait.till(function() return ended == count end)
      wait.till(function()
        for _, peer in ipairs(peers) do
          if peer:state() ~= "connected" then return false end
        end
        return true
      end)
      assert.equal(count, ended)
    end
    server:close()
  end)
end)

describe("calls in flight", function()
  it("are bounded: one more fails, for certain", function()
    local _, address = kit.serve({ slow = function() task.sleep(30) end, add = math.max }, { concurrency = 10 })
    local peer = kit.peer(address, { max_in_flight = 3 })
    for _ = 1, 2 do -- while there is no connection, and when there is
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = task.spawn(function() peer:call("slow") end)
      end
      wait.till(function() return peer:stats().in_flight + peer:stats().held >= 3 end)
      local _, err = peer:call("slow")
      assert.equal("EBUSY", err.code)
      assert.is_true(err.definite)
      wait.till(function() return peer:state() == "connected" end)
      for i = 1, 3 do
        tasks[i]:cancel()
      end
      wait.till(function() return peer:stats().in_flight == 0 end)
    end
  end)

  it("and bytes that wait to be sent, too", function()
    local address, conns = kit.raw_server()
    local peer = kit.peer(address, { max_queued = 200000, plain = true, timeout = 60, heartbeat = 60 })
    local big, ended, busy = ("x"):rep(100000), 0, 0
    peer:call("x", { big }, { callback = function() ended = ended + 1 end })
    wait.till(function() return peer:state() == "connected" and conns[1] end)
    conns[1]:pause()
    local count = 300
    for _ = 1, count do
      peer:call("x", { big }, { callback = function(_, err)
        ended = ended + 1
        busy = busy + (err.code == "EBUSY" and err.definite and 1 or 0)
      end })
      task.yield()
    end
    assert.is_true(busy > 100, busy .. " were refused")
    peer:close()
    wait.till(function() return ended == count + 1 end)
  end)

  it("fail when the peer is closed; those not sent for certain", function()
    local _, address = kit.serve { slow = function() task.sleep(30) end, add = math.max }
    local errs = {}
    local function keep(_, err) errs[#errs + 1] = err end
    local peer = kit.peer(address)
    peer:call("slow", {}, { callback = keep })
    peer:close()
    wait.till(function() return #errs == 1 end)
    assert.is_true(errs[1].definite)
    local other = kit.peer(address)
    other:call("slow", {}, { callback = keep })
    wait.till(function() return other:stats().in_flight == 1 end)
    other:close()
    other:close()
    wait.till(function() return #errs == 2 end)
    assert.is_false(errs[2].definite)
    assert.equal("ECANCELED", errs[2].code)
    assert.equal("closed", other:state())
    assert.equal("ENOTCONN", select(2, other:call("slow")).code)
    assert.equal("ENOTCONN", select(2, other:notify("slow")).code)
    assert.equal("ENOTCONN", select(2, other:open("slow")).code)
  end)

  it("may end with a peer that on_state closes, in any state", function()
    for _, last in ipairs { "connecting", "connected", "waiting" } do
      local _, address = kit.serve { add = function(_, a, b) return a + b end }
      if last == "waiting" then
        address = "127.0.0.1:" .. ports.free()
      end
      local peer = kit.peer(address, {
        on_state = function(self, state)
          if state == last then
            self:close()
          end
        end,
      })
      local _, err = peer:call("add", { 1, 2 })
      assert.is_table(err)
      assert.equal("closed", peer:state())
    end
  end)

  it("time out while there is no connection, for certain", function()
    local full = assert(tcp_server.listen("127.0.0.1", 0, {}))
    cleanup.add(function() full:close() end)
    local peer = kit.peer("127.0.0.1:" .. ports.free(), { backoff = 5, max_backoff = 5 })
    local err
    for _ = 1, 20 do -- until the random delay is long enough
      err = select(2, peer:call("x", {}, { timeout = 0.02 }))
      if err.code == "ETIMEDOUT" then
        break
      end
    end
    assert.equal("ETIMEDOUT", err.code)
    assert.is_true(err.definite)
    assert.matches("was not sent in time: .*refused", err.message)
    assert.equal(0, peer:stats().held)
  end)
end)
