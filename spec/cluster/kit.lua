-- Clusters of real `lunode kv` processes, on loopback or each in a network of its own, and what can happen to them.
--
--   local kit = require "spec.cluster.kit"
--   local c = kit.cluster { members = 3, network = true }   -- pending where the system permits no namespaces
--   c:leader()                       a member, once one leads
--   local m = c.members[1]           id, host, port, dir, process
--   m:kill9(); m:start(); m:pause(); m:resume(); c:cut { from = m, to = other }; c:join_all()
--   c:agree()                        waits until all members hold the same, and raises where they never do
--
-- Options: words (more for the command line), data (a function: member → its directory), wrapper (a function: member →
-- words before the binary), env.

local loop = require "lunode.loop"
local lunode = require "spec.support.lunode"
local networks = require "spec.cluster.networks"
local ports = require "lunode.test.ports"
local redis = require "spec.support.redis"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local M = {}

-- ---------------------------------------------------------------- a member

---@class spec.cluster.member
---@field id string
---@field host string
---@field port integer        for clients
---@field cluster_port integer
---@field dir string
---@field process lunode.test.process?
---@field up boolean          started, and not killed since
---@field paused boolean
---@field starts integer
local member = {}
local member_metatable = { __index = member, __name = "spec.cluster.member" }

---Starts it, and does not wait for it.
function member:start()
  assert(not self.up, self.id .. " is up")
  local c = self.cluster
  local all = {
    "kv", "--id", self.id, "--listen", self.host .. ":" .. self.port, "--data", self.dir,
    "--cluster-listen", self.host .. ":" .. self.cluster_port, "--protected", "no", -- the network is the test's own
  }
  if self.joins then
    table.move({ "--join", self.joins }, 1, 2, #all + 1, all)
  else
    table.move({ "--cluster-init", c.init }, 1, 2, #all + 1, all)
  end
  table.move(c.words, 1, #c.words, #all + 1, all)
  all.env, all.wrapper = { LUNODE_CLUSTER_SECRET = "of the cluster in the spec" }, {}
  for name, value in pairs(c.env or {}) do -- in any order: they do not depend on each other
    all.env[name] = value
  end
  for _, words in ipairs { c.network and c.network:wrapper(self.id) or {}, c.wrapper and c.wrapper(self) or {} } do
    table.move(words, 1, #words, #all.wrapper + 1, all.wrapper)
  end
  self.process = lunode.start(all)
  self.up, self.paused, self.starts = true, false, self.starts + 1
end

---Ends it without any warning, and does not wait.
function member:kill9()
  self.process:kill "KILL"
  self.up, self.paused = false, false
  self.process:wait(10)
end

---Asks it to end in good order.
---@return integer code
function member:stop()
  self.process:kill "TERM"
  self.up = false
  return self.process:wait(30)
end

local function signal(self, name) -- the words before the binary are processes, too
  os.execute(("kill -s %s -- -%d 2>/dev/null"):format(name, self.process.pid))
end

function member:pause()
  signal(self, "STOP")
  self.paused = true
end

function member:resume()
  signal(self, "CONT")
  self.paused = false
end

---@param seconds? number  how long each call may take
---@return spec.redis.client
function member:client(seconds)
  return redis.connect(self.host, self.port, seconds)
end

---One command over a connection of its own; nil where no answer came.
---@return any
function member:ask(...)
  local ok, client = pcall(self.client, self, 2)
  if not ok then
    return nil
  end
  local answered, reply = pcall(client.call, client, ...)
  client:close()
  return answered and reply or nil
end

-- A flat list of names and values, as RESP2 has maps.
local function fields_of(list)
  local fields = {}
  for i = 1, #list, 2 do
    fields[list[i]] = list[i + 1]
  end
  return fields
end

---What RAFT STATUS says, by field; `members` is a list of such. nil where no answer came.
---@return table<string, any>?
function member:status()
  local reply = self:ask("RAFT", "STATUS")
  if type(reply) ~= "table" or reply.err then
    return nil
  end
  local fields = fields_of(reply)
  for i, row in ipairs(fields.members) do
    fields.members[i] = fields_of(row)
  end
  return fields
end

function member:check_alive()
  if self.up and not self.paused and not self.process:is_alive() then
    error(("%s has ended: %s%s"):format(self.id, self.process:stderr(), self.process:stdout()), 0)
  end
end

-- ---------------------------------------------------------------- a cluster

---@class spec.cluster
---@field members spec.cluster.member[]
---@field kills integer
local methods = {}
local metatable = { __index = methods, __name = "spec.cluster" }

local function new_member(self, id)
  local m = setmetatable({
    id = id, cluster = self, host = self.network and self.network:host(id) or "127.0.0.1",
    port = ports.free(), cluster_port = ports.free(), dir = nil, process = nil, up = false, paused = false, starts = 0,
    joins = nil,
  }, member_metatable)
  m.dir = self.data and self.data(m) or ("%s/%s"):format(self.dir, id)
  self.members[#self.members + 1] = m
  return m
end

---Founds a cluster, and waits until one of it leads.
---@param options table  members: how many; network, words, data, wrapper, env as above
---@return spec.cluster
function M.cluster(options)
  local self = setmetatable({
    members = {}, dir = tmp.dir(), words = options.words or {}, data = options.data, wrapper = options.wrapper,
    env = options.env, network = nil, init = nil, kills = 0,
  }, metatable)
  local ids = {}
  for i = 1, options.members do
    ids[i] = "n" .. i
  end
  self.network = options.network and networks.new(options.members + 2) or nil
  local addresses = {}
  for i, id in ipairs(ids) do
    local m = new_member(self, id)
    addresses[i] = ("%s=%s:%d"):format(id, m.host, m.cluster_port)
  end
  self.init = table.concat(addresses, ",")
  for _, m in ipairs(self.members) do
    m:start()
  end
  self:leader()
  return self
end

---One more, which asks a member to be taken in. Started, and not awaited.
---@param id string
---@return spec.cluster.member
function methods:join(id)
  local by = self:leader()
  local m = new_member(self, id)
  m.joins = ("%s:%d"):format(by.host, by.cluster_port)
  m:start()
  return m
end

---Ends one that was removed.
---@param m spec.cluster.member
function methods:forget(m)
  for i, other in ipairs(self.members) do
    if other == m then
      table.remove(self.members, i)
    end
  end
  m:kill9()
end

-- The one that says so of the latest term.
local function find_leader(self)
  local leader, term = nil, -1
  for _, m in ipairs(self.members) do
    m:check_alive()
    local status = m.up and not m.paused and m:status()
    if status and status.role == "leader" and status.term > term then
      leader, term = m, status.term
    end
  end
  return leader
end

---@param seconds? number
---@return spec.cluster.member
function methods:leader(seconds)
  return wait.till(function()
    return find_leader(self)
  end, seconds or 20, "a leader")
end

---@param not_this? spec.cluster.member
---@return spec.cluster.member  one that does not lead
function methods:follower(not_this)
  local leader, fitting = self:leader(), {}
  for _, m in ipairs(self.members) do
    if m.up and not m.paused and m ~= leader and m ~= not_this then
      fitting[#fitting + 1] = m
    end
  end
  return fitting[loop.random(1, #fitting)]
end

---@return spec.cluster.member[]  that run
function methods:running()
  local list = {}
  for _, m in ipairs(self.members) do
    list[#list + 1] = m.up and not m.paused and m or nil
  end
  return list
end

---Lets one not hear another, or both not hear each other.
---@param cut { from: spec.cluster.member, to: spec.cluster.member, both: boolean? }
function methods:cut(cut)
  self.network:cut(cut.from.id, cut.to.id)
  if cut.both then
    self.network:cut(cut.to.id, cut.from.id)
  end
end

---Nobody but its clients hears this one, nor it anybody.
---@param m spec.cluster.member
function methods:isolate(m)
  for _, other in ipairs(self.members) do
    if other ~= m then
      self:cut { from = m, to = other, both = true }
    end
  end
end

---All hear each other again, and all run.
function methods:heal()
  if self.network then
    self.network:join_all()
  end
  for _, m in ipairs(self.members) do
    if m.paused then
      m:resume()
    elseif not m.up then
      m:start()
    end
  end
end

-- ---------------------------------------------------------------- what they hold

-- As bytes of a reply.
local function value_of(client, key)
  local type = client:call("TYPE", key).ok
  if type == "string" then
    return client:raw { "GET", key }
  end
  assert(type == "set", key .. " is a " .. type)
  local elements = client:call("SMEMBERS", key)
  table.sort(elements)
  return table.concat(elements, " ")
end

-- All keys of a member as it has them, as one text; nil where it cannot be had now.
local function contents(m)
  local fine, client = pcall(m.client, m, 5)
  if not fine then
    return nil
  end
  local ok, text = pcall(function()
    client:call "READONLY"
    local keys, list, cursor = {}, {}, "0"
    repeat
      local page = client:call("SCAN", cursor, "COUNT", 1000)
      cursor = page[1]
      table.move(page[2], 1, #page[2], #keys + 1, keys)
    until cursor == "0"
    table.sort(keys)
    for i, key in ipairs(keys) do
      list[i] = value_of(client, key)
    end
    return table.concat(keys, "\n") .. table.concat(list)
  end)
  client:close()
  return ok and text or nil
end

---Waits until all members hold the same.
---@param seconds? number
---@return string  what they hold
function methods:agree(seconds)
  local got
  wait.till(function()
    got = contents(self.members[1])
    for i = 2, #self.members do
      if not got or contents(self.members[i]) ~= got then
        self.members[i]:check_alive()
        return false
      end
    end
    return true
  end, seconds or 60, "all members to hold the same")
  return got
end

return M
