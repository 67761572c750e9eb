-- The simulated world of describe_both: a world of lunode.sim's, in which the test is a node.

local options_of_run = require "lunode.test.options"
local sim = require "lunode.sim"

local M = {}

-- What was closed needs some time to go.
local SECONDS = 30

local methods = {}
local metatable = { __index = methods }

function M.new()
  return setmetatable({ sim = sim.new { seed = options_of_run.seed }, spec = nil }, metatable)
end

-- Once: what it makes is looked for at the end.
local function spec_node(self)
  self.spec = self.spec or self.sim:node "spec"
  return self.spec
end

function methods:time()
  return self.sim.now
end

function methods:self_address()
  return spec_node(self).address
end

---@param name string
function methods:require(name)
  return spec_node(self):require(name)
end

function methods:node(...)
  return self.sim:node(...)
end

---@param seconds number
function methods:run(seconds)
  self.sim:run(seconds)
end

---@return any value, string? err
function methods:run_until(predicate, seconds)
  return self.sim:run_until(predicate, seconds or 10)
end

---As run_until, but raises when it was in vain.
---@param predicate fun(): any
---@param seconds? number  virtual ones (default 10)
---@param what? string
---@return any
function methods:till(predicate, seconds, what)
  local value = self.sim:run_until(predicate, seconds or 10)
  if not value then
    error(("waited %g virtual s in vain for %s"):format(seconds or 10, what or "the condition"), 3)
  end
  return value
end

---Calls fn(…) as a task of this world, and returns or raises what it does.
function methods:await(fn, ...)
  local task = self:require "lunode.task"
  local results
  local handle = task.spawn(function(...)
    results = table.pack(pcall(fn, ...))
  end, ...)
  if not self.sim:run_until(function()
    return results
  end, 3600) then
    error("not ended within an hour of virtual time; it waits here:\n" .. tostring(handle:traceback()), 3)
  elseif not results[1] then
    error(results[2], 0)
  end
  return table.unpack(results, 2, results.n)
end

for _, name in ipairs { "kill", "restart", "pause", "resume" } do
  methods[name] = function(self, which)
    self.sim[name](self.sim, which)
  end
end

function methods:finish()
  local spec = self.spec
  if not spec then
    return
  end
  local deadline = self.sim.now + SECONDS
  local loop = spec:require "lunode.loop"
  while loop.step(1) do
    if self.sim.now > deadline then
      error("the test left this active in the simulated world: " .. (spec:active() or "what keeps its loop"), 0)
    end
  end
end

return M
