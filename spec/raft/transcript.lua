-- Replays golden transcripts: scripts of commands to a small cluster, each followed by what it led to. Judges
-- nothing: the spec compares.
--
--   local transcript = require "spec.raft.transcript"
--   local replayed = transcript.replay(text)      -- the text with what really comes out
--
-- A transcript has comments (#), and blocks: a command, a line "----", its output, an empty line. Servers are n1, n2,
-- …; each has its own fixed chance, so that n1's election timeouts are the shortest. Messages and writes wait until a
-- command moves them. The commands stand below, each with its usage.

local node = require "spec.raft.node"
local config = require "lunode.raft.config"

local M = {}

local function entry_text(entry)
  local text = ("%d/%d"):format(entry.index, entry.term)
  if entry.type == 1 then
    return text .. " " .. entry.payload
  elseif entry.type == 2 then
    return text .. " noop"
  end
  return text .. " config " .. entry.payload:gsub("\n$", ""):gsub(" %-", ""):gsub("\n", ", ")
end

local function entries_text(entries)
  local words = {}
  for i, entry in ipairs(entries) do
    words[i] = entry_text(entry)
  end
  return table.concat(words, "; ")
end

local function ends(m)
  return (", log ends %d/%d%s"):format(m.last_index, m.last_term, m.transfer and ", told to" or "")
end

local function granted(m)
  return m.granted and ", granted" or ", refused"
end

local contents = {
  pre_vote_request = ends, vote_request = ends, pre_vote_response = granted, vote_response = granted,
  append = function(m)
    return (", behind %d/%d: %s; commit %d"):format(m.prev_index, m.prev_term,
      #m.entries == 0 and "nothing" or entries_text(m.entries), m.commit)
  end,
  append_response = function(m)
    if m.reject then
      return (", not %d%s"):format(m.index, m.hint_index and (", try %d/%d"):format(m.hint_index, m.hint_term) or "")
    end
    return (", holds all to %d"):format(m.index)
  end,
  heartbeat = function(m)
    return (", commit %d%s"):format(m.commit, m.round > 0 and ", round " .. m.round or "")
  end,
  heartbeat_response = function(m)
    return m.round > 0 and ", round " .. m.round or ""
  end,
  snapshot = function(m)
    return (", of %d/%d, %s"):format(m.index, m.log_term, (m.config:gsub("\n$", ""):gsub(" %-", ""):gsub("\n", ", ")))
  end,
  timeout_now = function()
    return ""
  end,
  read_request = function()
    return ""
  end,
  read_response = function(m)
    return m.reject and ", refused" or ", index " .. m.index
  end,
}

local function message_text(m)
  return ("%s -> %s %s, term %d%s"):format(m.from, m.to, m.type:gsub("_", " "), m.term, contents[m.type](m))
end

-- ---------------------------------------------------------------- a run

local methods = {}
local metatable = { __index = methods }

local function new_run()
  return setmetatable({ nodes = {}, ids = {}, now = 0, restarts = 0, network = {}, lines = {} }, metatable)
end

function methods:say(text, ...)
  self.lines[#self.lines + 1] = (select("#", ...) > 0 and text:format(...) or text)
end

local function tell_update(run, n, update)
  local role = update.role
  if role then
    run:say("  %s is %s of term %d%s", n.id, role.role:gsub("_", "-"), role.term,
      role.leader and role.leader ~= n.id and ", led by " .. role.leader or "")
  end
  local words = {}
  if update.hard_state then
    words[#words + 1] = ("term %d, vote %s"):format(update.hard_state.term, update.hard_state.vote or "none")
  end
  if update.truncate_from then
    words[#words + 1] = "without " .. update.truncate_from .. " and later"
  end
  if update.entries then
    words[#words + 1] = entries_text(update.entries)
  end
  if words[1] then
    run:say("  %s writes %s", n.id, table.concat(words, "; "))
  end
  if update.install then
    run:say("  %s installs the snapshot of %d/%d", n.id, update.install.index, update.install.log_term)
  end
  if update.committed then
    run:say("  %s commits %s", n.id, entries_text(update.committed))
  end
  for _, read in ipairs(update.reads or {}) do
    run:say("  %s may answer read %s at %d", n.id, read.id, read.index)
  end
  for _, refusal in ipairs(update.refused or {}) do
    run:say("  %s refuses the %s%s: %s", n.id, refusal.event, refusal.id and " " .. refusal.id or "", refusal.reason)
  end
  for _, dropped in ipairs(update.dropped or {}) do
    run:say("  %s drops it: %s", n.id, dropped.reason)
  end
end

local function collect(run, n)
  for _, m in ipairs(n.outbox) do
    run.network[#run.network + 1] = m
  end
  n.outbox = {}
end

function methods:node(id)
  return self.nodes[id] or error(("there is no server %s"):format(tostring(id)), 0)
end

function methods:add_node(id, members, options)
  local number = tonumber(id:match "%d+")
  local settings = {
    id = id, config = members, now = self.now, random = function()
      return (number - 1) * 0.1 + self.restarts * 0.001
    end,
  }
  for key, value in pairs(options) do
    settings[key] = value
  end
  settings.watch = { update = function(n, update)
    tell_update(self, n, update)
    collect(self, n)
  end }
  self.nodes[id] = node.new(settings)
  self.ids[#self.ids + 1] = id
end

function methods:step(n, event)
  event.now = self.now
  n:step(event)
end

local function sync(run, n, count)
  local moved = false
  for _ = 1, math.min(count or math.huge, #n.pending) do
    run:say(n.failing and "%s cannot write, and ends" or "%s has written", n.id)
    n:sync()
    collect(run, n)
    moved = true
  end
  return moved
end

local function apply(run, n)
  local moved = n:apply()
  collect(run, n)
  return moved
end

local function deliver(run, m)
  run:say("%s", message_text(m))
  local to = run.nodes[m.to]
  if not (to and to.core) then
    run:say("  nobody is there")
    return
  end
  run:step(to, { type = "message", message = m })
  if m.type == "snapshot" and run.nodes[m.from].core then
    run:step(run.nodes[m.from], { type = "snapshot_sent", peer = m.to, session = m.session, ok = true })
  end
end

local function matching(run, link)
  local from, to = link:match "^(%w*)%->(%w*)$"
  if not from then
    error(("%s is no link; n1->n2, n1-> or ->n2 are"):format(link), 0)
  end
  local taken, left = {}, {}
  for _, m in ipairs(run.network) do
    local fits = (from == "" or m.from == from) and (to == "" or m.to == to)
    table.insert(fits and taken or left, m)
  end
  return taken, left
end

-- ---------------------------------------------------------------- commands

local commands = {}

-- nodes COUNT [OPTION=NUMBER…]: voters n1, n2, …
function commands.nodes(run, words, options)
  local ids = {}
  for i = 1, tonumber(words[1]) do
    ids[i] = "n" .. i
  end
  for _, id in ipairs(ids) do
    run:add_node(id, node.voters(ids), options)
  end
end

-- join ID: a server that waits to be added
function commands.join(run, words, options)
  run:add_node(words[1], assert(config.new {}), options)
end

-- tick [ID] SECONDS: time passes; ticks one server, or each
function commands.tick(run, words)
  local only = words[2] and words[1]
  run.now = run.now + tonumber(words[2] or words[1])
  for _, id in ipairs(run.ids) do
    local n = run:node(id)
    if n.core and (not only or only == id) then
      run:step(n, { type = "tick" })
    end
  end
end

-- campaign ID
function commands.campaign(run, words)
  run:step(run:node(words[1]), { type = "campaign" })
end

-- propose ID PAYLOAD…
function commands.propose(run, words)
  run:step(run:node(words[1]), { type = "propose", entries = table.move(words, 2, #words, 1, {}) })
end

-- read ID READ
function commands.read(run, words)
  run:step(run:node(words[1]), { type = "read", id = words[2] })
end

-- change ID KIND MEMBER
function commands.change(run, words)
  run:step(run:node(words[1]), { type = "change", change = { kind = words[2], id = words[3] } })
end

-- transfer ID TO
function commands.transfer(run, words)
  run:step(run:node(words[1]), { type = "transfer", to = words[2] })
end

-- connected ID PEER
function commands.connected(run, words)
  run:step(run:node(words[1]), { type = "connected", peer = words[2] })
end

-- unreachable ID PEER
function commands.unreachable(run, words)
  run:step(run:node(words[1]), { type = "unreachable", peer = words[2] })
end

-- deliver LINK [COUNT]: messages on a link (n1->n2, n1->, ->n2), those that are there now
function commands.deliver(run, words)
  local taken, left = matching(run, words[1])
  local count = tonumber(words[2]) or #taken
  run.network = table.move(taken, count + 1, #taken, #left + 1, left)
  for i = 1, math.min(count, #taken) do
    deliver(run, taken[i])
  end
  if #taken == 0 then
    run:say "there is nothing"
  end
end

-- drop LINK
function commands.drop(run, words)
  local taken, left = matching(run, words[1])
  run.network = left
  for _, m in ipairs(taken) do
    run:say("lost: %s", message_text(m))
  end
end

-- keep LINK: puts a copy of what is on the link aside; `again` sends it
function commands.keep(run, words)
  run.kept = matching(run, words[1])
  run:say("%d kept", #run.kept)
end

-- again: what was kept arrives (once more)
function commands.again(run)
  for _, m in ipairs(run.kept) do
    deliver(run, m)
  end
end

-- network: what is under way
function commands.network(run)
  for _, m in ipairs(run.network) do
    run:say("%s", message_text(m))
  end
end

-- sync ID [COUNT]: all that it writes becomes durable, or the first few writes
function commands.sync(run, words)
  sync(run, run:node(words[1]), tonumber(words[2]))
end

-- apply ID
function commands.apply(run, words)
  apply(run, run:node(words[1]))
end

-- stabilize [ID…]: writes, messages and applying go on until nothing is left; with ids: among these only
function commands.stabilize(run, words)
  local among = {}
  for _, id in ipairs(#words > 0 and words or run.ids) do
    among[id] = true
  end
  for _ = 1, 1000 do
    local moved = false
    for _, id in ipairs(run.ids) do
      local n = run:node(id)
      if among[id] and n.core then
        moved = sync(run, n) or moved
        moved = apply(run, n) or moved
      end
    end
    local now, later = {}, {}
    for _, m in ipairs(run.network) do
      table.insert(among[m.from] and among[m.to] and now or later, m)
    end
    run.network = later
    for _, m in ipairs(now) do
      deliver(run, m)
      moved = true
    end
    if not moved then
      return
    end
  end
  run:say "it does not come to rest"
end

-- quietly COMMAND…: without its output
function commands.quietly(run, words, options)
  local command = table.remove(words, 1)
  local lines = run.lines
  run.lines = {}
  commands[command](run, words, options)
  run.lines = lines
end

-- elect ID [ID…]: time passes, the first is elected by those named (default: by all); without its output
function commands.elect(run, words)
  local lines = run.lines
  run.lines = {}
  run.now = run.now + 3
  run:step(run:node(words[1]), { type = "tick" })
  commands.stabilize(run, words[2] and words or {})
  run.lines = lines
  local s = run:node(words[1]).core:status()
  run:say("%s is %s of term %d", s.id, s.role, s.term)
end

-- crash ID [KEPT]: loses what is not durable, but for the first KEPT pieces of what is being written
function commands.crash(run, words)
  run:node(words[1]):crash(tonumber(words[2]) or 0)
end

-- fail ID: from now on, its disk gives errors
function commands.fail(run, words)
  run:node(words[1]).failing = true
end

-- restart ID
function commands.restart(run, words)
  run.restarts = run.restarts + 1
  run:node(words[1]):boot(run.now)
end

-- flush ID: makes what it has applied durable
function commands.flush(run, words)
  run:node(words[1]):flush()
end

-- digest ID: of what it has applied
function commands.digest(run, words)
  local store = run:node(words[1]).store
  run:say("%s has applied %d, digest %016x", words[1], store.applied, store.digest)
end

-- compact ID: cuts its log behind what it has applied
function commands.compact(run, words)
  run:node(words[1]):compact()
end

-- status [ID…]
function commands.status(run, words)
  for _, id in ipairs(#words > 0 and words or run.ids) do
    local n = run:node(id)
    if not n.core then
      run:say("%s is down", id)
    else
      local s = n.core:status()
      run:say("%s %s term %d vote %s leader %s log %d..%d commit %d applied %d config %d", id, s.role:gsub("_", "-"),
        s.term, s.vote or "none", s.leader or "none", s.first, s.last, s.commit, s.applied, s.config_index)
      for _, p in ipairs(s.peers) do
        run:say("  %s %s %s match %d next %d", p.id, p.voter and "voter" or "learner", p.state, p.match, p.next)
      end
    end
  end
end

-- log ID
function commands.log(run, words)
  local log = run:node(words[1]).written
  for _, entry in ipairs(log:last_index() >= log:first_index()
    and log:entries(log:first_index(), log:last_index(), math.huge) or {}) do
    run:say("%s", entry_text(entry))
  end
end

-- message TYPE FIELD=VALUE…: a message that nobody sent arrives
function commands.message(run, words, options)
  local m = { type = words[1], entries = words[1] == "append" and {} or nil }
  for key, value in pairs(options) do
    m[key] = value
  end
  for i = 2, #words do
    local index, term, payload = words[i]:match "^(%d+)/(%d+):(.*)$"
    m.entries[#m.entries + 1] = {
      index = tonumber(index), term = tonumber(term), type = 1, payload = payload,
    }
  end
  local ok, text = pcall(message_text, m)
  run:say("%s", ok and text or "a message without sense")
  run:step(run:node(m.to), { type = "message", message = m })
end

local VALUES = { ["true"] = true, ["false"] = false }

local function run_line(run, line)
  local words, options = {}, {}
  for word in line:gmatch "%S+" do
    local key, value = word:match "^(%l[%l_]*)=(.*)$"
    if key then
      options[key] = VALUES[value]
      if options[key] == nil then
        options[key] = tonumber(value) or value
      end
    else
      words[#words + 1] = word
    end
  end
  local command = commands[table.remove(words, 1)]
  if not command then
    error(("there is no command: %s"):format(line), 0)
  end
  command(run, words, options)
end

---Runs a transcript.
---@param text string
---@return string  the same commands and comments, with what came out
function M.replay(text)
  local run = new_run()
  local out, command, in_output = {}, nil, false
  for line in (text:gsub("\n*$", "\n")):gmatch "(.-)\n" do
    if in_output then
      in_output = line ~= ""
      if not in_output then
        out[#out + 1] = ""
      end
    elseif line == "----" then
      run.lines = {}
      local ok, err = pcall(run_line, run, command)
      out[#out + 1] = line
      table.move(run.lines, 1, #run.lines, #out + 1, out)
      if not ok then
        out[#out + 1] = "error: " .. tostring(err)
      end
      in_output = true
    else
      if line ~= "" and line:sub(1, 1) ~= "#" then
        command = line
      end
      out[#out + 1] = line
    end
  end
  return (table.concat(out, "\n"):gsub("\n*$", "\n"))
end

return M
