-- docs/compatibility.md is what docs/compatibility.lua makes of the tables of commands, and these tables are Redis's.

local command = require "lunode.kv.command"
local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local redis = require "spec.support.redis"
local tmp = require "lunode.test.tmp"

require "lunode.kv"

-- Where a table of ours differs on purpose: command and part.
local DIFFERENT = {
  ["wait acl"] = true, -- that of its group is in it
  ["cluster|countkeysinslot tips"] = true, ["cluster|replicas flags"] = true, ["cluster|replicas acl"] = true,
  ["cluster|slaves flags"] = true, ["cluster|slaves acl"] = true,
}

local PARTS = {
  [2] = "arity", [3] = "flags", [4] = "first", [5] = "last", [6] = "step", [7] = "acl", [8] = "tips", [9] = "specs",
}

local function text(value)
  if type(value) ~= "table" then
    return tostring(value)
  elseif value.ok then
    return value.ok
  end
  local list = {}
  for i, one in ipairs(value) do
    list[i] = text(one)
  end
  if value.kind == "set" then
    table.sort(list)
  end
  return "(" .. table.concat(list, " ") .. ")"
end

-- name → its COMMAND INFO, for subcommands, too.
local function collect(list, into)
  for _, info in ipairs(list) do
    into[info[1]] = info
    collect(info[10], into)
  end
  return into
end

local function table_of(client)
  client:call("HELLO", 3)
  return collect(client:call("COMMAND"), {})
end

describe("docs/compatibility.md", function()
  it("is as the tables of commands are now", function()
    local code, out, err = lunode.run { "run", "docs/compatibility.lua" }
    assert.same({ 0, "" }, { code, err })
    local page = tmp.read "docs/compatibility.md"
    assert.is_true(out == page, "the commands have changed: ./dev docs writes the page anew")
  end)

  it("goes by the list of commands that redis-server has", function()
    local server = table_of(redis.server():client())
    local listed = 0
    for line in tmp.read("docs/redis-commands.txt"):gmatch("[^\n]+") do
      if line:sub(1, 1) ~= "#" then
        assert.is_truthy(server[line:match("^%S+")], line)
        listed = listed + 1
      end
    end
    local count = 0
    for _ in pairs(server) do
      count = count + 1
    end
    assert.equal(count, listed)
  end)
end)

describe("the tables of commands", function()
  it("say of each command what Redis's say", function()
    local theirs, ours = table_of(redis.server():client()), table_of(lunode.kv():client())
    local differences, compared = {}, 0
    for name, info in pairs(ours) do
      local other = theirs[name]
      for part, what in pairs(other and PARTS or {}) do
        compared = compared + 1
        if text(info[part]) ~= text(other[part]) and not DIFFERENT[name .. " " .. what] then
          differences[#differences + 1] = ("%s %s: %s, Redis: %s"):format(name, what, text(info[part]),
            text(other[part]))
        end
      end
    end
    table.sort(differences)
    assert.equal("", table.concat(differences, "\n"))
    assert.is_true(compared > 1000)
  end)

  it("find keys as Redis's do", function()
    local their, our = redis.server():client(), lunode.kv():client()
    for _, words in ipairs {
      { "GET", "a" }, { "MSET", "a", "1", "b", "2" }, { "RENAME", "a", "b" }, { "PING", "a" }, { "NOSUCH", "a" },
      { "ZUNIONSTORE", "d", "2", "a", "b" }, { "LMPOP", "2", "a", "b", "LEFT" }, { "BLMPOP", "0", "1", "a", "LEFT" },
      { "SINTERCARD", "9", "a" }, { "SINTERCARD", "x", "a" }, { "SSUBSCRIBE", "a" }, { "GET", "a", "b" },
      { "BITOP", "AND", "d", "a", "b" }, { "XX", "YY" }, { "MEMORY", "USAGE", "a" }, { "BLPOP", "a", "b", "0" },
      { "SMOVE", "a", "b", "m" }, { "SUNIONSTORE", "d", "a", "b" },
    } do
      for _, how in ipairs { "GETKEYS", "GETKEYSANDFLAGS" } do
        local words_sent = { "COMMAND", how, table.unpack(words) }
        assert.equal(text(their:call(table.unpack(words_sent))), text(our:call(table.unpack(words_sent))),
          table.concat(words_sent, " "))
      end
    end
  end)

  it("answer for a command that the page says no to as Redis does for one that it does not know", function()
    local their, our = redis.server():client(), lunode.kv():client()
    local asked = 0
    for line in tmp.read("docs/redis-commands.txt"):gmatch("[^\n]+") do
      local name = line:match("^([%w-|]+) ")
      local container, own = (name or ""):match("^(.-)|(.+)$")
      if name and not command.resolve(name) and (not container or command.find(container)) then
        local asked_for = own or name
        local nonsense = ("z"):rep(#asked_for) -- in place of the name, so that all is cut at the same places
        for _, args in ipairs { {}, { "a" }, { "a", "b c", "\r\n", "" }, { ("x"):rep(100), ("y"):rep(100), "z" } } do
          local their_words, our_words = { container or nonsense }, { container or name, own }
          their_words[2] = container and nonsense
          for i, arg in ipairs(args) do
            their_words[#their_words + 1], our_words[#our_words + 1] = arg, arg
            assert.equal(#their_words, #our_words, i)
          end
          local expected = their:raw(their_words):gsub(nonsense, asked_for)
          assert.equal(expected, our:raw(our_words), name)
          asked = asked + 1
        end
      end
    end
    assert.is_true(asked > 200)
  end)

  it("are found lacking by what the page has the reader type, and by nothing else", function()
    local server, node = redis.server(), lunode.kv()
    local client = server:client()
    for _, words in ipairs {
      { "SET", "a", 1 }, { "GET", "a" }, { "XADD", "s", "*", "f", "v" }, { "EVAL", "return 1", 0 },
      { "CLIENT", "LIST" }, { "CLUSTER", "ADDSLOTS", 1 }, { "ACL", "WHOAMI" },
    } do
      client:call(table.unpack(words))
    end
    local block = assert(tmp.read("docs/compatibility.md"):match("```sh\n(.-)```"))
    local changed = block:gsub("6379", server.port):gsub("6380", node.port)
    local code, out, err = process.run { "sh", "-c", changed }
    assert.same({ 0, "acl|whoami\ncluster|addslots\neval\nxadd\n", "" }, { code, out, err })
  end)

  it("give redis-cli the same help and hints as Redis's, but for types and histories", function()
    local names, lines = {}, {}
    for _, entry in ipairs(command.list()) do
      names[#names + 1] = entry.name
      for _, subcommand in ipairs(command.list(entry.subcommands)) do
        names[#names + 1] = subcommand.name
      end
    end
    for i, name in ipairs(names) do
      lines[i] = "help " .. name:gsub("|", " ") .. "\n"
    end
    local function helps(server)
      local _, out = process.run { "redis-cli", "-p", tostring(server.port), stdin = table.concat(lines) }
      local found = {}
      for name, usage in out:gmatch "\27%[1m(.-)\27%[0m \27%[90m(.-)\27%[0m" do
        found[name:lower():gsub(" ", "|")] = usage
      end
      return found
    end
    local theirs, ours, compared = helps(redis.server()), helps(lunode.kv()), 0
    for _, name in ipairs(names) do
      if theirs[name] then
        assert.equal(theirs[name], ours[name], name)
        compared = compared + 1
      end
    end
    assert.is_true(compared > 200, compared)
  end)
end)
