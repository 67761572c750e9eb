-- How long commands take: what SLOWLOG, LATENCY and INFO's commandstats show. Those that Redis calls fast are not
-- looked at: a look at the clock would cost them more than it tells.
local loop = require "lunode.loop"

local M = {}

local MOST_WORDS, MOST_BYTES = 32, 128 -- of a command in the slow log
local MOST_SAMPLES = 160 -- of an event
local BUCKETS = 32 -- powers of two of microseconds

---@class lunode.kv.timing
---@field log table[]      the slow log, the newest first
---@field events table<string, table>
---@field commands table<string, table>  name → {calls, microseconds, buckets}
local methods = {}
local timing_mt = { __name = "lunode.kv.timing", __index = methods }

---@param node lunode.kv.node
---@return lunode.kv.timing
function M.new(node)
  return setmetatable({ node = node, log = {}, next_id = 0, events = {}, commands = {} }, timing_mt)
end

-- ---- the slow log

-- The words of a command, cut as Redis cuts them.
local function shorten(name, args)
  local words, count = {}, #args + 1
  for i = 1, math.min(count, MOST_WORDS) do
    local word = i == 1 and name or args[i - 1]
    if i == MOST_WORDS and count > MOST_WORDS then
      word = ("... (%d more arguments)"):format(count - MOST_WORDS + 1)
    elseif #word > MOST_BYTES then
      word = ("%s... (%d more bytes)"):format(word:sub(1, MOST_BYTES), #word - MOST_BYTES)
    end
    words[i] = word
  end
  return words
end

local function address(conn)
  local host, port = conn:peer()
  return host and (host:find(":", 1, true) and "[%s]:%s" or "%s:%s"):format(host, port) or ""
end

local function add_slow(self, session, name, args, microseconds)
  local log, settings = self.log, self.node.settings
  table.insert(log, 1, {
    id = self.next_id, time = math.floor(loop.time()), microseconds = microseconds, words = shorten(name, args),
    address = session and session.conn and address(session.conn) or "", name = session and session.name or "",
  })
  self.next_id = self.next_id + 1
  for i = #log, settings.slowlog_length + 1, -1 do
    log[i] = nil
  end
end

-- ---- events

---Something has taken so long; it is kept where latency-monitor-threshold says so.
---@param event string
---@param milliseconds integer
function methods:sample(event, milliseconds)
  local threshold = self.node.settings.latency_threshold
  if threshold == 0 or milliseconds < threshold then
    return
  end
  local known = self.events[event] or { samples = {}, most = 0 }
  self.events[event] = known
  known.most = math.max(known.most, milliseconds)
  local samples, now = known.samples, math.floor(loop.time())
  local last = samples[#samples]
  if last and last.time == now then -- one a second: the worst
    last.milliseconds = math.max(last.milliseconds, milliseconds)
    return
  end
  samples[#samples + 1] = { time = now, milliseconds = milliseconds }
  if #samples > MOST_SAMPLES then
    table.remove(samples, 1)
  end
end

-- ---- commands

local function count(self, entry, microseconds)
  local stats = self.commands[entry.name]
  if not stats then
    stats = { calls = 0, microseconds = 0, buckets = {} }
    self.commands[entry.name] = stats
  end
  stats.calls, stats.microseconds = stats.calls + 1, stats.microseconds + microseconds
  local bucket = 0 -- of 2^bucket microseconds and less
  while bucket < BUCKETS and microseconds > 1 << bucket do
    bucket = bucket + 1
  end
  stats.buckets[bucket] = (stats.buckets[bucket] or 0) + 1
end

---A command has run.
---@param entry table
---@param started number  loop.time() as it began
---@return integer? microseconds  where it is one for the slow log
function methods:took(entry, started)
  local microseconds = math.floor(math.max(loop.time() - started, 0) * 1e6)
  local settings = self.node.settings
  if settings.latency_tracking then
    count(self, entry, microseconds)
  end
  if settings.latency_threshold > 0 then
    self:sample("command", microseconds // 1000)
  end
  if settings.slower_than >= 0 and microseconds >= settings.slower_than and not entry.skip_slowlog then
    return microseconds
  end
end

---Into the slow log.
---@param session lunode.kv.session?
---@param name string
---@param args string[]
---@param microseconds integer
function methods:slow(session, name, args, microseconds)
  add_slow(self, session, name, args, microseconds)
end

---Both.
---@param session lunode.kv.session?
---@param entry table
---@param name string
---@param args string[]
---@param started number  loop.time() as it began
function methods:done(session, entry, name, args, started)
  local microseconds = self:took(entry, started)
  if microseconds then
    add_slow(self, session, name, args, microseconds)
  end
end

---CONFIG RESETSTAT.
function methods:reset()
  self.commands = {}
end

return M
