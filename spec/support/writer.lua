-- A client that keeps a node busy with writes of its own keys, and then tells whether a crash lost or tore one.
--
--   local writer = require "spec.support.writer"
--   local w = writer.new("w1", { batch = 8 })   -- its keys all start with "w1:"
--   w:connect(node)             -- from here on it writes, whenever the loop turns
--   w.acked, w.sent, w.closed
--   w:settle(writer.dump(client))               -- what is there must be what it wrote
--
-- A node runs the commands of one connection in order, so after a crash its keys must be as after the first k
-- of them, with k at least what was acknowledged and at most what was sent: acknowledged writes are there, the others
-- as a whole or not at all. `settle` finds that k, or raises. Replies are compared, too. Chance comes from math.random.

local resp = require "lunode.resp"
local tcp_client = require "lunode.tcp_client"
local cleanup = require "lunode.test.cleanup"
local wait = require "lunode.test.wait"

local M = {}

local STRINGS, COUNTERS = 24, 4 -- keys of each writer
local FAR = 4102444800000 -- 2100, in milliseconds: no key expires while a spec runs

---@class spec.writer
---@field name string
---@field batch integer     commands in one write; there are up to two batches under way
---@field acked integer     replies since `connect`
---@field sent integer      commands since `connect`
---@field refused integer   of the acknowledged commands: how many got MISCONF, and so have not happened
---@field closed boolean
---@field state table<string, {text: string, expiry: integer}>  as of the last acknowledged command; expiry -1: none
---@field private pending table[]   commands sent, from `first` on not acknowledged
local methods = {}
local metatable = { __index = methods, __name = "spec.writer" }

---@param name string
---@param options? { batch: integer?, value: integer?, refusable: boolean? }  value: bytes to add to each value;
---   refusable: MISCONF is a reply like any other
---@return spec.writer
function M.new(name, options)
  options = options or {}
  return setmetatable({
    name = name,
    batch = options.batch or 8,
    filler = ("x"):rep(options.value or 0),
    acked = 0,
    sent = 0,
    refusable = options.refusable,
    refused = 0,
    serial = 0, -- tells values apart
    closed = true,
    state = {},
    pending = {},
    first = 1,
    rest = "",
    conn = nil,
    wrong = nil, -- a reply that was not as expected
  }, metatable)
end

-- ---- the commands: words, and what they do to a state, which returns the reply that is due

local OK = "OK"

local function with_text(state, key, text)
  local old = state[key]
  state[key] = { text = text, expiry = old and old.expiry or -1 }
end

local kinds = {}

function kinds.set(self)
  local key, value = self:a_string(), self:a_value()
  return { "SET", key, value }, function(state)
    state[key] = { text = value, expiry = -1 }
    return OK
  end
end

function kinds.set_expiring(self)
  local key, value, expiry = self:a_string(), self:a_value(), FAR + math.random(1000000)
  return { "SET", key, value, "PXAT", expiry }, function(state)
    state[key] = { text = value, expiry = expiry }
    return OK
  end
end

function kinds.mset(self)
  local words, value, chosen = { "MSET" }, self:a_value(), {}
  for i = 1, 5 do
    chosen[i] = self:a_string()
    words[#words + 1], words[#words + 2] = chosen[i], value
  end
  return words, function(state)
    for _, key in ipairs(chosen) do
      state[key] = { text = value, expiry = -1 }
    end
    return OK
  end
end

function kinds.del(self)
  local words = { "DEL", self:a_string(), self:a_string(), self:a_counter() }
  return words, function(state)
    local count = 0
    for i = 2, #words do
      count = count + (state[words[i]] and 1 or 0)
      state[words[i]] = nil
    end
    return count
  end
end

function kinds.append(self)
  local key, value = self:a_string(), self:a_value()
  return { "APPEND", key, value }, function(state)
    local text = (state[key] and state[key].text or "") .. value
    with_text(state, key, text)
    return #text
  end
end

function kinds.incr(self)
  local key = self:a_counter()
  return { "INCR", key }, function(state)
    local count = math.tointeger(state[key] and state[key].text or 0) + 1
    with_text(state, key, tostring(count))
    return count
  end
end

function kinds.rename(self)
  local from, to = self:a_string(), self:a_string()
  return { "RENAME", from, to }, function(state)
    local old = state[from]
    if not old then
      return "ERR no such key"
    end
    state[from] = nil
    state[to] = old
    return OK
  end
end

function kinds.expire(self)
  local key, expiry = self:a_string(), FAR + math.random(1000000)
  return { "PEXPIREAT", key, expiry }, function(state)
    local old = state[key]
    state[key] = old and { text = old.text, expiry = expiry }
    return old and 1 or 0
  end
end

function kinds.persist(self)
  local key = self:a_string()
  return { "PERSIST", key }, function(state)
    local old = state[key]
    local had = old ~= nil and old.expiry ~= -1
    state[key] = old and { text = old.text, expiry = -1 }
    return had and 1 or 0
  end
end

local KIND_NAMES = {
  "set", "set", "set_expiring", "mset", "del", "append", "incr", "incr", "rename", "expire", "persist",
}

function methods:a_string()
  return ("%s:s%d"):format(self.name, math.random(STRINGS))
end

function methods:a_counter()
  return ("%s:n%d"):format(self.name, math.random(COUNTERS))
end

function methods:a_value()
  self.serial = self.serial + 1
  return ("%s-%d;%s"):format(self.name, self.serial, self.filler)
end

-- ---- the load

local function send_batch(self)
  local pieces = {}
  for i = 1, self.batch do
    local words, effect = kinds[KIND_NAMES[math.random(#KIND_NAMES)]](self)
    pieces[i] = resp.command(table.unpack(words))
    self.pending[#self.pending + 1] = { words = words, effect = effect }
  end
  self.sent = self.sent + self.batch
  self.conn:write(pieces)
end

local function acknowledge(self, value)
  local command = self.pending[self.first]
  self.pending[self.first] = false
  self.first = self.first + 1
  self.acked = self.acked + 1
  if self.refusable and type(value) == "table" and (value.err or ""):find("^MISCONF ") then
    self.refused = self.refused + 1
    return
  end
  local due = command.effect(self.state)
  local given = type(value) == "table" and (value.ok or value.err) or value
  if given ~= due and not self.wrong then
    self.wrong = ("%s: %s, not %s"):format(table.concat(command.words, " "), tostring(given), tostring(due))
  end
end

local function take(self, data)
  self.rest = self.rest .. data
  local position = 1
  while true do
    local value, after, code = resp.decode(self.rest, position)
    assert(not code, after)
    if value == nil then
      break
    end
    acknowledge(self, value)
    position = after
  end
  self.rest = self.rest:sub(position)
  while not self.stopping and self.sent - self.acked <= self.batch do
    send_batch(self)
  end
end

---Starts to write, going on from what `settle` found.
---@param node { host: string, port: integer }
function methods:connect(node)
  self.acked, self.sent, self.closed, self.rest, self.stopping = 0, 0, false, "", false
  self.pending, self.first = {}, 1
  self.conn = tcp_client.connect(node.host, node.port, {
    on_connect = function(_, err)
      if not err then
        take(self, "")
      end
    end,
    on_read = function(_, data)
      take(self, data)
    end,
    on_close = function()
      self.closed = true
    end,
  })
  cleanup.add(function()
    self.conn:abort()
  end)
end

---Sends no more, and waits until all that was sent is acknowledged.
function methods:finish()
  self.stopping = true
  wait.till(function()
    return self.acked == self.sent or self.closed
  end, 20, "the last replies to " .. self.name)
  self.conn:close()
end

-- ---- the judgement

local function describe(entry)
  return entry and ("%.60s (expiry %d)"):format(entry.text, entry.expiry) or "nothing"
end

-- nil: there is none.
local function first_difference(there, due)
  for key, entry in pairs(due) do
    local other = there[key]
    if not other or other.text ~= entry.text or other.expiry ~= entry.expiry then
      return ("%s holds %s, not %s"):format(key, describe(other), describe(entry))
    end
  end
  for key, entry in pairs(there) do
    if not due[key] then
      return ("%s holds %s, and should be gone"):format(key, describe(entry))
    end
  end
end

---Finds how many of the commands have happened, and takes that for the state to go on from. Raises where what is there
---is not as after any number of them that is possible.
---@param all table<string, {text: string, expiry: integer}>  from `dump`
---@return integer unacknowledged  how many have happened without a reply
function methods:settle(all)
  local there = {}
  for key, entry in pairs(all) do
    if key:sub(1, #self.name + 1) == self.name .. ":" then
      there[key] = entry
    end
  end
  assert(not self.wrong, self.wrong)
  local complaints = {}
  for i = 0, self.sent - self.acked do
    local command = i > 0 and self.pending[self.first + i - 1]
    if command then
      command.effect(self.state)
    end
    local complaint = first_difference(there, self.state)
    if not complaint then
      return i
    end
    complaints[i + 1] = ("  after %s: %s"):format(
      command and table.concat(command.words, " "):sub(1, 60) or "the last acknowledged one", complaint)
  end
  error(("%s: not as after any of the %d to %d commands:\n%s"):format(self.name, self.acked, self.sent,
    table.concat(complaints, "\n")), 2)
end

---All keys of a node: what they hold, and when they expire.
---@param client spec.redis.client
---@return table<string, {text: string, expiry: integer}> all, integer count
function M.dump(client)
  local names = client:call("KEYS", "*")
  local commands, all = {}, {}
  for _, name in ipairs(names) do
    commands[#commands + 1] = { "GET", name }
    commands[#commands + 1] = { "PEXPIRETIME", name }
  end
  local replies = client:pipeline(commands)
  for i, name in ipairs(names) do
    all[name] = { text = replies[2 * i - 1], expiry = replies[2 * i] }
  end
  return all, #names
end

return M
