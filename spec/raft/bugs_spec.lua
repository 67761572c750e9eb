-- The bug bank: with each bug put into the source, its transcript comes out differently; and the random worlds find
-- most of them. So neither can rot unnoticed.

local bank = require "spec.raft.bugs.bank"
local load_with = require "spec.raft.bugs.load"
local transcripts = require "spec.raft.transcripts"

local FULL = os.getenv "LUNODE_FULL" == "1"
local SEEDS = 200
local SECONDS = FULL and 60 or 20 -- of a world with faults
local AT_LEAST = 20

-- In the ordinary run: bugs that few worlds find, each of another kind.
local FEW = {
  ["a vote that a crash takes back"] = true,
  ["the leader counts what it has only stored"] = true,
  ["an old append truncates newer entries"] = true,
  ["a removed leader counts itself"] = true,
  ["a late snapshot takes the state back"] = true,
  ["reading before the term's first entry is committed"] = true,
}

-- The first seed whose world notices, and what it says.
local function hunt(bug)
  local model = load_with(bug) "spec.raft.model"
  for seed = 1, SEEDS do
    local violation = model.run(seed, { seconds = SECONDS }).violation
    if violation then
      return seed, (violation:gsub("\n.*", ""))
    end
  end
end

describe("the bug bank", function()
  it("holds at least 24 bugs", function()
    assert.is_true(#bank >= 24)
  end)

  it("loads the source without a bug as it is", function()
    local anew = load_with(nil)
    local text = transcripts.read "election"
    assert.equal(text, anew "spec.raft.transcript".replay(text))
    assert.not_equal(require "lunode.raft.core", anew "lunode.raft.core")
  end)

  it("says so when a bug has nothing to break any more", function()
    local ok, err = pcall(load_with { name = "none", module = "lunode.raft.log", from = "not there", to = "" },
      "spec.raft.model")
    assert.is_false(ok)
    assert.matches("the bug none finds nothing to break", err)
    ok, err = pcall(load_with { name = "many", module = "lunode.raft.log", from = "local", to = "" }, "spec.raft.model")
    assert.is_false(ok)
    assert.matches("there more than once", err)
  end)

  for _, bug in ipairs(bank) do
    it(("shows in the transcript %s: %s"):format(bug.transcript, bug.name), function()
      local text = transcripts.read(bug.transcript)
      local ok, replayed = pcall(load_with(bug) "spec.raft.transcript".replay, text)
      assert.is_true(not ok or replayed ~= text)
    end)
  end
end)

describe("the swarm", function()
  if not FULL then
    for _, bug in ipairs(bank) do
      if FEW[bug.name] then
        it("finds " .. bug.name, function()
          assert.is_truthy(hunt(bug))
        end)
      end
    end
    return
  end

  it(("finds at least %d bugs of the bank with %d seeds each"):format(AT_LEAST, SEEDS), function()
    local found = 0
    for _, bug in ipairs(bank) do
      local seed, violation
      if bug.swarm ~= false then
        seed, violation = hunt(bug)
      end
      found = found + (seed and 1 or 0)
      io.write(("%-75s %s\n"):format(bug.name, seed and ("seed %d: %s"):format(seed, violation) or "-"))
    end
    io.write(("%d of %d found\n"):format(found, #bank))
    assert.is_true(found >= AT_LEAST)
  end)
end)
