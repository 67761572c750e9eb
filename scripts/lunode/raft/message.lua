-- The messages between servers: which there are, and whether what came from a peer is one. Only shape is checked here,
-- so that the rest may rely on types and ranges; whether a message makes sense now, its handler decides.
--
-- Every message: type, from, to, term (the sender's, but for pre-votes: the one that the candidate would have).
--
-- pre_vote_request, vote_request      last_index, last_term: where the candidate's log ends; transfer: it was told to
-- pre_vote_response, vote_response    granted
-- append             session, prev_index, prev_term, entries, commit       (AppendEntries)
-- append_response    session, index: its log agrees up to here, and is durable; or
--                    session, index, reject, hint_index, hint_term: it does not hold the entry at `index`
-- heartbeat          session, commit, round, sent: the leader's time       (no entries, checks nothing)
-- heartbeat_response session, round, sent: both as they came
-- snapshot           session, index, log_term, config                      (InstallSnapshot: the driver moves the data)
-- timeout_now        the leader asks for an election at once (3.10)
-- read_request       context                                               (a follower asks for a read index)
-- read_response      context, index; or context, reject
--
-- `session` is the leader's number for its progress of one peer over one connection, given back with each answer.

local config = require "lunode.raft.config"

local M = {}

-- Integers of a peer stay where adding to them cannot wrap.
local MAX = 1 << 53

local function index(value)
  return math.type(value) == "integer" and value >= 0 and value < MAX
end

local function time(value)
  return type(value) == "number" and value == value
end

local function flag(value)
  return value == nil or type(value) == "boolean"
end

local function optional_index(value)
  return value == nil or index(value)
end

local vote_request = { last_index = index, last_term = index, transfer = flag }
local vote_response = { granted = flag }

M.fields = {
  pre_vote_request = vote_request,
  pre_vote_response = vote_response,
  vote_request = vote_request,
  vote_response = vote_response,
  append = { session = index, prev_index = index, prev_term = index, commit = index },
  append_response = {
    session = index, index = index, reject = flag, hint_index = optional_index, hint_term = optional_index,
  },
  heartbeat = { session = index, commit = index, round = index, sent = time },
  heartbeat_response = { session = index, round = index, sent = time },
  snapshot = { session = index, index = index, log_term = index, config = config.decode },
  timeout_now = {},
  read_request = { context = index },
  read_response = { context = index, index = optional_index, reject = flag },
}

-- Terms and indices of a log never go down, and no entry is newer than its leader.
local function entries_fault(message)
  local entries, term = message.entries, message.prev_term
  if type(entries) ~= "table" then
    return "its entries are not a list"
  end
  for i = 1, #entries do
    local entry = entries[i]
    if type(entry) ~= "table" or entry.index ~= message.prev_index + i or not index(entry.term) then
      return ("its entry %d is out of place"):format(i)
    elseif entry.term < term or entry.term > message.term then
      return ("the term of its entry %d is out of order"):format(i)
    elseif type(entry.payload) ~= "string" then
      return ("its entry %d has no payload"):format(i)
    elseif entry.type == 3 and not config.decode(entry.payload) then
      return ("its entry %d is a configuration that cannot be read"):format(i)
    elseif entry.type ~= 1 and entry.type ~= 2 and entry.type ~= 3 then
      return ("its entry %d is of an unknown type"):format(i)
    end
    term = entry.term
  end
end

local of_an_entry = { prev_term = true, log_term = true, last_term = true }

---@param message any  as a peer sent it
---@param to string  the id of this server
---@return string?  what is wrong with it
function M.fault(message, to)
  if type(message) ~= "table" then
    return "it is not a message"
  end
  local fields = M.fields[message.type]
  if not fields then
    return "its type is unknown"
  elseif not config.is_id(message.from) or message.from == to then
    return "nobody can have sent it"
  elseif message.to ~= to then
    return "it is for another server"
  elseif not index(message.term) or message.term == 0 then
    return "its term is out of range"
  end
  for name, valid in pairs(fields) do
    if not valid(message[name]) then
      return ("its %s is not valid"):format(name)
    elseif of_an_entry[name] and message[name] > message.term then
      return "it speaks of an entry of a term that is still to come"
    end
  end
  if message.type == "append" then
    return entries_fault(message)
  end
end

return M
