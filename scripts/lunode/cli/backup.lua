-- `lunode backup`: a consistent copy of a node's data, of one that runs or of one that does not.

local copy = require "lunode.cli.copy"
local files = require "lunode.cli.files"
local store = require "lunode.store"

local M = {}

M.help = [[
usage: lunode backup DATA|unix:PATH OUT

Copies the data of a node into the directory OUT, which must be empty or not there. A node that runs is asked through
its console (DATA/console.sock, or the socket that is given), writes the copy itself, and goes on serving: the copy is
what it had committed when it began. Of one that does not run, the store is copied, and what the log has beyond that;
of a member of a cluster, the store alone, as nobody but its cluster knows what of the log counts. A copy of a member's
data is that of a node by itself.

OUT is a data directory: `lunode kv --data OUT` runs from it, `lunode check OUT` checks it, `lunode restore OUT DATA`
copies it back. What is interrupted or fails is deleted; where that is impossible (SIGKILL, a power cut), no node starts
from what is left.

options:
  --help  this text

examples:
  lunode backup /var/lib/lunode /backup/2026-11-22
  lunode backup unix:/run/lunode/console.sock /backup/2026-11-22

exit codes:
  0    there is a whole copy
  1    there is none: the message says why
  2    wrong usage
  130  interrupted]]

local function check_hello(peer, path)
  local hello, err = peer:call("console.hello", { { version = require("lunode.repl.console").VERSION } })
  if err then
    local what = err.code == "ENOENT" and "there is no console at %s: is the node running, and not with --no-console?"
      or err.code == "ECONNREFUSED" and "nobody listens at %s: the node that made it has ended"
      or "cannot ask the node at %s: " .. err.message:gsub("%%", "%%%%")
    return nil, what:format(path)
  elseif type(hello) ~= "table" then
    return nil, ("what listens at %s is not a console"):format(path)
  end
  return true
end

-- Follows what the node tells until it is done.
local function follow(stream)
  local progress = files.progress()
  for chunk in stream.receive, stream do
    local rows, bytes, total = chunk:match "^(%d+) (%d+) (%d+)$"
    if rows then
      progress:tell(math.tointeger(rows), math.tointeger(bytes), math.tointeger(total))
    end
  end
  local result, err = stream:result()
  local seconds = progress:close()
  if err then
    return nil, err.code == "ENOMETHOD" and "what has this console is no `lunode kv`, or an older one" or err.message
  elseif type(result) ~= "table" or not (math.tointeger(result.rows) and math.tointeger(result.bytes)
    and math.tointeger(result.index)) then
    return nil, "the node has answered with something else than what it copied"
  end
  return result, seconds
end

-- Asks the node, in a task.
local function ask(path, out, on_interrupt)
  local peer = require("lunode.rpc").peer("unix:" .. path, { timeout = 60 })
  on_interrupt(function()
    peer:close() -- the node deletes what there is
  end)
  local result, err = check_hello(peer, path)
  if result then
    local stream, failure = peer:open("backup", { files.absolute(out) }, { timeout = 3600 })
    if stream then
      result, err = follow(stream)
    else
      result, err = nil, failure.message
    end
  end
  peer:close()
  return result, err
end

local function run(source, out, on_interrupt)
  local path = source:match "^unix:(.+)$"
  local info, err
  if not path then
    info, err = store.inspect(source)
    if not info then
      return files.complain(files.without_option(err))
    end
  end
  local result, seconds
  if path or info.locked then
    result, seconds = ask(path or source .. "/console.sock", out, on_interrupt)
  else
    result, seconds = copy.copy(source, out, on_interrupt)
  end
  if not result then
    return files.complain(("no backup was made: %s"):format(files.without_option(seconds)))
  end
  print(copy.summary(("backed up %s to %s"):format(source, out), result, seconds))
  return 0
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  return copy.main(words, "DATA and OUT are", M.help, run)
end

return M
