-- MONITOR: who sees what the others send, and how that is written. While anybody does, all sessions are diverted.
local command = require "lunode.kv.command"
local loop = require "lunode.loop"
local resp = require "lunode.resp"

local M = {}

local NOT_INSIDE = resp.error("ERR MONITOR isn't allowed for DENY BLOCKING client")

---@class lunode.kv.monitors
---@field count integer
local methods = {}
local monitors_mt = { __name = "lunode.kv.monitors", __index = methods }

---@param node lunode.kv.node
---@return lunode.kv.monitors
function M.new(node)
  return setmetatable({ node = node, count = 0, list = {} }, monitors_mt)
end

local function update_all(self)
  for _, session in ipairs(self.node:list_sessions()) do
    session:update()
  end
end

---@param session lunode.kv.session
function methods:add(session)
  if not session.monitors then
    session.monitors = true
    self.list[#self.list + 1] = session
    self.count = self.count + 1
    self.node.channels:set_limit(session)
    update_all(self)
  end
end

---@param session lunode.kv.session
function methods:remove(session)
  if not session.monitors then
    return
  end
  session.monitors = false
  for i, one in ipairs(self.list) do
    if one == session then
      table.remove(self.list, i)
    end
  end
  self.count = self.count - 1
  self.node.channels:set_limit(session)
  update_all(self)
end

-- ---- what they see

local NAMED = {
  ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\a"] = "\\a", ["\b"] = "\\b",
}

local function escape(byte)
  return NAMED[byte] or ("\\x%02x"):format(byte:byte())
end

---A word as Redis shows it: quoted, and what cannot be printed is escaped.
---@param word string
---@return string
function M.quote(word)
  return '"' .. word:gsub('[%c"\\\128-\255]', escape) .. '"'
end

local function is_auth(word)
  return word and word:upper() == "AUTH"
end

-- What nobody is to see: the argument `i` of a command.
local function is_secret(entry, args, i)
  return entry.name == "auth" or entry.name == "hello" and i > 2 and (is_auth(args[i - 1]) or is_auth(args[i - 2]))
end

---Shows a command that is about to run. Those of administrators are shown to nobody.
---@param session lunode.kv.session
---@param entry table
---@param name string
---@param args string[]
function methods:show(session, entry, name, args)
  if entry.admin then
    return
  end
  local microseconds = math.floor(loop.time() * 1000000)
  local host, port = session.conn:peer()
  local words = { ("+%d.%06d [0 %s:%s] %s"):format(microseconds // 1000000, microseconds % 1000000, host or "?",
    tostring(port), M.quote(name)) }
  for i, word in ipairs(args) do
    words[i + 1] = is_secret(entry, args, i) and '"(redacted)"' or M.quote(word)
  end
  local line = table.concat(words, " ") .. "\r\n"
  for _, monitor in ipairs(self.list) do
    if monitor ~= session or entry.name ~= "reset" then -- which ends it
      self.node.channels:push(monitor, line)
    end
  end
end

command.command("MONITOR", {
  arity = 1, flags = { "admin", "noscript", "loading", "stale" }, group = "server", since = "1.0.0",
  summary = "Listen for all requests received by the server in real time",
  run = function(ctx)
    if ctx.in_transaction then
      return NOT_INSIDE
    end
    ctx.node.monitors:add(ctx.session)
    return resp.OK
  end,
})

return M
