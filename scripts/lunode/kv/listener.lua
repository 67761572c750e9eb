-- Who may connect to the node, and what a connection calls: its commands go to kv.dispatch.
local command = require "lunode.kv.command"
local dispatch = require "lunode.kv.dispatch"
local parameters = require "lunode.kv.parameters"
local resp = require "lunode.resp"
local sessions = require "lunode.kv.session"

local M = {}

-- Replies can be as large as values and key listings; what a client leaves unread is bounded by the watermark.
local OUTPUT_CAP = 8 << 30

local KEEPALIVE = parameters.defaults().keepalive
local MAXCLIENTS = resp.error("ERR max number of clients reached")

local DENIED = resp.error("DENIED the node is in protected mode, as it has no password: it takes connections from its "
  .. "own machine only. Give it a password (--requirepass, LUNODE_REQUIREPASS, or CONFIG SET requirepass there), or, "
  .. "where the network is to be trusted, end the mode (--protected no, or CONFIG SET protected-mode no)")

local function is_local(conn)
  local host = conn:peer() or ""
  return host:find("^127%.") ~= nil or host == "::1" or host:find("^::ffff:127%.") ~= nil or host:find("^unix:") ~= nil
end

-- nil: it may stay.
local function refusal(node, conn)
  if node.settings.protected and not node.requirepass and not is_local(conn) then
    return DENIED
  end
  return node.stats.clients >= node.maxclients and MAXCLIENTS or nil
end

---@param node lunode.kv.node
---@return table callbacks  for tcp_server.listen
function M.callbacks(node)
  local all, stats = node.sessions, node.stats
  local on_message, on_long_message, on_short_message
  on_message, on_long_message, node.end_turn, on_short_message = dispatch.dispatchers(node)
  return {
    decoder = "resp",
    cap = OUTPUT_CAP,
    keepalive = parameters.keepalive(node.settings.keepalive),
    on_connect = function(conn)
      local refused = refusal(node, conn)
      if refused then
        stats.rejected = stats.rejected + 1
        resp.reply(conn, refused)
        conn:close()
        return
      end
      stats.connections = stats.connections + 1
      stats.clients = stats.clients + 1
      all[conn] = sessions.new(node, conn, node.next_id, node.ctx.now or node:read_clock())
      node.next_id = node.next_id + 1
      if node.settings.keepalive ~= KEEPALIVE then
        conn:set { keepalive = parameters.keepalive(node.settings.keepalive) }
      end
    end,
    names = command.names,
    ahead = node.db.rows,
    on_message = on_message,
    on_short_message = on_short_message,
    on_long_message = on_long_message,
    on_error = dispatch.error_handler(node),
    on_bad_message = function(conn, err)
      resp.reply(conn, resp.error("ERR Protocol error: " .. err))
    end,
    on_writable = function(conn)
      all[conn]:drained()
    end,
    on_close = function(conn)
      if all[conn] then
        local traffic = conn:stats()
        stats.received, stats.sent = stats.received + traffic.bytes_read, stats.sent + traffic.bytes_written
        all[conn]:end_()
        all[conn] = nil
        stats.clients = stats.clients - 1
        if node.closing and stats.clients == 0 and not node:is_waiting() then
          node:finish()
        end
      end
    end,
  }
end

return M
