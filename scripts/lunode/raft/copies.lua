-- Copies of a store, for members that lag: rows of a view of it are read piece by piece, and written to a second store,
-- which takes the place of the first when it is whole. No more than a few pieces are ever in memory. Part of data.lua.
--
--   copy  = *(key_len:u32be value_len:u32be key value)     rows in the order of their keys, cut into
--   piece = 0*262144(byte)                                 wherever that is; the last piece is marked as such
--
-- Whoever lags tells the last key that it has, so a transfer that was cut off goes on behind it, as long as there is
-- the same view. A view costs disk space, and the log behind it is needed by who gets it: it is let go when nobody has
-- asked for a while.

local loop = require "lunode.loop"
local logger = require "lunode.logger"
local storage = require "lunode.raft.storage"

local M = {}

local PIECE = 256 << 10 -- bytes
local HEAD = ">I4I4"
local HEAD_BYTES = 8
local FLUSH = 16 << 20 -- bytes after which what was received is brought to disk
local IDLE = 30 -- seconds for which a view is kept that nobody is being sent

---@class lunode.raft.source
---@field meta lunode.raft.snapshot_meta
---@field start fun(self, n: integer, key: string?)  what the other side has
---@field next fun(self): string?, boolean?, string?  a piece, and whether it is the last one; or nil, nil, why not
---@field close fun(self)

---@class lunode.raft.copies
---@field data lunode.raft.data
---@field private view table?  { meta, rows, users, used, bytes }: the latest
---@field receiving table?  { meta, store, n, key, pending, complete, waiting }
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.copies" }

---@param data lunode.raft.data
---@return lunode.raft.copies
function M.new(data)
  return setmetatable({ data = data, view = nil, receiving = nil }, metatable)
end

-- ---------------------------------------------------------------- sent

local function let_go(self, view)
  if self.view == view then
    self.view = nil
  end
  if view.users == 0 then
    view.rows:close()
  end
end

-- One that is there already serves, if the log has what follows it.
local function take_view(self)
  local driver, view = self.data.driver, self.view
  if view and view.meta.index + 1 < driver.storage.log:first() then
    let_go(self, view)
    view = nil
  end
  if not view then
    local rows, err = self.data.store:snapshot()
    if not rows then
      return nil, err
    elseif rows:applied() ~= driver.applied then
      rows:close()
      return nil, ("the store is as of entry %d, and not %d"):format(rows:applied(), driver.applied)
    end
    view = {
      rows = rows, meta = driver:describe(storage.new_name(driver)), users = 0, used = loop.now(),
      bytes = self.data.bytes,
    }
    view.meta.data = self.data.name
    self.view = view
  end
  view.users = view.users + 1
  return view
end

local function release(self, view)
  view.users, view.used = view.users - 1, loop.now()
  if view ~= self.view then
    let_go(self, view)
  end
end

-- Gives pieces, and whether one is the last: of the rows that a scan gives.
local function pieces(scan)
  local rest, at = "", 1 -- of a row that was cut
  return function()
    local parts, n, bytes = {}, 0, 0
    while bytes < PIECE do
      if at > #rest then
        local key, value = scan()
        if not key then
          return table.concat(parts), true
        end
        rest, at = HEAD:pack(#key, #value) .. key .. value, 1
      end
      n = n + 1
      parts[n] = at == 1 and #rest <= PIECE - bytes and rest or rest:sub(at, at + PIECE - bytes - 1)
      at, bytes = at + #parts[n], bytes + #parts[n]
    end
    return table.concat(parts), false
  end
end

---@return lunode.raft.source?
---@return string? err
function methods:source()
  local view, err = take_view(self)
  if not view then
    return nil, err
  end
  local next_piece
  return {
    meta = view.meta,
    start = function(_, _, key)
      next_piece = pieces(view.rows:scan(key and key .. "\0" or ""))
    end,
    next = function()
      local ok, bytes, last = pcall(next_piece)
      if not ok then
        self.view = self.view ~= view and self.view or nil -- a full disk may have taken it
        return nil, nil, tostring(bytes)
      end
      return bytes, last
    end,
    close = function()
      next_piece = nil
      release(self, view)
    end,
  }
end

---The log behind this index is needed by who is being sent a copy.
---@param bytes integer  no more of it than so many bytes
---@return integer index
function methods:holds(bytes)
  local view = self.view
  return view and self.data.bytes - view.bytes < bytes and view.meta.index or math.maxinteger
end

-- ---------------------------------------------------------------- received

---Nothing of it is left.
---@return boolean? ok
---@return string? err
function methods:drop()
  local receiving = self.receiving
  self.receiving = nil
  if receiving then
    receiving.store:close()
  end
  return self.data:remove_other()
end

local function on_room(self, receiving)
  local waiting = receiving.waiting
  if waiting and self.receiving == receiving and receiving.store:room() then
    receiving.waiting = nil
    waiting()
  end
end

-- Writes the rows that are whole, and keeps the rest for the next piece. Raises where they are out of order.
local function write_piece(receiving, bytes)
  local rest, store, last = receiving.rest, receiving.store, receiving.key
  rest[#rest + 1] = bytes
  receiving.have = receiving.have + #bytes
  if receiving.have < receiving.need then
    return
  end
  bytes = rest[2] and table.concat(rest) or bytes
  local at, size, need = 1, #bytes, HEAD_BYTES
  while size - at + 1 >= HEAD_BYTES do
    local key_len, value_len, key_at = HEAD:unpack(bytes, at)
    local value_at = key_at + key_len
    if value_at + value_len - 1 > size then
      need = HEAD_BYTES + key_len + value_len
      break
    end
    local key = bytes:sub(key_at, value_at - 1)
    if last and key <= last then
      error("rows of a copy are out of order", 0)
    end
    at = value_at + value_len
    store:put(key, bytes:sub(value_at, at - 1))
    last = key
  end
  receiving.key, receiving.need, receiving.have = last, need, size - at + 1
  receiving.rest = { at <= size and bytes:sub(at) or nil }
end

-- Nothing of a row that was cut, and of no row more than the key.
local function forget_rest(receiving)
  receiving.rest, receiving.have, receiving.need, receiving.waiting = {}, 0, HEAD_BYTES, nil
end

---Begins to receive a copy, or goes on where it was left.
---@param meta lunode.raft.snapshot_meta
---@return { n: integer, done: boolean, key: string? }? have
---@return string? err
function methods:begin(meta)
  local receiving = self.receiving
  if receiving and receiving.meta.name == meta.name then
    forget_rest(receiving)
    return { n = receiving.n, done = receiving.complete, key = receiving.key }
  end
  local ok, err = self:drop()
  if not ok then
    return nil, err
  end
  receiving = {
    meta = meta, store = nil,
    n = 0, key = nil, -- pieces, and the last key
    rest = {}, have = 0, need = 0, -- of a row of which more is to come: what is here, and how many bytes it takes
    pending = 0, -- bytes since the last flush
    finishing = false, complete = false,
    waiting = nil, -- called when there is room
    tell = nil, -- called when it is complete
  }
  forget_rest(receiving)
  receiving.store, err = self.data:open_other(function()
    on_room(self, receiving)
  end)
  if not receiving.store then
    return nil, err
  end
  self.receiving = receiving
  logger.info("raft: a copy of the store is coming, as of entry %d", meta.index)
  return { n = 0, done = false }
end

-- All rows are there: what they are the state of, and the disk.
local function finish(self, receiving, fn)
  local driver = self.data.driver
  receiving.tell = fn
  if receiving.finishing then
    return -- it was asked for over another connection, too
  end
  receiving.finishing = true
  local ok, err = receiving.store:advance(receiving.meta.index)
  if ok then
    ok, err = receiving.store:flush(function(failure)
      if driver.closed or self.receiving ~= receiving then
        return
      elseif failure then
        return driver:fail(failure)
      end
      receiving.complete = true
      receiving.tell { n = receiving.n, done = true }
    end)
  end
  if not ok then
    driver:fail(err)
  end
end

---Takes the next piece; `fn` is called when there is room for more.
---@param bytes string
---@param last boolean
---@param fn fun(have: table)
---@return boolean? ok
---@return string? err  nothing that a peer should send
function methods:put(bytes, last, fn)
  local receiving = self.receiving
  if receiving.complete or #bytes > PIECE then
    return nil, "a piece of a copy is too large, or is one too many"
  end
  local ok, err = pcall(write_piece, receiving, bytes)
  if ok and last and receiving.have > 0 then
    ok, err = false, "the last row of a copy is cut off"
  end
  if not ok then
    self:drop()
    return nil, tostring(err)
  end
  receiving.n, receiving.pending = receiving.n + 1, receiving.pending + #bytes
  if last then
    finish(self, receiving, fn)
    return true
  elseif receiving.pending >= FLUSH or not receiving.store:room() then
    receiving.pending = 0
    receiving.store:flush()
  end
  receiving.waiting = function()
    fn { n = receiving.n, done = false }
  end
  on_room(self, receiving)
  return true
end

-- ---------------------------------------------------------------- time

---@param index integer  applied here
function methods:tick(index)
  local view, receiving = self.view, self.receiving
  if view and view.users == 0 and loop.now() - view.used > IDLE then
    let_go(self, view)
  end
  if receiving and receiving.meta.index <= index then -- it has come by the log meanwhile
    self:drop()
  end
end

function methods:close()
  if self.view then
    self.view.rows:close()
  end
  if self.receiving then
    self.receiving.store:close()
  end
  self.view, self.receiving = nil, nil
end

return M
