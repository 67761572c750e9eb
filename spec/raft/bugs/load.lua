-- Loads raft and its test world anew with a bug put into the source. Changes no file, and not what others have loaded.
--
--   local load_with = require "spec.raft.bugs.load"
--   local require_with_bug = load_with(bug)       -- nil: without any
--   local model = require_with_bug "spec.raft.model"
--
-- A bug names a module, and a piece of its source that must occur exactly once: when the code changes, the bank says
-- so.

local function is_ours(name)
  return name:find "^lunode%.raft%." or name:find "^spec%.raft%."
end

local function source_of(name)
  local path = assert(package.searchpath(name, package.path))
  local file = assert(io.open(path, "r"))
  local source = file:read "a"
  file:close()
  return source, path
end

local function replace(source, bug)
  local from, to = source:find(bug.from, 1, true)
  if not from then
    error(("the bug %s finds nothing to break in %s any more"):format(bug.name, bug.module), 0)
  elseif source:find(bug.from, to + 1, true) then
    error(("what the bug %s breaks is there more than once in %s"):format(bug.name, bug.module), 0)
  end
  return source:sub(1, from - 1) .. bug.to .. source:sub(to + 1)
end

---@param bug? { name: string, module: string, from: string, to: string }
---@return fun(name: string): any  a `require`
return function(bug)
  local loaded, env = {}, {}
  local function require_anew(name)
    if not is_ours(name) then
      return require(name)
    elseif loaded[name] == nil then
      local source, path = source_of(name)
      if bug and bug.module == name then
        source = replace(source, bug)
      end
      loaded[name] = assert(load(source, "@" .. path, "t", env))(name)
    end
    return loaded[name]
  end
  env.require = require_anew
  setmetatable(env, { __index = _G })
  return require_anew
end
