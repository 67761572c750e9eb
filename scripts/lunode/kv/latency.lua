-- LATENCY: the spikes of events over time, and how the times of commands are spread. What is kept, kv.timing decides.
local channels = require "lunode.kv.channels"
local command = require "lunode.kv.command"
local help = require "lunode.kv.help"
local resp = require "lunode.resp"

local ADMIN = { "admin", "noscript", "loading", "stale" }
local TIPS = { "nondeterministic_output", "request_policy:all_nodes", "response_policy:special" }

command.command("LATENCY", {
  arity = -2, group = "server", since = "2.8.13", complexity = "Depends on subcommand.",
  summary = "A container for latency diagnostics commands",
})

command.command("LATENCY|LATEST", {
  arity = 2, flags = ADMIN, group = "server", since = "2.8.13", complexity = "O(1)", tips = TIPS,
  summary = "Return the latest latency samples for all events.",
  run = function(ctx)
    local events, list = ctx.node.timing.events, {}
    for i, name in ipairs(channels.ordered(events)) do
      local event = events[name]
      local last = event.samples[#event.samples]
      list[i] = { name, last.time, last.milliseconds, event.most }
    end
    return list
  end,
})

command.command("LATENCY|HISTORY", {
  arity = 3, flags = ADMIN, group = "server", since = "2.8.13", complexity = "O(1)", tips = TIPS,
  summary = "Return timestamp-latency samples for the event.",
  run = function(ctx, name)
    local event, list = ctx.node.timing.events[name], {}
    for i, sample in ipairs(event and event.samples or {}) do
      list[i] = { sample.time, sample.milliseconds }
    end
    return list
  end,
})

command.command("LATENCY|RESET", {
  arity = -2, variadic = true, flags = ADMIN, group = "server", since = "2.8.13", complexity = "O(1)",
  tips = { "request_policy:all_nodes", "response_policy:all_succeeded" },
  summary = "Reset latency data for one or more events.",
  run = function(ctx, names)
    local events, count = ctx.node.timing.events, 0
    for _, name in ipairs(#names > 0 and names or channels.ordered(events)) do
      count = count + (events[name] and 1 or 0)
      events[name] = nil
    end
    return count
  end,
})

-- ---- for people

local LEVELS = { "_", ".", ":", "o", "O", "#" }
local ROWS = 8

-- A column for each sample, its height by the worst of them.
local function draw(name, event)
  local samples = event.samples
  local low, high = math.huge, 0
  for _, sample in ipairs(samples) do
    low, high = math.min(low, sample.milliseconds), math.max(high, sample.milliseconds)
  end
  local lines = { ("%s - high %d ms, low %d ms (all time high %d ms)"):format(name, high, low, event.most),
    ("-"):rep(80) }
  local first = math.max(1, #samples - 79)
  for row = ROWS, 1, -1 do
    local cells = {}
    for i = first, #samples do
      local height = samples[i].milliseconds / math.max(high, 1) * ROWS - (row - 1)
      local level = height >= 1 and #LEVELS or height > 0 and math.max(1, math.ceil(height * #LEVELS)) or nil
      cells[#cells + 1] = level and LEVELS[level] or " "
    end
    lines[#lines + 1] = (table.concat(cells):gsub(" +$", ""))
  end
  return table.concat(lines, "\n") .. "\n"
end

command.command("LATENCY|GRAPH", {
  arity = 3, flags = ADMIN, group = "server", since = "2.8.13", complexity = "O(1)", tips = TIPS,
  summary = "Return a latency graph for the event.",
  run = function(ctx, name)
    local event = ctx.node.timing.events[name]
    if not event then
      return resp.error(("ERR No samples available for event '%s'"):format(name:match("^[^\0]*")))
    end
    return resp.verbatim(draw(name, event))
  end,
})

local OFF = "The latency monitor is off. CONFIG SET latency-monitor-threshold N has it keep what takes N milliseconds "
  .. "and more.\n"

command.command("LATENCY|DOCTOR", {
  arity = 2, flags = ADMIN, group = "server", since = "2.8.13", complexity = "O(1)", tips = TIPS,
  summary = "Return a human readable latency analysis report.",
  run = function(ctx)
    local node, lines = ctx.node, {}
    if node.settings.latency_threshold == 0 then
      return resp.verbatim(OFF)
    end
    for _, name in ipairs(channels.ordered(node.timing.events)) do
      local event, sum = node.timing.events[name], 0
      for _, sample in ipairs(event.samples) do
        sum = sum + sample.milliseconds
      end
      lines[#lines + 1] = ("%s: %d spikes, %d ms on average, %d ms at worst. SLOWLOG GET shows the commands.")
        :format(name, #event.samples, sum // #event.samples, event.most)
    end
    lines[#lines + 1] = #lines == 0 and "Nothing has taken as long as the threshold." or nil
    return resp.verbatim(table.concat(lines, "\n") .. "\n")
  end,
})

-- ---- LATENCY HISTOGRAM

-- Bucket → how many took its time or less; as in Redis, no bucket that adds nothing.
local function cumulative(stats)
  local list, sum = {}, 0
  for bucket = 0, 32 do
    local count = stats.buckets[bucket]
    if count then
      sum = sum + count
      list[#list + 1] = 1 << bucket
      list[#list + 1] = sum
    end
  end
  return resp.map(list)
end

command.command("LATENCY|HISTOGRAM", {
  arity = -2, variadic = true, flags = ADMIN, group = "server", since = "7.0.0",
  complexity = "O(N) where N is the number of commands with latency information being retrieved.", tips = TIPS,
  summary = "Return the cumulative distribution of latencies of a subset of commands or all.",
  run = function(ctx, names)
    local commands, list = ctx.node.timing.commands, {}
    local function add(name)
      list[#list + 1] = name
      list[#list + 1] = resp.map { "calls", commands[name].calls, "histogram_usec", cumulative(commands[name]) }
    end
    for _, name in ipairs(#names > 0 and names or channels.ordered(commands)) do
      name = name:lower()
      if commands[name] then
        add(name)
      elseif command.find(name) then -- a container: all of its subcommands
        for _, other in ipairs(channels.ordered(commands)) do
          if other:sub(1, #name + 1) == name .. "|" then
            add(other)
          end
        end
      end
    end
    return resp.map(list)
  end,
})

help.command("LATENCY", {
  group = "server", since = "2.8.13", summary = "Show helpful text about the different subcommands.",
})
