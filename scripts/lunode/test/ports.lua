-- Free TCP ports on 127.0.0.1 for programs that must be told their port. What can listen on port 0 should do that.
--
--   local ports = require "lunode.test.ports"
--   local port = ports.free()
--
-- They lie below those that the kernel gives to outgoing connections, and are drawn at random: specs that run at the
-- same time in other processes hardly ever draw the same.

local loop = require "lunode.loop"
local tcp_server = require "lunode.tcp_server"
local wait = require "lunode.test.wait"

local M = {}

local LOW, HIGH = 10000, 32767

local given = {}

---A port that nobody listened on a moment ago, and that was not given before.
---@return integer
function M.free()
  for _ = 1, 100 do
    local port = loop.random(LOW, HIGH)
    local server = not given[port] and tcp_server.listen("127.0.0.1", port, {})
    if server then
      server:close()
      wait.turns(2) -- the socket goes in the loop's closing phase
      given[port] = true
      return port
    end
  end
  error("no free port", 2)
end

return M
