-- How two members of a cluster make sure of each other, when one connects to the other: which protocol both speak, of
-- which cluster they are, and that both know its secret. Frames in, frames out; has no connection and no clock.
--
--   the one who connects                                                       the one who is connected to
--   {"hello", MAGIC, newest, oldest, cluster, group, from, to, disk, address, nonce, has_secret, format}  →
--                                     ←  {"challenge", version, group, id, disk, nonce, has_secret, format}
--   {"proof", MAC}                                                        →
--                                                              ←  {"welcome", MAC}   or {"refused", reason}, any time
--
-- Each MAC is HMAC-SHA-256 under the secret, over who gives it and all that both have said before: so the secret is not
-- sent, what was heard once cannot be used again, what one side says is no answer to itself, and neither can be made to
-- believe another version, id or disk. Who does not know the secret gets nothing on which to try guesses. What comes
-- after the welcome is neither encrypted nor signed: the network between the members has to be theirs.
--
-- `version` is the newest that both know; `format` the newest of entries' payloads that one knows. `group` is the
-- cluster's number, "" where a member does not know it yet.

local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"

local M = {}

M.MAGIC = "lunode.raft"
M.MIN_SECRET = 16 -- bytes
local MAX_TEXT = 300 -- bytes of a field

---@class lunode.raft.credentials
---@field cluster string
---@field group string     "": not known yet
---@field id string
---@field disk string
---@field address string   where others reach it
---@field secret? string
---@field newest integer   version of the protocol
---@field oldest integer
---@field format integer   of the payloads of entries, the newest that it knows

---@class lunode.raft.acquaintance  whom the other side has proved to be
---@field id string
---@field disk string
---@field group string
---@field version integer   that both speak
---@field format integer    that it knows
---@field address? string   where it says that it is reached
---@field asks? boolean      it looks for any member, to ask something; what members say goes to one by its id

---@class lunode.raft.handshake
---@field step fun(self: lunode.raft.handshake, frame: any): string, any  "say", frame; "known", acquaintance;
---  "refuse", reason; "refused", their reason
---@field claimed? string  the id that the other side says to have, proved or not

local function nonce()
  return ("<i8i8"):pack(loop.random(math.mininteger, math.maxinteger), loop.random(math.mininteger, math.maxinteger))
end

local function is_text(value)
  return type(value) == "string" and #value <= MAX_TEXT
end

local function is_version(value)
  return math.type(value) == "integer" and value >= 1 and value < 1 << 31
end

-- What the one called `who` shows that he knows the secret with. Without a secret there is nothing to show.
local function proof(known, who, hello, challenge)
  if not known.secret then
    return ""
  end
  return require("lunode.mac").of(known.secret, msgpack.encode { M.MAGIC, who, hello, challenge })
end

local function is_proof(known, value, who, hello, challenge)
  if not known.secret then
    return value == ""
  end
  return type(value) == "string" and require("lunode.mac").equal(value, proof(known, who, hello, challenge))
end

-- One of them refuses, and says so to the other one, who reads the same words from the other end.
local function secret_fault(mine, theirs)
  if mine and not theirs then
    return "it has no secret, and this member has one: give both the same"
  elseif theirs and not mine then
    return "it has a secret, and this member has none: give both the same"
  end
end

local function group_fault(mine, theirs)
  if mine ~= "" and theirs ~= "" and mine ~= theirs then
    return ("it is of another cluster, number %s, and this one is of %s: check the addresses; to move a server, "
      .. "empty its directory"):format(theirs, mine)
  end
end

local WRONG_SECRET = "it does not know the secret of this cluster: give each member the same"

-- ---------------------------------------------------------------- who connects

local initiator = {}
local initiator_metatable = { __index = initiator, __name = "lunode.raft.auth.initiator" }

---Begins, on a connection to a member.
---@param known lunode.raft.credentials
---@param to string  its id; "": whoever is there
---@return lunode.raft.handshake
---@return any[] frame  to say first
function M.connect(known, to)
  local self = setmetatable({
    known = known, to = to, challenge = nil,
    hello = {
      "hello", M.MAGIC, known.newest, known.oldest, known.cluster, known.group, known.id, to, known.disk, known.address,
      nonce(), known.secret ~= nil, known.format,
    },
  }, initiator_metatable)
  return self, self.hello
end

local function challenge_fault(self, frame)
  local known = self.known
  if not is_version(frame[2]) or frame[2] > known.newest or frame[2] < known.oldest then
    return ("it wants version %s of the protocol, and this member speaks %d to %d"):format(tostring(frame[2]),
      known.oldest, known.newest)
  end
  for i = 3, 6 do
    if not is_text(frame[i]) then
      return "its challenge cannot be read"
    end
  end
  if not is_version(frame[8]) then
    return "its challenge cannot be read"
  elseif self.to ~= "" and frame[4] ~= self.to then
    return ("it is %s, and not %s"):format(frame[4], self.to)
  end
  return group_fault(known.group, frame[3]) or secret_fault(known.secret ~= nil, frame[7] == true)
end

function initiator:step(frame)
  local kind = type(frame) == "table" and frame[1]
  if kind == "refused" then
    return "refused", tostring(frame[2])
  elseif kind == "challenge" and not self.challenge then
    local fault = challenge_fault(self, frame)
    if fault then
      return "refuse", fault
    end
    self.challenge = table.move(frame, 1, 8, 1, {})
    return "say", { "proof", proof(self.known, "connects", self.hello, self.challenge) }
  elseif kind ~= "welcome" or not self.challenge then
    return "refuse", "it does not speak lunode's Raft"
  elseif not is_proof(self.known, frame[2], "is connected to", self.hello, self.challenge) then
    return "refuse", WRONG_SECRET
  end
  local c = self.challenge
  return "known", { version = c[2], group = c[3], id = c[4], disk = c[5], format = c[8] }
end

-- ---------------------------------------------------------------- who is connected to

local responder = {}
local responder_metatable = { __index = responder, __name = "lunode.raft.auth.responder" }

---Begins, on a connection from somebody.
---@param known lunode.raft.credentials
---@return lunode.raft.handshake
function M.accept(known)
  return setmetatable({ known = known, claimed = nil, hello = nil, challenge = nil }, responder_metatable)
end

local function hello_fault(self, frame)
  local known = self.known
  if frame[1] ~= "hello" or frame[2] ~= M.MAGIC then
    return "it does not speak lunode's Raft"
  elseif not (is_version(frame[3]) and is_version(frame[4])) then
    return "its hello cannot be read"
  elseif frame[4] > known.newest or frame[3] < known.oldest then
    return ("it speaks versions %d to %d of the protocol, and this is %d to %d: upgrade the older of the two"):format(
      frame[4], frame[3], known.oldest, known.newest)
  end
  for i = 5, 11 do
    if not is_text(frame[i]) then
      return "its hello cannot be read"
    end
  end
  if not is_version(frame[13]) then
    return "its hello cannot be read"
  end
  self.claimed = frame[7]
  if frame[5] ~= known.cluster then
    return ("it belongs to the cluster %s, and this is %s"):format(frame[5], known.cluster)
  elseif frame[8] ~= known.id and frame[8] ~= "" then
    return ("it looks for %s, and this is %s"):format(frame[8], known.id)
  elseif frame[7] == known.id then
    return ("it calls itself %s, as this one does: give each member an id of its own"):format(frame[7])
  end
  return group_fault(known.group, frame[6]) or secret_fault(known.secret ~= nil, frame[12] == true)
end

function responder:step(frame)
  if type(frame) ~= "table" then
    return "refuse", "it does not speak lunode's Raft"
  elseif not self.challenge then
    local known, fault = self.known, hello_fault(self, frame)
    if fault then
      return "refuse", fault
    end
    self.hello = table.move(frame, 1, 13, 1, {})
    self.challenge = {
      "challenge", math.min(frame[3], known.newest), known.group, known.id, known.disk, nonce(), known.secret ~= nil,
      known.format,
    }
    return "say", self.challenge
  end
  local h = self.hello
  if frame[1] == "refused" then
    return "refused", tostring(frame[2])
  elseif frame[1] ~= "proof" or not is_proof(self.known, frame[2], "connects", h, self.challenge) then
    return "refuse", WRONG_SECRET
  end
  return "known", {
    version = self.challenge[2], format = h[13], group = h[6], id = h[7], disk = h[9], address = h[10],
    asks = h[8] == "",
  }
end

---What tells the other one that he is let in, and who we are.
---@return any[] frame
function responder:welcome()
  return { "welcome", proof(self.known, "is connected to", self.hello, self.challenge) }
end

---A secret as it is given, or why it is none.
---@param text string?
---@return string? secret
---@return string? err
function M.secret(text)
  if text and #text < M.MIN_SECRET then
    return nil, ("a secret has at least %d bytes: make one with `head -c 32 /dev/urandom | base64`"):format(
      M.MIN_SECRET)
  end
  return text
end

return M
