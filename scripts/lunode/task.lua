-- Tasks: coroutines that wait for time, for each other and for connections while the loop turns.
-- Not threads: one task runs at a time, until it waits. Guide: docs/guide/tasks.md.
--
-- * A task starts, and goes on after a wait, in a callback of the loop's own: never within the call that caused it.
-- * Every wait ends: by what it waits for, by its own `seconds`, by a deadline around it (`with_timeout`), by `cancel`.
--   The first two return, `nil, "timed out", "ETIMEDOUT"` for the second; the last two raise, and so unwind the task.
-- * The error of a task goes to those who join it, otherwise to loop.on_error.

local endpoint = require "lunode.task.endpoint"
local list = require "lunode.task.list"
local loop = require "lunode.loop"
local scheduler = require "lunode.task.scheduler"
local scope = require "lunode.task.scope"
local sync = require "lunode.task.sync"

local TIMED_OUT = scheduler.TIMED_OUT
local check_function, check_seconds, waiter = scheduler.check_function, scheduler.check_seconds, scheduler.waiter

local M = {
  event = sync.event,
  semaphore = sync.semaphore,
  channel = sync.channel,
  connect = endpoint.connect,
  listen = endpoint.listen,
}

---@class lunode.task
local methods = scheduler.methods

local ENDED = { done = true, failed = true, cancelled = true }

-- ---------------------------------------------------------------- starting and waiting

---Starts fn(…) as a task, in the next turn of the loop. It inherits no deadline: what outlives the block that started
---it has a life of its own. `local t <close> = task.spawn(…)` cancels it at the end of the block.
---@param fn fun(...): ...
---@param ... any
---@return lunode.task
function M.spawn(fn, ...)
  check_function(fn, "task.spawn")
  return scheduler.spawn(fn, ...)
end

---@return lunode.task?  nil outside of tasks
function M.current()
  return scheduler.current()
end

---Lets the loop and the other tasks go first.
function M.yield()
  scheduler.yield(waiter "task.yield")
end

---@param seconds number  math.huge: until cancelled
function M.sleep(seconds)
  check_seconds(seconds, "task.sleep")
  local task = waiter "task.sleep"
  scheduler.arm(task, seconds)
  scheduler.park(task, false)
end

-- ---------------------------------------------------------------- deadlines

---Calls fn(…) in this task. When the time is over, the wait it is in raises, or its next one; that unwinds fn, and
---with_timeout returns. What fn returns in spite of that is returned. An error of fn's goes through.
---@param seconds number
---@param fn fun(...): ...
---@param ... any
---@return any ...  what fn returned; or nil, "timed out", "ETIMEDOUT"
function M.with_timeout(seconds, fn, ...)
  check_seconds(seconds, "task.with_timeout")
  check_function(fn, "task.with_timeout")
  local task = scheduler.runner "task.with_timeout"
  return scope.call(task, loop.now() + seconds, false, fn, ...)
end

---As with_timeout, until a moment: for deadlines that are handed on, to another task or over the network.
---@param at number?  as loop.now() counts; nil: no deadline of its own
---@param fn fun(...): ...
---@param ... any
---@return any ...
function M.with_deadline(at, fn, ...)
  if at ~= nil and (type(at) ~= "number" or at ~= at) then
    error(("task.with_deadline: a time is needed, as loop.now() counts, got %s"):format(tostring(at)), 2)
  end
  check_function(fn, "task.with_deadline")
  local task = scheduler.runner "task.with_deadline"
  return scope.call(task, at or math.huge, false, fn, ...)
end

---Calls fn(…) where neither a cancellation nor a deadline from outside cuts its waits short, for so many seconds at
---most: for cleaning up that has to wait. What was held off is raised at the next wait after it.
---@param seconds number
---@param fn fun(...): ...
---@param ... any
---@return any ...  as with_timeout
function M.shield(seconds, fn, ...)
  check_seconds(seconds, "task.shield")
  check_function(fn, "task.shield")
  local task = scheduler.runner "task.shield"
  return scope.call(task, loop.now() + seconds, true, fn, ...)
end

---When the waits of this task end at the latest, as loop.now() counts.
---@return number? at  nil: no deadline
function M.deadline()
  local task = scheduler.current()
  local at = task and task.scope and task.scope.deadline
  return at and at < math.huge and at or nil
end

---Whether an error that pcall caught is not one, but a cancellation or a deadline on its way out: pass it on.
---@param err any
---@return boolean
function M.is_interrupt(err)
  return scheduler.is_interrupt(err)
end

-- ---------------------------------------------------------------- handles

-- What the end of a task is for those who join it.
local function outcome(task)
  if task.state == "failed" then
    local err, traceback = task.values[1], task.values[2]
    error(type(err) == "string" and traceback or err, 0)
  elseif task.state == "cancelled" then
    return nil, task.cancelled.message, "ECANCELED"
  end
  return table.unpack(task.values, 1, task.values.n)
end

---Waits for the task's end. Where it failed, raises its error: a string comes with the traceback of the task, any
---other value as it is.
---@param seconds? number
---@return any ...  its results; nil, "…", "ECANCELED" where it was cancelled; nil, "timed out", "ETIMEDOUT"
function methods:join(seconds)
  if seconds then
    check_seconds(seconds, "task:join")
  end
  local task = waiter "task:join"
  if task == self then
    error("a task cannot join itself", 2)
  end
  if not ENDED[self.state] then
    if seconds then
      scheduler.arm(task, seconds)
    end
    list.append(self, task)
    if scheduler.park(task, list.remove) == TIMED_OUT then
      return nil, "timed out", "ETIMEDOUT"
    end
  end
  return outcome(self)
end

---Interrupts the task: its wait raises, or its next one, and every further one. One that has not started never will.
---@param reason? string
---@return boolean  false where it has ended already
function methods:cancel(reason)
  if ENDED[self.state] then
    return false
  end
  if not self.cancelled then
    local message = reason == nil and "cancelled" or "cancelled: " .. tostring(reason)
    self.cancelled = scheduler.interrupt_error(message, "ECANCELED")
    scheduler.interrupt(self)
  end
  return true
end

---@return "ready"|"running"|"waiting"|"done"|"failed"|"cancelled"
function methods:status()
  return self.state
end

---Where it failed, where it waits.
---@return string? traceback  nil where it has ended well
function methods:traceback()
  if self.state == "failed" then
    return scheduler.failure_text(self)
  end
  return self.thread and debug.traceback(self.thread) or nil
end

function scheduler.metatable:__close()
  self:cancel "its block has ended"
end

function scheduler.metatable:__tostring()
  return ("lunode.task (%s)"):format(self.state)
end

-- ---------------------------------------------------------------- waiting for several

local function leave_all(task)
  local nodes = task.object
  for i = 1, #nodes do
    list.remove(nodes[i])
  end
  task.object = false
end

local function has_ended(object)
  if getmetatable(object) == sync.event_metatable then
    return object.values ~= false
  end
  return ENDED[object.state] or false
end

local function outcome_of(object)
  if getmetatable(object) == sync.event_metatable then
    return table.unpack(object.values, 1, object.values.n)
  end
  return outcome(object)
end

local function check_objects(objects, what)
  if type(objects) ~= "table" or #objects == 0 then
    error(what .. ": a list of tasks or events is needed, not empty", 3)
  end
  for i = 1, #objects do
    local meta = getmetatable(objects[i])
    if meta ~= scheduler.metatable and meta ~= sync.event_metatable then
      error(("%s: element %d is a %s, neither a task nor an event"):format(what, i, type(objects[i])), 3)
    elseif objects[i] == scheduler.current() then
      error(what .. ": a task cannot wait for itself", 3)
    end
  end
end

-- Waits until notify wakes the task.
local function wait_for(task, objects, notify, seconds)
  local nodes = { left = 0 }
  for i = 1, #objects do
    if not has_ended(objects[i]) then
      local node = { task = task, index = i, notify = notify }
      nodes[#nodes + 1] = node
      nodes.left = nodes.left + 1
      list.append(objects[i], node)
    end
  end
  if seconds then
    scheduler.arm(task, seconds)
  end
  task.object = nodes
  return scheduler.park(task, leave_all)
end

local function wake_with_index(node)
  leave_all(node.task)
  scheduler.wake(node.task, node.index)
end

---Waits for the first of several tasks or events to end; of those that have ended already, the first in the list.
---@param objects (lunode.task|lunode.task.event)[]
---@param seconds? number
---@return integer? index  nil, "timed out", "ETIMEDOUT"
---@return any ...  what join or wait returns of it, or raises
function M.wait_any(objects, seconds)
  check_objects(objects, "task.wait_any")
  if seconds then
    check_seconds(seconds, "task.wait_any")
  end
  local task = waiter "task.wait_any"
  for i = 1, #objects do
    if has_ended(objects[i]) then
      return i, outcome_of(objects[i])
    end
  end
  local index = wait_for(task, objects, wake_with_index, seconds)
  if index == TIMED_OUT then
    return nil, "timed out", "ETIMEDOUT"
  end
  return index, outcome_of(objects[index])
end

local function wake_after_last(node, object)
  local nodes = node.task.object
  nodes.left = nodes.left - 1
  if object.state == "failed" or nodes.left == 0 then
    leave_all(node.task)
    scheduler.wake(node.task, node.index)
  end
end

---Waits for all of several tasks or events. Raises the error of the first that fails, at once; the others go on.
---@param objects (lunode.task|lunode.task.event)[]
---@param seconds? number
---@return table[]? results  what join or wait returns of each, as table.pack packs it
---@return string? err, lunode.code? code  nil, "timed out", "ETIMEDOUT"
function M.wait_all(objects, seconds)
  check_objects(objects, "task.wait_all")
  if seconds then
    check_seconds(seconds, "task.wait_all")
  end
  local task = waiter "task.wait_all"
  local waiting = false
  for i = 1, #objects do
    if objects[i].state == "failed" then
      return outcome_of(objects[i])
    end
    waiting = waiting or not has_ended(objects[i])
  end
  if waiting then
    local index = wait_for(task, objects, wake_after_last, seconds)
    if index == TIMED_OUT then
      return nil, "timed out", "ETIMEDOUT"
    elseif objects[index].state == "failed" then
      return outcome_of(objects[index])
    end
  end
  local results = {}
  for i = 1, #objects do
    results[i] = table.pack(outcome_of(objects[i]))
  end
  return results
end

-- ---------------------------------------------------------------- from outside of tasks

---Runs the loop until main(…), as a task, has ended: for scripts and prompts, outside of tasks and callbacks.
---@param main fun(...): ...
---@param ... any
---@return any ...  what join returns or raises
function M.run(main, ...)
  check_function(main, "task.run")
  local current = scheduler.current()
  if current and not current.hosted then
    error("task.run inside of a task: call the function, or task.spawn it", 2)
  end
  local task = scheduler.spawn(main, ...)
  list.append(task, {
    notify = function()
      loop.stop()
    end,
  })
  local ok, err = pcall(loop.run)
  if not ENDED[task.state] then
    local where = task:traceback()
    list.take(task)
    task:cancel()
    error(ok and "task.run: the loop has ended before the task, which waits here:\n" .. where or err, 2)
  end
  return outcome(task)
end

return M
