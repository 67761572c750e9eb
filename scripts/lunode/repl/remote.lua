-- The other end of a console: evaluates in the process whose socket it is given. What it is told is not trusted to be
-- fit for a terminal.

local console = require "lunode.repl.console"
local inspect = require "lunode.repl.inspect"
local rpc = require "lunode.rpc"

local M = {}

local HELLO_SECONDS = 5
local STATUS = { ok = "ok", interrupted = "interrupted", timeout = "timeout" }
local GRACE = 5 -- seconds for an answer, behind the time of the evaluation itself

---@class lunode.repl.remote : lunode.repl.backend
---@field name string   the node's, for the prompt
---@field gone boolean
---@field on_gone fun(why: string)?
local methods = {}
local metatable = { __index = methods, __name = "lunode.repl.remote" }

-- What `io.open` says tells files from sockets: those cannot be opened.
local function explain(path, err)
  local file = io.open(path, "rb")
  if file then
    file:close()
    return ("%s is not a console's socket"):format(path)
  elseif err.code == "ENOENT" then
    return ("there is no console at %s: is the node running, and not with --no-console?"):format(path)
  elseif err.code == "ECONNREFUSED" then
    return ("nobody listens at %s: the node that made it has ended"):format(path)
  elseif err.code == "EACCES" then
    return ("no permission for %s: a console is for the user who runs the node, and for root"):format(path)
  elseif err.code == "ETIMEDOUT" then
    return ("nobody answers at %s: the node is stopped or busy, or that is not a console"):format(path)
  elseif err.code == "ENOMETHOD" or err.code == "EHANDLER" or err.code == "EPROTO" or err.code == "ECONNRESET" then
    return ("what listens at %s is not a console"):format(path)
  end
  return ("cannot attach to %s: %s"):format(path, err.message)
end

local function check_hello(path, hello)
  if type(hello) ~= "table" or math.type(hello.version) ~= "integer" then
    return ("what listens at %s is not a console"):format(path)
  elseif hello.version ~= console.VERSION then
    return ("the node at %s (lunode %s) speaks version %d of the console's protocol, and this lunode version %d; "
      .. "attach with the lunode of that node"):format(path, inspect.escape(tostring(hello.lunode)), hello.version,
      console.VERSION)
  end
end

---Attaches. In a task.
---@param path string
---@param seconds number  that an evaluation may take
---@return lunode.repl.remote? remote
---@return string? err  one line
function M.open(path, seconds)
  local self = setmetatable({ name = "node", gone = false, on_gone = nil, seconds = seconds, peer = nil }, metatable)
  local attached = false
  self.peer = rpc.peer("unix:" .. path, {
    timeout = HELLO_SECONDS,
    max_message = 32 << 20,
    methods = {
      print = function(_, text)
        io.stdout:write(inspect.escape_painted(tostring(text)))
      end,
    },
    on_state = function(peer, state, err)
      if attached and state == "waiting" then
        self.gone = true
        peer:close()
        if self.on_gone then
          self.on_gone(err or "it was closed")
        end
      end
    end,
  })
  local hello, err = self.peer:call("console.hello", { { version = console.VERSION } })
  local wrong = err and explain(path, err) or check_hello(path, hello)
  if wrong then
    self.peer:close()
    return nil, wrong
  end
  attached = true
  self.name = type(hello.name) == "string" and inspect.escape(hello.name):sub(1, 40) or self.name
  return self
end

---@param code string
---@param format? lunode.repl.format
---@return lunode.repl.outcome
function methods:eval(code, format)
  local wanted = { timeout = self.seconds }
  for name, value in pairs(format or {}) do
    wanted[name] = value
  end
  local result, err = self.peer:call("eval", { code, wanted }, { timeout = self.seconds + GRACE })
  if err then
    local text = self.gone and "the node has gone; whether this was carried out is not known" or tostring(err)
    return { status = err.code == "ETIMEDOUT" and "timeout" or "error", text = inspect.escape(text) }
  end
  result = type(result) == "table" and result or {}
  if math.type(result.dropped) == "integer" then
    local note = "… %d bytes of output were dropped: they came faster than they were read\n"
    io.stderr:write(note:format(result.dropped))
  end
  local text = type(result.text) == "string" and result.text or ""
  return { status = STATUS[result.status] or "error", text = inspect.escape_painted(text) }
end

---@param before string
---@return lunode.repl.completion
function methods:complete(before)
  local found = self.peer:call("complete", { before })
  local names = type(found) == "table" and type(found.names) == "table" and found.names or {}
  local clean = {}
  for i, name in ipairs(names) do
    clean[i] = tostring(name)
  end
  return { insert = type(found) == "table" and type(found.insert) == "string" and found.insert or "", names = clean }
end

function methods:close()
  self.on_gone = nil
  self.gone = true
  self.peer:close()
end

return M
