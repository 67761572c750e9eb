-- `lunode cluster recover`: tells what a surviving member has and what may be lost, asks, and makes it a cluster of its
-- own. How, lunode.raft.recover knows.

local files = require "lunode.cli.files"
local recover = require "lunode.raft.recover"
local task = require "lunode.task"

local M = {}

local function others(survivor)
  local list = {}
  for _, id in ipairs(survivor.config.ids) do
    if id ~= survivor.id then
      local member = survivor.config.members[id]
      list[#list + 1] = ("%s (%s, %s)"):format(id, member.voter and "voter" or "learner", member.address or "?")
    end
  end
  return table.concat(list, ", ")
end

local function entries(count)
  return count == 1 and "1 entry" or ("%d entries"):format(count)
end

local function tell(dir, survivor)
  local unsure = survivor.last - survivor.committed
  print(("%s holds %s of the cluster %s, whose other members are %s."):format(dir, survivor.id, survivor.group,
    others(survivor)))
  print(("Its log ends with entry %d of term %d%s."):format(survivor.last, survivor.last_term, survivor.time
    and os.date("; its last command is of %Y-%m-%d %H:%M:%S", survivor.time // 1000) or ""))
  if unsure > 0 then
    print(("Entries up to %d are known to be committed. The %s behind that may be, or not: they will count as such.")
      :format(survivor.committed, entries(unsure)))
  end
  print [[
Lost is what the others have acknowledged and this one has not got: there is no way to tell from here how much that is.
If one of the others can still be started, or has more (see what this says of its directory), do that instead.]]
  print(("From now on %s is a cluster of its own. The others are refused for good: let servers join it with empty "
    .. "directories, under new ids."):format(survivor.id))
end

local function is_confirmed(yes)
  if yes then
    return true
  end
  io.stdout:write "Go on? (yes or no) "
  io.stdout:flush()
  return io.read("l") == "yes"
end

local function run(dir, survivor, yes)
  local obstacle = survivor:obstacle()
  if obstacle then
    return files.complain(("nothing was changed: %s"):format(obstacle))
  end
  tell(dir, survivor)
  if not is_confirmed(yes) then
    return files.complain("nothing was changed: that was no yes (--yes says so without being asked)")
  end
  local done = task.event()
  survivor:recover(function(err, group)
    done:resolve { err = err, group = group }
  end)
  local result = done:wait()
  if result.err then
    return files.complain(("it may not be done: %s; recover it again"):format(result.err))
  end
  print(("%s is the only member of the cluster %s now. Start it as before; then let others --join it.")
    :format(survivor.id, result.group))
  return 0
end

---@param dir string
---@param yes boolean?
---@return integer code
function M.run(dir, yes)
  local survivor, err, code = recover.open(dir)
  if not survivor then
    return files.complain(("nothing was changed: %s%s"):format(files.without_option(err), code == "ELOCKED"
      and "; only a member that is stopped can be recovered" or ""))
  end
  local result = run(dir, survivor, yes)
  survivor:close()
  return result
end

return M
