-- `lunode test`: the command line of the spec runner, which is lunode/test/runner.lua.

local suggest = require "lunode.cli.suggest"

local M = {}

M.help = [[
usage: lunode test [OPTION…] [FILE|DIRECTORY…]

Runs busted specs: the files named, and all *_spec.lua in the directories named (default: spec). Each file runs in a
process of its own. The body of an `it` is a task: it may wait, and it may turn the loop itself. docs/testing.md is
the guide.

options:
  --filter PATTERN   only tests whose full name has this Lua pattern
  --jobs N           files at a time (default 1)
  --timeout SECONDS  for each test, and for each seed of a sim_it (default 30)
  --shuffle[=SEED]   tests and files in random order; the seed is told
  --seed N           sim_it: with this seed only
  --seeds N          sim_it: with so many seeds
  --keep ID,…        sim_it: of the faults that a swarm draws, only these; "none" for none
  --trace            sim_it: print the whole transcript
  --trace-html FILE  sim_it: draw the transcript as a page
  --rewrite          keep new golden texts
  --tap              results in the Test Anything Protocol
  --junit FILE       results as JUnit's XML, too
  --help             this text

examples:
  lunode test --jobs 2
  lunode test --filter 'keeps order' spec/echo_spec.lua
  lunode test --seed 1234 --trace spec/register_spec.lua

exit codes:
  0  all tests passed
  1  one failed, or something outside of a test did, or there was none to run
  2  wrong usage
  130  interrupted]]

-- ---------------------------------------------------------------- options

local function integer(low, high)
  return function(text)
    local number = text:find "^%d+$" and math.tointeger(text)
    return number and number >= low and number <= high and number or nil
  end
end

local function seconds(text)
  local number = text:find "^[%d.]+$" and tonumber(text)
  return number and number > 0 and number <= 86400 and number or nil
end

local function pattern(text)
  return pcall(string.find, "", text) and text or nil
end

local function ids(text)
  local list = {}
  if text ~= "none" then
    for word in (text .. ","):gmatch "([^,]*)," do
      list[#list + 1] = integer(1, 1 << 31)(word)
      if not integer(1, 1 << 31)(word) then
        return nil
      end
    end
  end
  return list
end

local function path(text)
  return text ~= "" and text or nil
end

local SEED = "a whole number from 0 to 9223372036854775807"

local OPTIONS = {
  filter = { parse = pattern, accepts = "a Lua pattern (a ( or % in a name wants a % before it)" },
  jobs = { parse = integer(1, 256), accepts = "a whole number from 1 to 256" },
  timeout = { parse = seconds, accepts = "seconds, at most 86400" },
  shuffle = { parse = integer(0, (1 << 31) - 1), accepts = "a whole number from 0 to 2147483647", optional = true },
  seed = { parse = integer(0, math.maxinteger), accepts = SEED },
  seeds = { parse = integer(1, 1 << 31), accepts = "a whole number, at least 1" },
  keep = { parse = ids, accepts = 'numbers of faults such as 1,4,7, or "none"' },
  trace = { flag = true },
  ["trace-html"] = { parse = path, accepts = "the name of a file" },
  rewrite = { flag = true },
  tap = { flag = true },
  junit = { parse = path, accepts = "the name of a file" },
}

local function refuse(format, ...)
  error({ message = format:format(...) }, 0)
end

local function unknown(word)
  local names = { "--help" }
  for name in pairs(OPTIONS) do
    names[#names + 1] = "--" .. name
  end
  table.sort(names)
  refuse("unknown option %s%s", word, suggest.hint(word, names))
end

-- Reads one option at words[i]; returns the position of its last word.
local function read_option(settings, words, i)
  local word = words[i]
  local name, text = word:match "^%-%-([^=]+)=(.*)$"
  name = name or word:match "^%-%-(.+)$"
  local option = OPTIONS[name or ""]
  if not option then
    unknown(name and "--" .. name or word)
  elseif option.flag then
    if text then
      refuse("--%s takes no value", name)
    end
    settings[name] = true
    return i
  elseif not text and option.optional then
    settings[name] = true
    return i
  elseif not text then
    i = i + 1
    text = words[i]
  end
  local value = text and option.parse(text)
  if value == nil then
    refuse(
      "--%s: %s; give %s",
      name,
      text and ("%q is not acceptable"):format(text) or "a value is needed",
      option.accepts
    )
  end
  settings[name] = value
  return i
end

-- Returns settings and paths, or "help".
local function read(words)
  local settings, paths = {}, {}
  local i, only_paths = 2, false
  while i <= #words do
    local word = words[i]
    if only_paths or word:sub(1, 1) ~= "-" then
      paths[#paths + 1] = word
    elseif word == "--" then
      only_paths = true
    elseif word == "--help" or word == "-h" then
      return "help"
    else
      i = read_option(settings, words, i)
    end
    i = i + 1
  end
  if settings.seed and settings.seeds then
    refuse "--seed is one seed and --seeds is many: give one of them"
  end
  return settings, paths
end

-- ---------------------------------------------------------------- running

local function complain(text)
  io.stderr:write("lunode: ", text, "\n")
end

-- The process of one file: see lunode.test.runner, which starts it.
local function run_child(dir)
  local channel = require "lunode.test.channel"
  local msgpack = require "lunode.msgpack"
  local tmp = require "lunode.test.tmp"
  local options = msgpack.decode(assert(tmp.read(dir .. "/options")))
  channel.open(dir .. "/events")
  require("lunode.test.options").set(options)
  require("lunode.test.harness").run(options)
  return 0
end

local function finish(total, interrupted, settings, report)
  report:finish(total)
  if settings.junit then
    local ok, err = require("lunode.test.junit").write(total, settings.junit)
    if not ok then
      complain("--junit: " .. err)
      return 1
    end
  end
  if interrupted then
    complain "interrupted"
    return 130
  elseif total.passed + total.failed + total.skipped == 0 then
    complain(
      settings.filter and ("no test has %q in its name"):format(settings.filter) or "there is no test in these files"
    )
    return 1
  end
  return total.failed == 0 and 0 or 1
end

local function run(settings, paths)
  if not pcall(require, "busted.core") then
    complain "lunode test needs busted for Lua 5.4; on Debian: apt-get install lua-busted"
    return 1
  end
  local files, err = require("lunode.test.files").find(#paths > 0 and paths or { "spec" })
  if not files then
    complain(err)
    return 1
  end
  local shuffle = settings.shuffle
  if shuffle == true then
    shuffle = require("lunode.loop").random(0, (1 << 31) - 1)
  end
  local report = require(settings.tap and "lunode.test.tap" or "lunode.test.report").new()
  local ok, total, interrupted = pcall(require("lunode.test.runner").run, files, {
    jobs = settings.jobs or 1,
    timeout = settings.timeout or 30,
    filter = settings.filter,
    shuffle = shuffle,
    rewrite = settings.rewrite,
    seed = settings.seed,
    seeds = settings.seeds,
    keep = settings.keep,
    trace = settings.trace,
    trace_html = settings["trace-html"],
  }, report)
  if not ok then
    complain("the run has ended early: " .. tostring(total))
    return 1
  end
  return finish(total, interrupted, settings, report)
end

---@param words string[]  the whole command line; words[1] is the verb
---@return integer code
function M.main(words)
  if words[2] == "--child" then
    return run_child(words[3])
  end
  local ok, settings, paths = pcall(read, words)
  if not ok then
    if type(settings) ~= "table" then
      error(settings, 0)
    end
    complain(settings.message .. "; see `lunode help test`")
    return 2
  elseif settings == "help" then
    print(M.help)
    return 0
  end
  return run(settings, paths)
end

return M
