-- `lunode.loop` as the code of a simulated node sees it: arguments are checked as the real one does. What happens is
-- up to lunode.sim.loop.

local M = {}

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
  for _, list in ipairs { self.loop.signals[self.name] or {}, self.loop.signal_list } do
    for i, other in ipairs(list) do
      if other == self then
        table.remove(list, i)
        break
      end
    end
  end
end
signal_metatable.__close = signal_methods.close

---Fills the module that `require "lunode.loop"` gives, for one life of a node.
---@param self lunode.sim.loop
---@param module table
function M.fill(self, module)
  local world, node = self.world, self.node
  local signals = self.SIGNALS
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

  function module.trim() end

  function module.process()
    return {
      pid = node.boot, max_files = math.maxinteger, rss = 0, peak_rss = 0, system_memory = 0, user = 0.0, system = 0.0,
    }
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
    self.timers_made = self.timers_made + 1
    local timer = setmetatable({
      loop = self, fn = fn, delay = delay, interval = interval, number = self.timers_made,
      internal = false, -- of the simulator's own
      at = 0, order = 0, index = 0,
    }, timer_metatable)
    start_timer(timer, self)
    return timer
  end
  local timer_of_script = module.timer -- a script may put something else there

  function self.internal_timer(delay, fn, interval)
    local timer = timer_of_script(delay, fn, interval)
    timer.internal = true
    return timer
  end

  function module.defer(fn)
    check_function(fn, 1, "defer")
    self:defer(fn)
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
    elseif signals[name] == nil then
      misuse(1, "signal", 'no such signal; give a name such as "TERM"')
    end
    check_function(fn, 2, "signal")
    if not signals[name] then
      misuse(1, "signal", "this signal cannot be caught")
    end
    local signal = setmetatable({ loop = self, name = name, fn = fn }, signal_metatable)
    local list = self.signals[name] or {}
    self.signals[name] = list
    list[#list + 1] = signal
    table.insert(self.signal_list, signal)
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

  function module.handles()
    return self:handles()
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

return M
