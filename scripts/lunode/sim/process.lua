-- What the connections of one process share: its loop, its host, its descriptors. One life of a node has one.

local M = {}

local FIRST_FD = 5 -- behind the standard streams and what a loop needs

---@class lunode.sim.process
---@field node lunode.sim.node
---@field loop lunode.sim.loop
---@field host lunode.sim.host
---@field net lunode.sim.net
---@field timer fun(delay: number, fn: fun(), interval: number?): lunode.timer  the loop's, whatever the script puts
---there
---@field defer fun(fn: fun())
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.process" }

---@return lunode.sim.process
function M.new(node, host)
  return setmetatable({
    node = node,
    loop = node.loop,
    host = host,
    net = host.net,
    timer = node.loop.internal_timer,
    defer = node.loop.module.defer,
    next_fd = FIRST_FD,
    free_fds = {},
  }, metatable)
end

function methods:take_fd()
  local free = self.free_fds
  local fd = table.remove(free)
  if not fd then
    fd = self.next_fd
    self.next_fd = fd + 1
  end
  return fd
end

function methods:release_fd(fd)
  self.free_fds[#self.free_fds + 1] = fd
end

---Gives an object its ordinal, so that it can be a key that `pairs` puts in order.
---@param object table
---@return integer
function methods:number(object)
  local orders = self.node.orders
  orders:take(object)
  return orders.ordinals[object]
end

return M
