-- Calls of ours: what is checked of them, who waits for them, and how they end. Does not know how they are sent.
--
-- An owner (a connection, or a peer) has `options.timeout` and
--   submit(call) → error?   takes the call, or refuses it; may raise what cannot be encoded
--   abandon(call)           nobody waits for it any more

local errors = require "lunode.rpc.errors"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local scheduler = require "lunode.task.scheduler"

local M = {}

local NO_ARGS = msgpack.array {}

---@class lunode.rpc.call
---@field id integer
---@field name string
---@field params any[]|false    until they are encoded
---@field deadline number       when it ends by itself, as loop.now() counts
---@field until_ number         that, or the deadline of the task, if that is before
---@field tells boolean         the other side has to be told of it
---@field owner table|false
---@field connection lunode.rpc.connection|false  on which it was sent
---@field bytes string|false    the request, while it waits for a connection
---@field task table|false      that waits; it has the call as its `object`
---@field callback function|false
---@field stream lunode.rpc.stream|false
---@field result any
---@field err lunode.rpc.error?
---@field done boolean
local methods = {}
local metatable = { __index = methods, __name = "lunode.rpc.call" }

---@return lunode.rpc.call
function M.new(name, params, deadline)
  return setmetatable({
    id = 0,
    name = name,
    params = params,
    deadline = deadline,
    until_ = deadline,
    tells = false,
    owner = false,
    connection = false,
    bytes = false,
    task = false,
    callback = false,
    stream = false,
    result = nil,
    err = nil,
    done = false,
    list = false, -- of calls that wait for a connection
    next = false,
    prev = false,
  }, metatable)
end

---Gives up the call: its callback will not be called.
function methods:cancel()
  if not self.done then
    self.done = true
    self.owner:abandon(self)
  end
end

-- ---------------------------------------------------------------- what callers give

---Raises at the caller's caller.
function M.check_method(name, args, what)
  if type(name) ~= "string" or name == "" then
    error(("%s: the name of a method is needed, got %s"):format(what, tostring(name)), 3)
  elseif args ~= nil and (type(args) ~= "table" or #args == 0 and next(args) ~= nil and not args.n) then
    local kind = type(args) == "table" and "map" or type(args)
    error(("%s: arguments are a list, as in {1, 2}, got a %s"):format(what, kind), 3)
  end
end

---The array of arguments. With holes they need `n`, as table.pack has it.
function M.params(args)
  if args == nil then
    return NO_ARGS
  elseif args.n == nil then
    return args
  end
  return msgpack.array(table.move(args, 1, args.n, 1, { n = args.n }))
end

local function check_options(opts, what)
  if type(opts) ~= "table" then
    error(("%s: options must be a table, got a %s"):format(what, type(opts)), 3)
  end
  local timeout, callback = opts.timeout, opts.callback
  if timeout ~= nil and not (type(timeout) == "number" and timeout >= 0 and timeout < math.huge) then
    error(("%s: timeout must be finite, in seconds, and not negative, got %s"):format(what, tostring(timeout)), 3)
  elseif callback ~= nil and type(callback) ~= "function" then
    error(("%s: callback must be a function, got a %s"):format(what, type(callback)), 3)
  end
  return timeout, callback
end

-- ---------------------------------------------------------------- the end of a call

local function run_callback(call)
  local ok, traceback = xpcall(call.callback, debug.traceback, call.result, call.err)
  if not ok then
    loop.report(tostring(traceback))
  end
end

---Ends the call, once.
---@param call lunode.rpc.call
---@param result any
---@param err lunode.rpc.error?
---@param now? boolean  from a callback of the loop's, where tasks and callbacks may run at once
function M.complete(call, result, err, now)
  if call.done then
    return
  end
  call.done, call.result, call.err, call.bytes = true, result, err, false
  local task = call.task
  if task then
    call.task = false
    if now then
      return scheduler.wake_now(task, true)
    end
    return scheduler.wake(task, true)
  elseif call.stream then
    return call.stream:on_result(result, err)
  elseif call.callback then
    if now then
      return run_callback(call)
    end
    loop.defer(function()
      run_callback(call)
    end)
  end
end

---Its time is over.
function M.expire(owner, call)
  local sent = call.connection and true or false
  local message = sent and ("no answer to %s in time"):format(call.name)
    or ("%s was not sent in time: %s"):format(call.name, owner.trouble or "there is no connection")
  if sent then
    owner.calls.entries[call.id] = call -- so that it is this one's to abandon
    owner:abandon(call)
  end
  M.complete(call, nil, (sent and errors.indefinite or errors.definite)("ETIMEDOUT", message))
end

-- ---------------------------------------------------------------- calling

-- The task's wait was cut short.
local function leave(task)
  local call = task.object
  task.object, call.task, call.done = false, false, true
  call.owner:abandon(call)
end

---Has the owner send it. What cannot be encoded is its caller's caller's mistake.
---@return lunode.rpc.error? refused
function M.submit(owner, call)
  local ok, refused = pcall(owner.submit, owner, call)
  if not ok then
    error(type(refused) == "string" and refused:gsub("^[^\n]-:%d+: ", "") or refused, 3)
  end
  return refused
end
local submit = M.submit

local function call_back(owner, call, callback)
  call.callback = callback
  local refused = submit(owner, call)
  if refused then
    M.complete(call, nil, refused)
  end
  return call
end

---@param owner table
---@param name string
---@param args any[]?
---@param opts table?
---@param what string
function M.perform(owner, name, args, opts, what)
  M.check_method(name, args, what)
  local timeout, callback = owner.options.timeout, nil
  if opts ~= nil then
    local given
    given, callback = check_options(opts, what)
    timeout = given or timeout
  end
  local call = M.new(name, args == nil and NO_ARGS or M.params(args), loop.now() + timeout)
  call.owner = owner
  call.tells = timeout ~= owner.options.timeout
  if callback then
    return call_back(owner, call, callback)
  end
  local task = scheduler.waiter(what)
  local scope = task.scope
  if scope and scope.deadline < call.deadline then
    call.until_, call.tells = scope.deadline, true
  end
  local refused = submit(owner, call)
  if refused then
    return nil, refused
  end
  if not call.done then -- on_state may have closed the peer
    call.task, task.object = task, call
    scheduler.park(task, leave)
    task.object = false
  end
  if call.err then
    return nil, call.err
  end
  return call.result
end

return M
