-- Copies the data of a node that does not run, for `lunode backup` and `lunode restore`: its store, and what its log
-- has beyond that. The copying itself is lunode.kv.backup.

local backup = require "lunode.kv.backup"
local files = require "lunode.cli.files"
local keys = require "lunode.kv.keys"
local log = require "lunode.log"
local loop = require "lunode.loop"
local member = require "lunode.cli.member"
local store = require "lunode.store"
local task = require "lunode.task"

local M = {}

-- Its log; nil alone where it has none, as a backup has not.
local function open_log(dir, applied)
  local handle, err, code = log.open(dir .. "/log", { create = false })
  if not handle then
    if code == "ENOENT" then
      return nil
    end
    return nil, err
  elseif handle:last() > applied and handle:first() > applied + 1 then
    handle:close()
    return nil, ("the log in %s begins with entry %d, but the store holds entries up to %d only: the files are not of "
      .. "one node; ask `lunode check %s`"):format(dir, handle:first(), applied, dir)
  end
  return handle
end

-- About how many rows there are.
local function estimate(handle)
  local counts = handle:get(keys.COUNT_ROW)
  if not counts or #counts ~= 16 then
    return nil
  end
  local count, expires = keys.counts(counts)
  return count + expires + 2
end

---The line that tells how it went.
---@param what string     "backed up data to copy"
---@param result table    rows, bytes, entries, index
---@param seconds number
---@return string
function M.summary(what, result, seconds)
  local tail = (result.entries or 0) > 0 and (" and %s of the log"):format(files.count(result.entries, "entry")) or ""
  return ("%s: %s%s, %s, up to entry %d, in %.1f s"):format(what, files.count(result.rows, "row"), tail,
    files.size(result.bytes), result.index, seconds)
end

---Runs `work(on_interrupt)` as a task; `on_interrupt(fn)` says what to do at SIGINT and SIGTERM.
---@param work fun(on_interrupt: fun(fn: fun())): integer
---@return integer code
function M.interruptible(work)
  local interrupt, interrupted = nil, false
  local function stop()
    interrupted = true
    if interrupt then
      interrupt()
    end
  end
  local signals = { loop.signal("INT", stop), loop.signal("TERM", stop) }
  local code = task.run(work, function(fn)
    interrupt = fn
    if interrupted then
      fn()
    end
  end)
  for _, signal in ipairs(signals) do
    signal:close()
  end
  return interrupted and files.EXIT_INTERRUPTED or code or files.EXIT_FAILURE
end

-- Copies what is open, in a task.
local function perform(from, handle, tail, to, on_interrupt)
  if handle:get(keys.FORMAT_ROW) == keys.UNFINISHED then
    return nil, ("%s is a copy that was never finished; make it again"):format(from)
  elseif handle:scan("")() == nil and not tail then
    return nil, ("%s holds no data: no node ever ran from it"):format(from)
  end
  local snapshot, err = handle:snapshot()
  if not snapshot then
    return nil, err
  end
  local total, progress = estimate(handle), files.progress()
  local done, failure = task.event(), nil
  local job
  job, err = backup.start {
    dir = to,
    snapshot = snapshot,
    engine = handle:stats().engine,
    log = tail,
    keep = files.exists(to),
    now = math.floor(loop.time() * 1000),
    on_progress = function(self)
      progress:tell(self.rows, self.bytes, total)
    end,
    on_end = function(why)
      failure = why
      done:resolve()
    end,
  }
  if not job then
    return nil, err
  end
  on_interrupt(function()
    job:cancel()
  end)
  done:wait()
  local seconds = progress:close()
  if failure then
    return nil, failure
  end
  return job, seconds
end

-- The store with the data, and the log of what it lacks. Of a member of a cluster without that log: whether an entry in
-- it is committed, no member knows by itself.
local function open_data(from)
  local handle, err = store.open(from, { create = false, cache = 4 << 20 })
  if not handle then
    return nil, nil, err
  end
  local whose, why = member.of(handle, from)
  if why then
    handle:close()
    return nil, nil, ("%s: %s"):format(from, why)
  elseif whose then
    handle:close()
    if not whose.dir then
      return nil, nil, ("%s is of the member %s of a cluster, and has no keys yet"):format(from, whose.id)
    end
    handle, err = store.open(whose.dir, { create = false, cache = 4 << 20 })
    return handle, nil, err
  end
  local tail
  tail, err = open_log(from, handle:applied())
  return handle, tail, err
end

---Copies a directory that no process has open. In a task.
---@param from string
---@param to string
---@param on_interrupt fun(fn: fun())
---@return lunode.kv.backup? result
---@return number|string seconds_or_err
function M.copy(from, to, on_interrupt)
  local handle, tail, err = open_data(from)
  if not handle then
    return nil, err
  end
  local result, seconds
  if not err then
    result, seconds = perform(from, handle, tail, to, on_interrupt)
  end
  if tail then
    tail:close()
  end
  handle:close()
  return result, err or seconds
end

---A verb that copies one directory to another: reads its command line, and runs it so that Ctrl-C ends it in good
---order.
---@param words string[]  the whole command line; words[1] is the verb
---@param what string     what its two names are: "DATA and OUT are"
---@param help string
---@param run fun(from: string, to: string, on_interrupt: fun(fn: fun())): integer
---@return integer code
function M.main(words, what, help, run)
  local names, message = files.read(words, 2, what)
  if names == "help" then
    print(help)
    return 0
  elseif not names then
    return files.complain(("%s (see `lunode help %s`)"):format(message, words[1]), files.EXIT_USAGE)
  end
  return M.interruptible(function(on_interrupt)
    return run(names[1], names[2], on_interrupt)
  end)
end

return M
