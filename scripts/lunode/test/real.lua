-- The real world of describe_both: the modules as they are; nodes are processes of `lunode run`, or tasks of the test's
-- own process where they are functions.

local loop = require "lunode.loop"
local process = require "lunode.test.process"
local task = require "lunode.task"
local wait = require "lunode.test.wait"

local M = {}

local methods = {}
local metatable = { __index = methods }

function M.new()
  return setmetatable({ begun = loop.time(), nodes = {}, by_name = {}, spec = nil }, metatable)
end

---@class lunode.test.real_node
---@field name string
---@field number integer
---@field address string
---@field source string|function|nil
---@field args string[]
---@field process lunode.test.process?  where it is a script
---@field before string  what its former lives have printed
local node_methods = {}
local node_metatable = { __index = node_methods, __name = "lunode.test.real_node" }

local function add(self, name, source, args)
  local number = #self.nodes + 1
  local node = setmetatable({
    name = name,
    number = number,
    address = ("127.1.%d.%d"):format(number >> 8, number & 255),
    source = source,
    args = args,
    process = nil,
    before = "",
  }, node_metatable)
  self.nodes[number], self.by_name[name] = node, node
  return node
end

local function executable()
  local pipe = assert(io.popen("readlink -f /proc/$PPID/exe", "r"))
  local path = pipe:read "l"
  pipe:close()
  return path
end

local function start(node)
  local words = { executable(), "run", node.source }
  for _, word in ipairs(node.args) do
    words[#words + 1] = tostring(word)
  end
  node.process = process.start(words)
end

---What it has printed, in all of its lives.
---@param kind? "print"|"stderr"
---@return string
function node_methods:output(kind)
  if not self.process then
    return ""
  end
  return self.before .. (kind == "stderr" and self.process:stderr() or self.process:stdout())
end

-- The test itself counts as a node, as in the simulated world.
local function spec_node(self)
  self.spec = self.spec or add(self, "spec")
  return self.spec
end

function methods:time()
  return loop.time() - self.begun
end

function methods:self_address()
  return spec_node(self).address
end

function methods:require(name)
  spec_node(self)
  return require(name)
end

function methods:node(name, source, args)
  if type(name) ~= "string" or not name:find "^[%w_][%w_.-]*$" then
    error(("world:node: a name of letters, digits, _, . and - is needed, got %s"):format(tostring(name)), 3)
  elseif self.by_name[name] then
    error(("world:node: there is a node %s already"):format(name), 3)
  elseif type(source) ~= "string" and type(source) ~= "function" then
    error(("world:node: a script's path or a function is needed, got a %s"):format(type(source)), 3)
  end
  local node = add(self, name, source, args or {})
  if type(source) == "function" then
    task.spawn(source, table.unpack(node.args))
  else
    start(node)
  end
  return node
end

function methods:run(seconds)
  task.sleep(seconds)
end

function methods:run_until(predicate, seconds)
  local ok, value = pcall(wait.till, predicate, seconds or 20)
  if ok then
    return value
  end
  return nil, ("not within %g seconds"):format(seconds or 20)
end

function methods:till(predicate, seconds, what)
  return wait.till(predicate, seconds, what)
end

function methods:await(fn, ...)
  return fn(...)
end

-- ---------------------------------------------------------------- processes

local function process_of(self, which, what)
  local node = type(which) == "table" and which or self.by_name[which]
  if not node then
    error(("world:%s: there is no node %s"):format(what, tostring(which)), 4)
  elseif not node.process then
    local why = "is a function, which runs in the test's own process; make it a script"
    error(("world:%s: %s %s"):format(what, node.name, why), 4)
  end
  return node.process, node
end

function methods:kill(which)
  local running = process_of(self, which, "kill")
  running:kill "KILL"
  running:wait()
end

function methods:restart(which)
  local running, node = process_of(self, which, "restart")
  if running:is_alive() then
    self:kill(node)
  end
  node.before = node.before .. running:stdout()
  start(node)
end

function methods:pause(which)
  process_of(self, which, "pause"):kill "STOP"
end

function methods:resume(which)
  process_of(self, which, "resume"):kill "CONT"
end

-- Its processes end with the test, and what it left active the guard finds.
function methods:finish() end

return M
