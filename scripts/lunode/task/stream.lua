-- A connection for tasks: reading and writing that look as if they blocked. Knows bytes only, and not how connections
-- come about (lunode.task.endpoint); for decoders in C there are callbacks.
--
-- One task may read while another writes; a second one on the same side gets nil, "busy", "EBUSY". What has arrived and
-- nobody has read is bounded: past `read_limit` the connection is paused until somebody reads.

local buffers = require "lunode.task.buffer"
local scheduler = require "lunode.task.scheduler"

local M = {}

local READ_LIMIT = 64 * 1024
local LINE_LIMIT = 64 * 1024

---@class lunode.task.stream
---@field data any           for the script's own use
---@field conn lunode.conn   its callbacks and its `data` belong to the stream
---@field private buffer lunode.task.buffer
---@field private read_limit integer
---@field private paused boolean
---@field private reader table|false   the task that reads
---@field private want integer|string|false  what it waits for: so many bytes, or these
---@field private want_max integer     and how many it takes at most
---@field private tail string          the last bytes, in which the separator may begin
---@field private writer table|false   the task that waits for the queue to drain
---@field private connector table|false   the task that waits for the connection
---@field private ended boolean        the peer sends no more
---@field private gone boolean         the connection has closed
---@field private shut boolean         we have closed it
---@field private err string|false     why it has closed, where that was not in good order
---@field private code string|false
local methods = {}
local metatable = { __index = methods, __name = "lunode.task.stream" }

---A stream that waits for its connection; that must have `M.callbacks`, and the stream as its `data`.
---@param read_limit? integer
---@return lunode.task.stream
function M.new(read_limit)
  return setmetatable({
    data = nil,
    conn = nil,
    buffer = buffers.new(),
    read_limit = read_limit or READ_LIMIT,
    paused = false,
    reader = false,
    want = false,
    want_max = 0,
    tail = "",
    writer = false,
    connector = false,
    ended = false,
    gone = false,
    shut = false,
    err = false,
    code = false,
  }, metatable)
end

-- ---------------------------------------------------------------- what the connection tells

-- Whether the bytes, which come after those in the buffer, complete what the reader wants.
local function completes(stream, data)
  local want = stream.want
  local size = stream.buffer.size + #data
  if math.type(want) then
    return size >= want
  elseif size > stream.want_max then
    return true -- too many: the reader will say so
  elseif #want == 1 then
    return data:find(want, 1, true)
  end
  local joined = stream.tail .. data
  stream.tail = joined:sub(-(#want - 1))
  return joined:find(want, 1, true)
end

local function on_read(conn, data)
  local stream = conn.data
  local want, buffer = stream.want, stream.buffer
  if want then
    if want == 1 and buffer.size == 0 and #data <= stream.want_max then -- as it is
      stream.want = false
      return scheduler.wake_now(stream.reader, data)
    elseif completes(stream, data) then
      buffer:append(data)
      stream.want = false
      return scheduler.wake_now(stream.reader, true)
    end
  end
  buffer:append(data)
  if not want and buffer.size >= stream.read_limit then
    stream.paused = true
    conn:pause()
  end
end

-- What waits looks again. In a deferred call: in the loop's last phases output has left already.
local function wake_reader(stream)
  if stream.want then
    stream.want = false
    scheduler.wake(stream.reader, true)
  end
end

local function wake_writer(stream)
  local writer = stream.writer
  if writer then
    stream.writer = false
    scheduler.wake(writer, true)
  end
end

local function on_writable(conn)
  wake_writer(conn.data)
end

local function on_end(conn)
  local stream = conn.data
  stream.ended = true
  wake_reader(stream)
end

local function on_close(conn, err, code)
  local stream = conn.data
  stream.gone, stream.err, stream.code = true, err or false, code or false
  wake_reader(stream)
  wake_writer(stream)
end

M.callbacks = { on_read = on_read, on_writable = on_writable, on_end = on_end, on_close = on_close }

-- ---------------------------------------------------------------- misuse

-- Calls a function of C's; misuse is its caller's caller's.
function M.call(fn, ...)
  local ok, result, err, code = pcall(fn, ...)
  if not ok then
    error(type(result) == "string" and result:gsub("^[^\n]-:%d+: ", "") or result, 3)
  end
  return result, err, code
end

function M.check_read_limit(limit, level)
  if limit ~= nil and (math.type(limit) ~= "integer" or limit < 1) then
    error("option 'read_limit' must be an integer from 1: bytes", level + 1)
  end
end

local call, check_read_limit = M.call, M.check_read_limit

-- ---------------------------------------------------------------- reading

local function busy()
  return nil, "busy: another task is at it", "EBUSY"
end

local function leave_reader(task)
  local stream = task.object
  stream.reader, stream.want = false, false
end

-- Waits until the buffer has what is wanted, or no more will come. Bytes that came while there were none are
-- returned instead of being put there first.
local function await(self, task, want, max)
  if self.paused then
    self.paused = false
    self.conn:resume()
  end
  self.want, self.want_max = want, max
  self.tail = type(want) == "string" and #want > 1 and self.buffer:last(#want - 1) or ""
  self.reader = task
  task.object = self
  local data = scheduler.park(task, leave_reader)
  self.reader = false
  task.object = false
  return data
end

-- Takes bytes out, and reads on where there is room for more.
local function take(self, count)
  local bytes = self.buffer:take(count)
  if self.paused and self.buffer.size <= self.read_limit // 2 then
    self.paused = false
    self.conn:resume()
  end
  return bytes
end

-- Whether waiting may bring more.
local function more_may_come(self)
  return not (self.ended or self.gone or self.shut)
end

-- Why no more comes: nil alone at the end of a stream in good order.
local function at_end(self)
  if self.shut then
    return nil, "the stream was closed", "ECANCELED"
  elseif self.err and not self.ended then
    return nil, self.err, self.code
  end
  return nil
end

local function cut_short(self, what)
  local _, err, code = at_end(self)
  if err then
    return nil, err, code
  elseif self.buffer.size == 0 and what == "line" then
    return nil
  end
  return nil, ("the stream ended before the end of the %s"):format(what), "EOF"
end

local function not_open()
  return nil, "the stream is closed", "ENOTCONN"
end

local function check_count(count, least, what)
  if math.type(count) ~= "integer" or count < least then
    error(("%s: a number of bytes from %d is needed, got %s"):format(what, least, tostring(count)), 3)
  end
end

---Waits until there are bytes, and returns those that are there.
---@param n? integer  at most so many (default: all)
---@return string? bytes  nil alone at the end of the stream
---@return string? err, lunode.code? code  "EBUSY", "ECANCELED": closed meanwhile, "ENOTCONN": before, "ECONNRESET", …
function methods:read(n)
  if n then
    check_count(n, 1, "stream:read")
  end
  local task = scheduler.waiter "stream:read"
  if self.reader then
    return busy()
  elseif self.shut then
    return not_open()
  end
  local size = self.buffer.size
  if size == 0 then
    if not more_may_come(self) then
      return at_end(self)
    end
    local data = await(self, task, 1, n or math.maxinteger)
    if data ~= true then
      return data
    end
    size = self.buffer.size
    if size == 0 or self.shut then
      return at_end(self)
    end
  end
  return take(self, n and n < size and n or size)
end

---Waits until there are n bytes. Where the stream ends before, those that came can still be read.
---@param n integer
---@return string? bytes
---@return string? err, lunode.code? code  "EOF", and as `read`
function methods:read_exactly(n)
  check_count(n, 0, "stream:read_exactly")
  local task = scheduler.waiter "stream:read_exactly"
  if self.reader then
    return busy()
  elseif self.shut then
    return not_open()
  end
  if self.buffer.size < n and more_may_come(self) then
    local data = await(self, task, n, n)
    if data ~= true then
      return data
    end
  end
  if self.buffer.size < n or self.shut then
    return cut_short(self, "message")
  end
  return take(self, n)
end

-- What is before the separator, which is taken, too.
local function read_until(self, task, separator, max, what)
  if self.reader then
    return busy()
  elseif self.shut then
    return not_open()
  end
  local found = self.buffer:find(separator)
  if not found and self.buffer.size < max + #separator and more_may_come(self) then
    await(self, task, separator, max + #separator - 1)
    found = self.buffer:find(separator)
  end
  if self.shut then
    return at_end(self)
  elseif found and found <= max then
    return take(self, found + #separator):sub(1, found)
  elseif found or self.buffer.size >= max + #separator then
    return nil, ("the %s is longer than %d bytes"):format(what, max), "EMSGSIZE"
  end
  return cut_short(self, what)
end

---Waits for the separator, and returns what is before it.
---@param separator string  not empty
---@param max? integer  bytes before it (default 64 KiB)
---@return string? bytes
---@return string? err, lunode.code? code  "EMSGSIZE": longer; "EOF": ended before; in both what came can still be read
function methods:read_until(separator, max)
  if type(separator) ~= "string" or separator == "" then
    error("stream:read_until: a separator is needed, a string that is not empty", 2)
  end
  if max then
    check_count(max, 0, "stream:read_until")
  end
  local task = scheduler.waiter "stream:read_until"
  return read_until(self, task, separator, max or LINE_LIMIT, "message")
end

---Waits for a line, and returns it without its "\n" or "\r\n".
---@param max? integer  bytes, a "\r" included (default 64 KiB)
---@return string? line  nil alone at the end of the stream
---@return string? err, lunode.code? code  "EMSGSIZE", "EOF": ended within a line; in both what came can still be read
function methods:read_line(max)
  if max then
    check_count(max, 0, "stream:read_line")
  end
  local task = scheduler.waiter "stream:read_line"
  local line, err, code = read_until(self, task, "\n", max or LINE_LIMIT, "line")
  if line then
    return line:byte(-1) == 13 and line:sub(1, -2) or line
  elseif err then
    return nil, err, code
  end
  return nil
end

-- ---------------------------------------------------------------- writing

local function leave_writer(task)
  task.object.writer = false
end

---Queues bytes, and waits while the queue is above the high watermark until it is below the low one. Cut short in
---waiting, the bytes are queued all the same.
---@param data string|string[]
---@return boolean? ok
---@return string? err, lunode.code? code  "EBUSY": nothing was queued; "EPIPE": after shutdown; "ENOBUFS", …
function methods:write(data)
  local task = scheduler.waiter "stream:write"
  if self.writer then
    return busy()
  elseif self.shut then
    return not_open()
  elseif self.gone and self.err then
    return nil, self.err, self.code
  end
  local room, err, code = call(self.conn.write, self.conn, data)
  if room == nil then
    return nil, err, code
  elseif room then
    return true
  end
  self.writer = task
  task.object = self
  scheduler.park(task, leave_writer)
  task.object = false
  if self.shut then
    return nil, "the stream was closed", "ECANCELED"
  elseif self.gone then
    return nil, self.err or "the connection was closed", self.code or "ECONNRESET"
  end
  return true
end

-- ---------------------------------------------------------------- the rest

---Sends what is queued, then ends our sending side; the peer can go on sending.
function methods:shutdown()
  self.conn:shutdown()
end

local function shut(self)
  self.shut = true
  wake_reader(self)
  wake_writer(self)
end

---Sends what is queued, then closes. Tasks that read or write get nil, …, "ECANCELED".
function methods:close()
  if not self.shut then
    shut(self)
    self.conn:close()
  end
end

---Closes at once, and drops what is queued.
function methods:abort()
  self.conn:abort()
  if not self.shut then
    shut(self)
  end
end

---At the end of its block: `close`, or `abort` where the block ends by an error.
function metatable:__close(err)
  if err ~= nil then
    self:abort()
  else
    self:close()
  end
end

---@return string? host, integer|string port_or_message, lunode.code? code
function methods:peer()
  return self.conn:peer()
end

---@return string? host, integer|string port_or_message, lunode.code? code
function methods:sock()
  return self.conn:sock()
end

---Sets options of the connection, and `read_limit`.
---@param options table
function methods:set(options)
  if type(options) ~= "table" then
    error(("stream:set: a table is needed, got a %s"):format(type(options)), 2)
  end
  local rest = {}
  for key, value in pairs(options) do -- into another table: the order does not show
    if key ~= "read_limit" then
      rest[key] = value
    end
  end
  check_read_limit(options.read_limit, 2)
  call(self.conn.set, self.conn, rest)
  self.read_limit = options.read_limit or self.read_limit
end

---@return boolean
function methods:is_open()
  return not self.shut and self.conn:is_open()
end

function metatable:__tostring()
  return ("lunode.task.stream (%s)"):format(self.conn:stats().state)
end

return M
