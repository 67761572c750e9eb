-- Addresses and options of servers and peers: what they may be, and what they are by default. Opens nothing.

local M = {}

---@param text any  "HOST:PORT", "[IPv6]:PORT" or "unix:/path"
---@param what string  the function's name, for the error
---@return string host, integer? port
function M.address(text, what)
  local address = type(text) == "string" and text or ""
  if address:find "^unix:." then
    return address
  end
  local host, digits = address:match "^%[(.+)%]:(%d+)$"
  if not host then
    host, digits = address:match "^([^:]+):(%d+)$"
  end
  local port = math.tointeger(tonumber(digits))
  if not host or not port or port > 65535 then
    error(('%s: an address is "HOST:PORT", "[IPV6]:PORT" or "unix:/path", got %s'):format(what, tostring(text)), 3)
  end
  return host, port
end

---@param host string
---@param port integer?
---@return string
function M.join(host, port)
  if host:find "^unix:" then
    return host
  end
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port or 0)
end

local function is_seconds(value)
  return type(value) == "number" and value > 0 and value < math.huge
end

local function is_count(value)
  return math.type(value) == "integer" and value >= 1
end

local kinds = {
  seconds = { is_seconds, "a positive, finite number of seconds" },
  count = { is_count, "an integer from 1" },
  callback = { function(value) return type(value) == "function" end, "a function" },
  table = { function(value) return type(value) == "table" end, "a table" },
  boolean = { function(value) return type(value) == "boolean" end, "true or false" },
  text = { function(value) return type(value) == "string" end, "a string" },
}

---Checks what was given, and fills in the rest.
---@param given table?
---@param known table<string, {[1]: string, [2]: any}>  name → kind, default
---@param what string
---@return table
function M.check(given, known, what)
  if given ~= nil and type(given) ~= "table" then
    error(("%s: options must be a table, got a %s"):format(what, type(given)), 3)
  end
  local options = {}
  for name, rule in pairs(known) do -- into another table: the order does not show
    options[name] = rule[2]
  end
  for name, value in pairs(given or {}) do
    local rule = known[name]
    if not rule then
      error(("%s: unknown option '%s'"):format(what, tostring(name)), 3)
    end
    local kind = kinds[rule[1]]
    if not kind[1](value) then
      error(("%s: option '%s' must be %s, got %s"):format(what, name, kind[2], tostring(value)), 3)
    end
    options[name] = value
  end
  return options
end

return M
