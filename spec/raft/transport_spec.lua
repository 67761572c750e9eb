-- The connections between members, when strangers speak to them: what is no hello harms nobody.

local kit = require "spec.raft.kit"

local RAFT = 7001

-- A stranger who connects to n1, says something, and keeps what is said to him.
local function stranger(world, name, say, options)
  local heard = { bytes = "", closed = false }
  world:node(name, function()
    local tcp_client = require "lunode.tcp_client"
    local loop = require "lunode.loop"
    local msgpack = require "lunode.msgpack"
    -- What comes before a welcome is not heard at all.
    tcp_client.connect("n1", RAFT, {
      on_connect = function(conn, err)
        assert(not err, err)
        local bytes = say(msgpack)
        if options and options.slowly then
          local at = 0
          heard.timer = loop.timer(0.5, function()
            at = at + 1
            conn:write(bytes:sub(at, at))
          end, 0.5)
        else
          conn:write(bytes)
        end
      end,
      on_read = function(conn, data)
        heard.bytes = heard.bytes .. data
        if options and options.then_say and not heard.welcome and heard.bytes:find("welcome", 1, true) then
          heard.welcome = true
          conn:write(options.then_say(msgpack))
        end
      end,
      on_close = function()
        heard.closed = true
        if heard.timer then
          heard.timer:close()
        end
      end,
    })
  end)
  return heard
end

local function closes(world, heard)
  return world:run_until(function()
    return heard.closed
  end, 10)
end

local function hello(changes)
  return function(msgpack)
    local words = { "hello", "lunode.raft", 1, 1, "spec", "", "n9", "n1", "disk", "n9:7001", "nonce", false, 1 }
    for i, word in pairs(changes) do
      words[i] = word
    end
    return msgpack.encode(words) .. msgpack.encode { "proof", "" }
  end
end

describe("a member", function()
  local refusals = {
    ["that speaks a newer version"] = {
      { [3] = 3, [4] = 2 }, "it speaks versions 2 to 3 of the protocol, and this is 1 to 1",
    },
    ["of another cluster"] = { { [5] = "other" }, "it belongs to the cluster other, and this is spec" },
    ["of another cluster with the same name"] = {
      { [6] = "0123456789abcdef" }, "it is of another cluster, number 0123",
    },
    ["with a secret, where there is none"] = { { [12] = true }, "it has a secret, and this member has none" },
    ["that looks for another one"] = { { [8] = "n2" }, "it looks for n2, and this is n1" },
    ["under its own name"] = { { [7] = "n1" }, "it calls itself n1, as this one does" },
    ["under a name that is none"] = { { [7] = "../n1" }, "that is no id" },
    ["that speaks something else"] = { { [2] = "lunode.rpc" }, "it does not speak lunode's Raft" },
    ["whose hello is not text"] = { { [9] = 7 }, "its hello cannot be read" },
  }
  local names = {}
  for name in pairs(refusals) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local changes, reason = table.unpack(refusals[name])
    sim_it("refuses one " .. name .. ", and says why, in one line", { seeds = 2 }, function(world)
      local cluster = kit.cluster(world, 3)
      cluster:leader()
      for i = 1, 3 do
        local heard = stranger(world, "s" .. i, hello(changes))
        assert(closes(world, heard))
        assert.truthy(heard.bytes:find(reason, 1, true), heard.bytes)
      end
      local lines = 0
      for _, line in ipairs(cluster.state.n1.log) do
        lines = lines + (line:find(reason, 1, true) and 1 or 0)
      end
      assert.is_true(lines >= 1 and lines <= 3, lines .. " lines")
      cluster:write("k", "v")
    end)
  end

  local garbage = {
    ["bytes that are no MessagePack"] = ("\xc1"):rep(100),
    ["a number"] = "\x07",
    ["an endless string"] = "\xdb\x7f\xff\xff\xff" .. ("x"):rep(5000),
    ["more values than there can be"] = "\xdd\xff\xff\xff\xff",
    ["a request of HTTP"] = "GET / HTTP/1.1\r\nHost: n1\r\n\r\n",
  }
  local kinds = {}
  for kind in pairs(garbage) do
    kinds[#kinds + 1] = kind
  end
  table.sort(kinds)
  for _, kind in ipairs(kinds) do
    sim_it("closes a connection that sends " .. kind, { seeds = 2 }, function(world)
      local cluster = kit.cluster(world, 3)
      cluster:leader()
      assert(closes(world, stranger(world, "s", function()
        return garbage[kind]
      end)))
      cluster:write("k", "v")
    end)
  end

  sim_it("closes a connection whose hello takes too long, byte by byte", { seeds = 2 }, function(world)
    local cluster = kit.cluster(world, 3)
    cluster:leader()
    assert(closes(world, stranger(world, "s", hello {}, { slowly = true })))
    cluster:write("k", "v")
  end)

  sim_it("believes nothing that a member says in a form that is none", { seeds = 5 }, function(world)
    local cluster = kit.cluster(world, 3)
    local leader = cluster:leader()
    local heard = stranger(world, "s", hello {}, { then_say = function(msgpack)
      local frames = {
        { "message" }, { "message", 7 }, { "message", { type = "append", term = 1, prev_index = 0 } },
        { "message", { type = "append", term = 1, prev_index = 0, prev_term = 0, commit = 9, session = 1 }, { 1, 1 } },
        { "message", { type = "append", term = "x", prev_index = {} }, { 1, 1, "p" } },
        { "message", { type = "append", term = 1, prev_index = 0, prev_term = 0, commit = 0, session = 1 }, { 1, 7 } },
        { "message", { type = "snapshot", term = 99, session = 1, index = 9, log_term = 1, config = "" }, {}, "name" },
        { "snapshot" }, { "snapshot", 1, { name = "a/b", index = 1, term = 1, config = "", time = 0, chunks = 1 } },
        { "snapshot", 1, { name = "a", index = 1, term = 1, config = "nonsense", time = 0, chunks = 1 } },
        { "snapshot", {}, { name = "a", index = 1, term = 1, config = "", time = 0, chunks = 1 } },
        { "snapshot", 1, { name = "a", index = 99, term = 1, config = "", time = 0, chunks = 1 } },
        { "chunk" }, { "chunk", 1, 1, true, "data" }, { "chunk", {}, {}, {}, {} }, { "have", 1, 1 },
        { "founding" }, { "founding", 7, true }, { "founding", { n1 = 7 }, true }, { "told" },
        { 7 }, { {} }, {}, 7,
      }
      local list = {}
      for i, frame in ipairs(frames) do
        list[i] = msgpack.encode(frame)
      end
      return table.concat(list)
    end })
    assert(world:run_until(function()
      return heard.welcome
    end, 10))
    world:run(5)
    assert.equal(leader, cluster:leader())
    assert.is_nil(cluster.state.n1.node.storage.receiving)
    cluster:write("k", "v")
    cluster:agree(cluster.names)
  end)

  sim_it("says once what it cannot understand of what another one sends", { seeds = 2 }, function(world)
    local cluster = kit.cluster(world, 3)
    cluster:leader()
    stranger(world, "s", hello {}, { then_say = function(msgpack)
      local fields = { type = "append", term = 1, prev_index = 0, prev_term = 0, commit = 0, session = 1 }
      return msgpack.encode({ "message", fields, { 1, 99, "of a type that is still to come" } }):rep(20)
    end })
    local lines
    assert(world:run_until(function()
      lines = 0
      for _, line in ipairs(cluster.state.n1.log) do
        lines = lines + (line:find("what n9 sends is refused: its entry 1 is of an unknown type", 1, true) and 1 or 0)
      end
      return lines > 0
    end, 10))
    world:run(5)
    assert.equal(1, lines)
    cluster:write("k", "v")
  end)
end)
