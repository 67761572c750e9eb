-- echo_luv.lua HOST:PORT: an echo server as one writes it with luv (libuv for Lua), to measure ours against.
local uv = require "luv"

local host, port = arg[1]:match("^(.+):(%d+)$")
local server = uv.new_tcp()
assert(server:bind(host, tonumber(port)))
assert(server:listen(511, function(err)
  assert(not err, err)
  local client = uv.new_tcp()
  server:accept(client)
  client:nodelay(true)
  client:read_start(function(read_err, data)
    if data then
      client:write(data)
    elseif read_err or not client:is_closing() then
      client:close()
    end
  end)
end))

local sock = server:getsockname()
print(("listening on %s:%d"):format(sock.ip, sock.port))
io.stdout:flush()
uv.run()
