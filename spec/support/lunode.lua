-- Runs the lunode binary for specs: any verb to its end, or a node of `lunode kv` on a free port.
--
--   local lunode = require "spec.support.lunode"
--   local code, out, err = lunode.run { "version" }              -- options as process.run
--   local node = lunode.kv { "--sync", "always" }                -- data in a temporary directory
--   local node = lunode.kv { dir = dir, env = { LUNODE_LOG_LEVEL = "debug" } }
--   node:client():call("PING"); node.host, node.port, node.dir, node.process
--   local node = lunode.kv { small = true, "sync=always", "overlay=65536" }  -- see small_node.lua
--   local node = lunode.kv { wrapper = { "strace", … }, patient = false }    -- does not wait until it answers
--   node:stop()      -- SIGTERM, waits, returns the exit code
--   node:kill9()     -- SIGKILL, waits
--   node:start()     -- again, on the same port and directory

local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local redis = require "spec.support.redis"
local tmp = require "lunode.test.tmp"

local M = {}

local function executable()
  local pipe = assert(io.popen("readlink -f /proc/$PPID/exe", "r"))
  local path = pipe:read("l")
  pipe:close()
  return path
end

---The path of the binary under test: LUNODE_BIN, or the one that runs this.
M.bin = os.getenv("LUNODE_BIN") or executable()

-- The tester's own settings must not reach the binary under test.
local function environment(env)
  local clean = {}
  for _, name in ipairs {
    "CONFIG", "LISTEN", "DATA", "SYNC", "ENGINE", "REQUIREPASS", "MAXCLIENTS", "LOG_LEVEL", "CONSOLE",
    "NO_CONSOLE", "HISTORY", "ID", "CLUSTER_LISTEN", "CLUSTER_ADDRESS", "CLUSTER_INIT", "JOIN", "CLUSTER_SECRET",
    "CLUSTER_SECRET_FILE", "ANNOUNCE", "REDIRECT", "NODE",
  } do
    clean["LUNODE_" .. name] = false
  end
  for name, value in pairs(env or {}) do
    clean[name] = value
  end
  return clean
end

local function words(options)
  local copy = {}
  for key, value in pairs(options) do
    if type(key) == "string" then
      copy[key] = value
    end
  end
  for _, word in ipairs(options.wrapper or {}) do
    copy[#copy + 1] = word
  end
  copy[#copy + 1] = M.bin
  for _, word in ipairs(options) do
    copy[#copy + 1] = word
  end
  copy.env = environment(options.env)
  return copy
end

---Runs the binary to its end.
---@param options table  words; env, cwd, stdin, seconds as in lunode.test.process; wrapper: words before the binary
---@return integer code, string stdout, string stderr
function M.run(options)
  return process.run(words(options))
end

---Starts the binary and leaves it running.
---@param options table  words; env, cwd, stdin as in lunode.test.process; wrapper: words before the binary
---@return lunode.test.process
function M.start(options)
  return process.start(words(options))
end

---@class spec.node
---@field host string
---@field port integer
---@field dir string
---@field password string?
---@field process spec.process
---@field private options table
local methods = {}
local metatable = { __index = methods, __name = "spec.node" }

---Starts `lunode kv` and waits until it answers.
---@param options? table  further words; dir, port, password, env
---@return spec.node
function M.kv(options)
  options = options or {}
  local self = setmetatable({
    host = "127.0.0.1",
    port = options.port or ports.free(),
    dir = options.dir or tmp.dir() .. "/data",
    password = options.password,
    process = nil,
    options = options,
  }, metatable)
  self:start()
  return self
end

---Starts it (again), on the same port and directory.
function methods:start()
  local all = { "kv", "--listen", self.host .. ":" .. self.port, "--data", self.dir }
  if self.options.small then
    all = { "run", "spec/support/small_node.lua", tostring(self.port), self.dir }
  end
  all.env, all.wrapper = self.options.env, self.options.wrapper
  if self.password then
    all[#all + 1] = "--requirepass=" .. self.password
  end
  for _, word in ipairs(self.options) do
    all[#all + 1] = word
  end
  self.process = M.start(all)
  if self.options.patient == false then
    return
  end
  redis.wait_ready(self.host, self.port, self.process, self.password)
end

---@return spec.redis.client
function methods:client()
  local client = redis.connect(self.host, self.port)
  if self.password then
    client:call("AUTH", self.password)
  end
  return client
end

---Asks it to end in good order.
---@return integer code
function methods:stop()
  self.process:kill("TERM")
  return self.process:wait(30)
end

---Ends it without any warning.
function methods:kill9()
  self.process:kill("KILL")
  self.process:wait(10)
end

return M
