-- Copies of a running node's data: BGSAVE, LASTSAVE, SAVE, and what `lunode backup` asks a node for. How a copy is
-- made: kv.backup.
--
-- BGSAVE writes into one of two directories in the node's own, backup-1 and backup-2, in turn: so there is always a
-- whole one once there was one, and never more than two. LASTSAVE says when the last one was made, as Redis counts: at
-- first, when the node started.
local backup = require "lunode.kv.backup"
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local logger = require "lunode.logger"
local loop = require "lunode.loop"
local resp = require "lunode.resp"
local store = require "lunode.store"
local task = require "lunode.task"

local M = {}

local STARTED = resp.status("Background saving started")
local IN_PROGRESS = resp.error("ERR Background save already in progress")
local NO_SAVE = resp.error("ERR SAVE would keep all clients waiting; use BGSAVE")

local SNAPSHOT_RETRIES = 100 -- turns of the loop
local PROGRESS = 0.2 -- seconds

---@class lunode.kv.save
---@field job lunode.kv.backup?   under way
---@field starting boolean        one is about to begin
---@field last integer            seconds since the epoch: when the last one was made
---@field ok boolean              so it went
---@field slot integer?           1 or 2: the next one's directory
local methods = {}
local save_mt = { __name = "lunode.kv.save", __index = methods }

---@param node lunode.kv.node
---@return lunode.kv.save
function M.new(node)
  return setmetatable({
    node = node,
    job = nil,
    starting = false,
    last = node.started // 1000,
    ok = true,
    slot = nil,
    closed = false,
  }, save_mt)
end

---Whether a copy is being made.
---@return boolean
function methods:is_busy()
  return self.starting or self.job ~= nil
end

-- Between two turns the store stands at the end of an entry; where a timer has begun one, a turn later.
local function take_snapshot(self, retries, fn)
  loop.defer(function()
    if self.closed then
      return fn(nil, "the node ends", "ECANCELED")
    end
    local snapshot, err, code = self.node.replica.store:snapshot()
    if not snapshot and code == "EINVAL" and retries > 0 then
      return take_snapshot(self, retries - 1, fn)
    end
    fn(snapshot, err, code)
  end)
end

---Begins a copy. REQUIRES: none is under way.
---@param dir string|fun(): string?, string?  where it goes; or what finds that out: nil and why not
---@param on_end fun(err: string?, code: lunode.code?, job: lunode.kv.backup?)  once, never within this call
---@return fun() cancel  may be called at any time
function methods:start(dir, on_end)
  local cancelled = false
  self.starting = true
  local function finish(err, code)
    local job = self.job
    self.job, self.starting = nil, false
    on_end(err, code, job)
  end
  take_snapshot(self, SNAPSHOT_RETRIES, function(snapshot, err, code)
    if snapshot and cancelled then
      snapshot:close()
      return finish("it was cancelled", "ECANCELED")
    elseif not snapshot then
      return finish(err, code)
    end
    local now = math.floor(loop.time() * 1000)
    local path = dir
    if type(dir) == "function" then
      path, err = dir()
      if not path then
        snapshot:close()
        return finish(err)
      end
    end
    local engine = self.node.replica.store:stats().engine
    self.job, err, code = backup.start {
      dir = path,
      snapshot = snapshot,
      engine = engine ~= "memory" and engine or nil, -- a copy that stays in memory were none
      now = now,
      on_end = finish,
    }
    self.starting = false
    if not self.job then
      finish(err, code)
    end
  end)
  return function()
    cancelled = true
    if self.job then
      self.job:cancel()
    end
  end
end

-- The directory of the next copy, empty.
local function next_dir(self)
  local base = self.node.dir .. "/backup-"
  if not self.slot then
    local one, two = backup.made(base .. 1), backup.made(base .. 2)
    self.slot = one and (not two or two < one) and 2 or 1
  end
  local dir = base .. self.slot
  local ok, err, code = store.remove(dir)
  if not ok and code ~= "ENOENT" then
    return nil, err
  end
  return dir
end

---Begins what BGSAVE begins. REQUIRES: none is under way.
function methods:bgsave()
  local started = math.floor(loop.time())
  self:start(function()
    return next_dir(self)
  end, function(err, code, job)
    if err then
      self.ok = code == "ECANCELED" and self.ok
      logger.error("a backup has failed: %s", err)
      return
    end
    self.ok, self.last = true, started
    self.slot = 3 - self.slot
    logger.info("a backup is in %s: %d rows, up to entry %d", job.dir, job.rows, job.index)
  end)
end

---Serves `lunode backup`, which has opened a stream: makes a copy as long as the caller is there, and tells how far it
---is.
---@param ctx lunode.rpc.context
---@param dir string  absolute
---@return table result  rows, bytes, index
function methods:serve(ctx, dir)
  if type(dir) ~= "string" or dir:sub(1, 1) ~= "/" then
    error({ code = "EINVAL", message = "backup: the absolute path of a directory is needed" }, 0)
  elseif self:is_busy() then
    error({ code = "EBUSY", message = "a backup is being made already; wait for its end" }, 0)
  end
  local done, failure, job = task.event(), nil, nil
  local cancel = self:start(dir, function(err, code, ended)
    failure, job = err and { code = code or "EIO", message = err }, ended
    done:resolve(true)
  end)
  local tick <close> = setmetatable({}, { __close = function()
    if not done:is_resolved() then
      cancel()
    end
  end })
  while not done:wait(PROGRESS) do
    if self.job then
      ctx:send(("%d %d %d"):format(self.job.rows, self.job.bytes, self:estimate()))
    end
  end
  if failure then
    error(failure, 0)
  end
  return { rows = job.rows, bytes = job.bytes, index = job.index }
end

---Ends what is under way.
function methods:close()
  self.closed = true
  if self.job then
    self.job:cancel()
  end
end

---About how many rows a copy will have.
---@return integer
function methods:estimate()
  local db = self.node.db
  return db.keys + db.expires + 2
end

-- ---- commands

command.command("BGSAVE", {
  arity = -1, flags = { "admin", "noscript", "no_async_loading" }, group = "server", since = "1.0.0",
  complexity = "O(1)", summary = "Asynchronously save the dataset to disk",
  run = function(ctx, option, ...)
    if ... or option and option:upper() ~= "SCHEDULE" then
      return errors.SYNTAX
    elseif ctx.node.save:is_busy() then
      return IN_PROGRESS
    end
    ctx.node.save:bgsave()
    return STARTED
  end,
})

command.command("SAVE", {
  arity = 1, flags = { "admin", "noscript", "no_async_loading", "no_multi" }, group = "server", since = "1.0.0",
  complexity = "O(N) where N is the total number of keys in all databases",
  summary = "Synchronously save the dataset to disk",
  run = function(ctx)
    return ctx.node.save:is_busy() and IN_PROGRESS or NO_SAVE
  end,
})

command.command("LASTSAVE", {
  arity = 1, flags = { "loading", "stale", "fast" }, group = "server", acl = { "admin", "dangerous" },
  since = "1.0.0", complexity = "O(1)", tips = { "nondeterministic_output" },
  summary = "Get the UNIX time stamp of the last successful save to disk",
  run = function(ctx)
    return ctx.node.save.last
  end,
})

return M
