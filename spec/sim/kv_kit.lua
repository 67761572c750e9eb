-- A simulated `lunode kv`, and clients for it. The node is the real one, unmodified; at the door of its store stands
-- somebody who compares each state that a replay makes with what it was the first time. Contains no specs.

local hash = require "lunode.hash"
local resp = require "lunode.resp"

local M = {}

local ADDRESS, PORT = "127.1.0.1", 6380
M.ADDRESS, M.PORT = ADDRESS, PORT -- of the server
local DIGEST_SEED = 7

-- ---------------------------------------------------------------- the node

local function digest(s)
  local sum = DIGEST_SEED
  for key, value in s:scan "" do
    sum = hash.of(sum, key, value)
  end
  return sum
end

local function agree(told, index, sum)
  local digests = told.digests
  if index > 0 and digests[index] then
    told.compared = told.compared + 1
    if digests[index] ~= sum then
      error(("entry %d: a replay leaves another state than the first time"):format(index), 0)
    end
  end
  digests[index] = sum
end

-- Each store that is opened tells the digest of its rows at each index.
local function watch(store, told, overlay)
  local open = store.open
  function store.open(dir, options)
    options.overlay, options.limit, options.max_age = overlay, 3 * overlay, overlay > 1000 and 30 or 2
    local s, err, code = open(dir, options)
    if not s then
      return nil, err, code
    end
    local advance = s.advance
    agree(told, s:applied(), digest(s))
    function s.advance(self, index)
      agree(told, index, digest(self))
      return advance(self, index)
    end
    return s
  end
end

-- What a power cut took is written anew, and differently.
local function forget_beyond(digests, last)
  local index = last + 1
  while digests[index] do
    digests[index] = nil
    index = index + 1
  end
end

local function main(told, options)
  local loop = require "lunode.loop"
  local logger = require "lunode.logger"
  logger.sink = function(level, text)
    print(level .. ": " .. text)
  end
  watch(require "lunode.store", told, options.overlay)
  local kv = require "lunode.kv"
  kv.command("ROLL", { arity = 2, flags = { "write" }, keys = { 1, 1, 1 }, run = function(ctx, key)
    ctx.db:set(key, tostring(ctx:random(1, 1000000)) .. " " .. ctx.now)
    return ctx.db:get(key)
  end })
  local node, err = kv.start { host = options.host, port = options.port, dir = "data", sync = options.sync }
  if not node then
    print("cannot start: " .. err)
    require("os").exit(1)
  end
  forget_beyond(told.digests, node.replica.applied)
  told.node, told.lives = node, told.lives + 1
  loop.signal("TERM", function()
    node:close()
  end)
  loop.run()
  told.failures = told.failures + (node.failed and 1 or 0)
  require("os").exit(node.failed and 1 or 0)
end

---@param world lunode.sim.world  without nodes yet
---@param sync "always"|"everysec"|"no"
---@param overlay? integer  bytes of writes in memory at which the store flushes them; three times that is the bound
---   (default 1000: runs are short)
---@return table told  of the node: node, lives, failures; and digests of its states, by index, how many were compared
function M.server(world, sync, overlay)
  local told = { digests = {}, compared = 0, lives = 0, failures = 0, node = nil }
  world:node("server", main, { told, { host = ADDRESS, port = PORT, sync = sync, overlay = overlay or 1000 } })
  return told
end

---As somebody does who looks after it: starts it again where it has ended itself, for so many seconds.
---@param world lunode.sim.world
---@param seconds number
function M.run(world, seconds)
  local server, ends = world:get "server", world.now + seconds
  while world.now < ends do
    world:run(math.min(0.25, ends - world.now))
    if server.state == "ended" and server.exit_code then
      world:restart(server)
    end
  end
end

-- ---------------------------------------------------------------- connections

---For nodes: a connection that sends commands and hands out replies, in order. `on_end` hears that it is over; what has
---no reply by then never gets one.
---@param on_connect fun(send: fun(words: string[], on_reply: fun(reply: any)))
---@param on_end fun()
---@param where? { host: string, port: integer, patience: number }  patience: seconds without a reply (default 2)
function M.connect(on_connect, on_end, where)
  where = where or { host = ADDRESS, port = PORT, patience = 2 }
  local loop, tcp_client = require "lunode.loop", require "lunode.tcp_client"
  local waiting, first, last, bytes, patience = {}, 1, 0, "", nil
  local connection
  local function take()
    local position = 1
    while true do
      local reply, next_position = resp.decode(bytes, position)
      if reply == nil then
        assert(type(next_position) ~= "string", next_position)
        break
      end
      position = next_position
      local on_reply = assert(waiting[first], "a reply that nobody waits for")
      waiting[first], first = nil, first + 1
      if first <= last then
        patience:again()
      else
        patience:close()
      end
      on_reply(reply)
    end
    bytes = bytes:sub(position)
  end
  local function send(words, on_reply)
    last = last + 1
    waiting[last] = on_reply
    if not patience:is_active() then
      patience:again()
    end
    connection:write(resp.command(table.unpack(words)))
  end
  patience = loop.timer(where.patience, function()
    connection:abort()
  end)
  patience:close()
  connection = tcp_client.connect(where.host, where.port, {
    connect_timeout = 1,
    on_connect = function(_, err)
      if not err then
        on_connect(send)
      end
    end,
    on_read = function(_, data)
      bytes = bytes .. data
      take()
    end,
    on_end = function(conn)
      conn:close()
    end,
    on_close = function()
      patience:close()
      on_end()
    end,
  })
  return connection
end

-- ---------------------------------------------------------------- clients with a history

-- What a client may do: the history, the operation, its argument if any, the words of the command.
local function draw(loop, tag)
  local key = tostring(loop.random(1, 3))
  local choice = loop.random(1, 12)
  if choice <= 2 then
    return "register", "read", "r" .. key, nil, { "GET", "r" .. key }
  elseif choice <= 4 then
    return "register", "write", "r" .. key, tag, { "SET", "r" .. key, tag }
  elseif choice == 5 then
    return "register", "swap", "r" .. key, tag, { "SET", "r" .. key, tag, "GET" }
  elseif choice == 6 then
    return "register", "create", "r" .. key, tag, { "SETNX", "r" .. key, tag }
  elseif choice == 7 then
    return "register", "take", "r" .. key, nil, { "GETDEL", "r" .. key }
  elseif choice == 8 then
    return "counter", "read", "c" .. key, nil, { "GET", "c" .. key }
  elseif choice <= 10 then
    local by = loop.random(1, 9)
    return "counter", "add", "c" .. key, by, { "INCRBY", "c" .. key, by }
  elseif choice == 11 then
    return "list", "read", "l" .. key, nil, { "GET", "l" .. key }
  end
  return "list", "append", "l" .. key, tag, { "APPEND", "l" .. key, tag .. "," }
end

local function list_of(text)
  local list = {}
  for tag in (text or ""):gmatch "([^,]+)," do
    list[#list + 1] = tag
  end
  return list
end

-- The reply in the model's terms.
local function result_of(kind, name, reply)
  if reply == resp.null then
    reply = nil
  end
  if kind == "counter" then
    return math.tointeger(tonumber(reply or 0))
  elseif kind == "list" then
    return name == "read" and list_of(reply) or nil
  elseif name == "write" then
    return nil
  end
  return reply
end

-- The model of a key that holds a string, or is not there.
M.register = {
  init = false,
  step = function(state, op)
    local arg, result = op.args[1], op.result
    if op.name == "read" then
      return not op.known or (result or false) == state, state
    elseif op.name == "write" then
      return true, arg
    elseif op.name == "create" then
      local created = state == false
      return not op.known or result == (created and 1 or 0), created and arg or state
    end
    return not op.known or (result or false) == state, op.name == "swap" and arg or false
  end,
  pure = function(op)
    return op.name == "read"
  end,
}

---A client, for world:node: does `count` operations on a connection, up to `lanes` of them under way at a time, and
---connects anew where that ends. told[me] counts what was done.
---@param me string
---@param histories table<string, lunode.sim.history>
---@param count integer
---@param lanes integer
---@param told table
---@param places? table[]  as `where` of connect: one of them is drawn for each connection
function M.client(me, histories, count, lanes, told, places)
  local loop = require "lunode.loop"
  local done, number = 0, 0
  told[me] = { ok = 0, refused = 0, unknown = 0 }

  local function start()
    local open, ended = {}, false -- lane → { history, operation }
    local connection

    local function go_on(send, lane)
      if number == count then
        if done == count then
          connection:close()
        end
        return
      end
      number = number + 1
      local kind, name, key, arg, words = draw(loop, me .. number)
      local h = histories[kind]
      local op = arg and h:invoke(me .. "." .. lane, name, key, arg) or h:invoke(me .. "." .. lane, name, key)
      open[lane] = { h, op }
      send(words, function(reply)
        open[lane] = nil
        done = done + 1
        if type(reply) == "table" and reply.err and reply.err:find "^UNKNOWN" then
          told[me].unknown = told[me].unknown + 1
          h:unknown(op)
        elseif type(reply) == "table" and reply.err then
          assert(reply.err:find "^MISCONF" or reply.err:find "^CLUSTERDOWN", reply.err)
          told[me].refused = told[me].refused + 1
          h:fail(op)
        else
          told[me].ok = told[me].ok + 1
          h:ok(op, result_of(kind, name, reply))
        end
        if ended then
          return
        elseif loop.random(1, 3) == 1 then
          go_on(send, lane) -- at once: several commands in a turn
        else
          loop.timer(loop.random(0, 900) / 1000, function()
            if not ended then
              go_on(send, lane)
            end
          end)
        end
      end)
    end

    connection = M.connect(function(send)
      for lane = 1, lanes do
        go_on(send, lane)
      end
    end, function()
      ended = true
      for lane = 1, lanes do
        local entry = open[lane]
        if entry then
          done = done + 1
          told[me].unknown = told[me].unknown + 1
          entry[1]:unknown(entry[2])
        end
      end
      if done < count then
        loop.timer(0.1, start)
      end
    end, places and places[loop.random(1, #places)])
  end

  start()
end

-- ---------------------------------------------------------------- other clients

local COMMANDS = { -- k: a key, n: a number of milliseconds, v: a value
  "SET k v PX n", "SET k v PX n", "SET k v", "PSETEX k n v", "PEXPIRE k n", "PEXPIRE k n NX", "PERSIST k",
  "GETEX k PX n", "GET k", "INCR k", "INCRBYFLOAT k 0.1", "APPEND k v", "SETRANGE k 3 v", "MSET k v k v",
  "MSETNX k v k v", "GETDEL k", "DEL k k", "RENAME k k", "RENAMENX k k", "ROLL k", "TTL k", "DBSIZE", "KEYS e*",
  "ECHO v", "RANDOMKEY",
}

---A client, for world:node, of which the model is the replay: all that a command may depend on, on keys of its own. It
---asks for as long as it lives, and checks that an ECHO between has its reply in its place. `flush`: it also deletes
---all keys.
---@param flush? boolean
---@param places? table[]  as `client`'s
---@param more? string[]  further lines, as COMMANDS has them
function M.noise(flush, places, more)
  local loop, task = require "lunode.loop", require "lunode.task"
  local number = 0
  local commands = table.move(more or {}, 1, #(more or {}), #COMMANDS + 1, table.move(COMMANDS, 1, #COMMANDS, 1, {}))

  local function word_for(letter)
    if letter == "k" then
      return "e" .. loop.random(1, 8)
    elseif letter == "n" then
      return tostring(loop.random(1, 3000))
    end
    number = number + 1
    return tostring(number)
  end

  local function words_of(line)
    local words = {}
    for word in line:gmatch "%S+" do
      words[#words + 1] = #word == 1 and word:find "[knv]" and word_for(word) or word
    end
    return words
  end

  task.spawn(function()
    while true do
      local ended = false
      local connection = M.connect(function(send)
        local function go_on()
          for _ = 1, loop.random(1, 6) do
            local line = commands[loop.random(1, #commands)]
            send(words_of(flush and loop.random(1, 40) == 1 and "FLUSHALL" or line), function() end)
          end
          local mark = tostring(loop.random(1, 1 << 40))
          send({ "ECHO", mark }, function(reply)
            assert(reply == mark or type(reply) == "table" and reply.ok == "QUEUED", "replies out of order")
            loop.timer(loop.random(1, 400) / 1000, function()
              if not ended then
                go_on()
              end
            end)
          end)
        end
        go_on()
      end, function()
        ended = true
      end, places and places[loop.random(1, #places)])
      repeat
        task.sleep(0.2)
      until ended
      assert(connection)
    end
  end)
end

---A client, for world:node: appends tags to one key, several at a time, for as long as it lives. told.sent holds all
---tags; told.acked, in the order of the replies, { tag, length, at }.
function M.writer(me, world, told)
  local loop = require "lunode.loop"
  local number = 0
  M.connect(function(send)
    local function go_on()
      local left = loop.random(1, 5)
      for _ = 1, left do
        number = number + 1
        local tag = ("%s:%d,"):format(me, number)
        told.sent[tag] = true
        send({ "APPEND", "order", tag }, function(reply)
          assert(math.type(reply) == "integer", "an append was refused")
          table.insert(told.acked, { tag = tag, length = reply, at = world.now })
          left = left - 1
          if left == 0 then
            loop.timer(loop.random(0, 300) / 1000, go_on)
          end
        end)
      end
    end
    go_on()
  end, function() end)
end

---Runs commands on a connection of their own, in one write; gives their replies.
---@param world lunode.sim.world
---@param ... string[]
---@return any[] replies
function M.ask(world, ...)
  local replies, lists = {}, { ... }
  local name = "asker" .. #world.nodes
  world:node(name, function()
    local connection
    connection = M.connect(function(send)
      for i, words in ipairs(lists) do
        send(words, function(reply)
          replies[i] = reply
          if i == #lists then
            connection:close()
          end
        end)
      end
    end, function() end)
  end)
  assert(world:run_until(function()
    return #replies == #lists or world:get(name).state ~= "up"
  end, 10))
  return replies
end

return M
