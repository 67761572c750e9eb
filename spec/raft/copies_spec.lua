-- Copies of a store, piece by piece: rows of all sizes, transfers that are cut off, and what no member should send.

local copies = require "lunode.raft.copies"
local prng = require "spec.support.prng"
local store = require "lunode.store"
local task = require "lunode.task"
local tmp = require "lunode.test.tmp"

local CONFIG = "voter n1 -\n"

-- What a copy needs of its owner; the other directory is made anew each time.
local function owner(dir, handle)
  local self = { store = handle, name = "data-0", bytes = 0, opened = 0 }
  self.driver = {
    id = "n1", applied = handle and handle:applied() or 0, closed = false,
    storage = { log = { first = function() return 1 end } },
    describe = function(driver, name)
      return { name = name, index = driver.applied, term = 1, config = CONFIG, time = 0, chunks = 0 }
    end,
    fail = function(_, err)
      error(err)
    end,
  }
  function self.remove_other()
    local ok, err, code = store.remove(dir .. "/data-1")
    return ok or code == "ENOENT", err
  end
  function self.open_other(_, on_room)
    self.opened = self.opened + 1
    return store.open(dir .. "/data-1", { overlay = 100000, limit = 300000, on_room = on_room })
  end
  return self
end

local function filled(rng, count)
  local dir = tmp.dir()
  local handle = assert(store.open(dir .. "/data-0"))
  for i = 1, count do
    local key = ("%s\0%d"):format(string.char(rng:int(0, 255)), i)
    local bytes = rng:int(1, 10) == 1 and rng:int(0, 600000) or rng:int(0, 300)
    handle:put(key, ("%d "):format(i):rep(bytes // 3))
  end
  if count > 0 then
    handle:put("", "the empty key")
    handle:put("empty", "")
  end
  handle:advance(7)
  return dir, handle
end

local function rows_of(handle)
  local list = {}
  for key, value in handle:scan "" do
    list[#list + 1] = key
    list[#list + 1] = value
  end
  return list
end

-- Moves a copy; `cut(n)` says whether the connection breaks behind so many pieces.
local function move(from, to, cut)
  local meta, last_have
  repeat
    local source = assert(from:source())
    meta = source.meta
    local have = assert(to:begin(meta))
    assert(not last_have or have.n >= last_have, "it began anew")
    source:start(have.n, have.key)
    local n = have.n
    while not have.done do
      local bytes, last, err = source:next()
      assert(bytes, err)
      assert.is_true(#bytes <= 256 << 10)
      local answered = task.event()
      assert(to:put(bytes, last, function(answer)
        answered:resolve(answer)
      end))
      have = assert(answered:wait(10))
      n = n + 1
      assert.equal(n, have.n)
      if not have.done and cut(n) then
        break
      end
    end
    last_have = have.n
    source:close()
  until have.done
  return meta
end

describe("a copy of a store", function()
  for _, count in ipairs { 0, 1, 300 } do
    it(("of %d rows has the same rows, however often the connection breaks"):format(count), function()
      for seed = 1, 3 do
        local rng = prng.new(seed)
        local dir, handle = filled(rng, count)
        local from, to = owner(dir, handle), owner(tmp.dir(), nil)
        local sender, receiver = copies.new(from), copies.new(to)
        local meta = move(sender, receiver, function()
          return rng:int(1, 3) == 1
        end)
        assert.equal(7, meta.index)
        assert.equal(1, to.opened)
        assert.is_true(receiver.receiving.complete)
        assert.equal(7, receiver.receiving.store:applied())
        assert.same(rows_of(handle), rows_of(receiver.receiving.store))
        sender:close()
        receiver:close()
        handle:close()
      end
    end)
  end

  it("is of one moment, whatever is written meanwhile", function()
    local rng = prng.new(1)
    local dir, handle = filled(rng, 300)
    local before, index = rows_of(handle), 7
    local from, to = owner(dir, handle), owner(tmp.dir(), nil)
    local sender, receiver = copies.new(from), copies.new(to)
    move(sender, receiver, function()
      index = index + 1
      handle:put("later" .. index, "x")
      handle:delete(before[1 + 2 * rng:int(0, #before // 2 - 1)])
      handle:advance(index)
      from.driver.applied = index
      return index % 3 == 0 -- and it goes on with the same view
    end)
    assert.is_true(index > 8)
    assert.same(before, rows_of(receiver.receiving.store))
    sender:close()
    receiver:close()
    handle:close()
  end)

  local function row(key, value)
    return (">I4I4"):pack(#key, #value) .. key .. value
  end
  local nonsense = {
    ["rows out of order"] = { row("b", "1") .. row("a", "2") },
    ["a row twice"] = { row("a", "1") .. row("a", "1") },
    ["rows that go back from one piece to the next"] = { row("b", "1"), row("a", "1") },
    ["a piece that is too large"] = { ("x"):rep((256 << 10) + 1) },
    ["an end in the midst of a row"] = { row("a", "1"):sub(1, -2), last = true },
    ["an end in the midst of a row's head"] = { "\0\0", last = true },
  }
  local kinds = {}
  for kind in pairs(nonsense) do
    kinds[#kinds + 1] = kind
  end
  table.sort(kinds)
  for _, kind in ipairs(kinds) do
    it("is refused with " .. kind, function()
      local pieces = nonsense[kind]
      local to = owner(tmp.dir(), nil)
      local receiver = copies.new(to)
      local meta = { name = "x", index = 9, term = 1, config = CONFIG, time = 0, chunks = 0 }
      assert(receiver:begin(meta))
      local ok, err
      for i, bytes in ipairs(pieces) do
        ok, err = receiver:put(bytes, i == #pieces and pieces.last == true, function() end)
      end
      assert.is_nil(ok)
      assert.is_string(err)
      receiver:close()
    end)
  end

  it("is refused, and raises nothing, with whatever bytes", function()
    local rng = prng.new(3)
    for i = 1, 40 do
      local to = owner(tmp.dir(), nil)
      local receiver = copies.new(to)
      assert(receiver:begin { name = "x" .. i, index = 9, term = 1, config = CONFIG, time = 0, chunks = 0 })
      for _ = 1, 5 do
        local bytes = {}
        for j = 1, rng:int(0, 40) do
          bytes[j] = string.char(rng:int(0, 3) == 0 and rng:int(0, 255) or rng:int(0, 2))
        end
        if not receiver.receiving or not receiver:put(table.concat(bytes), false, function() end) then
          break
        end
      end
      receiver:close()
    end
  end)
end)
