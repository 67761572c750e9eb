local config = require "lunode.raft.config"

local function made(...)
  local list = {}
  for i, word in ipairs { ... } do
    local kind, id, address = word:match "^(%a)(%w+)@?(.*)$"
    list[i] = { id = id, voter = kind == "v", address = address ~= "" and address or nil }
  end
  return assert(config.new(list))
end

describe("a configuration of a cluster", function()
  it("is text that can be read, and read back", function()
    local text = made("vn2@127.1.0.2:7000", "ln3", "vn1"):encode()
    assert.equal("voter n1 -\nvoter n2 127.1.0.2:7000\nlearner n3 -\n", text)
    local again = config.decode(text)
    assert.equal(text, again:encode())
    assert.same({ "n1", "n2", "n3" }, again.ids)
    assert.same({ "n1", "n2" }, again.voters)
    assert.equal("127.1.0.2:7000", again.members.n2.address)
    assert.equal("", config.decode(""):encode())
  end)

  it("refuses text that is none, and says where", function()
    for _, text in ipairs {
      "voter n1", "voter n1 -", "\n", "voter  n1 -\n", "boss n1 -\n", "voter n1 -\nvoter n1 -\n", "voter /x -\n",
      "voter n1 - -\n", "voter " .. ("n"):rep(65) .. " -\n", "voter n1 " .. ("a"):rep(256) .. "\n", "\0",
      "voter n1 a\xff\n",
    } do
      local made_of, err = config.decode(text)
      assert.is_nil(made_of, text)
      assert.is_string(err)
    end
    for _, value in ipairs { false, 7, {} } do
      assert.is_nil((config.decode(value)))
    end
    assert.matches("from byte 12", select(2, config.decode "voter n1 -\nx"))
  end)

  it("has a majority of its voters as quorum, and learners count for nothing", function()
    for voters, quorum in pairs { [1] = 1, [2] = 2, [3] = 2, [4] = 3, [5] = 3 } do
      local words = { "lx", "ly" }
      for i = 1, voters do
        words[#words + 1] = "vn" .. i
      end
      assert.equal(quorum, made(table.unpack(words)).quorum)
    end
  end)

  it("changes by one server, and the one before stays as it was", function()
    local before = made("vn1", "vn2")
    local added = before:with { kind = "add", id = "n3", address = "h:1" }
    assert.equal("voter n1 -\nvoter n2 -\nlearner n3 h:1\n", added:encode())
    local promoted = added:with { kind = "promote", id = "n3" }
    assert.equal("voter n1 -\nvoter n2 -\nvoter n3 h:1\n", promoted:encode())
    assert.equal("learner n1 -\nvoter n2 -\nvoter n3 h:1\n", promoted:with({ kind = "demote", id = "n1" }):encode())
    assert.equal("voter n1 -\nremoved n2 -\nvoter n3 h:1\n", promoted:with({ kind = "remove", id = "n2" }):encode())
    assert.equal("voter n1 -\nvoter n2 -\n", before:encode())
  end)

  it("lets no server join under the id of one that was removed", function()
    local without = assert(config.decode "voter n1 -\nremoved n2 h:2\n")
    assert.equal("voter n1 -\nremoved n2 h:2\n", without:encode())
    assert.same({ "n1" }, without.ids)
    for _, kind in ipairs { "add", "promote", "demote", "remove" } do
      local changed, reason = without:with { kind = kind, id = "n2" }
      assert.is_nil(changed)
      assert.matches("n2 was removed; a server that comes back needs another id", reason, 1, true)
    end
    assert.equal("voter n1 -\nremoved n2 h:2\nlearner n3 -\n", without:with({ kind = "add", id = "n3" }):encode())
    assert.is_nil((config.decode "voter n1 -\nremoved n1 -\n"))
  end)

  it("refuses changes without sense, and says why", function()
    local one = made("vn1", "ln2")
    for _, case in ipairs {
      { { kind = "add", id = "n1" }, "n1 is a member already" },
      { { kind = "promote", id = "n1" }, "n1 is a voter already" },
      { { kind = "promote", id = "n3" }, "add it first" },
      { { kind = "demote", id = "n2" }, "n2 is not a voter" },
      { { kind = "demote", id = "n1" }, "n1 is the last voter" },
      { { kind = "remove", id = "n1" }, "n1 is the last voter" },
      { { kind = "remove", id = "n3" }, "n3 is not a member" },
      { { kind = "grow", id = "n3" }, "there is no change grow" },
      { { kind = "add", id = "a b" }, "no server by a valid id" },
      { { kind = "add" }, "no server by a valid id" },
      { {}, "there is no change nil" },
      { { kind = "add", id = "n3", address = "a b" }, "address of n3" },
      { { kind = "add", id = "n3", address = "" }, "address of n3" },
    } do
      local changed, reason = one:with(case[1])
      assert.is_nil(changed)
      assert.matches(case[2], reason, 1, true)
    end
  end)
end)
