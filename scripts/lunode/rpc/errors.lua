-- The errors of calls: what went wrong, and whether that is for certain. Raises none of them.

local msgpack = require "lunode.msgpack"

local null = msgpack.null

local M = {}

---@class lunode.rpc.error
---@field code string       "ECONNREFUSED", "ETIMEDOUT", …; "ENOMETHOD", "EHANDLER" or the handler's own
---@field message string
---@field definite boolean  true: it did not happen, or the handler itself said no; false: it may have happened
---@field data any          the error value of the response, where there was one
local metatable = { __name = "lunode.rpc.error" }

function metatable:__tostring()
  return ("%s (%s%s)"):format(self.message, self.code, self.definite and "" or ", outcome unknown")
end

---@return lunode.rpc.error
local function new(code, message, definite, data)
  return setmetatable({ code = code, message = message, definite = definite, data = data }, metatable)
end

function M.definite(code, message)
  return new(code, message, true)
end

function M.indefinite(code, message)
  return new(code, message, false)
end

---Reads the error value of a response. Foreign peers send what they like: text, or as Neovim does {kind, text}.
---@param value any
---@return lunode.rpc.error
function M.from_wire(value)
  if type(value) == "table" then
    local code, message = value.code, value.message
    if type(message) == "string" then
      return new(type(code) == "string" and code or "EHANDLER", message, value.definite ~= false, value)
    elseif type(value[2]) == "string" then
      return new("EHANDLER", value[2], true, value)
    end
  end
  local scalar = type(value) == "string" or type(value) == "number"
  return new("EHANDLER", scalar and tostring(value) or "the handler failed", true, value)
end

---What a response carries. Peers that are not ours get plain text, unless the handler chose a table.
---@param err any  text, or a table with `code` and `message`
---@param lunode boolean
---@param code? string  of text
---@param definite? boolean
---@return any
function M.to_wire(err, lunode, code, definite)
  if type(err) == "table" then
    if getmetatable(err) ~= metatable then
      return err
    end
    return { code = err.code, message = err.message, definite = err.definite }
  elseif err == nil or err == null then
    err = "the handler raised nil"
  elseif type(err) ~= "string" then
    err = tostring(err)
  end
  if not lunode then
    return err
  end
  return { code = code or "EHANDLER", message = err, definite = definite }
end

return M
