-- `lunode cluster`: looks after a cluster of key-value nodes, from outside: asks a node, with RAFT, and shows what it
-- says. What the cluster does about it is kv.admin's; a member that lost the others is cluster_recover's.

local files = require "lunode.cli.files"
local loop = require "lunode.loop"
local options = require "lunode.cli.options"
local suggest = require "lunode.cli.suggest"
local task = require "lunode.task"

local M = {}

local AGAIN = 0.2 -- seconds between two looks
local CAUGHT_UP = 100 -- entries that a member may lag behind one that writes go to

M.help = [[
usage: lunode cluster status [OPTION…]
       lunode cluster add ID HOST:PORT [OPTION…]
       lunode cluster promote|demote|remove|transfer ID [OPTION…]
       lunode cluster wait [leader|members|ID] [OPTION…]
       lunode cluster recover DATA [--yes]

Looks after a cluster of `lunode kv` nodes. Any of its nodes can be asked; changes are made by the leader.

  status    shows the members: who leads, how far each is, when it was last heard
  add       adds a server as a learner, by its id and its cluster address (or start that one with --join)
  promote   makes a learner a voter, once it has caught up
  demote    makes a voter a learner, which gets all data and counts for nothing
  remove    takes a member out for good: no server comes back under its id
  transfer  hands the leadership to another voter, say before a restart
  wait      until there is a leader; until all members are well (the default); until one of them is
  recover   when a majority is lost for good: makes what one stopped member has a cluster of that one alone.
            It says what may be lost, and asks

options:
  --node HOST:PORT[,…]  where to ask, as clients do: the first that answers (default 127.0.0.1:6380; LUNODE_NODE)
  --format text|json    of status (default text)
  --timeout SECONDS     to try for (default 10; of wait 60)
  --yes                 recover without being asked
  --help                this text

The password of nodes that want one is read from the variable LUNODE_REQUIREPASS.

examples:
  lunode cluster status --node 10.0.0.1:6380,10.0.0.2:6380
  lunode cluster transfer n2 && lunode cluster wait

exit codes:
  0    done; of status and wait: there is a leader, and all members are well
  1    it failed, or is not so: the message says why
  2    wrong usage
  130  interrupted]]

-- ---------------------------------------------------------------- the command line

local VERBS = { "status", "add", "promote", "demote", "remove", "transfer", "wait", "recover" }

local function nodes_of(text)
  local list = {}
  for word in (text .. ","):gmatch "([^,]*)," do
    local address = options.address(word)
    if not address then
      return nil
    end
    list[#list + 1] = { address = word, host = address.host, port = address.port }
  end
  return list
end

local function seconds(text)
  local value = tonumber(text)
  return value and value > 0 and value <= 86400 and value + 0.0 or nil
end

local KNOWN = {
  node = { parse = nodes_of, accepts = "HOST:PORT, or several with commas between them" },
  format = { parse = options.one_of { "text", "json" }, accepts = "text or json" },
  timeout = { parse = seconds, accepts = "seconds, from above 0 to 86400" },
  yes = {},
}

local function unknown(word)
  return nil, ("unknown option %s%s"):format(word,
    suggest.hint(word, { "--format", "--help", "--node", "--timeout", "--yes" }))
end

-- Returns the words that are no options, and the options.
local function read(words)
  local names, given, i = {}, {}, 2
  while i <= #words do
    local word = words[i]
    local name, value = word:match "^%-%-([^=]+)=(.*)$"
    name = name or word:match "^%-%-(.+)$"
    local option = name and KNOWN[name]
    if word == "--help" or word == "-h" then
      return "help"
    elseif word:sub(1, 1) ~= "-" then
      names[#names + 1] = word
    elseif not option then
      return unknown(word)
    elseif not option.parse then
      if value then
        return nil, ("--%s takes no value"):format(name)
      end
      given[name] = true
    else
      if not value then
        i = i + 1
        value = words[i]
      end
      given[name] = value and option.parse(value)
      if not given[name] then
        return nil, ("--%s: %q is not acceptable; give %s"):format(name, value or "", option.accepts)
      end
    end
    i = i + 1
  end
  return names, given
end

-- ---------------------------------------------------------------- asking

-- Asks one node; returns its reply, or nil and why not.
local function ask_node(node, given, ...)
  local words = table.pack(...)
  local ok, peer = pcall(require("lunode.repl.redis_peer").new, node, {
    timeout = math.min(given.timeout, 15), password = given.password,
  }, function() end)
  if not ok then
    return nil, tostring(peer)
  end
  local replied, reply = pcall(function()
    return peer:call(table.unpack(words))
  end)
  peer:close()
  if not replied then
    return nil, tostring(reply)
  end
  return reply
end

-- Asks the first node that answers. An answer that is an error is one, too.
local function ask(given, ...)
  local reply, err
  for _, node in ipairs(given.node) do
    reply, err = ask_node(node, given, ...)
    if reply ~= nil or not (err:find "^cannot connect" or err:find "no connection") then
      return reply, err and (err:gsub("^ERR ", ""))
    end
  end
  return nil, err
end

local function status_of(given)
  local status, err = ask(given, "RAFT", "STATUS")
  if status and type(status) ~= "table" or status and type(status.members) ~= "table" then
    return nil, "what answers there is no node of a cluster"
  end
  return status, err
end

-- What keeps the cluster, or a member, from being well; nil: nothing.
local function trouble(status, id)
  if status.voters == 0 then
    return ("%s waits to be added to a cluster"):format(status.id)
  elseif status.leader == "" then
    return "there is no leader"
  end
  local found = false
  for _, member in ipairs(status.members) do
    if id == nil or member.id == id then
      found = true
      if member.state ~= "ok" or member.lag > CAUGHT_UP then
        return ("%s is %s, and %d entries behind"):format(member.id, member.state, member.lag)
      elseif id and member.voter ~= "yes" then
        return ("%s is a learner"):format(id)
      end
    end
  end
  return not found and ("%s is not a member"):format(id) or nil
end

-- Tries fn until it returns something true, or the time is over; then returns nil and why.
local function try(given, fn)
  local deadline = loop.now() + given.timeout
  while true do
    local result, err = fn()
    if result or loop.now() + AGAIN >= deadline then
      return result, err
    end
    task.sleep(AGAIN)
  end
end

-- ---------------------------------------------------------------- the verbs

local verbs = {}

function verbs.status(_, given)
  local status, err = status_of(given)
  if not status then
    return files.complain(err)
  elseif given.format == "json" then
    print(require("lunode.repl.json").encode(status))
  else
    print(require("lunode.cli.cluster_table").render(status))
  end
  return trouble(status) and 1 or 0
end

function verbs.wait(names, given)
  local what = names[2] or "members"
  local ok, err = try(given, function()
    local status, err = status_of(given)
    if not status then
      return nil, err
    elseif what == "leader" then
      return status.leader ~= "", "there is no leader"
    end
    err = trouble(status, what ~= "members" and what or nil)
    return not err, err
  end)
  if not ok then
    return files.complain(("not within %g s: %s"):format(given.timeout, err))
  end
  return 0
end

local function change(given, done, ...)
  local words = table.pack(...)
  local reply, err = try(given, function()
    local reply, err = ask(given, "RAFT", table.unpack(words))
    if words[1] == "TRANSFER" and err and err:find "^it is the leader already" then
      return "OK"
    end
    local later = err and (err:find "^CLUSTERDOWN" or err:find "entries behind" or err:find "is not committed yet"
      or err:find "no entry of this term")
    return reply or not later and { failure = err }, err
  end)
  if not reply or type(reply) == "table" then
    return files.complain(reply and reply.failure or ("not within %g s: %s"):format(given.timeout, err))
  end
  print(done)
  return 0
end

function verbs.add(names, given)
  return change(given, ("%s is a learner now; once it has caught up, `lunode cluster promote %s` makes it a voter")
    :format(names[2], names[2]), "ADD", names[2], names[3])
end

local DONE = {
  promote = "%s is a voter now", demote = "%s is a learner now", remove = "%s is no member any more; end its process",
  transfer = "%s leads now",
}
for name, done in pairs(DONE) do
  verbs[name] = function(names, given)
    return change(given, done:format(names[2]), name:upper(), names[2])
  end
end

function verbs.recover(names, given)
  return require("lunode.cli.cluster_recover").run(names[2], given.yes)
end

-- Words behind the verb, at least and at most, and what they are.
local WANTS = {
  status = { 0, 0, "nothing more is" }, add = { 2, 2, "ID and HOST:PORT are" }, promote = { 1, 1, "ID is" },
  demote = { 1, 1, "ID is" }, remove = { 1, 1, "ID is" }, transfer = { 1, 1, "ID is" },
  wait = { 0, 1, "leader, members or an ID is" }, recover = { 1, 1, "DATA is" },
}

local function fault_of(names)
  local verb = names[1]
  local wants = WANTS[verb or ""]
  if not verb then
    return "a verb is needed: " .. table.concat(VERBS, ", ")
  elseif not wants then
    return ("unknown verb %q%s"):format(verb, suggest.hint(verb, VERBS))
  elseif #names - 1 < wants[1] or #names - 1 > wants[2] then
    return ("%s: %s needed, and %d %s given"):format(verb, wants[3], #names - 1,
      #names == 2 and "word was" or "words were")
  elseif verb == "add" and not options.address(names[3]) then
    return ("add: %q is not acceptable; give HOST:PORT"):format(names[3])
  end
end

local function run(names, given)
  local signals = {}
  for _, name in ipairs { "INT", "TERM" } do
    signals[#signals + 1] = loop.signal(name, function()
      os.exit(files.EXIT_INTERRUPTED)
    end)
  end
  local code = verbs[names[1]](names, given)
  for _, signal in ipairs(signals) do
    signal:close()
  end
  return code
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  local names, given = read(words)
  if names == "help" then
    print(M.help)
    return 0
  end
  local fault = not names and given or fault_of(names)
  if fault then
    return files.complain(fault .. " (see `lunode help cluster`)", files.EXIT_USAGE)
  end
  local variable = os.getenv "LUNODE_NODE"
  given.node = given.node or nodes_of(variable and variable ~= "" and variable or "127.0.0.1:6380")
  if not given.node then
    return files.complain(("LUNODE_NODE: %q is not acceptable; give %s"):format(variable, KNOWN.node.accepts),
      files.EXIT_USAGE)
  end
  given.timeout = given.timeout or names[1] == "wait" and 60 or 10
  local password = os.getenv "LUNODE_REQUIREPASS"
  given.password = password ~= "" and password or nil
  return task.run(run, names, given) or 1
end

return M
