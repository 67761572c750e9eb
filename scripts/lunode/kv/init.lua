-- The key-value node: opens its replica, listens, and makes the writes of each turn of the loop one entry of the log.
-- The commands are in the files beside this one; kv.command adds the user's own.
--
--   local kv = require "lunode.kv"
--   kv.command("HITS", { … })
--   local node = assert(kv.start { host = "127.0.0.1", port = 6380, dir = "data" })
local channels = require "lunode.kv.channels"
local cluster = require "lunode.kv.cluster"
local command = require "lunode.kv.command"
local context = require "lunode.kv.context"
local database = require "lunode.kv.db"
local listener = require "lunode.kv.listener"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local monitor = require "lunode.kv.monitor"
local once = require "lunode.kv.once"
local options_of = require "lunode.kv.options"
local parameters = require "lunode.kv.parameters"
local replicas = require "lunode.replica"
local save = require "lunode.kv.save"
local stats_module = require "lunode.kv.stats"
local tcp_server = require "lunode.tcp_server"
local timing = require "lunode.kv.timing"
local tracking = require "lunode.kv.tracking"
local transactions = require "lunode.kv.transactions"
local blocking = require "lunode.kv.blocking"
local watches = require "lunode.kv.watches"
local writes = require "lunode.kv.writes"

require "lunode.kv.connection"
require "lunode.kv.client"
require "lunode.kv.strings"
require "lunode.kv.lcs"
require "lunode.kv.bits"
require "lunode.kv.bitfield"
require "lunode.kv.hashes"
require "lunode.kv.sets"
require "lunode.kv.zsets"
require "lunode.kv.zset_ranges"
require "lunode.kv.zset_algebra"
require "lunode.kv.lists"
require "lunode.kv.list_waits"
require "lunode.kv.zset_waits"
require "lunode.kv.generic"
require "lunode.kv.copy"
require "lunode.kv.sort"
require "lunode.kv.object"
require "lunode.kv.dump"
require "lunode.kv.expiry"
require "lunode.kv.server"
require "lunode.kv.config"
require "lunode.kv.introspect"
require "lunode.kv.client_modes"
require "lunode.kv.latency"
require "lunode.kv.slots"
require "lunode.kv.admin"
require "lunode.kv.pubsub"
require "lunode.kv.slowlog"

local M = {}

M.command = command.command

local EXPIRE_INTERVAL = 0.1
local EXPIRE_RETRY = 60
local CLOSE_GRACE = 5 -- seconds that clients have to take their last replies

-- What to do, where the system's message alone does not say it. The store's own messages do.
local REMEDIES = {
  EADDRINUSE = "another program listens there; end that, or choose another port",
  EADDRNOTAVAIL = "this machine has no such address; choose another one",
}

---@class lunode.kv.node
---@field host string
---@field port integer
---@field dir string
---@field replica lunode.replica
---@field cluster lunode.raft.driver?  of a member of a cluster
---@field save lunode.kv.save
---@field requirepass string?
---@field maxclients integer
---@field watches lunode.kv.watches
---@field channels lunode.kv.channels
---@field notify_classes table<string, boolean>
---@field monitors lunode.kv.monitors
---@field timing lunode.kv.timing
---@field tracking lunode.kv.tracking
---@field settings table  what CONFIG SET changes and has no other place: see kv.parameters
---@field started integer   milliseconds since the epoch
---@field failed string?    why it had to stop
---@field closed boolean
---@field stats lunode.kv.stats
local methods = {}
local node_mt = { __name = "lunode.kv.node", __index = methods }

local function new_node(options)
  local self = setmetatable({
    host = options.host or "127.0.0.1",
    port = options.port or 6380,
    dir = options.dir,
    requirepass = options.requirepass ~= "" and options.requirepass or nil,
    maxclients = options.maxclients or 10000,
    replica = nil,
    cluster = nil,
    db = nil,
    ctx = nil,
    writes = nil,
    save = nil,
    sessions = {}, -- conn → session
    watches = watches.new(),
    blocking = nil,
    channels = channels.new(),
    notify_classes = {},
    settings = parameters.defaults(),
    paused = nil, -- CLIENT PAUSE: { mode, until_ }
    monitors = nil,
    timing = nil,
    tracking = nil,
    gather = transactions.gather,
    next_id = 1,
    stats = stats_module.new(),
    server = nil,
    hook = nil,
    end_turn = nil, -- the dispatcher's
    timers = {},
    closing = false,
    closed = false,
    failed = nil,
    run_id = ("%016x%016x%08x"):format(loop.random(0, math.maxinteger), loop.random(0, math.maxinteger),
      loop.random(0, 0xFFFFFFFF)),
  }, node_mt)
  self.settings.protected = options.protected or false
  self.blocking = blocking.new(self)
  self.monitors = monitor.new(self)
  self.timing = timing.new(self)
  self.tracking = tracking.new(self)
  return self
end

-- ---- sessions

---The sessions, ordered by id.
---@return lunode.kv.session[]
function methods:list_sessions()
  local list = {}
  for _, session in pairs(self.sessions) do
    list[#list + 1] = session
  end
  table.sort(list, function(a, b)
    return a.id < b.id
  end)
  return list
end

---@param id integer
---@return lunode.kv.session?
function methods:find_session(id)
  for _, session in pairs(self.sessions) do -- ids are unique
    if session.id == id then
      return session
    end
  end
end

---Closes clients that have sent nothing for `timeout` seconds, and wait for nothing.
---@param seconds integer  0: none
function methods:set_timeout(seconds)
  self.settings.timeout = seconds
  if self.timers.idle then
    self.timers.idle:close()
  end
  self.timers.idle = seconds > 0 and loop.timer(1, function()
    local now = self.ctx.now or self:read_clock()
    for _, session in ipairs(self:list_sessions()) do
      if now - session.last > seconds * 1000 and session:may_time_out() then
        session.conn:close()
      end
    end
  end, 1) or nil
end

---Counts from zero: CONFIG RESETSTAT.
function methods:reset_stats()
  stats_module.reset(self)
  local db = self.db
  db.hits, db.misses, db.expired = 0, 0, 0
  self.timing:reset()
end

---The password that clients must give from now on; "" for none. Those connected stay as they are.
---@param password string
function methods:set_password(password)
  self.requirepass = password ~= "" and password or nil
  if not self.requirepass then
    for _, session in ipairs(self:list_sessions()) do
      session:set_authenticated(true)
    end
  end
end

-- ---- the turn of the loop

---The time of this turn, read once; `end_turn` forgets it.
---@return integer now  milliseconds since the epoch
function methods:read_clock()
  local now = math.floor(loop.time() * 1000)
  self.ctx.now, self.db.now = now, now
  return now
end

---Makes the writes of this turn an entry. Replies leave only after it is written: before_sleep comes before the flush
---of output.
function methods:commit()
  if not (self.failed or self.closed) then
    self.blocking:end_turn()
    self.tracking:end_turn()
    self.writes:end_turn(self.ctx.now or self:read_clock())
  end
  self.end_turn()
  if self.closing and not self:is_waiting() then
    self:say_goodbye()
  end
end

---Fail-stop: an entry could not be written, so no reply to it may leave. All connections drop, and the loop stops.
---@param err string  the log's or the store's, which says what to do
function methods:fail(err)
  self.failed = err
  logger.error("the node stops: %s. Every write that it acknowledged is kept", err)
  for _, session in ipairs(self:list_sessions()) do
    session.conn:abort()
  end
  self.save:close()
  self.server:close()
  self.channels:close()
  loop.stop()
end

local function start_timers(node)
  node.timers.expire = loop.timer(EXPIRE_INTERVAL, function(timer)
    timer:again(EXPIRE_RETRY) -- an error, of rows that cannot be read, neither ends it nor comes ten times a second
    stats_module.tick(node)
    local due = node.db:is_due(node.ctx.now or node:read_clock())
    local done = due and node.writes:internal("expire")
    timer:again(done and 0 or EXPIRE_INTERVAL)
  end)
  once.start(node)
end

-- Opens the replica and the keys in its store, and applies what the log has beyond that.
local function open_data(node, options)
  local err, code
  if options.cluster then
    return cluster.open(node, options)
  end
  node.replica, err, code = replicas.open {
    dir = options.dir,
    sync = options.sync or "everysec",
    cache = options.cache,
    engine = options.engine,
    overlay = options.overlay,
    limit = options.limit,
    segment = options.segment,
    apply = function(entry)
      node.writes:apply(entry)
    end,
    on_room = function()
      node.writes:resume()
    end,
    hold = function(index)
      node.server:hold(index)
    end,
    release = function(index)
      node.server:release(index)
    end,
    on_failure = function(failure)
      node:fail(failure)
    end,
  }
  if not node.replica then
    return nil, err, code
  end
  node.db, err, code = database.open(node.replica.store)
  if node.db then
    node.ctx = context.new(node, node.db)
    node.started = node:read_clock()
    node.writes = writes.new(node, node.replica)
    node.save = save.new(node)
    local ok, count = pcall(node.replica.recover, node.replica)
    if ok then
      return count
    end
    err, code = count, "ECORRUPT"
  end
  node.replica:abandon()
  return nil, ("cannot use the data in %s: %s"):format(options.dir, err), code
end

---Opens the data and listens.
---@param options lunode.kv.options
---@return lunode.kv.node? node
---@return string? err  one line: the cause and what to do
---@return lunode.code? code
function M.start(options)
  local fault = options_of.fault(options)
  if fault then
    error(fault, 2)
  end
  local renamed, wrong = command.rename_all(options.rename_command or {})
  if not renamed then
    error("kv.start: rename_command: " .. wrong, 2)
  end
  local node = new_node(options)
  local replayed, err, code = open_data(node, options)
  if not replayed then
    return nil, err, code
  end
  node.server, err, code = tcp_server.listen(node.host, node.port, listener.callbacks(node))
  if not node.server then
    node.replica:abandon()
    local remedy = REMEDIES[code]
    return nil, remedy and err .. "; " .. remedy or err, code
  end
  node.host, node.port = node.server:sock()
  node.hook = loop.before_sleep(function()
    node:commit()
  end)
  start_timers(node)
  if node.cluster then
    cluster.start(node, options)
  end
  return node
end

---Runs a command as a client's is run, and waits for its reply, in a task.
---@param name string
---@param ... string|number
---@return any reply  as resp.decode gives it; an error as `{err = "ERR …"}`
function methods:call(name, ...)
  return require("lunode.kv.call").call(self, name, ...)
end

-- ---- the end

---Stops accepting, lets commands that wait have their replies, writes everything to disk, closes the replica.
---Idempotent; it is done when `closed` is true, and then nothing of the node keeps the loop alive.
function methods:close()
  if self.closing then
    return
  end
  self.closing = true
  self.save:close()
  self.server:close()
  self.channels:close()
  for _, timer in pairs(self.timers) do
    timer:close()
  end
  self.timers = {}
  self.blocking:close()
  if self.cluster then
    cluster.hand_over(self)
  end
  local open = self:list_sessions()
  if #open == 0 and not self:is_waiting() then
    return self:finish()
  end
  for _, session in ipairs(open) do
    session:leave() -- it sends nothing more
  end
  self.timers.grace = loop.timer(CLOSE_GRACE, function(timer)
    timer:close()
    self.timers.grace = nil
    for _, session in ipairs(self:list_sessions()) do
      session.conn:abort()
    end
    if self.stats.clients == 0 then
      self:finish()
    end
  end)
end

---Whether commands wait for the disk.
---@return boolean
function methods:is_waiting()
  return self.replica.waiting > 0 or self.writes.stalled ~= nil
end

-- Nothing waits any more: every reply is on its way.
function methods:say_goodbye()
  if self.stats.clients == 0 then
    return self:finish()
  end
  for _, session in ipairs(self:list_sessions()) do
    session.conn:close()
  end
end

-- All connections are gone. What they have had written in this turn goes first, and `commit` comes back here when it is
-- on disk.
function methods:finish()
  if self.closed then
    return
  elseif not self.failed then
    self.writes:end_turn(self.ctx.now or self:read_clock())
    if self:is_waiting() and self.timers.grace then
      return
    end
  end
  if self.timers.grace then
    self.timers.grace:close()
  end
  self.closed = true
  self.hook:close()
  if self.failed then
    self.replica:abandon()
    return
  end
  if self.db.store:stats().frozen > 0 then
    logger.info("the store is at work for what was written or deleted before; the end waits for the piece at hand")
  end
  local ok, err = self.replica:close()
  if not ok then
    self:fail(err)
  end
end

return M
