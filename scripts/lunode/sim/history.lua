-- Records what clients did to a system and what they were told, and checks whether that is linearizable: could each
-- operation have taken effect at one moment between its invocation and its completion? Neither runs operations nor
-- knows the system.
--
--   local history = require "lunode.sim.history"
--   local h = history.new { world = world }            -- operations are in the world's trace, too
--
--   local op = h:invoke("client 1", "write", "x", 1)   -- process, operation, key, arguments
--   h:ok(op)                                           -- or h:ok(op, result); h:fail(op); h:unknown(op)
--   h:attempt("client 1", "read", "x", {}, function() return peer:call("read", { "x" }) end)
--
--   assert(h:check("register"))
--
-- Models: "register" (read, write, cas), "set" (add, remove, contains, read), "counter" (add, read), "list" (append,
-- read), or one of your own. Each key is checked by itself: linearizability is local (Herlihy and Wing, 1990).

local decide = require "lunode.sim.history.decide"
local diagram = require "lunode.sim.history.diagram"
local explain = require "lunode.sim.history.explain"
local models = require "lunode.sim.history.models"
local values = require "lunode.sim.history.values"

local M = {}

local STEPS = 2000000 -- of a model, for each key
local CONFIGURATIONS = 500000 -- that are remembered, for each key

---@class lunode.sim.history.operation
---@field process string|integer
---@field name string
---@field key any
---@field args any[]          n of them
---@field status "open"|"ok"|"failed"|"unknown"
---@field result any
---@field called_at number    seconds
---@field returned_at number?
---@field call integer        place among all events
---@field ret integer?

---@class lunode.sim.history
---@field operations lunode.sim.history.operation[]  in the order of invocation
---@field private now (fun(): number)?
---@field private world lunode.sim.world?
---@field private events integer
---@field private last number        the time of the last event
---@field private busy table<any, lunode.sim.history.operation>  by process
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.history" }

---@class lunode.sim.history.new_options
---@field world? lunode.sim.world  its clock is the clock, and its trace shows the operations
---@field now? fun(): number       a clock, in seconds; without any, events are numbered

---@param options? lunode.sim.history.new_options
---@return lunode.sim.history
function M.new(options)
  local world, now = options and options.world, options and options.now
  if now ~= nil and type(now) ~= "function" then
    error("history.new: `now` must be a function that returns seconds", 2)
  elseif world ~= nil and type(world.record) ~= "function" then
    error("history.new: `world` must be a world, as sim.new makes them", 2)
  end
  if world then
    now = function()
      return world.now
    end
  end
  return setmetatable({
    operations = {},
    now = now,
    world = world,
    events = 0,
    last = -math.huge,
    busy = {},
  }, metatable)
end

-- ---------------------------------------------------------------- recording

local function tick(self)
  self.events = self.events + 1
  local at = self.now and self.now() or self.events
  if type(at) ~= "number" or at ~= at or at < self.last then
    error(("the clock of the history went from %s to %s: record events in the order of time"):format(
      self.last, tostring(at)), 3)
  end
  self.last = at
  return self.events, at
end

-- Values that cannot be shown are told by `check`, with the operation's name.
local function note(self, op, kind, show)
  local world = self.world
  if world then
    local fine, text = pcall(show, op)
    world:record { t = world.now, kind = kind, node = tostring(op.process), text = fine and text or op.name }
  end
end

---An operation begins. Events are to be recorded in the order in which they happen.
---@param process string|integer  who calls; it does one operation at a time
---@param name string             what the model calls it
---@param key any                 what it is done to; nil where there is one thing only
---@param ... any                 arguments
---@return lunode.sim.history.operation op
function methods:invoke(process, name, key, ...)
  if type(process) ~= "string" and math.type(process) ~= "integer" then
    error("a process is a name or an integer, not a " .. type(process), 2)
  elseif type(name) ~= "string" then
    error("the name of an operation is a string, not a " .. type(name), 2)
  end
  local busy = self.busy[process]
  if busy then
    error(("%s calls %s while its %s has not ended: complete that (ok, fail, unknown) or use a name of its own"):format(
      values.name(process), values.name(name), values.name(busy.name)), 2)
  end
  local place, at = tick(self)
  local op = {
    process = process,
    name = name,
    key = key,
    args = table.pack(...),
    status = "open",
    result = nil,
    called_at = at,
    returned_at = nil,
    call = place,
    ret = nil,
  }
  self.busy[process] = op
  self.operations[#self.operations + 1] = op
  note(self, op, "invoke", diagram.call)
  return op
end

local function complete(self, op, status, result)
  if type(op) ~= "table" or self.busy[op.process] ~= op then
    error("there is no such operation under way: each is completed once, in the history that began it", 3)
  end
  op.ret, op.returned_at = tick(self)
  op.status, op.result = status, result
  self.busy[op.process] = nil
  note(self, op, status, diagram.label)
end

---It was done, and this is what the caller was told.
---@param op lunode.sim.history.operation
---@param result any
function methods:ok(op, result)
  complete(self, op, "ok", result)
end

---It was certainly not done, and never will be.
---@param op lunode.sim.history.operation
function methods:fail(op)
  complete(self, op, "failed", nil)
end

---It may have been done, may still be, or never: a timeout, a lost connection. Operations that nothing completes count
---as such.
---@param op lunode.sim.history.operation
function methods:unknown(op)
  complete(self, op, "unknown", nil)
end

---Records what a function does: `ok` with what it returns; where it returns nil and an error, `fail` if its `definite`
---is true (as lunode.rpc has it), `unknown` else; `unknown`, too, where it raises.
---@param process string|integer
---@param name string
---@param key any
---@param args any[]
---@param fn fun(): any, any
---@return any result, any err  of the function
function methods:attempt(process, name, key, args, fn)
  local op = self:invoke(process, name, key, table.unpack(args, 1, args.n or #args))
  local fine, result, err = xpcall(fn, debug.traceback)
  if not fine then
    self:unknown(op)
    error(result, 0)
  elseif err == nil then
    self:ok(op, result)
  elseif type(err) == "table" and err.definite then
    self:fail(op)
  else
    self:unknown(op)
  end
  return result, err
end

-- ---------------------------------------------------------------- checking

---@class lunode.sim.history.options
---@field initial? any          the value before all operations (register: nil, counter: 0, set and list: {})
---@field steps? integer        of the model, for each key, before the check gives up (default 2,000,000)
---@field configurations? integer  that it remembers (default 500,000: some hundred bytes each)

---@class lunode.sim.history.model
---@field init any              the state before all operations, or a function that makes it
---@field step fun(state: any, op: table): boolean, any  is `op` (name, args, result, known) legal here? And the next
---  state. Where op.known is false the result is not known: any is legal. It never changes `state`
---@field hash? fun(state: any): any  the same number, string or boolean for equal states; needless where they are such
---@field show? fun(state: any): string
---@field pure? fun(op: table): boolean  does it, with this result, change no state whatever? Makes the check fast

---@class lunode.sim.history.verdict
---@field key any
---@field verdict "linearizable"|"violated"|"undecided"
---@field operations integer
---@field steps integer         of the model

local NAMES = { "register", "set", "counter", "list" }

-- A function that makes an instance for some operations, and one that splits them, if the model has that.
local function model_of(model, options)
  if type(model) == "table" then
    return models.custom(model), nil
  end
  for _, name in ipairs(NAMES) do
    if name == model then
      return function(ops)
        return models[name](options, ops)
      end, models.split[name]
    end
  end
  error(("there is no model %s, only %s, or a table of your own"):format(
    values.show(model), table.concat(NAMES, ", ")), 0)
end

local function by_key(operations)
  local intern, groups, group_of = values.interner(), {}, {}
  for _, op in ipairs(operations) do
    local id = intern(op.key)
    if not group_of[id] then
      group_of[id] = { key = op.key }
      groups[#groups + 1] = group_of[id]
    end
    table.insert(group_of[id], op)
  end
  return groups
end

local function title(what, group)
  local key = group.key ~= nil and "key " .. values.show(group.key) .. " is " or ""
  return ("%s%s (%d operations)"):format(key, what, #group)
end

local function not_decided(group, result, budget)
  return title("undecided", group) .. (": the check gave up after %d steps; its limits are %d steps and %d "):format(
    result.steps, budget.steps, budget.configurations)
    .. "configurations.\nGive it more (`steps`, `configurations`), or make it easier: fewer processes, fewer "
    .. "operations with an unknown result, more keys.\n"
end

local function check(self, model, options)
  local make, split = model_of(model, options)
  local budget = { steps = options.steps or STEPS, configurations = options.configurations or CONFIGURATIONS }
  local verdicts, texts, worst, code = {}, {}, nil, nil
  for i, group in ipairs(by_key(self.operations)) do
    local result = decide.key(group, make, split, budget)
    verdicts[i] = { key = group.key, verdict = result.verdict, operations = #group, steps = result.steps }
    if result.verdict == "violated" then
      if code ~= "EVIOLATED" then
        worst, code = title("not linearizable", group) .. "\n" .. explain.explain(result.failure, budget), "EVIOLATED"
      end
      texts[#texts + 1] = values.show(group.key)
    elseif result.verdict == "undecided" and not code then
      worst, code = not_decided(group, result, budget), "EUNDECIDED"
    end
  end
  if #texts > 1 then
    worst = worst .. ("\nKeys that are not linearizable: %s\n"):format(table.concat(texts, ", "))
  end
  return not code or nil, worst and worst:gsub("\n$", "") or verdicts, code
end

---Is the history linearizable, key by key?
---@param model "register"|"set"|"counter"|"list"|lunode.sim.history.model
---@param options? lunode.sim.history.options
---@return true? ok        nil where some key is not, or where that could not be decided
---@return string|lunode.sim.history.verdict[] why  an explanation for people; where all is well, a list, a key each
---@return "EVIOLATED"|"EUNDECIDED"? code
function methods:check(model, options)
  local fine, ok, why, code = pcall(check, self, model, options or {})
  if not fine then
    error(ok, 2) -- an operation that the model does not know, say
  end
  return ok, why, code
end

return M
