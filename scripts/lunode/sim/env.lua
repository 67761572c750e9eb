-- The globals of a node's code: Lua's own, without what would make a run depend on anything but the seed. What can be
-- made deterministic is; the rest raises, and names the door to use instead. Modules are loaded anew for each life of
-- a node.

local code = require "lunode.sim.code"
local loops = require "lunode.sim.loop"
local order = require "lunode.sim.order"
local output = require "lunode.sim.output"
local watchdog = require "lunode.watchdog"

local M = {}

-- What to use instead.
local REMEDIES = {
  os = {
    time = "lunode.loop's time()", clock = "lunode.loop's now()", date = "lunode.loop's time()",
    getenv = "the script's arguments",
    default = "what is simulated: lunode.loop, lunode.tcp_client, lunode.tcp_server, lunode.log, lunode.store",
  },
  io = { default = "lunode.store for data, print or io.write for output" },
  math = { random = "lunode.loop's random(low, high)", randomseed = "the seed of the world" },
  debug = { default = "debug.traceback and debug.getinfo, which a node has" },
  package = { default = "require" },
}

local function forbid(node, library, name)
  local remedies = REMEDIES[library]
  local remedy = remedies[name] or remedies.default
  return function()
    error(("%s: %s.%s reaches out of the simulated world; use %s"):format(node:where(), library, name, remedy), 2)
  end
end

-- A library whose missing functions say why they are.
local function guard(node, library, present)
  return setmetatable(present, {
    __index = function(_, name)
      if REMEDIES[library][name] or (_ENV[library] or {})[name] ~= nil then
        return forbid(node, library, name)
      end
    end,
  })
end

local function copy(library)
  local new = {}
  for name, value in next, library do
    new[name] = value
  end
  return new
end

-- ---------------------------------------------------------------- libraries

local function os_library(node)
  return guard(node, "os", {
    exit = function(status)
      if status == nil or status == true then
        status = 0
      elseif status == false then
        status = 1
      end
      node:exit(math.tointeger(status) or 1)
    end,
  })
end

local function math_library(node)
  local library = copy(math)
  for _, name in ipairs { "random", "randomseed" } do
    library[name] = forbid(node, "math", name)
  end
  return library
end

local function coroutine_library(orders)
  local library = copy(coroutine)
  library.create = function(fn)
    return orders:take(coroutine.create(fn))
  end
  library.resume, library.wrap, library.close = watchdog.resume, watchdog.wrap, watchdog.close
  return library
end

local COLLECTOR = { -- what each option returns; nothing of it may depend on how full the memory is
  collect = 0, count = 0.0, step = true, stop = 0, restart = 0, isrunning = true, incremental = "incremental",
  generational = "incremental", setpause = 200, setstepmul = 100,
}

local function collectgarbage_function(option)
  option = option or "collect"
  local result = COLLECTOR[option]
  if result == nil then
    error(("bad argument #1 to 'collectgarbage' (invalid option '%s')"):format(tostring(option)), 2)
  end
  return result
end

-- A handler does not run under a budget once that is spent: its error goes on as it is.
local function guarded_xpcall(fn, handler, ...)
  return xpcall(fn, function(err)
    if watchdog.ending() then
      return err
    end
    return handler(err)
  end, ...)
end

-- ---------------------------------------------------------------- modules

-- Loads a script into the environment; C modules of others could reach anywhere.
local function search(node, environment, name)
  local path, err = code.find(name)
  if not path and code.is_native(name) then
    error(("%s: module '%s' is written in C, and could reach out of the simulated world; a node has Lua modules, and "
      .. "those that are simulated"):format(node:where(), name), 3)
  elseif not path then
    error(("node %s: module '%s' not found:%s"):format(node.name, name, err:gsub("^%s*", "\n\t")), 3)
  end
  local chunk
  chunk, err = code.load(path, environment)
  if not chunk then
    error(("node %s: error loading module '%s' from file '%s':\n\t%s"):format(node.name, name, path, err), 3)
  end
  return chunk, path
end

local function add_require(node, environment, doors)
  local loaded, preload = { _G = environment }, {}
  for _, name in ipairs { "string", "table", "math", "os", "io", "coroutine", "utf8", "debug" } do
    loaded[name] = environment[name]
  end
  environment.package = guard(node, "package", { loaded = loaded, preload = preload, path = package.path, cpath = "",
    config = package.config })
  loaded.package = environment.package

  local function keep(name, value, ...)
    if value ~= nil then
      loaded[name] = value
    elseif loaded[name] == nil then
      loaded[name] = true
    end
    return loaded[name], ...
  end

  function environment.require(name)
    if type(name) ~= "string" then
      error(("bad argument #1 to 'require' (string expected, got %s)"):format(type(name)), 2)
    elseif loaded[name] ~= nil then
      return loaded[name]
    elseif preload[name] then
      return keep(name, preload[name](name, ":preload:"), ":preload:")
    elseif doors[name] then
      return keep(name, doors[name]())
    elseif code.PURE[name] then
      return keep(name, require(name))
    elseif code.is_for_tests(name) or name:find("^lunode%.cli") then
      error(("node %s: a node cannot require '%s': it is for those who run worlds"):format(node.name, name), 2)
    end
    local chunk, path = search(node, environment, name)
    return keep(name, chunk(name, path), path)
  end
  return environment.require
end

-- ---------------------------------------------------------------- the environment

---The globals of one life of a node.
---@param node lunode.sim.node
---@param doors table<string, fun(): table>  what `require` gives for the modules that are simulated
---@param globals? table  further ones
---@return table environment
function M.new(node, doors, globals)
  local orders = order.new(node)
  local environment = {
    _VERSION = _VERSION, assert = assert, error = error, getmetatable = getmetatable, ipairs = ipairs, pcall = pcall,
    rawequal = rawequal, rawget = rawget, rawlen = rawlen, rawset = rawset, select = select, tonumber = tonumber,
    type = type, utf8 = copy(utf8),
    xpcall = guarded_xpcall, collectgarbage = collectgarbage_function,
    pairs = orders.pairs, next = orders.next, setmetatable = orders.setmetatable, tostring = orders.tostring,
    string = orders.string, table = orders.table,
    coroutine = coroutine_library(orders), math = math_library(node), os = os_library(node),
    debug = guard(node, "debug", { traceback = loops.traceback, getinfo = debug.getinfo }),
  }
  environment._G = environment
  output.add(node, environment, orders, function(name)
    return forbid(node, "io", name)
  end)
  function environment.load(chunk, name, mode, ...)
    if select("#", ...) > 0 then
      return load(chunk, name, mode, (...))
    end
    return load(chunk, name, mode, environment)
  end
  function environment.loadfile(path)
    error(("%s: loadfile and dofile read real files (%s); use require"):format(node:where(), tostring(path)), 2)
  end
  environment.dofile = environment.loadfile
  add_require(node, environment, doors)
  for name, value in next, globals or {} do
    environment[name] = value
  end
  return environment, orders
end

return M
