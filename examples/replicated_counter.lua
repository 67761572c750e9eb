-- Counters on three nodes, right as long as two of them live: a state machine of one's own, replicated by Raft.
--
--   lunode run examples/replicated_counter.lua ID DIR HOST:PORT n1=HOST:PORT n2=HOST:PORT n3=HOST:PORT
--
-- The first address is for clients, who call `add` with a name and a number, or `get` with a name, over RPC; the
-- others are the members' own. Any member answers `get`; `add` is for the leader: others fail with ENOTLEADER.
local driver = require "lunode.raft.driver"
local logger = require "lunode.logger"
local msgpack = require "lunode.msgpack"
local rpc = require "lunode.rpc"

local id, dir, address = arg[1], arg[2], arg[3]
local members = {}
for i = 4, #arg do
  local name, where = arg[i]:match "^([^=]+)=(.+)$"
  members[name or ""] = where
end
if not (address and members[id]) then
  io.stderr:write "usage: lunode run replicated_counter.lua ID DIR HOST:PORT ID=HOST:PORT …\n"
  os.exit(2)
end

local counters = {}

local node = assert(driver.open {
  id = id, cluster = "counters", dir = dir, listen = members[id], members = members,
  machine = {
    apply = function(entry)
      local add = msgpack.decode(entry.payload) -- what is not valid was refused before: this must not raise
      counters[add.name] = (counters[add.name] or 0) + add.n
      return counters[add.name]
    end,
    snapshot = function() return msgpack.encode(counters) end,
    restore = function(pieces)
      local list = {}
      for piece in pieces do list[#list + 1] = piece end
      counters = msgpack.decode(table.concat(list))
    end,
  },
  on_failure = function(err) logger.error("%s", err) os.exit(1) end,
})

-- To the caller with an error as it is: it says whether the addition may have been done.
local function result_of(result, err) return err and error(err) or result end

local server = assert(rpc.serve(address, {
  add = function(_, name, n)
    assert(type(name) == "string" and math.type(n) == "integer", "add needs a name and an integer")
    return result_of(node:propose(msgpack.encode { name = name, n = n }))
  end,
  get = function(_, name) return result_of(node:read()) and counters[name] or 0 end,
}))
print(("%s listening on %s"):format(id, server:address()))
