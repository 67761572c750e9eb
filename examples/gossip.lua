-- Who is there? SWIM: every node probes one other in each period, and tells what it learns along with its probes.
-- (Das, Gupta, Motivala: "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol", 2002.)
--
--   lunode run examples/gossip.lua 127.0.0.1:7001                     the first
--   lunode run examples/gossip.lua 127.0.0.1:7002 127.0.0.1:7001      each further one, with any that is there
--
-- Prints "alive|suspect|dead ADDRESS INCARNATION" whenever its view of a member changes. The load of a node does not
-- depend on how many there are, and the time until all have heard of something grows with the logarithm of that.
--
-- Messages are MessagePack arrays, one way, and may get lost: { kind, from, sequence, updates, target }.
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"

local PERIOD = 0.2 -- seconds
local ACK_TIMEOUT = PERIOD / 3 -- then others are asked to try
local HELPERS = 3 -- so many
local SUSPICION = 3 -- periods that a suspect has to object, times log n
local RETRANSMIT = 3 -- how often an update is told, times log n
local MAX_UPDATES = 8 -- in one message
local RECONNECT = 10 -- periods between two looks whether a dead one is back
local FORGET = 600 -- seconds after which a dead one is forgotten
local MAX_MEMBERS = 1000

local RANK = { alive = 1, suspect = 2, dead = 3 }

local me, seed
local incarnation = 0 -- ours: only we raise it, to object to what others say of us
local members, by_address = {}, {} -- the others: { address, state, incarnation, since }
local news = {} -- updates still to be told: { address, state, incarnation, told }
local expected = {} -- by sequence: what to do at its ack, and when we asked: { call, at }
local sequence = 0

local function log_n()
  return math.ceil(math.log(#members + 2, 2))
end

-- ---------------------------------------------------------------- what is believed

local function spread(address, state, number)
  for i, update in ipairs(news) do
    if update.address == address then
      table.remove(news, i)
      break
    end
  end
  news[#news + 1] = { address = address, state = state, incarnation = number, told = 0 }
end

-- Of two updates the one with the higher incarnation counts; of the same incarnation, the worse.
local function is_newer(state, number, member)
  return number > member.incarnation or number == member.incarnation and RANK[state] > RANK[member.state]
end

local function hear_of_me(state, number)
  if number > incarnation or number == incarnation and state ~= "alive" then
    incarnation = number + 1 -- of an earlier life, or a rumour: we object
    spread(me, "alive", incarnation)
  end
end

local function hear(address, state, number)
  if address == me then
    return hear_of_me(state, number)
  end
  local member = by_address[address]
  if not member then
    if state == "dead" or #members == MAX_MEMBERS then
      return
    end
    member = { address = address, state = "dead", incarnation = -1, since = 0 }
    members[#members + 1], by_address[address] = member, member
  elseif not is_newer(state, number, member) then
    return
  end
  if state ~= member.state then
    print(("%s %s %d"):format(state, address, number))
  end
  member.state, member.incarnation, member.since = state, number, loop.now()
  spread(address, state, number)
end

-- ---------------------------------------------------------------- messages

local outgoing = {} -- connections by address; they only send, and what cannot be sent is lost

local function connection(address)
  local conn = outgoing[address]
  if not conn then
    local host, port = address:match "^(.+):(%d+)$"
    conn = tcp_client.connect(host, tonumber(port), {
      connect_timeout = 5 * PERIOD,
      idle_timeout = 60,
      cap = 256 * 1024, -- one that reads nothing costs no more
      on_close = function(closed)
        if outgoing[address] == closed then
          outgoing[address] = nil
        end
      end,
    })
    outgoing[address] = conn
  end
  return conn
end

-- What has been told least goes along, and first what the addressee should object to.
local function updates_for(address)
  local list, member = {}, by_address[address]
  if member and member.state ~= "alive" then
    list[1] = { address, member.state, member.incarnation }
  end
  table.sort(news, function(a, b)
    return a.told < b.told or a.told == b.told and a.address < b.address
  end)
  for i = math.min(#news, MAX_UPDATES), 1, -1 do
    local update = news[i]
    list[#list + 1] = { update.address, update.state, update.incarnation }
    update.told = update.told + 1
    if update.told >= RETRANSMIT * log_n() then
      table.remove(news, i)
    end
  end
  return list
end

local function send(address, kind, number, target)
  msgpack.write(connection(address), { kind, me, number, updates_for(address), target })
end

local function expect_ack(call)
  sequence = sequence + 1
  expected[sequence] = { call = call, at = loop.now() }
  return sequence
end

local handlers = {}

function handlers.ping(from, number)
  send(from, "ack", number)
end

function handlers.ack(_, number)
  local waiting = expected[number]
  if waiting then
    expected[number] = nil
    waiting.call()
  end
end

handlers["ping-req"] = function(from, number, target)
  if by_address[target] then -- we connect to members only
    send(target, "ping", expect_ack(function()
      send(from, "ack", number)
    end))
  end
end

function handlers.join(from) -- all that is known, at once
  local all = { { me, "alive", incarnation } }
  for _, member in ipairs(members) do
    all[#all + 1] = { member.address, member.state, member.incarnation }
  end
  msgpack.write(connection(from), { "members", me, 0, all })
end

function handlers.members() end -- its updates are what it is for

local function is_address(value)
  local host, port = tostring(value):match "^([%w.:%[%]-]+):(%d+)$"
  return type(value) == "string" and #value < 256 and host ~= nil and #port < 6 and tonumber(port) < 65536
end

local function is_update(value)
  return type(value) == "table" and is_address(value[1]) and RANK[value[2]] ~= nil
    and math.type(value[3]) == "integer" and value[3] >= 0 and value[3] < 1 << 53
end

local function is_message(value)
  if type(value) ~= "table" or type(value[4]) ~= "table" or not handlers[value[1]] or not is_address(value[2]) then
    return false
  end
  for _, update in ipairs(value[4]) do
    if not is_update(update) then
      return false
    end
  end
  return math.type(value[3]) == "integer" and (value[1] ~= "ping-req" or is_address(value[5]))
end

local function receive(conn, message)
  if not is_message(message) then
    return conn:abort() -- not one of us
  end
  local kind, from, number, updates, target = table.unpack(message, 1, 5)
  if not by_address[from] then
    hear(from, "alive", 0)
    if not by_address[from] then
      return -- there are enough of them, or it says that it is us
    end
  end
  for _, update in ipairs(updates) do
    hear(table.unpack(update, 1, 3))
  end
  handlers[kind](from, number, target)
end

-- ---------------------------------------------------------------- probing

local function shuffled(wanted)
  local list = {}
  for _, member in ipairs(members) do
    if wanted(member) then
      local place = loop.random(1, #list + 1)
      list[#list + 1] = list[place]
      list[place] = member
    end
  end
  return list
end

local round = {} -- whom we probe next, the last first: everyone once, in an order of chance, then anew
local probe -- the one under way: { member, acked }

local function next_target()
  for _ = 1, 2 do
    while #round > 0 do
      local member = table.remove(round)
      if member.state ~= "dead" and by_address[member.address] then
        return member
      end
    end
    round = shuffled(function(member)
      return member.state ~= "dead"
    end)
  end
end

local function ask_helpers(target, number)
  local helpers = shuffled(function(member)
    return member ~= target and member.state == "alive"
  end)
  for i = 1, math.min(HELPERS, #helpers) do
    send(helpers[i].address, "ping-req", number, target.address)
  end
end

local function start_probe(target)
  local this = { member = target, incarnation = target.incarnation, acked = false }
  local number = expect_ack(function()
    this.acked = true
  end)
  send(target.address, "ping", number)
  loop.timer(ACK_TIMEOUT, function()
    if not this.acked then
      ask_helpers(target, number)
    end
  end)
  return this
end

local function look_after_members()
  local now, patience = loop.now(), SUSPICION * log_n() * PERIOD
  for i = #members, 1, -1 do
    local member = members[i]
    if member.state == "suspect" and now - member.since > patience then
      hear(member.address, "dead", member.incarnation)
    elseif member.state == "dead" and now - member.since > FORGET then
      table.remove(members, i)
      by_address[member.address] = nil
    end
  end
  for number, waiting in pairs(expected) do -- in any order: nobody can tell
    if now - waiting.at > 2 * PERIOD then
      expected[number] = nil
    end
  end
end

local periods = 0

local function period()
  periods = periods + 1
  if probe and not probe.acked then
    hear(probe.member.address, "suspect", probe.incarnation)
  end
  look_after_members()
  local target = next_target()
  probe = target and start_probe(target)
  if periods % RECONNECT == 0 then
    local dead = shuffled(function(member)
      return member.state == "dead"
    end)
    if dead[1] then
      send(dead[1].address, "ping", 0)
    end
  end
  if seed and seed ~= me and #members == 0 then
    msgpack.write(connection(seed), { "join", me, 0, {} })
  end
end

-- ---------------------------------------------------------------- start

seed = arg[2]
if not is_address(arg[1]) or seed and not is_address(seed) then
  io.stderr:write("usage: lunode run gossip.lua HOST:PORT [SEED_HOST:PORT]\n")
  os.exit(2)
end
local host, port = arg[1]:match "^(.+):(%d+)$"
local server, err = tcp_server.listen(host, tonumber(port), {
  decoder = "msgpack",
  max_message = 1 << 20,
  idle_timeout = 120,
  on_message = receive,
})
if not server then
  io.stderr:write(err, "\n")
  os.exit(1)
end
me = ("%s:%d"):format(server:sock())
io.stdout:setvbuf "line"
print("listening on " .. me)
period()
loop.timer(PERIOD, period, PERIOD)
