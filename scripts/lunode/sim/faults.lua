-- Faults of processes and clocks, by name; those of the network go on to lunode.sim.net, those of the disk to lunode.sim.disk.

local M = { methods = {} }
local methods = M.methods

---@param _ lunode.sim.world
function M.prepare(_) end

---@param _ lunode.sim.world
---@param _ lunode.sim.node
---@param _ table
function M.add_doors(_, _, _) end

---The process ends at once; its host goes on: it closes the sockets, and keeps the files.
function methods:kill(which)
  self:get(which):stop("kill", nil, "SIGKILL")
end

---The host loses power: nothing is sent any more, and what was not synced may be lost.
function methods:crash(which)
  self:get(which):stop("crash")
end

---Starts the process of a node anew, with the files that have survived. One that is up is killed before.
function methods:restart(which)
  local node = self:get(which)
  node:stop("kill", nil, "SIGKILL")
  local ok, err = node:start()
  if not ok then
    error(err, 2)
  end
end

---Stops a process as SIGSTOP does, until `resume`: its sockets stay, its host takes what arrives.
function methods:pause(which)
  self:get(which):pause()
end

function methods:resume(which)
  self:get(which):resume()
end

return M
