-- The node beside the real redis-server: generated commands, the same to both, and every reply compared.
--
-- A failure prints the fewest commands that show it, and the seed; LUNODE_SEED=n runs from that seed on.

local commands = require "spec.support.commands"
local compare = require "spec.support.compare"
local differ = require "spec.support.differ"
local lunode = require "spec.support.lunode"
local loop = require "lunode.loop"
local redis = require "spec.support.redis"
local registry = require "lunode.kv.command"
local resp = require "lunode.resp"

require "lunode.kv"

local FULL = os.getenv("LUNODE_FULL") == "1"
local COMMANDS = 20000
local ROUNDS = FULL and 25 or 1
local MOST_FAILURES = 5 -- then it is clear enough

-- The full run looks at other sequences each time.
local SEED = tonumber(os.getenv("LUNODE_SEED")) or FULL and loop.random(1, 1 << 40) or 1

-- What SELECT and CONFIG GET tell of is the same in both. So often it looks whether a timeout is over, a second.
local function redis_server()
  return redis.server { "--databases", "1", "--hz", "500" }
end

-- Every command that the generator must have reached, with a reply that is no error.
local NAMES = {
  "PING", "ECHO", "HELLO", "AUTH", "QUIT", "RESET", "SELECT", "CLIENT", "COMMAND", "CONFIG", "INFO", "DBSIZE", "TIME",
  "FLUSHDB", "FLUSHALL", "GET", "SET", "SETNX", "SETEX", "PSETEX", "GETSET", "GETDEL", "GETEX", "MGET", "MSET",
  "MSETNX", "APPEND", "STRLEN", "GETRANGE", "SETRANGE", "INCR", "DECR", "INCRBY", "DECRBY", "INCRBYFLOAT", "DEL",
  "UNLINK", "EXISTS", "TYPE", "TOUCH", "RENAME", "RENAMENX", "RANDOMKEY", "KEYS", "SCAN", "EXPIRE", "PEXPIRE",
  "EXPIREAT", "PEXPIREAT", "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST", "SUBSTR", "LCS", "SETBIT", "GETBIT",
  "BITCOUNT", "BITPOS", "BITOP", "BITFIELD", "BITFIELD_RO", "LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "LPOP", "RPOP",
  "LLEN", "LINDEX", "LSET", "LRANGE", "LTRIM", "LREM", "LINSERT", "LPOS", "LMOVE", "RPOPLPUSH", "LMPOP", "HSET",
  "HMSET", "HSETNX", "HGET", "HMGET", "HEXISTS", "HSTRLEN", "HLEN", "HDEL", "HGETALL", "HKEYS", "HVALS", "HSCAN",
  "HRANDFIELD", "HINCRBY", "HINCRBYFLOAT", "SADD", "SREM", "SMOVE", "SISMEMBER", "SMISMEMBER", "SCARD", "SMEMBERS",
  "SSCAN", "SRANDMEMBER", "SPOP", "SINTER", "SUNION", "SDIFF", "SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE", "SINTERCARD",
  "ZADD", "ZINCRBY", "ZREM", "ZSCORE", "ZMSCORE", "ZRANK", "ZREVRANK", "ZCARD", "ZSCAN", "ZRANDMEMBER", "ZPOPMIN",
  "ZPOPMAX", "ZMPOP", "ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE", "ZRANGEBYLEX", "ZREVRANGEBYLEX",
  "ZRANGESTORE", "ZCOUNT", "ZLEXCOUNT", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZREMRANGEBYLEX", "ZUNION", "ZINTER",
  "ZDIFF", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "ZINTERCARD", "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP",
  "BZPOPMIN", "BZPOPMAX", "BZMPOP", "COPY", "SWAPDB", "SORT", "SORT_RO", "OBJECT", "DUMP",
}

-- Runs sequences from `seed` on until `count` commands have run. The failures' texts.
local function explore(d, seed, count)
  local failures, told_of = {}, {}
  while d.total < count and #failures < MOST_FAILURES do
    local steps = commands.sequence(seed)
    local difference = d:run(steps)
    if difference then
      local few, smallest = d:shrink(steps)
      local told = few and d:describe(few, smallest)
        or d:describe(steps, difference) .. "\n(a second run of them all did not differ)"
      local found = smallest or difference
      local kind = table.concat({ found.command[1]:upper(), table.unpack(found.replies) }, " ")
      if not told_of[kind] then
        told_of[kind] = true
        failures[#failures + 1] = ("LUNODE_SEED=%d\n%s"):format(seed, told)
      end
    end
    seed = seed + 1
  end
  return failures
end

describe("the generator and the comparison", function()
  it("make the same sequence from the same seed, and another one from another", function()
    assert.same(commands.sequence(5), commands.sequence(5))
    assert.not_same(commands.sequence(5), commands.sequence(6))
  end)

  it("find no difference between one redis-server and another", function()
    local d = differ.new(redis_server(), redis_server())
    assert.equal("", table.concat(explore(d, SEED, 5000), "\n\n"))
    assert.is_true(d.total >= 5000)
  end)

  it("find a reply that was altered, and shrink to the commands that it takes", function()
    local d = differ.new(redis_server(), redis_server(), function(command, reply)
      return command[1]:upper() == "STRLEN" and reply ~= ":0\r\n" and reply:find("^:") and ":77\r\n" or reply
    end)
    local steps = commands.sequence(1)
    steps[#steps + 1] = { { "SET", "a", "some" } }
    steps[#steps + 1] = { { "strlen", "a" } }
    assert.is_truthy(d:run(steps))
    local few, difference = d:shrink(steps)
    assert.equal(2, #few)
    assert.equal("STRLEN", few[2][1][1]:upper())
    assert.equal(":77\r\n", difference.replies[2])
    assert.is_truthy(d:describe(few, difference):find('second: ":77\\r\\n"', 1, true))
  end)

  it("find a keyspace that differs although every reply agreed", function()
    local d = differ.new(redis_server(), redis_server())
    local steps = { { { "SET", "a", "1" } }, { { "SET", "b", "1" } } }
    local control = d.sides[2].control
    local call = control.call
    function control.call(self, name, ...)
      if name == "KEYS" then -- the comparison of the keyspaces begins
        call(self, "SET", "b", "2")
      end
      return call(self, name, ...)
    end
    local difference = d:run(steps)
    assert.same({ "GET", "b" }, difference.command)
    assert.is_nil(difference.step)
  end)

  it("excuse times that are near, and nothing else", function()
    assert.is_true(compare.agree({ "TTL", "a" }, ":100\r\n", ":99\r\n"))
    assert.is_false(compare.agree({ "TTL", "a" }, ":100\r\n", ":90\r\n"))
    assert.is_false(compare.agree({ "TTL", "a" }, ":-1\r\n", ":-2\r\n"))
    assert.is_false(compare.agree({ "TTL", "a" }, ":1\r\n", ":-1\r\n"))
    assert.is_false(compare.agree({ "EXPIRETIME", "a" }, ":4102444800\r\n", ":4102444801\r\n"))
    assert.is_true(compare.agree({ "EXPIRETIME", "a" }, ":1800000000\r\n", ":1800000001\r\n"))
    assert.is_true(compare.agree({ "KEYS", "*" }, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"))
    assert.is_false(compare.agree({ "KEYS", "*" }, "*1\r\n$1\r\na\r\n", "*2\r\n$1\r\na\r\n$1\r\na\r\n"))
    assert.is_false(compare.agree({ "MGET", "a", "b" }, "*1\r\n$1\r\na\r\n", "*1\r\n$1\r\nb\r\n"))
    assert.is_false(compare.agree({ "TIME" }, "-ERR a\r\n", "-ERR b\r\n"))
    assert.is_false(compare.agree({ "RANDOMKEY" }, "$-1\r\n", "$1\r\na\r\n", { "*0\r\n", "*0\r\n" }))
  end)
end)

-- A reply as text that is equal where the replies are: sets and maps in order, statuses as bulk strings.
local function canonical(value)
  if type(value) ~= "table" then
    return resp.encode(value)
  elseif value.ok then
    return resp.encode(value.ok)
  end
  local list, width = {}, value.kind == "map" and 2 or 1
  for i = 1, #value, width do
    list[#list + 1] = canonical(value[i]) .. (width == 2 and canonical(value[i + 1]) or "")
  end
  if value.kind then
    table.sort(list)
  end
  return (value.kind or "list") .. "(" .. table.concat(list, ",") .. ")"
end

local function resp3_clients(...)
  local list = {}
  for i, server in ipairs { ... } do
    list[i] = server:client()
    list[i]:call("HELLO", 3)
  end
  return table.unpack(list)
end

-- Redis has none of these.
local OUR_OWN = { once = true, raft = true, readmode = true }

-- Of COMMAND DOCS; a container's subcommands are looked at one by one.
local UNDOCUMENTED = { history = true, arguments = true, subcommands = true }

-- How long they take is our own.
local OWN_COMPLEXITY = { ["cluster|countkeysinslot"] = true, ["cluster|getkeysinslot"] = true }

-- All that we have, subcommands too.
local function all_names()
  local list = {}
  for _, entry in ipairs(registry.list()) do
    if not OUR_OWN[entry.name] then
      list[#list + 1] = entry.name
      for _, subcommand in ipairs(registry.list(entry.subcommands)) do
        list[#list + 1] = subcommand.name
      end
    end
  end
  return list
end

describe("the node", function()
  it("describes its commands as redis-server does: arity, flags, keys, categories, tips", function()
    local real, ours = resp3_clients(redis_server(), lunode.kv())
    local differences = {}
    for _, name in ipairs(all_names()) do
      local a, b = real:call("COMMAND", "INFO", name)[1], ours:call("COMMAND", "INFO", name)[1]
      assert.equal(10, #a)
      assert.equal(10, #b)
      a[10], b[10] = nil, nil -- a container's subcommands: it has more of them
      if canonical(a) ~= canonical(b) then
        differences[#differences + 1] = ("%s\n%s\n%s"):format(name, canonical(a), canonical(b))
      end
    end
    assert.equal("", table.concat(differences, "\n"))
  end)

  it("documents its commands in redis-server's words", function()
    local real, ours = resp3_clients(redis_server(), lunode.kv())
    local differences = {}
    for _, name in ipairs(all_names()) do
      local a, b = real:call("COMMAND", "DOCS", name), ours:call("COMMAND", "DOCS", name)
      assert.equal(a[1], b[1], name)
      local documented = {}
      for i = 1, #b[2], 2 do
        documented[b[2][i]] = canonical(b[2][i + 1])
      end
      for i = 1, #a[2], 2 do
        local field, value = a[2][i], canonical(a[2][i + 1])
        local excused = UNDOCUMENTED[field] or field == "complexity" and OWN_COMPLEXITY[name]
        if not excused and value ~= documented[field] then
          differences[#differences + 1] = ("%s %s: %s %s"):format(name, field, value, documented[field])
        end
      end
    end
    assert.equal("", table.concat(differences, "\n"))
  end)

  it("meets every key when it is scanned in small steps, and those that match alone", function()
    local node = lunode.kv()
    local client, batch, expected = node:client(), {}, {}
    for i = 1, 3000 do
      batch[i] = { "SET", "{" .. i % 40 .. "}key:" .. i, i }
      expected[i] = batch[i][2]
    end
    client:pipeline(batch)
    for _, options in ipairs { { "COUNT", 1 }, { "COUNT", 7 }, {}, { "COUNT", 100, "TYPE", "string" } } do
      local met, cursor, calls = {}, "0", 0
      repeat
        local reply = client:call("SCAN", cursor, table.unpack(options))
        cursor, calls = reply[1], calls + 1
        table.move(reply[2], 1, #reply[2], #met + 1, met)
      until cursor == "0"
      assert.is_true(compare.same_set(expected, met))
      assert.is_true(calls > 20)
    end
    local cursor, met = "0", {}
    repeat
      local reply = client:call("SCAN", cursor, "MATCH", "{7}*7", "COUNT", 50)
      cursor = reply[1]
      table.move(reply[2], 1, #reply[2], #met + 1, met)
    until cursor == "0"
    assert.is_true(compare.same_set(client:call("KEYS", "{7}*7"), met))
    assert.is_true(#met > 0)
  end)

  local answered = {}

  local function compare_from(seed, count)
    local node = lunode.kv()
    local d = differ.new(redis_server(), node)
    local failures = explore(d, seed, count)
    assert.equal("", table.concat(failures, "\n\n"), "redis-server first, the node second")
    assert.is_true(d.total >= count)
    for name in pairs(d.answered) do
      answered[name] = true
    end
    assert.equal(0, node:stop(), node.process:stderr())
  end

  local function unanswered()
    local list = {}
    for _, name in ipairs(NAMES) do
      list[#list + 1] = not answered[name] and name or nil
    end
    return list
  end

  -- A new node for each round: what each sequence deletes stays in LevelDB for a while, and makes walks slower.
  for round = 1, ROUNDS do
    it(("answers as redis-server does, to the byte (round %d)"):format(round), function()
      compare_from(SEED + (round - 1) * 100000, COMMANDS)
    end)
  end

  it("has answered every command, and not with an error", function()
    for more = ROUNDS, ROUNDS + 29 do -- some are rare
      if #unanswered() > 0 then
        compare_from(SEED + more * 100000, COMMANDS // 4)
      end
    end
    assert.equal("", table.concat(unanswered(), " "))
  end)
end)
