-- CLIENT and its subcommands that name, show and end connections. Their modes are in kv.client_modes.
local channels = require "lunode.kv.channels"
local command = require "lunode.kv.command"
local connection = require "lunode.kv.connection"
local errors = require "lunode.kv.errors"
local help = require "lunode.kv.help"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local NO_CLIENT = resp.error("ERR No such client")
local BAD_ID = resp.error("ERR Invalid client ID")

local FLAGS = { "noscript", "loading", "stale" }
local TYPES = { normal = "normal", master = "master", slave = "slave", replica = "slave", pubsub = "pubsub" }

command.command("CLIENT", {
  arity = -2, group = "connection", since = "2.4.0", complexity = "Depends on subcommand.",
  summary = "A container for client connection commands",
})

local function address(host, port)
  if not host then
    return "" -- it closed meanwhile
  end
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port)
end

local function flags_of(session)
  local flags = (session.monitors and "O" or "") .. (channels.class(session) == "pubsub" and "P" or "")
    .. (session.multi and "x" or "") .. (session.blocked and "b" or "") .. (session.tracking and "t" or "")
    .. (session.tracking and session.tracking.bcast and "B" or "") .. (session:has_dirty_keys() and "d" or "")
    .. (session.leaving and "c" or "") .. (session.no_evict and "e" or "")
    .. ((session.conn:peer() or ""):find("^unix:") and "U" or "")
  return flags ~= "" and flags or "N"
end

-- One line of CLIENT LIST, with Redis's fields. Those we have no such thing for are as in an idle Redis.
local function describe(session, now)
  local conn, multi, count = session.conn, session.multi, channels.own_count
  local stats = conn:stats()
  return table.concat({
    "id=" .. session.id,
    "addr=" .. address(conn:peer()),
    "laddr=" .. address(conn:sock()),
    "fd=" .. stats.fd,
    "name=" .. session.name,
    "age=" .. (now - session.created) // 1000,
    "idle=" .. (now - session.last) // 1000,
    "flags=" .. flags_of(session),
    "db=0",
    "sub=" .. count(session, "channels"),
    "psub=" .. count(session, "patterns"),
    "ssub=" .. count(session, "shards"),
    "multi=" .. (multi and multi.count or -1),
    "qbuf=" .. (stats.kept or 0),
    "qbuf-free=0 argv-mem=0",
    "multi-mem=" .. (multi and multi.bytes or 0),
    "rbs=0 rbp=0 obl=0 oll=0",
    "omem=" .. stats.queued,
    "tot-mem=" .. stats.queued + (multi and multi.bytes or 0),
    "events=r",
    "cmd=" .. (session.command and session.command.name or "NULL"),
    "user=default",
    "redir=" .. (session.tracking and session.tracking.redirect or -1),
    "resp=" .. session.protocol,
  }, " ") .. "\n"
end

command.command("CLIENT|ID", {
  arity = 2, flags = FLAGS, group = "connection", since = "5.0.0", complexity = "O(1)",
  summary = "Returns the client ID for the current connection",
  run = function(ctx)
    return ctx.session.id
  end,
})

command.command("CLIENT|GETNAME", {
  arity = 2, flags = FLAGS, group = "connection", since = "2.6.9", complexity = "O(1)",
  summary = "Get the current connection name",
  run = function(ctx)
    local name = ctx.session.name
    return name ~= "" and name or nil
  end,
})

command.command("CLIENT|SETNAME", {
  arity = 3, flags = FLAGS, group = "connection", since = "2.6.9", complexity = "O(1)",
  summary = "Set the current connection name",
  run = function(ctx, name)
    connection.check_name(name)
    ctx.session.name = name
    return resp.OK
  end,
})

command.command("CLIENT|INFO", {
  arity = 2, flags = FLAGS, group = "connection", since = "6.2.0", complexity = "O(1)",
  tips = { "nondeterministic_output" },
  summary = "Returns information about the current client connection.",
  run = function(ctx)
    return resp.verbatim(describe(ctx.session, ctx.now))
  end,
})

local function parse_id(text)
  local id = numbers.parse(text)
  if not id then
    error(BAD_ID, 0)
  end
  return id
end

-- The class that a word names, as TYPE has it.
local function parse_type(word)
  local class = TYPES[word:lower()]
  if not class then
    error(errors.quoting("ERR Unknown client type '%s'", word), 0)
  end
  return class
end

-- The sessions that CLIENT LIST is to show: all, those of a TYPE, or those with an ID.
local function selected(ctx, option, first, ...)
  local all, list = ctx.node:list_sessions(), {}
  local word = option and option:upper()
  if option == nil then
    return all
  elseif word == "TYPE" and first and not ... then
    local class = parse_type(first)
    for _, session in ipairs(all) do
      if channels.class(session) == class then
        list[#list + 1] = session
      end
    end
    return list
  elseif word == "ID" and first then
    local by_id = {}
    for _, session in ipairs(all) do
      by_id[session.id] = session
    end
    for _, text in ipairs { first, ... } do
      list[#list + 1] = by_id[parse_id(text)]
    end
    return list
  end
  error(errors.SYNTAX, 0)
end

command.command("CLIENT|LIST", {
  arity = -2, flags = { "admin", "noscript", "loading", "stale" }, group = "connection", since = "2.4.0",
  complexity = "O(N) where N is the number of client connections", tips = { "nondeterministic_output" },
  summary = "Get the list of client connections",
  run = function(ctx, ...)
    local lines = {}
    for i, session in ipairs(selected(ctx, ...)) do
      lines[i] = describe(session, ctx.now)
    end
    return resp.verbatim(table.concat(lines))
  end,
})

-- ---- CLIENT KILL

-- What each filter is: from its argument to a test of a session.
local FILTERS = {
  ID = function(text)
    local id = numbers.parse(text)
    if not id or id < 1 then
      error(resp.error("ERR client-id should be greater than 0"), 0)
    end
    return function(session)
      return session.id == id
    end
  end,
  TYPE = function(text)
    local class = parse_type(text)
    return function(session)
      return channels.class(session) == class
    end
  end,
  ADDR = function(text)
    return function(session)
      return address(session.conn:peer()) == text
    end
  end,
  LADDR = function(text)
    return function(session)
      return address(session.conn:sock()) == text
    end
  end,
  USER = function(text)
    if text ~= "default" then
      error(errors.quoting("ERR No such user '%s'", text), 0)
    end
    return function()
      return true
    end
  end,
}

local SKIP = { yes = true, no = false }

-- (the tests, whether the caller is spared).
local function parse_filters(args)
  local tests, skip = {}, true
  if #args % 2 ~= 0 then
    error(errors.SYNTAX, 0)
  end
  for i = 1, #args, 2 do
    local word, text = args[i]:upper(), args[i + 1]
    if word == "SKIPME" then
      skip = SKIP[text:lower()]
      if skip == nil then
        error(errors.SYNTAX, 0)
      end
    elseif FILTERS[word] then
      tests[#tests + 1] = FILTERS[word](text)
    else
      error(errors.SYNTAX, 0)
    end
  end
  return tests, skip
end

local function kill(ctx, tests, skip)
  local count = 0
  for _, session in ipairs(ctx.node:list_sessions()) do
    local hit
    if session == ctx.session then
      hit = not skip
    else
      hit = not session.leaving -- as good as gone
    end
    for _, test in ipairs(tests) do
      hit = hit and test(session)
    end
    if hit and session == ctx.session then
      session:quit() -- it gets this reply yet
    elseif hit then
      session.conn:abort()
    end
    count = count + (hit and 1 or 0)
  end
  return count
end

command.command("CLIENT|KILL", {
  arity = -3, variadic = true, flags = { "admin", "noscript", "loading", "stale" }, group = "connection",
  since = "2.4.0", complexity = "O(N) where N is the number of client connections",
  summary = "Kill the connection of a client",
  run = function(ctx, args)
    if #args == 1 then -- as it was once: an address
      return kill(ctx, { FILTERS.ADDR(args[1]) }, false) > 0 and resp.OK or NO_CLIENT
    end
    return kill(ctx, parse_filters(args))
  end,
})

help.command("CLIENT", { group = "connection", since = "5.0.0" })
