-- Where the log goes under the command line: to the standard error, each message with its time and level.

local logger = require "lunode.logger"
local loop = require "lunode.loop"

local M = {}

-- 2026-11-22T12:00:00.123Z info text
local function write(level, text)
  local now = loop.time()
  local milliseconds = math.floor(now % 1 * 1000)
  local stamp = os.date("!%Y-%m-%dT%H:%M:%S", math.floor(now))
  io.stderr:write(("%s.%03dZ %s %s\n"):format(stamp, milliseconds, level, text))
end

---Sends what lunode.logger is told to the standard error.
function M.open()
  logger.sink = write
end

return M
