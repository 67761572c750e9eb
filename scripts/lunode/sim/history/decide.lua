-- Decides about the operations of one key, and finds the shortest part of them that has no order. Explains nothing.

local search = require "lunode.sim.history.search"

local M = {}

-- What is known not to have happened is not looked at.
local function entries_of(ops)
  local entries = {}
  for _, op in ipairs(ops) do
    if op.status ~= "failed" then
      local known = op.status == "ok"
      entries[#entries + 1] = {
        op = op,
        name = op.name,
        process = op.process,
        args = op.args,
        result = op.result,
        known = known,
        call = op.call,
        ret = known and op.ret or math.huge,
      }
    end
  end
  return entries
end

local function prepared(make, entries)
  local instance = make(entries)
  for _, entry in ipairs(instance.prepare and entries or {}) do
    instance.prepare(entry)
  end
  return instance
end

-- What was known when `last` completed: what was pending then has no result yet. Copies, as instances of a model keep
-- things in them. Returns that of `last`, too.
local function prefix(entries, last)
  local part, last_copy = {}, nil
  for _, entry in ipairs(entries) do
    if entry.call < last.ret then
      local known = entry.ret <= last.ret
      local copy = { op = entry.op, name = entry.name, process = entry.process, args = entry.args }
      copy.known, copy.result, copy.call, copy.ret = known, entry.result, entry.call, known and entry.ret or math.huge
      part[#part + 1] = copy
      last_copy = entry == last and copy or last_copy
    end
  end
  return part, last_copy
end

-- The first completion with which what had happened by then is violated. A prefix of what is linearizable is, too.
local function locate(entries, returns, found, make, budget)
  local function failure_at(level)
    local part, blocked = prefix(entries, returns[level])
    local instance = prepared(make, part)
    local result = search.run(search.problem(part), instance, budget)
    if result.verdict == "violated" then
      local wrong, reason = nil, nil
      if instance.refute then
        wrong, reason = instance.refute()
      end
      return {
        instance = instance,
        entries = part,
        blocked = blocked,
        found = result,
        reason = wrong == blocked and reason or nil,
      }
    end
  end

  local low, high, failure = 1, #returns, nil
  for level, entry in ipairs(returns) do
    if entry == found.blocked then
      low, failure = level, failure_at(level) -- mostly it is this one
      high = failure and level or high
    end
  end
  while low < high do
    local middle = (low + high) // 2
    local this = failure_at(middle)
    if this then
      high, failure = middle, this
    else
      low = middle + 1
    end
  end
  return failure or failure_at(high)
end

-- Decides about operations that cannot be split.
local function decide(entries, make, budget)
  local instance = prepared(make, entries)
  local problem = search.problem(entries)
  local found = search.run(problem, instance, budget)
  local result = { verdict = found.verdict, steps = found.steps, failure = nil }
  if found.verdict == "violated" then
    result.failure = locate(entries, problem.returns, found, make, budget)
  elseif found.verdict == "undecided" and instance.refute then
    local wrong, reason = instance.refute()
    if wrong then
      result.verdict = "violated"
      result.failure = { instance = instance, entries = entries, blocked = wrong, found = found, reason = reason }
    end
  end
  return result
end

-- Each part by itself; the first that is violated says it all.
local function decide_parts(parts, make, budget)
  local all = { verdict = "linearizable", steps = 0, failure = nil }
  for _, part in ipairs(parts) do
    local result = decide(part, make, budget)
    all.steps = all.steps + result.steps
    if result.verdict == "violated" then
      all.verdict, all.failure = result.verdict, result.failure
      return all
    elseif result.verdict == "undecided" then
      all.verdict = "undecided"
    end
  end
  return all
end

---@param ops lunode.sim.history.operation[]  all of the same key, in the order of invocation
---@param make fun(entries: table[]): table   an instance of the model
---@param split? fun(entries: table[]): boolean, fun(): table[][]
---@param budget {steps: integer, configurations: integer}
---@return {verdict: string, steps: integer, failure: lunode.sim.history.failure?}
function M.key(ops, make, split, budget)
  local entries = entries_of(ops)
  if not split then
    return decide(entries, make, budget)
  end
  local is_exact, parts = split(entries)
  if is_exact then
    return decide_parts(parts(), make, budget)
  end
  local whole = decide(entries, make, budget)
  if whole.verdict == "undecided" then
    local result = decide_parts(parts(), make, budget)
    whole.steps = whole.steps + result.steps
    if result.verdict == "violated" then
      whole.verdict, whole.failure = result.verdict, result.failure
    end
  end
  return whole
end

return M
