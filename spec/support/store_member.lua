-- A member of a cluster whose state is a store, as a program for specs:
--
--   lunode run spec/support/store_member.lua ID DIR RPC_ADDRESS RAFT_ADDRESS [founder]
--
-- A founder founds a cluster of one; another one waits to be added. Over RPC: fill(rows, bytes), add(id, address),
-- write(key, value), state() and digest().
local driver = require "lunode.raft.driver"
local hash = require "lunode.hash"
local logger = require "lunode.logger"
local rpc = require "lunode.rpc"

local id, dir, rpc_address, address, founder = table.unpack(arg, 1, 5)
local rows

local node = assert(driver.open {
  id = id, cluster = "spec", dir = dir, listen = address, members = founder and { [id] = address } or nil,
  election_timeout = 0.3, log_keep = 100000, segment_size = 1 << 20, store = { overlay = 4 << 20 },
  machine = {
    attach = function(store)
      rows = store
      return true
    end,
    apply = function(entry)
      local key, count, bytes, value = ("s4jjs4"):unpack(entry.payload)
      for i = 1, count do
        rows:put(("%s%06d"):format(key, i), value:rep(bytes // #value))
      end
      return true
    end,
  },
  on_role = function() end,
  on_failure = function(err)
    logger.error("%s", err)
    os.exit(1)
  end,
})

local function result_of(result, err)
  return err and error(err, 0) or result
end

local function put(key, count, bytes, value)
  return result_of(node:propose(("s4jjs4"):pack(key, count, bytes, value)))
end

local server = assert(rpc.serve(rpc_address, {
  fill = function(_, count, bytes)
    for i = 1, count // 100 do
      put(("%06d/"):format(i), 100, bytes, ("%016x"):format(hash.of(i, "row")))
    end
    for i = 1, 3 do -- so that the log is cut behind them
      put("pad" .. i, 1, 8, ("x"):rep(200000))
    end
    return true
  end,
  write = function(_, key, value)
    return put(key, 1, #value, value)
  end,
  flush = function()
    return node.store:flush() == true
  end,
  add = function(_, other, where)
    return result_of(node:change { kind = "add", id = other, address = where })
  end,
  state = function()
    local receiving = node.state.copies.receiving
    return {
      applied = node.applied, first = node.storage.log:first(), last = node.core and node.core.log.last or 0,
      data = node.state.name, pieces = receiving and receiving.n or -1, complete = receiving and receiving.complete,
    }
  end,
  digest = function()
    local sum = 0
    for key, value in rows:scan "" do
      sum = hash.of(sum, key, value)
    end
    return ("%016x"):format(sum)
  end,
}))
print(("%s listening on %s"):format(id, server:address()))
