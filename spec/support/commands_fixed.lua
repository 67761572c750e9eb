-- Reads exchanges that are written down, not generated: a server's own commands, the states of a connection, the
-- protocol. Lines as one would type them into redis-cli, on one connection or several. Knows no replies.
--
--   SET a "b\r\n"        sends the command on the connection "0", and reads a reply
--   w: BLPOP a 0         on the connection "w"
--   > PING               sends it, and reads nothing
--   <                    reads a reply
--   ! "PING\r\n"         sends these bytes as they are, and reads a reply
--   !> "*1\r\n"          sends them, and reads nothing
--   x                    the server closes the connection; from then on it is a new one
--   ~ HELLO 3            the replies may differ as spec.support.compare says
--   CLIENT KILL ID @w    the number of the client that is the connection "w"
--   # …                  a comment
--
--   local fixed = require "spec.support.commands_fixed"
--   fixed.read(text)     --> { { line = "w: BLPOP a 0", who = "w", words = {…}, reads = true }, … }
--   fixed.take(server, clients, step)     --> "$1\r\na\r\n"    runs it; clients is a table for it to fill

local resp = require "lunode.resp"

local M = {}

local ESCAPES = { n = "\n", r = "\r", t = "\t" }

local function unescape(text)
  return (text:gsub("\\(.)(%x?%x?)", function(letter, digits)
    if letter == "x" and #digits == 2 then
      return string.char(tonumber(digits, 16))
    end
    return (ESCAPES[letter] or letter) .. digits
  end))
end

-- Where the quotation ends that begins at `at`.
local function end_of_quotation(text, at)
  while true do
    at = assert(text:find('["\\]', at + 1), "a quotation that does not end: " .. text)
    if text:sub(at, at) == '"' then
      return at
    end
    at = at + 1 -- what the backslash is about
  end
end

local function words_of(text)
  local list, at = {}, text:find("%S")
  while at do
    local last
    if text:sub(at, at) == '"' then
      last = end_of_quotation(text, at)
      list[#list + 1] = unescape(text:sub(at + 1, last - 1))
    else
      last = (text:find("%s", at) or #text + 1) - 1
      list[#list + 1] = text:sub(at, last)
    end
    at = text:find("%S", last + 1)
  end
  return list
end

---@class spec.fixed_step
---@field line string       as it was written
---@field who string        on which connection
---@field words string[]?   the command that is sent
---@field bytes string?     or what is sent in place of one
---@field reads boolean     whether a reply is read
---@field closes boolean    whether the server is to close
---@field excused boolean   whether compare's rules hold for the reply

local function read_line(line)
  local excused, plain = line:match("^(~?)%s*(.*)$")
  local who, rest = plain:match("^(%w+): (.*)$")
  rest = rest or plain
  local mark, text = rest:match("^(!?[<>x]?)%s+(.*)$")
  if not mark then
    mark, text = rest:match("^([<x])$"), ""
  end
  if not mark or mark == "" then
    mark, text = "", rest
  end
  local raw = mark:sub(1, 1) == "!"
  local words = mark ~= "<" and mark ~= "x" and words_of(text) or nil
  return {
    line = line,
    who = who or "0",
    words = not raw and words or nil,
    bytes = raw and words[1] or nil,
    reads = not mark:find("[>x]"),
    closes = mark == "x",
    excused = excused ~= "",
  }
end

---@param text string
---@return spec.fixed_step[]
function M.read(text)
  local steps = {}
  for line in text:gmatch("[^\n]+") do
    line = line:match("^%s*(.-)%s*$")
    if line ~= "" and not line:find("^#") then
      steps[#steps + 1] = read_line(line)
    end
  end
  return steps
end

local function client_of(server, clients, who)
  clients[who] = clients[who] or server:client()
  return clients[who]
end

local function encode(server, clients, words)
  local list = {}
  for i, word in ipairs(words) do
    local other = word:match("^@(%w+)$")
    list[i] = other and client_of(server, clients, other):call("CLIENT", "ID") or word
  end
  return resp.command(table.unpack(list))
end

---Runs a step. The bytes of the reply that it reads, or "".
---@param server { client: fun(self): spec.redis.client }
---@param clients table<string, spec.redis.client>  by name: to be kept from step to step
---@param step spec.fixed_step
---@return string
function M.take(server, clients, step)
  local client = client_of(server, clients, step.who)
  if step.bytes or step.words then
    client:send(step.bytes or encode(server, clients, step.words))
  end
  if step.closes then
    client:wait_closed()
    clients[step.who] = nil
    return "(closed) " .. client:bytes()
  end
  return step.reads and client:reply_bytes() or ""
end

return M
