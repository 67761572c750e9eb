-- A key-value node with small buffers and segments, so that a spec needs little to fill them. For `lunode run`; it ends
-- as `lunode kv` does: on SIGTERM with 0, where it has to stop with 1.
--
--   lunode run spec/support/small_node.lua PORT DIR [sync=always] [overlay=65536] [limit=…] [segment=…]
local kv = require "lunode.kv"
local loop = require "lunode.loop"

local port, dir = ...
local options = { port = math.tointeger(port), dir = dir }
for _, word in ipairs { select(3, ...) } do
  local name, value = word:match("^(%w+)=(.*)$")
  options[name] = math.tointeger(value) or value
end

local node, err = kv.start(options)
if not node then
  io.stderr:write("lunode: ", err, "\n")
  os.exit(1)
end
local signal
signal = loop.signal("TERM", function()
  signal:close()
  node:close()
end)
loop.run()
os.exit(node.failed and 1 or 0, true)
