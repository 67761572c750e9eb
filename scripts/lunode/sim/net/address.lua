-- Addresses as people write them, read as core/addr reads them: IPv4, IPv6, `localhost`, names, `unix:/path`. Asks
-- nobody.

local M = {}

local MAX_NAME, MAX_LABEL, MAX_PATH = 253, 63, 107

---@class lunode.sim.address
---@field family "tcp"|"unix"
---@field host string   numeric, or the path

-- "127.0.0.1" where the text is an IPv4 address, four numbers without leading zeros.
local function ipv4(text)
  local parts = { text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$" }
  for _, part in ipairs(parts) do
    if #part > 3 or tonumber(part) > 255 or (#part > 1 and part:sub(1, 1) == "0") then
      return nil
    end
  end
  return parts[1] and text
end

-- The groups on one side of "::", as numbers.
local function groups(text)
  local found = {}
  if text == "" then
    return found
  end
  for group in (text .. ":"):gmatch "([^:]*):" do
    if not group:match "^%x%x?%x?%x?$" then
      return nil
    end
    found[#found + 1] = tonumber(group, 16)
  end
  return found
end

-- As inet_ntop writes it, so that an address has one form; only what has no IPv4 inside.
local function ipv6(text)
  local head, tail = text:match "^(.-)::(.*)$"
  local left, right = groups(head or text), groups(tail or "")
  if not left or not right or (head and tail:find("::", 1, true)) then
    return nil
  end
  local missing = 8 - #left - #right
  if (head and missing < 1) or (not head and missing ~= 0) then
    return nil
  end
  local all = left
  for _ = 1, missing do
    all[#all + 1] = 0
  end
  table.move(right, 1, #right, #all + 1, all)
  local best, length = 0, 1 -- the longest run of zeros, of two at least
  local run = 0
  for i = 1, 8 do
    run = all[i] == 0 and run + 1 or 0
    if run > length then
      best, length = i - run + 1, run
    end
  end
  local words = {}
  for i = 1, 8 do
    words[i] = ("%x"):format(all[i])
  end
  if best == 0 then
    return table.concat(words, ":")
  end
  return table.concat(words, ":", 1, best - 1) .. "::" .. table.concat(words, ":", best + length)
end

-- Whether a resolver could know the name; what ends in a number is an address, or nothing.
local function is_name(name)
  if name == "" or #name > MAX_NAME or name:find("..", 1, true) or name:sub(1, 1) == "." then
    return false
  end
  local last
  for label in name:gmatch "[^.]+" do
    if #label > MAX_LABEL or label:find "[^%w_\x80-\xff-]" then
      return false
    end
    last = label
  end
  return not (last:find "^%d+$" or last:find "^0[xX]%d*$")
end

local function is_under(name, top)
  name = name:lower()
  return name == top or name:sub(-#top - 1) == "." .. top
end

local function parse_unix(path)
  local abstract = path:sub(1, 1) == "@"
  if #path <= (abstract and 1 or 0) then
    return nil, "UNIX_EMPTY"
  elseif #path > (abstract and MAX_PATH + 1 or MAX_PATH) then
    return nil, "UNIX_LONG"
  end
  return { { family = "unix", host = path } }
end

---What the host stands for, in the order to try it; an empty list where it is a name that must be looked up.
---@param host string
---@return lunode.sim.address[]? addresses
---@return string? status  "ENOTFOUND", "UNIX_LONG", "UNIX_EMPTY"
function M.parse(host)
  if host:sub(1, 5) == "unix:" then
    return parse_unix(host:sub(6))
  end
  local numeric = ipv4(host) or ipv6(host)
  if numeric then
    return { { family = "tcp", host = numeric } }
  end
  local name = host:sub(-1) == "." and host:sub(1, -2) or host
  if not is_name(name) or is_under(name, "invalid") then
    return nil, "ENOTFOUND"
  elseif is_under(name, "localhost") then
    return { { family = "tcp", host = "127.0.0.1" }, { family = "tcp", host = "::1" } }
  end
  return {}
end

---@param host string
function M.is_unix(host)
  return host:sub(1, 5) == "unix:"
end

---@param host string
function M.is_ipv6(host)
  return host:find(":", 1, true) ~= nil
end

return M
