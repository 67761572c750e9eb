-- A key-value node as a member of a cluster: its keys are the state machine of a lunode.raft.driver, and its commands
-- go the way of kv.replicated. Decides nothing about consensus.
--
--   kv.start { id = "n1", port = 6381, dir = "data/n1",
--     cluster = { listen = "127.0.0.1:7001", init = { n1 = "127.0.0.1:7001", n2 = …, n3 = … } } }
--
-- Rows of its own in the state: 0xFF "member/" id → "HOST:PORT", where clients reach a member; each says so itself.
local admin = require "lunode.kv.admin"
local context = require "lunode.kv.context"
local database = require "lunode.kv.db"
local logged = require "lunode.kv.logged"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local members = require "lunode.kv.cluster_members"
local replicated = require "lunode.kv.replicated"
local save = require "lunode.kv.save"
local vocabulary = require "lunode.kv.vocabulary"

local M = {}

local NAME = "lunode kv"
local ELECTION_TIMEOUT = 0.3 -- seconds; with it writes go on within a second of a leader's death, 99 times of 100
local PATIENCE = 10 -- election timeouts: how long commands wait for a leader
-- Of the entries' commands: which there are, and what they do. Raised by a version that adds one that writes, or
-- changes what one does.
local FORMAT = 1
local ANNOUNCE_AGAIN = 1.0 -- seconds
local LOOK = 60 -- seconds: how often it is seen after what was watched and then forgotten

-- ---------------------------------------------------------------- the replica

local function close(node)
  if node.heart then
    node.heart:close()
  end
  node.admin:close()
  node.cluster:close()
end

-- What others of the node look at in its replica.
local function stand_in(node)
  local member = node.cluster
  local fields = {
    store = function()
      return member.store
    end,
    applied = function()
      return member.applied
    end,
    waiting = function()
      return node.writes:count_waiting() + (node.handing_over and 1 or 0)
    end,
  }
  return setmetatable({
    sync = "always",
    dir = node.dir,
    log = member.storage.log,
    commits_at_once = function()
      return false
    end,
    close = function()
      close(node)
      return true
    end,
    abandon = function()
      close(node)
    end,
  }, { __index = function(_, name)
    return fields[name] and fields[name]()
  end })
end

-- ---------------------------------------------------------------- what the driver tells

local function on_role(node, role, term, leader)
  local member = node.cluster
  logger.info("cluster: id=%s role=%s term=%d leader=%s applied=%d", member.id, role, term, leader or "none",
    member.applied)
  node.known_leader = leader or node.known_leader
  node.writes:role_changed()
end

-- The state, when the node starts and when a snapshot has come.
local function attach(node, store)
  if node.db then
    local ok, err, code = node.db:attach(store)
    if ok then
      node.writes:was_replaced()
      node.blocking:touch_all() -- what clients wait for may have come with it
    end
    return ok, err, code
  end
  local err, code
  node.db, err, code = database.open(store, true)
  return node.db and true, err, code
end

local function on_told(node, from, what, answer)
  local kind = type(what) == "table" and what[1]
  if kind == "forward" then
    node.writes.units:take_forwarded(from, what, answer, logged.knows)
  elseif kind == "commands" then
    node.vocabulary:was_told(from, what[2], answer)
  elseif kind == "admin" then
    node.admin:was_told(what, answer)
  end
end

-- ---------------------------------------------------------------- members

logged.add("member", function(ctx, id, address)
  ctx.db:put_own(members.row(id), address)
end)

-- All have to know where clients reach this one.
local function announce(node)
  local core, now = node.cluster.core, loop.now()
  if core and core.leader and core.config.members[node.cluster.id] and now >= node.announce_at then
    if node.db.store:get(members.row(node.cluster.id)) ~= node.announced then
      node.announce_at = now + ANNOUNCE_AGAIN
      node.writes:submit_own("member", node.cluster.id, node.announced)
    end
  end
end

local WILDCARDS = { ["0.0.0.0"] = true, ["::"] = true, [""] = true }

-- Where it listens for clients; on all addresses, that at which the members reach it.
local function default_address(node, address)
  local host = node.host
  if WILDCARDS[host] then
    host = address:match("^%[(.*)%]:%d+$") or address:match("^(.*):%d+$")
  end
  return ("%s:%d"):format(host, node.port)
end

-- ---------------------------------------------------------------- opening

---Opens the member, and with it the node's keys.
---@param node lunode.kv.node
---@param options lunode.kv.options
---@return true? ok
---@return string? err, lunode.code? code
function M.open(node, options)
  local given = options.cluster
  local election_timeout = given.election_timeout or ELECTION_TIMEOUT
  local err, code
  local driver = require "lunode.raft.driver" -- a node by itself does without the memory that it takes
  node.cluster, err, code = driver.open {
    id = options.id, cluster = given.name or NAME, secret = given.secret, dir = options.dir, listen = given.listen,
    address = given.address, members = given.init, join = given.join, format = FORMAT,
    election_timeout = election_timeout,
    heartbeat = given.heartbeat, segment_size = options.segment, log_keep = given.log_keep,
    store = { cache = options.cache, engine = options.engine, overlay = options.overlay, limit = options.limit },
    machine = {
      attach = function(store)
        return attach(node, store)
      end,
      apply = function(entry)
        node.writes:apply(entry)
      end,
    },
    on_role = function(role, term, leader)
      on_role(node, role, term, leader)
    end,
    on_room = function()
      node.writes:resume()
    end,
    on_told = function(from, what, answer)
      on_told(node, from, what, answer)
    end,
    on_answer = function(from, what)
      local kind = type(what) == "table" and what[1]
      if kind == "admin" then
        node.admin:was_answered(from, what)
      elseif kind == "commands" then
        node.vocabulary:was_answered(from)
      else
        node.writes.units:was_answered(what)
      end
    end,
    on_link = function(id, up)
      node.writes.units:link_changed(id, up)
      node.vocabulary:link_changed(id, up)
      if not up then
        node.admin:link_lost(id)
      end
    end,
    on_failure = function(failure)
      node:fail(failure)
    end,
  }
  if not node.cluster then
    return nil, err, code
  end
  node.ctx = context.new(node, node.db)
  node.replica = stand_in(node)
  node.started = node:read_clock()
  node.writes = replicated.new(node, node.replica, node.cluster, PATIENCE * election_timeout)
  node.save = save.new(node)
  node.admin, node.vocabulary = admin.new(node), vocabulary.new(node.cluster)
  node.redirects, node.cluster_name, node.known_leader = given.redirect == "moved", given.name or NAME, nil
  return true
end

---The node listens: it begins to take part.
---@param node lunode.kv.node
---@param options lunode.kv.options
function M.start(node, options)
  local given = options.cluster
  local heartbeat = given.heartbeat or (given.election_timeout or ELECTION_TIMEOUT) / 10
  local address = given.address or given.init and given.init[options.id] or given.listen
  node.announced, node.announce_at = given.announce or default_address(node, address), loop.now()
  node.heart = loop.timer(heartbeat, function() -- beats until the end, as what waits may have to be given up
    announce(node)
    node.vocabulary:tick()
    node.writes:tick()
  end, heartbeat)
  node.timers.watches = loop.timer(LOOK, function()
    node.writes.watching:forget(math.floor(loop.time() * 1000))
  end, LOOK)
end

---A leader that ends hands the leadership over first, so that nobody has to miss it before another is elected.
---@param node lunode.kv.node
function M.hand_over(node)
  local core = node.cluster.core
  if not core or core.role ~= "leader" then
    return
  end
  local best
  for _, id in ipairs(core.config.ids) do
    local progress = core.peers[id]
    if progress and progress.voter and members.is_heard(node, progress)
      and (not best or progress.match > best.match) then
      best = progress
    end
  end
  if best then
    node.handing_over = true
    node.cluster:transfer(best.id, function(_, err)
      node.handing_over = false
      if err then
        logger.warn("cluster: the leadership could not be handed over to %s: %s", best.id, err.message)
      end
      loop.defer(function() end) -- the turn's end looks whether the node can end
    end)
  end
end

return M
