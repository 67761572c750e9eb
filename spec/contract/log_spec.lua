-- The log, but for what crashes and faults do to it: those are the worlds' own affair.

local cleanup = require "lunode.test.cleanup"
local expect = require "lunode.test.expect"
local kit = require "spec.contract.kit"
local misuse = require "spec.support.misuse"

local function contract(world)
  local function open(dir, options)
    local log = assert(world.log.open(dir, options or { segment_size = 65536 }))
    cleanup.add(function()
      log:close()
    end)
    return log
  end

  local function new()
    local dir = world.directory()
    return open(dir), dir
  end

  local function reopen(log, dir)
    assert.is_true(log:close())
    return open(dir)
  end

  local function append(log, from, to, term)
    for i = from, to do -- luassert costs more than the log, with a collector that never rests
      local index, err = log:append(i % 128, "entry " .. i, term)
      if index ~= i then
        error(("entry %d: %s"):format(i, err or index), 2)
      end
    end
  end

  --- "index:term:payload …"
  local function text(log, from, to)
    local met = {}
    for index, payload, type, term in log:entries(from, to) do
      assert.equal(index % 128, type)
      met[#met + 1] = ("%d:%d:%s"):format(index, term, payload:match("^entry (.*)$") or payload)
    end
    return table.concat(met, " ")
  end

  local function synced(log)
    local index
    assert(log:sync(function(err, _, at)
      assert(not err, err)
      index = at
    end))
    assert.is_nil(index)
    return kit.till(world, function()
      return index
    end, "a sync")
  end

  describe("a new log", function()
    it("is empty, and begins at 1", function()
      local log = new()
      assert.equal(1, log:first())
      assert.equal(0, log:last())
      assert.equal(0, log:synced())
      assert.equal(0, log:term(0))
      assert.same({}, log:read(1))
      assert.equal("", text(log))
      assert.equal(0, (log:state()))
    end)
  end)

  describe("entries", function()
    it("have consecutive indexes, and are read as they were appended", function()
      local log = new()
      append(log, 1, 3, 1)
      append(log, 4, 5, 7)
      assert.equal("1:1:1 2:1:2 3:1:3 4:7:4 5:7:5", text(log))
      assert.same({ index = 4, term = 7, type = 4, payload = "entry 4" }, log:read(4)[1])
      assert.equal(7, log:term(5))
      assert.equal(5, log:last())
    end)

    it("are of the last term where none is given", function()
      local log = new()
      append(log, 1, 1, 9)
      append(log, 2, 2)
      assert.equal(9, log:term(2))
      assert(log:truncate_prefix(10, 12))
      append(log, 11, 11)
      assert.equal(12, log:term(11))
    end)

    it("carry any bytes", function()
      local log, dir = new()
      local all = {}
      for i = 0, 255 do
        all[#all + 1] = string.char(i)
      end
      local payloads = { "", "\0", table.concat(all), ("0123456789abcdef"):rep(math.ceil(20000 * world.volume)) }
      for i, payload in ipairs(payloads) do
        assert.equal(i, log:append(0, payload))
      end
      for _ = 1, 2 do
        for i, payload in ipairs(payloads) do
          assert.is_true(log:read(i, i)[1].payload == payload)
        end
        log = reopen(log, dir)
      end
    end)

    it("are there when it is opened again, many as well", function()
      local log, dir = new()
      local count = math.ceil(5000 * world.volume)
      append(log, 1, count, 1)
      log = reopen(log, dir)
      assert.equal(count, log:last())
      assert.equal(count, log:synced())
      local next_index = 1
      for index, payload in log:entries() do
        if index ~= next_index or payload ~= "entry " .. index then
          error(("entry %d is %d: %s"):format(next_index, index, payload))
        end
        next_index = index + 1
      end
      assert.equal(count + 1, next_index)
    end)

    it("never go back to an older term", function()
      local log = new()
      append(log, 1, 2, 5)
      local index, err, code = log:append(0, "x", 4)
      assert.is_nil(index)
      assert.equal("EINVAL", code)
      assert.matches("term", err)
      assert.equal(2, log:last())
    end)
  end)

  describe("a read", function()
    it("ends at `to`, at the end, and before it has too many bytes", function()
      local log = new()
      append(log, 1, 20, 1)
      assert.equal(3, #log:read(2, 4))
      assert.equal(11, #log:read(10))
      assert.equal(11, #log:read(10, 99))
      assert.equal(0, #log:read(21))
      assert.equal(0, #log:read(9, 8))
      assert.equal(3, #log:read(1, 20, 3 * #"entry 1" + 3))
      assert.equal(1, #log:read(1, 20, 0))
    end)

    it("of what was dropped says so", function()
      local log = new()
      append(log, 1, 5, 1)
      assert(log:truncate_prefix(3))
      local entries, err, code = log:read(3)
      assert.is_nil(entries)
      assert.equal("ERANGE", code)
      assert.matches("begins at 4", err)
      assert.equal("ERANGE", select(3, log:term(2)))
      assert.equal("ERANGE", select(3, log:term(6)))
      assert.equal(1, log:term(3))
      assert.has_error(function()
        text(log, 3)
      end)
    end)

    it("may change the log on its way", function()
      local log = new()
      append(log, 1, 3, 1)
      local met = {}
      for index in log:entries() do
        met[#met + 1] = index
        if index == 2 then
          assert(log:truncate_suffix(3))
          append(log, 3, 4, 2)
        end
        if index == 4 then
          assert(log:truncate_prefix(4))
        end
      end
      assert.same({ 1, 2, 3, 4 }, met)
    end)
  end)

  describe("truncation", function()
    it("drops the entry and all behind it", function()
      local log, dir = new()
      append(log, 1, 5, 1)
      append(log, 6, 9, 2)
      assert.is_true(log:truncate_suffix(4))
      assert.equal(3, log:last())
      append(log, 4, 5, 1)
      assert.is_true(log:truncate_suffix(99))
      assert.equal("1:1:1 2:1:2 3:1:3 4:1:4 5:1:5", text(log))
      log = reopen(log, dir)
      assert.equal("1:1:1 2:1:2 3:1:3 4:1:4 5:1:5", text(log))
      assert.is_true(log:truncate_suffix(1))
      assert.equal(0, log:last())
    end)

    it("drops the entries up to the index, and remembers that one's term", function()
      local log, dir = new()
      append(log, 1, 5, 1)
      append(log, 6, 9, 2)
      assert.is_true(log:truncate_prefix(6))
      for _ = 1, 2 do
        assert.equal(7, log:first())
        assert.equal(2, log:term(6))
        assert.equal("7:2:7 8:2:8 9:2:9", text(log))
        log = reopen(log, dir)
      end
      assert.is_true(log:truncate_prefix(2))
      assert.equal(7, log:first())
      assert.equal("EINVAL", select(3, log:truncate_suffix(6)))
      assert.is_true(log:truncate_prefix(9, 2))
      assert.equal(10, log:first())
      assert.equal(9, log:last())
    end)

    it("to an index past the end, or of another term, drops everything", function()
      local log, dir = new()
      append(log, 1, 9, 2)
      assert.is_true(log:truncate_prefix(20, 4))
      for _ = 1, 2 do
        assert.equal(21, log:first())
        assert.equal(20, log:last())
        assert.equal(4, log:term(20))
        log = reopen(log, dir)
      end
      append(log, 21, 25, 4)
      assert.is_true(log:truncate_prefix(23, 5))
      assert.equal(24, log:first())
      assert.equal(23, log:last())
      assert.equal(5, log:term(23))
    end)
  end)

  describe("the hard state", function()
    it("is what was set last", function()
      local log, dir = new()
      assert.is_true(log:set_state(3, "127.1.0.2:7000"))
      assert.is_true(log:set_state(4, "\0\xff"))
      append(log, 1, 2, 4)
      for _ = 1, 2 do
        assert.same({ 4, "\0\xff" }, { log:state() })
        log = reopen(log, dir)
      end
      assert.is_true(log:set_state(5))
      assert.same({ 5 }, { log:state() })
      assert.is_true(log:truncate_prefix(2, 4))
      log = reopen(log, dir)
      assert.same({ 5 }, { log:state() })
    end)
  end)

  describe("a sync", function()
    it("tells what is on disk, and never within the call", function()
      local log = new()
      append(log, 1, 3, 1)
      assert.equal(0, log:synced())
      assert.equal(3, synced(log))
      assert.equal(3, log:synced())
      assert.equal(3, synced(log))
    end)

    it("comes in the order of the calls", function()
      local log = new()
      local order, indexes = {}, {}
      for i = 1, 20 do
        append(log, i, i, 1)
        assert(log:sync(function(err, _, index)
          assert(not err, err)
          order[#order + 1] = i
          indexes[#indexes + 1] = index
        end))
        if i % 6 == 0 then
          world.loop.step(0)
        end
      end
      kit.till(world, function()
        return #order == 20
      end, "all syncs")
      for i = 1, 20 do
        assert.equal(i, order[i])
        assert.is_true(indexes[i] >= i and indexes[i] <= 20)
      end
    end)

    it("does not count what was dropped meanwhile", function()
      local log = new()
      append(log, 1, 9, 1)
      local index
      assert(log:sync(function(_, _, at)
        index = at
      end))
      assert.is_true(log:flush())
      assert(log:truncate_suffix(6))
      append(log, 6, 7, 2)
      kit.till(world, function()
        return index
      end)
      assert.is_true(index <= 7)
      assert.equal(7, synced(log))
    end)

    it("keeps the loop alive until it has ended", function()
      local log = new()
      append(log, 1, 1, 1)
      assert(log:sync(expect(function(err)
        assert.is_nil(err)
      end)))
      local turns = 0
      while world.loop.step(1) do
        turns = turns + 1
        assert.is_true(turns < 1000)
      end
      assert.equal(1, log:synced())
    end)

    it("may be asked for in its own callback, and the log closed there", function()
      local log = new()
      append(log, 1, 1, 1)
      local rounds, closed = 0, false
      local function again()
        rounds = rounds + 1
        if rounds < 4 then
          append(log, rounds + 1, rounds + 1, 1)
          assert(log:sync(again))
        else
          log:close()
          closed = true
        end
      end
      assert(log:sync(again))
      kit.till(world, function()
        return closed
      end)
      assert.equal(4, rounds)
    end)

    it("whose callback raises harms nobody else", function()
      local log = new()
      append(log, 1, 1, 1)
      local errors, told = {}, false
      local former = world.loop.on_error(function(err)
        errors[#errors + 1] = err
      end)
      cleanup.add(function()
        world.loop.on_error(former)
      end)
      assert(log:sync(function()
        error("raised on purpose")
      end))
      assert(log:sync(function()
        told = true
      end))
      kit.till(world, function()
        return told
      end)
      assert.equal(1, #errors)
      assert.matches("raised on purpose", errors[1])
    end)

    it("under way is told when the log closes", function()
      local log, dir = new()
      append(log, 1, 5, 1)
      local told
      assert(log:sync(function(err, _, index)
        assert(not err, err)
        told = index
      end))
      assert.is_true(log:close())
      assert.is_nil(told)
      assert.equal(5, kit.till(world, function()
        return told
      end))
      assert.equal(5, open(dir):last())
    end)
  end)

  describe("a log", function()
    it("belongs to one at a time", function()
      local log, dir = new()
      local second, err, code = world.log.open(dir)
      assert.is_nil(second)
      assert.equal("ELOCKED", code)
      assert.matches("in use", err)
      reopen(log, dir)
    end)

    it("is made where it is missing, unless told otherwise", function()
      local dir = world.directory() .. "/log"
      local none, err, code = world.log.open(dir, { create = false })
      assert.is_nil(none)
      assert.equal("ENOENT", code)
      assert.matches("no such directory", err)
      append(open(dir), 1, 1, 1)
    end)

    it("that is closed raises, and closes again in peace", function()
      local log = new()
      append(log, 1, 1, 1)
      local step, _, _, box = log:entries()
      assert.is_true(log:close())
      assert.is_true(log:close())
      misuse("log is closed", function() log:append(0, "x") end)
      misuse("log is closed", function() log:last() end)
      misuse("log is closed", function() log:read(1) end)
      misuse("log is closed", function() log:sync(print) end)
      assert.has_error(step)
      assert.is_not_nil(box)
    end)

    it("tells misuse at the caller", function()
      local log = new()
      misuse("0 … 127", function() log:append(128, "x") end)
      misuse("0 … 127", function() log:append(-1, "x") end)
      misuse("string expected", function() log:append(0, {}) end)
      misuse("not negative", function() log:append(0, "x", -1) end)
      misuse("not negative", function() log:read(-1) end)
      misuse("function expected", function() log:sync() end)
      misuse("128 bytes", function() log:set_state(1, ("x"):rep(129)) end)
      misuse("is needed", function() log:truncate_prefix(5) end)
      misuse("segment_size", function() world.log.open("unused", { segment_size = "large" }) end)
      assert.equal("EINVAL", select(3, world.log.open(world.directory(), { segment_size = 1 })))
    end)

    it("is checked while it is open", function()
      local log, dir = new()
      append(log, 1, 5, 1)
      assert(log:set_state(3))
      assert(log:truncate_suffix(5))
      assert(log:flush())
      local kinds = {}
      local report = assert(world.log.check(dir, function(finding)
        if finding.index then
          kinds[#kinds + 1] = finding.kind
        end
      end))
      assert.same({ "entry", "entry", "entry", "entry", "entry", "state", "truncate suffix" }, kinds)
      assert.same({ true, false, 7, 5, 1, 4, 3 }, {
        report.ok, report.torn, report.records, report.entries, report.first, report.last, report.state_term,
      })
      assert.same({}, report.damages)
      assert.equal("ENOENT", select(3, world.log.check(dir .. "/nowhere")))
    end)

    it("counts", function()
      local log = new()
      append(log, 1, 3, 1)
      synced(log)
      append(log, 4, 4, 1)
      local stats = log:stats()
      assert.equal(4, stats.appends)
      assert.equal(1, stats.syncs)
      assert.equal(1, stats.segments)
      assert.is_true(stats.synced_bytes > 0)
      assert.is_true(stats.unwritten_bytes > 0)
      assert.is_true(stats.unsynced_bytes >= stats.unwritten_bytes)
      assert.is_true(stats.last_sync_seconds > 0)
      assert.is_false(stats.full)
    end)
  end)
end

kit.describe("the contract of the log", contract)
