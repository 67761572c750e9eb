-- Faults by chance: draws a schedule from the seed, and lets it happen. What the faults do is in lunode.sim.faults
-- and lunode.sim.net; nothing here draws chance when a fault happens, so leaving one out does not change the others.
--
--   world:swarm { duration = 60, intensity = 2, kinds = { "partition", "crash" } }

local fields = require "lunode.sim.fields"

local M = {}

-- Kinds by their weight, and what each draws: draw(rng, nodes) gives options for world:fault, and what people read of
-- it.
local kinds = {}
local order = {} -- names, for draws that do not depend on pairs

-- It makes sense from so many nodes on.
local function kind(name, weight, needs, draw)
  kinds[name] = { weight = weight, needs = needs, draw = draw }
  order[#order + 1] = name
end

local function names(nodes)
  local list = {}
  for i, node in ipairs(nodes) do
    list[i] = node.name
  end
  return table.concat(list, ", ")
end

local function one(rng, nodes)
  return { rng:pick(nodes) }
end

-- Two different nodes.
local function pair(rng, nodes)
  local from = rng:integer(1, #nodes)
  local to = rng:integer(1, #nodes - 1)
  return nodes[from], nodes[to >= from and to + 1 or to]
end

-- Two groups, neither of them empty.
local function split(rng, nodes)
  local list = rng:shuffle(table.move(nodes, 1, #nodes, 1, {}))
  local size = rng:integer(1, #list - 1)
  return table.move(list, 1, size, 1, {}), table.move(list, size + 1, #list, 1, {})
end

local function milliseconds(seconds)
  return ("%.0f ms"):format(seconds * 1000)
end

-- ---------------------------------------------------------------- the network's

kind("split", 3, 2, function(rng, nodes)
  local a, b = split(rng, nodes)
  return { groups = { a, b } }, ("network split: %s | %s"):format(names(a), names(b))
end)

kind("isolate", 3, 2, function(rng, nodes)
  local hit = one(rng, nodes)
  return { nodes = hit }, ("%s isolated from all others"):format(names(hit))
end)

kind("one_way", 2, 2, function(rng, nodes)
  local from, to = pair(rng, nodes)
  return { from = { from }, to = { to } }, ("nothing gets from %s to %s"):format(from.name, to.name)
end)

kind("bridge", 1, 3, function(rng, nodes)
  local list = rng:shuffle(table.move(nodes, 1, #nodes, 1, {}))
  local bridge = table.remove(list)
  local a, b = split(rng, list)
  return { bridge = { bridge }, groups = { a, b } },
    ("network split with a bridge: %s | %s | %s"):format(names(a), bridge.name, names(b))
end)

kind("flapping", 1, 2, function(rng, nodes)
  local a, b = split(rng, nodes)
  local period = rng:between(0.1, 2)
  return { groups = { a, b }, period = period },
    ("network split that comes and goes every %s: %s | %s"):format(milliseconds(period), names(a), names(b))
end)

kind("latency", 2, 2, function(rng, nodes)
  local from, to = pair(rng, nodes)
  local seconds = rng:between(0.02, 1, 3)
  return { nodes = { from, to }, latency = { min = seconds / 2, max = seconds * 1.5 } },
    ("slow link between %s and %s: about %s"):format(from.name, to.name, milliseconds(seconds))
end)

kind("bandwidth", 1, 2, function(rng, nodes)
  local from, to = pair(rng, nodes)
  local bytes = rng:integer(1, 64) * 1024
  return { nodes = { from, to }, bandwidth = bytes },
    ("narrow link between %s and %s: %d KiB/s"):format(from.name, to.name, bytes // 1024)
end)

kind("reset", 2, 2, function(rng, nodes)
  local from, to = pair(rng, nodes)
  return { nodes = { from, to } }, ("connections between %s and %s reset"):format(from.name, to.name)
end)

kind("half_open", 1, 2, function(rng, nodes)
  local from, to = pair(rng, nodes)
  return { nodes = { from, to } },
    ("connections between %s and %s become half-open: neither hears of the other any more"):format(from.name, to.name)
end)

kind("slow_reader", 1, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  local bytes = rng:integer(1, 32) * 1024
  return { nodes = hit, bandwidth = bytes }, ("%s reads slowly: %d KiB/s"):format(names(hit), bytes // 1024)
end)

kind("accept_failures", 1, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  return { nodes = hit }, ("%s accepts no connections: out of descriptors"):format(names(hit))
end)

-- ---------------------------------------------------------------- the disk's

kind("disk_latency", 1, 1, function(rng, nodes)
  local hit, seconds = one(rng, nodes), rng:between(0.005, 0.2, 2)
  return { nodes = hit, seconds = seconds }, ("slow disk of %s: %s more"):format(names(hit), milliseconds(seconds))
end)

kind("disk_stall", 1, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  return { nodes = hit }, ("the disk of %s stalls"):format(names(hit))
end)

kind("disk_eio", 1, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  return { nodes = hit }, ("the disk of %s fails: EIO"):format(names(hit))
end)

kind("disk_enospc", 1, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  return { nodes = hit }, ("the disk of %s is full: ENOSPC"):format(names(hit))
end)

kind("disk_torn", 1, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  return { nodes = hit }, ("a power cut of %s would tear its last record"):format(names(hit))
end)

-- ---------------------------------------------------------------- processes and clocks

kind("kill", 2, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  return { nodes = hit }, ("%s killed, then started again"):format(names(hit))
end)

kind("crash", 3, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  return { nodes = hit }, ("power cut of %s, then started again"):format(names(hit))
end)

kind("pause", 2, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  return { nodes = hit }, ("%s paused"):format(names(hit))
end)

kind("clock_jump", 1, 1, function(rng, nodes)
  local hit = one(rng, nodes)
  local seconds = rng:between(0.1, 3600, 4) * (rng:chance(0.5) and 1 or -1)
  return { nodes = hit, seconds = seconds }, ("the clock of %s jumps by %+.1f s"):format(names(hit), seconds)
end)

kind("clock_drift", 1, 1, function(rng, nodes)
  local hit, drift = one(rng, nodes), rng:between(-0.2, 0.2)
  return { nodes = hit, drift = drift }, ("the clock of %s drifts by %+.1f %%"):format(names(hit), drift * 100)
end)

-- Faults that begin and are over.
local AT_ONCE = { reset = true, half_open = true, clock_jump = true }

-- ---------------------------------------------------------------- the schedule

-- Names of kinds, each as often as it weighs: those the caller wants, or all that this world can have.
local function choose(world, wanted, count)
  local list = {}
  for _, name in ipairs(wanted or order) do
    local known = kinds[name]
    if not known then
      error(("world:swarm: there is no fault '%s'; there are %s"):format(tostring(name), table.concat(order, ", ")), 4)
    elseif count < known.needs and wanted then
      error(("world:swarm: '%s' needs %d nodes, and there are %d"):format(name, known.needs, count), 4)
    elseif count >= known.needs and (wanted or world:has_fault(name)) then
      for _ = 1, known.weight do
        list[#list + 1] = name
      end
    end
  end
  if #list == 0 then
    error("world:swarm: no kinds of faults are left", 4)
  end
  return list
end

local OPTIONS = fields.set "duration intensity quiet kinds nodes"

local function check(options)
  fields.check("world:swarm", options, OPTIONS, 4)
  for _, name in ipairs { "duration", "intensity", "quiet" } do
    local value = options[name]
    if value ~= nil and (type(value) ~= "number" or not (value >= 0 and value < math.huge)) then
      error(("world:swarm: %s must be a number, finite and not negative, got %s"):format(name, tostring(value)), 4)
    end
  end
end

-- One fault: what, whom, when, how long.
local function draw(rng, list, nodes, from, to)
  local name = rng:pick(list)
  local options, text = kinds[name].draw(rng, nodes)
  local at = rng:between(from, to)
  local duration = math.min(rng:between(0.05, math.max(0.1, (to - from) / 3), 2), to - at)
  if AT_ONCE[name] then
    duration = nil
  else
    text = ("%s, for %s"):format(text, duration < 1 and milliseconds(duration) or ("%.1f s"):format(duration))
  end
  return { id = 0, at = at, kind = name, duration = duration, text = text, options = options }
end

local function start(world, entry)
  local options = { kind = entry.kind, duration = entry.duration, text = entry.text, id = entry.id }
  for name, value in pairs(entry.options) do -- into another table: the order does not show
    options[name] = value
  end
  world:fault(options)
end

local function set_of(list)
  local set = {}
  for _, id in ipairs(list) do
    set[id] = true
  end
  return set
end

---@class lunode.sim.swarm_options
---@field duration? number   virtual seconds from now on (default 30)
---@field quiet? number      of these, so many at the end are without faults (default a quarter)
---@field intensity? number  faults in ten seconds (default 2)
---@field kinds? string[]    only these (default: all)
---@field nodes? (lunode.sim.node|string)[]  only these are hit (default: all that there are now)

---@class lunode.sim.planned
---@field id integer
---@field at number         virtual time
---@field kind string
---@field duration? number  nil: over as soon as it begins
---@field text string

---Draws a schedule of faults, and lets those happen that the world's option `keep` allows.
---@param world lunode.sim.world
---@param options lunode.sim.swarm_options
---@return lunode.sim.planned[] schedule  in the order of time
function M.plan(world, options)
  check(options)
  local nodes = {}
  for i, which in ipairs(options.nodes or world.nodes) do
    nodes[i] = world:get(which)
  end
  local list = choose(world, options.kinds, #nodes)
  local duration = options.duration or 30
  local from, to = world.now, world.now + duration - (options.quiet or duration / 4)
  if to < from then
    error("world:swarm: quiet must not be longer than duration", 3)
  end
  local rng, drawn = world:stream "swarm", {}
  for i = 1, math.max(1, math.floor((options.intensity or 2) * duration / 10 + 0.5)) do
    drawn[i] = draw(rng, list, nodes, from, to)
    drawn[i].drawn = i
  end
  table.sort(drawn, function(a, b)
    return a.at < b.at or a.at == b.at and a.drawn < b.drawn
  end)
  local schedule, keep = world.schedule, world.options.keep and set_of(world.options.keep)
  for _, entry in ipairs(drawn) do
    entry.id, entry.drawn = #schedule + 1, nil
    schedule[entry.id] = entry
    if not keep or keep[entry.id] then
      world:at(entry.at, start, world, entry)
    end
  end
  return drawn
end

---A schedule as a table for people: a line a fault.
---@param schedule lunode.sim.planned[]
---@return string
function M.format(schedule)
  local lines = {}
  for i, entry in ipairs(schedule) do
    lines[i] = ("%4d  %10.3f s  %s\n"):format(entry.id, entry.at, entry.text)
  end
  return table.concat(lines)
end

M.kinds = order

return M
