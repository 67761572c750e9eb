-- docs/reference.md is what docs/reference.lua makes of the annotations, and these are read as they are meant.

local lunode = require "spec.support.lunode"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"

local annotations = dofile("docs/annotations.lua")

local function parse(text)
  return annotations.parse(text).sections[1].items
end

describe("docs/reference.md", function()
  local committed = assert(tmp.read("docs/reference.md"))

  it("is as the annotations are now", function()
    local code, out, err = lunode.run { "run", "docs/reference.lua" }
    assert.same({ 0, "" }, { code, err })
    assert.is_true(out == committed, "the annotations have changed: ./dev docs writes the page anew")
  end)

  it("comes out the same from the stock lua5.4", function()
    local code, out, err = process.run { "lua5.4", "docs/reference.lua" }
    assert.same({ 0, "" }, { code, err })
    assert.is_true(out == committed)
  end)

  it("has every function of every module", function()
    local modules, functions = 0, 0
    for heading in committed:gmatch("\n## (lunode[^\n]+)") do
      for name in heading:gmatch("lunode%.([%w_]+)") do
        modules = modules + 1
        for member, value in pairs(require("lunode." .. name)) do
          if type(value) == "function" then
            assert.is_truthy(committed:find(("\n#### `%s.%s"):format(name, member), 1, true), name .. "." .. member)
            functions = functions + 1
          end
        end
      end
    end
    assert.is_true(modules >= 9 and functions > 40)
  end)

  it("has no link that leads nowhere", function()
    local anchors, links = {}, 0
    for heading in committed:gmatch("\n##+ ([^\n]+)") do
      anchors["#" .. heading:lower():gsub("[^%w_ -]", ""):gsub(" ", "-")] = true
    end
    for target in committed:gmatch("%]%((#[^)]*)%)") do
      assert.is_true(anchors[target], target)
      links = links + 1
    end
    assert.is_true(links > 40)
    for path in committed:gmatch("%]%(([^#)][^)]*)%)") do
      assert.is_truthy(io.open("docs/" .. path), path)
    end
  end)
end)

describe("annotations", function()
  it("are read with types that have spaces, and with texts that go on", function()
    local item = parse [[
---Does a thing,
---and another.
---
---* one
---  and more
---@param a fun(x: integer, y: string?): boolean, string?  called
---   often
---@param b? {c: string, d: "e f"|nil} a table
---@param ... any
---@return string? value
---@return string? err, lunode.code? code  "EIO" and others
function M.f(a, b, ...)
]]
    item = item[1]
    assert.same({ "function", "M", "f" }, { item.kind, item.owner, item.name })
    assert.same({ "a", "b", "..." }, item.arguments)
    assert.same({ "Does a thing, and another.", "* one and more" }, item.text)
    assert.same({
      { name = "a", type = "fun(x: integer, y: string?): boolean, string?", optional = false, text = "called often" },
      { name = "b", type = '{c: string, d: "e f"|nil}', optional = true, text = "a table" },
      { name = "...", type = "any", optional = false, text = "" },
    }, item.params)
    assert.same({
      { name = "value", type = "string?", optional = true, text = "" },
      { name = "err", type = "string?", optional = true, text = "" },
      { name = "code", type = "lunode.code?", optional = true, text = '"EIO" and others' },
    }, item.returns)
  end)

  it("tell classes, their fields without the private ones, aliases and variables", function()
    local items = parse [[
---A thing.
---@class lunode.thing : lunode.base
---@field size? integer  bytes
---@field private secret string  which
---  nobody sees
local thing = {}

---@alias lunode.mode "a"|"b"  how it is opened

---How loud.
---@type integer
M.level = 3

---Made elsewhere.
---@param first string
---@param opts? table
M.made = other.new

local function helper() end
function undocumented.f() end
]]
    assert.equal(5, #items)
    assert.same({ "class", "lunode.thing", "lunode.base", "thing" },
      { items[1].kind, items[1].name, items[1].parent, items[1].object })
    assert.same({ { name = "size", type = "integer", optional = true, text = "bytes" } }, items[1].fields)
    assert.same({ "A thing." }, items[1].text)
    assert.same({ "alias", "lunode.mode", '"a"|"b"', { "how it is opened" } },
      { items[2].kind, items[2].name, items[2].type, items[2].text })
    assert.same({ "variable", "level", "integer" }, { items[3].kind, items[3].name, items[3].type })
    assert.same({ "function", "made", { "first", "opts" } }, { items[4].kind, items[4].name, items[4].arguments })
    assert.is_false(items[5].documented)
  end)

  it("that are not understood are an error", function()
    assert.has_error(function()
      parse "---@param without_type\nfunction M.f() end"
    end, "not understood: without_type")
  end)
end)
