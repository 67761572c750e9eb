-- The peers that are poked from a prompt: makes them, lists them, asks them all at once. What each kind speaks is in
-- redis_peer, rpc_peer and tcp_peer.
--
-- A kind is a module with `new(address, options, tell) → object, link`. The object is what the user has. The link:
--   kind, address, state() → string, ping() → seconds (in a task; raises), close(), closed: boolean

local addresses = require "lunode.rpc.options"
local inspect = require "lunode.repl.inspect"
local loop = require "lunode.loop"
local task = require "lunode.task"

local M = {}

local PING_SECONDS = 1
local BROADCAST_SECONDS = 10

---@class lunode.repl.peers
---@field env table?      whose globals are the peers' names
---@field private print fun(text: string)
---@field private list table[]  { object, link, name, number }
local methods = {}
local metatable = { __index = methods, __name = "lunode.repl.peers" }

local OPTIONS = { name = "string", timeout = "number", password = "string", user = "string" }

local function check_options(options, what)
  if options ~= nil and type(options) ~= "table" then
    error(("%s: options are a table, as in { timeout = 10 }, got a %s"):format(what, type(options)), 0)
  end
  for name, value in pairs(options or {}) do
    if not OPTIONS[name] then
      error(("%s: unknown option '%s'; there are name, timeout, user, password"):format(what, tostring(name)), 0)
    elseif type(value) ~= OPTIONS[name] or value ~= value or name == "timeout" and value <= 0 then
      error(("%s: option '%s' must be a %s%s"):format(what, name, name == "timeout" and "positive " or "",
        OPTIONS[name]), 0)
    end
  end
  return options or {}
end

-- "7000" is a port of this machine.
local function check_address(text, what)
  if type(text) == "number" or type(text) == "string" and text:find "^%d+$" then
    text = ("127.0.0.1:%s"):format(text)
  end
  local ok, host, port = pcall(addresses.address, text, what)
  if not ok then
    error(('%s "HOST:PORT": an address is HOST:PORT, [IPV6]:PORT, unix:/path or a port of this machine, got %s'):format(
      what, inspect.inspect(text)), 0)
  end
  return text, host, port
end

-- The global that holds it, else the name it was given.
local function name_of(self, entry)
  local best
  for key, value in next, self.env or {} do
    if rawequal(value, entry.object) and type(key) == "string" and key ~= "_" and (not best or key < best) then
      best = key
    end
  end
  return entry.name or best or entry.number
end

-- Those that are not closed, in the order they were made.
local function open_ones(self)
  local open = {}
  for _, entry in ipairs(self.list) do
    if not entry.link.closed then
      open[#open + 1] = entry
    end
  end
  self.list = open
  return open
end

local function make(self, kind, what, address, options)
  options = check_options(options, what)
  local host, port
  address, host, port = check_address(address, what)
  local entry = { name = options.name, number = ("#%d"):format(self.made + 1) }
  local function tell(format, ...)
    local text = #{ ... } > 0 and format:format(...) or format
    self.print(("%s %s: %s\n"):format(what, inspect.escape(name_of(self, entry)), inspect.escape(text)))
  end
  entry.object, entry.link = kind.new({ address = address, host = host, port = port }, options, tell)
  self.made = self.made + 1
  open_ones(self)
  self.list[#self.list + 1] = entry
  return entry.object
end

-- ---------------------------------------------------------------- tables

local function print_table(self, rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      row[i] = inspect.escape(cell)
      widths[i] = math.max(widths[i] or 0, utf8.len(row[i]) or #row[i])
    end
  end
  for _, row in ipairs(rows) do
    for i = 1, #row - 1 do
      row[i] = row[i] .. (" "):rep(widths[i] - (utf8.len(row[i]) or #row[i]))
    end
    self.print((table.concat(row, "  "):gsub(" +$", "")) .. "\n")
  end
end

local function milliseconds(seconds)
  return ("%.2f ms"):format(seconds * 1000)
end

-- fn(entry) for each, at the same time: { ok, result…, seconds = } in their order; nil where it takes too long.
local function for_each(entries, seconds, fn)
  local outcomes, tasks = {}, {}
  for i, entry in ipairs(entries) do
    tasks[i] = task.spawn(function()
      local started = loop.time()
      local outcome = table.pack(pcall(fn, entry))
      outcome.seconds = loop.time() - started
      outcomes[i] = outcome
    end)
  end
  local ok, err = pcall(task.wait_all, tasks, seconds)
  for _, running in ipairs(tasks) do
    running:cancel()
  end
  if not ok then
    error(err, 0)
  end
  return outcomes
end

local function print_peers(self)
  local entries = open_ones(self)
  if #entries == 0 then
    return self.print 'no peers; redis "HOST:PORT", peer "HOST:PORT" and tcp "HOST:PORT" make some\n'
  end
  local outcomes = for_each(entries, PING_SECONDS, function(entry)
    return entry.link.ping()
  end)
  local rows = { { "NAME", "KIND", "ADDRESS", "STATE", "LATENCY" } }
  for i, entry in ipairs(entries) do
    local outcome, link = outcomes[i], entry.link
    local latency = outcome and outcome[1] and outcome[2]
    rows[i + 1] = {
      name_of(self, entry), link.kind, link.address, link.state(), latency and milliseconds(latency) or "-",
    }
  end
  print_table(self, rows)
end

local function broadcast(self, fn)
  if type(fn) ~= "function" then
    error("broadcast: a function is needed, as in broadcast(function(p) return p:ping() end)", 0)
  end
  local entries = open_ones(self)
  local outcomes = for_each(entries, BROADCAST_SECONDS, function(entry)
    return fn(entry.object, name_of(self, entry))
  end)
  local rows = { { "NAME", "TIME", "RESULT" } }
  for i, entry in ipairs(entries) do
    local outcome = outcomes[i]
    local text
    if not outcome then
      text = ("error: no end within %d s"):format(BROADCAST_SECONDS)
    elseif outcome[1] then
      text = inspect.results(table.pack(table.unpack(outcome, 2, outcome.n)), { size = 1000, width = math.huge })
    else
      text = "error: " .. (type(outcome[2]) == "string" and outcome[2]:match "^[^\n]*" or inspect.inspect(outcome[2]))
    end
    rows[i + 1] = { name_of(self, entry), outcome and milliseconds(outcome.seconds) or "-", text }
  end
  print_table(self, rows)
end

-- ---------------------------------------------------------------- for sessions

---What a session has at hand.
---@return table<string, function>
function methods:objects()
  local objects = {}
  for name, module in pairs { redis = "redis_peer", peer = "rpc_peer", tcp = "tcp_peer" } do
    objects[name] = function(address, options)
      return make(self, require("lunode.repl." .. module), name, address, options)
    end
  end
  function objects.peers()
    print_peers(self)
  end
  function objects.broadcast(fn)
    broadcast(self, fn)
  end
  return objects
end

---Closes them all.
function methods:close()
  for _, entry in ipairs(self.list) do
    entry.link.close()
  end
  self.list = {}
end

---@param print_text? fun(text: string)  where tables and lost connections are told (default: the standard output)
---@return lunode.repl.peers
function M.new(print_text)
  return setmetatable({
    env = nil,
    print = print_text or function(text)
      io.stdout:write(text)
    end,
    list = {},
    made = 0,
  }, metatable)
end

return M
