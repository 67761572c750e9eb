-- The node beside the real redis-server: exchanges that are written down, as generated ones would seldom come there.
-- Every byte of every reply is compared, those of errors too.
local compare = require "spec.support.compare"
local fixed = require "spec.support.commands_fixed"
local lunode = require "spec.support.lunode"
local redis = require "spec.support.redis"

local SUBJECTS = {
  { "the server", require "spec.support.commands_written" },
  { "connections", require "spec.support.commands_connection" },
  { "clients", require "spec.support.commands_client" },
}

local ESCAPES = { ["\r"] = "\\r", ["\n"] = "\\n" }

-- What has come to the connections that nobody has read: after a last reply there is nothing under way.
local function rest(clients)
  local list = {}
  for who, client in pairs(clients) do
    client:send "PING (end)\r\n"
    local bytes
    repeat
      bytes = client:reply_bytes()
      list[#list + 1] = who .. ": " .. bytes
    until bytes:find("(end)", 1, true)
    client:close()
  end
  table.sort(list)
  return table.concat(list)
end

local function agree(step, a, b)
  return a == b or step.excused and compare.agree(step.words or { "(message)" }, a, b)
end

local function quote(bytes)
  return (bytes:gsub("[^ -~]", function(c)
    return ESCAPES[c] or ("\\x%02x"):format(c:byte())
  end))
end

local function told(what, a, b)
  return ("%s\nredis-server: %s\nthe node:     %s"):format(what, quote(a), quote(b))
end

-- The first difference as text, or nil. `real` comes first: where nothing comes from it, the exchange itself is wrong.
local function find_difference(real, node, text)
  local theirs, ours = {}, {}
  for _, server in ipairs { real, node } do
    local control = server:client()
    control:call("FLUSHALL")
    control:close()
  end
  for _, step in ipairs(fixed.read(text)) do
    local a = fixed.take(real, theirs, step)
    local ok, b = pcall(fixed.take, node, ours, step)
    if not ok or not agree(step, a, b) then
      return told(step.line, a, b)
    end
  end
  local a, b = rest(theirs), rest(ours)
  return a ~= b and told("what was left to be read", a, b) or nil
end

for _, subject in ipairs(SUBJECTS) do
  describe("written exchanges about " .. subject[1], function()
    for _, exchange in ipairs(subject[2]) do
      it("are answered as redis-server does, to the byte: " .. exchange[1], function()
        local real, node = redis.server { "--databases", "1" }, lunode.kv()
        local difference = find_difference(real, node, exchange[2])
        assert(not difference, difference)
        assert.equal(0, node:stop(), node.process:stderr())
      end)
    end
  end)
end
