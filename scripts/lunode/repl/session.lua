-- Evaluates what is typed, in an environment that keeps its globals: each piece as a task, so that it may wait, be
-- interrupted, and be ended when it runs for too long. Knows no terminal and no connection.

local budget = require "lunode.budget"
local complete = require "lunode.repl.complete"
local inspect = require "lunode.repl.inspect"
local loop = require "lunode.loop"
local task = require "lunode.task"

local M = {}

local NAME = "=prompt"
local NO_REASON = "it is nested too deeply" -- where the compiler has no room left for words

-- What is not read: a chunk is text of at most so many bytes.
M.MAX_CODE = 1 << 20

---@class lunode.repl.format
---@field json? boolean   results as JSON, one a line (default: as Lua, to be read)
---@field color? boolean
---@field width? integer  columns

---@class lunode.repl.outcome
---@field status "ok"|"error"|"interrupted"|"timeout"
---@field text string  the results, or what went wrong; "" where there is nothing to say

---@class lunode.repl.session
---@field env table
---@field private print fun(text: string)
---@field private seconds number?  that an evaluation may take
local methods = {}
local metatable = { __index = methods, __name = "lunode.repl.session" }

-- ---------------------------------------------------------------- compiling

-- More lines can end what the code has begun; but no string in quotes, unless its line ends in a backslash or \z.
local function ends_early(err, code)
  return err:sub(-5) == "<eof>" and (not err:find("unfinished string", 1, true) or code:find "\\z?%s*$" ~= nil)
end

---@param code string
---@param env table?
---@return function? chunk
---@return string? err
---@return boolean? incomplete  more lines could make it right
local function compile(code, env)
  if #code > M.MAX_CODE then
    return nil, ("longer than %d bytes; put it into a file and dofile that"):format(M.MAX_CODE)
  end
  code = code:gsub("^%s*=", "", 1) -- as older prompts have it
  local chunk, expression_err = load("return " .. code, NAME, "t", env)
  if chunk then
    return chunk
  end
  local err
  chunk, err = load(code, NAME, "t", env)
  if chunk then
    return chunk
  end
  err, expression_err = err or NO_REASON, expression_err or NO_REASON
  local incomplete = ends_early(err, code) or ends_early(expression_err, code)
  if err:find("unexpected symbol", 1, true) then
    err = expression_err -- it does not begin as statements do
  end
  return nil, inspect.escape(err), incomplete
end

---Whether the code ends in the middle of something.
---@param code string
---@return boolean
function M.is_incomplete(code)
  local _, _, incomplete = compile(code)
  return incomplete or false
end

-- ---------------------------------------------------------------- running

local function is_ours(line)
  return line:find "^\t%[C%]: in " or line == "\t(...tail calls...)" or line:find "/lunode/repl/"
    or line:find "/lunode/task/"
end

-- Where a traceback says no more than the message: what is below is the prompt's.
local function describe(err)
  if type(err) ~= "string" then
    return (inspect.inspect(err))
  end
  local message, trace = err:match "^(.-)\nstack traceback:\n(.*)$"
  if not message then
    return inspect.escape(err, "\n\t")
  end
  local lines = {}
  for line in trace:gmatch "[^\n]+" do
    if line:find "%[C%]: in function 'xpcall'" or line:find "^\tprompt:%d+: in local 'chunk'" then
      break
    elseif not is_ours(line) then
      lines[#lines + 1] = line
    end
  end
  if #lines > 0 then
    message = message .. "\nstack traceback:\n" .. table.concat(lines, "\n")
  end
  return inspect.escape(message, "\n\t")
end

local function render(values, format)
  if values.n == 0 then
    return ""
  elseif not format.json then
    return inspect.results(values, { width = format.width, color = format.color })
  end
  local json = require "lunode.repl.json"
  local lines = {}
  for i = 1, values.n do
    lines[i] = json.encode(values[i])
  end
  return table.concat(lines, "\n")
end

-- In the task of the evaluation: what the values themselves do while they are written counts, too.
local function work(self, chunk, format)
  budget.arm()
  local values = table.pack(chunk())
  if values.n > 0 then
    self.env._ = values[1]
  end
  return render(values, format)
end

-- What cancellation is to end, and what does not take notice of it for so long is ended otherwise.
local GRACE = 1

local function put_an_end(worker)
  if worker:cancel() then
    task.spawn(function()
      pcall(worker.join, worker, GRACE) -- what it raises on its way out is of no interest any more
      if worker.thread then
        budget.kill(worker.thread)
      end
    end)
  end
end

local function run(self, chunk, format)
  local worker = task.spawn(work, self, chunk, format)
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function()
      put_an_end(worker)
    end,
  })
  local text, err, code = worker:join()
  if text == nil then
    return { status = code == "ECANCELED" and "interrupted" or "error", text = err or "cancelled" }
  end
  return { status = "ok", text = text }
end

---Evaluates, and waits for the end. To be called in a task; when that is cancelled, the evaluation is.
---@param code string
---@param format? lunode.repl.format
---@return lunode.repl.outcome
function methods:eval(code, format)
  local chunk, err = compile(code, self.env)
  if not chunk then
    return { status = "error", text = err }
  end
  local ok, outcome, why
  if self.seconds then
    ok, outcome, why = pcall(task.with_timeout, self.seconds, run, self, chunk, format or {})
  else
    ok, outcome = pcall(run, self, chunk, format or {})
  end
  if ok and outcome then
    return outcome
  elseif ok then
    return { status = "timeout", text = ("%s: it took longer than %g s"):format(why, self.seconds) }
  elseif task.is_interrupt(outcome) then
    return { status = "interrupted", text = "interrupted" }
  end
  local text = describe(outcome)
  local interrupted = text == "interrupted" or text:find "^[^\n]-:%d+: interrupted%f[\0\n]"
  return { status = interrupted and "interrupted" or "error", text = text }
end

---@param before string  what stands before the cursor
---@return lunode.repl.completion
function methods:complete(before)
  return complete.complete(self.env, before)
end

-- ---------------------------------------------------------------- what every session has

local function show(self, value, limits)
  if limits ~= nil and type(limits) ~= "table" then
    error("show(value, { depth = 9, items = 1000, bytes = 100000 }): the limits are a table", 3)
  end
  local all = { depth = 8, items = 1000, bytes = 100000, size = 1000000 }
  for name, limit in pairs(limits or {}) do
    all[name] = math.tointeger(limit) or error(("show: %s must be an integer"):format(tostring(name)), 3)
  end
  self.print(inspect.inspect(value, all) .. "\n")
end

-- Callbacks of the loop's run outside of the task that gave them: they are watched like it.
local function guarded(fn)
  if type(fn) ~= "function" then
    return fn
  end
  return function(...)
    local results = table.pack(budget.call(fn, ...))
    if not results[1] then
      return loop.report(tostring(results[2]))
    end
    return table.unpack(results, 2, results.n)
  end
end

local function guarded_loop()
  local proxy = {}
  function proxy.timer(delay, fn, interval)
    return loop.timer(delay, guarded(fn), interval)
  end
  for _, name in ipairs { "defer", "before_sleep" } do
    proxy[name] = function(fn)
      return loop[name](guarded(fn))
    end
  end
  return setmetatable(proxy, { __index = loop, __name = "lunode.loop" })
end

---@param objects table  what is at hand beside the globals
---@param options { print: fun(text: string), seconds: number? }
---@return lunode.repl.session
function M.new(objects, options)
  local self = setmetatable({ env = nil, print = options.print, seconds = options.seconds }, metatable)
  local proxy = guarded_loop()
  local given = {
    loop = proxy,
    task = task,
    print = function(...)
      local words = table.pack(...)
      for i = 1, words.n do
        words[i] = tostring(words[i])
      end
      self.print(table.concat(words, "\t") .. "\n")
    end,
    show = function(value, limits)
      show(self, value, limits)
    end,
    require = function(name)
      return name == "lunode.loop" and proxy or require(name)
    end,
  }
  for name, value in pairs(objects) do
    given[name] = value
  end
  self.env = setmetatable({}, { __index = setmetatable(given, { __index = _G }) })
  return self
end

return M
