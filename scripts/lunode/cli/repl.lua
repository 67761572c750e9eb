-- `lunode repl`: a prompt in this process, or code from the command line evaluated as the prompt would.

local arguments = require "lunode.cli.repl_options"
local budget = require "lunode.budget"
local log = require "lunode.cli.log"
local loop = require "lunode.loop"
local task = require "lunode.task"

local M = {}

M.help = [[
usage: lunode repl [-e CODE] [-f FILE|-] [--format lua|json] [FILE…]

Opens a prompt for Lua that shares the event loop: timers and connections go on while you type. The FILEs are run
before, and their globals are at hand. Without a terminal the lines of the standard input are evaluated, one by one.

options:
  -e CODE            evaluate CODE and print its results, instead of a prompt; may be repeated
  -f FILE            the same with what is in FILE (- is the standard input), as one piece
  --format lua|json  how results are printed; with json errors are JSON, too, on the standard error (default lua)
  --help             this text

at the prompt:
  expression          prints its results; _ is the last one. One that waits is waited for
  redis "HOST:PORT"   a Redis server: r = redis "127.0.0.1:6379", then r:set("k", "v"), r:get("k")
  peer "HOST:PORT"    a node that speaks MessagePack-RPC: n = peer "127.0.0.1:7000", then n:call("ping")
  tcp "HOST:PORT"     a raw connection: t:send(bytes), t:read(), t:line()
  peers()             all of them, with state and latency
  broadcast(fn)       calls fn(peer) for each, at the same time
  show(value)         prints more of a value
  Tab                 completes; Ctrl-C interrupts, Ctrl-D leaves

variables:
  LUNODE_HISTORY      where lines are kept; empty: nowhere (default $XDG_STATE_HOME/lunode_history, ~/.lunode_history)
  NO_COLOR            when set, no colours

examples:
  lunode repl
  lunode repl -e 'r = redis "127.0.0.1:6380"' -e 'r:incr("visits")'
  lunode repl --format json -f questions.lua

exit codes:
  0    all well
  1    an error in what was evaluated, or no such file
  2    wrong usage
  130  interrupted]]

local function complain(text)
  io.stderr:write("lunode: ", text, "\n")
end

-- Runs the FILEs in the prompt's environment.
local function run_files(session, files)
  for _, file in ipairs(files) do
    local chunk, err = loadfile(file, "t", session.env)
    if not chunk then
      complain(err)
      return false
    end
    local ok, trace = xpcall(chunk, function(err_)
      return task.is_interrupt(err_) and err_ or debug.traceback(tostring(err_), 2)
    end)
    if not ok then
      complain(tostring(trace))
      return false
    end
  end
  return true
end

local function new_session()
  local peers = require("lunode.repl.peers").new()
  local session = require("lunode.repl.session").new(peers:objects(), {
    print = function(text)
      io.stdout:write(text)
    end,
  })
  peers.env = session.env
  return session, peers
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  local options, message, exit_code = arguments.read(words, 2)
  if options == "help" then
    print(M.help)
    return 0
  elseif not options then
    complain(exit_code and message or message .. " (see `lunode help repl`)")
    return exit_code or 2
  end
  log.open()
  budget.set(nil, true)
  local session, peers = new_session()
  local code = task.run(function()
    if not run_files(session, options.files) then
      return 1
    end
    local prompt = require("lunode.repl.prompt").open(session, {
      name = "lunode",
      json = options.json,
      interactive = #options.steps == 0,
    })
    local on_error = loop.on_error(function(traceback)
      complain(traceback)
    end)
    local result = arguments.perform(prompt, options)
    prompt:close()
    peers:close()
    loop.on_error(on_error)
    return result
  end)
  return code or 1
end

return M
