-- Carries out what core decides: writes to the log, hands messages over, applies what is committed, installs snapshots.
-- Part of driver.lua: methods of a driver.

local core = require "lunode.raft.core"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local message = require "lunode.raft.message"
local storage = require "lunode.raft.storage"

local M = {}

-- payload of a command = time:i64be seed:i64be format:u8, then what was proposed
M.HEAD = ">i8i8B"
local HEAD, HEAD_BYTES = M.HEAD, 17

local AGAIN = 0.1 -- seconds until a full disk is tried again

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

---Stands behind an entry: all that is known of the state but the state itself.
---@param entry lunode.raft.entry
function M:note_applied(entry)
  if entry.type == core.COMMAND then
    self.time = math.max(self.time, (HEAD:unpack(entry.payload)))
  elseif entry.type == core.CONFIG then
    self.applied_config = entry.payload
  end
  self.applied, self.applied_term = entry.index, entry.term
end

local function apply(self, entry)
  local result
  if entry.type == core.COMMAND then
    local time, seed, format = HEAD:unpack(entry.payload)
    if format > self.options.format then -- to go on without it, or with half of it, would be another state than others'
      return self:fail(("entry %d is of format %d, and this version knows up to %d: this member, or "
        .. "others, were upgraded; start it with the newer version, and nothing is lost"):format(entry.index, format,
        self.options.format))
    end
    result = self:ask_machine(self.machine.apply, {
      index = entry.index, term = entry.term, time = math.max(self.time, time), seed = seed, format = format,
      payload = entry.payload:sub(HEAD_BYTES + 1), context = self.requests:context_of(entry),
    })
  end
  if self.closed then
    return
  end
  self:note_applied(entry)
  if entry.type == core.CONFIG then
    self:meet_members()
  end
  self.state:was_applied(entry)
  return result
end

-- Applies what is committed, as far as the store has room. Core hands out no more than a message holds meanwhile.
local function apply_all(self)
  local entries, count = self.to_apply, 0
  while entries[count + 1] and self.state:has_room() do
    count = count + 1
    local entry = entries[count]
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
  self.to_apply = table.move(entries, count + 1, #entries, 1, {})
  self.requests:answer_reads(self.applied)
end

---The store takes writes again.
function M:store_has_room()
  if self.core and not self.stepping then
    self.stepping = true -- an event that comes up meanwhile waits, as in `step`
    local ok, err = xpcall(apply_all, debug.traceback, self)
    self.stepping = false
    if not ok then
      return self:fail(err)
    end
    self:step_queued()
  end
  if not self.closed then
    self.requests:has_room()
  end
end

-- ---------------------------------------------------------------- an update, carried out

-- What is written waits for the sync that covers it: one a turn, at its end. What comes after it does, too.
local function await_sync(self, persisted, after)
  local batch = self.writing or { persisted = nil, after = {} }
  self.writing = batch
  batch.persisted = persisted
  table.move(after, 1, #after, #batch.after + 1, batch.after)
end

-- What a full disk did not take waits, and all that comes behind it: to core it is a disk that is slow.
local function write_backlog(self)
  local backlog = self.backlog
  while backlog[1] and not self.closed do
    local ok, err, code = self.storage:persist(backlog[1].update)
    if ok then
      local item = table.remove(backlog, 1)
      await_sync(self, item.update.persisted, item.after)
    elseif storage.is_full(code) then
      loop.timer(AGAIN, function()
        write_backlog(self)
      end)
      return
    else
      self:fail(err)
    end
  end
  if not self.closed then
    logger.info "raft: there is room on the disk again"
  end
end

local function persist(self, update)
  local backlog = self.backlog
  if not backlog[1] then
    local ok, err, code = self.storage:persist(update)
    if ok then
      return await_sync(self, update.persisted, {})
    elseif not storage.is_full(code) then
      return self:fail(err)
    end
    logger.warn("raft: nothing can be written: %s; this member waits for room", err)
    loop.timer(AGAIN, function()
      write_backlog(self)
    end)
  end
  backlog[#backlog + 1] = { update = update, after = {} }
end

local function post_after(self, after)
  local last = self.backlog[#self.backlog] or self.writing or self.syncing[#self.syncing]
  if last then
    table.move(after, 1, #after, #last.after + 1, last.after)
  else
    self:send_all(after)
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

-- The log that is there is no longer wanted, and so is what waits to be written to it.
local function reset_log(self, asked, fn)
  local disk = self.storage
  for _, item in ipairs(self.backlog) do
    item.update.truncate_from, item.update.entries = nil, nil
  end
  local ok, err, code = disk.log:truncate_prefix(asked.index, asked.log_term)
  if ok then
    ok, err, code = disk.log:sync(function(sync_err)
      if self.closed then
        return
      elseif sync_err then
        return self:fail(sync_err)
      end
      fn()
    end)
  end
  if storage.is_full(code) then
    loop.timer(AGAIN, function()
      if not self.closed then
        reset_log(self, asked, fn)
      end
    end)
  elseif not ok then
    self:fail(err)
  end
end

-- A snapshot that was received takes the place of the log and of the state machine.
local function install(self, asked)
  local meta = self.state:begin_install(assert(self.state:complete(), "there is nothing to install"))
  self.storage:put_snapshot(meta, function(err)
    if self.closed then
      return
    elseif err then
      return self:fail(err)
    end
    reset_log(self, asked, function()
      self:stand_at(meta)
      if self.state:installed(meta) then
        logger.info("raft: a snapshot has taken the place of what was here: all up to entry %d", meta.index)
        self.requests:were_skipped(meta.index)
        self:meet_members()
        self:step { type = "snapshot_installed", index = asked.index, log_term = asked.log_term, ok = true }
      end
    end)
  end)
end

---Where the state machine stands now.
---@param name string
---@return lunode.raft.snapshot_meta
function M:describe(name)
  return {
    name = name, index = self.applied, term = self.applied_term, config = self.applied_config, time = self.time,
    chunks = 0,
  }
end

---@param meta lunode.raft.snapshot_meta
function M:stand_at(meta)
  self.applied, self.applied_term, self.applied_config = meta.index, meta.term, meta.config
  self.time, self.told_applied, self.to_apply = meta.time, meta.index, {}
end

local function tell_role(self, role)
  if role.role ~= "leader" then
    self.snapshots:tick(0)
  end
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

-- What a member sends and this one cannot understand is told, once in a row; the rest is everyday life.
local function tell_dropped(self, dropped)
  local m = dropped.message
  local fault = m.from and message.fault(m, self.id)
  if not fault then
    return logger.debug("raft: dropped: %s", dropped.reason)
  end
  local text = ("what %s sends is refused: %s; does it run a newer version?"):format(m.from, fault)
  if text ~= self.told_fault then
    self.told_fault = text
    logger.warn("raft: %s", text)
  end
end

local function carry_out(self, update)
  if update.persisted then
    persist(self, update)
    if self.closed then
      return
    end
  end
  if update.messages then
    self:send_all(update.messages)
  end
  if update.messages_after then
    post_after(self, update.messages_after)
  end
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
    tell_dropped(self, dropped)
  end
  if update.committed and not self.closed then
    table.move(update.committed, 1, #update.committed, #self.to_apply + 1, self.to_apply)
    apply_all(self)
  end
  if update.role and not self.closed then -- last: what was committed may end the requests of a leader that steps down
    tell_role(self, update.role)
  end
end

---Steps core, and carries out what it says. Events that come up meanwhile wait until that is done.
---@param event table
function M:step(event)
  self.queue[#self.queue + 1] = event
  self:step_queued()
end

---Steps core with what waits for it.
function M:step_queued()
  local queue = self.queue
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
