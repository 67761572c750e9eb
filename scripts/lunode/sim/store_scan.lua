-- Scans and snapshots of a simulated store.

local M = {}

local scan_metatable = { __name = "lunode.scan" }

function scan_metatable:__close()
  self.ended = true
end

---@param options? {reverse?: boolean}
---@return {reverse?: boolean}
function M.check_options(options)
  if options ~= nil and type(options) ~= "table" then
    error(("bad argument #4 to 'scan' (table expected, got %s)"):format(type(options)), 3)
  end
  return options or {}
end

---What a generic `for` takes. Each step looks at the rows as they then are.
---@param rows_now fun(): lunode.sim.rows|false|nil  nothing: the store is closed
---@param from string
---@param to? string
---@param options {reverse?: boolean}
function M.new(rows_now, from, to, options)
  local scan = setmetatable({ ended = false }, scan_metatable)
  local function next_row()
    if scan.ended then
      return nil
    end
    local rows = rows_now()
    if not rows then
      error("the store is closed", 2)
    end
    local key, value
    if options.reverse then
      key, value = rows:last(from, to)
      to = key
    else
      key, value = rows:first(from, to)
      from = key and key .. "\0" -- the smallest key behind it
    end
    scan.ended = not key
    return key, value
  end
  return next_row, nil, nil, scan
end

-- ---------------------------------------------------------------- snapshots

local methods = {}
local metatable = { __index = methods, __name = "lunode.snapshot" }

---@param rows lunode.sim.rows  its own
---@param index integer
---@param store table  which it stands as long as
function M.snapshot(rows, index, store)
  return setmetatable({ rows = rows, index = index, store = store }, metatable)
end

local function check(self, name)
  if getmetatable(self) ~= metatable then
    error(("bad argument #1 to '%s' (lunode.snapshot expected, got %s)"):format(name, type(self)), 3)
  elseif not self.rows then
    error("snapshot is closed", 3)
  end
end

function methods:get(key)
  check(self, "get")
  if type(key) ~= "string" and type(key) ~= "number" then
    error(("bad argument #2 to 'get' (string expected, got %s)"):format(type(key)), 2)
  elseif not self.store.directory then
    return nil, "the store is closed", "EBADF"
  end
  return self.rows.values[tostring(key)]
end

function methods:scan(from, to, options)
  check(self, "scan")
  if type(from) ~= "string" then
    error(("bad argument #2 to 'scan' (string expected, got %s)"):format(type(from)), 2)
  end
  return M.new(function()
    return self.store.directory and self.rows
  end, from, to, M.check_options(options))
end

function methods:applied()
  check(self, "applied")
  return self.index
end

function methods:close()
  if getmetatable(self) ~= metatable then
    error(("bad argument #1 to 'close' (lunode.snapshot expected, got %s)"):format(type(self)), 2)
  end
  self.rows = false
end
metatable.__close = methods.close

return M
