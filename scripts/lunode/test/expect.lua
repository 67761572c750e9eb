-- Counts callbacks: fails the spec when one was not called exactly as often as it should be.
--
--   local expect = require "lunode.test.expect"
--   on_connect = expect(function(conn) … end),        -- exactly once
--   on_read = expect(function(conn, data) … end, 2),  -- exactly twice
--   on_close = expect(nil, 0),                        -- never
--
-- Garbage is collected after each call, so that an object which only a callback kept alive shows. The counts
-- are checked when the spec ends; wait (lunode.test.wait) for what should happen before that.

local cleanup = require "lunode.test.cleanup"

---@param fn? fun(...): ...
---@param n? integer  (default 1)
---@return fun(...): ...
local function expect(fn, n)
  n = n or 1
  local count = 0
  local info = debug.getinfo(2, "Sl")
  local where = info.short_src .. ":" .. info.currentline

  local function complain()
    error(("the callback at %s was to be called %d times, and was called %d times"):format(where, n, count), 0)
  end

  cleanup.add(function()
    if count ~= n then
      complain()
    end
  end)

  local function returned(...)
    collectgarbage()
    return ...
  end

  return function(...)
    count = count + 1
    if count > n then
      complain()
    end
    if fn then
      return returned(fn(...))
    end
    collectgarbage()
  end
end

return expect
