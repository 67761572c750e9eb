-- Random histories for the specs of the history checker, and a second opinion on small ones: a search through all
-- orders, written as plainly as can be and with models of its own. Contains no specs.

local diagram = require "lunode.sim.history.diagram"
local decide = require "lunode.sim.history.decide"
local history = require "lunode.sim.history"
local models = require "lunode.sim.history.models"

local M = {}

local function copy(list)
  return table.move(list, 1, #list, 1, {})
end

local function index_of(list, value)
  for i, element in ipairs(list) do
    if element == value then
      return i
    end
  end
end

local function same_list(a, b)
  return table.concat(a, " ") == table.concat(b, " ")
end

local function sorted(list)
  local result = copy(list)
  table.sort(result)
  return result
end

-- What each thing does, as a person would write it down: apply(state, name, args) → result, next state.
local register = { initial = nil }
function register.apply(state, name, args)
  if name == "read" then
    return state, state
  elseif name == "write" then
    return nil, args[1]
  end
  return state == args[1], state == args[1] and args[2] or state
end

local counter = { initial = 0 }
function counter.apply(state, name, args)
  if name == "read" then
    return state, state
  end
  return nil, state + args[1]
end

local set = { initial = {} }
function set.apply(state, name, args)
  if name == "read" then
    return sorted(state), state
  end
  local at = index_of(state, args[1])
  if name == "contains" then
    return at ~= nil, state
  end
  local changed = copy(state)
  if name == "add" and not at then
    changed[#changed + 1] = args[1]
  elseif name == "remove" and at then
    table.remove(changed, at)
  end
  return #changed ~= #state, changed
end

local list = { initial = {} }
function list.apply(state, name, args)
  if name == "read" then
    return copy(state), state
  end
  local longer = copy(state)
  longer[#longer + 1] = args[1]
  return nil, longer
end

M.things = { register = register, counter = counter, set = set, list = list }

local function same(kind, a, b)
  if type(a) == "table" and type(b) == "table" then
    return same_list(kind == "set" and sorted(a) or a, kind == "set" and sorted(b) or b)
  end
  return a == b
end

-- ---------------------------------------------------------------- every order

local function may_be_next(ops, op, placed)
  for _, other in ipairs(ops) do
    if not placed[other] and other.status == "ok" and other.ret < op.call then
      return false
    end
  end
  return true
end

---Tries every order, and every choice among the unknown ones. For a handful of operations.
---@param kind string
---@param h lunode.sim.history
---@return boolean
function M.has_order(kind, h)
  local thing, ops, placed = M.things[kind], {}, {}
  for _, op in ipairs(h.operations) do
    ops[#ops + 1] = op.status ~= "failed" and op or nil
  end

  local function try(state)
    local complete = true
    for _, op in ipairs(ops) do
      if not placed[op] then
        complete = complete and op.status ~= "ok"
        if may_be_next(ops, op, placed) then
          local result, after = thing.apply(state, op.name, op.args)
          if op.status ~= "ok" or same(kind, result, op.result) then
            placed[op] = true
            if try(after) then
              return true
            end
            placed[op] = nil
          end
        end
      end
    end
    return complete
  end
  return try(thing.initial)
end

-- ---------------------------------------------------------------- random histories

local calls = {}

function calls.register(chance, values)
  local name = chance:weighted { { 3, "read" }, { 3, "write" }, { 2, "cas" } }
  if name == "read" then
    return name, {}
  elseif name == "write" then
    return name, { chance:int(1, values) }
  end
  return name, { chance:int(1, values), chance:int(1, values) }
end

function calls.counter(chance, values)
  if chance:odds(0.4) then
    return "read", {}
  end
  return "add", { chance:int(1, values) }
end

function calls.set(chance, values)
  local name = chance:weighted { { 3, "add" }, { 2, "remove" }, { 2, "contains" }, { 1, "read" } }
  return name, name == "read" and {} or { chance:int(1, values) }
end

function calls.list(chance, values)
  if chance:odds(0.4) then
    return "read", {}
  end
  return "append", { chance:int(1, values) }
end

---A history of a thing that is linearizable: each operation takes effect at one moment while it is under way, those
---with an unknown result perhaps later, or never.
---@param kind string
---@param chance spec.prng
---@param options {operations: integer, processes: integer, keys?: integer, values?: integer, unknown?: number}
---@return lunode.sim.history
function M.linearizable(kind, chance, options)
  local thing, h = M.things[kind], history.new()
  local states, processes, late, left = {}, {}, {}, options.operations
  for key = 1, options.keys or 1 do
    states[key] = thing.initial
  end
  local function take_effect(op)
    op.seen, states[op.key] = thing.apply(states[op.key], op.name, op.args)
  end

  local busy = 0
  while left > 0 or busy > 0 do
    local number = chance:int(1, options.processes)
    local op = processes[number]
    if not op and left > 0 then
      local name, args = calls[kind](chance, options.values or 3)
      processes[number] = h:invoke(number, name, chance:int(1, options.keys or 1), table.unpack(args))
      left, busy = left - 1, busy + 1
    elseif op and not op.done then
      op.done = true
      if chance:odds(options.unknown or 0) then
        late[#late + 1] = op
        h:unknown(op)
        processes[number], busy = nil, busy - 1
      else
        take_effect(op)
      end
    elseif op then
      h:ok(op, op.seen)
      processes[number], busy = nil, busy - 1
    end
    if #late > 0 and chance:odds(0.2) then
      take_effect(table.remove(late, chance:int(1, #late)))
    end
  end
  return h
end

---What the checker finds wrong, before it is put into words.
---@return lunode.sim.history.failure[]  one, or none
function M.failures(h, kind)
  local function make(ops)
    return models[kind]({}, ops)
  end
  return { decide.key(h.operations, make, nil, { steps = 100000, configurations = 100000 }).failure }
end

---The prefix that failed, in which all but some operations may take effect at any time, or never; those that certainly
---changed nothing are left out.
---@return {operations: table[]}
function M.with_others_free(failure, core)
  local is_core, operations = {}, {}
  for _, entry in ipairs(core) do
    is_core[entry] = true
  end
  for _, entry in ipairs(failure.entries) do
    local strict = is_core[entry]
    operations[#operations + 1] = (strict or not entry.pure) and {
      process = entry.process,
      name = entry.name,
      args = entry.args,
      result = entry.result,
      status = strict and entry.known and "ok" or "unknown",
      call = strict and entry.call or 0,
      ret = entry.ret,
    } or nil
  end
  return { operations = operations }
end

---@return string  a line an operation
function M.show(h)
  local lines = {}
  for i, op in ipairs(h.operations) do
    lines[i] = ("%s %d…%s %s %s"):format(op.process, op.call, op.ret or "", diagram.label(op), op.status)
  end
  return table.concat(lines, "\n")
end

---A result of one operation becomes another one of the same kind.
---@return boolean changed
function M.mutate(h, chance, values)
  local op = chance:pick(h.operations)
  if op.status ~= "ok" then
    return false
  elseif type(op.result) == "boolean" then
    op.result = not op.result
  elseif type(op.result) == "table" then
    if #op.result > 0 and chance:odds(0.5) then
      table.remove(op.result, chance:int(1, #op.result))
    else
      table.insert(op.result, chance:int(1, #op.result + 1), chance:int(1, values))
    end
  elseif op.name == "read" then
    op.result = chance:int(0, values)
  else
    return false
  end
  return true
end

return M
