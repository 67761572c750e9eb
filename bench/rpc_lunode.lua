-- rpc_lunode.lua HOST:PORT: our server for bench/run rpc.
local rpc = require "lunode.rpc"

local server = assert(rpc.serve(arg[1], { echo = function(_, value) return value end }))
print("listening on " .. server:address())
