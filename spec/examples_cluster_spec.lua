-- examples/cluster.sh, run as it stands there: three nodes, a failover, and nothing left behind.

local lunode = require "spec.support.lunode"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local tcp_server = require "lunode.tcp_server"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local function is_free(port)
  local server = tcp_server.listen("127.0.0.1", port, {})
  if server then
    server:close()
    wait.turns(2) -- the socket goes in the loop's closing phase
  end
  return server ~= nil
end

-- It takes this one's neighbours: three for clients, and three for each other.
local function free_range()
  while true do
    local port, free = ports.free(), true
    for _, offset in ipairs { 1, 2, 3, 11, 12, 13 } do
      free = free and is_free(port + offset)
    end
    if free then
      return port
    end
  end
end

describe("examples/cluster.sh", function()
  local dir, port, code, out, err

  setup(function()
    dir, port = tmp.dir(), free_range()
    code, out, err = process.run {
      "sh", "examples/cluster.sh", seconds = 90, env = { LUNODE = lunode.bin, PORT = tostring(port), TMPDIR = dir },
    }
  end)

  it("shows another node leading after the first one was killed, and the data there", function()
    assert.same({ 0, "" }, { code, err }, out)
    local old, new = out:match "== kill %-9 (n%d), which leads\n13\nhello, world!\n== (n%d) leads now"
    assert.truthy(old and new and old ~= new, out)
    assert.truthy(out:find("\n" .. old .. " +%? .* unreachable\n"), out)
    assert.truthy(out:find("== " .. old .. " comes back, and catches up\nhello, world!\ncluster %x+: n%d leads"), out)
    assert.truthy(out:find "\nn1 .* ok\nn2 .* ok\nn3 .* ok\n$", out)
  end)

  it("leaves no file and no process behind", function()
    local nodes = ("[k]v --id n. --listen 127.0.0.1:(%d|%d|%d) "):format(port + 1, port + 2, port + 3)
    local pipe = assert(io.popen(("ls -A %s; pgrep -f -- '%s' || true"):format(tmp.quote(dir), nodes)))
    assert.equal("", pipe:read("a"))
    pipe:close()
  end)
end)
