-- The error replies that several commands share, made once. A handler refuses by raising one of them (or any
-- resp.error): `error(errors.SYNTAX, 0)`. The dispatcher undoes what the command wrote and sends it.
local logger = require "lunode.logger"
local resp = require "lunode.resp"

local RAW = getmetatable(resp.OK)
local INTERNAL_ERROR = resp.error("ERR internal error; the log has its traceback")

local M = {
  WRONGTYPE = resp.error("WRONGTYPE Operation against a key holding the wrong kind of value"),
  SYNTAX = resp.error("ERR syntax error"),
  NOT_INTEGER = resp.error("ERR value is not an integer or out of range"),
  NOT_INT32 = resp.error("ERR value is out of range, value must between -2147483648 and 2147483647"),
  NOT_FLOAT = resp.error("ERR value is not a valid float"),
  NO_SUCH_KEY = resp.error("ERR no such key"),
  TOO_LONG = resp.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
  NOAUTH = resp.error("NOAUTH Authentication required."),
  WRONGPASS = resp.error("WRONGPASS invalid username-password pair or user is disabled."),
}

---An error that quotes what a client sent: each argument up to its first NUL, as C prints it; no line breaks
---around the whole.
---@param format string
---@param ... string
---@return lunode.resp.raw
function M.quoting(format, ...)
  local quoted = { ... }
  for i, text in ipairs(quoted) do
    quoted[i] = text:match("^[^\0]*")
  end
  return resp.error((format:format(table.unpack(quoted)):gsub("^[\r\n]+", ""):gsub("[\r\n]+$", "")))
end

---What a subcommand says whose arguments cannot be.
---@param ctx lunode.kv.ctx
---@param container string
---@return lunode.resp.raw
function M.subcommand_syntax(ctx, container)
  return M.quoting("ERR unknown subcommand or wrong number of arguments for '%s'. Try %s HELP.", ctx.word:sub(1, 128),
    container)
end

---What commands that write get while the disk has no room for them.
---@param err string
---@return lunode.resp.raw
function M.misconf(err)
  return resp.error("MISCONF Errors writing to the log: " .. err)
end

---A command that does nothing: a refusal that has to wait for the replies before it.
---@param refusal any
---@return table entry
function M.refusing(refusal)
  return { name = "?", write = false, variadic = true, run = function()
    return refusal
  end }
end

---For xpcall around what runs a command.
---@param err any
---@return any
function M.with_traceback(err)
  return type(err) == "string" and debug.traceback(err, 2) or err
end

---What a command that raised is answered with, and whether that was a fault of its handler's.
---@param entry table?
---@param err any
---@return any reply, boolean faulty
function M.answer_for(entry, err)
  if getmetatable(err) == RAW then
    return err, false
  end
  logger.traceback(("command %s: %s"):format(entry and entry.name or "?", tostring(err)))
  return INTERNAL_ERROR, true
end

return M
