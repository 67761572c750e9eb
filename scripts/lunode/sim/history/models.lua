-- What a register, a set, a counter and a list do, one operation after the other. Searches nothing: `search` does.
--
-- A model makes an *instance* for the operations of one key, which the search asks:
--
--   init               the state before all operations
--   step(state, op)    legal, next state: may the operation take effect here, with its result? Never changes `state`.
--                      Where `op.known` is false nobody knows the result: any is legal
--   hash(state)        what equal states have in common and others have not: a number, string, boolean or table.
--                      (default: the state itself)
--   show(state)        for people
--   prepare(op)        optional, once an operation: checks it, and keeps in its fields what `step` needs. Sets op.pure
--                      where it never changes the state, given its result: that makes the search fast
--   refute()           optional, asked where the search has given up: an operation that is wrong for certain, and why
--   conflict           optional: operations that contradict each other, so that there is nothing to search
--   essential          optional: operations on which `step` relies, because it refuses what they exclude later on
--
-- An operation has name, args (args.n of them), result, known.

local sets = require "lunode.sim.history.sets"
local values = require "lunode.sim.history.values"

local M = {}

local function wrong(op, what)
  error(("%s of process %s: %s"):format(values.name(op.name), values.name(op.process), what), 0)
end

local function unknown_operation(op, model, names)
  wrong(op, ("a %s has no such operation, only %s"):format(model, names))
end

local function want_boolean(op, what)
  if op.known and type(op.result) ~= "boolean" then
    wrong(op, ("its result must be true or false: %s; it is %s"):format(what, values.show(op.result)))
  end
end

local function maybe_boolean(op, what)
  if op.known and op.result ~= nil then
    want_boolean(op, what)
  end
end

-- ---------------------------------------------------------------- register

local register_steps = {}

function register_steps.read(state, op)
  return not op.known or state == op.seen, state
end

function register_steps.write(_, op)
  return true, op.value
end

function register_steps.cas(state, op)
  local swaps = state == op.value
  if op.known and swaps ~= op.result then
    return false
  end
  return true, swaps and op.new or state
end

---read → value, write(value), cas(expected, new) → whether it did. A register that was never written is nil.
function M.register(options)
  local intern = values.interner()
  local instance = { init = intern(options.initial) }

  function instance.prepare(op)
    op.run = register_steps[op.name] or unknown_operation(op, "register", "read, write, cas")
    if op.name == "read" then
      op.seen = intern(op.result)
    else
      op.value = intern(op.args[1])
    end
    if op.name == "cas" then
      op.new = intern(op.args[2])
      want_boolean(op, "did it swap?")
    end
    op.pure = op.name == "read" or op.name == "cas" and op.known and not op.result
  end

  function instance.step(state, op)
    return op.run(state, op)
  end

  function instance.show(state)
    return values.show(values.original(state))
  end

  return instance
end

-- ---------------------------------------------------------------- counter

-- The first read that no order explains where amounts are all positive, or all negative: it is beyond what had been
-- added for certain when it began, or what may have been added when it ended. Returns it, with these bounds.
local function out_of_bounds(ops, initial)
  local sign, events = 0, {} -- events in the order of time
  for _, op in ipairs(ops) do
    if op.name == "add" and op.amount * sign < 0 then
      return nil
    end
    sign = sign == 0 and op.amount or sign
    events[#events + 1] = { at = op.call, op = op, begins = true }
    if op.known then
      events[#events + 1] = { at = op.ret, op = op, begins = false }
    end
  end
  table.sort(events, function(a, b)
    return a.at < b.at
  end)
  local certain, possible, before = initial, initial, {}
  for _, event in ipairs(events) do
    local op = event.op
    if op.name == "add" then
      possible = event.begins and possible + op.amount or possible
      certain = event.begins and certain or certain + op.amount
    elseif event.begins then
      before[op] = certain
    else
      local low, high = math.min(before[op], possible), math.max(before[op], possible)
      if op.result < low or op.result > high then
        return op, low, high
      end
    end
  end
  return nil
end

---add(amount) → nothing, or the new value; read → value. `amount` may be negative; it is 1 where none is given.
function M.counter(options, ops)
  local initial = options.initial or 0
  local instance = { init = initial, show = tostring }

  function instance.prepare(op)
    if op.name == "add" then
      op.amount = op.args[1] == nil and 1 or op.args[1]
      if math.type(op.amount) ~= "integer" then
        wrong(op, "only integers can be added; this is " .. values.show(op.amount))
      end
      if op.known and op.result ~= nil and math.type(op.result) ~= "integer" then
        wrong(op, "its result must be the new value, or nil; it is " .. values.show(op.result))
      end
    elseif op.name ~= "read" then
      unknown_operation(op, "counter", "add, read")
    else
      op.amount = 0
    end
    op.pure = op.amount == 0
    if op.name == "read" and op.known and math.type(op.result) ~= "integer" then
      wrong(op, "its result must be an integer; it is " .. values.show(op.result))
    end
  end

  function instance.step(state, op)
    if op.name == "read" then
      return not op.known or op.result == state, state
    end
    local sum = state + op.amount
    return not op.known or op.result == nil or op.result == sum, sum
  end

  function instance.refute()
    local op, low, high = out_of_bounds(ops, initial)
    return op, op and ("it can be %d at least, and %d at most"):format(low, high)
  end

  return instance
end

-- ---------------------------------------------------------------- set

local function elements_of(op)
  if type(op.result) ~= "table" then
    wrong(op, "its result must be a list of elements; it is " .. values.show(op.result))
  end
  return op.result
end

---add(element), remove(element) → whether it changed the set, or nothing; contains(element) → boolean;
---read → list of all elements, in any order.
function M.set(options)
  local intern, family = values.interner(), sets.family()
  local number_of, element_of = {}, {}

  local function number(element)
    local key = intern(element)
    if not number_of[key] then
      element_of[#element_of + 1] = element
      number_of[key] = #element_of
    end
    return number_of[key]
  end

  local function set_of(list)
    local members = {}
    for i, element in ipairs(list) do
      members[i] = number(element)
    end
    return family.of(members)
  end

  local instance = { init = set_of(options.initial or {}) }

  function instance.prepare(op)
    if op.name == "read" then
      if op.known then
        local set = set_of(elements_of(op))
        op.seen = set.size == #op.result and set or false -- a set has no element twice: never legal
      end
    elseif op.name == "contains" or op.name == "add" or op.name == "remove" then
      local check = op.name == "contains" and want_boolean or maybe_boolean
      check(op, op.name == "contains" and "is it a member?" or "did it change the set?")
      op.member = number(op.args[1])
    else
      unknown_operation(op, "set", "add, remove, contains, read")
    end
    op.pure = op.name == "read" or op.name == "contains" or op.known and op.result == false
  end

  function instance.step(state, op)
    if op.name == "read" then
      return not op.known or op.seen == state, state
    end
    local is_member = sets.has(state, op.member)
    if op.name == "contains" then
      return not op.known or op.result == is_member, state
    end
    local changes = is_member == (op.name == "remove")
    if op.known and op.result ~= nil and op.result ~= changes then
      return false
    elseif not changes then
      return true, state
    end
    return true, family[op.name == "add" and "with" or "without"](state, op.member)
  end

  function instance.show(state)
    local list = {}
    for i, element in ipairs(element_of) do
      if sets.has(state, i) then
        list[#list + 1] = values.show(element)
      end
    end
    return "{" .. table.concat(list, ", ") .. "}"
  end

  return instance
end

-- What a read says of one element.
local function contains(read, key, is_member)
  local entry = { name = "contains", process = read.process, known = true, op = read.op }
  entry.call, entry.ret = read.call, read.ret
  entry.args, entry.result = { values.original(key), n = 1 }, is_member
  return entry
end

---The elements of a set do not depend on each other, so where nobody reads all of them, each is checked by itself. Else
---this is a way to find what is wrong, but no proof that nothing is.
---@return boolean is_exact, fun(): table[][] parts
local function split_set(ops)
  local intern, parts, part_of, reads = values.interner(), {}, {}, {}
  local function part_for(element)
    local key = intern(element)
    if not part_of[key] then
      part_of[key] = { key = key }
      parts[#parts + 1] = part_of[key]
    end
    return part_of[key]
  end

  for _, op in ipairs(ops) do
    if op.name ~= "read" then
      table.insert(part_for(op.args[1]), op)
    elseif op.known then
      local read = { op = op, members = {} }
      for _, element in ipairs(elements_of(op)) do
        read.members[part_for(element).key] = true
      end
      reads[#reads + 1] = read
    end
  end
  return #reads == 0, function()
    for _, part in ipairs(parts) do
      for _, read in ipairs(reads) do
        part[#part + 1] = contains(read.op, part.key, read.members[part.key] or false)
      end
    end
    return parts
  end
end

M.split = { set = split_set } -- by the name of the model

-- ---------------------------------------------------------------- list

local function is_read(op)
  return op.name == "read" and op.known
end

---append(element); read → list of all elements, in the order of their appends.
function M.list(options, ops)
  local intern = values.interner()
  local root = { length = 0, before = nil, element = nil, after = {} } -- lists are nodes of a tree: equal ones are one

  local function with(node, key)
    local longer = node.after[key]
    if not longer then
      longer = { length = node.length + 1, before = node, element = key, after = {} }
      node.after[key] = longer
    end
    return longer
  end

  local function node_of(list)
    local node = root
    for _, element in ipairs(list) do
      node = with(node, intern(element))
    end
    return node
  end

  local instance = { init = node_of(options.initial or {}), conflict = nil, essential = {} }

  function instance.prepare(op)
    if op.name == "append" then
      op.element = intern(op.args[1])
    elseif op.name ~= "read" then
      unknown_operation(op, "list", "append, read")
    end
    op.pure = op.name == "read"
  end

  -- All reads see the same list grow, so each is the beginning of the longest. And until the list is as long, an
  -- append that leaves that path leads nowhere: this saves trying the orders of appends that went on side by side.
  local longest, reader = instance.init, nil
  for _, op in ipairs(ops) do
    op.seen = is_read(op) and node_of(elements_of(op)) or nil
    if op.seen and op.seen.length > longest.length then
      longest, reader = op.seen, op
    end
  end
  instance.essential[1] = reader
  local on_path, path = {}, longest
  while path do
    on_path[path] = true
    path = path.before
  end
  for _, op in ipairs(ops) do
    if reader and op.seen and not on_path[op.seen] then
      instance.conflict = { op, reader }
    end
  end

  function instance.step(state, op)
    if op.name == "read" then
      return not op.known or op.seen == state, state
    end
    local longer = with(state, op.element)
    return longer.length > longest.length or on_path[longer] == true, longer
  end

  function instance.show(state)
    local list = {}
    for i = state.length, 1, -1 do
      list[i], state = values.show(values.original(state.element)), state.before
    end
    return "{" .. table.concat(list, ", ") .. "}"
  end

  return instance
end

-- ---------------------------------------------------------------- a model of the user's

---{ init = state or a function that makes it, step = function(state, op) → legal, next; hash, show, pure }
function M.custom(model)
  if type(model.step) ~= "function" then
    error("a model wants a function step(state, op) that returns whether the operation is legal, and the next state", 0)
  end
  local function hash(state)
    local kind = type(state)
    if kind == "table" then
      error("the states of this model are tables: give it hash(state), which tells which are equal", 0)
    end
    return state
  end
  local given = model.hash or hash
  return function()
    local init = model.init
    if type(init) == "function" then
      init = init()
    end
    return {
      init = init,
      step = model.step,
      prepare = function(op)
        op.pure = model.pure and model.pure(op) or false
      end,
      hash = function(state)
        local key = given(state)
        return key == nil and M or key -- nil is a state, too, but no key
      end,
      show = model.show or function(state)
        return (select(2, pcall(values.show, state)))
      end,
    }
  end
end

return M
