-- Replies of many rows, which C makes of them as they lie in the store, against those that Lua makes of its values.
local kit = require "spec.cluster.kit"
local lunode = require "spec.support.lunode"
local prng = require "spec.support.prng"
local resp = require "lunode.resp"
local slot = require "lunode.slot"

local SEED = tonumber(os.getenv("LUNODE_SEED")) or 5
local FULL = os.getenv("LUNODE_FULL") == "1"

-- What a client knows of its collections, in Lua.
local function model(chance)
  return { chance = chance, list = {}, hash = {}, set = {}, zset = {} }
end

local function text(m)
  local size = m.chance:weighted { { 10, 0 }, { 60, 12 }, { 10, 100 }, { 2, 5000 }, { 1, 70000 } }
  return (m.chance:pick { "a", "\0", "\r\n", "\xff" }):rep(size) .. m.chance:int(0, 300)
end

-- A command that changes something, told to the client and to the model.
local function change(m, client)
  local chance, name = m.chance, text(m)
  local kind = chance:int(1, 8)
  if kind <= 2 then
    local left = kind == 1
    client:call(left and "LPUSH" or "RPUSH", "list", name)
    table.insert(m.list, left and 1 or #m.list + 1, name)
  elseif kind == 3 and #m.list > 0 then
    local left = chance:odds(0.5)
    assert.equal(table.remove(m.list, left and 1 or #m.list), client:call(left and "LPOP" or "RPOP", "list"))
  elseif kind == 4 then
    m.hash[name] = text(m)
    client:call("HSET", "hash", name, m.hash[name])
  elseif kind == 5 then
    m.set[name] = true
    client:call("SADD", "set", name)
  elseif kind == 6 then
    m.zset[name] = chance:pick { -1.5, 0, 1, 3, 1e20, 0.1, math.huge, chance:int(-100, 100) }
    client:call("ZADD", "zset", tostring(m.zset[name]), name)
  elseif kind == 7 then
    name = next(m.hash) or ""
    m.hash[name] = nil
    client:call("HDEL", "hash", name)
  else
    name = next(m.zset) or ""
    m.zset[name] = nil
    client:call("ZREM", "zset", name)
  end
end

-- As the store has them: by hash, and those of the same hash by name.
local function by_hash(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b)
    return slot.row("m", a):sub(4) < slot.row("m", b):sub(4)
  end)
  return names
end

local function by_score(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b)
    return t[a] < t[b] or t[a] == t[b] and a < b
  end)
  return names
end

-- Members from `first` to `last`, from 0; with scores where they are given.
local function slice(names, first, last, scores, protocol)
  local list = {}
  for i = first + 1, math.min(last + 1, #names) do
    if not scores then
      list[#list + 1] = names[i]
    elseif protocol == 3 then
      list[#list + 1] = { names[i], scores[names[i]] + 0.0 }
    else
      list[#list + 1] = names[i]
      list[#list + 1] = scores[names[i]] + 0.0
    end
  end
  return list
end

-- A command, and the reply that it must have.
local function question(m, protocol)
  local chance = m.chance
  local first, last = chance:int(0, 20), chance:pick { chance:int(0, 60), 1000000 }
  local kind = chance:int(1, 9)
  if kind <= 2 then
    return { "LRANGE", "list", first, last }, slice(m.list, first, last)
  elseif kind == 3 then
    local list = {}
    for _, name in ipairs(by_hash(m.hash)) do
      list[#list + 1], list[#list + 2] = name, m.hash[name]
    end
    return { "HGETALL", "hash" }, resp.map(list)
  elseif kind == 4 then
    return { "HKEYS", "hash" }, by_hash(m.hash)
  elseif kind == 5 then
    local list = by_hash(m.hash)
    for i, name in ipairs(list) do
      list[i] = m.hash[name]
    end
    return { "HVALS", "hash" }, list
  elseif kind == 6 then
    return { "SMEMBERS", "set" }, resp.set(by_hash(m.set))
  end
  local names, scores = by_score(m.zset), chance:odds(0.5) and m.zset or nil
  local command = { "ZRANGE", "zset", first, last }
  if kind == 7 then
    command = { "ZRANGE", "zset", "-inf", "+inf", "BYSCORE", "LIMIT", first, last }
    last = first + last - 1
  elseif kind == 8 then
    command[1] = "ZREVRANGE"
    local turned = {}
    for i, name in ipairs(names) do
      turned[#names + 1 - i] = name
    end
    names = turned
  end
  command[#command + 1] = scores and "WITHSCORES"
  return command, slice(names, first, last, scores, protocol)
end

local function strings(command)
  for i, word in ipairs(command) do
    command[i] = tostring(word)
  end
  return command
end

local function ask(m, client, protocol)
  local command, reply = question(m, protocol)
  assert.equal(resp.encode(reply, protocol), client:raw(strings(command)), table.concat(command, " "))
end

local function ask_in_transaction(m, client, protocol)
  local all = {}
  client:call("MULTI")
  for i = 1, m.chance:int(1, 4) do
    local command, reply = question(m, protocol)
    all[i] = resp.encode(reply, protocol)
    client:call(table.unpack(strings(command)))
  end
  assert.equal(("*%d\r\n%s"):format(#all, table.concat(all)), client:raw { "EXEC" })
end

-- Random commands of connections in both protocols; `between` may do something after each round, and give others.
local function compare(rounds, connect, between)
  local m = model(prng.new(SEED))
  local clients
  local function join()
    clients = { [2] = connect(), [3] = connect() }
    clients[3]:call("HELLO", "3")
  end
  join()
  for round = 1, rounds do
    for _ = 1, m.chance:int(1, 12) do
      change(m, clients[2])
    end
    for _ = 1, 6 do
      local protocol = m.chance:int(2, 3)
      local how = m.chance:odds(0.2) and ask_in_transaction or ask
      how(m, clients[protocol], protocol)
    end
    if between and between(round) then
      join()
    end
  end
end

-- Everything that comes after a command, which is not decoded: there may be much.
local function expect(client, command, bytes)
  client:send(resp.command(table.unpack(command)))
  assert.is_true(client:receive(#bytes) == bytes, table.concat(command, " "))
end

describe("replies of many rows", function()
  it("are those of the values, in both protocols, before and after flushes and restarts", function()
    local node = lunode.kv { small = true, "overlay=65536" }
    compare(FULL and 2000 or 60, function()
      return node:client()
    end, function(round)
      if round % 20 == 0 then
        assert.equal(0, node:stop())
        node:start()
        return true
      end
    end)
  end)

  it("are those of the values on a member of a cluster", function()
    local c = kit.cluster { members = 3 }
    local member = c:leader()
    compare(FULL and 500 or 15, function()
      return member:client()
    end)
  end)

  it("have as many elements as there are, and elements of megabytes", function()
    local node = lunode.kv()
    local client, three = node:client(), node:client()
    local list, large = {}, {}
    three:call("HELLO", "3")
    for i = 1, 100000 do
      list[i] = "e" .. i
    end
    for i = 1, #list, 10000 do
      local piece = table.move(list, i, i + 9999, 1, {})
      client:call("RPUSH", "list", table.unpack(piece))
    end
    for i = 1, 4 do
      large[i] = ("v"):rep(i << 19)
      client:call("HSET", "hash", "f", large[i])
      client:call("RPUSH", "large", large[i])
    end
    for _ = 1, 2 do
      expect(client, { "LRANGE", "list", "0", "-1" }, resp.encode(list))
      expect(client, { "LRANGE", "large", "0", "-1" }, resp.encode(large))
      expect(three, { "HGETALL", "hash" }, resp.encode(resp.map { "f", large[4] }, 3))
      expect(client, { "LRANGE", "list", "5", "4" }, "*0\r\n")
      expect(client, { "HVALS", "none" }, "*0\r\n")
      expect(three, { "SMEMBERS", "none" }, "~0\r\n")
      client:send(resp.command("PING", ("p"):rep(500)) .. resp.command("LRANGE", "large", "0", "-1"))
      expect(client, { "LRANGE", "list", "0", "-1" }, -- all in one piece
        resp.encode(("p"):rep(500)) .. resp.encode(large) .. resp.encode(list))
      assert.equal(0, node:stop())
      node:start()
      client, three = node:client(), node:client()
      three:call("HELLO", "3")
    end
  end)

  it("are in the slow log, with their words", function()
    local node = lunode.kv()
    local client = node:client()
    client:call("RPUSH", "list", "a", "b")
    client:call("CONFIG", "SET", "slowlog-log-slower-than", "0")
    client:call("LRANGE", "list", "0", "-1")
    client:call("SMEMBERS", "none")
    local log = client:call("SLOWLOG", "GET")
    assert.same({ "smembers", "none" }, log[1][4])
    assert.same({ "lrange", "list", "0", "-1" }, log[2][4])
    assert.matches("cmdstat_lrange:calls=1,", client:call("INFO", "commandstats"))
  end)

  it("are held to the limits of output", function()
    local node = lunode.kv()
    local client, other = node:client(), node:client()
    for _ = 1, 16 do
      client:call("RPUSH", "large", ("x"):rep(1 << 20))
    end
    client:call("CONFIG", "SET", "client-output-buffer-limit", "normal 1048576 0 0")
    other:send("*4\r\n$6\r\nLRANGE\r\n$5\r\nlarge\r\n$1\r\n0\r\n$2\r\n-1\r\n")
    other:wait_closed()
    assert.is_true(#other:bytes() < 16 << 20)
    assert.equal("PONG", client:call("PING").ok)
  end)
end)
