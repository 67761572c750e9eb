-- What goes wrong with the simulated network: partitions of every kind, slow and narrow links, resets, half-open
-- connections, readers that are slow, accepts that fail. Each fault is told in the trace when it begins and ends;
-- several may overlap, and each takes back only what it did. What the nodes' code sees of it is the sockets' affair.

local links = require "lunode.sim.net.link"

local M = { methods = {} }
local methods = M.methods

-- By name: check(fault) says what its options lack; begin(net, fault), finish(net, fault); join(net, fault, host), where
-- a node that is made later is concerned, too.
local kinds = {}

-- ---------------------------------------------------------------- whom it hits

local function others(net, hosts)
  local set, list = {}, {}
  for _, host in ipairs(hosts) do
    set[host] = true
  end
  for _, host in ipairs(net.hosts) do
    if not set[host] then
      list[#list + 1] = host
    end
  end
  return list
end

-- Every link from one list to the other.
local function each_link(net, from, to, fn)
  for _, a in ipairs(from) do
    for _, b in ipairs(to) do
      if a ~= b then
        fn(net:link(a, b))
      end
    end
  end
end

-- Links between two hosts, both ways; of one host: all of its own.
local function each_between(net, hosts, fn)
  if #hosts == 1 then
    each_link(net, hosts, others(net, hosts), fn)
    each_link(net, others(net, hosts), hosts, fn)
  else
    each_link(net, hosts, hosts, fn)
  end
end

-- ---------------------------------------------------------------- partitions

local function cut(fault)
  return function(link)
    link.cuts = link.cuts + 1
    fault.links[#fault.links + 1] = link
  end
end

local function uncut(_, fault)
  for _, link in ipairs(fault.links) do
    link.cuts = link.cuts - 1
  end
  fault.links = {}
end

local function needs_groups(fault)
  if #fault.groups < 2 then
    return "two groups of nodes at least"
  end
end

local function needs_nodes(fault)
  if #fault.nodes == 0 then
    return "nodes"
  end
end

local function split(net, fault)
  for i, a in ipairs(fault.groups) do
    for j, b in ipairs(fault.groups) do
      if i ~= j then
        each_link(net, a, b, cut(fault))
      end
    end
  end
end

kinds.split = { check = needs_groups, begin = split, finish = uncut }

-- The nodes of the bridge are in no group: so they reach all.
kinds.bridge = { check = needs_groups, begin = split, finish = uncut }

kinds.isolate = {
  check = needs_nodes,
  begin = function(net, fault)
    each_link(net, fault.nodes, others(net, fault.nodes), cut(fault))
    each_link(net, others(net, fault.nodes), fault.nodes, cut(fault))
    for i, a in ipairs(fault.nodes) do -- and from each other
      for j, b in ipairs(fault.nodes) do
        if i ~= j then
          cut(fault)(net:link(a, b))
        end
      end
    end
  end,
  finish = uncut,
  join = function(net, fault, host)
    each_link(net, fault.nodes, { host }, cut(fault))
    each_link(net, { host }, fault.nodes, cut(fault))
  end,
}

kinds.one_way = {
  check = function(fault)
    if #fault.from == 0 or #fault.to == 0 then
      return "from and to: lists of nodes"
    end
  end,
  begin = function(net, fault)
    each_link(net, fault.from, fault.to, cut(fault))
  end,
  finish = uncut,
}

local function flap(net, fault)
  if not fault.active then
    return
  elseif #fault.links > 0 then
    uncut(net, fault)
  else
    split(net, fault)
  end
  fault.next_flap = net.world:at(net.world.now + fault.period, flap, net, fault)
end

kinds.flapping = {
  check = function(fault)
    local period = fault.period or 1
    if type(period) ~= "number" or not (period >= 1e-3 and period < math.huge) then
      return "a period: seconds, 0.001 at least"
    end
    fault.period = period
    return needs_groups(fault)
  end,
  begin = flap,
  finish = uncut,
}

-- ---------------------------------------------------------------- links

local function overriding(field, check)
  local function apply(fault)
    return function(link)
      link:override(field, fault, fault[field])
      fault.links[#fault.links + 1] = link
    end
  end
  return {
    check = check,
    begin = function(net, fault)
      each_between(net, fault.nodes, apply(fault))
    end,
    join = function(net, fault, host)
      if #fault.nodes == 1 then
        each_link(net, fault.nodes, { host }, apply(fault))
        each_link(net, { host }, fault.nodes, apply(fault))
      end
    end,
    finish = function(_, fault)
      for _, link in ipairs(fault.links) do
        link:override(field, fault, nil)
      end
    end,
  }
end

kinds.latency = overriding("latency", function(fault)
  links.check_latency(fault.latency, "fault 'latency'", 4)
  return needs_nodes(fault)
end)

local function needs_bandwidth(fault)
  links.check_bandwidth(fault.bandwidth or -1, ("fault '%s'"):format(fault.kind), 4)
  return needs_nodes(fault)
end

kinds.bandwidth = overriding("bandwidth", needs_bandwidth)

-- ---------------------------------------------------------------- connections

local function has(list, host)
  for _, other in ipairs(list) do
    if other == host then
      return true
    end
  end
  return false
end

-- Connections between the hosts, each by one of its ends; of one host: all that it has with others.
local function each_connection(hosts, fn)
  local seen = {}
  for _, host in ipairs(hosts) do
    for _, socket in ipairs(host:list_sockets()) do
      local peer = socket.peer
      if peer and peer.host ~= host and not seen[socket.id] and (#hosts == 1 or has(hosts, peer.host)) then
        seen[socket.id] = true
        fn(socket)
      end
    end
  end
end

kinds.reset = {
  check = needs_nodes,
  at_once = true,
  begin = function(_, fault)
    each_connection(fault.nodes, function(socket)
      socket:sever()
    end)
  end,
}

kinds.half_open = {
  check = needs_nodes,
  at_once = true,
  begin = function(_, fault)
    each_connection(fault.nodes, function(socket)
      socket.black, socket.peer.black = true, true
    end)
  end,
}

-- ---------------------------------------------------------------- hosts

kinds.slow_reader = {
  check = needs_bandwidth,
  begin = function(_, fault)
    for _, host in ipairs(fault.nodes) do
      host:set_read_rate(fault.bandwidth)
    end
  end,
  finish = function(_, fault)
    for _, host in ipairs(fault.nodes) do
      host:set_read_rate(false)
    end
  end,
}

kinds.accept_failures = {
  check = needs_nodes,
  begin = function(_, fault)
    for _, host in ipairs(fault.nodes) do
      host.accept_failures = host.accept_failures + 1
    end
  end,
  finish = function(_, fault)
    for _, host in ipairs(fault.nodes) do
      host.accept_failures = host.accept_failures - 1
    end
  end,
}

M.kinds = kinds

-- ---------------------------------------------------------------- faults as objects

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

local PARTITION = 'a partition needs groups, as in { {"a"}, {"b", "c"} }, or isolate, or one_way = {from, to}'

---A partition: `{ {"a", "b"}, {"c"} }` splits; with `bridge = "d"`, which reaches all; with `flapping = seconds`, it comes
---and goes; `{ isolate = "a" }`; `{ one_way = {"a", "b"} }`: nothing gets from a to b. `duration`: seconds, after which
---it heals.
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
