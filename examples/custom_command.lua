-- A key-value node with commands of its own beside Redis's:
--
--   lunode run examples/custom_command.lua 127.0.0.1:7000 [DATA_DIRECTORY]
--   redis-cli -p 7000 hits front-page          (integer) 1
--   redis-cli -p 7000 cas color red blue       (integer) 0: color is not red
local kv = require "lunode.kv"
local loop = require "lunode.loop"

-- HITS page: counts a visit, and forgets the page after a day without one.
kv.command("HITS", {
  arity = 2, -- the name and one argument
  flags = { "write", "fast" },
  keys = { 1, 1, 1 }, -- the first argument is a key
  summary = "Counts a visit to a page",
  run = function(ctx, page)
    local hits = math.tointeger(tonumber(ctx.db:get(page))) or 0
    ctx.db:set(page, tostring(hits + 1), ctx.now + 24 * 3600 * 1000)
    return hits + 1
  end,
})

-- CAS key old new: sets the key to new if it is old. Nothing comes between: commands run one after the other.
kv.command("CAS", {
  arity = 4,
  flags = { "write", "fast" },
  keys = { 1, 1, 1 },
  summary = "Sets a key if its value is as expected",
  run = function(ctx, key, old, new)
    if ctx.db:get(key) ~= old then
      return 0
    end
    ctx.db:set(key, new)
    return 1
  end,
})

local host, port = (arg[1] or "127.0.0.1:7000"):match("^%[?(.-)%]?:(%d+)$")
local node, err = kv.start { host = host, port = tonumber(port), dir = arg[2] or "data" }
if not node then
  io.stderr:write(err, "\n")
  os.exit(1)
end
print(("listening on %s:%d"):format(node.host, node.port))
io.stdout:flush()

local function close()
  node:close()
end
local signals = { loop.signal("TERM", close), loop.signal("INT", close) }
loop.run()
signals[1]:close()
signals[2]:close()
if node.failed then -- a disk that is full, say; the log has told why
  os.exit(1)
end
