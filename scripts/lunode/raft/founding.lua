-- How a cluster is founded: all its founders have to know of each other's disks, and know that all of them know, before
-- the first of them may vote. Part of driver.lua; a server that waits to be added founds nothing.
--
--   {"founding", disks, done}     disks: id → disk, of the founders met so far, durably; done: all know all
--
-- Each sends it to the others when it has something new, and answers with its own. Once every founder has said that it
-- knows the same disks, the configuration carries them from the beginning on, and whoever is founded vouches for it to
-- those that are not yet.
--
-- So a server that has lost its disk is known by every other founder as one that has, also where a majority has lost
-- theirs: without this they could found the same cluster once more among themselves, and what it had acknowledged would
-- be forgotten. The price: all founders have to be up at once, once.

local configs = require "lunode.raft.config"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"

local M = {}

---@class lunode.raft.founding
---@field driver lunode.raft.driver
---@field private founders lunode.raft.config
---@field private disks table<string, string>  what is known durably
---@field private agreed table<string, true>  those that know the same
---@field private ending boolean
---@field private timer lunode.timer
local methods = {}
local metatable = { __index = methods, __name = "lunode.raft.founding" }

---Those of whom it is not known yet that they know all.
---@return string[]
function methods:missing()
  local list = {}
  for _, id in ipairs(self.founders.ids) do
    if not self.agreed[id] then
      list[#list + 1] = id
    end
  end
  return list
end

local function has_all(self)
  for _, id in ipairs(self.founders.ids) do
    if not self.disks[id] then
      return false
    end
  end
  return true
end

-- The founders with their disks.
local function config_of(self)
  local list = {}
  for i, id in ipairs(self.founders.ids) do
    list[i] = { id = id, address = self.founders.members[id].address, voter = true, disk = self.disks[id] }
  end
  return assert(configs.new(list)):encode()
end

---@param driver lunode.raft.driver
---@return lunode.raft.founding
function M.start(driver)
  local self = setmetatable({
    driver = driver, founders = configs.decode(driver.applied_config), disks = {}, agreed = {}, ending = false,
    timer = nil, told = nil,
  }, metatable)
  for _, id in ipairs(self.founders.ids) do
    self.disks[id] = id == driver.id and driver.storage.disk or driver.storage:disk_of(id)
  end
  self.timer = loop.timer(driver.patience, function()
    local text = table.concat(self:missing(), ", ")
    if text ~= self.told then
      self.told = text
      logger.warn("raft: the cluster is not founded yet: waiting for %s; all its founders have to be up at once, once",
        text)
    end
  end, driver.patience)
  return self
end

function methods:close()
  self.timer:close()
end

-- ---------------------------------------------------------------- what is said

-- What a driver knows of its founding, as it is said.
local function frame_of(driver)
  local self = driver.founding
  if self then
    return { "founding", msgpack.map(self.disks), false }
  end
  return { "founding", msgpack.map(driver.storage.founded), true }
end

---@param driver lunode.raft.driver
---@param id string
function M.say_to(driver, id)
  if driver.storage.founded or driver.founding then
    driver.transport:send(id, msgpack.encode(frame_of(driver)))
  end
end

local function say_to_all(driver, founders)
  for _, id in ipairs(founders.ids) do
    if driver.transport:is_ready(id) then
      M.say_to(driver, id)
    end
  end
end

-- Every founder knows what this one knows: that is how the cluster begins.
local function finish(self)
  local driver = self.driver
  self.ending = true
  driver.storage:keep_founding(self.disks, config_of(self), function(err)
    if driver.closed then
      return
    elseif err then
      return driver:fail(err)
    end
    self:close()
    driver.founding = nil
    driver:begin()
    if not driver.closed then
      say_to_all(driver, self.founders)
    end
  end)
end

local function conclude(self)
  if has_all(self) then
    self.agreed[self.driver.id] = true
  end
  if not self.ending and #self:missing() == 0 then
    finish(self)
  end
end

---Whether there is nobody to wait for.
function methods:conclude()
  conclude(self)
end

---The disk of a founder is known durably.
---@param id string
---@param disk string
function methods:learn(id, disk)
  if self.founders.members[id] and not self.disks[id] and not self.ending then
    self.disks[id] = disk
    conclude(self)
    say_to_all(self.driver, self.founders)
  end
end

local function is_known(self, disks)
  if type(disks) ~= "table" then
    return false
  end
  for _, id in ipairs(self.founders.ids) do
    if type(disks[id]) ~= "string" or self.disks[id] and self.disks[id] ~= disks[id] then
      return false
    end
  end
  return true
end

---A founder has said what it knows.
---@param driver lunode.raft.driver
---@param from string
---@param frame any[]
---@param reply? fun(frame: any[])  nil: it was an answer itself
function M.hear(driver, from, frame, reply)
  local self, disks, done = driver.founding, frame[2], frame[3]
  if self and not self.ending and self.founders.members[from] then
    if done == true and is_known(self, disks) then
      for _, id in ipairs(self.founders.ids) do
        self.disks[id], self.agreed[id] = disks[id], true
      end
    elseif has_all(self) and is_known(self, disks) then
      self.agreed[from] = true
    end
    conclude(self)
  end
  if reply and (driver.founding or driver.storage.founded) then
    reply(frame_of(driver))
  end
end

return M
