-- Is there an order of the operations of one key that its model allows? Finds one, or the first completion at which
-- there is none, or gives up after so many steps. Knows nothing of keys, processes and people.
--
-- The search is Wing's and Gong's ("Testing and Verifying Concurrent Objects", 1993) with the two ideas of Lowe's
-- ("Testing for Linearizability", 2017): no configuration is looked at twice, and *just-in-time linearization*, where
-- an operation takes effect at the latest moment: when one completes that has not taken effect yet. So it goes from
-- completion to completion, and a configuration is small: the state, which of the pending operations have taken effect,
-- and which of those that stay open for ever have. It goes deep from one completion to the next and wide between
-- them. What is more,
--
-- * a pending operation that is legal and pure (it never changes anything, such as a read) takes effect at once: it
--   cannot do harm;
-- * of pending operations that are equal, the one that completes first takes effect first;
-- * an open operation need not take effect, so a configuration that used fewer of them can do all that one can which
--   used more.
--
-- The way the states are explored follows from the operations alone, so the result is the same in every process.

local sets = require "lunode.sim.history.sets"
local values = require "lunode.sim.history.values"

local M = {}

---@class lunode.sim.history.entry  an operation as the search sees it
---@field name string
---@field process any
---@field args any[]
---@field result any
---@field known boolean   did it complete, with this result?
---@field call integer    place of its invocation in the order of all events
---@field ret number      and of its completion; math.huge where it stays open
---@field pure boolean?   does it never change anything? Set by the model
---@field class integer?  the same for equal operations
---@field slot integer    its number among those pending with it, or among the open ones

---@class lunode.sim.history.problem
---@field returns lunode.sim.history.entry[]    those that complete, in the order of completion
---@field pending lunode.sim.history.entry[][]  for each: it and the others pending then, in that order
---@field open lunode.sim.history.entry[]       those that never complete and are not pure, in the order of invocation
---@field opened integer[]                      how many of these had been invoked at that completion

local function by_call(a, b)
  return a.call < b.call
end

local function by_return(a, b)
  return a.ret < b.ret
end

local function class_key(entry)
  local words = { entry.name, entry.known and values.show(entry.result, math.maxinteger) or "?" }
  for i = 1, entry.args.n do
    words[i + 2] = values.show(entry.args[i], math.maxinteger)
  end
  return string.pack(("s"):rep(#words), table.unpack(words))
end

-- Those that are pure have no class: nothing is chosen among them.
local function classify(entries)
  local classes, count = {}, 0
  for _, entry in ipairs(entries) do
    if not entry.pure then
      local key = class_key(entry)
      if not classes[key] then
        count = count + 1
        classes[key] = count
      end
      entry.class = classes[key]
    end
  end
end

-- Numbers the entries that are pending at the same time apart, with small numbers that are used again.
local function number_slots(entries, returns)
  local free, top, at = {}, 0, 1
  for _, done in ipairs(returns) do
    while entries[at] and entries[at].call < done.ret do
      if entries[at].known then
        top = #free == 0 and top + 1 or top
        entries[at].slot = table.remove(free) or top
      end
      at = at + 1
    end
    free[#free + 1] = done.slot
  end
end

---@param entries lunode.sim.history.entry[]
---@return lunode.sim.history.problem
function M.problem(entries)
  local sorted = table.move(entries, 1, #entries, 1, {})
  table.sort(sorted, by_call)
  local problem = { returns = {}, pending = {}, open = {}, opened = {} }
  classify(sorted)
  for _, entry in ipairs(sorted) do
    if entry.known then
      problem.returns[#problem.returns + 1] = entry
    elseif not entry.pure then
      problem.open[#problem.open + 1] = entry
      entry.slot = #problem.open
    end
  end
  table.sort(problem.returns, by_return)
  number_slots(sorted, problem.returns)

  local active, at, opened = {}, 1, 0
  for level, done in ipairs(problem.returns) do
    while sorted[at] and sorted[at].call < done.ret do
      if sorted[at].known then
        active[#active + 1] = sorted[at]
      elseif not sorted[at].pure then
        opened = opened + 1
      end
      at = at + 1
    end
    table.sort(active, by_return)
    problem.pending[level] = table.move(active, 1, #active, 1, {})
    problem.opened[level] = opened
    table.remove(active, 1)
  end
  return problem
end

-- ---------------------------------------------------------------- one search

---@class lunode.sim.history.configuration
---@field level integer   the completion that it has to explain next
---@field state any
---@field taken lunode.sim.history.set  slots of the pending operations that have taken effect
---@field used lunode.sim.history.set   slots of the open ones that have
---@field order table?    what took effect: { entry, before = order? }

local search_methods = {}
local search_metatable = { __index = search_methods }

local function identity(state)
  return state
end

local function new_search(problem, instance, budget)
  return setmetatable({
    problem = problem,
    instance = instance,
    hash = instance.hash or identity,
    family = sets.family(),
    budget = budget,
    steps = 0,
    kept = 0, -- configurations that are remembered
    visited = {}, -- by level, state, taken: lists of `used`
    deepest = 0, -- the level that was reached
    reached = {}, -- the configurations that came to it first, of different states
    arrivals = {}, -- how many configurations came to each level
    expansions = 0,
    offered = {}, -- by class: the last expansion that tried one of it
  }, search_metatable)
end

-- Has a configuration been here that can do whatever this one can?
function search_methods:was_here(config)
  local by_state = self.visited[config.level]
  if not by_state then
    by_state = {}
    self.visited[config.level] = by_state
  end
  local key = self.hash(config.state)
  local by_taken = by_state[key]
  if not by_taken then
    by_taken = {}
    by_state[key] = by_taken
  end
  local list = by_taken[config.taken]
  if not list then
    by_taken[config.taken] = { config.used }
  else
    self.steps = self.steps + #list
    for _, used in ipairs(list) do
      if sets.contains(config.used, used) then
        return true
      end
    end
    list[#list + 1] = config.used
  end
  self.kept = self.kept + 1
  return false
end

local STATES_TOLD = 8

function search_methods:note_depth(config)
  self.arrivals[config.level] = (self.arrivals[config.level] or 0) + 1
  if config.level > self.deepest then
    self.deepest, self.reached = config.level, {}
  elseif config.level < self.deepest or #self.reached >= STATES_TOLD then
    return
  end
  for _, other in ipairs(self.reached) do
    if self.hash(other.state) == self.hash(config.state) then
      return
    end
  end
  self.reached[#self.reached + 1] = config
end

-- Goes on over all completions of operations that have taken effect already. At a level one past the last, all have.
function search_methods:settle(config)
  local returns = self.problem.returns
  while returns[config.level] and sets.has(config.taken, returns[config.level].slot) do
    config.taken = self.family.without(config.taken, returns[config.level].slot)
    config.level = config.level + 1
  end
  return config
end

local function after(config, entry, state, taken, used)
  return {
    level = config.level,
    state = state,
    taken = taken,
    used = used,
    order = { entry = entry, before = config.order },
  }
end

-- Lets what is pure take effect. Returns what else could: pairs of entry and next state.
function search_methods:take_pure(config)
  local instance, changes = self.instance, {}
  for _, entry in ipairs(self.problem.pending[config.level]) do
    if not sets.has(config.taken, entry.slot) then
      self.steps = self.steps + 1
      local legal, state = instance.step(config.state, entry)
      if legal and entry.pure then
        config.taken = self.family.with(config.taken, entry.slot)
        config.order = { entry = entry, before = config.order }
      elseif legal and self.offered[entry.class] ~= self.expansions then
        self.offered[entry.class] = self.expansions
        changes[#changes + 1], changes[#changes + 2] = entry, state
      end
    end
  end
  return changes
end

-- Open operations that change something here, each as a configuration in which it has taken effect.
function search_methods:use_open(config, queue)
  local hash, here = self.hash, self.hash(config.state)
  for i = 1, self.problem.opened[config.level] do
    local entry = self.problem.open[i]
    if not sets.has(config.used, i) and self.offered[entry.class] ~= self.expansions then
      self.offered[entry.class] = self.expansions
      self.steps = self.steps + 1
      local legal, state = self.instance.step(config.state, entry)
      if legal and hash(state) ~= here then
        queue[#queue + 1] = after(config, entry, state, config.taken, self.family.with(config.used, i))
      end
    end
  end
end

-- Explains the completion that the configuration has come to: returns one that has come further, if there is one, and
-- puts into the queue those that are still before it, but have let another operation take effect first.
function search_methods:expand(config, queue)
  self.expansions = self.expansions + 1
  local done = self.problem.returns[config.level]
  local changes = self:take_pure(config)
  if sets.has(config.taken, done.slot) then
    return self:settle(config) -- nothing else would be better
  end
  local further
  for i = 1, #changes, 2 do
    local entry, state = changes[i], changes[i + 1]
    local next_config = after(config, entry, state, self.family.with(config.taken, entry.slot), config.used)
    if entry == done then
      further = self:settle(next_config)
    else
      queue[#queue + 1] = next_config
    end
  end
  self:use_open(config, queue)
  return further
end

function search_methods:over_budget()
  return self.steps > self.budget.steps or self.kept > self.budget.configurations
end

-- Looks for a configuration that has come past level `last`, from those given. Returns it, or nil; and whether it gave
-- up. With `collect`, it goes on until all of them are in that list.
function search_methods:run(roots, last, collect)
  local queues, heads, depth = { roots }, { 1 }, 1 -- a queue for each configuration on the way here
  while depth > 0 do
    local queue, head = queues[depth], heads[depth]
    local config = queue[head]
    if not config then
      queues[depth], depth = nil, depth - 1
    elseif self:over_budget() then
      return nil, true
    else
      queue[head], heads[depth] = false, head + 1
      if config.level > last and not collect then
        return config, false
      elseif not self:was_here(config) then
        local further = config.level <= last and self:expand(config, queue)
        if further then
          self:note_depth(further)
          depth = depth + 1
          queues[depth], heads[depth] = { further }, 1
        elseif config.level > last then
          collect[#collect + 1] = config
        end
      end
    end
  end
  return nil, false
end

local function order_of(config)
  local list, node = {}, config.order
  while node do
    list[#list + 1] = node.entry
    node = node.before
  end
  for i = 1, #list // 2 do
    list[i], list[#list + 1 - i] = list[#list + 1 - i], list[i]
  end
  return list
end

---@class lunode.sim.history.found
---@field verdict "linearizable"|"violated"|"undecided"
---@field order lunode.sim.history.entry[]  as far as it came: what took effect, one after the other
---@field states any[]                      the states that can be there then (some of them)
---@field blocked lunode.sim.history.entry? the first to complete that nothing explains
---@field steps integer  of the model, and comparisons of configurations: what takes the time

-- A root tells entries; a configuration has their slots.
function search_methods:from_root(root)
  local family = self.family
  local taken, used = family.empty, family.empty
  for _, entry in ipairs(root.taken) do
    taken = family.with(taken, entry.slot)
  end
  for _, entry in ipairs(root.used) do
    used = family.with(used, entry.slot)
  end
  local config = self:settle { level = 1, state = root.state, taken = taken, used = used, order = nil }
  self:note_depth(config)
  return config
end

local function start(problem, instance, budget, roots)
  local search, configs = new_search(problem, instance, budget), {}
  for i, root in ipairs(roots or { { state = instance.init, taken = {}, used = {} } }) do
    configs[i] = search:from_root(root)
  end
  return search, configs
end

---@class lunode.sim.history.root  where a search begins, if not before everything
---@field state any
---@field taken lunode.sim.history.entry[]  of those that complete: what has taken effect already
---@field used lunode.sim.history.entry[]   and of the open ones

---@param problem lunode.sim.history.problem
---@param instance table   of a model; its `prepare` has been called
---@param budget {steps: integer, configurations: integer}
---@param roots? lunode.sim.history.root[]
---@return lunode.sim.history.found
function M.run(problem, instance, budget, roots)
  if instance.conflict then
    return { verdict = "violated", order = {}, states = {}, blocked = nil, steps = 0, arrivals = {} }
  end
  local search, configs = start(problem, instance, budget, roots)
  local first = configs[1]
  local found, gave_up = search:run(configs, #problem.returns)
  local states = {}
  for i, config in ipairs(search.reached) do
    states[i] = config.state
  end
  return {
    verdict = found and "linearizable" or gave_up and "undecided" or "violated",
    order = order_of(found or search.reached[1] or first),
    states = states,
    blocked = not found and problem.returns[search.deepest] or nil,
    steps = search.steps,
    arrivals = search.arrivals,
  }
end

---All that may have happened when the completions up to `level` are explained: roots for what comes after it.
---@return lunode.sim.history.root[]? roots  nil where there are too many to tell
function M.roots_after(problem, instance, budget, level)
  local search, configs = start(problem, instance, budget)
  local collected, roots = {}, {}
  local _, gave_up = search:run(configs, level, collected)
  for i, config in ipairs(collected) do
    local taken, used = table.move(problem.returns, level + 1, config.level - 1, 1, {}), {}
    for _, entry in ipairs(problem.pending[config.level] or {}) do
      taken[#taken + 1] = sets.has(config.taken, entry.slot) and entry or nil
    end
    for slot, entry in ipairs(problem.open) do
      used[#used + 1] = sets.has(config.used, slot) and entry or nil
    end
    roots[i] = { state = config.state, taken = taken, used = used }
  end
  return not gave_up and roots or nil
end

return M
