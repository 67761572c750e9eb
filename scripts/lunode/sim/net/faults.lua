-- Faults of the simulated network as objects: they begin, are told in the trace, and end, by themselves or when
-- somebody stops them. What they do is in lunode.sim.net.fault_kinds.

local kinds = require "lunode.sim.net.fault_kinds"
local links = require "lunode.sim.net.link"

local M = { kinds = kinds, methods = {} }
local methods = M.methods

---@class lunode.sim.net_fault
---@field kind string
---@field active boolean
---@field text string
local fault_methods = {}
local fault_metatable = { __index = fault_methods, __name = "lunode.sim.fault" }

local function tell(fault, phase)
  local world = fault.net.world
  world:record {
    t = world.now,
    kind = "fault",
    fault = fault.id or fault.kind,
    phase = phase,
    nodes = fault.names,
    text = fault.text,
  }
end

---Ends the fault, if it has not ended yet.
function fault_methods:stop()
  if not self.active then
    return
  end
  self.active = false
  for i, other in ipairs(self.net.active) do
    if other == self then
      table.remove(self.net.active, i)
      break
    end
  end
  local finish = kinds[self.kind].finish
  if finish then
    finish(self.net, self)
  end
  tell(self, "end")
end

local function host_list(net, given, level)
  if type(given) == "string" or (type(given) == "table" and given.address) then
    given = { given }
  end
  local list = {}
  for i, which in ipairs(given or {}) do
    list[i] = net:host(which, level + 2)
  end
  return list
end

-- All that it names, each once, in the order of the nodes.
local function names_of(net, fault)
  local set, names = {}, {}
  local function mark(list)
    for _, host in ipairs(list) do
      set[host] = true
    end
  end
  mark(fault.nodes)
  mark(fault.from)
  mark(fault.to)
  for _, group in ipairs(fault.groups) do
    mark(group)
  end
  for _, host in ipairs(net.hosts) do
    if set[host] then
      names[#names + 1] = host.name
    end
  end
  return names
end

local function new_fault(net, options, level)
  local fault = setmetatable({
    net = net,
    kind = options.kind,
    id = options.id,
    nodes = host_list(net, options.nodes, level),
    from = host_list(net, options.from, level),
    to = host_list(net, options.to, level),
    groups = {},
    period = options.period,
    latency = options.latency,
    bandwidth = options.bandwidth,
    links = {},
    names = {},
    text = "",
    active = true,
  }, fault_metatable)
  for i, group in ipairs(options.groups or {}) do
    fault.groups[i] = host_list(net, group, level)
  end
  fault.names = names_of(net, fault)
  fault.text = options.text or options.kind:gsub("_", " ")
  return fault
end

local function begin(net, options, level)
  local kind = kinds[options.kind]
  if not kind then
    error(("net:fault: there is no fault '%s'"):format(tostring(options.kind)), level + 1)
  end
  local duration = options.duration
  if duration ~= nil and (type(duration) ~= "number" or duration ~= duration or duration < 0) then
    error("net:fault: duration must be a number of seconds", level + 1)
  end
  local fault = new_fault(net, options, level + 1)
  local missing = kind.check(fault)
  if missing then
    error(("net:fault: '%s' needs %s"):format(options.kind, missing), level + 1)
  end
  tell(fault, "begin")
  net.active[#net.active + 1] = fault
  kind.begin(net, fault)
  if kind.at_once then
    fault:stop()
  elseif duration then
    net.world:at(net.world.now + duration, fault.stop, fault)
  end
  return fault
end

---@class lunode.sim.net_fault_options
---@field kind string
---@field nodes? any[]
---@field groups? any[][]
---@field from? any[]
---@field to? any[]
---@field period? number      seconds
---@field latency? lunode.sim.latency
---@field bandwidth? number   bytes a second
---@field duration? number    seconds, after which it ends by itself
---@field text? string        for the trace
---@field id? integer

---A fault of the network. Kinds and their options: "split" (groups), "bridge" (groups, beside those that reach all),
---"flapping" (groups, period), "isolate" (nodes), "one_way" (from, to), "latency" (nodes, latency), "bandwidth" (nodes,
---bandwidth), "slow_reader" (nodes, bandwidth), "accept_failures" (nodes); at once and over: "reset", "half_open"
---(nodes). Two nodes mean what is between them; one means all it has with others.
---@param options lunode.sim.net_fault_options
---@return lunode.sim.net_fault  with `stop`
function methods:fault(options)
  local fault = begin(self, options, 2)
  return fault
end

local PARTITION = 'a partition needs groups, as { {"a"}, {"b", "c"} }, or isolate, or one_way = {from, to}'

---A partition: `{ {"a", "b"}, {"c"} }` splits; with `bridge = "d"`, which reaches all; with `flapping = seconds`, it
---comes and goes; `{ isolate = "a" }`; `{ one_way = {"a", "b"} }`: nothing gets from a to b. `duration`: seconds, after
---which it heals.
---@param options table
---@return lunode.sim.net_fault
function methods:partition(options)
  if type(options) ~= "table" then
    error(PARTITION, 2)
  end
  local given = { duration = options.duration, text = options.text, id = options.id }
  if options.isolate then
    given.kind, given.nodes = "isolate", options.isolate
  elseif options.one_way then
    given.kind, given.from, given.to = "one_way", options.one_way[1], options.one_way[2]
  elseif #options >= 2 then
    given.groups = { table.unpack(options) }
    given.kind = options.flapping and "flapping" or options.bridge and "bridge" or "split"
    given.period = options.flapping or nil
  else
    error(PARTITION, 2)
  end
  local fault = begin(self, given, 2)
  return fault
end

---A node was made while faults last.
---@param host lunode.sim.host
function methods:join_faults(host)
  for _, fault in ipairs(self.active) do
    local join = kinds[fault.kind].join
    if join then
      join(self, fault, host)
    end
  end
end

---Ends all faults of the network that last.
function methods:heal()
  for _, fault in ipairs { table.unpack(self.active) } do
    fault:stop()
  end
end

---How the links between two nodes are from now on, both ways, where no fault says otherwise.
---@param a lunode.sim.node|string
---@param b lunode.sim.node|string
---@param options {latency: lunode.sim.latency?, bandwidth: number|false|nil}
function methods:between(a, b, options)
  local from, to = self:host(a, 2), self:host(b, 2)
  if options.latency ~= nil then
    links.check_latency(options.latency, "net:between", 2)
  end
  links.check_bandwidth(options.bandwidth, "net:between", 2)
  for _, link in ipairs { self:link(from, to), self:link(to, from) } do
    link:set("latency", options.latency)
    link:set("bandwidth", options.bandwidth)
  end
end

return M
