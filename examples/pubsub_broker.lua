-- A publish/subscribe broker. Clients send lines, and get lines:
--
--   SUB topic        OK; from now on, what is published there. "news.*" is every topic that begins with "news."
--   UNSUB topic      OK; as it was subscribed
--   PUB topic text   OK n: it went to n subscriptions, as  MSG topic text
--
--   lunode run examples/pubsub_broker.lua 127.0.0.1:7000        then, as often as you like:  nc 127.0.0.1 7000
--
-- Nobody waits for a subscriber that does not read: it misses messages, and is told how many once it reads again.
local tcp_server = require "lunode.tcp_server"

local MAX_TOPIC = 200 -- bytes
local MAX_SUBSCRIPTIONS = 100 -- of one client

local topics = {} -- what was subscribed → its subscribers: a list, and `at`, where each one stands in it

local function subscribe(client, topic)
  local list = topics[topic] or { at = {} }
  topics[topic] = list
  list[#list + 1] = client
  list.at[client] = #list
  client.count = client.count + 1
  client.topics[topic] = true
end

local function unsubscribe(client, topic)
  local list = topics[topic]
  local last, place = list[#list], list.at[client]
  list[place], list.at[last] = last, place -- the last one takes the free place
  list[#list], list.at[client] = nil, nil
  topics[topic] = #list > 0 and list or nil
  client.count = client.count - 1
  client.topics[topic] = nil
end

-- Once `write` says false, we write no more messages to this client until on_writable: they are counted, not kept.
local function deliver(client, message)
  if client.full then
    client.missed = client.missed + 1
  else
    client.full = client.conn:write(message) == false
  end
end

local function publish(topic, text)
  local message, reached = ("MSG %s %s\n"):format(topic, text), 0
  local function to_all(list)
    for _, client in ipairs(list or {}) do deliver(client, message) end
    reached = reached + (list and #list or 0)
  end
  to_all(topics[topic])
  for i = 0, #topic do to_all(topics[topic:sub(1, i) .. "*"]) end -- however many wildcards there are
  return reached
end

local commands = {}

function commands.SUB(client, topic)
  if #topic > MAX_TOPIC or not topic:find "^[^%c*]*%*?$" then return "ERR a topic has 1 to 200 bytes, * at its end" end
  if client.topics[topic] then return "OK" end
  if client.count == MAX_SUBSCRIPTIONS then return "ERR too many subscriptions" end
  subscribe(client, topic)
  return "OK"
end

function commands.UNSUB(client, topic)
  if not client.topics[topic] then return "ERR there is no such subscription" end
  unsubscribe(client, topic)
  return "OK"
end

function commands.PUB(_, topic, text)
  if #topic > MAX_TOPIC or topic:find "[%c*]" then return "ERR a topic has 1 to 200 bytes, and no *" end
  return ("OK %d"):format(publish(topic, text))
end

local host, port = (arg[1] or "127.0.0.1:7000"):match "^(.+):(%d+)$"
if not host then error("usage: lunode run pubsub_broker.lua HOST:PORT", 0) end

local server = assert(tcp_server.listen(host, tonumber(port), {
  decoder = "line", max_line = 8192, high = 256 * 1024, low = 64 * 1024,
  on_connect = function(conn) conn.data = { conn = conn, topics = {}, count = 0, full = false, missed = 0 } end,
  on_message = function(conn, line)
    local name, topic, text = line:match "^(%u+) ([^ ]+) ?(.*)$"
    return commands[name] and commands[name](conn.data, topic, text) or "ERR SUB topic, UNSUB topic or PUB topic text"
  end,
  on_bad_message = function(conn, err) conn:write("ERR " .. err .. "\n") end,
  on_writable = function(conn)
    local client, missed = conn.data, conn.data.missed
    client.full, client.missed = false, 0
    if missed > 0 then deliver(client, ("MISSED %d\n"):format(missed)) end
  end,
  on_close = function(conn)
    for topic in pairs(conn.data.topics) do unsubscribe(conn.data, topic) end -- in any order: nobody can tell
  end,
}))
print(("listening on %s:%d"):format(server:sock()))
io.stdout:flush()
