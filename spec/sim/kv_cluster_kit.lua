-- Simulated clusters of `lunode kv`: real nodes, unmodified. At the doors of their stores stands somebody who compares
-- what each has at each index with what the others had there. Contains no specs.
--
--   local cluster = kit.cluster(world, 3)
--   cluster:leader()                       waits for one that a majority follows
--   cluster:agree()                        waits until all have applied the same

local hash = require "lunode.hash"

local M = {}

local PORT, RAFT = 6380, ":7001"
local DIGEST_SEED = 7

local methods = {}
local metatable = { __index = methods, __name = "spec.sim.kv_cluster" }

-- ---------------------------------------------------------------- a node

local function digest(store)
  local sum = DIGEST_SEED
  for key, value in store:scan "" do
    sum = hash.of(sum, key, value)
  end
  return sum
end

-- Each state that an entry leaves is compared with that of whoever applied it first.
local function watch(stores, told)
  local open = stores.open
  function stores.open(dir, options)
    local handle, err, code = open(dir, options)
    if not handle or not dir:find "/data%-" then -- else it is not the one with the keys
      return handle, err, code
    end
    local advance = handle.advance
    function handle.advance(self, index)
      local sum = digest(self)
      if told.digests[index] then
        told.compared = told.compared + 1
        if told.digests[index] ~= sum then
          told.diverged = ("entry %d leaves another state than on another member, or the first time"):format(index)
          error(told.diverged, 0)
        end
      end
      told.digests[index] = sum
      return advance(self, index)
    end
    return handle
  end
end

local function main(state, told, options)
  local loop = require "lunode.loop"
  require("lunode.logger").sink = function(level, text)
    print(level .. ": " .. text)
    state.log[#state.log + 1] = text
  end
  if options.bug then
    package.preload[options.bug.module] = assert(load(options.bug.source, "@" .. options.bug.module))
  end
  watch(require "lunode.store", told)
  if options.prepare then
    options.prepare(state)
  end
  local kv = require "lunode.kv"
  kv.command("ROLL", { arity = 2, flags = { "write" }, keys = { 1, 1, 1 }, run = function(ctx, key)
    ctx.db:set(key, tostring(ctx:random(1, 1000000)) .. " " .. ctx.now)
    return ctx.db:get(key)
  end })
  local node, err = kv.start {
    id = state.id, host = "0.0.0.0", port = PORT, dir = "data", overlay = options.overlay or 1000,
    limit = 3 * (options.overlay or 1000), segment = options.segment,
    cluster = {
      listen = "0.0.0.0" .. RAFT, address = state.id .. RAFT, init = state.members, redirect = options.redirect,
      election_timeout = options.election_timeout, log_keep = options.log_keep,
    },
  }
  if not node then
    print("cannot start: " .. err)
    require("os").exit(1)
  end
  state.node, state.lives = node, state.lives + 1
  local was_replaced = node.writes.was_replaced
  function node.writes.was_replaced(...)
    state.replaced = state.replaced + 1
    return was_replaced(...)
  end
  loop.signal("TERM", function()
    node:close()
  end)
  loop.run()
  state.failures = state.failures + (node.failed and 1 or 0)
  require("os").exit(node.failed and 1 or 0)
end

---A bug to put into the source of the nodes.
---@param bug {name: string, module: string, from: string, to: string}  `from` occurs once in the module
---@return table bug  with its source
function M.bug(bug)
  local file = assert(io.open(assert(package.searchpath(bug.module, package.path)), "r"))
  local source = file:read "a"
  file:close()
  local first, last = source:find(bug.from, 1, true)
  assert(first and not source:find(bug.from, last + 1, true),
    ("the bug '%s' has to find one place to break in %s"):format(bug.name, bug.module))
  bug.source = source:sub(1, first - 1) .. bug.to .. source:sub(last + 1)
  return bug
end

-- ---------------------------------------------------------------- the cluster

---@param world lunode.sim.world
---@param count integer
---@param options? table  of the nodes: overlay, segment, log_keep, election_timeout, redirect; bug: what `bug` gives;
---  prepare: called in each before it starts, with its state
function M.cluster(world, count, options)
  local self = setmetatable({
    world = world, options = options or {}, names = {}, states = {}, places = {},
    told = { digests = {}, compared = 0, diverged = nil },
  }, metatable)
  local members = {}
  for i = 1, count do
    self.names[i] = "n" .. i
    members["n" .. i] = "n" .. i .. RAFT
    self.places[i] = { host = "n" .. i, port = PORT, patience = 5 }
  end
  for _, name in ipairs(self.names) do
    self:add(name, members)
  end
  world:on_crash(function(node)
    if self.states[node.name] then
      self.states[node.name].node = nil
    end
  end)
  return self
end

---One more; without members it waits to be added.
function methods:add(name, members)
  local state = { id = name, members = members, node = nil, lives = 0, failures = 0, replaced = 0, log = {} }
  self.states[name] = state
  self.world:node(name, main, { state, self.told, self.options })
  return state
end

---@return lunode.kv.node?
function methods:is_up(name)
  local node = self.states[name].node
  return self.world:get(name).state == "up" and node and not node.closed and node.cluster.core and node or nil
end

---Waits until one leads that a majority follows.
---@return string name
function methods:leader(seconds)
  return assert(self.world:run_until(function()
    local followers, found = {}, nil
    for _, name in ipairs(self.names) do
      local node = self:is_up(name)
      local leader = node and node.cluster.core.leader
      if leader then
        local key = leader .. " " .. node.cluster.core.term
        followers[key] = (followers[key] or 0) + 1
        found = followers[key] > #self.names // 2 and leader or found
      end
    end
    local node = found and self:is_up(found)
    local core = node and node.cluster.core
    return core and core.role == "leader" and core.commit >= core.noop_index and found
  end, seconds or 30), "no leader")
end

---As somebody does who looks after them: starts those again that have ended themselves, for so many seconds.
function methods:run(seconds)
  local ends = self.world.now + seconds
  while self.world.now < ends do
    self.world:run(math.min(0.25, ends - self.world.now))
    assert(not self.told.diverged, self.told.diverged)
    for _, name in ipairs(self.names) do
      local node = self.world:get(name)
      if node.state == "ended" and node.exit_code then
        self.world:restart(node)
      end
    end
  end
end

---Waits until all members have applied the same, and compares their states.
function methods:agree(seconds)
  assert(self.world:run_until(function()
    local first = self:is_up(self.names[1])
    for _, name in ipairs(self.names) do
      local node = self:is_up(name)
      if not node or not first or node.cluster.applied ~= first.cluster.applied
        or node.cluster.core.log.last ~= first.cluster.applied then
        return false
      end
    end
    return true
  end, seconds or 60), "the members do not come to the same index")
  for _, name in ipairs(self.names) do
    local node, first = self:is_up(name), self:is_up(self.names[1])
    assert(digest(node.replica.store) == digest(first.replica.store), name .. " has another state")
  end
end

-- What whoever asks again is told, where nobody could tell the first time.
local DONE = { add = "is a member already", promote = "is a voter already", remove = "is not a member" }

---Changes the membership, on whoever leads, until it is done.
---@param wanted { kind: string, id: string, address: string? }
function methods:change(wanted)
  local ended, err
  for _ = 1, 100 do
    ended, err = false, nil
    self:is_up(self:leader()).cluster:change(wanted, function(_, failure)
      ended, err = true, failure
    end)
    self.world:run_until(function()
      return ended
    end, 10)
    if ended and (not err or err.message:find(DONE[wanted.kind], 1, true)) then
      return
    end
    self:run(0.5)
  end
  error(("%s of %s is never done: %s"):format(wanted.kind, wanted.id, err and err.message or "no answer"))
end

---Another server becomes a voter in the place of a member, which is gone from then on.
---@param old string
---@param new string
function methods:exchange(old, new)
  self:add(new, nil)
  self:change { kind = "add", id = new, address = new .. RAFT }
  self:change { kind = "promote", id = new }
  self:change { kind = "remove", id = old }
  self.world:kill(old)
  for i, name in ipairs(self.names) do
    if name == old then
      self.names[i], self.places[i] = new, { host = new, port = PORT, patience = 5 }
    end
  end
end

return M
