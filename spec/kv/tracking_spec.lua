-- Clients that cache: beside redis-server, what each of them is told, and what it is refused.
local lunode = require "spec.support.lunode"
local redis = require "spec.support.redis"
local resp = require "lunode.resp"

-- All that comes for a connection of RESP3 up to the answer to its own PING, into a list.
local function hear(client, list)
  client:send(resp.command("PING", "fence"))
  local reply = client:reply()
  while reply ~= "fence" do
    list[#list + 1] = resp.encode(type(reply) == "table" and (reply.ok or reply.err) or reply, 3)
    reply = client:reply()
  end
end

-- Runs a story, lines of "CLIENT WORD …", on a server: what each client has heard after each line, in any order: what
-- changes is told at the end of a turn. A semicolon stands between commands that are sent at once.
local function run(server, story)
  local clients, seen = {}, {}
  local function client_of(name)
    if not clients[name] then
      clients[name] = server:client()
      clients[name]:call("HELLO", 3)
    end
    return clients[name]
  end
  client_of "a"
  client_of "b"
  for line in story:gmatch("[^\n]+") do
    local who, rest = line:match("^%s*(%a) (.*)$")
    local bytes = ""
    for text in rest:gmatch("[^;]+") do
      local words = {}
      for word in text:gmatch("%S+") do
        words[#words + 1] = word == "ID" and client_of("b"):call("CLIENT", "ID") or word
      end
      bytes = bytes .. resp.command(table.unpack(words))
    end
    client_of(who):send(bytes)
    local parts = { line }
    for _, name in ipairs { "a", "b" } do
      local list = {}
      hear(client_of(name), list)
      hear(client_of(name), list)
      table.sort(list)
      parts[#parts + 1] = name .. ": " .. table.concat(list)
    end
    seen[#seen + 1] = table.concat(parts, "\n")
  end
  server:client():call("FLUSHALL")
  return table.concat(seen, "\n")
end

local STORIES = {
  ["what was read, once"] = [[
    a CLIENT TRACKING on
    a GET k
    b SET k 1
    b SET k 2
    a MGET k l
    b DEL k
    b SET l 1
    a EXISTS k
    b INCR k
    a CLIENT TRACKINGINFO
    a CLIENT TRACKING off
    a GET k
    b SET k 3]],
  ["by oneself, or not"] = [[
    a CLIENT TRACKING on
    a GET k
    a SET k 1
    a CLIENT TRACKING off
    a CLIENT TRACKING on NOLOOP
    a GET k
    a SET k 2
    a GET k
    b SET k 3]],
  ["prefixes"] = [[
    a CLIENT TRACKING on BCAST PREFIX user: PREFIX item:
    b SET user:1 1
    b SET other 1
    b MSET item:1 1 x 1
    a CLIENT TRACKING on BCAST PREFIX user:1
    a CLIENT TRACKING on
    a CLIENT TRACKINGINFO
    a CLIENT TRACKING off
    a CLIENT TRACKING on BCAST
    b SET anything 1]],
  ["chosen reads"] = [[
    a CLIENT TRACKING on OPTIN
    a GET k
    b SET k 1
    a CLIENT CACHING yes
    a GET k
    a GET l
    b SET k 2
    b SET l 2
    a CLIENT CACHING no
    a CLIENT TRACKING off
    a CLIENT TRACKING on OPTOUT
    a CLIENT CACHING no
    a GET k
    a GET l
    b SET k 3
    b SET l 3
    a CLIENT CACHING yes]],
  ["to another connection"] = [[
    a CLIENT TRACKING on REDIRECT ID
    a GET k
    b SET k 1
    a CLIENT TRACKING on REDIRECT 999999]],
  ["everything, and transactions"] = [[
    a CLIENT TRACKING on
    a GET k
    b FLUSHALL
    a MULTI ; GET x ; GET y ; EXEC
    b MULTI ; SET x 1 ; SET y 1 ; EXEC
    a HGETALL h
    b HSET h f v
    a LRANGE l 0 -1
    b RPUSH l e]],
  ["mistakes"] = [[
    a CLIENT TRACKING maybe
    a CLIENT TRACKING on FOO
    a CLIENT TRACKING on PREFIX x
    a CLIENT TRACKING on OPTIN OPTOUT
    a CLIENT TRACKING on BCAST OPTIN
    a CLIENT TRACKING on BCAST PREFIX a PREFIX ab
    a CLIENT CACHING yes
    a CLIENT TRACKING on REDIRECT x
    a CLIENT GETREDIR
    a CLIENT TRACKINGINFO]],
}

describe("CLIENT TRACKING", function()
  local theirs, ours

  lazy_setup(function()
    theirs, ours = redis.server(), lunode.kv()
  end)

  for name, story in pairs(STORIES) do
    it("tells clients of changes as redis-server does: " .. name, function()
      assert.equal(run(theirs, story), run(ours, story))
    end)
  end

  it("tells of keys that expire, and ends with the connection", function()
    local client, other = ours:client(), ours:client()
    client:call("HELLO", 3)
    client:call("CLIENT", "TRACKING", "ON")
    other:call("SET", "k", "1", "PX", "30")
    client:call("GET", "k")
    assert.same({ "invalidate", { "k" }, kind = "push" }, client:reply())
    assert.matches("tracking_clients:1", other:call("INFO", "clients"))
    assert.matches("flags=t ", other:call("CLIENT", "LIST", "ID", tostring(client:call("CLIENT", "ID"))))
    client:call("RESET")
    assert.matches("tracking_clients:0", other:call("INFO", "clients"))
  end)
end)
