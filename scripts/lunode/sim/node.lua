-- One node of a world: a host with its disk, on which a process lives, dies and lives again. What it runs, its state,
-- its wall clock. Sockets are the network's, turns the loop's.

local code = require "lunode.sim.code"
local env = require "lunode.sim.env"
local loops = require "lunode.sim.loop"
local output = require "lunode.sim.output"
local watchdog = require "lunode.watchdog"

local M = {}

local ENDED = setmetatable({}, { __name = "lunode.sim.ended", __tostring = function() return "the node has ended" end })

---@class lunode.sim.node
---@field name string
---@field number integer   from 1, in the order of making
---@field address string   127.1.0.1, 127.1.0.2, …
---@field world lunode.sim.world
---@field state "up"|"paused"|"crashed"|"ended"
---@field boot integer     how often it was started
---@field loop lunode.sim.loop  of this life
---@field env table        the globals of this life
---@field exit_code integer?  once it has ended by itself
---@field options lunode.sim.node_options
---@field waiting false|"run"|"step"|"end"  what its main chunk does: "end" when it has returned
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.node" }

---@class lunode.sim.node_options
---@field globals? table  further globals of the node's code
---@field errors? "raise"|"record"  what an error does that no loop.on_error takes (default: the world's)
---@field clock? number   seconds that its wall clock is ahead (default 0)
---@field drift? number   seconds that its wall clock gains in a second (default 0)

---@param world lunode.sim.world
---@param name string
---@param source string|function|nil  a script's path, a function; nil: the caller drives the node's loop
---@param args string[]
---@param options lunode.sim.node_options
---@param number integer
---@return lunode.sim.node
function M.new(world, name, source, args, options, number)
  return setmetatable({
    world = world,
    name = name,
    number = number,
    address = ("127.%d.%d.%d"):format(1 + (number >> 16), number >> 8 & 255, number & 255),
    source = source,
    args = args,
    options = options,
    state = "ended",
    boot = 0,
    loop = nil,
    env = nil,
    main = nil, -- the coroutine of the main chunk
    in_main = false,
    waiting = false,
    exit_code = nil,
    ends = {}, -- what at_crash was given in this life
    lines = { print = {}, stderr = {} },
    partial = { print = "", stderr = "" },
    wall = { at = 0, value = world.epoch + (options.clock or 0), rate = 1 + (options.drift or 0) },
  }, metatable)
end

---For messages: whose fault it is, and when it was.
---@return string
function methods:where()
  return ("node %s, virtual time %.6f s"):format(self.name, self.world.now)
end

---@param kind string
---@param text? string
function methods:note(kind, text)
  self.world:record { t = self.world.now, node = self.name, kind = kind, text = text }
end

-- ---------------------------------------------------------------- life

-- The main chunk, and what it is given.
local function compile(self)
  local source, environment = self.source, self.env
  if source == nil then
    return nil
  elseif type(source) == "function" then
    return code.clone(source, environment)
  end
  return code.load(source, environment)
end

---Prepares a life: a loop, globals, the main chunk compiled. It begins with the next event.
---@return boolean? ok
---@return string? err  what is wrong with the code
function methods:start()
  local world = self.world
  self.boot = self.boot + 1
  self.loop = loops.new(self)
  local orders
  self.env, orders = env.new(self, world:doors(self), self.options.globals)
  self.loop.strings = orders.string
  self.orders = orders
  self.env.arg = { [0] = type(self.source) == "string" and self.source or self.name }
  table.move(self.args, 1, #self.args, 1, self.env.arg)
  local chunk, err = compile(self)
  if not chunk and self.source ~= nil then
    return nil, ("%s: %s"):format(self:where(), err)
  end
  self.state, self.waiting, self.exit_code, self.ends = "up", false, nil, {}
  self:note("boot", self.boot > 1 and ("again, life %d"):format(self.boot) or nil)
  if not chunk then
    self.waiting = "driven"
    return true
  end
  self.main = coroutine.create(chunk)
  local loop = self.loop
  self.waiting = "start"
  loop.holds = loop.holds + 1
  loop:wake(world.now)
  return true
end

-- Goes on with the main chunk, until it waits again or has ended.
local function resume(self, ...)
  local loop, main = self.loop, self.main
  self.waiting, self.in_main = false, true
  local ok, alive, err = loop:call(watchdog.resume, main, ...)
  self.in_main = false
  if not ok or loop.dead then
    return
  elseif not alive then
    self:fail(debug.traceback(main, loops.describe(err)))
    return self:stop("exit", 1)
  elseif coroutine.status(main) == "dead" then
    self.waiting = "end"
    if not loop:alive() or loop.stopping then
      self:stop("exit", 0)
    end
  end
end

---A turn has ended: whatever the main chunk waits for may be there.
function methods:after_turn()
  local loop, waiting = self.loop, self.waiting
  if waiting == "start" then
    loop.holds = loop.holds - 1
    resume(self, table.unpack(self.args))
  elseif waiting == "step" then
    loop.stopping = false
    resume(self)
  elseif waiting == "run" then
    if loop.stopping or not loop:alive() then
      loop.stopping = false
      resume(self)
    end
  elseif waiting == "end" and (loop.stopping or not loop:alive()) then
    self:stop("exit", 0)
  end
end

-- The caller is no node: the world turns until the node's loop has.
local function drive(self, kind, seconds)
  local loop, world = self.loop, self.world
  if kind == "run" then
    if loop.stopping or not loop:alive() then
      loop.stopping = false
      return
    end
    world:drive(math.huge, function()
      return loop.dead or loop.stopping or not loop:alive()
    end)
    loop.stopping = false
    return
  end
  -- As with the real loop, a step is a turn at least, also one of no seconds.
  local turns, limit = loop.turns, math.max(world.now + seconds, loop.free_at)
  loop.step_limit = limit
  loop:schedule()
  world:drive(limit, function()
    return loop.turns ~= turns or loop.dead
  end)
  loop.stopping = false
end

---loop.run and loop.step: the main chunk waits; a caller outside of all nodes drives the world.
---@param kind "run"|"step"
---@param seconds? number
function methods:wait(kind, seconds)
  local current = self.world.current
  if not current then
    return drive(self, kind, seconds)
  elseif current ~= self or coroutine.running() ~= self.main then
    local where = self.in_main and current == self and "a coroutine of the main chunk" or "a callback"
    error(("loop.%s inside of %s"):format(kind, where), 3)
  end
  local loop = self.loop
  if kind == "run" and (loop.stopping or not loop:alive()) then
    loop.stopping = false
    return
  end
  self.waiting = kind
  if kind == "step" then
    loop.step_limit = self.world.now + seconds
  end
  loop:schedule()
  coroutine.yield()
end

---@param name string  of a module
---@return any  as the node's own `require`
function methods:require(name)
  return self.env.require(name)
end

-- ---------------------------------------------------------------- death

---What has happened to the process reaches the host: fn(how), "exit", "kill" or "crash"; once, when this life ends.
---@param fn fun(how: string)
function methods:at_crash(fn)
  self.ends[#self.ends + 1] = fn
end

---Ends this life.
---@param how "exit"|"kill"|"crash"  by itself; the process alone; the host with all that was not on disk
---@param exit_code? integer
---@param text? string
function methods:stop(how, exit_code, text)
  if self.state ~= "up" and self.state ~= "paused" then
    return
  end
  local world, loop = self.world, self.loop
  self.state = how == "crash" and "crashed" or "ended"
  self.exit_code, self.waiting = exit_code, false
  loop:die()
  output.finish(self)
  self:note(how, text or exit_code and exit_code ~= 0 and ("code %d"):format(exit_code) or nil)
  for _, fn in ipairs(self.ends) do
    fn(how)
  end
  world:tell_crash(self, how)
  self.main = nil
  if world.current == self then -- it did this itself, and must not go on
    watchdog.cancel(ENDED)
  end
end

---os.exit.
---@param exit_code integer
function methods:exit(exit_code)
  self:stop("exit", exit_code)
end

---An error that nobody in the node has taken.
---@param text string
---@param fatal? boolean  ends the node, and whoever runs the world hears of it in any case
function methods:fail(text, fatal)
  self:note("error", text)
  self.world:take_failure(self, text, fatal or (self.options.errors or self.world.errors) == "raise")
  if fatal then
    self:stop("kill", nil, "budget")
  end
end

-- ---------------------------------------------------------------- pause, signals, clock

---Stops the process, as SIGSTOP does; what arrives meanwhile waits.
function methods:pause()
  if self.state == "up" then
    self.state = "paused"
    self:note "pause"
  end
end

function methods:resume()
  if self.state == "paused" then
    self.state = "up"
    self:note "resume"
    self.loop:schedule()
  end
end

---A signal, as kill(1) sends it; see loop.signal.
---@param name string  "TERM", …; "KILL" ends the process, "STOP" and "CONT" pause and resume it
function methods:signal(name)
  if name == "KILL" then
    return self:stop("kill", nil, "SIGKILL")
  elseif name == "STOP" then
    return self:pause()
  elseif name == "CONT" then
    return self:resume()
  elseif self.state == "up" or self.state == "paused" then
    self:note("signal", name)
    self.loop:signal(name)
  end
end

---@param at number  virtual time
---@return number seconds  since the Unix epoch
function methods:wall_clock(at)
  local wall = self.wall
  return wall.value + (at - wall.at) * wall.rate
end

---Sets the wall clock forward or back, and how fast it goes from now on. The monotonic clock does not change.
---@param jump number   seconds
---@param drift? number seconds that it gains in a second (default: as it is)
function methods:set_clock(jump, drift)
  local now, wall = self.world.now, self.wall
  self.wall = { at = now, value = self:wall_clock(now) + jump, rate = drift and 1 + drift or wall.rate }
end

-- ---------------------------------------------------------------- what is active

local KINDS = {
  { "lunode.timer", "timer" }, { "lunode.conn", "connection" }, { "lunode.server", "server" },
  { "lunode.hook", "hook" }, { "lunode.signal", "signal handler" },
}

-- Where the callback of a handle was written, if that can be told.
local function place_of(handle)
  local fn = rawget(handle, "fn")
  if type(fn) == "function" then
    local info = debug.getinfo(fn, "S")
    return ("%s:%d"):format(info.short_src, info.linedefined)
  end
end

---What the process has active: "2 timers (n1.lua:7, n1.lua:9), 1 connection".
---@return string?  nil: nothing
function methods:active()
  if self.state ~= "up" and self.state ~= "paused" then
    return nil
  elseif self.waiting == "start" then
    return "its main chunk, which has not begun"
  end
  local parts, handles = {}, self.loop:handles()
  for _, kind in ipairs(KINDS) do
    local count, places, seen = 0, {}, {}
    for _, handle in ipairs(handles) do
      if getmetatable(handle).__name == kind[1] then
        count = count + 1
        local place = place_of(handle)
        if place and not seen[place] then
          seen[place], places[#places + 1] = true, place
        end
      end
    end
    if count > 0 then
      parts[#parts + 1] = ("%d %s%s%s"):format(count, kind[2], count > 1 and "s" or "",
        #places > 0 and " (" .. table.concat(places, ", ") .. ")" or "")
    end
  end
  return #parts > 0 and table.concat(parts, ", ") or nil
end

-- ---------------------------------------------------------------- output

---What it has printed, in all of its lives: the last ten thousand lines.
---@param kind? "print"|"stderr"  (default "print")
---@return string
function methods:output(kind)
  kind = kind or "print"
  local lines = self.lines[kind]
  return table.concat(lines, "\n") .. (#lines > 0 and "\n" or "") .. self.partial[kind]
end

return M
