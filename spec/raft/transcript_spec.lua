-- The golden transcripts in testdata, one a feature of the protocol. LUNODE_REWRITE=1 writes what comes out instead of
-- comparing: then look at the difference, and be able to explain every line of it.

local transcript = require "spec.raft.transcript"
local transcripts = require "spec.raft.transcripts"

describe("the transcript", function()
  for _, name in ipairs(transcripts.names()) do
    it(("%s comes out as it was explained"):format(name), function()
      local text = transcripts.read(name)
      local replayed = transcript.replay(text)
      if os.getenv "LUNODE_REWRITE" == "1" then
        transcripts.write(name, replayed)
      else
        assert.equal(text, replayed)
      end
    end)
  end

  it("begins with what it shows", function()
    for _, name in ipairs(transcripts.names()) do
      assert.is_truthy(transcripts.read(name):find "^# %S", name)
    end
  end)

  it("is there for each feature", function()
    assert.is_true(#transcripts.names() >= 20)
  end)
end)
