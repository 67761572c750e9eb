-- How members make sure of each other: both sides of the handshake by hand, and members that share a secret or do not.

local auth = require "lunode.raft.auth"
local kit = require "spec.raft.kit"

local SECRET = "correct horse battery staple"

local function credentials(id, changes)
  local known = {
    cluster = "spec", group = "g1", id = id, disk = "disk of " .. id, address = id .. ":7001", secret = SECRET,
    newest = 3, oldest = 2, format = 5,
  }
  for key, value in pairs(changes or {}) do
    known[key] = value ~= "none" and value or nil
  end
  return known
end

-- Lets the two sides speak until one has decided, with `alter` between them. Returns what each has said, and decided.
local function meet(mine, theirs, alter, to)
  local a, frame = auth.connect(mine, to or theirs.id)
  local b = auth.accept(theirs)
  local said, verdicts, values = {}, {}, {}
  local side, other = b, a
  while frame do
    frame = alter and alter(#said + 1, frame) or frame
    said[#said + 1] = frame
    local verdict, value = side:step(frame)
    verdicts[side], values[side] = verdict, value
    frame = verdict == "say" and value or verdict == "known" and side == b and b:welcome() or nil
    side, other = other, side
  end
  return said, { verdicts[a], verdicts[b] }, { values[a], values[b] }
end

describe("the handshake", function()
  it("lets both know who the other is, and the newest version that both speak", function()
    local _, verdicts, values = meet(credentials "n1", credentials("n2", { newest = 7, oldest = 3 }))
    assert.same({ "known", "known" }, verdicts)
    assert.same({
      { id = "n2", disk = "disk of n2", group = "g1", version = 3, format = 5 },
      { id = "n1", disk = "disk of n1", group = "g1", version = 3, format = 5, address = "n1:7001", asks = false },
    }, values)
  end)

  it("goes the same way without a secret, where neither has one", function()
    local _, verdicts = meet(credentials("n1", { secret = "none" }), credentials("n2", { secret = "none" }))
    assert.same({ "known", "known" }, verdicts)
  end)

  it("never says the secret, nor the same proof twice", function()
    local seen = {}
    for _ = 1, 50 do
      local said = meet(credentials "n1", credentials "n2")
      assert.equal(4, #said)
      for _, frame in ipairs(said) do
        for _, field in ipairs(frame) do
          assert.is_nil(tostring(field):find(SECRET, 1, true))
        end
      end
      for _, proof in ipairs { said[3][2], said[4][2] } do
        assert.equal(32, #proof)
        assert.is_nil(seen[proof])
        seen[proof] = true
      end
    end
  end)

  local refusals = {
    { "another secret", { secret = "incorrect horse battery" }, 2, "it does not know the secret of this cluster" },
    { "no secret", { secret = "none" }, 2, "it has no secret, and this member has one" },
    { "another cluster", { cluster = "other" }, 2, "it belongs to the cluster other, and this is spec" },
    { "another cluster of the name", { group = "g2" }, 2, "it is of another cluster, number g2" },
    { "the same id", { id = "n2" }, 2, "it calls itself n2, as this one does" },
    { "newer versions", { newest = 9, oldest = 4 }, 2, "it speaks versions 4 to 9 of the protocol, and this is 2" },
    { "older versions", { newest = 1, oldest = 1 }, 2, "upgrade the older of the two" },
  }
  for _, case in ipairs(refusals) do
    local name, changes, side, reason = table.unpack(case)
    it("ends, with the reason, where one has " .. name, function()
      local _, verdicts, values = meet(credentials("n1", changes), credentials "n2")
      assert.equal("refuse", verdicts[side])
      assert.truthy(values[side]:find(reason, 1, true), values[side])
    end)
  end

  it("lets in a server that does not know its cluster's number yet, and tells it", function()
    local _, verdicts, values = meet(credentials("n1", { group = "" }), credentials "n2", nil, "")
    assert.same({ "known", "known" }, verdicts)
    assert.equal("g1", values[1].group)
  end)

  it("fails where anything that matters was changed on the way", function()
    local original = meet(credentials "n1", credentials "n2")
    local tried = 0
    for step, frame in ipairs(original) do
      for field = 1, #frame do
        local _, verdicts = meet(credentials "n1", credentials "n2", function(at, said)
          if at == step then
            said = table.move(said, 1, #said, 1, {})
            local value = said[field]
            if type(value) == "boolean" then
              said[field] = not value
            else
              said[field] = type(value) == "number" and value - 1 or value .. "x"
            end
          end
          return said
        end)
        assert.is_false(verdicts[1] == "known" and verdicts[2] == "known", step .. "." .. field)
        assert.truthy(step == 4 or verdicts[2] ~= "known", step .. "." .. field)
        tried = tried + 1
      end
    end
    assert.equal(13 + 8 + 2 + 2, tried)
  end)

  it("takes no proof that was heard before, and none from the other direction", function()
    local heard = meet(credentials "n1", credentials "n2")
    for _, old in ipairs { heard[3], { "proof", heard[4][2] } } do
      local _, verdicts, values = meet(credentials("n1", { secret = "guessed, but not right" }), credentials "n2",
        function(at, frame)
          return at == 1 and heard[1] or at == 3 and old or frame
        end)
      assert.equal("refuse", verdicts[2])
      assert.truthy(values[2]:find "does not know the secret")
    end
    -- Who has no secret sends back what it was sent.
    local _, verdicts = meet(credentials "n1", credentials("n2", { secret = "guessed, but not right" }),
      function(at, frame)
        return at == 4 and { "welcome", heard[3][2] } or frame
      end)
    assert.same("refuse", verdicts[2])
  end)

  it("has an answer to everything", function()
    for _, frame in ipairs {
      1, "hello", false, {}, { 1 }, { "hello" }, { "hello", auth.MAGIC }, { "hello", auth.MAGIC, 1 << 40, 0 },
      { "hello", auth.MAGIC, 3, 2, ("x"):rep(301) }, { "hello", auth.MAGIC, "3", "2" }, { "proof" }, { "welcome", "" },
      { "challenge" }, { "challenge", 3, 1, 2, 3, 4, 5 }, { "challenge", 99 }, { "challenge", 1.5 },
    } do
      assert.equal("refuse", (auth.accept(credentials "n1"):step(frame)))
      assert.equal("refuse", ((auth.connect(credentials "n1", "n2")):step(frame)))
    end
  end)
end)

-- ---------------------------------------------------------------- members

local function logged(state, pattern)
  local count = 0
  for _, line in ipairs(state.log) do
    count = count + (line:find(pattern, 1, true) and 1 or 0)
  end
  return count
end

describe("members that share a secret", function()
  sim_it("are a cluster as any other", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3, { secret = SECRET })
    cluster:write("k", "v")
    world:kill(cluster:leader())
    cluster:write("k", "w")
  end)

  for _, case in ipairs {
    { "with another one", "another secret, not that", "not know the secret of this cluster: give each member" },
    { "without one", nil, "secret, and this member has" },
  } do
    local name, secret, reason = table.unpack(case)
    name = "refuse a founder " .. name .. ", with a line for either direction, and go on"
    sim_it(name, { seeds = 3 }, function(world)
      local options = { secret = SECRET }
      local cluster = kit.cluster(world, 3, options)
      local other = cluster.state.n3
      cluster:write("k", "v")
      cluster:agree(cluster.names)
      local last = other.node.core.log.last
      world:kill "n3"
      options.secret = secret
      world:restart "n3"
      assert(world:run_until(function()
        return cluster:is_up "n3"
      end, 5))
      options.secret = SECRET
      cluster:write("k", "w")
      world:run(30)
      for _, id in ipairs { "n1", "n2" } do
        assert.equal(2, logged(cluster.state[id], reason), table.concat(cluster.state[id].log, "\n"))
      end
      assert.truthy(logged(other, "refuse") >= 2, table.concat(other.log, "\n"))
      assert.equal(last, other.node.core.log.last)
    end)
  end

  sim_it("are not kept apart by strangers who fill their ports", { seeds = 3 }, function(world)
    local cluster = kit.cluster(world, 3, { secret = SECRET })
    local leader = cluster:leader()
    local ended = 0
    world:node("stranger", function()
      local loop = require "lunode.loop"
      local tcp_client = require "lunode.tcp_client"
      local function hold()
        tcp_client.connect(leader, 7001, {
          on_close = function()
            ended = ended + 1
            loop.timer(0.2, hold)
          end,
        })
      end
      for _ = 1, 100 do
        hold()
      end
    end)
    world:run(5)
    local back = leader == "n1" and "n2" or "n1"
    world:kill(back)
    cluster:write("k", "v")
    world:restart(back)
    assert(world:run_until(function()
      return cluster.state[back].get and cluster.state[back].get "k" == "v"
    end, 20))
    assert.is_true(ended > 100) -- and were not let stay
  end)

  sim_it("say little about many who are refused", { seeds = 2 }, function(world)
    local cluster = kit.cluster(world, 1, { secret = SECRET })
    cluster:leader()
    local before = #cluster.state.n1.log
    world:node("stranger", function()
      local auth_there = require "lunode.raft.auth"
      local loop = require "lunode.loop"
      local msgpack = require "lunode.msgpack"
      local tcp_client = require "lunode.tcp_client"
      local n = 0
      loop.timer(0, function()
        n = n + 1
        local id = "x" .. n
        tcp_client.connect("n1", 7001, {
          on_connect = function(conn, err)
            if not err then
              conn:write(msgpack.encode {
                "hello", auth_there.MAGIC, 1, 1, "spec", "", id, "n1", "disk", "x:1", "nonce", false, 1,
              })
            end
          end,
        })
      end, 0.01)
    end)
    world:run(30)
    local lines = #cluster.state.n1.log - before
    assert.is_true(lines > 1 and lines < 30 * 11 + 30, lines .. " lines")
    assert.is_true(logged(cluster.state.n1, "are not shown") > 0)
  end)
end)

describe("members that speak newer versions of the protocol", function()
  sim_it("come one by one, and speak the older one with those who know no other", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    cluster:write("k", "v0")
    for i, name in ipairs(cluster.names) do
      world:kill(name)
      cluster:write("k", "v" .. i)
      cluster.state[name].protocol = 2
      world:restart(name)
    end
    cluster:leader()
    world:run(5)
    cluster:agree(cluster.names)
    for _, name in ipairs(cluster.names) do
      for _, peer in pairs(cluster.state[name].node.transport.peers) do
        assert.equal(2, peer.version)
      end
    end
  end)
end)

describe("members that know newer formats of entries", function()
  sim_it("propose the older one until all do; who does not know one stops, and is as before", { seeds = 5 }, function(
    world)
    local cluster = kit.cluster(world, 3)
    local function upgrade(name, format)
      world:kill(name)
      cluster.state[name].format = format
      world:restart(name)
    end
    -- Of what the leader proposes, once it has met the others.
    local function proposed()
      local node = cluster.state[cluster:leader()].node
      assert(world:run_until(function()
        for _, name in ipairs(cluster.names) do
          if name ~= node.id and not node.transport:is_ready(name) then
            return false
          end
        end
        return true
      end, 20))
      return node:format()
    end
    cluster:write("k", "v0")
    for i, name in ipairs(cluster.names) do
      upgrade(name, 2)
      cluster:write("k", "v" .. i)
      assert.equal(i == 3 and 2 or 1, proposed())
    end
    cluster:write("k", "of format 2")
    cluster:agree(cluster.names)
    upgrade("n3", 1) -- back to the version before
    assert(world:run_until(function()
      return cluster.state.n3.failure
    end, 20))
    assert.truthy(cluster.state.n3.failure:find("is of format 2, and this version knows up to 1", 1, true))
    cluster:write("k", "the others go on")
    cluster.state.n3.format = 2
    world:restart "n3"
    cluster:agree(cluster.names)
  end)
end)
