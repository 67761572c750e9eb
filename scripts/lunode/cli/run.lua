-- `lunode run`: a script, as the stock `lua` runs one, and then the loop until nothing is active.

local log = require "lunode.cli.log"
local loop = require "lunode.loop"

local M = {}

M.help = [[
usage: lunode run [--repl] FILE [ARGUMENT…]

Runs the Lua script FILE (- is the standard input), then the loop until nothing is active or the script calls
loop.stop(). The script finds its arguments in `...` and in the table `arg`, as with the stock `lua`.

With --repl a prompt opens once the script has run, in the same process: see `lunode help repl`. The script's globals
are at hand there. Ctrl-D ends the process.

examples:
  lunode run examples/echo_server.lua 127.0.0.1:7000
  lunode run --repl examples/chat.lua
  echo 'print(require("lunode.loop").now())' | lunode run -

exit codes:
  0  the script and the loop have ended (or what the script gave to os.exit)
  1  an error in the script's main chunk, or no such file
  2  wrong usage]]

-- As lua.c does it: objects may say for themselves what went wrong.
local function describe(err)
  if type(err) ~= "string" then
    local meta = getmetatable(err)
    if type(meta) == "table" and meta.__tostring then
      return tostring(err)
    end
    err = ("(error object is a %s value)"):format(type(err))
  end
  return debug.traceback(err, 2)
end

local function complain(text)
  io.stderr:write("lunode: ", text, "\n")
end

-- The words as the stock `lua` numbers them: the script is 0, what stands before it is negative.
local function number_words(words, position)
  local arg = {}
  for i = 0, #words do
    arg[i - position] = words[i]
  end
  return arg
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  local position, with_prompt = 2, false
  if words[position] == "--repl" then
    position, with_prompt = position + 1, true
  end
  local word = words[position]
  local is_literal = word == "--"
  if is_literal then
    position = position + 1
  elseif word == "--help" or word == "-h" then
    print(M.help)
    return 0
  elseif word and word:find("^%-.") then
    complain(("unknown option %s; options of the script come after its name"):format(word))
    return 2
  end
  local file = words[position]
  if not file then
    complain("run needs the name of a script; see `lunode help run`")
    return 2
  end

  local from_stdin = file == "-" and not is_literal
  if from_stdin and with_prompt then
    complain("run --repl needs the name of a script: the standard input is for what you type")
    return 2
  end
  local chunk, err = loadfile(not from_stdin and file or nil)
  if not chunk then
    complain(err)
    return 1
  end
  arg = number_words(words, position)
  log.open()
  local ok, trace = xpcall(chunk, describe, table.unpack(arg))
  if not ok then
    complain(trace)
    return 1
  end
  if with_prompt then
    require("lunode.repl").start({}, loop.stop)
  end
  loop.run()
  return 0
end

return M
