-- What a command's handler gets as its first argument: the keys, the time, chance, and who asks.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local loop = require "lunode.loop"
local notify = require "lunode.kv.notify"
local resp = require "lunode.resp"

local M = {}

local ERROR, STATUS = ("-+"):byte(1, 2) -- how such replies begin

---@class lunode.kv.ctx
---@field node lunode.kv.node
---@field db lunode.kv.db
---@field session lunode.kv.session?  whose command it is; nil for a command that writes and comes from the log
---@field now integer   milliseconds since the epoch: for a command that writes, its entry's time
---@field notifies table<string, boolean>|false  the classes of keyspace events that are told; false: none
---@field word string?  a subcommand's name as it was sent, while it runs
---@field in_transaction boolean  EXEC runs it
---@field keeps boolean  its reply is kept: it may be no view
---@field events string[]?  private: of the command that runs, an event, its key, …
---@field seed integer? private: of the command that writes and runs; nil: it has not been asked for
local methods = {}
local ctx_mt = { __name = "lunode.kv.ctx", __index = methods }

---@param node lunode.kv.node
---@param db lunode.kv.db
---@return lunode.kv.ctx
function M.new(node, db)
  return setmetatable({
    node = node, db = db, session = nil, now = nil, seed = nil, notifies = false, events = nil, word = nil,
    in_transaction = false, keeps = false,
  }, ctx_mt)
end

-- SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
local function draw(self)
  self.seed = self.seed + 0x9E3779B97F4A7C15
  local z = self.seed
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

---A uniformly distributed integer in [low, high]. For a command that writes it follows from the entry's seed, so that
---every replay draws the same.
---@param low integer
---@param high integer
---@return integer
function methods:random(low, high)
  if not self.seed and not self.db.writing then
    return loop.random(low, high)
  end
  self.seed = self.seed or self.node.writes:next_seed() -- most commands never ask
  local range = high - low + 1
  if range <= 0 then -- more than half of all integers
    local value
    repeat
      value = draw(self)
    until value >= low and value <= high
    return value
  end
  local most = range * (math.maxinteger // range) -- what is above would favour some
  local value
  repeat
    value = draw(self) & math.maxinteger
  until value < most
  return low + value % range
end

local function run_and_decode(self, entry, args)
  local value
  if entry.variadic then
    value = entry.run(self, args)
  else
    value = entry.run(self, table.unpack(args))
  end
  local bytes = resp.encode(value)
  local kind = bytes:byte()
  if kind == ERROR then
    error(value, 0)
  elseif kind == STATUS then
    return value
  end
  value = resp.decode(bytes)
  return value ~= resp.null and value or nil
end

---Runs another command as a part of this one: what both have written is kept, or undone. For commands that read or
---write keys, by Redis's names, whatever clients call them; those that wait cannot be called. The reply does not
---depend on who has sent the command, as this runs on replicas, too.
---@param name string
---@param ... string|number
---@return any reply  as resp.decode gives it, a status as it is: `resp.OK`; nil for the null. An error is raised
function methods:call(name, ...)
  local args
  name, args = command.words(name, ...)
  local entry, refusal = command.entry_for(name, args, command.find_logged)
  if not entry then
    error(refusal, 0)
  elseif not (entry.write or entry.reads) or entry.blocks or entry.arrive then
    error(("call: %s is no command that only reads or writes keys"):format(entry.name), 2)
  end
  local session = self.session
  self.session = nil
  local ok, result = xpcall(run_and_decode, errors.with_traceback, self, entry, args)
  self.session = session
  if not ok then
    error(result, 0)
  end
  return result
end

---Of the replies of whoever sent the command.
---@return 2|3
function methods:protocol()
  local session = self.session
  return session and session.protocol or 2
end

---Tells of what has happened to a key (notify-keyspace-events), once the command is done: not if it fails. Off, the
---default, it costs a call; where that counts, ask `ctx.notifies` first.
---@param class string  one of "g$lshzxetdnm", as Redis has them
---@param event string  such as "set"
---@param key string
function methods:notify(class, event, key)
  local wanted = self.notifies
  if wanted and wanted[class] then
    local events = self.events or {}
    local count = #events
    events[count + 1], events[count + 2] = event, key
    self.events = events
    if not self.db.writing then
      self:tell_events()
    end
  end
end

---Sends what `notify` was told: the command is done.
function methods:tell_events()
  local events = self.events
  self.events = nil
  notify.tell(self.node, events)
end

return M
