-- Several clients that block, on the node and on the real redis-server: who is served, when, and with what.
--
-- A scenario is a list of steps, each of which sends something on one of the connections. Every element that is pushed
-- is another one, so the replies tell who has got it. LUNODE_SEED=n runs from that scenario on.

local lunode = require "spec.support.lunode"
local loop = require "lunode.loop"
local prng = require "spec.support.prng"
local redis = require "spec.support.redis"
local resp = require "lunode.resp"
local shrink = require "lunode.test.shrink"

local FULL = os.getenv("LUNODE_FULL") == "1"
local SCENARIOS = FULL and 300 or 25
local SEED = tonumber(os.getenv("LUNODE_SEED")) or FULL and loop.random(1, 1 << 40) or 1
local WAITERS = 5
local DRIVER = WAITERS + 1

-- ---------------------------------------------------------------- scenarios

local KEYS = { "a", "b", "c", "d" }

local function keys(chance, most)
  local list = {}
  for i = 1, chance:int(1, most) do
    list[i] = chance:pick(KEYS)
  end
  return list
end

local function side(chance)
  return chance:pick { "LEFT", "RIGHT" }
end

local function joined(...)
  local list = {}
  for _, part in ipairs { ... } do
    for _, word in ipairs(type(part) == "table" and part or { part }) do
      list[#list + 1] = word
    end
  end
  return list
end

local function blocking_command(chance)
  return chance:weighted {
    { 5, joined(chance:pick { "BLPOP", "BRPOP" }, keys(chance, 3), "0") },
    { 2, { "BLMOVE", chance:pick(KEYS), chance:pick(KEYS), side(chance), side(chance), "0" } },
    { 1, { "BRPOPLPUSH", chance:pick(KEYS), chance:pick(KEYS), "0" } },
    { 2, { "BLMPOP", "0", "2", chance:pick(KEYS), chance:pick(KEYS), side(chance), "COUNT", chance:int(1, 3) } },
    { 2, joined(chance:pick { "BZPOPMIN", "BZPOPMAX" }, keys(chance, 3), "0") },
    { 1, { "BZMPOP", "0", "2", chance:pick(KEYS), chance:pick(KEYS), chance:pick { "MIN", "MAX" }, "COUNT", 2 } },
  }
end

-- Commands on the connection of somebody who may block; what follows in the same piece waits for the first one's end.
local function waiter_step(chance, fresh)
  local commands = { blocking_command(chance) }
  if chance:odds(0.3) then
    commands[2] = chance:pick { { "INCR", "n" }, { "PING" }, { "RPUSH", chance:pick(KEYS), fresh() } }
  end
  if chance:odds(0.1) then
    commands[#commands + 1] = blocking_command(chance)
  end
  if chance:odds(0.1) then
    commands = joined({ { "MULTI" } }, commands, { { "EXEC" } })
  end
  return commands
end

local function push(chance, fresh)
  local command = { chance:pick { "LPUSH", "RPUSH" }, chance:pick(KEYS) }
  for _ = 1, chance:int(1, 3) do
    command[#command + 1] = fresh()
  end
  return command
end

local function driver_command(chance, fresh)
  return chance:weighted {
    { 10, push(chance, fresh) },
    { 5, { "ZADD", chance:pick(KEYS), chance:int(1, 9), fresh(), chance:pick { "inf", "-inf", "1.5" }, fresh() } },
    { 2, { "RENAME", chance:pick(KEYS), chance:pick(KEYS) } },
    { 2, { "DEL", chance:pick(KEYS) } },
    { 1, { "SET", chance:pick(KEYS), "text" } },
    { 2, { chance:pick { "LPOP", "RPOP" }, chance:pick(KEYS) } },
    { 1, { "LMOVE", chance:pick(KEYS), chance:pick(KEYS), side(chance), side(chance) } },
    { 1, { "FLUSHALL" } },
  }
end

local function driver_step(chance, fresh)
  local commands = {}
  for i = 1, chance:pick { 1, 1, 1, 2, 3 } do
    commands[i] = driver_command(chance, fresh)
  end
  if chance:odds(0.25) then
    return joined({ { "MULTI" } }, commands, { { "EXEC" } })
  end
  return commands
end

local function scenario(seed)
  local chance, elements, steps = prng.new(seed), 0, {}
  local function fresh()
    elements = elements + 1
    return "e" .. elements
  end
  for i = 1, chance:int(10, 60) do
    local who = chance:int(1, WAITERS)
    steps[i] = chance:weighted {
      { 10, { who = who, commands = waiter_step(chance, fresh) } },
      { 12, { who = DRIVER, commands = driver_step(chance, fresh) } },
      { 1, { who = who, unblock = chance:pick { "TIMEOUT", "ERROR", "timeout" } } },
      { 1, { who = who, leaves = true } },
    }
  end
  return steps
end

-- ---------------------------------------------------------------- running them

local function encode(commands)
  local pieces = {}
  for i, command in ipairs(commands) do
    pieces[i] = resp.command(table.unpack(command))
  end
  return table.concat(pieces)
end

-- What has been sent on other connections before has been looked at once these are answered: the second one is read in
-- a later turn of the server's loop.
local function await(driver)
  driver:call("PING")
  driver:call("PING")
end

local function connect(server)
  local client = server:client()
  return { client = client, id = client:call("CLIENT", "ID"), bytes = {} }
end

local function collect(one, count)
  for _ = 1, count do
    one.bytes[#one.bytes + 1] = one.client:reply_bytes()
  end
end

local function take_step(server, waiters, driver, step)
  local one = waiters[step.who]
  if step.unblock then
    collect(driver, 0)
    driver.bytes[#driver.bytes + 1] = driver.client:raw { "CLIENT", "UNBLOCK", one.id, step.unblock }
  elseif step.leaves then
    one.client:close()
    waiters[step.who] = connect(server)
  elseif step.who == DRIVER then
    driver.client:send(encode(step.commands))
    collect(driver, #step.commands)
  else
    one.client:send(encode(step.commands))
  end
  await(driver.client)
end

-- All that the connections were sent that are still there at the end.
local function transcript(server, steps)
  local driver, waiters, text = connect(server), {}, {}
  driver.client:call("FLUSHALL")
  for i = 1, WAITERS do
    waiters[i] = connect(server)
  end
  for _, step in ipairs(steps) do
    take_step(server, waiters, driver, step)
  end
  for _, key in ipairs(KEYS) do
    driver.bytes[#driver.bytes + 1] = driver.client:raw { "LRANGE", key, "0", "-1" }
    driver.bytes[#driver.bytes + 1] = driver.client:raw { "ZRANGE", key, "0", "-1", "WITHSCORES" }
  end
  text[1] = "driver: " .. table.concat(driver.bytes)
  for i, one in ipairs(waiters) do
    one.client:send(resp.command("ECHO", "the end"))
    repeat -- it may have sent several that block
      await(driver.client)
    until driver.client:call("CLIENT", "UNBLOCK", one.id) == 0
    local bytes
    repeat
      bytes = one.client:reply_bytes()
      one.bytes[#one.bytes + 1] = bytes
    until bytes:find("the end", 1, true)
    text[#text + 1] = ("client %d: %s"):format(i, table.concat(one.bytes))
    one.client:close()
  end
  driver.client:close()
  return table.concat(text, "\n")
end

-- ---------------------------------------------------------------- comparing

local function describe_steps(steps)
  local lines = {}
  for i, step in ipairs(steps) do
    local words = {}
    for _, command in ipairs(step.commands or {}) do
      words[#words + 1] = table.concat(command, " ")
    end
    local event = step.unblock and "is unblocked, " .. step.unblock or step.leaves and "leaves" or ""
    lines[i] = ("%d: %s%s"):format(step.who, table.concat(words, "; "), event)
  end
  return table.concat(lines, "\n")
end

local function compare(real, node, steps)
  local a, b = transcript(real, steps), transcript(node, steps)
  return a ~= b and ("redis-server:\n%s\nthe node:\n%s"):format(a, b) or nil
end

local function explain(real, node, seed)
  local steps = scenario(seed)
  if not compare(real, node, steps) then
    return nil
  end
  local few = shrink.list(steps, function(candidate)
    return compare(real, node, candidate) ~= nil
  end)
  return ("LUNODE_SEED=%d\n%s\n%s"):format(seed, describe_steps(few), compare(real, node, few) or "(not again)")
end

describe("clients that block", function()
  for _, sync in ipairs { "everysec", "always" } do
    it("are served as redis-server serves them, with sync " .. sync, function()
      local real, node = redis.server(), lunode.kv { "--sync", sync }
      for seed = SEED, SEED + SCENARIOS - 1 do
        local difference = explain(real, node, seed)
        assert.is_nil(difference, difference)
      end
      assert.equal(0, node:stop(), node.process:stderr())
    end)
  end
end)
