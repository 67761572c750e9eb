-- The command line: finds the verb and hands over. What the verbs do is in lunode/cli/.

local suggest = require "lunode.cli.suggest"
local version = require "lunode.version"

local M = {}

-- In the order of help. Loaded when needed: `version` and `help` need no loop.
local VERBS = {
  "run", "repl", "attach", "kv", "cluster", "backup", "restore", "check", "dump", "test", "version", "help",
}

local function verb_module(name)
  return require("lunode.cli." .. name)
end

local SUMMARY = {
  run = "run a Lua script, then the loop until nothing is active",
  repl = "open a Lua prompt, and poke other nodes from it",
  attach = "open a prompt inside a running node",
  kv = "run a key-value node that Redis clients talk to",
  cluster = "look after a cluster of key-value nodes",
  backup = "copy the data of a node, running or not",
  restore = "copy a backup into a new data directory",
  check = "look for damage in a data directory",
  dump = "show what is in a data directory",
  test = "run specs, on the real world and in the simulator",
  version = "print the version",
  help = "explain a verb",
}

local HELP = {
  version = "usage: lunode version\n\nPrints the versions of lunode and of its Lua.",
  help = "usage: lunode help [VERB]\n\nExplains the verb, or lists them all.",
}

local function short_help()
  local lines = { "lunode: the Lua-scriptable network node", "", "usage: lunode VERB [ARGUMENT…]", "" }
  for _, verb in ipairs(VERBS) do
    lines[#lines + 1] = ("  %-8s %s"):format(verb, SUMMARY[verb])
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = "`lunode help VERB` tells more. Exit codes: 0 all well, 1 it failed, 2 wrong usage."
  return table.concat(lines, "\n")
end

local function usage_error(text)
  io.stderr:write("lunode: ", text, "\n")
  return 2
end

local function unknown_verb(word)
  return usage_error(("unknown verb %q%s"):format(word, suggest.hint(word, VERBS)))
end

local function is_help(word)
  return word == "--help" or word == "-h"
end

local verbs = {}

function verbs.run(words)
  return verb_module("run").main(words)
end

function verbs.repl(words)
  return verb_module("repl").main(words)
end

function verbs.attach(words)
  return verb_module("attach").main(words)
end

function verbs.kv(words)
  return verb_module("kv").main(words)
end

for _, verb in ipairs { "cluster", "backup", "restore", "check", "dump" } do
  verbs[verb] = function(words)
    return verb_module(verb).main(words)
  end
end

function verbs.test(words)
  return verb_module("test").main(words)
end

function verbs.version(words)
  if is_help(words[2]) then
    return verbs.help { "help", "version" }
  elseif words[2] then
    return usage_error("version takes no arguments")
  end
  print(("lunode %s (%s)"):format(version, _VERSION))
  return 0
end

function verbs.help(words)
  local verb = words[2]
  if words[3] then
    return usage_error("help takes one verb")
  elseif not verb or is_help(verb) then
    print(short_help())
    return 0
  elseif not verbs[verb] then
    return unknown_verb(verb)
  end
  print(HELP[verb] or verb_module(verb).help)
  return 0
end

---@param words string[]  the command line; words[0] is the program
---@return integer code  for the process to exit with
function M.main(words)
  local verb = words[1]
  if not verb or is_help(verb) then
    print(short_help())
    return 0
  elseif verb == "--version" then
    return verbs.version {}
  elseif not verbs[verb] then
    return unknown_verb(verb)
  end
  return verbs[verb](words)
end

return M
