local suggest = require "lunode.cli.suggest"

describe("the distance of two words", function()
  it("counts insertions, deletions, replacements and swaps of neighbours", function()
    assert.equal(0, suggest.distance("", ""))
    assert.equal(3, suggest.distance("", "abc"))
    assert.equal(3, suggest.distance("abc", ""))
    assert.equal(1, suggest.distance("listen", "lisen"))
    assert.equal(1, suggest.distance("listen", "lsiten"))
    assert.equal(1, suggest.distance("kv", "vk"))
    assert.equal(3, suggest.distance("kitten", "sitting"))
    -- No letter is touched twice: that is what makes it the restricted distance.
    assert.equal(3, suggest.distance("ca", "abc"))
  end)
end)

describe("the nearest word", function()
  local options = { "listen", "data", "sync", "maxclients" }

  it("is found for a slip", function()
    assert.equal("listen", suggest.nearest("lisetn", options))
    assert.equal("maxclients", suggest.nearest("max_clients", options))
    assert.equal("sync", suggest.nearest("SYNC", options))
  end)

  it("is found for a beginning", function()
    assert.equal("maxclients", suggest.nearest("max", options))
  end)

  it("is none for something else", function()
    assert.is_nil(suggest.nearest("xyzzy", options))
    assert.is_nil(suggest.nearest("", options))
    assert.is_nil(suggest.nearest(("listen"):rep(1000), options))
  end)

  it("is the first of equals", function()
    assert.equal("aab", suggest.nearest("aaa", { "aab", "aac" }))
  end)
end)
