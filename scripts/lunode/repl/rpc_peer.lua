-- A node to poke that speaks MessagePack-RPC: an object whose methods are its methods, as far as it tells them. What
-- lunode.rpc.peer does for scripts, with errors that are raised, and lost connections told of.

local loop = require "lunode.loop"
local rpc = require "lunode.rpc"

local M = {}

local links = setmetatable({}, { __mode = "k" }) -- object → link

local own = {}

-- Arguments as they are: holes too.
local function call(link, name, ...)
  if type(name) ~= "string" or name == "" then
    error('call: the name of a method is needed, as in n:call("ping")', 0)
  end
  local started = loop.time()
  local result, err = link.peer:call(name, table.pack(...))
  link.latency = loop.time() - started
  if err then
    error(err, 0)
  end
  return result
end

own.call = call

function own.notify(link, name, ...)
  local _, err = link.peer:notify(name, table.pack(...))
  if err then
    error(err, 0)
  end
end

function own.close(link)
  link.close()
end

-- Lunode's servers tell their methods, and so does Neovim; others may not.
local function method_names(link)
  if link.names then
    return link.names
  end
  local names = link.peer:call "$/methods"
  if type(names) ~= "table" then
    names = {}
    local info = link.peer:call "nvim_get_api_info"
    local functions = type(info) == "table" and type(info[2]) == "table" and info[2].functions
    for _, entry in ipairs(type(functions) == "table" and functions or {}) do
      names[#names + 1] = type(entry) == "table" and entry.name or nil
    end
  end
  link.names = #names > 0 and names or nil
  return names
end

local metatable = {
  __name = "peer",
  __index = function(_, name)
    return function(self, ...)
      local link = links[self] or error(("call it as a method: n:%s(…)"):format(tostring(name)), 0)
      local fn = own[name]
      if fn then
        return fn(link, ...)
      end
      return call(link, name, ...)
    end
  end,
  __complete = function(self)
    local names = method_names(links[self])
    return table.move(names, 1, #names, 4, { "call", "notify", "close" })
  end,
  __tostring = function(self)
    return ("peer %s (%s)"):format(links[self].address, links[self].state())
  end,
}

local function on_state(link, state, err)
  if state == "waiting" and link.connected then
    link.connected, link.names = false, nil
    link.tell("the connection was lost: %s; connecting again", err or "it was closed")
  elseif state == "connected" then
    if link.lost then
      link.tell "connected again"
    end
    link.connected, link.lost = true, true
  end
end

-- Any answer is a sign of life: whoever is not one of ours says that there is no such method.
local function ping(link)
  local started = loop.time()
  local _, err = link.peer:call "$/ping"
  if err and link.peer:state() ~= "connected" then
    error(err, 0)
  elseif err and err.code == "ETIMEDOUT" then
    error(err, 0)
  end
  return loop.time() - started
end

---@param where { address: string }
---@param options { timeout: number? }
---@param tell fun(format: string, ...: any)
function M.new(where, options, tell)
  local link = {
    kind = "rpc", address = where.address, tell = tell, peer = nil, connected = false, lost = false, names = nil,
    latency = nil, closed = false,
  }
  link.peer = rpc.peer(where.address, {
    timeout = options.timeout,
    on_state = function(_, state, err)
      on_state(link, state, err)
    end,
  })
  function link.state()
    return link.peer:state()
  end
  function link.ping()
    return ping(link)
  end
  function link.close()
    link.closed, link.connected = true, false
    link.peer:close()
  end
  local ok, err = pcall(ping, link)
  if not ok then
    link.close()
    error(err, 0)
  end
  local object = setmetatable({}, metatable)
  links[object] = link
  return object, link
end

return M
