-- What specs use under `lunode test`: helpers that clean up after themselves, and the two ways into the simulator.
-- `expect`, `describe_both` and `sim_it` are global in spec files. Not the runner: that is lunode/test/runner.lua.
--
--   local test = require "lunode.test"
--   it("answers", function()
--     local server <close> = assert(tcp_server.listen("127.0.0.1", 0, { on_connect = expect(function(conn) … end) }))
--     …
--     test.till(function() return #seen == 3 end, 5, "three messages")
--   end)
--
-- `test.process` starts programs: its file, lunode/test/process.lua, says how.

local cleanup = require "lunode.test.cleanup"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {
  GLOBALS = { "describe_both", "expect", "sim_it" },
  cleanup = cleanup.add,
  dir = tmp.dir,
  port = ports.free,
  process = process,
  settled = wait.settled,
  till = wait.till,
  turns = wait.turns,
}

---Counts the calls of a callback: the test fails at its end unless there were as many as there should be, and at
---once when there are more. Garbage is collected after each call, so that an object which only a callback kept alive
---shows.
---@param fn? fun(...): ...
---@param n? integer  calls (default 1; 0: never)
---@return fun(...): ...
function M.expect(fn, n)
  return require "lunode.test.expect"(fn, n)
end

---Compares a text with the one that is kept in testdata/ beside the spec. `lunode test --rewrite` keeps the new one:
---read what that changes before you commit it.
---@param name string  of the file
---@param text string
function M.golden(name, text)
  return require "lunode.test.golden"(name, text)
end

---The block is run twice: with the modules of the real world, and with those of a simulated one.
---@param name string
---@param block fun(world: lunode.test.world)
function M.describe_both(name, block)
  return require("lunode.test.both").describe(name, block)
end

---A test whose body runs under many seeds, each with a simulated world of its own. Of a failure, the faults that a
---swarm has drawn are dropped while it still fails; it tells the seed, the faults that are left, the end of the
---transcript, and the command that shows it again.
---@param name string
---@param options? lunode.test.sim_options
---@param fn fun(world: table)
function M.sim_it(name, options, fn)
  return require("lunode.test.seeds").it(name, options, fn)
end

return M
