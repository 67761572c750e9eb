-- The options of kv.start: what they are, and what is wrong with those that were given. Starts nothing.
local M = {}

---@class lunode.kv.options
---@field host? string         (default "127.0.0.1")
---@field port? integer        0 lets the kernel choose (default 6380)
---@field dir string           where the data lies
---@field sync? "always"|"everysec"|"no"  when a write is on disk: before its reply, within a second,
---   or whenever the system does it (default "everysec")
---@field requirepass? string  the password that clients must give
---@field maxclients? integer  (default 10000)
---@field protected? boolean   without a password, clients from other machines are refused (default false)
---@field rename_command? table<string, string>  other names for commands, "" for none: in the whole process
---@field cache? integer       bytes of the store's caches
---@field engine? string       "leveldb" (default), "rocksdb", or "memory"
---@field overlay? integer     bytes of writes in memory at which they go to the engine (default 32 MiB)
---@field limit? integer       bytes of them past which writes wait (default 96 MiB)
---@field segment? integer     bytes of a segment of the log (default 32 MiB)
---@field id? string           of a member of a cluster
---@field cluster? lunode.kv.cluster_options  makes the node one; see kv.cluster

---@class lunode.kv.cluster_options
---@field listen string  "HOST:PORT", for the other members
---@field address? string  where they reach it (default: as `init` has it, or `listen`)
---@field init? table<string, string>  id → address of those who found the cluster, the same for each of them; nil: this
---  one waits to be added
---@field join? string  the address of a member that it is to be added by; see kv.join
---@field name? string  (default "lunode kv")
---@field secret? string  that all members know
---@field announce? string  "HOST:PORT", where clients reach it (default: as it listens)
---@field redirect? "forward"|"moved"  what a client gets that asks one who does not lead: its reply, or who leads
---  (default "forward")
---@field election_timeout? number  seconds (default 0.3)
---@field heartbeat? number  seconds
---@field log_keep? integer  bytes of the log that are kept for members that lag

-- A type, an integer within a range, or one of several words.
local OPTIONS = {
  host = "string", port = { 0, 65535 }, dir = "string", sync = { "always", "everysec", "no" },
  requirepass = "string", maxclients = { 1, math.maxinteger }, protected = "boolean", rename_command = "table",
  cache = { 0, math.maxinteger }, engine = "string", overlay = { 1, 1 << 40 }, limit = { 1, 1 << 40 },
  segment = { 4096, 1 << 30 }, id = "string", cluster = "table",
}
local CLUSTER = {
  listen = "string", address = "string", init = "table", join = "string", name = "string", secret = "string",
  announce = "string", redirect = { "forward", "moved" }, election_timeout = "number", heartbeat = "number",
  log_keep = { 0, math.maxinteger },
}

local function range_fault(value, least, most)
  if type(value) ~= "number" then
    return ("must be a number, not a %s"):format(type(value))
  elseif math.type(value) ~= "integer" or value < least or value > most then
    return ("must be an integer from %d to %d"):format(least, most)
  end
end

local function word_fault(value, words)
  for _, word in ipairs(words) do
    if value == word then
      return nil
    end
  end
  return ('must be "%s" or "%s", not %s'):format(table.concat(words, '", "', 1, #words - 1), words[#words],
    type(value) == "string" and '"' .. value .. '"' or "a " .. type(value))
end

local function value_fault(value, expected)
  if type(expected) == "string" then
    return type(value) ~= expected and ("must be a %s, not a %s"):format(expected, type(value)) or nil
  elseif type(expected[1]) == "string" then
    return word_fault(value, expected)
  end
  return range_fault(value, expected[1], expected[2])
end

-- Of several faults, the one whose words come first.
local function table_fault(given, shape, prefix)
  local first
  for name, value in pairs(given) do
    local expected = shape[name]
    local fault = expected and value_fault(value, expected)
    fault = fault and ("kv.start: %s%s %s"):format(prefix, name, fault)
      or not expected and ("kv.start: unknown option %s%s"):format(prefix, tostring(name))
    first = fault and (not first or fault < first) and fault or first
  end
  return first
end

local function cluster_fault(options)
  local given = options.cluster
  if not given then
    return options.id and "kv.start: id is for a member of a cluster; give cluster = { listen = …, init = … }, too"
  elseif not options.id then
    return "kv.start: a member of a cluster needs an id"
  end
  return table_fault(given, CLUSTER, "cluster.") or not given.listen and "kv.start: cluster.listen is missing"
end

---@param options any  what kv.start was given
---@return string? fault  one line; nil or false: there is none
function M.fault(options)
  if type(options) ~= "table" then
    return "kv.start needs a table of options"
  end
  local fault = table_fault(options, OPTIONS, "")
  if fault then
    return fault
  end
  for name, new in pairs(options.rename_command or {}) do
    if type(name) ~= "string" or type(new) ~= "string" then
      return "kv.start: rename_command must be names to names"
    end
  end
  if not options.dir then
    return "kv.start: dir is missing"
  end
  return cluster_fault(options)
end

return M
