-- The clients of spec/cluster notice nodes that are no cluster, that forget, and that have no network.

local clients = require "spec.cluster.clients"
local lunode = require "spec.support.lunode"

-- Nodes that know nothing of each other, under the name of a cluster.
local function strangers(count)
  local members = {}
  for i = 1, count do
    local node = lunode.kv {}
    members[i] = {
      id = "n" .. i, host = node.host, port = node.port, node = node, check_alive = function() end,
      client = function()
        return node:client()
      end,
      ask = function(_, ...)
        local client = node:client()
        local reply = client:call(...)
        client:close()
        return reply
      end,
    }
  end
  return {
    members = members, leader = function()
      return members[1]
    end,
  }
end

describe("clients of a cluster", function()
  it("are content with a node that does as it says", function()
    local cl = clients.new(strangers(1))
    cl:after(300)
    cl:stop()
    cl:read_all()
    cl:check()
    for kind, h in pairs(cl.histories) do
      assert.is_true(kind == "set" or #h.operations > 20, kind)
    end
  end)

  it("notice nodes that do not know of each other", function()
    local cl = clients.new(strangers(2))
    cl:after(300)
    cl:stop()
    assert.error_matches(function()
      cl:check()
    end, "not linearizable")
  end)

  it("notice a node that loses what it has acknowledged", function()
    local c = strangers(1)
    local cl = clients.new(c)
    cl:after(200)
    cl:stop()
    c.members[1]:ask "FLUSHALL"
    cl:read_all()
    assert.error_matches(function()
      cl:check()
    end, "not linearizable")
  end)
end)
