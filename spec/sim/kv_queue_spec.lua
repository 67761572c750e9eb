-- Queues: clients that wait for elements while others push them, where everything around them fails. An element goes to
-- one client at most, and to one at least unless that client's connection was lost while it waited.

local cluster_kit = require "spec.sim.kv_cluster_kit"
local kit = require "spec.sim.kv_kit"
local worlds = require "spec.sim.kv_cluster_worlds"

local PUSHES = 60

-- Over all seeds: what would not happen would not be tested.
local totals = { got = 0, waited = 0, lost = 0 }

-- Pushes elements of its own until so many were acknowledged.
local function producer(me, told, places)
  local loop = require "lunode.loop"
  local number, acked = 0, 0
  local function connect()
    local send_next
    kit.connect(function(send)
      function send_next()
        if acked == PUSHES then
          return
        end
        number = number + 1
        local element = me .. number
        told.sent[element] = true
        send({ loop.random(1, 2) == 1 and "RPUSH" or "LPUSH", "queue", element }, function(reply)
          if type(reply) == "number" then
            acked = acked + 1
            told.acked[element] = true
            loop.timer(loop.random(0, 100) / 1000, send_next)
          else
            loop.timer(0.5, send_next)
          end
        end)
      end
      send_next()
    end, function()
      loop.timer(0.2, connect)
    end, places and places[loop.random(1, #places)])
  end
  connect()
end

-- Waits for elements, again and again, with something behind that.
local function consumer(me, told, places)
  local loop = require "lunode.loop"
  local commands = {
    { "BLPOP", "queue", "1" }, { "BRPOP", "none", "queue", "0.5" },
    { "BLMPOP", "1", "2", "none", "queue", "RIGHT", "COUNT", "2" },
  }
  local function take(reply)
    local elements = type(reply) == "table" and reply[2]
    if type(elements) == "string" then
      elements = { elements }
    end
    for _, element in ipairs(elements or {}) do
      told.got[element] = (told.got[element] or 0) + 1
      told.order[#told.order + 1] = element
    end
    told.waited = told.waited + (elements and 0 or 1)
  end
  local function connect()
    local waits = 0
    kit.connect(function(send)
      local function again()
        waits = waits + 1
        send(commands[loop.random(1, #commands)], function(reply)
          waits = waits - 1
          take(reply)
          if reply == nil or type(reply) == "table" and reply.err then
            told.lost = told.lost + (reply.err:find "^UNKNOWN" and 2 or 0)
            loop.timer(0.3, again)
          else
            again()
          end
        end)
        send({ "SET", "last-" .. me, "x" }, function() end)
      end
      again()
    end, function()
      told.lost = told.lost + 2 * waits -- elements of one command at most
      loop.timer(0.2, connect)
    end, places and places[loop.random(1, #places)])
  end
  connect()
end

local function start(world, places)
  local told = { sent = {}, acked = {}, got = {}, order = {}, lost = 0, waited = 0 }
  for i = 1, 2 do
    world:node("producer" .. i, producer, { "p" .. i .. ":", told, places })
    world:node("consumer" .. i, consumer, { "c" .. i, told, places })
  end
  return told
end

local function count(set)
  local n = 0
  for _ in pairs(set) do
    n = n + 1
  end
  return n
end

-- In the end nothing is in the queue: what was acknowledged has been handed out, but for what was lost on its way.
local function judge(told)
  assert.equal(2 * PUSHES, count(told.acked))
  local missing = 0
  for element, times in pairs(told.got) do
    assert.is_true(told.sent[element], "nobody sent " .. element)
    assert.equal(1, times, element .. " was handed out more than once")
  end
  for element in pairs(told.acked) do
    missing = missing + (told.got[element] and 0 or 1)
  end
  assert.is_true(missing <= told.lost, ("%d elements are lost, %d can be"):format(missing, told.lost))
  totals.got, totals.waited = totals.got + count(told.got), totals.waited + told.waited
  totals.lost = totals.lost + missing
end

describe("a queue", function()
  sim_it("hands out each element once, where nothing fails", { seeds = 2, full = 50 }, function(world)
    kit.server(world, "always")
    local told = start(world)
    kit.run(world, 30)
    judge(told)
    assert.equal(2 * PUSHES, count(told.got))
  end)

  sim_it("hands out each element once, where node, disk and connections fail", { seeds = 5, full = 200 },
    function(world)
      kit.server(world, "always")
      local told = start(world)
      world:swarm {
        duration = 20, quiet = 2, intensity = 4, nodes = { "server" },
        kinds = { "kill", "crash", "disk_latency", "disk_stall", "disk_enospc", "disk_eio", "clock_jump" },
      }
      world:swarm { duration = 20, quiet = 2, intensity = 2, kinds = { "reset", "half_open", "latency", "pause" } }
      kit.run(world, 90)
      judge(told)
    end)

  sim_it("in a cluster hands out each element once, where nothing fails", { seeds = 1, full = 50 }, function(world)
    local cluster = cluster_kit.cluster(world, 3)
    cluster:leader()
    local told = start(world, cluster.places)
    cluster:run(40)
    judge(told)
    assert.equal(2 * PUSHES, count(told.got))
    cluster:agree()
  end)

  sim_it("in a cluster hands out each element once, whatever fails", { seeds = 1, full = 100 }, function(world)
    local cluster = cluster_kit.cluster(world, 3)
    cluster:leader()
    local told = start(world, cluster.places)
    world:swarm { duration = 30, quiet = 5, intensity = 3, kinds = worlds.ALL, nodes = cluster.names }
    cluster:run(35)
    world:heal()
    for _, name in ipairs(cluster.names) do
      if world:get(name).state ~= "up" then
        world:restart(name)
      end
    end
    cluster:leader(10)
    cluster:run(60)
    judge(told)
    cluster:agree()
  end)

  it("has met there what it is to be proven against", function()
    assert.is_true(totals.got > 500 and totals.waited > 20)
  end)
end)
