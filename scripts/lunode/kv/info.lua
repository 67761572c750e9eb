-- The text of INFO, section by section: Redis's fields where we have such a thing, and few of our own.
local ordered = require("lunode.kv.channels").ordered
local loop = require "lunode.loop"
local memory = require "lunode.kv.memory"
local replication = require "lunode.kv.replication_info"
local version = require "lunode.version"

local M = {}

local UNITS = { "K", "M", "G", "T" }

local function human(bytes)
  local unit = "B"
  for _, larger in ipairs(UNITS) do
    if bytes < 1024 then
      break
    end
    bytes, unit = bytes / 1024, larger
  end
  return (unit == "B" and "%d%s" or "%.2f%s"):format(bytes, unit)
end

local function count(set)
  local n = 0
  for _ in pairs(set) do
    n = n + 1
  end
  return n
end

local sections = {}

function sections.server(ctx)
  local node = ctx.node
  local uptime = (ctx.now - node.started) // 1000
  return {
    { "redis_version", "7.0.15" }, -- what clients may expect of us
    { "redis_mode", replication.mode(node) },
    { "lunode_version", version },
    { "lua_version", _VERSION:match("%S+$") },
    { "multiplexing_api", "epoll" },
    { "arch_bits", 64 },
    { "process_id", loop.process().pid },
    { "run_id", node.run_id },
    { "tcp_port", node.port },
    { "server_time_usec", math.floor(loop.time() * 1000000) },
    { "uptime_in_seconds", uptime },
    { "uptime_in_days", uptime // 86400 },
    { "config_file", "" }, -- see CONFIG REWRITE
  }
end

function sections.clients(ctx)
  return {
    { "connected_clients", ctx.node.stats.clients },
    { "cluster_connections", 0 },
    { "maxclients", ctx.node.maxclients },
    { "blocked_clients", ctx.node.blocking.count },
    { "tracking_clients", ctx.node.tracking.count },
  }
end

-- What is known to be used, and what the system has given to the process for it.
function sections.memory(ctx)
  local used, process = memory.parts(ctx.node), loop.process()
  return {
    { "used_memory", used.total },
    { "used_memory_human", human(used.total) },
    { "used_memory_rss", process.rss },
    { "used_memory_rss_human", human(process.rss) },
    { "used_memory_peak", process.peak_rss }, -- of what is used no peak is kept
    { "used_memory_peak_human", human(process.peak_rss) },
    { "total_system_memory", process.system_memory },
    { "total_system_memory_human", human(process.system_memory) },
    { "used_memory_lua", used.lua },
    { "used_memory_lua_human", human(used.lua) },
    { "maxmemory", 0 },
    { "maxmemory_human", "0B" },
    { "maxmemory_policy", "noeviction" },
    { "mem_fragmentation_ratio", ("%.2f"):format(process.rss / used.total) },
    { "mem_clients_normal", used.queued },
    { "mem_aof_buffer", used.log },
  }
end

function sections.persistence(ctx)
  local replica, save = ctx.node.replica, ctx.node.save
  local store, log = replica.store:stats(), replica.log:stats()
  local ok = not ctx.node.failed and not log.full and not store.full
  return {
    { "loading", 0 },
    { "async_loading", 0 },
    { "rdb_changes_since_last_save", 0 },
    { "rdb_bgsave_in_progress", save:is_busy() and 1 or 0 },
    { "rdb_last_save_time", save.last },
    { "rdb_last_bgsave_status", save.ok and "ok" or "err" },
    { "rdb_last_bgsave_time_sec", -1 },
    { "rdb_current_bgsave_time_sec", -1 },
    { "aof_enabled", 1 },
    { "aof_rewrite_in_progress", 0 },
    { "aof_rewrite_scheduled", 0 },
    { "aof_last_bgrewrite_status", "ok" },
    { "aof_last_write_status", ok and "ok" or "err" },
    { "aof_current_size", log.disk_bytes },
    { "aof_pending_bio_fsync", log.unsynced_bytes > 0 and 1 or 0 },
    { "sync", replica.sync },
    { "log_first_index", replica.log:first() },
    { "log_last_index", replica.log:last() },
    { "log_synced_index", replica.log:synced() },
    { "log_segments", log.segments },
    { "log_bytes", log.disk_bytes },
    { "log_syncs", log.syncs },
    { "log_last_sync_usec", math.floor(log.last_sync_seconds * 1e6) },
    { "log_full", log.full and 1 or 0 },
    { "store_engine", store.engine },
    { "store_applied_index", store.applied },
    { "store_durable_index", store.durable },
    { "store_pending_writes", store.pending },
    { "store_overlay_bytes", store.overlay_bytes },
    { "store_flush_in_progress", store.frozen > 0 and 1 or 0 },
    { "store_last_flush_usec", math.floor(store.flush_time * 1e6) },
    { "store_batches", store.batches },
    { "store_disk_bytes", store.disk_bytes },
    { "store_full", store.full and 1 or 0 },
    { "cache_hits", store.cache_hits },
    { "cache_misses", store.cache_misses },
    { "cache_rows", store.cache_rows },
    { "cache_bytes", store.cache_bytes },
  }
end

function sections.stats(ctx)
  local stats, channels, db = ctx.node.stats, ctx.node.channels, ctx.db
  local _, received, sent = memory.parts(ctx.node)
  return {
    { "total_connections_received", stats.connections },
    { "total_commands_processed", stats.commands },
    { "instantaneous_ops_per_sec", stats.rate },
    { "total_net_input_bytes", stats.received + received },
    { "total_net_output_bytes", stats.sent + sent },
    { "rejected_connections", stats.rejected },
    { "expired_keys", db.expired },
    { "evicted_keys", 0 },
    { "keyspace_hits", db.hits },
    { "keyspace_misses", db.misses },
    { "pubsub_channels", count(channels.channels) },
    { "pubsub_patterns", channels.pattern_count },
    { "pubsubshard_channels", count(channels.shards) },
    { "total_error_replies", stats.errors },
  }
end

function sections.cpu()
  local process = loop.process()
  return {
    { "used_cpu_sys", ("%.6f"):format(process.system) },
    { "used_cpu_user", ("%.6f"):format(process.user) },
    { "used_cpu_sys_children", "0.000000" },
    { "used_cpu_user_children", "0.000000" },
  }
end

-- Those that are timed: see kv.timing.
function sections.commandstats(ctx)
  local lines, commands = {}, ctx.node.timing.commands
  for i, name in ipairs(ordered(commands)) do
    local of = commands[name]
    lines[i] = { "cmdstat_" .. name, ("calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=0,failed_calls=0"):format(
      of.calls, of.microseconds, of.microseconds / of.calls) }
  end
  return lines
end

-- The microseconds that a share of all calls has not exceeded, as far as buckets tell.
local function percentile(of, share)
  local sum = 0
  for bucket = 0, 32 do
    sum = sum + (of.buckets[bucket] or 0)
    if sum >= of.calls * share then
      return 1 << bucket
    end
  end
end

function sections.latencystats(ctx)
  local lines, commands = {}, ctx.node.timing.commands
  for i, name in ipairs(ordered(commands)) do
    local of = commands[name]
    lines[i] = { "latency_percentiles_usec_" .. name, ("p50=%d,p99=%d,p99.9=%d"):format(percentile(of, 0.5),
      percentile(of, 0.99), percentile(of, 0.999)) }
  end
  return lines
end

function sections.replication(ctx)
  return replication.replication(ctx.node)
end

function sections.cluster(ctx)
  return { { "cluster_enabled", ctx.node.cluster and 1 or 0 } }
end

function sections.keyspace(ctx)
  local db = ctx.db
  if db.keys == 0 then
    return {}
  end
  return { { "db0", ("keys=%d,expires=%d,avg_ttl=0"):format(db.keys, db.expires) } }
end

local ORDER = {
  "server", "clients", "memory", "persistence", "stats", "replication", "cpu", "commandstats", "latencystats",
  "cluster", "keyspace",
}
local EVERY = { all = true, everything = true, default = true }
local ASKED_FOR = { commandstats = true, latencystats = true } -- by name, or as "all"

local function title(name)
  return "# " .. (name == "cpu" and "CPU" or name:sub(1, 1):upper() .. name:sub(2))
end

---The sections named, in our order; all of them without a name. Unknown names are skipped.
---@param ctx lunode.kv.ctx
---@param ... string
---@return string
function M.text(ctx, ...)
  local wanted, every, all = {}, select("#", ...) == 0, false
  for _, name in ipairs { ... } do
    name = name:lower()
    wanted[name] = true
    every, all = every or EVERY[name], all or EVERY[name] and name ~= "default"
  end
  local parts = {}
  for _, name in ipairs(ORDER) do
    if wanted[name] or all or every and not ASKED_FOR[name] then
      local lines = { title(name) }
      for i, field in ipairs(sections[name](ctx)) do
        lines[i + 1] = field[1] .. ":" .. field[2]
      end
      parts[#parts + 1] = table.concat(lines, "\r\n") .. "\r\n"
    end
  end
  return table.concat(parts, "\r\n")
end

return M
