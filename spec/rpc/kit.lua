-- What the specs of RPC share: servers, peers and raw connections that go away with the test, and nodes of their own.

local cleanup = require "lunode.test.cleanup"
local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local msgpack = require "lunode.msgpack"
local rpc = require "lunode.rpc"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

M.FULL = os.getenv("LUNODE_FULL") == "1"

---@return lunode.rpc.server, string address
function M.serve(methods, opts)
  local server = assert(rpc.serve("127.0.0.1:0", methods, opts))
  cleanup.add(function()
    server:close()
  end)
  return server, server:address()
end

---@return lunode.rpc.peer
function M.peer(address, opts)
  local peer = rpc.peer(address, opts)
  cleanup.add(function()
    peer:close()
  end)
  return peer
end

---A connection without any manners: `got` (messages), `closed`, `code`; send(value), bytes(text), response(id).
function M.raw(address, opts)
  local host, port = address:match "^(.+):(%d+)$"
  local self = { got = {}, closed = false, code = nil }
  opts = opts or {}
  opts.decoder = "msgpack"
  opts.on_message = function(_, message)
    self.got[#self.got + 1] = message
  end
  opts.on_close = function(_, _, code)
    self.closed, self.code = true, code
  end
  self.conn = tcp_client.connect(host, tonumber(port), opts)
  cleanup.add(function()
    self.conn:abort()
  end)
  function self.send(value)
    self.conn:write(msgpack.encode(value))
  end
  function self.response(id)
    return wait.till(function()
      for _, message in ipairs(self.got) do
        if message[1] == 1 and message[2] == id then
          return message
        end
      end
    end, 10, "the response to " .. id)
  end
  return self
end

---A server without any manners: on_message(conn, message) as given, or silence.
---@return string address, table conns
function M.raw_server(on_message)
  local conns = {}
  local server = assert(tcp_server.listen("127.0.0.1", 0, {
    decoder = "msgpack",
    on_connect = function(conn)
      conns[#conns + 1] = conn
    end,
    on_message = on_message,
  }))
  cleanup.add(function()
    server:close()
    for _, conn in ipairs(conns) do
      conn:abort()
    end
  end)
  return ("%s:%d"):format(server:sock()), conns, server
end

---A script in a process of its own, which prints "listening on ADDRESS".
---@return spec.process, string address
function M.node(script, ...)
  local path = tmp.write(tmp.dir() .. "/node.lua", script)
  local process = lunode.start {
    "run", path, ...,
    -- Memory that was freed must count as free, also under ASan.
    env = { ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "") .. ":quarantine_size_mb=1" },
  }
  local address = wait.till(function()
    assert(process:is_alive(), process:stderr())
    return process:stdout():match("listening on (%S+)\n")
  end, 20, "the node to listen")
  return process, address
end

---Takes the errors of callbacks for the test: they do not fail it.
---@return string[] errors
function M.errors()
  local errors = {}
  loop.on_error(function(traceback)
    errors[#errors + 1] = traceback
  end)
  return errors
end

return M
