-- Faults of processes, clocks and disks, and the way to those of the network: each begins, is told in the trace, and
-- ends.
--
--   local fault = world:fault { kind = "pause", nodes = { "n1" }, duration = 2 }
--   fault:stop()                                            -- sooner, or where no duration was given

local disks = require "lunode.sim.disk"
local log = require "lunode.sim.log"
local store = require "lunode.sim.store"
local swarm = require "lunode.sim.swarm"

local M = {}

---@class lunode.sim.world
local methods = {}
M.methods = methods

---@param world lunode.sim.world
function M.prepare(world)
  world.faults = {} -- those that last, but for the network's
  world:on_crash(function(node, how)
    node.disk:release()
    if how == "crash" then
      node.disk:cut()
    end
  end)
end

---@param _ lunode.sim.world
---@param node lunode.sim.node
---@param doors table
function M.add_doors(_, node, doors)
  node.disk = node.disk or disks.new(node)
  doors["lunode.store"] = function()
    return store.module(node)
  end
  doors["lunode.log"] = function()
    return log.module(node)
  end
end

-- ---------------------------------------------------------------- one node, at once

---The process ends at once; its host goes on: it closes the sockets, and keeps the files.
---@param which lunode.sim.node|string
function methods:kill(which)
  self:get(which):stop("kill", nil, "SIGKILL")
end

---The host loses power: nothing is sent any more, and what was not synced may be lost.
---@param which lunode.sim.node|string
function methods:crash(which)
  self:get(which):stop "crash"
end

---Starts the process of a node anew, with the files that have survived. One that is up is killed before.
---@param which lunode.sim.node|string
function methods:restart(which)
  local node = self:get(which)
  node:stop("kill", nil, "SIGKILL")
  local ok, err = node:start()
  if not ok then
    error(err, 2)
  end
end

---Stops a process as SIGSTOP does, until `resume`: its sockets stay, its host takes what arrives.
---@param which lunode.sim.node|string
function methods:pause(which)
  self:get(which):pause()
end

---@param which lunode.sim.node|string
function methods:resume(which)
  self:get(which):resume()
end

---Sets a node's wall clock forward, or back. The monotonic clock does not change.
---@param which lunode.sim.node|string
---@param seconds number
function methods:jump_clock(which, seconds)
  local node = self:get(which)
  node:set_clock(seconds)
  node:note("clock", ("jumps %+g s"):format(seconds))
end

---Lets a node's wall clock go faster or slower from now on.
---@param which lunode.sim.node|string
---@param drift number  seconds that it gains in a second
function methods:drift_clock(which, drift)
  local node = self:get(which)
  node:set_clock(0, drift)
  node:note("clock", ("drifts %+g s/s"):format(drift))
end

-- ---------------------------------------------------------------- faults that last

-- Each kind: begin(world, node, fault) for every node it hits, and finish(world, node, fault).
local kinds = {}

-- Nodes that were up when a fault ended them: it starts these again, and no others.
local function end_lives(how)
  return function(world, node, fault)
    if node.state == "up" or node.state == "paused" then
      fault.ended[node] = node.boot
      world[how](world, node)
    end
  end
end

local function start_again(world, node, fault)
  if fault.ended[node] == node.boot and (node.state == "crashed" or node.state == "ended") then
    world:restart(node)
  end
end

kinds.crash = { begin = end_lives "crash", finish = start_again }
kinds.kill = { begin = end_lives "kill", finish = start_again }

kinds.pause = {
  begin = function(_, node, fault)
    fault.ended[node] = node.state == "up" and node.boot or nil
    node:pause()
  end,
  finish = function(_, node, fault)
    if fault.ended[node] == node.boot then
      node:resume()
    end
  end,
}

kinds.clock_jump = {
  at_once = true,
  begin = function(_, node, fault)
    node:set_clock(fault.seconds)
  end,
}

kinds.clock_drift = {
  begin = function(_, node, fault)
    node:set_clock(0, fault.drift)
  end,
  finish = function(_, node)
    node:set_clock(0, node.options.drift or 0)
  end,
}

for _, kind in ipairs { "latency", "stall", "eio", "enospc", "torn" } do
  kinds["disk_" .. kind] = {
    begin = function(world, node, fault)
      local ends = fault.duration and world.now + fault.duration or world.now + (fault.seconds or 0)
      fault.parts[node] = { kind = kind, seconds = fault.seconds or 0, ends = ends }
      table.insert(node.disk.faults, fault.parts[node])
    end,
    finish = function(_, node, fault)
      local faults = node.disk.faults
      for i = #faults, 1, -1 do
        if faults[i] == fault.parts[node] then
          table.remove(faults, i)
        end
      end
    end,
  }
end

M.kinds = kinds

---@class lunode.sim.fault
---@field kind string
---@field nodes lunode.sim.node[]
---@field active boolean
local fault_methods = {}
local fault_metatable = { __index = fault_methods, __name = "lunode.sim.fault" }

local function names_of(nodes)
  local names = {}
  for i, node in ipairs(nodes) do
    names[i] = node.name
  end
  return names
end

local function note(fault, phase)
  local world = fault.world
  world:record { t = world.now, kind = "fault", fault = fault.id or fault.kind, phase = phase, text = fault.text,
    nodes = names_of(fault.nodes) }
end

---Ends the fault, if it has not ended yet.
function fault_methods:stop()
  if not self.active then
    return
  end
  self.active = false
  for i, other in ipairs(self.world.faults) do
    if other == self then
      table.remove(self.world.faults, i)
      break
    end
  end
  local finish = kinds[self.kind].finish
  note(self, "end")
  if finish then
    for _, node in ipairs(self.nodes) do
      finish(self.world, node, self)
    end
  end
end

local DEFAULTS = { clock_jump = { seconds = 60 }, clock_drift = { drift = 0.1 }, disk_latency = { seconds = 0.05 } }

---Whether a fault of this kind can happen here.
---@param kind string
---@return boolean
function methods:has_fault(kind)
  return kinds[kind] ~= nil or self.net ~= nil and self.net.faults ~= nil and self.net.faults[kind] ~= nil
end

---A fault that lasts. Kinds: "crash", "kill" (until the restart), "pause", "clock_jump" (seconds; at once),
---"clock_drift" (drift), "disk_latency" (seconds), "disk_stall", "disk_eio", "disk_enospc", "disk_torn", and those of
---lunode.sim.net.
---@param options {kind: string, nodes: (lunode.sim.node|string)[]?, duration: number?, text: string?, id: integer?}
---@return lunode.sim.fault  with `stop`
function methods:fault(options)
  local kind = kinds[options.kind]
  if not kind and self:has_fault(options.kind) then
    return self.net:fault(options)
  elseif not kind then
    error(("world:fault: there is no fault '%s'"):format(tostring(options.kind)), 2)
  end
  local fault = setmetatable({ world = self, active = true, ended = {}, parts = {} }, fault_metatable)
  for name, value in pairs(DEFAULTS[options.kind] or {}) do
    fault[name] = value
  end
  for name, value in pairs(options) do
    fault[name] = value
  end
  fault.nodes = {}
  for i, which in ipairs(options.nodes or self.nodes) do
    fault.nodes[i] = self:get(which)
  end
  fault.text = options.text or options.kind:gsub("_", " ")
  table.insert(self.faults, fault)
  note(fault, "begin")
  for _, node in ipairs(fault.nodes) do
    kind.begin(self, node, fault)
  end
  if kind.at_once then
    fault:stop()
  elseif options.duration then
    self:at(self.now + options.duration, fault.stop, fault)
  end
  return fault
end

---Partitions nodes: `{ {"a", "b"}, {"c"} }`, `{ isolate = "a" }`, …; see lunode.sim.net.
---@param options table
---@return lunode.sim.net_fault
function methods:partition(options)
  return self.net:partition(options)
end

---Ends all faults that last: links carry again, nodes that faults have ended start, disks work.
function methods:heal()
  for _, fault in ipairs { table.unpack(self.faults) } do
    fault:stop()
  end
  self.net:heal()
end

---A random schedule of faults, from the seed; it is also in `world.schedule`.
---@param options? lunode.sim.swarm_options
---@return lunode.sim.planned[]
function methods:swarm(options)
  return swarm.plan(self, options or {})
end

return M
