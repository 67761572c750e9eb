-- The simulated `lunode.loop` of one life of a node: turns, timers, deferred calls, hooks, signals, in virtual time.
-- Knows no sockets: what the network has for the node comes through `socket`, `flush` and `closing`.
--
-- A turn has the order of the real loop's: timers, deferred calls, socket callbacks, before_sleep hooks, flush of
-- output, closing. What a phase adds to itself waits for the next turn. A turn costs TURN seconds of virtual time, so
-- that code that polls sees time pass. Where code has to wait for a disk, the rest of the turn waits, too: see `lag`.

local events = require "lunode.sim.events"
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

---Makes a turn come at a virtual time, unless one comes earlier.
---@param at number
function methods:wake(at)
  if self.turning or self.dead then
    return -- the end of the turn looks what there is
  end
  local entry, queue = self.entry, self.world.events
  if at < self.free_at then
    at = self.free_at
  end
  if entry.index ~= 0 then
    if entry.at <= at then
      return
    end
    queue:remove(entry)
  end
  if self.node.state == "up" then
    queue:add(entry, at)
  end
end

local function has_work(self)
  return self.sockets.count > 0 or self.deferred.count > 0 or self.flushes.count > 0 or self.closings.count > 0
end

---Whether anything is active: what keeps `run` from returning.
---@return boolean
function methods:alive()
  return self.holds > 0 or self.timers.count > 0 or has_work(self)
end

---Wakes the loop for whatever there is.
function methods:schedule()
  if has_work(self) or self.phase > 1 then
    self:wake(self.world.now)
  else
    local first = self.timers[1]
    if first then
      self:wake(first.at > self.world.now and first.at or self.world.now)
    end
    local limit = self.step_limit
    if limit then
      self:wake(limit)
    end
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

---Keeps the loop alive, until `release`.
function methods:hold()
  self.holds = self.holds + 1
end

function methods:release()
  self.holds = self.holds - 1
  self:wake(self.world.now) -- it may have been the last
end

---The time as the node's code sees it: with what it has waited in this turn.
---@return number
function methods:time()
  return self.world.now + self.lag
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

local phases = {
  run_timers,
  function(self)
    if self.deferred.count > 0 then
      run_deferred(self)
    end
  end,
  function(self)
    if self.sockets.count > 0 then
      run_queue(self, "sockets", "spare_sockets")
    end
  end,
  function(self)
    if self.hooks[1] then
      run_hooks(self)
    end
  end,
  function(self)
    if self.flushes.count > 0 then
      run_queue(self, "flushes", "spare_flushes")
    end
  end,
  function(self)
    if self.closings.count > 0 then
      run_queue(self, "closings", "spare_closings")
    end
  end,
}

local function turn(self)
  local node, world = self.node, self.world
  self.turning = true
  for phase = self.phase, 6 do
    phases[phase](self)
    if self.dead then
      return
    elseif self.lag > 0 or node.state ~= "up" then -- the rest follows when the disk, or the pause, lets it
      self.free_at = world.now + self.lag
      self.phase, self.turning, self.lag = phase + 1, false, 0
      return self:wake(self.free_at)
    end
  end
  self.phase, self.turning = 1, false
  self.free_at = world.now + TURN
  self.turns = self.turns + 1
  self.step_limit = nil
  if node.waiting then
    node:after_turn()
    if self.dead then
      return
    end
  end
  self:schedule()
end

-- ---------------------------------------------------------------- what scripts see

local function misuse(position, name, text)
  error(("bad argument #%d to '%s' (%s)"):format(position, name, text), 3)
end

local function check_seconds(value, position, name)
  if type(value) == "string" then
    value = tonumber(value) or value
  end
  if type(value) ~= "number" then
    misuse(position, name, "number expected, got " .. (value == nil and "no value" or type(value)))
  elseif value ~= value or value < 0 then
    misuse(position, name, "seconds must not be negative")
  end
  return value + 0.0
end

local function check_function(value, position, name)
  if type(value) ~= "function" then
    misuse(position, name, "function expected, got " .. (value == nil and "no value" or type(value)))
  end
end

local timer_methods = {}
local timer_metatable = { __index = timer_methods, __name = "lunode.timer" }

local function check_object(object, wanted, name)
  if getmetatable(object) ~= wanted then
    misuse(1, name, ("%s expected, got %s"):format(wanted.__name, object == nil and "no value" or type(object)))
  end
end

local function start_timer(timer, loop)
  if loop.dead then
    return
  end
  loop.timers:add(timer, loop.world.now + loop.lag + timer.delay)
  if loop.timers[1] == timer then
    loop:wake(timer.at)
  end
end

function timer_methods:close()
  check_object(self, timer_metatable, "close")
  local loop = self.loop
  if self.index ~= 0 then
    loop.timers:remove(self)
    if loop.timers.count == 0 then
      loop:wake(loop.world.now) -- it may have been the last that keeps the loop alive
    end
  end
end
timer_metatable.__close = timer_methods.close

function timer_methods:again(delay)
  check_object(self, timer_metatable, "again")
  if delay ~= nil then
    self.delay = check_seconds(delay, 2, "again")
  end
  if self.index ~= 0 then
    self.loop.timers:remove(self)
  end
  start_timer(self, self.loop)
end

function timer_methods:is_active()
  check_object(self, timer_metatable, "is_active")
  return self.index ~= 0
end

local hook_methods = {}
local hook_metatable = { __index = hook_methods, __name = "lunode.hook" }

function hook_methods:close()
  check_object(self, hook_metatable, "close")
  self.fn = false
end
hook_metatable.__close = hook_methods.close

local signal_methods = {}
local signal_metatable = { __index = signal_methods, __name = "lunode.signal" }

function signal_methods:close()
  check_object(self, signal_metatable, "close")
  self.fn = false
  local list = self.loop.signals[self.name]
  for i, other in ipairs(list or {}) do
    if other == self then
      table.remove(list, i)
      break
    end
  end
end
signal_metatable.__close = signal_methods.close

-- What a signal does to a process that does not catch it.
local SIGNALS = {
  HUP = "ends", INT = "ends", QUIT = "ends", USR1 = "ends", USR2 = "ends", PIPE = "nothing", ALRM = "ends",
  TERM = "ends", CHLD = "nothing", CONT = "nothing", TSTP = "nothing", TTIN = "nothing", TTOU = "nothing",
  URG = "nothing", WINCH = "nothing", IO = "ends", PWR = "ends", VTALRM = "ends", PROF = "ends", XCPU = "ends",
  XFSZ = "ends", ABRT = "ends", TRAP = "ends", SYS = "ends", BUS = "ends", FPE = "ends", ILL = "ends", SEGV = "ends",
  STKFLT = "ends", KILL = false, STOP = false,
}

---A signal for the process: its callbacks get it in the next turn; without any it does what signals do.
---@param name string
function methods:signal(name)
  if SIGNALS[name] == nil then
    error(("there is no signal %q; give a name such as \"TERM\""):format(tostring(name)), 3)
  end
  local list = self.signals[name]
  if not list or #list == 0 then
    if SIGNALS[name] == "ends" then
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

local function add_doors(self, module)
  local world, node = self.world, self.node
  local rng = world:stream(("node %s %d"):format(node.name, node.boot))

  function module.now()
    return world.now + self.lag
  end

  function module.time()
    return node:wall_clock(world.now + self.lag)
  end

  function module.random(low, high)
    if math.type(low) ~= "integer" then
      low = math.tointeger(low) or misuse(1, "random", "number expected, got " .. type(low))
    end
    if math.type(high) ~= "integer" then
      high = math.tointeger(high) or misuse(2, "random", "number expected, got " .. type(high))
    end
    if low > high then
      misuse(2, "random", "interval is empty")
    end
    return rng:integer(low, high)
  end

  function module.timer(delay, fn, interval)
    delay = check_seconds(delay, 1, "timer")
    check_function(fn, 2, "timer")
    if interval ~= nil then
      interval = check_seconds(interval, 3, "timer")
      if interval == 0 then
        misuse(3, "timer", "interval must be positive")
      end
    end
    local timer = setmetatable({
      loop = self, fn = fn, delay = delay, interval = interval, at = 0, order = 0, index = 0,
    }, timer_metatable)
    start_timer(timer, self)
    return timer
  end

  function module.defer(fn)
    check_function(fn, 1, "defer")
    push(self.deferred, fn)
    self:wake(world.now)
  end

  function module.before_sleep(fn)
    check_function(fn, 1, "before_sleep")
    local hook = setmetatable({ fn = fn }, hook_metatable)
    self.hooks[#self.hooks + 1] = hook
    return hook
  end

  function module.signal(name, fn)
    if type(name) ~= "string" then
      misuse(1, "signal", "string expected, got " .. (name == nil and "no value" or type(name)))
    elseif SIGNALS[name] == nil then
      misuse(1, "signal", 'no such signal; give a name such as "TERM"')
    end
    check_function(fn, 2, "signal")
    if not SIGNALS[name] then
      misuse(1, "signal", "this signal cannot be caught")
    end
    local signal = setmetatable({ loop = self, name = name, fn = fn }, signal_metatable)
    local list = self.signals[name] or {}
    self.signals[name] = list
    list[#list + 1] = signal
    return signal
  end

  function module.on_error(fn)
    if fn ~= nil then
      check_function(fn, 1, "on_error")
    end
    local previous = self.handler
    self.handler = fn
    return previous
  end

  function module.report(text)
    if type(text) ~= "string" then
      misuse(1, "report", "string expected, got " .. (text == nil and "no value" or type(text)))
    end
    self:report(text)
  end

  function module.stop()
    self.stopping = true
    self:wake(world.now)
  end

  function module.run()
    node:wait "run"
  end

  function module.step(seconds)
    seconds = seconds ~= nil and check_seconds(seconds, 1, "step") or 0
    node:wait("step", seconds)
    return self:alive()
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
    step_limit = nil, -- when a `step` that waits ends at the latest
    handler = nil,
    timers = events.new(),
    deferred = new_queue(), spare_deferred = new_queue(),
    sockets = new_queue(), spare_sockets = new_queue(),
    flushes = new_queue(), spare_flushes = new_queue(),
    closings = new_queue(), spare_closings = new_queue(),
    hooks = {},
    signals = {},
    entry = nil,
    module = {},
  }, metatable)
  self.strings = string
  self.entry = { fn = turn, a = self, index = 0 }
  add_doors(self, self.module)
  return self
end

return M
