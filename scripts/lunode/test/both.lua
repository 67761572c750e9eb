-- describe_both: one block of specs, run on the real world and on a simulated one. What the two worlds are is in
-- lunode/test/real.lua and simulated.lua; here is what they share.
--
--   describe_both("an echo server", function(world)
--     it("answers", function()
--       world:node("server", "examples/echo_server.lua", { "127.1.0.1:7000" })
--       local got
--       world.tcp_client.connect("127.1.0.1", 7000, {
--         on_connect = function(conn) conn:write "hello" end,
--         on_read = function(conn, data) got = data conn:close() end,
--       })
--       assert.equal("hello", world:till(function() return got end))
--     end)
--   end)
--
-- Each test has a world of its own, and it is there while the test runs, `before_each` and `after_each` included.
-- The n-th node that is made has the address 127.1.0.n, in both worlds. The test itself becomes a node, "spec", where
-- it first asks for one of the modules.

local cleanup = require "lunode.test.cleanup"

local M = {}

---@class lunode.test.world
---@field simulated boolean
---@field now number         seconds since the test began: virtual ones in the simulated world
---@field address string     of the test itself
---@field loop lunode.loop
---@field tcp_client lunode.tcp_client
---@field tcp_server lunode.tcp_server
---@field store lunode.store
---@field log lunode.log
---@field task lunode.task
---@field node fun(self, name: string, source: string|function, args?: any[])  starts a node:
---   an object with `name`, `address`, `output()`
---@field run fun(self, seconds: number)  lets time pass
---@field run_until fun(self, predicate: fun(), seconds?: number)
---   gives what the predicate does; nil, message when it was in vain
---@field till fun(self, predicate: fun(), seconds?: number, what?: string)
---   as run_until, but raises when it was in vain
---@field await fun(self, fn: function, ...)  calls fn(…) as a task of this world, and gives what it does
---@field kill fun(self, node: any)  as SIGKILL; a node that is a function only in the simulated world
---@field restart fun(self, node: any)
---@field pause fun(self, node: any)
---@field resume fun(self, node: any)
---@field sim lunode.sim.world?  the simulated world itself

-- Fields that are modules; all others are fields and methods of the world's own.
local MODULES = { loop = true, tcp_client = true, tcp_server = true, store = true, log = true, task = true }

local function field(current, key)
  if MODULES[key] then
    return current:require("lunode." .. key)
  elseif key == "now" then
    return current:time()
  elseif key == "address" then
    return current:self_address()
  end
  return current[key]
end

-- What the block is given: it leads to the world of the test that runs.
local function proxy(simulated)
  local holder = { current = nil }
  local world = setmetatable({}, {
    __name = "lunode.test.world",
    __index = function(_, key)
      if key == "simulated" then
        return simulated
      elseif not holder.current then
        error(("world.%s: the world is there while a test runs, not while the file loads"):format(tostring(key)), 2)
      end
      local value = field(holder.current, key)
      if type(value) == "function" and not MODULES[key] then
        return function(_, ...)
          return value(holder.current, ...)
        end
      end
      return value
    end,
    __newindex = function(_, key)
      error(("world.%s: the world's fields cannot be set"):format(tostring(key)), 2)
    end,
  })
  return world, holder
end

local function describe(name, block, kind, simulated)
  local busted = require "busted"
  busted.describe(name, function()
    local world, holder = proxy(simulated)
    busted.before_each(function()
      holder.current = require("lunode.test." .. kind).new()
      cleanup.add(function() -- added first, so it runs last
        local current = holder.current
        holder.current = nil
        current:finish()
      end)
    end)
    block(world)
  end)
end

---@param name string
---@param block fun(world: lunode.test.world)
function M.describe(name, block)
  if type(name) ~= "string" then
    error(("describe_both: a name is needed, got a %s"):format(type(name)), 3)
  elseif type(block) ~= "function" then
    error(("describe_both: a function of the world is needed, got a %s"):format(type(block)), 3)
  end
  describe(name .. " (real)", block, "real", false)
  describe(name .. " (simulated)", block, "simulated", true)
end

return M
