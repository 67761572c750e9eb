-- Which configuration is in force, and when it may change: one server at a time (4.1). Part of core.lua: methods of a
-- raft.
--
-- A server uses the latest configuration in its log, committed or not. So it goes back with a truncated entry, and
-- those since the applied index are kept to go back to.

local config = require "lunode.raft.config"

local M = {}

local CONFIG = 3

local function use_latest(self)
  local latest = self.configs[#self.configs]
  self.config, self.config_index = latest.config, latest.index
  if self.role == "leader" then
    self:update_peers()
  end
end

---An entry is in the log: if it is a configuration, that is in force from now on.
---@param entry lunode.raft.entry
function M:note_entry(entry)
  if entry.type == CONFIG then
    self.configs[#self.configs + 1] = { index = entry.index, config = assert(config.decode(entry.payload)) }
    use_latest(self)
  end
end

---@param from integer  entries from here on are gone
function M:roll_back_configs(from)
  while self.configs[#self.configs].index >= from do
    self.configs[#self.configs] = nil
  end
  use_latest(self)
end

---@param index integer  applied: what is before it can only come with a snapshot
function M:forget_configs(index)
  while self.configs[2] and self.configs[2].index <= index do
    table.remove(self.configs, 1)
  end
end

---@param index integer
---@param replacement lunode.raft.config
function M:reset_configs(index, replacement)
  self.configs = { { index = index, config = replacement } }
  use_latest(self)
end

---The configuration that belongs to the state machine as it was last said to be.
---@return lunode.raft.config
function M:applied_config()
  return self.configs[1].config
end

---After a restart: those in the log.
---@param from integer
function M:load_configs(from)
  while from <= self.log.last do
    local entries = assert(self.log:entries(from, self.options.max_message_bytes), "the log cannot be read")
    for _, entry in ipairs(entries) do
      self:note_entry(entry)
    end
    from = from + #entries
  end
end

-- Why a change cannot be made now.
local function obstacle(self, change)
  if self.role ~= "leader" then
    return "not the leader"
  elseif self.transferee then
    return "the leadership is being transferred"
  elseif self.commit < self.noop_index then
    -- Else two leaders in turn could each make a change to the same configuration, with disjoint majorities: the
    -- correction of 2015 to 4.1.
    return "no entry of this term is committed yet"
  elseif self.config_index > self.commit then
    return "the change before is not committed yet"
  elseif change.kind == "promote" then
    local p = self.peers[change.id]
    local lag = p and self.log.last - p.match or 0
    -- 4.2.1: the cluster could not commit until it has caught up. And no server votes before it has a configuration.
    if p and (lag > self.options.max_promote_lag or p.match < self.config_index) then
      return ("%s is %d entries behind; promote it when it has caught up"):format(change.id, lag)
    end
  end
end

---@param event { change: table, id: any }
function M:change(event)
  if type(event.change) ~= "table" then
    error("raft: change wants a change, such as { kind = \"add\", id = \"n4\" }", 3)
  end
  local reason = obstacle(self, event.change)
  local changed
  if not reason then
    changed, reason = self.config:with(event.change)
  end
  if not changed then
    return self:refuse("change", event.id, reason)
  end
  local entry = self:append_entry(CONFIG, changed:encode())
  self:note_entry(entry)
  self.update.proposed = { first = entry.index, last = entry.index, term = entry.term, id = event.id }
  self:broadcast_append()
  self:maybe_commit() -- a smaller quorum may be complete already
  self:confirm_round()
end

return M
