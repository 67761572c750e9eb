-- One value on two nodes: the primary has each operation confirmed by the backup, which takes over when the primary
-- falls silent. What a network can do to that, and what the witness is for, docs/testing.md tells.
--
--   lunode run examples/primary_backup.lua witness HOST:PORT
--   lunode run examples/primary_backup.lua backup HOST:PORT PRIMARYS_HOST:PORT [WITNESS_HOST:PORT]
--   lunode run examples/primary_backup.lua primary HOST:PORT BACKUPS_HOST:PORT [WITNESS_HOST:PORT]
--
-- The primary comes last: it would take a backup that is not there yet for dead.
-- Clients call `write` with a value and `read` over RPC; ENOTPRIMARY: ask the other node. The value is kept in memory,
-- so a node that has died must not be started again beside one that lives.
local loop = require "lunode.loop"
local rpc = require "lunode.rpc"
local task = require "lunode.task"

local PATIENCE = 0.4 -- seconds that the primary waits for the backup
local SILENCE = 1 -- after which the backup no longer waits for the primary

local role, address = arg[1], arg[2]
if not (role == "witness" and #arg == 2 or (role == "primary" or role == "backup") and (#arg == 3 or #arg == 4)) then
  io.stderr:write("usage: lunode run primary_backup.lua primary|backup|witness HOST:PORT [OTHERS [WITNESS]]\n")
  os.exit(2)
end
local other = arg[3] and rpc.peer(arg[3])
local witness = arg[4] and rpc.peer(arg[4])

local value, version = "", 0 -- what is known to be on both nodes, or on the one that is left
local issued = 0 -- the last version that we have given to a write
local alone = false -- for good: the other one no longer counts
local heard = math.huge -- when the primary last gave a sign of life; not yet
local owner -- whom the witness lets go on alone

local function fail(code)
  error { code = code, message = ("%s is %s"):format(address, role) }
end

-- The two have lost each other: is it us who goes on? nil: that could not be found out.
local function may_go_alone()
  if witness then
    return (witness:call("claim", { address }, { timeout = PATIENCE }))
  end
  return true -- the other one must be dead
end

local function keep(new_version, new_value)
  if new_version > version then
    version, value = new_version, new_value
  end
end

-- The backup takes it, and still lets us be the primary; or there is no backup any more. Raises where it is neither.
local function confirm(new_version, new_value)
  if alone then
    return
  end
  local confirmed, err = other:call("follow", { new_version, new_value }, { timeout = PATIENCE })
  if not confirmed then
    alone = err.code ~= "ENOTBACKUP" and may_go_alone() or false
    if not alone then
      role = err.code == "ENOTBACKUP" and "out" or role
      error(err) -- not definite if it may have reached the backup
    end
  end
end

local methods = {
  read = function()
    if role ~= "primary" then
      fail "ENOTPRIMARY"
    end
    confirm(version, value)
    return value
  end,

  write = function(_, new_value)
    if role ~= "primary" then
      fail "ENOTPRIMARY"
    end
    issued = math.max(issued, version) + 1
    local mine = issued
    confirm(mine, new_value)
    keep(mine, new_value)
    return true
  end,

  follow = function(_, new_version, new_value)
    if role ~= "backup" then
      fail "ENOTBACKUP"
    end
    heard = loop.now()
    keep(new_version, new_value)
    return true
  end,

  claim = function(_, who)
    owner = owner or who
    return owner == who
  end,
}

task.spawn(function()
  while role == "primary" and not alone do
    pcall(confirm, version, value) -- a sign of life
    task.sleep(SILENCE / 4)
  end
  while role == "backup" do
    task.sleep(SILENCE / 4)
    if loop.now() - heard > SILENCE and may_go_alone() then
      role, alone = "primary", true
      print(address .. " takes over")
    end
  end
end)

local server = assert(rpc.serve(address, methods))
print(("%s listening on %s"):format(role, server:address()))
