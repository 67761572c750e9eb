-- What tasks wait for beside time and sockets: events, semaphores, channels. Not between processes, nor threads.
--
-- Each is fair: first come, first served. What need not wait (resolve, release, try_…, close) can be called from
-- anywhere, callbacks included.

local list = require "lunode.task.list"
local scheduler = require "lunode.task.scheduler"

local TIMED_OUT = scheduler.TIMED_OUT
local arm, park, wake, waiter = scheduler.arm, scheduler.park, scheduler.wake, scheduler.waiter
local check_seconds = scheduler.check_seconds
local remove, append, take = list.remove, list.append, list.take

local M = {}

local function timed_out()
  return nil, "timed out", "ETIMEDOUT"
end

-- Waits in the list for a value, or TIMED_OUT.
local function wait_in(task, waiters, seconds, leave)
  if seconds then
    arm(task, seconds)
  end
  append(waiters, task)
  return park(task, leave or remove)
end

-- ---------------------------------------------------------------- events

---Something that happens once; any number of tasks wait for it.
---@class lunode.task.event
---@field private values table|false
---@field private first table|false
---@field private last table|false
local event_methods = {}
local event_metatable = { __index = event_methods, __name = "lunode.task.event" }
M.event_metatable = event_metatable

---@return lunode.task.event
function M.event()
  return setmetatable({ values = false, first = false, last = false }, event_metatable)
end

---Says that it has happened, and hands the values to all who wait or will wait. The first time counts.
---@param ... any
---@return boolean first
function event_methods:resolve(...)
  if self.values then
    return false
  end
  self.values = table.pack(...)
  local node = take(self)
  while node do
    if node.notify then
      node:notify(self)
    else
      wake(node, true)
    end
    node = take(self)
  end
  return true
end

---Waits until it has happened.
---@param seconds? number
---@return any ...  what `resolve` was given; or nil, "timed out", "ETIMEDOUT"
function event_methods:wait(seconds)
  if seconds then
    check_seconds(seconds, "event:wait")
  end
  local task = waiter "event:wait"
  if not self.values and wait_in(task, self, seconds) == TIMED_OUT then
    return timed_out()
  end
  return table.unpack(self.values, 1, self.values.n)
end

---@return boolean
function event_methods:is_resolved()
  return self.values ~= false
end

-- ---------------------------------------------------------------- semaphores

---A number of permits.
---@class lunode.task.semaphore
---@field private free integer
---@field private size integer
---@field private first table|false
---@field private last table|false
local semaphore_methods = {}
local semaphore_metatable = { __index = semaphore_methods, __name = "lunode.task.semaphore" }

---@param permits integer  at least 1
---@return lunode.task.semaphore
function M.semaphore(permits)
  if math.type(permits) ~= "integer" or permits < 1 then
    error(("task.semaphore: the number of permits must be an integer from 1, got %s"):format(tostring(permits)), 2)
  end
  return setmetatable({ free = permits, size = permits, first = false, last = false }, semaphore_metatable)
end

---Takes a permit, and waits until there is one. `local permit <close> = s:acquire()` releases it at the end of the
---block, however that ends; then do not call `release`.
---@param seconds? number
---@return lunode.task.semaphore? permit
---@return string? err, lunode.code? code  nil, "timed out", "ETIMEDOUT"
function semaphore_methods:acquire(seconds)
  if seconds then
    check_seconds(seconds, "semaphore:acquire")
  end
  local task = waiter "semaphore:acquire"
  if self.free > 0 then
    self.free = self.free - 1
  elseif wait_in(task, self, seconds) == TIMED_OUT then
    return timed_out()
  end
  return self
end

---Takes a permit if there is one.
---@return lunode.task.semaphore? permit
function semaphore_methods:try_acquire()
  if self.free > 0 then
    self.free = self.free - 1
    return self
  end
end

---Gives a permit back: to the task that has waited longest, if any does.
function semaphore_methods:release()
  local node = take(self)
  if node then
    return wake(node, true)
  end
  if self.free == self.size then
    error("the semaphore is released more often than it was acquired", 2)
  end
  self.free = self.free + 1
end

---@return integer permits  that nobody has
function semaphore_methods:available()
  return self.free
end

function semaphore_metatable:__close()
  self:release()
end

-- ---------------------------------------------------------------- channels

---A bounded queue of values.
---@class lunode.task.channel
---@field private capacity integer
---@field private items table     those from `at` on
---@field private at integer      where the first item is, from 0
---@field private count integer
---@field private closed boolean
---@field private senders table   tasks, each with its value in `object`
---@field private receivers table
local channel_methods = {}
local channel_metatable = { __index = channel_methods, __name = "lunode.task.channel" }

local CLOSED = setmetatable({}, { __name = "closed" })

---@param capacity? integer  values that may lie in it; 0 (the default): each sender waits for its receiver
---@return lunode.task.channel
function M.channel(capacity)
  capacity = capacity or 0
  if math.type(capacity) ~= "integer" or capacity < 0 then
    error(("task.channel: capacity must be an integer and not negative, got %s"):format(tostring(capacity)), 2)
  end
  return setmetatable({
    capacity = capacity,
    items = {},
    at = 0,
    count = 0,
    closed = false,
    senders = { first = false, last = false },
    receivers = { first = false, last = false },
  }, channel_metatable)
end

-- A window that slides through a table: it costs what lies in it, however large the capacity.
local function put(self, value)
  self.items[self.at + self.count] = value
  self.count = self.count + 1
end

local function get(self)
  local items, at = self.items, self.at
  local value = items[at]
  items[at] = nil
  self.count = self.count - 1
  self.at = self.count > 0 and at + 1 or 0
  return value
end

local function check_value(value, what)
  if value == nil then
    error(what .. ": nil cannot be sent; to end a channel, close it", 3)
  end
end

-- True, CLOSED, or nothing where it has to wait.
local function offer(self, value)
  if self.closed then
    return CLOSED
  end
  local receiver = take(self.receivers)
  if receiver then
    wake(receiver, value)
    return true
  end
  if self.count < self.capacity then
    put(self, value)
    return true
  end
end

-- A value, CLOSED, or nil where there is none.
local function fetch(self)
  local sender = self.senders.first
  if self.count > 0 then
    local value = get(self)
    if sender then
      remove(sender)
      put(self, sender.object)
      wake(sender, true)
    end
    return value
  end
  if sender then
    remove(sender)
    wake(sender, true)
    return sender.object
  end
  return self.closed and CLOSED or nil
end

local function leave_senders(task)
  remove(task)
  task.object = false
end

local function closed_for_sending()
  return nil, "the channel is closed", "EPIPE"
end

local function closed_for_receiving()
  return nil, "the channel is closed", "EOF"
end

---Hands a value over, and waits while the channel is full. Cut short, it has not been handed over.
---@param value any  not nil
---@param seconds? number
---@return boolean? ok
---@return string? err, lunode.code? code  "EPIPE": closed; "ETIMEDOUT"
function channel_methods:send(value, seconds)
  check_value(value, "channel:send")
  if seconds then
    check_seconds(seconds, "channel:send")
  end
  local task = waiter "channel:send"
  local result = offer(self, value)
  if result == nil then
    task.object = value
    result = wait_in(task, self.senders, seconds, leave_senders)
    task.object = false
  end
  if result == CLOSED then
    return closed_for_sending()
  elseif result == TIMED_OUT then
    return timed_out()
  end
  return true
end

---Hands a value over if that needs no waiting.
---@param value any  not nil
---@return boolean? ok
---@return string? err, lunode.code? code  "EPIPE": closed; "EAGAIN": full
function channel_methods:try_send(value)
  check_value(value, "channel:try_send")
  local result = offer(self, value)
  if result == CLOSED then
    return closed_for_sending()
  elseif result == nil then
    return nil, "the channel is full", "EAGAIN"
  end
  return true
end

---Takes the next value, and waits until there is one. What was sent before `close` still comes. Values are handed out
---in the order they were sent in; with several receivers, each sees its own in that order.
---@param seconds? number
---@return any value
---@return string? err, lunode.code? code  "EOF": closed, and nothing is left; "ETIMEDOUT"
function channel_methods:receive(seconds)
  if seconds then
    check_seconds(seconds, "channel:receive")
  end
  local task = waiter "channel:receive"
  local value = fetch(self)
  if value == nil then
    value = wait_in(task, self.receivers, seconds)
  end
  if value == CLOSED then
    return closed_for_receiving()
  elseif value == TIMED_OUT then
    return timed_out()
  end
  return value
end

---Takes the next value if there is one.
---@return any value
---@return string? err, lunode.code? code  "EOF": closed, and nothing is left; "EAGAIN": empty
function channel_methods:try_receive()
  local value = fetch(self)
  if value == CLOSED then
    return closed_for_receiving()
  elseif value == nil then
    return nil, "the channel is empty", "EAGAIN"
  end
  return value
end

---The values as they come, until the channel is closed: `for value in channel:values() do`.
---@return fun(channel: lunode.task.channel): any
---@return lunode.task.channel
function channel_methods:values()
  return function(channel)
    local task = waiter "channel:values"
    local value = fetch(channel)
    if value == nil then
      value = wait_in(task, channel.receivers)
    end
    if value ~= CLOSED then
      return value
    end
  end, self
end

---Ends the channel. Those who wait to send are refused; what lies in it can still be received.
function channel_methods:close()
  if self.closed then
    return
  end
  self.closed = true
  for _, waiters in ipairs { self.senders, self.receivers } do
    local task = take(waiters)
    while task do
      wake(task, CLOSED)
      task = take(waiters)
    end
  end
end

---@return boolean
function channel_methods:is_closed()
  return self.closed
end

---@return integer values  that lie in it
function channel_methods:size()
  return self.count
end

function channel_metatable:__close()
  self:close()
end

return M
