-- Which arguments of a command are keys, and how it uses them: what its entry says about its keys, applied to a call.
local numbers = require "lunode.kv.numbers"

local M = {}

local WRITTEN = { RW = true, OW = true, RM = true }

---How the command uses a key: whether it may change it.
---@param access string  as in the entry
---@return boolean
function M.is_written(access)
  return WRITTEN[access:match("^%S+")] or false
end

-- The keys whose number an argument tells.
local function add_counted(list, args, numkeys)
  local at, access = numkeys[1], numkeys[2]
  local count = args[at] and numbers.parse(args[at])
  if not count or count < 1 or count > #args - at then
    return nil
  end
  for i = at + 1, at + count do
    list[#list + 1] = { at = i, access = access }
  end
  return list
end

---The keys of a call, in the order of the entry's specs. nil: its arguments do not tell them.
---@param entry table
---@param args string[]  after the command's name
---@return {at: integer, access: string}[]?
function M.find(entry, args)
  local options, list = entry.options, {}
  if options.getkeys then
    return options.getkeys(args)
  elseif options.more_keys then
    return nil -- they can be anywhere
  end
  local keys, access = options.keys, options.access or "RW"
  if keys then
    local first, last, step = keys[1], keys[2], keys[3]
    for i = first, last < 0 and #args + 1 + last or last, step do
      local own = type(access) == "table" and access[math.min(i - first + 1, #access)] or access
      list[#list + 1] = { at = i, access = own }
    end
  end
  return options.numkeys and add_counted(list, args, options.numkeys) or not options.numkeys and list or nil
end

---Whether the entry tells of any keys.
---@param entry table
---@return boolean
function M.has_keys(entry)
  local options = entry.options
  return (options.keys or options.numkeys or options.getkeys) ~= nil and options.access ~= "not_key"
end

return M
