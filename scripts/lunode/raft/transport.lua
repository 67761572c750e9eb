-- Connections between the members of a cluster: each member has one to every other, for what it has to say there, and
-- reads what the others say from theirs. Knows nothing of Raft, and does not say again what was lost.
--
-- MessagePack arrays travel. Who connects begins, and the other side answers each on the same connection:
--
--   {"hello", …}, {"proof", …}    {"challenge", …}, {"welcome", …} or {"refused", reason}: see auth.lua
--   {"ping"}                      {"pong"}
--   anything else, from here on   what its handler says, sooner or later
--
-- Nothing is taken from a connection before its welcome, nor any more once there is a newer one of the same member: so
-- a message that was under way when a connection was lost never comes behind those of the next.

local auth = require "lunode.raft.auth"
local loop = require "lunode.loop"
local logger = require "lunode.logger"
local msgpack = require "lunode.msgpack"
local options_of = require "lunode.rpc.options"
local tcp_client = require "lunode.tcp_client"
local tcp_server = require "lunode.tcp_server"

local M = {}

-- Of the protocol: what is said, and what it means. A newer one speaks the one before, too, so that a cluster can be
-- upgraded one member after the other.
M.NEWEST, M.OLDEST = 1, 1
local MAX_HELLO = 4096 -- bytes
local MAX_CONNECTIONS = 256
local MAX_STRANGERS = 64 -- connections on which nobody has said yet who he is; past that, the oldest goes
local MAX_TOLD = 1000 -- peers and addresses of which it is known what was said last
local MAX_LINES = 10 -- of the log about refusals, in a third of `patience`
local CAP = 64 << 20 -- bytes queued for one peer, past which its connection is given up
local RETRY_FIRST, RETRY_LAST, RETRY_REFUSED = 0.05, 1.0, 2.0 -- seconds

---@class lunode.raft.transport_options
---@field id string
---@field cluster string
---@field disk string
---@field group fun(): string  the cluster's number; "": not known yet
---@field secret? string  that all members share
---@field format integer  of the payloads of entries, the newest that this member knows
---@field newest? integer  version of the protocol to speak at most (default M.NEWEST)
---@field listen string  "HOST:PORT"
---@field address string  where others reach this member
---@field patience number  seconds of silence after which a connection counts as lost
---@field max_message integer  bytes
---@field address_of fun(id: string): string?  where a member is reached
---@field accept fun(who: lunode.raft.acquaintance, fn: fun(refusal: string?))  is this peer who it was?
---@field on_connected fun(id: string)  our connection to it stands
---@field on_lost fun(id: string)  our connection to it is lost
---@field on_frame fun(id: string, frame: any[], reply: fun(frame: any[]), disk: string)  it has said something
---@field on_question fun(id: string, frame: any[], reply: fun(frame: any[]))  the same, on a connection for that alone
---@field on_reply fun(id: string, frame: any[])  it has answered something

---@class lunode.raft.peer
---@field id string
---@field conn lunode.conn?
---@field ready boolean  it has said welcome
---@field version integer?  of the protocol that both speak, once ready
---@field delay number  before the next attempt
---@field timer lunode.timer?
---@field closed boolean

---@class lunode.raft.transport
---@field peers table<string, lunode.raft.peer>
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.transport" }

-- Says it once, until there is something else to say.
local function tell(self, key, format, ...)
  local text = format:format(...)
  if self.told[key] ~= text then
    self.told_count = self.told[key] and self.told_count or self.told_count + 1
    if self.told_count > MAX_TOLD then
      self.told, self.told_count = {}, 1
    end
    self.told[key] = text
    self.lines = self.lines + 1
    if self.lines <= MAX_LINES then
      logger.warn("raft: %s", text)
    end
  end
end

---What this member says of itself.
---@return lunode.raft.credentials
function methods:credentials()
  local options = self.options
  return {
    cluster = options.cluster, group = options.group(), id = options.id, disk = options.disk, address = options.address,
    secret = options.secret, newest = options.newest or M.NEWEST, oldest = M.OLDEST,
    format = options.format,
  }
end

-- ---------------------------------------------------------------- ours: to a peer

local connect

local function retry(self, peer, seconds)
  if self.closed or peer.closed then
    return
  end
  peer.timer = loop.timer(seconds * (0.75 + loop.random(0, 500) / 1000), function()
    peer.timer = nil
    connect(self, peer)
  end)
end

local function give_up(self, peer, conn, what, ...)
  tell(self, what .. " " .. peer.id, ...)
  peer.delay = RETRY_REFUSED
  conn:close()
end

local function on_known(self, peer, conn, who)
  self.options.accept(who, function(refusal)
    if peer.conn ~= conn or peer.closed then
      return
    elseif refusal then
      return give_up(self, peer, conn, "refused", "%s is refused: %s", peer.id, refusal)
    end
    peer.ready, peer.delay, peer.version = true, RETRY_FIRST, who.version
    self.formats[peer.id] = who.format
    self.told["refused " .. peer.id], self.told["refuses " .. peer.id] = nil, nil
    self.options.on_connected(peer.id)
  end)
end

local function on_answer(self, peer, conn, frame)
  if peer.conn ~= conn then
    return
  elseif conn.data.known then
    if peer.ready and not (type(frame) == "table" and frame[1] == "pong") then
      self.options.on_reply(peer.id, frame)
    end
    return
  end
  local verdict, value = conn.data.handshake:step(frame)
  if verdict == "say" then
    conn:write(msgpack.encode(value))
  elseif verdict == "known" then
    conn.data.known = true
    on_known(self, peer, conn, value)
  elseif verdict == "refused" then
    give_up(self, peer, conn, "refuses", "%s, at %s, refuses this member: %s", peer.id, peer.address, value:sub(1, 500))
  else
    conn:write(msgpack.encode { "refused", value })
    give_up(self, peer, conn, "refused", "%s, at %s, is refused: %s", peer.id, peer.address, value)
  end
end

local function on_lost(self, peer, conn)
  if peer.conn ~= conn then
    return
  end
  local was_ready = peer.ready
  peer.conn, peer.ready = nil, false
  retry(self, peer, peer.delay)
  peer.delay = math.min(peer.delay * 2, RETRY_LAST)
  if was_ready then
    self.options.on_lost(peer.id)
  end
end

function connect(self, peer)
  local address = self.options.address_of(peer.id)
  local host, port
  if address then
    local ok
    ok, host, port = pcall(options_of.address, address, "raft")
    if not ok then
      tell(self, peer.id, "%s has no address that can be reached: %s", peer.id, address)
      host = nil
    end
  end
  if not host then
    return retry(self, peer, RETRY_LAST)
  end
  local options = self.options
  peer.address = address
  peer.conn = tcp_client.connect(host, port, {
    connect_timeout = options.patience,
    read_timeout = options.patience, -- there is a pong for each ping
    write_timeout = options.patience,
    decoder = "msgpack",
    max_message = MAX_HELLO,
    cap = CAP,
    on_connect = function(conn, err)
      if not err then
        local handshake, hello = auth.connect(self:credentials(), peer.id)
        conn.data = { handshake = handshake, known = false }
        conn:write(msgpack.encode(hello))
      end
    end,
    on_message = function(conn, frame)
      on_answer(self, peer, conn, frame)
    end,
    on_bad_message = function() end, -- it closes
    on_close = function(conn)
      on_lost(self, peer, conn)
    end,
  })
end

---Has a connection to a member from now on.
---@param id string
function methods:open(id)
  if not self.peers[id] and not self.closed and id ~= self.options.id then
    local peer = { id = id, conn = nil, ready = false, delay = RETRY_FIRST, timer = nil, closed = false, address = nil }
    self.peers[id] = peer
    connect(self, peer)
  end
end

---No connection to it any more.
---@param id string
function methods:drop(id)
  local peer = self.peers[id]
  if peer then
    self.peers[id] = nil
    peer.closed = true
    if peer.timer then
      peer.timer:close()
    end
    if peer.conn then
      peer.conn:close()
    end
  end
end

---@param id string
---@return boolean
function methods:is_ready(id)
  local peer = self.peers[id]
  return peer ~= nil and peer.ready
end

---Sends it, or drops it where there is no connection.
---@param id string
---@param bytes string  an encoded frame
---@return boolean sent
function methods:send(id, bytes)
  local peer = self.peers[id]
  if not peer then
    self:open(id)
    return false
  elseif not peer.ready then
    return false
  end
  return peer.conn:write(bytes) ~= nil -- past the cap, it closes
end

-- ---------------------------------------------------------------- theirs: from a peer

local function refuse(self, conn, reason)
  local host = conn:peer() or "?"
  local id = conn.data.handshake.claimed
  if conn.data.known then -- it is that one: as where we connect to it
    tell(self, "refused " .. id, "%s is refused: %s", id, reason)
  else
    tell(self, "from " .. host, "%s from %s is refused: %s", id or "a connection", host, reason)
  end
  conn:write(msgpack.encode { "refused", reason })
  conn:close()
end

-- A connection on which somebody asks any member stands beside those between two members, and its end is no loss.
local function let_in(self, conn, who)
  local id, state = who.id, conn.data
  if who.asks then
    state.id, state.asks = id, true
    conn:write(msgpack.encode(state.handshake:welcome()))
    return
  end
  local old = self.incoming[id]
  if old then
    old.data.id, old.data.handshake = nil, nil -- what it still has to say is not heard
    old:abort()
  end
  self.incoming[id], self.told["refused " .. id] = conn, nil
  self.hints[id], self.formats[id] = who.address, who.format
  state.id, state.disk = id, who.disk
  conn:set { max_message = self.options.max_message }
  conn:write(msgpack.encode(state.handshake:welcome()))
  local peer = self.peers[id]
  if peer and peer.timer then -- it is there again: ours need not wait any longer
    peer.timer:close()
    peer.timer = nil
    connect(self, peer)
  end
end

local function greet(self, conn, frame)
  local state = conn.data
  if state.known then
    return -- it speaks before it is welcome
  end
  local verdict, value = state.handshake:step(frame)
  if verdict == "say" then
    conn:write(msgpack.encode(value))
  elseif verdict == "known" then
    state.known = true
    self.options.accept(value, function(refusal)
      if self.closed or not conn:is_open() then
        return
      elseif refusal then
        return refuse(self, conn, refusal)
      end
      let_in(self, conn, value)
    end)
  elseif verdict == "refused" then
    local host = conn:peer() or "?"
    tell(self, "from " .. host, "%s from %s refuses this member: %s", state.handshake.claimed or "a connection", host,
      value:sub(1, 500))
    conn:close()
  else
    refuse(self, conn, value)
  end
end

local function on_message(self, conn, frame)
  local state = conn.data
  if not state.id then
    return state.handshake and greet(self, conn, frame)
  elseif type(frame) ~= "table" then
    return
  elseif frame[1] == "ping" then
    conn:write(self.pong)
  else
    local hear = state.asks and self.options.on_question or self.options.on_frame
    hear(state.id, frame, function(answer)
      if state.id and conn:is_open() then
        conn:write(msgpack.encode(answer))
      end
    end, state.disk)
  end
end

---Where a member said that it is reached, when it connected last.
---@param id string
---@return string?
function methods:hint(id)
  return self.hints[id]
end

---Which format of entries' payloads it knew, when it was met last; 1, the oldest, where it was not.
---@param id string
---@return integer
function methods:format_of(id)
  return self.formats[id] or 1
end

-- ---------------------------------------------------------------- all of it

-- Whoever holds many connections open without saying who he is keeps no member out.
local function end_oldest_stranger(self)
  local count, oldest = 0, nil
  for conn in pairs(self.connections) do -- they are numbered: no order can be seen
    if not conn.data.id then
      count = count + 1
      oldest = (not oldest or conn.data.number < oldest.data.number) and conn or oldest
    end
  end
  if count > MAX_STRANGERS then
    self.connections[oldest] = nil
    oldest:abort()
  end
end

local function listen(self)
  local host, port = options_of.address(self.options.listen, "raft")
  return tcp_server.listen(host, port, {
    max_connections = MAX_CONNECTIONS,
    read_timeout = self.options.patience,
    write_timeout = self.options.patience,
    cap = CAP,
    decoder = "msgpack",
    max_message = MAX_HELLO,
    on_connect = function(conn)
      self.accepted = self.accepted + 1
      conn.data = {
        id = nil, known = false, handshake = auth.accept(self:credentials()), since = loop.now(),
        number = self.accepted,
      }
      self.connections[conn] = true
      end_oldest_stranger(self)
    end,
    on_message = function(conn, frame)
      on_message(self, conn, frame)
    end,
    on_bad_message = function(conn, err)
      local who = conn.data.id or conn:peer() or "?"
      tell(self, "from " .. who, "what %s sends cannot be read: %s", who, err)
    end,
    on_close = function(conn)
      self.connections[conn] = nil
      local id = conn.data.id
      if id and self.incoming[id] == conn then
        self.incoming[id] = nil
      end
    end,
  })
end

-- Pings, and ends connections on which nobody has said who he is, however slowly he speaks.
local function tick(self)
  if self.lines > MAX_LINES then
    logger.warn("raft: %d more lines about what was refused are not shown", self.lines - MAX_LINES)
  end
  self.lines = 0
  for _, peer in pairs(self.peers) do -- on different connections: no order can be seen
    if peer.ready then
      peer.conn:write(self.ping)
    end
  end
  for conn in pairs(self.connections) do
    if not conn.data.id and loop.now() - conn.data.since > self.options.patience then
      conn:abort()
    end
  end
end

---@param options lunode.raft.transport_options
---@return lunode.raft.transport?
---@return string? err, lunode.code? code
function M.open(options)
  local self = setmetatable({
    options = options,
    peers = {},
    incoming = {}, -- id → the newest connection from there
    connections = {}, -- all from others, as keys
    hints = {},
    formats = {},
    told = {}, -- what was said last of a peer or an address
    told_count = 0,
    lines = 0, -- told since the last tick
    accepted = 0, -- connections, since the start
    server = nil,
    timer = nil,
    closed = false,
    ping = msgpack.encode { "ping" },
    pong = msgpack.encode { "pong" },
  }, metatable)
  local err, code
  self.server, err, code = listen(self)
  if not self.server then
    return nil, err, code
  end
  self.timer = loop.timer(options.patience / 3, function()
    tick(self)
  end, options.patience / 3)
  return self
end

function methods:close()
  if self.closed then
    return
  end
  self.closed = true
  self.timer:close()
  self.server:close()
  local ids = {}
  for id in pairs(self.peers) do
    ids[#ids + 1] = id
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    self:drop(id)
  end
  for conn in pairs(self.connections) do -- all at once
    conn.data.id, conn.data.handshake = nil, nil
    conn:abort()
  end
end

return M
