-- The code on a page of the documentation: ```lua and ```sh, each with what it prints: what stands behind `-->` in the
-- Lua, or in the ```text after the block. Runs nothing.

local M = {}

---The code of a page, and beside it the ```text after it.
---@param text string
---@return {kind: "lua"|"sh", code: string, line: integer, text: string?}[]
function M.blocks(text)
  local blocks, open, number = {}, nil, 0
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    local kind = line:match("^```(.*)$")
    if kind and not open then
      open = { kind = kind, line = number }
    elseif kind then
      local code = table.concat(open, "\n") .. "\n"
      if open.kind == "text" then
        assert(#blocks > 0 and not blocks[#blocks].text, "output of nothing in line " .. open.line)
        blocks[#blocks].text = code
      else
        assert(open.kind == "lua" or open.kind == "sh", "code that no spec runs in line " .. open.line)
        blocks[#blocks + 1] = { kind = open.kind, code = code, line = open.line, text = nil }
      end
      open = nil
    elseif open then
      open[#open + 1] = line
    end
  end
  assert(not open, "a block has no end")
  return blocks
end

---What a block prints, as the page says it.
---@return string
function M.expected(block)
  local lines = {}
  if block.kind == "lua" then
    for text in block.code:gmatch("%-%-> ([^\n]*)") do
      lines[#lines + 1] = text .. "\n"
    end
  end
  assert(not (block.text and #lines > 0), "output in two ways in line " .. block.line)
  return block.text or table.concat(lines)
end

return M
