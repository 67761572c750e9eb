-- `lunode dump`: what is in a data directory, in readable form. Changes nothing.

local copy = require "lunode.cli.copy"
local files = require "lunode.cli.files"
local log = require "lunode.log"
local member = require "lunode.cli.member"
local readable = require "lunode.cli.readable"
local store = require "lunode.store"
local task = require "lunode.task"
local view = require "lunode.cli.view"

local M = {}

M.help = [[
usage: lunode dump DATA [--log] [--store]

Shows what is in a data directory: the records of its log, then the rows of its store, a line each. Bytes that cannot be
printed are escaped as in Lua (\x00). Of a member of a cluster: its own store, then the one with the data. Changes
nothing. While a node has the directory open its log can be shown, but its
store cannot: show a backup instead. Names such as (expire) are commands of the node's own.

options:
  --log    the log only
  --store  the store only
  --help   this text

examples:
  lunode dump /var/lib/lunode --log | tail
  lunode dump /backup/2026-11-22 --store | grep '^key "user:'

exit codes:
  0    all of it was shown
  1    it cannot be read, or not to its end: the message says why
  2    wrong usage
  130  interrupted]]

local TURN = 1000 -- lines, between two looks at signals

-- Where the reader of a pipe has gone there is nobody to write to.
local function say(line)
  if not io.stdout:write(line, "\n") then
    error({ gone = true }, 0)
  end
end

local function record(found)
  local where = ("%016x:%d"):format(found.segment, found.offset)
  if found.kind == "entry" then
    return ("%s %s"):format(where, readable.entry(found))
  elseif found.kind == "segment" then
    return ("%s segment behind entry %d"):format(where, found.index or 0)
  elseif found.what and found.what ~= found.kind then
    return ("%s %s: %s"):format(where, found.kind, found.what)
  elseif found.kind == "state" then
    return ("%s state term %d vote %s"):format(where, found.term, readable.quote(found.payload or ""))
  end
  return ("%s %s%s"):format(where, found.kind, found.index and (" %d"):format(found.index) or "")
end

local function dump_log(dir)
  local report, err, code = log.check(dir .. "/log", function(found)
    say(record(found))
  end)
  if report then
    return report.ok and 0
      or files.complain(("the log in %s is damaged; `lunode check %s` tells more"):format(dir, dir))
  elseif code == "ENOENT" then
    return 0 -- as of a backup
  end
  return files.complain(err)
end

local function dump_rows(opened, state)
  local count = 0
  for row, value in opened.store:scan("") do
    say(readable.row(row, value))
    count = count + 1
    if count % TURN == 0 then
      task.yield()
      if state.interrupted then
        return
      end
    end
  end
end

local dump_store
function dump_store(dir, info, state)
  if info.locked then
    return files.complain(("the store in %s is not shown: process %s has it open; make a backup (`lunode backup %s "
      .. "OUT`) and show that"):format(dir, info.pid or "?", dir))
  end
  local opened, err = view.open(dir)
  if not opened then
    return files.complain(err)
  end
  local ok, failure = pcall(dump_rows, opened, state)
  local text, whose = opened:explain(failure), ok and member.of(opened.store, dir)
  opened:close()
  if whose and whose.dir and not state.interrupted then
    return dump_store(whose.dir, info, state)
  end
  if not ok and type(failure) == "table" then
    error(failure, 0)
  end
  return ok and 0 or files.complain(text)
end

-- The log is read without a stop, so a signal ends the process there; the view of the store has to be taken away.
local function run(dir, given)
  local info, err = store.inspect(dir)
  if not info then
    return files.complain(files.without_option(err))
  end
  local both, code = not given.log == not given.store, 0
  if both or given.log then
    code = dump_log(dir)
  end
  if both or given.store then
    code = math.max(code, copy.interruptible(function(on_interrupt)
      local state = { interrupted = false }
      on_interrupt(function()
        state.interrupted = true
      end)
      return dump_store(dir, info, state)
    end))
  end
  return code
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  local names, given = files.read(words, 1, "DATA is", { log = true, store = true })
  if names == "help" then
    print(M.help)
    return 0
  elseif not names then
    return files.complain(given .. " (see `lunode help dump`)", files.EXIT_USAGE)
  end
  local ok, result = pcall(run, names[1], given)
  if ok then
    return result
  elseif type(result) == "table" and result.gone then
    return files.EXIT_FAILURE
  end
  error(result, 0)
end

return M
