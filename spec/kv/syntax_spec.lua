local resp = require "lunode.resp"
local syntax = require "lunode.kv.syntax"
local usage = require "lunode.kv.usage"

-- As a client gets them: fields in their order.
local function arguments(text)
  return (resp.decode(resp.encode(syntax.arguments(text))))
end

describe("the syntax of a command", function()
  it("becomes the arguments that COMMAND DOCS tells", function()
    assert.same({
      { "name", "key", "type", "string" },
      { "name", "nx", "type", "oneof", "flags", { { ok = "optional" } }, "arguments", {
        { "name", "nx", "type", "pure-token", "token", "NX" }, { "name", "xx", "type", "pure-token", "token", "XX" },
      } },
      { "name", "count", "type", "string", "token", "COUNT", "flags", { { ok = "optional" } } },
      { "name", "score", "type", "block", "flags", { { ok = "multiple" } }, "arguments", {
        { "name", "score", "type", "string" }, { "name", "member", "type", "string" },
      } },
      { "name", "pattern", "type", "string", "token", "GET",
        "flags", { { ok = "multiple" }, { ok = "multiple_token" }, { ok = "optional" } } },
    }, arguments "key [NX|XX] [COUNT count] (score member)... [(GET pattern)...]")
    assert.same({}, arguments "")
  end)

  it("is refused where it cannot be read", function()
    for _, text in ipairs { "[", "(a", "a)", "a|b", "()", "[a|]", "[a)", "a ]", "...", "(|a)", "a . b", "$" } do
      local ok, err = pcall(syntax.arguments, text)
      assert.is_false(ok, text)
      assert.matches("^syntax \".*\": .* at %d+$", err)
    end
  end)

  it("can be read of all commands", function()
    local count = 0
    for name, text in pairs(usage) do
      assert.is_true(pcall(syntax.arguments, text), name)
      count = count + 1
    end
    assert.is_true(count > 190)
  end)
end)
