-- An echo client: sends each further argument as a line, and prints what comes back.
--
--   lunode run examples/echo_client.lua 127.0.0.1:7000 hello "how are you?"
local tcp_client = require "lunode.tcp_client"

local host, port = (arg[1] or ""):match("^(.+):(%d+)$")
if not host then
  io.stderr:write("usage: lunode run echo_client.lua HOST:PORT [LINE…]\n")
  os.exit(2)
end

local conn = tcp_client.connect(host, tonumber(port), {
  connect_timeout = 5,

  -- Every outcome comes here, once: connected, refused, timed out, …
  on_connect = function(_, err)
    if err then
      io.stderr:write(("cannot connect to %s: %s\n"):format(arg[1], err))
      os.exit(1)
    end
  end,

  on_read = function(_, data) io.write(data) end,

  -- The server has sent all of its echo. (There is no on_end: then the connection closes by itself after that.)
  on_close = function(_, err)
    if err then
      io.stderr:write(("lost the connection to %s: %s\n"):format(arg[1], err))
      os.exit(1)
    end
  end,
})

-- No need to wait: what is written while connecting follows once there is a connection.
for i = 2, #arg do
  conn:write(arg[i] .. "\n")
end
conn:shutdown() -- no more lines from us; what comes back still arrives
-- The script ends here. The loop goes on until nothing is active any more, which is when the connection has closed.
