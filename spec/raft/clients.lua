-- Clients of the random worlds: registers, sets, counters and lists, which the servers replicate. What the clients were
-- told must be linearizable, and each must have been told something in the end.
--
--   local clients = require "spec.raft.clients"
--   local c = clients.new(world, 4)       -- spec.raft.model's, which tells it what its servers do
--   c:check()                             -- raises { violation = … }
--
-- What the objects are is kept once for all servers, by index: that their state machines agree is known from their
-- digests (spec.raft.invariants).

local history = require "lunode.sim.history"

local M = {}

local EPOCH = 8 -- seconds; then there are new objects, so that checking stays cheap

local methods = {}
local metatable = { __index = methods }

---@param world table  spec.raft.model's
---@param count integer
function M.new(world, count)
  local self = setmetatable({
    world = world,
    histories = {},
    versions = {}, -- by object: list of { index, value }
    reached = 0, -- the last index that anybody has applied
    results = {}, -- by index
    operations = {}, -- by payload
    last = 0,
    placed = {}, -- by server: index → operation
    asked = {}, -- by server: id → operation
    reads = {}, -- by server: list of { index, operation }
    seen = {}, -- by client and object: the last value it knows
  }, metatable)
  for _, kind in ipairs(M.KINDS) do
    self.histories[kind] = history.new {
      now = function()
        return world.now
      end,
    }
  end
  for i = 1, count do
    world:at(0.5, function()
      self:next("c" .. i)
    end)
  end
  return self
end

-- ---------------------------------------------------------------- the objects

M.KINDS = { "register", "set", "counter", "list" }

local initial = { register = "", counter = 0, set = {}, list = {} }

local function index_of(list, element)
  for i, other in ipairs(list) do
    if other == element then
      return i
    end
  end
end

local function copy(list)
  return table.move(list, 1, #list, 1, {})
end

-- kind → operation → (value, arguments…) → result, new value
local commands = { register = {}, counter = {}, set = {}, list = {} }

function commands.register.write(_, new)
  return nil, new
end

function commands.register.cas(value, expected, new)
  return value == expected, value == expected and new or value
end

function commands.counter.add(value, amount)
  return value + amount, value + amount
end

function commands.set.add(value, element)
  if index_of(value, element) then
    return false, value
  end
  local new = copy(value)
  new[#new + 1] = element
  return true, new
end

function commands.set.remove(value, element)
  local at = index_of(value, element)
  if not at then
    return false, value
  end
  local new = copy(value)
  table.remove(new, at)
  return true, new
end

function commands.list.append(value, element)
  local new = copy(value)
  new[#new + 1] = element
  return nil, new
end

local function value_at(self, o, index)
  local versions = self.versions[o.object] or {}
  for i = #versions, 1, -1 do
    if versions[i].index <= index then
      return versions[i].value
    end
  end
  return initial[o.kind]
end

local function run(self, index, o)
  local result, value = commands[o.kind][o.name](value_at(self, o, index), table.unpack(o.args))
  local versions = self.versions[o.object] or {}
  self.versions[o.object] = versions
  versions[#versions + 1] = { index = index, value = value }
  self.results[index] = result
end

-- ---------------------------------------------------------------- a client

-- What it does next: name, arguments.
local choices = {}

function choices.register(chance, self, seen)
  local new = "v" .. self.last
  local name = chance:pick { "read", "write", "cas", "cas" }
  if name == "cas" then
    return name, { seen or "", new }
  end
  return name, name == "write" and { new } or {}
end

function choices.counter(chance)
  if chance:odds(0.4) then
    return "read", {}
  end
  return "add", { chance:int(1, 3) }
end

function choices.set(chance)
  local name = chance:pick { "add", "remove", "contains", "read" }
  return name, name == "read" and {} or { chance:int(1, 3) }
end

function choices.list(chance, self)
  if chance:odds(0.4) then
    return "read", {}
  end
  return "append", { self.last }
end

local function read_result(o, value)
  if o.name == "contains" then
    return index_of(value, o.args[1]) ~= nil
  end
  return o.kind == "set" and copy(value) or value
end

-- Ends an operation, once; its client goes on after a while.
local function done(self, o, status, result)
  if o.done then
    return
  end
  o.done = true
  local world = self.world
  world:count("operations " .. status)
  if status == "ok" and o.kind == "register" then
    self.seen[o.client .. o.object] = o.name == "read" and result or o.name == "write" and o.args[1] or nil
  end
  self.histories[o.kind][status](self.histories[o.kind], o.op, result)
  local gap = status == "ok" and world:between(0, 2 * world.client_gap) or world:between(0.2, 1)
  world:at(world.now + gap, function()
    self:next(o.client)
  end)
end

---A client's next operation, unless it is late.
---@param client string
function methods:next(client)
  local world = self.world
  local chance = world.chance
  if world.now >= world.client_end then
    return
  end
  self.last = self.last + 1
  local kind = chance:pick(M.KINDS)
  local object = kind .. world.now // EPOCH
  local name, args = choices[kind](chance, self, self.seen[client .. object])
  local o = {
    id = "o" .. self.last, client = client, kind = kind, object = object, name = name, args = args, done = false,
    op = self.histories[kind]:invoke(client, name, object, table.unpack(args)),
  }
  if chance:odds(0.1) then -- it waits for so long only
    world:at(world.now + world:between(0.1, 2), function()
      done(self, o, "unknown")
    end)
  end
  local n = world:someone()
  if not n.core then
    return done(self, o, "fail")
  end
  local asked = self.asked[n.id] or {}
  self.asked[n.id] = asked
  if commands[kind][name] then
    self.operations[o.id], asked[o.id] = o, o
    world:step(n, { type = "propose", entries = { o.id }, id = o.id })
  else
    local id = world.checks:read_begins(n)
    asked[id] = o
    world:step(n, { type = "read", id = id })
  end
end

-- ---------------------------------------------------------------- what servers do

-- All that a server was asked, or a part of it, ends: nobody will learn how.
local function forget(self, n, list)
  local operations = {}
  for _, o in pairs(list[n.id] or {}) do -- in any order: they are sorted
    operations[#operations + 1] = o
  end
  list[n.id] = nil
  table.sort(operations, function(a, b)
    return a.op.call < b.op.call or a.op.call == b.op.call and a.id < b.id
  end)
  for _, o in ipairs(operations) do
    done(self, o, "unknown")
  end
end

local function answer_reads(self, n)
  local waiting = self.reads[n.id]
  self.reads[n.id] = nil
  for _, read in ipairs(waiting or {}) do
    if read.index <= n.store.applied then
      local o = read.operation
      done(self, o, "ok", read_result(o, value_at(self, o, n.store.applied)))
    else
      self.reads[n.id] = self.reads[n.id] or {}
      table.insert(self.reads[n.id], read)
    end
  end
end

---A server has made a step.
---@param n spec.raft.node
---@param update table
function methods:stepped(n, update)
  local asked = self.asked[n.id] or {}
  local proposed = update.proposed
  if proposed and asked[proposed.id] then
    self.placed[n.id] = self.placed[n.id] or {}
    self.placed[n.id][proposed.first] = asked[proposed.id]
    asked[proposed.id].term = proposed.term
    asked[proposed.id] = nil
  end
  for _, refusal in ipairs(update.refused or {}) do
    if asked[refusal.id] then
      done(self, asked[refusal.id], "fail")
      asked[refusal.id] = nil
    end
  end
  for _, read in ipairs(update.reads or {}) do
    if asked[read.id] then
      self.reads[n.id] = self.reads[n.id] or {}
      table.insert(self.reads[n.id], { index = read.index, operation = asked[read.id] })
      asked[read.id] = nil
      answer_reads(self, n)
    end
  end
  if update.role and update.role.role ~= "leader" then
    forget(self, n, self.placed)
  end
end

---A server has applied an entry.
---@param n spec.raft.node
---@param entry table
function methods:applied(n, entry)
  local index, o = entry.index, self.operations[entry.payload]
  if index > self.reached then
    self.reached = index
    if o then
      run(self, index, o)
    end
  end
  local placed = self.placed[n.id] and self.placed[n.id][index]
  if placed then
    self.placed[n.id][index] = nil
    done(self, placed, placed.term == entry.term and "ok" or "fail", self.results[index])
  end
  answer_reads(self, n)
end

---A server has a snapshot in the place of its state.
---@param n spec.raft.node
function methods:installed(n)
  forget(self, n, self.placed)
  answer_reads(self, n)
end

---A server starts anew.
---@param n spec.raft.node
function methods:booting(n)
  forget(self, n, self.placed)
  forget(self, n, self.asked)
  local reads = self.reads[n.id] or {}
  self.reads[n.id] = nil
  for _, read in ipairs(reads) do
    done(self, read.operation, "unknown")
  end
end

-- ---------------------------------------------------------------- the end

---Whether a server owes no answer any more.
---@param n spec.raft.node
---@return boolean
function methods:owes_nothing(n)
  for _, list in ipairs { self.placed, self.asked, self.reads } do
    for _, o in pairs(list[n.id] or {}) do -- in any order: any of them will do
      if not (o.operation or o).done then
        return false
      end
    end
  end
  return true
end

---All that the clients saw is linearizable.
function methods:check()
  for _, kind in ipairs(M.KINDS) do
    local ok, why = self.histories[kind]:check(kind, { initial = initial[kind] })
    if not ok then
      error({ violation = ("linearizability of a %s: %s"):format(kind, why) }, 0)
    end
  end
end

return M
