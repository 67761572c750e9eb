-- Runs a function of a spec as a task that may also turn the loop itself: so `task.sleep`, `conn:read` and the like
-- wait, and `loop.step` and `loop.run` work as they do in a script. Limits how long it takes. Knows no busted.
--
-- The task is hosted (lunode.task.scheduler): it runs here, between turns of the loop, which turns while it waits.
--
-- What takes too long fails where it is. A wait of a task's is interrupted here. While the function turns the loop
-- itself, SIGXCPU, which the runner's other process sends after the deadline, makes it raise there: the loop hears the
-- signal, stops, and the next instruction of the function raises. What neither waits nor turns the loop is killed.

local loop = require "lunode.loop"
local scheduler = require "lunode.task.scheduler"

local M = {}

-- Conditions outside of the loop are looked at in time even if nothing happens in it.
local LONGEST_TURN = 0.5

M.timeout = 30 -- seconds
M.file = nil -- of the specs, as they were loaded: errors point there

local current -- { task, deadline }

-- ---------------------------------------------------------------- where it is

---The innermost line of the spec's file, or of any Lua code.
---@param thread? thread  (default: the running one)
---@return string
function M.place(thread)
  thread = thread or coroutine.running()
  local nearest
  for level = 0, 200 do
    local info = debug.getinfo(thread, level, "Sl")
    if not info then
      break
    end
    if info.currentline > 0 then
      local here = ("%s:%d"):format(info.short_src, info.currentline)
      nearest = nearest or here
      if M.file and info.source == "@" .. M.file then
        return here
      end
    end
  end
  return nearest or "?"
end

---The part of a traceback that is the spec's: what called that is the runner.
---@param thread? thread  (default: the running one)
---@return string
function M.traceback(thread)
  local lines = {}
  local text = thread and debug.traceback(thread) or debug.traceback(nil, 3)
  for line in text:gmatch("[^\n]+") do
    if line:find("in function 'xpcall'", 1, true) then
      break
    elseif line ~= "stack traceback:" then
      lines[#lines + 1] = line
    end
  end
  return table.concat(lines, "\n")
end

local function too_late(thread, what)
  return ("%s: not ended within %g s; it %s here:\n%s"):format(M.place(thread), M.timeout, what, M.traceback(thread))
end

-- ---------------------------------------------------------------- the deadline

---The deadline of what runs begins anew: for a body that does its work many times.
function M.extend()
  if current then
    current.deadline = loop.time() + M.timeout
  end
end

local function interrupt(task, message)
  task.cancelled = scheduler.interrupt_error(message, "ETIMEDOUT")
  scheduler.interrupt(task)
end

-- Makes the thread raise at its next instruction, once.
local function raise_in(thread, message)
  debug.sethook(thread, function()
    debug.sethook(thread)
    error(message, 0)
  end, "", 1)
end

---For SIGXCPU's handler. The signal may be about what has ended meanwhile.
function M.on_signal()
  local task = current and current.task
  if task and task.thread and task.state == "running" and loop.time() > current.deadline then
    raise_in(task.thread, too_late(task.thread, "is"))
    loop.stop()
  end
end

---The loop hears SIGXCPU from now on.
---@return lunode.signal
function M.listen()
  M.signal = loop.signal("XCPU", M.on_signal)
  return M.signal
end

-- Only a signal can still end the wait.
local function hears_signals()
  for _, handle in ipairs(loop.handles()) do
    if getmetatable(handle).__name == "lunode.signal" and handle ~= M.signal then
      return true
    end
  end
  return false
end

local function turn(state)
  local task = state.task
  local left = task.state == "ready" and 0 or state.deadline - loop.time()
  if left < 0 then
    interrupt(task, too_late(task.thread, "waits"))
    state.deadline = math.huge -- a shield it is in, or what it does next, is left to the other process
    left = 0
  end
  local alive = loop.step(math.min(left, LONGEST_TURN))
  if not alive and task.state == "waiting" and not hears_signals() then
    local where, stack = M.place(task.thread), M.traceback(task.thread)
    interrupt(task, ("%s: nothing is active any more that could end this wait:\n%s"):format(where, stack))
  end
end

-- Turns the loop, at least once, until the task can go on.
local function wait(state)
  repeat
    turn(state)
  until state.task.state ~= "waiting"
end

---Runs fn(…) to its end.
---@param fn fun(...): ...
---@param ... any
---@return any ...  what fn returns
function M.run(fn, ...)
  if current then
    return fn(...)
  end
  local results
  local task = scheduler.host(function(...)
    results = table.pack(fn(...))
  end, ...)
  local state = { task = task, deadline = loop.time() + M.timeout }
  current = state
  while task.thread do
    scheduler.resume(task)
    if task.thread then
      wait(state)
    end
  end
  current = nil
  if task.state == "failed" then
    error(task.values[1], 0)
  elseif not results then
    error(task.cancelled and task.cancelled.message or "interrupted", 0)
  end
  return table.unpack(results, 1, results.n)
end

return M
