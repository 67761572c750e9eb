-- Clients of a real cluster: each does one command after the other at any of the nodes, and all write down what they
-- were told. A lost connection, a timeout and -UNKNOWN say nothing of what became of the command; other refusals are
-- taken at their word.
--
--   local clients = require "spec.cluster.clients"
--   local c = clients.new(cluster, { count = 5, seconds = 3 })    -- seconds: patience with a command
--   c:after(20)           waits until 20 more commands were acknowledged
--   c:first_write()       { at }: when the first write is acknowledged that begins from now on
--   c:stop()              waits until all have their answer, or no patience
--   c:check()             raises where what they saw is not linearizable
--
-- Registers (SET, SET NX, SET GET, DEL, GET), counters (INCRBY), lists (APPEND) and sets (SADD, SREM, …).

local cleanup = require "lunode.test.cleanup"
local history = require "lunode.sim.history"
local loop = require "lunode.loop"
local resp = require "lunode.resp"
local tcp_client = require "lunode.tcp_client"
local wait = require "lunode.test.wait"

local M = {}

local KEYS_LAST = 250 -- commands on a set of keys; then there are new ones, so that checking stays cheap

local methods = {}
local metatable = { __index = methods, __name = "spec.cluster.clients" }

-- ---------------------------------------------------------------- what they do

local function nothing() end

local function as_boolean(reply)
  return reply ~= resp.null and reply ~= 0
end

local function text_or_nil(reply)
  return reply ~= resp.null and reply or nil
end

local function integer_or_zero(reply)
  return reply ~= resp.null and math.tointeger(tonumber(reply)) or 0
end

local function words_of(reply)
  local list = {}
  for word in (text_or_nil(reply) or ""):gmatch "[^,]+" do
    list[#list + 1] = word
  end
  return list
end

local function as_list(reply)
  return reply
end

-- kind → list of makers: (key, a value nobody wrote before) → operation's name, arguments, command's words, result
local commands = {
  register = {
    function(key) return "get", {}, { "GET", key }, text_or_nil end,
    function(key) return "get", {}, { "GET", key }, text_or_nil end,
    function(key, new) return "set", { new }, { "SET", key, new }, nothing end,
    function(key, new) return "swap", { new }, { "SET", key, new, "GET" }, text_or_nil end,
    function(key, new) return "claim", { new }, { "SET", key, new, "NX" }, as_boolean end,
    function(key) return "delete", {}, { "DEL", key }, as_boolean end,
  },
  counter = {
    function(key) return "read", {}, { "GET", key }, integer_or_zero end,
    function(key) return "add", { 1 }, { "INCRBY", key, "1" }, as_list end,
    function(key) return "add", { 5 }, { "INCRBY", key, "5" }, as_list end,
  },
  list = {
    function(key) return "read", {}, { "GET", key }, words_of end,
    function(key, new) return "append", { new }, { "APPEND", key, new .. "," }, nothing end,
    function(key, new) return "append", { new }, { "APPEND", key, new .. "," }, nothing end,
  },
  set = {
    function(key) return "contains", { "a" }, { "SISMEMBER", key, "a" }, as_boolean end,
    function(key) return "add", { "a" }, { "SADD", key, "a" }, as_boolean end,
    function(key) return "add", { "b" }, { "SADD", key, "b" }, as_boolean end,
    function(key) return "remove", { "a" }, { "SREM", key, "a" }, as_boolean end,
    function(key) return "read", {}, { "SMEMBERS", key }, as_list end,
  },
}

-- A register with compare-and-set, in Redis's words: SET NX sets where there is nothing, SET GET tells what was there.
local swaps = {
  init = false,
  step = function(state, op)
    local name, there = op.name, state or nil
    if name == "get" then
      return not op.known or op.result == there, state
    elseif name == "set" then
      return true, op.args[1]
    elseif name == "swap" then
      return not op.known or op.result == there, op.args[1]
    elseif name == "claim" then
      local claims = not state
      return not op.known or op.result == claims, claims and op.args[1] or state
    end
    return not op.known or op.result == (there ~= nil), false
  end,
  pure = function(op)
    return op.name == "get" or op.known and not op.result and (op.name == "claim" or op.name == "delete")
  end,
}

local models = { register = swaps, counter = "counter", list = "list", set = "set" }

-- ---------------------------------------------------------------- a client

local client = {}
local client_metatable = { __index = client }

-- Errors that say for certain that nothing was done.
local DEFINITE = { CLUSTERDOWN = true, MISCONF = true, MOVED = true, LOADING = true, TRYAGAIN = true, OOM = true }

local function later(self, seconds)
  self.timer:again(seconds)
end

local function finish(self, status, result)
  local all, o = self.all, self.op
  self.op = nil
  local h = all.histories[o.kind]
  h[status](h, o.op, result)
  all.counts[status] = (all.counts[status] or 0) + 1
  if status == "ok" and o.writes then
    for _, watch in ipairs(all.watches) do
      if o.at >= watch.since then
        watch.at = watch.at or loop.now()
      end
    end
  end
end

local function drop(self)
  if self.conn then
    local conn = self.conn
    self.conn = nil
    conn:abort()
  end
end

local function next_member(self)
  local members = self.all.cluster.members
  self.member = self.bound or members[loop.random(1, #members)]
end

local function replied(self, reply)
  if not self.op then
    error "a reply that nobody waits for"
  end
  local code = type(reply) == "table" and reply.err and reply.err:match "^%S+"
  if not code then
    finish(self, "ok", self.op.result(reply))
    return later(self, self.all.gap)
  elseif code ~= "UNKNOWN" and not DEFINITE[code] then
    self.all.fault = self.all.fault or ("%s to %s answered %s"):format(self.op.words[1], self.member.id, reply.err)
  end
  self.all.refusals[code] = (self.all.refusals[code] or 0) + 1
  finish(self, code == "UNKNOWN" and "unknown" or "fail")
  drop(self)
  next_member(self)
  later(self, 0.01)
end

local function connect(self)
  local conn
  conn = tcp_client.connect(self.member.host, self.member.port, {
    connect_timeout = 0.5,
    decoder = function(bytes, position)
      local value, after, code = resp.decode(bytes, position)
      if value == nil then
        return nil, code and after or nil
      end
      return value, after
    end,
    on_connect = function(_, err)
      if not err and self.conn == conn then
        self.connected = true
        self:next()
      end
    end,
    on_message = function(_, reply)
      if self.conn == conn then
        replied(self, reply)
      end
    end,
    on_close = function()
      if self.conn ~= conn then
        return
      end
      self.conn = nil
      if self.op then
        finish(self, "unknown")
      end
      next_member(self)
      later(self, 0.01)
    end,
  })
  self.conn, self.connected = conn, false
end

-- Its timer: the gap between two commands is over, or its patience.
function client:wake()
  if self.op then
    finish(self, "unknown")
    drop(self)
    next_member(self)
  end
  self:next()
end

---The next command, over a connection that may have to be made first.
function client:next()
  local all = self.all
  if self.op or all.stopped then
    return
  elseif not self.conn then
    return connect(self)
  elseif not self.connected then
    return
  elseif not self.bound and loop.random(1, 50) == 1 then -- to another member
    drop(self)
    next_member(self)
    return connect(self)
  end
  all.last = all.last + 1
  local kind = self.kinds[loop.random(1, #self.kinds)]
  local makers = commands[kind]
  local key = ("%s:%d:%d"):format(kind, all.last // KEYS_LAST, loop.random(1, 2))
  local name, args, words, result = makers[loop.random(1, #makers)](key, "v" .. all.last)
  local h = all.histories[kind]
  self.op = {
    kind = kind, words = words, result = result, at = loop.now(),
    writes = not (name == "get" or name == "read" or name == "contains"),
    op = h:invoke(self.name, name, key, table.unpack(args)),
  }
  self.conn:write(resp.command(table.unpack(words)))
  later(self, all.patience)
end

-- ---------------------------------------------------------------- all of them

---@param cluster spec.cluster
---@param options? { count: integer?, seconds: number?, gap: number?, probes: boolean? }  probes: one more for each
---  member, which only writes, and only there
function M.new(cluster, options)
  options = options or {}
  local self = setmetatable({
    cluster = cluster, histories = {}, counts = { ok = 0 }, refusals = {}, watches = {}, last = 0, stopped = false,
    patience = options.seconds or 3, gap = options.gap or 0.005, list = {}, fault = nil,
  }, metatable)
  for kind in pairs(commands) do -- in any order: each by itself
    self.histories[kind] = history.new { now = loop.now }
  end
  local kinds = { "register", "counter", "list" }
  local knows = cluster:leader():ask("COMMAND", "INFO", "sadd")
  if type(knows) == "table" and knows[1] and knows[1] ~= resp.null then
    kinds[#kinds + 1] = "set"
  end
  local function add(name, its_kinds, bound)
    local c = setmetatable({
      all = self, name = name, kinds = its_kinds, bound = bound, member = bound, conn = nil, connected = false,
      op = nil, timer = nil,
    }, client_metatable)
    c.timer = loop.timer(0.001, function()
      c:wake()
    end)
    if not bound then
      next_member(c)
    end
    self.list[#self.list + 1] = c
  end
  for i = 1, options.count or 5 do
    add("c" .. i, kinds)
  end
  for _, m in ipairs(options.probes and cluster.members or {}) do
    add("probe of " .. m.id, { "counter" }, m)
  end
  cleanup.add(function()
    self:abort()
  end)
  return self
end

---At once, whatever they wait for.
function methods:abort()
  self.stopped = true
  for _, c in ipairs(self.list) do
    c.timer:close()
    drop(c)
  end
end

-- Raises where a node said what none may say, or has ended by itself.
local function alright(self)
  if self.fault then
    error(self.fault, 0)
  end
  for _, m in ipairs(self.cluster.members) do
    m:check_alive()
  end
end

---Waits until so many more commands were acknowledged.
---@param count integer
---@param seconds? number
function methods:after(count, seconds)
  local wanted = self.counts.ok + count
  wait.till(function()
    alright(self)
    return self.counts.ok >= wanted
  end, seconds or 30, count .. " acknowledged commands")
end

---A watch, whose `at` is when the first write is acknowledged that begins from now on.
---@return { since: number, at: number? }
function methods:first_write()
  local watch = { since = loop.now(), at = nil }
  self.watches = { watch }
  return watch
end

---No more commands; waits for the answers.
function methods:stop()
  self.stopped = true
  wait.till(function()
    alright(self)
    for _, c in ipairs(self.list) do
      if c.op then
        return false
      end
    end
    return true
  end, self.patience + 5, "the last answers")
end

-- How an object is read as a whole: operation, command, result.
local whole = {
  register = { "get", "GET", text_or_nil }, counter = { "read", "GET", integer_or_zero },
  list = { "read", "GET", words_of }, set = { "read", "SMEMBERS", as_list },
}

---Reads all that they have written, so that what was lost is seen.
function methods:read_all()
  local connection = self.cluster:leader():client()
  for kind, h in pairs(self.histories) do -- in any order: each by itself
    local keys = {}
    for _, op in ipairs(h.operations) do
      if not keys[op.key] then
        keys[op.key] = true
        keys[#keys + 1] = op.key
      end
    end
    local name, command, result = table.unpack(whole[kind])
    for _, key in ipairs(keys) do
      local op = h:invoke("reader", name, key)
      local reply = connection:call(command, key)
      local err = type(reply) == "table" and reply.err
      assert(not err, err)
      h:ok(op, result(reply))
    end
  end
  connection:close()
end

---What they saw is linearizable.
function methods:check()
  for kind, h in pairs(self.histories) do -- in any order: each by itself
    local ok, why = h:check(models[kind])
    assert(ok, why)
  end
end

return M
