-- From the bytes of a simulated connection to on_message, and from what that returns to bytes: bindings/conn_messages.c
-- in Lua, over the same decoders (lunode.decoder). Knows no protocol.

local describe = require("lunode.sim.loop").describe

local M = {}

-- Encodes the value as the reply. While replies fill the queue, no more messages are taken.
local function reply(c, value)
  local stream = c.stream
  if not stream:refusal() then
    local bytes = c.decoder:encode(value)
    if bytes and stream:write(bytes) == false then
      c.held = true
      c:apply_pause()
    end
  end
end

local function answer(c, ...)
  if select("#", ...) > 0 then
    reply(c, (...))
  end
end

-- The callback for a message, what it stands for, the name's value where it has one, and whether its arguments are to
-- come as a list.
local function callback_of(c, kind, name, ...)
  local callbacks = c.callbacks
  if kind ~= "message" then
    return callbacks.on_long_message, name
  elseif c.names and callbacks.on_short_message then
    local value, listed = c.names:find(name, select("#", ...))
    if value ~= nil then
      return callbacks.on_short_message, value, listed
    end
  end
  return callbacks.on_message, name
end

local function give(c, kind, name, ...)
  local callback, value, listed = callback_of(c, kind, name, ...)
  if listed then
    answer(c, callback(c.conn, value, { ... }))
  else
    answer(c, callback(c.conn, value, ...))
  end
end

-- What decoder:next gave. True when there may be more.
local function take(c, kind, ...)
  c.decoding = false
  if not kind then
    c.refusal = ...
    return false
  end
  c.advanced = true
  if c.callbacks.on_message then
    give(c, kind, ...)
  end
  return true
end

-- Calls on_message for each complete message, until the connection closes or is paused.
local function run_batch(c)
  local stream, decoder = c.stream, c.decoder
  while stream.state == "open" and not stream.paused do
    c.decoding = true
    if not take(c, decoder:next()) then
      return
    end
  end
end

local function call_error(c, err)
  answer(c, c.callbacks.on_error(c.conn, err))
end

-- False when a message raised and nobody answered for it.
local function take_messages(c)
  local loop = c.loop
  while true do
    c.advanced = false
    local ok, err = loop:try(run_batch, c)
    if ok then
      return true
    elseif loop.dead then
      return false
    elseif not c.callbacks.on_error or c.decoding or not c.advanced then
      loop:report(describe(err))
      return false
    elseif not loop:call(call_error, c, err) then
      return false
    end
  end
end

---Decodes bytes that have arrived, with those that are kept.
---@param c table     the inside of a connection, see lunode.sim.conn
---@param data string
---@return integer kept
function M.read(c, data)
  local stream, decoder, loop = c.stream, c.decoder, c.loop
  if data ~= "" then
    decoder:feed(data)
  end
  c.refusal = nil
  if not take_messages(c) then
    stream:abort "ECALLBACK"
  elseif c.refusal then
    local on_bad_message = c.callbacks.on_bad_message
    if not on_bad_message or loop:call(on_bad_message, c.conn, c.refusal) then
      stream:close "EPROTO"
    else
      stream:abort "ECALLBACK"
    end
  end
  return decoder:kept()
end

return M
