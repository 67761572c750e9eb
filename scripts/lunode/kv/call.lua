-- Runs a command as a client's is run, for code inside of the node: checks, the write path, the reply. In a task: it
-- waits until what the command wrote is committed. Not for commands about the connection itself, as there is none.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local resp = require "lunode.resp"
local task = require "lunode.task"

local M = {}

local NEEDS_CONNECTION = resp.error("ERR this command is about a connection, and there is none here")

local OF_CONNECTIONS = { connection = true, transactions = true } -- groups

local PROTOCOL = 3

local function find(name, args)
  local entry, refusal = command.entry_for(name, args, command.find)
  if entry and (OF_CONNECTIONS[entry.options.group] or entry.name == "shutdown") then
    return nil, NEEDS_CONNECTION
  end
  return entry, refusal
end

-- What a command that waits knows of its client.
local function waiting_session(node, done)
  return {
    node = node, protocol = PROTOCOL, id = 0, name = "", authenticated = true, waiting = 0,
    wait = function() end,
    quit = function() end,
    answer = function(_, bytes)
      done:resolve(bytes)
    end,
  }
end

local function traceback(err)
  return type(err) == "string" and debug.traceback(err, 2) or err
end

-- The reply's bytes.
local function run_now(node, entry, run)
  local ok, result = xpcall(function()
    return resp.encode(run(), PROTOCOL)
  end, traceback)
  if ok then
    return result
  elseif entry.write then
    node.writes:undo()
  end
  return resp.encode((errors.answer_for(entry, result)), PROTOCOL)
end

-- With "always" nothing is told before it is on disk: neither what was written, nor what was read of others' writes.
local function settle(node)
  task.yield() -- an entry is written at the end of its turn
  local replica = node.replica
  if replica.sync == "always" and not node.closed and replica.log:synced() < replica.log:last() then
    local done = task.event()
    if replica.log:sync(function() done:resolve() end) then -- where it fails, the node does
      done:wait()
    end
  end
end

local function read(node, entry, args)
  local ctx = node.ctx
  local bytes = run_now(node, entry, function()
    ctx.session = nil
    if entry.variadic then
      return entry.run(ctx, args)
    end
    return entry.run(ctx, table.unpack(args))
  end)
  if node.replica.sync == "always" then
    settle(node)
  end
  return bytes
end

-- The way of those that may have to wait.
local function write(node, entry, name, args)
  local path = node.writes
  if path:ready() then
    node.ctx.session = nil
    local bytes = run_now(node, entry, function()
      return (path:run(entry, name, args))
    end)
    settle(node)
    return bytes
  end
  local done = task.event()
  path:submit(waiting_session(node, done), entry, name, args)
  return done:wait()
end

---Runs a command, and waits for its reply.
---@param node lunode.kv.node
---@param name string
---@param ... string|number
---@return any reply  as resp.decode gives it; an error as `{err = "ERR …"}`
function M.call(node, name, ...)
  local args
  name, args = command.words(name, ...)
  local entry, refusal = find(name, args)
  local bytes
  if not entry then
    bytes = resp.encode(refusal)
  elseif node.closing or node.failed then
    error("call: the node is ending", 2)
  else
    if not node.ctx.now then
      node:read_clock()
    end
    local waits = entry.write or node.cluster -- there, who reads asks for a read index first
    bytes = waits and write(node, entry, name, args) or read(node, entry, args)
  end
  if node.failed then
    error("call: the node has stopped: " .. node.failed, 2)
  end
  return (resp.decode(bytes))
end

return M
