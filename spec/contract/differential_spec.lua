-- The same random story of two connected ends, told by the real kernel and by the simulated one: each end must hear the
-- same, in the same order.
--
-- Between two steps of a story both worlds come to rest, so that no race decides. Pieces are small, which every buffer
-- takes, or larger than all buffers together: how much fits into a kernel is its own affair.

local cleanup = require "lunode.test.cleanup"
local kit = require "spec.contract.kit"
local prng = require "spec.support.prng"

local STORIES = os.getenv "LUNODE_FULL" == "1" and 100 or 8
local SMALL, HUGE = 3000, 15000000

local actions = {
  write = function(conn)
    conn:write(("s"):rep(SMALL))
  end,
  write_huge = function(conn)
    conn:write(("h"):rep(HUGE))
  end,
  write_list = function(conn)
    conn:write { "one", "", "two" }
  end,
  write_and_close = function(conn)
    conn:write(("s"):rep(SMALL))
    conn:close()
  end,
  write_and_abort = function(conn)
    conn:write(("s"):rep(SMALL))
    conn:abort()
  end,
  shutdown = function(conn)
    conn:shutdown()
  end,
  close = function(conn)
    conn:close()
  end,
  abort = function(conn)
    conn:abort()
  end,
  pause = function(conn)
    conn:pause()
  end,
  resume = function(conn)
    conn:resume()
  end,
}

local weights = {
  { 6, "write" },
  { 1, "write_huge" },
  { 2, "write_list" },
  { 2, "write_and_close" },
  { 1, "write_and_abort" },
  { 3, "shutdown" },
  { 2, "close" },
  { 2, "abort" },
  { 4, "pause" },
  { 4, "resume" },
}

-- Who does what, step by step: one end, or both in the same turn; and what each does when the other has ended.
local function story(seed)
  local chance = prng.new(seed)
  local steps = { on_end = {} }
  for i = 1, 2 do
    steps.on_end[i] = chance:pick { "keep", "close", "shutdown", "none" }
  end
  for i = 1, chance:int(3, 9) do
    local first = chance:int(1, 2)
    steps[i] = { { first, chance:weighted(weights) } }
    local second = chance:weighted(weights)
    if chance:odds(0.25) and not (steps[i][1][2] .. second):find "abort" then -- what the other sends would race with it
      steps[i][2] = { 3 - first, second }
    end
  end
  return steps
end

local function describe_story(steps)
  local lines = { ("on_end: %s, %s"):format(steps.on_end[1], steps.on_end[2]) }
  for _, step in ipairs(steps) do
    local words = {}
    for i, action in ipairs(step) do
      words[i] = ("%s %s"):format(action[1] == 1 and "client" or "server", action[2])
    end
    lines[#lines + 1] = table.concat(words, ", ")
  end
  return table.concat(lines, "\n")
end

local function log_of(policy)
  local log = kit.log {
    on_end = function(conn)
      if policy ~= "keep" then
        conn[policy](conn)
      end
    end,
  }
  if policy == "none" then
    log.callbacks.on_end = nil
  end
  log.callbacks.low = 1 -- how much is left when the kernel has taken a part is its affair
  return log
end

local function progress(conns)
  local one, two = conns[1]:stats(), conns[2]:stats()
  return ("%d %d %d %d"):format(one.bytes_read, one.queued, two.bytes_read, two.queued)
end

-- Nothing moves any more; an end that closes has had the time in which it would give up a silent peer.
local function rest(world, conns)
  local before, now
  repeat
    before, now = now, progress(conns)
    kit.settle(world)
  until before == now
  local deadline = world.loop.now() + 0.35
  kit.till(world, function()
    return world.loop.now() > deadline or (conns[1]:stats().state ~= "closing" and conns[2]:stats().state ~= "closing")
  end)
  kit.settle(world)
end

-- What both ends heard, and how much arrived where all of it can be known.
local function tell(world, steps)
  local logs = { log_of(steps.on_end[1]), log_of(steps.on_end[2]) }
  local huge = false
  local conns = { kit.pair(world, logs[1].callbacks, logs[2].callbacks) }
  local told = {}
  for _, step in ipairs(steps) do
    for _, action in ipairs(step) do
      huge = huge or action[2] == "write_huge"
      actions[action[2]](conns[action[1]])
    end
    rest(world, conns)
    for i = 1, 2 do
      local bytes = huge and "" or #logs[i].data
      told[#told + 1] = ("%d %s %s %s"):format(i, conns[i]:stats().state, bytes, table.concat(logs[i].events, " "))
    end
  end
  for i = 1, 2 do
    conns[i]:abort()
  end
  rest(world, conns)
  return table.concat(told, "\n")
end

-- ---------------------------------------------------------------- messages

local function semicolons(bytes, position)
  local stop = bytes:find(";", position, true)
  if bytes:find("!", position, true) == position then
    return nil, "there is a '!'"
  elseif bytes:sub(position, position) == "?" then
    error "the decoder does not know"
  end
  return stop and bytes:sub(position, stop - 1), stop and stop + 1
end

-- Each with pieces that its messages are made of, good ones and, rarely, a bad one.
local decoders = {
  { decoder = "line", good = { "one\n", "two\r\n", "\n" }, bad = ("x"):rep(60), options = { max_line = 50 } },
  { decoder = { length = 2 }, good = { "\0\3one", "\0\0", "\0\5three" }, bad = "\xff\xff",
    options = { max_message = 99 } },
  { decoder = "msgpack", good = { "\1", "\xa3one", "\x92\1\2", "\xc0" }, bad = "\xc1", options = {} },
  { decoder = "resp", good = { "PING\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" }, bad = "*1\r\n+\r\n", options = {} },
  { decoder = semicolons, good = { "one;", ";", "three;" }, bad = "!", options = {} },
  { decoder = semicolons, good = { "one;", ";", "three;" }, bad = "?", options = {} },
}

-- What a message is answered with, and what else happens at it.
local answers = {
  "nothing", "nothing", "nil", "string", "string", "raise", "raise a table", "function", "pause", "close", "set",
}

local function message_story(seed)
  local chance = prng.new(seed)
  local self = { case = chance:pick(decoders), answers = {}, cuts = {}, takes_errors = chance:odds(0.6) }
  local pieces = {}
  for i = 1, chance:int(3, 12) do
    pieces[i] = chance:odds(0.05) and self.case.bad or chance:pick(self.case.good)
    self.answers[i] = chance:pick(answers)
  end
  local bytes = table.concat(pieces)
  while bytes ~= "" do
    local size = chance:int(1, chance:pick { 3, 10, 40 })
    self.cuts[#self.cuts + 1] = bytes:sub(1, size)
    bytes = bytes:sub(size + 1)
  end
  return self
end

-- Without positions, tracebacks and addresses, of which the simulated world has none.
local function plain(value)
  if type(value) == "table" then
    return "{" .. table.concat(value, " ") .. "}"
  end
  local text = tostring(value):gsub("\n.*", ""):gsub("^[^\n]-:%d+: ", "")
  return (text:gsub("0x%x+", ""):gsub("^%(error object is a (%a+) value%)", "%1: "))
end

local function tell_messages(world, self)
  local told, count = {}, 0
  local function note(...)
    told[#told + 1] = table.concat({ ... }, " ")
  end
  local reported = kit.collect_errors(world)
  local options = { decoder = self.case.decoder }
  for key, value in pairs(self.case.options) do
    options[key] = value
  end
  function options.on_message(conn, ...)
    count = count + 1
    local answer = self.answers[count] or "nothing"
    note("message", plain((...)), select("#", ...), answer)
    if answer == "nil" then
      return nil
    elseif answer == "string" then
      return "answer " .. count
    elseif answer == "function" then
      return print
    elseif answer == "raise" then
      error("at " .. count)
    elseif answer == "raise a table" then
      error { "at", count }
    elseif answer == "pause" or answer == "close" then
      conn[answer](conn)
    elseif answer == "set" then
      conn:set { max_line = 2, max_message = 2, protocol = 3 }
    end
  end
  if self.takes_errors then
    function options.on_error(_, err)
      note("error", plain(err))
      return "sorry"
    end
  end
  function options.on_bad_message(_, err)
    note("bad", err)
    return "bad"
  end
  function options.on_close(_, _, code)
    note("close", code or "in good order")
  end
  local got = kit.log()
  local client, server = kit.pair(world, got.callbacks, options)
  for _, bytes in ipairs(self.cuts) do
    client:write(bytes)
    kit.settle(world)
    note("kept", server:stats().kept)
    server:resume()
    kit.settle(world)
  end
  client:close()
  rest(world, { client, server })
  for _, traceback in ipairs(reported) do
    note("reported", plain(traceback))
  end
  note("answered", (got.data:gsub("[%c\x80-\xff]", "?")))
  return table.concat(told, "\n")
end

describe("the real kernel and the simulated one", function()
  local real, simulated = kit.both()

  it(("agree about %d random stories"):format(STORIES), function()
    local first = tonumber(os.getenv "LUNODE_SEED") or 1
    for seed = first, first + STORIES - 1 do
      local steps = story(seed)
      local expected, found = tell(real, steps), tell(simulated, steps)
      if found ~= expected then
        error(("seed %d\n%s\n-- real:\n%s\n-- simulated:\n%s"):format(seed, describe_story(steps), expected, found), 0)
      end
      cleanup.end_test() -- its connections
      cleanup.begin_test()
    end
  end)

  it(("agree about %d random conversations of decoded messages"):format(STORIES), function()
    local first = tonumber(os.getenv "LUNODE_SEED") or 1
    for seed = first, first + STORIES - 1 do
      local conversation = message_story(seed)
      local expected, found = tell_messages(real, conversation), tell_messages(simulated, conversation)
      if found ~= expected then
        error(("seed %d\n-- real:\n%s\n-- simulated:\n%s"):format(seed, expected, found), 0)
      end
      cleanup.end_test()
      cleanup.begin_test()
    end
  end)
end)
