-- What subscribers hear, beside redis-server: keyspace events of generated commands, and channels under generated
-- subscriptions; and transactions of generated commands under generated interference.
--
-- LUNODE_SEED=n runs from that seed on.
local commands = require "spec.support.commands"
local lunode = require "spec.support.lunode"
local loop = require "lunode.loop"
local prng = require "spec.support.prng"
local redis = require "spec.support.redis"
local resp = require "lunode.resp"

local FULL = os.getenv("LUNODE_FULL") == "1"
local SEED = tonumber(os.getenv("LUNODE_SEED")) or FULL and loop.random(1, 1 << 40) or 1
local MOST_ROUNDS = 1000 -- until all that is to be seen has been

-- Commands about connections and the server itself; and those whose events are Redis's to order, or to time.
local LEFT_OUT = {
  HELLO = true, AUTH = true, QUIT = true, RESET = true, CLIENT = true, CONFIG = true, COMMAND = true, INFO = true,
  SELECT = true, DEBUG = true, SHUTDOWN = true,
}

local function quote(words)
  local list = {}
  for i, word in ipairs(words) do
    list[i] = ("%q"):format(#word > 60 and word:sub(1, 60) .. "…" or word)
  end
  return table.concat(list, " ")
end

-- The events of each command of a sequence, as the subscriber hears them.
local function events_of(server, sequence)
  local client, listener = server:client(), server:client()
  client:call("FLUSHALL")
  client:call("CONFIG", "SET", "notify-keyspace-events", "KEAn")
  listener:call("PSUBSCRIBE", "__key*")
  listener:call("SUBSCRIBE", "marker")
  local heard = {}
  for i, command in ipairs(sequence) do
    client:send(resp.command(table.unpack(command)) .. resp.command("PUBLISH", "marker", tostring(i)))
    client:reply()
    client:reply()
    local list = {}
    local message = listener:reply()
    while message[1] == "pmessage" do
      local event = message[3]:match("^__keyevent@0__:(.*)$") or message[4]
      if event ~= "expired" then -- see compatibility.md
        list[#list + 1] = message[3] .. " " .. message[4]
      end
      message = listener:reply()
    end
    assert(message[3] == tostring(i))
    heard[i] = table.concat(list, "\n")
  end
  client:close()
  listener:close()
  return heard
end

local function flat_sequence(seed)
  local list = {}
  for _, step in ipairs(commands.sequence(seed)) do
    for _, command in ipairs(step.alone and {} or step) do -- alone: it waits for a key to expire
      local name = command[1]:upper()
      if not LEFT_OUT[name] and #command > 1 and name ~= "SPOP" and not name:find("^B%u+POP") and name ~= "BLMOVE" then
        list[#list + 1] = command
      end
    end
  end
  return list
end

describe("keyspace events", function()
  it("are those of redis-server, in its order, for every command", function()
    local theirs, ours = redis.server { "--databases", "1" }, lunode.kv()
    local failures, count, told, any = {}, 0, {}, 0
    for seed = SEED, SEED + MOST_ROUNDS do
      if seed > SEED + (FULL and 200 or 20) and count > 1000 and any > 300 then
        break
      end
      local sequence = flat_sequence(seed)
      local a, b = events_of(theirs, sequence), events_of(ours, sequence)
      for i, command in ipairs(sequence) do
        count = count + 1
        any = any + (a[i] ~= "" and 1 or 0)
        if a[i] ~= b[i] and not told[command[1]:upper()] then
          told[command[1]:upper()] = true
          failures[#failures + 1] = ("LUNODE_SEED=%d command %d: %s\nRedis:\n%s\nours:\n%s"):format(seed, i,
            quote(command), a[i], b[i])
        end
      end
    end
    assert.equal("", table.concat(failures, "\n\n"))
    assert.is_true(count > 1000 and any > 300)
  end)
end)

-- ---- channels

local NAMES = { "a", "b", "ab", "news", "" }
local PATTERNS = { "*", "a*", "?", "[ab]", "n?ws", "\\a", "" }

-- Everything that comes for a connection up to the answer to its own PING.
local function hear(client, protocol, token)
  client:send(resp.command("PING", token))
  local list = {}
  while true do
    local reply = client:reply()
    local pong = type(reply) == "table" and reply[1] == "pong" and reply[2] == token or reply == token
    if pong then
      break
    end
    list[#list + 1] = resp.encode(type(reply) == "table" and reply.err or reply, protocol)
  end
  table.sort(list) -- the patterns of one client are in no order
  return table.concat(list)
end

local function next_step(g)
  local who, kind = g:int(1, 3), g:int(1, 9)
  local name, other = g:pick(NAMES), g:pick(NAMES)
  local pattern = g:pick(PATTERNS)
  local list = {
    { "SUBSCRIBE", name, other }, { "PSUBSCRIBE", pattern }, { "SSUBSCRIBE", name }, { "UNSUBSCRIBE", name },
    { "PUNSUBSCRIBE", pattern }, { "SUNSUBSCRIBE", other }, { "GET", "k" }, { "UNSUBSCRIBE", name, name }, { "PING" },
  }
  return who, list[kind]
end

describe("channels", function()
  it("carry to each subscriber what redis-server's would", function()
    local sides = { redis.server(), lunode.kv() }
    local g = prng.new(SEED)
    local clients, publishers = {}, {}
    for i, side in ipairs(sides) do
      clients[i] = { side:client(), side:client(), side:client() }
      clients[i][3]:call("HELLO", 3)
      publishers[i] = side:client()
    end
    local delivered, step = 0, 0
    while step < (FULL and 3000 or 400) or delivered <= 20 do
      step = step + 1
      assert.is_true(step < 10000, "hardly anything was delivered")
      local who, command = next_step(g)
      local publish = { g:pick { "PUBLISH", "PUBLISH", "SPUBLISH" }, g:pick(NAMES), "m" .. step }
      local asked = g:pick {
        { "PUBSUB", "NUMSUB", "a", "b" }, { "PUBSUB", "NUMPAT" }, { "PUBSUB", "SHARDNUMSUB", "a" },
      }
      local seen = {}
      for i = 1, 2 do
        clients[i][who]:send(resp.command(table.unpack(command)))
        local parts = { hear(clients[i][who], 3, "t" .. step) }
        parts[2] = publishers[i]:raw(publish)
        parts[3] = publishers[i]:raw(asked)
        for k = 1, 3 do
          parts[#parts + 1] = hear(clients[i][k], 3, "u" .. step)
        end
        seen[i] = table.concat(parts, "|")
      end
      delivered = delivered + (seen[1]:find("message", 1, true) and 1 or 0)
      assert.equal(seen[1], seen[2],
        ("step %d: client %d %s, then %s"):format(step, who, quote(command), quote(publish)))
    end
  end)
end)

-- ---- transactions

local KEYS = { "a", "b", "c" }

local function any_command(g)
  local key, other = g:pick(KEYS), g:pick(KEYS)
  if g:odds(0.3) then
    return g:pick { { "MULTI" }, { "EXEC" }, { "WATCH", key } }
  end
  return g:pick {
    { "DISCARD" }, { "WATCH", key }, { "WATCH", key, other }, { "UNWATCH" },
    { "SET", key, "1" }, { "INCR", key }, { "APPEND", key, "x" }, { "DEL", key }, { "RPUSH", key, "e" },
    { "LPOP", key }, { "RENAME", key, other }, { "GET", key }, { "EXPIRE", key, "100" }, { "PERSIST", key },
    { "HSET", key, "f", "v" }, { "SADD", key, "m" }, { "ZADD", key, "1", "m" }, { "SETRANGE", key, "1", "z" },
    { "BLPOP", key, "0" }, { "NOSUCH" }, { "SAVE" }, { "FLUSHALL" }, { "TYPE", key }, { "RESET" },
    { "EXISTS", key, other }, { "COPY", key, other, "REPLACE" }, { "SINTERSTORE", key, other },
    { "PUBLISH", "c", "m" }, { "CLIENT", "GETNAME" }, { "SORT", key, "ALPHA", "STORE", other },
  }
end

describe("transactions", function()
  it("answer as redis-server's do, whatever two clients send", function()
    local sides = { redis.server(), lunode.kv() }
    local g = prng.new(SEED)
    local executed, aborted, broken, rounds = 0, 0, 0, 0
    while rounds < (FULL and 120 or 40) or executed <= 20 or aborted <= 5 or broken <= 20 do
      rounds = rounds + 1
      assert.is_true(rounds < MOST_ROUNDS, ("%d %d %d"):format(executed, aborted, broken))
      local clients, story = {}, {}
      local multi = { false, false }
      for i, side in ipairs(sides) do
        clients[i] = { side:client(), side:client() }
        clients[i][1]:call("FLUSHALL")
      end
      for _ = 1, 60 do
        local who, command = g:int(1, 2), any_command(g)
        if command[1] ~= "BLPOP" and command[1] ~= "SAVE" or multi[who] then -- elsewhere they would wait
          story[#story + 1] = who .. ": " .. quote(command)
          local first, second = clients[1][who]:raw(command), clients[2][who]:raw(command)
          assert.equal(first, second, table.concat(story, "\n"))
          local ends = command[1] == "EXEC" or command[1] == "DISCARD" or command[1] == "RESET"
          multi[who] = not ends and (multi[who] or first == "+OK\r\n" and command[1] == "MULTI")
          executed = executed + (command[1] == "EXEC" and first:find("^%*[1-9]") and 1 or 0)
          aborted = aborted + (command[1] == "EXEC" and first == "*-1\r\n" and 1 or 0)
          broken = broken + (first:find("^%-EXECABORT") and 1 or 0)
        end
      end
      for i = 1, 2 do
        clients[i][1]:close()
        clients[i][2]:close()
      end
    end
  end)
end)
