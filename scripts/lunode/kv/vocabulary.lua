-- Which commands all members of a cluster know. What one writes to the log the others have to run, and who does not
-- know a command that is there has to stop. So one waits until all know it: while members are upgraded one after the
-- other, or get a script that adds commands. Runs none.
--
-- Each member tells each other one its commands when they connect, and when there are more, until that is answered:
--
--   {"commands", {name, …}}     {"commands"}
--
-- One that has not told since this one started counts as knowing all: it was in the cluster before.
local command = require "lunode.kv.command"
local logged = require "lunode.kv.logged"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

local M = {}

local MOST_NAMES = 10000 -- that a member may tell
local AGAIN = 0.5 -- seconds until it is told again

---@class lunode.kv.vocabulary
---@field member lunode.raft.driver
local methods = {}
local metatable = { __index = methods, __name = "lunode.kv.vocabulary" }

---@param member lunode.raft.driver
---@return lunode.kv.vocabulary
function M.new(member)
  return setmetatable({
    member = member,
    told = {}, -- id → set of names
    known = {}, -- entries of commands that all know, as keys: what was found out
    unanswered = {}, -- id → when to tell it again
    registered = command.registered, -- when all were told last
  }, metatable)
end

-- Commands of the node's own have names that no client can say.
local function name_of(entry)
  return entry.called and entry.name or "\0" .. entry.name
end

local function names()
  local list, own = command.logged_names(), logged.own_names()
  return table.move(own, 1, #own, #list + 1, list)
end

local function tell(self, id)
  self.unanswered[id] = loop.now() + AGAIN
  self.member:tell(id, { "commands", names() })
end

---The connection to another member stands, or is lost.
---@param id string
---@param up boolean
function methods:link_changed(id, up)
  if up then
    tell(self, id)
  else
    self.unanswered[id] = nil
  end
end

---To be called several times a second.
function methods:tick()
  local more = self.registered ~= command.registered
  if not more and not next(self.unanswered) then
    return
  elseif more then
    self.registered, self.known = command.registered, {}
  end
  for _, id in ipairs(self.member.core and self.member.core.config.ids or {}) do
    local due = self.unanswered[id]
    if id ~= self.member.id and (more or due and due <= loop.now()) then
      tell(self, id)
    end
  end
end

---Another member has heard.
---@param id string
function methods:was_answered(id)
  self.unanswered[id] = nil
end

---Another member tells its commands.
---@param from string
---@param list any
---@param answer fun(what: any)
function methods:was_told(from, list, answer)
  local set = {}
  if type(list) ~= "table" or #list > MOST_NAMES then
    logger.warn("kv: %s tells its commands in a form that cannot be read", from)
    return
  end
  for _, name in ipairs(list) do
    set[name] = true
  end
  self.told[from], self.known = set, {}
  answer { "commands" }
end

---Why a command cannot be written to the log; nil: it can.
---@param entry table
---@return lunode.resp.raw?
function methods:refusal(entry)
  if self.known[entry] then
    return nil
  end
  local name = name_of(entry)
  for _, id in ipairs(self.member.core and self.member.core.config.ids or {}) do
    local set = self.told[id]
    if set and not set[name] then
      return resp.error(("ERR the member %s does not know '%s' yet: it is of another version, or lacks a script")
        :format(id, entry.name))
    end
  end
  self.known[entry] = true
end

return M
