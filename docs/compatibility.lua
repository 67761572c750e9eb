-- Writes docs/compatibility.md: which of Redis's commands a node has, from the registry of commands, and what differs.
-- Run it with `./dev docs`. The list of Redis's own is docs/redis-commands.txt.
local command = require "lunode.kv.command"

require "lunode.kv"

-- Why we have none of a group, or not all of it.
local GROUPS = {
  cluster = "each member has all slots; members come and go by `lunode cluster`",
  geo = "not built; the types that they stand on, sorted sets, are there",
  hyperloglog = "not built",
  scripting = "a script is a command of its own here: `kv.command` adds it, `ctx:call` is its `redis.call` "
    .. "([how](guide/kv.md#made-of-other-commands))",
  stream = "not built",
}

-- Why we have not this one; or, where we have it, what differs.
local NOTES = {
  acl = "one user, `default`, and one password (`requirepass`); disable commands with `rename_command`",
  asking = "slots do not move between nodes",
  bitfield = "writes the string anew, as all commands on parts of strings do: O(its length)",
  bgrewriteaof = "the log is cut as the store takes it over; there is nothing to rewrite",
  ["client|reply"] = "QUIT closes also where it gets no reply; subscriptions of a transaction are not confirmed then",
  ["client|list"] = "sizes of buffers that a node has none of are 0",
  ["client|no-evict"] = "remembered and shown; nothing is ever evicted",
  ["config|get"] = "the parameters that mean something here, and a few more that clients ask for",
  ["config|set"] = "those; what the node cannot do otherwise may be set to what it is",
  ["config|rewrite"] = "always the error of a server without a config file: `--config` is a script",
  ["command|docs"] = "without `history`; of arguments, what redis-cli shows, all of the type `string`",
  copy = "of a collection, row by row within the command: more than a second for each million elements",
  debug = "Redis refuses it by default, too",
  dump = "a format of our own, with a checksum; at most 512 MiB",
  failover = "`lunode cluster transfer`, or `RAFT TRANSFER`",
  flushall = "one mark in the store, whatever the number of keys; ASYNC and SYNC are the same",
  flushdb = "as FLUSHALL: there is one database",
  info = "Redis's fields where there is such a thing, and some of our own",
  ["latency|histogram"] = "of commands that Redis does not flag as fast: others are not timed",
  ["latency|latest"] = "of the event `command`",
  ["latency|graph"] = "other drawing",
  ["latency|doctor"] = "other text",
  linsert = "the elements of the shorter side move, some microseconds each",
  lolwut = "another picture",
  lrem = "as LINSERT",
  ["memory|usage"] = "bytes of the key's rows in the store",
  ["memory|stats"] = "what is held in memory: Lua, the store's caches and overlay, queues of clients",
  ["memory|doctor"] = "other text",
  ["memory|malloc-stats"] = "there are none",
  migrate = "restore from a backup, or add a member to the cluster",
  module = "`lunode run` starts a node with your own commands in Lua",
  monitor = "the output limits of subscribers hold for it; the names of short commands are shown "
    .. "in lower case, EXEC before its commands, and a monitor's own commands before their replies",
  move = "there is one database",
  ["object|encoding"] = "what Redis chooses for such a value when it is set as a whole",
  ["object|idletime"] = "always 0: no access times are kept, as nothing is evicted",
  ["object|refcount"] = "as in Redis for new values; nothing is shared here",
  psync = "replication is Raft: `lunode cluster`",
  publish = "in a cluster it goes through the log: delivered on every member, in one order with the writes",
  replconf = "replication is Raft: `lunode cluster`",
  replicaof = "replication is Raft: `lunode cluster`",
  restore = "takes what DUMP gives here",
  ["restore-asking"] = "slots do not move between nodes",
  bgsave = "a backup, see [operations](guide/operations.md)",
  save = "refused, as it would keep all clients waiting: BGSAVE does not",
  slaveof = "replication is Raft: `lunode cluster`",
  ["slowlog|get"] = "commands that Redis flags as fast are not timed; the names of short ones are in lower case",
  setbit = "writes the string anew: O(its length)",
  sort = "what is equal comes in a fixed order; ALPHA compares bytes, whatever the locale; a number is judged by "
    .. "itself alone (Redis may refuse any after one out of a double's range)",
  sort_ro = "as SORT",
  spublish = "as PUBLISH",
  swapdb = "there is one database",
  sync = "replication is Raft: `lunode cluster`",
  wait = "answers at once: 0, or in a cluster how many others have what is acknowledged, a quorum's",
  zscan = "large integers with all their digits, as Redis writes them of a small set",
  watch = "in a cluster it goes through the log",
}

local FITTING = [[
It does unless it needs scripts (EVAL, FUNCTION), streams, HyperLogLog or geo commands, more than one database, users
(ACL), keys that are evicted, or servers that replicate from each other by PSYNC. Its present server knows what it
sends; this lists what of that is not here (6379 is that server, 6380 a node):

```sh
redis-cli -p 6379 info commandstats | sed -n 's/^cmdstat_\([^:]*\):.*/\1/p' | sort | while read -r name; do
  redis-cli -p 6380 command info "$name" | grep -q . || echo "$name"
done
```

Many libraries keep a script for one thing only. These were tried:

| program | |
|---|---|
| redis-cli, redis-benchmark, hiredis, redis-py, redis-rb, phpredis, node-redis, ioredis | yes, as far as this page |
| connect-redis 9, Keyv 5, django-redis 5.2, dogpile.cache 1.1, sessions of phpredis | yes, but for their locks |
| locks of redis-py, django-redis, dogpile.cache, sessions of phpredis | no: a script releases them, so they last |
| rate-limiter-flexible 11 | its `RateLimiterRedisNonAtomic` |
| rate-limit-redis 6, Limits 2.8 | no: scripts |
| Kombu 5.2 | yes |
| Sidekiq 6.4 | yes, but for jobs that are to run later, or again: a script fetches them |
| Celery 5.2, Bull 4, BullMQ 6, Bee-Queue 2, RQ 1.13 | no: scripts; RQ needs streams, too |

A script of your own becomes a command of your own, in Lua: [the guide](guide/kv.md#made-of-other-commands).]]

local GENERAL = [[
- **One database.** `SELECT` takes 0 alone, whatever `databases` a client would like.
- **Durability.** What is acknowledged is in the log, as with `appendonly yes`; `appendfsync` says when the log is
  synced. `always` holds replies back until the sync; the other two are as in Redis. A key that expires is deleted
  through the log, by the time of the log's entries; one that the reading commands of a transaction have met, after
  the transaction, so `DBSIZE` still counts it for a moment.
- **Nothing is evicted.** `maxmemory` is 0: values lie on disk, memory holds caches.
- **Transactions** are one command in the log. At 512 MiB of queued commands the connection is closed; in a cluster an
  entry has 16 MiB at most.
- **WATCH** looks at what commands may change by their keys: a command that names a key to write it, and does change
  something, counts for all keys that it may write (`LMPOP 2 a b` for both).
- **Keyspace notifications** are told by each node to its own subscribers, when it runs the command; on every member
  of a cluster.
  An event `expired` comes when the key is deleted.
- **Slow subscribers and monitors** are closed at `client-output-buffer-limit pubsub`. A client of the class `normal`
  that does not read its replies is not read from any more, so it needs no limit.
- **Sizes.** A command has 1,048,576 arguments at most. Members chosen at random (`HRANDFIELD key -1000000000`) are
  67,108,864 at most in one reply, where Redis takes all the memory that there is.
- **HELP** of containers is written from our tables, with other words.
- **Clients that block** wait in the order in which they came, on each node for itself. Who is served is in the log as
  a pop of its own; in a cluster, clients on any member wait through a change of leader, and of several on different
  members the log decides who was first. What a client has sent behind a command that blocks may take 64 MiB.
- **SCAN and its kin** have cursors of 64 bits that need no memory, and give keys in another order than Redis does.
- **A command that we do not have** answers as Redis answers an unknown one.
- **CLIENT TRACKING** tells of changes at the end of a turn of the loop, behind its replies, and in a cluster on each
  member what its own clients have read.
- **Protected mode** as in Redis: without a password, clients from other machines are refused (`lunode kv --protected
  no`).]]

local function read_list()
  local groups, order = {}, {}
  local file = assert(io.open("docs/redis-commands.txt"))
  for line in file:lines() do
    local name, group, since = line:match("^(%S+) (%S+) (%S+)$")
    if name then
      if not groups[group] then
        groups[group] = {}
        order[#order + 1] = group
      end
      table.insert(groups[group], { name = name, since = since })
    end
  end
  file:close()
  table.sort(order)
  return groups, order
end

local known, total, have = {}, 0, 0

local function row(group, one)
  local entry = command.resolve(one.name)
  local container = one.name:match("^(.-)|")
  local note = NOTES[one.name] or not entry and (NOTES[container] or GROUPS[group]) or ""
  known[one.name] = true
  total, have = total + 1, have + (entry and 1 or 0)
  return ("| %s | %s | %s |"):format(one.name:upper():gsub("|", " "), entry and "yes" or "no", note)
end

local function tables()
  local groups, order = read_list()
  local lines = {}
  for _, group in ipairs(order) do
    local rows, any = {}, false
    for _, one in ipairs(groups[group]) do
      local text = row(group, one)
      local container = one.name:match("^(.-)|")
      if not container or command.find(container) then -- one row for all of those that are not here
        rows[#rows + 1] = text
      end
      any = any or command.resolve(one.name) ~= nil
    end
    lines[#lines + 1] = "\n### " .. group .. "\n"
    if any then
      lines[#lines + 1] = "| command | here | |\n|---|---|---|"
      table.move(rows, 1, #rows, #lines + 1, lines)
    else
      local names = {}
      for i, one in ipairs(groups[group]) do
        names[i] = one.name:upper():gsub("|", " ")
      end
      lines[#lines + 1] = ("None: %s. %s."):format(table.concat(names, ", "), GROUPS[group] or "not built")
    end
  end
  return table.concat(lines, "\n")
end

local function own()
  local lines = {}
  for _, entry in ipairs(command.list()) do
    if not known[entry.name] then
      lines[#lines + 1] = ("| %s | %s |"):format(entry.name:upper(), entry.options.summary or "")
    end
  end
  return table.concat(lines, "\n")
end

local body = tables()
print(([[
# Redis's commands, and ours

Written by `./dev docs` from the tables of commands: %d of the %d commands and subcommands of Redis 7.0 are here.
Replies are Redis's to the byte; generated sequences of commands beside `redis-server` look for differences in the
specs. What differs on purpose is said on this page.

## Does my application fit?

%s

## In general

%s

## Command by command
%s

## Our own

| command | |
|---|---|
%s]]):format(have, total, FITTING, GENERAL, body, own()))
