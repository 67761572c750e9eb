-- Carries out what core decides: writes to the log, hands messages over, applies what is committed, installs snapshots.
-- Part of driver.lua: methods of a driver.

local core = require "lunode.raft.core"
local logger = require "lunode.logger"
local loop = require "lunode.loop"

local M = {}

-- payload of a command = time:i64be seed:i64be, then what was proposed
M.HEAD = ">i8i8"
local HEAD, HEAD_BYTES = M.HEAD, 16

-- ---------------------------------------------------------------- the state machine

---Calls the state machine. What it raises is the end: nobody knows what state it is in.
---@param fn function
---@param ... any
---@return any
function M:ask_machine(fn, ...)
  local ok, result = xpcall(fn, debug.traceback, ...)
  if ok then
    return result
  end
  self:fail(result)
end

local function apply(self, entry)
  local result
  if entry.type == core.COMMAND then
    local time, seed = HEAD:unpack(entry.payload)
    self.time = math.max(self.time, time)
    result = self:ask_machine(self.machine.apply, {
      index = entry.index, term = entry.term, time = self.time, seed = seed,
      payload = entry.payload:sub(HEAD_BYTES + 1),
    })
  elseif entry.type == core.CONFIG then
    self.applied_config = entry.payload
    self:meet_members()
  end
  self.applied, self.applied_term = entry.index, entry.term
  self.grown = self.grown + #entry.payload + HEAD_BYTES
  return result
end

local function apply_all(self, entries)
  for i = 1, #entries do
    local entry = entries[i]
    if entry.index ~= self.applied + 1 then
      return self:fail(("entry %d was to be applied behind %d"):format(entry.index, self.applied))
    end
    local result = apply(self, entry)
    if self.closed then
      return
    end
    self.requests:was_applied(entry, result)
    if self.closed then -- by a callback
      return
    end
  end
  self.requests:answer_reads(self.applied)
  if not self.closed and self.grown >= self.options.snapshot_bytes and self.snapshots:make() then
    self.grown = 0
  end
end

-- ---------------------------------------------------------------- an update, carried out

-- What comes after writes waits for the sync that covers them: one a turn, at its end.
local function post_after(self, update)
  local after = update.messages_after
  if update.persisted then
    self.writing = self.writing or { persisted = nil, after = {} }
    self.writing.persisted = update.persisted
  end
  if after then
    local last = self.writing or self.syncing[#self.syncing]
    if last then
      table.move(after, 1, #after, #last.after + 1, last.after)
    else
      self:send_all(after)
    end
  end
end

---Begins the sync that covers what this turn has written.
function M:begin_sync()
  local batch = self.writing
  if not batch then
    return
  end
  self.writing = nil
  self.syncing[#self.syncing + 1] = batch
  local ok, err = self.storage.log:sync(function(err)
    if self.closed then
      return
    elseif err then
      return self:fail(err)
    end
    table.remove(self.syncing, 1)
    self:send_all(batch.after)
    self:step(batch.persisted)
  end)
  if not ok then
    self:fail(err)
  end
end

-- A snapshot that was received takes the place of the log and of the state machine.
local function install(self, asked)
  local disk = self.storage
  local meta = disk.receiving
  disk:put_snapshot(meta, function(err)
    if self.closed then
      return
    elseif err then
      return self:fail(err)
    end
    local ok, failure = disk.log:truncate_prefix(asked.index, asked.log_term)
    if ok then
      ok, failure = disk.log:sync(function(sync_err)
        if self.closed then
          return
        elseif sync_err then
          return self:fail(sync_err)
        end
        self:restore(meta)
        self:step { type = "snapshot_installed", index = asked.index, log_term = asked.log_term, ok = true }
      end)
    end
    if not ok then
      self:fail(failure)
    end
  end)
end

---Puts a stored snapshot in the place of the state machine's state.
---@param meta lunode.raft.snapshot_meta
function M:restore(meta)
  if meta.index > 0 then
    self:ask_machine(self.machine.restore, self.storage:chunks(meta))
  end
  self.applied, self.applied_term, self.applied_config = meta.index, meta.term, meta.config
  self.time, self.told_applied, self.grown = meta.time, meta.index, 0
  if self.requests and not self.closed then
    self.requests:were_skipped(meta.index)
    self:meet_members()
  end
end

local function tell_role(self, role)
  self.requests:role_changed(role)
  if not self.options.on_role then
    logger.info("raft: %s is %s in term %d%s", self.id, (role.role:gsub("_", " ")), role.term,
      role.leader and role.leader ~= self.id and (", and %s leads"):format(role.leader) or "")
  elseif not self.closed then
    local ok, err = xpcall(self.options.on_role, debug.traceback, role.role, role.term, role.leader)
    if not ok then
      loop.report(err)
    end
  end
end

local function carry_out(self, update)
  if update.persisted then
    local ok, err = self.storage:persist(update)
    if not ok then
      return self:fail(err)
    end
  end
  if update.messages then
    self:send_all(update.messages)
  end
  post_after(self, update)
  if update.install then
    install(self, update.install)
  end
  if update.proposed then
    self.requests:were_proposed(update.proposed)
  end
  if update.reads then
    self.requests:may_read(update.reads, self.applied)
  end
  if update.refused then
    self.requests:were_refused(update.refused)
  end
  for _, dropped in ipairs(update.dropped or {}) do
    logger.debug("raft: dropped: %s", dropped.reason)
  end
  if update.committed and not self.closed then
    apply_all(self, update.committed)
  end
  if update.role and not self.closed then -- last: what was committed may end the requests of a leader that steps down
    tell_role(self, update.role)
  end
end

---Steps core, and carries out what it says. Events that come up meanwhile wait until that is done.
---@param event table
function M:step(event)
  local queue = self.queue
  queue[#queue + 1] = event
  if self.stepping or not self.core then
    return
  end
  self.stepping = true
  local at = 1
  while queue[at] and not self.closed do
    queue[at].now = loop.now()
    local ok, update = xpcall(self.core.step, debug.traceback, self.core, queue[at])
    if ok then
      ok, update = xpcall(carry_out, debug.traceback, self, update)
    end
    if not ok then
      self:fail(update)
    end
    at = at + 1
  end
  self.queue, self.stepping = {}, false
end

return M
