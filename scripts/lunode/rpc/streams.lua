-- Streams: chunks (strings) between a caller and a handler, in both directions, while the call is under way. Each
-- side permits the other to send so many bytes (its window) and more as it takes chunks out: so a slow receiver costs
-- a window, and holds its sender back.
--
-- A wait here ends when the other side moves, or with ETIMEDOUT when it has not for `timeout` seconds.

local calls = require "lunode.rpc.calls"
local errors = require "lunode.rpc.errors"
local list = require "lunode.task.list"
local scheduler = require "lunode.task.scheduler"
local sync = require "lunode.task.sync"

local M = {}

-- A chunk counts with so much more than its bytes: empty ones are not free.
local OVERHEAD = 32

---@class lunode.rpc.stream
---@field private connection lunode.rpc.connection
---@field private id integer
---@field private timeout number
---@field private caller boolean       which side we are
---@field private credit integer       bytes that we may send
---@field private limit integer        of one chunk: their window; 0 while unknown
---@field private sender table|false   the task that waits to send
---@field private finished boolean     we send no more
---@field private window integer       what we permit
---@field private granted integer      bytes that they may still send
---@field private open boolean         we have permitted something
---@field private buffer table         chunks, from `first` to `last`
---@field private first integer
---@field private last integer
---@field private freed integer        bytes taken out, and not permitted anew
---@field private receiver table|false the task that waits for a chunk
---@field private ended boolean        they send no more
---@field private moves integer        chunks and permits that have come
---@field private discards boolean     nobody wants chunks any more
---@field private failure lunode.rpc.error|false
---@field private outcome lunode.task.event  the result, or the error, of the call
---@field private call lunode.rpc.call|false
local methods = {}
local metatable = { __index = methods, __name = "lunode.rpc.stream" }

---@param connection lunode.rpc.connection
---@param id integer
---@param caller boolean
---@param window integer
---@param timeout number
---@return lunode.rpc.stream
function M.new(connection, id, caller, window, timeout)
  return setmetatable({
    connection = connection,
    id = id,
    timeout = timeout,
    caller = caller,
    credit = 0,
    limit = 0,
    sender = false,
    finished = false,
    window = window,
    granted = 0,
    open = false,
    buffer = {},
    first = 1,
    last = 0,
    freed = 0,
    receiver = false,
    ended = false,
    discards = false,
    failure = false,
    outcome = sync.event(),
    moves = 0,
    call = false,
  }, metatable)
end

local function tell(self, verb, value)
  local connection = self.connection
  if not connection.closed then
    connection:send_notification("$/" .. verb, { self.id, value })
  end
end

local function wake(self, who)
  local task = self[who]
  if task then
    self[who] = false
    list.remove(task) -- a sender may wait for the queue
    scheduler.wake(task, true)
  end
end

local function leave_receiver(task)
  task.object.receiver = false
end

local function leave_sender(task)
  task.object.sender = false
  list.remove(task)
end

-- Waits until the other side moves; false when it does not in time.
local function wait(self, who, leave)
  local task = scheduler.current()
  self[who] = task
  task.object = self
  scheduler.arm(task, self.timeout)
  local value = scheduler.park(task, leave)
  task.object = false
  return value ~= scheduler.TIMED_OUT
end

local function timed_out(self)
  local message = ("the other side of the stream has not moved for %.3g s"):format(self.timeout)
  return nil, errors.indefinite("ETIMEDOUT", message)
end

local function closed(self)
  return nil, self.failure or errors.definite("EPIPE", "the stream has ended")
end

-- ---------------------------------------------------------------- sending

local function cannot_send(self)
  return self.failure or self.finished or self.outcome:is_resolved()
end

---Sends a chunk, and waits until it may.
---@param chunk string  at most the other side's window
---@return boolean? ok
---@return lunode.rpc.error? err  "EPIPE": the stream has ended; "EMSGSIZE": the other side takes no chunk as large;
---   "EBUSY": another task is sending
function methods:send(chunk)
  if type(chunk) ~= "string" then
    error(("stream:send: a chunk is a string, got a %s"):format(type(chunk)), 2)
  end
  local task = scheduler.waiter "stream:send"
  if self.sender then
    return nil, errors.definite("EBUSY", "another task is sending")
  end
  local cost, connection = #chunk + OVERHEAD, self.connection
  while not cannot_send(self) and (self.credit < cost or connection.full) do
    if self.limit > 0 and cost > self.limit then
      local most = self.limit - OVERHEAD
      local message = ("a chunk of %d bytes; the other side takes %d at once"):format(#chunk, most)
      return nil, errors.definite("EMSGSIZE", message)
    elseif self.credit >= cost then
      list.append(connection.writers, task)
    end
    if not wait(self, "sender", leave_sender) then
      return timed_out(self)
    end
  end
  if cannot_send(self) then
    return closed(self)
  end
  self.credit = self.credit - cost
  tell(self, self.caller and "up" or "down", chunk)
  return true
end

---Says that we send no more; to receive goes on.
function methods:finish()
  if not self.finished and not cannot_send(self) then
    tell(self, self.caller and "up_end" or "down_end")
  end
  self.finished = true
end

---For the connection: the other side permits so many bytes more.
function methods:on_credit(bytes)
  if self.limit == 0 then
    self.limit = bytes
  end
  self.credit = bytes < self.limit - self.credit and self.credit + bytes or self.limit -- no sum that could wrap
  self.moves = self.moves + 1
  wake(self, "sender")
end

---For the connection: its queue has drained.
function M.on_writable(connection)
  local task = list.take(connection.writers)
  while task do
    local stream = task.object
    stream.sender = false
    scheduler.wake(task, true)
    task = list.take(connection.writers)
  end
end

-- ---------------------------------------------------------------- receiving

local function permit(self, bytes)
  self.granted = self.granted + bytes
  tell(self, self.caller and "down_credit" or "up_credit", bytes)
end

-- A chunk has been taken out.
local function free(self, chunk)
  self.freed = self.freed + #chunk + OVERHEAD
  if self.freed * 2 >= self.window and not self.ended and not self.failure then
    permit(self, self.freed)
    self.freed = 0
  end
end

local function take(self)
  local chunk = self.buffer[self.first]
  self.buffer[self.first] = nil
  self.first = self.first + 1
  free(self, chunk)
  return chunk
end

---Waits for the next chunk.
---@return string? chunk  nil and no error: the other side has sent all
---@return lunode.rpc.error? err
function methods:receive()
  scheduler.waiter "stream:receive"
  if self.receiver then
    return nil, errors.definite("EBUSY", "another task is receiving")
  end
  while true do
    if self.first <= self.last then
      return take(self)
    elseif self.failure then
      return nil, self.failure
    elseif self.ended then
      return nil
    end
    if not self.open then
      self.open = true
      permit(self, self.window)
    end
    if not wait(self, "receiver", leave_receiver) then
      return timed_out(self)
    end
  end
end

local function next_chunk(self)
  local chunk, err = self:receive()
  if err then
    error(err, 0)
  end
  return chunk
end

---The chunks as they come: `for chunk in stream:chunks() do`. Raises where the stream does not end in good order.
function methods:chunks()
  return next_chunk, self
end

---For the connection: a chunk has come. False where it was not permitted.
function methods:on_chunk(chunk)
  local cost = type(chunk) == "string" and #chunk + OVERHEAD
  if not cost or cost > self.granted then
    return false
  end
  self.granted = self.granted - cost
  self.moves = self.moves + 1
  if self.discards or self.failure then
    free(self, chunk)
    return true
  end
  if self.first > self.last then
    self.first, self.last = 1, 0
  end
  self.last = self.last + 1
  self.buffer[self.last] = chunk
  wake(self, "receiver")
  return true
end

---For the connection: the other side sends no more.
function methods:on_end()
  self.ended = true
  wake(self, "receiver")
end

-- ---------------------------------------------------------------- the end

---The call has ended, with a result or an error.
function methods:on_result(result, err)
  self.ended = true
  if err and not self.caller then
    self.failure = self.failure or errors.definite("EPIPE", "the stream has ended")
  elseif err then
    self.failure = self.failure or err
  end
  self.outcome:resolve(result, err)
  wake(self, "sender")
  wake(self, "receiver")
end

---It cannot go on.
---@param err lunode.rpc.error
function methods:lose(err)
  if not self.outcome:is_resolved() then
    self.failure = self.failure or err
    self.outcome:resolve(nil, err)
  end
  wake(self, "sender")
  wake(self, "receiver")
end

---The connection is gone.
function M.lose(connection, failure)
  for _, map in ipairs { "outgoing", "incoming" } do
    local ids = {}
    for id in pairs(connection[map]) do
      ids[#ids + 1] = id
    end
    table.sort(ids)
    for _, id in ipairs(ids) do
      connection[map][id]:lose(failure)
      connection[map][id] = nil
    end
  end
end

---Waits for what the handler returns.
---@return any result, lunode.rpc.error? err
function methods:result()
  scheduler.waiter "stream:result"
  while true do
    local moves = self.moves
    local result, err = self.outcome:wait(self.timeout)
    if self.outcome:is_resolved() then
      return result, err
    elseif self.moves == moves then
      return timed_out(self)
    end
  end
end

---Says that we send no more, drops what still comes, and waits for what the handler returns.
---@return any result, lunode.rpc.error? err
function methods:close()
  self:finish()
  self.discards = true
  while self.first <= self.last do
    take(self)
  end
  if not self.open and not self.outcome:is_resolved() then
    self.open = true
    permit(self, self.window)
  end
  return self:result()
end

---Gives up the call: the handler is interrupted.
---@param reason? string
function methods:cancel(reason)
  if self.outcome:is_resolved() then
    return
  end
  local message = reason == nil and "the stream was cancelled" or "the stream was cancelled: " .. tostring(reason)
  self.call.done = true
  self.connection:abandon(self.call)
  self:lose(errors.indefinite("ECANCELED", message))
end

function metatable:__close()
  if self.caller then
    self:cancel "its block has ended"
  end
end

-- ---------------------------------------------------------------- opening

local function check_options(opts, defaults, what)
  if opts == nil then
    return defaults.window, defaults.timeout
  elseif type(opts) ~= "table" then
    error(("%s: options must be a table, got a %s"):format(what, type(opts)), 3)
  end
  local window, timeout = opts.window or defaults.window, opts.timeout or defaults.timeout
  if math.type(window) ~= "integer" or window < 1024 then
    error(("%s: window must be an integer from 1024: bytes; got %s"):format(what, tostring(window)), 3)
  elseif type(timeout) ~= "number" or not (timeout > 0 and timeout < math.huge) then
    error(("%s: timeout must be a positive, finite number of seconds, got %s"):format(what, tostring(timeout)), 3)
  end
  return window, timeout
end

---Opens a stream to a handler of the other side's, in a task.
---@param connection lunode.rpc.connection
---@param name string
---@param args any[]?
---@param opts? {timeout: number?, window: integer?}  seconds that the other side may do nothing; bytes
---@param what string
---@return lunode.rpc.stream? stream
---@return lunode.rpc.error? err
function M.open(connection, name, args, opts, what)
  calls.check_method(name, args, what)
  local window, timeout = check_options(opts, connection.options, what)
  scheduler.waiter(what)
  local greeted = connection.greeted
  if not greeted:is_resolved() then
    greeted:wait(timeout)
    if not greeted:is_resolved() then
      return nil, errors.definite("ETIMEDOUT", name .. " was not sent in time: the other side does not answer")
    end
  end
  if not connection.lunode and not connection.closed then
    return nil, errors.definite("ENOTSUP", "streams need a peer that is lunode, too")
  end
  local stream = M.new(connection, 0, true, window, timeout)
  local call = calls.new("$/open", { name, window, calls.params(args) }, math.huge)
  call.owner, call.stream, stream.call = connection, stream, call
  local refused = calls.submit(connection, call)
  if refused then
    return nil, refused
  end
  stream.id, stream.open, stream.granted = call.id, true, window
  connection.outgoing[call.id] = stream
  return stream
end

return M
