-- The files of golden transcripts.

local M = {}

local folder = assert(package.searchpath("spec.raft.transcripts", package.path)):match "^(.*)/" .. "/testdata/"

---@return string[]  sorted
function M.names()
  local names = {}
  local pipe = assert(io.popen("ls '" .. folder:gsub("'", [['\'']]) .. "'", "r"))
  for line in pipe:lines() do
    names[#names + 1] = line:match "^(.+)%.txt$"
  end
  pipe:close()
  table.sort(names)
  return names
end

---@param name string
---@return string
function M.read(name)
  local file = assert(io.open(folder .. name .. ".txt", "r"))
  local text = file:read "a"
  file:close()
  return text
end

return M
