-- The prompt's doors for scripts: a prompt of their own in the process they run in, and a console for `lunode attach`.
-- Loads what they need when it is needed, so that a node pays for neither before somebody comes.

local M = {}

---Opens a console: a Unix socket on which `lunode attach` finds a prompt inside of this process. Its file is for this
---user alone (mode 0600), and each evaluation is logged. It keeps the loop alive until it is closed.
---@param path string  of the socket
---@param objects? table  what is at hand there beside the globals: name → value
---@param options? lunode.repl.console_options
---@return lunode.repl.console? console
---@return string? err, lunode.code? code
function M.listen(path, objects, options)
  return require("lunode.repl.console").listen(path, objects, options)
end

---Opens a prompt on the terminal, in this process. It keeps the loop alive until its user leaves, with Ctrl-D.
---@param objects? table  what is at hand there beside the globals: name → value
---@param on_end? fun()   is called when its user has left
---@return lunode.repl.prompt prompt
function M.start(objects, on_end)
  local task = require "lunode.task"
  local budget = require "lunode.budget"
  local peers = require("lunode.repl.peers").new()
  local all = peers:objects()
  for name, value in pairs(objects or {}) do
    all[name] = value
  end
  local session = require("lunode.repl.session").new(all, {
    print = function(text)
      io.stdout:write(text)
    end,
  })
  peers.env = session.env
  budget.set(nil, true)
  local prompt = require("lunode.repl.prompt").open(session, { name = "lunode" })
  task.spawn(function()
    prompt:run()
    prompt:close()
    peers:close()
    if on_end then
      on_end()
    end
  end)
  return prompt
end

return M
