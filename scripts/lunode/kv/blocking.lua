-- Clients that wait for elements: who waits for which keys, in which order, and who is served when. It knows no types;
-- the commands are in list_waits.lua and zset_waits.lua.
--
-- A command that finds nothing calls `wait`. What the log then has is not that a client waits, but that it is served: a
-- pop from the key that has become ready, a command of its own, run as if the client had just sent it. Where commands
-- wait for a quorum or the disk, somebody else's may be first; then the client goes on waiting, at its old place. Where
-- it leaves while its pop is under way, the elements are put back.
--
-- Each key's clients are served in the order in which they came, after the command (or the transaction) that made the
-- key ready, and before the next one. What a client sends behind a command that may block is held (session.held), and
-- runs at the end of the turn in which it is served.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local logged = require "lunode.kv.logged"
local longdouble = require "lunode.kv.longdouble"
local loop = require "lunode.loop"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

require "lunode.kv.client" -- the container

local NOTHING = resp.raw ""

local NOT_A_TIME = resp.error("ERR timeout is not a float or out of range")
local NEGATIVE_TIME = resp.error("ERR timeout is negative")
local UNBLOCKED = resp.error("UNBLOCKED client unblocked via CLIENT UNBLOCK")

-- After these it is known that nothing was popped, and only that.
local DEFINITE = { ["-MISCONF"] = true, ["-CLUSTERDOWN"] = true }
local RETRY = 1 -- seconds, after one of them

local M = {}

---@class lunode.kv.blocking_request
---@field name string        the command's, as the log is to have it
---@field type integer       of the keys that it waits for
---@field keys string[]
---@field timeout integer    milliseconds; 0: for good
---@field args fun(key: string): string[]  of the command that serves it from that key
---@field put_back? fun(reply: any, put: fun(name: string, ...: string))  undoes a pop that nobody has got

---@class lunode.kv.blocking_waiter : lunode.kv.blocking_request
---@field session lunode.kv.session
---@field entry table
---@field places table<string, integer>  key → where it stands in that key's queue
---@field proxy table      stands for the session in the command that serves it
---@field busy string?     the key of the pop that is under way
---@field ending string?   the reply with which it ends once that has come to nothing
---@field gone boolean     its client has left
---@field quiet boolean    it wants no reply
---@field timer lunode.timer?

---@class lunode.kv.blocking
---@field count integer  clients that wait
local methods = {}
local metatable = { __name = "lunode.kv.blocking", __index = methods }

---@param node lunode.kv.node
---@return lunode.kv.blocking
function M.new(node)
  return setmetatable({
    node = node,
    count = 0,
    queues = {}, -- key → { first, last, busy: pops under way, [place] = waiter or nil }
    ready = nil, -- keys that may have elements, in order
    is_ready = {}, -- the same as a set
    released = {}, -- sessions whose held commands are to run
    retry = nil, -- the timer
  }, metatable)
end

-- ---------------------------------------------------------------- waiting

---A timeout in seconds, as the commands that block give it. Raises Redis's errors.
---@param text string
---@return integer milliseconds
function M.timeout(text)
  local value = longdouble.parse(text)
  if not value then
    error(NOT_A_TIME, 0)
  end
  local milliseconds = value.infinite and math.huge or math.ceil(longdouble.to_number(value) * 1000)
  if text:sub(1, 1) == "-" and milliseconds ~= 0 or math.type(milliseconds) == "float" then
    error(NEGATIVE_TIME, 0) -- past 64 bits Redis calls it so, too
  end
  return milliseconds --[[@as integer]]
end

-- What stands for the client while it is being served. It is told in which way that ended.
local function new_proxy(self, waiter)
  local session = waiter.session
  return {
    node = self.node, id = session.id, name = session.name, protocol = session.protocol, authenticated = true,
    waiting = 0, waiter = waiter, missed = false,
    wait = function() end,
    quit = function()
      session:quit()
    end,
    answer = function(_, bytes)
      self:settle(waiter, bytes)
    end,
  }
end

local function enqueue(self, waiter, key)
  local queue = self.queues[key]
  if not queue then
    queue = { first = 1, last = 0, busy = 0 }
    self.queues[key] = queue
  end
  if not waiter.places[key] then -- it may be named twice
    queue.last = queue.last + 1
    queue[queue.last] = waiter
    waiter.places[key] = queue.last
  end
end

---Lets the client of the command that runs wait, unless there is none that could.
---@param ctx lunode.kv.ctx
---@param request lunode.kv.blocking_request
---@param none any  the reply where nobody waits: in a transaction, in ONCE, or in the log
---@return any reply
function M.wait(ctx, request, none)
  local session = ctx.session
  if session and session.waiter then -- it waits already
    session.missed = true
    return none
  elseif not session or not session.conn or ctx.in_transaction or not session.command.blocks then
    return none -- the last: it is inside of another command
  end
  local self = session.node.blocking
  local waiter = request --[[@as lunode.kv.blocking_waiter]]
  waiter.session, waiter.entry, waiter.places = session, command.find(request.name), {}
  waiter.busy, waiter.ending, waiter.gone, waiter.quiet = nil, nil, false, session.quiet
  waiter.proxy = new_proxy(self, waiter)
  for _, key in ipairs(waiter.keys) do
    enqueue(self, waiter, key)
  end
  if waiter.timeout > 0 then
    waiter.timer = loop.timer(waiter.timeout / 1000, function()
      self:finish(waiter, resp.encode(resp.null_array, session.protocol))
    end)
  end
  self.count = self.count + 1
  session.blocked = waiter
  session:hold()
  self.node.writes:update()
  return NOTHING
end

local function remove(self, waiter)
  for key, place in next, waiter.places do
    local queue = self.queues[key]
    queue[place] = nil
    while queue.first <= queue.last and not queue[queue.first] do
      queue.first = queue.first + 1
    end
    if queue.first > queue.last and queue.busy == 0 then
      self.queues[key] = nil
    end
  end
  waiter.places = {}
  if waiter.timer then
    waiter.timer:close()
    waiter.timer = nil
  end
  self.count = self.count - 1
  self.node.writes:update()
end

---Ends a client's waiting with a reply; once its pop has come to nothing, where one is under way.
---@param waiter lunode.kv.blocking_waiter
---@param bytes string
function methods:finish(waiter, bytes)
  local session = waiter.session
  if waiter.busy then
    waiter.ending = bytes
    return
  end
  remove(self, waiter)
  session.blocked = nil
  if not session.closed then
    if not waiter.quiet then
      session:write(bytes)
    end
    self:release(session)
  end
end

---What a session has sent meanwhile may run, at the end of this turn.
---@param session lunode.kv.session
function methods:release(session)
  self.released[#self.released + 1] = session
end

---A session has ended.
---@param session lunode.kv.session
function methods:forget(session)
  local waiter = session.blocked
  if waiter then
    session.blocked = nil
    waiter.gone = waiter.busy ~= nil
    if not waiter.gone then
      remove(self, waiter)
    end
  end
end

-- ---------------------------------------------------------------- serving

---A command has changed a key.
---@param key string
function methods:touch(key)
  if self.queues[key] and not self.is_ready[key] then
    self.is_ready[key] = true
    self.ready = self.ready or {}
    self.ready[#self.ready + 1] = key
    self.node.interrupt() -- before the next command
  end
end

---A command may have changed all keys.
function methods:touch_all()
  local list = {}
  for key in next, self.queues do
    list[#list + 1] = key
  end
  table.sort(list)
  for _, key in ipairs(list) do
    self:touch(key)
  end
end

-- How many elements of the type the key has; nil: there is no such key.
local function elements(db, key, type)
  local _, value = db:find(key)
  if not value then
    return nil
  elseif keys.type(value) ~= type then
    return 0
  end
  local _, _, count = keys.collection(value)
  return count
end

-- Runs the command that serves a client from a key, or has it proposed.
local function attempt(self, waiter, key)
  local writes, ctx, proxy = self.node.writes, self.node.ctx, waiter.proxy
  local args = waiter.args(key)
  proxy.missed = false
  if not writes:ready() then
    waiter.busy = key
    self.queues[key].busy = self.queues[key].busy + 1
    writes:submit(proxy, waiter.entry, waiter.name, args)
    return
  end
  ctx.session = proxy
  local ok, value = xpcall(writes.run, errors.with_traceback, writes, waiter.entry, waiter.name, args)
  ctx.session = nil
  if not ok then
    writes:undo()
    value = errors.answer_for(waiter.entry, value)
  end
  self:settle(waiter, resp.encode(value, proxy.protocol))
end

local function is_here(session)
  return not session.closed and session.conn:write("") ~= nil
end

local function serve_key(self, key)
  local queue = self.queues[key]
  for place = queue and queue.first or 1, queue and queue.last or 0 do
    local waiter = queue[place]
    if waiter and not waiter.busy and is_here(waiter.session) then
      local count = elements(self.node.db, key, waiter.type)
      if not count then
        return
      elseif count > queue.busy then
        attempt(self, waiter, key)
      end
    end
  end
end

---Serves those who wait for keys that have become ready.
function methods:serve()
  local node = self.node
  while self.ready do
    local list = self.ready
    self.ready, self.is_ready = nil, {}
    if not node.ctx.now then
      node:read_clock()
    end
    for _, key in ipairs(list) do
      serve_key(self, key)
    end
  end
end

-- Nobody has got what was popped.
local function put_back(self, waiter, bytes)
  local writes = self.node.writes
  if waiter.put_back and bytes:sub(1, 1) ~= "-" then
    waiter.put_back(resp.decode(bytes), function(name, ...)
      if writes:ready() then
        writes:internal(name, ...)
      else
        writes:submit(nil, logged.find_own("\0" .. name), "\0" .. name, { ... })
      end
    end)
  end
end

-- The disk is full, or there is no leader: the keys are looked at again.
local function retry_later(self)
  self.retry = self.retry or loop.timer(RETRY, function(timer)
    timer:close()
    self.retry = nil
    self:touch_all()
  end)
end

---The command that was to serve a client has this reply.
---@param waiter lunode.kv.blocking_waiter
---@param bytes string
function methods:settle(waiter, bytes)
  local busy, refused = waiter.busy, DEFINITE[bytes:match("^%-%u+")]
  if busy then
    waiter.busy = nil
    self.queues[busy].busy = self.queues[busy].busy - 1
  end
  if refused then
    retry_later(self)
  elseif not waiter.proxy.missed then
    if not waiter.gone then
      return self:finish(waiter, bytes)
    end
    put_back(self, waiter, bytes)
  end
  if waiter.gone then
    remove(self, waiter)
  elseif waiter.ending then
    self:finish(waiter, waiter.ending)
  elseif busy and not refused then -- perhaps another of its keys has become ready meanwhile
    for _, key in ipairs(waiter.keys) do
      self:touch(key)
    end
  end
end

---At the end of each turn of the loop: serves, and runs what was held, until nothing is left.
function methods:end_turn()
  while self.ready or #self.released > 0 do
    self:serve()
    local released = self.released
    self.released = {}
    for _, session in ipairs(released) do
      if not session.closed and not session.blocked then
        session:release()
      end
    end
  end
end

---The node ends: nothing is tried again.
function methods:close()
  if self.retry then
    self.retry:close()
    self.retry = nil
  end
end

-- ---------------------------------------------------------------- CLIENT UNBLOCK

local REPLIES = { TIMEOUT = resp.null_array, ERROR = UNBLOCKED }
local BAD_REASON = resp.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")

command.command("CLIENT|UNBLOCK", {
  arity = -3, flags = { "admin", "noscript", "loading", "stale" }, group = "connection", since = "5.0.0",
  complexity = "O(log N) where N is the number of client connections",
  summary = "Unblock a client blocked in a blocking command from a different connection",
  run = function(ctx, id, how, ...)
    if ... then
      return errors.subcommand_syntax(ctx, "CLIENT")
    end
    local reply = REPLIES[how and how:upper() or "TIMEOUT"]
    if not reply then
      return BAD_REASON
    end
    local wanted = numbers.integer(id)
    for _, session in ipairs(ctx.node:list_sessions()) do
      if session.id == wanted and session.blocked then
        ctx.node.blocking:finish(session.blocked, resp.encode(reply, session.protocol))
        return 1
      end
    end
    return 0
  end,
})

return M
