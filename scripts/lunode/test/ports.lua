-- Free TCP ports on 127.0.0.1 for programs that must be told their port. What can listen on port 0 should do that.
--
--   local ports = require "lunode.test.ports"
--   local port = ports.free()
--
-- They lie below those that the kernel gives to outgoing connections, and are drawn at random. Specs that `lunode test`
-- runs at the same time draw from parts of their own: a port is free between one start of a node and the next, too.

local loop = require "lunode.loop"
local tcp_server = require "lunode.tcp_server"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

local LOW, HIGH = 10000, 32767
local ENOUGH = 500

-- Below what the kernel gives away, where that leaves enough.
local function highest()
  local text = tmp.read "/proc/sys/net/ipv4/ip_local_port_range" or ""
  local first = tonumber(text:match "^%d+")
  return first and first - 1 >= LOW + ENOUGH and math.min(HIGH, first - 1) or HIGH
end

-- This process's part of them.
local function range()
  local low, high = LOW, highest()
  local slot, slots = (os.getenv "LUNODE_TEST_SLOT" or ""):match "^(%d+)/(%d+)$"
  local size = slot and (high - low + 1) // tonumber(slots) or 0
  if size >= ENOUGH // 10 then
    low = low + (tonumber(slot) - 1) * size
    high = low + size - 1
  end
  return low, high
end

local low, high = range()
local given = {}

---A port that nobody listened on a moment ago, and that was not given before.
---@return integer
function M.free()
  for _ = 1, 100 do
    local port = loop.random(low, high)
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
