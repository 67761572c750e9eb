-- The simulated `lunode.loop` of one life of a node: turns, timers, deferred calls, hooks, signals, in virtual time.
-- Knows no sockets: what the network has for the node comes through `socket`, `flush` and `closing`.
--
-- A turn has the order of the real loop's: timers, deferred calls, socket callbacks, before_sleep hooks, flush of
-- output, closing. What a phase adds to itself waits for the next turn. A turn costs TURN seconds of virtual time, so
-- that code that polls sees time pass. Where code has to wait for a disk, the rest of the turn waits, too: see `lag`.

local events = require "lunode.sim.events"
local loop_module = require "lunode.sim.loop_module"
local watchdog = require "lunode.watchdog"

local guarded = watchdog.call

local M = {}

local TURN = 1e-5 -- seconds

local strings = getmetatable("") -- its __index is the `string` of the node that runs

---@class lunode.sim.loop
---@field world lunode.sim.world
---@field node lunode.sim.node
---@field dead boolean    its process has ended: nothing is called any more
---@field lag number      seconds that the running turn has spent waiting; add to it where a call blocks
---@field module table    what `require "lunode.loop"` gives
---@field stopping boolean
---@field turns integer
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.loop" }

-- ---------------------------------------------------------------- queues of calls: fn, a, b, flat

local function push(queue, fn, a, b)
  local count = queue.count
  queue[count + 1], queue[count + 2], queue[count + 3] = fn, a or false, b or false
  queue.count = count + 3
end

local function new_queue()
  return { count = 0 }
end

-- ---------------------------------------------------------------- calls into the node

---What was raised, as text: objects may say for themselves what went wrong.
---@param err any
---@return string
function M.describe(err)
  if type(err) == "string" then
    return err
  end
  local meta = getmetatable(err)
  if type(meta) == "table" and meta.__tostring then
    return tostring(err)
  end
  return ("(error object is a %s value)"):format(type(err))
end

-- The simulator's own frames, and those of whoever runs the world, are no part of what happened in the node.
local function trim(text)
  text = text:gsub("\n%s*%[C%]: in [^\n]*\n[^\n]*lunode/sim/loop%.lua:.*$", "")
  return (text:gsub("%(skipping %d+ levels%)", "(skipping levels)"))
end

---debug.traceback, as a node sees it.
function M.traceback(...)
  if type((...)) == "thread" then
    return debug.traceback(...)
  end
  local message, level = ...
  local text = debug.traceback(message, (level or 1) + 1)
  return type(text) == "string" and trim(text) or text
end

local function traceback(err)
  return trim(debug.traceback(M.describe(err), 2))
end

-- Strings come with their traceback, other values as they are.
local function keep_value(err)
  return type(err) == "string" and trim(debug.traceback(err, 2)) or err
end

local function leave(self, previous, index, ok, err, reason, where, ...)
  local world = self.world
  world.current = previous
  strings.__index = index
  if ok then
    return ok, err, reason, where, ...
  elseif reason == "budget" then
    self.node:fail(("%s\n%s"):format(err, trim(where)), true)
    return false, nil
  elseif reason == "cancelled" then
    return false, nil
  end
  return false, err
end

---Calls the node's code, within its budget. What it raises is returned: a string with its traceback.
---@param fn function
---@param ... any
---@return boolean ok
---@return any ...  what it returned or raised; false alone where it has ended itself
function methods:try(fn, ...)
  if self.dead then
    return false
  end
  local world, index = self.world, strings.__index
  local previous = world.current
  world.current = self.node
  world.calls = world.calls + 1
  strings.__index = self.strings
  return leave(self, previous, index, guarded(self.name, keep_value, fn, ...))
end

local function told(self, ok, ...)
  if not ok and (...) ~= nil then
    self:report((...))
  end
  return ok, ...
end

---As try; what the code raises goes to the node's loop.on_error.
---@param fn function
---@param ... any
---@return boolean ok
---@return any ...  what it returned
function methods:call(fn, ...)
  if self.dead then
    return false
  end
  local world, index = self.world, strings.__index
  local previous = world.current
  world.current = self.node
  world.calls = world.calls + 1
  strings.__index = self.strings
  return told(self, leave(self, previous, index, guarded(self.name, traceback, fn, ...)))
end

---Gives an error to the node's loop.on_error; without one it is the world's.
---@param text string
function methods:report(text)
  local handler = self.handler
  if handler then
    local ok, err = self:try(handler, text)
    if ok or self.dead then
      return
    end
    text = ("%s\nand on_error failed: %s"):format(text, tostring(err))
  end
  self.node:fail(text)
end

-- ---------------------------------------------------------------- when the next turn is

local function has_work(self)
  return self.sockets.count > 0 or self.deferred.count > 0 or self.flushes.count > 0 or self.closings.count > 0
end

-- The alarm is for the first time that is to come. What is to happen now needs none.
local turn

-- Whether there is something to do now: a timer may have been closed, or started anew, since its alarm was set.
local function is_due(self)
  local now, first = self.world.now, self.timers[1]
  return first and first.at <= now or has_work(self) or self.phase > 1 or self.stopping
    or self.step_limit and self.step_limit <= now or not self:alive()
end

local function on_alarm(self)
  self.alarm = nil
  if not self.turning and not self.queued and not self.dead and self.node.state == "up" then
    if is_due(self) then
      turn(self)
    else
      self:schedule()
    end
  end
end

---Makes a turn come at a virtual time, unless one comes earlier.
---@param at number
function methods:wake(at)
  if self.turning or self.queued or self.dead then
    return -- the end of the turn looks what there is
  end
  local now = self.world.now
  if at < self.free_at then
    at = self.free_at
  end
  if at <= now then
    if self.node.state == "up" then
      self.queued = true
      self.world.agenda:add(self.entry, now)
    end
    return
  end
  local alarm = self.alarm
  if not alarm or at < alarm.at then
    local agenda = self.world.agenda
    if alarm then
      agenda:cancel(alarm)
    end
    self.alarm = { fn = on_alarm, a = self, b = false, cancelled = false, order = 0, at = at }
    agenda:add(self.alarm, at)
  end
end

---Whether anything is active: what keeps `run` from returning.
---@return boolean
function methods:alive()
  return self.holds > 0 or self.timers.count > 0 or has_work(self)
end

---Wakes the loop for whatever there is.
function methods:schedule()
  if has_work(self) or self.phase > 1 then
    return self:wake(self.world.now)
  end
  local first, limit = self.timers[1], self.step_limit
  if first then
    self:wake(first.at)
  end
  if limit then
    self:wake(limit)
  end
end

-- ---------------------------------------------------------------- for the network, the disk and the node

---Calls `fn(a, b)`, outside of the node's code, in the socket phase of the next turn.
---@param fn fun(a: any, b: any)
---@param a? any
---@param b? any
function methods:socket(fn, a, b)
  push(self.sockets, fn, a, b)
  self:wake(self.world.now)
end

---Calls `fn(a, b)`, outside of the node's code, in this turn's flush phase, or the next one's.
---@param fn fun(a: any, b: any)
---@param a? any
---@param b? any
function methods:flush(fn, a, b)
  push(self.flushes, fn, a, b)
  self:wake(self.world.now)
end

---Calls `fn(a, b)`, outside of the node's code, in this turn's closing phase, or the next one's.
---@param fn fun(a: any, b: any)
---@param a? any
---@param b? any
function methods:closing(fn, a, b)
  push(self.closings, fn, a, b)
  self:wake(self.world.now)
end

---What is active: timers, connections, servers, hooks and signals, in the order in which they were made, by kind.
---@return table[]
function methods:handles()
  local list, timers = {}, self.timers
  for i = 1, timers.count do
    if not timers[i].internal then
      list[#list + 1] = timers[i]
    end
  end
  table.sort(list, function(a, b)
    return a.number < b.number
  end)
  local held, ordinals = {}, self.node.orders.ordinals
  for holder in pairs(self.holders) do -- in any order: sorted below
    held[#held + 1] = holder.handle
  end
  table.sort(held, function(a, b)
    return ordinals[a] < ordinals[b]
  end)
  table.move(held, 1, #held, #list + 1, list)
  for _, hook in ipairs(self.hooks) do
    list[#list + 1] = hook.fn and hook or nil
  end
  for _, signal in ipairs(self.signal_list) do
    list[#list + 1] = signal.fn and signal or nil
  end
  return list
end

---The process has ended: nothing is called any more.
function methods:die()
  self.dead = true
  if self.alarm then
    self.world.agenda:cancel(self.alarm)
    self.alarm = nil
  end
end

---Calls `fn()`, which is the node's code, in the phase of deferred calls.
---@param fn fun()
function methods:defer(fn)
  push(self.deferred, fn)
  self:wake(self.world.now)
end

---Keeps the loop alive, until `release`.
---@param holder? table  whose `handle` the script knows
function methods:hold(holder)
  self.holds = self.holds + 1
  if holder then
    self.holders[holder] = true
  end
end

---@param holder? table
function methods:release(holder)
  self.holds = self.holds - 1
  if holder then
    self.holders[holder] = nil
  end
  self:wake(self.world.now) -- it may have been the last
end

---The time as the node's code sees it: with what it has waited in this turn.
---@return number
function methods:time()
  return self.world.now + self.lag
end

-- ---------------------------------------------------------------- signals

-- What a signal does to a process that does not catch it.
methods.SIGNALS = {
  HUP = "ends", INT = "ends", QUIT = "ends", USR1 = "ends", USR2 = "ends", PIPE = "nothing", ALRM = "ends",
  TERM = "ends", CHLD = "nothing", CONT = "nothing", TSTP = "nothing", TTIN = "nothing", TTOU = "nothing",
  URG = "nothing", WINCH = "nothing", IO = "ends", PWR = "ends", VTALRM = "ends", PROF = "ends", XCPU = "ends",
  XFSZ = "ends", ABRT = "ends", TRAP = "ends", SYS = "ends", BUS = "ends", FPE = "ends", ILL = "ends", SEGV = "ends",
  STKFLT = "ends", KILL = false, STOP = false,
}

---A signal for the process: its callbacks get it in the next turn; without any it does what signals do.
---@param name string
function methods:signal(name)
  if self.SIGNALS[name] == nil then
    error(("there is no signal %q; give a name such as \"TERM\""):format(tostring(name)), 3)
  end
  local list = self.signals[name]
  if not list or #list == 0 then
    if self.SIGNALS[name] == "ends" then
      self.node:stop("kill", nil, "SIG" .. name)
    end
    return
  end
  for _, signal in ipairs { table.unpack(list) } do
    self:socket(function()
      if signal.fn then
        self:call(signal.fn, name)
      end
    end)
  end
end

-- ---------------------------------------------------------------- one turn

local function run_timers(self)
  local timers, now = self.timers, self.world.now
  local limit = timers.orders
  while true do
    local timer = timers[1]
    if not timer or timer.at > now or timer.order > limit then
      return
    end
    timers:pop()
    if timer.interval then
      -- Keeps to the grid, but does not catch up on what a long pause missed.
      local at = timer.at + timer.interval
      timers:add(timer, at > now and at or now + timer.interval)
    end
    self:call(timer.fn, timer)
    if self.dead then
      return
    end
  end
end

local function run_deferred(self)
  local queue = self.deferred
  self.deferred, self.spare_deferred = self.spare_deferred, queue
  for i = 1, queue.count, 3 do
    local fn = queue[i]
    queue[i] = false
    self:call(fn)
    if self.dead then
      break
    end
  end
  queue.count = 0
end

-- Runs what a queue holds now, in the simulator's own code; `name` is the queue, `spare` the one that takes turns
-- with it.
local function run_queue(self, name, spare)
  local queue = self[name]
  self[name], self[spare] = self[spare], queue
  for i = 1, queue.count, 3 do
    local fn = queue[i]
    queue[i] = false
    fn(queue[i + 1], queue[i + 2])
    queue[i + 1], queue[i + 2] = false, false
    if self.dead then
      break
    end
  end
  queue.count = 0
end

local function run_hooks(self)
  local hooks = self.hooks
  local i = 1
  while hooks[i] do -- one that a hook adds runs in the same turn, as in the real loop
    local hook = hooks[i]
    if hook.fn then
      self:call(hook.fn)
      if self.dead then
        return
      end
    end
    i = i + 1
  end
  for j = #hooks, 1, -1 do
    if not hooks[j].fn then
      table.remove(hooks, j)
    end
  end
end

-- After a phase: whether the turn goes no further now. The rest follows when the disk, or the pause, lets it.
local function is_halted(self, phase)
  if self.dead then
    return true
  elseif self.lag > 0 or self.node.state ~= "up" then
    self.free_at = self.world.now + self.lag
    self.phase, self.turning, self.lag = phase + 1, false, 0
    self:wake(self.free_at)
    return true
  end
end

local function end_turn(self)
  local node = self.node
  self.phase, self.turning = 1, false
  self.free_at = self.world.now + TURN
  self.turns = self.turns + 1
  self.step_limit = nil
  if node.waiting ~= "end" or self.stopping or not self:alive() then
    node:after_turn()
    if self.dead then
      return
    end
  end
  self:schedule()
end

function turn(self)
  local phase = self.phase -- above 1 where the turn was halted
  self.turning = true
  if phase == 1 then
    local first = self.timers[1]
    if first and first.at <= self.world.now then
      run_timers(self)
      if is_halted(self, 1) then return end
    end
  end
  if phase <= 2 and self.deferred.count > 0 then
    run_deferred(self)
    if is_halted(self, 2) then return end
  end
  if phase <= 3 and self.sockets.count > 0 then
    run_queue(self, "sockets", "spare_sockets")
    if is_halted(self, 3) then return end
  end
  if phase <= 4 and self.hooks[1] then
    run_hooks(self)
    if is_halted(self, 4) then return end
  end
  if phase <= 5 and self.flushes.count > 0 then
    run_queue(self, "flushes", "spare_flushes")
    if is_halted(self, 5) then return end
  end
  if phase <= 6 and self.closings.count > 0 then
    run_queue(self, "closings", "spare_closings")
    if is_halted(self, 6) then return end
  end
  end_turn(self)
end

local function on_queued(self)
  self.queued = false
  if not self.dead and self.node.state == "up" then
    turn(self)
  end
end

---The loop of one life of a node.
---@param node lunode.sim.node
---@return lunode.sim.loop
function M.new(node)
  local self = setmetatable({
    world = node.world,
    node = node,
    name = "node " .. node.name,
    strings = nil, -- the environment's `string`
    dead = false,
    turning = false,
    stopping = false,
    phase = 1,
    lag = 0,
    free_at = 0,
    turns = 0,
    holds = 0,
    holders = {}, -- of these the script has handles
    step_limit = nil, -- when a `step` that waits ends at the latest
    handler = nil,
    timers = events.new(),
    deferred = new_queue(), spare_deferred = new_queue(),
    sockets = new_queue(), spare_sockets = new_queue(),
    flushes = new_queue(), spare_flushes = new_queue(),
    closings = new_queue(), spare_closings = new_queue(),
    hooks = {},
    signals = {}, -- by name, lists
    signal_list = {},
    timers_made = 0,
    entry = nil, -- of the agenda: the turn that is to come at once
    queued = false, -- it is there
    alarm = nil, -- the first turn that is to come later
    module = {},
  }, metatable)
  self.strings = string
  self.entry = { fn = on_queued, a = self, b = false, cancelled = false, order = 0 }
  loop_module.fill(self, self.module)
  return self
end

return M
