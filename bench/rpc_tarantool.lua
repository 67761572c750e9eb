-- rpc_tarantool.lua HOST:PORT DIRECTORY: Tarantool's server for bench/run rpc. In memory, and nothing is logged.
-- luacheck: globals box echo
box.cfg { listen = arg[1], work_dir = arg[2], wal_mode = "none", log_level = 3, checkpoint_interval = 0 }
box.schema.user.grant("guest", "execute", "universe")

function echo(value) return value end

print("listening on " .. arg[1])
io.stdout:flush()
