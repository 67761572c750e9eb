local fake_node = require "spec.kv.fake_node"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

describe("commands about the node", function()
  local node, client

  before_each(function()
    node = fake_node.new()
    client = node:client()
  end)

  after_each(function()
    node:close()
  end)

  it("FLUSHALL and FLUSHDB delete all keys", function()
    for _, words in ipairs { { "FLUSHALL" }, { "FLUSHDB", "ASYNC" }, { "flushall", "sync" } } do
      client("MSET", "a", "1", "b", "2")
      client("EXPIRE", "a", "100")
      assert.equal("OK", client(table.unpack(words)))
      assert.equal(0, client("DBSIZE"))
      assert.equal(0, node.db.expires)
    end
    client("SET", "a", "1")
    assert.equal("ERR syntax error", client:err("FLUSHALL", "foo"))
    assert.equal("ERR syntax error", client:err("FLUSHDB", "ASYNC", "SYNC"))
    assert.equal(1, client("DBSIZE"))
    node:reopen()
    assert.equal(1, client("DBSIZE"))
  end)

  it("TIME tells seconds and microseconds", function()
    local time = client("TIME")
    assert.equal(2, #time)
    assert.is_true(math.tointeger(tonumber(time[1])) > 1700000000)
    assert.is_true(math.tointeger(tonumber(time[2])) < 1000000)
  end)

  it("SHUTDOWN closes the node, unless its options make no sense", function()
    local closed = 0
    rawset(node, "close", function()
      closed = closed + 1
      client.conn:close()
    end)
    assert.equal("ERR syntax error", client:err("SHUTDOWN", "foo"))
    assert.equal("ERR syntax error", client:err("SHUTDOWN", "SAVE", "NOSAVE"))
    assert.equal("ERR No shutdown in progress.", client:err("SHUTDOWN", "ABORT"))
    assert.equal(0, closed)
    assert.is_nil(client("SHUTDOWN", "NOSAVE")) -- no reply
    assert.equal(1, closed)
    rawset(node, "close", nil)
  end)

  it("INFO has the sections that are asked for", function()
    client("SET", "a", "1", "EX", "100")
    local all = client("INFO")
    assert.matches("# Server\r\nredis_version:7.0.15\r\n", all, 1, true)
    assert.matches("role:master\r\n", all, 1, true)
    assert.matches("db0:keys=1,expires=1,avg_ttl=0\r\n$", all)
    assert.equal("# Keyspace\r\ndb0:keys=1,expires=1,avg_ttl=0\r\n", client("INFO", "keyspace"))
    assert.equal("", client("INFO", "nonsense"))
    assert.matches("^# Clients\r\n.-\r\n\r\n# Keyspace\r\n", client("INFO", "keyspace", "CLIENTS"))
  end)

  it("INFO has the fields that clients and monitors read", function()
    local fields = {}
    for name, value in client("INFO"):gmatch("([%w_]+):([^\r\n]*)\r\n") do
      assert.is_nil(fields[name], name .. " is there twice")
      fields[name] = value
    end
    for name in ([[redis_version redis_mode process_id run_id tcp_port uptime_in_seconds uptime_in_days config_file
      connected_clients maxclients blocked_clients used_memory used_memory_human used_memory_rss used_memory_rss_human
      used_memory_peak used_memory_peak_human used_memory_lua total_system_memory maxmemory maxmemory_human
      maxmemory_policy mem_fragmentation_ratio loading async_loading rdb_changes_since_last_save
      rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status rdb_last_bgsave_time_sec
      rdb_current_bgsave_time_sec aof_enabled aof_rewrite_in_progress aof_rewrite_scheduled aof_last_bgrewrite_status
      aof_last_write_status total_connections_received total_commands_processed instantaneous_ops_per_sec
      total_net_input_bytes total_net_output_bytes rejected_connections expired_keys evicted_keys keyspace_hits
      keyspace_misses role connected_slaves master_failover_state master_replid master_replid2 master_repl_offset
      second_repl_offset repl_backlog_active used_cpu_sys used_cpu_user cluster_enabled]]):gmatch("%S+") do
      assert.is_not_nil(fields[name], name)
    end
    assert.equal(tostring(loop.process().pid), fields.process_id)
    assert.is_true(tonumber(fields.used_memory) > tonumber(fields.used_memory_lua)) -- the store's is in it
    assert.is_true(tonumber(fields.used_memory_peak) >= tonumber(fields.used_memory_rss))
  end)

  it("CONFIG GET matches names, CONFIG SET changes all or nothing", function()
    assert.same({ "save", "" }, client("CONFIG", "GET", "save"))
    assert.same({ "maxclients", "10", "maxmemory", "0", "maxmemory-policy", "noeviction" },
      client("CONFIG", "GET", "MAX*", "maxmemory"))
    assert.same({ "MaxMemory", "0" }, client("CONFIG", "GET", "MaxMemory")) -- as it was spelt
    assert.equal("OK", client("CONFIG", "SET", "maxclients", "20", "appendfsync", "always"))
    assert.same({ 20, "always" }, { node.maxclients, node.replica.sync })
    for _, case in ipairs {
      { "ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument must be between 1 and 4294967295 "
        .. "inclusive", "appendfsync", "no", "maxclients", "0" },
      { "ERR Unknown option or number of arguments for CONFIG SET - 'foo'", "maxclients", "5", "foo", "x" },
      { "ERR CONFIG SET failed (possibly related to argument 'port') - can't set immutable config", "port", "1" },
      { "ERR CONFIG SET failed (possibly related to argument 'maxclients') - duplicate parameter",
        "maxclients", "5", "maxclients", "6" },
      { "ERR syntax error", "maxclients", "5", "sync" },
    } do
      assert.equal(case[1], client:err("CONFIG", "SET", table.unpack(case, 2)))
    end
    assert.same({ 20, "always" }, { node.maxclients, node.replica.sync })
  end)

  it("COMMAND tells what the registry knows", function()
    assert.equal(#client("COMMAND"), client("COMMAND", "COUNT"))
    local get = client("COMMAND", "INFO", "get")[1]
    assert.same({ "get", 2 }, { get[1], get[2] })
    assert.same({ { ok = "readonly" }, { ok = "fast" } }, get[3])
    assert.same({ 1, 1, 1 }, { get[4], get[5], get[6] })
    assert.same({ { ok = "@read" }, { ok = "@string" }, { ok = "@fast" } }, get[7])
    assert.equal(resp.null, client("COMMAND", "INFO", "nonsense")[1])
    assert.equal("client|id", client("COMMAND", "INFO", "client|id")[1][1])
    local docs = client("COMMAND", "DOCS", "get")
    assert.equal("get", docs[1])
    assert.same({ "summary", "Get the value of a key" }, { docs[2][1], docs[2][2] })
    assert.same({ "client|id", "client|info" }, client("COMMAND", "LIST", "FILTERBY", "PATTERN", "client|i*"))
    assert.same({ "a", "b" }, client("COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"))
    assert.equal("ERR The command has no key arguments", client:err("COMMAND", "GETKEYS", "PING", "a"))
    assert.equal("ERR Invalid command specified", client:err("COMMAND", "GETKEYS", "nonsense", "a"))
  end)
end)
