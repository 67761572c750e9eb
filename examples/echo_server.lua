-- An echo server: whatever a connection sends, it gets back.
--
--   lunode run examples/echo_server.lua 127.0.0.1:7000
local tcp_server = require "lunode.tcp_server"

local host, port = (arg[1] or "127.0.0.1:7000"):match("^(.+):(%d+)$")
if not host then
  io.stderr:write("usage: lunode run echo_server.lua HOST:PORT\n")
  os.exit(2)
end

local server, err = tcp_server.listen(host, tonumber(port), {
  on_read = function(conn, data)
    local room = conn:write(data)
    if room == false then conn:pause() end -- it sends faster than it reads: wait until the queue has drained
  end,

  on_writable = function(conn) conn:resume() end,
})
if not server then
  io.stderr:write(err, "\n")
  os.exit(1)
end

print(("listening on %s:%d"):format(server:sock()))
io.stdout:flush() -- whoever started us may wait for this line through a pipe
