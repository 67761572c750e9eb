-- `lunode kv`: reads the settings of a key-value node, starts it, and ends it on a signal. The node is lunode.kv.

local cluster_options = require "lunode.cli.cluster_options"
local log = require "lunode.cli.log"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local options = require "lunode.cli.options"

local M = {}

local OWN_FILES = 64 -- descriptors that a node needs for its data, and for members of a cluster

local LEVELS = { "debug", "info", "warn", "error" }
local SYNCS = { "always", "everysec", "no" }
local ENGINES = { "leveldb", "rocksdb", "memory" }

---@type lunode.cli.option[]
M.options = {
  {
    name = "listen",
    value = "HOST:PORT",
    help = "address to listen on; port 0 lets the kernel choose",
    default = "127.0.0.1:6380",
    accepts = "HOST:PORT, as in 127.0.0.1:6380, localhost:6380 or [::1]:6380",
    parse = options.address,
    instead_of = { "--port", "--bind", "-p" }, -- Redis's words, here and below
  },
  {
    name = "data",
    value = "DIR",
    help = "directory of the data, made where it is missing",
    default = "./data",
    accepts = "the name of a directory",
    parse = options.nonempty,
    instead_of = { "--dir" },
  },
  {
    name = "sync",
    value = "WHEN",
    help = "when a write is on disk: always (before its reply), everysec, no",
    default = "everysec",
    accepts = "one of " .. table.concat(SYNCS, ", "),
    parse = options.one_of(SYNCS),
    instead_of = { "--appendfsync", "--appendonly" },
  },
  {
    name = "engine",
    value = "NAME",
    help = "what keeps the data: leveldb, rocksdb, memory (default that of the directory, leveldb in a new one)",
    accepts = "one of " .. table.concat(ENGINES, ", "),
    parse = options.one_of(ENGINES),
  },
  {
    name = "requirepass",
    value = "TEXT",
    help = "password that clients must give; `ps` shows it here, so rather use the variable or the file",
    accepts = "a password",
    parse = options.anything,
  },
  {
    name = "maxclients",
    value = "N",
    help = "connections at the same time",
    default = "10000",
    accepts = "a number from 1 to 1000000",
    parse = options.integer(1, 1000000),
  },
  {
    name = "protected",
    value = "yes|no",
    help = "without a password, refuse clients from other machines",
    default = "yes",
    accepts = "yes or no",
    parse = options.yes_no,
    instead_of = { "--protected-mode" },
  },
  {
    name = "rename-command",
    value = "NAME=NEW,…",
    help = "other names for commands; with nothing behind the =, no name at all",
    accepts = "names to names, as in CONFIG=,FLUSHALL=flush-it-all",
    parse = options.renames,
  },
  {
    name = "console",
    value = "PATH",
    help = "socket for `lunode attach` (default console.sock in the data directory)",
    accepts = "the path of a socket",
    parse = options.nonempty,
  },
  {
    name = "no-console",
    value = "",
    help = "open no console",
    accepts = "yes or no",
    parse = options.yes_no,
    flag = true,
  },
  {
    name = "config",
    value = "FILE",
    help = "file with these settings, see below",
    accepts = "the name of a file",
    parse = options.nonempty,
    only_first = true,
  },
  {
    name = "log-level",
    value = "LEVEL",
    help = "least level to log on the standard error: " .. table.concat(LEVELS, ", "),
    default = "info",
    accepts = "one of " .. table.concat(LEVELS, ", "),
    parse = options.one_of(LEVELS),
    instead_of = { "--loglevel" },
  },
}
table.move(cluster_options.options, 1, #cluster_options.options, #M.options + 1, M.options)

M.help = ([[
usage: lunode kv [OPTION…]

Runs a key-value node that Redis clients talk to, until SIGTERM or SIGINT.

options (also --option=VALUE):
%s

Each can be given as a variable, too (LUNODE_LISTEN, LUNODE_LOG_LEVEL, …), or in the config file, which is Lua that
sets values and can do nothing else. The option counts before the variable, the variable before the file.

  listen = "127.0.0.1:7000"
  maxclients = 100
  log_level = "warn"

examples:
  lunode kv
  lunode kv --listen [::1]:7000 --data /var/lib/lunode --sync always
  LUNODE_REQUIREPASS=secret lunode kv --config node.lua

Three such nodes are a cluster, which goes on while two of them live (`lunode help cluster` tells how to look after it):
  lunode kv --id n1 --cluster-listen 10.0.0.1:7001 --cluster-secret-file /etc/lunode/secret \
    --cluster-init n1=10.0.0.1:7001,n2=10.0.0.2:7001,n3=10.0.0.3:7001
--cluster-init counts when the data directory is new; later it may be left out, and is only compared with what is there.

exit codes:
  0    ended in good order
  1    could not start, or had to end: the message says why
  2    a wrong option, variable or config key
  130  a second SIGINT cut the end short]]):format(options.help(M.options))

local function complain(text)
  io.stderr:write("lunode: ", logger.escape(text), "\n")
end

local function variable_names()
  local names = {}
  local file = io.open("/proc/self/environ", "rb")
  if file then
    for name in file:read("a"):gmatch("([^=%z]+)=[^%z]*") do
      names[#names + 1] = name
    end
    file:close()
  end
  return names
end

local function bracket(host)
  return host:find(":", 1, true) and "[" .. host .. "]" or host
end

-- The node says what went wrong and what to do; which option does that is ours to say.
local function explain_failure(message, code, settings)
  if code == "EFOREIGN" and message:find "belongs to a member of a cluster$" then
    return message .. ": give its --id and --cluster-listen, or another --data"
  elseif code == "EFOREIGN" and message:find "empty it if it holds nothing yet$" then
    return message .. " (--cluster-init)"
  elseif not message:find("^cannot listen on ") then
    return message
  elseif code == "EACCES" then
    message = message .. "; ports below 1024 are for root, so choose another one"
  end
  local is_members = settings.cluster_listen and message:find(("port %s:"):format(settings.cluster_listen:match "%d+$"))
  return message .. (is_members and " (--cluster-listen HOST:PORT)" or " (--listen HOST:PORT)")
end

-- Where a client on this machine reaches a node that listens on all addresses.
local REACHABLE = { ["0.0.0.0"] = "127.0.0.1", ["::"] = "::1" }

local function greet(node)
  local host, sync = bracket(node.host), node.replica.sync
  print(("lunode kv listens on %s:%d, data in %s, sync %s"):format(host, node.port, node.dir, sync))
  print(("try: redis-cli -h %s -p %d%s set greeting hello"):format(
    REACHABLE[node.host] or node.host,
    node.port,
    node.requirepass and " --askpass" or ""
  ))
  io.stdout:flush()
end

local function close_on_signals(node)
  local closing = false
  local function close(name)
    if closing and name == "INT" then
      os.exit(130) -- without closing anything: somebody does not want to wait any longer
    end
    if not closing then
      logger.info("SIG%s: finishing replies, then ending", name)
      closing = true
      if node.admin then
        node.admin:hand_over(function()
          node:close()
        end)
      else
        node:close()
      end
    end
  end
  return { loop.signal("TERM", close), loop.signal("INT", close) }
end

local WRITES = {
  begin = true, delete = true, expire_due = true, expire_row = true, finish = true, flush = true, put = true,
  remove = true, rollback = true, save_counts = true, set = true, advance = true, close = true, commit = true,
  delete_range = true,
}

-- An object of the node's with which one can look only: what writes has to go through the log.
local function readable(object, name)
  return setmetatable({}, {
    __name = name,
    __index = function(_, key)
      if WRITES[key] then
        return function()
          local text = '%s:%s would pass the log by; command("SET", "key", "value") writes as a client does'
          error(text:format(name, key), 0)
        end
      end
      local value = object[key]
      if type(value) ~= "function" then
        return value
      end
      return function(_, ...)
        return value(object, ...)
      end
    end,
    __newindex = function(_, key)
      error(("%s.%s cannot be set from here"):format(name, tostring(key)), 2)
    end,
  })
end

-- What somebody who attaches has at hand.
local function console_objects(node)
  return {
    node = node,
    db = readable(node.db, "db"),
    store = readable(node.db.store, "store"),
    command = function(...)
      return node:call(...)
    end,
    kv = require "lunode.kv",
    sessions = function()
      return node:list_sessions()
    end,
  }
end

-- A client is a descriptor; past them, those who connect would wait without a word.
local function warn_of_descriptors(maxclients)
  local files = loop.process().max_files
  if files < maxclients + OWN_FILES then
    logger.warn("the system gives %d descriptors, which is enough for %d clients, not %d; raise `ulimit -Hn`", files,
      math.max(files - OWN_FILES, 0), maxclients)
  end
end

-- Returns whether the node can go on: without a console that nobody has asked for by name it can.
local function open_console(node, settings)
  if settings.no_console then
    return true
  end
  local path = settings.console or node.dir .. "/console.sock"
  local console, err = require("lunode.repl.console").listen(path, console_objects(node), {
    name = ("%s:%d"):format(bracket(node.host), node.port),
    prepare = function()
      node:read_clock()
    end,
    methods = {
      backup = function(ctx, dir)
        return node.save:serve(ctx, dir)
      end,
    },
  })
  if not console then
    local say = settings.console and complain or logger.warn
    say(("there is no console: %s (--console PATH, --no-console)"):format(err))
    return not settings.console
  end
  function node:close()
    console:close()
    return getmetatable(self).__index.close(self)
  end
  return true
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  local settings, message, code = options.read(M.options, table.move(words, 2, #words, 1, {}), os.getenv)
  if settings == "help" then
    print(M.help)
    return 0
  elseif not settings then
    complain(message .. " (see `lunode help kv`)")
    return code
  end
  local kv = require "lunode.kv"
  local renamed, fault = require("lunode.kv.command").rename_all(settings.rename_command or {})
  if not renamed then
    complain(("rename-command: %s (see `lunode help kv`)"):format(fault))
    return options.EXIT_USAGE
  end
  local cluster
  cluster, message, code = cluster_options.read(settings)
  if message then
    complain(message .. " (see `lunode help kv`)")
    return code
  end
  log.open()
  logger.level = settings.log_level
  loop.on_error(logger.traceback)
  for _, variable in ipairs(options.misspelt(M.options, variable_names())) do
    logger.warn("the variable %s is not known and not used; is %s meant?", variable.name, variable.meant)
  end

  local node, err, err_code = kv.start {
    host = settings.listen.host,
    port = settings.listen.port,
    dir = settings.data,
    sync = settings.sync,
    engine = settings.engine,
    requirepass = settings.requirepass,
    maxclients = settings.maxclients,
    protected = settings.protected,
    id = cluster and settings.id,
    cluster = cluster,
  }
  if not node then
    complain(explain_failure(err, err_code, settings))
    return 1
  end
  if not open_console(node, settings) then
    node:close()
    loop.run()
    return 1
  end
  local signals = close_on_signals(node)
  warn_of_descriptors(settings.maxclients)
  greet(node)
  loop.run()
  for _, signal in ipairs(signals) do
    signal:close()
  end
  return node.failed and 1 or 0
end

return M
