-- Runs `lunode test` on specs that are given as texts. Contains no specs.
--
--   local kit = require "spec.test.kit"
--   kit.passes('it("a", function() end)', "1 passed, 0 failed\n")
--   kit.fails({ a = "…", b = "…" }, "words of the output", "1 passed, 1 failed\n", { "--jobs", "2" })

local busted = require "busted"
local lunode = require "spec.support.lunode"
local tmp = require "lunode.test.tmp"

local M = {}

---The environment of a run, whatever that of this one is; what it remembers stays in the directory.
---@return table
function M.env()
  return { LUNODE_TEST_TIMES = M.dir .. "/times", LUNODE_REWRITE = false, LUNODE_FULL = false }
end

---To be called in a block: each test has an empty directory, `kit.dir`, with another one in it, `spec`.
function M.prepare()
  busted.before_each(function()
    M.dir = tmp.dir()
    assert(os.execute("mkdir " .. tmp.quote(M.dir .. "/spec")))
  end)
end

---Puts specs there in place of those before.
---@param specs string|table<string, string>  text of spec/x_spec.lua; or texts by name
function M.write(specs)
  os.execute(("rm -f -- %s/spec/*"):format(tmp.quote(M.dir)))
  for name, text in pairs(type(specs) == "table" and specs or { x = specs }) do
    tmp.write(("%s/spec/%s_spec.lua"):format(M.dir, name), text)
  end
end

---@param specs string|table<string, string>
---@param words? string[]
---@return integer code, string output
function M.run(specs, words)
  M.write(specs)
  local options = { "test", cwd = M.dir, seconds = 120, env = M.env() }
  for _, word in ipairs(words or {}) do
    options[#options + 1] = word
  end
  local code, out, err = lunode.run(options)
  return code, out .. err
end

---@param text string
---@param out string
function M.has(text, out)
  if not out:find(text, 1, true) then
    error(("there is no %q in:\n%s"):format(text, out), 2)
  end
end

---Exit code 1, the text in its output, and the counts in their line.
function M.fails(specs, text, counts, words)
  local code, out = M.run(specs, words)
  busted.assert.equal(1, code, out)
  M.has(text, out)
  M.has("\n" .. counts, out)
end

---@return string output
function M.passes(specs, counts, words)
  local code, out = M.run(specs, words)
  busted.assert.equal(0, code, out)
  M.has("\n" .. counts, out)
  return out
end

return M
