-- Whether the sequences and the exchanges that are compared with redis-server are about every command that we have,
-- and every word that Redis's own documentation (COMMAND DOCS) gives as an option of it.
local command = require "lunode.kv.command"
local commands = require "spec.support.commands"
local fixed = require "spec.support.commands_fixed"
local redis = require "spec.support.redis"
local resp = require "lunode.resp"

require "lunode.kv"

local MOST_SEQUENCES = 1000 -- it ends where nothing is missing

local EXCHANGES = {
  require "spec.support.commands_written", require "spec.support.commands_connection",
  require "spec.support.commands_client",
}

-- Redis has none of these.
local OUR_OWN = { once = true, raft = true, readmode = true }

-- What is in no comparison, and why.
local HELP = "written from our tables, with other words"
local OF_CLUSTER = "Redis has it in a cluster alone; refusals are compared, and npm's clients use it in a cluster"
local TEXT = "another text"
local LEFT_OUT = {
  asking = OF_CLUSTER, readonly = OF_CLUSTER, readwrite = OF_CLUSTER, ["cluster|countkeysinslot"] = OF_CLUSTER,
  ["cluster|getkeysinslot"] = OF_CLUSTER, ["cluster|info"] = OF_CLUSTER, ["cluster|keyslot"] = OF_CLUSTER,
  ["cluster|links"] = OF_CLUSTER, ["cluster|myid"] = OF_CLUSTER, ["cluster|nodes"] = OF_CLUSTER,
  ["cluster|replicas"] = OF_CLUSTER, ["cluster|shards"] = OF_CLUSTER, ["cluster|slaves"] = OF_CLUSTER,
  ["cluster|slots"] = OF_CLUSTER,
  ["client|help"] = HELP, ["cluster|help"] = HELP, ["command|help"] = HELP, ["config|help"] = HELP,
  ["latency|help"] = HELP, ["memory|help"] = HELP, ["object|help"] = HELP, ["pubsub|help"] = HELP,
  ["slowlog|help"] = HELP,
  command = "we have fewer: each of ours is compared by COMMAND INFO", ["command|count"] = "we have fewer",
  ["client|reply OFF"] = "it has no reply: what follows is compared",
  ["client|reply SKIP"] = "it has no reply: what follows is compared",
  ["config|rewrite"] = "an error without a config file, which is compared: we have none",
  lolwut = TEXT, ["latency|doctor"] = TEXT, ["latency|graph"] = TEXT, ["memory|doctor"] = TEXT,
  ["memory|malloc-stats"] = TEXT, ["memory|stats"] = "other parts of other memory",
  move = "with one database it can but refuse, which is compared",
  restore = "it takes another format: errors are compared, and copy_spec has what goes there and back",
  save = "refused here; errors are compared",
  shutdown = "it ends the server: errors are compared, and lifecycle_spec has its ends",
}

-- ---- what is asked

-- "client|kill", and where the words behind it start.
local function name_of(words)
  local name = words[1]:lower()
  local entry = command.find(name)
  if entry and not entry.direct and words[2] then
    return name .. "|" .. words[2]:lower(), 3
  end
  return name, 2
end

-- Notes what redis-server has answered, and not with an error.
local function note(seen, words, bytes)
  if bytes:find("^%-") or bytes == "+QUEUED\r\n" then
    return
  end
  local name, first = name_of(words)
  seen[name] = seen[name] or {}
  for i = first, #words do
    seen[name][words[i]:upper()] = true
  end
end

local function run_batch(seen, client, batch)
  local pieces = {}
  for i, words in ipairs(batch) do
    pieces[i] = resp.command(table.unpack(words))
  end
  client:send(table.concat(pieces))
  for _, words in ipairs(batch) do
    note(seen, words, client:reply_bytes())
  end
  client:close()
end

local function run_sequence(server, seen, steps)
  local batch = { { "FLUSHALL" } }
  for _, step in ipairs(steps) do
    for _, words in ipairs(step) do
      batch[#batch + 1] = words
      if words[1]:upper() == "QUIT" then
        run_batch(seen, server:client(), batch)
        batch = {}
      end
    end
  end
  run_batch(seen, server:client(), batch)
end

local function run_exchange(server, seen, steps)
  local clients = {}
  for _, step in ipairs(steps) do
    local bytes = fixed.take(server, clients, step)
    if step.reads and step.words then
      note(seen, step.words, bytes)
    end
  end
  for _, client in pairs(clients) do
    client:close()
  end
end

-- ---- what there is

local function names()
  local list = {}
  for _, entry in ipairs(command.list()) do
    if not OUR_OWN[entry.name] then
      list[#list + 1] = entry.options.run and entry.name or nil
      for _, subcommand in ipairs(command.list(entry.subcommands)) do
        list[#list + 1] = subcommand.name
      end
    end
  end
  return list
end

local function field(map, name)
  for i = 1, #map, 2 do
    if map[i] == name then
      return map[i + 1]
    end
  end
end

local function add_tokens(list, arguments)
  for _, argument in ipairs(arguments or {}) do
    local token = field(argument, "token")
    if token and token:find("%a") then
      list[#list + 1] = token:upper()
    end
    add_tokens(list, field(argument, "arguments"))
  end
  return list
end

-- Every command, and every command with a word: { { name, word or false }, … }.
local function all_uses(client)
  local list = {}
  for _, name in ipairs(names()) do
    list[#list + 1] = { name, false }
    local docs = client:call("COMMAND", "DOCS", name)
    for _, token in ipairs(add_tokens({}, docs[2] and field(docs[2], "arguments"))) do
      list[#list + 1] = { name, token }
    end
  end
  return list
end

local function text_of(use)
  return use[2] and use[1] .. " " .. use[2] or use[1]
end

-- Those of `uses` that were not seen, and are not excused: of a command that was not, its name alone.
local function missing_of(uses, seen)
  local list = {}
  for _, use in ipairs(uses) do
    local of_command = seen[use[1]]
    local met = of_command and (not use[2] or of_command[use[2]]) or not of_command and use[2]
    if not met and not LEFT_OUT[text_of(use)] then
      list[#list + 1] = text_of(use)
    end
  end
  return list
end

describe("what is compared with redis-server", function()
  it("is every command that we have, with every word that it may have, but for what cannot be", function()
    local server, seen = redis.server { "--databases", "1", "--hz", "500" }, {} -- hz: it looks at timeouts
    local uses, seed = all_uses(server:client()), 0
    for _, list in ipairs(EXCHANGES) do
      for _, exchange in ipairs(list) do
        run_exchange(server, seen, fixed.read(exchange[2]))
      end
    end
    repeat
      seed = seed + 1
      run_sequence(server, seen, commands.sequence(seed))
    until seed == MOST_SEQUENCES or seed % 50 == 0 and #missing_of(uses, seen) == 0
    assert.equal("", table.concat(missing_of(uses, seen), "\n"))
    for _, use in ipairs(uses) do
      local was_seen = seen[use[1]] and (not use[2] or seen[use[1]][use[2]])
      assert.is_true(not was_seen or LEFT_OUT[text_of(use)] == nil, text_of(use) .. " need not be excused")
    end
  end)
end)
