-- The options of `lunode kv` that make it a member of a cluster, and what they mean together. Opens no file but that of
-- the secret.

local auth = require "lunode.raft.auth"
local configs = require "lunode.raft.config"
local options = require "lunode.cli.options"

local M = {}

local MAX_SECRET = 4096 -- bytes
local REDIRECTS = { "forward", "moved" }

local function text_of(address)
  return (address.host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(address.host, address.port)
end

-- Others reach a member at a port that is known.
local function address(text)
  local found = options.address(text)
  return found and found.port > 0 and text_of(found) or nil
end

local function id(text)
  return configs.is_id(text) and text or nil
end

-- n1=HOST:PORT,n2=HOST:PORT
local function founders(text)
  local map, count = {}, 0
  for word in (text .. ","):gmatch "([^,]*)," do
    local name, where = word:match "^%s*([^=%s]+)=(%S+)%s*$"
    where = where and address(where)
    if not where or not id(name) or map[name] then
      return nil
    end
    map[name], count = where, count + 1
  end
  return count > 0 and map or nil
end

---@type lunode.cli.option[]
M.options = {
  {
    name = "id",
    value = "NAME",
    help = "of this member of a cluster",
    accepts = "letters, digits, _ . and -, at most 64 of them",
    parse = id,
  },
  {
    name = "cluster-listen",
    value = "HOST:PORT",
    help = "address to listen on for the other members",
    accepts = "HOST:PORT, with a port from 1",
    parse = address,
  },
  {
    name = "cluster-address",
    value = "HOST:PORT",
    help = "where the others reach it, if not as --cluster-init or --cluster-listen says",
    accepts = "HOST:PORT, with a port from 1",
    parse = address,
  },
  {
    name = "cluster-init",
    value = "ID=HOST:PORT,…",
    help = "those who found the cluster, the same for each of them: their cluster addresses",
    accepts = "a list as n1=10.0.0.1:7001,n2=10.0.0.2:7001,n3=10.0.0.3:7001, each id once",
    parse = founders,
  },
  {
    name = "join",
    value = "HOST:PORT",
    help = "the cluster address of any member: this one asks there to be added",
    accepts = "HOST:PORT, with a port from 1",
    parse = address,
  },
  {
    name = "cluster-secret-file",
    value = "FILE",
    help = "file with the secret that all members share; needed where other machines reach --cluster-listen",
    accepts = "the name of a file",
    parse = options.nonempty,
  },
  {
    name = "cluster-secret",
    value = "TEXT",
    help = "the secret itself; `ps` shows it here, so rather use the variable or the file",
    accepts = "a secret",
    parse = options.anything,
  },
  {
    name = "announce",
    value = "HOST:PORT",
    help = "where clients reach it, for clients of Redis Cluster (default as --listen says)",
    accepts = "HOST:PORT, with a port from 1",
    parse = address,
  },
  {
    name = "redirect",
    value = "HOW",
    help = "what clients get from a member that does not lead: forward (the leader's reply) or moved (-MOVED)",
    accepts = "one of " .. table.concat(REDIRECTS, ", "),
    parse = options.one_of(REDIRECTS),
  },
}

local function is_loopback(where)
  local host = where:match "^%[(.*)%]:%d+$" or where:match "^(.*):%d+$"
  return host == "localhost" or host == "::1" or host:find "^127%." ~= nil
end

local function refuse(code, format, ...)
  error({ message = format:format(...), code = code }, 0)
end

local function read_secret(path)
  local file, err = io.open(path, "rb")
  local text
  if file then
    text, err = file:read(MAX_SECRET + 1)
    file:close()
  end
  if not text then
    refuse(options.EXIT_FAILURE, "the secret cannot be read: %s", err or path .. ": it is empty")
  elseif #text > MAX_SECRET then
    refuse(options.EXIT_FAILURE, "%s: a secret has at most %d bytes", path, MAX_SECRET)
  end
  return (text:gsub("%s+$", ""))
end

local function secret_of(settings)
  local secret = settings.cluster_secret ~= "" and settings.cluster_secret or nil
  if settings.cluster_secret_file then
    secret = read_secret(settings.cluster_secret_file)
  end
  local ok, err = auth.secret(secret)
  if err then
    refuse(options.EXIT_USAGE, "%s: %s", settings.cluster_secret_file or "--cluster-secret", err)
  elseif not ok and not is_loopback(settings.cluster_listen) then
    refuse(options.EXIT_USAGE, "--cluster-listen %s: other machines reach that, so the members need a secret "
      .. "(--cluster-secret-file FILE); make one with `head -c 32 /dev/urandom | base64`", settings.cluster_listen)
  end
  return ok
end

local function sorted_ids(init)
  local ids = {}
  for name in pairs(init) do
    ids[#ids + 1] = name
  end
  table.sort(ids)
  return table.concat(ids, ", ")
end

local function combine(settings)
  local init = settings.cluster_init
  if not settings.id or not settings.cluster_listen then
    for _, option in ipairs(M.options) do
      local value = settings[options.config_key(option.name)]
      if value and value ~= "" then
        refuse(options.EXIT_USAGE, "--%s is for a member of a cluster, which needs --id NAME and "
          .. "--cluster-listen HOST:PORT, too", option.name)
      end
    end
    return nil
  elseif init and settings.join then
    refuse(options.EXIT_USAGE, "--cluster-init is for those who found a cluster, --join for those who come later: "
      .. "give one of them")
  elseif init and not init[settings.id] then
    refuse(options.EXIT_USAGE, "--cluster-init: this member, %s, is not among %s; give the same list to each of them",
      settings.id, sorted_ids(init))
  end
  return {
    listen = settings.cluster_listen, address = settings.cluster_address, init = init, join = settings.join,
    secret = secret_of(settings), announce = settings.announce, redirect = settings.redirect,
  }
end

---What kv.start takes as `cluster`.
---@param settings table  by config key
---@return lunode.kv.cluster_options? cluster  nil: it is no member of a cluster
---@return string? message  one line: what is wrong, and what to do
---@return integer? code    the exit code for that
function M.read(settings)
  return options.caught(combine, settings)
end

return M
