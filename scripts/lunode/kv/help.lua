-- The HELP subcommand of containers, written from the registry.
local command = require "lunode.kv.command"
local resp = require "lunode.resp"

local M = {}

---Adds HELP to a container.
---@param container string
---@param options {group: string, since: string, acl: string[]?, summary: string?, only_if: (fun(run: fun()): fun())?}
function M.command(container, options)
  local only_if = options.only_if or function(run)
    return run
  end
  command.command(container .. "|HELP", {
    arity = 2, flags = { "loading", "stale" }, group = options.group, acl = options.acl,
    since = options.since, complexity = "O(1)",
    summary = options.summary or "Show helpful text about the different subcommands",
    run = only_if(function()
      local lines = {
        resp.status(container .. " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"),
      }
      for _, entry in ipairs(command.list(command.find(container).subcommands)) do
        if entry.name ~= container:lower() .. "|help" then
          lines[#lines + 1] = resp.status(entry.name:match("|(.+)$"):upper())
          lines[#lines + 1] = resp.status("    " .. (entry.options.summary or ""))
        end
      end
      lines[#lines + 1] = resp.status("HELP")
      lines[#lines + 1] = resp.status("    Prints this help.")
      return lines
    end),
  })
end

return M
