-- The simulated network: a host for each node, the links between them, names, and what goes wrong. The nodes' modules
-- lunode.tcp_client and lunode.tcp_server stand on it. What a link, a host and a socket do is in lunode.sim.net.*.

local faults = require "lunode.sim.net.faults"
local hosts = require "lunode.sim.net.host"
local links = require "lunode.sim.net.link"
local processes = require "lunode.sim.process"
local tcp_client = require "lunode.sim.tcp_client"
local tcp_server = require "lunode.sim.tcp_server"

local M = {}

-- A local network: most segments take 0.3 ms, some a few.
local LATENCY = { min = 0.0001, mean = 0.0003 }
local LOOPBACK = 10e-6 -- a host with itself
local LOOKUP_TIME = 0.001

---@class lunode.sim.net
---@field world lunode.sim.world
---@field hosts lunode.sim.host[]   in the order of the nodes
---@field latency lunode.sim.latency  of links that are still to be made
---@field bandwidth number|false      bytes a second, as well
---@field lookup_time number  seconds
---@field messages integer    segments so far
---@field connections integer so far
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.net" }

---@param world lunode.sim.world  its options `latency` and `bandwidth` are those of all links that have no others
---@return lunode.sim.net
function M.new(world)
  local options = world.options or {}
  if options.latency ~= nil then
    links.check_latency(options.latency, "sim.new", 3)
  end
  links.check_bandwidth(options.bandwidth, "sim.new", 3)
  local self = setmetatable({
    world = world,
    hosts = {},
    by_address = {},
    by_name = {}, -- lists of addresses
    links = {},
    latency = options.latency or LATENCY,
    bandwidth = options.bandwidth or false,
    lookup_time = LOOKUP_TIME,
    messages = 0,
    connections = 0,
    choice = world:stream "net.choice",
    faults = faults.kinds,
    active = {}, -- faults that last
  }, metatable)
  world:on_crash(function(node, how)
    local host = self.by_address[node.address]
    if how == "crash" then
      host:crash()
    else
      host:process_died()
    end
  end)
  return self
end

---A host for a node that is being made.
---@param node lunode.sim.node
function methods:add(node)
  local host = hosts.new(self, node.name, node.address)
  host.node = node
  self.hosts[#self.hosts + 1] = host
  self.by_address[node.address] = host
  self.by_name[node.name:lower()] = { node.address }
  self:join_faults(host)
end

---What `require` gives the node for the modules of the network, in one life.
---@param node lunode.sim.node
---@return table<string, fun(): table>
function methods:doors(node)
  local host = self.by_address[node.address]
  local process
  host:power_on()
  local function door(module)
    return function()
      process = process or processes.new(node, host)
      return module.new(process)
    end
  end
  return { ["lunode.tcp_client"] = door(tcp_client), ["lunode.tcp_server"] = door(tcp_server) }
end

---The host of a node, given by itself, its name or its address.
---@param which lunode.sim.node|string
---@param level? integer
---@return lunode.sim.host
function methods:host(which, level)
  local key = type(which) == "table" and which.address or which
  local addresses = self.by_name[tostring(key):lower()]
  local host = self.by_address[addresses and addresses[1] or key]
  if not host then
    error(("there is no node %s in this world"):format(tostring(which)), (level or 1) + 1)
  end
  return host
end

---@param host string  numeric
---@return lunode.sim.host?
function methods:host_at(host)
  return self.by_address[host]
end

---Whom a host reaches at an address.
---@param from lunode.sim.host
---@param host string  numeric
---@return lunode.sim.host? target
---@return string? status
function methods:route(from, host)
  local target = self.by_address[host]
  if target then
    return target
  elseif from:owns(host) then
    return from
  end
  return nil, "ENETUNREACH"
end

---One direction between two hosts.
---@param from lunode.sim.host
---@param to lunode.sim.host
---@return lunode.sim.link
function methods:link(from, to)
  local of_host = self.links[from]
  if not of_host then
    of_host = {}
    self.links[from] = of_host
  end
  local link = of_host[to]
  if not link then
    local rng = self.world:stream(("net.latency %s %s"):format(from.name, to.name))
    if from == to then
      link = links.new(from, to, LOOPBACK, false, rng)
    else
      link = links.new(from, to, self.latency, self.bandwidth, rng)
    end
    of_host[to] = link
  end
  return link
end

-- ---------------------------------------------------------------- names

---Gives a name its addresses: connects to it try them all. Nodes' names have theirs already.
---@param name string
---@param addresses string[]  numeric, in the order to try them; empty: the name is not found
function methods:name(name, addresses)
  if type(name) ~= "string" or type(addresses) ~= "table" then
    error("net:name needs a name and a list of addresses", 2)
  end
  self.by_name[name:lower()] = { table.unpack(addresses) }
end

---@param name string
---@return lunode.sim.address[]? addresses
---@return string? status
function methods:resolve(name)
  local found = self.by_name[name:lower():gsub("%.$", "")]
  if not found or #found == 0 then
    return nil, "ENOTFOUND"
  end
  local addresses = {}
  for i, host in ipairs(found) do
    addresses[i] = { family = "tcp", host = host }
  end
  return addresses
end

-- ---------------------------------------------------------------- faults

for name, fn in pairs(faults.methods) do -- each a method of its own: in any order
  methods[name] = fn
end

return M
