-- A node without sockets for the specs of commands: a real store in a temporary directory, a log that is a list, a
-- clock that stands still until it is told, and clients whose connections are tables.
--
--   local node = fake_node.new()
--   local client = node:client()
--   client("SET", "a", "1")        --> "OK"; errors come as "ERR …" in a table {err = …}, null as resp.null
--   node:advance(1000)             -- milliseconds
--
-- fake_node.new { sync = "always" }: commands that write wait for node:commit().
local blocking = require "lunode.kv.blocking"
local channels = require "lunode.kv.channels"
local context = require "lunode.kv.context"
local database = require "lunode.kv.db"
local dispatch = require "lunode.kv.dispatch"
local monitor = require "lunode.kv.monitor"
local parameters = require "lunode.kv.parameters"
local resp = require "lunode.resp"
local save = require "lunode.kv.save"
local session = require "lunode.kv.session"
local stats = require "lunode.kv.stats"
local store = require "lunode.store"
local tmp = require "lunode.test.tmp"
local timing = require "lunode.kv.timing"
local tracking = require "lunode.kv.tracking"
local transactions = require "lunode.kv.transactions"
local watches = require "lunode.kv.watches"
local writes = require "lunode.kv.writes"

require "lunode.kv"

local M = {}

local conn_methods = {}

function conn_methods:write(bytes)
  if self.closed then
    return nil, "closed", "ENOTCONN"
  end
  self.output = self.output .. bytes
  return true
end

function conn_methods:set(options)
  for name, value in pairs(options) do
    self.options[name] = value
  end
end

function conn_methods:pause()
  self.paused = true
end

function conn_methods:resume()
  self.paused = false
end

function conn_methods:close()
  self.closed = true
end

conn_methods.abort = conn_methods.close

function conn_methods:stats()
  return { bytes_read = 0, bytes_written = 0, queued = #self.output, fd = 7, state = "open" }
end

function conn_methods:peer()
  return "127.0.0.1", 50000
end

function conn_methods:sock()
  return "127.0.0.1", 6380
end

function M.conn()
  return setmetatable({ output = "", options = {}, paused = false, closed = false },
    { __index = conn_methods })
end

local function simple(value)
  if type(value) == "table" and value.ok then
    return value.ok
  end
  return value
end

-- ---- clients: call them with a command, and get its decoded reply

local client_mt = {}
client_mt.__index = client_mt

function client_mt:__call(...)
  self:send(...)
  return self:reply()
end

local function with_traceback(err)
  return type(err) == "string" and debug.traceback(err, 2) or err
end

---Sends a command as the decoder hands it over, a long one's arguments as a list; and encodes the reply as it does.
function client_mt:send(name, ...)
  local node, conn = self.node, self.conn
  local handler = type((...)) == "table" and node.on_long_message or node.on_message
  local ok, bytes = xpcall(function(...)
    local values = table.pack(handler(conn, name, ...))
    return values.n > 0 and resp.encode(values[1], conn.options.protocol) or ""
  end, with_traceback, ...)
  if not ok then
    bytes = resp.encode(node.on_error(conn, bytes), conn.options.protocol)
  end
  conn:write(bytes)
end

---The next reply; nil when there is none.
function client_mt:reply()
  local value, rest = resp.decode(self.conn.output)
  if value == nil then
    return nil
  end
  self.conn.output = self.conn.output:sub(rest)
  return simple(value)
end

---The error of a command's reply.
function client_mt:err(...)
  local reply = self(...)
  return type(reply) == "table" and reply.err or error("no error but " .. tostring(reply), 2)
end

-- ---- nodes

local node_methods = {}

function node_methods:read_clock()
  self.ctx.now, self.db.now = self.clock, self.clock
  return self.clock
end

function node_methods:advance(milliseconds)
  self.clock = self.clock + milliseconds
  self:finish_turn()
end

---The turn of the loop ends, and the next one begins.
function node_methods:finish_turn()
  self.blocking:end_turn()
  self.tracking:end_turn()
  self.writes:end_turn(self.clock)
  self.end_turn()
  self:read_clock()
end

---The disk has taken what was proposed: its commands run.
function node_methods:commit()
  self.replica:commit_all()
  self:finish_turn()
end

function node_methods:client()
  local conn = M.conn()
  self.sessions[conn] = session.new(self, conn, self.next_id, self.clock)
  self.next_id = self.next_id + 1
  return setmetatable({ node = self, conn = conn, session = self.sessions[conn] }, client_mt)
end

function node_methods:list_sessions()
  local list = {}
  for _, one in pairs(self.sessions) do
    list[#list + 1] = one
  end
  table.sort(list, function(a, b)
    return a.id < b.id
  end)
  return list
end

function node_methods:reset_stats()
  self.timing:reset()
end

function node_methods:set_password(password)
  self.requirepass = password ~= "" and password or nil
end

---Commits, closes the store and opens it anew.
function node_methods:reopen()
  self:finish_turn()
  assert(self.db.store:commit(false))
  self.db.store:close()
  self:open()
end

function node_methods:close()
  self.db.store:close()
end

function node_methods:open()
  self.db = assert(database.open(assert(store.open(self.dir))))
  self.replica.store = self.db.store
  self.ctx = context.new(self, self.db)
  self.writes = writes.new(self, self.replica)
  self:read_clock()
  self.on_message, self.on_long_message, self.end_turn = dispatch.dispatchers(self)
  self.on_error = dispatch.error_handler(self)
end

-- ---- what stands for the replica

local replica_methods = {}

function replica_methods:commits_at_once()
  return self.sync ~= "always" and #self.proposed == 0
end

function replica_methods:set_sync(sync)
  self.sync = sync
end

function replica_methods:room()
  if self.full then
    return nil, table.unpack(self.full)
  end
  return true
end

replica_methods.reserve = replica_methods.room

function replica_methods:next_entry(time)
  self.seed = self.seed + 1
  return time, self.seed
end

local function append(self, payload, time, seed)
  self.entries[#self.entries + 1] = { index = #self.entries + 1, time = time, seed = seed, payload = payload }
end

function replica_methods:record(batch, time, seed)
  append(self, batch:take(), time, seed)
end

function replica_methods:propose(payload, time, ctx)
  local _, seed = self:next_entry(time)
  append(self, payload, time, seed)
  local entry = self.entries[#self.entries]
  entry.context = ctx
  self.proposed[#self.proposed + 1] = entry
  self.waiting = #self.proposed
end

function replica_methods:commit_all()
  local proposed = self.proposed
  self.proposed, self.waiting = {}, 0
  for _, entry in ipairs(proposed) do
    self.node.writes:apply(entry)
    entry.context = nil
  end
end

local FAKE_LOG = {
  first = function()
    return 1
  end,
  last = function()
    return 0
  end,
  synced = function()
    return 0
  end,
  stats = function()
    return { disk_bytes = 0, unsynced_bytes = 0, segments = 1, syncs = 0, last_sync_seconds = 0, full = false }
  end,
}

local function new_replica(node, sync)
  return setmetatable(
    {
      node = node, sync = sync or "no", log = FAKE_LOG, store = nil,
      seed = 0, entries = {}, proposed = {}, waiting = 0, full = nil,
    },
    { __index = replica_methods }
  )
end

---@param options? {requirepass: string?, sync: string?}
function M.new(options)
  options = options or {}
  local self = setmetatable({
    watches = watches.new(), channels = channels.new(), notify_classes = {},
    settings = parameters.defaults(), timers = {}, gather = transactions.gather,
    dir = tmp.dir() .. "/data", clock = 1700000000000, next_id = 1, sessions = {}, host = "127.0.0.1", port = 6380,
    maxclients = 10, requirepass = options.requirepass, run_id = "0", started = 1700000000000,
    stats = stats.new(),
  }, { __index = node_methods })
  self.blocking = blocking.new(self)
  self.monitors, self.timing, self.tracking = monitor.new(self), timing.new(self), tracking.new(self)
  self.replica = new_replica(self, options.sync)
  self.save = save.new(self)
  self:open()
  return self
end

return M
