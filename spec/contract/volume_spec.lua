-- Connections in quantity: what they keep and let go of, and large amounts of bytes with bounded queues.

local kit = require "spec.contract.kit"

local function contract(world)
  local function till(...)
    return kit.till(world, ...)
  end

  local function collect()
    collectgarbage()
    collectgarbage()
  end

  describe("the collector", function()
    it("leaves an open connection alone that nothing refers to, and takes it once it has closed", function()
      local weak, got = setmetatable({}, { __mode = "v" }), ""
      local server = world.tcp_server.listen(kit.HOST, 0, {
        on_connect = function(conn)
          weak.accepted = conn
        end,
        on_read = function(conn, data)
          conn:write(data)
        end,
      })
      local _, port = server:sock()
      weak.server = server
      weak.client = world.tcp_client.connect(kit.HOST, port, {
        on_read = function(_, data)
          got = got .. data
        end,
      })
      server = nil -- luacheck: ignore
      collect()
      till(function()
        return weak.accepted and weak.client:is_open()
      end)
      collect()
      assert.is_truthy(weak.server)
      weak.client:write("still here")
      till(function()
        collect()
        return got == "still here"
      end)

      weak.client:close()
      weak.server:close()
      till(function()
        collect()
        return not weak.client and not weak.accepted and not weak.server
      end, "the collection of what has closed")
    end)

    it("takes connections that failed, and those whose data and callbacks refer to them", function()
      local weak = setmetatable({}, { __mode = "k" })
      local function connect(port)
        local conn
        conn = world.tcp_client.connect(kit.HOST, port, {
          on_connect = function()
            conn:close()
          end,
        })
        conn.data = { conn }
        weak[conn] = true
      end
      local server = kit.listen(world, {})
      local _, port = server:sock()
      for i = 1, 20 do
        connect(i % 2 == 0 and port or 1)
      end
      till(function()
        collect()
        return next(weak) == nil and server:connections() == 0
      end)
    end)

    it("finds nothing of ten thousand connections that came and went", function()
      local total = math.ceil(10000 * world.volume)
      local done, open = 0, 0
      local server = world.tcp_server.listen(kit.HOST, 0, { -- kit.listen would keep them to the end
        on_connect = function(conn)
          conn.data = ("x"):rep(1000)
          conn:close()
        end,
      })
      local _, port = server:sock()
      local function start()
        open = open + 1
        world.tcp_client.connect(kit.HOST, port, {
          on_connect = function(_, err)
            assert(not err, err)
          end,
          on_close = function()
            open, done = open - 1, done + 1
          end,
        })
      end
      collect()
      local before
      while done < total do
        while open < 50 and done + open < total do
          start()
        end
        world.loop.step(0.01)
        if not before and done > total / 10 then
          collect()
          before = collectgarbage("count")
        end
      end
      till(function()
        return server:connections() == 0
      end)
      server:close()
      collect()
      local grown = collectgarbage("count") - before
      assert.is_true(grown < 200, ("%.0f KiB more than after a tenth of them"):format(grown))
    end)
  end)

  it("a million small writes arrive in order", function()
    local count = math.ceil(1000000 * world.volume)
    local sent, pieces, received = {}, {}, 0
    local client = kit.pair(world, nil, {
      on_read = function(_, data)
        pieces[#pieces + 1] = data
        received = received + #data
      end,
    })
    for i = 1, count do
      sent[i] = ("%07d\n"):format(i)
      if client:write(sent[i]) == nil then
        error("write " .. i .. " was refused")
      end
    end
    till(function()
      return received == count * 8
    end, "all of them", 60)
    assert.is_true(table.concat(sent) == table.concat(pieces))
  end)

  it("50 MB go through an echo and back, with every queue near its watermark at most", function()
    local total = math.ceil(50e6 * world.volume)
    -- Two of a block of an odd length: any piece of the stream can be cut out of it.
    local block = {}
    for i = 1, 30011 do
      block[i] = string.char(world.loop.random(0, 255))
    end
    block = table.concat(block)
    local twice, high, largest = block:rep(12), 200000, 0
    local sent, received, pauses = 0, 0, 0

    local function send(conn)
      while sent < total do
        local at = sent % #block
        local piece = twice:sub(at + 1, at + math.min(65536, total - sent))
        local room = conn:write(piece)
        sent = sent + #piece
        largest = math.max(largest, conn:stats().queued)
        if not room then
          return
        end
      end
      conn:shutdown()
    end
    local ended = false
    local client = kit.pair(world, {
      high = high,
      on_read = function(_, data)
        local at = received % #block
        assert(data == twice:sub(at + 1, at + #data), "other bytes than were sent")
        received = received + #data
      end,
      on_writable = send,
      on_end = function()
        ended = true
      end,
    }, {
      high = high,
      on_read = function(conn, data)
        if not conn:write(data) then
          pauses = pauses + 1
          conn:pause()
        end
        largest = math.max(largest, conn:stats().queued)
      end,
      on_writable = function(conn)
        conn:resume()
      end,
    })
    send(client)
    client:pause() -- so that the echo has to wait
    if world.volume == 1 then -- else the kernel may hold it all
      till(function()
        return pauses > 0
      end, "the echo to pause", 60)
    end
    client:resume()
    till(function()
      return ended
    end, "the echo of all", 120)
    assert.equal(total, sent)
    assert.equal(total, received)
    assert.is_true(largest <= high + 65536, "a queue of " .. largest)
  end)

  it("200 clients that never read cost their caps at most, and no other client its time", function()
    local cap, count = 100000, math.ceil(200 * math.max(world.volume, 0.2))
    local silent, codes, largest = {}, {}, 0
    local server = kit.listen(world, {
      cap = cap,
      high = cap // 2,
      on_connect = function(conn)
        silent[#silent + 1] = conn
      end,
      on_read = function(conn)
        conn:write("here I am")
      end,
      on_close = function(_, _, code)
        codes[code or ""] = (codes[code or ""] or 0) + 1
      end,
    })
    local _, port = server:sock()
    for _ = 1, count do
      kit.connect(world, port, {}):pause()
    end
    till(function()
      return #silent == count
    end)
    local answer = kit.log()
    local lively = kit.connect(world, port, answer.callbacks)
    till(function()
      return #silent == count + 1
    end)
    silent[count + 1] = nil

    -- Each is written to until it is refused; the kernel takes some megabytes of each first.
    local piece = ("z"):rep(20000)
    for i = 1, count do
      local room = true
      while room ~= nil do
        room = silent[i]:write(piece)
        largest = math.max(largest, silent[i]:stats().queued)
        if room == false then
          world.loop.step(0)
        end
      end
    end
    lively:write("anyone?")
    till(function()
      return answer.data == "here I am" and codes.ENOBUFS == count
    end)
    assert.is_true(largest <= cap, "a queue of " .. largest)
    assert.equal(1, server:connections())
  end)
end

kit.describe("connections", contract)
