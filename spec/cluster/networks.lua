-- A network of the test's own: each member in a namespace with one address, all of them at one switch, and the test's
-- process beside them. Links can be cut in either direction; what was sent over them is dropped without a word.
--
--   networks.missing()                     -- why there can be none here, or nil
--   local net = networks.new(3)
--   net:host "n1"                          -- its address
--   net:wrapper "n1"                       -- words before a program that is to run there
--   net:cut("n1", "n2")                    -- n2 does not hear n1
--   net:join_all()
--
-- The namespaces live as long as the processes that hold them; the devices go with them.

local loop = require "lunode.loop"
local process = require "lunode.test.process"
local tmp = require "lunode.test.tmp"

local M = {}

local methods = {}
local metatable = { __index = methods, __name = "spec.cluster.network" }

local function sh(line, ...)
  local pipe = assert(io.popen("{ " .. line:format(...) .. "\n} 2>&1", "r"))
  local out = pipe:read "a"
  return pipe:close() and true or false, out
end

-- 198.18.0.0/15 is for the tests of networks (RFC 2544): nobody's addresses. Who looks for one at the same time starts
-- elsewhere.
local function subnet()
  local first = loop.random(0, 249)
  for n = first, first + 249 do
    local prefix = ("198.18.%d"):format(n % 250 + 1)
    if not select(2, sh("ip -4 -o addr show")):find(prefix .. ".", 1, true) then
      return prefix
    end
  end
  error "there is no free network for the test"
end

-- A namespace, as long as this process lives.
local function namespace()
  local holder = process.start { "unshare", "--net", "--", "sleep", "infinity" }
  local mine = select(2, sh("readlink /proc/self/ns/net"))
  local made = require("lunode.test.wait").till(function()
    local ok, its = sh("readlink /proc/%d/ns/net", holder.pid)
    return not holder:is_alive() or ok and its ~= mine
  end)
  return made and holder:is_alive() and holder or nil, holder:stderr()
end

local function must(...)
  local ok, out = sh(...)
  if not ok then
    error("a network cannot be made: " .. out, 0)
  end
end

local function enter(pid)
  return { "nsenter", "--net=/proc/" .. pid .. "/ns/net", "--" }
end

local function inside(pid, line)
  return ("nsenter --net=/proc/%d/ns/net -- %s"):format(pid, line)
end

---@return string? why  nil: there can be networks here
function M.missing()
  for _, program in ipairs { "ip", "nft", "unshare", "nsenter" } do
    if not sh("command -v %s", program) then
      return "there is no " .. program .. " here to make a network with"
    end
  end
  local ok, out = sh "unshare --net -- sh -c 'ip link add name try type bridge && nft add table inet try'"
  return not ok and "no networks can be made here: " .. out or nil
end

---@param count integer  of members, n1 and so on
function M.new(count)
  local hub = assert(namespace())
  local self = setmetatable({ prefix = subnet(), holders = {}, hub = hub, tag = hub.pid }, metatable)
  must(inside(hub.pid, "ip link add name hub type bridge"))
  must(inside(hub.pid, "ip link set hub up"))
  must("ip link add ln%d type veth peer name here netns %d", self.tag, hub.pid)
  must(inside(hub.pid, "ip link set here master hub up"))
  must("ip addr add %s.254/24 dev ln%d && ip link set ln%d up", self.prefix, self.tag, self.tag)
  for i = 1, count do
    local holder = assert(namespace())
    self.holders["n" .. i] = holder
    must("ip link add name eth0 netns %d type veth peer name n%d netns %d", holder.pid, i, hub.pid)
    must(inside(hub.pid, "ip link set n%d master hub up"), i)
    must(inside(holder.pid, "ip addr add %s.%d/24 dev eth0"), self.prefix, i)
    must(inside(holder.pid, "ip link set eth0 up"))
    must(inside(holder.pid, "ip link set lo up"))
    must(inside(holder.pid, "nft add table inet cuts"))
    must(inside(holder.pid, "nft add chain inet cuts input '{ type filter hook input priority 0; }'"))
  end
  return self
end

---@param id string
---@return string
function methods:host(id)
  return self.prefix .. "." .. id:match "%d+$"
end

---@param id string
---@return string[]
function methods:wrapper(id)
  return enter(self.holders[id].pid)
end

local function change(self, id, line)
  local ok, out = sh(inside(self.holders[id].pid, "nft %s"), tmp.quote(line))
  assert(ok, out)
end

---@param from string
---@param to string  hears nothing of it any more
function methods:cut(from, to)
  change(self, to, ("add rule inet cuts input ip saddr %s drop"):format(self:host(from)))
end

---All hear each other again.
function methods:join_all()
  for id in pairs(self.holders) do -- in any order: they do not depend on each other
    change(self, id, "flush chain inet cuts input")
  end
end

return M
