-- ctx:call: commands that are made of others.
local command = require "lunode.kv.command"
local commands = require "spec.support.commands"
local fake_node = require "spec.kv.fake_node"
local resp = require "lunode.resp"

-- SPEC.EACH (count name argument…)…: calls them one after the other; replies as resp.encode has them.
local function each(ctx, args)
  local replies, at = {}, 1
  while at <= #args do
    local count = math.tointeger(args[at])
    local ok, value = pcall(ctx.call, ctx, table.unpack(args, at + 1, at + count))
    replies[#replies + 1] = resp.encode(value == nil and resp.null or value)
    assert(ok or type(value) ~= "string", value) -- a mistake
    at = at + count + 1
  end
  return replies
end

local function fail_at_the_end(ctx, args)
  each(ctx, args)
  error(resp.error("ENOUGH of this"), 0)
end

local function add(name, options)
  if not command.find(name) then
    command.command(name, options)
  end
end

add("SPEC.EACH", { arity = -1, variadic = true, flags = { "write" }, run = each })
add("SPEC.FAIL", { arity = -1, variadic = true, flags = { "write" }, run = fail_at_the_end })
add("SPEC.READ", { arity = -1, variadic = true, flags = { "readonly" }, run = each })

local CHANCE = {
  spop = true, srandmember = true, hrandfield = true, zrandmember = true, randomkey = true, lolwut = true,
}

local function is_callable(name, args)
  local entry = command.find(name)
  if entry and not entry.direct and args[1] then
    entry = command.subcommand(entry, args[1])
  end
  return entry and (entry.write or entry.reads) and not entry.blocks and not entry.arrive
end

-- The commands of a generated sequence that can be called.
local function words_of(seed, with_chance)
  local list = {}
  for _, step in ipairs(commands.sequence(seed)) do
    for _, words in ipairs(step) do
      local callable = is_callable(words[1], table.move(words, 2, #words, 1, {}))
      if callable and (with_chance or not CHANCE[words[1]:lower()]) then
        list[#list + 1] = words
      end
    end
  end
  return list
end

local function flat(list)
  local args = {}
  for _, words in ipairs(list) do
    args[#args + 1] = tostring(#words)
    table.move(words, 1, #words, #args + 1, args)
  end
  return args
end

local function digest(node)
  local rows = {}
  for key, value in node.db.store:scan("", nil) do
    rows[#rows + 1] = ("%q = %q"):format(key, value)
  end
  return table.concat(rows, "\n")
end

describe("a command that calls others", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("gets their replies, and leaves the same keys as if a client had sent them", function()
    for seed = 1, os.getenv "LUNODE_FULL" == "1" and 400 or 40 do
      local other = fake_node.new()
      local direct, list = other:client(), words_of(seed)
      assert.is_true(#list > 5)
      local replies = client("SPEC.EACH", flat(list))
      for i, words in ipairs(list) do
        direct:send(table.unpack(words))
        -- there is one nil
        local expected = direct.conn.output == "*-1\r\n" and "$-1\r\n" or direct.conn.output
        assert.equal(expected, replies[i], ("seed %d, command %d: %s"):format(seed, i, table.concat(words, " ")))
        direct.conn.output = ""
      end
      node:finish_turn()
      other:finish_turn()
      assert.equal(client("DBSIZE"), direct("DBSIZE"))
      for _, key in ipairs(direct("KEYS", "*")) do
        for _, words in ipairs { { "PTTL", key }, { "DUMP", key } } do
          assert.same(direct(table.unpack(words)), client(table.unpack(words)), ("seed %d, key %q"):format(seed, key))
        end
      end
      client("FLUSHALL")
      other:close()
    end
  end)

  it("leaves the same in a replay: chance, time, and whatever its client's replies are like", function()
    local chances = 0
    for seed = 1, 20 do
      client("HELLO", seed % 2 == 0 and "3" or "2")
      local list = words_of(seed, true)
      for _, words in ipairs(list) do
        chances = chances + (CHANCE[words[1]:lower()] and 1 or 0)
      end
      client("SPEC.EACH", flat(list))
      client("SPEC.EACH", flat { { "SADD", "drawn", "a", "b", "c", "d" }, { "SPOP", "drawn" }, { "SPOP", "drawn" } })
      node:advance(1000)
    end
    assert.is_true(chances > 10)
    local replayed = fake_node.new()
    for _, entry in ipairs(node.replica.entries) do
      replayed.writes:apply(entry)
    end
    assert.equal(digest(node), digest(replayed))
    replayed:close()
  end)

  it("takes with it what they wrote where it fails", function()
    for seed = 1, 20 do
      client("SPEC.EACH", flat(words_of(seed)))
      node:finish_turn()
      local before = digest(node)
      assert.equal("ENOUGH of this", client:err("SPEC.FAIL", flat(words_of(seed + 1000))))
      node:finish_turn()
      assert.equal(before, digest(node), "seed " .. seed)
    end
  end)

  it("gets nil for what is not there, statuses and errors as what they are; its own client stays the client", function()
    local seen
    add("SPEC.SEEN", { arity = 1, flags = { "write" }, run = function(ctx)
      local session = ctx.session
      seen = { ctx:call("GET", "none") == nil, ctx:call("set", "n", 41), ctx:call("INCRBY", "n", 1.0) }
      seen[4] = { pcall(ctx.call, ctx, "LPUSH", "n", "x") }
      seen[4][2] = resp.encode(seen[4][2])
      assert(ctx.session == session and session)
      return ctx:call("OBJECT", "ENCODING", "n")
    end })
    assert.equal("int", client "SPEC.SEEN")
    assert.same({ true, resp.OK, 42,
      { false, "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n" } }, seen)
    client("HELLO", "3")
    assert.equal("int", client "SPEC.SEEN")
  end)

  it("raises what they raise, and refuses those that are none to be called", function()
    client("SET", "s", "x")
    add("SPEC.ONE", { arity = -2, variadic = true, flags = { "write" }, run = function(ctx, args)
      ctx:call("SET", "s", "changed")
      return ctx:call(table.unpack(args))
    end })
    for expected, words in pairs {
      ["WRONGTYPE Operation against a key holding the wrong kind of value"] = { "LPUSH", "s", "x" },
      ["ERR wrong number of arguments for 'get' command"] = { "GET" },
      ["ERR unknown command 'NOSUCH'"] = { "NOSUCH" },
      ["ERR internal error; the log has its traceback"] = { "BLPOP", "s", "0" },
    } do
      local other = node:client()
      assert.equal(expected, other:err("SPEC.ONE", table.unpack(words)))
      assert.equal("x", client("GET", "s"))
    end
    assert.matches("^ERR internal", client:err("SPEC.READ", "3", "SET", "s", "y")) -- it has no flag "write"
    assert.equal("x", client("GET", "s"))
  end)
end)
