-- Worlds of virtual time, in which unmodified node scripts run, fail and recover as the seed has it. Not for real
-- sockets.
--
--   local sim = require "lunode.sim"
--   local world = sim.new { seed = 7 }
--   world:node("server", "examples/echo_server.lua", { "127.1.0.1:7000" })
--   world:node("client", function() … require "lunode.tcp_client" … end)
--   world:run(10)
--   print(world:trace { last = 20 })

local world = require "lunode.sim.world"

local M = {}

---@param options? lunode.sim.options
---@return lunode.sim.world
function M.new(options)
  if options ~= nil and type(options) ~= "table" then
    error("sim.new needs a table of options", 2)
  end
  return world.new(options or {})
end

return M
