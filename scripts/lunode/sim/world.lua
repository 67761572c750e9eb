-- A world of virtual time: what is to happen next, the nodes, the trace. Nothing in it waits for real time, and
-- everything follows from the seed.
--
-- The network plugs in as `lunode.sim.net`: net.new(world), net:add(node) for each new node, and net:doors(node), a
-- table from modules' names to functions that give them, for each life of a node.

local agendas = require "lunode.sim.agenda"
local faults = require "lunode.sim.faults"
local nodes = require "lunode.sim.node"
local random = require "lunode.sim.random"
local traces = require "lunode.sim.trace"
local watchdog = require "lunode.watchdog"

local M = {}

---@class lunode.sim.world
---@field now number     virtual seconds since the world began
---@field seed integer
---@field epoch number   wall clock at its beginning, in seconds since the Unix epoch
---@field nodes lunode.sim.node[]  in the order of making
---@field agenda lunode.sim.agenda
---@field net lunode.sim.net
---@field schedule lunode.sim.planned[]  what the swarms have drawn, also those faults that were left out
---@field failures {node: string, t: number, text: string}[]  errors of nodes that no loop.on_error took
---@field current lunode.sim.node?  whose code runs
---@field calls integer  into nodes' code: timers, deliveries, connects, …
---@field steps integer  events so far
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.world" }

---@class lunode.sim.options
---@field seed? integer   (default 1)
---@field epoch? number   wall clock at the beginning (default 1700000000)
---@field budget? number  seconds of processor time that a node may use within one event (default 2)
---@field errors? "raise"|"record"  what `run` does about errors that no loop.on_error of a node takes (default "raise")
---@field trace? integer  how many records are kept (default 20000)
---@field keep? integer[] of a swarm's faults, apply only these (default: all)
---@field latency? any, bandwidth? any  of the network's links, see lunode.sim.net

local KNOWN = {
  seed = "number", epoch = "number", budget = "number", errors = "string", trace = "number", keep = "table",
}

local function check(options)
  for name, kind in pairs(KNOWN) do
    local value = options[name]
    if value ~= nil and type(value) ~= kind then
      error(("sim.new: %s must be a %s, not a %s"):format(name, kind, type(value)), 3)
    end
  end
  if options.seed and not math.tointeger(options.seed) then
    error("sim.new: seed must be an integer", 3)
  end
  if options.errors and options.errors ~= "raise" and options.errors ~= "record" then
    error('sim.new: errors must be "raise" or "record"', 3)
  end
end

---@param options lunode.sim.options
---@return lunode.sim.world
function M.new(options)
  check(options)
  local self = setmetatable({
    now = 0.0,
    seed = math.tointeger(options.seed or 1),
    epoch = options.epoch or 1.7e9,
    errors = options.errors or "raise",
    budget = options.budget or 2,
    options = options,
    agenda = agendas.new(),
    nodes = {},
    by_name = {}, -- nodes
    by_address = {},
    streams = {},
    crash_listeners = {},
    current = nil,
    calls = 0,
    steps = 0,
    failure = nil, -- what `run` has to raise
    failures = {}, -- all of them: {node, t, text}
    schedule = {}, -- of the swarm
    log = traces.new(options.trace or 20000),
    net = nil,
    running = false,
  }, metatable)
  self.log_add = self.log.add
  faults.prepare(self)
  local found, net = pcall(require, "lunode.sim.net")
  if found then
    self.net = net.new(self)
  elseif not tostring(net):find("module 'lunode.sim.net' not found", 1, true) then
    error(net, 0)
  end
  return self
end

-- ---------------------------------------------------------------- for the parts of the world

---Calls `fn(a, b)` at a virtual time, outside of any node; see cancel.
---@param time number
---@param fn fun(a: any, b: any)
---@param a? any
---@param b? any
---@return table event
function methods:at(time, fn, a, b)
  local event = { fn = fn, a = a, b = b, cancelled = false, order = 0 }
  self.agenda:add(event, time)
  return event
end

---Takes an event back that is still to happen; one that has happened must not be given.
---@param event table
function methods:cancel(event)
  self.agenda:cancel(event)
end

---Chance for one purpose.
---@param name string
---@return lunode.sim.random
function methods:stream(name)
  local stream = self.streams[name]
  if not stream then
    stream = random.new(self.seed, name)
    self.streams[name] = stream
  end
  return stream
end

---@param record lunode.sim.record
function methods:record(record)
  self.log:add(record)
end

---What every end of a node's life reaches: fn(node, how), "exit", "kill" or "crash".
---@param fn fun(node: lunode.sim.node, how: string)
function methods:on_crash(fn)
  self.crash_listeners[#self.crash_listeners + 1] = fn
end

function methods:tell_crash(node, how)
  for _, fn in ipairs(self.crash_listeners) do
    fn(node, how)
  end
end

function methods:take_failure(node, text, raise)
  local failure = { node = node.name, t = self.now, text = text }
  self.failures[#self.failures + 1] = failure
  if raise and not self.failure then
    self.failure = failure
  end
end

-- What `require` gives a node for the modules that are simulated.
function methods:doors(node)
  local doors = {
    ["lunode.loop"] = function()
      return node.loop.module
    end,
  }
  faults.add_doors(self, node, doors)
  if self.net then
    for name, open in pairs(self.net:doors(node)) do
      doors[name] = open
    end
  end
  return doors
end

-- ---------------------------------------------------------------- nodes

---Makes a node, and starts it: its main chunk runs with the next events.
---@param name string
---@param source? string|function  a script's path, or a function that gets the arguments; nil: the caller drives it
---@param args? (string|number)[]
---@param options? lunode.sim.node_options
---@return lunode.sim.node
function methods:node(name, source, args, options)
  if type(name) ~= "string" or not name:find("^[%w_][%w_.-]*$") then
    error(("world:node: a name of letters, digits, _, . and - is needed, got %s"):format(tostring(name)), 2)
  elseif self.by_name[name] then
    error(("world:node: there is a node %s already"):format(name), 2)
  elseif source ~= nil and type(source) ~= "string" and type(source) ~= "function" then
    error(("world:node: a script's path or a function is needed, got a %s"):format(type(source)), 2)
  end
  local words = {}
  for i, word in ipairs(args or {}) do
    words[i] = type(source) == "function" and word or tostring(word)
  end
  local node = nodes.new(self, name, source, words, options or {}, #self.nodes + 1)
  self.nodes[node.number], self.by_name[name], self.by_address[node.address] = node, node, node
  if self.net and self.net.add then
    self.net:add(node)
  end
  local ok, err = node:start()
  if not ok then
    error(err, 2)
  end
  return node
end

---A node by its name, its address, or itself.
---@param which lunode.sim.node|string
---@return lunode.sim.node
function methods:get(which)
  local node = type(which) == "table" and which or self.by_name[which] or self.by_address[which]
  if type(node) ~= "table" or node.world ~= self then
    error(("there is no node %s in this world"):format(tostring(which)), 3)
  end
  return node
end

-- ---------------------------------------------------------------- running

local function raise(self)
  local failure = self.failure
  self.failure = nil
  error(("node %s, virtual time %.6f s: %s"):format(failure.node, failure.t, failure.text), 0)
end

local function spin(self, limit, predicate)
  local agenda = self.agenda
  while true do
    local entry = agenda:take(limit)
    if not entry then
      return nil
    end
    if not entry.cancelled then
      self.now = agenda.now
      self.steps = self.steps + 1
      entry.fn(entry.a, entry.b)
      if self.failure then
        raise(self)
      end
      if predicate then
        local value = predicate()
        if value then
          return value
        end
      end
    end
  end
end

---Events up to a virtual time, until a predicate holds. For the parts of the world; see run and run_until.
---@param limit number
---@param predicate? fun(): any
---@return any value  the predicate's
function methods:drive(limit, predicate)
  if self.running then
    error("the world runs already: this is inside of one of its nodes or events", 3)
  end
  self.running = true
  watchdog.start(self.budget)
  local ok, value = pcall(spin, self, limit, predicate)
  watchdog.stop()
  self.running = false
  if not ok then
    error(value, 0)
  end
  if not value and limit < math.huge and limit > self.now then
    self.now = limit
    self.agenda:advance(limit)
  end
  return value
end

---Lets virtual time go on.
---@param seconds number
function methods:run(seconds)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds < math.huge) then
    error(("world:run: virtual seconds are needed, finite and not negative, got %s"):format(tostring(seconds)), 2)
  end
  self:drive(self.now + seconds)
end

---Lets virtual time go on until `predicate()` is truthy, which is asked before, and after each event.
---@param predicate fun(): any
---@param limit? number  virtual seconds (default 60)
---@return any value  what the predicate gave; nil where the time was up before
---@return string? err
function methods:run_until(predicate, limit)
  if type(predicate) ~= "function" then
    error(("world:run_until: a function is needed, got a %s"):format(type(predicate)), 2)
  end
  limit = limit or 60
  local value = predicate() or self:drive(self.now + limit, predicate)
  if not value then
    return nil, ("not within %g virtual seconds"):format(limit)
  end
  return value
end

---One event: a message that arrives, a node's turn, a fault.
---@return boolean more  false when nothing will ever happen any more
function methods:step()
  local done = false
  self:drive(math.huge, function()
    local before = done
    done = true
    return not before
  end)
  return not self.agenda:is_empty()
end

---Lets virtual time go on until no node has anything active any more. Raises where one still has, and tells what: for
---the end of a test whose nodes close what they open.
---@param seconds? number  virtual ones (default 30)
function methods:check_idle(seconds)
  local function find()
    for _, node in ipairs(self.nodes) do
      local active = node:active()
      if active then
        return ("%s: still active: %s"):format(node:where(), active)
      end
    end
  end
  self:run_until(function()
    return not find()
  end, seconds or 30)
  local found = find()
  if found then
    error(found, 2)
  end
end

-- ---------------------------------------------------------------- the trace

---The space-time transcript: see lunode.sim.trace.
---@param options? {last: integer?, nodes: string[]?, kinds: string[]?}
---@return string
function methods:trace(options)
  return self.log:format(options)
end

---The records that are kept, the oldest first.
---@return lunode.sim.record[]
function methods:records()
  return self.log:records()
end

---A hash over all that has happened, also over what is no longer kept: equal runs have equal ones.
---@return string  16 hexadecimal digits
function methods:trace_hash()
  return ("%016x"):format(self.log.hash)
end

-- ---------------------------------------------------------------- faults

for name, fn in pairs(faults.methods) do
  methods[name] = fn
end

return M
