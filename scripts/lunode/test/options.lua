-- What the command line says to the helpers of specs, in the process of a spec file.

local M = {
  file = nil, ---@type string?  the spec file
  seed = nil, ---@type integer?
  seeds = nil, ---@type integer?
  keep = nil, ---@type integer[]?
  trace = false,
  trace_html = nil, ---@type string?
}

---@param options table
function M.set(options)
  for key, value in pairs(options) do
    M[key] = value
  end
end

return M
