-- Runs the busted specs inside of lunode: `lunode run spec/run.lua [OPTION…] [FILTER…]`, from any directory.
--
-- A FILTER selects the spec files whose path contains it. Options are busted's own (`--help` lists them);
-- those that take a value want it after `=`. LUNODE_FULL=1 makes specs use their larger counts.

local dir = arg[0]:match("^(.*)/[^/]*$") or "."
local pwd = assert(io.popen("cd '" .. dir:gsub("'", [['\'']]) .. "/..' && pwd -P", "r"))
local root = assert(pwd:read("l"), "cannot tell where the specs are")
pwd:close()
package.path = root .. "/?.lua;" .. package.path

-- Each spec file gets a package.loaded of its own and forgets at its end what it required: C modules would be
-- opened again and again, and what these support modules know would get lost.
for _, name in ipairs {
  "batch",
  "budget",
  "decoder",
  "edit",
  "hash",
  "log",
  "loop",
  "msgpack",
  "resp",
  "slot",
  "store",
  "task",
  "tcp_client",
  "tcp_server",
  "watchdog",
} do
  require("lunode." .. name)
end
for _, name in ipairs { "cleanup", "wait", "tmp", "ports", "process", "expect", "redis", "lunode", "in_task" } do
  require("spec.support." .. name)
end

local options, filters = {}, {}
for _, word in ipairs(arg) do
  table.insert(word:sub(1, 1) == "-" and options or filters, word)
end

local function wanted(path)
  for _, filter in ipairs(filters) do
    if path:find(filter, 1, true) then
      return true
    end
  end
  return #filters == 0
end

local function spec_files()
  local quote = require("spec.support.tmp").quote
  local pipe = assert(io.popen(("cd %s && find spec -name '*_spec.lua' | LC_ALL=C sort"):format(quote(root)), "r"))
  local files = {}
  for path in pipe:lines() do
    if wanted(path) then
      files[#files + 1] = path
    end
  end
  assert(pipe:close(), "cannot list the specs")
  return files
end

local files = spec_files()
if #files == 0 then
  io.stderr:write("no spec file matches ", table.concat(filters, " "), "\n")
  os.exit(4, true) -- ./dev tells this from a failure
end

-- busted takes its words from the global `arg`.
local words = { [0] = arg[0], "--directory=" .. root, "--output=spec/support/report.lua" }
words[#words + 1] = "--helper=spec/support/hooks.lua"
table.move(options, 1, #options, #words + 1, words)
table.move(files, 1, #files, #words + 1, words)
arg = words

-- Ends the process with 1 where something failed.
require "busted.runner" { standalone = false }
