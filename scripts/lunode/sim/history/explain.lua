-- Says why the operations of a key have no order: the first completion that nothing explains, the few operations that
-- contradict each other, and the last order that did exist. Does not search itself: `search` does.

local diagram = require "lunode.sim.history.diagram"
local search = require "lunode.sim.history.search"

local M = {}

local WINDOW = 40 -- completions that are looked at one by one; what came before them is summed up in its states
local MOST_ROOTS = 64 -- unless there are more of these
local MOST_STATES = 4 -- that are told
local MOST_STEPS = 10 -- of the order that is told
local TRY = { steps = 20000, configurations = 20000 } -- for one attempt to do without some operations
local ALL_TRIES = 400000 -- steps
local ANY_TIME = 1 << 40 -- before everything

-- An operation that may take effect at any time, or never. Whatever is linearizable stays so.
local function relax(entry)
  local copy = {}
  for name, value in pairs(entry) do -- a copy: in any order
    copy[name] = value
  end
  copy.known, copy.ret, copy.call = false, math.huge, entry.call - ANY_TIME
  return copy
end

---@class lunode.sim.history.failure
---@field instance table                          of the model
---@field entries lunode.sim.history.entry[]      the shortest prefix that is not linearizable
---@field blocked lunode.sim.history.entry        the completion it ends with
---@field found lunode.sim.history.found          what the search said of it
---@field reason string?                          where that is known without a search

-- The completion after which the operations are looked at one by one, and what may have happened by then.
local function choose_window(problem, failure, budget)
  local last = #problem.returns
  if last <= WINDOW then
    return 0, nil
  end
  local best
  for level = last - WINDOW, last - WINDOW // 4 do
    local arrivals = failure.found.arrivals[level + 1]
    if arrivals and (not best or arrivals < failure.found.arrivals[best + 1]) then
      best = level
    end
  end
  local roots = best and search.roots_after(problem, failure.instance, budget, best)
  if not roots or #roots > MOST_ROOTS then
    return 0, nil
  end
  return best, roots
end

local function windowed(problem, failure, level)
  local list, from = {}, level > 0 and problem.returns[level].ret or 0
  for _, entry in ipairs(failure.entries) do
    if entry.ret > from then
      list[#list + 1] = entry
    end
  end
  return list
end

local function without_relaxed(list, relaxed)
  local rest = {}
  for _, entry in ipairs(list) do
    rest[#rest + 1] = not relaxed[entry] and entry or nil
  end
  return rest
end

-- Is there still no order when these are relaxed? Uses up steps.
local function still_fails(state, relaxed)
  local entries, roots = {}, state.roots and {}
  for i, entry in ipairs(state.window) do
    entries[i] = relaxed[entry] and relax(entry) or entry
  end
  for i, root in ipairs(state.roots or {}) do
    roots[i] = {
      state = root.state,
      taken = without_relaxed(root.taken, relaxed),
      used = without_relaxed(root.used, relaxed),
    }
  end
  local found = search.run(search.problem(entries), state.instance, TRY, roots)
  state.steps = state.steps + found.steps
  return found.verdict == "violated"
end

-- The operations that contradict each other whatever the others do: as few as some attempts can find.
local function core_of(state, essential)
  local strict, relaxed = {}, {}
  for _, entry in ipairs(state.window) do
    strict[#strict + 1] = entry
  end
  local chunk = math.max(1, #strict // 2)
  repeat
    local from = 1
    while from <= #strict and state.steps < ALL_TRIES do
      local trial, tried = setmetatable({}, { __index = relaxed }), 0
      for i = from, math.min(from + chunk - 1, #strict) do
        if not essential[strict[i]] then
          trial[strict[i]], tried = true, tried + 1
        end
      end
      if tried > 0 and still_fails(state, trial) then
        for i = from, math.min(from + chunk - 1, #strict) do
          relaxed[strict[i]] = trial[strict[i]]
        end
        strict = without_relaxed(strict, relaxed)
      else
        from = from + chunk
      end
    end
    chunk = chunk // 2
  until chunk == 0
  return strict
end

-- ---------------------------------------------------------------- words

local function count(n, noun)
  return n == 1 and "1 " .. noun or ("%d %ss"):format(n, noun)
end

local function show_states(states, instance)
  local words, seen = {}, {}
  for _, state in ipairs(states) do
    local text = instance.show(state)
    if not seen[text] then
      seen[text] = true
      words[#words + 1] = text
    end
  end
  local rest = #words - MOST_STATES
  if rest > 0 then
    return table.concat(words, ", ", 1, MOST_STATES) .. (" or one of %d others"):format(rest)
  elseif #words < 2 then
    return words[1] or "?"
  end
  return table.concat(words, ", ", 1, #words - 1) .. " or " .. words[#words]
end

local function sentence_of(failure)
  local blocked = failure.blocked
  local op = blocked.op
  local text = ("%s of %s (%s … %s s) has no place"):format(
    diagram.label(op),
    tostring(op.process),
    diagram.time(op.called_at),
    diagram.time(op.returned_at)
  )
  if failure.reason then
    text = text .. ": " .. failure.reason
  elseif #failure.found.states > 0 then
    local states = show_states(failure.found.states, failure.instance)
    text = text .. ": by then, the completed operations have left " .. states
  end
  return text .. "."
end

local function last_order(failure)
  local order = failure.found.order
  if #order == 0 then
    return ""
  end
  local lines = { ("The last order there was, of %s:"):format(count(#order, "operation")) }
  if #order > MOST_STEPS then
    lines[2] = ("  … %d before these"):format(#order - MOST_STEPS)
  end
  for i = math.max(1, #order - MOST_STEPS + 1), #order do
    local op = order[i].op
    lines[#lines + 1] = ("  %s  %s"):format(tostring(op.process), diagram.label(op))
  end
  local state = failure.found.states[1]
  if state ~= nil then
    lines[#lines + 1] = "It leaves " .. failure.instance.show(state) .. "."
  end
  return table.concat(lines, "\n") .. "\n"
end

local function by_call(a, b)
  return a.call < b.call
end

-- Operations as the diagram wants them.
local function drawn(core)
  local list, view_of = {}, {}
  for i, entry in ipairs(core) do
    local op = entry.op
    view_of[entry] = {
      process = op.process,
      name = op.name,
      args = op.args,
      result = op.result,
      status = entry.known and "ok" or "open",
      call = entry.call,
      ret = entry.ret,
      called_at = op.called_at,
      returned_at = entry.known and op.returned_at or nil,
    }
    list[i] = view_of[entry]
  end
  table.sort(list, by_call)
  return list, view_of
end

---@param failure lunode.sim.history.failure
---@param budget {steps: integer, configurations: integer}
---@return string
function M.explain(failure, budget)
  local instance = failure.instance
  if failure.reason then
    return sentence_of(failure) .. "\n"
  end
  local core, level, roots = instance.conflict, 0, nil
  if not core then
    local problem, essential = search.problem(failure.entries), { [failure.blocked] = true }
    for _, entry in ipairs(instance.essential or {}) do
      essential[entry] = true
    end
    level, roots = choose_window(problem, failure, budget)
    local window = windowed(problem, failure, level)
    core = core_of({ window = window, roots = roots, instance = instance, steps = 0 }, essential)
  end

  local lines = { sentence_of(failure) }
  local others, whose = #failure.entries - #core - level, "These"
  if level > 0 then
    local states = {}
    for i, root in ipairs(roots) do
      states[i] = root.state
    end
    lines[#lines + 1] = ("After %s, the state was %s."):format(
      count(level, "operation"),
      show_states(states, instance)
    )
    whose = "From there on, these"
  end
  lines[#lines + 1] = ("%s %s have no order%s:"):format(
    whose,
    count(#core, "operation"),
    others > 0 and (", whatever the %s did"):format(count(others, "other")) or ""
  )
  local list, view_of = drawn(core)
  local text = table.concat(lines, "\n") .. "\n\n" .. diagram.draw(list, view_of[failure.blocked])
  local order = last_order(failure)
  return text .. (order ~= "" and "\n" .. order or "")
end

return M
