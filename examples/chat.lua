-- A chat: the first line that a client sends is its name, every other one goes to everybody else.
--
--   lunode run examples/chat.lua 127.0.0.1:7000          then, as often as you like:  nc 127.0.0.1 7000
--
-- Nobody can make it wait, and nobody can make it grow: a client that does not read misses messages, and is told how
-- many once it reads again; a client that sends a line without end is sent away.
local tcp_server = require "lunode.tcp_server"

local MAX_LINE = 1000 -- bytes
local MAX_NAME = 20
local MAX_MEMBERS = 1000

local members = {} -- in the order of joining: { conn, name (nil until it has one), rest, full, missed }

-- ---------------------------------------------------------------- talking

-- Here lies the whole secret of slow readers. `write` never waits: it queues. Once the queue is above its high
-- watermark it says false, and from then on we do not write to this member, until on_writable tells that the
-- queue has drained. What others say meanwhile is counted, not kept.
local function tell(member, text)
  if member.full then
    member.missed = member.missed + 1
  else
    member.full = member.conn:write(text .. "\n") == false
  end
end

local function tell_others(speaker, text)
  for _, member in ipairs(members) do
    if member ~= speaker and member.name then
      tell(member, text)
    end
  end
end

local function send_away(member, why)
  tell(member, "* " .. why .. ", goodbye")
  member.conn:close() -- sends what is queued first; on_close follows, later
end

-- ---------------------------------------------------------------- lines

local function is_taken(name)
  for _, member in ipairs(members) do
    if member.name == name then
      return true
    end
  end
  return false
end

local function join(member, name)
  if #name > MAX_NAME or not name:find("^[%w_-]+$") then
    tell(member, ("* a name has 1 to %d letters, digits, - or _; try another one"):format(MAX_NAME))
  elseif is_taken(name) then
    tell(member, ("* %s is here already; try another name"):format(name))
  else
    member.name = name
    tell(member, ("* welcome, %s; %d here; /quit leaves"):format(name, #members))
    tell_others(member, ("* %s has joined"):format(name))
  end
end

local function take_line(member, line)
  line = line:gsub("%c", "") -- also the \r of telnet, and what would paint on the others' terminals
  if #line > MAX_LINE then
    send_away(member, "that line was too long")
  elseif not member.name then
    join(member, line)
  elseif line == "/quit" then
    send_away(member, "as you wish")
  elseif line ~= "" then
    tell_others(member, ("<%s> %s"):format(member.name, line))
  end
end

-- TCP carries bytes, not lines: a read may bring half a line, or three and a half. The half waits in `rest`.
local function take_bytes(member, data)
  local text, start = member.rest .. data, 1
  local stop = text:find("\n", start, true)
  while stop and member.conn:is_open() do -- a line may have been the member's last
    take_line(member, text:sub(start, stop - 1))
    start = stop + 1
    stop = text:find("\n", start, true)
  end
  member.rest = text:sub(start)
  if #member.rest > MAX_LINE and member.conn:is_open() then
    send_away(member, "that line was too long")
  end
end

-- ---------------------------------------------------------------- connections

local function leave(member)
  for i, other in ipairs(members) do
    if other == member then
      table.remove(members, i)
      break
    end
  end
  if member.name then
    tell_others(member, ("* %s has left"):format(member.name))
  end
end

local host, port = (arg[1] or "127.0.0.1:7000"):match("^(.+):(%d+)$")
if not host then
  io.stderr:write("usage: lunode run chat.lua HOST:PORT\n")
  os.exit(2)
end

local server, err = tcp_server.listen(host, tonumber(port), {
  max_connections = MAX_MEMBERS, -- more wait until somebody leaves
  high = 64 * 1024, -- the most that we keep for one slow reader, give or take a line
  low = 16 * 1024,

  on_connect = function(conn)
    conn.data = { conn = conn, name = nil, rest = "", full = false, missed = 0 }
    members[#members + 1] = conn.data
    tell(conn.data, "* what is your name?")
  end,

  on_read = function(conn, data)
    take_bytes(conn.data, data)
  end,

  on_writable = function(conn)
    local member = conn.data
    local missed = member.missed
    member.full, member.missed = false, 0
    if missed > 0 then
      tell(member, ("* you were too slow and missed %d messages"):format(missed))
    end
  end,

  on_close = function(conn) -- however it came about, and always: the one place to clean up
    leave(conn.data)
  end,
})
if not server then
  io.stderr:write(err, "\n")
  os.exit(1)
end

print(("listening on %s:%d"):format(server:sock()))
io.stdout:flush()
