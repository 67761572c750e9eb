-- Remote procedure calls between nodes, and with anything else that speaks MessagePack-RPC. Guide: docs/guide/rpc.md;
-- on the wire: docs/rpc-wire.md. Knows nothing of who should be called, or called again: that is for those who know
-- what is called.

local peer = require "lunode.rpc.peer"
local server = require "lunode.rpc.server"

local M = {}

---@class lunode.rpc.server_options
---@field concurrency? integer        handlers of one connection at a time; further requests wait (default 64)
---@field total_concurrency? integer  handlers of all connections at a time (default 1024)
---@field queue? integer              requests of one connection that wait, before reading pauses (default 1024)
---@field queue_bytes? integer        about so many bytes of them (default 8 MiB)
---@field handler_timeout? number     seconds a handler may take, or a stream stand still (default 60)
---@field max_message? integer        bytes of one message (default 16 MiB)
---@field max_connections? integer    (default: no limit)
---@field max_queued? integer         bytes that wait to be sent, before reading pauses (default 1 MiB)
---@field timeout? number             seconds, of calls back to the caller (default 5)
---@field max_in_flight? integer      calls back, at a time (default 1024)
---@field window? integer             bytes that a caller may send ahead in a stream (default 256 KiB)
---@field heartbeat? number           seconds of silence, calls back in flight, before it asks for a sign (default 2)
---@field heartbeat_timeout? number   seconds in which it has to come (default 3)
---@field keepalive? integer          seconds of silence before TCP asks for a sign of life (default 60)
---@field plain? boolean              never send what only lunode peers know (default false)
---@field mode? string                of a Unix socket's file, as "0600"
---@field on_connect? fun(connection: lunode.rpc.connection)
---@field on_close? fun(connection: lunode.rpc.connection, err: string?)

---@class lunode.rpc.peer_options
---@field timeout? number             seconds for a call, connecting included (default 5)
---@field connect_timeout? number     seconds (default 5)
---@field max_in_flight? integer      calls at a time; one more fails with "EBUSY" (default 1024)
---@field max_queued? integer         bytes that wait to be sent; past it calls fail with "EBUSY" (default 1 MiB)
---@field max_message? integer        bytes of one message (default 64 MiB)
---@field heartbeat? number           seconds of silence, calls in flight, before it asks for a sign (default 2)
---@field heartbeat_timeout? number   seconds in which it has to come, or the connection is given up (default 3)
---@field backoff? number             seconds: the first delay before connecting again (default 0.05)
---@field max_backoff? number         seconds: the longest (default 5)
---@field window? integer             bytes that a handler may send ahead in a stream (default 256 KiB)
---@field keepalive? integer          seconds of silence before TCP asks for a sign of life (default 60)
---@field plain? boolean              never send what only lunode peers know (default false)
---@field methods? table<string, fun(ctx: lunode.rpc.context, ...): ...>  for calls back
---@field concurrency? integer        of these handlers: as a server's, and so the next three
---@field queue? integer
---@field queue_bytes? integer
---@field handler_timeout? number
---@field on_state? fun(peer: lunode.rpc.peer, state: lunode.rpc.state, err: string?)

---Listens, and runs a handler for each request: as a task, with a context and the arguments. What it returns is the
---result: one value. `nil, message, code` is an error; so is what it raises: a table with `code` and `message` as it
---is, text with its traceback for loop.on_error alone.
---@param address string  "HOST:PORT", "[IPV6]:PORT" or "unix:/path"; port 0 lets the kernel choose
---@param methods table<string, fun(ctx: lunode.rpc.context, ...): ...>  may be changed at any time
---@param opts? lunode.rpc.server_options
---@return lunode.rpc.server? server
---@return string? err, lunode.code? code
M.serve = server.new

---A node to call. Connects with the first call; keeps the loop alive until it is closed.
---@param address string  as `serve`'s; the host may be a name
---@param opts? lunode.rpc.peer_options
---@return lunode.rpc.peer
M.peer = peer.new

return M
