-- The commands that the log may hold: those that clients send, by the names that they always had, and the node's own.
-- Runs none.
local batch = require "lunode.batch"
local command = require "lunode.kv.command"

local M = {}

-- Commands of the node's own, under names that are out of clients' reach.
local own = {}

---Adds a command of the node's own, which changes keys and replies to nobody.
---@param name string
---@param run fun(ctx: lunode.kv.ctx, ...: string)
---@param options? {variadic: boolean?, keys: integer[]?, access: any, touches: boolean?}  keys: as in kv.command;
---   without them it counts as changing any key, unless it tells of its changes itself: touches = false;
---   verify(args) raises where this node could not run what is in it
function M.add(name, run, options)
  options = options or {}
  own["\0" .. name] = {
    name = name, run = run, write = true, direct = true, variadic = options.variadic or false, options = options,
  }
end

---@return string[]  with the zero byte in front, sorted
function M.own_names()
  local list = {}
  for name in pairs(own) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

---@param name string  with the zero byte in front
---@return table? entry
function M.find_own(name)
  return own[name]
end

-- What the node ends with; no bug, so there is no traceback.
local unknown_command = {
  __name = "lunode.kv.unknown_command",
  __tostring = function(self)
    return ("the log holds the command %q, which this node does not know; start it with the scripts that add it")
      :format(self.name)
  end,
}

---The entry of a command in the log. Raises what the node ends with where it does not know it.
---@param name string
---@param first string?  its first argument: that may name a subcommand
---@return table
function M.find(name, first)
  local entry = own[name] or command.find_logged(name)
  if entry and not entry.direct then
    entry = command.subcommand(entry, first)
  end
  return entry or error(setmetatable({ name = name }, unknown_command), 0)
end

---Raises where this node cannot run what others would: that is its end, else it would differ from them.
---@param entry table
---@param args string[]
function M.verify(entry, args)
  if entry.options.verify then
    entry.options.verify(args)
  end
end

---Whether a batch is one, and of commands that this node knows.
---@param payload string
---@param position integer  where it begins
---@return boolean? known
---@return string? err
function M.knows(payload, position)
  local function check(next_position, name, first, ...)
    if next_position then
      local args = type(first) == "table" and first or { first, ... }
      M.verify(M.find(name, args[1]), args)
    elseif name then
      error(name, 0)
    end
    return next_position
  end
  repeat
    local ok, next_position = pcall(check, batch.next(payload, position))
    if not ok then
      return nil, tostring(next_position)
    end
    position = next_position
  until not position
  return true
end

return M
