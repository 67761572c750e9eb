-- Which servers form a cluster: voters and learners, their quorum, and changes of one server at a time (Ongaro's
-- dissertation, chapter 4). Does not decide when a change may be made: membership.lua does.
--
-- A configuration is a value: it is never changed, others are made from it. It travels as text, in the payload of a log
-- entry and with snapshots, so that a dump of the log can be read. A line a member, sorted by id:
--
--   config  = *line
--   line    = ("voter" / "learner" / "removed") SP id SP (address / "-") [SP disk] LF
--   id      = 1*64(letters, digits, "_", ".", "-"), the first a letter or digit
--   address = 1*255(visible ASCII)
--   disk    = 1*64(letters, digits)
--
-- The disk is the one under which the others know a server. It is there from the founding, or from when the server
-- becomes a voter: whoever comes under its id with another one has forgotten what it has promised.
--
-- Removed servers stay listed, and no server joins under their ids again. One that came back with an empty disk would
-- forget what it has acknowledged and whom it has voted for; on its way through old entries it could even come upon a
-- configuration in which it was a voter, and win with the help of others that lag behind.

local M = {}

---@class lunode.raft.member
---@field id string
---@field voter? boolean  false: a learner (4.2.1), which is sent the log and counts in no quorum
---@field removed? boolean  it was a member once
---@field address? string  for the driver; means nothing here, and neither does
---@field disk? string

---@class lunode.raft.config
---@field members table<string, lunode.raft.member>
---@field removed table<string, lunode.raft.member>
---@field ids string[]  of members, sorted: whatever is done for each is done in this order
---@field voters string[]  sorted
---@field quorum integer  how many of the voters are a majority
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.config" }

---@param id any
---@return boolean
function M.is_id(id)
  return type(id) == "string" and #id <= 64 and id:find "^%w[%w_.-]*$" ~= nil
end

local function is_address(address)
  return address == nil or type(address) == "string" and #address <= 255 and address:find "^[!-~]+$" ~= nil
    and address ~= "-"
end

local function is_disk(disk)
  return disk == nil or type(disk) == "string" and #disk <= 64 and disk:find "^%w+$" ~= nil
end

---@param list lunode.raft.member[]
---@return lunode.raft.config?
---@return string? err
function M.new(list)
  local members, removed, ids, voters = {}, {}, {}, {}
  for _, member in ipairs(list) do
    if not M.is_id(member.id) then
      return nil, ("%q is not an id: letters, digits, _ . and -, at most 64"):format(tostring(member.id))
    elseif members[member.id] or removed[member.id] then
      return nil, ("%s is there twice"):format(member.id)
    elseif not is_address(member.address) then
      return nil, ("the address of %s is not visible ASCII of at most 255 bytes"):format(member.id)
    elseif not is_disk(member.disk) then
      return nil, ("the disk of %s is not a number of at most 64 letters and digits"):format(member.id)
    end
    if member.removed then
      removed[member.id] = { id = member.id, address = member.address, removed = true }
    else
      members[member.id] = {
        id = member.id, address = member.address, voter = member.voter == true, disk = member.disk,
      }
      ids[#ids + 1] = member.id
    end
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    if members[id].voter then
      voters[#voters + 1] = id
    end
  end
  return setmetatable({
    members = members, removed = removed, ids = ids, voters = voters, quorum = #voters // 2 + 1,
  }, metatable)
end

local function all(self)
  local list = {}
  for _, id in ipairs(self.ids) do
    list[#list + 1] = self.members[id]
  end
  for _, member in pairs(self.removed) do -- sorted below, or where it does not matter
    list[#list + 1] = member
  end
  return list
end

---The text of a configuration.
---@return string
function methods:encode()
  local list, lines = all(self), {}
  table.sort(list, function(a, b)
    return a.id < b.id
  end)
  for i, member in ipairs(list) do
    local kind = member.removed and "removed" or member.voter and "voter" or "learner"
    local disk = member.disk and " " .. member.disk or ""
    lines[i] = ("%s %s %s%s\n"):format(kind, member.id, member.address or "-", disk)
  end
  return table.concat(lines)
end

---@param text any
---@return lunode.raft.config?
---@return string? err
function M.decode(text)
  if type(text) ~= "string" then
    return nil, "a configuration is text"
  end
  local list, at = {}, 1
  while at <= #text do
    local kind, id, address, disk, rest = text:match("^(%l+) (%S+) (%S+) ?(%w*)\n()", at)
    if kind ~= "voter" and kind ~= "learner" and kind ~= "removed" then
      return nil, ("a configuration that cannot be read, from byte %d"):format(at)
    end
    list[#list + 1] = {
      id = id, voter = kind == "voter", removed = kind == "removed", address = address ~= "-" and address or nil,
      disk = disk ~= "" and disk or nil,
    }
    at = rest
  end
  return M.new(list)
end

---@param id string
---@return boolean
function methods:is_voter(id)
  local member = self.members[id]
  return member ~= nil and member.voter
end

-- Each makes of the member there is (or nil) the one there will be, or says why not.
local changes = {
  add = function(member, change)
    if member then
      return nil, ("%s is a member already"):format(change.id)
    end
    return { id = change.id, address = change.address, disk = change.disk }
  end,
  promote = function(member, change)
    if not member then
      return nil, ("%s is not a member; add it first"):format(change.id)
    elseif member.voter then
      return nil, ("%s is a voter already"):format(change.id)
    end
    return { id = member.id, voter = true, address = member.address, disk = member.disk or change.disk }
  end,
  demote = function(member, change)
    if not (member and member.voter) then
      return nil, ("%s is not a voter"):format(change.id)
    end
    return { id = member.id, address = member.address, disk = member.disk }
  end,
  remove = function(member, change)
    if not member then
      return nil, ("%s is not a member"):format(change.id)
    end
    return { id = member.id, address = member.address, removed = true }
  end,
}

---The configuration after a change of one server, so that any majority of the old and of the new one have a server in
---common (4.1).
---@param change { kind: string, id: string, address?: string, disk?: string }  kind: "add", as a learner; "promote",
---  "demote", "remove"
---@return lunode.raft.config?
---@return string? reason
function methods:with(change)
  local make = changes[change.kind]
  if not make then
    return nil, ("there is no change %s; there are add, promote, demote and remove"):format(tostring(change.kind))
  elseif not M.is_id(change.id) then
    return nil, "the change names no server by a valid id"
  elseif self.removed[change.id] then
    return nil, ("%s was removed; a server that comes back needs another id"):format(change.id)
  end
  local changed, reason = make(self.members[change.id], change)
  if not changed then
    return nil, reason
  end
  local list = { changed }
  for _, member in ipairs(all(self)) do
    if member.id ~= change.id then
      list[#list + 1] = member
    end
  end
  local config, err = M.new(list)
  if config and #config.voters == 0 then
    return nil, ("%s is the last voter"):format(change.id)
  end
  return config, err
end

return M
