-- `lunode attach`: a prompt inside of a running node, through its console.

local arguments = require "lunode.cli.repl_options"
local log = require "lunode.cli.log"
local loop = require "lunode.loop"
local task = require "lunode.task"

local M = {}

local SECONDS = 30

M.help = [[
usage: lunode attach [-e CODE] [-f FILE|-] [--format lua|json] [--timeout SECONDS] [unix:PATH | DATA_DIR]

Opens a prompt inside of a running node, through the console that `lunode kv` opens in its data directory (default
./data), or another socket. What you type runs in the node, with its objects at hand: node, db, store, sessions(). Your
globals are yours alone. The node logs each evaluation, and goes on serving meanwhile: what holds it up for more than a
second is ended.

options:
  -e CODE            evaluate CODE and print its results, instead of a prompt; may be repeated
  -f FILE            the same with what is in FILE (- is the standard input), as one piece
  --format lua|json  how results are printed; with json errors are JSON, too, on the standard error (default lua)
  --timeout SECONDS  that one evaluation may take (default 30)
  --help             this text

examples:
  lunode attach
  lunode attach /var/lib/lunode -e 'node.stats'
  lunode attach unix:/run/lunode/console.sock --format json -f report.lua

exit codes:
  0    all well
  1    an error in what was evaluated, or there is no node to attach to
  2    wrong usage
  130  interrupted]]

local function complain(text)
  io.stderr:write("lunode: ", text, "\n")
end

-- A directory has its console in it.
local function path_of(word)
  local path = word:match "^unix:(.+)$"
  if path then
    return path
  elseif word:find "%.sock$" then
    return word
  end
  return (word:gsub("(.)/+$", "%1")) .. "/console.sock"
end

local function run(path, options)
  local remote, err = require("lunode.repl.remote").open(path, options.timeout or SECONDS)
  if not remote then
    complain(err)
    return 1
  end
  local prompt = require("lunode.repl.prompt").open(remote, {
    name = remote.name,
    json = options.json,
    interactive = #options.steps == 0,
  })
  local left = false
  remote.on_gone = function(why)
    left = true
    prompt:leave()
    complain(("the node has gone: %s"):format(why))
  end
  local code = arguments.perform(prompt, options)
  prompt:close()
  remote:close()
  return left and 1 or code
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  local options, message, exit_code = arguments.read(words, 2, true)
  if options == "help" then
    print(M.help)
    return 0
  elseif options and #options.files > 1 then
    options, message = nil, "one node at a time"
  end
  if not options then
    complain(exit_code and message or message .. " (see `lunode help attach`)")
    return exit_code or 2
  end
  local path = path_of(options.files[1] or "data")
  if #path > 107 then
    complain(("%s: the path of a socket has at most 107 bytes; cd nearer to it"):format(path))
    return 1
  end
  log.open()
  loop.on_error(complain)
  return task.run(run, path, options) or 1
end

return M
