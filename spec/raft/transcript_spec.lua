-- The golden transcripts in testdata, one a feature of the protocol. `lunode test --rewrite` keeps what comes out
-- instead of comparing: then look at the difference, and be able to explain every line of it.

local golden = require("lunode.test").golden
local transcript = require "spec.raft.transcript"
local transcripts = require "spec.raft.transcripts"

describe("the transcript", function()
  for _, name in ipairs(transcripts.names()) do
    it(("%s comes out as it was explained"):format(name), function()
      golden(name .. ".txt", transcript.replay(transcripts.read(name)))
    end)
  end

  it("begins with what it shows", function()
    for _, name in ipairs(transcripts.names()) do
      assert.is_truthy(transcripts.read(name):find "^# %S")
    end
  end)

  it("is there for each feature", function()
    assert.is_true(#transcripts.names() >= 40)
  end)
end)
