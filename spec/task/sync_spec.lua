-- What tasks wait for beside time and sockets: events, semaphores, channels.

local in_task = require "spec.support.in_task"
local kit = require "spec.contract.kit"
local loop = require "lunode.loop"
local misuse = require "spec.support.misuse"
local task = require "lunode.task"
local wait = require "lunode.test.wait"

local FULL = os.getenv "LUNODE_FULL"

-- Spawns n tasks, task i running fn(i).
local function spawn_all(n, fn)
  local handles = {}
  for i = 1, n do
    handles[i] = task.spawn(fn, i)
  end
  return handles
end

kit.describe_real("an event", function()
  it("wakes all who wait, in order, with what it is resolved with; later ones at once", function()
    local event, order = task.event(), {}
    local handles = spawn_all(10, function(i)
      local values = table.pack(event:wait())
      order[#order + 1] = i
      return table.unpack(values, 1, values.n)
    end)
    task.yield()
    assert.is_false(event:is_resolved())
    assert.is_true(event:resolve("a", nil, "c"))
    assert.is_false(event:resolve "too late")
    assert.same({}, order) -- not within the call
    for i, results in ipairs(task.wait_all(handles)) do
      assert.same({ "a", nil, "c", n = 3 }, results)
      assert.equal(i, order[i])
    end
    assert.is_true(event:is_resolved())
    assert.same({ "a", nil, "c", n = 3 }, table.pack(event:wait()))
  end)

  it("can be waited for in vain, for a while", function()
    local event = task.event()
    assert.same({ nil, "timed out", "ETIMEDOUT" }, { event:wait(0.001) })
    assert.same({ nil, "timed out", "ETIMEDOUT" }, { event:wait(0) })
    event:resolve()
    assert.equal(0, select("#", event:wait(0)))
  end)

  it("resolved in a callback wakes in the next turn", function()
    local event, woken = task.event(), false
    task.spawn(function()
      event:wait()
      woken = true
    end)
    wait.turns(1)
    loop.defer(function()
      event:resolve()
      assert.is_false(woken)
    end)
    wait.turns(2)
    assert.is_true(woken)
  end)
end)

kit.describe_real("a semaphore", function(world)
  it("never gives more permits than it has, and is fair", function()
    local n = math.max(20, math.floor(500 * world.volume))
    local semaphore, inside, most, order = task.semaphore(3), 0, 0, {}
    task.wait_all(spawn_all(n, function(i)
      local _ <close> = semaphore:acquire()
      order[#order + 1] = i
      inside = inside + 1
      most = math.max(most, inside)
      task.yield()
      inside = inside - 1
    end))
    assert.equal(3, most)
    assert.equal(3, semaphore:available())
    for i = 1, n do
      assert.equal(i, order[i])
    end
  end)

  it("gives the permit to the one who has waited longest, past those who gave up", function()
    local semaphore, got = task.semaphore(1), {}
    assert.equal(semaphore, semaphore:try_acquire())
    assert.is_nil(semaphore:try_acquire())
    local handles = spawn_all(4, function(i)
      got[i] = { semaphore:acquire(i == 2 and 0.001 or nil) }
    end)
    task.yield()
    handles[1]:cancel()
    task.sleep(0.005)
    assert.same({ nil, "timed out", "ETIMEDOUT" }, got[2])
    semaphore:release()
    assert.is_nil(semaphore:try_acquire()) -- it is the third's, though that does not run yet
    task.yield()
    assert.equal(semaphore, got[3][1])
    assert.is_nil(got[4])
    semaphore:release()
    handles[4]:join()
    semaphore:release()
    assert.equal(1, semaphore:available())
  end)

  it("gets its permit back when its holder raises, is cancelled or runs out of time", function()
    local semaphore = task.semaphore(1)
    local function hold()
      local _ <close> = semaphore:acquire()
      task.sleep(60)
    end
    assert.equal("ETIMEDOUT", select(3, task.with_timeout(0.001, hold)))
    assert.equal(1, semaphore:available())
    local holder, waiting = task.spawn(hold), task.spawn(hold)
    task.yield()
    holder:cancel()
    holder:join()
    task.yield()
    waiting:cancel() -- it has been given the permit meanwhile
    waiting:join()
    assert.equal(1, semaphore:available())
    pcall(function()
      local _ <close> = semaphore:acquire()
      error "boom"
    end)
    assert.equal(1, semaphore:available())
  end)

  it("is not lost with a holder that is cancelled in the moment it gets it", function()
    local semaphore = task.semaphore(1)
    semaphore:acquire()
    local handle = task.spawn(function()
      local _ <close> = semaphore:acquire()
      task.yield()
    end)
    task.yield()
    semaphore:release()
    handle:cancel()
    assert.equal("ECANCELED", select(3, handle:join()))
    assert.equal(1, semaphore:available())
  end)

  it("tells misuse", function()
    misuse("an integer from 1, got 0", function() task.semaphore(0) end)
    misuse("an integer from 1, got 1.5", function() task.semaphore(1.5) end)
    local semaphore = task.semaphore(2)
    misuse("more often than it was acquired", function() semaphore:release() end)
    in_task(function()
      misuse("semaphore:acquire: seconds must be", function() semaphore:acquire "x" end)
    end)
  end)
end)

kit.describe_real("a channel", function(world)
  for _, capacity in ipairs { 0, 1, 7, 1000 } do
    it(("of capacity %d keeps order and loses nothing"):format(capacity), function()
      in_task(function()
        local n, channel = math.max(100, math.floor(3000 * world.volume)), task.channel(capacity)
        local producer = task.spawn(function()
          for i = 1, n do
            assert(channel:send(i))
            assert.is_true(channel:size() <= capacity)
            if loop.random(1, 50) == 1 then
              task.yield()
            end
          end
          channel:close()
        end)
        local expected = 0
        for value in channel:values() do
          expected = expected + 1
          assert.equal(expected, value)
          if loop.random(1, 50) == 1 then
            task.yield()
          end
        end
        assert.equal(n, expected)
        producer:join()
      end)
    end)
  end

  -- Values are handed out in the order they were sent in. Who has been handed one runs a little later, perhaps behind a
  -- receiver that took the next: so order is what each receiver sees, not what all of them together do.
  for _, shape in ipairs {
    { producers = 1000, consumers = 1000 },
    { producers = 1000, consumers = 1 },
    { producers = 1, consumers = 1000 },
  } do
    local name = "takes from %d producers and gives to %d consumers in order, and loses and doubles nothing"
    it(name:format(shape.producers, shape.consumers), function()
      local function scaled(n)
        return n == 1 and 1 or math.max(50, math.floor((FULL and 5 * n or n) * world.volume))
      end
      local producers, consumers = scaled(shape.producers), scaled(shape.consumers)
      local each = producers == 1 and 5 * consumers or 5
      in_task(function()
        local channel, taken, received = task.channel(10), {}, 0
        local takers = spawn_all(consumers, function()
          local last = {} -- of each producer, as this consumer sees it
          for value in channel:values() do
            assert.is_true((last[value.from] or 0) < value.number)
            last[value.from] = value.number
            local name_of_value = value.from .. "/" .. value.number
            assert.is_nil(taken[name_of_value])
            taken[name_of_value] = true
            received = received + 1
            if value.number % 2 == 0 then
              task.yield()
            end
          end
        end)
        task.wait_all(spawn_all(producers, function(i)
          for k = 1, each do
            assert(channel:send { from = i, number = k })
          end
        end))
        channel:close()
        task.wait_all(takers)
        assert.equal(producers * each, received)
      end, 60)
    end)
  end

  it("loses nothing to senders and receivers that are cancelled or give up", function()
    local n = math.max(40, math.floor(1000 * world.volume))
    in_task(function()
      local channel, sent, got, doubled = task.channel(2), {}, {}, 0
      local function take(value)
        doubled = doubled + (got[value] and 1 or 0)
        got[value] = true
      end
      local senders = spawn_all(n, function(i)
        if channel:send(i, i % 3 == 0 and 0.001 or nil) then
          sent[i] = true
        end
        task.yield() -- a cancellation that came too late for the send is raised here
      end)
      local receivers = spawn_all(n, function(i)
        local value = channel:receive(i % 5 == 0 and 0.001 or nil)
        if value then
          take(value)
        end
      end)
      for i = 1, n do
        if i % 4 == 0 then
          senders[i]:cancel()
        elseif i % 7 == 0 then
          receivers[i]:cancel()
        end
        if i % 10 == 0 then
          task.yield()
        end
      end
      task.sleep(0.005)
      for i = 1, n do
        receivers[i]:cancel()
        receivers[i]:join()
      end
      for value in function() return (channel:try_receive()) end do
        take(value)
        task.yield()
      end
      task.wait_all(senders)
      assert.equal(0, doubled)
      for i = 1, n do
        assert.equal(sent[i], got[i])
      end
    end, 60)
  end)

  it("of capacity 0 lets the sender go on only when its value is taken", function()
    local channel, went_on = task.channel(), false
    local sender = task.spawn(function()
      channel:send "x"
      went_on = true
    end)
    task.yield()
    task.yield()
    assert.is_false(went_on)
    assert.equal("x", channel:receive())
    sender:join()
    assert.is_true(went_on)
  end)

  it("carries false, and any value but nil", function()
    local channel = task.channel(3)
    channel:send(false)
    channel:send(print)
    assert.is_false(channel:receive())
    assert.equal(print, channel:receive())
    local receiver = task.spawn(channel.receive, channel)
    task.yield()
    channel:send(false)
    assert.is_false(receiver:join())
    misuse("nil cannot be sent", function() channel:send(nil) end)
    misuse("nil cannot be sent", function() channel:try_send() end)
  end)

  it("that is closed refuses what is sent, and gives what lies in it before its end", function()
    local channel = task.channel(2)
    channel:send(1)
    channel:send(2)
    local sender = task.spawn(channel.send, channel, 3)
    task.yield()
    channel:close()
    channel:close()
    assert.is_true(channel:is_closed())
    assert.same({ nil, "the channel is closed", "EPIPE" }, { sender:join() })
    assert.same({ nil, "the channel is closed", "EPIPE" }, { channel:send(4) })
    assert.same({ nil, "the channel is closed", "EPIPE" }, { channel:try_send(4) })
    assert.equal(1, channel:receive())
    assert.equal(2, channel:try_receive())
    assert.same({ nil, "the channel is closed", "EOF" }, { channel:receive() })
    assert.same({ nil, "the channel is closed", "EOF" }, { channel:try_receive() })
    for _ in channel:values() do
      error "there is none"
    end

    local empty = task.channel()
    local receivers = spawn_all(3, function()
      return empty:receive()
    end)
    task.yield()
    do
      local _ <close> = empty
    end
    for _, results in ipairs(task.wait_all(receivers)) do
      assert.same({ nil, "the channel is closed", "EOF", n = 3 }, results)
    end
  end)

  it("times out on either side, and the value has not been sent then", function()
    local channel = task.channel()
    assert.same({ nil, "timed out", "ETIMEDOUT" }, { channel:send("lost?", 0.001) })
    assert.same({ nil, "timed out", "ETIMEDOUT" }, { channel:receive(0.001) })
    assert.same({ nil, "the channel is empty", "EAGAIN" }, { channel:try_receive() })
    assert.same({ nil, "the channel is full", "EAGAIN" }, { channel:try_send(1) })
  end)

  it("is fed by callbacks through try_send", function()
    local channel, got = task.channel(2), {}
    loop.timer(0.001, function()
      assert.is_true(channel:try_send "a")
      assert.is_true(channel:try_send "b")
      assert.is_true(channel:try_send "c") -- the first went straight to the receiver
      assert.equal("EAGAIN", select(3, channel:try_send "d"))
      channel:close()
    end)
    in_task(function()
      for value in channel:values() do
        got[#got + 1] = value
      end
    end)
    assert.same({ "a", "b", "c" }, got)
  end)

  it("tells misuse", function()
    misuse("must be an integer and not negative, got -1", function() task.channel(-1) end)
    misuse("must be an integer and not negative, got 0.5", function() task.channel(0.5) end)
    in_task(function()
      local channel = task.channel(1)
      misuse("channel:send: seconds must be", function() channel:send(1, -1) end)
      misuse("channel:receive: seconds must be", function() channel:receive(-1) end)
    end)
  end)
end)
