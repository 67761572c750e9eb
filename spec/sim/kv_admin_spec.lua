-- RAFT, asked of simulated nodes while connections break and members die: each command is answered once, an answer
-- means what it says, and what members tell each other in a form that is none harms nobody.

local kit = require "spec.sim.kv_cluster_kit"

-- A client that sends one command after the other to a member, and keeps the replies.
local function client(host, commands, replies, pause)
  local loop = require "lunode.loop"
  local resp = require "lunode.resp"
  local tcp_client = require "lunode.tcp_client"
  local at, conn, rest = 0, nil, ""
  local connect
  local function send()
    at = at + 1
    if commands[at] then
      conn:write(resp.command(table.unpack(commands[at])))
    else
      conn:close()
    end
  end
  local function take(reply)
    replies[at] = reply
    loop.timer(pause or 0, function()
      if conn:is_open() then
        send()
      end
    end)
  end
  function connect()
    rest = ""
    conn = tcp_client.connect(host, 6380, {
      connect_timeout = 2,
      on_connect = function(_, err)
        if not err then
          send()
        end
      end,
      on_read = function(_, data)
        rest = rest .. data
        local reply, next_at = resp.decode(rest)
        if reply ~= nil then
          assert(next_at == #rest + 1, "there is more than one reply")
          rest = ""
          take(reply)
        end
      end,
      on_close = function()
        if commands[at + 1] then
          loop.timer(0.1, connect)
        end
      end,
    })
  end
  connect()
end

local KINDS = { ERR = true, UNKNOWN = true, CLUSTERDOWN = true, LOADING = true }

local function ask(world, host, ...)
  local replies = {}
  world:node("asks" .. world.now .. table.concat({ ... }), client, { host, { { ... } }, replies })
  assert(world:run_until(function()
    return replies[1]
  end, 30), "no reply")
  return replies[1]
end

local function field(map, name)
  for i = 1, #map, 2 do
    if map[i] == name then
      return map[i + 1]
    end
  end
end

-- id → its row
local function members(status)
  local rows = {}
  for _, row in ipairs(field(status, "members")) do
    rows[field(row, "id")] = row
  end
  return rows
end

describe("RAFT, asked of any member", function()
  sim_it("shows all members, and those that cannot be reached as such", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    cluster:agree()
    for _, name in ipairs(cluster.names) do
      local status = ask(world, name, "RAFT", "STATUS")
      assert.equal(leader, field(status, "leader"))
      for id, row in pairs(members(status)) do
        assert.same({ "ok", id == leader and "leader" or "follower" }, { field(row, "state"), field(row, "role") })
        assert.is_true(field(row, "lag") <= 1) -- it may not have heard yet of the last one
      end
    end
    local gone = leader == "n1" and "n2" or "n1"
    world:crash(gone)
    world:run(5)
    local row = members(ask(world, leader, "RAFT", "STATUS"))[gone]
    assert.equal("unreachable", field(row, "state"))
    assert.is_true(field(row, "last-contact-ms") >= 4000, field(row, "last-contact-ms"))
  end)

  local seeds = os.getenv "LUNODE_FULL" and 20 or 2
  sim_it("has changes made by the leader, or says that nobody leads, or that nobody knows", { seeds = seeds }, function(
    world)
    local cluster = kit.cluster(world, 3)
    cluster:leader()
    cluster:add("n4")
    local commands, asked, replies = {}, {}, {}
    for i = 1, 10 do
      table.move({
        { "RAFT", "ADD", "n4", "n4:7001" }, { "RAFT", "PROMOTE", "n4" }, { "RAFT", "TRANSFER", "n" .. i % 4 + 1 },
        { "RAFT", "STATUS" }, { "RAFT", "DEMOTE", "n4" },
      }, 1, 5, #commands + 1, commands)
    end
    for i, name in ipairs(cluster.names) do
      replies[i] = {}
      world:node("c" .. i, client, { name, commands, replies[i], 0.3 })
    end
    for i = 1, 3 do
      world:run(2)
      local name = cluster.names[i % 3 + 1]
      world:crash(name)
      world:run(1.5)
      world:restart(name)
    end
    world:run(10)
    cluster.names[4] = "n4"
    for _, list in ipairs(replies) do
      for at, reply in pairs(list) do
        asked[#asked + 1] = reply
        local err = type(reply) == "table" and reply.err
        assert.truthy(not err or KINDS[err:match "^%u+"], commands[at][2] .. ": " .. tostring(err))
      end
    end
    assert.is_true(#asked > 30, #asked)
    cluster:leader()
    assert.is_truthy(members(ask(world, "n1", "RAFT", "STATUS")).n4)
    cluster:agree()
    local config = cluster:is_up("n1").cluster.core.config:encode()
    for _, name in ipairs(cluster.names) do
      assert.equal(config, cluster:is_up(name).cluster.core.config:encode())
    end
  end)

  sim_it("is not harmed by what another member says in a form that is none", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    for _, what in ipairs {
      { "admin" }, { "admin", {}, "change" }, { "admin", 1, "change", 7 }, { "admin", "x", "change", { kind = "add" } },
      { "admin", 1, "change", { kind = "add", id = "n9", address = {} } }, { "admin", 1, "nonsense" },
      { "admin", 1, "change", { kind = "add", id = "../..", address = "x" } }, { "admin", 0 / 0, "status" },
      { "admin", 1, "change", { kind = "transfer", id = "n9" } }, { "admin", 1, "change", { kind = 1, id = "n1" } },
    } do
      for _, name in ipairs(cluster.names) do
        if name ~= leader then
          assert.is_true(cluster:is_up(name).cluster:tell(leader, what))
        end
      end
    end
    world:run(5)
    assert.equal(leader, cluster:leader())
    assert.equal(3, #field(ask(world, leader, "RAFT", "STATUS"), "members"))
    cluster:agree()
  end)
end)
