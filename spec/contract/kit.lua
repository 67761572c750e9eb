-- What the contract specs share: the worlds they run in, and short ways to connections. Contains no specs.
--
--   local kit = require "spec.contract.kit"
--   kit.describe("a connection", function(world) … it(…) … end)
--
-- A world is the modules that touch the network, whoever made them, and what a spec needs to know beside:
--
--   loop, tcp_client, tcp_server, log, store   the modules
--   directory()                    a new, empty one
--   volume                         the part of large amounts that is worth the time, from 0 to 1
--   silent()                       host and port where no connect is ever answered
--   simulated                      whether time is virtual

local busted = require "busted"
local cleanup = require "lunode.test.cleanup"
local sim = require "lunode.sim"
local tmp = require "lunode.test.tmp"

local M = {}

M.HOST = "127.0.0.1"

-- ---------------------------------------------------------------- worlds

local function nothing() end

-- The kernel ignores a connect to a listener whose backlog is full, for a second at least.
local function full_backlog(world)
  local server = M.listen(world, { backlog = 1, max_connections = 1 })
  local _, port = server:sock()
  for i = 1, 3 do -- one is accepted, and a backlog of one has room for two
    local connected = false
    M.connect(world, port, {
      on_connect = function(_, err)
        connected = not err
      end,
    })
    M.till(world, function()
      return connected and (i > 1 or server:connections() == 1)
    end, "a full backlog")
  end
  return M.HOST, port
end

local function real_world(volume)
  local world = {
    loop = require "lunode.loop",
    tcp_client = require "lunode.tcp_client",
    tcp_server = require "lunode.tcp_server",
    log = require "lunode.log",
    store = require "lunode.store",
    directory = tmp.dir,
    volume = volume,
  }
  world.silent = function()
    return full_backlog(world)
  end
  return world
end

-- Runs the specs inside of a collector mode, and puts the former one back.
local function with_collector(set, restore)
  return function()
    busted.before_each(set)
    busted.after_each(restore)
  end
end

-- A node whose loop the specs drive; all of the network that they use is within its host.
local function simulated_world(volume)
  local sim_world = sim.new { trace = 0 }
  local node = sim_world:node "spec"
  local world = {
    loop = node:require "lunode.loop",
    tcp_client = node:require "lunode.tcp_client",
    tcp_server = node:require "lunode.tcp_server",
    log = node:require "lunode.log",
    store = node:require "lunode.store",
    volume = volume,
    simulated = true,
  }
  local directories = 0
  function world.directory()
    directories = directories + 1
    return "directory" .. directories
  end
  function world.silent()
    local silent = sim_world.by_name.silent or sim_world:node "silent"
    local fault = sim_world.net:partition { isolate = silent }
    cleanup.add(function()
      fault:stop()
    end)
    return silent.address, 9
  end
  -- What a spec leaves behind would reach the next one: hooks.lua knows the real loop only.
  busted.before_each(function()
    world.loop.on_error(nil)
    cleanup.add(function()
      local deadline = sim_world.now + 30
      while world.loop.step(1) do
        assert(sim_world.now < deadline, "the spec leaves a connection, timer or server open in the simulated world")
      end
    end)
  end)
  return world
end

---Both worlds, for specs that compare them. To be called inside of `describe`.
---@return table real, table simulated
function M.both()
  return real_world(1), simulated_world(1)
end

local modes = {
  { name = "", volume = 1, prepare = nothing },
  {
    name = ", with a collector that never rests",
    volume = 0.05,
    prepare = with_collector(function()
      collectgarbage("incremental")
      collectgarbage("setpause", 0)
    end, function()
      collectgarbage("setpause", 200)
    end),
  },
  {
    name = ", with a generational collector",
    volume = 0.05,
    prepare = with_collector(function()
      collectgarbage("generational")
    end, function()
      collectgarbage("incremental")
    end),
  },
}

---Runs specs in the real world, under each collector: for what uses the real modules whatever the world.
---@param name string
---@param contract fun(world: table)
function M.describe_real(name, contract)
  for _, mode in ipairs(modes) do
    busted.describe(name .. mode.name, function()
      mode.prepare()
      contract(real_world(mode.volume))
    end)
  end
end

---Runs a contract in every world.
---@param name string
---@param contract fun(world: table)
function M.describe(name, contract)
  M.describe_real(name, contract)
  busted.describe(name .. ", simulated", function()
    contract(simulated_world(0.2))
  end)
end

-- ---------------------------------------------------------------- waiting

---Turns the world's loop until `predicate()` is truthy, and returns what it gave.
---@param predicate fun(): any
---@param what? string
---@param seconds? number  (default 20)
function M.till(world, predicate, what, seconds)
  local value = predicate()
  local tick <close> = world.loop.timer(0.005, nothing, 0.005)
  world.loop.step(0)
  local deadline = world.loop.now() + (seconds or 20)
  while not value do
    if world.loop.now() > deadline then
      error(("waited %g s in vain for %s"):format(seconds or 20, what or "the condition"), 2)
    end
    world.loop.step(0.01)
    value = predicate()
  end
  return value
end

function M.turns(world, n)
  for _ = 1, n do
    world.loop.step(0)
  end
end

---Lets pass what may be under way: what should not happen has had its chance then.
function M.settle(world)
  local passed = false
  world.loop.timer(0.02, function()
    passed = true
  end)
  M.till(world, function()
    return passed
  end)
end

-- ---------------------------------------------------------------- connections that go away with the spec

-- Options of the caller's, and callbacks that go before theirs.
local function with(options, extra)
  local all = {}
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  for key, value in pairs(extra) do
    local given = all[key]
    all[key] = given and function(...)
      value(...)
      return given(...)
    end or value
  end
  return all
end

function M.listen(world, options)
  local function keep(conn)
    cleanup.add(function()
      conn:abort()
    end)
  end
  local server = assert(world.tcp_server.listen(M.HOST, 0, with(options, { on_connect = keep })))
  cleanup.add(function()
    server:close()
  end)
  return server
end

function M.connect(world, port, options)
  local conn = world.tcp_client.connect(M.HOST, port, options)
  cleanup.add(function()
    conn:abort()
  end)
  return conn
end

---Two connections that are each other's peers.
---@return table client, table server_side
function M.pair(world, client_options, server_options)
  local accepted, connected
  local server = M.listen(
    world,
    with(server_options, {
      on_connect = function(conn)
        accepted = conn
      end,
    })
  )
  local _, port = server:sock()
  local client = M.connect(
    world,
    port,
    with(client_options, {
      on_connect = function(_, err)
        assert(not err, err)
        connected = true
      end,
    })
  )
  M.till(world, function()
    return accepted and connected
  end, "both ends of a connection")
  server:close()
  return client, accepted
end

---Callbacks that write down what happens: `log.events` ("connect", "read", "end", "writable", "close", with the code
---after a colon), `log.data`.
---@param then_do? table<string, fun(conn: any, …)>  by the name of the callback
function M.log(then_do)
  local log = { events = {}, data = "", closed = false }
  local callbacks = {}
  local function add(name, note)
    callbacks["on_" .. name] = function(conn, ...)
      note(...)
      local after = then_do and then_do["on_" .. name]
      if after then
        after(conn, ...)
      end
    end
  end
  local function event(name)
    return function(_, code)
      log.events[#log.events + 1] = code and name .. ":" .. code or name
    end
  end
  add("connect", event "connect")
  add("writable", event "writable")
  add("end", event "end")
  add("close", function(_, code)
    event "close"(nil, code)
    log.closed = true
  end)
  add("read", function(data)
    log.data = log.data .. data
    if log.events[#log.events] ~= "read" then -- how bytes are cut into pieces is the network's affair
      log.events[#log.events + 1] = "read"
    end
  end)
  log.callbacks = callbacks
  return log
end

---What loop.on_error hears from now on.
function M.collect_errors(world)
  local errors = {}
  world.loop.on_error(function(traceback)
    errors[#errors + 1] = traceback
  end)
  return errors
end

return M
