-- Runs the same commands on two servers and finds where their replies differ; shrinks what differs to few commands.
-- Which replies agree, spec.support.compare says.
--
--   local differ = require "spec.support.differ"
--   local d = differ.new(redis_server, node)      -- each with :client()
--   local difference = d:run(steps)               -- nil where all agree; steps as in spec.support.commands
--   local few, difference = d:shrink(steps)
--   print(d:describe(few, difference))
--   d.total, d.answered.GET       -- how many commands have run, and how often GET gave no error
--
-- Afterwards the whole keyspace of both is compared, too.

local compare = require "spec.support.compare"
local resp = require "lunode.resp"
local shrink = require "lunode.test.shrink"

local M = {}

---@class spec.differ
---@field sides { server: table, control: spec.redis.client }[]
---@field answered table<string, integer>
---@field total integer
---@field mangle? fun(command: string[], reply: string): string  changes the second server's replies: tests this module
local methods = {}
local metatable = { __index = methods, __name = "spec.differ" }

---@class spec.difference
---@field command string[]
---@field step integer?  nil: found when the keyspaces were compared
---@field replies string[]

---@param a { client: fun(self): spec.redis.client }
---@param b { client: fun(self): spec.redis.client }
---@param mangle? fun(command: string[], reply: string): string
---@return spec.differ
function M.new(a, b, mangle)
  local sides = {}
  for i, server in ipairs { a, b } do
    sides[i] = { server = server, control = server:client() }
  end
  return setmetatable({ sides = sides, answered = {}, total = 0, mangle = mangle }, metatable)
end

-- The bytes of the next `count` replies. What does not come is told in their place.
local function collect(client, count)
  local list = {}
  for i = 1, count do
    local ok, bytes = pcall(client.reply_bytes, client)
    list[i] = ok and bytes or ("(no reply: %s)"):format(bytes)
    if not ok then
      client.seconds = 0 -- nor will there be more
    end
  end
  return list
end

-- Both get all of the commands in one piece; the pairs of their replies.
local function exchange(clients, batch)
  local pieces = {}
  for i, command in ipairs(batch) do
    pieces[i] = resp.command(table.unpack(command))
  end
  local bytes = table.concat(pieces)
  for _, client in ipairs(clients) do
    if not client.closed then
      client:send(bytes)
    end
  end
  return collect(clients[1], #batch), collect(clients[2], #batch)
end

local function is_quit(command)
  return command[1]:upper() == "QUIT"
end

function methods:connect()
  return { self.sides[1].server:client(), self.sides[2].server:client() }
end

-- Runs a batch and compares. A difference, or nil.
local function run_batch(self, clients, batch, steps_of)
  local a, b = exchange(clients, batch)
  for i, command in ipairs(batch) do
    if self.mangle then
      b[i] = self.mangle(command, b[i])
    end
    local name = command[1]:upper()
    if steps_of then
      self.total = self.total + 1
    end
    if not compare.agree(command, a[i], b[i], i > 1 and { a[i - 1], b[i - 1] } or nil) then
      return { command = command, step = steps_of and steps_of[i], replies = { a[i], b[i] } }
    elseif steps_of and not a[i]:find("^[-(]") and a[i] ~= "+QUEUED\r\n" then
      self.answered[name] = (self.answered[name] or 0) + 1
    end
  end
end

-- Whether both have closed, as QUIT makes them.
local function both_close(clients)
  for i, client in ipairs(clients) do
    if not pcall(client.wait_closed, client) then
      local replies = { "(closed)", "(closed)" }
      replies[i] = "(still open)"
      return { command = { "QUIT" }, replies = replies }
    end
  end
end

local function run_steps(self, steps)
  local clients = self:connect()
  local batch, steps_of = {}, {}
  local difference
  local function flush()
    difference = difference or run_batch(self, clients, batch, steps_of)
    batch, steps_of = {}, {}
  end
  for i, step in ipairs(steps) do
    local quits = false
    for at, command in ipairs(step) do
      batch[#batch + 1], steps_of[#batch + 1] = command, i
      quits = quits or is_quit(command)
      if at == step.pause_after then
        flush()
      end
    end
    if step.pause or quits or i == #steps or difference then
      flush()
      if quits and not difference then
        difference = both_close(clients)
        clients = not difference and self:connect() or clients
      end
      if difference then
        break
      end
    end
  end
  for _, client in ipairs(clients) do
    client:close()
  end
  return difference
end

-- The step that took its keys from both, and what each key holds.
local function compare_keyspaces(self)
  local controls = { self.sides[1].control, self.sides[2].control }
  local a = controls[1]:call("KEYS", "*")
  local b = controls[2]:call("KEYS", "*")
  if not compare.same_set(a, b) then
    return { command = { "KEYS", "*" }, replies = { resp.encode(a), resp.encode(b) } }
  end
  local batch = { { "DBSIZE" } }
  table.sort(a)
  for _, key in ipairs(a) do
    for _, name in ipairs { "TYPE", "GET", "HGETALL", "SMEMBERS", "PTTL", "PEXPIRETIME" } do
      batch[#batch + 1] = { name, key }
    end
    batch[#batch + 1] = { "ZRANGE", key, "0", "-1", "WITHSCORES" }
    batch[#batch + 1] = { "LRANGE", key, "0", "-1" }
  end
  return run_batch(self, controls, batch)
end

-- ---------------------------------------------------------------- for people

local ESCAPES = { ["\r"] = "\\r", ["\n"] = "\\n", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

-- As redis-cli reads and shows it.
local function quote(text)
  local long = #text > 400
  local shown = text:sub(1, 400):gsub('[%c"\\\128-\255]', function(c)
    return ESCAPES[c] or ("\\x%02x"):format(c:byte())
  end)
  return '"' .. shown .. '"' .. (long and (" (%d bytes)"):format(#text) or "")
end

local function line(command)
  local words = {}
  for i, word in ipairs(command) do
    words[i] = word:find("^[%w*:.+-]+$") and #word <= 40 and word or quote(word)
  end
  return "> " .. table.concat(words, " ")
end

local function listing(steps)
  local lines = {}
  for _, step in ipairs(steps) do
    for _, command in ipairs(step) do
      lines[#lines + 1] = line(command)
    end
    if step.pause then
      lines[#lines + 1] = "  (waits for the replies)"
    end
  end
  return table.concat(lines, "\n")
end

-- ---------------------------------------------------------------- running

---Runs the steps on empty servers. The first difference, or nil. Raises when a server ends.
---@param steps string[][][]
---@return spec.difference?
function methods:run(steps)
  local ok, result = pcall(function()
    for _, side in ipairs(self.sides) do
      assert(side.control:call("FLUSHALL").ok == "OK")
    end
    return run_steps(self, steps) or compare_keyspaces(self)
  end)
  if ok then
    return result
  end
  for _, side in ipairs(self.sides) do
    local process = side.server.process
    if pcall(process.wait, process, 1) then
      error(("%s\na server ended in the course of this: %s"):format(listing(steps), process:stderr()), 0)
    end
  end
  error(("%s\nin the course of this: %s"):format(listing(steps), result), 0)
end

---The fewest steps that still differ.
---@param steps string[][][]  that differ
---@return string[][][]? steps, spec.difference? difference  nil where the difference does not come again
function methods:shrink(steps)
  local last
  local function fails(candidate)
    local difference = self:run(candidate)
    last = difference or last
    return difference ~= nil
  end
  if not fails(steps) then
    return nil
  end
  local few = shrink.list(steps, fails)
  return few, self:run(few) or last
end

---@param steps string[][][]
---@param difference spec.difference
---@return string
function methods.describe(_, steps, difference)
  return table.concat({
    listing(steps),
    ("the replies to %s%s differ:"):format(
      line(difference.command):sub(3),
      difference.step and "" or ", after it all,"
    ),
    "  first:  " .. quote(difference.replies[1]),
    "  second: " .. quote(difference.replies[2]),
  }, "\n")
end

return M
