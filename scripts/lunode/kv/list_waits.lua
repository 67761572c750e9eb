-- Commands on lists that block: BLPOP BRPOP BLMOVE BRPOPLPUSH BLMPOP. How clients wait is in kv.blocking.
local blocking = require "lunode.kv.blocking"
local command = require "lunode.kv.command"
local keys = require "lunode.kv.keys"
local list = require "lunode.kv.list"
local lists = require "lunode.kv.lists"
local logged = require "lunode.kv.logged"
local resp = require "lunode.resp"

local null, null_array = resp.null, resp.null_array
local LIST = keys.LIST

local FLAGS = { "write", "noscript", "blocking" }
local MOVE_FLAGS = { "write", "denyoom", "noscript", "blocking" }
local MOVE_ACCESS = { "RW access delete", "RW insert" }

-- Elements of a client that has left: back to where they were.
logged.add("put_back_elements", function(ctx, args)
  local c = list.create(ctx.db, args[1])
  local push = args[2] == "LEFT" and list.push_left or list.push_right
  for i = #args, 3, -1 do
    push(ctx.db, c, args[i])
  end
  ctx.db.collections:changed(c)
end, { variadic = true, keys = { 1, 1, 1 } })

local SIDE = { [true] = "LEFT", [false] = "RIGHT" }

for name, about in pairs {
  BLPOP = { at_left = true, summary = "Remove and get the first element in a list, or block until one is available" },
  BRPOP = { at_left = false, summary = "Remove and get the last element in a list, or block until one is available" },
} do
  local at_left = about.at_left
  command.command(name, {
    arity = -3, variadic = true, flags = FLAGS, keys = { 1, -2, 1 }, access = "RW access delete", group = "list",
    since = "2.0.0", complexity = "O(N) where N is the number of provided keys.", summary = about.summary,
    run = function(ctx, args)
      local timeout = blocking.timeout(args[#args])
      for i = 1, #args - 1 do
        local c = ctx.db.collections:open(args[i], LIST)
        if c then
          return { args[i], lists.pop_one(ctx, c, at_left) }
        end
      end
      return blocking.wait(ctx, {
        name = name, type = LIST, keys = table.move(args, 1, #args - 1, 1, {}), timeout = timeout,
        args = function(key)
          return { key, "0" }
        end,
        put_back = function(reply, put)
          put("put_back_elements", reply[1], SIDE[at_left], reply[2])
        end,
      }, null_array)
    end,
  })
end

-- Waits for an element of `source`, and is then the command with these arguments.
local function move(ctx, name, timeout, args, from_left, to_left)
  local milliseconds = blocking.timeout(timeout)
  local element = lists.move(ctx, args[1], args[2], from_left, to_left)
  return element or blocking.wait(ctx, {
    name = name, type = LIST, keys = { args[1] }, timeout = milliseconds,
    args = function()
      return args
    end,
  }, null)
end

command.command("BLMOVE", {
  arity = 6, flags = MOVE_FLAGS, keys = { 1, 2, 1 }, access = MOVE_ACCESS, group = "list", since = "6.2.0",
  complexity = "O(1)",
  summary = "Pop an element from a list, push it to another list and return it; or block until one is available",
  run = function(ctx, source, target, from, to, timeout)
    local from_left, to_left = lists.side(from), lists.side(to)
    return move(ctx, "BLMOVE", timeout, { source, target, from, to, "0" }, from_left, to_left)
  end,
})

command.command("BRPOPLPUSH", {
  arity = 4, flags = MOVE_FLAGS, keys = { 1, 2, 1 }, access = MOVE_ACCESS, group = "list", since = "2.2.0",
  complexity = "O(1)",
  summary = "Pop an element from a list, push it to another list and return it; or block until one is available",
  deprecated = { since = "6.2.0", replaced_by = "`BLMOVE` with the `RIGHT` and `LEFT` arguments" },
  run = function(ctx, source, target, timeout)
    return move(ctx, "BRPOPLPUSH", timeout, { source, target, "0" }, false, true)
  end,
})

command.command("BLMPOP", {
  arity = -5, variadic = true, flags = { "write", "blocking" }, numkeys = { 2, "RW access delete" }, group = "list",
  since = "7.0.0",
  complexity = "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
  summary = "Pop elements from a list, or block until one is available",
  run = function(ctx, args)
    local names, word, rest = lists.counted_keys(args, 2)
    local at_left = lists.side(word)
    local count = lists.count_option(args, rest)
    local timeout = blocking.timeout(args[1])
    return lists.pop_first(ctx, names, at_left, count) or blocking.wait(ctx, {
      name = "BLMPOP", type = LIST, keys = names, timeout = timeout,
      args = function(key)
        return { "0", "1", key, word, "COUNT", tostring(count) }
      end,
      put_back = function(reply, put)
        put("put_back_elements", reply[1], SIDE[at_left], table.unpack(reply[2]))
      end,
    }, null_array)
  end,
})
