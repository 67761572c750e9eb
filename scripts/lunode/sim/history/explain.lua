-- Says why the operations of a key have no order: the first completion that nothing explains, the few operations that
-- contradict each other, and the last order that did exist. Does not search itself: `search` does.

local diagram = require "lunode.sim.history.diagram"
local search = require "lunode.sim.history.search"
local values = require "lunode.sim.history.values"

local M = {}

local WINDOW = 40 -- completions that are looked at one by one; what came before them is summed up in its states
local MOST_ROOTS = 64 -- unless there are more of these
local MOST_STATES = 4 -- that are told
local MOST_STEPS = 10 -- of the order that is told
local MOST_DRAWN = 20 -- operations
local LONGEST = 160 -- bytes of a state
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
    if entry.ret > from and (entry.known or not entry.pure) then
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

local function show_state(state, instance)
  local text = instance.show(state)
  return #text <= LONGEST and text or text:sub(1, utf8.offset(text, 0, LONGEST) - 1) .. "…"
end

local function show_states(states, instance)
  local words, seen = {}, {}
  for _, state in ipairs(states) do
    local text = show_state(state, instance)
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
    values.name(op.process),
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
    lines[#lines + 1] = ("  %s  %s"):format(values.name(op.process), diagram.label(op))
  end
  local state = failure.found.states[1]
  if state ~= nil then
    lines[#lines + 1] = "It leaves " .. show_state(state, failure.instance) .. "."
  end
  return table.concat(lines, "\n") .. "\n"
end

local function by_call(a, b)
  return a.call < b.call
end

-- Operations as the diagram wants them, and that of the blocked one.
local function drawn(core, blocked)
  local list, cross = {}, nil
  for i, entry in ipairs(core) do
    local op = entry.op
    list[i] = {
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
    cross = entry == blocked and list[i] or cross
  end
  table.sort(list, by_call)
  return table.move(list, math.max(1, #list - MOST_DRAWN + 1), #list, 1, {}), cross
end

---The operations that contradict each other, whatever the others of the prefix did, the blocked one among them: few,
---but perhaps not the fewest.
---@param failure lunode.sim.history.failure
---@param budget {steps: integer, configurations: integer}
---@return lunode.sim.history.entry[] core
---@return integer level                           so many completions are left out,
---@return lunode.sim.history.root[]? roots         which led to this
function M.core(failure, budget)
  local instance = failure.instance
  if instance.conflict then
    return instance.conflict, 0, nil
  end
  local problem, essential = search.problem(failure.entries), { [failure.blocked] = true }
  for _, entry in ipairs(instance.essential or {}) do
    essential[entry] = true
  end
  local level, roots = choose_window(problem, failure, budget)
  local window = windowed(problem, failure, level)
  return core_of({ window = window, roots = roots, instance = instance, steps = 0 }, essential), level, roots
end

local function introduce(failure, core, level, roots)
  local text, these = "", "These"
  if level > 0 then
    local states = {}
    for i, root in ipairs(roots) do
      states[i] = root.state
    end
    text = ("After %s, the state was %s.\n"):format(count(level, "operation"), show_states(states, failure.instance))
    these = "From there on, these"
  end
  local others = #failure.entries - #core - level
  local whatever = others > 0 and ", whatever the others did" or ""
  if #core == 1 then
    return text .. ("%s operation has no place%s:\n"):format((these:gsub("hese$", "his")), whatever)
  end
  text = text .. ("%s %d operations have no order%s:\n"):format(these, #core, whatever)
  if #core > MOST_DRAWN then
    text = text .. ("(The last %d of them are drawn.)\n"):format(MOST_DRAWN)
  end
  return text
end

---@param failure lunode.sim.history.failure
---@param budget {steps: integer, configurations: integer}
---@return string
function M.explain(failure, budget)
  local sentence = sentence_of(failure) .. "\n"
  if failure.reason then
    return sentence
  end
  local core, level, roots = M.core(failure, budget)
  local order = last_order(failure)
  return sentence
    .. introduce(failure, core, level, roots)
    .. "\n"
    .. diagram.draw(drawn(core, failure.blocked))
    .. (order ~= "" and "\n" .. order or "")
end

return M
