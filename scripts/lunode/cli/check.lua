-- `lunode check`: looks for damage in a data directory, and changes nothing.

local check_rows = require "lunode.cli.check_rows"
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
usage: lunode check [--format text|json] DATA

Looks for damage in a data directory, and changes nothing. It reads every record of the log against its checksum, and
the commands in it; every row of the store, whose blocks have checksums, too; and it holds the keys against the expiry
index and the counts. What the log has beyond the store is not carried out: nodes do that when they start.

A torn tail is what a crash has left of the last write, unfinished: it is told, and is no damage, as nothing in it was
acknowledged as being on disk; the next start cuts it off. While a node has the directory open its log can be checked,
but its store cannot: make a backup and check that.

options:
  --format text|json  how to report (default text)
  --help              this text

examples:
  lunode check /var/lib/lunode
  lunode check --format json /backup/2026-11-22 | jq .ok

exit codes:
  0    no damage in what was looked at
  1    damaged, or it cannot be read: the report says where and why
  2    wrong usage
  130  interrupted]]

local MOST = 100 -- damages of the log that are told one by one

---@class lunode.cli.check
---@field dir string
---@field ok boolean
---@field damages string[]
---@field notes string[]      what is worth knowing, and no damage
---@field log table?          what lunode.log.check says of it
---@field store lunode.cli.rows_report?
---@field member lunode.cli.member?
---@field foreign integer?    entries of a cluster's log that are no commands of keys
---@field not_checked string[]

local function place(found)
  return ("segment %016x at offset %d"):format(found.segment, found.offset)
end

-- What the entries of a cluster's log mean depends on the state machine: `foreign` of them were no commands of keys.
local function check_log(report)
  local damages, count, commands, foreign = report.damages, 0, 0, 0
  local function damage(format, ...)
    count = count + 1
    if count <= MOST then
      damages[#damages + 1] = "log: " .. format:format(...)
    end
  end
  local result, err, code = log.check(report.dir .. "/log", function(found)
    if found.kind == "damage" then
      damage("%s: %s", place(found), found.what)
    elseif found.kind == "torn" then
      report.notes[#report.notes + 1] = ("log: a torn tail in %s (%s): what a crash left of the last write; the next "
        .. "start cuts it off"):format(place(found), found.what)
    elseif found.kind == "entry" and found.type == 1 then
      local time, why = readable.commands(found, function()
        commands = commands + 1
      end)
      if not time and found.term > 0 then
        foreign = foreign + 1
      elseif not time then
        damage("%s: entry %d holds no commands: %s", place(found), found.index, why)
      end
    end
  end)
  if count > MOST then
    damages[#damages + 1] = ("log: and %d more"):format(count - MOST)
  end
  if result then
    result.damages, result.ok, result.commands = nil, nil, commands
    report.log, report.foreign = result, foreign > 0 and foreign or nil
  elseif code == "ENOENT" then
    report.notes[#report.notes + 1] = "there is no log: it is a backup, or no node ever ran from it"
  else
    damages[#damages + 1] = "log: " .. err
  end
end

-- What has to be so between the two.
local function check_both(report)
  local entries, rows = report.log, report.store
  if rows.rows == 0 and rows.unreadable == 0 and not entries then
    report.damages[#report.damages + 1] =
      "there is nothing in it: no node ever ran from it, or a copy ended as it began"
  elseif entries and report.member and entries.last < rows.applied then
    report.damages[#report.damages + 1] = ("the store holds entries up to %d, and the log ends with %d: the files are "
      .. "not of one member"):format(rows.applied, entries.last)
  elseif entries and entries.last > rows.applied and entries.first > rows.applied + 1 then
    report.damages[#report.damages + 1] = ("the log begins with entry %d, and the store holds entries up to %d only: "
      .. "the files are not of one node"):format(entries.first, rows.applied)
  end
end

-- The store with the data: of a member of a cluster, beside the one that says whose it is.
local function open_data(report)
  local opened, err = view.open(report.dir)
  if not opened then
    return nil, err
  end
  local ok, found, why = pcall(member.of, opened.store, report.dir)
  if not ok or why then
    err = why or opened:explain(found)
    opened:close()
    return nil, err
  end
  report.member = found
  if found and found.dir then
    opened:close()
    return view.open(found.dir)
  end
  return opened
end

local function check_store(report, on_interrupt)
  local opened, err = open_data(report)
  if not opened then
    report.damages[#report.damages + 1] = "store: " .. err
    return
  end
  local interrupted, progress = false, files.progress()
  on_interrupt(function()
    interrupted = true
  end)
  local ok, result = pcall(check_rows.check, opened.store, function(why)
    return opened:explain(why)
  end, function(so_far)
    progress:tell(so_far.rows, so_far.bytes)
    task.yield()
    return interrupted
  end)
  progress:close()
  opened:close()
  if not ok then
    error(result, 0)
  elseif result then
    for i, text in ipairs(result.damages) do
      report.damages[#report.damages + 1], result.damages[i] = "store: " .. text, nil
    end
    result.damages = nil
    report.store = result
    check_both(report)
  end
end

-- ---- reports

local function print_text(report)
  local entries, rows = report.log, report.store
  if entries then
    print(("log: %s in %s, %s; entries %d to %d, %s"):format(files.count(entries.records, "record"),
      files.count(entries.segments, "segment"), files.size(entries.bytes), entries.first, entries.last,
      files.count(entries.commands, "command")))
  end
  if rows then
    print(("store: %s, %s; %s, %d of them expire; entries up to %d"):format(files.count(rows.rows, "row"),
      files.size(rows.bytes), files.count(rows.keys, "key"), rows.expires, rows.applied))
  end
  for _, kind in ipairs { "notes", "not_checked", "damages" } do
    for _, text in ipairs(report[kind]) do
      print(("%s: %s"):format(kind:gsub("_", " "):gsub("s$", ""), text))
    end
  end
  print(report.ok and ("%s: no damage%s"):format(report.dir, #report.not_checked > 0 and " in what was checked" or "")
    or ("%s: damaged; restore a backup (lunode restore BACKUP NEW_DATA)"):format(report.dir))
end

local function print_json(report)
  print((require("lunode.repl.json").encode(report)))
end

local function describe_store(report)
  local rows, whose = report.store, report.member
  if whose then
    report.notes[#report.notes + 1] = ("it is of the member %s of the cluster %s"):format(whose.id, whose.cluster)
  end
  if report.foreign and rows and rows.format then
    report.damages[#report.damages + 1] = ("log: %s no commands"):format(
      report.foreign == 1 and "1 entry holds" or ("%d entries hold"):format(report.foreign))
  end
  if rows and rows.saved then
    report.notes[#report.notes + 1] = "the store is a backup, or comes from one, of " .. readable.time(rows.saved)
  end
  if rows and rows.unknown > 0 then
    report.notes[#report.notes + 1] = ("store: %s that a key-value node does not make: of scripts?"):format(
      files.count(rows.unknown, "row"))
  end
end

local function run(dir, format)
  local report = {
    dir = dir, ok = true, damages = {}, notes = {}, log = nil, store = nil, member = nil, foreign = nil,
    not_checked = {},
  }
  local info, err, err_code = store.inspect(dir)
  if not info and err_code ~= "EVERSION" and err_code ~= "ECORRUPT" then
    return files.complain(files.without_option(err))
  end
  local code = 0
  if not info then
    report.damages[1] = err
  else
    check_log(report)
    if info.locked then
      report.not_checked[1] = ("the store, as process %s has it open: make a backup (lunode backup %s OUT) and check "
        .. "that"):format(info.pid or "?", dir)
    else
      code = copy.interruptible(function(on_interrupt)
        check_store(report, on_interrupt)
        return 0
      end)
    end
  end
  if code == files.EXIT_INTERRUPTED then
    return code
  end
  describe_store(report)
  report.ok = #report.damages == 0
  local say = format == "json" and print_json or print_text
  say(report)
  return report.ok and 0 or files.EXIT_FAILURE
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  local names, given = files.read(words, 1, "DATA is", { format = { "text", "json" } })
  if names == "help" then
    print(M.help)
    return 0
  elseif not names then
    return files.complain(given .. " (see `lunode help check`)", files.EXIT_USAGE)
  end
  return run(names[1], given.format)
end

return M
