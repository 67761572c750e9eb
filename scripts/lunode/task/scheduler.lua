-- Runs coroutines as tasks: who is ready, how one waits, how a wait ends early. Knows no sockets, channels or
-- semaphores: they park a task and wake it. Not for scripts: `lunode.task` is.
--
-- A task waits in `park`, which ends in one of three ways, whichever comes first:
--   * `wake(task, value)`: what it waited for is there; park returns the value;
--   * the timer that `arm` set: park returns TIMED_OUT;
--   * an interrupt, by cancellation or by a deadline: park raises, and has called `leave` to take the task out of
--     whatever list it was in. A task that is awake already is not interrupted until its next wait, so what was handed
--     to it (a channel's value, a semaphore's permit) is never lost.
--
-- Tasks are resumed from the loop's callbacks only, never within the call that wakes them. Those that others wake run
-- in the same turn, as many as BUDGET permits; what yields waits for the next turn.
--
-- A hosted task is the exception: who made it resumes it between turns of the loop, so it may turn the loop itself
-- (lunode.test runs the bodies of specs so). Others find it running while they run in such a turn.

local list = require "lunode.task.list"
local loop = require "lunode.loop"

local create, resume, yield, running = coroutine.create, coroutine.resume, coroutine.yield, coroutine.running
local pack = table.pack

local M = {}

-- What park returns or resume hands over beside values of its callers'.
local TIMED_OUT = setmetatable({}, { __name = "timed out" })
local INTERRUPTED = setmetatable({}, { __name = "interrupted" })
local START = setmetatable({}, { __name = "start" })
M.TIMED_OUT = TIMED_OUT

-- Resumptions in a row, after which sockets and timers get their turn.
local BUDGET = 1000

-- A list longer than this is not kept for the next use.
local KEEP = 4096

local NONE = { n = 0 }

-- Methods are in lunode.task; the table is here as tasks are made here.
M.methods = {}
local metatable = { __index = M.methods, __name = "lunode.task" }
M.metatable = metatable

-- ---------------------------------------------------------------- interrupts

local interrupt_metatable = {
  __name = "lunode.task.interrupt",
  __tostring = function(self)
    return self.message
  end,
}

---What is raised at a wait that is cut short.
---@param message string
---@param code lunode.code
function M.interrupt_error(message, code)
  return setmetatable({ message = message, code = code }, interrupt_metatable)
end

function M.is_interrupt(err)
  return getmetatable(err) == interrupt_metatable
end

-- The interrupt that a wait of the task has to raise now, or false. Cancellation goes before deadlines, and an outer
-- deadline before an inner one; none of them reaches into a shield.
local function due(task)
  local expired, scope = false, task.scope
  while scope do
    expired = scope.expired or expired
    if scope.shield then
      return expired
    end
    scope = scope.parent
  end
  return task.cancelled or expired
end

---Whether anything could be due, in a shield or out of it. (`alarmed` keeps waits from asking each time.)
function M.refresh_alarm(task)
  local alarmed, scope = task.cancelled and true, task.scope
  while scope and not alarmed do
    alarmed = scope.expired and true
    scope = scope.parent
  end
  task.alarmed = alarmed or false
end

-- ---------------------------------------------------------------- the queue

local current = nil -- the task that runs
local ready, ready_count = {}, 0 -- woken, in order
local batch, batch_at, batch_count = {}, 0, 0 -- those being resumed; what they wake is ready after them
local later, later_count = {}, 0 -- for the next turn
local scheduled = false -- a deferred call will resume them
local settle

---@return table? task
function M.current()
  if current and current.hosted then
    local _, is_main = running()
    return not is_main and current or nil -- the loop's callbacks, in a turn of the hosted task's, are no task
  end
  return current
end

local function step(task)
  local value, before = task.value, current
  task.value = false
  if value == START and task.cancelled then
    task.state = "cancelled"
    return settle(task, true)
  end
  task.state = "running"
  current = task
  local alive, err = resume(task.thread, value)
  local state = task.state
  if state ~= "waiting" and state ~= "ready" then
    settle(task, alive, err)
  end
  current = before
end

local schedule

---Resumes those who are ready. For the ends of callbacks of the loop's.
local function drain()
  local budget = BUDGET
  while true do
    if batch_at == batch_count then
      if ready_count == 0 then
        return
      end
      batch, ready = ready, batch_count > KEEP and {} or batch
      batch_at, batch_count, ready_count = 0, ready_count, 0
    end
    if budget == 0 then
      return schedule()
    end
    budget = budget - 1
    batch_at = batch_at + 1
    local task = batch[batch_at]
    batch[batch_at] = false
    step(task)
  end
end
M.drain = drain

local function on_turn()
  scheduled = false
  for i = 1, later_count do
    ready_count = ready_count + 1
    ready[ready_count], later[i] = later[i], false
  end
  if later_count > KEEP then
    later = {}
  end
  later_count = 0
  drain()
end

function schedule()
  if not scheduled then
    scheduled = true
    loop.defer(on_turn)
  end
end

local function push(task, value)
  task.state = "ready"
  task.value = value
  if task.hosted then
    return loop.stop() -- the turn that its host waits in ends without sleeping
  end
  ready_count = ready_count + 1
  ready[ready_count] = task
end

local function push_later(task)
  task.state = "ready"
  task.value = INTERRUPTED
  if task.hosted then
    return
  end
  later_count = later_count + 1
  later[later_count] = task
  schedule()
end

-- ---------------------------------------------------------------- waking

---Ends the wait of a task that is in `park` and out of its list; park returns the value.
---@param task table
---@param value any
function M.wake(task, value)
  if task.timed then
    task.timed = false
    task.timer:close()
  end
  task.leave = false
  push(task, value)
  if not current or current.hosted then
    schedule() -- else those who run now are followed by it
  end
end

---As wake, for callbacks of the loop's where tasks may run at once: it saves a turn.
function M.wake_now(task, value)
  if task.timed then
    task.timed = false
    task.timer:close()
  end
  task.leave = false
  if ready_count == 0 and batch_at == batch_count and not task.hosted then -- nobody is before it
    task.value = value
    step(task)
  else
    push(task, value)
  end
  drain()
end

local function leave_wait(task)
  local leave = task.leave
  if leave then
    task.leave = false
    leave(task)
  end
end

---Raises at the wait that the task is in, if it is in one and nothing shields it.
function M.interrupt(task)
  task.alarmed = true
  if task.state ~= "waiting" or not due(task) then
    return
  end
  leave_wait(task)
  M.wake(task, INTERRUPTED)
end

-- ---------------------------------------------------------------- waiting

-- An interrupt that is due already is raised in the next turn: a loop that catches it and goes on to wait, again
-- and again, must not keep the sockets from theirs.
local function raise_due(task)
  if due(task) then
    push_later(task)
    yield()
    error(due(task), 0)
  end
end

local function check_runner(what)
  local task = M.current()
  if not task or not task.thread then
    error(what .. " outside of a task: call it inside of task.spawn(function() … end)", 4)
  end
  if running() ~= task.thread then
    error(what .. " inside of a coroutine that the task has made itself: only the task as a whole can wait", 4)
  end
  return task
end

---The running task. Raises at the caller's caller where there is none.
---@param what string  for the error: the name of the function
---@return table task
function M.runner(what)
  local task = check_runner(what)
  return task
end

---The running task, which is about to wait. Raises as runner does, and what is due.
---@param what string
---@return table task
function M.waiter(what)
  local task = current
  if not task or running() ~= task.thread then
    check_runner(what)
  end
  if task.alarmed then
    raise_due(task)
  end
  return task
end

---Suspends the running task until something wakes it.
---@param task table
---@param leave (fun(task: table))|false  takes the task out of where it waits
---@return any value
function M.park(task, leave)
  task.state = "waiting"
  task.leave = leave
  local value = yield()
  if value == INTERRUPTED then
    error(due(task), 0)
  end
  return value
end

local function on_timer(task)
  task.timed = false
  leave_wait(task)
  push(task, TIMED_OUT)
  drain()
end

---Limits the wait that follows. A timer goes with the wait that it is for, however that ends.
function M.arm(task, seconds)
  local timer = task.timer
  if timer then
    timer:again(seconds)
  else
    task.timer = loop.timer(seconds, function()
      on_timer(task)
    end)
  end
  task.timed = true
end

---Lets the loop and all other tasks go first.
function M.yield(task)
  push_later(task)
  yield()
  if task.alarmed and due(task) then
    error(due(task), 0)
  end
end

-- ---------------------------------------------------------------- the end of a task

-- Keeps an error with its traceback, taken before the stack unwinds. What `rethrow` raises has one already.
function M.on_raise(err)
  local task, kept = current, current.values
  if kept and kept.rethrown and rawequal(kept[1], err) then
    kept.rethrown = false
  elseif not M.is_interrupt(err) then
    task.values = { err, debug.traceback(type(err) == "string" and err or nil, 2), rethrown = false }
  end
  return err
end

---Raises again what on_raise has seen.
function M.rethrow(err)
  local kept = current.values
  if kept and rawequal(kept[1], err) then
    kept.rethrown = true
  end
  error(err, 0)
end

local function fail(task, err)
  local kept = task.values
  if not (kept and rawequal(kept[1], err)) then -- an interrupt that was kept and raised later, say
    task.values = { err, type(err) == "string" and err or "stack traceback: none" }
  end
  task.state = "failed"
end

-- Runs at the end of the task's coroutine.
local function ended(ok, ...)
  local task = current
  if ok then
    task.state = "done"
    task.values = select("#", ...) > 0 and pack(...) or NONE
  elseif task.cancelled and rawequal(task.cancelled, (...)) then
    task.state = "cancelled"
    task.values = NONE
  else
    fail(task, (...))
  end
end

local function body(fn, ...)
  yield() -- the arguments wait in the coroutine itself
  return ended(xpcall(fn, M.on_raise, ...))
end

---The error of a failed task in words, with its traceback.
function M.failure_text(task)
  local err, traceback = task.values[1], task.values[2]
  if type(err) == "string" then
    return traceback
  end
  local ok, text = pcall(tostring, err)
  return (ok and text or "(an error object whose __tostring raises)") .. "\n" .. traceback
end

-- A coroutine that ended other than through `ended`: Lua gave it up, or it yielded by itself.
local function settle_strange(task, alive, err)
  local thread = task.thread
  if alive then
    err = "the task called coroutine.yield itself; to let others run, call task.yield()"
  end
  task.values = { err, debug.traceback(thread, type(err) == "string" and err or nil) }
  coroutine.close(thread)
  task.state = "failed"
end

function settle(task, alive, err)
  if task.state == "running" then
    settle_strange(task, alive, err)
  end
  task.thread, task.timer, task.scope = false, false, false
  if task.state == "failed" and not task.first then
    loop.report(M.failure_text(task))
  end
  local node = list.take(task)
  while node do
    if node.notify then
      node:notify(task)
    else
      M.wake(node, true)
    end
    node = list.take(task)
  end
end

local function make(fn, ...)
  local thread = create(body)
  local ok, err = resume(thread, fn, ...)
  if not ok then
    error(err, 4)
  end
  return setmetatable({
    thread = thread,
    state = "ready",
    value = START, -- what park returns
    values = false, -- results; or {error, traceback, rethrown}
    leave = false, -- takes the task out of where it waits
    object = false, -- what it waits with: for `leave`, and for a channel the value to be sent
    list = false, -- where it waits, with next and prev
    next = false,
    prev = false,
    first = false, -- those who wait for its end, with last
    last = false,
    timer = false, -- kept for the next wait
    timed = false, -- the timer is active
    scope = false, -- the innermost deadline
    alarmed = false, -- something may be due
    cancelled = false, -- the interrupt
    hosted = false, -- who made it resumes it
  }, metatable)
end

---Makes a task that starts with the next drain.
---@return table task
function M.spawn(fn, ...)
  local task = make(fn, ...)
  ready_count = ready_count + 1
  ready[ready_count] = task
  if not current or current.hosted then
    schedule()
  end
  return task
end

---Makes a task that runs only in `resume`.
---@return table task
function M.host(fn, ...)
  local task = make(fn, ...)
  task.hosted = true
  return task
end

---Runs a hosted task until it waits or ends.
---@param task table  hosted, its state "ready"
function M.resume(task)
  step(task)
end

-- ---------------------------------------------------------------- arguments

---Raises at the caller's caller unless seconds is a number that is not negative.
function M.check_seconds(seconds, what)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    error(("%s: seconds must be a number and not negative, got %s"):format(what, tostring(seconds)), 3)
  end
end

function M.check_function(fn, what)
  if type(fn) ~= "function" then
    local meta = getmetatable(fn)
    if type(meta) ~= "table" or not meta.__call then
      error(("%s: a function is needed, got a %s"):format(what, type(fn)), 3)
    end
  end
end

return M
