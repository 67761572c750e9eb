-- CLIENT and its subcommands: what a connection says about itself and sees of the others.
local command = require "lunode.kv.command"
local connection = require "lunode.kv.connection"
local errors = require "lunode.kv.errors"
local help = require "lunode.kv.help"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local BAD_ID = resp.error("ERR Invalid client ID")

local FLAGS = { "noscript", "loading", "stale" }
local TYPES = { normal = true, master = true, slave = true, replica = true, pubsub = true }

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

-- One line of CLIENT LIST, with Redis's fields. Those we have no such thing for are as in an idle Redis.
local function describe(session, now)
  local conn = session.conn
  local stats = conn:stats()
  return table.concat({
    "id=" .. session.id,
    "addr=" .. address(conn:peer()),
    "laddr=" .. address(conn:sock()),
    "fd=" .. stats.fd,
    "name=" .. session.name,
    "age=" .. (now - session.created) // 1000,
    "idle=" .. (now - session.last) // 1000,
    "flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0",
    "omem=" .. stats.queued,
    "tot-mem=" .. stats.queued,
    "events=r",
    "cmd=" .. (session.command and session.command.name or "NULL"),
    "user=default redir=-1",
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

-- The sessions that CLIENT LIST is to show: all, those of a TYPE, or those with an ID.
local function selected(ctx, option, first, ...)
  local all = ctx.node:list_sessions()
  local word = option and option:upper()
  if option == nil then
    return all
  elseif word == "TYPE" and first and not ... then
    if not TYPES[first:lower()] then
      error(errors.quoting("ERR Unknown client type '%s'", first), 0)
    end
    return first:lower() == "normal" and all or {}
  elseif word == "ID" and first then
    local by_id, list = {}, {}
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

help.command("CLIENT", { group = "connection", since = "5.0.0" })
