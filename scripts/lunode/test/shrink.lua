-- Makes a failing list small: drops runs of halving length, down to single elements, while it still fails.
-- Does not change elements.
--
--   local shrink = require "lunode.test.shrink"
--   local small = shrink.list(steps, function(candidate) return not passes(candidate) end)

local M = {}

local function without(list, from, count)
  local rest = table.move(list, 1, from - 1, 1, {})
  return table.move(list, from + count, #list, from, rest)
end

---@generic T
---@param list T[]  one for which `fails` holds
---@param fails fun(list: T[]): boolean
---@return T[]  no single element of it can go
function M.list(list, fails)
  local count = #list // 2
  while count >= 1 do
    local from, dropped = 1, false
    while from <= #list do
      local candidate = without(list, from, math.min(count, #list - from + 1))
      if #candidate > 0 and fails(candidate) then
        list, dropped = candidate, true
      else
        from = from + count
      end
    end
    if count > 1 then
      count = count // 2
    elseif not dropped then
      break
    end
  end
  return list
end

return M
