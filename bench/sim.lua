-- How many events the simulator takes in a second of processor time, on one core: `./dev bench sim`.
--
-- An event is one call into a node's code: a timer that fires, bytes that arrive, a connect or close that is told.
-- The turns of loops, flushes, segments and acknowledgements under these are not counted.

local sim = require "lunode.sim"

local PAIRS = 50
local REPETITIONS = tonumber(arg[1]) or 5 -- each of about a second of processor time

local function server(address)
  local host, port = address:match "^(.+):(%d+)$"
  require("lunode.tcp_server").listen(host, tonumber(port), {
    on_read = function(conn, data) conn:write(data) end,
  })
end

-- Sends 64 bytes, and again when they are back.
local function client(address)
  local host, port = address:match "^(.+):(%d+)$"
  local message = ("x"):rep(64)
  require("lunode.tcp_client").connect(host, tonumber(port), {
    on_connect = function(conn) conn:write(message) end,
    on_read = function(conn, data) conn:write(data) end,
  })
end

local function timers()
  local loop = require "lunode.loop"
  for i = 1, 10 do
    loop.timer(i / 1000, function() end, 0.01)
  end
end

local worlds = {
  {
    name = "echo, 50 pairs",
    fill = function(world)
      for i = 1, PAIRS do
        world:node("s" .. i, server, { ("127.1.0.%d:7000"):format(2 * i - 1) })
        world:node("c" .. i, client, { ("127.1.0.%d:7000"):format(2 * i - 1) })
      end
    end,
  },
  {
    name = "echo, 100 clients of one",
    fill = function(world)
      world:node("s", server, { "127.1.0.1:7000" })
      for i = 1, 2 * PAIRS do
        world:node("c" .. i, client, { "127.1.0.1:7000" })
      end
    end,
  },
  {
    name = "timers, 100 nodes of 10",
    fill = function(world)
      for i = 1, 100 do
        world:node("n" .. i, timers)
      end
    end,
  },
}

local function measure(fill)
  local world = sim.new()
  fill(world)
  world:run(0.1) -- all are connected
  collectgarbage()
  local calls, steps, start = world.calls, world.steps, os.clock()
  local limit = start + 1
  repeat
    world:run(0.05)
  until os.clock() > limit
  local seconds = os.clock() - start
  return (world.calls - calls) / seconds, (world.steps - steps) / (world.calls - calls)
end

print("world                          events/s (best)   (median)   queue entries per event")
for _, world in ipairs(worlds) do
  local rates, entries = {}, 0
  for i = 1, REPETITIONS do
    rates[i], entries = measure(world.fill)
  end
  table.sort(rates)
  print(("%-30s %15.0f %10.0f %12.1f"):format(world.name, rates[#rates], rates[(#rates + 1) // 2], entries))
end
