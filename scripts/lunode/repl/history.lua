-- Keeps what was typed in a file that is nobody else's to read: mode 0600, and no passwords. Several prompts may
-- share it. Does not fail: what cannot be kept is said once.
--
-- One entry a line; within it, "\n" stands for a line break and "\\" for a backslash. A line that begins with a space
-- is not kept, nor is what looks as if it had a password in it.

local edit = require "lunode.edit"
local secrets = require "lunode.repl.secrets"

local M = {}

local MOST_ENTRIES = 1000
local MOST_BYTES = 4 << 20 -- of the file; longer ones are cut at their beginning

---@class lunode.repl.history
---@field private file file*?
local methods = {}
local metatable = { __index = methods, __name = "lunode.repl.history" }

---Where it is, for this user; nil where there is no home.
---@param getenv fun(name: string): string?
---@return string? path
---@return string? instead  where the first one has no directory
function M.path(getenv)
  local own = getenv "LUNODE_HISTORY"
  if own then
    return own ~= "" and own or nil
  end
  local state, home = getenv "XDG_STATE_HOME", getenv "HOME"
  home = home and home:find "^/" and home .. "/.lunode_history" or nil
  if state and state:find "^/" then
    return state .. "/lunode_history", home
  end
  return home
end

---@param entry string
---@return boolean
function M.is_kept(entry)
  if entry:find "^%s" or not entry:find "%S" or entry:find "%z" or #entry > 64 * 1024 then
    return false
  end
  return not secrets.is_likely(entry)
end

local function pack_entry(entry)
  return (entry:gsub("\\", "\\\\"):gsub("\n", "\\n"):gsub("\r", ""))
end

local function unpack_entry(line)
  return (line:gsub("\\(.)", function(char)
    return char == "n" and "\n" or char
  end))
end

local function read_entries(file)
  local size = file:seek "end" or 0
  file:seek("set", math.max(0, size - MOST_BYTES))
  local text, lines, position = file:read "a" or "", {}, 1
  while true do
    local stop = text:find("\n", position, true)
    if not stop then
      break -- what has no end was cut short
    end
    lines[#lines + 1] = text:sub(position, stop - 1)
    position = stop + 1
  end
  if size > MOST_BYTES then
    table.remove(lines, 1) -- a part of one, maybe
  end
  local entries = {}
  for i = math.max(1, #lines - MOST_ENTRIES + 1), #lines do
    entries[#entries + 1] = unpack_entry(lines[i])
  end
  return entries, #lines > 2 * MOST_ENTRIES or size > MOST_BYTES
end

-- Makes it short again: another file, which takes the place of this one.
local function rewrite(self, path, entries)
  local file = edit.private_file(path .. ".new")
  if not file then
    return
  end
  local lines = {}
  for i, entry in ipairs(entries) do
    lines[i] = pack_entry(entry) .. "\n"
  end
  if file:write(table.concat(lines)) and file:flush() and os.rename(path .. ".new", path) then
    self.file:close()
    self.file = file
  else
    file:close()
    os.remove(path .. ".new")
  end
end

---@param path string?  nil: nothing is kept
---@param warn fun(text: string)
---@param instead string?  where the first has no directory
---@return lunode.repl.history history
---@return string[] entries  the latest last
function M.open(path, warn, instead)
  local self = setmetatable({ file = nil, warn = warn, path = path }, metatable)
  if not path then
    return self, {}
  end
  local file, err, code = edit.private_file(path)
  if code == "ENOENT" and instead then
    path, self.path = instead, instead
    file, err = edit.private_file(path)
  end
  if not file then
    warn(("what you type is not kept: %s: %s"):format(path, err))
    return self, {}
  end
  self.file = file
  local entries, is_long = read_entries(file)
  if is_long then
    rewrite(self, path, entries)
  end
  return self, entries
end

---@param entry string
function methods:add(entry)
  if not self.file or not M.is_kept(entry) then
    return
  end
  local ok, err = self.file:write(pack_entry(entry), "\n")
  if ok then
    ok, err = self.file:flush()
  end
  if not ok then
    self.warn(("what you type is not kept any more: %s: %s"):format(self.path, err))
    self:close()
  end
end

function methods:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end

return M
