-- A gate, as core/tcp_gate.c: holds output of a group of streams back until its mark is released. What is explained in
-- that module's header is not explained here.

local M = {}

---@class lunode.sim.gate
---@field mark integer
---@field released integer
---@field streams table  stream → its place in `order`
local methods = {}
local metatable = { __index = methods, __name = "lunode.sim.gate" }

---@return lunode.sim.gate
function M.new()
  return setmetatable({ mark = 0, released = 0, order = {} }, metatable)
end

function methods:hold(mark)
  self.mark = math.max(self.mark, mark)
end

---Calls fn(stream) for each stream that may send some of what was held.
function methods:release(mark, fn)
  if mark <= self.released then
    return
  end
  self.released = mark
  local order = self.order
  self.order = {}
  for _, stream in ipairs(order) do
    if stream.held[1] then
      self.order[#self.order + 1] = stream
      if stream.held[1].mark <= mark then
        fn(stream)
      end
    else
      stream.in_gate = false
    end
  end
end

---How far a stream may send, whose queue ends at `stop`.
---@return integer position
function methods:pass(stream, stop)
  local held = stream.held
  while held[1] and held[1].mark <= self.released do
    table.remove(held, 1)
  end
  if stop > stream.known and self.mark > self.released then
    if #held < 2 and (#held == 0 or held[1].mark < self.mark) then
      held[#held + 1] = { from = stream.known, mark = self.mark }
    end
    held[#held].mark = self.mark
  end
  stream.known = stop
  if not held[1] then
    return stop
  elseif not stream.in_gate then
    stream.in_gate = true
    self.order[#self.order + 1] = stream
  end
  return held[1].from
end

---The stream goes away.
function methods:leave(stream) -- luacheck: no self
  stream.held = {}
end

return M
