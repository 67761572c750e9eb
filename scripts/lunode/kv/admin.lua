-- RAFT: looking after the cluster that a node is a member of. STATUS asks all members; changes are made by the leader,
-- wherever they are asked for. Decides nothing about them: lunode.raft does.
--
-- Members tell each other, over the connections there are (driver's `tell`):
--
--   {"admin", number, "status"}           {"admin", number, own status}
--   {"admin", number, "change", change}   {"admin", number, true}, or {"admin", number, false, text, definite}
local cluster_members = require "lunode.kv.cluster_members"
local command = require "lunode.kv.command"
local help = require "lunode.kv.help"
local loop = require "lunode.loop"
local resp = require "lunode.resp"
local version = require "lunode.version"

local M = {}

local VERSION = "0.1.0" -- that RAFT is there since
local STATUS_PATIENCE = 1 -- seconds that members have to answer
local CHANGE_PATIENCE = 10
local MOST_ASKED = 1000 -- questions to other members that wait for their answers

local NO_CLUSTER = resp.error("ERR This instance is no member of a cluster")
local DOWN = resp.error("CLUSTERDOWN The cluster is down: there is no leader now, and nothing was changed")
local BUSY = resp.error("ERR too much is asked of the cluster already; try again")
local LATER = resp.raw("")

---@class lunode.kv.admin
---@field node lunode.kv.node
local methods = {}
local metatable = { __index = methods, __name = "lunode.kv.admin" }

---@param node lunode.kv.node  a member of a cluster
---@return lunode.kv.admin
function M.new(node)
  return setmetatable({
    node = node,
    asked = {}, -- number → { to, fn, timer }
    count = 0, -- of these
    number = 0, -- the last one given
  }, metatable)
end

-- ---------------------------------------------------------------- asking other members

local function end_question(self, number, ...)
  local question = self.asked[number]
  if question then
    self.asked[number], self.count = nil, self.count - 1
    question.timer:close()
    question.fn(...)
  end
end

-- Calls fn(answer) once, later; with nil and why where there is none.
local function ask(self, to, seconds, fn, ...)
  self.number = self.number + 1
  local number = self.number
  if not self.node.cluster:tell(to, { "admin", number, ... }) then
    return loop.defer(function()
      fn(nil, "not connected", true)
    end)
  end
  self.count = self.count + 1
  self.asked[number] = {
    to = to, fn = fn,
    timer = loop.timer(seconds, function()
      end_question(self, number, nil, "no answer", false)
    end),
  }
end

---The connection to a member was lost: it answers no more.
---@param id string
function methods:link_lost(id)
  local numbers = {}
  for number, question in pairs(self.asked) do
    if question.to == id then
      numbers[#numbers + 1] = number
    end
  end
  table.sort(numbers)
  for _, number in ipairs(numbers) do
    end_question(self, number, nil, "the connection was lost", false)
  end
end

---A member has answered.
---@param from string
---@param what any[]
function methods:was_answered(from, what)
  local question = self.asked[what[2]]
  if question and question.to == from then
    end_question(self, what[2], what[3], what[4], what[5])
  end
end

function methods:close()
  for _, question in pairs(self.asked) do -- nobody is told: no order can be seen
    question.timer:close()
  end
  self.asked, self.count = {}, 0
end

-- ---------------------------------------------------------------- what members are asked

local function own_status(node)
  local member = node.cluster
  local status = member:status()
  local own = {
    id = member.id, role = status.role, term = status.term or 0, leader = status.leader or "",
    commit = status.commit or 0, applied = status.applied or 0, first = status.first or 0, last = status.last or 0,
    version = version, peers = {},
  }
  for i, peer in ipairs(status.role == "leader" and status.peers or {}) do
    own.peers[i] = { id = peer.id, state = peer.state, match = peer.match, silent_for = peer.silent_for }
  end
  return own
end

local CHANGES = { add = true, promote = true, demote = true, remove = true }

-- The leader does it; fn(ok, text, definite).
local function change_here(node, change, fn)
  local function finish(_, err)
    if err then
      fn(false, err.message, err.definite)
    else
      fn(true)
    end
  end
  if change.kind == "transfer" then
    node.cluster:transfer(change.id, finish)
  else
    node.cluster:change(change, finish)
  end
end

local function is_change(change)
  return type(change) == "table" and type(change.id) == "string" and (change.kind == "transfer" or CHANGES[change.kind])
    and (change.address == nil or type(change.address) == "string")
end

---Another member asks something of this one.
---@param what any[]
---@param answer fun(what: any)
function methods:was_told(what, answer)
  local number = what[2]
  if what[3] == "status" then
    answer { "admin", number, own_status(self.node) }
  elseif what[3] == "change" and is_change(what[4]) then
    change_here(self.node, what[4], function(ok, text, definite)
      answer { "admin", number, ok, text, definite }
    end)
  else
    answer { "admin", number, false, "this member does not know what is asked of it: is it of an older version?", true }
  end
end

-- ---------------------------------------------------------------- commands that are answered later

-- The connection takes no more commands before `finish(value)`. Returns nil where it cannot be so: there are other
-- commands of this connection that wait. (In a cluster a session always counts one, and this command counts, too.)
local function answer_later(ctx)
  local session = ctx.session
  if not session or session.waiting > 2 then
    return nil
  end
  session:wait()
  session.crowded = true
  session.conn:pause()
  return function(value)
    session:answer(resp.encode(value, session.protocol))
  end
end

local ALONE = resp.error("ERR RAFT waits for other members: send it alone, when all replies before it have come")

-- Runs fn(admin, finish), whose answer comes later.
local function later(ctx, fn, ...)
  local admin = ctx.node.admin
  if not admin then
    return NO_CLUSTER
  elseif admin.count >= MOST_ASKED then
    return BUSY
  end
  local finish = answer_later(ctx)
  if not finish then
    return ALONE
  end
  fn(admin, finish, ...)
  return LATER
end

-- ---------------------------------------------------------------- changes

local function change(admin, finish, wanted)
  local node = admin.node
  local core = node.cluster.core
  local function done(ok, text, definite)
    if ok then
      finish(resp.OK)
    elseif definite then
      finish(resp.error("ERR " .. (text or "it was refused")))
    else
      finish(resp.error(("UNKNOWN %s: it may or may not have been done; see RAFT STATUS"):format(text or "no answer")))
    end
  end
  if not core or not core.leader then
    return loop.defer(function()
      finish(DOWN)
    end)
  elseif core.role == "leader" then
    return change_here(node, wanted, done)
  end
  ask(admin, core.leader, CHANGE_PATIENCE, done, "change", wanted)
end

---Hands the leadership over before this member ends, if it leads and anybody else can: so the others need not find out
---first that it is gone. Calls fn() once.
---@param fn fun()
function methods:hand_over(fn)
  local member = self.node.cluster
  local best
  for _, peer in ipairs(member.core and member.core.role == "leader" and member:status().peers or {}) do
    if peer.voter and peer.state == "replicate" and (not best or peer.match > best.match) then
      best = peer
    end
  end
  if best then
    member:transfer(best.id, fn)
  else
    fn()
  end
end

local function subcommand(name, arity, syntax, summary, complexity, run)
  command.command("RAFT|" .. name, {
    arity = arity, syntax = syntax,
    flags = { "admin", "noscript", "loading", "stale", "no_multi" }, group = "server", since = VERSION,
    complexity = complexity, summary = summary, run = run,
  })
end

command.command("RAFT", {
  arity = -2, group = "server", since = VERSION, complexity = "Depends on subcommand.",
  summary = "A container for commands that look after the cluster",
})

local KINDS = {
  { "PROMOTE", "Make a learner that has caught up a voter" },
  { "DEMOTE", "Make a voter a learner, which has the data and counts for nothing" },
  { "REMOVE", "Take a member out for good: no server comes back under its id" },
  { "TRANSFER", "Hand the leadership to another voter" },
}

subcommand("ADD", 4, "id host:port", "Add a server, by its id and its cluster address, as a learner", "O(1)",
  function(ctx, id, address)
    return later(ctx, change, { kind = "add", id = id, address = address })
  end)

for _, kind in ipairs(KINDS) do
  local name, summary = table.unpack(kind)
  subcommand(name, 3, "id", summary, "O(1)", function(ctx, id)
    return later(ctx, change, { kind = name:lower(), id = id })
  end)
end

-- ---------------------------------------------------------------- status

local function peer_of(leader, id)
  for _, peer in ipairs(leader and type(leader.peers) == "table" and leader.peers or {}) do
    if type(peer) == "table" and peer.id == id then
      return peer
    end
  end
end

local function integer(value)
  return math.type(value) == "integer" and value or 0
end

-- One word for how it goes with a member. `peer` is how the leader sees it, `own` what it says of itself.
local function state_of(own, peer, lag, leads)
  if peer and peer.state == "snapshot" then
    return "snapshot"
  elseif not own then
    return "unreachable"
  elseif leads then
    return "ok"
  elseif not peer then
    return own.leader == "" and "no leader" or "ok"
  end
  return lag > 1000 and "catching up" or "ok"
end

local function member_row(admin, id, answers, leader, commit)
  local node = admin.node
  local member, own = node.cluster.core.config.members[id], answers[id]
  local peer = peer_of(leader, id)
  local applied = own and integer(own.applied) or peer and integer(peer.match) or 0
  local lag = math.max(0, commit - applied)
  local role = own and tostring(own.role) or "?"
  local leads = leader ~= nil and leader.id == id
  local host, port = cluster_members.client_address(node, id)
  return resp.map {
    "id", id, "voter", member.voter and "yes" or "no", "role", member.voter and role or "learner",
    "address", member.address or "", "client", host and ("%s:%d"):format(host, port) or "",
    "term", own and integer(own.term) or 0, "applied", applied, "lag", lag,
    "last-contact-ms", leads and 0 or peer and math.floor((tonumber(peer.silent_for) or 0) * 1000) or -1,
    "state", state_of(own, peer, lag, leads), "version", own and tostring(own.version) or "",
  }
end

-- Of those who say that they lead, the one of the latest term.
local function latest_leader(answers, ids)
  local best
  for _, id in ipairs(ids) do
    local own = answers[id]
    if own and own.role == "leader" and (not best or integer(own.term) > integer(best.term)) then
      best = own
    end
  end
  return best
end

local function tell_status(admin, finish, answers)
  local member = admin.node.cluster
  local core, own = member.core, answers[member.id]
  local leader = latest_leader(answers, core.config.ids)
  local commit = integer(leader and leader.commit or own.commit)
  local rows, removed = {}, {}
  for i, id in ipairs(core.config.ids) do
    rows[i] = member_row(admin, id, answers, leader, commit)
  end
  for id in pairs(core.config.removed) do
    removed[#removed + 1] = id
  end
  table.sort(removed)
  finish(resp.map {
    "group", member.storage.group, "id", member.id, "role", own.role, "term", own.term,
    "leader", leader and leader.id or own.leader, "commit", commit, "applied", own.applied,
    "log-first", own.first, "log-last", own.last, "quorum", core.config.quorum, "voters", #core.config.voters,
    "members", rows, "removed", removed,
  })
end

local STARTING = resp.error("LOADING this member is reading its log")

local function status(admin, finish)
  local member = admin.node.cluster
  if not member.core then
    return loop.defer(function()
      finish(STARTING)
    end)
  end
  local answers, waits = { [member.id] = own_status(admin.node) }, 1
  local function one_less()
    waits = waits - 1
    if waits == 0 then
      tell_status(admin, finish, answers)
    end
  end
  for _, id in ipairs(member.core.config.ids) do
    if id ~= member.id then
      waits = waits + 1
      ask(admin, id, STATUS_PATIENCE, function(own)
        answers[id] = type(own) == "table" and own or nil
        one_less()
      end, "status")
    end
  end
  loop.defer(one_less)
end

subcommand("STATUS", 2, "", "How the cluster's members are, as far as they can be reached", "O(N), of members",
  function(ctx)
    return later(ctx, status)
  end)

help.command("RAFT", { group = "server", since = VERSION })

return M
