-- Log messages by level, for any script. Does not decide where they go: `sink` does, and the command line sets it.
--
--   local logger = require "lunode.logger"
--   logger.info("%s:%d listens", host, port)     -- formatted only when there are arguments
--
-- A message is one line, whatever a peer has put into it: control characters are escaped, so nobody can forge a
-- line of the log or reprogram the terminal that shows it.

local M = {}

local RANK = { debug = 1, info = 2, warn = 3, error = 4 }

---The least level that is told: "debug", "info", "warn" or "error".
M.level = "info"

---Takes each message that is told. Without a command line around us, nowhere.
---@type fun(level: string, text: string)
M.sink = function() end

local function escape_byte(byte)
  return ("\\x%02x"):format(byte:byte())
end

local NAMED = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

---Text without control characters: escaped as in Lua strings. UTF-8 stays as it is.
---@param text string
---@return string
function M.escape(text)
  text = text:gsub("[%z\1-\31\127]", function(byte)
    return NAMED[byte] or escape_byte(byte)
  end)
  if not utf8.len(text) then
    return (text:gsub("[\128-\255]", escape_byte))
  end
  -- The control characters U+0080 … U+009F.
  return (text:gsub("\xc2[\x80-\x9f]", function(pair)
    return (pair:gsub(".", escape_byte))
  end))
end

local function is_told(level)
  return RANK[level] >= (RANK[M.level] or RANK.info)
end

local function log(level, format, ...)
  if is_told(level) then
    local text = tostring(format)
    if select("#", ...) > 0 then
      text = text:format(...)
    end
    M.sink(level, M.escape(text))
  end
end

---Tells what helps to find a mistake.
---@param format string  as string.format takes it
---@param ... any
function M.debug(format, ...)
  log("debug", format, ...)
end

---Tells what a node does.
---@param format string  as string.format takes it
---@param ... any
function M.info(format, ...)
  log("info", format, ...)
end

---Tells what somebody should look at.
---@param format string  as string.format takes it
---@param ... any
function M.warn(format, ...)
  log("warn", format, ...)
end

---Tells what has gone wrong.
---@param format string  as string.format takes it
---@param ... any
function M.error(format, ...)
  log("error", format, ...)
end

---Logs a traceback as an error: the one message of many lines. Those after the first are indented, so that none
---of them can pass for a message of its own.
---@param text string
function M.traceback(text)
  local lines = {}
  for line in (tostring(text) .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = M.escape((line:gsub("\t", "  ")))
  end
  if is_told("error") then
    M.sink("error", table.concat(lines, "\n    "))
  end
end

return M
