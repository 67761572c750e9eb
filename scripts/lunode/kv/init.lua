-- The key-value node: opens the store, listens, and makes each turn of the loop one batch of writes. The commands are
-- in the files beside this one; kv.command adds the user's own.
--
--   local kv = require "lunode.kv"
--   kv.command("HITS", { … })
--   local node = assert(kv.start { host = "127.0.0.1", port = 6380, dir = "data" })
local command = require "lunode.kv.command"
local database = require "lunode.kv.db"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"
local sessions = require "lunode.kv.session"
local store = require "lunode.store"
local tcp_server = require "lunode.tcp_server"

require "lunode.kv.connection"
require "lunode.kv.client"
require "lunode.kv.strings"
require "lunode.kv.generic"
require "lunode.kv.expiry"
require "lunode.kv.server"
require "lunode.kv.config"
require "lunode.kv.introspect"

local M = {}

M.command = command.command

local EXPIRE_PER_TURN = 500 -- keys; then the next turn goes on
local EXPIRE_INTERVAL = 0.1
local EXPIRE_RETRY = 60
local CLOSE_GRACE = 5 -- seconds that clients have to take their last replies

-- Replies can be as large as values and key listings; what a client leaves unread is bounded by the watermark.
local OUTPUT_CAP = 8 << 30

-- What to do, where the system's message alone does not say it. The store's own messages do.
local REMEDIES = {
  EADDRINUSE = "another program listens there; end that, or choose another port",
  EADDRNOTAVAIL = "this machine has no such address; choose another one",
}

---@class lunode.kv.options
---@field host? string         (default "127.0.0.1")
---@field port? integer        0 lets the kernel choose (default 6380)
---@field dir string           where the data lies
---@field sync? "always"|"everysec"|"no"  when a write is on disk: before its reply, within a second,
---   or whenever the system does it (default "everysec")
---@field requirepass? string  the password that clients must give
---@field maxclients? integer  (default 10000)
---@field cache? integer       bytes of the store's block cache

---What handlers get as their first argument.
---@class lunode.kv.ctx
---@field node lunode.kv.node
---@field db lunode.kv.db
---@field session lunode.kv.session  whose command it is
---@field now integer  milliseconds since the epoch, the same for the whole turn of the loop

---@class lunode.kv.node
---@field host string
---@field port integer
---@field dir string
---@field sync "always"|"everysec"|"no"
---@field requirepass string?
---@field maxclients integer
---@field started integer   milliseconds since the epoch
---@field failed string?    why it had to stop
---@field closed boolean
---@field stats {connections: integer, rejected: integer, commands: integer, errors: integer, clients: integer}
local methods = {}
local node_mt = { __name = "lunode.kv.node", __index = methods }

local OPTION_TYPES = {
  host = "string", port = "number", dir = "string", sync = "string", requirepass = "string", maxclients = "number",
  cache = "number",
}
local RANGES = { -- of the numbers
  port = { 0, 65535 }, maxclients = { 1, math.maxinteger }, cache = { 0, math.maxinteger },
}
local SYNC = { always = true, everysec = true, no = true }

local function check(options)
  if type(options) ~= "table" then
    error("kv.start needs a table of options", 3)
  end
  for name, value in pairs(options) do
    local expected = OPTION_TYPES[name]
    if not expected then
      error(("kv.start: unknown option %s"):format(tostring(name)), 3)
    elseif type(value) ~= expected then
      error(("kv.start: %s must be a %s, not a %s"):format(name, expected, type(value)), 3)
    end
    local range = RANGES[name]
    if range and (math.type(value) ~= "integer" or value < range[1] or value > range[2]) then
      error(("kv.start: %s must be an integer from %d to %d"):format(name, range[1], range[2]), 3)
    end
  end
  if not options.dir then
    error("kv.start: dir is missing", 3)
  elseif options.sync and not SYNC[options.sync] then
    error(('kv.start: sync must be "always", "everysec" or "no", not "%s"'):format(options.sync), 3)
  end
end

local function new_node(options, db)
  local self = setmetatable({
    host = options.host or "127.0.0.1",
    port = options.port or 6380,
    dir = options.dir,
    sync = options.sync or "everysec",
    requirepass = options.requirepass ~= "" and options.requirepass or nil,
    maxclients = options.maxclients or 10000,
    db = db,
    ctx = { db = db, now = nil, session = nil },
    sessions = {}, -- conn → session
    next_id = 1,
    stats = { connections = 0, rejected = 0, commands = 0, errors = 0, clients = 0 },
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
  self.ctx.node = self
  self.started = self:read_clock()
  return self
end

-- ---- connections

local MAXCLIENTS = resp.error("ERR max number of clients reached")

local function callbacks(node)
  local all, stats = node.sessions, node.stats
  local on_message, on_long_message
  on_message, on_long_message, node.end_turn = sessions.dispatchers(node)
  return {
    decoder = "resp",
    cap = OUTPUT_CAP,
    on_connect = function(conn)
      if stats.clients >= node.maxclients then
        stats.rejected = stats.rejected + 1
        resp.reply(conn, MAXCLIENTS)
        conn:close()
        return
      end
      stats.connections = stats.connections + 1
      stats.clients = stats.clients + 1
      all[conn] = sessions.new(node, conn, node.next_id, node.ctx.now or node:read_clock())
      node.next_id = node.next_id + 1
    end,
    on_message = on_message,
    on_long_message = on_long_message,
    on_error = sessions.error_handler(node),
    on_bad_message = function(conn, err)
      resp.reply(conn, resp.error("ERR Protocol error: " .. err))
    end,
    on_close = function(conn)
      if all[conn] then
        all[conn] = nil
        stats.clients = stats.clients - 1
        if node.closing and stats.clients == 0 then
          node:finish()
        end
      end
    end,
  }
end

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

---The time of this turn, read once; `commit` forgets it.
---@return integer now  milliseconds since the epoch
function methods:read_clock()
  local now = math.floor(loop.time() * 1000)
  self.ctx.now, self.db.now = now, now
  return now
end

---Makes the writes of this turn one batch. Replies leave only after it: before_sleep comes before the flush of output.
function methods:commit()
  self.end_turn()
  if self.failed or self.closed then
    return
  end
  local db = self.db
  local ok, err = not db.broken, db.broken
  local always = self.sync == "always"
  if ok and (db.store:pending() > 0 or always and db.unsynced) then -- a flush commits by itself, without sync
    ok, err = db:commit(always)
  end
  if not ok then
    self:fail(err)
  end
end

---Fail-stop: a batch could not be written, so no reply to it may leave. All connections drop, and the loop stops.
---@param err string  the store's, which says what to do
function methods:fail(err)
  self.failed = err
  logger.error("the node stops: %s. Every write that it acknowledged is kept", err)
  for _, session in ipairs(self:list_sessions()) do
    session.conn:abort()
  end
  self.server:close()
  loop.stop()
end

local function start_timers(node)
  node.timers.expire = loop.timer(EXPIRE_INTERVAL, function(timer)
    timer:again(EXPIRE_RETRY) -- an error, of rows that cannot be read, neither ends it nor comes ten times a second
    local more = false
    if node.db.expires > 0 then
      if not node.ctx.now then
        node:read_clock()
      end
      more = node.db:expire_due(EXPIRE_PER_TURN)
    end
    timer:again(more and 0 or EXPIRE_INTERVAL)
  end)
  node.timers.sync = loop.timer(1, function()
    if node.db.unsynced and node.sync == "everysec" and not node.failed then
      local ok, err = node.db:commit(true)
      if not ok then
        node:fail(err)
      end
    end
  end, 1)
end

---Opens the store and listens.
---@param options lunode.kv.options
---@return lunode.kv.node? node
---@return string? err  one line: the cause and what to do
---@return lunode.code? code
function M.start(options)
  check(options)
  local handle, err, code = store.open(options.dir, { cache = options.cache })
  if not handle then
    return nil, err, code
  end
  local db
  db, err, code = database.open(handle)
  if not db then
    handle:close()
    return nil, ("cannot use the data in %s: %s"):format(options.dir, err), code
  end
  local node = new_node(options, db)
  node.server, err, code = tcp_server.listen(node.host, node.port, callbacks(node))
  if not node.server then
    handle:close()
    local remedy = REMEDIES[code]
    return nil, remedy and err .. "; " .. remedy or err, code
  end
  node.host, node.port = node.server:sock()
  node.hook = loop.before_sleep(function()
    node:commit()
  end)
  start_timers(node)
  return node
end

-- ---- the end

---Stops accepting, sends what was replied, writes everything to disk, closes the store. Idempotent; it is done when
---`closed` is true, and then nothing of the node keeps the loop alive.
function methods:close()
  if self.closing then
    return
  end
  self.closing = true
  self.server:close()
  for _, timer in pairs(self.timers) do
    timer:close()
  end
  self.timers = {}
  local open = self:list_sessions()
  if #open == 0 then
    return self:finish()
  end
  for _, session in ipairs(open) do
    session.conn:close()
  end
  self.timers.grace = loop.timer(CLOSE_GRACE, function()
    for _, session in ipairs(self:list_sessions()) do
      session.conn:abort()
    end
  end)
end

-- All connections are gone.
function methods:finish()
  if self.closed then
    return
  end
  if self.timers.grace then
    self.timers.grace:close()
  end
  if not self.failed then
    local ok, err = self.db:commit(true)
    if not ok then
      self:fail(err)
    end
  end
  self.closed = true
  self.hook:close()
  self.db.store:close()
end

return M
