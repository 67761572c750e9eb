-- Members of one cluster that do not know the same commands, as while they are upgraded one after the other: what not
-- all of them know is refused, and nobody stops.

local kit = require "spec.sim.kv_cluster_kit"

local YET = "does not know 'double' yet: it is of another version, or lacks a script"

-- In a node, before it starts: adds a command to those whose turn has come.
local function prepare(state)
  local function add()
    require("lunode.kv").command("DOUBLE", {
      arity = 2, flags = { "write" }, keys = { 1, 1, 1 },
      run = function(ctx, key)
        local value = (ctx.db:get(key) or "1"):rep(2)
        ctx.db:set(key, value)
        return value
      end,
    })
  end
  if state.knows then
    add()
  elseif state.learns then
    require("lunode.loop").timer(state.learns, add)
  end
end

-- Sends commands to a member, all at once, and waits for as many replies.
local function ask(world, host, ...)
  local commands, replies, rest = { ... }, {}, ""
  world.asked = (world.asked or 0) + 1
  world:node("asks" .. world.asked, function()
    local resp = require "lunode.resp"
    require("lunode.tcp_client").connect(host, 6380, {
      on_connect = function(conn, err)
        assert(not err, err)
        for _, words in ipairs(commands) do
          conn:write(resp.command(table.unpack(words)))
        end
      end,
      on_read = function(conn, data)
        rest = rest .. data
        local reply, next_at = resp.decode(rest)
        while reply ~= nil do
          replies[#replies + 1], rest = reply, rest:sub(next_at)
          reply, next_at = resp.decode(rest)
        end
        if #replies == #commands then
          conn:close()
        end
      end,
    })
  end)
  assert(world:run_until(function()
    return #replies == #commands
  end, 30), "no reply")
  return table.unpack(replies)
end

local function all_alive(cluster)
  for _, name in ipairs(cluster.names) do
    assert.is_truthy(cluster:is_up(name), name .. " has ended")
    assert.equal(0, cluster.states[name].failures)
  end
end

describe("a command that not all members know", function()
  sim_it("is refused on each, alone and in a transaction, and harms nobody", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3, { prepare = prepare })
    for _, name in ipairs { "n1", "n2" } do
      cluster.states[name].knows = true
      world:kill(name)
      world:restart(name)
    end
    cluster:leader()
    world:run(2)
    for _, name in ipairs { "n1", "n2" } do
      local reply, set = ask(world, name, { "DOUBLE", "k" }, { "SET", "k", "1" })
      assert.same({ ("ERR the member n3 %s"):format(YET), "OK" }, { reply.err, set.ok })
      local _, queued, exec = ask(world, name, { "MULTI" }, { "DOUBLE", "k" }, { "EXEC" })
      assert.truthy(queued.err:find(YET, 1, true), queued.err)
      assert.truthy(exec.err:find "^EXECABORT", exec.err)
    end
    assert.truthy(ask(world, "n3", { "DOUBLE", "k" }).err:find "^ERR unknown command")
    cluster:agree()
    all_alive(cluster)

    cluster.states.n3.knows = true
    world:kill "n3"
    world:restart "n3"
    cluster:leader()
    world:run(2)
    assert.equal("11", ask(world, "n1", { "DOUBLE", "k" }))
    assert.equal("1111", ask(world, "n3", { "DOUBLE", "k" }))
    cluster:agree()
    all_alive(cluster)
  end)

  sim_it("is taken once all have got it while they run", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3, { prepare = prepare })
    for i, name in ipairs(cluster.names) do
      cluster.states[name].learns = 3 * i
      world:kill(name)
      world:restart(name)
    end
    cluster:leader()
    world:run(7 - world.now)
    for _, name in ipairs { "n1", "n2" } do
      assert.truthy(ask(world, name, { "DOUBLE", "k" }).err:find(YET, 1, true))
    end
    world:run(5)
    assert.equal("11", ask(world, "n2", { "DOUBLE", "k" }))
    cluster:agree()
    all_alive(cluster)
  end)

  sim_it("and that is in the log already stops who does not know it, with a line, and nobody else", { seeds = 3 },
    function(world)
      local cluster = kit.cluster(world, 3, { prepare = prepare })
      for _, name in ipairs(cluster.names) do
        cluster.states[name].knows = true
        world:kill(name)
        world:restart(name)
      end
      cluster:leader()
      world:run(2)
      world:kill "n3"
      assert.equal("11", ask(world, "n1", { "DOUBLE", "k" }))
      cluster.states.n3.knows = false
      world:restart "n3"
      assert(world:run_until(function()
        return cluster.states.n3.failures > 0
      end, 30))
      local log = table.concat(cluster.states.n3.log, "\n")
      assert.falsy(log:find("traceback", 1, true), log)
      assert.truthy(log:find('the log holds the command "double", which this node does not know', 1, true), log)
      assert.equal("OK", ask(world, "n1", { "SET", "k", "2" }).ok)
    end)
end)
