-- Which keys have changed since somebody began to watch them. It is this node's memory of them, no part of the
-- replicated state: whoever proposes a transaction asks here, once nothing is under way that could still change them.
--
-- A key is watched by its name, whether it is there or not. Without anybody who watches, no command pays for it.
local M = {}

---@class lunode.kv.watches
---@field count integer  keys that are watched
local methods = {}
local watches_mt = { __name = "lunode.kv.watches", __index = methods }

---@return lunode.kv.watches
function M.new()
  return setmetatable({
    count = 0,
    clock = 0, -- of changes
    changed = 0, -- its reading when all keys may have changed
    deleted = 0, -- when all keys were deleted
    keys = {}, -- key → {watchers, changed: the clock's reading at its last change}
  }, watches_mt)
end

---Begins to watch a key.
---@param key string
---@return integer token  for `is_same`
function methods:add(key)
  local watched = self.keys[key]
  if not watched then
    watched = { watchers = 0, changed = 0 }
    self.keys[key] = watched
    self.count = self.count + 1
  end
  watched.watchers = watched.watchers + 1
  return self.clock
end

---Ends it: once for each `add`.
---@param key string
function methods:remove(key)
  local watched = self.keys[key]
  watched.watchers = watched.watchers - 1
  if watched.watchers == 0 then
    self.keys[key] = nil
    self.count = self.count - 1
  end
end

---A key has changed.
---@param key string
function methods:touch(key)
  local watched = self.keys[key]
  if watched then
    self.clock = self.clock + 1
    watched.changed = self.clock
  end
end

---All keys may have changed.
---@param only_deleted? boolean  nothing but this: all those that were there are gone
function methods:touch_all(only_deleted)
  self.clock = self.clock + 1
  self.deleted = self.clock
  if not only_deleted then
    self.changed = self.clock
  end
end

---Whether a key that is watched is as it was.
---@param key string
---@param token integer     what `add` gave
---@param existed boolean   whether the key was there then
---@return boolean
function methods:is_same(key, token, existed)
  return self.keys[key].changed <= token and self.changed <= token and not (existed and self.deleted > token)
end

return M
