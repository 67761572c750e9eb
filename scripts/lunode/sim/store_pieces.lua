-- Strings behind each other, each with its length in front, as the real store packs and unpacks them.
local pack, unpack = string.pack, string.unpack

local M = {}

---The strings in a string; nil: it is damaged, or there is none.
---@param content string
---@param first? integer  where they begin
---@return string[]?
function M.parse(content, first)
  local list, at = {}, first or 1
  while at <= #content do
    if #content - at + 1 < 4 then
      return nil
    end
    local length = unpack(">I4", content, at)
    if length > #content - at - 3 then
      return nil
    end
    list[#list + 1] = content:sub(at + 4, at + 3 + length)
    at = at + 4 + length
  end
  return #list > 0 and list or nil
end

---@param list string[]
---@return string
function M.format(list)
  local packed = {}
  for i, text in ipairs(list) do
    packed[i] = pack(">s4", text)
  end
  return table.concat(packed)
end

return M
