-- Bugs that real implementations of Raft have shipped, as changes to the source, each with the transcript in testdata
-- that shows it. bugs_spec puts them in one by one: the transcript must come out differently, and the random world
-- must notice.
--
-- `swarm = false`: what goes wrong breaks no invariant that the random world checks, only the transcript shows it.

local ELECTION, FOLLOWER, LEADER = "lunode.raft.election", "lunode.raft.follower", "lunode.raft.leader"
local LOG, MEMBERSHIP, READS = "lunode.raft.log", "lunode.raft.membership", "lunode.raft.reads"
local CORE = "lunode.raft.core"
local PROGRESS, DRIVER = "lunode.raft.progress", "spec.raft.node"

return {
  -- ------------------------------------------------------------ elections
  {
    name = "comparing logs by length only", transcript = "vote_log_comparison", module = LOG,
    from = "return term > self.last_term or term == self.last_term and index >= self.last",
    to = "return index >= self.last",
  },
  {
    name = "two votes in a term after a step-down", transcript = "vote_once", module = CORE,
    from = "  if term > self.term then\n    self.term, self.vote = term, nil",
    to = "  if term >= self.term then\n    self.term, self.vote = term, nil",
  },
  {
    name = "a vote that a crash takes back", transcript = "vote_survives_crash", module = CORE,
    from = "local state = self.term ~= self.handed_term or self.vote ~= self.handed_vote",
    to = "local state = self.term ~= self.handed_term",
  },
  {
    name = "a vote sent before it is durable", transcript = "vote_survives_crash", module = ELECTION,
    from = 'self:send_after("vote_response", m.from, { granted = granted })',
    to = 'self:send("vote_response", m.from, { granted = granted })',
  },
  {
    name = "standing for election before the term and the log are durable", transcript = "vote_durable_candidate",
    module = ELECTION, from = 'self:send_after("vote_request"', to = 'self:send("vote_request"',
  },
  {
    name = "a vote weighed against persisted entries, while others are being acknowledged",
    transcript = "vote_unpersisted_entries", module = LOG,
    from = "return term > self.last_term or term == self.last_term and index >= self.last",
    to = [[local persisted_term = self:term(self.persisted)
  return term > persisted_term or term == persisted_term and index >= self.persisted]],
  },
  {
    name = "learners vote", transcript = "learner", module = ELECTION,
    from = "for _, id in ipairs(self.config.voters) do -- not", to = "for _, id in ipairs(self.config.ids) do -- not",
  },
  {
    name = "a server with an empty disk votes", transcript = "vote_wiped", module = ELECTION, swarm = false,
    from = "if #self.config.ids == 0 then", to = "if false then",
  },
  -- ------------------------------------------------------------ replication
  {
    name = "committing entries of older terms by counting", transcript = "commit_current_term", module = LEADER,
    from = "if index > self.commit and self.log:term(index) == self.term then", to = "if index > self.commit then",
  },
  {
    name = "the leader counts what it has only stored", transcript = "commit_leader_persisted", module = LEADER,
    from = 'self:quorum_value("match", self.log.persisted)', to = 'self:quorum_value("match", self.log.last)',
  },
  {
    name = "an acknowledgement before the sync", transcript = "append_durable", module = FOLLOWER,
    from = 'self:send_after("append_response", m.from, { session = m.session, index = math.max(last, self.commit) })',
    to = 'self:send("append_response", m.from, { session = m.session, index = math.max(last, self.commit) })',
  },
  {
    name = "an old append truncates newer entries", transcript = "append_duplicate", module = FOLLOWER,
    from = "    if term ~= entry.term then\n", to = "    if true then\n",
  },
  {
    name = "a commit beyond what the append has compared", transcript = "append_commit", module = FOLLOWER,
    from = "commit_to(self, math.min(m.commit, last))", to = "commit_to(self, math.min(m.commit, self.log.last))",
  },
  {
    name = "a commit beyond what is known to agree, on a heartbeat", transcript = "heartbeat_commit", module = LEADER,
    from = "p.commit_sent = math.min(p.match, self.commit)", to = "p.commit_sent = self.commit",
  },
  {
    name = "an append answered in a term that came later", transcript = "append_late_answer", module = DRIVER,
    from = "  post(self, write.after)\n",
    to = [[  for _, m in ipairs(write.after or {}) do
    m.term = m.type == "append_response" and self.core.term or m.term
  end
  post(self, write.after)
]],
  },
  {
    name = "an acknowledgement from an old connection", transcript = "append_old_session", module = LEADER,
    swarm = false,
    from = "if m.session ~= p.session then", to = "if false then",
  },
  {
    name = "a match that goes back", transcript = "append_reordered", module = PROGRESS,
    from = "self.match = math.max(self.match, index)", to = "self.match = index",
  },
  {
    name = "a write that was overtaken by a truncation counts as persisted", transcript = "persisted_overtaken",
    module = LOG,
    from = "self.writes[i].index = math.min(self.writes[i].index, from - 1)", to = "local _ = i",
  },
  {
    name = "applying what is not durable here", transcript = "apply_durable", module = CORE,
    from = "local to = math.min(self.commit, self.log.persisted)", to = "local to = self.commit",
  },
  {
    name = "a follower's failed write is acknowledged", transcript = "append_failed", module = DRIVER,
    from = [[    self:crash(0)
    return false
  end]],
    to = "    write.entries = nil\n  end",
  },
  {
    name = "applied index and data in different batches", transcript = "apply_atomic", module = DRIVER,
    from = "  self.disk.store = copy_store(self.store)\n",
    to = [[  local before = self.disk.store
  self.disk.store = copy_store(self.store)
  self.disk.store.digest = before.applied == self.store.applied and self.store.digest or before.digest
]],
  },
  -- ------------------------------------------------------------ membership
  {
    name = "learners count for commitment", transcript = "learner", module = LEADER,
    from = "    if p.voter then\n", to = "    if true then\n",
  },
  {
    name = "changes in two terms overlap", transcript = "membership_overlap", module = MEMBERSHIP,
    from = "elseif self.commit < self.noop_index then", to = "elseif false then",
  },
  {
    name = "changes in one term overlap", transcript = "membership_overlap", module = MEMBERSHIP,
    from = "elseif self.config_index > self.commit then", to = "elseif false then",
  },
  {
    name = "a membership is not rolled back with its entry", transcript = "membership_rollback", module = FOLLOWER,
    from = "        self:roll_back_configs(entry.index)\n", to = "",
  },
  {
    name = "an uncommitted membership is lost to a restart behind a snapshot", transcript = "membership_restart",
    module = CORE, from = "  self:load_configs(applied + 1)\n", to = "",
  },
  {
    name = "a snapshot carries a membership that is not committed", transcript = "snapshot_membership",
    module = MEMBERSHIP, from = "return self.configs[1].config", to = "return self.config",
  },
  {
    name = "a removed leader counts itself", transcript = "membership_leader_removed", module = LEADER,
    from = [[  if self.config:is_voter(self.id) then
    n = n + 1]],
    to = [[  if true then
    n = n + 1]],
  },
  {
    name = "a removed leader leads on", transcript = "membership_leader_removed", module = LEADER, swarm = false,
    from = "self.config_index <= math.min(self.commit, self.log.persisted) then", to = "false then",
  },
  {
    name = "a removed server campaigns", transcript = "membership_leader_removed", module = ELECTION, swarm = false,
    from = "local before = self.config_index > self.commit and self.configs[#self.configs - 1]",
    to = "local before = { config = { is_voter = function() return true end } }",
  },
  {
    name = "nobody stands once it has an entry that removes it", transcript = "membership_last_of_two",
    module = ELECTION,
    from = "local before = self.config_index > self.commit and self.configs[#self.configs - 1]",
    to = "local before = nil",
  },
  -- ------------------------------------------------------------ snapshots
  {
    name = "entries are taken while a snapshot is being installed", transcript = "snapshot_new_term", module = FOLLOWER,
    from = [[  if self.installing then
    return self:drop(m, "a snapshot is being installed") -- what]],
    to = [[  if false then
    return self:drop(m, "a snapshot is being installed") -- what]],
  },
  {
    name = "a late snapshot takes the state back", transcript = "snapshot_late", module = FOLLOWER,
    from = "elseif m.index <= self.commit or self.log:term(m.index) == m.log_term then", to = "elseif false then",
  },
  {
    name = "a crash within the installation leaves the old log behind the new state", transcript = "snapshot_crash",
    module = DRIVER, from = "if disk.log:term(disk.store.applied) ~= disk.store.term then",
    to = "if disk.log:last_index() < disk.store.applied then",
  },
  -- ------------------------------------------------------------ reads
  {
    name = "reading before the term's first entry is committed", transcript = "read_before_noop", module = READS,
    from = "return self.commit >= self.noop_index", to = "return true",
  },
  {
    name = "a read joins a round that has begun", transcript = "read_round", module = READS,
    from = "  self.waiting_reads[#self.waiting_reads + 1] = read\n",
    to = [[  local list = self.round_reads or self.waiting_reads
  list[#list + 1] = read
]],
  },
  {
    name = "a read's number is used again after a pause", transcript = "read_round", module = READS,
    from = "self.round = self.round + 1", to = "self.round = 1",
  },
  {
    name = "a follower's read takes the answer of another, from before a restart", transcript = "read_follower",
    module = CORE, from = "self.context = (o.random() * (1 << 40)) // 1 | 0", to = "self.context = 0",
  },
  {
    name = "a lease counts from the answer", transcript = "lease", module = LEADER,
    from = "p.lease_from = math.max(p.lease_from, m.sent)", to = "p.lease_from = self.now",
  },
  {
    name = "a lease outlives a transfer", transcript = "lease_transfer", module = LEADER,
    from = "self.lease_void, self.transferee_told = true, true", to = "self.transferee_told = true",
  },
  {
    name = "votes are given while a leader is heard", transcript = "lease", module = CORE,
    from = "and not m.transfer and self:has_leader() then", to = "and false then",
  },
}
