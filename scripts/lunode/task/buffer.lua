-- The bytes that a stream has received and nobody has taken yet: pieces as they came, joined as late as possible.
-- Has no limit of its own.

local M = {}

-- So many small pieces are joined, because each has a price of its own: a peer that sends byte by byte must not cost
-- many times what it sends.
local MANY, SMALL = 64, 1024

---@class lunode.task.buffer
---@field size integer          bytes
---@field private head string   the first piece
---@field private at integer    where the first byte not taken is in it
---@field private tail string[] the pieces after it
---@field private count integer of the tail
---@field private tail_size integer
local methods = {}
local metatable = { __index = methods }

---@return lunode.task.buffer
function M.new()
  return setmetatable({ size = 0, head = "", at = 1, tail = {}, count = 0, tail_size = 0 }, metatable)
end

local function clear_tail(self)
  for i = self.count, 1, -1 do
    self.tail[i] = nil
  end
  self.count, self.tail_size = 0, 0
end

---@param piece string
function methods:append(piece)
  if self.size == 0 then
    self.head, self.at, self.size = piece, 1, #piece
    return
  end
  local count = self.count + 1
  self.tail[count] = piece
  self.count = count
  self.size = self.size + #piece
  self.tail_size = self.tail_size + #piece
  if count >= MANY and self.tail_size < count * SMALL then
    local joined = table.concat(self.tail, "", 1, count)
    clear_tail(self)
    self.tail[1], self.count, self.tail_size = joined, 1, #joined
  end
end

-- All of it in one piece.
local function join(self)
  if self.count > 0 then
    local head = self.at > 1 and self.head:sub(self.at) or self.head
    self.head = head .. table.concat(self.tail, "", 1, self.count)
    self.at = 1
    clear_tail(self)
  end
end

---Takes the first `count` bytes out.
---@param count integer  at most `size`
---@return string
function methods:take(count)
  local rest = #self.head - self.at + 1
  if count > rest then
    join(self)
    rest = self.size
  end
  local from = self.at
  self.size = self.size - count
  self.at = from + count
  local bytes = from == 1 and count == #self.head and self.head or self.head:sub(from, from + count - 1)
  if count == rest then
    self.head, self.at = "", 1
    join(self)
  end
  return bytes
end

---How many bytes there are before the separator, or nil where it is not there.
---@param separator string
---@return integer?
function methods:find(separator)
  join(self)
  local found = self.head:find(separator, self.at, true)
  return found and found - self.at
end

---The last `count` bytes, or all of them where there are fewer.
---@param count integer
---@return string
function methods:last(count)
  join(self)
  return self.head:sub(math.max(self.at, #self.head - count + 1))
end

return M
