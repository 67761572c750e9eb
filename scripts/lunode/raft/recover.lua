-- Makes what one stopped member has a cluster of that member alone, where a majority of its cluster is lost for good.
-- Asks nobody: whoever calls it has to be sure of that. What the others had and this one had not is lost.
--
-- The member gets a new number of its cluster, so that those of the old one are refused, should they come back; and an
-- entry at the end of its log, of a new term, with a configuration in which it is the only voter and all others are
-- removed. All entries before it will count as committed when it starts, also those that were not.
--
-- Two survivors of one cluster cannot both be kept: their logs may differ in what was not committed, and nobody is left
-- to say which is right. Recover the one that is further, and let the other join it with an empty directory.

local carry = require "lunode.raft.carry"
local configs = require "lunode.raft.config"
local core = require "lunode.raft.core"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local storage = require "lunode.raft.storage"
local stores = require "lunode.store"

local M = {}

---@class lunode.raft.survivor
---@field id string
---@field cluster string
---@field group string
---@field term integer
---@field last integer       index of the last entry in its log
---@field last_term integer  of that
---@field committed integer  entries up to here are known to be committed; more may be
---@field time integer?      of the last command, milliseconds since the epoch, as its proposer's clock had it
---@field config lunode.raft.config  the latest one that it has
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.survivor" }

-- Who the directory belongs to.
local function identify(dir)
  local store, err, code = stores.open(dir, { create = false })
  if not store then
    return nil, err, code
  end
  local bytes = store:get "identity"
  store:close()
  local identity = bytes and msgpack.decode(bytes)
  if type(identity) ~= "table" or not configs.is_id(identity.id) or type(identity.cluster) ~= "string" then
    return nil, ("%s is not the directory of a member of a cluster"):format(dir), "EFOREIGN"
  end
  return identity
end

-- What is applied and on disk, was committed.
local function committed_in(dir, meta)
  if not meta.data then
    return meta.index
  end
  local store, err, code = stores.open(dir .. "/" .. meta.data, { create = false })
  if not store and code ~= "ENOENT" then
    return nil, err, code
  end
  local applied = store and store:applied() or 0
  if store then
    store:close()
  end
  return math.max(applied, meta.index)
end

-- What the log tells beyond the snapshot.
local function read_log(self)
  local disk = self.disk
  local config = assert(configs.decode(disk.snapshot.config))
  for _, payload, kind in disk.log:entries(disk.snapshot.index + 1) do
    if kind == core.CONFIG then
      config = assert(configs.decode(payload))
    elseif kind == core.COMMAND then
      self.time = math.max(self.time or 0, (carry.HEAD:unpack(payload)))
    end
  end
  self.config = config
end

---Opens the directory of a member that does not run, and changes nothing in it.
---@param dir string
---@return lunode.raft.survivor?
---@return string? err, lunode.code? code  "ELOCKED": it runs; "EFOREIGN": it is no member's
function M.open(dir)
  local identity, err, code = identify(dir)
  if not identity then
    return nil, err, code
  end
  local disk, committed
  disk, err, code = storage.open {
    dir = dir, cluster = identity.cluster, id = identity.id, founders = configs.new {},
  }
  if not disk then
    return nil, err, code
  end
  committed, err, code = committed_in(dir, disk.snapshot)
  if not committed then
    disk:close()
    return nil, err, code
  end
  local last, term = disk.log:last(), (disk.log:state())
  local self = setmetatable({
    disk = disk, id = identity.id, cluster = identity.cluster, group = disk.group, term = term, last = last,
    last_term = disk.log:term(last) or 0, committed = committed, time = nil, config = nil,
  }, metatable)
  local ok, failure = pcall(read_log, self)
  if not ok then
    disk:close()
    return nil, ("the log in %s cannot be read: %s"):format(dir, tostring(failure)), "ECORRUPT"
  end
  return self
end

---Why it cannot be done; nil: it can.
---@return string?
function methods:obstacle()
  local config = self.config
  if config.removed[self.id] then
    return ("%s was removed from its cluster"):format(self.id)
  elseif not config.members[self.id] then
    return ("%s was never added to a cluster, so it has none of its data"):format(self.id)
  elseif #config.voters == 1 and config:is_voter(self.id) then
    return ("%s is its cluster's only voter already: start it"):format(self.id)
  end
end

-- This member is a voter, and nobody else is a member any more.
local function alone(self)
  local list = {}
  for _, known in ipairs { self.config.members, self.config.removed } do
    for id, member in pairs(known) do -- a configuration is sorted
      local is_own = id == self.id
      list[#list + 1] = {
        id = id, address = member.address, removed = not is_own, voter = is_own,
        disk = is_own and self.disk.disk or nil,
      }
    end
  end
  return assert(configs.new(list))
end

---Does it. `fn(err, group)` is called once it is durable; in between, a crash leaves the old cluster's member, which
---may be recovered again.
---@param fn fun(err: string?, group: string?)
function methods:recover(fn)
  local group = ("%016x"):format(loop.random(math.mininteger, math.maxinteger))
  local log = self.disk.log
  self.disk:adopt(group, function(err)
    if err then
      return fn(err)
    end
    local term = math.max(self.term, self.last_term) + 1
    local ok, failure = log:set_state(term)
    if ok then
      ok, failure = log:append(core.CONFIG, alone(self):encode(), term)
    end
    if ok then
      ok, failure = log:sync(function(sync_err)
        fn(sync_err, group)
      end)
    end
    if not ok then
      fn(failure)
    end
  end)
end

function methods:close()
  self.disk:close()
end

return M
