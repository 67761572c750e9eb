local glob = require "lunode.kv.glob"

-- Each line was tried with KEYS on Redis 7.0.15 (which treats the pattern "*" alone as "all keys").
local MATCHES = {
  { "h?llo", "hello" }, { "h*llo", "hllo" }, { "h*llo", "heeeello" }, { "h[ae]llo", "hallo" }, { "*", "a" },
  { "h[^e]llo", "hallo" }, { "h[a-b]llo", "hbllo" }, { "h[b-a]llo", "hallo" }, { "\\*", "*" }, { "\\", "\\" },
  { "a\\", "a\\" }, { "[\\]]", "]" }, { "[a", "a" }, { "[^a", "b" }, { "a***", "a" }, { "**a", "a" },
  { "*[a-c]*", "xbx" }, { "*a*b", "aab" }, { "", "" }, { "[^]", "x" }, { "[a-]", "^" }, { "\\a", "a" },
  { "?", "\xff" }, { "[\x80-\xff]", "\x90" }, { "a[*]", "a*" }, { "*aab", "aaaab" },
}
local MISMATCHES = {
  { "h?llo", "hllo" }, { "h[ae]llo", "hillo" }, { "h[^e]llo", "hello" }, { "a", "A" }, { "", "a" }, { "a", "" },
  { "*", "" }, { "**", "" }, { "[]", "]" }, { "[", "[" }, { "\\*", "a" }, { "a*b", "ac" }, { "abc", "ab" },
  { "ab", "abc" }, { "?", "" }, { "[a-]", "-" },
}

describe("a glob", function()
  for _, case in ipairs(MATCHES) do
    it(("%q matches %q"):format(case[1], case[2]), function()
      assert.is_true(glob.match(case[1], case[2]))
    end)
  end

  for _, case in ipairs(MISMATCHES) do
    it(("%q does not match %q"):format(case[1], case[2]), function()
      assert.is_false(glob.match(case[1], case[2]))
    end)
  end

  it("ignores case where it is told to", function()
    assert.is_true(glob.match("MAX*", "maxclients", true))
    assert.is_true(glob.match("[A-M]ax*", "MAXclients", true))
    assert.is_false(glob.match("MAX*", "maxclients"))
  end)

  it("does not blow up on hostile patterns", function()
    local text = ("a"):rep(2000)
    assert.is_false(glob.match(("a*"):rep(30) .. "b", text)) -- exponential, this would outlive us
    assert.is_false(glob.match(("*a"):rep(30) .. "*b", text))
    assert.is_true(glob.match(("a*"):rep(30), text))
  end)
end)
