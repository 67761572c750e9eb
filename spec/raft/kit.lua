-- Clusters of real members in a simulated world, for specs of the driver: each serves registers over RPC.
--
--   local cluster = kit.cluster(world, 3)          n1, n2, n3; cluster.state.n1.node is the driver, while it is up
--   cluster:leader(10)                             waits for one that a majority follows; raises
--   cluster:propose(name, key, value)              an outcome: { result, err, done }
--   cluster:clients(h, { "ann", "bob" }, 30)       nodes that read, write and compare-and-set, and write it down
--   cluster:change_members(rng)                    begins some change of the membership, if one leads
--
-- A register's machine knows what it has applied: `digest` of all entries, so that members can be compared. With
-- `store = true` among the options it is one whose state is an ordered store. Whenever two members have applied up to
-- the same index, their digests must be the same; `agree` compares their rows, too.

local M = {}

local methods = {}
local metatable = { __index = methods, __name = "spec.raft.cluster" }

local RAFT, RPC = ":7001", ":7000"

-- Registers in a table, and padding that makes snapshots large.
local function table_machine(state)
  local hash = require "lunode.hash"
  local msgpack = require "lunode.msgpack"
  local registers, digest, padding = {}, 0, ""
  function state.digest()
    return digest
  end
  function state.get(key)
    return registers[key]
  end
  local commands = {
    write = function(key, value)
      registers[key] = value
      return true
    end,
    cas = function(key, expected, value)
      if (registers[key] or "") ~= expected then
        return false
      end
      registers[key] = value
      return true
    end,
    pad = function(bytes)
      padding = ("x"):rep(bytes)
      return true
    end,
  }
  return {
    apply = function(entry)
      digest = hash.of(digest, entry.index, entry.time, entry.seed, entry.payload)
      state.applied(entry.index, digest)
      local words = msgpack.decode(entry.payload)
      return commands[words[1]](table.unpack(words, 2))
    end,
    snapshot = function()
      return msgpack.encode { registers = registers, digest = digest, padding = padding }
    end,
    restore = function(pieces)
      local list = {}
      for piece in pieces do
        list[#list + 1] = piece
      end
      local saved = msgpack.decode(table.concat(list))
      registers, digest, padding = saved.registers, saved.digest, saved.padding
      state.restored = (state.restored or 0) + 1
    end,
  }
end

-- The same in a store: "r" key → value, "digest", "p" number → padding.
local function store_machine(state)
  local hash = require "lunode.hash"
  local msgpack = require "lunode.msgpack"
  local rows, digest
  function state.digest()
    return digest
  end
  function state.get(key)
    return rows:get("r" .. key)
  end
  function state.rows()
    local sum = 0
    for key, value in rows:scan "" do
      sum = hash.of(sum, key, value)
    end
    return sum
  end
  local commands = {
    write = function(key, value)
      rows:put("r" .. key, value)
      return true
    end,
    cas = function(key, expected, value)
      if (rows:get("r" .. key) or "") ~= expected then
        return false
      end
      rows:put("r" .. key, value)
      return true
    end,
    pad = function(bytes)
      for i = 1, bytes // 1000 do
        rows:put(("p%08d"):format(i), ("x"):rep(1000))
      end
      return true
    end,
  }
  return {
    attach = function(store)
      state.copies = state.copies + (rows and 1 or 0)
      rows, state.attached = store, (state.attached or 0) + 1
      digest = math.tointeger(store:get "digest" or 0)
      return true
    end,
    apply = function(entry)
      digest = hash.of(digest, entry.index, entry.time, entry.seed, entry.payload)
      state.applied(entry.index, digest)
      rows:put("digest", tostring(digest))
      local words = msgpack.decode(entry.payload)
      return commands[words[1]](table.unpack(words, 2))
    end,
  }
end

-- In the place of a member, on its disk: makes it a cluster of its own.
local function recover(state)
  local told = {}
  local survivor, err, code = require("lunode.raft.recover").open "data"
  state.told, told.err, told.code = told, err, code
  if survivor then
    told.last, told.committed, told.obstacle = survivor.last, survivor.committed, survivor:obstacle()
    survivor:recover(function(failure, group)
      told.err, told.group = failure, group
      survivor:close()
    end)
  end
end

-- A member's script. `state` is how the spec looks in.
local function member(state, options)
  local driver = require "lunode.raft.driver"
  local msgpack = require "lunode.msgpack"
  local rpc = require "lunode.rpc"

  state.log, state.failure, state.node = {}, nil, nil
  local machine = options.store and store_machine(state) or table_machine(state)

  require("lunode.logger").sink = function(_, text)
    state.log[#state.log + 1] = text
  end

  if state.recovers then
    return recover(state)
  end
  local node, err, code = driver.open {
    id = state.id, cluster = options.cluster or "spec", dir = "data", listen = "0.0.0.0" .. RAFT,
    address = state.id .. RAFT, members = state.members, snapshot_bytes = options.snapshot_bytes,
    election_timeout = options.election_timeout, secret = options.secret, protocol = state.protocol,
    format = state.format,
    join = options.join, log_keep = options.log_keep,
    store = options.store and { overlay = options.overlay, limit = options.limit } or nil,
    machine = machine,
    on_failure = function(failure)
      state.failure = failure
      os.exit(1)
    end,
  }
  state.refused = err and code
  if not node then
    return
  end
  state.node = node
  function state.propose(words, fn)
    node:propose(msgpack.encode(words), fn)
  end

  local function result_of(result, failure)
    return failure and error(failure, 0) or result
  end
  local methods_of_rpc = {
    read = function(_, key)
      result_of(node:read())
      return state.get(key) or ""
    end,
  }
  for _, name in ipairs { "write", "cas" } do
    methods_of_rpc[name] = function(_, ...)
      return result_of(node:propose(msgpack.encode { name, ... }))
    end
  end
  assert(rpc.serve("0.0.0.0" .. RPC, methods_of_rpc))
end

---@param world lunode.sim.world
---@param count integer
---@param options? table  of the driver: snapshot_bytes, election_timeout, secret, join; cluster
function M.cluster(world, count, options)
  local self = setmetatable({ world = world, options = options or {}, state = {}, names = {}, all = {},
    digests = {} }, metatable)
  world:on_crash(function(node)
    if self.state[node.name] then
      self.state[node.name].node = nil
    end
  end)
  local members = {}
  for i = 1, count do
    self.names[i] = "n" .. i
    members["n" .. i] = "n" .. i .. RAFT
  end
  for _, name in ipairs(self.names) do
    self:member(name, members)
  end
  return self
end

---One more; without members it waits to be added.
function methods:member(name, members, options)
  self.all[#self.all + 1] = name
  self.state[name] = {
    id = options and options.id or name, members = members, copies = 0,
    applied = function(index, digest)
      local known = self.digests[index] or digest
      self.digests[index] = known
      assert(known == digest, ("%s has another state at %d"):format(name, index))
    end,
  }
  self.world:node(name, member, { self.state[name], options or self.options })
  return self.state[name]
end

---Takes all that it has from one that is not running.
function methods:wipe(name)
  local disk = self.world:get(name).disk
  disk.journals, disk.names = {}, {}
end

function methods:is_up(name)
  local node = self.state[name].node
  return self.world:get(name).state == "up" and node and not node.closed and node.core and node or nil
end

---Waits until one leads that a majority of the members follows.
---@return string name
function methods:leader(seconds)
  return assert(self.world:run_until(function()
    local count, best = {}, nil
    for _, name in ipairs(self.names) do
      local node = self:is_up(name)
      if node and node.core.leader then
        local key = node.core.leader .. " " .. node.core.term
        count[key] = (count[key] or 0) + 1
        if count[key] > #self.names // 2 then
          best = node.core.leader
        end
      end
    end
    local leads = best and self:is_up(best)
    return leads and leads.core.role == "leader" and leads.core.commit >= leads.core.noop_index and best
  end, seconds or 30))
end

---@return { done: boolean, result: any, err: any }
function methods:propose(name, ...)
  local outcome = { done = false }
  self.state[name].propose({ ... }, function(result, err)
    assert(not outcome.done, "it ends twice")
    outcome.done, outcome.result, outcome.err = true, result, err
  end)
  return outcome
end

function methods:finish(outcome, seconds)
  assert(self.world:run_until(function()
    return outcome.done
  end, seconds or 30))
  return outcome.result, outcome.err
end

---Writes on the leader, and waits.
function methods:write(key, value)
  local result, err = self:finish(self:propose(self:leader(), "write", key, value))
  assert(result, tostring(err))
end

---Waits until all of these members have applied the same.
function methods:agree(names, seconds)
  local ok = self.world:run_until(function()
    local first = self:is_up(names[1])
    for _, name in ipairs(names) do
      local node = self:is_up(name)
      if not (first and node and node.applied == first.applied and node.core.log.last == first.applied) then
        return false
      end
    end
    return true
  end, seconds or 60)
  assert(ok, "they do not come to the same index")
  for _, name in ipairs(names) do
    local mine, first = self.state[name], self.state[names[1]]
    assert(mine.digest() == first.digest(), name .. " has applied something else")
    assert(not mine.rows or mine.rows() == first.rows(), name .. " has other rows")
  end
end

-- ---------------------------------------------------------------- membership

---Who leads the latest term, of those that are up.
---@return string? name
function methods:latest_leader()
  local best
  for _, name in ipairs(self.all) do
    local node = self:is_up(name)
    if node and node.core.role == "leader" and (not best or node.core.term > self:is_up(best).core.term) then
      best = name
    end
  end
  return best
end

---The names are those that the latest leader knows.
function methods:meet()
  assert(self.world:run_until(function()
    local leader = self:latest_leader()
    local raft = leader and self:is_up(leader).core
    self.names = raft and table.move(raft.config.ids, 1, #raft.config.ids, 1, {})
    return raft and raft.commit >= raft.noop_index and raft.config_index <= raft.commit
  end, 30))
end

---Begins some change; 3 voters stay.
---@param rng lunode.sim.random
function methods:change_members(rng)
  local leader = self:latest_leader()
  local config = leader and self:is_up(leader).core.config
  if not config then
    return
  end
  local changes = {}
  for _, name in ipairs(self.all) do
    local known = config.members[name]
    if known and not known.voter then
      changes[#changes + 1] = { kind = "promote", id = name }
      changes[#changes + 1] = { kind = "remove", id = name }
    elseif known and #config.voters > 3 then
      changes[#changes + 1] = { kind = rng:chance(0.5) and "demote" or "remove", id = name }
    elseif not known and not config.removed[name] then
      changes[#changes + 1] = { kind = "add", id = name, address = name .. RAFT }
      changes[#changes + 1] = changes[#changes]
    end
  end
  if changes[1] then
    self.state[leader].node:change(rng:pick(changes), function(_, err)
      self.changed = (self.changed or 0) + (err and 0 or 1)
    end)
  end
end

-- ---------------------------------------------------------------- clients

local function client(me, h, names, seconds)
  local loop = require "lunode.loop"
  local rpc = require "lunode.rpc"
  local task = require "lunode.task"
  local peers, current = {}, loop.random(1, #names)
  for i, name in ipairs(names) do
    peers[i] = rpc.peer(name .. RPC)
  end
  local seen = ""
  local function call(method, args)
    if method == "read" then -- of any member
      local result, err = peers[loop.random(1, #names)]:call(method, args, { timeout = 2 })
      seen = result or seen
      return result, err
    end
    local result, err = peers[current]:call(method, args, { timeout = 2 })
    current = err and current % #names + 1 or current
    return result, err
  end
  task.spawn(function()
    local i, ends = 0, loop.now() + seconds
    while loop.now() < ends do
      i = i + 1
      task.sleep(loop.random(10, 300) / 1000)
      local key, value, dice = "k" .. loop.random(1, 3), me .. i, loop.random(1, 3)
      local name = dice == 1 and "read" or dice == 2 and "write" or "cas"
      local args = name == "read" and {} or name == "write" and { value } or { seen, value }
      h:attempt(me, name, key, args, function()
        return call(name, { key, table.unpack(args) })
      end)
    end
    for _, peer in ipairs(peers) do
      peer:close()
    end
  end)
end

function methods:clients(h, names, seconds)
  for _, name in ipairs(names) do
    self.world:node(name, client, { name, h, self.names, seconds })
  end
end

return M
