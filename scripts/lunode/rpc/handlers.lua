-- Runs the handlers of requests and notifications: each in a task, so many at a time, each with a deadline, and
-- cancelled when nobody waits for it any more. Does not know the wire, except for what a response is.
--
-- A task is made when none is idle, and kept for the next request: so a call costs one switch of coroutines, and what
-- its context takes. The deadline and the cancellation of a request are interrupts of its task, which unwind the
-- handler.
--
-- A gate counts what the connections of a server (or a peer) run together: {active, limit, waiting (list), stats}.

local errors = require "lunode.rpc.errors"
local list = require "lunode.task.list"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local scheduler = require "lunode.task.scheduler"

local pcall, xpcall, unpack = pcall, xpcall, table.unpack
local now, current, null = loop.now, scheduler.current, msgpack.null

local M = {}

-- Idle tasks that are kept, for all servers.
local MOST_IDLE = 256

local idle, idle_count = {}, 0

---What a handler gets first.
---@class lunode.rpc.context
---@field conn lunode.rpc.connection  to call the caller back: ctx.conn:call(…)
---@field id integer?        nil: a notification
---@field peer string        the caller's address
---@field deadline number    when the handler is interrupted, as loop.now() counts; math.huge where it has a stream
---@field cancelled boolean  nobody waits for the result any more
---@field stream lunode.rpc.stream|false
---@field private key integer
---@field private worker table|false  that runs it
local methods = {}
local metatable = { __index = methods, __name = "lunode.rpc.context" }

function M.new_gate(limit)
  return {
    active = 0,
    limit = limit,
    waiting = { first = false, last = false }, -- connections that have requests and may run them
    stats = { calls = 0, refused = 0, dropped = 0, bad = 0, failed = 0 },
  }
end

-- ---------------------------------------------------------------- streams

local function stream_of(ctx, what)
  return ctx.stream or error(what .. ": the caller has not opened a stream; it would call peer:open", 3)
end

---Sends a chunk to the caller, and waits until it may. Raises where the stream has ended.
---@param chunk string
function methods:send(chunk)
  local ok, err = stream_of(self, "ctx:send"):send(chunk)
  return ok or error(err, 0)
end

---The next chunk of the caller's. Raises where the stream has ended other than in good order.
---@return string? chunk  nil: the caller has sent all
function methods:receive()
  local chunk, err = stream_of(self, "ctx:receive"):receive()
  if err then
    error(err, 0)
  end
  return chunk
end

---The chunks of the caller's: `for chunk in ctx:chunks() do`.
function methods:chunks()
  stream_of(self, "ctx:chunks")
  return methods.receive, self
end

-- ---------------------------------------------------------------- the end of a handler

-- Answers, whatever the handler made of it.
local function answer(conn, id, err, result)
  if err == nil then
    local ok, why = pcall(conn.respond, conn, id, result)
    if ok then
      return
    end
    err = "the result cannot be sent: " .. tostring(why)
    loop.report("lunode.rpc: " .. err)
  end
  conn.gate.stats.failed = conn.gate.stats.failed + 1
  if not pcall(conn.respond_error, conn, id, err) then
    conn:respond_error(id, errors.to_wire("the error cannot be sent", conn.lunode))
  end
end

-- What goes to the caller for an error that was raised.
local function describe(ctx, task, err)
  local kept = task.values
  if scheduler.is_interrupt(err) then
    return errors.to_wire(err.message, ctx.conn.lunode, err.code, false)
  elseif ctx.id == nil or type(err) ~= "table" then
    loop.report(kept and rawequal(kept[1], err) and scheduler.failure_text(task) or tostring(err))
  end
  local ok, value = pcall(errors.to_wire, err, ctx.conn.lunode)
  return ok and value or "the handler failed"
end

local pump

local function finish(ctx, task, ok, result, message, code)
  local conn, id = ctx.conn, ctx.id
  local gate = conn.gate
  ctx.worker = false
  conn.active = conn.active - 1
  gate.active = gate.active - 1
  local err
  if not ok then
    err = describe(ctx, task, result)
  elseif result == nil and message ~= nil then
    ok, err = pcall(errors.to_wire, message, conn.lunode, type(code) == "string" and code or nil)
    err = ok and err or "the handler failed"
  end
  if ctx.key and conn.running.entries[ctx.key] == ctx then
    conn.running.entries[ctx.key] = nil
  end
  if id then
    if ctx.stream then
      conn.incoming[id] = nil
      ctx.stream:on_result(result, err)
    end
    if not conn.closed and not ctx.cancelled then
      answer(conn, id, err, result)
    end
  end
  if conn.queue.first or gate.waiting.first then
    pump(conn)
  end
end

-- ---------------------------------------------------------------- tasks that run handlers

local function work(worker)
  local task, scope = current(), worker.scope
  worker.task, scope.task = task, task
  while true do
    task.scope = scope
    local ctx, handler, params = worker.ctx, worker.handler, worker.params
    worker.handler, worker.params = false, false
    finish(ctx, task, xpcall(handler, scheduler.on_raise, ctx, unpack(params, 1, worker.count)))
    worker.ctx, task.values, scope.expired = false, false, false
    if task.alarmed then
      scheduler.refresh_alarm(task)
    end
    if task.cancelled or idle_count == MOST_IDLE then
      return
    end
    idle_count = idle_count + 1
    idle[idle_count] = worker
    scheduler.park(task, false)
  end
end

local function take_idle()
  while idle_count > 0 do
    local worker = idle[idle_count]
    idle[idle_count] = nil
    idle_count = idle_count - 1
    if worker.task.state == "waiting" then -- nobody has cancelled it meanwhile
      return worker
    end
  end
end

-- Interrupts the handler with what its next wait, or the one it is in, raises.
local function interrupt(ctx, message, code)
  local worker = ctx.worker
  if not worker or worker.scope.expired then
    return
  end
  worker.scope.expired = scheduler.interrupt_error(message, code)
  scheduler.interrupt(worker.task)
end

local function cancel_one(ctx, why)
  ctx.cancelled = true
  if ctx.stream then
    ctx.stream:lose(errors.indefinite("ECANCELED", why))
  end
  interrupt(ctx, why, "ECANCELED")
end

local function start(conn, id, handler, params, deadline, stream)
  local gate = conn.gate
  conn.active = conn.active + 1
  gate.active = gate.active + 1
  gate.stats.calls = gate.stats.calls + 1
  local worker, running = take_idle(), current()
  local fresh = not worker
  if fresh then
    worker = {
      task = false,
      scope = { task = false, parent = false, deadline = 0, shield = false, expired = false, timer = false },
    }
  end
  local ctx = setmetatable({
    conn = conn,
    id = id,
    peer = conn.address,
    deadline = deadline,
    cancelled = false,
    stream = stream,
    key = false,
    worker = worker,
  }, metatable)
  worker.ctx, worker.handler = ctx, handler
  local count = #params
  for i = 1, count do
    if params[i] == null then -- is how nil arrives
      params[i] = nil
    end
  end
  worker.count = count
  worker.params = params
  worker.scope.deadline = deadline
  if fresh then
    worker.task = scheduler.spawn(work, worker)
    if not running then
      scheduler.drain()
    end
  elseif running then
    scheduler.wake(worker.task, true)
  else
    scheduler.wake_now(worker.task, true)
  end
  if ctx.worker then -- it waits
    if not id then
      conn.notices = conn.notices - 1
    end
    ctx.key = id or conn.notices
    if conn.closed then -- by the handler itself
      return cancel_one(ctx, "the connection is closed")
    end
    conn.running:add(ctx.key, ctx)
  end
end

-- ---------------------------------------------------------------- which request runs when

-- A connection whose queue is full gets no further answers.
local function has_room(conn)
  return conn.active < conn.concurrency and not conn.full
end

local function line_up(conn)
  if conn.queue.first and not conn.list and has_room(conn) then
    list.append(conn.gate.waiting, conn)
  end
end

local function remove(conn, item)
  list.remove(item)
  conn.queue.count = conn.queue.count - 1
end

local function start_next(conn)
  local item = conn.queue.first
  remove(conn, item)
  if conn.crowded and conn.queue.count <= conn.options.queue // 2 then
    conn.crowded = false
    conn:apply_pause()
  end
  start(conn, item.id, item.handler, item.params, item.deadline, item.stream)
end

-- Starts what has waited, one connection after the other.
function pump(conn)
  local gate = conn.gate
  line_up(conn)
  while gate.active < gate.limit do
    local first = list.take(gate.waiting)
    if not first then
      return
    end
    if first.queue.first and has_room(first) then
      start_next(first)
      line_up(first)
    end
  end
end

---The connection's queue has drained.
function M.on_writable(conn)
  if conn.queue.first then
    pump(conn)
  end
end

-- Puts the request behind those that wait, or refuses it. What they take is what has arrived since the first of them.
local function enqueue(conn, item)
  local queue, options = conn.queue, conn.options
  local bytes = conn.conn:stats().bytes_read
  if not queue.first then
    queue.start = bytes
  end
  local crowded = queue.count + 1 >= options.queue or bytes - queue.start >= options.queue_bytes
  if crowded and conn.crowded and not conn.paused then
    if item.id then
      conn:refuse(item.id, "EBUSY", "too many requests wait")
    end
    return
  end
  list.append(queue, item)
  queue.count = queue.count + 1
  if item.stream then
    conn.incoming[item.id] = item.stream
  end
  if crowded then
    conn.crowded = true
    conn:apply_pause()
  end
  line_up(conn)
end

-- When the handler has to end: as long as its caller waits, where that is known, but no longer than we permit.
local function deadline_of(conn, id, stream)
  if stream then
    return math.huge
  elseif id and conn.told_id == id then
    conn.told_id = false
    return math.min(conn.told_at, now() + conn.options.handler_timeout)
  end
  return now() + conn.handler_time
end

---Runs the handler of a request now, or when its turn comes.
---@param conn lunode.rpc.connection
---@param id integer?  nil: a notification
---@param name string
---@param params any[]
---@param stream lunode.rpc.stream|false
function M.admit(conn, id, name, params, stream)
  local handler = conn.methods[name]
  if handler == nil then
    if id then
      return conn:refuse(id, "ENOMETHOD", ("unknown method '%s'"):format(name))
    end
    conn.gate.stats.dropped = conn.gate.stats.dropped + 1
    return
  elseif id and conn.running.entries[id] then
    return conn:refuse(id, "EINVAL", "the msgid is in use")
  end
  local deadline = deadline_of(conn, id, stream)
  if not conn.queue.first and conn.gate.active < conn.gate.limit and has_room(conn) then
    if stream then
      conn.incoming[id] = stream
    end
    return start(conn, id, handler, params, deadline, stream)
  end
  enqueue(conn, {
    id = id, handler = handler, params = params, deadline = deadline, stream = stream,
    list = false, next = false, prev = false,
  })
end

-- ---------------------------------------------------------------- handlers that must end

---The handler's time is over.
---@param ctx lunode.rpc.context
function M.expire(ctx)
  interrupt(ctx, "the handler did not end in time", "ETIMEDOUT")
end

---The caller does not wait any more.
---@param conn lunode.rpc.connection
---@param id any
function M.cancel(conn, id)
  local ctx = conn.running.entries[id]
  if ctx then
    return cancel_one(ctx, "the caller has cancelled")
  end
  local item = conn.queue.first
  while item do
    if item.id == id then
      if item.stream then
        conn.incoming[id] = nil
      end
      return remove(conn, item)
    end
    item = item.next
  end
end

---The connection is gone.
---@param conn lunode.rpc.connection
---@param why string
function M.abandon_all(conn, why)
  list.remove(conn)
  conn.queue = { first = false, last = false, count = 0, start = 0 }
  for _, ctx in ipairs(conn.running:clear()) do
    cancel_one(ctx, why)
  end
end

return M
