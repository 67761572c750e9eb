-- Free TCP ports on 127.0.0.1 for programs that must be told their port. What can listen on port 0 should do that.
--
--   local ports = require "spec.support.ports"
--   local port = ports.free()

local tcp_server = require "lunode.tcp_server"
local wait = require "spec.support.wait"

local M = {}

local given = {}

---A port that nobody listened on a moment ago, and that was not given before.
---@return integer
function M.free()
  for _ = 1, 100 do
    local server = assert(tcp_server.listen("127.0.0.1", 0, {}))
    local _, port = server:sock()
    server:close()
    wait.turns(2) -- the socket goes in the loop's closing phase
    if not given[port] then
      given[port] = true
      return port
    end
  end
  error("no free port", 2)
end

return M
