-- Deadlines: a part of a task's work that must end in time, and a part that nothing outside may cut short. There is one
-- timer for each deadline, not one for each wait.
--
-- Scopes nest in a task: an inner one never ends after an outer one, unless it is a shield.

local loop = require "lunode.loop"
local scheduler = require "lunode.task.scheduler"

local M = {}

local FOREVER = math.huge

---@class lunode.task.scope
---@field task lunode.task
---@field parent lunode.task.scope|false
---@field deadline number   loop.now() at which it ends, or an outer one before; math.huge: never
---@field shield boolean    no interrupt from outside reaches in
---@field expired table|false  the interrupt that is raised in it
---@field timer lunode.timer|false

local function expire(scope)
  scope.expired = scheduler.interrupt_error("timed out", "ETIMEDOUT")
  scheduler.interrupt(scope.task)
  scheduler.drain()
end

local function enter(task, at, shield)
  local parent = task.scope
  local outer = parent and not shield and parent.deadline or FOREVER
  local scope = {
    task = task,
    parent = parent,
    deadline = at < outer and at or outer,
    shield = shield,
    expired = false,
    timer = false,
  }
  if at < outer then
    local now = loop.now()
    if at > now then
      scope.timer = loop.timer(at - now, function()
        expire(scope)
      end)
    else
      scope.expired = scheduler.interrupt_error("timed out", "ETIMEDOUT")
      task.alarmed = true
    end
  end
  task.scope = scope
  return scope
end

local function leave(scope, ok, ...)
  local task = scope.task
  task.scope = scope.parent
  if scope.timer then
    scope.timer:close()
  end
  if task.alarmed then
    scheduler.refresh_alarm(task)
  end
  if ok then
    return ...
  end
  local err = ...
  if scope.expired and rawequal(scope.expired, err) then
    return nil, "timed out", "ETIMEDOUT"
  end
  return scheduler.rethrow(err)
end

---Calls fn(…) in the running task, within a deadline.
---@param task table
---@param at number
---@param shield boolean
function M.call(task, at, shield, fn, ...)
  local scope = enter(task, at, shield)
  return leave(scope, xpcall(fn, scheduler.on_raise, ...))
end

return M
