-- A random world for raft's core alone: a network that delays, loses, repeats and reorders, disks that lag and forget,
-- crashes, pauses, clocks that drift, membership changes. Checks the invariants of Raft (Ongaro, figure 3.2) at every
-- step.
--
--   local model = require "spec.raft.model"
--   local result = model.run(seed, { trace = true })
--   result.violation    -- nil, or what went wrong
--   result.stats        -- what happened, so that nobody is content with a world where nothing does
--   result.lines        -- with trace: what happened, in words
--
-- First a phase with faults, then they end: then a leader must emerge within 10 election timeouts, all that is proposed
-- must commit everywhere, every member must answer what it was asked, and what clients saw must be linearizable.

local clients = require "spec.raft.clients"
local config = require "lunode.raft.config"
local invariants = require "spec.raft.invariants"
local node = require "spec.raft.node"
local prng = require "spec.support.prng"

local M = {}

local ELECTION_TIMEOUT, HEARTBEAT = 0.6, 0.15
local CLOCK_DRIFT = 1.2

local methods = {}
local metatable = { __index = methods }

-- ---------------------------------------------------------------- events

-- A binary heap, by time, then by order of creation.
local function before(a, b)
  return a.at < b.at or a.at == b.at and a.order < b.order
end

function methods:at(time, fn, ...)
  local heap = self.heap
  self.order = self.order + 1
  local event = { at = time, order = self.order, fn = fn, ... }
  local i = #heap + 1
  while i > 1 and before(event, heap[i // 2]) do
    heap[i] = heap[i // 2]
    i = i // 2
  end
  heap[i] = event
end

local function take(heap)
  local top, last = heap[1], table.remove(heap)
  local n = #heap
  if n > 0 then
    local i = 1
    while true do
      local child = 2 * i
      if child > n then
        break
      elseif child < n and before(heap[child + 1], heap[child]) then
        child = child + 1
      end
      if not before(heap[child], last) then
        break
      end
      heap[i] = heap[child]
      i = child
    end
    heap[i] = last
  end
  return top
end

function methods:run_until(time)
  local heap = self.heap
  while heap[1] and heap[1].at <= time do
    local event = take(heap)
    self.now = event.at
    event.fn(self, event[1], event[2])
  end
  self.now = time
end

function methods:between(low, high)
  return low + (high - low) * (self.chance:int(0, 999999) / 1000000)
end

function methods:say(text, ...)
  if self.lines then
    self.lines[#self.lines + 1] = ("%9.4f  "):format(self.now) .. text:format(...)
  end
end

function methods:count(what)
  self.stats[what] = (self.stats[what] or 0) + 1
end

-- ---------------------------------------------------------------- servers

local function clock(n, now)
  return n.clock_offset + n.clock_rate * now
end

-- Steps now, or when it runs again.
function methods:step(n, event)
  if not n.core then
    return
  elseif n.paused then
    n.held[#n.held + 1] = event
    return
  end
  event.now = clock(n, self.now)
  n:step(event)
  self:settle(n)
end

local function sync(world, n, boot)
  if n.boots ~= boot then
    return
  elseif n.paused then
    return world:at(world.now + 0.05, sync, n, boot)
  end
  n.syncing = false
  for _ = 1, world.chance:int(1, 3) do
    n:sync()
  end
  if n.core then
    world:settle(n)
  else
    n.boots = n.boots + 1 -- its disk gave an error
  end
end

local function apply(world, n, boot)
  if n.boots ~= boot then
    return
  elseif n.paused then
    return world:at(world.now + 0.05, apply, n, boot)
  end
  n.applying = false
  n:apply()
  world:settle(n)
end

local schedule_tick

local function tick(world, n, serial)
  if n.tick_serial == serial and n.core then
    n.tick_at = math.huge
    world:step(n, { type = "tick" })
    schedule_tick(world, n)
  end
end

-- At the core's deadline, which each step may move.
function schedule_tick(world, n)
  local left = (n.core:deadline() - clock(n, world.now)) / n.clock_rate
  local at = world.now + math.max(left, 0.01)
  if at < n.tick_at then
    n.tick_at, n.tick_serial = at, n.tick_serial + 1
    world:at(at, tick, n, n.tick_serial)
  end
end

-- What a step left to be done: messages, writes, entries.
function methods:settle(n)
  local outbox = n.outbox
  if outbox[1] then
    n.outbox = {}
    for _, m in ipairs(outbox) do
      self:send(n, m)
    end
  end
  if n.pending[1] and not n.syncing then
    n.syncing = true
    self:at(self.now + self:between(0, n.disk_delay), sync, n, n.boots)
  end
  if n.to_apply[1] and not n.applying then
    n.applying = true
    self:at(self.now + self:between(0, self.apply_delay), apply, n, n.boots)
  end
  schedule_tick(self, n)
end

function methods:boot(n)
  n.boots = n.boots + 1
  n.syncing, n.applying, n.paused, n.held = false, false, false, {}
  self.checks:booting(n)
  self.clients:booting(n)
  n:boot(clock(n, self.now))
  self.checks:booted(n)
  n.tick_at, n.tick_serial = math.huge, n.tick_serial + 1
  schedule_tick(self, n)
end

function methods:add_node(id, members)
  local world = self
  local n
  n = node.new {
    id = id, config = members, now = 0, watch = self.watch,
    random = function()
      return world.chance:int(0, 999) / 1000
    end,
    election_timeout = ELECTION_TIMEOUT, heartbeat = HEARTBEAT,
    max_message_bytes = self.message_bytes, max_inflight = self.max_inflight, max_inflight_bytes = 4096,
    cache_bytes = self.cache_bytes, lease_reads = self.lease_reads, clock_drift = CLOCK_DRIFT, max_promote_lag = 5,
  }
  n.boots, n.held, n.tick_serial = 0, {}, 0
  n.clock_offset, n.clock_rate = self:between(0, 100), self:between(0.92, 1.08)
  n.disk_delay = self.disk_delay
  self.nodes[id] = n
  self.ids[#self.ids + 1] = id
  self:boot(n)
end

-- ---------------------------------------------------------------- the network

local function arrive(world, m)
  local n = world.nodes[m.to]
  world:step(n, { type = "message", message = m })
  if m.type == "snapshot" then
    world:step(world.nodes[m.from], { type = "snapshot_sent", peer = m.to, session = m.session, ok = true })
  end
end

local function lose(world, m)
  if m.type == "snapshot" then
    world:at(world.now + 0.2, function()
      world:step(world.nodes[m.from], { type = "snapshot_sent", peer = m.to, session = m.session, ok = false })
    end)
  elseif world.chance:odds(0.1) then
    world:step(world.nodes[m.from], { type = "unreachable", peer = m.to })
  end
end

function methods:send(from, m)
  self.checks:leaving(from, m)
  local link = from.id .. ">" .. m.to
  if not self.nodes[m.to] then
    return
  elseif self.cut[link] or self.chance:odds(self.loss) then
    return lose(self, m)
  end
  local delay = self:between(self.latency_min, self.latency_max)
  if self.chance:odds(self.stragglers) then
    delay = delay + self:between(0, 3)
  end
  local time = self.now + delay
  if self.in_order then
    time = math.max(time, self.last_arrival[link] or 0)
    self.last_arrival[link] = time
  end
  self:at(time, arrive, m)
  if self.chance:odds(self.repeats) then
    self:at(time + self:between(0, 1.5), arrive, m)
  end
end

-- ---------------------------------------------------------------- faults

local faults = {}

function faults:crash(n)
  if n.core then
    self:count "crashes"
    self:say("%s crashes", n.id)
    n.boots = n.boots + 1
    n:crash(self.chance:int(0, 8))
    self:at(self.now + self:between(0.05, 3), function()
      if not n.core then
        self:say("%s restarts", n.id)
        self:boot(n)
      end
    end)
  end
end

function faults:pause(n)
  if n.core and not n.paused then
    self:count "pauses"
    self:say("%s is paused", n.id)
    n.paused = true
    local boot = n.boots
    self:at(self.now + self:between(0.1, 3), function()
      if n.boots == boot then
        self:resume(n)
      end
    end)
  end
end

function methods:resume(n)
  if n.paused then
    self:say("%s runs again", n.id)
    n.paused = false
    local held = n.held
    n.held = {}
    for _, event in ipairs(held) do
      self:step(n, event)
    end
  end
end

function methods:cut_for(cut, seconds)
  self.cut = cut
  self:say "a partition"
  self:at(self.now + seconds, function()
    if self.cut == cut then
      self.cut = {}
      self:say "the partition ends"
    end
  end)
end

-- One side cannot be heard by the other, or neither by neither.
function faults:partition()
  self:count "partitions"
  local side, one_way = {}, self.chance:odds(0.3)
  for _, id in ipairs(self.ids) do
    side[id] = self.chance:odds(0.4)
  end
  local cut = {}
  for _, a in ipairs(self.ids) do
    for _, b in ipairs(self.ids) do
      cut[a .. ">" .. b] = side[a] and not side[b] or side[b] and not side[a] and not one_way
    end
  end
  self:cut_for(cut, self:between(0.5, 4))
end

function faults:slow_disk(n)
  self:count "slow disks"
  n.disk_delay = 1.0
  self:at(self.now + self:between(0.5, 3), function()
    n.disk_delay = self.disk_delay
  end)
end

function faults:disk_error(n)
  if n.core then
    self:count "disk errors"
    n.failing = true
    self:at(self.now + self:between(0.5, 3), function()
      if not n.core then
        self:say("%s restarts", n.id)
        self:boot(n)
      end
      n.failing = false
    end)
  end
end

function faults:reconnect(n)
  local peer = self.nodes[self.chance:pick(self.ids)]
  if peer ~= n then
    self:step(n, { type = "connected", peer = peer.id })
    self:step(peer, { type = "connected", peer = n.id })
  end
end

function faults:transfer(n)
  self:step(n, { type = "transfer", to = self.chance:pick(self.ids) })
end

function faults:campaign(n)
  self:step(n, { type = "campaign" })
end

-- Removed servers are replaced by new ones, a few times.
local function replace(world)
  if #world.ids < 10 then
    world:count "newcomers"
    world:add_node("n" .. #world.ids + 1, assert(config.new {}))
  end
end

-- Of those it could be, by the configuration the server has; sometimes of any.
function faults:change(n)
  local kind = self.chance:weighted { { 4, "add" }, { 4, "promote" }, { 3, "remove" }, { 1, "demote" } }
  local fitting = {}
  for _, id in ipairs(self.ids) do
    local member = n.core and n.core.config.members[id]
    local is = member and (member.voter and "voter" or "learner") or "none"
    local wanted = kind == "add" and "none" or kind == "promote" and "learner" or "voter"
    if is == wanted or self.chance:odds(0.1) then
      fitting[#fitting + 1] = id
    end
  end
  if kind == "remove" then
    replace(self)
  end
  local id = self.chance:pick(fitting[1] and fitting or self.ids)
  self:step(n, { type = "change", change = { kind = kind, id = id } })
end

-- The leader is alone, for longer than it believes in itself, or for less.
function faults:isolate()
  self:count "partitions"
  local leader, cut = self:a_leader(), {}
  for _, id in ipairs(self.ids) do
    cut[leader.id .. ">" .. id], cut[id .. ">" .. leader.id] = true, true
  end
  self:cut_for(cut, self:between(0.5, 3))
end

-- All at once.
function faults:power_cut()
  for _, id in ipairs(self.ids) do
    faults.crash(self, self.nodes[id])
  end
end

-- What every deployment does all the time.
function faults:flush(n)
  if n.core and not n.paused then
    n:flush()
  end
end

function faults:compact(n)
  if n.core and not n.paused then
    n:compact()
    self:settle(n)
  end
end

local function inject(world)
  if world.now < world.fault_end then
    local kind = world.chance:weighted(world.fault_kinds)
    local target = world.nodes[world.chance:pick(world.ids)]
    if kind == "change" or kind == "transfer" or world.chance:odds(0.3) then
      target = world:a_leader()
    end
    faults[kind](world, target)
    world:at(world.now + world:between(0, world.fault_gap), inject)
  end
end

-- A new leader is asked for changes before it knows what is committed, or does not lead for long.
function methods:elected(n)
  if self.now >= self.fault_end then
    return
  elseif self.churn and self.chance:odds(0.3) then
    self:at(self.now + self:between(0, 0.1), faults.change, n)
  end
  if self.chance:odds(self.short_reigns) then
    self:at(self.now + self:between(0, 0.3), self.chance:pick { faults.crash, faults.isolate, faults.transfer }, n)
  end
end

-- ---------------------------------------------------------------- clients

function methods:a_leader()
  local leaders = {}
  for _, id in ipairs(self.ids) do
    local c = self.nodes[id].core
    if c and c.role == "leader" then
      leaders[#leaders + 1] = self.nodes[id]
    end
  end
  return self.chance:pick(leaders[1] and leaders or { self.nodes[self.chance:pick(self.ids)] })
end

-- A client asks one that leads, or believes it does, or anybody.
function methods:someone()
  if self.chance:odds(0.85) then
    return self:a_leader()
  end
  return self.nodes[self.chance:pick(self.ids)]
end

function methods:propose(n)
  local payloads = {}
  for i = 1, self.chance:int(1, 3) do
    self.proposals = self.proposals + 1
    payloads[i] = "p" .. self.proposals
  end
  self:step(n, { type = "propose", entries = payloads })
end

function methods:read(n)
  if n.core then
    self:step(n, { type = "read", id = self.checks:read_begins(n) })
  end
end

-- Besides spec.raft.clients': proposals in batches, and reads here and there at once.
local function crowd(world)
  if world.now < world.client_end then
    if world.chance:odds(0.6) then
      world:propose(world:someone())
    else
      world:read(world:someone())
      if world.chance:odds(0.5) then
        world:read(world.nodes[world.chance:pick(world.ids)])
      end
    end
    local gap = world.chance:odds(0.03) and 2 or world.client_gap -- bursts, and silence
    world:at(world.now + world:between(0, gap), crowd)
  end
end

-- ---------------------------------------------------------------- a run

local function draw(world)
  local chance = world.chance
  world.in_order = chance:odds(0.5)
  world.latency_min, world.latency_max = 0.001, chance:pick { 0.005, 0.02, 0.1, 0.3 }
  world.loss = chance:pick { 0, 0.01, 0.05, 0.15 }
  world.repeats = chance:pick { 0, 0.02, 0.1 }
  world.stragglers = chance:pick { 0, 0.01, 0.05 }
  world.disk_delay = chance:pick { 0.001, 0.02, 0.15 }
  world.apply_delay = chance:pick { 0.001, 0.2 }
  world.message_bytes = chance:pick { 1, 200, 5000 }
  world.max_inflight = chance:pick { 1, 3, 20 }
  world.cache_bytes = chance:pick { 0, 1 << 20 }
  world.short_reigns = chance:pick { 0, 0.2, 0.7 }
  world.lease_reads = chance:odds(0.4)
  world.fault_gap = chance:pick { 0.3, 0.6, 1.5 }
  world.client_gap = chance:pick { 0.05, 0.15, 0.3 }
  local churn = chance:pick { 0, 8, 20 }
  world.churn = churn > 0
  world.fault_kinds = {
    { 6, "crash" }, { 3, "pause" }, { 3, "partition" }, { 3, "isolate" }, { 1, "power_cut" }, { 2, "slow_disk" },
    { 1, "disk_error" }, { 4, "reconnect" }, { 3, "transfer" }, { 1, "campaign" }, { churn, "change" }, { 3, "flush" },
    { 4, "compact" },
  }
end

local function heal(world)
  world:say "the faults end"
  world.cut, world.loss, world.repeats, world.stragglers = {}, 0, 0, 0
  world.latency_max, world.disk_delay, world.apply_delay = 0.02, 0.01, 0.01
  for _, id in ipairs(world.ids) do
    local n = world.nodes[id]
    n.disk_delay, n.failing = 0.01, false
    world:resume(n)
    if not n.core then
      world:boot(n)
    end
  end
end

-- All that could be done is done: a new entry commits on every member, and no read is left.
local function await_leader(world)
  local limit = world.now + 10 * ELECTION_TIMEOUT
  while world.checks:leader() == nil and world.now < limit do
    world:run_until(world.now + 0.1)
  end
  local leader = world.checks:leader()
  world.checks:demand(leader, "no leader has emerged within 10 election timeouts")
  return leader
end

local function owes_nothing(world, leader)
  for _, id in ipairs(leader.core.config.ids) do
    if not world.clients:owes_nothing(world.nodes[id]) then
      return false
    end
  end
  return true
end

local function converge(world)
  await_leader(world)
  world.client_end = world.now
  world:run_until(world.now + 2 * ELECTION_TIMEOUT)
  local limit = world.now + 120 * ELECTION_TIMEOUT -- some worlds have one entry a message, and one message under way
  local last
  repeat
    local leader = await_leader(world) -- a late change may have removed the one before
    if not last or leader.core.log:term(last) == nil then
      last = leader.core.log.last + 1
      world:propose(leader)
    end
    world:run_until(world.now + ELECTION_TIMEOUT)
  until world.checks:has_converged(last) and owes_nothing(world, leader) or world.now >= limit
  world.checks:converged(last)
  local all_answered = owes_nothing(world, world.checks:leader())
  world.checks:demand(all_answered, "somebody was not answered, long after the faults ended")
  world.clients:check()
end

-- Who is told what a server does; that it keeps the invariants comes first.
local function watch(world)
  local all = { fault = world.checks.watch.fault }
  for name, method in pairs { update = "stepped", applied = "applied", installed = "installed" } do
    local check = world.checks.watch[name]
    all[name] = function(n, ...)
      check(n, ...)
      world.clients[method](world.clients, n, ...)
    end
  end
  return all
end

---@param seed integer
---@param options? { trace: boolean?, seconds: number? }
---@return { violation: string?, stats: table<string, integer>, lines: string[]? }
function M.run(seed, options)
  options = options or {}
  local world = setmetatable({
    chance = prng.new(seed), now = 0.0, heap = {}, order = 0, nodes = {}, ids = {},
    cut = {}, last_arrival = {}, stats = {}, lines = options.trace and {} or nil, proposals = 0,
  }, metatable)
  world.fault_end = options.seconds or 20
  world.client_end = math.huge
  world.checks = invariants.new(world)
  world.watch = watch(world)
  draw(world)
  world.clients = clients.new(world, 4)
  local ok, err = xpcall(function()
    local count = world.chance:pick { 1, 2, 3, 3, 3, 4, 5, 5, 7 }
    local ids = {}
    for i = 1, count do
      ids[i] = "n" .. i
    end
    for _, id in ipairs(ids) do
      world:add_node(id, node.voters(ids))
    end
    for i = count + 1, count + 2 do
      world:add_node("n" .. i, assert(config.new {}))
    end
    world:at(0.5, crowd)
    world:at(1.0, inject)
    world:run_until(world.fault_end)
    heal(world)
    converge(world)
  end, function(raised)
    return type(raised) == "table" and raised or { raised = debug.traceback(tostring(raised), 2) }
  end)
  local violation
  if not ok then
    violation = err.violation or err.raised
    world:say("%s", violation)
  end
  return { violation = violation, stats = world.stats, lines = world.lines }
end

return M
