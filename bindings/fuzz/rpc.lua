-- What bindings/fuzz/rpc.c does with an input: a client without manners sends it to a server, and a server without
-- manners to a peer. Real ones, over Unix sockets in one loop. Whatever it is,
--
-- * nothing reaches loop.on_error: no byte from outside is an error of ours;
-- * another client of the same server is answered at once;
-- * every call of the peer's ends, once, and no handler outlives its connection;
-- * memory does not grow from one input to the next.

local loop = require "lunode.loop"
local rpc = require "lunode.rpc"
local task = require "lunode.task"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"

local pid = ...

local MOST_PIECES = 16
local MOST_TURNS = 1000    -- until what has to happen has happened,
local NAP = 0.002          -- each of so many seconds at most
local MEASURE_EVERY = 256  -- inputs
local WARM = 512           -- inputs, until caches and idle tasks are what they will be
local MOST_GROWTH = 4096   -- KiB

-- The bits of an input's first byte.
local TIGHT, NEVER_READS, ENDS_FIRST = 1, 2, 4

-- They raise no texts: these are mistakes of the handler's, and told to loop.on_error.
local METHODS = {
  add = function(_, a, b)
    return math.type(a) == "integer" and math.type(b) == "integer" and a + b or nil
  end,
  echo = function(_, ...)
    return ...
  end,
  fail = function(ctx, err)
    if ctx.id and type(err) == "table" then
      error(err, 0)
    end
    return nil, "failed", "EINVAL"
  end,
  wait = function()
    task.sleep(math.huge)
  end,
  back = function(ctx, ...)
    return ctx.conn:call("echo", table.pack(...))
  end,
  pipe = function(ctx)
    if not ctx.stream then
      return nil, "no stream"
    end
    for chunk in ctx:chunks() do
      if not pcall(ctx.send, ctx, chunk) then -- larger than the window, say
        return nil, "cannot send"
      end
    end
    return "end"
  end,
}

-- So low that short inputs reach them. A server that has paused a connection sees that it has ended when its handlers
-- have.
local LOW = {
  concurrency = 2, queue = 2, queue_bytes = 128, max_message = 64, max_queued = 64, window = 64,
  handler_timeout = 0.004,
}

local trouble
loop.on_error(function(traceback)
  trouble = trouble or traceback
end)

local function turn(seconds)
  loop.step(seconds)
  assert(not trouble, trouble)
end

local function turn_until(what, condition)
  for _ = 1, MOST_TURNS do
    if condition() then
      return
    end
    turn(NAP)
  end
  error("does not happen: " .. what)
end

local function address(name)
  return ("unix:@lunode-fuzz-%d-%s"):format(pid, name)
end

-- ---------------------------------------------------------------- who is there for all inputs

local function serve(name, opts)
  local server = assert(rpc.serve(address(name), METHODS, opts))
  return { server = server, address = address(name), good = rpc.peer(address(name)) }
end

local ample, tight = serve("ample"), serve("tight", LOW)

local hostile -- the latest connection of the server without manners
local trap = assert(tcp_server.listen(address "trap", nil, {
  on_connect = function(conn)
    hostile = conn
  end,
  on_read = function() end,
}))

-- The other client of a server gets its answer.
local function check_good(side)
  local sum, err
  side.good:call("add", { 1, 2 }, {
    callback = function(...)
      sum, err = ...
    end,
  })
  turn_until("another client's answer", function()
    return sum or err
  end)
  assert(sum == 3, err and err.message or sum)
end

-- ---------------------------------------------------------------- an input

local function send(conn, flags, first, step, bytes)
  if flags & NEVER_READS ~= 0 then
    conn:pause()
  end
  step = math.max(step, #bytes // MOST_PIECES + 1)
  local from, to = 1, first
  while from <= #bytes and conn:is_open() do
    conn:write(bytes:sub(from, to))
    turn(0) -- it leaves in this one,
    turn(0) -- and arrives in this one
    from, to = to + 1, to + step
  end
  if flags & ENDS_FIRST ~= 0 then
    conn:shutdown()
    turn(0)
    turn(0)
  end
end

local function to_server(side, flags, ...)
  local conn = tcp_client.connect(side.address, nil, { on_read = function() end })
  turn_until("a connection to the server", function()
    return conn:is_open()
  end)
  send(conn, flags, ...)
  check_good(side)
  conn:abort()
  turn_until("the end of the connection, and of its handlers", function()
    local stats = side.server:stats()
    return stats.connections == 1 and stats.active == 0
  end)
end

-- Uses a stream as far as the other side lets it.
local function use_stream(peer)
  local stream <close> = peer:open("pipe", { 1 })
  if stream and pcall(stream.send, stream, "up") then -- it may permit less than that
    stream:receive()
    stream:close()
  end
end

local function to_peer(opts, ...)
  local peer = rpc.peer(address "trap", opts)
  local answers, calls = {}, 3
  for i = 1, calls do
    answers[i] = 0
    peer:call("echo", { i }, {
      callback = function()
        answers[i] = answers[i] + 1
      end,
    })
  end
  local user = task.spawn(use_stream, peer)
  hostile = nil
  turn_until("a connection of the peer's", function()
    return hostile and peer:state() == "connected"
  end)
  send(hostile, ...)
  check_good(ample)
  peer:close()
  turn_until("the end of the peer's calls", function()
    return answers[1] > 0 and answers[2] > 0 and answers[3] > 0 and user:status() == "done"
  end)
  hostile:abort()
  turn_until("the end of the connection", function()
    return trap:connections() == 0
  end)
  for i = 1, calls do
    assert(answers[i] == 1, "a call has ended more than once")
  end
  local stats = peer:stats()
  assert(stats.in_flight == 0 and stats.held == 0)
end

-- ---------------------------------------------------------------- memory

local inputs, base = 0, nil

local function measure()
  inputs = inputs + 1
  if inputs % MEASURE_EVERY == 0 then
    collectgarbage()
    local size = collectgarbage "count"
    if inputs == WARM then
      base = size
    elseif base then
      assert(size < base + MOST_GROWTH, "memory has grown")
    end
  end
end

-- A peer's: it connects once, whatever the clock says. The delay is a random part of the limit.
local ONCE = 1e9
local AMPLE = { methods = METHODS, backoff = ONCE, max_backoff = ONCE }
local TIGHT_PEER = {
  methods = METHODS, backoff = ONCE, max_backoff = ONCE,
  max_message = 64, concurrency = 2, queue = 2,
}

return function(flags, first, step, bytes)
  local is_tight = flags & TIGHT ~= 0
  to_server(is_tight and tight or ample, flags, first, step, bytes)
  to_peer(is_tight and TIGHT_PEER or AMPLE, flags, first, step, bytes)
  measure()
end
