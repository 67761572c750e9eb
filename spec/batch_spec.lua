-- lunode.batch: what is packed comes out again, and nothing else.

local batch = require "lunode.batch"

local function read_all(bytes)
  local list, position = {}, 1
  while true do
    local words = table.pack(batch.next(bytes, position))
    if words[1] == nil then
      return list, words[2], words[3]
    end
    position = table.remove(words, 1)
    words.n = nil
    list[#list + 1] = words
  end
end

describe("a batch", function()
  it("gives its commands back in order", function()
    local b = batch.new()
    b:add("SET", "key", "")
    b:add_list("DEL", { "a", "b\0c" })
    b:add("FLUSHALL")
    assert.equal(3, b:commands())
    local bytes = b:take("head")
    assert.equal("head", bytes:sub(1, 4))
    assert.same({ { "SET", "key", "" }, { "DEL", "a", "b\0c" }, { "FLUSHALL" } }, read_all(bytes:sub(5)))
  end)

  it("is empty once it was taken", function()
    local b = batch.new()
    b:add("PING")
    b:take()
    assert.equal(0, b:bytes())
    assert.equal(0, b:commands())
    assert.equal("", b:take())
  end)

  it("tells its size with each command, and takes the last one back", function()
    local b = batch.new()
    local one = b:add("SET", "a", "1")
    assert.equal(one, b:bytes())
    assert.is_true(b:add("SET", "a", "2") > one)
    b:undo()
    assert.equal(one, b:bytes())
    assert.error_matches(function()
      b:undo()
    end, "nothing to undo")
    assert.same({ { "SET", "a", "1" } }, read_all(b:take()))
  end)

  it("gives the arguments of a command of more than 4096 words as a list", function()
    local args = {}
    for i = 1, 5000 do
      args[i] = tostring(i)
    end
    local b = batch.new()
    b:add_list("DEL", args)
    local position, name, list = batch.next(b:take())
    assert.is_number(position)
    assert.equal("DEL", name)
    assert.same(args, list)
  end)

  it("takes a list for the words in it", function()
    local b, plain = batch.new(), batch.new()
    plain:add("MSET", "a", "1", "b", "2", "c")
    b:add("MSET", { "a", "1" }, "b", {}, { "2", "c" })
    assert.equal(plain:take(), b:take())
    local many = {}
    for i = 1, 1000 do
      many[i] = tostring(i)
    end
    plain:add_list("DEL", many)
    b:add("DEL", many)
    assert.equal(plain:take(), b:take())
  end)

  it("refuses what are no strings, and stays as it was", function()
    local b = batch.new()
    b:add("GET", "a")
    local before = b:bytes()
    assert.error_matches(function()
      b:add("SET", "a", 1)
    end, "string expected, got number")
    assert.error_matches(function()
      b:add_list("DEL", { "a", {} })
    end, "a list of strings expected")
    assert.error_matches(function()
      b:add("SET", "a", { "b", 1 })
    end, "a list of strings expected")
    assert.error_matches(function()
      b:add()
    end, "a command has a name")
    assert.equal(before, b:bytes())
    b:add("GET", "b")
    assert.equal(2, b:commands())
    b:undo()
    assert.equal(before, b:bytes())
    local position, _, word = batch.next(b:take())
    assert.equal("a", word)
    assert.equal(before + 1, position)
  end)

  it("refuses malformed bytes", function()
    local b = batch.new()
    b:add("SET", "key", "value")
    local bytes = b:take()
    for cut = 1, #bytes - 1 do
      local list, err, code = read_all(bytes:sub(1, cut))
      assert.same({}, list)
      assert.equal("a batch of commands is malformed", err)
      assert.equal("EPROTO", code)
    end
    assert.error_matches(function()
      batch.next(bytes, #bytes + 2)
    end, "outside of the batch")
  end)
end)
