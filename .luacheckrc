-- luacheck's settings. Their point: only five C modules touch time, chance, network and disk. So scripts have no
-- os, io, math.random or print, unless they are the command line, the prompt or the test runner.

std = "lua54"
max_line_length = 120
ignore = {
  "211/tick", -- a variable that is `<close>`d at the end of its block is used by that
  "212/self", -- a method may not need its object
}
-- Not the libraries a build or a node leaves in the tree.
exclude_files = { "build", "data", "bindings/lunode.meta.lua" }

stds.pure = {
  read_globals = {
    "_VERSION", "assert", "collectgarbage", "error", "getmetatable", "ipairs", "load", "next", "pairs", "pcall",
    "rawequal", "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "tonumber", "tostring", "type",
    "xpcall", "coroutine", "string", "table", "utf8",
    debug = { fields = { "getinfo", "traceback" } },
    math = {
      fields = {
        "abs", "ceil", "floor", "fmod", "huge", "log", "max", "maxinteger", "min", "mininteger", "modf", "pi",
        "sqrt", "tointeger", "type", "ult",
      },
    },
    package = { fields = { "loaded", "preload" } },
  },
}

files["scripts/lunode"] = { std = "pure" }
for _, name in ipairs { "cli", "repl", "test" } do
  files["scripts/lunode/" .. name .. ".lua"] = { std = "lua54" }
  files["scripts/lunode/" .. name] = { std = "lua54" }
end
files["spec"] = { std = "lua54+busted", read_globals = { "describe_both", "expect", "sim_it" } }
-- It stands between scripts and the terminal.
files["scripts/lunode/repl/screen.lua"] = { globals = { "print", io = { fields = { write = { read_only = false } } } } }
files["scripts/lunode/cli/run.lua"] = { globals = { "arg" } } -- it makes the script's
files["scripts/lunode/sim/html.lua"] = { read_globals = { io = { fields = { "open" } } } } -- it writes the page
-- The simulator reads the code of nodes, and makes their globals of the real ones.
for _, name in ipairs { "code", "env", "order", "output", "loop" } do
  files["scripts/lunode/sim/" .. name .. ".lua"] = { std = "lua54" }
end
