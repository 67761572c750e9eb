-- What each kind of fault does to the simulated network: to links, connections and hosts. Each takes back only what
-- it did, so that several may overlap. How faults begin, end and are told is lunode.sim.net.faults'.

local links = require "lunode.sim.net.link"

-- By name: check(fault) says what its options lack; begin(net, fault), finish(net, fault); join(net, fault, host),
-- where a node that is made later is concerned, too.
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

return kinds
