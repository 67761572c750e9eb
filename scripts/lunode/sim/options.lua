-- Options of simulated connections: checked as bindings/conn.c checks them, with the same words. Those of the decoders
-- are lunode.decoder's own affair.

local decoder = require "lunode.decoder"
local resp = require "lunode.resp"

local M = {}

local MAX_SIZE = 1 << 40
local NAMES = getmetatable(resp.names())

---@class lunode.sim.conn_options
---@field limits {low: integer, high: integer, cap: integer}
---@field timeouts {idle: number, read: number, write: number}
---@field keepalive {idle: integer, interval: integer, count: integer, user_timeout: number}
---@field sets_keepalive boolean
---@field decoder table       options of lunode.decoder
---@field callbacks table<string, function>
---@field connect_timeout number
---@field backlog integer
---@field max_connections integer|false
---@field reuseport boolean
---@field ipv6_only boolean

local callbacks = {
  on_connect = true,
  on_read = true,
  on_writable = true,
  on_end = true,
  on_close = true,
  on_message = true,
  on_long_message = true,
  on_short_message = true,
  on_bad_message = true,
  on_error = true,
}

-- ---------------------------------------------------------------- values: what they are, or nil and what they must be

local function count(key, value, low, high)
  local integer = (type(value) == "number" or type(value) == "string") and math.tointeger(tonumber(value))
  if not integer or integer < low or integer > high then
    return nil, ("option '%s' must be an integer from %d to %d"):format(key, low, high)
  end
  return integer
end

local function boolean(key, value)
  if type(value) ~= "boolean" then
    return nil, ("option '%s' must be true or false"):format(key)
  end
  return value
end

local function seconds(key, value)
  if value == false then
    return 0
  end
  local number = (type(value) == "number" or type(value) == "string") and tonumber(value)
  if not (number and number >= 0) then
    return nil, ("option '%s' must be a number of seconds, or false"):format(key)
  end
  return number
end

local function keepalive(value, user_timeout)
  local settings = { idle = 0, interval = 0, count = 0, user_timeout = user_timeout }
  if value == false then
    return settings
  elseif type(value) ~= "table" then
    local idle, err = count("keepalive", value, 1, 32767)
    settings.idle = idle
    return idle and settings, err
  end
  for _, field in ipairs { "idle", "interval", "count" } do
    if value[field] ~= nil then
      local number, err = count("keepalive." .. field, value[field], 1, 32767)
      if not number then
        return nil, err
      end
      settings[field] = number
    end
  end
  return settings
end

-- ---------------------------------------------------------------- options, by name

-- Each puts its value in, or returns what is wrong.

local function put(part, key, value, err)
  if value == nil then
    return err
  end
  part[key] = value
end

local any = {} -- those that `set` knows, too

for _, key in ipairs { "low", "high", "cap" } do
  any[key] = function(o, value)
    return put(o.limits, key, count(key, value, 1, MAX_SIZE))
  end
end
for _, key in ipairs { "idle", "read", "write" } do
  local name = key .. "_timeout"
  any[name] = function(o, value)
    return put(o.timeouts, key, seconds(name, value))
  end
end
function any.nodelay(_, value)
  return put({}, 1, boolean("nodelay", value))
end
function any.keepalive(o, value)
  local settings, err = keepalive(value, o.keepalive.user_timeout)
  o.sets_keepalive = true
  return put(o, "keepalive", settings, err)
end
function any.user_timeout(o, value)
  local number, err = seconds("user_timeout", value)
  if not number then
    return err
  end
  local k = o.keepalive
  o.sets_keepalive = true
  o.keepalive = {
    idle = k.idle,
    interval = k.interval,
    count = k.count,
    user_timeout = math.floor(number * 1000) / 1000, -- the kernel counts milliseconds
  }
end

local of_client, of_server = {}, {}

function of_client.connect_timeout(o, value)
  local number = (type(value) == "number" or type(value) == "string") and tonumber(value)
  if not (number and number > 0) then
    return "option 'connect_timeout' must be a positive number of seconds"
  end
  o.connect_timeout = number
end
function of_server.backlog(o, value)
  return put(o, "backlog", count("backlog", value, 1, 1 << 20))
end
function of_server.max_connections(o, value)
  return put(o, "max_connections", count("max_connections", value, 1, 1 << 24))
end
function of_server.reuseport(o, value)
  return put(o, "reuseport", boolean("reuseport", value))
end
function of_server.ipv6_only(o, value)
  return put(o, "ipv6_only", boolean("ipv6_only", value))
end
function of_server.mode(_, value)
  local number = type(value) == "string" and value:find "^[0-7]+$" and tonumber(value, 8)
  if not number or number == 0 or number > 511 then
    return "option 'mode' must be a string of octal digits such as \"0600\""
  end
end

-- One of the decoders': they know its name and its values.
local function take_decoder(o, key, value)
  local known, err = decoder.check(key, value)
  if known then
    o.decoder[key] = value
    return nil
  end
  return known == nil and err or ("unknown option '%s'"):format(key)
end

local function take(o, key, value, special)
  if type(key) ~= "string" then
    return ("options are named; found a %s as a key"):format(type(key))
  end
  local option = any[key] or (special and special[key])
  if option then
    return option(o, value)
  elseif (key == "decoder" or key == "names" or key == "ahead") and not special then
    return ("unknown option '%s'"):format(key)
  elseif key == "ahead" then
    return type(value) ~= "table" and "option 'ahead' must be what store:rows gives" or nil
  elseif key == "names" then
    if getmetatable(value) ~= NAMES then
      return "option 'names' must be what resp.names gives"
    end
    o.names = value
    return nil
  end
  return take_decoder(o, key, value)
end

-- Takes each; of several mistakes always the same one is told, whatever the order of the keys.
local function take_all(given, take_one)
  local first
  for key, value in next, given do
    local err = take_one(key, value)
    if err and (not first or err < first) then
      first = err
    end
  end
  return first
end

---The options and callbacks that a script gives.
---@param given table
---@param side "client"|"server"
---@return lunode.sim.conn_options? options
---@return string? err
function M.read(given, side)
  local o = {
    limits = { low = 64 << 10, high = 1 << 20, cap = 64 << 20 },
    timeouts = { idle = 0, read = 0, write = 0 },
    keepalive = { idle = 0, interval = 0, count = 0, user_timeout = 0 },
    sets_keepalive = false,
    decoder = {},
    names = false,
    callbacks = {},
    connect_timeout = 5,
    backlog = 511,
    max_connections = false,
    reuseport = false,
    ipv6_only = false,
  }
  local special = side == "client" and of_client or of_server
  local err = take_all(given, function(key, value)
    if not callbacks[key] then
      return take(o, key, value, special)
    elseif type(value) ~= "function" then
      return ("option '%s' must be a function"):format(key)
    end
    o.callbacks[key] = value
  end)
  if err then
    return nil, err
  end
  if o.decoder.decoder ~= nil then
    o.decoder.long_messages = o.callbacks.on_long_message ~= nil
  end
  return o
end

local function copy(t)
  local new = {}
  for key, value in next, t do
    new[key] = value
  end
  return new
end

---What `conn:set` is given, upon what there is: all or nothing.
---@param given table
---@param limits table
---@param timeouts table
---@param settings table  keepalive
---@return lunode.sim.conn_options? options  `decoder` holds what has changed only
---@return string? err
function M.change(given, limits, timeouts, settings)
  local o = {
    limits = copy(limits),
    timeouts = copy(timeouts),
    keepalive = settings,
    sets_keepalive = false,
    decoder = {},
  }
  local err = take_all(given, function(key, value)
    return take(o, key, value)
  end)
  if err then
    return nil, err
  end
  return o
end

-- ---------------------------------------------------------------- arguments, as luaL_check… words it

---Raises as a C function does for a wrong argument.
---@param position integer
---@param name string
---@param text string
---@param level integer  of the function that was called wrongly
function M.misuse(position, name, text, level)
  error(("bad argument #%d to '%s' (%s)"):format(position, name, text), level + 1)
end

-- What comes after the last argument that was given has no value at all.
local function type_of(value, later)
  return value == nil and not later and "no value" or type(value)
end

---The mark of a gate.
---@param name string
---@param mark any
---@return integer
function M.check_mark(name, mark, level)
  local number = (type(mark) == "number" or type(mark) == "string") and tonumber(mark)
  local integer = number and math.tointeger(number)
  if not number then
    M.misuse(1, name, "number expected, got " .. type_of(mark, false), level + 1)
  elseif not integer then
    M.misuse(1, name, "number has no integer representation", level + 1)
  elseif integer < 0 then
    M.misuse(1, name, "a mark is not negative", level + 1)
  end
  return integer
end

---Host, port and options of `connect` and `listen`.
---@param name string
---@param host any
---@param port any
---@param options any
---@param level integer
---@return string host, integer port
function M.check_arguments(name, host, port, options, level)
  level = level + 1
  if type(host) == "number" then
    host = tostring(host)
  elseif type(host) ~= "string" then
    M.misuse(1, name, "string expected, got " .. type_of(host, port ~= nil or options ~= nil), level)
  end
  if host:find("\0", 1, true) then
    M.misuse(1, name, "host contains a zero byte", level)
  end
  if port == nil and host:sub(1, 5) == "unix:" then
    port = 0
  end
  local number = (type(port) == "number" or type(port) == "string") and tonumber(port)
  if not number then
    M.misuse(2, name, "number expected, got " .. type_of(port, options ~= nil), level)
  end
  local integer = math.tointeger(number)
  if not integer then
    M.misuse(2, name, "number has no integer representation", level)
  elseif integer < 0 or integer > 65535 then
    M.misuse(2, name, "port must be from 0 to 65535", level)
  end
  if type(options) ~= "table" then
    M.misuse(3, name, "table expected, got " .. type_of(options, false), level)
  end
  return host, integer
end

return M
