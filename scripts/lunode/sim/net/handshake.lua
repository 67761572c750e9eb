-- How a connection comes about between two hosts: SYN, its answer, and the acknowledgement that puts the server's side
-- into the backlog. Each may be lost; then it is sent again, as Linux does. What follows is lunode.sim.net.socket's.

local sockets = require "lunode.sim.net.socket"

local M = {}

-- A SYN without an answer is sent again after 1, 2, 4, … seconds, six times (tcp_syn_retries), the answer five times
-- (tcp_synack_retries).
local FIRST_RETRY, SYN_RETRIES, LAST_ANSWER = 1, 6, 32

-- What is said about a connection between two hosts.
local function tell(host, kind, socket, text)
  local world = host.net.world
  world:record { t = world.now, kind = kind, node = host.name, conn = socket.id, text = text }
end

-- ---------------------------------------------------------------- the acknowledgement

local acknowledge

local function on_acknowledgement(server_side, retry)
  local listener, link = server_side.listener, server_side.peer.link
  local arrives = link:carries() and not server_side.black
  if server_side.dead then
    if arrives then
      server_side:receive "" -- which is answered with a reset
    end
  elseif not listener then
    return
  elseif arrives then
    listener:add(server_side)
  elseif retry <= LAST_ANSWER then
    local world = server_side.world
    world:at(world.now + retry, acknowledge, server_side, retry * 2)
  end
end

function acknowledge(server_side, retry)
  local world = server_side.world
  world:at(world.now + server_side.peer.link:delay(), on_acknowledgement, server_side, retry)
end

-- ---------------------------------------------------------------- the answer to a SYN

local function on_answer(client_side, server_side)
  if not server_side.link:carries() then
    return
  elseif client_side.dead then -- it has given up meanwhile, and resets what it hears of
    server_side:forget()
  elseif not client_side.connected then
    client_side:establish()
    tell(client_side.host, "connect", client_side, server_side.host.name)
    acknowledge(server_side, FIRST_RETRY)
  end
end

local function on_refusal(client_side, link)
  if link:carries() and not client_side.dead and not client_side.connected then
    tell(client_side.host, "refused", client_side, link.from.name)
    client_side:fail "ECONNREFUSED"
  end
end

-- The server's end of a connection whose SYN has come.
local function new_server_side(host, client_side, link)
  local socket = sockets.new(host, client_side.id, client_side.family)
  socket.local_host, socket.local_port = client_side.remote_host, client_side.remote_port
  socket.remote_host, socket.remote_port = client_side.local_host, client_side.local_port
  socket.peer, client_side.peer = client_side, socket
  socket.link = link
  socket.connected, socket.calm = true, true
  socket.heard, client_side.heard = host.net.world.now, host.net.world.now
  return socket
end

local function answer(client_side, host)
  local world, back = host.net.world, host.net:link(host, client_side.host)
  local arrival = world.now + back:delay()
  local server_side = client_side.peer
  if not server_side or server_side.dead then -- else our answer was lost
    local listener = host:find_listener(client_side)
    if not listener then
      world:at(arrival, on_refusal, client_side, back)
      return
    elseif listener:is_full() then
      return -- it is ignored, and will be sent again
    end
    server_side = new_server_side(host, client_side, back)
    listener:expect(server_side)
  end
  world:at(arrival, on_answer, client_side, server_side)
end

-- ---------------------------------------------------------------- the SYN

local function on_syn(socket)
  if not socket.dead and not socket.connected and socket.link:carries() then
    answer(socket, socket.link.to)
  end
end

local function send_syn(socket, retry)
  local world, link = socket.world, socket.link
  if retry > SYN_RETRIES then
    socket:fail "ETIMEDOUT"
    return
  elseif link.cuts == 0 then
    world:at(world.now + link:delay(), on_syn, socket)
  end
  socket.syn_timer = world:at(world.now + FIRST_RETRY * 2 ^ retry, send_syn, socket, retry + 1)
end

---Begins to connect; the socket becomes writable, or has an error.
---@param socket lunode.sim.socket  with its addresses and its link
function M.begin(socket)
  send_syn(socket, 0)
end

return M
