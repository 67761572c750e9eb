-- The families of spec.support.commands that are about a connection, its client, and the server itself: each entry
-- {weight, fn(g) → command}. Only commands after which it goes on, in the same way on every server.

local M = { families = {} }

-- Not known to any server.
M.UNKNOWN = {
  "foo", "GETX", "", " ", "get ", "\0", "a\0b", "bad\r\nname", ("n"):rep(200), "SE-T", "client|id", "config|get", "ä",
}

M.families.connection = {
  { 2, function(g)
    return { "PING", table.unpack(g.chance:pick { {}, { "hi" }, { "" }, { "\r\n\0" }, { "a", "b" } }) }
  end },
  { 1, function(g)
    return { "ECHO", g:value() }
  end },
  { 4, function(g)
    local version = g.chance:pick { "2", "3", "2", "3", "3", "1", "4", "foo", "", "3.0", "02", "-1" }
    local command = { "HELLO", version }
    for _ = 1, g.chance:pick { 0, 0, 0, 1, 2 } do
      for _, word in ipairs(g.chance:pick {
        { "SETNAME", "me" }, { "SETNAME", "with space" }, { "SETNAME" }, { "AUTH", "default", "x" },
        { "AUTH", "bob", "x" }, { "AUTH", "default" }, { "FOO" }, { "FO\0O" }, { "SETNAME", "" },
      }) do
        command[#command + 1] = word
      end
    end
    return command
  end },
  { 1, function()
    return { "HELLO" }
  end },
  { 1, function(g)
    return { "AUTH", table.unpack(g.chance:pick {
      { "x" }, { "" }, { "default", "x" }, { "bob", "x" }, { "Default", "" }, { "a", "b", "c" },
    }) }
  end },
  { 2, function(g)
    return { "SELECT", g.chance:pick { "0", "0", "0", "1", "-1", "foo", "", "00", "9999999999999999999999" } }
  end },
  { 1, function()
    return { "RESET" }
  end },
  { 1, function()
    return { { "QUIT" }, pause = true } -- and then a new connection
  end },
}

M.families.client = {
  { 3, function(g)
    local name = g.chance:pick { "me", "you", "", "with space", "new\nline", "\0", "\xff", "~!", ("n"):rep(200) }
    return { "CLIENT", g:word "SETNAME", name }
  end },
  { 3, function(g)
    return { "CLIENT", g:word "GETNAME" }
  end },
  { 1, function(g)
    return { "CLIENT", g:word "ID" }
  end },
  { 1, function(g)
    return { "CLIENT", g:word "INFO" }
  end },
  { 2, function(g)
    -- Exactly so: a small number more would be some client's on one server, and nobody's on the other.
    return { { "CLIENT", g:word "LIST", table.unpack(g.chance:pick {
      {}, { "TYPE", "normal" }, { "TYPE", "foo" }, { "TYPE" }, { "ID", "foo" }, { "ID", "-1" }, { "ID" }, { "FOO" },
      { "TYPE", "replica" }, { "type", "PUBSUB" }, { "ID", "999999999" }, { "ID", "999999999", "1x" },
    }) }, exact = true }
  end },
  { 1, function(g)
    return { g.chance:pick { "CLIENT", "CONFIG", "COMMAND" }, g.chance:pick(M.UNKNOWN), "x" }
  end },
}

M.families.server = {
  { 3, function(g)
    return { "CONFIG", g:word "GET", table.unpack(g.chance:pick {
      { "maxmemory" }, { "maxmemory-policy" }, { "MaxMemory" }, { "timeout" }, { "databases" }, { "appendfsync" },
      { "requirepass" }, { "save" }, { "proto-max-bulk-len" }, { "nothing" }, { "" }, { "timeout", "timeout" },
      { "appendfsync", "maxmemory", "nothing" }, { "requirepas?" }, { "[s]ave" },
    }) }
  end },
  { 2, function(g)
    return { "CONFIG", g:word "SET", table.unpack(g.chance:pick {
      { "nothing", "1" }, { "maxclients", "foo" }, { "maxclients", "0" }, { "maxclients", "1", "maxclients", "2" },
      { "databases", "3" }, { "appendfsync", "sometimes" }, { "appendfsync", "everysec" }, { "databases" },
      { "appendfsync", "always" }, { "appendfsync", "always" }, { "appendfsync", "no" }, -- commands go other ways then
      { "appendfsync", "EverySec" }, { "appendfsync", "everysec", "nothing" },
      { "nothing", "1", "appendfsync", "x" }, { "no\r\nthing", "1" }, { "maxclients", "99999999999" },
    }) }
  end },
  { 1, function()
    return { "TIME" }
  end },
  { 1, function(g)
    return { "INFO", table.unpack(g.chance:pick { {}, { "server" }, { "nothing" }, { "CLIENTS", "memory" } }) }
  end },
  { 4, function(g)
    return { g.chance:pick { "FLUSHALL", "FLUSHDB" }, table.unpack(g.chance:pick {
      {}, { "ASYNC" }, { "sync" }, { "FOO" }, { "SYNC", "ASYNC" },
    }) }
  end },
  { 1, function(g)
    -- Only those that do not end it.
    return { { "SHUTDOWN", table.unpack(g.chance:pick {
      { "FOO" }, { "ABORT" }, { "NOSAVE", "SAVE" }, { "ABORT", "NOW" }, { "NOW", "" },
    }) }, exact = true }
  end },
  { 3, function(g)
    return { { "COMMAND", g:word "INFO", g:word(g.chance:pick {
      "GET", "SET", "MSET", "EXPIRE", "DEL", "PING", "RENAME", "NOTHING", "", "KEYS", "SCAN", "INCRBYFLOAT",
      "CLIENT|ID",
    }) }, exact = true }
  end },
  { 2, function(g)
    return { { "COMMAND", g:word "GETKEYS", table.unpack(g.chance:pick {
      { "GET", "a" }, { "GET" }, { "MSET", "a", "1", "b", "2" }, { "MSET", "a" }, { "PING", "x" }, { "FOO", "x" },
      { "RENAME", "a", "b" }, { "DEL", "a", "b", "c" }, { "SET", "a", "b", "c", "d" }, { "CLIENT", "ID" },
      { "MGET", "x", "y" }, { "GET", "a", "b" }, { "", "" }, { "LMPOP", "2", "a", "b", "LEFT" },
      { "LMPOP", "x", "a", "b" }, { "BLPOP", "a", "b", "0" }, { "SORT", "a", "STORE", "b" },
      { "BITOP", "AND", "x", "y" }, { "LMPOP", "5", "a", "b" }, { "OBJECT", "ENCODING", "a" },
      { "ZUNIONSTORE", "a", "1", "b" },
    }) }, exact = true }
  end },
}

return M
