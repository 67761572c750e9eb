-- `lunode restore`: copies a backup into a new data directory.

local copy = require "lunode.cli.copy"
local files = require "lunode.cli.files"
local store = require "lunode.store"

local M = {}

M.help = [[
usage: lunode restore BACKUP DATA

Copies a backup into the directory DATA, which must be empty or not there: then `lunode kv --data DATA` runs from it.
The backup stays as it is. (To run from the backup itself, give it as --data.)

options:
  --help  this text

example:
  lunode restore /backup/2026-11-22 /var/lib/lunode

exit codes:
  0    DATA is ready
  1    it is not, and holds nothing: the message says why
  2    wrong usage
  130  interrupted]]

local function run(from, to, on_interrupt)
  local info, err = store.inspect(from)
  if not info then
    return files.complain(("nothing was restored: %s"):format(files.without_option(err)))
  end
  local result, seconds = copy.copy(from, to, on_interrupt)
  if not result then
    return files.complain(("nothing was restored: %s"):format(files.without_option(seconds)))
  end
  print(copy.summary(("restored %s to %s"):format(from, to), result, seconds))
  return 0
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  return copy.main(words, "BACKUP and DATA are", M.help, run)
end

return M
