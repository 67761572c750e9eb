-- What a node prints: print, io.write, io.stdout and io.stderr, line by line into the trace. Nothing reaches the
-- terminal.

local M = {}

local KEPT = 10000 -- lines of each kind that a node keeps

local function take_line(node, kind, line)
  node.world:record { t = node.loop:time(), node = node.name, kind = kind, text = line }
  local lines = node.lines[kind]
  lines[#lines + 1] = line
  if #lines > KEPT then
    table.move(lines, KEPT // 2, #lines + KEPT // 2, 1)
  end
end

local function take(node, kind, text)
  local partial = node.partial[kind] .. text
  local start = 1
  while true do
    local stop = partial:find("\n", start, true)
    if not stop then
      break
    end
    take_line(node, kind, partial:sub(start, stop - 1))
    start = stop + 1
  end
  node.partial[kind] = partial:sub(start)
end

---Takes what was written without an end of line as a line, too.
---@param node lunode.sim.node
function M.finish(node)
  for _, kind in ipairs { "print", "stderr" } do
    if node.partial[kind] ~= "" then
      take_line(node, kind, node.partial[kind])
      node.partial[kind] = ""
    end
  end
end

local function write(node, kind, name, ...)
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if type(value) ~= "string" and type(value) ~= "number" then
      error(("bad argument #%d to '%s' (string expected, got %s)"):format(i, name, type(value)), 3)
    end
    take(node, kind, tostring(value))
  end
end

local function new_file(node, kind, forbid)
  local file = {}
  local methods = {
    write = function(self, ...)
      write(node, kind, "write", ...)
      return self
    end,
    flush = function(self)
      return self
    end,
    setvbuf = function()
      return true
    end,
    close = function()
      return true
    end,
    seek = function()
      return nil, "Illegal seek", 29
    end,
  }
  return setmetatable(file, {
    __name = "FILE*",
    __tostring = function()
      return kind == "print" and "file (stdout)" or "file (stderr)"
    end,
    __index = function(_, name)
      return methods[name] or (name == "read" or name == "lines") and forbid("stdout:" .. name) or nil
    end,
  })
end

---Adds print, warn and io to a node's globals.
---@param node lunode.sim.node
---@param environment table
---@param orders table  of lunode.sim.order
---@param forbid fun(name: string): function
function M.add(node, environment, orders, forbid)
  local stdout, stderr = new_file(node, "print", forbid), new_file(node, "stderr", forbid)

  function environment.print(...)
    local words = table.pack(...)
    for i = 1, words.n do
      words[i] = orders.tostring(words[i])
    end
    take(node, "print", table.concat(words, "\t") .. "\n")
  end

  local warnings = true
  function environment.warn(...)
    local text = table.concat { ... }
    if text == "@on" or text == "@off" then
      warnings = text == "@on"
    elseif warnings then
      take(node, "stderr", "Lua warning: " .. text .. "\n")
    end
  end

  environment.io = setmetatable({
    stdout = stdout,
    stderr = stderr,
    write = function(...)
      write(node, "print", "write", ...)
      return stdout
    end,
    type = function(value)
      return (value == stdout or value == stderr) and "file" or nil
    end,
    output = function(file)
      if file ~= nil and file ~= stdout then
        forbid "output"()
      end
      return stdout
    end,
  }, {
    __index = function(_, name)
      return io[name] ~= nil and forbid(name) or nil
    end,
  })
end

return M
