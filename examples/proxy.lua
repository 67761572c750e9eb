-- A TCP proxy: connections to LISTEN go on to TARGET, bytes both ways, none held back and none piled up.
--
--   lunode run examples/proxy.lua 127.0.0.1:7000 127.0.0.1:6380
local tcp_client, tcp_server = require "lunode.tcp_client", require "lunode.tcp_server"

local function address(word)
  local host, port = (word or ""):match("^(.+):(%d+)$")
  if not host then error("usage: lunode run proxy.lua LISTEN TARGET (each HOST:PORT)", 0) end
  return host, math.tointeger(port)
end

local target_host, target_port = address(arg[2])

-- Both sides behave alike; conn.data is the other side.
local both = {
  on_read = function(conn, data)
    if conn.data:write(data) == false then conn:pause() end -- until the other side has taken it
  end,
  on_writable = function(conn) conn.data:resume() end,
  on_end = function(conn) conn.data:shutdown() end, -- half-close is passed on; answers still flow
  on_close = function(conn, err)
    if err then conn.data:abort() else conn.data:close() end
  end,
}

local front = { on_connect = function(conn)
  conn.data = tcp_client.connect(target_host, target_port, both) -- what is read meanwhile waits in its queue
  conn.data.data = conn
end }
for name, callback in pairs(both) do front[name] = callback end

local host, port = address(arg[1])
local server = assert(tcp_server.listen(host, port, front))
print(("listening on %s:%d"):format(server:sock()))
io.stdout:flush()
