-- WATCH in a cluster. Whether a key has changed is decided where the transaction is applied, by every member alike, so
-- what is watched is part of the state:
--
--   0xFF "watch/" id → MessagePack array {time, changed, key, existed, key, existed, …}
--
-- id: drawn by the session's member for each WATCH after an EXEC, so an EXEC may be on its way before its WATCH is
-- applied; time: of the last WATCH, in milliseconds; changed and existed: 0 or 1. EXEC deletes the row. What is left
-- over, by connections that ended, is deleted after KEPT; an EXEC that comes even later finds nothing, and is refused.
local getkeys = require "lunode.kv.getkeys"
local logged = require "lunode.kv.logged"
local msgpack = require "lunode.msgpack"
local resp = require "lunode.resp"

local M = {}

local ROW, ROWS_END = "\xFFwatch/", "\xFFwatch0"
local ID = ">I8I8"
local KEPT = 15 * 60 * 1000 -- milliseconds
local PER_TURN = 500

---@class lunode.kv.replicated_watches
---@field count integer  of ids
local methods = {}
local metatable = { __name = "lunode.kv.replicated_watches", __index = methods }

---@param node lunode.kv.node
---@param origin integer  of the member, drawn at its start
---@return lunode.kv.replicated_watches
function M.new(node, origin)
  local self = setmetatable({
    node = node, origin = origin, last = 0,
    rows = {}, -- id → what its row holds
    by_key = {}, -- key → ids, as keys
    count = 0,
    changed = false, -- since the last time that all was read
  }, metatable)
  self:read()
  return self
end

-- ---------------------------------------------------------------- what is kept in memory of the rows

local function add_key(self, key, id)
  local ids = self.by_key[key] or {}
  self.by_key[key] = ids
  ids[id] = true
end

---Reads the rows anew: another store holds the state.
function methods:read()
  self.rows, self.by_key, self.count, self.changed = {}, {}, 0, false
  for row, value in self.node.db.store:scan(ROW, ROWS_END) do
    local id, record = row:sub(#ROW + 1), msgpack.decode(value)
    self.rows[id], self.count = record, self.count + 1
    for i = 3, #record, 2 do
      add_key(self, record[i], id)
    end
  end
end

---The command that has run last is undone.
function methods:rolled_back()
  if self.changed then
    self:read()
  end
end

local function put(self, id, record)
  self.changed = true
  self.count = self.count + (self.rows[id] and 0 or 1)
  self.rows[id] = record
  self.node.db.store:put(ROW .. id, msgpack.encode(record))
end

local function remove(self, id)
  local record = self.rows[id]
  self.changed = true
  self.rows[id], self.count = nil, self.count - 1
  for i = 3, #record, 2 do
    local ids = self.by_key[record[i]]
    ids[id] = nil
    if next(ids) == nil then
      self.by_key[record[i]] = nil
    end
  end
  self.node.db.store:delete(ROW .. id)
end

-- ---------------------------------------------------------------- changes

local function change(self, id)
  local record = self.rows[id]
  if record[2] == 0 then
    record[2] = 1
    put(self, id, record)
  end
end

---A key has changed.
---@param key string
function methods:touch(key)
  for id in pairs(self.by_key[key] or {}) do -- rows of their own: the order cannot be seen
    change(self, id)
  end
end

local function had_any(record)
  for i = 4, #record, 2 do
    if record[i] == 1 then
      return true
    end
  end
  return false
end

---All keys may have changed.
---@param only_deleted boolean  nothing but this: all those that were there are gone
function methods:touch_all(only_deleted)
  for id, record in pairs(self.rows) do
    if not only_deleted or had_any(record) then
      change(self, id)
    end
  end
end

---A command has changed what it writes.
---@param entry table
---@param args string[]
function methods:touch_keys(entry, args)
  if entry.options.touches == false then
    return
  end
  local found = getkeys.has_keys(entry) and getkeys.find(entry, args)
  if not found then
    return self:touch_all(entry.name == "flushall" or entry.name == "flushdb")
  end
  for _, key in ipairs(found) do
    if getkeys.is_written(key.access) then
      self:touch(args[key.at])
    end
  end
end

-- ---------------------------------------------------------------- commands, as all members run them

local function exists(db, key)
  local _, value = db:find(key)
  return value ~= nil
end

logged.add("watch", function(ctx, args)
  local self, id = ctx.node.writes.watching, args[1]
  local record = self.rows[id] or { 0, 0 }
  record[1] = ctx.now
  for i = 2, #args do
    local ids = self.by_key[args[i]]
    if not (ids and ids[id]) then
      record[#record + 1], record[#record + 2] = args[i], exists(ctx.db, args[i]) and 1 or 0
      add_key(self, args[i], id)
    end
  end
  put(self, id, record)
  return resp.OK
end, { variadic = true, touches = false })

-- Whether nothing has changed that an id watches; its row goes.
local function passes(self, ctx, id)
  local record = self.rows[id]
  if not record then
    return false
  end
  local same = record[2] == 0
  for i = 3, #record, 2 do
    same = same and (record[i + 1] == 0 or exists(ctx.db, record[i])) -- its time may have come
  end
  remove(self, id)
  return same
end

logged.add("watched_exec", function(ctx, args)
  if not passes(ctx.node.writes.watching, ctx, args[1]) then
    return resp.null_array
  end
  return logged.find_own("\0exec").run(ctx, table.move(args, 2, #args, 1, {}))
end, {
  variadic = true, touches = false,
  verify = function(args)
    logged.find_own("\0exec").options.verify(table.move(args, 2, #args, 1, {}))
  end,
})

logged.add("unwatch", function(ctx, id)
  local self = ctx.node.writes.watching
  if self.rows[id] then
    remove(self, id)
  end
end, { touches = false })

logged.add("forget_watches", function(ctx, before)
  local self, list = ctx.node.writes.watching, {}
  for row in ctx.db.store:scan(ROW, ROWS_END) do
    local id = row:sub(#ROW + 1)
    if self.rows[id][1] < math.tointeger(before) and #list < PER_TURN then
      list[#list + 1] = id
    end
  end
  for _, id in ipairs(list) do
    remove(self, id)
  end
end, { touches = false })

-- ---------------------------------------------------------------- commands, as clients send them

local WATCH = { name = "watch", write = true, variadic = true, direct = true, options = {} }
local EXEC = { name = "exec", write = true, variadic = true, direct = true, options = {} }

---What becomes of WATCH, and of an EXEC behind one.
---@param session lunode.kv.session
---@param entry table
---@param args string[]
---@return table entry, string name, string[] args  to be submitted
function methods:replace(session, entry, args)
  local id = session.watch_id
  if not id then
    self.last = self.last + 1
    id = ID:pack(self.origin, self.last)
    session.watch_id = id
  end
  if entry.name == "watch" then
    return WATCH, "\0watch", table.move(args, 1, #args, 2, { id })
  end
  session.watch_id = nil
  return EXEC, "\0watched_exec", table.move(args, 1, #args, 2, { id })
end

---A session watches nothing any more.
---@param session lunode.kv.session
function methods:leave(session)
  local id = session.watch_id
  session.watch_id = nil
  if id then
    self.node.writes:submit_own("unwatch", id)
  end
end

---What is left over goes. To be called now and then, on the leader.
---@param now integer  milliseconds since the epoch
function methods:forget(now)
  for _, record in pairs(self.rows) do
    if record[1] < now - KEPT then
      self.node.writes:internal("forget_watches", tostring(now - KEPT))
      return
    end
  end
end

return M
