-- Names of options: refuses those that nobody reads, which are slips of the hand and would be passed over in silence.
-- Does not know what the values may be.

local M = {}

---@param names string  with spaces between them
---@return table<string, true>
function M.set(names)
  local set = {}
  for name in names:gmatch "%S+" do
    set[name] = true
  end
  return set
end

---Raises where a table has a key that is not among the known ones.
---@param what string          who was called, for the error
---@param given table
---@param known table<any, true>
---@param level integer        of the function to blame
function M.check(what, given, known, level)
  local unknown = {}
  for name in pairs(given) do
    if not known[name] then
      unknown[#unknown + 1] = tostring(name)
    end
  end
  if #unknown == 0 then
    return
  end
  local names = {}
  for name in pairs(known) do
    names[#names + 1] = name
  end
  table.sort(unknown)
  table.sort(names)
  error(("%s: unknown option '%s'; there are %s"):format(what, unknown[1], table.concat(names, ", ")), level + 1)
end

return M
