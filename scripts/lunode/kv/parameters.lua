-- The parameters of CONFIG, under Redis's names: how each is read, checked and set. A parameter is a table of
--
--   get(node) → its text
--   fault(text) → what is wrong with a new one, as Redis words it; nil: it will do
--   set(node, text)            without set it is fixed at the start
local channels = require "lunode.kv.channels"
local logger = require "lunode.logger"
local notify = require "lunode.kv.notify"
local numbers = require "lunode.kv.numbers"

---@class lunode.kv.parameter
---@field get fun(node: lunode.kv.node): string
---@field fault fun(text: string): string?
---@field set? fun(node: lunode.kv.node, text: string)

local M = {}

-- ---- kinds of parameters

-- What this node cannot do otherwise: it may be set to what it is.
local function only(text)
  return {
    get = function()
      return text
    end,
    fault = function(given)
      return given:lower() ~= text:lower() and ("this node knows nothing but '%s'"):format(text) or nil
    end,
    set = function() end,
  }
end

-- The same for an amount of memory, however it is written.
local function only_bytes(n)
  local parameter = only(tostring(n))
  local fault = parameter.fault
  function parameter.fault(given)
    return M.bytes(given) ~= n and fault(given) or nil
  end
  return parameter
end

local function fixed(get)
  return { get = type(get) == "function" and get or function()
    return get
  end, fault = function() end }
end

local function integer(low, high, get, set)
  return {
    get = function(node)
      return tostring(get(node))
    end,
    fault = function(text)
      local n = numbers.parse(text)
      if not n then
        return "argument couldn't be parsed into an integer"
      elseif n < low or n > high then
        return ("argument must be between %d and %d inclusive"):format(low, high)
      end
    end,
    set = function(node, text)
      set(node, numbers.parse(text))
    end,
  }
end

-- In node.settings, under a name of our own.
local function setting(name, low, high)
  return integer(low, high, function(node)
    return node.settings[name]
  end, function(node, n)
    node.settings[name] = n
  end)
end

local YES_NO = { yes = true, no = false }

local function yes_no(name)
  return {
    get = function(node)
      return node.settings[name] and "yes" or "no"
    end,
    fault = function(text)
      return YES_NO[text:lower()] == nil and "argument must be 'yes' or 'no'" or nil
    end,
    set = function(node, text)
      node.settings[name] = YES_NO[text:lower()]
    end,
  }
end

local function one_of(words, get, set)
  return {
    get = get,
    fault = function(text)
      for _, word in ipairs(words) do
        if word == text:lower() then
          return nil
        end
      end
      return "argument(s) must be one of the following: " .. table.concat(words, ", ")
    end,
    set = function(node, text)
      set(node, text:lower())
    end,
  }
end

-- ---- amounts of memory

local UNITS = {
  [""] = 1, b = 1, k = 1000, kb = 1024, m = 1000000, mb = 1 << 20, g = 1000000000, gb = 1 << 30,
}

---Bytes, as Redis reads them: "100", "64mb", "1g".
---@param text string
---@return integer?
function M.bytes(text)
  local digits, unit = text:lower():match("^(%d+)(%a*)$")
  local scale, n = UNITS[unit], numbers.parse(digits or "")
  return scale and n and n <= math.maxinteger // scale and n * scale or nil
end

-- ---- output limits

local CLASS_NAMES = { normal = "normal", slave = "slave", replica = "slave", pubsub = "pubsub" }
local CLASSES = { "normal", "slave", "pubsub" }

-- The limits that a text gives; or (nil, what is wrong).
local function parse_limits(text)
  local words, limits = {}, {}
  for word in text:gmatch("%S+") do
    words[#words + 1] = word
  end
  if #words % 4 ~= 0 then
    return nil, "Wrong number of arguments in buffer limit configuration."
  end
  for i = 1, #words, 4 do
    local class = CLASS_NAMES[words[i]:lower()]
    if not class then
      return nil, "Invalid client class specified in buffer limit configuration."
    end
    local hard, soft, seconds = M.bytes(words[i + 1]), M.bytes(words[i + 2]), numbers.parse(words[i + 3])
    if not (hard and soft and seconds and seconds >= 0) then
      return nil, "Error in hard, soft or soft_seconds setting in buffer limit configuration."
    end
    limits[class] = { hard = hard, soft = soft, seconds = seconds }
  end
  return limits
end

local output_limits = {
  get = function(node)
    local words = {}
    for _, class in ipairs(CLASSES) do
      local limit = node.channels.limits[class]
      words[#words + 1] = ("%s %d %d %d"):format(class, limit.hard, limit.soft, limit.seconds)
    end
    return table.concat(words, " ")
  end,
  fault = function(text)
    local _, fault = parse_limits(text)
    return fault
  end,
  set = function(node, text)
    for class, limit in pairs(parse_limits(text)) do
      node.channels.limits[class] = limit
    end
    for _, session in ipairs(node:list_sessions()) do
      node.channels:set_limit(session)
    end
  end,
}

-- ---- connections

---What `tcp-keepalive` is to a connection: as in Redis, a third of it between probes, and three of them.
---@param seconds integer  0: off
---@return table|false
function M.keepalive(seconds)
  return seconds > 0 and { idle = seconds, interval = math.max(seconds // 3, 1), count = 3 } or false
end

-- ---- the rest

local LEVELS = { debug = "debug", verbose = "debug", notice = "info", warning = "warn" }
local LEVEL_NAMES = { debug = "debug", info = "notice", warn = "warning", error = "warning" }

local notifications = {
  get = function(node)
    return notify.text(node.notify_classes)
  end,
  fault = function(text)
    return not notify.parse(text) and "Invalid event class character. Use 'Ag$lshzxeKEtmdn'." or nil
  end,
  set = function(node, text)
    notify.set(node, notify.parse(text))
  end,
}

local password = {
  get = function(node)
    return node.requirepass or ""
  end,
  fault = function() end,
  set = function(node, text)
    node:set_password(text)
  end,
}

local MOST = math.maxinteger

M.parameters = {
  appendfsync = one_of({ "everysec", "always", "no" }, function(node)
    return node.replica.sync
  end, function(node, word)
    node.writes:set_sync(word)
  end),
  maxclients = integer(1, 4294967295, function(node)
    return node.maxclients
  end, function(node, n)
    node.maxclients = n
  end),
  requirepass = password,
  ["client-output-buffer-limit"] = output_limits,
  ["latency-monitor-threshold"] = setting("latency_threshold", 0, MOST),
  ["latency-tracking"] = yes_no "latency_tracking",
  ["notify-keyspace-events"] = notifications,
  ["protected-mode"] = yes_no "protected",
  ["slowlog-log-slower-than"] = setting("slower_than", -1, MOST),
  ["slowlog-max-len"] = setting("slowlog_length", 0, MOST),
  ["tcp-keepalive"] = integer(0, 2147483647, function(node)
    return node.settings.keepalive
  end, function(node, n)
    node.settings.keepalive = n
    for _, session in ipairs(node:list_sessions()) do
      session.conn:set { keepalive = M.keepalive(n) }
    end
  end),
  timeout = integer(0, 2147483647, function(node)
    return node.settings.timeout
  end, function(node, n)
    node:set_timeout(n)
  end),
  loglevel = one_of({ "debug", "verbose", "notice", "warning" }, function(node)
    local named = node.settings.loglevel
    return LEVELS[named] == logger.level and named or LEVEL_NAMES[logger.level]
  end, function(node, word)
    node.settings.loglevel, logger.level = word, LEVELS[word]
  end),

  bind = fixed(function(node)
    return node.host
  end),
  ["cluster-enabled"] = fixed(function(node)
    return node.cluster and "yes" or "no"
  end),
  databases = fixed "1",
  dir = fixed(function(node)
    return node.dir
  end),
  port = fixed(function(node)
    return tostring(node.port)
  end),

  appendonly = only "yes", -- what is acknowledged is written
  ["client-query-buffer-limit"] = only_bytes(1 << 30),
  ["hash-max-listpack-entries"] = only "512",
  ["hash-max-listpack-value"] = only "64",
  ["list-max-listpack-size"] = only "-2",
  maxmemory = only_bytes(0),
  ["maxmemory-policy"] = only "noeviction",
  ["proto-max-bulk-len"] = only_bytes(512 << 20),
  save = only "",
  ["set-max-intset-entries"] = only "512",
  ["zset-max-listpack-entries"] = only "128",
  ["zset-max-listpack-value"] = only "64",
}

-- Their names before Redis 7.0, which it still takes.
for _, name in ipairs {
  "hash-max-%s-entries", "hash-max-%s-value", "list-max-%s-size", "zset-max-%s-entries", "zset-max-%s-value",
} do
  M.parameters[name:format "ziplist"] = M.parameters[name:format "listpack"]
end

---@type string[]  ordered
M.names = channels.ordered(M.parameters)

---node.settings of a new node.
---@return table
function M.defaults()
  return {
    slower_than = 10000, -- microseconds
    slowlog_length = 128,
    latency_threshold = 0, -- milliseconds; 0: no monitoring
    latency_tracking = true,
    keepalive = 300, -- seconds
    timeout = 0, -- seconds
    protected = false,
  }
end

return M
