-- SUBSCRIBE PSUBSCRIBE SSUBSCRIBE and their opposites, PUBLISH SPUBLISH PUBSUB. Who listens is in kv.channels.
--
-- A message reaches those who listen on this node. In a cluster PUBLISH goes the way of a write: through the log, so
-- every node delivers it to its own, in one order with the writes; what it returns counts those of the node that ran
-- it. A node that was away gets no old messages: what it replays meets no subscribers.
local channels = require "lunode.kv.channels"
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local glob = require "lunode.kv.glob"
local help = require "lunode.kv.help"
local logged = require "lunode.kv.logged"
local resp = require "lunode.resp"

local LATER = resp.raw ""

-- What the two counts are over that the confirmations tell: channels and patterns together, shard channels alone.
local function count_of(session, kind)
  local count = channels.own_count
  return kind == "shards" and count(session, kind) or count(session, "channels") + count(session, "patterns")
end

local function confirm(session, word, kind, name)
  return resp.encode(resp.push { word, name or resp.null, count_of(session, kind) }, session.protocol)
end

local function changed(session)
  session.node.channels:set_limit(session)
  session:update()
end

local function subscribe(word, kind)
  return function(ctx, names)
    local session, replies = ctx.session, {}
    for i, name in ipairs(names) do
      ctx.node.channels:subscribe(session, kind, name)
      replies[i] = confirm(session, word, kind, name)
    end
    changed(session)
    return resp.raw(table.concat(replies))
  end
end

-- Without names: from all of its own; one confirmation also where there is none.
local function unsubscribe(word, kind)
  return function(ctx, names)
    local session, replies = ctx.session, {}
    for i, name in ipairs(#names > 0 and names or channels.own_names(session, kind)) do
      ctx.node.channels:unsubscribe(session, kind, name)
      replies[i] = confirm(session, word, kind, name)
    end
    changed(session)
    return resp.raw(#replies > 0 and table.concat(replies) or confirm(session, word, kind, nil))
  end
end

local FLAGS = { "pubsub", "noscript", "loading", "stale" }

local function add(name, kind, entry)
  local word = name:lower()
  local shard = kind == "shards"
  command.command(name, {
    arity = entry.arity, variadic = true, flags = FLAGS, group = "pubsub",
    keys = shard and { 1, -1, 1 } or nil, access = shard and "not_key" or nil, since = entry.since,
    complexity = entry.complexity, summary = entry.summary,
    run = entry.arity < -1 and subscribe(word, kind) or unsubscribe(word, kind),
  })
end

add("SUBSCRIBE", "channels", {
  arity = -2, since = "2.0.0", complexity = "O(N) where N is the number of channels to subscribe to.",
  summary = "Listen for messages published to the given channels",
})
add("PSUBSCRIBE", "patterns", {
  arity = -2, since = "2.0.0", complexity = "O(N) where N is the number of patterns the client is already subscribed "
    .. "to.",
  summary = "Listen for messages published to channels matching the given patterns",
})
add("SSUBSCRIBE", "shards", {
  arity = -2, since = "7.0.0", complexity = "O(N) where N is the number of shard channels to subscribe to.",
  summary = "Listen for messages published to the given shard channels",
})
add("UNSUBSCRIBE", "channels", {
  arity = -1, since = "2.0.0", complexity = "O(N) where N is the number of clients already subscribed to a channel.",
  summary = "Stop listening for messages posted to the given channels",
})
add("PUNSUBSCRIBE", "patterns", {
  arity = -1, since = "2.0.0", complexity = "O(N+M) where N is the number of patterns the client is already subscribed "
    .. "and M is the number of total patterns subscribed in the system (by any client).",
  summary = "Stop listening for messages posted to channels matching the given patterns",
})
add("SUNSUBSCRIBE", "shards", {
  arity = -1, since = "7.0.0",
  complexity = "O(N) where N is the number of clients already subscribed to a shard channel.",
  summary = "Stop listening for messages posted to the given shard channels",
})

-- ---- messages

-- A command that gives a message to the node's own subscribers; in a cluster to everybody's.
local function publisher(name, deliver)
  local log_name = "\0" .. name
  local function run(ctx, channel, message)
    return deliver(ctx.node.channels, channel, message)
  end
  logged.add(name, run, { touches = false })
  local replicated = {
    name = name, log_name = log_name, run = run, write = true, variadic = false, direct = true,
    options = { touches = false },
  }
  local function arrive(session, args)
    if session.node.cluster then
      return nil, replicated, args
    end
  end
  return arrive, function(ctx, channel, message)
    if ctx.node.cluster and not ctx.in_transaction and ctx.session then
      ctx.node.writes:submit(ctx.session, replicated, log_name, { channel, message })
      return LATER
    end
    return run(ctx, channel, message)
  end
end

local arrive, run = publisher("publish", function(registry, channel, message)
  return registry:publish(channel, message)
end)

command.command("PUBLISH", {
  arity = 3, flags = { "pubsub", "loading", "stale", "fast" }, group = "pubsub", since = "2.0.0",
  complexity = "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number "
    .. "of subscribed patterns (by any client).",
  summary = "Post a message to a channel", may_replicate = true, arrive = arrive, run = run,
})

arrive, run = publisher("spublish", function(registry, channel, message)
  return registry:publish_shard(channel, message)
end)

command.command("SPUBLISH", {
  arity = 3, flags = { "pubsub", "loading", "stale", "fast" }, keys = { 1, 1, 1 }, access = "not_key",
  group = "pubsub", since = "7.0.0",
  complexity = "O(N) where N is the number of clients subscribed to the receiving shard channel.",
  summary = "Post a message to a shard channel", may_replicate = true, arrive = arrive, run = run,
})

-- ---- PUBSUB

command.command("PUBSUB", {
  arity = -2, group = "pubsub", since = "2.8.0", complexity = "Depends on subcommand.",
  summary = "A container for Pub/Sub commands",
})

local function names_of(kind)
  return function(ctx, pattern, ...)
    if ... then
      return errors.subcommand_syntax(ctx, "PUBSUB")
    end
    local list = {}
    for _, name in ipairs(channels.ordered(ctx.node.channels[kind])) do
      if not pattern or glob.match(pattern, name) then
        list[#list + 1] = name
      end
    end
    return list
  end
end

local function counts_of(kind)
  return function(ctx, names)
    local list = {}
    for _, name in ipairs(names) do
      list[#list + 1] = name
      list[#list + 1] = ctx.node.channels:count(kind, name)
    end
    return list
  end
end

local READ = { "pubsub", "loading", "stale" }

command.command("PUBSUB|CHANNELS", {
  arity = -2, flags = READ, group = "pubsub", since = "2.8.0",
  complexity = "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively "
    .. "short channels and patterns)",
  summary = "List active channels", run = names_of "channels",
})

command.command("PUBSUB|NUMSUB", {
  arity = -2, variadic = true, flags = READ, group = "pubsub", since = "2.8.0",
  complexity = "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
  summary = "Get the count of subscribers for channels", run = counts_of "channels",
})

command.command("PUBSUB|NUMPAT", {
  arity = 2, flags = READ, group = "pubsub", since = "2.8.0", complexity = "O(1)",
  summary = "Get the count of unique patterns pattern subscriptions",
  run = function(ctx)
    return ctx.node.channels.pattern_count
  end,
})

command.command("PUBSUB|SHARDCHANNELS", {
  arity = -2, flags = READ, group = "pubsub", since = "7.0.0",
  complexity = "O(N) where N is the number of active shard channels, and assuming constant time pattern matching "
    .. "(relatively short shard channels).",
  summary = "List active shard channels", run = names_of "shards",
})

command.command("PUBSUB|SHARDNUMSUB", {
  arity = -2, variadic = true, flags = READ, group = "pubsub", since = "7.0.0",
  complexity = "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
  summary = "Get the count of subscribers for shard channels", run = counts_of "shards",
})

help.command("PUBSUB", { group = "pubsub", since = "6.2.0" })
