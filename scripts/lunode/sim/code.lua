-- Brings code into a node: compiles script files and modules for an environment, and clones functions into it.
-- Refuses what would lead back to the real world. Runs nothing.

local M = {}

-- ---------------------------------------------------------------- files

local compiled = {} -- by path: { text, bytes }: nodes boot often, and mostly from the same files

local function read(path)
  local file, err = io.open(path, "rb")
  if not file then
    return nil, err
  end
  local text = file:read("a")
  file:close()
  if not text then
    return nil, ("cannot read %s: is it a file?"):format(path)
  end
  return text
end

---@param path string
---@param environment table  its globals
---@return function? chunk
---@return string? err
function M.load(path, environment)
  local text, err = read(path)
  if not text then
    return nil, err
  end
  local known = compiled[path]
  if not known or known.text ~= text then
    local source = text:gsub("^#[^\n]*", "") -- as lua does with a first line for the shell
    local chunk
    chunk, err = load(source, "@" .. path, "t")
    if not chunk then
      return nil, err
    end
    known = { text = text, bytes = string.dump(chunk) }
    compiled[path] = known
  end
  return load(known.bytes, "@" .. path, "b", environment)
end

---Where `require` finds a script.
---@param name string
---@return string? path
---@return string? err  where it was looked for
function M.find(name)
  return package.searchpath(name, package.path)
end

---Whether `require` would find a module in C, outside of nodes.
---@param name string
---@return boolean
function M.is_native(name)
  return package.preload[name] ~= nil or package.searchpath(name, package.cpath) ~= nil
end

-- ---------------------------------------------------------------- functions

-- Modules that are pure functions, or that do not touch the world.
local PURE = {
  ["lunode.msgpack"] = true, ["lunode.resp"] = true, ["lunode.slot"] = true, ["lunode.decoder"] = true,
  ["lunode.hash"] = true, ["lunode.watchdog"] = true, ["lunode.version"] = true, ["lunode.batch"] = true,
  ["lunode.mac"] = true, ["lunode.bits"] = true, ["lunode.lcs"] = true, ["lunode.score"] = true,
  ["lunode.ranks"] = true, ["lunode.nearby"] = true,
}
M.PURE = PURE

local REAL_TYPES = {
  "lunode.timer", "lunode.hook", "lunode.signal", "lunode.conn", "lunode.server", "lunode.store_handle",
  "lunode.log_handle",
}

local function mark(doors, name, module)
  if type(module) ~= "table" then
    return
  end
  doors[module] = name
  for field, value in next, module do
    if type(field) == "string" and type(value) == "function" then
      doors[value] = name .. "." .. field
    end
  end
end

---Modules for those who run worlds: nodes do not get them, and their functions lead nowhere else.
---@param name string
---@return boolean
function M.is_for_tests(name)
  return name:find("^lunode%.sim") ~= nil or name:find("^lunode%.test") ~= nil
end

-- Everything that leads to the real world: modules and their functions, by value.
local function real_doors()
  local doors = {}
  for name, module in next, package.loaded do
    if type(name) == "string" and name:find("^lunode%.") and not PURE[name] and not M.is_for_tests(name) then
      mark(doors, name, module)
    end
  end
  mark(doors, "io", io)
  mark(doors, "os", os)
  doors[math.random], doors[math.randomseed] = "math.random", "math.randomseed"
  for _, name in ipairs(REAL_TYPES) do
    local metatable = debug.getregistry()[name]
    if metatable then
      doors[metatable] = "a real " .. name
    end
  end
  return doors
end

local function door_of(doors, value)
  local kind = type(value)
  if kind == "userdata" then
    local metatable = debug.getmetatable(value)
    return metatable and doors[metatable]
  elseif kind == "table" or kind == "function" then
    return doors[value]
  end
end

-- The way to the first door that an upvalue holds, also one of a function that it calls.
local function find_door(doors, fn, seen)
  seen[fn] = true
  for i = 1, 255 do
    local name, value = debug.getupvalue(fn, i)
    if not name then
      return nil
    end
    local door = name ~= "_ENV" and door_of(doors, value)
    if door then
      return name, door
    elseif type(value) == "function" and not seen[value] then
      local inner
      inner, door = find_door(doors, value, seen)
      if inner then
        return name .. " (its upvalue " .. inner .. ")", door
      end
    end
  end
end

---While a world runs, `require` in the real globals gives nodes their own modules, too: for a helper of the test's
---that a node's code calls, and that is not the node's own.
---@param world lunode.sim.world
---@return fun() restore
function M.lend_require(world)
  local real = require
  rawset(_G, "require", function(name)
    local node = world.current
    if node and type(name) == "string" and name:find "^lunode%." and not M.is_for_tests(name) then
      return node:require(name)
    end
    return real(name)
  end)
  return function()
    rawset(_G, "require", real)
  end
end

---A function of the caller's as a node's code: it shares its upvalues, and has globals of its own.
---@param fn function
---@param environment table
---@return function? clone
---@return string? err
function M.clone(fn, environment)
  local info = debug.getinfo(fn, "S")
  if info.what == "C" then
    return nil, "a function written in C cannot be a node: wrap it into a Lua function"
  end
  local upvalue, door = find_door(real_doors(), fn, {})
  if upvalue then
    return nil, ("%s:%d: the function's upvalue '%s' is %s of the real world; require the module inside of the "
      .. "function, so that the node gets the simulated one"):format(info.short_src, info.linedefined, upvalue, door)
  end
  local clone = assert(load(string.dump(fn), "=clone", "b", environment))
  local function holder()
    return environment
  end
  for i = 1, 255 do
    local name = debug.getupvalue(fn, i)
    if not name then
      break
    elseif name == "_ENV" then
      debug.upvaluejoin(clone, i, holder, 1)
    else
      debug.upvaluejoin(clone, i, fn, i)
    end
  end
  return clone
end

return M
