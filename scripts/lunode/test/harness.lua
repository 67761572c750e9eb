-- Runs one spec file under busted in this process, and tells through lunode.test.channel what comes of it.
-- Shows nothing and decides nothing: lunode.test.runner, in another process, does.

local body = require "lunode.test.body"
local channel = require "lunode.test.channel"
local diff = require "lunode.test.diff"
local guard = require "lunode.test.guard"

local M = {}

-- What runs as a task of its own, with a deadline.
local HOSTED = {
  it = true,
  finally = true,
  before_each = true,
  after_each = true,
  strict_setup = true,
  strict_teardown = true,
  lazy_setup = true,
  lazy_teardown = true,
}

---@class lunode.test.file_options
---@field file string      path of the spec file
---@field timeout number   seconds for each test
---@field filter? string   Lua pattern: only tests with it in their full names
---@field shuffle? integer  seed of the order

-- ---------------------------------------------------------------- busted

local busted

local function full_name(element)
  local names = {}
  while element and element.descriptor ~= "file" and (element.name or element.descriptor ~= "suite") do
    table.insert(names, 1, tostring(element.name or element.descriptor))
    element = busted.context.parent(element)
  end
  return table.concat(names, " ")
end

local function place_of(element)
  local trace = element.trace
  return trace and ("%s:%d"):format(trace.short_src, trace.currentline) or nil
end

-- ---------------------------------------------------------------- results

local current -- the `it` that is under way: what comes of its before_each and after_each belongs to it
local record -- of the test, until all around it has run

---@return string  full name of the test that is under way
function M.current_name()
  return current and full_name(current) or ""
end

local function flush()
  if record then
    record.kind = "test"
    channel.emit(record)
    record = nil
  end
end

local function fail(message)
  record = record or { name = full_name(current), place = place_of(current), seconds = 0 }
  record.message = record.status == "failed" and record.message .. "\n" .. message or message
  record.status = "failed"
end

local function words_of(message, trace, with_traceback)
  local text = tostring(message)
  if not text:find("\nto see it again:\n", 1, true) then -- sim_it has explained all
    text = diff.explain(text)
  end
  local traceback = with_traceback and trace and trace.traceback
  if traceback and not text:find("stack traceback:", 1, true) then
    text = text .. "\n" .. traceback:gsub("^\n", ""):gsub("%s+$", "")
  end
  return text
end

local function on_trouble(is_error)
  return function(element, _, message, trace)
    local text = words_of(message, trace, is_error and element.descriptor ~= "after_each")
    if not current then
      local name = full_name(element)
      channel.emit { kind = "trouble", name = name ~= "" and name or nil, message = text }
    elseif element.descriptor == "it" then
      fail(text)
    else
      fail(("in %s: %s"):format(element.descriptor, text))
    end
    return nil, true
  end
end

local function on_test_end(element, _, status)
  local failed = record and record.status == "failed" and record.message
  record = {
    name = full_name(element),
    place = place_of(element),
    seconds = element.duration or 0,
    message = failed or record and record.message or nil,
  }
  record.status = (failed or status == "failure" or status == "error") and "failed"
    or status == "pending" and "skipped"
    or "passed"
  if record.status == "failed" and not record.message then
    record.message = "busted gave no reason"
  end
  return nil, true
end

local function on_pending(_, _, message)
  record = { message = message and tostring(message) or nil }
  return nil, true
end

-- ---------------------------------------------------------------- how things are run

-- What ends a task otherwise than by returning or raising leaves busted in the middle of it.
local function run_hosted(safe, descriptor, run, element)
  local context = busted.context
  local before = context.get()
  local results = table.pack(pcall(body.run, safe, descriptor, run, element))
  if results[1] then
    return table.unpack(results, 2, results.n)
  end
  while context.get() ~= before do
    context.pop()
  end
  return safe(descriptor, function()
    error(results[2], 0)
  end, element)
end

-- busted runs everything through `safe`. The part that a spec wrote becomes a task; around all that belongs to one test
-- its result is told.
local function wrap_safe()
  local safe = busted.safe
  busted.safe = function(descriptor, run, element)
    if HOSTED[descriptor] and (run == element.run or descriptor == "finally") then
      channel.emit { kind = "run", what = descriptor, name = full_name(current or element) }
      return run_hosted(safe, descriptor, run, element)
    elseif descriptor ~= "it" then
      return safe(descriptor, run, element)
    end
    local outer = current
    current = element
    local results = table.pack(safe(descriptor, run, element))
    current = outer
    if not current then
      flush()
    end
    return table.unpack(results, 1, results.n)
  end
end

local function new_busted(options)
  busted = require "busted.core"()
  wrap_safe()
  require "busted"(busted)
  busted.randomize = options.shuffle ~= nil
  busted.randomseed = options.shuffle
  require "busted.modules.filter_loader"()(busted, {
    tags = {},
    excludeTags = {},
    filter = options.filter and { options.filter } or {},
    filterOut = {},
  })
  busted.subscribe({ "failure" }, on_trouble(false))
  busted.subscribe({ "error" }, on_trouble(true))
  busted.subscribe({ "pending" }, on_pending)
  busted.subscribe({ "test", "end" }, on_test_end)
end

-- ---------------------------------------------------------------- the file

-- What called the file's functions is the runner.
local function cut_traceback(_, info)
  local cut = info.traceback:find "\n%s*%[C%]"
  info.traceback = info.traceback:sub(1, cut)
  return info
end

local function load(path)
  local chunk, err = loadfile(path)
  if not chunk then
    channel.emit { kind = "trouble", message = err }
    return
  end
  local file = { getTrace = cut_traceback }
  busted.executors.file(path, setmetatable(file, { __call = chunk }))
end

local function end_test()
  local ok, err = pcall(guard.end_test)
  if not ok then
    fail(tostring(err))
  end
end

local function end_file(signal)
  local ok, err = pcall(body.run, guard.end_file, { signal })
  if not ok then
    channel.emit { kind = "trouble", message = tostring(err) }
  end
end

local function add_globals()
  local test = require "lunode.test"
  for _, name in ipairs(test.GLOBALS) do
    busted.export(name, test[name])
  end
end

---@param options lunode.test.file_options
function M.run(options)
  io.stdout:setvbuf "line"
  body.timeout, body.file = options.timeout, options.file
  local signal <close> = body.listen()
  new_busted(options)
  add_globals()
  busted.api.before_each(guard.begin_test)
  busted.api.after_each(end_test)
  load(options.file)
  guard.begin_file()
  require "busted.execute"(busted)(1, { seed = options.shuffle })
  end_file(signal)
  channel.emit { kind = "done" }
end

return M
