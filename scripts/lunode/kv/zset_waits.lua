-- Commands on sorted sets that block: BZPOPMIN BZPOPMAX BZMPOP. How clients wait is in kv.blocking.
local blocking = require "lunode.kv.blocking"
local command = require "lunode.kv.command"
local keys = require "lunode.kv.keys"
local logged = require "lunode.kv.logged"
local resp = require "lunode.resp"
local score = require "lunode.score"
local zset = require "lunode.kv.zset"
local zsets = require "lunode.kv.zsets"

local null_array = resp.null_array
local ZSET = keys.ZSET

-- Members of a client that has left: back to where they were, unless they have come anew. Scores are as lunode.score
-- encodes them.
logged.add("put_back_members", function(ctx, args)
  local db = ctx.db
  local c = db.collections:create(args[1], ZSET)
  for i = 2, #args, 2 do
    if not zset.score(db, c, args[i]) then
      zset.put(db, c, args[i], args[i + 1])
    end
  end
  db.collections:changed(c)
end, { variadic = true, keys = { 1, 1, 1 } })

-- A score as a reply of either protocol has it.
local function encoded(value)
  return type(value) == "number" and score.encode(value) or score.read(value)
end

for name, about in pairs {
  BZPOPMIN = {
    highest = false,
    summary = "Remove and return the member with the lowest score from one or more sorted sets, or block until one is "
      .. "available",
  },
  BZPOPMAX = {
    highest = true,
    summary = "Remove and return the member with the highest score from one or more sorted sets, or block until one "
      .. "is available",
  },
} do
  local highest = about.highest
  command.command(name, {
    arity = -3, variadic = true, flags = { "write", "noscript", "blocking", "fast" }, keys = { 1, -2, 1 },
    access = "RW access delete", group = "sorted-set", since = "5.0.0",
    complexity = "O(log(N)) with N being the number of elements in the sorted set.", summary = about.summary,
    run = function(ctx, args)
      local timeout = blocking.timeout(args[#args])
      for i = 1, #args - 1 do
        local list = zsets.pop(ctx, args[i], highest, 1)
        if list then
          return { args[i], list[1], list[2] }
        end
      end
      return blocking.wait(ctx, {
        name = name, type = ZSET, keys = table.move(args, 1, #args - 1, 1, {}), timeout = timeout,
        args = function(key)
          return { key, "0" }
        end,
        put_back = function(reply, put)
          put("put_back_members", reply[1], reply[2], encoded(reply[3]))
        end,
      }, null_array)
    end,
  })
end

command.command("BZMPOP", {
  arity = -5, variadic = true, flags = { "write", "blocking" }, numkeys = { 2, "RW access delete" },
  group = "sorted-set", since = "7.0.0",
  complexity = "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the "
    .. "sorted set, and M being the number of elements popped.",
  summary = "Remove and return members with scores in a sorted set or block until one is available",
  run = function(ctx, args)
    local count, highest, limit = zsets.zmpop_options(args, 2)
    local timeout = blocking.timeout(args[1])
    for i = 3, count + 2 do
      local list = zsets.pop(ctx, args[i], highest, limit)
      if list then
        return { args[i], zsets.pairs(list) }
      end
    end
    return blocking.wait(ctx, {
      name = "BZMPOP", type = ZSET, keys = table.move(args, 3, count + 2, 1, {}), timeout = timeout,
      args = function(key)
        return { "0", "1", key, highest and "MAX" or "MIN", "COUNT", tostring(limit) }
      end,
      put_back = function(reply, put)
        local list = {}
        for _, pair in ipairs(reply[2]) do
          list[#list + 1] = pair[1]
          list[#list + 1] = encoded(pair[2])
        end
        put("put_back_members", reply[1], table.unpack(list))
      end,
    }, null_array)
  end,
})
